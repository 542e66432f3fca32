"""Copies of the read models: the same projection files, folded anew into another schema.

A replay folds into pg_temp, which any reader may, and which is gone with the connection; a rebuild into a
schema of its own. Where names lead is the search path's business: the copy's schema first, then the ledger's.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from psycopg import Connection, sql
from psycopg.rows import DictRow
from psycopg.types.numeric import Int8

from audit_ledger.errors import EvidenceInvalid, InvalidValue, WrongRole
from audit_ledger.store import migrations
from audit_ledger.store.connecting import configure, connect
from audit_ledger.store.database import Database
from audit_ledger.store.projections import CHUNK
from audit_ledger.store.refusals import translated
from audit_ledger.store.sql import SqlFile, projection_files, schema_files

TEMPORARY = "pg_temp"
"""The schema of what is gone with the connection."""

TEMP_BUFFERS = "256MB"
"""Memory for temporary tables, taken as it is needed; what does not fit goes to the server's disk."""

Tell = Callable[[int, int], None]
"""Is told now and then how far folding is, and how far it goes, as positions."""


def silent(_position: int, _upto: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Table:
    """A table of a read model.

    Attributes:
        name: Its name.
        columns: Its columns, in order.
        key: Those of its primary key.
    """

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]

    def row(self, of: str, *, without: Sequence[str] = ()) -> sql.Composed:
        """The row of an alias as a record, which `*<>` compares byte by byte."""
        columns = [column for column in self.columns if column not in without]
        return sql.SQL("ROW({})::record").format(self.listed(of, columns))

    def listed(self, of: str, columns: Sequence[str] | None = None) -> sql.Composed:
        """Columns of an alias, with commas; all of them unless it is said which."""
        return sql.SQL(", ").join(sql.Identifier(of, column) for column in columns or self.columns)

    def same_key(self, one: str, other: str) -> sql.Composed:
        """That the rows of two aliases have the same primary key."""
        return sql.SQL(" AND ").join(
            sql.SQL("{} = {}").format(sql.Identifier(one, column), sql.Identifier(other, column))
            for column in self.key
        )


LOOSEN = """
CREATE TABLE foreign_keys AS
SELECT c.relname AS "table", k.conname AS name, pg_get_constraintdef(k.oid) AS definition
  FROM pg_constraint k
  JOIN pg_class c ON c.oid = k.conrelid
 WHERE k.contype = 'f' AND c.relnamespace = current_schema()::regnamespace;
DO $$
DECLARE
    key record;
BEGIN
    FOR key IN SELECT f."table", f.name FROM foreign_keys f LOOP
        EXECUTE format('ALTER TABLE %I DROP CONSTRAINT %I', key."table", key.name);
    END LOOP;
END
$$
"""


