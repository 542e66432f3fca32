"""Folding: bringing the read models up by a chunk, beside the bare INSERT … SELECT of the same rows.

The bare statements (bare_fold.sql) fill identical tables, indexes and foreign keys included, in another
schema of the same database, decoding the same events through the same views, a chunk a transaction. They
are told the answers: no comparing, no counting, no second touch of a row. At the end both sides must
hold the same rows.

The same again in temporary tables, as a replay does it; then a rebuild of all, beside what the bare
statements took for as much; and beside both, the library's runner.
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import sql

from audit_ledger.events import ApiCallMade, Event, RecordIngested, RunCompleted, RunStarted
from audit_ledger.store import projections
from audit_ledger.store.event_store import EventStore
from audit_ledger.store.rebuild import rebuild
from audit_ledger.store.server import SUPERUSER
from audit_ledger.store.sql import SqlFile, projection_files
from tests.benchmarks.ground import LEDGER, Ground
from tests.benchmarks.harness import WARM_UP, Row, Sizes, rates, seconds, take_turns
from tests.benchmarks.replay import BUFFERS, TEMPORARY, Replay, one_by_one
from tests.benchmarks.rows import DICE, NOW, RECORD_TYPE, commitment, record_id

DATABASE, REFERENCE, RUNNER_DATABASE = "bench_fold", "bench_fold_reference", "bench_fold_runner"
RUNNER = "ProjectionRunner, one INSERT an event"
STATEMENTS = SqlFile.parse("bare_fold.sql", Path(__file__).with_name("bare_fold.sql").read_bytes()).blocks
TABLES = (
    "data_ingestion_runs",
    "data_ingestion_run_ends",
    "api_payload_rows",
    "api_call_logs",
    "record_versions",
    "data_ingestion_run_records",
)
RUN = 1000
"""Events of a run. A chunk holds a whole number of runs, so that the bare side need never update one."""

CALLS = 10
RECORDS = RUN - CALLS - 2


def measure(ground: Ground, sizes: Sizes) -> Iterator[Row]:
    """The rows of the table about folding and replaying."""
    ground.make_ledger(DATABASE)
    with ground.writer(DATABASE) as database:
        record_runs(EventStore(database), (WARM_UP + sizes.fold_chunks) * sizes.chunk // RUN)
    make_peer(ground)
    ground.settle(DATABASE)
    with (
        ground.writer(DATABASE) as database,
        ground.administer(DATABASE) as conn,
        ground.administer(DATABASE) as scratch,
        ground.administer(DATABASE) as bare_scratch,
    ):
        bare = BareFold(conn, "bare", sizes.chunk)
        replay = Replay(scratch, sizes.chunk)
        bare_replay = BareFold(bare_scratch, f"{TEMPORARY}, bare", sizes.chunk)

        def fold() -> float:
            return seconds(lambda: projections.update(database, upto=bare.position + 1, chunk=sizes.chunk))

        ours, theirs, replayed, bare_replayed = take_turns(sizes.fold_chunks, fold, bare, replay, bare_replay)
        require_same_rows(conn, f"{LEDGER}_read", "bare")
        require_same_rows(scratch, TEMPORARY, "bare")
    name = f"Fold {sizes.chunk:,} events into the read models"
    yield rates(name, "bare INSERT … SELECT", ours, theirs, sizes.chunk, 0.8)
    name = f"Replay {sizes.chunk:,} events into temporary tables"
    yield rates(name, "bare INSERT … SELECT", replayed, bare_replayed, sizes.chunk, 0.7)
    alone = the_runner(ground, sizes.runner_runs) * sizes.chunk
    name = f"Replay {sizes.chunk:,} events into temporary tables"
    yield rates(name, RUNNER, replayed, [alone] * len(replayed), sizes.chunk, 50)
    rebuilt = [rebuilding(ground) * sizes.chunk for _ in range(sizes.rebuilds)]
    name = "Rebuild all read models from the beginning"
    yield rates(name, "bare INSERT … SELECT", rebuilt, theirs[: sizes.rebuilds], sizes.chunk, 0.7)
    yield rates(name, RUNNER, rebuilt, [alone] * len(rebuilt), sizes.chunk, 50)


def the_runner(ground: Ground, runs: int) -> float:
    """The seconds that the library's runner takes for an event of a ledger of so many runs."""
    ground.make_ledger(RUNNER_DATABASE)
    with ground.writer(RUNNER_DATABASE) as database:
        record_runs(EventStore(database), runs)
    took = one_by_one(ground, RUNNER_DATABASE, runs * RUN)
    with ground.administer(RUNNER_DATABASE) as scratch:
        Replay(scratch, runs * RUN)()
        require_same_rows(scratch, TEMPORARY, f"{LEDGER}_read")
    return took / (runs * RUN)


