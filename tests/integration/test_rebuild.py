"""Rebuild: the read models become what the events say; nothing else is touched, nobody sees a half of it."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

import audit_ledger
from audit_ledger import Ledger
from audit_ledger.errors import InvalidValue, LedgerBusy, WrongRole
from audit_ledger.settings import load
from audit_ledger.store import rebuild
from audit_ledger.store.rebuild import Rebuilt
from audit_ledger.store.sql import SqlFile, folder, projection_files
from tests.everything import tell_everything
from tests.store import InThread

Admin = psycopg.Connection[Any]
Rebuild = Callable[..., Rebuilt]

LIVE = "-c search_path=ledger_read,ledger"
TABLES = [table for file in projection_files() for table in file.tables]


@pytest.fixture
def told(ledger: Ledger, officer: Ledger, admin: Admin) -> Ledger:
    """A ledger that holds something of everything."""
    tell_everything(ledger, officer, admin)
    return ledger


@pytest.fixture
def rebuilt(admin_url: str, admin: Admin) -> Iterator[Rebuild]:
    """Rebuild as the administrator; nothing of it may be left behind."""
    yield lambda only=None, **other: rebuild.rebuild(admin_url, load(url=admin_url), only, **other)
    assert not admin.execute("SELECT FROM pg_namespace WHERE nspname = 'ledger_rebuild'").fetchall()


def physical(admin: Admin) -> dict[str, list[Any]]:
    """Every row with where it is and which transaction wrote it."""
    return {
        table: admin.execute(
            sql.SQL("SELECT t.ctid::text, t.xmin::text, t.* FROM {} t ORDER BY 1").format(
                sql.Identifier(table)
            )
        ).fetchall()
        for table in [*TABLES, "set_aside", "progress"]
    }


def touched(done: Rebuilt) -> dict[str, tuple[int, int, int]]:
    """The tables that were changed."""
    every = {one.table: (one.inserted, one.updated, one.deleted) for one in done.changes}
    return {table: counts for table, counts in every.items() if any(counts)}


def test_where_nothing_changed_no_row_is_touched(told: Ledger, admin: Admin, rebuilt: Rebuild) -> None:
    before = physical(admin)
    done = rebuilt()
    assert [one.table for one in done.changes] == [*TABLES, "set_aside"]
    assert touched(done) == {}
    assert (done.position, done.resumed_at, done.swapped) == (told.status().position, 0, False)
    assert physical(admin) == before


def test_of_an_empty_ledger_nothing_is_rebuilt(ledger: Ledger, rebuilt: Rebuild) -> None:
    assert touched(rebuilt()) == {}


def test_planted_damage_is_mended_and_nothing_else_is_touched(
    told: Ledger, admin: Admin, rebuilt: Rebuild
) -> None:
    before = physical(admin)
    for statement in (
        "UPDATE data_ingestion_runs SET records_created = 99 WHERE id = 1",
        "DELETE FROM decision_inputs WHERE ordinal = 2",
        "INSERT INTO corrections VALUES (9, 1, 'Eve', 'because', NULL, now(), now())",
        "DELETE FROM record_versions WHERE id IN (2, 3)",
        "UPDATE data_ingestion_run_record_changes SET operation = 'withdrawn'",
        "DELETE FROM set_aside",
    ):
        admin.execute(statement.encode())
    done = rebuilt()
    assert not done.swapped
    assert touched(done) == {
        "data_ingestion_runs": (0, 1, 0),
        "decision_inputs": (1, 0, 0),
        "corrections": (0, 0, 1),
        "record_versions": (2, 0, 0),
        "data_ingestion_run_record_changes": (0, 1, 0),
        "set_aside": (3, 0, 0),
    }
    assert told.verify_live().same
    after = physical(admin)
    untouched = set(TABLES) - touched(done).keys()
    assert {table: after[table] for table in untouched} == {table: before[table] for table in untouched}
    assert len(set(after["record_versions"]) - set(before["record_versions"])) == 2


def test_one_read_model_is_rebuilt_by_itself(told: Ledger, admin: Admin, rebuilt: Rebuild) -> None:
    admin.execute("DELETE FROM decision_inputs; DELETE FROM corrections")
    assert touched(rebuilt("decisions")) == {"decision_inputs": (2, 0, 0)}
    assert admin.execute("SELECT count(*) FROM corrections").fetchone() == (0,)
    assert touched(rebuilt("corrections")) == {"corrections": (1, 0, 0)}
    with pytest.raises(InvalidValue, match="data_ingestion_run_records"):
        rebuilt("records")


def test_what_was_set_aside_wrongly_is_folded_into_all_whichever_is_asked_for(
    told: Ledger, admin: Admin, rebuilt: Rebuild
) -> None:
    admin.execute(
        "DELETE FROM record_versions WHERE id = 9; DELETE FROM data_ingestion_run_records WHERE id = 9;"
        "INSERT INTO set_aside VALUES (9, '22023', 'planted')"
    )
    assert touched(rebuilt("corrections")) == {
        "data_ingestion_run_records": (1, 0, 0),
        "record_versions": (1, 0, 0),
        "set_aside": (0, 0, 1),
    }
    assert told.verify_live().same


def test_damage_that_cannot_be_mended_row_by_row_is_mended_by_replacing_the_tables(
    told: Ledger, admin: Admin, rebuilt: Rebuild
) -> None:
    """The runs have exchanged their ids: neither can have its own before the other lets go."""
    (one, other, _) = admin.execute("SELECT run_id FROM data_ingestion_runs ORDER BY id").fetchall()
    statement = "UPDATE data_ingestion_runs SET run_id = %s WHERE id = %s"
    admin.execute(statement, ["00000000-0000-0000-0000-000000000000", 1])
    admin.execute(statement, [one[0], 18])
    admin.execute(statement, [other[0], 1])
    assert rebuilt().swapped
    assert told.verify_live().same


def test_writers_and_readers_go_on_and_no_reader_sees_a_half(
    ledger: Ledger, url: str, reader_url: str, admin: Admin, rebuilt: Rebuild
) -> None:
    with ledger.run("t", "s") as run:
        run.ingest_many("X", {number: {"n": number} for number in range(3000)})
        for _ in range(300):
            run.api_call(endpoint="e")
    admin.execute("DELETE FROM record_versions; DELETE FROM api_call_logs")
    done = threading.Event()
    seen: set[tuple[bool, bool]] = set()

    def write() -> int:
        runs = 0
        with audit_ledger.connect(url) as mine:
            while not done.is_set():
                with mine.run("t", "s") as run:
                    run.ingest_many("Y", {number: {"n": runs} for number in range(50)})
                runs += 1
        return runs

    def read() -> None:
        with psycopg.connect(reader_url, options=LIVE, autocommit=True) as conn:
            while not done.is_set():
                row = conn.execute(
                    "SELECT EXISTS (SELECT FROM record_versions WHERE record_type = 'X'),"
                    " EXISTS (SELECT FROM api_call_logs)"
                ).fetchone()
                assert row is not None
                seen.add(row)

    threads = [InThread(write), InThread(read), InThread(read)]
    try:
        for _ in range(3):
            assert not rebuilt().swapped
            assert ledger.verify_live(2).same
    finally:
        done.set()
        results = [thread.result() for thread in threads]
    assert seen <= {(False, False), (True, True)}
    assert results[0] > 0
    ledger.update_read_models()
    assert ledger.verify_live().same
    assert ledger.runs.with_status("completed").count() == results[0] + 1


CHILD = """
import sys, time
from audit_ledger.settings import load
from audit_ledger.store import copies, rebuild
copies.CHUNK = rebuild.CHUNK = 100
def tell(position, upto):
    if position >= 500:
        print(position, flush=True)
        time.sleep(0.02)
