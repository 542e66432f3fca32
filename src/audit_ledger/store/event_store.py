"""The event store: append and read, on the ledger's one table.

One lock orders positions; large batches go by binary COPY, small ones in one round trip; a second attempt
recognises its own first. recorder.py is the same for applications of the `eventsourcing` library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg import Connection
from psycopg.rows import DictRow

from audit_ledger.errors import AppendRefused, LedgerError, VersionConflict
from audit_ledger.store import packing
from audit_ledger.store.database import Database
from audit_ledger.store.packing import Storable
from audit_ledger.store.refusals import questioned, translated

if TYPE_CHECKING:
    from audit_ledger.events import Event, Plain

FEW = 20
"""Up to this many events go in one statement; above, COPY is faster."""

COPY_PAGE = 250
"""Events that are packed at a time."""

PAGE = 1000
"""Events that a streaming read holds at a time."""


@dataclass(frozen=True)
class RecordedEvent:
    """An event as the log has it.

    Attributes:
        position: Place in the ledger, from 1.
        recorded_at: When the ledger recorded it, by the database's clock.
        recorded_by: The database role that recorded it.
        stream_id: The stream.
        version: Place in the stream.
        type: The kind of fact.
        state: The exact bytes.
    """

    position: int
    recorded_at: datetime
    recorded_by: str
    stream_id: UUID
    version: int
    type: str
    state: bytes


class Row(NamedTuple):
    """An event on its way in, with the names of the library's StoredEvent, which takes longer to make."""

    originator_id: UUID | str
    originator_version: int
    topic: str
    state: bytes


