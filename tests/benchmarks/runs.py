"""Whole runs: what an empty one costs, alone, with connecting, and with starting the server first.

Three bare INSERTs, each committed, are what a run costs at the least: its start, its end, and what is
projected of it. Their table has the columns and the indexes of the event store, and nothing else.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import DictRow

import audit_ledger
from audit_ledger import Ledger
from audit_ledger.store.connecting import configure, connect
from audit_ledger.store.event_store import EventStore
from audit_ledger.store.server import DATABASE
from tests.benchmarks.ground import LEDGER, Ground
from tests.benchmarks.harness import Row, Sizes, seconds, take_turns, times, within

MAKE_PEER = """
CREATE SCHEMA bare AUTHORIZATION ledger_writer;
CREATE TABLE bare.events (LIKE ledger.events INCLUDING INDEXES);
ALTER TABLE bare.events OWNER TO ledger_writer;
"""

INSERT = """
INSERT INTO bare.events (position, recorded_at, recorded_by, stream_id, version, type, state)
VALUES (%b, %b, %b, %b, %b, %b, %b)
"""


def measure(ground: Ground, sizes: Sizes) -> Iterator[Row]:
    """The rows of the table about runs."""
    url = ground.writer_url(DATABASE)
    with audit_ledger.connect(home=ground.home) as ledger, connect(url, ground.settings) as conn:
        configure(conn, LEDGER, ground.settings)
        with ground.administer(DATABASE) as admin:
            admin.execute(MAKE_PEER)
        run_id = empty_run(ledger)
        states = [event.state for event in EventStore(ledger.database).read_stream(run_id)]
        bare = BareInserts(conn, states)
        ground.settle(DATABASE)
        ours, theirs = take_turns(4 * sizes.rounds, lambda: seconds(lambda: empty_run(ledger)), bare)
        yield times("An empty run: start, end, projected", "three bare INSERTs", ours, theirs, 4)

    def from_nothing() -> None:
        with audit_ledger.connect(home=ground.home) as ledger:
            empty_run(ledger)

    [spans] = take_turns(sizes.rounds, lambda: 1000 * seconds(from_nothing))
    yield within("Connect, an empty run, close", spans, 50, "ms")

    def start() -> float:
        ground.server.stop()
        return seconds(lambda: audit_ledger.connect(home=ground.home).close())

    [spans] = take_turns(sizes.starts, start)
    yield within("Connect to a stopped embedded ledger", spans, 1, "s")
    yield within("State of an empty run", [sum(map(len, states))], 1024, "bytes")


def empty_run(ledger: Ledger) -> UUID:
    """A run in which nothing happens; its id."""
    with ledger.run("bench:empty", source="bench") as run:
        return run.id


class BareInserts:
    """Three INSERTs of rows like those of an empty run, each committed."""

    def __init__(self, conn: psycopg.Connection[DictRow], states: list[bytes]) -> None:
        self._conn = conn
        self._rows = list(
            zip(("RunStarted", "RunCompleted", "RunCompleted"), [*states, states[-1]], strict=True)
        )
        self._positions = count(1)

    def __call__(self) -> float:
        """Insert three rows; the seconds that took."""
        return seconds(self._insert)

    def _insert(self) -> None:
        stream_id = uuid4()
        for version, (kind, state) in enumerate(self._rows, 1):
            now = datetime.now(UTC)
            row = [next(self._positions), now, f"{LEDGER}_writer", stream_id, version, kind, state]
            self._conn.execute(INSERT, row, prepare=True)
