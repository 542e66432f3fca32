"""Questions as of an instant: what can be asked, what is refused, and that a final answer stays the same."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import psycopg
import pytest
from psycopg.rows import dict_row

import audit_ledger
from audit_ledger import InvalidValue, Ledger, WrongRole
from audit_ledger.errors import BeforeBeginning, Erased, ReadModelsBehind
from audit_ledger.recording import decisions
from audit_ledger.store import migrations
from audit_ledger.store.server import SUPERUSER, EmbeddedServer

Connection = psycopg.Connection[Any]

NEW_YORK = ZoneInfo("America/New_York")
NOT_AS_OF = {"progress", "set_aside", "stored_events", "body_scans", "erased_bodies"}
"""What of ledger_read is no read model, or does not change with what is asked."""


@pytest.fixture
def reader(reader_url: str) -> Iterator[Connection]:
    """A psql session of the reader role, so to speak."""
    with psycopg.connect(reader_url, autocommit=True) as conn:
        yield conn


@pytest.fixture
def reading(reader_url: str) -> Iterator[Ledger]:
    with audit_ledger.connect(reader_url) as connected:
        yield connected


def tell(ledger: Ledger, content: object, record_id: int = 1) -> UUID:
    with ledger.run("t", "s") as run:
        run.ingest("X", record_id, content)
    return run.id


def recorded_at(ledger: Ledger, position: int) -> datetime:
    (row,) = ledger.database.query("SELECT recorded_at FROM events WHERE position = %s", [position])
    found = row["recorded_at"]
    assert isinstance(found, datetime)
    return found


def instant(conn: Connection, written: str) -> datetime:
    row = conn.execute("SELECT as_of.instant(%s) AT TIME ZONE 'UTC'", [written]).fetchone()
    assert row is not None
    found = row[0]
    assert isinstance(found, datetime)
    return found


# When


def test_before_the_first_event_it_says_when_the_ledger_begins(ledger: Ledger, reader: Connection) -> None:
    tell(ledger, {})
    begun = recorded_at(ledger, 1)
    text = f"{begun.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}Z"
    for when in (begun - timedelta(microseconds=1), 0, "0", "1066-10-14 09:00 Europe/London"):
        with pytest.raises(BeforeBeginning) as refused:
            ledger.as_of(when)
        assert text in str(refused.value)
    reader.execute("SET audit_ledger.as_of = '0'")
    with pytest.raises(psycopg.Error, match=r"had not begun") as plain:
        reader.execute("SELECT * FROM as_of.records")
    assert plain.value.sqlstate == "AL011"
    assert ledger.as_of(begun).header.begins_at == begun


def test_an_empty_ledger_says_that_it_has_no_events(ledger: Ledger) -> None:
    assert ledger.header is None
    for when in (datetime.now(UTC), 0):
        with pytest.raises(BeforeBeginning, match="had not begun") as refused:
            ledger.as_of(when)
        assert "no events yet" in str(refused.value)


def test_positions_count_from_one_to_the_head(ledger: Ledger) -> None:
    tell(ledger, {"a": 1})
    head = ledger.reference().position
    first = ledger.as_of(1)
    assert (first.header.position, first.header.final, first.header.as_of) == (1, True, None)
    assert [run.status for run in first.runs] == ["running"]
    assert first.records("X").all() == []
    assert [record.content for record in ledger.as_of(head).records("X")] == [{"a": 1}]
    with pytest.raises(InvalidValue, match=f"no position {head + 1} yet") as refused:
        ledger.as_of(head + 1)
    assert f"The last is {head}." in str(refused.value)
    for wrong in (-1, 10**20, True, None, 1.5):
        with pytest.raises(InvalidValue):
            ledger.as_of(wrong)  # type: ignore[arg-type]


def test_the_future_is_not_final_and_becomes_final_with_the_same_answer(ledger: Ledger) -> None:
    tell(ledger, {"a": 1})
    soon = datetime.now(UTC) + timedelta(milliseconds=150)
    before = ledger.as_of(soon)
    assert not before.header.final
    assert [record.content for record in before.records("X")] == [{"a": 1}]
    time.sleep(0.2)
    assert not ledger.as_of(soon).header.final  # nothing came since: something still might at that instant
    tell(ledger, {"a": 2})
    after = ledger.as_of(soon)
    assert after.header.final
    assert after.header.position == before.header.position
    assert after.records("X").all() == before.records("X").all()
    assert [record.content for record in ledger.records("X")] == [{"a": 2}]


def test_events_of_one_batch_share_an_instant_and_are_known_together(ledger: Ledger) -> None:
    tell(ledger, {"a": 1})
    with ledger.run("t", "s") as run:
        run.ingest_many("Y", {number: {} for number in range(50)})
    batch = [row for row in ledger.events() if row.type == "RecordIngested"][1:]
    (at,) = {event.recorded_at for event in batch}
    assert ledger.as_of(at).header.position >= batch[-1].position
    assert ledger.as_of(at).records("Y").count() == 50
    earlier = ledger.as_of(at - timedelta(microseconds=1))
    assert earlier.header.position < batch[0].position
    assert earlier.records("Y").count() == 0
    assert ledger.as_of(batch[9].position).records("Y").count() == 10


def test_a_run_is_as_of_its_end(ledger: Ledger) -> None:
    with ledger.run("t", "s") as run:
        run.ingest("X", 1, {"a": 1})
    tell(ledger, {"a": 2})
    for when in (run, run.id, ledger.find_run(run.id), f"run {run.id}", f"RUN  {run.id.hex[:12]}"):
        as_of = ledger.as_of(when)
        assert [record.content for record in as_of.records("X")] == [{"a": 1}]
        assert as_of.header.final
        assert as_of.header.position == 3


def test_a_run_that_has_not_ended_or_is_unknown_or_is_several_is_refused(ledger: Ledger) -> None:
    with ledger.run("t", "s") as run:
        run.flush()
        with pytest.raises(InvalidValue, match="has not ended"):
            ledger.as_of(run.id)
    with pytest.raises(InvalidValue, match="no such run"):
        ledger.as_of(uuid4())
    with pytest.raises(InvalidValue, match="no run id"):
        ledger.as_of("run away")
    for _ in range(17):
        first = tell(ledger, {}).hex[0]
    digits = [row.run_id.hex[0] for row in ledger.runs]
    several = next(digit for digit in digits if digits.count(digit) > 1)
    with pytest.raises(InvalidValue, match="several runs"):
        ledger.as_of(f"run {several}")
    assert first in digits


# How it is written


MEANT = [
    ("2025-12-24 09:00 America/New_York", "2025-12-24 14:00:00"),
    ("2025-12-24T09:00 america/new_york", "2025-12-24 14:00:00"),
    ("2025-12-24T09:00:00-05:00", "2025-12-24 14:00:00"),
    ("2025-12-24 09:00:00.25 -0530", "2025-12-24 14:30:00.25"),
    ("2025-12-24 09:00+05", "2025-12-24 04:00:00"),
    ("2025-12-24 09:00Z", "2025-12-24 09:00:00"),
    ("2025-12-24 09:00 UTC", "2025-12-24 09:00:00"),
    ("  2025-12-24 09:00 gmt ", "2025-12-24 09:00:00"),
    ("2025-12-24 09:00 Etc/GMT+5", "2025-12-24 14:00:00"),  # POSIX: west is plus
    ("2025-12-24 09:00 Etc/GMT-14", "2025-12-23 19:00:00"),
    ("2025-12-24 09:00 America/Argentina/Buenos_Aires", "2025-12-24 12:00:00"),
    ("2025-12-24 09:00 America/Port-au-Prince", "2025-12-24 14:00:00"),
    ("2025-12-24 09:00 Asia/Kathmandu", "2025-12-24 03:15:00"),
    # On either side of clocks being set.
    ("2025-03-09 01:59:59 America/New_York", "2025-03-09 06:59:59"),
    ("2025-03-09 03:00 America/New_York", "2025-03-09 07:00:00"),
    ("2025-11-02 00:59:59 America/New_York", "2025-11-02 04:59:59"),
    ("2025-11-02 02:00 America/New_York", "2025-11-02 07:00:00"),
    # A date is the end of that day: of 24 hours, of 23, of 25.
    ("2025-12-24 America/New_York", "2025-12-25 04:59:59.999999"),
    ("2025-12-24 -05:00", "2025-12-25 04:59:59.999999"),
    ("2025-12-24Z", "2025-12-24 23:59:59.999999"),
    ("2024-02-28 UTC", "2024-02-28 23:59:59.999999"),
    ("2025-03-09 America/New_York", "2025-03-10 03:59:59.999999"),
    ("2025-11-02 America/New_York", "2025-11-03 04:59:59.999999"),
    # A midnight that is skipped (the day ends where clocks are set), and one that is shown twice.
    ("2023-04-27 Africa/Cairo", "2023-04-27 21:59:59.999999"),
    ("2023-04-28 Africa/Cairo", "2023-04-28 20:59:59.999999"),
    ("2018-11-03 America/Sao_Paulo", "2018-11-04 02:59:59.999999"),
    ("2018-11-04 America/Sao_Paulo", "2018-11-05 01:59:59.999999"),
    ("2025-11-01 America/Havana", "2025-11-02 03:59:59.999999"),
    ("2025-11-02 America/Havana", "2025-11-03 04:59:59.999999"),
    ("2018-02-17 America/Sao_Paulo", "2018-02-18 02:59:59.999999"),
]
"""What is written, and the instant in UTC that it means."""


@pytest.mark.parametrize(
    "session", ["UTC; SET datestyle = 'ISO, MDY'", "'Asia/Tokyo'; SET datestyle = 'German, DMY'"]
)
def test_an_instant_means_the_same_in_every_session(session: str, reader: Connection) -> None:
    reader.execute(f"SET timezone = {session}".encode())
    for written, meant in MEANT:
        assert instant(reader, written) == datetime.fromisoformat(meant), written


REFUSED = [
    "now",
    "today",
    "yesterday UTC",
    "infinity",
    "-infinity",
    "epoch",
    "2025-12-24 09:00 EST",
    "2025-12-24 09:00 CET",
    "2025-12-24 09:00 EST5EDT",
    "2025-12-24 09:00 America/Nwe_York",
    "2025-12-24 09:00 Europe/",
    "2025-12-24 09:00 Etc/GMT+99",
    "2025-12-24 09:00 Etc/GMT+15",
    "2025-12-24 09:00 +99",
    "2025-12-24 09:00 -05:99",
    "2025-02-29 09:00 UTC",
    "2025-13-01 09:00 UTC",
    "2025-12-24 25:00 UTC",
    "2025-12-24 09:61 UTC",
    "0000-01-01 UTC",
    "24.12.2025 09:00 UTC",
    "12/24/2025 09:00 UTC",
    "2025-12-24 9am UTC",
    "2025-12-24 09:00 UTC; DROP TABLE events",
    "position 3",
    "-1",
    "3.0",
    "1e3",
    "٣",
    "99999999999999999999",
    "run",
    "run 12345678-zzzz",
    "2025-12-24 09:00 UTC\n2025",
]
"""What is no instant, position or run."""


def test_what_is_no_instant_is_refused_never_guessed(ledger: Ledger, reader: Connection) -> None:
    tell(ledger, {})
    for written in REFUSED:
        with pytest.raises(InvalidValue) as refused:
            ledger.as_of(written)
        assert refused.value.remedy, written
        reader.execute("SELECT set_config('audit_ledger.as_of', %s, false)", [written])
        for view in ("records", "answer", "data_ingestion_runs"):
            with pytest.raises(psycopg.Error) as plain:
                reader.execute(f"SELECT * FROM as_of.{view}".encode())
            assert plain.value.sqlstate == "AL010", written


@pytest.mark.parametrize(
    "when", [datetime(2025, 12, 24, 9), "2025-12-24 09:00", "2025-12-24T09:00:00", "2025-12-24"]
)
def test_without_a_zone_it_is_refused_and_the_remedy_is_written_out(
    when: datetime | str, ledger: Ledger
) -> None:
    tell(ledger, {})
    with pytest.raises(InvalidValue, match="without a time zone") as refused:
        ledger.as_of(when)
    text = str(when)
    assert f"Write {text} UTC, {text} -05:00 or {text} America/New_York." in str(refused.value)


def test_a_date_of_python_is_refused_with_what_to_write(ledger: Ledger) -> None:
    with pytest.raises(InvalidValue, match="2025-12-24 America/New_York"):
        ledger.as_of(date(2025, 12, 24))  # type: ignore[arg-type]


def test_a_time_that_clocks_skipped_or_repeated_is_refused_with_what_to_write(
    ledger: Ledger, reader: Connection
) -> None:
    with pytest.raises(InvalidValue, match="no clock in America/New_York ever showed") as skipped:
        ledger.as_of("2025-03-09 02:30 America/New_York")
    assert "Write 2025-03-09 07:30:00Z" in str(skipped.value)
    with pytest.raises(InvalidValue, match="showed this time twice") as twice:
        ledger.as_of("2025-11-02 01:30 America/New_York")
    assert "Write 2025-11-02 05:30:00Z or 2025-11-02 06:30:00Z." in str(twice.value)
    for told in ("2025-03-09 07:30:00Z", "2025-11-02 05:30:00Z", "2025-11-02 06:30:00Z"):
        assert instant(reader, told) == datetime.fromisoformat(told).replace(tzinfo=None)


def test_datetimes_of_any_zone_are_taken_as_the_instant_they_are(ledger: Ledger) -> None:
    tell(ledger, {})
    at = recorded_at(ledger, 3)
    for zone in (
        UTC,
        NEW_YORK,
        timezone(timedelta(hours=-5, minutes=-30)),
        timezone(timedelta(seconds=12345)),
    ):
        found = ledger.as_of(at.astimezone(zone)).header
        assert (found.position, found.as_of) == (3, at)
    first, second = (datetime(2025, 11, 2, 1, 30, tzinfo=NEW_YORK, fold=fold) for fold in (0, 1))
    for when in (first, second):
        with pytest.raises(BeforeBeginning):  # as its fold says, not twice
            ledger.as_of(when - timedelta(days=365 * 20))


@pytest.mark.parametrize(
    "zone", [UTC, timezone(timedelta(hours=14)), timezone(timedelta(hours=-12)), NEW_YORK]
)
def test_the_ends_of_the_calendar_are_instants_as_well(zone: Any, ledger: Ledger) -> None:
    tell(ledger, {})
    with pytest.raises(BeforeBeginning):
        ledger.as_of(datetime.min.replace(tzinfo=zone))
    last = ledger.as_of(datetime.max.replace(tzinfo=zone)).header
    assert (last.position, last.final) == (3, False)
    for text in ("9999-12-31 UTC", "9999-12-31 23:59:59-12:00", "9999-12-31 America/New_York"):
        assert ledger.as_of(text).header.position == 3
    for text in ("0001-01-01 UTC", "0001-01-01 00:00+14:00"):
        with pytest.raises(BeforeBeginning):
            ledger.as_of(text)


# Plain SQL


def test_unset_it_is_refused_and_never_answered_as_now(
    ledger: Ledger, reader: Connection, admin: Connection
) -> None:
    tell(ledger, {})
    views = [row[0] for row in admin.execute("SELECT viewname FROM pg_views WHERE schemaname = 'as_of'")]
    assert len(views) > 10

    def refuses() -> None:
        for view in views:
            with pytest.raises(psycopg.Error, match="it is not said as of when") as refused:
                reader.execute(f"SELECT * FROM as_of.{view}".encode())
            assert refused.value.sqlstate == "AL010"
            assert "SET audit_ledger.as_of" in (refused.value.diag.message_hint or "")

    refuses()
    for empty in ("''", "'  '"):
        reader.execute(f"SET audit_ledger.as_of = {empty}".encode())
        refuses()
    reader.execute("SET audit_ledger.as_of = '3'")
    assert reader.execute("SELECT count(*) FROM as_of.records").fetchone() == (1,)
    reader.execute("RESET audit_ledger.as_of")
    refuses()
    with reader.transaction():
        reader.execute("SET LOCAL audit_ledger.as_of = '3'")
        assert reader.execute("SELECT count(*) FROM as_of.records").fetchone() == (1,)
    refuses()  # SET LOCAL leaves '' behind, which is as good as unset


COLUMNS = """
    SELECT c.table_name, json_agg(json_build_array(c.column_name, c.data_type, c.collation_name)
                                  ORDER BY c.ordinal_position)::text
      FROM information_schema.columns c
     WHERE c.table_schema = %s
     GROUP BY c.table_name
