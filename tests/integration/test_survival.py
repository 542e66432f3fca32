"""What must survive: many writers at once, killed writers, a restarted server, a clock set back."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import psutil
import psycopg

import audit_ledger
from audit_ledger import Ledger
from audit_ledger.store.server import SUPERUSER, EmbeddedServer
from tests.store import events, head, log, recorder_at, until

Connection = psycopg.Connection[Any]

WRITER = """
import json, random, sys
from uuid import UUID, uuid4
from eventsourcing.persistence import StoredEvent
from audit_ledger.settings import load
from audit_ledger.store.recorder import Datastore, LedgerRecorder

url, seed, batches = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rng = random.Random(seed)
with Datastore(url, "ledger", load(url=url)) as database:
    recorder = LedgerRecorder(database)
    recorder.max_notification_id()
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(batches):
        size = rng.choice([1, 2, 20, 21, 100, 600])
        stream = uuid4()
        state = json.dumps({"writer": seed, "batch": number, "size": size}).encode()
        batch = [StoredEvent(stream, version, "Noted", state) for version in range(1, size + 1)]
        positions = recorder.insert_events(batch)
        print(json.dumps([str(stream), positions[0], positions[-1], size]), flush=True)
"""

TAILER = """
import json, sys
from audit_ledger.settings import load
from audit_ledger.store.recorder import Datastore, LedgerRecorder

url, way = sys.argv[1:]

def polled(recorder):
    last = 0
    while True:
        for event in recorder.read(last):
            last = event.position
            yield event.position, str(event.stream_id), event.version, event.type

def notified(recorder):
    with recorder.subscribe(gt=0) as subscription:
        for n in subscription:
            yield n.id, str(n.originator_id), n.originator_version, n.topic

with Datastore(url, "ledger", load(url=url)) as database:
    recorder = LedgerRecorder(database)
    print("ready", flush=True)
    seen = []
    for fact in {"polled": polled, "notified": notified}[way](recorder):
        if fact[3] == "Last":
            break
        seen.append(fact[:3])
    print(json.dumps(seen), flush=True)
"""

RUN = """
import sys, time
import audit_ledger

ledger = audit_ledger.connect(sys.argv[1])
with ledger.run("data_fetch:killed", source="nowhere") as run:
    print(run.id, flush=True)
    time.sleep(600)
"""


@contextmanager
def process(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Python that runs code, and is killed at the end if it still does."""
    started = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "default"},
    )
    with started:
        try:
            yield started
        finally:
            started.kill()


def told(started: subprocess.Popen[str]) -> str:
    assert started.stdout is not None
    return started.stdout.readline().strip()


def go(started: subprocess.Popen[str]) -> None:
    assert started.stdin is not None
    started.stdin.write("\n")
    started.stdin.flush()


def whole_batches(admin: Connection) -> dict[str, tuple[int, int, int]]:
    """First and last position and size of each batch of WRITER; each must be whole and in one piece."""
    batches: dict[str, list[tuple[int, int, int]]] = {}
    for position, _, _, stream, version, _, state in log(admin):
        batches.setdefault(str(stream), []).append((position, version, json.loads(state)["size"]))
    found = {}
    for stream, rows in batches.items():
        first, size = rows[0][0], rows[0][2]
        assert rows == [(first + n, n + 1, size) for n in range(size)]
        found[stream] = (first, first + size - 1, size)
    return found


def check_order(admin: Connection) -> None:
    """Positions 1 to n without gaps, recorded_at never decreasing, one recorded_at a batch."""
    rows = log(admin)
    assert [row[0] for row in rows] == list(range(1, head(admin) + 1))
    assert all(earlier[1] <= later[1] for earlier, later in pairwise(rows))


def sessions(admin: Connection) -> list[Any]:
    return admin.execute(
        "SELECT pid FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'audit-ledger'"
    ).fetchall()


