"""The audit of alerts: from the events alone, that somebody was told of every failure, miss and stall.

It does not take the watchers' word: failures are the ends of runs, misses follow from the schedules that were
on record at the time, stalls from silence. Each must have a finding whose alert some channel took.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from audit_ledger.plan import Plan
from audit_ledger.store.database import Reader
from audit_ledger.watching.monitors import abandoned
from audit_ledger.watching.state import eras_on_record, histories, tasks_on_record

SETTLE = timedelta(minutes=1)
"""What is more recent than this may still be on its way."""

FAILURES = """
SELECT r.run_id, r.task_name, f.status, f.message, f.created_at
  FROM data_ingestion_run_ends f
  JOIN data_ingestion_runs r ON r.id = f.data_ingestion_run_id
 WHERE f.created_at >= %(since)s AND f.created_at <= %(until)s
   AND (f.first AND f.status = 'failed' OR f.status = 'abandoned')
 ORDER BY f.id
"""

TOLD = """
SELECT f.kind, f.run_id, f.task_name, f.scheduled_for, f.alert_id,
       (SELECT min(t.ended_at) FROM alert_attempts t
         WHERE t.alert_id = f.alert_id AND t.notice = 'raised' AND t.status = 'delivered') AS told_at
  FROM findings f WHERE f.created_at >= %(since)s
"""

KINDS: dict[str, tuple[str, ...]] = {
    "failed": ("failed",),
    "missed": ("missed", "late"),
    "abandoned": ("abandoned",),
}
"""Which findings answer for what happened."""


@dataclass(frozen=True)
class Audited:
    """A failure, a miss or a stall, and whether somebody was told.

    Attributes:
        kind: What happened.
        task: To which task.
        at: When it was recorded; for a miss, when the run was due at the latest.
        detail: What is the matter.
        run_id: The run; None for a miss that no run answered.
        scheduled_for: When the run was due that was missed.
        alert_id: The alert of the finding; None where nothing was found.
        told_at: When a channel first took it; None where none did.
    """

    kind: Literal["failed", "missed", "abandoned"]
    task: str
    at: datetime
    detail: str
    run_id: UUID | None = None
    scheduled_for: datetime | None = None
    alert_id: UUID | None = None
    told_at: datetime | None = None


def audit(reader: Reader, since: datetime, until: datetime) -> list[Audited]:
    """Every failure, miss and stall of a period, in order, and whether somebody was told of it.

    Args:
        reader: The ledger, as it is or as it was.
        since: Beginning of the period, inclusive.
        until: Its end, inclusive.
    """
    told = reader.query(TOLD, {"since": since - timedelta(days=1)})
    found = [*_failures(reader, since, until), *_by_the_clock(reader, since, until)]
    return sorted((_answered(one, told) for one in found), key=lambda one: one.at)


def _failures(reader: Reader, since: datetime, until: datetime) -> Iterator[Audited]:
    for row in reader.query(FAILURES, {"since": since, "until": until}):
        kind: Literal["failed", "abandoned"] = "abandoned" if row["status"] == "abandoned" else "failed"
        yield Audited(
            kind, row["task_name"], row["created_at"], row["message"] or "no message", row["run_id"]
        )


def _by_the_clock(reader: Reader, since: datetime, until: datetime) -> Iterator[Audited]:
    eras = eras_on_record(reader)
    names = sorted({*eras, *tasks_on_record(reader)})
    # Runs that go on are judged by how their task is defined now, slots by how it was defined then.
    plan = Plan(tasks={name: known[-1].task for name, known in eras.items() if known})
    seen = histories(
        reader, plan, names, now=until, since=since, eras=eras, slots_since=dict.fromkeys(names, since)
    )
    on_record = {
        row["run_id"] for row in reader.query("SELECT run_id FROM findings WHERE kind = 'abandoned'")
    }
    for history in seen:
        for due in history.due:
            if due.by < until and not due.on_time and not due.skipped:
                said = "no run began" if due.run is None else "the run began late"
                run_id = None if due.run is None else due.run.run_id
                yield Audited("missed", history.task.name, due.by, said, run_id, due.slot)
        for silent in abandoned(history):
            if silent.run_id not in on_record:
                at = silent.last_seen_at or until
                yield Audited("abandoned", history.task.name, at, silent.detail, silent.run_id)


def _answered(one: Audited, told: list[dict[str, Any]]) -> Audited:
    """The same, with the alert that tells of it: the first that was delivered."""
    theirs = [
        row
        for row in told
        if row["kind"] in KINDS[one.kind]
        and (
            (one.run_id is not None and row["run_id"] == one.run_id)
            or (
                one.scheduled_for is not None
                and (row["task_name"], row["scheduled_for"]) == (one.task, one.scheduled_for)
            )
        )
    ]
    if not theirs:
        return one
    best = min(theirs, key=lambda row: (row["told_at"] is None, row["told_at"]))
    return replace(one, alert_id=best["alert_id"], told_at=best["told_at"])
