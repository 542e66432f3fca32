"""Read models: another one is one more file; what cannot be folded is set aside; progress is honest."""

from typing import Any
from uuid import uuid4

import psycopg
from psycopg.rows import dict_row

from audit_ledger import Ledger
from audit_ledger.store.migrations import install_projection
from audit_ledger.store.sql import SqlFile

Admin = psycopg.Connection[Any]

ONE_MORE = b"""-- Read model: records_by_type. How many records each run touched, by their type.
-- after: data_ingestion_run_records

-- name: ddl
CREATE TABLE records_by_type (
    run_id uuid, record_type text, touches bigint, PRIMARY KEY (run_id, record_type)
);

-- name: fold
INSERT INTO records_by_type AS old (run_id, record_type, touches)
SELECT e.run_id, e.record_type, count(*) FROM record_ingested e
 WHERE e.position > :after AND e.position <= :upto GROUP BY e.run_id, e.record_type
ON CONFLICT (run_id, record_type) DO UPDATE SET touches = old.touches + excluded.touches;
"""


def test_another_read_model_is_one_more_file(ledger: Ledger, admin: Admin) -> None:
    with ledger.run("t", "s") as run:
        run.ingest_many("X", {number: {} for number in range(30)})
    with admin.transaction(), admin.cursor(row_factory=dict_row) as cursor:
        cursor.execute("SET LOCAL ROLE ledger_projector")
        install_projection(cursor, SqlFile.parse("records_by_type.sql", ONE_MORE), 99)
    with ledger.run("t", "s") as later:
        later.record("Y", 1, "created")
    ledger.update_read_models()
    rows = admin.execute("SELECT run_id, record_type, touches FROM records_by_type").fetchall()
    assert sorted(rows, key=lambda row: str(row[1])) == [(run.id, "X", 30), (later.id, "Y", 1)]
    assert {model.lag for model in ledger.status().read_models} == {0}


def test_a_bad_state_is_set_aside_and_the_rest_goes_on(ledger: Ledger, admin: Admin) -> None:
    with ledger.run("t", "s") as run:
        for state in (
            b"no JSON",
            b'{"record_type":"X"}',
            b"\xff",
            b'{"record_type":"X","record_id":"\\u0000"}',
        ):
            admin.execute(
                "SELECT append(ARRAY[%s]::uuid[], ARRAY[1]::bigint[],"
                " ARRAY['RecordIngested'], ARRAY[%s]::bytea[])",
                [uuid4(), state],
            )
        run.record("X", 1, "created")
    assert run.result.created == 1
    assert ledger.status().set_aside == 4
    rows = admin.execute("SELECT position, error_code FROM set_aside ORDER BY position").fetchall()
    assert [row[0] for row in rows] == [2, 3, 4, 5]
    assert all(len(row[1]) == 5 for row in rows)


def test_the_bodies_of_calls_are_shown_as_what_they_are(ledger: Ledger, admin: Admin) -> None:
    bodies: list[object] = [{"a": 1}, b'{"a":1', "text", b"\xff\xfe\x00", b"", b"[1e999999]"]
    with ledger.run("t", "s") as run:
        for body in bodies:
            run.api_call(endpoint="e", response=body)
    shown = [row[0] for row in admin.execute("SELECT payload FROM api_payloads ORDER BY id").fetchall()]
    assert shown == [{"a": 1}, '{"a":1', "text", {"base64": "//4A"}, "", "[1e999999]"]


def test_asking_brings_the_read_models_up_to_date(ledger: Ledger, admin: Admin) -> None:
    with ledger.run("t", "s"):
        assert admin.execute("SELECT count(*) FROM data_ingestion_runs").fetchone() == (0,)
        assert ledger.runs.running().count() == 1
