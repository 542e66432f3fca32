"""Connecting to a ledger's database: by URL, with our time-outs, so that its names are found.

What connects finds the read models first and the event store second on its search path.
"""

import psycopg
from psycopg import Connection, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import DictRow, dict_row

from audit_ledger.errors import Unreachable
from audit_ledger.settings import Settings


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


def is_lost(error: BaseException) -> bool:
    """Whether the error means that the connection, or the server, went away, and may come back.

    No SQLSTATE: the client saw the connection break. 08: connection exception. 57P0x: the server
    shuts down, crashed or is starting. 53300: too many connections.
    """
    if not isinstance(error, psycopg.InterfaceError | psycopg.OperationalError):
        return False
    code = error.sqlstate
    return code is None or code.startswith(("08", "57P0")) or code == "53300"
