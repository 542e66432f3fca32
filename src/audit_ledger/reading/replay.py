"""The replay: the events up to an instant, folded once more into a scratch copy, whose tables can be read.

What the views as of an instant answer at once, this works out from the events alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from psycopg import sql

from audit_ledger.errors import InvalidValue, LedgerError
from audit_ledger.store.copies import Copy, Table, Tell, export_statement, silent, temporary_copy
from audit_ledger.store.refusals import questioned

if TYPE_CHECKING:
    from audit_ledger.reading.as_of import Header
    from audit_ledger.store.database import Database

FETCHED = 2000
"""Rows fetched at a time."""


class Replay:
    """The read models as of an instant, folded anew; a context manager, which leaves nothing behind.

    Attributes:
        header: What every answer carries.
    """

    def __init__(self, database: Database, header: Header, tell: Tell = silent) -> None:
        self.header = header
        self._database = database
        self._tell = tell
        self._stack = ExitStack()
        self._copy: Copy | None = None
        self._tables: dict[str, Table] = {}

    def __repr__(self) -> str:
        return f"<A replay of the ledger {self.header}>"

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            copy = stack.enter_context(temporary_copy(self._database))
            copy.make()
            copy.fold(self.header.position, self._tell)
            self._tables = copy.tables()
            self._copy = copy
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._copy = None
        self._stack.close()

    @property
    def tables(self) -> list[str]:
        """The names of the tables of the read models."""
        return list(self._tables)

    def count(self, table: str) -> int:
        """How many rows a table has.

        Raises:
            InvalidValue: there is no such table.
        """
        statement = sql.SQL("SELECT count(*) AS n FROM {}").format(self._named(table))
        row = self._folded.conn.execute(statement).fetchone()
        assert row is not None  # an aggregate has a row
        return int(row["n"])

    def rows(self, table: str) -> Iterator[dict[str, Any]]:
        """The rows of a table by column, ordered by the first, as they come, however many.

        Raises:
            InvalidValue: there is no such table.
        """
        statement = self._ordered(table)
        with (
            questioned(self._database),
            self._folded.conn.transaction(),
            self._folded.conn.cursor("rows") as cursor,
        ):
            cursor.itersize = FETCHED
            yield from cursor.execute(statement)

    def export(self, table: str, form: str) -> Iterator[bytes]:
        """The same rows as text.

        Args:
            table: The table.
            form: "csv" (RFC 4180, with the columns' names), or "json", one object a line.

        Raises:
            InvalidValue: there is no such table, or no such form.
        """
        statement = export_statement(self._ordered(table), form)
        with questioned(self._database), self._folded.conn.cursor().copy(statement) as copy:
            for data in copy:
                yield bytes(data)

    @property
    def _folded(self) -> Copy:
        if self._copy is None:
            raise LedgerError(
                "the replay is not open",
                expected="to be asked inside its block",
                actual="it has not begun, or its tables are gone",
                remedy="with ledger.replay(when) as replay: …",
            )
        return self._copy

    def _named(self, table: str) -> sql.Identifier:
        schema = self._folded.schema
        if table not in self._tables:
            raise InvalidValue("table", expected=f"one of {', '.join(self.tables)}", actual=repr(table))
        return sql.Identifier(schema, table)

    def _ordered(self, table: str) -> sql.Composed:
        name = self._named(table)
        shape = self._tables[table]
        order = dict.fromkeys([shape.columns[0], *shape.key])
        return sql.SQL("SELECT * FROM {} ORDER BY {}").format(
            name, sql.SQL(", ").join(map(sql.Identifier, order))
        )