class Copy:
    """A copy of the read models in the first schema of a connection's search path.

    Attributes:
        conn: The connection.
        schema: The name of that schema.
        files: The projections, in their order.
    """

    def __init__(
        self, conn: Connection[DictRow], schema: str, files: Sequence[SqlFile] | None = None
    ) -> None:
        self.conn = conn
        self.schema = schema
        self.files = list(projection_files() if files is None else files)

    def make(self) -> None:
        """Make its tables, empty, and its functions.

        Foreign keys are left out: to check one for each row takes a quarter of a fold's time, and no fold
        relies on it. What they are is kept in the table `foreign_keys`, for when the copy takes the place of
        the live tables.
        """
        kept = next(file for file in schema_files() if {"progress", "set_aside"} <= file.blocks.keys())
        with self.conn.cursor() as cursor:
            for block in ("progress", "set_aside"):
                cursor.execute(kept.blocks[block].encode(), prepare=False)
            for ordinal, file in enumerate(self.files):
                migrations.install_projection(cursor, file, ordinal)
            cursor.execute(LOOSEN, prepare=False)

    def fold_chunk(self, upto: int) -> int:
        """Fold the next chunk, none past `upto`; returns how far it is.

        Raises:
            EvidenceInvalid: the head of the log is before `upto`, where there was something to be folded.
        """
        row = self.conn.execute(
            "SELECT folded_upto, head_position FROM fold_next(%b, %b)",
            [Int8(CHUNK), Int8(upto)],
            prepare=True,
        ).fetchone()
        assert row is not None  # a function call has a row
        if row["head_position"] < upto:
            raise EvidenceInvalid(
                "the log ends before events that were folded once",
                expected=f"events up to position {upto:,}",
                actual=f"its head is at {row['head_position']:,}",
                remedy="find out who moved it: audit-ledger verify --live, and audit-ledger doctor",
            )
        return int(row["folded_upto"])

    def fold(self, upto: int, tell: Tell = silent) -> None:
        """Fold up to a position, chunk by chunk; outside a transaction each is one.

        Raises:
            EvidenceInvalid: as `fold_chunk`.
        """
        position = 0
        while position < upto and (position := self.fold_chunk(upto)) < upto:
            tell(position, upto)
        tell(upto, upto)

    def analyze(self) -> None:
        """Let the planner know how large the tables are."""
        for name in self.tables():
            self.conn.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(self.schema, name)))

    def tables(self) -> dict[str, Table]:
        """The tables of the read models by name, those that others refer to first."""
        return {name: describe(self.conn, self.schema, name) for file in self.files for name in file.tables}


def describe(conn: Connection[Any], schema: str, name: str) -> Table:
    """The columns and the primary key of a table."""
    table = sql.Identifier(schema, name).as_string(conn)
    with conn.cursor() as cursor:
        columns = cursor.execute(
            "SELECT a.attname AS column, a.attnum = ANY (i.indkey) IS TRUE AS of_key"
            "  FROM pg_attribute a"
            "  LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary"
            " WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
            [table],
        ).fetchall()
    return Table(
        name,
        tuple(row["column"] for row in columns),
        tuple(row["column"] for row in columns if row["of_key"]),
    )


@contextmanager
def temporary_copy(database: Database) -> Iterator[Copy]:
    """An empty copy, on a connection of its own; nothing of it is left behind.

    Raises:
        WrongRole: the role may not make temporary tables there.
        Unreachable: the database is away.
    """
    with translated(database), connect(database.url, database.settings) as conn:
        configure(conn, database.name, database.settings)
        conn.execute(
            sql.SQL("SET temp_buffers = {}; SET search_path = {}, {}").format(
                sql.Literal(TEMP_BUFFERS), sql.Identifier(TEMPORARY), sql.Identifier(database.name)
            )
        )
        allowed = conn.execute(
            "SELECT has_database_privilege(current_database(), 'TEMPORARY') AND NOT pg_is_in_recovery() AS it"
        ).fetchone()
        if not (allowed and allowed["it"]):
            raise WrongRole(
                f"{conn.info.user} may not make temporary tables in {conn.info.dbname}",
                expected="the right TEMPORARY on the database, on a server that is no standby",
                actual="a standby, or a role without that right",
                remedy=f"GRANT TEMPORARY ON DATABASE {conn.info.dbname} TO {conn.info.user}",
            )
        yield Copy(conn, TEMPORARY)


def export_statement(select: sql.Composable, form: str) -> sql.Composed:
    """The COPY that sends the rows of a query.

    Args:
        select: The query, with its parameters in it.
        form: "csv" (RFC 4180, with the columns' names), or "json", one object a line.

    Raises:
        InvalidValue: another form.
    """
    if form == "csv":
        return sql.SQL("COPY ({}) TO STDOUT (FORMAT csv, HEADER)").format(select)
    if form != "json":
        raise InvalidValue("form", expected="csv or json", actual=repr(form))
    # One column of JSON text. COPY's own text form escapes backslashes; as CSV with control characters
    # for delimiter and quote, which JSON text never holds, it is sent as it is.
    return sql.SQL(
        "COPY (SELECT row_to_json(t) FROM ({}) t) TO STDOUT (FORMAT csv, DELIMITER E'\\x02', QUOTE E'\\x01')"
    ).format(select)
