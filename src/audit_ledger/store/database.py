"""The connections to a ledger: the `eventsourcing` library's datastore, on a pool made from a URL."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Protocol, Self, cast

import psycopg
import tenacity
from eventsourcing.postgres import ConnectionPool, PostgresDatastore
from psycopg import Connection, sql
from psycopg.abc import Params
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import DictRow, dict_row

from audit_ledger.settings import Settings
from audit_ledger.store.connecting import configure, connect, conninfo, is_lost
from audit_ledger.store.refusals import questioned

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


class Database(PostgresDatastore):
    """A pool of connections to one ledger. Threads may share it; a forked child may not.

    Args:
        url: PostgreSQL URL or connection string.
        name: The ledger's name.
        settings: Time-outs.
        composite_types: Whether the library's own recorders, which send a composite type, will use it.
    """

    def __init__(self, url: str, name: str, settings: Settings, *, composite_types: bool = False) -> None:
        self.url = url
        self.composite_types = composite_types
        self.name = name
        self.settings = settings
        given = conninfo_to_dict(url)
        # The library's own tables (tracking, snapshots), where it makes any, are derived: they
        # belong with the read models.
        super().__init__(
            dbname=str(given.get("dbname", "")),
            host=str(given.get("host", "")),
            port=str(given.get("port", "")),
            user=str(given.get("user", "")),
            password=str(given.get("password", "")),
            schema=f"{name}_read",
        )
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

    @contextmanager
    def first_connection(self) -> Iterator[Connection[DictRow]]:
        """A connection to look whether the database is there; the pool begins with it, where that was right.

        Raises:
            Unreachable: nobody answers at the URL, or it does not let us in.
        """
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
        """Close all connections."""
        super().close()
        while self._kept:
            self._kept.pop().close()

    def register_type_adapters(self) -> None:
        """Look the library's composite types up, for those recorders that send them; ours does not."""
        if self.composite_types:
            super().register_type_adapters()

    def attempts(self) -> tenacity.Retrying:
        """Attempts, with growing pauses, for as long as connections keep being lost.

        `for attempt in database.attempts():` / `with attempt: …`
        """
        return tenacity.Retrying(
            retry=tenacity.retry_if_exception(is_lost),
            stop=tenacity.stop_after_delay(self.settings.retry_for),
            wait=tenacity.wait_exponential(multiplier=0.05, max=2) + tenacity.wait_random(0, 0.05),
            # Where one connection was lost, the idle ones may be as well.
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
                with attempt, self.get_connection() as conn:
                    return conn.execute(statement, params).fetchall()
        raise AssertionError  # an attempt returns or raises

    def export(self, statement: sql.Composed) -> Iterator[bytes]:
        """What COPY … TO STDOUT sends, as it comes."""
        with questioned(self), self.get_connection() as conn, conn.cursor().copy(statement) as copy:
            for data in copy:
                yield bytes(data)

    def _configure(self, conn: Connection[DictRow]) -> None:
        configure(conn, self.name, self.settings)
