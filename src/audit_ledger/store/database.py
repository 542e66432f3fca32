"""The connections to a ledger: a pool, what is tried again, and questions."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Protocol, Self, cast

import psycopg
from psycopg import Connection, sql
from psycopg.abc import Params
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool

from audit_ledger.errors import LedgerClosed
from audit_ledger.settings import Settings
from audit_ledger.store.connecting import configure, connect, conninfo, is_lost
from audit_ledger.store.refusals import questioned

# Who wants to see what the pool logs, such as connections that were lost, says where: it is tried again.
logging.getLogger("psycopg.pool").addHandler(logging.NullHandler())

Statement = str | sql.SQL | sql.Composed


class Reader(Protocol):
    """What questions are put to: a ledger as it is now, or as it was."""

    @property
    def now(self) -> datetime:
        """The instant that spans such as "24h" end at."""

    @property
    def upto(self) -> int | None:
        """Position of the last event that answers know; None: the last there is."""

    def query(self, statement: Statement, params: Params | None = None) -> list[DictRow]:
        """The rows of a reading statement."""

    def export(self, statement: sql.Composed) -> Iterator[bytes]:
        """What COPY … TO STDOUT sends, as it comes."""


class _Pooled(Connection[DictRow]):
    """A connection of the pool: one that is kept already, or else a new one."""

    @classmethod
    def connect(cls, conninfo: str = "", *, kept: list[Connection[DictRow]], **how: Any) -> Self:  # type: ignore[override]
        """Take one of `kept` that was not lost meanwhile, or connect."""
        with suppress(IndexError, psycopg.OperationalError):
            conn = cast("Self", kept.pop())
            conn.execute("")
            return conn
        return super().connect(conninfo, **how)


class _First(AbstractContextManager[None]):
    """The first attempt; `lost` says whether the connection was lost in it, and others are to follow."""

    def __init__(self, *, again: bool) -> None:
        self.lost = False
        self._again = again

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        self.lost = self._again and error is not None and is_lost(error)
        return self.lost


class Database:
    """A pool of connections to one ledger. Threads may share it; a forked child may not.

    Args:
        url: PostgreSQL URL or connection string.
        name: The ledger's name.
        settings: Time-outs.
    """

    def __init__(self, url: str, name: str, settings: Settings) -> None:
        self.url = url
        self.name = name
        self.settings = settings
        self._closed = False
        self._kept: list[Connection[DictRow]] = []
        self.pool = ConnectionPool(
            conninfo(url, settings),
            connection_class=_Pooled,
            kwargs={"row_factory": dict_row, "autocommit": True, "kept": self._kept},
            min_size=0,
            max_size=8,
            open=False,
            configure=self._configure,
            num_workers=1,
            timeout=settings.connect_timeout,
            reconnect_timeout=settings.connect_timeout,
            name=f"audit-ledger {name}",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        with suppress(AttributeError):  # it was not made to its end
            self.close()

    @contextmanager
    def connection(self) -> Iterator[Connection[DictRow]]:
        """A connection in autocommit, of the pool, which opens with the first.

        Raises:
            LedgerClosed: `close` was called.
            psycopg.OperationalError: none can be had within `connect_timeout`.
        """
        self._check_open()
        self.pool.open()
        with self.pool.connection() as conn:
            yield conn

    @contextmanager
    def first_connection(self) -> Iterator[Connection[DictRow]]:
        """A connection to look whether the database is there; the pool begins with it, where that was right.

        Raises:
            LedgerClosed: `close` was called.
            Unreachable: nobody answers at the URL, or it does not let us in.
        """
        self._check_open()
        conn = connect(self.url, self.settings)
        try:
            yield conn
        except BaseException:
            conn.close()
            raise
        if self.pool.closed and not self._kept:
            self._kept.append(conn)
        else:
            conn.close()

    def close(self) -> None:
        """Close all connections, for good."""
        self._closed = True
        self.pool.close()
        while self._kept:
            self._kept.pop().close()

    def _check_open(self) -> None:
        if self._closed:
            raise LedgerClosed(
                "the ledger is closed",
                expected="a ledger that was not closed, as it is at the end of its `with` block",
                remedy="do it inside the block, or connect again",
            )

    def attempts(self) -> Iterator[AbstractContextManager[object]]:
        """Attempts, with growing pauses, for as long as connections keep being lost.

        `for attempt in database.attempts():` / `with attempt: …`
        """
        began = time.monotonic()
        first = _First(again=self.settings.retry_for > 0)
        yield first
        if not first.lost:
            return
        import tenacity  # it takes long to import, and nearly nobody needs it

        pause = tenacity.wait_exponential(multiplier=0.05, max=2) + tenacity.wait_random(0, 0.05)
        self.pool.check()  # where one connection was lost, the idle ones may be as well
        time.sleep(0.05)
        yield from tenacity.Retrying(
            retry=tenacity.retry_if_exception(is_lost),
            stop=tenacity.stop_after_delay(max(0, began + self.settings.retry_for - time.monotonic())),
            wait=pause,
            before_sleep=lambda _: self.pool.check(),
            reraise=True,
        )

    @property
    def now(self) -> datetime:
        """This moment."""
        return datetime.now(UTC)

    @property
    def upto(self) -> int | None:
        """None: answers know the last event there is."""
        return None

    def query(self, statement: Statement, params: Params | None = None) -> list[DictRow]:
        """The rows of a reading statement; a connection that was lost meanwhile is replaced.

        Raises:
            InvalidValue: a parameter is nothing that a database can hold.
            LedgerError: the database refused, or does not answer.
        """
        with questioned(self):
            for attempt in self.attempts():
                with attempt, self.connection() as conn:
                    return conn.execute(statement, params).fetchall()
        raise AssertionError  # an attempt returns or raises

    def export(self, statement: sql.Composed) -> Iterator[bytes]:
        """What COPY … TO STDOUT sends, as it comes."""
        with questioned(self), self.connection() as conn, conn.cursor().copy(statement) as copy:
            for data in copy:
                yield bytes(data)

    def _configure(self, conn: Connection[DictRow]) -> None:
        configure(conn, self.name, self.settings)
