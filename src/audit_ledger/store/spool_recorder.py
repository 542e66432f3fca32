"""The tables of a spool: the `eventsourcing` library's SQLite recorder, and what it does not know of.

    stored_events   the library's: originator_id, originator_version, topic, state; in order of rowid
    bodies          bytes that events have yet to refer to, each once; of one too large, what is left of it
    event_bodies    which event refers to which body, by which field
    streams         of each stream: the ledger that it belongs to (NULL: the ledger was never reached), and
                    why it was set aside, if it was
    troubles        the last error of writing or forwarding

A batch is on disk when it is written (write-ahead log, synchronous = FULL). What is deleted is overwritten
with zeros, and its space given back.
"""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from eventsourcing.persistence import Notification, StoredEvent
from eventsourcing.sqlite import (
    SQLiteApplicationRecorder,
    SQLiteConnection,
    SQLiteConnectionPool,
    SQLiteCursor,
    SQLiteDatastore,
)

from audit_ledger.store.bodies import Body, Unkept
from audit_ledger.store.pending import Batch, Spooled
from audit_ledger.store.spool import ANY_WAITING

FORMAT = 1
"""The `user_version` of the file."""

PAGE_BYTES = 4096
MAX_PAGES = 2**32 - 2
"""SQLite's own limits: its usual page, and how many a file has at most."""

TABLES = [
    "CREATE TABLE IF NOT EXISTS bodies (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE,"
    " media_type TEXT NOT NULL, size INTEGER NOT NULL, content BLOB, commitment TEXT, salt BLOB)",
    "CREATE TABLE IF NOT EXISTS event_bodies (originator_id TEXT, originator_version INTEGER, field TEXT,"
    " body INTEGER NOT NULL, PRIMARY KEY (originator_id, originator_version, field)) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS event_bodies_body ON event_bodies (body)",
    "CREATE TABLE IF NOT EXISTS streams (originator_id TEXT PRIMARY KEY, ledger_id TEXT, set_aside TEXT)"
    " WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS troubles (id INTEGER PRIMARY KEY CHECK (id = 1), error TEXT, at TEXT)",
]


@dataclass(frozen=True)
class SpooledStream:
    """What waits of one stream.

    Attributes:
        stream_id: The stream: a run's id, mostly.
        events: How many events.
        ledger_id: The ledger that it belongs to; None where none had ever been reached.
        set_aside: Why the ledger refused it for good; it is kept, and forwarded no more.
    """

    stream_id: UUID
    events: int
    ledger_id: UUID | None
    set_aside: str | None


