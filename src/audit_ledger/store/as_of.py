"""A ledger as of a position: the same statements, put to the views of the schema as_of.

The schema comes first on the search path, so that every read model is found there under its own name; a
setting says which position is meant (schema/0007_as_of.sql). Both last for one transaction.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import Connection, sql
from psycopg.abc import Params
from psycopg.rows import DictRow

from audit_ledger.store.connecting import as_of_schema
from audit_ledger.store.database import Database, Statement
from audit_ledger.store.refusals import questioned

TRAVEL = "SELECT set_config('search_path', %s, true), set_config('audit_ledger.as_of', %s, true)"


@dataclass(frozen=True)
class DatabaseAsOf:
    """A ledger as of a position. Threads may share it.

    Attributes:
        database: The ledger.
        position: The last event that it knows.
        now: The instant that was asked for, or that event's recorded_at.
    """

    database: Database
    position: int
    now: datetime

    @property
    def upto(self) -> int | None:
        """Position of the last event that answers know."""
        return self.position

    def query(self, statement: Statement, params: Params | None = None) -> list[DictRow]:
        """The rows of a reading statement.

        Raises:
            InvalidValue: a parameter is nothing that a database can hold.
            ReadModelsBehind: they have not come that far.
            LedgerError: the database refused, or does not answer.
        """
        with questioned(self.database):
            for attempt in self.database.attempts():
                with attempt, self.database.connection() as conn, conn.pipeline(), self._travelling(conn):
                    return conn.execute(statement, params).fetchall()
        raise AssertionError  # an attempt returns or raises

    def export(self, statement: sql.Composed) -> Iterator[bytes]:
        """What COPY … TO STDOUT sends, as it comes."""
        with (
            questioned(self.database),
            self.database.connection() as conn,
            self._travelling(conn),
            conn.cursor().copy(statement) as copy,
        ):
            for data in copy:
                yield bytes(data)

    @contextmanager
    def _travelling(self, conn: Connection[DictRow]) -> Iterator[None]:
        path = ", ".join(as_path(self.database.name))
        with conn.transaction():
            conn.execute(TRAVEL, [path, str(self.position)])
            yield


def as_path(name: str) -> list[str]:
    """The search path of questions as of an instant."""
    return [as_of_schema(name), f"{name}_read", name, "pg_temp"]


def resolve(database: Database, asked: str) -> dict[str, Any]:
    """The header of an answer as of what was asked: a row of the view as_of.answer.

    Raises:
        InvalidValue: it is no instant with a zone, no position, and no run that has ended.
        BeforeBeginning: nothing is on record as of then.
    """
    with questioned(database):
        for attempt in database.attempts():
            with attempt, database.connection() as conn, conn.transaction():
                conn.execute(TRAVEL, [", ".join(as_path(database.name)), asked])
                row = conn.execute("SELECT * FROM answer").fetchone()
                assert row is not None  # resolve() has a row, or raises
                return row
    raise AssertionError  # an attempt returns or raises
