"""A superuser changes a value in any column of any table, one after another: `verify --live` finds each.

What nothing else says, and so nobody could find, is listed, each with the reason; the documentation lists
the same.
"""

import re
from collections.abc import Iterator
from itertools import groupby, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest

from audit_ledger import Ledger
from audit_ledger.errors import EvidenceInvalid
from audit_ledger.evidence import keyring, merkle, report
from audit_ledger.evidence.checkpoint import Checkpoint
from audit_ledger.evidence.whole import verify_log
from audit_ledger.plan import load_anchors
from audit_ledger.store.comparison import verify_live
from audit_ledger.store.sql import projection_files
from tests.authority import TestAuthority, serving
from tests.places import Place

ROOT = Path(__file__).parents[2]
Admin = psycopg.Connection[Any]


class Column(NamedTuple):
    """A column of a table, as SQL names both, and its type."""

    table: str
    name: str
    type: str


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

NOBODY_MISSES = {"ledger.anchors", "ledger.closed_checkpoints", "ledger.refusals", "ledger_read.body_scans"}
"""Tables of which a row may be gone, of the checkpoints not the last: what is left is as true as before."""

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


class Changed:
    """A value that is changed in a row, until it is put back."""

    def __init__(self, admin: Admin, column: Column, ctid: str) -> None:
        self.admin, self.column = admin, column
        table, name, type_ = column
        was = f"was_{table.partition('.')[2]}"
        admin.execute(f"CREATE TEMP TABLE {was} AS SELECT {name} AS it FROM {table} WHERE ctid = %s", [ctid])
        other = f"coalesce({FLIPPED[type_].format(name)}, {PUT_IN.get(type_, 'NULL')})"
        row = admin.execute(
            f"UPDATE {table} SET {name} = {other} WHERE ctid = %s"
            f" RETURNING ctid, {name} IS DISTINCT FROM (SELECT it FROM {was})",
            [ctid],
        ).fetchone()
        assert row is not None
        assert row[1], column
        self.was, self.ctid = was, row[0]

    def put_back(self) -> None:
        table, name, _ = self.column
        self.admin.execute(
            f"UPDATE {table} SET {name} = (SELECT it FROM {self.was}) WHERE ctid = %s", [self.ctid]
        )
        self.admin.execute(f"DROP TABLE {self.was}")


def rows_of(admin: Admin, column: Column, limit: int) -> list[str]:
    """Some rows of a column's table, those where it has a value first."""
    found = admin.execute(
        f"SELECT ctid FROM {column.table} ORDER BY {column.name} IS NULL, ctid LIMIT %s", [limit]
    ).fetchall()
    assert found, column.table  # something is in every table
    return [row[0] for row in found]


def test_a_changed_value_is_found_in_any_column_of_any_table(attacked: Ledger, admin: Admin) -> None:
    before = attacked.verify_live(points=0)
    assert before.same, (before.log.faults, before.read_models.differences)
    assert before.log.unchecked == before.log.untrusted == 0
    assert before.log.closed == before.log.timestamps == 2
    columns = [Column(table, f'"{name}"', type_) for table, name, type_ in admin.execute(COLUMNS).fetchall()]
    assert len(columns) > 250
    folded = {f"ledger_read.{table}" for file in projection_files() for table in file.tables}
    missed = {
        *missed_in_read_models(attacked, admin, [column for column in columns if column.table in folded]),
        *(
            column
            for column in columns
            if column.table not in folded and not is_found(attacked, admin, column)
        ),
    }
    assert {f"{table.partition('.')[2]}.{name[1:-1]}" for table, name, _ in missed} == NOBODY_ELSE_SAYS.keys()
    assert attacked.verify_live(points=0).same


def missed_in_read_models(ledger: Ledger, admin: Admin, columns: list[Column]) -> Iterator[Column]:
    """Columns in which a changed value is not found; of all tables at once: each is compared apart."""
    by_table = [list(group) for _, group in groupby(columns, key=lambda column: column.table)]
    for together in zip_longest(*by_table):
        there = [column for column in together if column is not None]
        changes = [Changed(admin, column, rows_of(admin, column, 1)[0]) for column in there]
        differing = verify_live(ledger.database, points=0).differing
        yield from (column for column in there if column.table not in differing)
        for change in changes:
            change.put_back()


def is_found(ledger: Ledger, admin: Admin, column: Column) -> bool:
    """Whether a changed value of a column is found, in each of some rows."""
    found = []
    for ctid in rows_of(admin, column, 4):
        change = Changed(admin, column, ctid)
        found.append(not is_same(ledger, column.table))
        change.put_back()
    return all(found)


def is_same(ledger: Ledger, table: str) -> bool:
    """What that half of `verify --live` finds that a table is for."""
    if table.startswith("ledger_read.") or table == "ledger.migrations":
        return verify_live(ledger.database, points=0).same
    return verify_log(ledger.database, keyring.verifiers(ledger.settings), anchors=load_anchors()).same


def tables_of(admin: Admin) -> list[str]:
    return sorted({row[0] for row in admin.execute(COLUMNS).fetchall()})


def test_a_row_that_was_deleted_is_found_in_any_table(attacked: Ledger, admin: Admin) -> None:
    missed = set()
    for table in tables_of(admin):
        for (ctid,) in admin.execute(f"SELECT ctid FROM {table} ORDER BY ctid LIMIT 4").fetchall():
            admin.execute(f"CREATE TEMP TABLE was AS SELECT * FROM {table} WHERE ctid = %s", [ctid])
            admin.execute(f"DELETE FROM {table} WHERE ctid = %s", [ctid])
            if is_same(attacked, table):
                missed.add(table)
            admin.execute(f"INSERT INTO {table} SELECT * FROM was")
            admin.execute("DROP TABLE was")
    assert missed == NOBODY_MISSES
    assert attacked.verify_live(points=0).same


def is_same_as_told(ledger: Ledger, table: str) -> bool:
    """Whether `verify --live` finds nothing; and says so."""
    found = ledger.verify_live(points=1)
    told = "\n".join(report.lines(found))
    assert found.same == ("❌" not in told), told
    if table == "ledger.events":
        assert "the first position that is not as it was: 1 (" in told
        assert "the read models cannot be compared: the ledger had not begun" in told
    return found.same


def test_a_table_that_was_emptied_is_found(attacked: Ledger, admin: Admin) -> None:
    missed = set()
    for table in tables_of(admin):
        admin.execute(f"CREATE TEMP TABLE was AS SELECT * FROM {table}")
        admin.execute(f"TRUNCATE {table}")
        if table == "ledger.origins":
            with pytest.raises(EvidenceInvalid, match="the identity of the ledger is gone"):
                attacked.verify_live()
        elif is_same_as_told(attacked, table):
            missed.add(table)
        admin.execute(f"INSERT INTO {table} SELECT * FROM was")
        admin.execute("DROP TABLE was")
    assert missed == NOBODY_MISSES - {"ledger.closed_checkpoints"}
    assert attacked.verify_live(points=1).same


def test_the_documentation_lists_what_cannot_be_found() -> None:
    page = (ROOT / "docs/how-to/verify-the-whole-ledger.md").read_text()
    _, _, listed = page.partition("## What it does not show")
    assert set(re.findall(r"`(\w+\.\w+)`", listed)) == NOBODY_ELSE_SAYS.keys()
