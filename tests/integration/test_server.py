"""The embedded server, real ones: what is made, what survives, who is kept out."""

import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from filelock import FileLock

import audit_ledger
from audit_ledger.errors import ServerError
from audit_ledger.store import server as server_module
from audit_ledger.store.server import DATABASE, SUPERUSER, EmbeddedServer

AS_ROOT = os.geteuid() == 0
SYSTEM_BINARIES = Path("/usr/lib/postgresql/15/bin")
root_only = pytest.mark.skipif(not AS_ROOT, reason="needs root, to act as another account")

ENSURE = """
import sys
from pathlib import Path
from audit_ledger.store.server import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]))
print(server.ensure_running(), server.status().pid)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every account can pass through; servers in it are ended with it."""
    path = Path(tempfile.mkdtemp(prefix="ledger-")).resolve()
    path.chmod(0o711)
    yield path
    left = postmasters(path)
    for process in left:
        process.send_signal(signal.SIGQUIT)
    psutil.wait_procs(left, timeout=10)
    shutil.rmtree(path)


@pytest.fixture
def home(folder: Path) -> Path:
    return folder / "home"


@pytest.fixture
def server(home: Path) -> Iterator[EmbeddedServer]:
    """A server that has been made and runs."""
    made = EmbeddedServer(home)
    made.ensure_running()
    yield made
    made.stop()


def postmasters(folder: Path) -> list[psutil.Process]:
    """The servers whose data is in the folder or below."""
    found = []
    for process in psutil.process_iter(["name", "cmdline"]):
        command = process.info["cmdline"] or []
        if process.info["name"] == "postgres" and "-D" in command:
            data = Path(command[command.index("-D") + 1])
            if data.is_relative_to(folder):
                found.append(process)
    return found


def query(server: EmbeddedServer, statement: str) -> object:
    with psycopg.connect(server.url(SUPERUSER), autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        row = cursor.fetchone() if cursor.description else (None,)
        assert row is not None
        return row[0]


def pid_of(server: EmbeddedServer) -> int:
    pid = server.status().pid
    assert pid is not None
    return pid


def kill(server: EmbeddedServer) -> None:
    """End the server's first process as an out-of-memory killer would."""
    process = psutil.Process(pid_of(server))
    process.kill()
    until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)


def until(condition: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.005)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def python(code: str, *arguments: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
        env={**os.environ, **environment},
    )


