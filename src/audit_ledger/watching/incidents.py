"""From findings to incidents: which alert a finding belongs to, which alerts begin, and which are over.

Pure: what is on record and what was found go in, the events to append come out.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID, uuid4

from audit_ledger.events import AlertRaised, AlertResolved, Event, Kind
from audit_ledger.plan import Plan
from audit_ledger.watching.findings import LEDGER, Finding
from audit_ledger.watching.history import History
from audit_ledger.watching.monitors import late, look, missed, stale

OF_TASKS: dict[Kind, str] = {"missed": "schedule", "late": "schedule", "stale": "freshness"}
"""What a task's definition must say, for these to be found."""


@dataclass(frozen=True)
class Incident:
    """An alert that is open.

    Attributes:
        alert_id: The alert.
        kind: What it is about.
        subject: A task, or the ledger.
        run_id: The run that it began with.
        last_run: Position of the last run that was found.
        last_slot: The last slot that was found missed.
    """

    alert_id: UUID
    kind: Kind
    subject: str
    run_id: UUID | None = None
    last_run: int = 0
    last_slot: datetime | None = None


class Incidents:
    """The incidents that go on, by kind and subject.

    Args:
        going_on: Those on record.
    """

    def __init__(self, going_on: Iterable[Incident]) -> None:
        self._going_on = {(one.kind, one.subject): one for one in going_on}

    def __iter__(self) -> Iterator[Incident]:
        return iter([*self._going_on.values()])

    def begin(self, found: Finding, plan: Plan, now: datetime, run: int = 0) -> list[Event]:
        """The events of a finding: itself, after an AlertRaised where its incident begins.

        Args:
            found: What was found.
            plan: Whom to tell.
            now: This moment.
            run: Position of the finding's run.
        """
        known = self._going_on.get((found.kind, found.subject))
        events: list[Event] = []
        if known is None:
            known = Incident(uuid4(), found.kind, found.subject, found.run_id)
            owner = plan.watch if found.subject == LEDGER else plan.task(found.subject)
            events.append(
                AlertRaised.of(
                    alert_id=known.alert_id,
                    channels=tuple(owner.channels),
                    detail=found.detail[:10_000],
                    kind=found.kind,
                    occurred_at=now,
                    owner=owner.owner,
                    run_id=found.run_id,
                    severity=owner.severity,
                    subject=found.subject,
                    title=found.title,
                )
            )
        slots = [slot for slot in (known.last_slot, found.scheduled_for) if slot is not None]
        self._going_on[found.kind, found.subject] = replace(
            known, last_run=max(known.last_run, run), last_slot=max(slots, default=None)
        )
        return [*events, found.event(known.alert_id, now)]

    def end(self, history: History) -> list[Event]:
        """The events of a task's incidents that are over."""
        events: list[Event] = []
        for incident in self:
            if incident.subject == history.task.name:
                reason = over(incident, history)
                if reason is not None:
                    events.append(self.resolve(incident, reason, history.now))
        return events

    def resolve(self, incident: Incident, reason: str, now: datetime) -> Event:
        """The event that says that an incident is over."""
        del self._going_on[incident.kind, incident.subject]
        return AlertResolved.of(alert_id=incident.alert_id, occurred_at=now, reason=reason)


def over(incident: Incident, history: History) -> str | None:
    """Why an incident of a task is over; None while it goes on."""
    setting = OF_TASKS.get(incident.kind)
    if setting is not None and getattr(history.task, setting) is None:
        return f"the task has no {setting} any more"
    if incident.kind == "stale":
        return None if any(stale(history)) else "a run completed"
    if incident.kind == "missed":
        return _began_since(incident, history)
    later = [run for run in history.runs if run.position > incident.last_run]
    if incident.kind in ("overrun", "abandoned"):
        theirs = [run for run in history.runs if run.position <= incident.last_run]
        runs_on = [run for run in theirs if run.status == "running"]
        if not runs_on:
            return "the run has ended"
        if incident.kind == "overrun":
            return None
    completed = [run for run in later if run.status == "completed"]
    if not completed:
        return None
    last = completed[-1]
    if incident.kind == "late":
        again = late(replace(history, fresh=frozenset({last.position})))
    else:
        again = look(replace(history, fresh=frozenset({last.position})))
    if any(found.kind == incident.kind and found.run_id == last.run_id for found in again):
        return None
    return "a later run completed"


def _began_since(incident: Incident, history: History) -> str | None:
    if incident.last_slot is None:
        return None
    still = {found.scheduled_for for found in missed(history)}
    if any(due.slot == incident.last_slot and due.run is not None for due in history.due):
        return "the run began after all"
    began = [run for run in history.runs if max(run.started_at, run.recorded_at) > incident.last_slot]
    if began and not any(slot is not None and slot > incident.last_slot for slot in still):
        return "a later run began"
    return None