class EventStore:
    """Appends to and reads from the ledger's log. Threads may share it.

    Attributes:
        database: The ledger.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def append(
        self, stream_id: UUID, version: int, events: Sequence[Event | Plain], *, again: bool = False
    ) -> int:
        """Append events of ours to a stream whose last version is `version`; returns the last position.

        Args:
            stream_id: The stream.
            version: Its last version; 0 for a new stream.
            events: What to append.
            again: Whether the whole batch may be there already, byte for byte, and then counts as done.

        Raises:
            VersionConflict: the stream has an event past that version.
            AppendRefused, LedgerBusy, WrongRole, Unreachable: the database said no, or nothing.
        """
        rows = in_stream(stream_id, version, events)
        with translated(self.database):
            return self.insert(rows, again=again) + len(rows) - 1

    def append_with(
        self,
        stream_id: UUID,
        version: int,
        make: Callable[[Connection[DictRow]], Sequence[Event | Plain]],
        *,
        again: bool = False,
    ) -> int:
        """Like `append`, for events that `make` returns: what it does first is in the same transaction."""
        rows: list[Row] = []

        def append() -> int:
            with self.database.connection() as conn, conn.transaction():
                rows[:] = in_stream(stream_id, version, make(conn))
                return append_rows(conn, rows)

        with translated(self.database):
            return self._attempt(append, rows, again=again) + len(rows) - 1

    def deliver(self, make: Callable[[Connection[DictRow]], Sequence[Row]]) -> None:
        """Append the events that `make` returns, of any streams, all or none; pass over those that are there.

        There already is what has the same stream, version, type and bytes. What `make` does first is in the
        same transaction; it may be called again.

        Raises:
            VersionConflict: other events are in the place of some.
            AppendRefused, InvalidValue: the database refuses one of them, and always will.
            LedgerBusy, WrongRole, Unreachable, LedgerError: not now.
        """

        def append(*, looking: bool) -> None:
            with self.database.connection() as conn, conn.transaction():
                rows = make(conn)
                rows = missing(conn, rows) if looking else rows
                if rows:
                    append_rows(conn, rows)

        try:
            with questioned(self.database):
                for attempt in self.database.attempts():
                    with attempt:
                        try:
                            append(looking=False)
                        except psycopg.IntegrityError:
                            append(looking=True)
        except psycopg.IntegrityError as error:
            raise AppendRefused("the database refused the events", actual=str(error).strip()) from error
        except psycopg.Error as error:
            raise LedgerError(
                "the database cannot take events now",
                actual=str(error).strip(),
                remedy="see the log of the database server",
            ) from error

    def insert(self, events: Sequence[Storable], *, again: bool) -> int:
        """Append a batch, all or none, of any streams; returns the first position.

        When the connection is lost, tries again for `retry_for` seconds. A first attempt whose answer was
        lost is then recognised: the whole batch is there, byte for byte.

        Args:
            events: What to append.
            again: Whether there was such an attempt before this call.

        Raises:
            psycopg.IntegrityError: a stream has an event at one of the versions.
            psycopg.Error: the database refused, or did not answer.
        """

        def append() -> int:
            with self.database.connection() as conn:
                return append_few(conn, events) if len(events) <= FEW else append_many(conn, events)

        return self._attempt(append, events, again=again)

    def _attempt(self, append: Callable[[], int], events: Sequence[Storable], *, again: bool) -> int:
        """Append, where the connection is lost again; what an attempt of unknown outcome did is found."""
        for number, attempt in enumerate(self.database.attempts()):
            with attempt:
                if not again and number == 0:
                    return append()
                try:
                    return append()
                except psycopg.IntegrityError:
                    first = self.find(events)
                    if first is None:
                        raise
                    return first
        raise AssertionError  # an attempt returns or raises

    def find(self, events: Sequence[Storable]) -> int | None:
        """The first position of a batch that is there as a whole and byte for byte, else None."""
        with self.database.connection() as conn:
            rows = conn.execute(
                "SELECT e.position, e.type, e.state"
                "  FROM unnest(%s::uuid[], %s::bigint[]) WITH ORDINALITY AS g(stream_id, version, n)"
                "  JOIN events e USING (stream_id, version) ORDER BY g.n",
                [[e.originator_id for e in events], [e.originator_version for e in events]],
            ).fetchall()
        if not rows or len(rows) != len(events):
            return None
        first: int = rows[0]["position"]
        same = all(
            row["position"] == position and row["type"] == event.topic and bytes(row["state"]) == event.state
            for position, (row, event) in enumerate(zip(rows, events, strict=True), first)
        )
        return first if same else None

    def read(
        self, after: int = 0, upto: int | None = None, types: Sequence[str] = ()
    ) -> Iterator[RecordedEvent]:
        """Stream the events of a range of positions, (after, upto], in order, in constant memory."""
        where = "type = ANY(%(types)s::text[])" if types else "true"
        return self._pages("position", after, upto, where, {"types": list(types)})

    def read_stream(
        self, stream_id: UUID, after: int = 0, upto: int | None = None
    ) -> Iterator[RecordedEvent]:
        """Stream the events of one stream by version, (after, upto], in order, in constant memory."""
        return self._pages("version", after, upto, "stream_id = %(stream)s", {"stream": stream_id})

    def _pages(
        self, by: str, after: int, upto: int | None, where: str, params: dict[str, Any]
    ) -> Iterator[RecordedEvent]:
        bound = f" AND {by} <= %(upto)s" if upto is not None else ""
        query = (
            "SELECT position, recorded_at, recorded_by, stream_id, version, type, state FROM events"
            f" WHERE {by} > %(after)s{bound} AND ({where}) ORDER BY {by} LIMIT {PAGE}"
        )
        # Version 0 exists in streams that others wrote: a stream is read from its beginning.
        after = after if by == "position" or after else -1
        while True:
            rows = self.database.query(query, {**params, "after": after, "upto": upto})
            for row in rows:
                yield RecordedEvent(**row)
            if len(rows) < PAGE:
                return
            after = rows[-1][by]


def missing(conn: Connection[DictRow], rows: Sequence[Row]) -> list[Row]:
    """Those rows that are not there, byte for byte.

    Raises:
        VersionConflict: something else is in the place of one.
    """
    found = conn.execute(
        "SELECT g.n, e.type, e.state"
        "  FROM unnest(%b::uuid[], %b::bigint[]) WITH ORDINALITY AS g(stream_id, version, n)"
        "  JOIN events e USING (stream_id, version)",
        [[row.originator_id for row in rows], [row.originator_version for row in rows]],
    ).fetchall()
    for there in found:
        row = rows[there["n"] - 1]
        if (there["type"], bytes(there["state"])) != (row.topic, row.state):
            raise VersionConflict(
                f"the ledger has another event at version {row.originator_version} of {row.originator_id}",
                expected=f"{row.topic}, {len(row.state)} bytes",
                actual=f"{there['type']}, {len(there['state'])} bytes",
                remedy="one process writes a stream: find out who wrote it there",
            )
    present = {there["n"] - 1 for there in found}
    return [row for number, row in enumerate(rows) if number not in present]


def append_few(conn: Connection[DictRow], events: Sequence[Storable]) -> int:
    """Append in one round trip; returns the first position."""
    row = conn.execute(
        "SELECT append(%b::uuid[], %b::bigint[], %b::text[], %b::bytea[]) AS first",
        [
            [e.originator_id if isinstance(e.originator_id, UUID) else UUID(e.originator_id) for e in events],
            [e.originator_version for e in events],
            [e.topic for e in events],
            [e.state for e in events],
        ],
        prepare=True,
    ).fetchone()
    assert row is not None  # a function call has a row
    return int(row["first"])


def in_stream(stream_id: UUID, version: int, events: Sequence[Event | Plain]) -> list[Row]:
    """Events of ours on their way to a stream whose last version is `version`."""
    return [
        Row(stream_id, next_version, event.type, event.state)
        for next_version, event in enumerate(events, version + 1)
    ]


def last_version(conn: Connection[DictRow], stream_id: UUID) -> int:
    """The version of the last event of a stream; 0 where there is none."""
    row = conn.execute(
        "SELECT coalesce(max(version), 0) AS version FROM events WHERE stream_id = %b", [stream_id]
    ).fetchone()
    assert row is not None  # an aggregate has a row
    return int(row["version"])


def append_rows(conn: Connection[DictRow], events: Sequence[Storable]) -> int:
    """Append in the transaction that the connection is in; returns the first position."""
    return append_few(conn, events) if len(events) <= FEW else copy(conn, events)


def append_many(conn: Connection[DictRow], events: Sequence[Storable]) -> int:
    """Append by COPY, in a transaction of its own; returns the first position."""
    with conn.transaction():
        return copy(conn, events)


def copy(conn: Connection[DictRow], events: Sequence[Storable]) -> int:
    """Append by COPY, in the transaction that the connection is in; returns the first position.

    Rows are packed page by page while the server takes in the page before.
    """
    with conn.cursor() as cursor:
        head = cursor.execute("SELECT * FROM begin_append()", prepare=True).fetchone()
        assert head is not None  # a function call has a row
        first = int(head["last_position"]) + 1
        with cursor.copy(f"COPY events ({', '.join(packing.COLUMNS)}) FROM STDIN (FORMAT binary)") as rows:
            rows.write(packing.SIGNATURE)
            for start in range(0, len(events), COPY_PAGE):
                page = events[start : start + COPY_PAGE]
                rows.write(
                    packing.pack_rows(page, first + start, head["now_recorded_at"], head["now_recorded_by"])
                )
            rows.write(packing.TRAILER)
    return first