rebuild.rebuild(sys.argv[1], load(url=sys.argv[1]), tell=tell)
"""


def interrupted(admin_url: str) -> int:
    """Rebuild in another process, which is killed in the middle; returns a position that it had reached."""
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, admin_url], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        reached = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
    return reached


def test_a_rebuild_that_was_killed_goes_on_where_it_stopped(
    ledger: Ledger, admin: Admin, admin_url: str, rebuilt: Rebuild
) -> None:
    with ledger.run("t", "s") as run:
        run.ingest_many("X", {number: {"n": number} for number in range(3000)})
    before = physical(admin)
    reached = interrupted(admin_url)
    assert physical(admin) == before
    told: list[int] = []
    done = rebuilt(tell=lambda position, _: told.append(position))
    assert reached <= done.resumed_at < done.position == 3002
    assert min(told) >= done.resumed_at
    assert touched(done) == {}
    assert physical(admin) == before


def test_a_rebuild_that_was_killed_starts_over_where_a_file_changed_meanwhile(
    ledger: Ledger, admin: Admin, admin_url: str, rebuilt: Rebuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ledger.run("t", "s") as run:
        run.ingest_many("X", {number: {"n": number} for number in range(3000)})
    interrupted(admin_url)
    change(monkeypatch, "corrections", "-- name: fold\n", "-- name: fold\n-- Another one.\n")
    assert rebuilt().resumed_at == 0


def test_two_rebuilds_at_once_are_refused(ledger: Ledger, admin_url: str, admin: Admin) -> None:
    with admin.transaction():
        admin.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", ["audit-ledger rebuild ledger"]
        )
        with pytest.raises(LedgerBusy, match="rebuilds"):
            rebuild.rebuild(admin_url, load(url=admin_url, lock_timeout=0.1))


def test_who_is_no_administrator_is_refused(url: str, reader_url: str, ledger: Ledger) -> None:
    for place in (url, reader_url):
        with pytest.raises(WrongRole, match="administrator"):
            rebuild.rebuild(place, load(url=place))


def test_an_administrator_need_not_be_a_superuser(
    told: Ledger, admin: Admin, admin_url: str, database: str, rebuilt: Rebuild
) -> None:
    role = f"dba_{database}"
    admin.execute(f"CREATE ROLE {role} LOGIN; GRANT ledger_projector, ledger_reader TO {role}".encode())
    admin.execute(f"GRANT CREATE ON DATABASE {database} TO {role}".encode())
    admin.execute("DELETE FROM corrections")
    try:
        with psycopg.connect(admin_url) as conn:
            place = f"postgresql:///{database}?host={conn.info.host}&port={conn.info.port}&user={role}"
        done = rebuild.rebuild(place, load(url=place))
        assert touched(done) == {"corrections": (1, 0, 0)}
    finally:
        admin.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())


def change(monkeypatch: pytest.MonkeyPatch, name: str, *replacements: str) -> SqlFile:
    """Let the software have another file of that projection."""
    text = (folder("projections") / f"{name}.sql").read_text()
    for old, new in zip(replacements[::2], replacements[1::2], strict=True):
        assert old in text
        text = text.replace(old, new)
    other = SqlFile.parse(f"{name}.sql", text.encode())
    files = [other if file.name == name else file for file in projection_files()]
    for module in ("copies", "rebuild"):
        monkeypatch.setattr(f"audit_ledger.store.{module}.projection_files", lambda: files)
    monkeypatch.setattr("audit_ledger.reading.status.projection_files", lambda: files)
    return other


def changed(ledger: Ledger) -> list[str]:
    return [model.projection for model in ledger.status().read_models if model.changed]


def test_a_changed_fold_is_taken_over(
    told: Ledger, admin: Admin, rebuilt: Rebuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(monkeypatch, "api_call_logs", "       c.endpoint,", "       upper(c.endpoint),")
    assert changed(told) == ["api_call_logs"]
    assert not told.verify_live().same
    done = rebuilt()
    assert (touched(done), done.swapped) == ({"api_call_logs": (0, 2, 0)}, False)
    assert changed(told) == []
    with told.run("t", "s") as run:
        run.api_call(endpoint="later")
    assert {row[0] for row in admin.execute("SELECT endpoint FROM api_call_logs").fetchall()} == {
        "E",
        "LATER",
    }
    assert told.verify_live().same


def test_a_changed_view_is_taken_over(
    told: Ledger, reader_url: str, rebuilt: Rebuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = """v.content AS commitment
