"""A leaf that PostgreSQL writes by itself, as anyone can with psql, has the same bytes and the same hash."""

from typing import Any

import psycopg
import pytest

from audit_ledger import Ledger
from audit_ledger.evidence import leaf, merkle
from tests.everything import tell_everything

LEAF = r"""
    convert_to(
        '{"position":' || position
        || ',"recorded_at":"' || to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
        || '","recorded_by":' || to_json(recorded_by)
        || ',"stream_id":"' || stream_id
        || '","type":' || to_json(type)
        || ',"version":' || version || E'}\n', 'UTF8') || state
"""


def test_sql_writes_the_leaves_of_a_ledger(
    ledger: Ledger, officer: Ledger, admin: psycopg.Connection[Any]
) -> None:
    tell_everything(ledger, officer, admin)
    admin.execute("SET TIME ZONE 'Asia/Kathmandu'")
    rows = admin.execute(
        f"SELECT position, recorded_at, recorded_by, stream_id, type, version, state, {LEAF},"
        "        leaf, l.index, hash"
        "  FROM events JOIN leaves l USING (position) JOIN leaf_hashes USING (position) ORDER BY position"
    ).fetchall()
    assert len(rows) > 30
    for *columns, written, viewed, index, hashed in rows:
        assert (viewed, index) == (written, columns[0] - 1)
        assert leaf.encode(*columns) == written
        assert list(leaf.decode(written)) == columns
        assert merkle.leaf_hash(written) == hashed


@pytest.mark.parametrize(
    "name",
    ['a"b\\c/d', "\b\t\n\f\r", "\x01\x0b\x1f\x7f\x80\x9f", "\u2028\u2029\ufeff", "Zoë\U0001f600", "", "<&'>"],
)
def test_sql_escapes_names_alike(admin: psycopg.Connection[Any], name: str) -> None:
    # A role's name can hold all of these.
    row = admin.execute(
        f"SELECT {LEAF}, recorded_at, stream_id"
        "  FROM (SELECT 1 AS position, now() AS recorded_at, %s::text AS recorded_by,"
        "               gen_random_uuid() AS stream_id, %s::text AS type, 1 AS version, ''::bytea AS state"
        "       ) e",
        [name, name],
    ).fetchone()
    assert row is not None
    written, recorded_at, stream_id = row
    assert leaf.encode(1, recorded_at, name, stream_id, name, 1, b"") == written
