"""The views of read models, over the live tables and as of an instant; as whom, and where, they are made."""

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from audit_ledger.store.connecting import as_of_schema
from audit_ledger.store.sql import SqlFile

Cursor = psycopg.Cursor[dict[str, Any]]


def act_as(cursor: Cursor, name: str, role: str, *, as_of: bool = False) -> None:
    """Become the owner or the projector, whose search path finds their own schema first, or that of as_of."""
    path = [name] if role == "owner" else [f"{name}_read", name]
    path = [as_of_schema(name), *path] if as_of else path
    cursor.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(f"{name}_{role}")))
    cursor.execute(
        sql.SQL("SET LOCAL search_path = {}").format(
            sql.SQL(", ").join(map(sql.Identifier, [*path, "pg_temp"]))
        )
    )


def install_views(cursor: Cursor, name: str, files: Sequence[SqlFile]) -> None:
    """Make the views of read models: those over live tables, and all of them as of an instant.

    The same statements make `records` and its like twice: the search path says over which tables.
    """
    act_as(cursor, name, "projector")
    _execute_blocks(cursor, files, "views")
    act_as(cursor, name, "projector", as_of=True)
    _execute_blocks(cursor, files, "as_of")
    _execute_blocks(cursor, files, "views")
    cursor.execute(COMMENTS)
    for schema in (f"{name}_read", as_of_schema(name)):
        cursor.execute(
            sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA {} TO {}").format(
                sql.Identifier(schema), sql.Identifier(f"{name}_reader")
            )
        )
    act_as(cursor, name, "projector")


def drop_views(cursor: Cursor, name: str, files: Sequence[SqlFile]) -> None:
    """Drop the views of read models, and whatever was made of them."""
    for file in files:
        for schema, views in [
            (f"{name}_read", file.views("views")),
            (as_of_schema(name), file.views("as_of", "views")),
        ]:
            for view in views:
                cursor.execute(sql.SQL("DROP VIEW IF EXISTS {} CASCADE").format(sql.Identifier(schema, view)))


def _execute_blocks(cursor: Cursor, files: Sequence[SqlFile], block: str) -> None:
    for file in files:
        if block in file.blocks:
            cursor.execute(file.blocks[block].encode(), prepare=False)


COMMENTS = b"""
DO $$
DECLARE
    live text := (current_schemas(false))[2];
    said record;
BEGIN
    FOR said IN
        SELECT v.relname, a.attname, d.description
          FROM pg_class v
          JOIN pg_class t ON t.relname = v.relname AND t.relnamespace = live::regnamespace
          JOIN pg_description d ON d.objoid = t.oid AND d.classoid = 'pg_class'::regclass
          LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.objsubid AND d.objsubid > 0
         WHERE v.relnamespace = current_schema()::regnamespace AND v.relkind = 'v'
    LOOP
        IF said.attname IS NULL THEN
            EXECUTE format('COMMENT ON VIEW %I IS %L', said.relname,
                           said.description || ' As of audit_ledger.as_of.');
        ELSE
            EXECUTE format('COMMENT ON COLUMN %I.%I IS %L', said.relname, said.attname, said.description);
        END IF;
    END LOOP;
END
$$
"""
"""Say of the views of the first schema of the search path what is said of their likes in the second."""