"""


def test_every_read_model_has_its_like_with_the_same_columns(admin: Connection) -> None:
    live = dict(admin.execute(COLUMNS, ["ledger_read"]).fetchall())
    then = dict(admin.execute(COLUMNS, ["as_of"]).fetchall())
    assert live.keys() >= NOT_AS_OF
    assert {name: live[name] for name in live.keys() - NOT_AS_OF} == {
        name: then[name] for name in then.keys() - {"answer"}
    }


def test_the_reader_may_ask_all_of_them_and_change_none(
    ledger: Ledger, reader: Connection, admin: Connection
) -> None:
    tell(ledger, {})
    reader.execute("SET audit_ledger.as_of = '3'")
    views = [row[0] for row in admin.execute("SELECT viewname FROM pg_views WHERE schemaname = 'as_of'")]
    for view in views:
        assert reader.execute(f"SELECT count(*) FROM as_of.{view}".encode()).fetchone()
        with pytest.raises(
            (psycopg.errors.InsufficientPrivilege, psycopg.errors.ObjectNotInPrerequisiteState)
        ):
            reader.execute(f"DELETE FROM as_of.{view}".encode())
    answer = reader.execute("SELECT position, final, begins_at FROM as_of.answer").fetchone()
    assert answer == (3, True, recorded_at(ledger, 1))


# Lag, and finality


def test_while_the_read_models_are_behind_a_reader_is_refused_and_told_so(
    ledger: Ledger, reading: Ledger, reader: Connection
) -> None:
    tell(ledger, {"a": 1})
    now = reading.header
    assert now is not None
    assert now.position == 3
    later = decisions.heartbeat(ledger._recorder)
    for when in (later, recorded_at(ledger, later), datetime.now(UTC)):
        with pytest.raises(ReadModelsBehind, match="have not come that far"):
            reading.as_of(when).records("X").all()
    for view in ("records", "answer"):
        reader.execute(f"SET audit_ledger.as_of = '{later}'".encode())
        with pytest.raises(psycopg.Error, match="They are at position 3; the answer takes 4"):
            reader.execute(f"SELECT * FROM as_of.{view}".encode())
    with pytest.raises(psycopg.Error, match="have not come that far"):  # it may be there by then
        reader.execute("SELECT * FROM as_of.records WHERE record_type = 'X' AND record_id = '2'")
    now = reading.header  # it answers from what is folded, and says so
    assert now is not None
    assert now.position == 3
    assert [record.content for record in reading.as_of(3).records("X")] == [{"a": 1}]
    ledger.update_read_models()
    assert reading.as_of(later).records("X").count() == 1


def test_a_run_that_is_not_folded_yet_is_behind_not_unknown(
    ledger: Ledger, reading: Ledger, admin: Connection
) -> None:
    tell(ledger, {})
    with admin.transaction():
        admin.execute("SELECT FROM progress FOR UPDATE")  # nobody folds meanwhile
        with audit_ledger.connect(ledger.url, projection_timeout=0.05) as other:
            run_id = tell(other, {})
        with pytest.raises(ReadModelsBehind):
            reading.as_of(run_id)
    ledger.update_read_models()
    assert reading.as_of(run_id).header.final


def test_a_final_answer_stays_the_same_while_writers_write(ledger: Ledger, reading: Ledger) -> None:
    tell(ledger, {"a": 0})
    stop = threading.Event()
    failures: list[BaseException] = []

    def write(number: int) -> None:
        try:
            with audit_ledger.connect(ledger.url) as mine:
                turn = 0
                while not stop.is_set():
                    turn += 1
                    with mine.run(f"t{number}", "s") as run:
                        run.ingest_many("X", {key: {"turn": turn, "by": number} for key in range(10)})
                        if turn % 3 == 0:
                            run.withdraw("X", number)
        except BaseException as error:
            failures.append(error)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for writer in writers:
        writer.start()
    answers: dict[datetime, tuple[Any, ...]] = {}
    try:
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            when = datetime.now(UTC)
            as_of = ledger.as_of(when, final=True)
            assert as_of.header.final
            answers[when] = answer_of(ledger, when)
            for earlier in list(answers)[-3:]:
                assert answer_of(ledger, earlier) == answers[earlier]
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert not failures
    ledger.update_read_models()
    assert len(answers) > 3
    for when, answer in answers.items():
        assert answer_of(reading, when) == answer


def answer_of(ledger: Ledger, when: datetime) -> tuple[Any, ...]:
    as_of = ledger.as_of(when)
    return as_of.header, as_of.records("X").all(), as_of.runs.rows(), as_of.touches.rows()


def test_a_final_answer_takes_a_heartbeat_where_it_must(ledger: Ledger, reading: Ledger) -> None:
    tell(ledger, {})
    now = datetime.now(UTC)
    assert not ledger.as_of(now).header.final
    with pytest.raises(WrongRole):
        reading.as_of(now, final=True)
    answer = ledger.as_of(now, final=True)
    assert (answer.header.final, answer.header.position) == (True, 3)
    assert [event.type for event in ledger.events(3)] == ["HeartbeatRecorded"]
    ledger.as_of(now, final=True)
    ledger.as_of(2, final=True)
    future = ledger.as_of(now + timedelta(days=1), final=True)
    assert not future.header.final
    assert len(list(ledger.events(3))) == 1


# What is left behind


def test_no_connection_keeps_the_instant_of_an_answer(ledger: Ledger) -> None:
    tell(ledger, {"a": 1})
    tell(ledger, {"a": 2})
    as_of = ledger.as_of(3)
    for _ in range(12):
        assert as_of.runs.count() == 1
        assert ledger.runs.count() == 2
        assert [record.content for record in as_of.records("X")] == [{"a": 1}]
        assert [record.content for record in ledger.records("X")] == [{"a": 2}]
        assert b"".join(as_of.runs.export("csv")).count(b"\n") == 2
        assert b"".join(ledger.runs.export("csv")).count(b"\n") == 3
        with pytest.raises(InvalidValue):
            as_of.runs.where("run_id = {id}", id="\0").all()
    settings = "SELECT coalesce(current_setting('audit_ledger.as_of', true), '') AS set"
    assert ledger.database.query(settings) == [{"set": ""}]


def test_threads_ask_as_of_different_instants_over_one_pool(ledger: Ledger) -> None:
    for number in range(4):
        tell(ledger, {"a": number})
    wrong: list[object] = []

    def ask(number: int) -> None:
        for _ in range(20):
            found = [record.content for record in ledger.as_of(3 * number + 3).records("X")]
            wrong.extend(content for content in found if content != {"a": number})

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_what_was_erased_later_says_so_as_of_before(officer: Ledger, reader: Connection) -> None:
    with officer.run("t", "s") as run:
        run.api_call(endpoint="e", response={"name": "A"})
        run.ingest("Person", 1, {"name": "A B"})
    before = officer.as_of(run.id)
    assert [record.content for record in before.records("Person")] == [{"name": "A B"}]
    officer.erase_record("Person", 1, reason="asked to", by="an officer")
    officer.erase_payload(4, reason="asked to", by="an officer")
    after = officer.as_of(run.id)
    assert after.header == before.header
    (record,) = after.records("Person").all()
    assert record.content["erased"]["reason"] == "asked to"
    assert after.history("Person", 1)[0].content == record.content
    with pytest.raises(Erased, match="erased"):
        after.payload(4)
    reader.execute(f"SET audit_ledger.as_of = 'run {run.id}'".encode())
    (payload,) = reader.execute("SELECT payload FROM as_of.api_payloads").fetchall()
    assert payload[0]["erased"]["by"] == "an officer"
    assert reader.execute("SELECT content FROM as_of.records").fetchone() == (record.content,)
    assert reader.execute("SELECT count(*) FROM as_of.body_erasures").fetchone() == (0,)


def test_two_ledgers_of_one_database_travel_apart(
    server: EmbeddedServer, database: str, ledger: Ledger, reader: Connection
) -> None:
    with psycopg.connect(server.url(SUPERUSER, database), autocommit=True) as conn:
        migrations.init(conn, "second")
    tell(ledger, {"in": "first"})
    with audit_ledger.connect(server.url("second_writer", database), name="second") as second:
        tell(second, {"in": "second"})
        tell(second, {"in": "second", "a": 2})
        assert [record.content for record in second.as_of(3).records("X")] == [{"in": "second"}]
        assert second.as_of(6).runs.count() == 2
    assert [record.content for record in ledger.as_of(3).records("X")] == [{"in": "first"}]
    with pytest.raises(InvalidValue, match="no position 6"):
        ledger.as_of(6)
    with psycopg.connect(
        server.url("second_reader", database), autocommit=True, row_factory=dict_row
    ) as conn:
        conn.execute("SET audit_ledger.as_of = '6'")
        (row,) = conn.execute("SELECT content FROM second_as_of.records").fetchall()
        assert row == {"content": {"in": "second", "a": 2}}
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("SELECT * FROM as_of.records")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.execute("SELECT * FROM second_as_of.records")