class TestManyWriters:
    def test_sixteen_processes_write_at_once_and_nobody_misses_anything(
        self, url: str, reader_url: str, admin: Connection
    ) -> None:
        with ExitStack() as stack:
            tailers = [
                stack.enter_context(process(TAILER, reader_url, way)) for way in ("polled", "notified")
            ]
            writers = [stack.enter_context(process(WRITER, url, seed, 13)) for seed in range(16)]
            for started in [*tailers, *writers]:
                assert told(started) == "ready"
            for writer in writers:
                go(writer)
            with ThreadPoolExecutor(len(writers)) as pool:
                said = list(pool.map(lambda writer: [json.loads(told(writer)) for _ in range(13)], writers))
            with recorder_at(url) as recorder:
                last = events(uuid4(), 1)[0]
                recorder.insert_events(
                    [type(last)(last.originator_id, last.originator_version, "Last", b'{"size": 1}')]
                )
            seen = [json.loads(told(tailer)) for tailer in tailers]
        check_order(admin)
        rows = log(admin)
        acknowledged = {
            stream: (first, last_, size) for batches in said for stream, first, last_, size in batches
        }
        assert len(acknowledged) == 16 * 13
        assert acknowledged.items() <= whole_batches(admin).items()
        assert sum(size for *_, size in acknowledged.values()) + 1 == len(rows)
        expected = [[row[0], str(row[3]), row[4]] for row in rows[:-1]]
        assert seen == [expected, expected]

    def test_a_storm_of_rollbacks_leaves_no_gap(self, url: str, admin: Connection) -> None:
        def transactions(seed: int) -> list[UUID]:
            rng, kept = random.Random(seed), []
            with psycopg.connect(url, autocommit=True, options="-c search_path=ledger") as conn:
                for _ in range(30):
                    undone = rng.random() < 0.6
                    with conn.transaction(force_rollback=undone):
                        for _ in range(rng.randint(1, 3)):
                            stream, size = uuid4(), rng.randint(1, 40)
                            conn.execute(
                                "SELECT append(array_agg(%s::uuid), array_agg(n), array_agg('Noted'::text),"
                                "              array_agg(%s::bytea)) FROM generate_series(1, %s::bigint) n",
                                [stream, json.dumps({"size": size}).encode(), size],
                            )
                            kept += [] if undone else [stream]
            return kept

        with ThreadPoolExecutor(8) as pool:
            kept = {str(stream) for streams in pool.map(transactions, range(8)) for stream in streams}
        check_order(admin)
        assert whole_batches(admin).keys() == kept


class TestKilled:
    def test_what_a_killed_writer_was_told_is_there_and_nothing_half(
        self, url: str, admin: Connection
    ) -> None:
        rng = random.Random()
        acknowledged: dict[str, tuple[int, int, int]] = {}

        def write_until_killed(seed: int) -> None:
            with process(WRITER, url, seed, 10**6) as writer:
                assert told(writer) == "ready"
                go(writer)
                for _ in range(rng.randint(0, 12)):
                    acknowledge(told(writer))
                time.sleep(rng.uniform(0, 0.03))  # a random moment: waiting for, sending, or committing
                writer.send_signal(signal.SIGKILL)
                assert writer.stdout is not None
                for line in writer.stdout.read().splitlines():
                    acknowledge(line)

        def acknowledge(line: str) -> None:
            stream, first, last, size = json.loads(line)
            acknowledged[stream] = (first, last, size)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write_until_killed, range(12)))
        until(lambda: not sessions(admin))
        check_order(admin)
        assert acknowledged
        assert acknowledged.items() <= whole_batches(admin).items()

    def test_a_run_that_was_entered_is_on_record_when_it_is_killed_at_once(
        self, url: str, ledger: Ledger, admin: Connection
    ) -> None:
        for _ in range(2):
            with process(RUN, url) as started:
                run_id = UUID(told(started))
                started.send_signal(signal.SIGKILL)
                started.wait()
            assert [(row[4], row[5]) for row in log(admin) if row[3] == run_id] == [(1, "RunStarted")]
            assert ledger.find_run(run_id).status == "running"
            assert ledger.close_run(run_id, "killed").status == "failed"


