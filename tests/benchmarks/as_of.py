"""Questions as of an instant, beside the same SELECT without one, on a small ledger and on a large one.

Both ledgers are made by as_of.sql, set by set and under all guards, and folded as everywhere. Ours goes
through the views of the schema as_of, with an instant as the setting, so that each answer also looks for the
position that the instant means. The bare side reads the read models themselves: tables with the same indexes,
that know of no instant.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
from psycopg import sql

from audit_ledger.canonical import canonical_json
from audit_ledger.events import RecordIngested, RunCompleted, RunStarted
from audit_ledger.store import bodies, projections
from audit_ledger.store.connecting import as_of_schema
from audit_ledger.store.database import Database
from audit_ledger.store.sql import SqlFile
from tests.benchmarks.ground import LEDGER, Ground
from tests.benchmarks.harness import Row, Sizes, quartiles, seconds, take_turns, times
from tests.benchmarks.rows import NOW, RECORD_TYPE, trades

BLOCKS = SqlFile.parse("as_of.sql", Path(__file__).with_name("as_of.sql").read_bytes()).blocks
RUN = 1000
"""Events of a run."""

TOUCHES = 10
"""How often each record is touched: once in each tenth of the ledger."""

CONTENTS = 1000
"""Contents that records have; every other time a record is touched, it has another."""

TASKS = 1000
"""Tasks whose runs they are."""

AT_ONCE = 100_000
"""Events appended in one transaction, which the guards allow ten seconds."""

QUESTIONS = {
    "runs": "List of the last 50 runs",
    "provenance": "Provenance of a record",
    "content": "Content of a record",
}
MILLISECONDS = 2.0
"""What an answer may take in any case."""


def measure(ground: Ground, sizes: Sizes) -> Iterator[Row]:
    """The rows of the table about questions as of an instant."""
    ledgers = [Asked(ground, events) for events in (sizes.as_of_few, sizes.as_of_many)]
    small, large = (f"{ledger.events:,} events" for ledger in ledgers)
    for when, moment in (("now", 1), ("the first tenth", 10)):
        for question, name in QUESTIONS.items():
            contestants: list[Callable[[], float]] = []
            for ledger in ledgers:
                contestants += ledger.contestants(question, ledger.events // moment)
            few, bare_few, many, bare_many = take_turns(sizes.as_of_rounds, *contestants)
            yield beside(f"{name}, as of {when}, {small}", few, bare_few)
            yield beside(f"{name}, as of {when}, {large}", many, bare_many)
            yield times(f"{name}, as of {when}, {large}", small, many, few, 1.5)


def beside(name: str, ours: Sequence[float], bare: Sequence[float]) -> Row:
    """Ours may take twice what the bare SELECT takes, or two milliseconds."""
    limit = max(2 * median(bare), MILLISECONDS / 1000)
    return Row(
        name,
        f"{median(ours) * 1000:.2f} ms",
        f"bare SELECT: {median(bare) * 1000:.2f} ms, limit: {limit * 1000:.2f} ms",
        median(ours) / limit,
        1,
        at_least=False,
        spread=quartiles([one / limit for one in ours]),
    )


class Asked:
    """A ledger of so many events, and two connections of its reader.

    Attributes:
        events: How many.
    """

    def __init__(self, ground: Ground, events: int) -> None:
        self.events = events
        database = ledger_of(ground, events)
        url = ground.server.url(f"{LEDGER}_reader", database)
        self._ours, self._bare = (psycopg.connect(url, autocommit=True) for _ in range(2))
        self._ours.execute(f"SET search_path = {as_of_schema(LEDGER)}, {LEDGER}_read, {LEDGER}")
        self._bare.execute(f"SET search_path = {LEDGER}_read, {LEDGER}")

    def contestants(self, question: str, position: int) -> tuple[Callable[[], float], Callable[[], float]]:
        """Ours, as of the instant of a position, and the bare SELECT; both ask of the same records.

        Raises:
            RuntimeError: as of the last position, the two answers differ.
        """
        self._ours.execute(
            "SELECT set_config('audit_ledger.as_of', recorded_at::text, false) FROM events"
            " WHERE position = %s",
            [position],
        )
        records = min(position // RUN * (RUN - 2), len_of(self.events))
        asks = []
        for conn in (self._ours, self._bare):
            dice = random.Random(position)
            asks.append(lambda conn=conn, dice=dice: self._ask(conn, question, str(dice.randrange(records))))
        if position == self.events and asks[0]() != asks[1]():
            raise RuntimeError(f"{question}: as of now is not what is there now")
        ours, bare = asks
        return (lambda: seconds(ours)), (lambda: seconds(bare))

    def _ask(self, conn: psycopg.Connection[Any], question: str, record: str) -> list[tuple[Any, ...]]:
        given = None if question == "runs" else [record]
        rows = conn.execute(BLOCKS[question].encode(), given).fetchall()
        if not rows:
            raise RuntimeError(f"{question} of {record}: no answer")
        return rows


def ledger_of(ground: Ground, events: int) -> str:
    """The database with a ledger of so many events; it is made where it is not there yet."""
    database = f"bench_as_of_{events}"
    with ground.administer("postgres") as conn:
        if conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone():
            return database
    ground.make_ledger(database)
    with ground.writer(database) as writer:
        generate(writer, events)
        projections.update(writer)
    ground.settle(database)
    with ground.administer(database) as conn:
        conn.execute("VACUUM ANALYZE")
    return database


def len_of(events: int) -> int:
    """How many records a ledger of so many events has."""
    return max(1, events // TOUCHES // RUN) * (RUN - 2)


def generate(database: Database, events: int) -> None:
    """Append that many events, a multiple of ten runs."""
    contents = [
        bodies.Body(canonical_json(trade, "content"), "application/json") for _, trade in trades(CONTENTS)
    ]
    with database.connection() as conn, conn.transaction():
        commitments = bodies.put(conn, contents)
    named = {"record_id": "RECORD", "record_type": RECORD_TYPE}
    ingested = RecordIngested.of(content="C" * 43, occurred_at=NOW, **named).state.replace(
        b"C" * 43, b"CONTENT"
    )
    given = {
        "started": RunStarted.of(occurred_at=NOW, source="source", task="TASK")
        .state.decode()
        .replace(NOW.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), "STARTED"),
        "first": datetime.now(UTC) - timedelta(minutes=events // RUN),
        "tasks": TASKS,
        "completed": RunCompleted.of(duration_ms=12, occurred_at=NOW).state.decode(),
        "ingested": ingested.decode(),
        "commitments": commitments,
        "contents": len(set(commitments)),
        "records": len_of(events),
        "run": RUN,
    }
    with database.connection() as conn:
        at_once = min(AT_ONCE, events // 10)  # an instant apart, so that the first tenth has one
        for done in range(0, events, at_once):
            some = {**given, "events": min(at_once, events - done)}
            statement = BLOCKS["append"].replace("%", "%%")
            for name in sorted(some, key=len, reverse=True):  # so that none begins with another
                statement = statement.replace(f":{name}", f"%({name})s")
            with conn.transaction():
                conn.execute("SELECT FROM begin_append()")
                conn.execute(sql.SQL(statement), some)
