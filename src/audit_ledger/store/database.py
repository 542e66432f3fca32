"""Connections to a ledger's database, and what its refusals mean.

`Database` is the `eventsourcing` library's datastore on a connection pool made from a URL; what
connects through it finds the read models first and the event store second on its search path.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Protocol, Self, cast

import eventsourcing.persistence as es
import psycopg
import tenacity
from eventsourcing.postgres import ConnectionPool, PostgresDatastore
from psycopg import Connection, sql
from psycopg.abc import Params
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.errors import Diagnostic
from psycopg.rows import DictRow, dict_row

from audit_ledger.errors import (
    AppendRefused,
    BeforeBeginning,
    Erased,
    EvidenceInvalid,
    Held,
    InvalidValue,
    LedgerBusy,
    LedgerError,
    ReadModelsBehind,
    RetentionNotOver,
    Unreachable,
    VersionConflict,
    WritesRefused,
    WrongRole,
)
from audit_ledger.settings import Settings

CONNECTION_ERRORS = (
    es.InterfaceError,
    es.OperationalError,
    psycopg.InterfaceError,
    psycopg.OperationalError,
)


def is_lost(error: BaseException) -> bool:
    """Whether the error means that the connection, or the server, went away, and may come back.

    No SQLSTATE: the client saw the connection break. 08: connection exception. 57P0x: the server
    shuts down, crashed or is starting. 53300: too many connections.
    """
    if not isinstance(error, CONNECTION_ERRORS):
        return False
    cause = error if isinstance(error, psycopg.Error) else error.__cause__
    code = getattr(cause, "sqlstate", None)
    return code is None or code.startswith(("08", "57P0")) or code == "53300"


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


def as_of_schema(name: str) -> str:
    """The schema of questions as of an instant: `as_of` for the ledger that bears the default name."""
    return "as_of" if name == "ledger" else f"{name}_as_of"


def conninfo(url: str, settings: Settings) -> str:
    """The connection string for a URL: ours are told apart by name, and do not wait for ever.

    Raises:
        Unreachable: the URL is not a PostgreSQL URL.
    """
    try:
        given = conninfo_to_dict(url)
        ours = make_conninfo(
            connect_timeout=max(2, round(settings.connect_timeout)), application_name="audit-ledger"
        )
        return make_conninfo(ours, **{key: str(value) for key, value in given.items()})
    except psycopg.ProgrammingError as error:
        raise Unreachable(
            "the URL of the ledger cannot be read",
            expected="postgresql://user@host:5432/database",
            actual=str(error).strip(),
            remedy="correct AUDIT_LEDGER_URL, or the url that was given",
        ) from error


def configure(conn: Connection[DictRow], name: str, settings: Settings) -> None:
    """Set a session up: where names are looked for, and how long it waits for a lock."""
    conn.execute(
        sql.SQL(
            "SET search_path = {}, {}, pg_temp; SET lock_timeout = {}; SET timezone = 'UTC';"
            " SET default_transaction_isolation = 'read committed'"
        ).format(
            sql.Identifier(f"{name}_read"),
            sql.Identifier(name),
            sql.Literal(int(settings.lock_timeout * 1000)),
        )
    )


def connect(url: str, settings: Settings) -> Connection[DictRow]:
    """One connection of its own, in autocommit.

    Raises:
        Unreachable: nobody answers at the URL, or it does not let us in.
    """
    try:
        return psycopg.connect(conninfo(url, settings), row_factory=dict_row, autocommit=True)
    except psycopg.OperationalError as error:
        raise unreachable(url, error) from error


def unreachable(url: str, error: BaseException) -> Unreachable:
    """The error for a database that does not answer; the password stays out of it."""
    given = conninfo_to_dict(url)
    place = f"{given.get('host', 'localhost')}:{given.get('port', 5432)}/{given.get('dbname', '')}"
    return Unreachable(
        f"no database answers at {place}",
        actual=str(error).strip(),
        remedy="check AUDIT_LEDGER_URL and that the server runs (`audit-ledger doctor`)",
    )


def public_url(url: str) -> str:
    """A URL as it may be shown: without its password."""
    if "://" in url:
        given = conninfo_to_dict(url)
        password = given.get("password")
        return url.replace(f":{password}@", "@") if password else url
    return make_conninfo("", **{k: v for k, v in conninfo_to_dict(url).items() if k != "password"})


@contextmanager
def translated(database: Database) -> Iterator[None]:
    """Raise what the database refused as an error of ours; everything else passes unchanged."""
    try:
        yield
    except (es.PersistenceError, psycopg.Error) as error:
        ours = translate(database, error)
        if ours is None:
            raise
        raise ours from error


@contextmanager
def questioned(database: Database) -> Iterator[None]:
    """The same for questions, whose parameters may be anything.

    Raises:
        InvalidValue: a parameter is nothing that a database can hold.
    """
    try:
        with translated(database):
            yield
    except (UnicodeEncodeError, es.DataError, psycopg.DataError) as error:
        raise InvalidValue(
            "the question", expected="values that the database can hold", actual=str(error).strip()
        ) from error


def translate(database: Database, error: BaseException) -> LedgerError | None:
    """The error of ours that a database error means; None where it means none."""
    cause = error if isinstance(error, psycopg.Error) else error.__cause__
    code = getattr(cause, "sqlstate", None) or ""
    diag = getattr(cause, "diag", None)
    message = getattr(diag, "message_primary", None) or str(error)
    if code == "AL010":
        return InvalidValue(
            "as of", expected=AN_INSTANT, actual=_told(message, diag), remedy=diag and diag.message_hint
        )
    if code.startswith("AL"):
        kind, expected = REFUSALS.get(code, (AppendRefused, None))
        return kind(
            message,
            expected=expected and expected.format(name=database.name),
            actual=diag and diag.message_detail,
            remedy=diag and diag.message_hint,
        )
    if code == "23505" and diag and diag.constraint_name == "events_stream_version":
        return VersionConflict(
            "the stream already has an event at that version",
            expected="the next version of the stream",
            actual=diag.message_detail,
            remedy="one process writes a stream: give each run its own run_id",
        )
    if code == "55P03":
        context = (diag and diag.context) or ""
        lock = next((lock for sign, lock in WAITED_FOR.items() if sign in context), "append")
        return LedgerBusy(
            f"another session is {DOING[lock]}",
            expected=f"to have its lock within {database.settings.lock_timeout:g} s",
            actual=_holder(database, lock),
            remedy="end that session, or raise AUDIT_LEDGER_LOCK_TIMEOUT",
        )
    if code == "42501":
        user = conninfo_to_dict(database.url).get("user")
        needed = "officer" if ERASING.search(message) else "sealer" if SEALING.search(message) else "writer"
        role = f"{database.name}_{needed}"
        return WrongRole(
            message,
            expected=f"a member of {role}",
            actual=str(user or "the role of the operating-system user"),
            remedy=f"GRANT {role} to the role, or connect as {role}",
        )
    if is_lost(error):
        return unreachable(database.url, error)
    return None


AN_INSTANT = "an instant or a date with its time zone, a position, or run RUN_ID"
"""What a question can be asked as of."""


def _told(message: str, diag: Diagnostic | None) -> str:
    detail = diag and diag.message_detail
    return f"{detail}: {message}" if detail else message


REFUSALS: dict[str, tuple[type[LedgerError], str | None]] = {
    "AL005": (WrongRole, "a member of {name}_officer"),
    "AL007": (Held, "no hold in force on any event that refers to the body"),
    "AL008": (RetentionNotOver, "the retention to be over for every event that refers to the body"),
    "AL009": (Erased, "a body whose bytes are there"),
    "AL011": (BeforeBeginning, None),
    "AL012": (ReadModelsBehind, None),
    "AL016": (WrongRole, "a member of {name}_sealer"),
    "AL013": (EvidenceInvalid, "hashes and sizes that go on from those that are stored"),
    "AL020": (WritesRefused, "the history that the ledger had when that checkpoint went out"),
}
"""What SQLSTATEs of ours are, and what would have been right; any other is an append refused."""

ERASING = re.compile("scan_for_bodies|begin_erasure|erase_body")
"""The functions that only officers may call."""

SEALING = re.compile("seal_lock_key|begin_seal|add_tiles|add_checkpoint|announce_key|add_anchor")
"""The functions that only sealers may call."""

WAITED_FOR = {"update_read_models": "progress", "body_lock_key": "bodies", "begin_seal": "seal"}
"""What in the context of a time-out shows which lock was waited for; otherwise, that of appending."""

DOING = {
    "append": "appending",
    "progress": "folding the read models",
    "bodies": "storing or erasing bodies",
    "seal": "sealing",
}

HELD = {
    "bodies": "l.locktype = 'advisory' AND (l.classid::bigint << 32 | l.objid::bigint) = body_lock_key()",
    "append": "l.locktype = 'advisory' AND (l.classid::bigint << 32 | l.objid::bigint) = append_lock_key()",
    "seal": "l.locktype = 'advisory' AND (l.classid::bigint << 32 | l.objid::bigint) = seal_lock_key()",
    "progress": "l.locktype = 'relation' AND l.relation = 'progress'::regclass AND l.mode = 'RowShareLock'",
}
"""How the lock of appending, and that of folding, show in pg_locks."""


def _holder(database: Database, lock: str) -> str:
    """Who holds a lock, in words."""
    query = f"""
        SELECT a.pid, a.usename, a.application_name, clock_timestamp() - a.xact_start AS since
          FROM pg_locks l JOIN pg_stat_activity a USING (pid)
         WHERE l.granted AND {HELD[lock]}
           AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
         ORDER BY a.xact_start
    """
    try:
        with connect(database.url, database.settings) as conn:
            configure(conn, database.name, database.settings)
            row = conn.execute(query).fetchone()
    except (psycopg.Error, LedgerError) as error:
        return f"its holder could not be asked for: {error}"
    if row is None:
        return "its holder is gone by now"
    since = "" if row["since"] is None else f" for {row['since']}"  # hidden from other roles
    return f"held by process {row['pid']} ({row['usename']}, {row['application_name'] or 'unnamed'}){since}"
