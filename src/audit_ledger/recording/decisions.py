"""What is said of the ledger's data outside of runs: corrections, decisions, executions; each a stream."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4, uuid5

from audit_ledger import events
from audit_ledger.errors import VersionConflict
from audit_ledger.events.limits import MAX_INPUTS
from audit_ledger.store.event_store import EventStore, last_version
from audit_ledger.store.refusals import translated

MAX_INPUT_BYTES = 40_000
"""Bytes of record types and ids that one event names at most, about."""


def correct(
    recorder: EventStore, position: int, *, by: str, reason: str, values: Mapping[str, Any] | None
) -> int:
    """Record that an event was wrong; returns the position of the correction.

    Raises:
        InvalidValue: an argument cannot be recorded.
    """
    event = events.EventCorrected.of(
        by=by,
        corrects=position,
        occurred_at=datetime.now(UTC),
        reason=reason,
        values=None if values is None else dict(values),
    )
    return recorder.append(uuid4(), 0, [event])


def acknowledge(recorder: EventStore, alert_id: UUID, *, by: str, reason: str | None) -> int:
    """Record that somebody has seen an alert; returns the position.

    Raises:
        InvalidValue: an argument cannot be recorded.
    """
    event = events.AlertAcknowledged.of(
        alert_id=alert_id, by=by, occurred_at=datetime.now(UTC), reason=reason
    )
    return recorder.append(uuid4(), 0, [event])


def heartbeat(recorder: EventStore) -> int:
    """Record that time went by; returns the position."""
    return recorder.append(uuid4(), 0, [events.HeartbeatRecorded.of(occurred_at=datetime.now(UTC))])


def decide(
    recorder: EventStore,
    ledger_id: UUID,
    decision_id: str | int | UUID,
    reference: int,
    *,
    inputs: Iterable[tuple[str, str | int | UUID]],
    by: str | None,
    details: Mapping[str, Any] | None,
) -> int:
    """Record a decision; returns the position of its first event.

    Raises:
        InvalidValue: an argument cannot be recorded.
        VersionConflict: a decision of that id is on record already.
    """
    now = datetime.now(UTC)
    made: list[events.Event] = []
    for share in _shares([tuple(one) for one in inputs]):
        first = not made
        made.append(
            events.DecisionMade.of(
                by=by,
                decision_id=decision_id,
                details=dict(details) if details is not None and first else None,
                inputs=share,
                occurred_at=now,
                reference=reference,
            )
        )
    try:
        return recorder.append(_stream(ledger_id, decision_id), 0, made) - len(made) + 1
    except VersionConflict as error:
        raise VersionConflict(
            f"a decision {decision_id} is on record already",
            expected="an id that no decision has yet",
            actual=error.actual,
            remedy=f"see it: audit-ledger chain {decision_id}; a new decision takes an id of its own",
        ) from error


def execute(
    recorder: EventStore,
    ledger_id: UUID,
    execution_id: str | int | UUID,
    decision_id: str | int | UUID,
    *,
    by: str | None,
    details: Mapping[str, Any] | None,
) -> int:
    """Record that a decision was carried out; returns the position.

    Raises:
        InvalidValue: an argument cannot be recorded.
    """
    event = events.DecisionExecuted.of(
        by=by,
        decision_id=decision_id,
        details=None if details is None else dict(details),
        execution_id=execution_id,
        occurred_at=datetime.now(UTC),
    )
    stream_id = uuid5(ledger_id, f"executions {decision_id}")
    while True:  # several may execute parts of one decision at the same moment
        with translated(recorder.database), recorder.database.connection() as conn:
            version = last_version(conn, stream_id)
        try:
            return recorder.append(stream_id, version, [event])
        except VersionConflict:
            continue


def _stream(ledger_id: UUID, decision_id: str | int | UUID) -> UUID:
    return uuid5(ledger_id, f"decision {decision_id}")


def _shares(inputs: list[Any]) -> Iterator[list[Any]]:
    """Inputs, so many at a time as one event can name; one share where there are none."""
    share: list[Any] = []
    size = 0
    for one in inputs:
        more = sum(len(str(part).encode("utf-8", "replace")) for part in one) + 8
        if share and (len(share) == MAX_INPUTS or size + more > MAX_INPUT_BYTES):
            yield share
            share, size = [], 0
        share.append(one)
        size += more
    yield share
