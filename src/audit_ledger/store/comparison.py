"""`verify --live`: are the read models, and the views as of an instant, what the events say?

The events are folded once more, into temporary tables, and compared row by row in the database, byte by
byte (`*<>`), all in one transaction, to which the ledger stands still however much is folded meanwhile.
"""

from dataclasses import dataclass
from typing import Any

from psycopg import sql

from audit_ledger.errors import InvalidValue, SchemaMismatch
from audit_ledger.store.connecting import as_of_schema
from audit_ledger.store.copies import Copy, Table, Tell, describe, silent, temporary_copy
from audit_ledger.store.database import Database
from audit_ledger.store.sql import schema_files

SHOWN = 20
"""So many differences are told of a table."""

PROGRESS = Table(
    "progress", ("projection", "ordinal", "stages", "types", "position", "sha256"), ("projection",)
)
SET_ASIDE = Table("set_aside", ("position", "error_code"), ("position",))
MIGRATIONS = Table("migrations", ("number", "file", "sha256"), ("number",))
"""What is kept of folding and of making the ledger, but for times and wording."""


@dataclass(frozen=True)
class Difference:
    """A value that is not what the events say.

    Attributes:
        table: The table, or the view, with its schema.
        position: As of which position it was compared.
        id: The primary key of the row, its columns joined by commas.
        column: The column; None where one side has no such row.
        replayed: What the replay has; None where it has no such row.
        there: What is there; None where there is no such row.
    """

    table: str
    position: int
    id: str
    column: str | None
    replayed: Any
    there: Any

    def __str__(self) -> str:
        where = f"{self.table}, id {self.id}"
        if self.column is not None:
            told = f"column {self.column}: the replay has {self.replayed!r}, there is {self.there!r}"
        elif self.there is None:
            told = "the replay has this row, it is not there"
        else:
            told = "the replay has no such row, it is there"
        return f"{where}, {told} (as of position {self.position})"


@dataclass(frozen=True)
class Verified:
    """What a comparison found.

    Attributes:
        position: How far the live read models are.
        points: The positions at which the views as of an instant were compared.
        tables: The tables that were compared.
        rows: How many rows they have, live.
        differing: How many rows differ, by table or view.
        differences: What differs, at most twenty rows of each table at each point.
    """

    position: int
    points: list[int]
    tables: list[str]
    rows: int
    differing: dict[str, int]
    differences: list[Difference]

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not self.differing


def verify_live(database: Database, points: int = 3, tell: Tell = silent) -> Verified:
    """Replay, and compare with the live read models, and with the views as of so many positions.

    Raises:
        InvalidValue: `points` is negative.
        SchemaMismatch: a table has other columns than its file makes.
        WrongRole: the role may not make temporary tables.
    """
    require_points(points)
    with temporary_copy(database) as copy, copy.conn.transaction():
        copy.conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        return _Verification(database.name, copy).verify(points, tell)


def require_points(points: int) -> None:
    """Nothing, if it is a number of points.

    Raises:
        InvalidValue: it is none.
    """
    if isinstance(points, bool) or not isinstance(points, int) or points < 0:
        raise InvalidValue("points", expected="a whole number, 0 or more", actual=repr(points))


