"""The command line on real ledgers: what it prints, and the codes that it ends with.

Most tests call the application in this process; those about processes (pipes, signals, psql, the
embedded server) run the console script.
"""

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql
from typer.testing import CliRunner

from audit_ledger import Ledger, Run, cli
from audit_ledger.cli.app import app
from audit_ledger.events import BodyErased, RunCompleted, RunStarted
from audit_ledger.settings import load
from audit_ledger.store.pending import Batch, Pending
from audit_ledger.store.server import EmbeddedServer
from audit_ledger.store.spool import Spool

SCRIPT = Path(sys.executable).parent / "audit-ledger"
TASK, SOURCE = "data_fetch:congress_daily", "quiverquant_congress"
INSTANT = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ"


class Said:
    """What a command printed, and its exit code."""

    def __init__(self, code: int, stdout: str, stderr: str) -> None:
        self.code, self.stdout, self.stderr = code, stdout, stderr

    @property
    def json(self) -> Any:
        assert self.code in (cli.FINE, cli.WRONG), self.stderr
        return json.loads(self.stdout)

    @property
    def lines(self) -> list[str]:
        return self.stdout.splitlines()


def ask(*args: str | Path) -> Said:
    """Run a command in this process."""
    result = CliRunner().invoke(app, [str(arg) for arg in args], prog_name="audit-ledger")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Said(result.exit_code, result.stdout, result.stderr)


