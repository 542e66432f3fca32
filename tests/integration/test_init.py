"""Making a ledger: once, by whoever may, and never over a newer one."""

import threading
from typing import Any

import psycopg
import pytest
from psycopg import sql

import audit_ledger
from audit_ledger.errors import SchemaMismatch, WrongRole
from audit_ledger.store import migrations
from audit_ledger.store.migrations import check, init
from audit_ledger.store.server import SUPERUSER, EmbeddedServer
from audit_ledger.store.sql import projection_files, schema_files

Admin = psycopg.Connection[Any]


def connect(server: EmbeddedServer, database: str, role: str = SUPERUSER) -> Admin:
    return psycopg.connect(server.url(role, database), autocommit=True)


def test_init_makes_a_ledger_and_a_second_finds_nothing_to_do(
    server: EmbeddedServer, empty_database: str
) -> None:
    with connect(server, empty_database) as conn:
        assert any("0001_event_store" in line for line in init(conn, "ledger"))
        assert init(conn, "ledger") == []
        assert check(conn, "ledger").may_write
        assert migrations.current(conn, "ledger")


def test_init_is_safe_when_several_call_it_at_once(server: EmbeddedServer, empty_database: str) -> None:
    done: list[list[str]] = []
    failures: list[BaseException] = []

    def make() -> None:
        try:
            with connect(server, empty_database) as conn:
                done.append(init(conn, "together"))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=make) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(map(bool, done)) == [False] * 5 + [True]


def test_two_ledgers_share_a_database(server: EmbeddedServer, empty_database: str) -> None:
    with connect(server, empty_database) as conn:
        init(conn, "one")
        init(conn, "two")
    url = server.url(SUPERUSER, empty_database)
    with audit_ledger.connect(url, name="one") as one, audit_ledger.connect(url, name="two") as two:
        with one.run("t", "s"):
            pass
        assert one.ledger_id != two.ledger_id
        assert (one.runs.count(), two.runs.count()) == (1, 0)
    with pytest.raises(WrongRole, match="two_reader"):
        audit_ledger.connect(server.url("one_writer", empty_database), name="two")


def test_init_needs_no_superuser(server: EmbeddedServer, empty_database: str) -> None:
    with connect(server, empty_database) as conn:
        conn.execute("DROP ROLE IF EXISTS keeper")
        conn.execute("CREATE ROLE keeper LOGIN CREATEROLE")
        conn.execute(sql.SQL("GRANT CREATE ON DATABASE {} TO keeper").format(sql.Identifier(empty_database)))
    with connect(server, empty_database, "keeper") as conn:
        assert init(conn, "kept")
        assert init(conn, "kept") == []
    with audit_ledger.connect(server.url("kept_writer", empty_database), name="kept") as ledger:
        with ledger.run("t", "s") as run:
            run.ingest("X", 1, {"a": 1})
        assert ledger.runs.successful().count() == 1
    with connect(server, empty_database) as conn:
        conn.execute(
            "DROP OWNED BY"
            " kept_owner, kept_projector, kept_writer, kept_officer, kept_sealer, kept_reader, keeper"
        )
        conn.execute(
            "DROP ROLE"
            " kept_owner, kept_projector, kept_writer, kept_officer, kept_sealer, kept_reader, keeper"
        )


def test_init_by_a_role_that_may_not_says_which_is_needed(
    server: EmbeddedServer, database: str, empty_database: str
) -> None:
    with (
        connect(server, empty_database, "ledger_writer") as conn,
        pytest.raises(WrongRole, match="CREATEROLE"),
    ):
        init(conn, "other")


def test_a_newer_database_is_refused(server: EmbeddedServer, database: str, admin: Admin) -> None:
    admin.execute("INSERT INTO migrations VALUES (9999, '9999_future.sql', 'x', '99')")
    for act in (init, check):
        with pytest.raises(SchemaMismatch, match="newer") as caught:
            act(admin, "ledger")
        assert caught.value.remedy == "upgrade audit-ledger"


def test_an_altered_migration_is_refused(database: str, admin: Admin) -> None:
    admin.execute("UPDATE migrations SET sha256 = 'x' WHERE number = 1")
    with pytest.raises(SchemaMismatch, match="0001_event_store"):
        init(admin, "ledger")


def test_init_gives_a_ledger_from_before_there_were_officers_its_officer(
    server: EmbeddedServer, empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(server, empty_database) as conn:
        with monkeypatch.context() as before:
            before.setattr(migrations, "schema_files", lambda: schema_files()[:6])
            before.setattr(migrations, "projection_files", list)
            init(conn, "elder")
        conn.execute("DROP OWNED BY elder_officer; DROP ROLE elder_officer")
        done = init(conn, "elder")
        assert done[0] == "created role elder_officer"
        assert "ran 0006_erasure.sql" in done
    with audit_ledger.connect(server.url("elder_officer", empty_database), name="elder") as ledger:
        with ledger.run("t", "s") as run:
            run.ingest("X", 1, {"a": 1})
        assert ledger.erase_record("X", 1, by="b", reason="r").bodies


def test_a_read_model_that_is_new_takes_its_turn_among_those_that_are_there(
    server: EmbeddedServer, empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = list(projection_files())
    needed = {name for file in files for name in file.after}
    new = next(file for file in files if file.name not in needed)
    assert new is not files[-1]  # others come after it, whose turns move
    with connect(server, empty_database) as conn:
        with monkeypatch.context() as before:
            before.setattr(
                migrations, "projection_files", lambda: [file for file in files if file is not new]
            )
            init(conn, "ledger")
        assert f"installed read model {new.name}" in init(conn, "ledger")
        turns = conn.execute("SELECT projection, ordinal FROM ledger_read.progress ORDER BY ordinal")
        assert [tuple(turn) for turn in turns] == [(file.name, turn) for turn, file in enumerate(files)]


def test_an_older_database_says_to_init(database: str, admin: Admin) -> None:
    admin.execute("DELETE FROM migrations WHERE number = (SELECT max(number) FROM migrations)")
    with pytest.raises(SchemaMismatch, match="audit-ledger init"):
        check(admin, "ledger")
    assert migrations.current(admin, "ledger") is None


def test_every_table_and_column_has_a_comment(database: str, admin: Admin) -> None:
    bare = admin.execute(
        "SELECT c.relname, a.attname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        "  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum >= 0"
        "    AND NOT a.attisdropped AND (c.relkind = 'r' OR a.attnum = 0)"
        " WHERE n.nspname IN ('ledger', 'ledger_read') AND c.relkind IN ('r', 'v')"
        "   AND col_description(c.oid, a.attnum) IS NULL AND a.attnum > 0"
        " UNION ALL SELECT c.relname, NULL FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname IN ('ledger', 'ledger_read') AND c.relkind IN ('r', 'v')"
        "   AND obj_description(c.oid) IS NULL"
    ).fetchall()
    assert bare == []


def test_every_foreign_key_is_indexed(database: str, admin: Admin) -> None:
    bare = admin.execute(
        "SELECT conrelid::regclass::text, conname FROM pg_constraint k WHERE contype = 'f'"
        "  AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = k.conrelid"
        "        AND (i.indkey::smallint[])[0:array_length(k.conkey, 1) - 1] = k.conkey)"
    ).fetchall()
    assert bare == []


def test_files_are_numbered_and_ordered() -> None:
    assert [int(file.name[:4]) for file in schema_files()] == list(range(len(schema_files())))
    names = [file.name for file in projection_files()]
    for file in projection_files():
        assert all(names.index(before) < names.index(file.name) for before in file.after)
        assert "ddl" in file.blocks
        assert "fold" in file.blocks
