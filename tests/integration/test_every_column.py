"""A superuser changes a value in any column of any table, one after another: `verify --live` finds each.

What nothing else says, and so nobody could find, is listed, each with the reason; the documentation lists
the same.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from audit_ledger import Ledger
from audit_ledger.evidence import keyring, merkle
from audit_ledger.evidence.checkpoint import Checkpoint
from audit_ledger.evidence.whole import verify_log
from audit_ledger.plan import load_anchors
from audit_ledger.store.comparison import verify_live
from tests.authority import TestAuthority, serving
from tests.places import Place

ROOT = Path(__file__).parents[2]
Admin = psycopg.Connection[Any]

FLIPPED = {
    "bigint": "{0} # 4096",
    "bigint[]": "array_append({0}, 1)",
    "boolean": "NOT {0}",
    "bytea": "set_bit({0}, 8, 1 - get_bit({0}, 8))",
    "date": "{0} + 1",
    "integer": "{0} # 4096",
    "jsonb": "jsonb_build_array({0})",
    "smallint": "{0} # 64::smallint",
    "text": "chr(ascii({0}) # 16) || substr({0}, 2)",
    "text[]": "array_append({0}, 'x')",
    "timestamp with time zone": "{0} + interval '1 microsecond'",
    "uuid": "(translate(left({0}::text, 1), '0123456789abcdef', '1032547698badcfe')"
    " || substr({0}::text, 2))::uuid",
}
"""How a value of a type becomes another one: of a bit, where it has bits."""

PUT_IN = {
    "bigint": "1",
    "bytea": "'x'",
    "date": "now()",
    "integer": "1",
    "jsonb": "'{}'",
    "text": "'x'",
    "timestamp with time zone": "now()",
}
"""What is put in where no row has a value."""

NOBODY_ELSE_SAYS = {
    "anchors.anchored_at": "when it was noted",
    "anchors.name": "of a folder: the files in it are what counts",
    "anchors.number": "the order of noting",
    "anchors.stated_at": "of a folder: the clock of whoever wrote the file",
    "bodies.size": "of bytes that are not here",
    "head.one_row": "nothing: it keeps the table at one row",
    "migrations.applied_at": "when a file of schema/ was run",
    "migrations.software_version": "by which release",
    "origins.opened_at": "of the first: when the ledger was made",
    "refusals.actual": "in words, what a writer found",
    "refusals.expected": "in words, what a writer expected",
    "refusals.note": "what a writer gave as a checkpoint that convicts the ledger",
    "refusals.number": "the order of refusing",
    "refusals.refused_at": "when",
    "refusals.refused_by": "by whom",
    "refusals.size": "as the note",
    "body_scans.commitment": "a note of how far the log was searched for a body",
    "body_scans.positions": "the same",
    "body_scans.upto": "the same",
    "progress.updated_at": "when folding moved last",
    "set_aside.message": "in words, why an event could not be folded",
    "set_aside.set_aside_at": "when",
}
"""Columns that nothing else in the ledger speaks of, and what they say."""

COLUMNS = """
    SELECT n.nspname || '.' || c.relname, a.attname, format_type(a.atttypid, NULL)
      FROM pg_attribute a
      JOIN pg_class c ON c.oid = a.attrelid AND c.relkind = 'r'
      JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname IN ('ledger', 'ledger_read')
     WHERE a.attnum > 0 AND NOT a.attisdropped
     ORDER BY n.nspname, c.relname, a.attnum
"""

UNGUARD = """
DO $$
DECLARE
    ours regnamespace[] := '{ledger, ledger_read}';
    it   record;
BEGIN
    FOR it IN SELECT c.oid::regclass AS name FROM pg_class c
               WHERE c.relkind = 'r' AND c.relnamespace = ANY (ours) LOOP
        EXECUTE format('ALTER TABLE %s DISABLE TRIGGER ALL', it.name);
    END LOOP;
    FOR it IN SELECT k.conrelid::regclass AS name, k.conname FROM pg_constraint k
               WHERE k.contype IN ('c', 'f') AND k.connamespace = ANY (ours) LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', it.name, it.conname);
    END LOOP;
    ALTER TABLE anchors ALTER COLUMN number DROP IDENTITY;
    ALTER TABLE refusals ALTER COLUMN number DROP IDENTITY;