def execute(*args: str | Path, **env: str) -> Said:
    """Run the console script."""
    done = subprocess.run(
        [SCRIPT, *args], capture_output=True, text=True, env={**os.environ, **env}, timeout=60
    )
    return Said(done.returncode, done.stdout, done.stderr)


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it does not come to hold"
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def _configured(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIT_LEDGER_URL", url)
    for name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def as_reader(reader_url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes the commands that follow connect as the reader."""
    return lambda: monkeypatch.setenv("AUDIT_LEDGER_URL", reader_url)


@pytest.fixture
def completed(ledger: Ledger) -> Run:
    """A run that touched three records, by three API calls."""
    with ledger.run(TASK, source=SOURCE, parameters={"since": "2025-12-01"}) as run:
        run.record("QuiverTrade", 12345, "created")
        run.record("QuiverTrade", 12346, "created")
        run.record("QuiverTrade", 12347, "skipped")
        for status in (200, 200, None):
            run.api_call(endpoint="https://api.test/v1", http_status_code=status, duration_ms=10)
        run.date_range(date(2025, 12, 1), date(2025, 12, 24))
    return run


@pytest.fixture
def failed(ledger: Ledger) -> Run:
    """A run that failed."""
    with (
        pytest.raises(RuntimeError),
        ledger.run("data_fetch:insider_daily", source="quiverquant_insider") as run,
    ):
        raise RuntimeError("API error")
    return run


@pytest.fixture
def running(ledger: Ledger) -> Run:
    """A run that has not ended, and that the read models do not know yet."""
    return ledger.run("data_fetch:committees_daily", source="propublica_committees").__enter__()


def table_columns(admin: psycopg.Connection[Any], table: str) -> list[str]:
    cursor = admin.execute(sql.SQL("SELECT * FROM {} LIMIT 0").format(sql.Identifier(table)))
    return [column.name for column in cursor.description or ()]


# runs


def test_runs_as_json_are_the_rows_of_the_table_newest_first(
    completed: Run, failed: Run, admin: psycopg.Connection[Any]
) -> None:
    rows = ask("runs", "--json").json
    assert [row["run_id"] for row in rows] == [str(failed.id), str(completed.id)]
    assert list(rows[0]) == [*table_columns(admin, "data_ingestion_runs"), "recorded_after_seconds"]
    assert rows[1]["records_created"] == 2
    assert rows[1]["data_date_end"] == "2025-12-24"
    started = datetime.fromisoformat(rows[1]["started_at"])
    assert started == completed.started_at
    assert rows[1]["started_at"].endswith("Z")
    assert rows[0]["error_details"]["class"] == "RuntimeError"


def test_runs_are_narrowed_down_by_the_options(completed: Run, failed: Run, running: Run) -> None:
    found = {
        options: [row["status"] for row in ask("runs", *options.split(), "--json").json]
        for options in (
            f"--task {TASK}",
            "--source quiverquant_insider",
            "--status running",
            "--since 1h",
            "--since 2100-01-01T00:00Z",
            "--limit 2",
            f"--task {TASK} --status failed",
        )
    }
    assert list(found.values()) == [
        ["completed"],
        ["failed"],
        ["running"],
        ["running", "failed", "completed"],
        [],
        ["running", "failed"],
        [],
    ]


def test_runs_lists_twenty_unless_told_otherwise(ledger: Ledger) -> None:
    for _ in range(21):
        ledger.run(TASK, source=SOURCE).__enter__()
    assert len(ask("runs", "--json").json) == 20
    assert len(ask("runs", "--json", "--limit", "30").json) == 21


def test_a_piped_table_cuts_nothing_and_has_a_line_a_run(ledger: Ledger) -> None:
    task, source = "data_fetch:" + "long_" * 60, "source_" * 30
    with ledger.run(task, source=source) as run:
        run.record("T", 1, "created")
    header, line = ask("runs").lines
    assert header.split()[:4] == ["run", "started", "status", "task"]
    assert re.match(rf"{run.id.hex[:8]} +{INSTANT} +completed +{task} +{source} +1 +1 +0 +0$", line.rstrip())


@pytest.mark.parametrize(
    "command", [["runs"], ["provenance", "QuiverTrade", "12345"], ["projections", "status"]], ids=str
)
def test_a_table_stays_within_a_terminal_of_80_columns(completed: Run, command: list[str]) -> None:
    lines = on_terminal(80, *command)
    assert max(map(len, lines)) <= 80
    shown = "data_ingestion_run_records 8 0" if command[0] == "projections" else completed.id.hex[:8]
    assert any(shown in re.sub(" +", " ", line) for line in lines)


def test_a_wide_terminal_shows_the_source_too(completed: Run) -> None:
    assert any(SOURCE in line for line in on_terminal(160, "runs"))


def on_terminal(columns: int, *args: str) -> list[str]:
    """The lines that the console script prints to a terminal, without their colours."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(
        [SCRIPT, *args], stdin=theirs, stdout=theirs, env={**os.environ, "TERM": "xterm"}
    )
    os.close(theirs)
    printed = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        printed += part
    os.close(ours)
    assert process.wait() == 0
    return re.sub(r"\x1b\[[0-9;]*m", "", printed.decode()).splitlines()


def test_text_from_the_ledger_cannot_steer_the_terminal(ledger: Ledger) -> None:
    ledger.run("a\x1b[2J\x9b\u202eb\nc [bold]", source="s").__enter__()
    shown = ask("runs").stdout
    assert "a\ufffd[2J\ufffd\ufffdb c [bold]" in shown
    asked = ask("runs", "--json")
    assert not set(asked.stdout) & {"\x1b", "\x9b", "\u202e"}
    assert asked.json[0]["task_name"] == "a\x1b[2J\x9b\u202eb\nc [bold]"


@pytest.mark.parametrize("command", [["runs"], ["provenance", "QuiverTrade", "1"]], ids=str)
def test_nothing_found_is_an_empty_list_and_no_error(command: list[str]) -> None:
    assert ask(*command, "--json").json == []
    said = ask(*command)
    assert (said.code, said.stdout) == (cli.FINE, "")
    assert said.stderr


# show


def test_show_tells_all_that_is_known_of_a_run(completed: Run) -> None:
    said = ask("show", str(completed.id))
    facts = dict(re.split(r" {2,}", line, maxsplit=1) for line in said.lines if "  " in line)
    assert facts["run"] == str(completed.id)
    assert facts["task"] == TASK
    assert facts["status"] == "completed"
    assert re.fullmatch(INSTANT, facts["started"])
    assert facts["data to"] == "2025-12-24"
    assert facts["counts"] == "3 fetched, 2 created, 0 updated, 1 skipped"
    assert facts["parameters"] == '{"since": "2025-12-01"}'
    assert facts["process"] == str(os.getpid())
    assert facts["calls"] == "3: 2 with status 200, 1 without an answer"
    assert ["QuiverTrade", "created", "2"] in [line.split() for line in said.lines]


def test_show_accepts_a_unique_prefix(completed: Run, failed: Run) -> None:
    shown = ask("show", str(failed.id)[:12], "--json").json
    assert shown["run_id"] == str(failed.id)


def test_show_as_json_is_one_object(completed: Run, admin: psycopg.Connection[Any]) -> None:
    shown = ask("show", str(completed.id), "--json").json
    assert set(table_columns(admin, "data_ingestion_runs")) < set(shown)
    assert shown["started"]["parameters"] == {"since": "2025-12-01"}
    assert shown["recorded"] == {"created": 2, "updated": 0, "skipped": 1}
    assert shown["records"][0] == {"record_type": "QuiverTrade", "operation": "created", "records": 2}
    assert shown["calls"][0] == {"http_status_code": 200, "calls": 2, "duration_ms": 20}
    assert shown["discrepancies"] == []


def test_show_tells_why_and_where_a_run_failed(failed: Run) -> None:
    said = ask("show", str(failed.id))
    assert re.search(r"^error +API error$", said.stdout, re.MULTILINE)
    assert re.search(r"^class +RuntimeError$", said.stdout, re.MULTILINE)
    assert re.search(r"^ +at +\S+test_cli\.py:\d+ in failed: raise RuntimeError", said.stdout, re.MULTILINE)


def test_show_names_what_does_not_agree(ledger: Ledger) -> None:
    with ledger.run(TASK, source=SOURCE) as run:
        run.record("QuiverTrade", 1, "created")
        run.counts(created=5)
    assert "❌ discrepancy (counts): declared 5 created, recorded 1" in ask("show", str(run.id)).stdout


def test_an_unknown_run_ends_with_3_and_says_what_to_do(completed: Run) -> None:
    said = ask("show", str(uuid4()))
    assert (said.code, said.stdout) == (cli.FAILED, "")
    assert "no run has the id" in said.stderr
    assert "remedy: list the runs" in said.stderr


def test_an_ambiguous_prefix_ends_with_3_and_names_the_candidates(ledger: Ledger) -> None:
    runs = [ledger.run(TASK, source=SOURCE).__enter__() for _ in range(17)]
    digits = [str(run.id)[0] for run in runs]
    digit = max(digits, key=digits.count)  # of 17 ids, two share a first digit
    said = ask("show", digit)
    assert said.code == cli.FAILED
    assert f"several runs begin with {digit}" in said.stderr
    assert any(str(run.id) in said.stderr for run in runs)


# provenance


def test_provenance_names_each_run_that_touched_a_record_newest_first(ledger: Ledger, completed: Run) -> None:
    with ledger.run(TASK, source=SOURCE) as later:
        later.record("QuiverTrade", 12345, "updated")
    rows = ask("provenance", "QuiverTrade", "12345", "--json").json
    assert [(row["run_id"], row["operation"]) for row in rows] == [
        (str(later.id), "updated"),
        (str(completed.id), "created"),
    ]
    assert datetime.fromisoformat(rows[0]["created_at"]).tzinfo is not None
    _, first, second = ask("provenance", "QuiverTrade", "12345").lines
    assert re.match(rf"{later.id.hex[:8]} +{INSTANT} +updated +{TASK}", first)
    assert re.match(rf"{completed.id.hex[:8]} +{INSTANT} +created +{TASK}", second)


def test_provenance_takes_an_id_that_begins_with_a_dash(ledger: Ledger) -> None:
    with ledger.run(TASK, source=SOURCE) as run:
        run.record("Balance", "-7", "created")
    assert len(ask("provenance", "--json", "Balance", "--", "-7").json) == 1


# status and projections


def test_status_shows_place_beginning_head_and_read_models(
    ledger: Ledger, completed: Run, running: Run, url: str
) -> None:
    found = ask("status", "--json").json
    assert found["ledger_id"] == str(ledger.ledger_id)
    assert found["place"] == url
    assert found["position"] == 9
    assert found["first_recorded_at"] <= found["recorded_at"]
    models = {model["projection"]: model for model in found["read_models"]}
    assert models["data_ingestion_runs"]["position"] == 8
    assert models["data_ingestion_runs"]["lag"] == 1
    shown = ask("status").stdout
    assert "head         position 9" in shown
    assert re.search(rf"^data_ingestion_runs +8 +1 +{INSTANT} +no", shown, re.MULTILINE)


def test_status_of_an_empty_ledger_says_so() -> None:
    assert "first event  none yet" in ask("status").stdout
    assert ask("status", "--json").json["recorded_at"] is None


def test_projections_are_behind_until_they_are_updated(running: Run) -> None:
    before = ask("projections", "status", "--json").json
    assert {model["lag"] for model in before} == {1}
    assert "the read models are at position 1" in ask("projections", "update").stdout
    assert {model["lag"] for model in ask("projections", "status", "--json").json} == {0}
    assert len(ask("projections", "status").lines) == 1 + len(before)


# check


def test_check_ends_with_0_when_every_run_completed(completed: Run) -> None:
    said = ask("check", "--since", "24h")
    assert said.code == cli.FINE
    assert re.fullmatch(rf"✅ 1 run since {INSTANT}: nothing is wrong\n", said.stdout)
    assert ask("check", "--json").json == []


def test_check_names_failed_abandoned_missed_and_empty_runs_and_ends_with_1(
    ledger: Ledger, completed: Run, failed: Run, running: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "ledger.toml").write_text(
        '[watch]\nabandoned_after = 0.001\ngrace = 0\n[tasks."never"]\nschedule = "* * * * *"\n'
    )
    monkeypatch.setenv("AUDIT_LEDGER_CONFIG", str(home / "ledger.toml"))
    with ledger.run("data_fetch:nothing", source="s") as empty:
        pass
    said = ask("check", "--json")
    assert said.code == cli.WRONG
    found = [(row["kind"], row["task"], row["run_id"]) for row in said.json if row["kind"] != "missed"]
    assert found == [
        ("abandoned", "data_fetch:committees_daily", str(running.id)),
        ("failed", "data_fetch:insider_daily", str(failed.id)),
        ("empty", "data_fetch:nothing", str(empty.id)),
    ]
    assert {row["task"] for row in said.json if row["kind"] == "missed"} <= {"never"}
    lines = [line for line in ask("check").lines if "missed" not in line]
    assert lines == [
        f"❌ abandoned data_fetch:committees_daily (run {running.id.hex[:8]}): no sign of life for 0 s",
        f"❌ failed data_fetch:insider_daily (run {failed.id.hex[:8]}): API error",
        f"❌ empty data_fetch:nothing (run {empty.id.hex[:8]}): completed without fetching a record",
    ]


def test_check_ends_with_1_when_nothing_ran(completed: Run) -> None:
    said = ask("check", "--since", "2100-01-01T00:00Z")
    assert said.code == cli.WRONG
    assert "❌ none since 2100-01-01 00:00:00Z: no run has started" in said.stdout
    (finding,) = ask("check", "--since", "2100-01-01T00:00Z", "--json").json
    assert (finding["kind"], finding["run_id"]) == ("none", None)


# close


def test_close_ends_a_run_as_failed(running: Run) -> None:
    said = ask("close", running.id.hex[:8], "--failed", "--reason", "the machine lost power")
    assert (said.code, said.stdout) == (cli.FINE, f"closed run {running.id} as failed\n")
    shown = ask("show", str(running.id), "--json").json
    assert (shown["status"], shown["error_message"]) == ("failed", "the machine lost power")
    again = ask("close", str(running.id), "--failed", "--reason", "again")
    assert again.code == cli.FAILED
    assert "has ended already" in again.stderr


def test_close_wants_to_be_told_how_and_why(running: Run) -> None:
    assert ask("close", str(running.id), "--reason", "x").code == cli.USAGE
    assert ask("close", str(running.id), "--failed").code == cli.USAGE
    assert ask("show", str(running.id), "--json").json["status"] == "running"


# the spool


def spooled(url: str) -> UUID:
    """What a run leaves behind that could send nothing: its start and its end, two hours ago."""
    run_id, then = uuid4(), datetime.now(UTC) - timedelta(hours=2, seconds=30)
    spool = Spool.of(load(url=url))
    started = RunStarted(occurred_at=then, task=TASK, source=SOURCE)
    spool.write(
        Batch(run_id, 0, [Pending(started), Pending(RunCompleted(occurred_at=then, fetched=1))]), None
    )
    spool.close()
    return run_id


def test_spool_status_says_what_waits_and_forward_delivers_it_once(url: str, ledger: Ledger) -> None:
    assert ask("spool", "status", "--json").json["events"] == 0
    run_id = spooled(url)
    found = ask("spool", "status", "--json").json
    assert (found["events"], found["runs"], found["ledger_ids"], found["last_error"]) == (2, 1, [None], None)
    assert found["oldest"] < datetime.now(UTC).isoformat()
    assert found["path"] in ask("spool", "status").stdout
    assert ask("status", "--json").json["spool"]["events"] == 2
    said = ask("spool", "forward")
    assert (said.code, said.stdout) == (cli.FINE, f"forwarded 2 events of {found['path']}\n")
    assert "before their ledger was ever reached" in said.stderr
    assert [row["run_id"] for row in ask("runs", "--json").json] == [str(run_id)]
    assert ask("spool", "forward").stdout == f"forwarded 0 events of {found['path']}\n"
    assert ask("status", "--json").json["position"] == 2


def test_what_was_recorded_long_after_it_happened_is_shown_as_such(url: str, completed: Run) -> None:
    run_id = spooled(url)
    ask("spool", "forward")
    assert f"run {run_id.hex[:8]} was recorded 2 h after it happened" in ask("runs").lines
    assert "recorded 2 h after it happened" in ask("show", str(run_id)).stdout
    assert 7200 < ask("show", str(run_id), "--json").json["recorded_after_seconds"] < 7300
    assert ask("show", str(completed.id), "--json").json["recorded_after_seconds"] < 60
    assert "after it happened" not in ask("show", str(completed.id)).stdout


def test_forward_ends_with_1_and_says_so_when_the_ledger_refuses_something(url: str, ledger: Ledger) -> None:
    bad, good = spooled(url), spooled(url)
    ledger._recorder.append(bad, 0, [RunStarted(occurred_at=datetime.now(UTC), task="other", source=SOURCE)])
    said = ask("spool", "forward")
    assert said.code == cli.WRONG
    assert "refused 1 stream" in said.stderr
    assert f"2 events of {bad}" in ask("spool", "status").stdout
    assert ask("show", str(good)).code == cli.FINE
    assert "refused" in findings()["spool"]["detail"]
    assert ask("spool", "forward", "--again").code == cli.WRONG


def test_spool_status_needs_no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIT_LEDGER_URL", "postgresql://nobody@127.0.0.1:1/none")
    spooled("postgresql://nobody@127.0.0.1:1/none")
    assert ask("spool", "status", "--json").json["events"] == 2
    said = ask("spool", "forward")
    assert said.code == cli.FAILED
    assert "no database answers" in said.stderr


# roles


QUESTIONS = [
    ["runs"],
    ["show", "RUN"],
    ["provenance", "QuiverTrade", "12345"],
    ["status"],
    ["check"],
    ["projections", "status"],
]


def test_a_reader_may_ask_everything(completed: Run, as_reader: Callable[[], None]) -> None:
    as_reader()
    for command in QUESTIONS:
        args = [str(completed.id) if arg == "RUN" else arg for arg in command]
        for options in ([], ["--json"]):
            said = ask(*args, *options)
            assert (args, said.code, said.stderr) == (args, cli.FINE, "")
            assert said.stdout


def test_a_reader_is_warned_when_the_read_models_are_behind(
    completed: Run, running: Run, as_reader: Callable[[], None]
) -> None:
    as_reader()
    said = ask("runs", "--json")
    assert said.stderr == "read models are 1 event behind\n"
    assert [row["status"] for row in said.json] == ["completed"]
    unknown = ask("show", str(running.id))
    assert unknown.code == cli.FAILED
    assert unknown.stderr.startswith("read models are 1 event behind\nerror: no run has the id")


def test_a_writer_is_not_warned_since_its_questions_bring_them_up(completed: Run, running: Run) -> None:
    said = ask("runs", "--json")
    assert said.stderr == ""
    assert [row["status"] for row in said.json] == ["running", "completed"]


@pytest.mark.parametrize(
    "command", [["close", "RUN", "--failed", "--reason", "x"], ["projections", "update"]], ids=str
)
def test_a_reader_who_would_write_is_refused_with_all_parts_of_the_error(
    ledger: Ledger, running: Run, as_reader: Callable[[], None], command: list[str]
) -> None:
    ledger.update_read_models()
    as_reader()
    said = ask(*[str(running.id) if arg == "RUN" else arg for arg in command])
    assert said.code == cli.FAILED
    assert re.match(r"error: .+\n  expected: .+\n  actual: .+\n  remedy: .+", said.stderr)


# init, url, and what can be wrong with a place


def test_init_makes_a_ledger_by_url_and_then_has_nothing_to_do(
    server: EmbeddedServer, empty_database: str
) -> None:
    place = server.url("postgres", empty_database)
    assert ask("--url", place, "runs").code == cli.FAILED
    assert "ran 0001_event_store.sql" in ask("init", "--url", place).lines
    assert ask("init", "--url", place).lines == ["nothing to do"]
    assert ask("--url", place, "init").lines == ["nothing to do"]
    assert ask("--url", place, "runs", "--json").json == []


def test_a_writer_may_not_initialise(server: EmbeddedServer, empty_database: str) -> None:
    said = ask("init", "--url", server.url("ledger_writer", empty_database))
    assert said.code == cli.FAILED
    assert "may not initialise" in said.stderr


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--url", "postgresql://nobody@127.0.0.1:1/none"], "no database answers at 127.0.0.1:1/none"),
        (["--url", "mysql://x"], "the URL of the ledger cannot be read"),
        (["--name", "risk"], "holds no ledger named risk"),
        (["--name", "Not A Name"], "the setting name cannot be used"),
    ],
    ids=str,
)
def test_a_place_that_cannot_be_used_ends_with_3_and_a_remedy(options: list[str], what: str) -> None:
    said = ask(*options, "runs")
    assert (said.code, said.stdout) == (cli.FAILED, "")
    assert what in said.stderr
    assert "remedy: " in said.stderr


