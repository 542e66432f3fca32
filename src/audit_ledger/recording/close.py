"""Ending a run from outside, in a stream of its own: one process writes a stream, and this is another."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

from audit_ledger import events
from audit_ledger.errors import RunEnded
from audit_ledger.recording.failure import describe
from audit_ledger.redaction import Redactor
from audit_ledger.store.event_store import EventStore


def close_run(recorder: EventStore, run_id: UUID, status: str, reason: str, redactor: Redactor) -> None:
    """Record that a run failed, for a reason that its script could not give.

    Raises:
        RunEnded: the run has ended already.
    """
    if status != "running":
        raise RunEnded(f"run {run_id} has ended already", expected="a run that is running", actual=status)
    failed = events.RunFailed.of(occurred_at=datetime.now(UTC), run_id=run_id, **describe(reason, redactor))
    recorder.append(uuid4(), 0, [failed])