class _Verification:
    def __init__(self, name: str, copy: Copy) -> None:
        self.ledger = name
        self.live = f"{name}_read"
        self.as_of = as_of_schema(name)
        self.copy = copy
        self.conn = copy.conn
        self.differing: dict[str, int] = {}
        self.differences: list[Difference] = []

    def verify(self, points: int, tell: Tell) -> Verified:
        common, upto = self._reach()
        self.copy.make()
        tables = list(self.copy.tables().values())
        for table in tables:
            self._require_same_columns(table)
        asked = sorted({-(-max(common, 0) * turn // points) for turn in range(1, points + 1)} - {0})
        for position in asked:
            self._fold(position, upto, tell)
            self.conn.execute("SELECT set_config('audit_ledger.as_of', %s, true)", [str(position)])
            for table in tables:
                self._compare(table, self.as_of, position)
        self._fold(upto, upto, tell)
        for table in tables:
            self._compare(table, self.live, upto)
        for table in (PROGRESS, SET_ASIDE):
            self._compare(table, self.live, upto)
        self._compare_migrations(upto)
        return Verified(
            position=upto,
            points=asked,
            tables=[table.name for table in tables],
            rows=sum(self._count(table) for table in tables),
            differing=self.differing,
            differences=self.differences,
        )

    def _reach(self) -> tuple[int, int]:
        """How far all of the live read models are, and how far any is; no farther than there are events."""
        row = self.conn.execute(
            sql.SQL(
                "SELECT least(min(p.position), h.position) AS all, least(max(p.position), h.position) AS any"
                "  FROM {} p, head h GROUP BY h.position"
            ).format(sql.Identifier(self.live, "progress"))
        ).fetchone()
        return (row["all"], row["any"]) if row else (0, 0)

    def _fold(self, position: int, upto: int, tell: Tell) -> None:
        self.copy.fold(position, lambda now, _: tell(now, upto))
        self.copy.analyze()

    def _require_same_columns(self, table: Table) -> None:
        there = self.conn.execute(
            "SELECT to_regclass(%s) IS NOT NULL AS it",
            [sql.Identifier(self.live, table.name).as_string(self.conn)],
        ).fetchone()
        columns = (
            describe(self.conn, self.live, table.name).columns if there is not None and there["it"] else ()
        )
        if set(columns) != set(table.columns):
            raise SchemaMismatch(
                f"the table {table.name} is not what this software makes",
                expected=", ".join(table.columns),
                actual=", ".join(columns) or "no such table",
                remedy="run `audit-ledger projections rebuild` as an administrator of the database",
            )

    def _count(self, table: Table) -> int:
        statement = sql.SQL("SELECT count(*) AS n FROM {}").format(sql.Identifier(self.live, table.name))
        row = self.conn.execute(statement).fetchone()
        assert row is not None  # an aggregate has a row
        return int(row["n"])

    def _compare_migrations(self, position: int) -> None:
        """The files of schema/ that were run, with those that there are."""
        files = schema_files()
        self.conn.execute(
            "CREATE TEMPORARY TABLE migrations AS"
            " SELECT split_part(file, '_', 1)::integer AS number, file || '.sql' AS file, sha256"
            "   FROM unnest(%s::text[], %s::text[]) AS f(file, sha256)",
            [[file.name for file in files], [file.sha256 for file in files]],
        )
        self._compare(MIGRATIONS, self.ledger, position)

    def _compare(self, table: Table, schema: str, position: int) -> None:
        """Note in what the copy's table and that of a schema differ."""
        key = sql.SQL(", ").join(map(sql.Identifier, table.key))
        rows = self.conn.execute(
            sql.SQL(
                "SELECT count(*) OVER () AS total, concat_ws(', ', {key}) AS id,"
                "       CASE WHEN {ours_key} IS NOT NULL THEN to_jsonb(ours) END AS replayed,"
                "       CASE WHEN {there_key} IS NOT NULL THEN to_jsonb(there) END AS there"
                "  FROM {copy} ours FULL JOIN {other} there USING ({key})"
                " WHERE {ours} *<> {there} ORDER BY {key} LIMIT {limit}"
            ).format(
                key=key,
                ours_key=sql.Identifier("ours", table.key[0]),
                there_key=sql.Identifier("there", table.key[0]),
                copy=sql.Identifier(self.copy.schema, table.name),
                other=sql.Identifier(schema, table.name),
                ours=table.row("ours"),
                there=table.row("there"),
                limit=sql.Literal(SHOWN),
            )
        ).fetchall()
        if not rows:
            return
        name = f"{schema}.{table.name}"
        self.differing[name] = max(self.differing.get(name, 0), rows[0]["total"])
        for row in rows:
            ours, there = row["replayed"], row["there"]
            told = (
                [(column, ours[column], there[column]) for column in table.columns]
                if ours is not None and there is not None
                else [(None, ours, there)]
            )
            self.differences += [
                Difference(name, position, row["id"], column, one, other)
                for column, one, other in told
                if one != other
            ]