def test_url_is_the_configured_one(url: str) -> None:
    assert ask("url").stdout == url + "\n"
    assert ask("url", "--role", "admin").stdout == url + "\n"


@pytest.mark.parametrize("form", ["url", "keywords"])
def test_url_as_a_role_connects_as_that_role(
    url: str, form: str, completed: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    if form == "keywords":
        with psycopg.connect(url) as conn:
            info = conn.info
            monkeypatch.setenv("AUDIT_LEDGER_URL", f"host={info.host} user={info.user} dbname={info.dbname}")
    with psycopg.connect(ask("url", "--role", "reader").stdout.strip()) as conn:
        assert conn.execute("SELECT current_user").fetchone() == ("ledger_reader",)


# doctor


def findings() -> dict[str, dict[str, Any]]:
    """What doctor finds wrong, by name; its exit code agrees."""
    said = ask("doctor", "--json")
    wrong = {check["name"]: check for check in said.json if not check["ok"]}
    assert said.code == (cli.WRONG if wrong else cli.FINE)
    assert all(check["remedy"] for check in wrong.values())
    return wrong


def test_doctor_of_a_sound_ledger_finds_nothing(completed: Run, running: Run) -> None:
    said = ask("doctor")
    assert said.code == cli.FINE
    assert [line.split(":")[0] for line in said.lines] == [
        "✅ server",
        "✅ version",
        "✅ ledger",
        "✅ role",
        "✅ guards",
        "✅ read models",
        "✅ projection files",
        "✅ set-aside events",
        "✅ erasures",
        "✅ spool",
    ]


def test_doctor_says_what_to_do_beneath_what_is_wrong(as_reader: Callable[[], None]) -> None:
    as_reader()
    lines = ask("doctor").lines
    found = lines.index("❌ role: ledger_reader may read, but not write")
    assert lines[found + 1].startswith("   remedy: GRANT ledger_writer TO")


@pytest.mark.parametrize(
    ("statement", "state"),
    [
        ("ALTER TABLE ledger.events DISABLE TRIGGER events_guard", "events_guard on events is disabled"),
        ("ALTER TABLE ledger.events ENABLE TRIGGER events_lock", "events_lock on events is off in sessions"),
        ("DROP TRIGGER head_immutable ON ledger.head", "head_immutable on head is missing"),
    ],
    ids=["disabled", "not always", "dropped"],
)
def test_doctor_finds_a_guard_that_is_off(admin: psycopg.Connection[Any], statement: str, state: str) -> None:
    admin.execute(statement.encode())
    found = findings()
    assert list(found) == ["guards"]
    assert state in found["guards"]["detail"]
    assert "ENABLE ALWAYS TRIGGER" in found["guards"]["remedy"]


def test_doctor_knows_every_guard(admin: psycopg.Connection[Any]) -> None:
    guards = admin.execute(
        "SELECT tgname, tgrelid::regclass::text FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid"
        " WHERE c.relnamespace = 'ledger'::regnamespace AND NOT t.tgisinternal"
    ).fetchall()
    assert len(guards) > 12
    for guard, table in guards:
        admin.execute(f"ALTER TABLE {table} DISABLE TRIGGER {guard}")
        assert f"{guard} on {table} is disabled" in findings()["guards"]["detail"]
        admin.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {guard}")
    assert findings() == {}


def test_doctor_lists_the_events_that_were_set_aside(ledger: Ledger, url: str, completed: Run) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("SELECT ledger.append(ARRAY[gen_random_uuid()], ARRAY[1], ARRAY['RunStarted'], '{no}')")
    found = findings()
    assert list(found) == ["set-aside events"]
    assert "position 9: invalid input syntax for type json" in found["set-aside events"]["detail"]


def test_doctor_finds_read_models_that_are_behind(running: Run, as_reader: Callable[[], None]) -> None:
    as_reader()
    assert "data_ingestion_runs is 1 events behind" in findings()["read models"]["detail"]


def test_doctor_finds_files_that_differ_from_those_that_made_the_ledger(
    admin: psycopg.Connection[Any],
) -> None:
    admin.execute("UPDATE progress SET sha256 = 'other' WHERE projection = 'api_call_logs'")
    admin.execute("UPDATE migrations SET sha256 = 'other' WHERE number = 2")
    found = findings()
    assert list(found) == ["ledger", "projection files"]
    assert "api_call_logs.sql" in found["projection files"]["detail"]
    assert "0002_bodies.sql" in found["ledger"]["detail"]


def test_doctor_finds_bytes_that_are_gone_without_an_event_and_events_without_that_effect(
    ledger: Ledger, officer: Ledger, completed: Run, admin: psycopg.Connection[Any]
) -> None:
    with ledger.run(TASK, SOURCE) as run:
        run.ingest_many("Person", {1: {"name": "Jo"}, 2: {"name": "Flo"}, 3: {"name": "Mo"}})
    officer.erase_record("Person", 1, reason="asked", by="ada")
    assert findings() == {}
    (flo, mo) = [
        row[0]
        for row in admin.execute(
            "SELECT content FROM record_versions WHERE record_id IN ('2', '3') ORDER BY id"
        )
    ]
    claim = BodyErased.of(
        by="eve", commitment=flo, occurred_at=datetime.now(UTC), reason="none", referrers=[1]
    )
    officer._recorder.append(uuid4(), 0, [claim])
    admin.execute("SELECT forget_body(%s)", [mo])
    found = findings()
    assert list(found) == ["erasures"]
    assert f"the body {flo} was erased, but its bytes are there" in found["erasures"]["detail"]
    assert f"the bytes of the body {mo} are gone, but no event says why" in found["erasures"]["detail"]


def test_doctor_finds_what_is_spooled(ledger: Ledger, url: str, home: Path) -> None:
    spooled(url)
    found = findings()["spool"]
    assert found["detail"].startswith("2 events wait in")
    assert found["remedy"] == "audit-ledger spool forward"
    ask("spool", "forward")
    assert findings() == {}
    spooled("postgresql://nobody@127.0.0.1:1/none")
    assert "spools of other ledgers are not empty" in findings()["spool"]["detail"]


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (["--url", "postgresql://nobody@127.0.0.1:1/none"], "server"),
        (["--name", "risk"], "ledger"),
        (["--home", "HOME"], "server"),
    ],
    ids=str,
)
def test_doctor_goes_as_far_as_it_can(home: Path, options: list[str], name: str) -> None:
    said = ask(*[str(home) if option == "HOME" else option for option in options], "doctor")
    assert said.code == cli.WRONG
    assert [line.split(":")[0] for line in said.lines if line.startswith("❌")] == [f"❌ {name}"]
    assert said.lines[-1] == "✅ spool: nothing waits"
    assert "remedy" in said.stdout
    assert list(home.iterdir()) == []


