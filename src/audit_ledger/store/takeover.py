"""How the live read models become what a copy is: row by row where the tables are alike, else as a whole.

All of it happens in the caller's transaction, as the projector, with the live progress locked.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from psycopg import Connection, sql

from audit_ledger.store.copies import Copy, Table, describe

SET_ASIDE = "set_aside"
UNCOMPARED = ("set_aside_at",)
"""When an event was set aside is no matter of the events."""


@dataclass(frozen=True)
class Change:
    """What a rebuild did to a table.

    Attributes:
        table: The table.
        inserted: Rows that it lacked; all of them, where the table was replaced.
        updated: Rows that differed.
        deleted: Rows that it should not have had; all of them, where the table was replaced.
    """

    table: str
    inserted: int
    updated: int
    deleted: int


SHAPE = """
SELECT c.relname AS table, 'column' AS kind, a.attname AS name,
       format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END
       || coalesce(' COLLATE ' || a.attcollation::regcollation, '')
       || coalesce(' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), '') AS definition
  FROM pg_class c
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
 WHERE c.relnamespace = %(schema)s::regnamespace AND c.relname = ANY (%(tables)s)
UNION ALL
SELECT c.relname, 'constraint', k.conname, pg_get_constraintdef(k.oid)
  FROM pg_class c JOIN pg_constraint k ON k.conrelid = c.oid
 WHERE c.relnamespace = %(schema)s::regnamespace AND c.relname = ANY (%(tables)s)
UNION ALL
SELECT c.relname, 'index', i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid)
  FROM pg_class c JOIN pg_index i ON i.indrelid = c.oid
 WHERE c.relnamespace = %(schema)s::regnamespace AND c.relname = ANY (%(tables)s)
UNION ALL
SELECT c.relname, 'view', c.relname, pg_get_viewdef(c.oid)
  FROM pg_class c
 WHERE c.relnamespace = %(schema)s::regnamespace AND c.relname = ANY (%(views)s)
