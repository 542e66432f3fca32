"""The embedded server: a PostgreSQL of one's own, in a folder, started when it is needed.

    HOME/                    0700, or 0711 when root made it, so that the server's account can pass
      server.lock            held while the server is set up, started or stopped
      server.log             what the server says; begun anew at a start when larger than 10 MB
      data/                  0700: the cluster, with its settings in postgresql.conf
      run/                   0700: the socket; /tmp/audit-ledger-HASH if that path is too long
      postgresql-18.4/       a copy of the programs, where the server's account needs one

The server listens on no network address. Whoever reaches its socket is known to it by their system
account (peer authentication); root and the account that runs the server may log in, as any database
role: its roles guard against accidents, not against the machine's own user. (The map of accounts to
roles can say "any role" since PostgreSQL 16. On 15, nothing but the permissions of the socket and
its folder keeps others out.)

Whether the server runs is found out by connecting to it and asking for its data folder, never by
the files that it left. It goes on running when Python ends, until `stop`.
"""

from __future__ import annotations

import os
import re
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote

import psycopg
from psycopg import sql

from audit_ledger.errors import ServerError
from audit_ledger.store.binaries import (
    Account,
    account_for,
    account_name,
    admit,
    executable_by,
    make_cluster,
    make_folder,
    make_private_folder,
    quoted,
    remove_leftovers,
    require_cluster,
    require_private_folder,
    socket_folder,
    wheel_binaries,
)

if TYPE_CHECKING:  # whoever finds the server running does without: it takes long to import
    from audit_ledger.store.postmaster import Postmaster

SUPERUSER: Final = "postgres"
DATABASE: Final = "audit_ledger"

_PORT = 5432
_SOCKET = f".s.PGSQL.{_PORT}"
_LOG_LIMIT = 10 << 20  # bytes
_POLL = 0.015  # seconds, as all that follow
_ANSWER_WITHIN = 10  # once the server says that it is ready
_READY_WITHIN = 120  # recovery after a crash included
_STOP_WITHIN = 120
_LOCK_WITHIN = 300
_ORPHANS_END_WITHIN = 5  # backends whose server was killed
# The shell tells the server's number, and ends, so that the server is not our child.
_LAUNCH = 'exec "$@" </dev/null >&2 & echo $!'
_STILL_IN_USE = "pre-existing shared memory block"


@dataclass(frozen=True)
class ServerStatus:
    """What is known of an embedded server.

    Attributes:
        running: It answers at its socket.
        home: Its folder.
        data_directory: The cluster's folder, there or not.
        socket_directory: The folder of its socket, there or not.
        pid: The server's process, also while it starts or stops; None when there is none.
        version: PostgreSQL's version, such as "18.4"; None when it does not answer.
    """

    running: bool
    home: Path
    data_directory: Path
    socket_directory: Path
    pid: int | None
    version: str | None


class _Answer(NamedTuple):
    version: str
    has_database: bool