class TestClock:
    def test_a_clock_set_back_holds_recorded_at_where_it_was(
        self, url: str, ledger: Ledger, admin: Connection
    ) -> None:
        """The clock was an hour ahead when the last event was recorded."""
        with recorder_at(url) as recorder:
            recorder.insert_events(events(uuid4(), 1))
            admin.execute("ALTER TABLE ledger.events DISABLE TRIGGER USER")
            admin.execute("ALTER TABLE ledger.head DISABLE TRIGGER USER")
            admin.execute("UPDATE ledger.head SET recorded_at = recorded_at + interval '1 hour'")
            admin.execute("UPDATE ledger.events SET recorded_at = recorded_at + interval '1 hour'")
            for table, trigger in [
                *[("events", name) for name in ("events_lock", "events_guard", "events_immutable")],
                ("head", "head_immutable"),
            ]:
                admin.execute(f"ALTER TABLE ledger.{table} ENABLE ALWAYS TRIGGER {trigger}")
            ahead = log(admin)[0][1]
            recorder.insert_events(events(uuid4(), 3))
            recorder.insert_events(events(uuid4(), 300))
        with ledger.run("data_fetch:congress_daily", "quiverquant_congress") as run:
            run.ingest("QuiverTrade", 1, {"a": 1})
        assert {row[1] for row in log(admin)} == {ahead}
        check_order(admin)
        assert head(admin) == 307
        row = ledger.find_run(run.id)
        assert row.status == "completed"
        assert row.created_at == row.updated_at == ahead
        assert row.started_at < ahead - timedelta(minutes=50)


def crash(server: EmbeddedServer) -> None:
    """End the server's first process as an out-of-memory killer would."""
    pid = server.status().pid
    assert pid is not None
    postmaster = psutil.Process(pid)
    postmaster.kill()
    until(lambda: not postmaster.is_running() or postmaster.status() == psutil.STATUS_ZOMBIE)


def stream_of(server: EmbeddedServer, run_id: UUID) -> list[tuple[int, str]]:
    """Version and type of the events of a run, by version."""
    with psycopg.connect(server.url(SUPERUSER)) as conn:
        return [(row[4], row[5]) for row in sorted(log(conn), key=lambda row: row[4]) if row[3] == run_id]


def whole_run(records: int) -> list[tuple[int, str]]:
    types = ["RunStarted", *["RecordIngested"] * records, "RunCompleted"]
    return list(enumerate(types, 1))


class TestRestart:
    def test_a_run_goes_on_when_the_server_is_restarted_under_it(self, running: EmbeddedServer) -> None:
        restarted = threading.Event()
        with audit_ledger.connect(running.url("ledger_writer")) as ledger:
            recorded = 0

            def restart() -> None:
                try:
                    running.stop()
                    running.ensure_running()
                    crash(running)
                    running.ensure_running()
                finally:
                    restarted.set()

            with ledger.run("data_fetch:long", "nowhere") as run:
                run.record("Trade", recorded, "created")
                run.flush()
                recorded += 1
                restarting = threading.Thread(target=restart)
                restarting.start()
                while not restarted.wait(0.001):
                    run.record("Trade", recorded, "created")
                    recorded += 1
                restarting.join()
                told_later = run.ingest("Trade", "last", {"a": 1})
                recorded += 1
            assert recorded > 100
            assert told_later == "created"
            row = ledger.find_run(run.id)
            assert (row.status, row.records_created) == ("completed", recorded)
            assert run.result is not None
            assert run.result.created == recorded
        assert stream_of(running, run.id) == whole_run(recorded)

    def test_a_run_that_was_entered_before_a_restart_can_end_after_it(self, running: EmbeddedServer) -> None:
        with audit_ledger.connect(running.url("ledger_writer")) as ledger:
            with ledger.run("data_fetch:idle", "nowhere") as run:
                running.stop()
                running.ensure_running()
            assert ledger.find_run(run.id).status == "completed"
        assert stream_of(running, run.id) == whole_run(0)
