"""The guards: what the database refuses, whoever connects and however they try."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import psycopg
import pytest
from eventsourcing.persistence import StoredEvent
from psycopg import sql

import audit_ledger
from audit_ledger.errors import AppendRefused, WrongRole
from audit_ledger.events import RunStarted
from audit_ledger.store import bodies, packing, projections
from audit_ledger.store.refusals import translated
from tests.conftest import administer
from tests.store import InThread, events, head, log, recorder_at, until, waiting

Connection = psycopg.Connection[Any]

ROLES = [
    "ledger_writer",
    "ledger_officer",
    "ledger_sealer",
    "ledger_reader",
    "ledger_projector",
    "ledger_owner",
    "postgres",
]
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
NO_PRIVILEGE = "42501"


@pytest.fixture
def act_as(admin_url: str) -> Iterator[Callable[[str], Connection]]:
    """Connections of the superuser, acting as some role."""
    made: list[Connection] = []

    def connect(role: str) -> Connection:
        conn = psycopg.connect(admin_url, autocommit=True, options="-c search_path=ledger_read,ledger")
        made.append(conn)
        conn.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
        return conn

    yield connect
    for conn in made:
        conn.close()


@pytest.fixture
def writer(url: str) -> Iterator[Connection]:
    """The writer, as they would connect with psql."""
    with psycopg.connect(url, autocommit=True) as conn:
        yield conn


@pytest.fixture
def reader(reader_url: str) -> Iterator[Connection]:
    with psycopg.connect(reader_url, autocommit=True) as conn:
        yield conn


def sqlstate(conn: Connection, statement: str, *params: Any) -> str | None:
    """What a statement is refused with; None when it is not."""
    try:
        conn.execute(statement, params)
    except psycopg.Error as error:
        return error.sqlstate
    return None


APPEND = "SELECT ledger.append(ARRAY[%s::uuid], ARRAY[1], ARRAY['Noted'], ARRAY['{}'::bytea])"


class TestChange:
    """The log, its head and its origin are never changed."""

    CHANGES = (
        "UPDATE ledger.events SET type = 'Other'",
        "UPDATE ledger.events SET position = position WHERE false",
        "DELETE FROM ledger.events",
        "TRUNCATE ledger.events",
        "TRUNCATE ledger.events CASCADE",
        "INSERT INTO ledger.events SELECT * FROM ledger.events"
        "    ON CONFLICT (position) DO UPDATE SET type = 'Other'",
        "MERGE INTO ledger.events e USING ledger.events o ON o.position = e.position"
        "    WHEN MATCHED THEN DELETE",
        "MERGE INTO ledger.events e USING ledger.events o ON o.position = e.position"
        "    WHEN MATCHED THEN UPDATE SET type = 'Other'",
        "UPDATE ledger_read.stored_events SET topic = 'Other'",
        "DELETE FROM ledger_read.stored_events",
        "UPDATE ledger.head SET position = 7",
        "UPDATE ledger.head SET recorded_at = recorded_at",
        "DELETE FROM ledger.head",
        "TRUNCATE ledger.head",
        "INSERT INTO ledger.head (position, recorded_at) VALUES (7, now())",
        "INSERT INTO ledger.head (position, recorded_at) VALUES (7, now())"
        "    ON CONFLICT (one_row) DO UPDATE SET position = 7",
        "UPDATE ledger.head SET refuses = false",
        "UPDATE ledger.origins SET id = gen_random_uuid()",
        "DELETE FROM ledger.origins",
        "TRUNCATE ledger.origins",
        "INSERT INTO ledger.origins (number, after_position) VALUES (2, 0)",
        "INSERT INTO ledger.origins (number, after_position) VALUES (1, 0) ON CONFLICT DO NOTHING",
        "DELETE FROM ledger.anchors",
        "UPDATE ledger.anchors SET size = 1",
        "TRUNCATE ledger.refusals",
        "UPDATE ledger.closed_checkpoints SET size = 1",
        "DELETE FROM ledger.closed_tiles",
    )

    @pytest.mark.parametrize("role", ROLES)
    def test_every_change_is_refused_to(
        self, role: str, act_as: Callable[[str], Connection], admin: Connection
    ) -> None:
        admin.execute(APPEND, [uuid4()])
        tables = ("events", "head", "origins")
        before = [admin.execute(f"SELECT * FROM ledger.{table}").fetchall() for table in tables]
        conn = act_as(role)
        refusals = {statement: sqlstate(conn, statement) for statement in self.CHANGES}
        allowed = {"AL001"} if role == "postgres" else {"AL001", NO_PRIVILEGE}
        if role == "postgres":  # the view is its owner's, who may not even try
            allowed.add(NO_PRIVILEGE)
        assert {s: code for s, code in refusals.items() if code not in allowed} == {}
        assert [admin.execute(f"SELECT * FROM ledger.{table}").fetchall() for table in tables] == before

    @pytest.mark.parametrize("role", ["ledger_owner", "postgres"])
    def test_who_has_every_privilege_is_stopped_by_the_triggers(
        self, role: str, act_as: Callable[[str], Connection]
    ) -> None:
        conn = act_as(role)
        for statement in self.CHANGES:
            if "stored_events" not in statement:
                assert sqlstate(conn, statement) == "AL001", statement

    def test_an_empty_log_is_guarded_too(self, admin: Connection) -> None:
        for statement in ("DELETE FROM ledger.events", "TRUNCATE ledger.events"):
            assert sqlstate(admin, statement) == "AL001"

    def test_replication_mode_does_not_switch_the_guards_off(self, admin: Connection) -> None:
        admin.execute(APPEND, [uuid4()])
        admin.execute("SET session_replication_role = replica")
        for statement in self.CHANGES:
            assert sqlstate(admin, statement) in {"AL001", NO_PRIVILEGE}, statement
        assert sqlstate(admin, FORGE, *forged(admin, position=9)[0]) == "AL002"
        assert sqlstate(admin, FORGE, *forged(admin, recorded_by="eve")[0]) == "AL003"
        assert sqlstate(admin, FORGE, *forged(admin, recorded_at=LONG_AGO)[0]) == "AL004"
        assert head(admin) == 1

    def test_the_refusal_says_what_to_do(self, admin: Connection) -> None:
        with pytest.raises(psycopg.Error, match=r"DELETE of ledger\.events is refused") as refused:
            admin.execute("DELETE FROM ledger.events")
        assert refused.value.diag.message_hint


class Row(NamedTuple):
    """An event as somebody offers it."""

    position: int
    recorded_at: datetime
    recorded_by: str
    stream_id: UUID
    version: int = 1
    type: str = "Noted"
    state: bytes = b"{}"


FORGE = f"INSERT INTO ledger.events ({', '.join(packing.COLUMNS)}) VALUES (%s, %s, %s, %s, %s, %s, %s)"


def forged(conn: Connection, count: int = 1, **changes: Any) -> list[Row]:
    """Rows that would be right, but for the changes made to the last."""
    row = conn.execute(
        "SELECT position, greatest(clock_timestamp(), recorded_at), session_user FROM ledger.head"
    ).fetchone()
    assert row is not None
    last, now, user = row
    rows = [Row(last + n, now, user, uuid4()) for n in range(1, count + 1)]
    return [*rows[:-1], rows[-1]._replace(**changes)]


def by_insert(conn: Connection, rows: list[Row]) -> None:
    with conn.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO ledger.events ({', '.join(packing.COLUMNS)}) SELECT * FROM unnest("
            "%s::bigint[], %s::timestamptz[], %s::text[], %s::uuid[], %s::bigint[], %s::text[], %s::bytea[])",
            [list(column) for column in zip(*rows, strict=True)],
        )


def by_copy(conn: Connection, rows: list[Row]) -> None:
    copying = f"COPY ledger.events ({', '.join(packing.COLUMNS)}) FROM STDIN"
    with conn.cursor().copy(copying) as copy:
        for row in rows:
            copy.write_row(row)


def by_binary_copy(conn: Connection, rows: list[Row]) -> None:
    copying = f"COPY ledger.events ({', '.join(packing.COLUMNS)}) FROM STDIN (FORMAT binary)"
    with conn.cursor().copy(copying) as copy:
        copy.write(packing.SIGNATURE)
        for row in rows:
            event = StoredEvent(row.stream_id, row.version, row.type, row.state)
            copy.write(packing.pack_rows([event], row.position, row.recorded_at, row.recorded_by))
        copy.write(packing.TRAILER)


WAYS = pytest.mark.parametrize("way", [by_insert, by_copy, by_binary_copy])
Way = Callable[[Connection, list[Row]], None]


def refusal(conn: Connection, way: Way, rows: list[Row]) -> str | None:
    """The SQLSTATE that rows are refused with; None when they are taken."""
    try:
        way(conn, rows)
    except psycopg.Error as error:
        return error.sqlstate
    return None


class TestForgery:
    """What does not follow from the head is refused, by INSERT and by COPY."""

    @pytest.fixture(params=["ledger_writer", "postgres"])
    def forger(self, request: pytest.FixtureRequest, url: str, admin_url: str) -> Iterator[Connection]:
        """Somebody who may insert, in a ledger that has three events."""
        with recorder_at(url) as recorder:
            recorder.insert_events(events(uuid4(), 3))
        place = url if request.param == "ledger_writer" else admin_url
        with psycopg.connect(place, autocommit=True) as conn:
            yield conn

    @WAYS
    def test_what_follows_from_the_head_is_taken(self, forger: Connection, way: Way) -> None:
        for count in [1, 3, 50]:
            assert refusal(forger, way, forged(forger, count)) is None
        assert refusal(forger, way, forged(forger, 3)[::-1]) is None  # order within a batch is free
        assert head(forger) == 60

    @WAYS
    def test_a_forged_position_is_refused(self, forger: Connection, way: Way) -> None:
        gap, twice, taken, not_positive, later = "AL002", "23505", "23505", "23514", "AL002"
        assert refusal(forger, way, forged(forger, 1, position=5)) == gap
        assert refusal(forger, way, forged(forger, 3, position=7)) == gap
        assert refusal(forger, way, forged(forger, 40, position=44)) == gap
        assert refusal(forger, way, forged(forger, 3, position=4)) == twice
        assert refusal(forger, way, forged(forger, 1, position=2)) == taken
        assert refusal(forger, way, forged(forger, 3, position=3)) == taken
        assert refusal(forger, way, forged(forger, 1, position=0)) == not_positive
        assert refusal(forger, way, forged(forger, 3, position=-1)) == not_positive
        assert refusal(forger, way, forged(forger, 1, position=2**63 - 1)) == later
        assert head(forger) == 3

    @WAYS
    def test_a_forged_role_is_refused(self, forger: Connection, way: Way) -> None:
        for other in ["eve", "", "ledger_reader", "POSTGRES", "zoe"]:
            for count in [1, 3]:
                assert refusal(forger, way, forged(forger, count, recorded_by=other)) == "AL003"
        assert head(forger) == 3

    @WAYS
    def test_a_forged_time_is_refused(self, forger: Connection, way: Way) -> None:
        now = datetime.now(UTC)
        (last,) = forger.execute("SELECT recorded_at FROM ledger.head").fetchall()[0]
        for other in [
            *[
                now - timedelta(seconds=11),
                now - timedelta(hours=1),
                LONG_AGO,
                datetime.min.replace(tzinfo=UTC),
            ],
            *[now + timedelta(seconds=60), now + timedelta(days=1), datetime.max.replace(tzinfo=UTC)],
            last - timedelta(microseconds=1),
        ]:
            for count in [1, 3]:
                assert refusal(forger, way, forged(forger, count, recorded_at=other)) == "AL004", other
        two_values = forged(forger, 2)
        two_values[1] = two_values[1]._replace(
            recorded_at=two_values[0].recorded_at - timedelta(microseconds=1)
        )
        assert refusal(forger, way, two_values) == "AL004"
        assert head(forger) == 3

    def test_times_without_end_are_refused(self, forger: Connection) -> None:
        for time in ["infinity", "-infinity"]:
            statement = FORGE.replace("VALUES (%s, %s", "VALUES (%s, %s::timestamptz")
            (row,) = forged(forger)
            assert sqlstate(forger, statement, row.position, time, *row[2:]) == "AL004"

    def test_nothing_may_be_left_out(self, forger: Connection) -> None:
        for column in packing.COLUMNS:
            nothing: dict[str, Any] = {column: None}
            assert sqlstate(forger, FORGE, *forged(forger, **nothing)[0]) == "23502", column

    def test_a_refusal_undoes_the_transaction(self, forger: Connection) -> None:
        with pytest.raises(psycopg.Error, match="without a gap"), forger.transaction():
            by_insert(forger, forged(forger, 2))
            by_copy(forger, forged(forger, 30))
            by_insert(forger, forged(forger, position=99))
        assert head(forger) == 3

    def test_batches_of_one_transaction_follow_each_other(self, forger: Connection) -> None:
        with forger.transaction():
            for way in (by_insert, by_copy, by_binary_copy):
                way(forger, forged(forger, 30))
        assert [row[0] for row in log(forger)] == list(range(1, 94))

    def test_what_is_undone_leaves_no_gap(self, forger: Connection) -> None:
        with forger.transaction():
            by_insert(forger, forged(forger, 2))
            with forger.transaction(force_rollback=True):
                by_copy(forger, forged(forger, 30))
            by_insert(forger, forged(forger, 2))
        with forger.transaction(force_rollback=True):
            by_copy(forger, forged(forger, 30))
        by_insert(forger, forged(forger, 1))
        assert [row[0] for row in log(forger)] == list(range(1, 9))

    def test_rows_left_out_as_conflicting_leave_no_gap(self, forger: Connection) -> None:
        rows = forged(forger, 3)
        rows[1] = rows[1]._replace(stream_id=log(forger)[0][3])  # version 1 of it is there
        values = "(%s, %s, %s, %s, %s, %s, %s)"
        inserting = FORGE.replace(values, f"{values}, {values}, {values}")
        params = [value for row in rows for value in row]
        assert sqlstate(forger, f"{inserting} ON CONFLICT DO NOTHING", *params) == "AL002"
        assert head(forger) == 3


class TestOrder:
    def test_an_insert_waits_for_whoever_appends(self, url: str, admin: Connection) -> None:
        with psycopg.connect(url) as first, psycopg.connect(url, autocommit=True) as second:
            by_insert(first, forged(first))
            for way in (by_insert, by_copy, by_binary_copy):
                then = forged(first)  # what will be right once the first has committed
                inserted = InThread(partial(way, second, then))
                until(lambda: waiting(admin) == [second.info.backend_pid])
                first.commit()
                inserted.result()
                by_insert(first, forged(first))
            first.commit()
        assert head(admin) == 7

    def test_an_insert_waits_for_the_lock_of_begin_append(self, url: str, admin: Connection) -> None:
        with psycopg.connect(url) as first, psycopg.connect(url, autocommit=True) as second:
            first.execute("SELECT * FROM ledger.begin_append()")
            inserted = InThread(lambda: by_insert(second, forged(second)))
            until(lambda: waiting(admin) == [second.info.backend_pid])
            first.rollback()
            inserted.result()
        assert head(admin) == 1

    @pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
    def test_a_transaction_that_sees_an_old_head_cannot_append(
        self, url: str, admin: Connection, level: str
    ) -> None:
        with psycopg.connect(url) as stale, psycopg.connect(url, autocommit=True) as other:
            stale.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
            stale.execute("SELECT * FROM ledger.head")
            other.execute(APPEND, [uuid4()])
            assert sqlstate(stale, APPEND, uuid4()) in {"23505", "40001"}
            stale.rollback()
            stale.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
            (row,) = forged(stale)
            other.execute(APPEND, [uuid4()])
            assert sqlstate(stale, FORGE, *row) == "23505"
            stale.rollback()
            stale.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
            (row,) = forged(stale)
            other.execute(APPEND, [uuid4()])
            assert sqlstate(stale, FORGE, *row._replace(position=row.position + 1)) == "AL002"
            stale.rollback()
            stale.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
            stale.execute(APPEND, [uuid4()])
            stale.commit()
        assert head(admin) == 4

    def test_append_by_hand_gives_the_first_position(self, writer: Connection, admin: Connection) -> None:
        stream = uuid4()
        assert writer.execute(APPEND, [stream]).fetchall() == [(1,)]
        more = writer.execute(
            "SELECT ledger.append(ARRAY[%s::uuid, %s], ARRAY[2, 3], ARRAY['A', 'B'], ARRAY['1'::bytea, '2'])",
            [stream, stream],
        )
        assert more.fetchall() == [(2,)]
        assert [row[2:] for row in log(admin)] == [
            ("ledger_writer", stream, 1, "Noted", b"{}"),
            ("ledger_writer", stream, 2, "A", b"1"),
            ("ledger_writer", stream, 3, "B", b"2"),
        ]

    def test_arrays_of_different_lengths_are_refused(self, writer: Connection) -> None:
        appending = "SELECT ledger.append(ARRAY[%s::uuid, %s], ARRAY[1], ARRAY['A'], ARRAY['1'::bytea])"
        assert sqlstate(writer, appending, uuid4(), uuid4()) == "23502"
        assert head(writer) == 0


OWN_TABLES = """
    SELECT n.nspname || '.' || c.relname, p.privilege
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     CROSS JOIN unnest('{INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) AS p(privilege)
     WHERE n.nspname IN ('ledger', 'ledger_read') AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
       AND (has_table_privilege(%(role)s, c.oid, p.privilege)
            OR p.privilege IN ('INSERT', 'UPDATE', 'REFERENCES')
               AND has_any_column_privilege(%(role)s, c.oid, p.privilege))
"""
OWN_FUNCTIONS = """
    SELECT p.proname, p.prosecdef, p.provolatile, p.proconfig
      FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
     WHERE n.nspname IN ('ledger', 'ledger_read') AND has_function_privilege(%(role)s, p.oid, 'EXECUTE')
"""


class TestRights:
    @pytest.mark.parametrize("role", ["ledger_writer", "ledger_officer"])
    def test_who_writes_may_insert_events_and_change_no_table_otherwise(
        self, role: str, admin: Connection
    ) -> None:
        rights = admin.execute(OWN_TABLES, {"role": role}).fetchall()
        assert rights == [("ledger.events", "INSERT")]

    @pytest.mark.parametrize("role", ["ledger_reader", "ledger_sealer"])
    def test_who_reads_or_seals_may_change_no_table(self, role: str, admin: Connection) -> None:
        assert admin.execute(OWN_TABLES, {"role": role}).fetchall() == []

    def test_the_projector_may_not_touch_the_log(self, admin: Connection) -> None:
        rights = admin.execute(OWN_TABLES, {"role": "ledger_projector"}).fetchall()
        assert rights
        assert [table for table, _ in rights if table.startswith("ledger.")] == []

    def test_the_reader_may_call_nothing_that_changes_anything(self, admin: Connection) -> None:
        """Folding acts with the rights of whoever calls it: a reader's are those on a copy of its own."""
        functions = admin.execute(OWN_FUNCTIONS, {"role": "ledger_reader"}).fetchall()
        acting = {name for name, definer, volatility, _ in functions if definer or volatility == "v"}
        assert acting == {"fold_next", "fold_range"}

    def test_what_acts_for_others_has_a_fixed_search_path(self, admin: Connection) -> None:
        functions = admin.execute(OWN_FUNCTIONS, {"role": "postgres"}).fetchall()
        acting = {name: config or [] for name, definer, _, config in functions if definer}
        assert set(acting) == {
            "guard_append",
            "put_bodies",
            "forget_body",
            "update_read_models",
            "scan_for_bodies",
            "begin_erasure",
            "erase_body",
            "add_tiles",
            "add_checkpoint",
            "add_anchor",
            "refuse_appends",
            "say_refusal",
            "announce_key",
        }
        for name, config in acting.items():
            paths = [setting for setting in config if setting.startswith("search_path=")]
            assert [path.endswith("pg_temp") for path in paths] == [True], name

    def test_strangers_may_do_nothing(
        self, server: Any, admin: Connection, act_as: Callable[[str], Connection]
    ) -> None:
        name = f"stranger_{uuid4().hex}"
        administer(server, "CREATE ROLE {}", name)
        try:
            assert admin.execute(OWN_TABLES, {"role": name}).fetchall() == []
            assert admin.execute(OWN_FUNCTIONS, {"role": name}).fetchall() == []
            for statement in ["SELECT * FROM ledger.events", "SELECT * FROM ledger_read.progress"]:
                assert sqlstate(act_as(name), statement) == NO_PRIVILEGE
        finally:
            administer(server, "DROP ROLE {}", name)

    def test_the_officer_may_call_what_the_writer_may_and_what_erases(self, admin: Connection) -> None:
        may = {
            role: {row[0] for row in admin.execute(OWN_FUNCTIONS, {"role": role}).fetchall()}
            for role in ("ledger_writer", "ledger_officer")
        }
        extra = may["ledger_officer"] - may["ledger_writer"]
        assert extra == {"scan_for_bodies", "begin_erasure", "erase_body"}
        assert may["ledger_writer"] <= may["ledger_officer"]

    def test_the_sealer_may_call_what_the_reader_may_and_what_seals(self, admin: Connection) -> None:
        may = {
            role: {row[0] for row in admin.execute(OWN_FUNCTIONS, {"role": role}).fetchall()}
            for role in ("ledger_reader", "ledger_sealer")
        }
        extra = may["ledger_sealer"] - may["ledger_reader"]
        assert extra == {
            *("seal_lock_key", "begin_seal", "add_tiles", "add_checkpoint", "announce_key"),
            *("add_anchor", "refuse_appends", "say_refusal"),
        }
        assert may["ledger_reader"] <= may["ledger_sealer"]

    @pytest.mark.parametrize("role", ["ledger_writer", "ledger_officer", "ledger_reader", "ledger_sealer"])
    def test_who_writes_or_reads_makes_and_alters_nothing(
        self, role: str, act_as: Callable[[str], Connection]
    ) -> None:
        conn = act_as(role)
        for statement in [
            "CREATE TABLE ledger.mine ()",
            "CREATE TABLE ledger_read.mine ()",
            "ALTER TABLE ledger.events DISABLE TRIGGER events_guard",
            "DROP TABLE ledger.events",
            "CREATE TRIGGER mine BEFORE INSERT ON ledger.events EXECUTE FUNCTION ledger.refuse_change()",
            "ALTER FUNCTION ledger.guard_append() RESET search_path",
            "SET session_replication_role = replica",
        ]:
            assert sqlstate(conn, statement) == NO_PRIVILEGE, statement

    def test_who_writes_does_not_reach_into_read_models_and_bodies(self, writer: Connection) -> None:
        for table in ["ledger_read.data_ingestion_runs", "ledger_read.progress", "ledger.bodies"]:
            for statement in [f"DELETE FROM {table}", f"TRUNCATE {table}"]:
                assert sqlstate(writer, statement) == NO_PRIVILEGE, statement
        moving = "UPDATE ledger_read.progress SET position = 7"
        assert sqlstate(writer, moving) == NO_PRIVILEGE
        placing = (
            "INSERT INTO ledger.bodies (commitment, size, media_type) VALUES (repeat('A', 43), 1, 'a/b')"
        )
        assert sqlstate(writer, placing) == NO_PRIVILEGE
        writer.execute("SET search_path = ledger_read, ledger")
        assert sqlstate(writer, "SELECT fold_next(1, NULL)") == NO_PRIVILEGE
        assert sqlstate(writer, "SELECT fold_range(0, 1)") == NO_PRIVILEGE

    def test_who_reads_neither_appends_nor_stores_nor_folds(self, reader: Connection) -> None:
        for statement in [
            "SELECT ledger.append('{}', '{}', '{}', '{}')",
            "SELECT ledger.begin_append()",
            "SELECT ledger.put_bodies('{}', '{}', '{}', '{}', '{}')",
            "SELECT ledger_read.update_read_models(1, 1)",
            "INSERT INTO ledger.events SELECT * FROM ledger.events",
            "COPY ledger.events FROM STDIN",
        ]:
            assert sqlstate(reader, statement) == NO_PRIVILEGE, statement

    def test_who_reads_may_read_everything(self, reader: Connection, admin: Connection) -> None:
        tables = admin.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname ~ '^ledger'"
            " UNION SELECT format('%I.%I', schemaname, viewname) FROM pg_views WHERE schemaname ~ '^ledger'"
        ).fetchall()
        assert len(tables) > 12
        for (table,) in tables:
            assert sqlstate(reader, f"SELECT * FROM {table}") is None, table


