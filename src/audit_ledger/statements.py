"""What anybody who writes may say of a ledger's data: what was wrong, what was decided by it, and done."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from audit_ledger.canonical import instant
from audit_ledger.errors import InvalidValue, UnknownDecision, UnknownPosition
from audit_ledger.reaching import Reaching
from audit_ledger.reading.alerts import find_alert
from audit_ledger.reading.chain import Chain, chain
from audit_ledger.recording import decisions
from audit_ledger.store.database import Reader


@dataclass(frozen=True)
class Reference:
    """What of a ledger was known at a moment: a decision stores it, as text or as JSON.

        >>> str(Reference(UUID(int=7), 12, datetime(2025, 12, 24, 14, tzinfo=UTC)))
        '00000000-0000-0000-0000-000000000007@12@2025-12-24T14:00:00.000000Z'

    Attributes:
        ledger_id: The ledger.
        position: The last event that was known.
        recorded_at: recorded_at of that event.
    """

    ledger_id: UUID
    position: int
    recorded_at: datetime

    def __str__(self) -> str:
        return f"{self.ledger_id}@{self.position}@{instant(self.recorded_at)}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The reference that `str` made this of.

        Raises:
            InvalidValue: it is none.
        """
        try:
            ledger_id, position, recorded_at = text.split("@")
            return cls(UUID(ledger_id), int(position), datetime.fromisoformat(recorded_at))
        except (ValueError, AttributeError) as error:
            raise InvalidValue(
                "reference",
                expected="LEDGER_ID@POSITION@RECORDED_AT, as str(reference) is",
                actual=f"{text!r:.80}",
            ) from error


class Statements(Reaching):
    """The part of `Ledger` for what is said outside of runs."""

    @property
    @abstractmethod
    def _reader(self) -> Reader:
        """What questions are put to."""

    def correct(self, position: int, values: Mapping[str, Any] | None = None, *, reason: str, by: str) -> int:
        """Say that an event was wrong. It stays as it is; readings show both.

        Args:
            position: Position of the event.
            values: What is right, by the names of what it replaces: JSON. In the log for ever, as is the
                rest: no personal data.
            reason: Why the event was wrong.
            by: Who says so.

        Returns:
            The position of the correction.

        Raises:
            UnknownPosition: the ledger has no such event.
            InvalidValue: an argument cannot be recorded.
            WrongRole: the role may not append.
        """
        self._require(position)
        return self._said(decisions.correct(self._recorder, position, by=by, reason=reason, values=values))

    def acknowledge(self, alert_id: UUID | str, *, by: str, reason: str | None = None) -> int:
        """Say that you have seen an alert, and look after it: nobody is reminded of it any more.

        Args:
            alert_id: The alert, or the first digits of its id.
            by: Who says so; in the log for ever.
            reason: What there is to say, in the log as well.

        Returns:
            The position of the acknowledgement.

        Raises:
            UnknownAlert: there is no such alert.
            InvalidValue: an argument cannot be recorded.
            WrongRole: the role may not append.
        """
        alert = find_alert(self._reader, alert_id)
        return self._said(decisions.acknowledge(self._recorder, alert.alert_id, by=by, reason=reason))

    def reference(self) -> Reference:
        """What of the ledger is known now: for a decision to store.

        Raises:
            UnknownPosition: the ledger is empty.
        """
        (head,) = self.database.query(
            "SELECT position, nullif(recorded_at, '-infinity') AS recorded_at FROM head"
        )
        if head["position"] == 0:
            raise UnknownPosition("the ledger is empty", remedy="record a run first")
        return Reference(self.ledger_id, head["position"], head["recorded_at"])

    def record_decision(
        self,
        decision_id: str | int | UUID,
        reference: Reference | str,
        *,
        inputs: Iterable[tuple[str, str | int | UUID]] = (),
        by: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> Chain:
        """Record that something was decided by what the ledger had.

        Args:
            decision_id: The decision's id, yours.
            reference: `ledger.reference()` of the moment when its data was read, or the text of it.
            inputs: The records that it used: pairs of type and id. Which versions those were follows from the
                reference. One that was not on record by then is a discrepancy, and is shown as such.
            by: Who decided.
            details: What else there is to say, JSON. No personal data, as everywhere in the log.

        Raises:
            InvalidValue: the reference is of another ledger or not true, or an argument cannot be recorded.
            VersionConflict: a decision of that id is on record already.
            WrongRole: the role may not append.
        """
        known = Reference.parse(reference) if isinstance(reference, str) else reference
        if known.ledger_id not in {row["id"] for row in self.database.query("SELECT id FROM origins")}:
            raise InvalidValue(
                "reference",
                expected=f"one of the ledger {self.ledger_id}",
                actual=f"one of {known.ledger_id}",
            )
        self._require(known.position, known.recorded_at)
        self._said(
            decisions.decide(
                self._recorder,
                self.made_as,
                decision_id,
                known.position,
                inputs=inputs,
                by=by,
                details=details,
            )
        )
        return chain(self.database, str(decision_id))

    def record_execution(
        self,
        execution_id: str | int | UUID,
        *,
        decision: str | int | UUID,
        by: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> int:
        """Record that a decision was carried out; returns the position.

        Args:
            execution_id: The execution's id, yours, e.g. that of an order.
            decision: The decision's id.
            by: Who did it.
            details: What else there is to say, JSON. No personal data.

        Raises:
            UnknownDecision: no decision of that id is on record.
            InvalidValue: an argument cannot be recorded.
            WrongRole: the role may not append.
        """
        self._said(0)
        if not self.database.query("SELECT FROM decisions WHERE decision_id = %s LIMIT 1", [str(decision)]):
            raise UnknownDecision(
                f"no decision has the id {decision}", remedy="record it first: ledger.record_decision()"
            )
        return self._said(
            decisions.execute(self._recorder, self.made_as, execution_id, decision, by=by, details=details)
        )

    def _require(self, position: int, recorded_at: datetime | None = None) -> None:
        """That the ledger has that event.

        Raises:
            UnknownPosition: it has not.
            InvalidValue: it was recorded at another moment.
        """
        rows = self.database.query("SELECT recorded_at FROM events WHERE position = %s", [position])
        if not rows:
            raise UnknownPosition(
                f"the ledger has no event at position {position}",
                actual="its last position is {position}".format(
                    **self.database.query("SELECT position FROM head")[0]
                ),
                remedy="correct the position",
            )
        if recorded_at is not None and rows[0]["recorded_at"] != recorded_at:
            raise InvalidValue(
                "reference",
                expected=f"position {position} as recorded at {rows[0]['recorded_at'].isoformat()}",
                actual=recorded_at.isoformat(),
                remedy="store what ledger.reference() returns, unchanged",
            )

    @abstractmethod
    def _said(self, position: int) -> int:
        """Bring the read models up to date; returns the position."""
