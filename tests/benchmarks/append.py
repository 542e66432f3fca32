"""Appending: the event store with every guard on, beside a bare COPY and beside the library's own recorder.

The bare table has the same columns and the same two indexes, and no trigger, check, lock or head. It
takes the same rows, packed beforehand, one COPY a batch. Its peer grows with it: a batch each in turn.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID, uuid4

import psycopg
from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import DictRow

from audit_ledger.events import Event, RecordIngested
from audit_ledger.store import packing
from audit_ledger.store.connecting import configure, connect
from audit_ledger.store.recorder import LedgerRecorder
from tests.benchmarks.ground import LEDGER, Ground
from tests.benchmarks.harness import Row, Sizes, rates, seconds, take_turns
from tests.benchmarks.rows import NOW, records

DATABASE = "bench_append"
PIECE = 32 * 1024
"""Bytes handed over at a time: psycopg's own buffer size, and no slower than any other that was tried."""

STOCK_CALL = 1000
"""Events that the library's recorder is given at a time, about its fastest. More than 2,000 of these make
a parameter of a megabyte, and psycopg's pipeline, which it is sent through, then waits for ever."""

MAKE_PEERS = """
CREATE SCHEMA bare AUTHORIZATION ledger_writer;
CREATE TABLE bare.events (LIKE ledger.events INCLUDING INDEXES);
ALTER TABLE bare.events OWNER TO ledger_writer;
CREATE SCHEMA stock AUTHORIZATION ledger_writer;
"""


def measure(ground: Ground, sizes: Sizes) -> Iterator[Row]:
    """The rows of the table about appending."""
    ground.make_ledger(DATABASE)
    with ground.administer(DATABASE) as conn:
        conn.execute(MAKE_PEERS)
    batch = records(sizes.batch)
    url = ground.writer_url(DATABASE)
    with (
        ground.writer(DATABASE) as database,
        connect(url, ground.settings) as conn,
        stock_recorder(url) as stock,
    ):
        configure(conn, LEDGER, ground.settings)
        recorder = LedgerRecorder(database)
        bare = BareCopy(conn, batch)

        def guarded() -> float:
            events = stored_events(uuid4(), 0, batch)
            return seconds(lambda: recorder.insert_events(events))

        def library() -> float:
            events = stored_events(uuid4(), 0, batch)
            calls = [events[start : start + STOCK_CALL] for start in range(0, len(events), STOCK_CALL)]
            return seconds(lambda: [stock.insert_events(call) for call in calls])

        def from_objects() -> float:
            stream_id = uuid4()
            return seconds(lambda: recorder.append(stream_id, 0, batch))

        ground.settle(DATABASE)
        ours, copied, theirs = take_turns(sizes.rounds, guarded, bare, library)
        name = f"Append {sizes.batch:,} events, every guard on"
        yield rates(name, "bare COPY", ours, copied, sizes.batch, 0.85)
        yield rates(name, f"stock recorder, {STOCK_CALL:,} a call", ours, theirs, sizes.batch, 4)
        ground.settle(DATABASE)
        ours, copied = take_turns(sizes.rounds, from_objects, bare)
        yield rates(
            f"{sizes.batch:,} pydantic events to durable rows", "bare COPY", ours, copied, sizes.batch, 0.45
        )


def stored_events(stream_id: UUID, version: int, events: Sequence[Event]) -> list[StoredEvent]:
    """Events of ours in the library's form."""
    return [
        StoredEvent(stream_id, next_version, event.type, event.state)
        for next_version, event in enumerate(events, version + 1)
    ]


class BareCopy:
    """A COPY of rows that were packed beforehand; calling it copies the next batch."""

    def __init__(self, conn: psycopg.Connection[DictRow], batch: list[RecordIngested]) -> None:
        self._conn = conn
        self._batch = batch
        self._position = 1

    def __call__(self) -> float:
        """Copy one batch; the seconds that took."""
        rows = packing.pack_rows(
            stored_events(uuid4(), 0, self._batch), self._position, NOW, f"{LEDGER}_writer"
        )
        self._position += len(self._batch)
        packed = packing.SIGNATURE + rows + packing.TRAILER
        pieces = [packed[start : start + PIECE] for start in range(0, len(packed), PIECE)]
        return seconds(lambda: self._copy(pieces))

    def _copy(self, pieces: list[bytes]) -> None:
        statement = f"COPY bare.events ({', '.join(packing.COLUMNS)}) FROM STDIN (FORMAT binary)"
        with self._conn.cursor() as cursor, cursor.copy(statement) as copy:
            for piece in pieces:
                copy.write(piece)


@contextmanager
def stock_recorder(url: str) -> Iterator[PostgresApplicationRecorder]:
    """The library's recorder as it comes, on a table of its own in the same database."""
    given = conninfo_to_dict(url)
    with PostgresDatastore(
        dbname=str(given["dbname"]),
        host=str(given["host"]),
        port=str(given["port"]),
        user=str(given["user"]),
        password="",
        schema="stock",
    ) as datastore:
        recorder = PostgresApplicationRecorder(datastore)
        recorder.create_table()
        yield recorder