"""
    change(monkeypatch, "data_ingestion_run_records", old, "v.content AS commitment, 1 AS another\n")
    assert touched(rebuilt()) == {}
    assert changed(told) == []
    with psycopg.connect(reader_url, options=LIVE) as conn:
        assert conn.execute("SELECT DISTINCT another FROM records").fetchall() == [(1,)]
        conn.execute("SET audit_ledger.as_of = '5'")
        assert conn.execute("SELECT DISTINCT another FROM as_of.records").fetchall() == [(1,)]


def test_a_changed_table_takes_the_place_of_the_old_one(
    told: Ledger,
    officer: Ledger,
    reader_url: str,
    admin: Admin,
    rebuilt: Rebuild,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    change(
        monkeypatch,
        "data_ingestion_runs",
        "    updated_at      timestamptz",
        "    task_length     integer,\n    updated_at      timestamptz",
        "source, created_at, updated_at)",
        "source, created_at, task_length, updated_at)",
        "s.recorded_at, s.recorded_at\n",
        "s.recorded_at, length(s.task), s.recorded_at\n",
        "       r.created_at,\n",
        "       r.created_at, r.task_length,\n",
    )
    before = {table: admin.execute(f"SELECT count(*) FROM {table}".encode()).fetchone() for table in TABLES}
    done = rebuilt()
    assert done.swapped
    assert changed(told) == []
    after = {table: admin.execute(f"SELECT count(*) FROM {table}".encode()).fetchone() for table in TABLES}
    assert after == before
    with told.run("longer", "s") as run:
        run.ingest("X", 1, {"n": "new"})
        run.api_call(endpoint="e", response={"a": 2})
    assert told.verify_live().same
    with psycopg.connect(reader_url, options=LIVE) as conn:
        lengths = conn.execute("SELECT task_length FROM data_ingestion_runs ORDER BY id").fetchall()
        assert lengths == [(1,), (1,), (1,), (6,)]
        assert conn.execute("SELECT count(*) FROM api_payloads WHERE payload IS NOT NULL").fetchone() == (4,)
        conn.execute("SET audit_ledger.as_of = '5'")
        assert conn.execute("SELECT task_length, status FROM as_of.data_ingestion_runs").fetchall() == [
            (1, "running")
        ]
        assert conn.execute("SELECT count(*) FROM as_of.records").fetchone() == (4,)
    officer.set_retention(0, reason="over", by="Ann")
    officer.erase_record("X", 5, reason="asked for", by="Ann")
    assert told.verify_live().same
    # Foreign keys, owners and comments are those of the files.
    assert not rebuilt().swapped
    keys = "SELECT count(*) FROM pg_constraint WHERE confrelid = 'data_ingestion_runs'::regclass"
    assert admin.execute(keys.encode()).fetchone() == (5,)
    with audit_ledger.connect(reader_url) as reader:
        assert reader.runs.count() == 4


def test_a_ledger_in_use_is_given_way_to(
    told: Ledger, reader_url: str, rebuilt: Rebuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader's open transaction keeps tables from being replaced; the rebuild waits for it, in turns."""
    change(
        monkeypatch,
        "corrections",
        "    created_at  timestamptz NOT NULL",
        "    more integer,\n    created_at timestamptz NOT NULL",
    )
    with psycopg.connect(reader_url, options=LIVE) as conn:
        conn.execute("SELECT count(*) FROM corrections")
        rebuilding = InThread(rebuilt)
        for _ in range(20):
            conn.execute("SELECT count(*) FROM record_versions, pg_sleep(0.1)")
        conn.commit()
        assert rebuilding.result().swapped
