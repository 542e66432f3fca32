"""Signs of life and progress: on record, no more often than they should be, and live in `runs --follow`."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

import audit_ledger
from audit_ledger import InvalidValue, Ledger
from audit_ledger.events import HeartbeatRecorded, decode
from audit_ledger.reading.following import progress
from audit_ledger.recording import progress as recorded_progress
from tests.store import until

SCRIPT = str(Path(sys.executable).parent / "audit-ledger")


def beats(ledger: Ledger) -> list[HeartbeatRecorded]:
    """The heartbeats on record, in order."""
    found = [decode(e.type, e.state) for e in ledger.events() if e.type == "HeartbeatRecorded"]
    return [event for event in found if isinstance(event, HeartbeatRecorded)]


@pytest.fixture
def beating(url: str) -> Iterator[Ledger]:
    """The ledger, whose runs say that they go on ten times a second."""
    with audit_ledger.connect(url, heartbeat=0.1, retry_for=0.2) as connected:
        yield connected


def test_a_run_that_says_nothing_says_that_it_goes_on(beating: Ledger) -> None:
    with beating.run("t", source="s"):
        until(lambda: len(beats(beating)) >= 2)
    count = len(beats(beating))
    time.sleep(0.3)
    assert len(beats(beating)) == count, "it goes on after its end"


def test_a_run_that_has_something_to_say_needs_no_heartbeat(url: str) -> None:
    with (
        audit_ledger.connect(url, heartbeat=1) as ledger,
        ledger.run("t", source="s") as run,
    ):
        for number in range(15):
            run.record("T", number, "created")
            run.flush()
            time.sleep(0.1)
        assert beats(ledger) == []


def test_without_a_heartbeat_there_is_none(url: str) -> None:
    with audit_ledger.connect(url, heartbeat=0) as ledger:
        with ledger.run("t", source="s"):
            time.sleep(0.2)
        assert beats(ledger) == []


def test_an_outage_that_only_the_heartbeat_sees_leaves_nothing_behind(
    beating: Ledger, admin: psycopg.Connection[Any], database: str, server: Any, home: Path
) -> None:
    """No resend file: the run itself had nothing to say meanwhile, and its end goes the usual way."""
    with beating.run("t", source="s") as run:
        until(lambda: beats(beating))
        with psycopg.connect(server.url("postgres", "postgres"), autocommit=True) as outside:
            outside.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS false")
            outside.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database]
            )
            time.sleep(0.6)
            outside.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS true")
        before = run.id
    assert beating.find_run(before).status == "completed"
    assert not (home / "resend").exists()


def test_progress_is_on_record_with_its_last_state(ledger: Ledger) -> None:
    with ledger.run("t", source="s") as run:
        for done in range(1, 501):
            run.progress(done, total=500)
    found = beats(ledger)
    assert [(event.done, event.total) for event in (found[0], found[-1])] == [(1, 500), (500, 500)]
    assert len(found) <= 3, "no more than one in two seconds"
    row = ledger.find_run(run.id)
    reached = progress(ledger.database, [row.id])[row.id]
    assert (reached.done, reached.percent) == (500, 100)


def test_progress_comes_as_often_as_it_may(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded_progress, "PROGRESS_SECONDS", 0.05)
    with ledger.run("t", source="s") as run:
        for done in range(8):
            run.progress(done)
            time.sleep(0.03)
    found = [event.done for event in beats(ledger)]
    assert found == sorted(set(found))  # type: ignore[type-var]
    assert (found[0], found[-1]) == (0, 7)
    assert 4 <= len(found) < 8


def test_a_heartbeat_carries_the_progress_that_is_known(beating: Ledger) -> None:
    with beating.run("t", source="s") as run:
        run.progress(1, 9)
        run.progress(2, 9)
        until(lambda: [event for event in beats(beating) if event.done == 2])


@pytest.mark.parametrize(("done", "total"), [(-1, None), (1.5, None), (1, -1), ("1", None), (True, None)])
def test_progress_that_is_no_number_is_refused(done: Any, total: Any, ledger: Ledger) -> None:
    with ledger.run("t", source="s") as run, pytest.raises(InvalidValue):
        run.progress(done, total)


PROGRESSING = """
import audit_ledger, sys
with audit_ledger.connect() as ledger, ledger.run("counting", source="s") as run:
    run.progress(3, 12)
    print("printed")
    input()
"""


def at_terminal(*command: str, **environment: str) -> tuple[int, int]:
    """Start a command in a session with a terminal; its process id, and the other end of the terminal."""
    pid, master = pty.fork()
    if pid == 0:
        os.execve(command[0], command, os.environ | {"COLUMNS": "110", "TERM": "xterm"} | environment)
    return pid, master


def read_until(master: int, *sought: bytes) -> bytes:
    """What the terminal shows, until all of that was seen."""
    seen = b""
    deadline = time.monotonic() + 30
    while not all(words in seen for words in sought):
        assert select.select([master], [], [], max(0, deadline - time.monotonic()))[0], seen
        seen += os.read(master, 4096)
    return seen


def test_progress_is_a_bar_at_a_terminal(url: str, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    pid, master = at_terminal(sys.executable, "-c", PROGRESSING, AUDIT_LEDGER_URL=url)
    read_until(master, b"3/12", b"counting", b"printed")
    os.write(master, b"\n")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(master)


def test_progress_shows_nothing_elsewhere(url: str, ledger: Ledger) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRESSING],
        input="\n",
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"AUDIT_LEDGER_URL": url},
    )
    assert (done.stdout, done.stderr) == ("printed\n", "")


def test_following_prints_a_line_a_change(url: str, ledger: Ledger) -> None:
    with ledger.run("old", source="s"):
        pass
    following = subprocess.Popen(
        [SCRIPT, "runs", "--follow", "--json"],
        env=os.environ | {"AUDIT_LEDGER_URL": url},
        stdout=subprocess.PIPE,
        text=True,
    )
    with following:
        assert following.stdout is not None
        lines = following.stdout
        assert json.loads(lines.readline())["task_name"] == "old"
        with ledger.run("new", source="s") as run:
            begun = json.loads(lines.readline())
            assert (begun["task_name"], begun["status"], begun["done"]) == ("new", "running", None)
            run.progress(1, 4)
            moved = json.loads(lines.readline())
            assert (moved["done"], moved["total"], moved["percent"]) == (1, 4, 25)
        ended = json.loads(lines.readline())
        assert (ended["run_id"], ended["status"]) == (str(run.id), "completed")
        following.send_signal(signal.SIGINT)
        assert lines.read() == ""
    assert following.returncode == 0


def test_following_is_a_table_at_a_terminal(url: str, ledger: Ledger) -> None:
    pid, master = at_terminal(SCRIPT, "runs", "--follow", AUDIT_LEDGER_URL=url)
    with ledger.run("seen_at_once", source="s") as run:
        run.progress(30, 40)
        read_until(master, b"seen_at_once", b"running", b"30 of 40 (75 %)")
    read_until(master, b"completed")
    os.write(master, b"\x03")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(master)


def test_following_the_past_is_refused(url: str) -> None:
    done = subprocess.run(
        [SCRIPT, "runs", "--follow", "--as-of", "1"],
        env=os.environ | {"AUDIT_LEDGER_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
