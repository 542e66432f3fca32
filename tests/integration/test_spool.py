"""While the database is away: runs are spooled, and what is spooled is forwarded in order, once."""

import json
import os
import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

import audit_ledger
from audit_ledger import Ledger, RecordingError, Unreachable
from audit_ledger.errors import SpoolBusy, SpoolError, SpoolFull
from audit_ledger.events import Event, RecordIngested, RunStarted
from audit_ledger.settings import load
from audit_ledger.store.bodies import Body, Unkept, commitment
from audit_ledger.store.pending import Batch, Pending
from audit_ledger.store.spool import Spool, spool_path
from tests.api_server import ApiServer
from tests.store import InThread, head, log, until

Connection = psycopg.Connection[Any]


class Away:
    """Lets a database be away, and come back: nobody may connect, and whoever is is thrown out."""

    def __init__(self, admin: Connection, database: str) -> None:
        self._dsn, self._database = admin.info.dsn, database

    def begin(self) -> None:
        with psycopg.connect(self._dsn, dbname="postgres", autocommit=True) as other:
            other.execute(f"ALTER DATABASE {self._database} ALLOW_CONNECTIONS false")
            other.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = %s AND usename = 'ledger_writer'",
                [self._database],
            )

    def end(self) -> None:
        with psycopg.connect(self._dsn, dbname="postgres", autocommit=True) as other:
            other.execute(f"ALTER DATABASE {self._database} ALLOW_CONNECTIONS true")


@pytest.fixture
def away(admin: Connection, database: str) -> Iterator[Away]:
    """The database of the test, which can be away."""
    switch = Away(admin, database)
    yield switch
    switch.end()


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
    """Spool one stream of so many events; returns its id."""
    stream = uuid4()
    for version in range(0, events, batch):
        some = [Pending(ingested(n)) for n in range(version, min(version + batch, events))]
        spool.write(Batch(stream, version, some), ledger_id)
    return stream


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
            assert {stat.S_IMODE(file.stat().st_mode) for file in (home / "spool").glob("*.sqlite*")} == {0o600}
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
        with sqlite3.connect(spooling.spool.path) as source, sqlite3.connect(copy) as target:
            source.backup(target)
        source.close()
        target.close()
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
        with spooling.run("task", "nowhere") as run:
            for number in range(50):
                run.record("Bill", number, "created", {"same": "x" * 50_000})
            run.api_call(endpoint="api.test/v1", request={"q": 1}, response={"same": "x" * 50_000})
            run._outbox.add(
                Pending(ingested(99), {"content": Unkept.of(b"far too large", "text/plain")})
            )
        assert spooling.spool.path.stat().st_size < 1_000_000
        away.end()
        assert spooling.forward().finished
        rows = admin.execute(
            "SELECT convert_from(e.state, 'UTF8')::jsonb ->> 'content', b.salt, b.content, b.media_type"
            "  FROM events e JOIN bodies b ON b.commitment = convert_from(e.state, 'UTF8')::jsonb ->> 'content'"
            " WHERE e.stream_id = %s",
            [run.id],
        ).fetchall()
        assert len(rows) == 51
        assert len({row[0] for row in rows}) == 2
        for told, salt, content, _ in rows:
            assert content is None or commitment(bytes(content), bytes(salt)) == told
        assert sorted({row[3] for row in rows}) == ["application/json", "text/plain"]
        (call,) = spooling.find_run(run.id).calls.all()
        assert call.api_request_payload_id is not None
        assert call.api_response_payload_id is not None
        with sqlite3.connect(spooling.spool.path) as conn:
            assert conn.execute("SELECT count(*) FROM bodies").fetchone() == (0,)
            assert conn.execute("SELECT count(*) FROM event_bodies").fetchone() == (0,)
        conn.close()
