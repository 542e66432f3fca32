"""What can be asked of a ledger: as it is now (Ledger), or as it was (AsOf). One interface for both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from audit_ledger.reading.alerts import AlertDetails, Alerts, alert_details
from audit_ledger.reading.calls import Payload, payload
from audit_ledger.reading.calls import calls as call_details
from audit_ledger.reading.chain import Chain, chain
from audit_ledger.reading.details import Correction, Details, corrections, details
from audit_ledger.reading.holds import Hold, Retention, holds, retention
from audit_ledger.reading.records import Records, Version, Versions
from audit_ledger.reading.runs import ApiCalls, RunRow, Runs, Touch, Touches, find_run
from audit_ledger.reading.when import since as instant_of

if TYPE_CHECKING:  # few ask for these, and they take long to import
    from audit_ledger.plan import Plan
    from audit_ledger.reading.as_of import Header
    from audit_ledger.store.database import Reader
    from audit_ledger.watching.audit import Audited
    from audit_ledger.watching.check import Checked


class Reading(ABC):
    """The questions."""

    @property
    @abstractmethod
    def _reader(self) -> Reader:
        """What they are put to, fit to answer."""

    @property
    @abstractmethod
    def header(self) -> Header | None:
        """As of when answers are; None while the ledger is empty."""

    @property
    def now(self) -> datetime:
        """The instant that spans such as "24h" end at."""
        return self._reader.now

    @property
    def runs(self) -> Runs:
        """The runs on record, newest first; scopes narrow them down."""
        return Runs(self._reader)

    @property
    def calls(self) -> ApiCalls:
        """The API calls on record, newest first."""
        return ApiCalls(self._reader)

    @property
    def touches(self) -> Touches:
        """Which runs touched which records, newest first."""
        return Touches(self._reader)

    @property
    def versions(self) -> Versions:
        """All versions of all records, newest first."""
        return Versions(self._reader)

    def records(self, record_type: str) -> Records:
        """The records of one kind that are not withdrawn, with their content, the newest content first."""
        return Records(self._reader).of_type(record_type)

    def history(self, record_type: str, record_id: str | int | UUID) -> list[Version]:
        """What a record was, version by version, newest first; a withdrawal is one of them."""
        return self.versions.of(record_type, record_id).all()

    def provenance(self, record_type: str, record_id: str | int | UUID) -> list[Touch]:
        """Which runs touched a record, when and how, newest first. `created_at` is when that was recorded."""
        return self.touches.of(record_type, record_id).all()

    def find_run(self, run_id: UUID | str) -> RunRow:
        """The run of that id, or of the id that begins so.

        Raises:
            UnknownRun: there is none.
            AmbiguousRun: there are several.
        """
        return find_run(self._reader, run_id)

    def details(self, run_id: UUID | str) -> Details:
        """All that is known of a run: how it was started, what it reached, what does not agree."""
        return details(self.find_run(run_id))

    def call_details(
        self, run_id: UUID | str, *, failed: bool = False, limit: int | None = None
    ) -> list[dict[str, Any]]:
        """The API calls of a run, newest first, with all that their events say (reading.calls)."""
        return call_details(self.find_run(run_id), failed=failed, limit=limit)

    def payload(self, payload_id: int) -> Payload:
        """A request or a response of an API call, with its bytes.

        Raises:
            UnknownPayload: there is no such payload.
            Erased: its bytes are gone; says by whom, when and why.
        """
        return payload(self._reader, payload_id)

    def corrections(self, position: int) -> list[Correction]:
        """What was said later of the event at a position, oldest first."""
        return corrections(self._reader, [position])

    def chain(self, decision_id: str | int | UUID) -> Chain:
        """From ingestion to execution: what a decision could know, what it used, and what was carried out.

        Raises:
            UnknownDecision: no decision of that id is on record.
        """
        return chain(self._reader, str(decision_id))

    def check(self, since: datetime | timedelta | str = "24h", *, plan: Plan | None = None) -> list[Checked]:
        """What is not well with the runs that started, or were due, since then, and with those that go on.

        Args:
            since: An instant with a time zone, or a span until now.
            plan: How tasks are to be; by default as ledger.toml says.

        Raises:
            ConfigurationError: ledger.toml cannot be used.
        """
        from audit_ledger.plan import load_plan
        from audit_ledger.watching.check import check

        start = instant_of(since, now=self.now)
        return check(self._reader, load_plan() if plan is None else plan, start)

    @property
    def alerts(self) -> Alerts:
        """The alerts on record, newest first."""
        return Alerts(self._reader)

    def alert_details(self, alert_id: UUID | str) -> AlertDetails:
        """All that is known of an alert: what belongs to it, who was told, and what became of it.

        Raises:
            UnknownAlert: there is none of that id.
            AmbiguousAlert: several begin so.
        """
        return alert_details(self._reader, alert_id)

    def audit_alerts(
        self, since: datetime | timedelta | str, until: datetime | timedelta | str | None = None
    ) -> list[Audited]:
        """Every failure, miss and stall of a period, and whether somebody was told: from the events alone.

        Args:
            since: Its beginning: an instant with a time zone, or a span until now.
            until: Its end; by default a minute ago: what is more recent may still be on its way.
        """
        from audit_ledger.watching.audit import SETTLE, audit

        end = self.now - SETTLE if until is None else instant_of(until, now=self.now)
        return audit(self._reader, instant_of(since, now=self.now), end)

    def holds(self, *, released: bool = False) -> list[Hold]:
        """The holds in force, newest first; with `released`, those that were released as well."""
        return holds(self._reader, released=released)

    def retention(self) -> Retention:
        """How long bodies are kept."""
        return retention(self._reader)
