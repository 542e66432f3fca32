"""While the database is away: runs are spooled, and what is spooled is forwarded in order, once."""

import json
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
import requests

import audit_ledger
from audit_ledger import Ledger, RecordingError, Unreachable
from audit_ledger.errors import SpoolBusy, SpoolError
from audit_ledger.events import RecordIngested, RunStarted
from audit_ledger.settings import load
from audit_ledger.store.bodies import Body, Unkept, commitment
from audit_ledger.store.pending import Batch, Pending
from audit_ledger.store.server import SUPERUSER, EmbeddedServer
from audit_ledger.store.spool import Spool
from tests.api_server import ROWS, ApiServer, serving
from tests.integration.conftest import Away
from tests.integration.test_survival import crash, go, process, told
from tests.store import InThread, head, log, until

Connection = psycopg.Connection[Any]


@pytest.fixture
def api() -> Iterator[ApiServer]:
    with serving() as server:
        yield server


@pytest.fixture
def spooling(url: str) -> Iterator[Ledger]:
    """The ledger, connected so that its runs are spooled while it is away."""
    with audit_ledger.connect(url, when_away="spool", retry_for=0, connect_timeout=1) as ledger:
        yield ledger


def stream_of(admin: Connection, run_id: UUID) -> list[tuple[int, str]]:
    return [(row[4], row[5]) for row in log(admin) if row[3] == run_id]


def whole_run(records: int) -> list[tuple[int, str]]:
    return list(enumerate(["RunStarted", *["RecordIngested"] * records, "RunCompleted"], 1))


def ingested(number: int) -> RecordIngested:
    return RecordIngested(
        occurred_at=datetime.now(UTC), operation="created", record_id=str(number), record_type="Bill"
    )


def spool_of(url: str, **settings: Any) -> Spool:
    return Spool.of(load(url=url, **settings))


def fill(spool: Spool, events: int, ledger_id: UUID | None = None, batch: int = 1000) -> UUID:
    """Spool a run that has no end, of so many events; returns its id."""
    stream = uuid4()
    started = RunStarted(occurred_at=datetime.now(UTC), task="data_fetch:spooled", source="nowhere")
    for version in range(0, events, batch):
        numbers = range(version, min(version + batch, events))
        some = [Pending(ingested(number) if number else started) for number in numbers]
        spool.write(Batch(stream, version, some), ledger_id)
    return stream


def number_of(row: tuple[Any, ...]) -> int:
    """Which of `fill`'s events a row of the log is."""
    return int(json.loads(row[6]).get("record_id", 0))


