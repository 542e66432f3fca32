"""What officers decide: erasing, holding, keeping."""

from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import Field, model_validator

from audit_ledger.events.form import (
    MAX_DAYS,
    MAX_REFERRERS,
    Commitment,
    Event,
    Identifier,
    Instant,
    Name,
    Position,
    Reason,
)


class BodyErased(Event):
    """An officer erased the bytes of a body. `referrers` are the positions of all events that refer to it.

    A body with more than 2,000 takes several events, in one transaction and one stream, each with its share.
    """

    by: Name
    commitment: Commitment
    occurred_at: Instant
    reason: Reason
    referrers: Annotated[tuple[Position, ...], Field(max_length=MAX_REFERRERS)]
    v: Literal[1] = 1


class HoldAdded(Event):
    """An officer forbade erasing what a payload's call, a record's events or a run's events refer to."""

    by: Name
    hold_id: UUID
    occurred_at: Instant
    payload_id: Position | None = None
    reason: Reason
    record_id: Identifier | None = None
    record_type: Name | None = None
    run_id: UUID | None = None
    v: Literal[1] = 1

    @model_validator(mode="after")
    def _one_scope(self) -> Self:
        given = (self.payload_id, self.record_id, self.run_id)
        if sum(scope is not None for scope in given) != 1 or (self.record_id is None) != (
            self.record_type is None
        ):
            raise ValueError("expected one of payload_id, record_type with record_id, run_id")
        return self


class HoldReleased(Event):
    """An officer ended a hold."""

    by: Name
    hold_id: UUID
    occurred_at: Instant
    reason: Reason
    v: Literal[1] = 1


class RetentionChanged(Event):
    """An officer decided for how many days bodies are kept from their last referrer on; 0: no minimum."""

    by: Name
    days: Annotated[int, Field(strict=True, ge=0, le=MAX_DAYS)]
    occurred_at: Instant
    reason: Reason
    v: Literal[1] = 1
