"""What is said of data outside of runs: corrections, decisions, executions."""

from typing import Annotated, Any, Literal

from pydantic import Field

from audit_ledger.events.form import Event, Identifier, Instant, Name, Position, Reason, document
from audit_ledger.events.limits import MAX_INPUTS


class EventCorrected(Event):
    """Somebody says that an earlier event was wrong, and what is right; the event stays as it is."""

    by: Name
    corrects: Position
    occurred_at: Instant
    reason: Reason
    v: Literal[1] = 1
    values: Annotated[dict[str, Any], document("values")] | None = None


class DecisionMade(Event):
    """A decision was made by what the ledger had up to `reference`; `inputs` are the records that it used.

    A decision with many inputs takes several events, in one transaction and one stream; the first counts.
    """

    by: Name | None = None
    decision_id: Identifier
    details: Annotated[dict[str, Any], document("details")] | None = None
    inputs: Annotated[tuple[tuple[Name, Identifier], ...], Field(max_length=MAX_INPUTS)] = ()
    occurred_at: Instant
    reference: Position
    v: Literal[1] = 1


class DecisionExecuted(Event):
    """What a decision said was carried out."""

    by: Name | None = None
    decision_id: Identifier
    details: Annotated[dict[str, Any], document("details")] | None = None
    execution_id: Identifier
    occurred_at: Instant
    v: Literal[1] = 1