def output(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out


# What is made


def test_the_first_call_makes_a_server_and_its_database(home: Path) -> None:
    server = EmbeddedServer(home)
    try:
        assert server.ensure_running() is True
        assert query(server, "SELECT current_database()") == DATABASE
        assert query(server, "SELECT pg_encoding_to_char(encoding) FROM pg_database") == "UTF8"
        settings = {
            "data_checksums": "on",
            "fsync": "on",
            "full_page_writes": "on",
            "listen_addresses": "",
            "synchronous_commit": "on",
            "timezone": "UTC",
            "unix_socket_permissions": "0700",
        }
        for name, value in settings.items():
            assert query(server, f"SELECT current_setting('{name}')") == value
    finally:
        server.stop()


def test_a_second_call_does_nothing_and_takes_no_lock(server: EmbeddedServer, home: Path) -> None:
    before = pid_of(server)
    with FileLock(home / "server.lock"):
        assert EmbeddedServer(home).ensure_running() is False
    assert pid_of(server) == before


def test_many_processes_at_once_make_one_server(home: Path) -> None:
    processes = [python(ENSURE, home) for _ in range(8)]
    answers = [output(process).split() for process in processes]
    assert sorted(made for made, _ in answers) == ["False"] * 7 + ["True"]
    (running,) = postmasters(home)
    assert {int(pid) for _, pid in answers} == {running.pid}
    assert EmbeddedServer(home).stop()


def test_the_server_outlives_the_process_that_started_it_and_has_nothing_of_it(home: Path) -> None:
    output(python(ENSURE, home, A_SECRET="hush", PGPORT="5555"))
    server = EmbeddedServer(home)
    process = psutil.Process(pid_of(server))
    assert server.status().running
    assert "A_SECRET" not in process.environ()
    assert process.cwd() == str(server.status().data_directory)
    assert process.parent() != psutil.Process()
    server.stop()


def test_folders_are_closed_to_others_whatever_the_umask(folder: Path) -> None:
    for number, umask in enumerate((0o000, 0o077)):
        home = folder / f"missing-{number}" / "home"
        before = os.umask(umask)
        server = EmbeddedServer(home)
        try:
            server.ensure_running()
        finally:
            os.umask(before)
            server.stop()
        assert mode(home) == (0o711 if AS_ROOT else 0o700)
        assert [mode(home / name) for name in ("data", "run")] == [0o700, 0o700]
        assert [mode(home / name) for name in ("server.log", "server.lock")] == [0o600, 0o600]
        owners = {(home / name).stat().st_uid for name in ("data", "run")}
        assert len(owners) == 1
        assert (owners == {os.geteuid()}) is not AS_ROOT


def test_permissions_of_folders_that_are_there_are_left_alone(folder: Path, home: Path) -> None:
    home.mkdir(0o755)
    home.chmod(0o755)
    before = {path: mode(path) for path in (home, *home.parents)}
    server = EmbeddedServer(home)
    server.ensure_running()
    server.stop()
    assert {path: mode(path) for path in before} == before


@pytest.mark.parametrize("name", ["""o'd "x" $HOME `id` %41""", "a,b"])
def test_names_are_quoted_wherever_they_go(folder: Path, name: str) -> None:
    server = EmbeddedServer(folder / name)
    server.ensure_running()
    try:
        query(server, 'CREATE ROLE "r/o?l@e" LOGIN')
        query(server, 'CREATE DATABASE "d/b?" OWNER "r/o?l@e"')
        with psycopg.connect(server.url("r/o?l@e", "d/b?")) as connection:
            row = connection.execute("SELECT current_user, current_database()").fetchone()
        assert row == ("r/o?l@e", "d/b?")
    finally:
        server.stop()
        server.status().socket_directory.rmdir()


def test_a_long_home_has_its_socket_elsewhere(folder: Path) -> None:
    server = EmbeddedServer(folder / ("long-" * 20) / ("name-" * 20))
    sockets = server.status().socket_directory
    assert len(os.fsencode(sockets)) < 90
    try:
        assert server.ensure_running() is True
        assert server.ensure_running() is False
        assert mode(sockets) == 0o700
        assert query(server, "SELECT 1") == 1
    finally:
        server.stop()
        sockets.rmdir()


def test_a_socket_folder_that_another_could_have_made_is_refused(folder: Path) -> None:
    server = EmbeddedServer(folder / ("long-" * 40))
    sockets = server.status().socket_directory
    sockets.symlink_to(folder)
    with pytest.raises(ServerError, match="cannot be used for the server's socket"):
        server.ensure_running()
    sockets.unlink()
    sockets.mkdir(0o755)
    sockets.chmod(0o755)
    try:
        with pytest.raises(ServerError, match=r"mode drwxr-xr-x"):
            server.ensure_running()
    finally:
        sockets.rmdir()


def test_a_killed_first_set_up_leaves_nothing_half_made(home: Path) -> None:
    process = python(ENSURE, home)
    until(lambda: list(home.glob("data.new-*")))
    process.kill()
    process.communicate()
    (leftover,) = home.glob("data.new-*")
    assert not (home / "data").exists()
    server = EmbeddedServer(home)
    assert server.ensure_running() is True
    server.stop()
    an_hour_ago = time.time() - 3600
    os.utime(leftover, (an_hour_ago, an_hour_ago))
    assert server.ensure_running() is False
    server.stop()
    assert not leftover.exists()


def test_a_missing_database_is_made_again(server: EmbeddedServer) -> None:
    with psycopg.connect(server.url(SUPERUSER, "postgres"), autocommit=True) as connection:
        connection.execute("DROP DATABASE audit_ledger")
    assert server.ensure_running() is False
    assert query(server, "SELECT current_database()") == DATABASE


# Stopping, crashing, starting


def test_stop_tells_whether_it_stopped_and_status_what_there_is(home: Path) -> None:
    server = EmbeddedServer(home)
    assert server.stop() is False
    assert not home.exists()
    assert server.status().running is False

    server.ensure_running()
    status = server.status()
    assert status.running
    assert status.pid == postmasters(home)[0].pid
    assert status.version is not None
    assert re.fullmatch(r"18\.\d+", status.version)
    assert (status.home, status.data_directory) == (home, home / "data")
    assert status.socket_directory == home / "run"

    assert server.stop() is True
    assert server.stop() is False
    assert postmasters(home) == []
    after = server.status()
    assert (after.running, after.pid, after.version) == (False, None, None)


def test_what_was_committed_is_there_after_stop_and_start(server: EmbeddedServer) -> None:
    query(server, "CREATE TABLE kept AS SELECT 42 AS value")
    server.stop()
    assert server.ensure_running() is False
    assert query(server, "SELECT value FROM kept") == 42


def test_a_killed_server_is_started_again_with_all_that_was_committed(
    server: EmbeddedServer,
) -> None:
    query(server, "CREATE TABLE kept AS SELECT 42 AS value")
    before = pid_of(server)
    kill(server)
    assert server.status().running is False
    assert server.ensure_running() is False
    assert pid_of(server) != before
    assert query(server, "SELECT value FROM kept") == 42


def test_a_killed_server_is_started_again_though_another_process_has_its_number(
    server: EmbeddedServer, home: Path
) -> None:
    kill(server)
    with subprocess.Popen(["sleep", "60"]) as other:
        for file in (home / "data" / "postmaster.pid", home / "run" / ".s.PGSQL.5432.lock"):
            lines = file.read_text().splitlines(keepends=True)
            file.write_text("".join([f"{other.pid}\n", *lines[1:]]))
        assert server.status().pid is None
        assert server.stop() is False
        assert server.ensure_running() is False
        assert query(server, "SELECT 1") == 1
        assert other.poll() is None
        other.kill()


def test_no_server_is_started_while_backends_of_a_killed_one_live(
    server: EmbeddedServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "_ORPHANS_END_WITHIN", 0.3)
    with psycopg.connect(server.url(SUPERUSER)) as connection:
        backend = psutil.Process(connection.info.backend_pid)
        backend.suspend()
        kill(server)
        file = home / "data" / "postmaster.pid"
        lines = file.read_text().splitlines(keepends=True)
        file.write_text("".join([f"{os.getpid()}\n", *lines[1:]]))
        with pytest.raises(ServerError, match=r"shared memory block .* still in use"):
            server.ensure_running()
        backend.resume()
        monkeypatch.undo()
        assert server.ensure_running() is False


def test_a_server_that_does_not_start_says_why(server: EmbeddedServer, home: Path) -> None:
    server.stop()
    conf = home / "data" / "postgresql.conf"
    before = conf.read_text()
    conf.write_text(before + "no_such_setting = 1\n")
    with pytest.raises(ServerError, match='unrecognized configuration parameter "no_such_setting"'):
        server.ensure_running()
    conf.write_text(before)
    server.ensure_running()


def test_a_long_log_is_put_aside_at_a_start(server: EmbeddedServer, home: Path) -> None:
    server.stop()
    os.truncate(home / "server.log", 11 << 20)
    server.ensure_running()
    assert (home / "server.log.1").stat().st_size == 11 << 20
    assert (home / "server.log").stat().st_size < 10_000


@pytest.mark.parametrize(("version", "found"), [("14\n", "PostgreSQL 14"), (None, "no file PG_VERSION")])
def test_data_of_another_version_is_refused(
    server: EmbeddedServer, home: Path, version: str | None, found: str
) -> None:
    server.stop()
    file = home / "data" / "PG_VERSION"
    before = file.read_text()
    file.unlink()
    if version is not None:
        file.write_text(version)
    with pytest.raises(ServerError, match="one made by PostgreSQL 18") as refused:
        server.ensure_running()
    assert found in str(refused.value.actual)
    assert refused.value.remedy is not None
    file.write_text(before)


def test_a_home_that_was_moved_while_the_server_ran_is_not_taken_for_another(
    server: EmbeddedServer, home: Path, folder: Path
) -> None:
    home.rename(folder / "moved")
    with pytest.raises(ServerError, match="another server answers"):
        EmbeddedServer(folder / "moved").ensure_running()
    (folder / "moved").rename(home)
    server.stop()
    home.rename(folder / "moved")
    moved = EmbeddedServer(folder / "moved")
    assert moved.ensure_running() is False
    moved.stop()


# Who is kept out, and what is refused


def test_a_home_where_others_may_write_is_refused(home: Path) -> None:
    home.mkdir()
    home.chmod(0o777)
    with pytest.raises(ServerError, match="nobody else may write in it"):
        EmbeddedServer(home).ensure_running()
    assert mode(home) == 0o777


def test_a_home_that_cannot_be_made_is_refused(folder: Path) -> None:
    (folder / "file").write_text("")
    with pytest.raises(ServerError, match=r"cannot be started(.|\n)*NotADirectoryError"):
        EmbeddedServer(folder / "file" / "home").ensure_running()


def test_programs_that_are_not_there_are_refused(home: Path, folder: Path) -> None:
    with pytest.raises(ServerError, match="initdb"):
        EmbeddedServer(home, binaries=folder / "nothing").ensure_running()


def test_windows_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(ServerError, match="set AUDIT_LEDGER_URL"):
        EmbeddedServer(home)


def connect_as_daemon(server: EmbeddedServer) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [server.binaries / "psql", server.url(SUPERUSER), "-c", "SELECT 1"],
        capture_output=True,
        text=True,
        cwd="/",
        user="daemon",
        group=pwd.getpwnam("daemon").pw_gid,
        extra_groups=[],
        check=False,
    )