class EmbeddedServer:
    """The PostgreSQL server of one folder. Any number of processes may hold one at once.

    Args:
        home: Folder of the server; made when first needed. One that is there keeps its permissions.
        binaries: `bin` folder of PostgreSQL 15 to 18; default: that of the installed wheel.
        user: System account that runs the server when root starts it, and only then; default: the
            owner of its data, or else "postgres" or "nobody".

    Raises:
        ServerError: on Windows, which lacks the accounts and permissions that this relies on.
    """

    def __init__(self, home: Path, *, binaries: Path | None = None, user: str | None = None) -> None:
        if sys.platform == "win32":
            raise ServerError(
                "there is no embedded server on Windows",
                expected="Linux or macOS",
                actual="Windows",
                remedy="set AUDIT_LEDGER_URL to a PostgreSQL server",
            )
        self._home = home.expanduser().resolve()
        self._data = self._home / "data"
        self._log = self._home / "server.log"
        self._sockets = socket_folder(self._home, _SOCKET)
        self._binaries = None if binaries is None else binaries.absolute()
        self._user = user

    @property
    def binaries(self) -> Path:
        """Folder of psql, pg_dump and the like, for the current user.

        Raises:
            ServerError: the wheel that has them is not installed.
        """
        return self._binaries or wheel_binaries()

    def url(self, role: str, database: str = DATABASE) -> str:
        """The URL by which `role` connects to `database`; nothing is started or checked."""
        return (
            f"postgresql://{quote(role, safe='')}@/{quote(database, safe='')}"
            f"?host={quote(str(self._sockets))}&port={_PORT}"
        )

    def status(self) -> ServerStatus:
        """Look whether the server runs, without a lock; takes 2 seconds at most.

        Raises:
            ServerError: the folder is not ours to look into, or another server answers there.
        """
        with self._explained("cannot be looked at"):
            answer, postmaster = self._answer(), self._postmaster()
        return ServerStatus(
            running=answer is not None,
            home=self._home,
            data_directory=self._data,
            socket_directory=self._sockets,
            pid=None if postmaster is None else postmaster.pid,
            version=None if answer is None else answer.version,
        )

    def ensure_running(self) -> bool:
        """Set the server up when it is new, start it when it is stopped, wait until it answers.

        Returns:
            Whether it was first made in this call.

        Raises:
            ServerError: it cannot be set up or started, or does not answer within 10 seconds of
                being ready, or 2 minutes of its start.
        """
        with self._explained("cannot be started"):
            if (answer := self._answer()) is not None and answer.has_database:
                return False
            make_folder(self._home, 0o711 if os.geteuid() == 0 else 0o700)
            with self._locked():
                made = not self._data.exists()
                if not self._start().has_database:
                    self._make_database()
                return made

    @property
    def seems_running(self) -> bool:
        """Whether its files say that it runs: then one may try to connect, before asking it as superuser."""
        try:
            _, data, *_ = self._pid_file()
            if Path(data).resolve() != self._data.resolve():
                return False
            self._trust_sockets()
        except (OSError, ValueError, ServerError):
            return False  # ensure_running says why
        return True

    def stop(self) -> bool:
        """Stop the server, rolling back what is not committed, and wait until it has ended.

        Returns:
            Whether it was running.

        Raises:
            ServerError: it is not ours to stop, or has not ended within 2 minutes.
        """
        with self._explained("cannot be stopped"):
            if not self._home.exists():
                return False
            with self._locked():
                if (postmaster := self._postmaster()) is None:
                    return False
                postmaster.interrupt()
                deadline = time.monotonic() + _STOP_WITHIN
                while postmaster.lives:
                    if time.monotonic() > deadline:
                        raise TimeoutError(f"process {postmaster.pid} still runs")
                    time.sleep(_POLL)
                return True

    def _execute(self, statement: sql.SQL | sql.Composed) -> tuple[str, str, bool] | None:
        with psycopg.connect(
            host=str(self._sockets),
            port=_PORT,
            user=SUPERUSER,
            dbname="postgres",
            connect_timeout=2,
            autocommit=True,
        ) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchone() if cursor.description else None

    def _make_database(self) -> None:
        try:
            self._execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
            return  # a caller was killed in mid-call, and the server went on with it

    def _ask(self) -> _Answer:
        """Ask the server at our socket who it is.

        Raises:
            psycopg.OperationalError: none answers, or none yet.
            ServerError: it is another server than ours.
        """
        row = self._execute(
            sql.SQL(
                "SELECT current_setting('data_directory'), current_setting('server_version'),"
                " EXISTS (SELECT FROM pg_database WHERE datname = {})"
            ).format(DATABASE)
        )
        data, version, has_database = row or ("", "", False)
        if Path(data).resolve() != self._data.resolve():
            raise ServerError(
                f"another server answers in {self._sockets}",
                expected=f"the one with its data in {self._data}",
                actual=f"one with its data in {data}",
                remedy="stop that server; was its folder moved while it ran?",
            )
        return _Answer(version.split()[0], has_database)

    def _answer(self) -> _Answer | None:
        """What our server says of itself; None when it does not answer."""
        if not self._data.exists():
            return None
        self._trust_sockets()
        try:
            return self._ask()
        except psycopg.OperationalError:
            return None

    def _trust_sockets(self) -> None:
        """Refuse sockets that are not ours: in /tmp, anyone could have made the folder, and a server."""
        if self._sockets.parent != self._home and self._sockets.exists():
            require_private_folder(self._sockets, self._data.stat().st_uid)

    def _await(self, postmaster: Postmaster | None) -> _Answer | None:
        """Wait until the server answers; None when it ends instead."""
        given_up = time.monotonic() + _READY_WITHIN
        deadline = time.monotonic() + _ANSWER_WITHIN
        while postmaster is not None and postmaster.lives:
            try:
                return self._ask()
            except psycopg.OperationalError as error:
                if "ready" not in self._pid_file():
                    deadline = time.monotonic() + _ANSWER_WITHIN
                if time.monotonic() > min(deadline, given_up):
                    raise ServerError(
                        f"the embedded server in {self._home} runs, but does not answer",
                        expected=f"an answer in {self._sockets}",
                        actual=str(error).strip(),
                        remedy=f"see {self._log}; wait if it recovers from a crash, else stop it"
                        " (audit-ledger server stop) and try again",
                    ) from error
            time.sleep(_POLL)
        return None

    def _start(self) -> _Answer:
        """Start the server unless it runs, its cluster made if there is none, under the lock.

        Backends of a killed server may live on for a moment, and forbid a new one: it retries.
        """
        running = self._postmaster()
        if running is not None and (answer := self._await(running)) is not None:
            return answer
        account = account_for(self._data, self._user)
        account.require_way_to(self._home)
        binaries = executable_by(account, self.binaries, self._home)
        remove_leftovers(self._home)
        if not self._data.exists():
            make_cluster(self._data, account, binaries, SUPERUSER)
        require_cluster(self._data, binaries)
        admit(self._data, account)
        make_private_folder(self._sockets, account)
        deadline = time.monotonic() + _ORPHANS_END_WITHIN
        while True:
            self._remove_stale_locks()
            if (answer := self._await(self._launch(account, binaries))) is not None:
                return answer
            said = "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])
            if _STILL_IN_USE not in said or time.monotonic() > deadline:
                raise ServerError(
                    f"the embedded server in {self._home} does not start",
                    expected="a server that stays up",
                    actual=f"it ended; its log ends with\n{said}",
                    remedy=f"put right what it says; the whole log is {self._log}",
                )
            time.sleep(0.1)

    def _remove_stale_locks(self) -> None:
        """Remove the lock files of a server that is no more, for others may have its number now.

        Backends that live on are found all the same, by the shared memory of the data folder.
        """
        pid = self._recorded_pid()
        if pid is None or _process(pid) is not None:
            (self._data / "postmaster.pid").unlink(missing_ok=True)
        for name in (_SOCKET, f"{_SOCKET}.lock"):
            (self._sockets / name).unlink(missing_ok=True)

    def _launch(self, account: Account, binaries: Path) -> Postmaster | None:
        """Start the server's process; None when it has ended already."""
        if self._log.exists() and self._log.stat().st_size > _LOG_LIMIT:
            self._log.replace(self._log.with_name("server.log.1"))
        # -k takes a list, and is not in postgresql.conf since a home may be moved.
        command = (binaries / "postgres", "-D", self._data, "-k", quoted(str(self._sockets)))
        log = os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            ran = account.run("/bin/sh", "-c", _LAUNCH, "sh", *command, stderr=log)
        finally:
            os.close(log)
        return _process(int(ran.stdout))

    def _pid_file(self) -> list[str]:
        """The lines of postmaster.pid: the process is the first, "ready" or the like the last."""
        try:
            text = (self._data / "postmaster.pid").read_text(errors="replace")
        except FileNotFoundError:
            return []
        return [line.strip() for line in text.splitlines()]

    def _recorded_pid(self) -> int | None:
        pid = next(iter(self._pid_file()), "")
        return int(pid) if re.fullmatch(r"[1-9]\d{0,9}", pid) else None

    def _postmaster(self) -> Postmaster | None:
        """Our server's process; None when there is none, whoever has its number now."""
        pid = self._recorded_pid()
        process = None if pid is None else _process(pid)
        return process if process is not None and process.serves(self._data) else None

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Turn what the system and the database raise into a ServerError."""
        try:
            yield
        except (OSError, psycopg.Error) as error:
            raise ServerError(
                f"the embedded server in {self._home} {what}",
                expected="a folder and a server of one's own account",
                actual=f"{type(error).__name__}: {error}".strip(),
                remedy=f"put that right (see {self._log}), or set AUDIT_LEDGER_HOME",
            ) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of the home, which must be the caller's alone to write in."""
        found = self._home.stat()
        if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ServerError(
                f"the folder {self._home} is not the current user's own",
                expected=f"owner {account_name(os.geteuid())}, nobody else may write in it",
                actual=f"owner {account_name(found.st_uid)}, mode {stat.filemode(found.st_mode)}",
                remedy="run as its owner, or chmod go-w the folder, or set AUDIT_LEDGER_HOME",
            )
        from filelock import FileLock

        with FileLock(self._home / "server.lock", timeout=_LOCK_WITHIN, mode=0o600):
            yield


def _process(pid: int) -> Postmaster | None:
    from audit_ledger.store.postmaster import Postmaster

    return Postmaster.of(pid)