def rebuilding(ground: Ground) -> float:
    """The seconds that a rebuild takes for an event."""
    url = ground.server.url(SUPERUSER, DATABASE)
    start = time.perf_counter()
    rebuilt = rebuild(url, replace(ground.settings, name=LEDGER))
    took = time.perf_counter() - start
    if any(change.inserted or change.updated or change.deleted for change in rebuilt.changes):
        raise RuntimeError(f"a rebuild found something to change: {rebuilt.changes}")
    return took / rebuilt.position


def record_runs(recorder: EventStore, count: int) -> None:
    """Append that many runs."""
    contents: dict[str, str] = {}
    for number in range(count):
        recorder.append(uuid4(), 0, [*events_of_run(number, contents)])


def events_of_run(number: int, contents: dict[str, str]) -> Iterator[Event]:
    """The events of a run: its start, calls, records, its end.

    Half of the records are declared as created. On the other half the ledger decides: of ten, five are
    new, four are as they were, and one has changed.

    Args:
        number: The run's number, from 0.
        contents: What the runs before it brought, by record id; this one's is added.
    """
    yield RunStarted.of(occurred_at=NOW, task=f"bench:{number % 7}", source=f"source {number % 3}")
    for call in range(CALLS):
        yield ApiCallMade.of(
            duration_ms=12,
            endpoint="api.example.com/beta/live/congresstrading",
            http_status_code=200,
            occurred_at=NOW,
            rate_limit_remaining=1000 - call,
            request=commitment(),
            response=commitment(),
        )
    again = iter(DICE.sample(list(contents), min(len(contents), RECORDS // 4)))
    for line in range(RECORDS):
        name = record_id(number * RECORDS + line)
        if line % 2:
            operation, content = "created", None
        else:
            operation, content = None, commitment()
            if line % 4:
                name = next(again, name)
                content = contents[name] if line % 20 < 16 and name in contents else content
            contents[name] = content
        yield RecordIngested.of(
            content=content, occurred_at=NOW, operation=operation, record_id=name, record_type=RECORD_TYPE
        )
    yield RunCompleted.of(data_date_start=NOW.date(), duration_ms=12, occurred_at=NOW)


def make_peer(ground: Ground) -> None:
    """Make the bare tables, and the answers, which a copy of the whole ledger is folded for."""
    with ground.administer("postgres") as conn:
        conn.execute(f"CREATE DATABASE {REFERENCE} TEMPLATE {DATABASE}")
    with ground.writer(REFERENCE) as database:
        projections.update(database)
    with ground.administer(REFERENCE) as source, ground.administer(DATABASE) as target:
        source.execute(f"SET search_path = {LEDGER}_read")
        target.execute(f"CREATE SCHEMA bare; SET search_path = bare, {LEDGER}")
        for file in projection_files():
            target.execute(file.blocks["ddl"].encode())
        target.execute(STATEMENTS["answers"].encode())
        for table in ("decided", "counted"):
            with (
                source.cursor().copy(f"COPY ({STATEMENTS[table]}) TO STDOUT") as answers,
                target.cursor().copy(f"COPY {table} FROM STDIN") as copy,
            ):
                for data in answers:
                    copy.write(data)


class BareFold:
    """The bare statements; calling it folds the next chunk.

    Attributes:
        position: Position of the last event that it has folded.
    """

    def __init__(self, conn: psycopg.Connection[Any], path: str, chunk: int) -> None:
        conn.execute(f"{BUFFERS}; SET search_path = {path}, {LEDGER}")
        if path.startswith(TEMPORARY):
            for file in projection_files():
                conn.execute(file.blocks["ddl"].encode())
        # Plans as good as ours, whatever the planner knows of tables that have only just grown.
        conn.execute(
            "SET enable_seqscan = off; SET enable_material = off; SET work_mem = '32MB'; SET jit = off;"
            " SET max_parallel_workers_per_gather = 0; ANALYZE decided; ANALYZE counted"
        )
        self.position = 0
        self._conn = conn
        self._chunk = chunk

    def __call__(self) -> float:
        """Fold one chunk; the seconds that took."""
        after, self.position = self.position, self.position + self._chunk
        statements = [
            STATEMENTS[table].replace(":after", str(after)).replace(":upto", str(self.position)).encode()
            for table in TABLES
        ]
        return seconds(lambda: self._execute(statements))

    def _execute(self, statements: list[bytes]) -> None:
        with self._conn.transaction():
            for statement in statements:
                self._conn.execute(statement)


def require_same_rows(conn: psycopg.Connection[Any], ours: str, theirs: str) -> None:
    """Make sure that both sides did the same work.

    Raises:
        RuntimeError: a table differs.
    """
    for table in TABLES:
        names = {"theirs": sql.Identifier(theirs, table), "ours": sql.Identifier(ours, table)}
        row = conn.execute(
            sql.SQL(
                "SELECT (SELECT count(*) FROM {ours}), (SELECT count(*) FROM {theirs}),"
                " (SELECT count(*) FROM (TABLE {ours} EXCEPT TABLE {theirs}) d)"
            ).format(**names)
        ).fetchone()
        if row is None or row[0] != row[1] or row[2] or not row[0]:
            raise RuntimeError(f"{table} differs from its peer: {row}")