"""
"""What tables and views are; with their schema written out, unless the search path has it."""


def same_shape(conn: Connection[Any], copy: Copy, live: str) -> bool:
    """Whether the live tables have all that their files make; indexes of others besides do no harm."""
    conn.execute("SET LOCAL search_path = pg_catalog")
    ours, there = _shape(conn, copy, copy.schema), _shape(conn, copy, live)
    ours |= {
        (key["table"], "constraint", key["name"], key["definition"]) for key in _foreign_keys(conn, copy)
    }
    return ours <= there and all(kind in ("index", "view") for _, kind, _, _ in there - ours)


def _shape(conn: Connection[Any], copy: Copy, schema: str) -> set[tuple[str, str, str, str]]:
    rows = conn.execute(
        SHAPE,
        {
            "schema": sql.Identifier(schema).as_string(conn),
            "tables": [table for file in copy.files for table in file.tables],
            "views": [view for file in copy.files for view in file.views("ddl")],
        },
    ).fetchall()
    prefix = f"{conn.execute('SELECT quote_ident(%s) AS it', [schema]).fetchall()[0]['it']}."
    return {
        (row["table"], row["kind"], row["name"].replace(prefix, ""), row["definition"].replace(prefix, ""))
        for row in rows
    }


def _foreign_keys(conn: Connection[Any], copy: Copy) -> list[dict[str, Any]]:
    """The foreign keys that the files make, which the copy does without."""
    keys = sql.SQL('SELECT "table", name, definition FROM {}')
    return conn.execute(keys.format(sql.Identifier(copy.schema, "foreign_keys"))).fetchall()


def other_set_aside(conn: Connection[Any], copy: Copy, live: str) -> bool:
    """Whether other events were set aside in the copy than in the live read models."""
    row = conn.execute(
        sql.SQL(
            "SELECT EXISTS (SELECT FROM {ours} o FULL JOIN {there} t USING (position)"
            "                WHERE o.message IS NULL OR t.message IS NULL) AS it"
        ).format(ours=sql.Identifier(copy.schema, SET_ASIDE), there=sql.Identifier(live, SET_ASIDE))
    ).fetchone()
    return bool(row and row["it"])


def apply(conn: Connection[Any], copy: Copy, live: str, tables: Iterable[Table]) -> list[Change]:
    """Delete, update and insert the rows in which live tables differ from the copy's; touch no other.

    Args:
        conn: The connection.
        copy: The copy.
        live: The schema of the live read models.
        tables: Which tables, those that others refer to first.

    Raises:
        psycopg.errors.IntegrityError: the differences cannot be applied in this order.
    """
    conn.execute("SET LOCAL work_mem = '64MB'")
    every = [*tables, describe(conn, copy.schema, SET_ASIDE)]
    # One look at both sides is enough for a table that is as it should be, as most are.
    differing = [table for table in every if _execute(conn, DIFFER, copy, live, table)]
    deleted = {table: _execute(conn, DELETE, copy, live, table) for table in reversed(differing)}
    changes = {table: Change(table.name, 0, 0, 0) for table in every}
    for table in differing:
        updated = _execute(conn, UPDATE, copy, live, table)
        inserted = _execute(conn, INSERT, copy, live, table)
        changes[table] = Change(table.name, inserted, updated, deleted[table])
    return list(changes.values())


DIFFER = "SELECT FROM {live} there FULL JOIN {copy} ours ON {same_key} WHERE {there} *<> {ours} LIMIT 1"
DELETE = "DELETE FROM {live} there WHERE NOT EXISTS (SELECT FROM {copy} ours WHERE {same_key})"
UPDATE = "UPDATE {live} there SET {sets} FROM {copy} ours WHERE {same_key} AND {there} *<> {ours}"
INSERT = (
    "INSERT INTO {live} ({columns}) SELECT {values} FROM {copy} ours"
    " WHERE NOT EXISTS (SELECT FROM {live} there WHERE {same_key})"
)


def _execute(conn: Connection[Any], statement: Any, copy: Copy, live: str, table: Table) -> int:
    return conn.execute(
        sql.SQL(statement).format(
            live=sql.Identifier(live, table.name),
            copy=sql.Identifier(copy.schema, table.name),
            same_key=table.same_key("there", "ours"),
            there=table.row("there", without=UNCOMPARED),
            ours=table.row("ours", without=UNCOMPARED),
            columns=sql.SQL(", ").join(map(sql.Identifier, table.columns)),
            values=table.listed("ours"),
            sets=sql.SQL(", ").join(
                sql.SQL("{} = {}").format(sql.Identifier(column), sql.Identifier("ours", column))
                for column in table.columns
            ),
        )
    ).rowcount


def swap(conn: Connection[Any], copy: Copy, live: str) -> list[Change]:
    """Put the copy's tables, and the views that their files make with them, in the place of the live ones.

    Whatever was made of the live ones goes with them: views are made anew by the caller.
    """
    names = [table for file in copy.files for table in file.tables]
    there = [
        row["relname"]
        for row in conn.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace AND relname = ANY (%s)",
            [sql.Identifier(live).as_string(conn), names],
        ).fetchall()
    ]
    if there:  # all at once, lest it waits for a reader who waits for it
        tables = sql.SQL(", ").join(sql.Identifier(live, name) for name in there)
        conn.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(tables))
    deleted = {name: _count(conn, live, name) if name in there else 0 for name in names}
    changes = [Change(name, _count(conn, copy.schema, name), 0, deleted[name]) for name in names]
    changes += apply(conn, copy, live, [])
    views = [view for file in copy.files for view in file.views("ddl")]
    for name in names:
        conn.execute(sql.SQL("DROP TABLE IF EXISTS {} CASCADE").format(sql.Identifier(live, name)))
    for kind, moved in (("TABLE", names), ("VIEW", views)):
        for name in moved:
            statement = sql.SQL(f"ALTER {kind} {{}} SET SCHEMA {{}}")
            conn.execute(statement.format(sql.Identifier(copy.schema, name), sql.Identifier(live)))
    conn.execute(sql.SQL("SET LOCAL search_path = {}").format(sql.Identifier(live)))
    for key in _foreign_keys(conn, copy):
        add = sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} {}")
        table, named = sql.Identifier(live, key["table"]), sql.Identifier(key["name"])
        conn.execute(add.format(table, named, sql.SQL(key["definition"])))
    return changes


def _count(conn: Connection[Any], schema: str, name: str) -> int:
    row = conn.execute(
        sql.SQL("SELECT count(*) AS n FROM {}").format(sql.Identifier(schema, name))
    ).fetchone()
    return int(row["n"]) if row else 0
