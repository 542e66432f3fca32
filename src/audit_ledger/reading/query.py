"""Questions to a read model: immutable, chainable, asked when they are iterated."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Generic, Self, TypeVar

from psycopg import sql

from audit_ledger.errors import InvalidValue
from audit_ledger.store.database import Database

T = TypeVar("T")


@dataclass(frozen=True)
class Query(Generic[T]):
    """Rows of one read model, newest first unless ordered otherwise.

    Each scope returns a narrower query; iterating, `all`, `first` and `count` ask the database.
    """

    database: Database = field(repr=False)
    conditions: tuple[tuple[str, dict[str, Any]], ...] = ()
    order: tuple[str, bool] = ("id", True)
    most: int | None = None

    table: ClassVar[str]
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
        return [
            self.make(row)
            for row in self._rows(sql.SQL(", ").join(map(sql.Identifier, self.columns)), ordered=True)
        ]

    def first(self) -> T | None:
        """The first row, or None."""
        return next(iter(self.limit(1).all()), None)

    def count(self) -> int:
        """How many rows there are; a limit does not count."""
        return int(self._rows(sql.SQL("count(*) AS n"), ordered=False)[0]["n"])

    def __iter__(self) -> Iterator[T]:
        return iter(self.all())

    def make(self, row: dict[str, Any]) -> T:
        """A row of the table as what the query yields."""
        raise NotImplementedError  # abstract: each query makes its own

    def _rows(self, what: sql.Composable, *, ordered: bool) -> list[dict[str, Any]]:
        parts: list[sql.Composable] = [sql.SQL("SELECT {} FROM {}").format(what, sql.Identifier(self.table))]
        params: dict[str, Any] = {}
        for number, (condition, given) in enumerate(self.conditions):
            # Two scopes may name a parameter alike: each gets its own.
            names = {name: f"%({name}_{number})s" for name in given}
            parts.append(sql.SQL(("AND" if number else "WHERE") + f" ({condition.format(**names)})"))
            params |= {f"{name}_{number}": value for name, value in given.items()}
        if ordered:
            column, descending = self.order
            direction = "DESC" if descending else "ASC"
            parts.append(sql.SQL("ORDER BY {} " + direction).format(sql.Identifier(column)))
            if column != "id":
                parts.append(sql.SQL(f", id {direction}"))
        if ordered and self.most is not None:
            parts.append(sql.SQL("LIMIT {}").format(sql.Literal(self.most)))
        return self.database.query(sql.SQL(" ").join(parts), params)
