"""The spool: where events wait, durably and in order, while the database is away.

    HOME/spool/                      0700
      NAME.sqlite                    0600: the events and their bodies (store/spool_recorder.py)
      NAME.ledger                    the id of the ledger, as it was when it was last reached
      NAME.lock, NAME.making         held by whoever forwards; by whoever makes the file, or moves it aside
      NAME.sqlite.damaged-…          what could not be read, moved aside as it was

NAME is the ledger's name; of a ledger by URL a digest of host, port and database follows, since several of
one name may be written to from one machine.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

import psycopg
from psycopg.conninfo import conninfo_to_dict

from audit_ledger.errors import SpoolBusy, SpoolError, SpoolFull
from audit_ledger.settings import Settings
from audit_ledger.store import durable
from audit_ledger.store.pending import Batch, Spooled

if TYPE_CHECKING:  # a spool that is empty is not opened, and whoever finds it so has no time for these
    from filelock import FileLock

    from audit_ledger.store.spool_recorder import SpooledStream, SpoolRecorder
    from audit_ledger.store.spool_status import SpoolStatus

log = logging.getLogger("audit_ledger")

T = TypeVar("T")


ANY_WAITING = (
    "SELECT 1 FROM stored_events LEFT JOIN streams s USING (originator_id) WHERE s.set_aside IS NULL LIMIT 1"
)
"""A row, if there is an event that is not set aside."""


class _Damaged(Exception):
    """The file is no SQLite database, or a broken one."""


def spool_path(settings: Settings) -> Path:
    """The spool of the ledger that the settings name."""
    suffix = ""
    if settings.url:
        try:
            given = conninfo_to_dict(settings.url)
        except psycopg.ProgrammingError:  # whoever connects will say so
            given = {"host": settings.url}
        place = "\n".join(
            str(given.get(key, "")) for key in ("host", "hostaddr", "port", "dbname", "service")
        )
        suffix = f"-{hashlib.sha256(place.encode()).hexdigest()[:8]}"
    return settings.home / "spool" / f"{settings.name}{suffix}.sqlite"


class Spool:
    """One spool. Threads may share it, and processes the file; it is made when it is first written to.

    Args:
        path: The file.
        max_bytes: How large it may become.
        lock_timeout: Seconds to wait for whoever else writes.
    """

    def __init__(self, path: Path, *, max_bytes: int, lock_timeout: float) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._lock_timeout = max(1, round(lock_timeout))
        self._recorder: SpoolRecorder | None = None
        self._opened: tuple[int, int] | None = None
        self._lock = threading.Lock()

    @classmethod
    def of(cls, settings: Settings, path: Path | None = None) -> Spool:
        """The spool of the ledger that the settings name, or another one."""
        return cls(
            path or spool_path(settings),
            max_bytes=settings.spool_max_bytes,
            lock_timeout=settings.lock_timeout,
        )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._close()

    # The ledger that it is for

    @property
    def ledger_id(self) -> UUID | None:
        """The id of the ledger, as it was when it was last reached; None where it never was.

        Raises:
            SpoolError: what is remembered cannot be read.
        """
        try:
            return UUID(self.path.with_suffix(".ledger").read_text().strip())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise SpoolError(
                f"{self.path.with_suffix('.ledger')} cannot be read",
                expected="the id of a ledger",
                actual=str(error),
                remedy="delete it; it is written anew once the ledger is reached",
            ) from error

    def remember(self, ledger_id: UUID) -> None:
        """Take note of the ledger's id, now that it is reached.

        Raises:
            SpoolError: the folder cannot be written to.
        """
        with suppress(SpoolError):  # what cannot be read is written anew
            if self.ledger_id == ledger_id:
                return
        with self._explained():
            durable.put(self.path.with_suffix(".ledger"), str(ledger_id))

    # Writing

    def write(self, batch: Batch, ledger_id: UUID | None) -> None:
        """Add consecutive events of a stream; they are on disk when this returns.

        A file that is damaged is moved aside, said loudly, and another one is begun.

        Raises:
            SpoolFull: it holds as much as it may, or its disk is full. Nothing of the batch was kept.
            SpoolError: it cannot be written to. Nothing of the batch was kept.
        """
        try:
            self._with(lambda recorder: recorder.write(batch, ledger_id))
        except _Damaged as damage:
            with self._explained():
                self._move_aside(str(damage))
            self._read(lambda recorder: recorder.write(batch, ledger_id))

    # Reading

    @property
    def waiting(self) -> bool:
        """Whether there is anything to forward."""
        if not self.path.exists():
            return False
        seen = _seen_waiting(self.path)
        return self._read(lambda recorder: recorder.any()) if seen is None else seen

    def streams(self) -> list[SpooledStream]:
        """What it holds of each stream, in order.

        Raises:
            SpoolError: it cannot be read, or is damaged.
        """
        return self._read(lambda recorder: recorder.streams())

    def count(self) -> int:
        """How many events it holds; see `streams`."""
        return sum(stream.events for stream in self.streams())

    def page(
        self, after: int, limit: int, max_bytes: int, passed_over: set[UUID]
    ) -> tuple[list[Spooled], int]:
        """The next events; see SpoolRecorder.page.

        Raises:
            SpoolError: it cannot be read, or is damaged.
        """
        return self._read(lambda recorder: recorder.page(after, limit, max_bytes, passed_over))

    def passed_over(self, ledger_id: UUID) -> set[UUID]:
        """The streams that are set aside, or belong to another ledger."""
        return self._read(lambda recorder: recorder.passed_over(ledger_id))

    def status(self) -> SpoolStatus:
        """What is in it.

        Raises:
            SpoolError: it cannot be read, or is damaged.
        """
        from audit_ledger.store.spool_status import SpoolStatus

        with self._explained():
            damaged = tuple(sorted(self.path.parent.glob(f"{self.path.name}.damaged-*[0-9]")))
        others = tuple(filter(_holds_events, sorted({*self.path.parent.glob("*.sqlite")} - {self.path})))
        if not self.path.exists():
            return SpoolStatus(self.path, max_bytes=self._max_bytes, damaged=damaged, others=others)
        streams, oldest, trouble = self._read(lambda it: (it.streams(), it.oldest(), it.trouble()))
        return SpoolStatus(
            self.path,
            events=sum(stream.events for stream in streams),
            runs=len(streams),
            oldest=oldest,
            bytes=sum(file.stat().st_size for file in self._files() if file.exists()),
            max_bytes=self._max_bytes,
            ledger_ids=tuple(dict.fromkeys(stream.ledger_id for stream in streams)),
            set_aside=tuple(stream for stream in streams if stream.set_aside is not None),
            last_error=trouble and trouble[0],
            last_error_at=trouble and trouble[1],
            damaged=damaged,
            others=others,
        )

    # Forwarding

    @contextmanager
    def forwarding(self) -> Iterator[None]:
        """Hold the lock of whoever forwards.

        Raises:
            SpoolBusy: somebody else holds it.
        """
        from filelock import FileLock

        lock = FileLock(self.path.with_suffix(".lock"), timeout=0, mode=0o600)
        try:
            with self._explained():
                lock.acquire()
        except TimeoutError as error:
            raise SpoolBusy(
                f"another process forwards {self.path}", remedy="let it finish; `audit-ledger spool status`"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def remove(self, events: Sequence[Spooled]) -> None:
        """Delete what the ledger has."""
        self._read(lambda recorder: recorder.remove(events))

    def tidy(self) -> None:
        """Give back the space of what was deleted, where the disk has room to do so."""
        try:
            self._read(lambda recorder: recorder.tidy())
        except SpoolFull as error:
            log.warning("the space of what was forwarded is not given back yet: %s", error)

    def adopt(self, ledger_id: UUID) -> int:
        """Let runs whose ledger was never reached belong to this one; returns how many."""
        return self._read(lambda recorder: recorder.adopt(ledger_id))

    def set_aside(self, stream_id: UUID, reason: str) -> None:
        """Keep a stream, and forward it no more."""
        self._read(lambda recorder: recorder.set_aside(stream_id, reason))

    def take_back(self) -> int:
        """Forward again what was set aside; returns how many streams."""
        return self._read(lambda recorder: recorder.take_back())

    def note(self, error: str | None) -> None:
        """Remember the last error, for `status`."""
        self._read(lambda recorder: recorder.note(error))

    # The file

    def _read(self, call: Callable[[SpoolRecorder], T]) -> T:
        try:
            return self._with(call)
        except _Damaged as damage:
            raise SpoolError(
                f"the spool {self.path} is damaged",
                expected="a SQLite database",
                actual=str(damage),
                remedy="keep the file; the next run that spools moves it aside. What is readable of it"
                f" comes out with `sqlite3 {self.path} .recover`",
            ) from damage

    def _with(self, call: Callable[[SpoolRecorder], T]) -> T:
        import sqlite3

        from eventsourcing.persistence import PersistenceError

        with self._explained():
            recorder = self._open()
            try:
                return call(recorder)
            except (sqlite3.Error, PersistenceError):
                # The library's pool keeps its writer's lock where no connection can be made.
                with self._lock:
                    if recorder is self._recorder:
                        self._close(keep_identity=True)
                raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Raise what SQLite and the file system say as an error of ours."""
        try:
            yield
        except Exception as error:
            import sqlite3

            from eventsourcing.persistence import PersistenceError

            known = isinstance(error, sqlite3.Error | PersistenceError | OSError)
            if not known or isinstance(error, TimeoutError):
                raise
            cause = error.__cause__ if isinstance(error.__cause__, sqlite3.Error) else error
            code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
            if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise _Damaged(str(error)) from error
            if code == sqlite3.SQLITE_FULL or getattr(cause, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
                raise SpoolFull(
                    f"the spool {self.path} is full",
                    expected=f"{self._max_bytes:,} bytes at most, and room on its disk",
                    actual=str(error),
                    remedy="bring the database back and `audit-ledger spool forward`, make room on the disk,"
                    " or raise AUDIT_LEDGER_SPOOL_MAX_BYTES",
                ) from error
            raise SpoolError(
                f"the spool {self.path} cannot be used",
                expected="a file that this user may write to",
                actual=f"{type(error).__name__}: {error}",
                remedy="put right what it says; AUDIT_LEDGER_HOME says where the spool is",
            ) from error

    def _open(self) -> SpoolRecorder:
        """The tables of the file that is there now: another process may have moved it aside."""
        from audit_ledger.store.spool_recorder import SpoolDatastore, SpoolRecorder

        with self._lock:
            found = self._identity()
            if self._recorder is None or self._opened != found:
                self._close()
                if found is None:
                    self._make()
                    found = self._identity()
                self._recorder = SpoolRecorder(SpoolDatastore(self.path, self._max_bytes, self._lock_timeout))
                self._opened = found
            return self._recorder

    def _close(self, *, keep_identity: bool = False) -> None:
        if self._recorder is not None:
            self._recorder.datastore.close()
        self._recorder = None
        if not keep_identity:
            self._opened = None

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def _make(self) -> None:
        """Make an empty spool, whole or not at all; another process may do so at the same time."""
        from audit_ledger.store.spool_recorder import make

        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._changing(), tempfile.TemporaryDirectory(prefix=".new-", dir=self.path.parent) as folder:
            if self.path.exists():
                return
            fresh = Path(folder, "spool")
            os.close(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            make(fresh, max_bytes=self._max_bytes)
            fresh.rename(self.path)
        durable.sync(self.path.parent)

    def _changing(self) -> FileLock:
        """The lock of whoever makes the file or moves it aside."""
        from filelock import FileLock

        return FileLock(self.path.with_suffix(".making"), timeout=self._lock_timeout, mode=0o600)

    def _move_aside(self, damage: str) -> None:
        """Give a damaged file another name, unless another process has done so."""
        with self._lock, self._changing():
            if self._opened is not None and self._identity() != self._opened:
                return  # another process did
            self._close()
            aside = f"{self.path}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
            for file in self._files():
                if file.exists():
                    file.rename(aside + file.name.removeprefix(self.path.name))
        said = "the spool %s is damaged (%s); it was moved to %s, and another one is begun"
        log.critical(said, self.path, damage, aside)

    def _files(self) -> list[Path]:
        return [self.path.with_name(self.path.name + end) for end in ("", "-wal", "-shm")]


def _seen_waiting(path: Path) -> bool | None:
    """Whether events wait, without the library, which takes long to import; None where it cannot be told."""
    import sqlite3

    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=1)) as conn:
            return conn.execute(ANY_WAITING).fetchone() is not None
    except sqlite3.Error:  # the library says why
        return None


def _holds_events(path: Path) -> bool:
    """Whether a spool that is not ours holds events; one that cannot be read may."""
    other = Spool(path, max_bytes=1 << 62, lock_timeout=1)
    try:
        return other.count() > 0
    except SpoolError:
        return True
    finally:
        other.close()