# usage


COMMANDS = [
    *[[command] for command in ("runs", "show", "provenance", "check", "status", "close")],
    *[[command] for command in ("init", "doctor", "url", "psql", "records", "history", "diff", "chain")],
    *[[command] for command in ("correct", "calls", "payload", "replay", "verify")],
    *[["projections", command] for command in ("status", "update", "rebuild")],
    *[["spool", command] for command in ("status", "forward")],
    *[["server", command] for command in ("start", "stop", "status")],
    *[["erase", what] for what in ("payload", "record")],
    *[["hold", "add", what] for what in ("payload", "record", "run")],
    ["hold", "release"],
    ["hold", "list"],
    *[["retention", command] for command in ("show", "set")],
]


def test_help_of_every_command_has_an_example() -> None:
    for command in COMMANDS:
        said = ask(*command, "--help")
        assert said.code == cli.FINE
        assert f"Example: audit-ledger {' '.join(command)}" in " ".join(said.stdout.split())


def test_help_documents_the_exit_codes_and_lists_every_command() -> None:
    shown = ask("--help").stdout
    for code in (cli.FINE, cli.WRONG, cli.USAGE, cli.FAILED, cli.INTERRUPTED, cli.UNREAD):
        assert re.search(rf"^ *{code}  +\w", shown, re.MULTILINE)
    for command in COMMANDS:
        assert f"│ {command[0]} " in shown


