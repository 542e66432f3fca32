"""What officers decide besides erasing: holds, and how long bodies are kept. Each in a stream of its own."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4, uuid5

from audit_ledger import events
from audit_ledger.errors import VersionConflict
from audit_ledger.store.event_store import EventStore, last_version
from audit_ledger.store.refusals import translated


def add_hold(recorder: EventStore, ledger_id: UUID, *, by: str, reason: str, **scope: Any) -> UUID:
    """Record a hold; returns its id.

    Args:
        recorder: The event store.
        ledger_id: The ledger.
        by: Who decided it.
        reason: Why.
        **scope: payload_id; record_type and record_id; or run_id.

    Raises:
        InvalidValue: an argument cannot be recorded.
        WrongRole: the role is no officer.
    """
    hold_id = uuid4()
    event = events.HoldAdded.of(by=by, hold_id=hold_id, occurred_at=datetime.now(UTC), reason=reason, **scope)
    _append(recorder, uuid5(ledger_id, str(hold_id)), event)
    return hold_id


def release_hold(recorder: EventStore, ledger_id: UUID, hold_id: UUID, *, by: str, reason: str) -> None:
    """Record that a hold is no longer in force.

    Raises:
        InvalidValue: an argument cannot be recorded.
        VersionConflict: somebody else releases it at the same moment.
        WrongRole: the role is no officer.
    """
    event = events.HoldReleased.of(by=by, hold_id=hold_id, occurred_at=datetime.now(UTC), reason=reason)
    _append(recorder, uuid5(ledger_id, str(hold_id)), event)


def set_retention(recorder: EventStore, ledger_id: UUID, days: int, *, by: str, reason: str) -> None:
    """Record for how many days bodies are kept; 0: no minimum.

    Raises:
        InvalidValue: an argument cannot be recorded.
        VersionConflict: somebody else sets it at the same moment.
        WrongRole: the role is no officer.
    """
    event = events.RetentionChanged.of(by=by, days=days, occurred_at=datetime.now(UTC), reason=reason)
    _append(recorder, uuid5(ledger_id, "retention"), event)


def _append(recorder: EventStore, stream_id: UUID, event: "events.Event") -> None:
    with translated(recorder.database), recorder.database.connection() as conn:
        version = last_version(conn, stream_id)
    try:
        recorder.append(stream_id, version, [event])
    except VersionConflict as error:
        raise VersionConflict(
            "another officer decided about this at the same moment",
            expected=f"version {version + 1} of the stream {stream_id} to be free",
            actual=error.actual,
            remedy="see what it was (audit-ledger hold list, audit-ledger retention), then decide again",
        ) from error