@root_only
def test_another_account_cannot_connect(server: EmbeddedServer, home: Path) -> None:
    refused = connect_as_daemon(server)
    assert refused.returncode == 2
    assert "Permission denied" in refused.stderr
    # Were the folder and the socket opened by mistake, the server would still know who it is.
    (home / "run").chmod(0o755)
    (home / "run" / ".s.PGSQL.5432").chmod(0o777)
    refused = connect_as_daemon(server)
    assert refused.returncode == 2
    assert "Peer authentication failed" in refused.stderr
    (home / "run").chmod(0o700)


@root_only
def test_root_starts_the_server_under_the_account_that_was_named(home: Path) -> None:
    EmbeddedServer(home, user="daemon").ensure_running()
    server = EmbeddedServer(home)
    assert psutil.Process(pid_of(server)).username() == "daemon"
    server.stop()
    assert server.ensure_running() is False
    assert psutil.Process(pid_of(server)).username() == "daemon"
    server.stop()
    with pytest.raises(ServerError, match="the owner is daemon"):
        EmbeddedServer(home, user="nobody").ensure_running()


@root_only
@pytest.mark.parametrize("user", ["root", "no-such-account"])
def test_root_cannot_name_itself_or_an_account_that_is_not_there(home: Path, user: str) -> None:
    with pytest.raises(ServerError, match=user):
        EmbeddedServer(home, user=user).ensure_running()