def test_a_command_line_that_is_not_understood_ends_with_2() -> None:
    for line in ("nonsense", "runs --nonsense", "runs --status odd", "runs --limit 0", "show"):
        assert (line, ask(*line.split()).code) == (line, cli.USAGE)


def test_an_argument_that_is_not_text_is_refused() -> None:
    said = ask("provenance", "QuiverTrade", "\udcff")
    assert said.code == cli.FAILED
    assert "values that the database can hold" in said.stderr


# the console script


def test_the_script_ends_with_the_documented_codes(completed: Run, failed: Run) -> None:
    assert execute("--version").stdout.startswith("audit-ledger ")
    assert len(execute("runs", "--json").json) == 2
    assert execute("check").code == cli.WRONG
    assert execute("check", "--nonsense").code == cli.USAGE
    unknown = execute("show", str(uuid4()))
    assert unknown.code == cli.FAILED
    assert unknown.stderr.startswith("error: no run has the id")
    assert "Traceback" not in unknown.stderr


def test_output_in_a_locale_without_the_characters_is_no_error(completed: Run) -> None:
    said = execute("check", PYTHONIOENCODING="ascii")
    assert said.code == cli.FINE
    assert "nothing is wrong" in said.stdout


@pytest.mark.parametrize("command", [["runs"], ["runs", "--json"], ["status"], ["doctor"]], ids=" ".join)
def test_a_reader_of_the_output_who_went_away_is_no_traceback(completed: Run, command: list[str]) -> None:
    theirs, ours = os.pipe()
    os.close(theirs)
    done = subprocess.run([SCRIPT, *command], stdout=ours, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(ours)
    assert (done.returncode, done.stderr) == (cli.UNREAD, b"")


def test_an_interrupted_command_ends_with_130(running: Run, admin: psycopg.Connection[Any]) -> None:
    waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'progress'::regclass"
    with started("projections", "update") as process, admin.transaction():
        admin.execute("LOCK TABLE progress")
        until(lambda: admin.execute(waiting).fetchone())
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=20)
    assert (process.returncode, complaint) == (cli.INTERRUPTED, "error: interrupted\n")