class TestAwayAtTheStart:
    def test_a_run_is_spooled_and_forwarded_by_the_next_run(
        self, url: str, admin: Connection, away: Away, home: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        away.begin()
        with audit_ledger.connect(url, when_away="spool", retry_for=0) as ledger:
            with ledger.run("data_fetch:away", "nowhere") as run:
                run.record("Bill", 1, "created")
                assert run.ingest("Bill", 2, {"a": 2}) is None
                assert run.ingest_snapshot("Law", {1: {"b": 1}}) == {"1": None}
            assert (run.result.fetched, run.result.created) == (3, 1)
            said = capfd.readouterr().err
            assert said.count("\n") == 1
            assert f"run {run.id} is spooled in {ledger.spool.path}" in said
            assert "audit-ledger spool forward" in said
            assert ledger.spool.path.is_relative_to(home / "spool")
            assert stat.S_IMODE(ledger.spool.path.parent.stat().st_mode) == 0o700
            assert {stat.S_IMODE(file.stat().st_mode) for file in (home / "spool").glob("*.sqlite*")} == {
                0o600
            }
            away.end()
            with ledger.run("data_fetch:next", "nowhere") as following:
                pass
            assert stream_of(admin, run.id) == whole_run(3)
            assert stream_of(admin, following.id) == whole_run(0)
            first = min(row[0] for row in log(admin) if row[3] == following.id)
            assert first == 6  # what was spooled came first
            assert not ledger.spool.waiting
            assert ledger.find_run(run.id).status == "completed"
            (touch,) = ledger.provenance("Bill", 2)
            assert touch.run_id == run.id

    def test_strict_stops_before_the_block_and_keeps_nothing(self, url: str, away: Away, home: Path) -> None:
        with audit_ledger.connect(url, retry_for=0, connect_timeout=1) as ledger:
            away.begin()
            with pytest.raises(Unreachable):
                audit_ledger.connect(url)
            with pytest.raises(Unreachable), ledger.run("task", "nowhere"):
                pytest.fail("the block was entered")
            assert not (home / "spool").exists()

    def test_questions_raise_unreachable_while_runs_go_on(self, url: str, away: Away) -> None:
        away.begin()
        with audit_ledger.connect(url, when_away="spool") as ledger:
            for question in (
                lambda: ledger.runs.count(),
                lambda: ledger.status(),
                lambda: ledger.ledger_id,
                lambda: ledger.forward(),
                lambda: ledger.correct(1, reason="r", by="b"),
                lambda: ledger.as_of(1),
            ):
                with pytest.raises(Unreachable, match="remedy"):
                    question()

    def test_an_embedded_server_that_cannot_be_started_is_away(self, home: Path) -> None:
        (home / "data").mkdir()
        (home / "data" / "PG_VERSION").write_text("7\n")
        with audit_ledger.connect(home=home, when_away="spool") as ledger:
            with ledger.run("task", "nowhere") as run:
                run.record("Bill", 1, "created")
            assert ledger.spool.path == home / "spool" / "ledger.sqlite"
            assert ledger.spool.count() == 3
        with pytest.raises(audit_ledger.LedgerError):
            audit_ledger.connect(home=home)

    def test_a_failing_block_raises_its_own_error_and_is_spooled_to_its_end(
        self, spooling: Ledger, away: Away, admin: Connection
    ) -> None:
        away.begin()
        spooling._found_at = 0
        with pytest.raises(ValueError, match="API error") as failed, spooling.run("task", "nowhere") as run:
            raise ValueError("API error")
        assert not hasattr(failed.value, "__notes__")
        away.end()
        assert spooling.forward().events == 2
        assert spooling.find_run(run.id).error_message == "API error"

    def test_the_delay_is_shown(self, url: str, ledger: Ledger, admin: Connection) -> None:
        spool = spool_of(url)
        started = datetime.now(UTC) - timedelta(hours=2, minutes=5, seconds=3)
        run_id = uuid4()
        spool.write(Batch(run_id, 0, [Pending(RunStarted(occurred_at=started, task="t", source="s"))]), None)
        assert spool.status().oldest == started
        spool.close()
        ledger.forward()
        run = ledger.find_run(run_id)
        assert run.started_at == started
        assert run.created_at > started + timedelta(hours=2)
        assert 7503 <= run.recorded_after_seconds < 7503 + 60


class TestLostInMidRun:
    def test_what_follows_is_spooled_and_forwarded_in_order_once(
        self, spooling: Ledger, away: Away, admin: Connection
    ) -> None:
        with spooling.run("data_fetch:lost", "nowhere") as run:
            run.record("Bill", 0, "created")
            run.flush()
            away.begin()
            run.record("Bill", 1, "created", {"some": "content"})
            run.flush()
            assert spooling.spool.count() == 1
            away.end()
            run.record("Bill", 2, "created")  # must not overtake what is spooled
        assert run.result.created == 3
        assert stream_of(admin, run.id) == whole_run(3)[:2]
        copy = spooling.spool.path.with_name("copy.sqlite")
        with (
            closing(sqlite3.connect(spooling.spool.path)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
        assert spooling.forward().events == 3
        assert stream_of(admin, run.id) == whole_run(3)
        assert spooling.forward().events == 0
        again = Spool.of(spooling.settings, copy)
        assert spooling.forward(again).events == 3
        again.close()
        assert stream_of(admin, run.id) == whole_run(3)
        assert spooling.find_run(run.id).records_created == 3

    def test_strictly_it_is_spooled_as_well_and_the_end_of_the_block_says_so(
        self, url: str, away: Away, admin: Connection
    ) -> None:
        with audit_ledger.connect(url, retry_for=0, connect_timeout=1) as ledger:
            with pytest.raises(RecordingError) as lost, ledger.run("task", "nowhere") as run:
                away.begin()
                run.record("Bill", 1, "created")
            assert lost.value.path == ledger.spool.path
            assert str(ledger.spool.path) in str(lost.value)
            assert "audit-ledger spool forward" in str(lost.value)
            away.end()
            assert ledger.forward().events == 2
            assert stream_of(admin, run.id) == whole_run(1)


class TestBodies:
    def test_bodies_arrive_with_commitments_that_check_and_are_kept_once(
        self, spooling: Ledger, away: Away, admin: Connection, api: ApiServer
    ) -> None:
        away.begin()
        spooling._found_at = 0
        with spooling.run("task", "nowhere", capture=True) as run:
            requests.get(f"{api.url}/rows", timeout=5)
            for number in range(50):
                run.record("Bill", number, "created", {"same": "x" * 50_000})
            run.api_call(endpoint="api.test/v1", request={"q": 1}, response={"same": "x" * 50_000})
            run._outbox.add(Pending(ingested(99), {"content": Unkept.of(b"far too large", "text/plain")}))
        assert spooling.spool.path.stat().st_size < 1_000_000
        away.end()
        assert spooling.forward().finished
        rows = admin.execute(
            "SELECT convert_from(e.state, 'UTF8')::jsonb ->> 'content', b.salt, b.content, b.media_type"
            "  FROM events e"
            "  JOIN bodies b ON b.commitment = convert_from(e.state, 'UTF8')::jsonb ->> 'content'"
            " WHERE e.stream_id = %s",
            [run.id],
        ).fetchall()
        assert len(rows) == 51
        assert len({row[0] for row in rows}) == 2
        for given, salt, content, _ in rows:
            assert content is None or commitment(bytes(content), bytes(salt)) == given
        assert sorted({row[3] for row in rows}) == ["application/json", "text/plain"]
        calls = spooling.find_run(run.id).calls.all()
        assert len(calls) == 2
        assert all(call.api_request_payload_id and call.api_response_payload_id for call in calls)
        ((answer,),) = admin.execute(
            "SELECT b.content FROM api_call_made c JOIN bodies b ON b.commitment = c.response"
            " WHERE c.endpoint LIKE '%/rows'"
        ).fetchall()
        assert json.loads(answer) == ROWS
        with closing(sqlite3.connect(spooling.spool.path)) as conn:
            assert conn.execute("SELECT count(*) FROM bodies").fetchone() == (0,)
            assert conn.execute("SELECT count(*) FROM event_bodies").fetchone() == (0,)


SCRIPT = """
import sys
import audit_ledger

url, records = sys.argv[1], int(sys.argv[2])
with audit_ledger.connect(url, when_away="spool", retry_for=0, connect_timeout=1) as ledger:
    with ledger.run("data_fetch:killed", source="nowhere") as run:
        for number in range(records):
            run.record("Bill", number, "created", {"same": "content"})
        run.flush()
        print(run.id, flush=True)
        sys.stdin.readline()
"""


def forward_and_kill(url: str, admin: Connection, rng: random.Random) -> bool:
    """Kill a forwarder at a random moment; returns whether it had not ended yet."""
    command = [str(Path(sys.executable).parent / "audit-ledger"), "--url", url, "spool", "forward"]
    before = head(admin)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as forwarder:
        if rng.random() < 0.7:  # within or between its transactions, rather than at its start
            until(lambda: head(admin) > before or forwarder.poll() is not None)
        time.sleep(rng.uniform(0, 0.1))
        lives = forwarder.poll() is None
        forwarder.kill()
    return lives


class TestKilled:
    def test_what_a_killed_script_spooled_is_kept_and_its_run_has_no_end(
        self, url: str, away: Away, admin: Connection, home: Path
    ) -> None:
        away.begin()
        with process(SCRIPT, url, 2500) as script:
            run_id = UUID(told(script))
            script.send_signal(signal.SIGKILL)
            script.wait()
        away.end()
        with audit_ledger.connect(url) as ledger:
            assert ledger.forward().events == 2501
            assert stream_of(admin, run_id) == whole_run(2500)[:-1]
            assert ledger.find_run(run_id).status == "running"

    def test_a_forwarder_that_is_killed_again_and_again_delivers_each_event_once_in_order(
        self, url: str, ledger: Ledger, admin: Connection
    ) -> None:
        spool = spool_of(url)
        streams = [fill(spool, 12_000) for _ in range(5)]
        rng = random.Random()
        killed = 0
        for _ in range(12):
            killed += forward_and_kill(url, admin, rng)
        ledger.forward()
        assert killed
        assert spool.count() == 0
        spool.close()
        for stream in streams:
            numbers = [number_of(row) for row in log(admin) if row[3] == stream]
            assert numbers == list(range(12_000))

    def test_an_event_that_was_delivered_but_not_removed_is_not_delivered_twice(
        self, url: str, ledger: Ledger, admin: Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stream = fill(ledger.spool, 30)
        body = Body(b"{}", "application/json")
        other = uuid4()
        ledger.spool.write(Batch(other, 0, [Pending(ingested(1), {"content": body})]), None)

        def killed(_events: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(ledger.spool, "remove", killed)
        with pytest.raises(KeyboardInterrupt):
            ledger.forward()
        monkeypatch.undo()
        assert head(admin) == 31
        ledger.spool.write(Batch(stream, 30, [Pending(ingested(30))]), None)  # other pages than before
        assert ledger.forward().events == 32
        assert head(admin) == 32
        assert [version for version, _ in stream_of(admin, stream)] == list(range(1, 32))


class TestRestart:
    def test_a_hundred_thousand_events_are_forwarded_through_a_server_that_restarts(
        self, running: EmbeddedServer
    ) -> None:
        with audit_ledger.connect(running.url("ledger_writer"), retry_for=60) as ledger:
            with psycopg.connect(running.url(SUPERUSER)) as conn:
                before = head(conn)
            streams = [fill(ledger.spool, 25_000) for _ in range(4)]
            restarts: list[InThread] = []

            def restart(done: int, _total: int) -> None:
                if done in (20_000, 60_000):
                    way = running.stop if done == 20_000 else lambda: crash(running)
                    restarts.append(InThread(lambda: (way(), running.ensure_running())))

            assert ledger.forward(tell=restart).events == 100_000
            assert len(restarts) == 2
            for one in restarts:
                one.result()
            with psycopg.connect(running.url(SUPERUSER)) as conn:
                assert head(conn) == before + 100_000
                rows = log(conn)[before:]
            for stream in streams:
                numbers = [number_of(row) for row in rows if row[3] == stream]
                assert numbers == list(range(25_000))
            assert ledger.spool.status().bytes < 200_000  # the space is given back

    def test_a_server_that_stays_away_leaves_the_rest_in_the_spool(self, running: EmbeddedServer) -> None:
        with audit_ledger.connect(running.url("ledger_writer"), retry_for=0, connect_timeout=1) as ledger:
            fill(ledger.spool, 25_000)

            def stop(done: int, _total: int) -> None:
                if done == 10_000:
                    running.stop()

            with pytest.raises(Unreachable):
                ledger.forward(tell=stop)
            found = ledger.spool.status()
            assert found.events == 15_000
            assert "no database answers" in str(found.last_error)
            running.ensure_running()
            assert ledger.forward().events == 15_000
            assert ledger.spool.status().last_error is None


class TestManyAtOnce:
    def test_processes_spool_at_once_and_their_bodies_are_kept_once(
        self, url: str, away: Away, admin: Connection
    ) -> None:
        away.begin()
        with ExitStack() as stack:
            scripts = [stack.enter_context(process(SCRIPT, url, 3000)) for _ in range(4)]
            runs = [UUID(told(script)) for script in scripts]
            for script in scripts:
                go(script)
                assert script.wait() == 0
        spool = spool_of(url)
        assert (spool.status().events, spool.status().runs) == (4 * 3002, 4)
        with closing(sqlite3.connect(spool.path)) as conn:
            assert conn.execute("SELECT count(*) FROM bodies").fetchone() == (1,)
        spool.close()
        away.end()
        with audit_ledger.connect(url) as ledger:
            assert ledger.forward().events == 4 * 3002
        for run in runs:
            assert stream_of(admin, run) == whole_run(3000)

    def test_one_forwards_at_a_time(self, url: str, ledger: Ledger) -> None:
        fill(ledger.spool, 10)
        other = spool_of(url)
        with other.forwarding(), pytest.raises(SpoolBusy):
            ledger.forward()
        other.close()
        assert ledger.forward().events == 10

    def test_events_that_are_spooled_while_others_are_forwarded_come_too(
        self, url: str, ledger: Ledger, admin: Connection
    ) -> None:
        stream = fill(ledger.spool, 15_000)
        other = spool_of(url)

        def add(done: int, _total: int) -> None:
            if done == 10_000:
                other.write(Batch(stream, 15_000, [Pending(ingested(15_000))]), None)

        assert ledger.forward(tell=add).events == 15_001
        other.close()
        assert [version for version, _ in stream_of(admin, stream)] == list(range(1, 15_002))


class TestRefused:
    def test_a_stream_that_the_ledger_refuses_is_set_aside_and_holds_no_other_up(
        self, ledger: Ledger, admin: Connection, caplog: pytest.LogCaptureFixture
    ) -> None:
        spool = ledger.spool
        before, bad, after = fill(spool, 20), fill(spool, 20), fill(spool, 20)
        ledger._recorder.append(bad, 0, [ingested(999)])
        done = ledger.forward()
        assert (done.events, done.refused, done.finished) == (40, 1, True)
        assert f"20 events of {bad}" in caplog.text
        assert len(stream_of(admin, before)) == len(stream_of(admin, after)) == 20
        assert len(stream_of(admin, bad)) == 1
        (held,) = spool.status().set_aside
        assert (held.stream_id, held.events) == (bad, 20)
        assert "another event at version 1" in str(held.set_aside)
        spool.write(Batch(bad, 20, [Pending(ingested(20))]), None)
        done = ledger.forward()
        assert (done.events, done.refused) == (0, 1)
        assert spool.take_back() == 1
        assert ledger.forward().refused == 1
        assert spool.count() == 21
        assert not spool.waiting

    def test_a_state_that_is_no_event_is_set_aside(self, ledger: Ledger, admin: Connection) -> None:
        """As after damage that SQLite does not see."""
        spool = ledger.spool
        bad, good = fill(spool, 1), fill(spool, 1)
        with closing(sqlite3.connect(spool.path, isolation_level=None)) as conn:
            conn.execute("UPDATE stored_events SET topic = 'Größe' WHERE originator_id = ?", [bad.hex])
        assert (ledger.forward().events, spool.status().set_aside[0].stream_id) == (1, bad)
        assert stream_of(admin, good) == [(1, "RunStarted")]

    def test_events_of_another_ledger_stay(self, ledger: Ledger, admin: Connection) -> None:
        fill(ledger.spool, 5, uuid4())
        mine = fill(ledger.spool, 5, ledger.ledger_id)
        done = ledger.forward()
        assert (done.events, done.foreign) == (5, 5)
        assert head(admin) == len(stream_of(admin, mine)) == 5
        assert ledger.spool.count() == 5

    def test_a_ledger_that_was_reached_before_is_known_while_it_is_away(
        self, url: str, spooling: Ledger, away: Away
    ) -> None:
        known = spooling.ledger_id
        away.begin()
        with audit_ledger.connect(url, when_away="spool") as ledger:
            assert ledger.ledger_id == known
            with ledger.run("task", "nowhere"):
                pass
            assert ledger.spool.status().ledger_ids == (known,)

    def test_a_ledger_that_was_never_reached_is_decided_by_the_first_forward(
        self, url: str, away: Away, caplog: pytest.LogCaptureFixture
    ) -> None:
        away.begin()
        with audit_ledger.connect(url, when_away="spool") as ledger:
            with ledger.run("task", "nowhere"):
                pass
            assert ledger.spool.status().ledger_ids == (None,)
            away.end()
            assert ledger.forward().adopted == 1
            assert f"they go to {ledger.ledger_id}" in caplog.text


class TestBroken:
    def test_a_spool_that_is_full_says_so_and_the_script_goes_on(
        self, url: str, away: Away, admin: Connection, capfd: pytest.CaptureFixture[str]
    ) -> None:
        away.begin()
        settings: dict[str, Any] = {"when_away": "spool", "spool_max_bytes": 1 << 20, "buffer_events": 1000}
        with audit_ledger.connect(url, **settings) as ledger:
            with pytest.raises(RecordingError) as full, ledger.run("task", "nowhere") as run:
                for number in range(10_000):
                    run.record("Bill", number, "created")
            said = capfd.readouterr().err
            assert "cannot be spooled" in said
            assert "AUDIT_LEDGER_SPOOL_MAX_BYTES" in said
            assert "events could not even be spooled" in str(full.value)
            assert full.value.path == ledger.spool.path
            found = ledger.spool.status()
            assert found.bytes > 500_000
            assert 1000 < found.events < 10_000
            away.end()
            assert ledger.forward().events == found.events
            assert stream_of(admin, run.id) == whole_run(10_000)[: found.events]

    def test_a_full_disk_says_so_and_what_was_there_is_forwarded_when_it_has_room(
        self, url: str, away: Away, admin: Connection, small_disk: Path
    ) -> None:
        away.begin()
        with audit_ledger.connect(
            url, when_away="spool", home=small_disk, buffer_events=2000, retry_for=0, connect_timeout=1
        ) as ledger:
            with ledger.run("task", "nowhere") as run:
                run.record("Bill", 0, "created")
                run.flush()
                stuffing = small_disk / "stuffing"
                with pytest.raises(OSError, match="No space"), stuffing.open("wb", buffering=0) as file:
                    while True:
                        file.write(bytes(1 << 14))
                for number in range(1, 1500):
                    run.record("Bill", number, "created")
                run.flush()
                assert ledger.spool.count() == 2
                assert "full" in str(ledger._spooling.trouble)
                stuffing.unlink()  # nothing is lost: it was held, and is written once there is room
            away.end()
            ledger.forward()
            assert stream_of(admin, run.id) == whole_run(1500)

    def test_without_database_and_without_spool_the_script_goes_on_and_its_end_raises(
        self, url: str, away: Away, home: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        away.begin()
        (home / "spool").write_text("no folder")
        worked = False
        with (
            audit_ledger.connect(url, when_away="spool") as ledger,
            pytest.raises(RecordingError) as lost,
            ledger.run("task", "nowhere") as run,
        ):
            run.record("Bill", 1, "created")
            worked = True
        assert worked
        assert lost.value.path is None
        assert "3 events could not even be spooled" in str(lost.value)
        assert "cannot be spooled" in capfd.readouterr().err

    @pytest.mark.parametrize("damage", ["head", "middle"])
    def test_a_damaged_file_is_moved_aside_as_it_is_and_another_one_is_begun(
        self, url: str, ledger: Ledger, admin: Connection, damage: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        spool = ledger.spool
        fill(spool, 2000)
        spool.tidy()
        spool.close()
        with spool.path.open("r+b") as file:
            file.seek(0 if damage == "head" else 8192)
            file.write(random.Random(1).randbytes(200_000))
        whole = spool.path.read_bytes()
        with pytest.raises(SpoolError, match="damaged"):
            ledger.forward()
        assert head(admin) == 0
        stream = fill(spool, 5)
        assert "is damaged" in caplog.text
        (aside,) = spool.status().damaged
        assert aside.read_bytes() == whole
        assert ledger.forward().events == 5
        assert len(stream_of(admin, stream)) == head(admin) == 5
        fill(spool, 5)
        assert spool.status().damaged == (aside,)

    def test_a_process_that_has_the_moved_file_open_writes_to_the_new_one(self, url: str) -> None:
        first, second = spool_of(url), spool_of(url)
        fill(first, 1)
        fill(second, 1)
        for file in first.path.parent.glob(f"{first.path.name}*"):
            file.rename(file.with_name(f"moved-{file.name}"))
        fill(first, 1)
        fill(second, 1)
        assert first.count() == second.count() == 2
        first.close()
        second.close()

    def test_a_damaged_spool_does_not_hold_a_run_up(
        self, ledger: Ledger, capfd: pytest.CaptureFixture[str]
    ) -> None:
        ledger.spool.path.parent.mkdir()
        ledger.spool.path.write_bytes(b"garbage" * 1000)
        with ledger.run("task", "nowhere") as run:
            pass
        assert ledger.find_run(run.id).status == "completed"
        assert "is damaged" in capfd.readouterr().err


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A disk of four mebibytes; skips where this user may not mount one."""
    folder = Path(tempfile.mkdtemp(prefix="audit-ledger-"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "none", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        folder.rmdir()
        pytest.skip(f"needs to mount a small disk: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)
    folder.rmdir()