@root_only
def test_a_home_that_the_servers_account_cannot_reach_is_refused(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(0o700)
    with pytest.raises(ServerError, match=r"AUDIT_LEDGER_HOME") as refused:
        EmbeddedServer(closed / "home").ensure_running()
    assert refused.value.actual == f"{closed} is closed"
    assert mode(closed) == 0o700


@root_only
def test_a_home_of_another_account_is_refused_to_root(home: Path) -> None:
    home.mkdir()
    shutil.chown(home, "daemon")
    with pytest.raises(ServerError, match="owner daemon"):
        EmbeddedServer(home).ensure_running()


@root_only
def test_programs_that_the_servers_account_cannot_reach_are_copied(folder: Path, home: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(0o700)
    wheel = EmbeddedServer(home).binaries.parent.parent
    for path in (wheel, wheel.with_name(f"{wheel.name}.libs")):
        (closed / path.name).symlink_to(path)
    output(python(ENSURE, home, PYTHONPATH=str(closed)))
    (process,) = postmasters(home)
    program = Path(process.exe())
    assert program.is_relative_to(home)
    assert (program.stat().st_uid, mode(program)) == (0, 0o755)
    assert mode(closed) == 0o700
    assert list(home.glob("*.new-*")) == []
    assert EmbeddedServer(home).stop()


AS_NOBODY = """
import os, signal, sys, time
from pathlib import Path
import psycopg
from audit_ledger.store.server import EmbeddedServer
home = Path(sys.argv[1])
server = EmbeddedServer(home)
assert server.ensure_running() is True
assert server.ensure_running() is False
folders = (home, home / "data", home / "run")
assert [oct(path.stat().st_mode)[-3:] for path in folders] == ["700"] * 3
os.kill(server.status().pid, signal.SIGKILL)
while server.status().pid is not None:
    time.sleep(0.01)
assert server.ensure_running() is False
with psycopg.connect(server.url("postgres")) as connection:
    assert connection.execute("SELECT 1").fetchone() == (1,)
print("ready", flush=True)
sys.stdin.readline()
assert server.stop() is True
assert server.stop() is False
"""


NOBODYS_GROUP = pwd.getpwnam("nobody").pw_gid
IMPORTS = os.pathsep.join(path for path in sys.path if path)


def interpreter_of_nobody() -> Path | None:
    """This Python, or the system's of the same version, if the account nobody can run it."""
    system = Path("/usr/bin/python{}.{}".format(*sys.version_info))
    for interpreter in (Path(sys.executable), system):
        try:
            ran = subprocess.run(
                [interpreter, "-c", "import audit_ledger.store.server"],
                env={"PYTHONPATH": IMPORTS},
                cwd="/",
                user="nobody",
                check=False,
            )
        except OSError:
            continue
        if ran.returncode == 0:
            return interpreter
    return None


@root_only
def test_an_ordinary_user_has_a_server_of_their_own_which_root_may_use(folder: Path) -> None:
    theirs = folder / "theirs"
    theirs.mkdir(0o700)
    shutil.chown(theirs, "nobody", NOBODYS_GROUP)
    interpreter = interpreter_of_nobody()
    if interpreter is None:
        pytest.skip("the account nobody cannot run this version of Python")
    with subprocess.Popen(
        [interpreter, "-c", AS_NOBODY, theirs / "home"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
        env={"PYTHONPATH": IMPORTS},
        user="nobody",
        group=NOBODYS_GROUP,
        extra_groups=[],
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        server = EmbeddedServer(theirs / "home")
        assert server.ensure_running() is False
        assert query(server, "SELECT 1") == 1
        with pytest.raises(ServerError, match="owner nobody"):
            server.stop()
        _, errors = process.communicate("\n", timeout=30)
    assert process.returncode == 0, errors


@pytest.mark.skipif(not SYSTEM_BINARIES.is_dir(), reason="this machine has no PostgreSQL 15")
def test_postgresql_15_will_do(home: Path) -> None:
    server = EmbeddedServer(home, binaries=SYSTEM_BINARIES)
    try:
        assert server.ensure_running() is True
        query(server, "CREATE ROLE ledger_writer LOGIN")
        with psycopg.connect(server.url("ledger_writer")) as connection:
            assert connection.execute("SELECT current_user").fetchone() == ("ledger_writer",)
        if AS_ROOT:
            assert "Permission denied" in connect_as_daemon(server).stderr
        kill(server)
        assert server.ensure_running() is False
    finally:
        server.stop()
    with pytest.raises(ServerError, match="PostgreSQL 15"):
        EmbeddedServer(home).ensure_running()


def test_a_ledger_on_a_running_server_takes_one_connection_as_its_own_role(home: Path) -> None:
    """Who finds it running does not ask as superuser first: each connection is time that a script waits."""
    with audit_ledger.connect(home=home):  # makes it
        pass
    server = EmbeddedServer(home)
    with psycopg.connect(server.url(SUPERUSER), autocommit=True) as conn:
        conn.execute("ALTER SYSTEM SET log_connections = on")
        conn.execute("SELECT pg_reload_conf()")
    try:
        until(lambda: _authorized(home, "postgres", lambda: server.ensure_running()))
        before = (home / "server.log").read_text().count("connection authorized")
        with audit_ledger.connect(home=home) as ledger, ledger.run("task", source="s"):
            pass
        said = (home / "server.log").read_text().split("connection authorized")[before + 1 :]
        assert [line.split()[1] for line in said] == ["user=ledger_writer"]
    finally:
        server.stop()


def _authorized(home: Path, user: str, connect: Callable[[], object]) -> bool:
    """Whether the server logs that it lets users in, which it is told to a moment before it does."""
    connect()
    return f"connection authorized: user={user}" in (home / "server.log").read_text()
