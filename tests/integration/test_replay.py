"""The replay is what live tables and views as of an instant are held against; it leaves nothing behind."""

import json
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

import audit_ledger
from audit_ledger import Ledger
from audit_ledger.errors import BeforeBeginning, InvalidValue, LedgerError, WrongRole
from audit_ledger.evidence.whole import LogVerified
from audit_ledger.store.comparison import Verified
from tests.everything import tell_everything

Admin = psycopg.Connection[Any]


@pytest.fixture
def told(ledger: Ledger, officer: Ledger, admin: Admin) -> Ledger:
    """A ledger that holds something of everything."""
    tell_everything(ledger, officer, admin)
    return ledger


def rows(conn: Admin, table: str) -> list[dict[str, Any]]:
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(f"SELECT * FROM {table} ORDER BY 1".encode()).fetchall()


def test_the_replay_has_what_the_live_tables_and_the_views_as_of_every_position_have(
    told: Ledger, admin: Admin
) -> None:
    head = told.status().position
    for position in range(1, head + 1):
        admin.execute("SELECT set_config('audit_ledger.as_of', %s, false)", [str(position)])
        with told.replay(position) as replay:
            assert replay.header.position == position
            for table in replay.tables:
                assert [*replay.rows(table)] == rows(admin, f"as_of.{table}"), (position, table)
                if position == head:
                    assert [*replay.rows(table)] == rows(admin, f"ledger_read.{table}"), table
                    assert replay.count(table) > 0, table


def test_a_reader_can_replay_and_verify(told: Ledger, reader_url: str) -> None:
    with audit_ledger.connect(reader_url) as reader, reader.replay(told.status().position) as replay:
        assert replay.count("data_ingestion_runs") == 3
        assert reader.verify_live().same


def test_nothing_is_left_behind(told: Ledger, admin: Admin) -> None:
    everything = (
        "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relkind IN ('r', 'v', 'i') AND n.nspname NOT LIKE 'pg_toast%%'"
        " UNION ALL SELECT n.nspname, p.proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
        " ORDER BY 1, 2"
    )
    before = admin.execute(everything).fetchall()
    with told.replay(5) as replay:
        process = replay._folded.conn.info.backend_pid
        assert admin.execute(everything).fetchall() != before
    with pytest.raises(LedgerError, match="not open"):
        replay.count("data_ingestion_runs")
    for _ in range(100):  # a backend cleans up once its client is gone
        if not admin.execute("SELECT FROM pg_stat_activity WHERE pid = %s", [process]).fetchall():
            break
        time.sleep(0.05)
    assert admin.execute(everything).fetchall() == before


def test_rows_are_exported_as_csv_and_as_json(told: Ledger) -> None:
    with told.replay(told.status().position) as replay:
        csv = b"".join(replay.export("record_versions", "csv")).decode()
        assert csv.startswith("id,record_type,record_id,")
        assert len(csv.splitlines()) == replay.count("record_versions") + 1
        lines = b"".join(replay.export("corrections", "json")).splitlines()
        assert json.loads(lines[0])["values"] == {"source": "other"}
        with pytest.raises(InvalidValue, match="csv or json"):
            [*replay.export("corrections", "xml")]
        with pytest.raises(InvalidValue, match="data_ingestion_runs"):
            replay.count("bodies")


def test_a_replay_of_no_instant_is_refused_before_it_begins(ledger: Ledger) -> None:
    with pytest.raises(BeforeBeginning):
        ledger.replay("2025-12-24 09:00 UTC")
    with pytest.raises(InvalidValue, match="time zone"):
        ledger.replay("2025-12-24 09:00")


def test_who_may_make_no_temporary_table_is_told_what_to_do(
    told: Ledger, admin: Admin, database: str
) -> None:
    admin.execute(f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC".encode())
    with pytest.raises(WrongRole, match="GRANT TEMPORARY"), told.replay(1):
        pass


def test_progress_is_told(told: Ledger) -> None:
    told_of: list[tuple[int, int]] = []
    with told.replay(7, tell=lambda now, upto: told_of.append((now, upto))):
        pass
    assert told_of == [(7, 7)]


def test_verify_live_finds_nothing_where_all_is_well(told: Ledger) -> None:
    whole = told.verify_live(points=7)
    found = whole.read_models
    assert whole.same, [str(difference) for difference in (*found.differences, *whole.log.faults)]
    assert found.position == told.status().position
    assert len(found.points) == 7
    assert found.points[-1] == found.position
    assert {"record_versions", "decisions", "corrections", "body_erasures"} <= set(found.tables)


def test_verify_live_of_an_empty_ledger_finds_nothing(ledger: Ledger) -> None:
    found = ledger.verify_live()
    assert found.read_models == Verified(0, [], found.read_models.tables, 0, {}, [])
    assert found.log == LogVerified(0, 0, None, 0, 0, 0, 0, 0, 0, 0, 0, 0, {}, [])


PLANTED: dict[str, tuple[str, Callable[[Verified], bool]]] = {
    "a changed row": (
        "UPDATE data_ingestion_runs SET records_created = 99 WHERE id = 1",
        lambda found: any(
            (one.table, one.id, one.column, one.replayed, one.there)
            == ("ledger_read.data_ingestion_runs", "1", "records_created", 10, 99)
            for one in found.differences
        ),
    ),
    "a row that is gone": (
        "DELETE FROM decision_inputs WHERE ordinal = 2",
        lambda found: any(
            one.table == "ledger_read.decision_inputs" and one.column is None and one.there is None
            for one in found.differences
        ),
    ),
    "a row too many": (
        "INSERT INTO corrections VALUES (9, 1, 'Eve', 'because', NULL, now(), now())",
        lambda found: any(
            one.table == "ledger_read.corrections" and one.id == "9" and one.replayed is None
            for one in found.differences
        ),
    ),
    "a row that only the past shows": (
        "UPDATE data_ingestion_run_record_changes SET operation = 'withdrawn' WHERE operation = 'skipped'",
        lambda found: (
            {"as_of.data_ingestion_run_records", "ledger_read.data_ingestion_run_record_changes"}
            <= found.differing.keys()
        ),
    ),
    "a JSON that is equal, but not the same": (
        """UPDATE corrections SET "values" = '{"source": "other", "n": 1.0}'""",
        lambda found: found.differing.get("ledger_read.corrections") == 1,
    ),
    "an event that was not set aside": (
        "INSERT INTO set_aside VALUES (2, '22023', 'planted')",
        lambda found: found.differing == {"ledger_read.set_aside": 1},
    ),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_verify_live_names_what_was_planted(told: Ledger, admin: Admin, planted: str) -> None:
    statement, names_it = PLANTED[planted]
    admin.execute(statement.encode())
    found = told.verify_live(points=told.status().position).read_models
    assert not found.same
    assert names_it(found), [str(difference) for difference in found.differences]


def test_verify_live_names_twenty_and_says_how_many_there_are(ledger: Ledger, admin: Admin) -> None:
    with ledger.run("t", "s") as run:
        run.ingest_many("X", {number: {} for number in range(50)})
    admin.execute("UPDATE record_versions SET record_type = 'Z'")
    found = ledger.verify_live(points=0).read_models
    assert found.differing == {"ledger_read.record_versions": 50}
    assert len(found.differences) == 20