class TestErrors:
    """What the refusals are to whoever uses the package."""

    @pytest.mark.parametrize(
        ("changes", "what", "actual"),
        [
            ({"position": 9}, "positions must go on from 0", "position 9"),
            ({"recorded_by": "eve"}, "recorded_by must be the role that connected, ledger_writer", "eve"),
            ({"recorded_at": LONG_AGO}, "recorded_at must be one value", "2000-01-01"),
        ],
    )
    def test_a_guards_refusal_says_what_was_expected_and_what_to_do(
        self, url: str, changes: dict[str, Any], what: str, actual: str
    ) -> None:
        with recorder_at(url) as recorder:
            database = recorder.datastore
            with (
                pytest.raises(AppendRefused, match=what) as refused,
                translated(database),
                database.connection() as conn,
                psycopg.connect(url, autocommit=True) as plain,
            ):
                conn.execute(FORGE, forged(plain, **changes)[0])
        assert actual in str(refused.value.actual)
        assert refused.value.remedy
        assert isinstance(refused.value.__cause__, Exception)

    def test_a_refused_change_says_what_to_do(self, admin_url: str) -> None:
        with recorder_at(admin_url) as recorder:
            database = recorder.datastore
            with (
                pytest.raises(AppendRefused, match="append-only") as refused,
                translated(database),
                database.connection() as conn,
            ):
                conn.execute("DELETE FROM events")
        assert "correction" in str(refused.value.remedy)

    def test_a_reader_who_appends_has_the_wrong_role(self, reader_url: str) -> None:
        started = RunStarted.of(occurred_at=datetime.now(UTC), source="s", task="t")
        with recorder_at(reader_url) as recorder:
            for count in [1, 30]:
                with pytest.raises(WrongRole) as wrong:
                    recorder.append(uuid4(), 0, [started] * count)
                assert wrong.value.expected == "a member of ledger_writer"
                assert wrong.value.actual == "ledger_reader"
                assert "ledger_writer" in str(wrong.value.remedy)

    def test_a_reader_has_the_wrong_role_for_runs_bodies_and_read_models(self, reader_url: str) -> None:
        with audit_ledger.connect(reader_url) as ledger:
            with pytest.raises(WrongRole), ledger.run("task", "source"):
                pytest.fail("the block was entered")
            with pytest.raises(WrongRole):
                ledger.update_read_models()
            assert ledger.runs.all() == []
        with recorder_at(reader_url) as recorder:
            database = recorder.datastore
            with pytest.raises(WrongRole), translated(database):
                projections.update(database)
            with pytest.raises(WrongRole), translated(database), database.connection() as conn:
                bodies.put(conn, [bodies.Body(b"{}", "application/json")])
