"""Erasing: the events that say so first, then, in the same transaction, the bytes.

What forbids it is decided by the database (schema/0006_erasure.sql), under locks that keep everybody from
referring to the bodies meanwhile. The log is read for referring events before anything is locked.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID, uuid5

from psycopg import Connection
from psycopg.rows import DictRow

from audit_ledger import events
from audit_ledger.events.limits import MAX_REFERRERS
from audit_ledger.store import projections
from audit_ledger.store.event_store import EventStore, append_rows, in_stream, last_version
from audit_ledger.store.refusals import translated


@dataclass(frozen=True)
class Referrer:
    """An event that referred to a body.

    Attributes:
        position: Its position.
        run_id: The run that it is of.
        record_type: The record's type, where the body was a record's content.
        record_id: The record's id, likewise.
        endpoint: What was called, where the body was a request or a response.
    """

    position: int
    run_id: UUID
    record_type: str | None
    record_id: str | None
    endpoint: str | None


@dataclass(frozen=True)
class ErasedBody:
    """A body that was erased.

    Attributes:
        commitment: Which one.
        position: Position of the (first) BodyErased event.
        referrers: Every event that referred to it.
    """

    commitment: str
    position: int
    referrers: list[Referrer]


@dataclass(frozen=True)
class Erasure:
    """What was erased.

    Attributes:
        bodies: Each body, with the events that referred to it.
        payload_ids: API responses that may hold the same data and were not erased: those of the runs that
            brought the record.
    """

    bodies: list[ErasedBody]
    payload_ids: list[int]


def erase(
    recorder: EventStore, ledger_id: UUID, commitments: Sequence[str], *, by: str, reason: str
) -> list[ErasedBody]:
    """Erase bodies, all or none.

    Raises:
        InvalidValue: `by` or `reason` cannot be recorded.
        Held: a hold covers an event that refers to one of them.
        RetentionNotOver: one of them must be kept longer.
        Erased: one of them is erased already.
        WrongRole: the role is no officer.
        LedgerBusy: others append, or store bodies, for longer than `lock_timeout`.
    """

    def event(commitment: str, share: Sequence[Referrer]) -> "events.BodyErased":
        positions = [referrer.position for referrer in share]
        return events.BodyErased.of(
            by=by, commitment=commitment, occurred_at=now, reason=reason, referrers=positions
        )

    now = datetime.now(UTC)
    event("A" * 43, [])  # what cannot be recorded is refused before anything is locked
    database = recorder.database
    with translated(database):
        projections.update(database)
        with database.connection() as conn:
            conn.execute("SELECT scan_for_bodies(%s)", [list(commitments)])
            with conn.transaction():
                erased: list[ErasedBody] = []
                for commitment, referrers in _begin(conn, commitments).items():
                    stream_id = uuid5(ledger_id, commitment)
                    said = [event(commitment, share) for share in _shares(referrers)]
                    rows = in_stream(stream_id, last_version(conn, stream_id), said)
                    erased.append(ErasedBody(commitment, append_rows(conn, rows), referrers))
                for body in erased:
                    conn.execute("SELECT erase_body(%s)", [body.position])
    return erased


def _begin(conn: Connection[DictRow], commitments: Sequence[str]) -> dict[str, list[Referrer]]:
    """Lock bodies and log; returns the events that refer to each body."""
    referrers: dict[str, list[Referrer]] = {commitment: [] for commitment in commitments}
    for row in conn.execute("SELECT * FROM begin_erasure(%s)", [list(commitments)]):
        referrers[row.pop("commitment")].append(Referrer(**row))
    return referrers


def _shares(referrers: Sequence[Referrer]) -> Iterator[Sequence[Referrer]]:
    """Referrers, so many at a time as one event can name; one share where there are none."""
    for start in range(0, max(1, len(referrers)), MAX_REFERRERS):
        yield referrers[start : start + MAX_REFERRERS]
