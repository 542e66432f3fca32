"""Questions to a read model: immutable, chainable, asked when they are iterated."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Generic, LiteralString, Self, TypeVar
from uuid import UUID

from psycopg import sql

from audit_ledger.errors import InvalidValue, LedgerError
from audit_ledger.store.copies import export_statement
from audit_ledger.store.database import Reader

T = TypeVar("T")


@dataclass(frozen=True)
class Query(Generic[T]):
    """Rows of one read model, or of what SQL makes of several, newest first unless ordered otherwise.

    Each scope returns a narrower query; iterating, `all`, `first` and `count` ask the database. `bound` are
    parameters of the relation itself, `%(name)s` in `table`.
    """

    database: Reader = field(repr=False)
    conditions: tuple[tuple[str, dict[str, Any]], ...] = ()
    order: tuple[str, bool] = ("id", True)
    most: int | None = None
    bound: dict[str, Any] = field(default_factory=dict)

    table: ClassVar[LiteralString]
    columns: ClassVar[tuple[str, ...]]

    def where(self, condition: str, **params: Any) -> Self:
        """Narrow it by a condition in SQL, with its parameters as `{name}`."""
        return replace(self, conditions=(*self.conditions, (condition, params)))

    def order_by(self, column: str, *, descending: bool = False) -> Self:
        """Order by a column of the table.

        Raises:
            InvalidValue: the table has no such column.
        """
        if column not in self.columns:
            raise InvalidValue("order_by", expected=f"one of {', '.join(self.columns)}", actual=repr(column))
        return replace(self, order=(column, descending))

    def limit(self, most: int) -> Self:
        """At most so many rows.

        Raises:
            InvalidValue: a negative number.
        """
        if isinstance(most, bool) or not isinstance(most, int) or most < 0:
            raise InvalidValue("limit", expected="a whole number, 0 or more", actual=repr(most))
        return replace(self, most=most)

    def all(self) -> list[T]:
        """The rows."""
        return [self.make(row) for row in self.rows()]

    def rows(self) -> list[dict[str, Any]]:
        """The rows as the database has them, by column."""
        return self._ask(*self._statement(self._columns, ordered=True))

    def first(self) -> T | None:
        """The first row, or None."""
        return next(iter(self.limit(1).all()), None)

    def count(self) -> int:
        """How many rows there are; a limit does not count."""
        return int(self._ask(*self._statement(sql.SQL("count(*) AS n"), ordered=False))[0]["n"])

    def export(self, form: str, columns: Sequence[str] = ()) -> Iterator[bytes]:
        """The rows as they come from the database, however many.

        Args:
            form: "csv" (RFC 4180, with the columns' names), or "json", one object a line.
            columns: Those only; by default all.

        Raises:
            InvalidValue: another form.
        """
        what = sql.SQL(", ").join(map(sql.Identifier, columns)) if columns else self._columns
        statement, params = self._statement(what, ordered=True)
        given = sql.SQL(statement.as_string().replace("%%", "%")) if not params else _with(statement, params)
        yield from self.database.export(export_statement(given, form))

    def __iter__(self) -> Iterator[T]:
        return iter(self.all())

    def make(self, row: dict[str, Any]) -> T:
        """A row of the table as what the query yields."""
        raise NotImplementedError  # abstract: each query makes its own

    @property
    def _columns(self) -> sql.Composable:
        return sql.SQL(", ").join(map(sql.Identifier, self.columns))

    def _ask(self, statement: sql.Composed, params: dict[str, Any]) -> list[dict[str, Any]]:
        return self.database.query(statement, params)

    def _statement(self, what: sql.Composable, *, ordered: bool) -> tuple[sql.Composed, dict[str, Any]]:
        parts: list[sql.Composable] = [sql.SQL("SELECT {} FROM {}").format(what, sql.SQL(self.table))]
        params: dict[str, Any] = dict(self.bound)
        for number, (condition, given) in enumerate(self.conditions):
            # Two scopes may name a parameter alike: each gets its own.
            names = {name: f"%({name}_{number})s" for name in given}
            parts.append(sql.SQL(("AND" if number else "WHERE") + f" ({condition.format(**names)})"))
            params |= {f"{name}_{number}": value for name, value in given.items()}
        if ordered:
            column, descending = self.order
            direction = "DESC" if descending else "ASC"
            parts.append(sql.SQL("ORDER BY {} " + direction).format(sql.Identifier(column)))
            if column != "id" and "id" in self.columns:
                parts.append(sql.SQL(f", id {direction}"))
        if ordered and self.most is not None:
            parts.append(sql.SQL("LIMIT {}").format(sql.Literal(self.most)))
        return sql.SQL(" ").join(parts), params


def _with(statement: sql.Composed, params: dict[str, Any]) -> sql.SQL:
    """A statement with its parameters in it, since COPY takes none."""
    text = statement.as_string()
    return sql.SQL(text % {name: sql.Literal(value).as_string() for name, value in params.items()})


def id_range(what: str, given: UUID | str) -> tuple[UUID, UUID]:
    """The first and the last UUID that begin with those digits.

    Raises:
        InvalidValue: not hexadecimal digits.
    """
    digits = str(given).strip().lower().replace("-", "")
    if not re.fullmatch("[0-9a-f]{1,32}", digits):
        raise InvalidValue(what, expected="a UUID, or its first digits", actual=f"{given!r:.80}")
    return UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))


def the_one(
    query: Query[T],
    column: LiteralString,
    given: UUID | str,
    noun: str,
    errors: tuple[type[LedgerError], type[LedgerError]],
) -> T:
    """The only row whose UUID is that, or begins so.

    Args:
        query: The rows to look among.
        column: The column with the UUID.
        given: A UUID, or its first digits.
        noun: What the rows are: "run".
        errors: What to raise where there is none, and where there are several.

    Raises:
        LedgerError: one of those.
        InvalidValue: not hexadecimal digits.
    """
    low, high = id_range(f"{noun} id", given)
    found = query.where(f"{column} BETWEEN {{low}} AND {{high}}", low=low, high=high).limit(4).rows()
    if not found:
        raise errors[0](f"no {noun} has the id {given}", remedy=f"list the {noun}s: audit-ledger {noun}s")
    if len(found) > 1:
        raise errors[1](
            f"several {noun}s begin with {given}",
            expected=f"the digits of one {noun}",
            actual=", ".join(str(row[column]) for row in found[:3]) + (", …" if len(found) > 3 else ""),
            remedy="give more digits",
        )
    return query.make(found[0])
