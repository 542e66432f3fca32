"""Read models: another one is one more file; what cannot be folded is set aside; progress is honest."""

import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.rows import dict_row

from audit_ledger import Ledger
from audit_ledger.events import RecordIngested, canonical_json
from audit_ledger.store.migrations import install_projection
from audit_ledger.store.sql import SqlFile, projection_files

Admin = psycopg.Connection[Any]

ONE_MORE = b"""-- Read model: records_by_type. How many records each run touched, by their type.
-- after: data_ingestion_run_records

-- name: ddl
CREATE TABLE records_by_type (
    run_id uuid, record_type text, touches bigint, PRIMARY KEY (run_id, record_type)
);

-- name: fold
INSERT INTO records_by_type AS old (run_id, record_type, touches)
SELECT e.run_id, e.record_type, count(*) FROM record_touched e
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


LOOK_UPS = {"Function Scan", "Index Scan", "Index Only Scan", "Result", "Values Scan"}
"""What may be read on the inner side of a join, which is run once for every row of the outer side."""


def leaves(plan: dict[str, Any]) -> Iterator[str]:
    """What a plan reads from."""
    children = plan.get("Plans", [])
    if not children:
        yield plan["Node Type"]
    for child in children:
        yield from leaves(child)


def joins(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The joins of a plan, at any depth."""
    if plan["Node Type"] in ("Nested Loop", "Hash Join", "Merge Join"):
        yield plan
    for child in plan.get("Plans", []):
        yield from joins(child)


@pytest.mark.parametrize("file", projection_files(), ids=lambda file: file.name)
def test_every_join_of_a_fold_is_a_look_up_even_if_planned_on_empty_vacuumed_tables(
    file: SqlFile, admin: Admin
) -> None:
    """A plan is cached once; a nightly vacuum of a fresh ledger says that its tables are empty."""
    admin.execute("VACUUM ANALYZE")
    row = admin.execute("SELECT proconfig FROM pg_proc WHERE proname = 'fold_next'").fetchone()
    assert row is not None
    for setting in row[0]:
        name, _, value = setting.partition("=")
        admin.execute("SELECT set_config(%s, %s, false)", [name, value])
    for stage in {"fold", "finish"} & file.blocks.keys():
        block = file.blocks[stage].replace(":after", "$1").replace(":upto", "$2")
        for turn, statement in enumerate(re.findall(r"(?:--.*\n)*([^;]+);", block)):
            name = f"{stage}_{turn}"
            admin.execute(f"PREPARE {name} (bigint, bigint) AS {statement}".encode())
            explained = admin.execute(f"EXPLAIN (FORMAT json) EXECUTE {name} (0, 1)".encode()).fetchone()
            assert explained is not None
            for join in joins(explained[0][0]["Plan"]):
                inner = next(child for child in join["Plans"] if child["Parent Relationship"] == "Inner")
                assert join["Node Type"] == "Nested Loop"
                assert set(leaves(inner)) <= LOOK_UPS, inner


def test_many_events_that_cannot_be_folded_are_set_aside_in_time(ledger: Ledger, admin: Admin) -> None:
    """Their run never started. Each costs about as much as any other: not a search through all after it."""
    with ledger.run("t", "s") as run:
        run.record("X", 1, "created")
    stray = RecordIngested.of(occurred_at=run.started_at, record_type="X", record_id="2").state
    admin.execute(
        "SELECT append(array_agg(%s::uuid), array_agg(n::bigint), array_agg('RecordIngested'::text),"
        " array_agg(%s::bytea)) FROM generate_series(1, 3000) AS g(n)",
        [uuid4(), stray],
    )
    with ledger.run("t", "s") as run:
        run.record("X", 3, "created")
    admin.execute("SET statement_timeout = '60s'")
    ledger.update_read_models()
    assert admin.execute("SELECT count(*) FROM set_aside").fetchall() == [(3000,)]
    assert ledger.touches.count() == 2


@pytest.mark.parametrize("alone", [True, False])
def test_an_anomaly_ends_no_run_whatever_it_calls_itself(ledger: Ledger, admin: Admin, alone: bool) -> None:
    """Whether a range holds events of runs besides must not matter to what is folded from it."""
    with ledger.run("t", "s") as run:
        run.flush()
        ledger.update_read_models()
        _forge_an_end(admin, run.id)
        if not alone:
            with ledger.run("other", "s"):
                pass
        ledger.update_read_models()
        ends = admin.execute(
            "SELECT status FROM data_ingestion_run_ends WHERE status = 'abandoned'"
        ).fetchall()
        assert ends == []


def _forge_an_end(admin: Admin, run_id: UUID) -> None:
    state = canonical_json(
        {
            "alert_id": str(uuid4()),
            "detail": "forged",
            "key": "abandoned",
            "kind": "abandoned",
            "occurred_at": "2026-01-31T08:30:00.000000Z",
            "run_id": str(run_id),
            "v": 1,
        },
        "state",
    )
    admin.execute(
        "SELECT append(ARRAY[%s]::uuid[], ARRAY[1]::bigint[], ARRAY['AnomalyFound'], ARRAY[%s]::bytea[])",
        [uuid4(), state],
    )