class _Pool(SQLiteConnectionPool):
    """Connections to a file that is there already, durable and bounded."""

    def __init__(self, path: Path, max_bytes: int, lock_timeout: int) -> None:
        super().__init__(db_name=f"{path.as_uri()}?mode=rw", lock_timeout=lock_timeout)
        self._max_pages = min(max_bytes // PAGE_BYTES, MAX_PAGES)
        self._seconds = lock_timeout

    def _create_connection(self) -> SQLiteConnection:
        """As the library's, which does not close what turns out to be damaged."""
        connection = sqlite3.connect(
            self.db_name,
            uri=True,
            check_same_thread=False,  # the pool sees to it that one at a time uses it
            isolation_level=None,
            timeout=self._seconds,
        )
        try:
            for pragma in (
                "journal_mode = WAL",
                "synchronous = FULL",
                "secure_delete = ON",
                f"max_page_count = {self._max_pages}",
            ):
                connection.execute(f"PRAGMA {pragma}")
        except BaseException:
            connection.close()
            raise
        connection.row_factory = sqlite3.Row
        return SQLiteConnection(sqlite_conn=connection, max_age=self.max_age)


class SpoolDatastore(SQLiteDatastore):
    """The library's datastore, on such connections."""

    def __init__(self, path: Path, max_bytes: int, lock_timeout: int) -> None:
        super().__init__(str(path))
        self.pool = _Pool(path, max_bytes, lock_timeout)


class SpoolRecorder(SQLiteApplicationRecorder):
    """Writes to, reads from and deletes from a spool's tables. Threads and processes may share them."""

    datastore: SpoolDatastore

    def __init__(self, datastore: SpoolDatastore) -> None:
        super().__init__(datastore)
        # One process writes a stream: what is there already is the same, from an attempt whose outcome
        # was unknown.
        self.insert_events_statement += " ON CONFLICT DO NOTHING"

    def construct_create_table_statements(self) -> list[str]:
        """The library's table, and ours."""
        return [*super().construct_create_table_statements(), *TABLES]

    def write(self, batch: Batch, ledger_id: UUID | None) -> None:
        """Add a batch, all or none; it is on disk when this returns."""
        events = [
            StoredEvent(batch.stream_id, version, pending.event.type, pending.event.state)
            for version, pending in enumerate(batch.events, batch.version + 1)
        ]
        self.insert_events(events, batch=batch, ledger_id=ledger_id)

    def _insert_events(
        self, c: SQLiteCursor, stored_events: Sequence[StoredEvent], **kwargs: Any
    ) -> Sequence[int] | None:
        batch: Batch = kwargs["batch"]
        ledger_id: UUID | None = kwargs["ledger_id"]
        stream = batch.stream_id.hex
        # A write comes first, so that whoever writes meanwhile is waited for.
        c.execute(
            "INSERT INTO streams VALUES (?, ?, NULL) ON CONFLICT DO UPDATE"
            " SET ledger_id = coalesce(streams.ledger_id, excluded.ledger_id)",
            [stream, ledger_id and str(ledger_id)],
        )
        for version, pending in enumerate(batch.events, batch.version + 1):
            for field, body in pending.bodies.items():
                digest = body.sha256 if isinstance(body, Body) else body.commitment.encode()
                c.execute(
                    "INSERT INTO bodies VALUES (NULL,?,?,?,?,?,?) ON CONFLICT DO NOTHING", _row(body, digest)
                )
                c.execute(
                    "INSERT INTO event_bodies SELECT ?, ?, ?, id FROM bodies WHERE digest = ?"
                    " ON CONFLICT DO NOTHING",
                    [stream, version, field, digest],
                )
        return super()._insert_events(c, stored_events)

    def page(
        self, after: int, limit: int, max_bytes: int, passed_over: set[UUID]
    ) -> tuple[list[Spooled], int]:
        """The next events in order, with their bodies.

        Args:
            after: The number of the last event that was read.
            limit: Events to read at most.
            max_bytes: Bytes of bodies to read at most; one event is read whatever its size.
            passed_over: Streams that are left out.

        Returns:
            The events, and the number of the last one that was looked at; no event may be left of a page.
        """
        found = self.select_notifications(after, limit, inclusive_of_start=False)
        if not found:
            return [], after
        last = found[-1].id
        referred: dict[int, dict[str, int]] = {}
        sizes: dict[int, int] = {}
        with self.datastore.transaction(commit=False) as c:
            c.execute(
                "SELECT e.rowid AS number, r.field, r.body, b.size, b.content IS NULL AS unkept"
                "  FROM stored_events e JOIN event_bodies r USING (originator_id, originator_version)"
                "  JOIN bodies b ON b.id = r.body WHERE e.rowid > ? AND e.rowid <= ?",
                [after, last],
            )
            for row in c.fetchall():
                referred.setdefault(row["number"], {})[row["field"]] = row["body"]
                sizes[row["body"]] = 0 if row["unkept"] else row["size"]
            chosen: list[Notification] = []
            wanted: set[int] = set()
            held = 0
            for event in found:
                if event.originator_id in passed_over:
                    continue
                new = set(referred.get(event.id, {}).values()) - wanted
                held += sum(sizes[body] for body in new)
                if chosen and held > max_bytes:
                    last = chosen[-1].id
                    break
                chosen.append(event)
                wanted |= new
            bodies = {number: self._body(c, number) for number in wanted}
        return [
            Spooled(
                event.id,
                UUID(str(event.originator_id)),
                event.originator_version,
                event.topic,
                bytes(event.state),
                {field: bodies[number] for field, number in referred.get(event.id, {}).items()},
            )
            for event in chosen
        ], last

    def _body(self, c: SQLiteCursor, number: int) -> Body | Unkept:
        c.execute("SELECT * FROM bodies WHERE id = ?", [number])
        row = c.fetchone()
        if row["content"] is None:
            return Unkept(row["commitment"], bytes(row["salt"]), row["size"], row["media_type"])
        return Body(bytes(row["content"]), row["media_type"])

    def remove(self, events: Sequence[Spooled]) -> None:
        """Delete events, and the bodies that no event refers to any more."""
        keys = [(event.stream_id.hex, event.version) for event in events if event.bodies]
        with self.datastore.transaction(commit=True) as c:
            c.executemany("DELETE FROM stored_events WHERE rowid = ?", [(event.number,) for event in events])
            for key in keys:
                c.execute(
                    "DELETE FROM event_bodies WHERE originator_id = ? AND originator_version = ?"
                    " RETURNING body",
                    key,
                )
                c.executemany(
                    "DELETE FROM bodies WHERE id = ? AND NOT EXISTS"
                    " (SELECT 1 FROM event_bodies WHERE body = bodies.id)",
                    [(row["body"],) for row in c.fetchall()],
                )

    def tidy(self) -> None:
        """Forget streams of which nothing is left, and give free space back."""
        with self.datastore.transaction(commit=True) as c:
            c.execute(
                "DELETE FROM streams WHERE NOT EXISTS"
                " (SELECT 1 FROM stored_events e WHERE e.originator_id = streams.originator_id)"
            )
        with self.datastore.get_connection(commit=True) as connection:
            cursor = connection.cursor()
            # As a script: it frees a page a step, and rows without columns are not fetched.
            cursor.sqlite_cursor.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE)")

    def adopt(self, ledger_id: UUID) -> int:
        """Let streams whose ledger was never reached belong to this one; returns how many."""
        return self._changed("UPDATE streams SET ledger_id = ? WHERE ledger_id IS NULL", str(ledger_id))

    def set_aside(self, stream_id: UUID, reason: str) -> None:
        """Keep a stream, and forward it no more."""
        self._changed("UPDATE streams SET set_aside = ? WHERE originator_id = ?", reason, stream_id.hex)

    def take_back(self) -> int:
        """Forward again what was set aside; returns how many streams."""
        return self._changed("UPDATE streams SET set_aside = NULL WHERE set_aside IS NOT NULL")

    def note(self, error: str | None) -> None:
        """Remember the last error; None: there is none any more."""
        self._changed(
            "INSERT INTO troubles VALUES (1, ?, ?)"
            " ON CONFLICT DO UPDATE SET error = excluded.error, at = excluded.at",
            error,
            error and datetime.now(UTC).isoformat(),
        )

    def _changed(self, statement: str, *params: object) -> int:
        with self.datastore.transaction(commit=True) as c:
            c.execute(statement, params)
            c.execute("SELECT changes() AS n")
            return int(c.fetchone()["n"])

    def trouble(self) -> tuple[str, datetime] | None:
        """The last error, and when it was."""
        for row in self._rows("SELECT error, at FROM troubles WHERE error IS NOT NULL"):
            return row["error"], datetime.fromisoformat(row["at"])
        return None

    def streams(self) -> list[SpooledStream]:
        """The streams with events, in the order of their first ones."""
        return [
            SpooledStream(
                UUID(row["id"]), row["events"], row["ledger_id"] and UUID(row["ledger_id"]), row["set_aside"]
            )
            for row in self._rows(
                "SELECT e.originator_id AS id, s.ledger_id, s.set_aside, count(*) AS events"
                "  FROM stored_events e LEFT JOIN streams s USING (originator_id)"
                " GROUP BY e.originator_id ORDER BY min(e.rowid)"
            )
        ]

    def passed_over(self, ledger_id: UUID) -> set[UUID]:
        """The streams that are set aside, or belong to another ledger."""
        rows = self._rows(
            "SELECT originator_id AS id FROM streams WHERE set_aside IS NOT NULL OR ledger_id <> ?",
            str(ledger_id),
        )
        return {UUID(row["id"]) for row in rows}

    def oldest(self) -> datetime | None:
        """occurred_at of the first event."""
        for row in self._rows("SELECT state FROM stored_events ORDER BY rowid LIMIT 1"):
            return datetime.fromisoformat(json.loads(row["state"])["occurred_at"])
        return None

    def any(self) -> bool:
        """Whether an event is there that is not set aside."""
        return bool(self._rows(ANY_WAITING))

    def _rows(self, statement: str, *params: object) -> list[sqlite3.Row]:
        with self.datastore.transaction(commit=False) as c:
            c.execute(statement, params)
            return list(c.fetchall())


def _row(body: Body | Unkept, digest: bytes) -> tuple[object, ...]:
    if isinstance(body, Body):
        return digest, body.media_type, len(body.content), body.content, None, None
    return digest, body.media_type, body.size, None, body.commitment, body.salt


def make(path: Path, *, max_bytes: int) -> None:
    """Make an empty spool in a file that is there, empty.

    Pages can be given back only where that is said before the first table is made.
    """
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute(f"PRAGMA user_version = {FORMAT}")
        for statement in TABLES:
            connection.execute(statement)
    finally:
        connection.close()
    datastore = SpoolDatastore(path, max_bytes, 1)
    try:
        SpoolRecorder(datastore).create_table()
    finally:
        datastore.close()
