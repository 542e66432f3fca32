"""`audit-ledger exec`: a command notices nothing of it, and everything of the command is on record."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from audit_ledger import Ledger
from audit_ledger.events import RunFailed, RunJoined, RunLeft, RunSkipped, RunStarted, decode
from audit_ledger.reading.runs import RunRow
from tests.store import until

SCRIPT = str(Path(sys.executable).parent / "audit-ledger")
SECRET = "hunter2-is-planted"


class Exec:
    """`audit-ledger exec` on one ledger, in its own process."""

    def __init__(self, url: str, folder: Path) -> None:
        self.environment = os.environ | {"AUDIT_LEDGER_URL": url, "AUDIT_LEDGER_RETRY_FOR": "1"}
        self.folder = folder

    def start(self, *command: str, options: tuple[str, ...] = (), **popen: Any) -> "subprocess.Popen[bytes]":
        line = [SCRIPT, "exec", "--task", "nightly", "--source", "shop", *options, "--", *command]
        given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": self.folder, **popen}
        environment = self.environment | given.pop("env", {})
        process: subprocess.Popen[bytes] = subprocess.Popen(line, env=environment, **given)
        return process

    def __call__(
        self, *command: str, options: tuple[str, ...] = (), given: bytes = b"", **popen: Any
    ) -> "subprocess.CompletedProcess[bytes]":
        with self.start(*command, options=options, stdin=subprocess.PIPE, **popen) as process:
            out, err = process.communicate(given, timeout=60)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def script(self, text: str, name: str = "fetch.py") -> str:
        """A Python script that records; its path."""
        file = self.folder / name
        file.write_text(f"import audit_ledger\nledger = audit_ledger.connect()\n{text}")
        return str(file)


@pytest.fixture
def execute(url: str, tmp_path: Path) -> Exec:
    return Exec(url, tmp_path)


def events(ledger: Ledger, kind: type[Any]) -> list[Any]:
    """The events of a type, in order."""
    return [decode(e.type, e.state) for e in ledger.events() if e.type == kind.__name__]


def the_run(ledger: Ledger) -> RunRow:
    """The one run on record."""
    [run] = ledger.runs
    return run


def failure(ledger: Ledger) -> RunFailed:
    """The one end of the one run, which failed."""
    [ended] = events(ledger, RunFailed)
    assert isinstance(ended, RunFailed)
    return ended


def test_exec_records_a_command_that_succeeds(execute: Exec, ledger: Ledger) -> None:
    done = execute("sh", "-c", "echo out; echo err >&2")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"out\n", b"err\n")
    run = the_run(ledger)
    assert (run.status, run.task_name, run.data_source) == ("completed", "nightly", "shop")
    [started] = events(ledger, RunStarted)
    assert started.parameters == {"command": ["sh", "-c", "echo out; echo err >&2"]}


def test_the_start_is_on_record_before_the_command_starts(execute: Exec, ledger: Ledger) -> None:
    count = "import os,psycopg; c=psycopg.connect(os.environ['AUDIT_LEDGER_URL']);"
    count += "print(c.execute('SELECT count(*) FROM ledger.events').fetchone()[0])"
    assert execute(sys.executable, "-c", count).stdout == b"1\n"


@pytest.mark.parametrize(
    ("command", "code", "kind", "fields"),
    [
        (["sh", "-c", "exit 3"], 3, "CommandFailed", {"exit_status": 3, "message": "exit status 3"}),
        (["no-such-command"], 127, "CommandNotFound", {"exit_status": 127}),
        (["/etc/passwd"], 126, "CommandNotExecutable", {"exit_status": 126}),
        (["sh", "-c", "kill -9 $$"], 137, "CommandKilled", {"signal": "SIGKILL", "exit_status": None}),
        (["sh", "-c", "kill -TERM $$"], 143, "CommandKilled", {"signal": "SIGTERM"}),
    ],
)
def test_the_exit_code_is_the_commands_own_and_says_why_it_failed(
    command: list[str], code: int, kind: str, fields: dict[str, Any], execute: Exec, ledger: Ledger
) -> None:
    assert execute(*command).returncode == code
    ended = failure(ledger)
    assert ended.error_class == kind
    assert {name: getattr(ended, name) for name in fields} == fields
    assert the_run(ledger).status == "failed"


def test_a_command_whose_time_is_up_is_ended(execute: Exec, ledger: Ledger) -> None:
    begun = time.monotonic()
    assert execute("sleep", "30", options=("--timeout", "0.2")).returncode == 124
    assert time.monotonic() - begun < 10
    ended = failure(ledger)
    assert (ended.error_class, ended.signal) == ("CommandTimedOut", "SIGTERM")
    assert ended.message == "not done after 0.2 s; ended by SIGTERM"


def test_a_command_that_does_not_listen_is_killed_with_all_that_it_started(
    execute: Exec, ledger: Ledger
) -> None:
    stubborn = 'trap "" TERM; echo $$; sh -c \'trap "" TERM; echo $$; while :; do sleep 0.1; done\''
    options = ("--timeout", "0.3", "--kill-after", "0.2s")
    done = execute("sh", "-c", stubborn, options=options)
    assert done.returncode == 137
    assert failure(ledger).signal == "SIGKILL"
    until(lambda: all(_is_gone(int(pid)) for pid in done.stdout.split()))


def _is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1"])
def test_signals_reach_the_command_which_decides_what_becomes_of_them(
    name: str, execute: Exec, ledger: Ledger
) -> None:
    short = name.removeprefix("SIG")
    handles = f"trap 'echo got {short}; exit 5' {short}; echo ready; while :; do sleep 0.05; done"
    process = execute.start("sh", "-c", handles)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(getattr(signal, name))
        assert process.stdout.read() == f"got {short}\n".encode()
    assert process.returncode == 5
    assert failure(ledger).exit_status == 5


def test_a_signal_reaches_what_the_command_has_started(execute: Exec, ledger: Ledger) -> None:
    inner = "trap 'echo inner; exit' TERM; echo ready; while :; do sleep 0.05; done"
    process = execute.start("sh", "-c", f'trap "echo outer" TERM; sh -c "{inner}"; exit 0')
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.terminate()
        assert process.stdout.read() == b"inner\nouter\n"
    assert process.returncode == 0


def test_when_exec_is_killed_the_command_is_told_and_the_run_stays_open(
    execute: Exec, ledger: Ledger
) -> None:
    process = execute.start("sh", "-c", "trap 'touch told; exit' TERM; echo $$; while :; do sleep 0.05; done")
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
    until((execute.folder / "told").exists)
    assert the_run(ledger).status == "running"


def test_the_end_of_the_output_of_a_failure_is_recorded_without_secrets(
    execute: Exec, ledger: Ledger
) -> None:
    lines = f"for n in $(seq 1 5000); do echo line $n; done; echo password={SECRET}"
    # Two pipes have no order between them, but for what the reader has long read.
    assert SECRET in execute("sh", "-c", f"{lines}; sleep 0.5; echo the end >&2; exit 1").stdout.decode()
    output = failure(ledger).output
    assert output is not None
    assert "line 5000\npassword=[REDACTED]" in output
    assert "the end" in output
    assert 3500 < len(output) <= 4001
    assert all(SECRET.encode() not in event.state for event in ledger.events())


def test_the_command_line_is_recorded_without_secrets(execute: Exec, ledger: Ledger) -> None:
    execute("sh", "-c", "exit 0", "sh", "--password", SECRET, f"https://u:{SECRET}@example.test/")
    [started] = events(ledger, RunStarted)
    assert SECRET not in str(started.parameters)
    assert len(started.parameters["command"]) == 7


def test_show_tells_how_a_command_failed(execute: Exec, ledger: Ledger) -> None:
    execute("sh", "-c", "echo no such symbol; exit 3")
    shown = subprocess.run(
        [SCRIPT, "show", str(ledger.runs.all()[0].run_id)],
        env=execute.environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert re.search(r"class +CommandFailed\nexit status +3\n", shown)
    assert re.search(r"printed +no such symbol\n", shown)


def test_output_that_is_no_text_passes_unchanged(execute: Exec, ledger: Ledger) -> None:
    done = execute(
        sys.executable, "-c", "import sys; sys.stdout.buffer.write(bytes(range(256))); sys.exit(1)"
    )
    assert done.stdout == bytes(range(256))
    assert "\ufffd" in (failure(ledger).output or "")


def test_a_large_output_passes_in_constant_memory(execute: Exec) -> None:
    size = 100 << 20
    process = execute.start("head", "-c", str(size), "/dev/zero")
    with process:
        assert process.stdout is not None
        received, peak = 0, 0
        while data := process.stdout.read(1 << 20):
            received += len(data)
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak = max(peak, int(status.partition("VmRSS:")[2].split()[0]) if "VmRSS:" in status else 0)
    assert received == size
    assert process.returncode == 0
    assert peak < 120 << 10  # KiB; Python and what it has imported are most of it


def test_input_reaches_the_command(execute: Exec) -> None:
    assert execute("tr", "a-z", "A-Z", given=b"passed through\n").stdout == b"PASSED THROUGH\n"


def test_stdout_and_stderr_in_one_file_keep_their_order(execute: Exec) -> None:
    lines = "for n in 1 2 3 4 5 6 7 8 9; do echo o$n; echo e$n >&2; done"
    done = execute("sh", "-c", lines, stderr=subprocess.STDOUT)
    assert done.stdout.decode().split() == [f"{kind}{n}" for n in range(1, 10) for kind in "oe"]


def test_a_reader_that_goes_away_ends_the_command_as_it_would_without(execute: Exec, ledger: Ledger) -> None:
    process = execute.start("yes")
    with process:
        assert process.stdout is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.wait(20) == 128 + signal.SIGPIPE
    assert failure(ledger).signal == "SIGPIPE"


def test_what_outlives_the_command_keeps_its_output(execute: Exec, ledger: Ledger) -> None:
    later = "(while [ ! -e go ]; do sleep 0.02; done; echo later) & echo now"
    process = execute.start("sh", "-c", later)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"now\n"
        assert process.wait(20) == 0
        assert the_run(ledger).status == "completed"
        (execute.folder / "go").touch()
        assert process.stdout.read() == b"later\n"


def test_at_a_terminal_the_command_has_one_and_is_interrupted_once(execute: Exec, ledger: Ledger) -> None:
    """As a shell would start it: a session with a terminal, in whose foreground it is."""
    text = (
        "import os,sys,time,signal\n"
        "signal.signal(signal.SIGINT, lambda *_: (print('INT', flush=True)))\n"
        "print(*(os.isatty(n) for n in range(3)), os.get_terminal_size(), flush=True)\n"
        "print(input())\n"
        "time.sleep(0.3)\nsys.exit(4)\n"
    )
    pid, master = pty.fork()
    if pid == 0:
        command = [SCRIPT, "exec", "--task", "t", "--source", "s", "--", sys.executable, "-c", text]
        os.execve(command[0], command, execute.environment)
    seen = _read_until(master, b"lines=0)\r\n")  # the terminal's echo may overtake the rest of a line
    os.write(master, b"typed\n")
    seen += _read_until(master, b"typed\r\ntyped\r\n", seen)
    os.write(master, b"\x03")
    seen += _read_until(master, b"INT", seen)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 4
    seen += _rest(master)
    assert b"True True True os.terminal_size" in seen
    assert seen.count(b"INT") == 1
    assert failure(ledger).exit_status == 4


def _read_until(master: int, sought: bytes, before: bytes = b"") -> bytes:
    seen = b""
    deadline = time.monotonic() + 20
    while sought not in before + seen:
        assert select.select([master], [], [], deadline - time.monotonic())[0], before + seen
        seen += os.read(master, 4096)
    return seen


def _rest(master: int) -> bytes:
    seen = b""
    while select.select([master], [], [], 0.2)[0]:
        try:
            data = os.read(master, 4096)
        except OSError:
            break
        if not data:
            break
        seen += data
    os.close(master)
    return seen


def test_a_script_inside_joins_the_run(execute: Exec, ledger: Ledger) -> None:
    inside = execute.script(
        "with ledger.run('inner', source='api') as run:\n"
        "    print(run.id)\n"
        "    run.ingest('Trade', 1, {'n': 1})\n"
        "    run.api_call(endpoint='api.test/x', http_status_code=200)\n"
        "    run.date_range('2025-12-23', '2025-12-24')\n"
        "print(run.result.created)\n"
    )
    done = execute(sys.executable, inside)
    assert done.returncode == 0, done.stderr
    run = the_run(ledger)
    assert done.stdout.decode().split() == [str(run.run_id), "1"]
    assert (run.task_name, run.status) == ("nightly", "completed")
    assert (run.records_created, run.records.count(), run.calls.count()) == (1, 1, 1)
    assert str(run.data_date_end) == "2025-12-24"
    [joined], [left] = events(ledger, RunJoined), events(ledger, RunLeft)
    assert joined.run_id == left.run_id == run.run_id
    assert (joined.task, joined.source) == ("inner", "api")
    assert len(events(ledger, RunStarted)) == 1
    inner = [e for e in ledger.events() if e.stream_id != run.run_id]
    assert len({e.stream_id for e in inner}) == 1
    assert {decode(e.type, e.state).run_id for e in inner} == {run.run_id}  # type: ignore[attr-defined]
    assert ledger.details(run.run_id).discrepancies == []


def test_counts_that_scripts_inside_declare_add_up(execute: Exec, ledger: Ledger) -> None:
    first = execute.script(
        "with ledger.run('a', source='s') as run: run.counts(fetched=10, created=4)", "a.py"
    )
    second = execute.script(
        "with ledger.run('b', source='s') as run:\n    run.ingest_many('T', {1: {}, 2: {}})\n", "b.py"
    )
    done = execute("sh", "-c", f"{sys.executable} {first} && {sys.executable} {second}")
    assert done.returncode == 0, done.stderr
    run = the_run(ledger)
    assert (run.records_fetched, run.records_created) == (12, 6)


def test_the_second_script_inside_is_told_what_the_first_has_brought(execute: Exec, ledger: Ledger) -> None:
    inside = execute.script("with ledger.run('a', source='s') as run: print(run.ingest('T', 1, {'n': 1}))")
    done = execute("sh", "-c", f"{sys.executable} {inside}; {sys.executable} {inside}")
    assert done.stdout.split() == [b"created", b"skipped"]
    assert the_run(ledger).records_created == 1


def test_the_exception_of_a_script_inside_is_why_the_run_failed(execute: Exec, ledger: Ledger) -> None:
    inside = execute.script(
        f"with ledger.run('a', source='s') as run:\n    raise KeyError('token={SECRET}')\n"
    )
    done = execute(sys.executable, inside)
    assert done.returncode == 1
    ended = failure(ledger)
    assert (ended.error_class, ended.exit_status) == ("KeyError", 1)
    assert "token=[REDACTED]" in ended.message
    assert ended.backtrace
    assert "fetch.py:4" in ended.backtrace[-1]
    [left] = events(ledger, RunLeft)
    assert left.error_class == "KeyError"


def test_a_script_whose_failure_the_command_takes_does_not_fail_the_run(
    execute: Exec, ledger: Ledger
) -> None:
    inside = execute.script("with ledger.run('a', source='s') as run: raise KeyError('x')")
    assert execute("sh", "-c", f"{sys.executable} {inside} || true").returncode == 0
    assert the_run(ledger).status == "completed"
    assert events(ledger, RunLeft)[0].error_class == "KeyError"


@pytest.mark.parametrize("stale", ["no-uuid", "5e0f2d68-7c0c-4c53-9d0c-0f4f1d1f3a11", "ended"])
def test_an_invitation_that_is_stale_makes_a_run_of_its_own(
    stale: str, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with ledger.run("before", source="s") as before:
        pass
    monkeypatch.setenv("AUDIT_LEDGER_RUN", str(before.id) if stale == "ended" else stale)
    with ledger.run("own", source="s") as run:
        assert run.id != before.id
    assert "a run of its own" in caplog.text
    assert ledger.find_run(run.id).task_name == "own"


def test_exec_inside_exec_is_a_run_of_its_own_that_names_the_outer_one(execute: Exec, ledger: Ledger) -> None:
    done = execute(SCRIPT, "exec", "--task", "step", "--source", "shop", "--", "sh", "-c", "exit 6")
    assert done.returncode == 6
    outer, inner = events(ledger, RunStarted)
    assert (outer.task, inner.task) == ("nightly", "step")
    runs = {run.task_name: run for run in ledger.runs}
    assert inner.parameters["within"] == str(runs["nightly"].run_id)
    assert events(ledger, RunJoined) == []


def hold(execute: Exec, overlap: str) -> "subprocess.Popen[bytes]":
    """A run that goes on until its input ends."""
    process = execute.start("sh", "-c", "echo on; cat", options=("--overlap", overlap), stdin=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"on\n"
    return process


def test_a_task_may_overlap_with_itself(execute: Exec, ledger: Ledger) -> None:
    first = hold(execute, "allow")
    assert execute("true", options=("--overlap", "allow")).returncode == 0
    first.communicate()
    assert {run.status for run in ledger.runs} == {"completed"}
    assert ledger.runs.count() == 2


def test_a_run_that_would_overlap_is_skipped_on_record(execute: Exec, ledger: Ledger) -> None:
    first = hold(execute, "skip")
    skipped = execute("touch", "it-ran", options=("--overlap", "skip"))
    assert (skipped.returncode, skipped.stdout) == (0, b"")
    assert b"nightly is skipped" in skipped.stderr
    assert not (execute.folder / "it-ran").exists()
    first.communicate()
    [event] = events(ledger, RunSkipped)
    assert (event.running, event.task) == (the_run(ledger).run_id, "nightly")
    assert execute("touch", "it-ran", options=("--overlap", "skip")).returncode == 0
    assert (execute.folder / "it-ran").exists()


def test_a_run_that_would_overlap_fails_on_record(execute: Exec, ledger: Ledger) -> None:
    first = hold(execute, "fail")
    failed = execute("touch", "it-ran", options=("--overlap", "fail"))
    assert failed.returncode == 75
    assert b"not to overlap" in failed.stderr
    first.communicate()
    assert not (execute.folder / "it-ran").exists()
    assert failure(ledger).error_class == "RunOverlaps"


def test_of_two_that_start_at_once_one_runs(execute: Exec, ledger: Ledger) -> None:
    both = [execute.start("sh", "-c", "sleep 2", options=("--overlap", "skip")) for _ in range(2)]
    assert [process.communicate() and process.returncode for process in both] == [0, 0]
    assert ledger.runs.count() == 1
    assert len(events(ledger, RunSkipped)) == 1


def test_a_killed_exec_does_not_lock_its_task(execute: Exec, ledger: Ledger) -> None:
    first = hold(execute, "skip")
    first.kill()
    first.communicate()
    until(lambda: execute("true", options=("--overlap", "skip")).stderr == b"")
    assert ledger.runs.first().status == "completed"  # type: ignore[union-attr]


def test_what_the_file_says_of_overlap_counts_where_the_command_line_says_nothing(
    execute: Exec, ledger: Ledger
) -> None:
    file = execute.folder / "ledger.toml"
    file.write_text('[tasks.nightly]\noverlap = "skip"\n')
    execute.environment["AUDIT_LEDGER_CONFIG"] = str(file)
    first = execute.start("sh", "-c", "echo on; cat", stdin=subprocess.PIPE)
    assert first.stdout is not None
    assert first.stdout.readline() == b"on\n"
    assert b"is skipped" in execute("true").stderr
    first.communicate()


@pytest.mark.parametrize("command", ["true", "false"])
def test_what_takes_long_to_import_is_not(command: str, execute: Exec, ledger: Ledger) -> None:
    """What exec adds to a command is mostly imports: docs/reference/benchmarks.md."""
    file = execute.folder / "ledger.toml"
    file.write_text('retry_for = 5\nactor = "etl"\n[tasks.nightly]\noverlap = "allow"\nmin_records = 1\n')
    text = (
        "import sys; from audit_ledger.executing.main import main;"
        f" code = main(['--task', 'nightly', '--source', 's', '--', '{command}']);"
        " print(*sorted(sys.modules)); sys.exit(code)"
    )
    environment = execute.environment | {"AUDIT_LEDGER_CONFIG": str(file)}
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0 if command == "true" else 1, "")
    imported = set(done.stdout.split())
    assert {"psycopg", "audit_ledger.store.event_store"} < imported
    assert the_run(ledger).status == ("completed" if command == "true" else "failed")
    dear = {"pydantic", "pydantic_core", "eventsourcing", "tenacity", "sqlite3", "html", "difflib", "psutil"}
    dear |= {"requests", "rich", "typer", "audit_ledger.plan", "audit_ledger.ledger"}
    assert imported & dear == set()


AWAY = "postgresql://nobody@127.0.0.1:1/none"


INSIDE = """
import audit_ledger
with audit_ledger.connect(when_away="spool") as ledger, ledger.run("inner", "s") as run:
    run.record("X", 1, "created")