END
$$
"""
"""What a superuser does first: no trigger, no check and no foreign key is left."""


@pytest.fixture
def admin(place: Place) -> Iterator[Admin]:
    with place.superuser() as conn:
        yield conn


@pytest.fixture
def attacked(place: Place, told: Ledger, officer: Ledger, admin: Admin, tmp_path: Path) -> Iterator[Ledger]:
    """A ledger with something in every table: sealed, anchored, convicted, recovered, and sealed again."""
    with serving(TestAuthority(tmp_path / "tsa")) as authority:
        place.configure(authority)
        assert place.anchor().failures == ()
        forged = tmp_path / "forged.checkpoint"
        forged.write_bytes(Checkpoint(place.signer.name, 3, merkle.EMPTY_ROOT).sign(place.signer))
        with place.connect() as writer:
            assert writer.look_outside([forged]).wrong is not None
        with place.connect("ledger_officer") as recovering:
            place.new_key(str(recovering.recover(reason="it was convicted", by="Ann").origin))
        with place.connect() as again, again.run("t", "s") as run:
            run.ingest("X", 77, {"n": 77})
        assert place.seal() is not None
        assert place.anchor().failures == ()
    admin.execute("INSERT INTO body_scans SELECT commitment, 1, '{1}' FROM bodies LIMIT 1")
    admin.execute(UNGUARD)
    with place.connect("ledger_sealer") as sealer:
        yield sealer


def test_a_changed_value_is_found_in_any_column_of_any_table(attacked: Ledger, admin: Admin) -> None:
    before = attacked.verify_live(points=0)
    assert before.same, (before.log.faults, before.read_models.differences)
    assert before.log.unchecked == before.log.untrusted == 0
    assert before.log.closed == before.log.timestamps == 2
    columns = admin.execute(COLUMNS).fetchall()
    assert len(columns) > 250
    missed = {
        f"{table.partition('.')[2]}.{column}"
        for table, column, type_ in columns
        if not is_found(attacked, admin, table, f'"{column}"', type_)
    }
    assert missed == NOBODY_ELSE_SAYS.keys()
    assert attacked.verify_live(points=0).same


def is_found(ledger: Ledger, admin: Admin, table: str, column: str, type_: str) -> bool:
    """Whether a changed value of a column is found: of a read model's in one row, else in each of some."""
    rows = admin.execute(
        f"SELECT ctid FROM {table} ORDER BY {column} IS NULL, ctid LIMIT %s",
        [1 if table.startswith("ledger_read.") else 4],
    ).fetchall()
    assert rows, table  # something is in every table
    return all(is_found_in(ledger, admin, table, column, type_, row[0]) for row in rows)


def is_found_in(ledger: Ledger, admin: Admin, table: str, column: str, type_: str, ctid: str) -> bool:
    """Change a value, verify, and change it back; whether something was found."""
    admin.execute(f"CREATE TEMP TABLE was AS SELECT {column} AS it FROM {table} WHERE ctid = %s", [ctid])
    changed = f"coalesce({FLIPPED[type_].format(column)}, {PUT_IN.get(type_, 'NULL')})"
    row = admin.execute(
        f"UPDATE {table} SET {column} = {changed} WHERE ctid = %s"
        f" RETURNING ctid, {column} IS DISTINCT FROM (SELECT it FROM was)",
        [ctid],
    ).fetchone()
    assert row is not None
    assert row[1], (table, column)
    try:
        return not is_same(ledger, table)
    finally:
        admin.execute(f"UPDATE {table} SET {column} = (SELECT it FROM was) WHERE ctid = %s", [row[0]])
        admin.execute("DROP TABLE was")


def is_same(ledger: Ledger, table: str) -> bool:
    """What that half of `verify --live` finds that a table is for: it takes a third of the time."""
    if table.startswith("ledger_read.") or table == "ledger.migrations":
        return verify_live(ledger.database, points=0).same
    return verify_log(ledger.database, keyring.verifiers(ledger.settings), anchors=load_anchors()).same


def test_the_documentation_lists_what_cannot_be_found() -> None:
    page = (ROOT / "docs/how-to/verify-the-whole-ledger.md").read_text()
    _, _, listed = page.partition("## What it does not show")
    assert set(re.findall(r"`(\w+\.\w+)`", listed)) == NOBODY_ELSE_SAYS.keys()
