"""A ledger with something of everything, for tests that compare read models."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from audit_ledger import Ledger
from audit_ledger.events import (
    AlertAcknowledged,
    AlertAttempted,
    AlertDelivered,
    AlertFailed,
    AlertRaised,
    AlertResolved,
    AnomalyFound,
    Event,
    HeartbeatRecorded,
    KeyRotated,
    LedgerVerified,
    RunAbandoned,
    RunCompleted,
    RunMissed,
    RunSkipped,
    RunStarted,
    TaskDefined,
    TaskRemoved,
    WatchAdvanced,
)

NOW = datetime.now(UTC)
VERIFIED = LedgerVerified(
    bodies=3, checkpoints=0, duration_ms=5, erased=0, occurred_at=NOW, position=9, wrong=0
)
ROTATED = KeyRotated(
    by="Ann",
    next="x+00000001+" + "B" * 44,
    occurred_at=NOW,
    previous="x+00000000+" + "A" * 44,
    reason="yearly",
)


def tell_everything(ledger: Ledger, officer: Ledger, admin: psycopg.Connection[Any]) -> None:
    """Events of every type that a read model folds, bad ones among them."""
    with ledger.run("t", "s") as run:
        run.ingest_many("X", {number: {"n": number} for number in range(10)})
        run.api_call(endpoint="e", request={"q": 1}, response={"a": 1})
        run.api_call(endpoint="e", response=b"\xff", http_status_code=500)
    for state in (b"no JSON", b'{"record_type":"X"}', b"\xff"):
        admin.execute(
            "SELECT append(ARRAY[%s]::uuid[], ARRAY[1]::bigint[],"
            " ARRAY['RecordIngested'], ARRAY[%s]::bytea[])",
            [uuid4(), state],
        )
    with pytest.raises(RuntimeError), ledger.run("t", "s") as run:
        run.ingest("X", 1, {"n": 1})
        run.ingest("X", 2, {"n": "changed"})
        run.withdraw("X", 3)
        run.ingest("X", 3, {"n": "back"})
        run.record("Y", 1, "skipped")
        run.record("Y", 1, "updated")
        raise RuntimeError("boom")
    officer.erase_record("X", 4, reason="asked for", by="Ann")
    officer.set_retention(30, reason="law", by="Ann")
    hold = officer.add_hold(run=run.id, reason="case", by="Ann")
    officer.release_hold(hold.hold_id, reason="over", by="Ann")
    reference = ledger.reference()
    ledger.record_decision("D1", reference, inputs=[("X", 1), ("X", 2)])
    ledger.record_execution("E1", decision="D1")
    ledger.correct(1, {"source": "other"}, reason="misnamed", by="Ann")
    ledger._recorder.append(uuid4(), 0, watching(run.id))
    ledger._recorder.append(uuid4(), 0, [VERIFIED])
    admin.execute("SELECT announce_key(gen_random_uuid(), 1, %s)", [ROTATED.state])
    ledger.update_read_models()


def watching(run_id: UUID) -> list[Event]:
    """What is said of a task and of a run that goes on, is taken for abandoned, and ends all the same."""
    now, task, run, alert = datetime.now(UTC), "t", uuid4(), uuid4()
    told: dict[str, Any] = {"alert_id": alert, "attempt": 1, "notice": "raised", "occurred_at": now}
    return [
        TaskDefined(task=task, definition={"schedule": "0 9 * * *"}, occurred_at=now),
        WatchAdvanced(upto=1, occurred_at=now),
        RunStarted(task=task, source="s", run_id=run, occurred_at=now),
        HeartbeatRecorded(run_id=run, done=1, total=2, occurred_at=now),
        RunSkipped(task=task, source="s", running=run, reason="another goes on", occurred_at=now),
        AlertRaised(
            alert_id=alert,
            channels=("mail", "chat"),
            detail="silent",
            kind="abandoned",
            occurred_at=now,
            run_id=run,
            severity="critical",
            subject=task,
            title="t was abandoned",
        ),
        RunAbandoned(
            alert_id=alert, detail="silent", key="k", last_seen_at=now, occurred_at=now, run_id=run, task=task
        ),
        AnomalyFound(alert_id=alert, detail="boom", key="f", kind="failed", occurred_at=now, run_id=run_id),
        RunMissed(alert_id=alert, detail="due", key="m", occurred_at=now, scheduled_for=now, task=task),
        AlertAttempted(channel="mail", **told),
        AlertFailed(channel="mail", error="refused", **told),
        AlertAttempted(channel="chat", escalates="mail", **told),
        AlertDelivered(channel="chat", repeated=True, **told),
        AlertAcknowledged(alert_id=alert, by="Ann", occurred_at=now),
        RunCompleted(run_id=run, occurred_at=now),
        AlertResolved(alert_id=alert, reason="it ended", occurred_at=now),
        TaskRemoved(task=task, occurred_at=now),
    ]