"""


def test_what_runs_while_the_ledger_is_away_is_recorded_once_it_is_back(
    execute: Exec, ledger: Ledger, url: str, home: Path
) -> None:
    """The script inside joins the run, though the ledger does not know of it yet."""
    execute.environment |= {"AUDIT_LEDGER_URL": AWAY, "AUDIT_LEDGER_CONNECT_TIMEOUT": "2"}
    done = execute(sys.executable, "-c", INSIDE + "print(run.id); raise SystemExit(3)")
    assert done.returncode == 3
    assert b"is spooled in" in done.stderr
    (spool,) = (home / "spool").glob("*.sqlite")
    forward = [str(SCRIPT), "--url", url, "spool", "forward", "--file", str(spool)]
    subprocess.run(forward, check=True, capture_output=True, env=execute.environment)
    (run,) = ledger.runs
    assert (str(run.run_id), run.status) == (done.stdout.decode().strip(), "failed")
    assert [touch.run_id for touch in ledger.provenance("X", 1)] == [run.run_id]


def test_overlap_cannot_be_seen_while_the_ledger_is_away_and_the_command_runs(execute: Exec) -> None:
    execute.environment |= {"AUDIT_LEDGER_URL": AWAY, "AUDIT_LEDGER_CONNECT_TIMEOUT": "2"}
    done = execute("echo", "ran", options=("--overlap", "skip"))
    assert (done.returncode, done.stdout) == (0, b"ran\n")
    assert b"cannot be seen" in done.stderr


def test_strict_does_not_start_what_could_not_be_recorded(execute: Exec) -> None:
    execute.environment |= {"AUDIT_LEDGER_URL": AWAY, "AUDIT_LEDGER_CONNECT_TIMEOUT": "2"}
    done = execute("touch", "it-ran", options=("--when-away", "strict"))
    assert done.returncode == 75
    assert b"not started" in done.stderr
    assert not (execute.folder / "it-ran").exists()


def test_a_ledger_that_goes_away_meanwhile_does_not_change_the_exit_code(
    execute: Exec, admin: psycopg.Connection[Any], database: str, home: Path
) -> None:
    process = execute.start("sh", "-c", "echo on; cat; exit 3", stdin=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"on\n"
        admin.execute("REVOKE EXECUTE ON FUNCTION ledger.append FROM ledger_writer")
        _, err = process.communicate(timeout=60)
    assert process.returncode == 3
    assert b"is spooled in" in err
    assert list((home / "spool").glob("*.sqlite"))


@pytest.mark.parametrize(
    "line",
    [
        ["--task", "t", "--source", "s"],
        ["--task", "", "--source", "s", "--", "true"],
        ["--source", "s", "--", "true"],
        ["--task", "t", "--source", "s", "--timeout", "soon", "--", "true"],
        ["--task", "t", "--source", "s", "--scheduled-for", "2025-12-24 09:00", "--", "true"],
        ["--task", "t", "--source", "s", "--overlap", "perhaps", "--", "true"],
    ],
)
def test_a_command_line_that_is_not_understood_starts_nothing(line: list[str]) -> None:
    done = subprocess.run([SCRIPT, "exec", *line], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stdout == ""


def test_options_before_exec_say_which_ledger(execute: Exec, url: str, ledger: Ledger) -> None:
    execute.environment["AUDIT_LEDGER_URL"] = AWAY
    line = [
        SCRIPT,
        "--url",
        url,
        "exec",
        "--task",
        "t",
        "--source",
        "s",
        "--",
        "sh",
        "-c",
        "exit 9",
        "--",
        "-x",
    ]
    assert subprocess.run(line, env=execute.environment, check=False).returncode == 9
    assert events(ledger, RunStarted)[0].parameters["command"][-2:] == ["--", "-x"]