@contextmanager
def started(*args: str) -> Iterator[subprocess.Popen[str]]:
    """The console script, running; what is left of it at the end of the block is killed."""
    process = subprocess.Popen(
        [SCRIPT, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def following() -> Iterator[subprocess.Popen[str]]:
    """The console script, bringing the read models up as events arrive."""
    with started("projections", "update", "--follow") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "the read models are at position 0\n"
        assert process.stdout.readline() == "following\n"
        yield process


def folded(admin: psycopg.Connection[Any], position: int) -> bool:
    row = admin.execute("SELECT min(position) FROM progress").fetchone()
    return row == (position,)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_following_folds_events_as_they_arrive_until_a_signal(
    admin: psycopg.Connection[Any], ledger: Ledger, number: signal.Signals
) -> None:
    with following() as process:
        for position in (1, 2):
            ledger.run(TASK, source=SOURCE).__enter__()
            until(lambda position=position: folded(admin, position))  # type: ignore[misc]
        process.send_signal(number)
        said, complaint = process.communicate(timeout=20)
    assert (process.returncode, said, complaint) == (0, "stopped\n", "")


def test_following_goes_on_when_its_connections_are_lost(
    admin: psycopg.Connection[Any], ledger: Ledger
) -> None:
    listening = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()"
    with following() as process:
        until(lambda: admin.execute(listening).fetchone())
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND usename = 'ledger_writer'"
        )
        assert process.stderr is not None
        assert process.stderr.readline().startswith("the database is away, still trying: ")
        assert process.stderr.readline() == "the database is back\n"
        ledger.run(TASK, source=SOURCE).__enter__()
        until(lambda: folded(admin, 1))
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0


# psql


def test_psql_finds_the_tables_and_is_the_reader_by_default(completed: Run) -> None:
    said = execute(
        "psql", "-At", "-c", "SELECT current_user, count(*) FROM data_ingestion_runs", "-c", "TABLE head"
    )
    assert said.code == 0
    assert said.lines[0] == "ledger_reader|1"
    assert said.lines[1].startswith("8|")


@pytest.mark.parametrize(("role", "user"), [("writer", "ledger_writer"), ("admin", "postgres")])
def test_psql_connects_as_the_role_that_is_asked_for(admin_url: str, role: str, user: str) -> None:
    said = execute("--url", admin_url, "psql", "--role", role, "-Atc", "SELECT current_user")
    assert said.stdout == f"{user}\n"


def test_psql_passes_its_exit_status_on(home: Path) -> None:
    script = home / "script.sql"
    script.write_text("DELETE FROM events;")
    refused = execute("psql", "-v", "ON_ERROR_STOP=1", "-f", script)
    assert refused.code == 3  # psql's own
    assert "permission denied" in refused.stderr


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc, to see a command line")
def test_psql_keeps_the_password_off_the_command_line(url: str) -> None:
    secret = url.replace("ledger_writer@", "ledger_writer:s3cret@")
    assert secret != url
    shell = r"\! tr '\0' ' ' < /proc/$PPID/cmdline; echo; echo $PGPASSWORD"
    command_line, password = execute("--url", secret, "psql", "-c", shell).lines
    assert "--dbname" in command_line
    assert "s3cret" not in command_line
    assert password == "s3cret"


# the embedded ledger


def test_the_embedded_ledger_from_nothing_to_stopped(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUDIT_LEDGER_URL")
    assert execute("server", "status").lines[0].split() == ["state", "stopped"]
    assert execute("server", "stop").stdout == "was not running\n"
    try:
        made = execute("init")
        assert (made.code, made.stderr) == (cli.FINE, "")
        assert made.lines[0] == f"made an embedded ledger in {home}"
        assert execute("init").lines == ["nothing to do"]
        place = execute("url").stdout.strip()
        with psycopg.connect(place) as conn:
            assert conn.info.user == "ledger_writer"
        monkeypatch.setenv("AUDIT_LEDGER_URL", "postgresql://nobody@127.0.0.1:1/none")
        assert execute("--home", home, "psql", "-Atc", "SELECT current_user").stdout == "ledger_reader\n"
        assert execute("--home", home, "runs", "--json").json == []
        monkeypatch.delenv("AUDIT_LEDGER_URL")
        assert execute("doctor").code == cli.FINE
        state = execute("server", "status", "--json").json
        assert (state["running"], state["home"]) == (True, str(home.resolve()))
        assert execute("server", "start").stdout.startswith("runs already: PostgreSQL ")
        assert execute("server", "stop").stdout == "stopped\n"
        assert execute("server", "start").stdout.startswith("started: PostgreSQL ")
    finally:
        EmbeddedServer(home).stop()
    assert execute("server", "status").lines[0].split() == ["state", "stopped"]
