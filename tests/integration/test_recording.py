"""How scripts record: what is durable when, how a run ends, and what is refused."""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from pydantic import BaseModel

import audit_ledger
from audit_ledger import (
    InvalidValue,
    Ledger,
    LedgerError,
    NotInitialised,
    RecordingError,
    RunEnded,
    UnknownRun,
    Unreachable,
    WrongRole,
)
from audit_ledger.errors import LedgerClosed
from audit_ledger.recording.run import Run

Admin = psycopg.Connection[Any]


def types(admin: Admin) -> list[str]:
    return [row[0] for row in admin.execute("SELECT type FROM events ORDER BY position").fetchall()]


def test_the_start_is_durable_before_the_first_line_of_the_block(ledger: Ledger, admin: Admin) -> None:
    with ledger.run("t", "s", parameters={"since": "2025-01-01"}) as run:
        assert types(admin) == ["RunStarted"]
        assert ledger.find_run(run.id).status == "running"
    assert types(admin) == ["RunStarted", "RunCompleted"]


def test_the_end_is_durable_and_folded_when_the_block_returns(ledger: Ledger, admin: Admin) -> None:
    with ledger.run("t", "s") as run:
        run.ingest_many("X", {number: {"n": number} for number in range(2500)})
    row = admin.execute("SELECT status, records_created FROM data_ingestion_runs").fetchone()
    assert row == ("completed", 2500)
    assert (run.result.fetched, run.result.created) == (2500, 2500)


def test_events_are_flushed_within_about_a_second(ledger: Ledger, admin: Admin) -> None:
    with ledger.run("t", "s") as run:
        run.record("X", 1, "created")
        deadline = time.monotonic() + 5
        while types(admin) != ["RunStarted", "RecordIngested"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_full_buffer_blocks_until_there_is_room(url: str) -> None:
    with audit_ledger.connect(url, buffer_events=10) as ledger:
        with ledger.run("t", "s") as run:
            for number in range(500):
                run.record("X", number, "created")
        assert run.result.created == 500


def test_a_record_larger_than_the_buffer_still_passes(url: str) -> None:
    with audit_ledger.connect(url, buffer_bytes=1 << 16) as ledger:
        with ledger.run("t", "s") as run:
            run.ingest("X", 1, b"x" * (1 << 18))
            run.ingest("X", 2, b"y" * (1 << 18))
        assert run.result.created == 2


def test_there_is_no_result_before_the_end(ledger: Ledger) -> None:
    with ledger.run("t", "s") as run, pytest.raises(LedgerError, match="no result yet"):
        _ = run.result


def test_parameters_may_be_dates_decimals_and_paths(ledger: Ledger) -> None:
    given = {"since": date(2025, 1, 1), "limit": Decimal("1.50"), "file": Path("x"), "none": None}
    with ledger.run("t", "s", parameters=given) as run:
        pass
    kept = {"since": "2025-01-01", "limit": "1.50", "file": "x", "none": None}
    assert run.parameters == kept
    assert ledger.details(run.id).started["parameters"] == kept


def test_the_record_that_cannot_be_kept_is_named(ledger: Ledger) -> None:
    with ledger.run("t", "s") as run, pytest.raises(InvalidValue, match=r"content.a of X 7 "):
        run.ingest_many("X", {6: {"a": 1}, 7: {"a": object()}})


def test_threads_share_a_run(ledger: Ledger) -> None:
    with ledger.run("t", "s") as run:

        def record(thread: int) -> None:
            for number in range(200):
                run.record("X", f"{thread}-{number}", "created")

        threads = [threading.Thread(target=record, args=[number]) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert run.result.created == 1600


def test_an_exception_fails_the_run_and_goes_on(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="boom"), ledger.run("t", "s") as run:
        run.record("X", 1, "created")
        run.date_range("2025-01-01", "2025-01-31")
        raise ValueError("boom")
    row = ledger.find_run(run.id)
    assert (row.status, row.error_message, row.records_created) == ("failed", "boom", 1)
    assert row.data_date_end == date(2025, 1, 31)


def test_the_backtrace_has_the_ten_innermost_frames(ledger: Ledger) -> None:
    def deeper(levels: int) -> None:
        if levels == 0:
            raise LookupError("at the bottom")
        deeper(levels - 1)

    with pytest.raises(LookupError), ledger.run("t", "s") as run:
        deeper(30)
    details = ledger.find_run(run.id).error_details
    assert details is not None
    assert details["class"] == "LookupError"
    assert len(details["backtrace"]) == 10
    assert "at the bottom" in details["backtrace"][-1]


@pytest.mark.parametrize(
    ("code", "status"), [(0, "completed"), (None, "completed"), (3, "failed"), ("no data", "failed")]
)
def test_system_exit_ends_the_run_by_its_code(ledger: Ledger, code: object, status: str) -> None:
    with pytest.raises(SystemExit), ledger.run("t", "s") as run:
        raise SystemExit(code)
    assert ledger.find_run(run.id).status == status


def test_a_keyboard_interrupt_fails_the_run_and_goes_on(ledger: Ledger) -> None:
    with pytest.raises(KeyboardInterrupt), ledger.run("t", "s") as run:
        raise KeyboardInterrupt
    assert ledger.find_run(run.id).error_message == "KeyboardInterrupt"


def test_an_exception_with_a_broken_message_is_recorded_all_the_same(ledger: Ledger) -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no message for you")

    with pytest.raises(Broken), ledger.run("t", "s") as run:
        raise Broken
    assert "could not be read" in (ledger.find_run(run.id).error_message or "")


def test_a_message_that_jsonb_cannot_hold_is_recorded_with_replacements(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="a"), ledger.run("t", "s") as run:
        raise ValueError("a\0b\ud800c" + "x" * 100_000)
    message = ledger.find_run(run.id).error_message or ""
    assert message.startswith("a\ufffdb\ufffdc")
    assert len(message) == 2000


def test_a_decorated_function_is_a_run_each_time(ledger: Ledger) -> None:
    @ledger.run("t", "s")
    def fetch(count: int, run: Run) -> str:
        run.counts(fetched=count)
        return "done"

    assert fetch(1) == "done"
    assert fetch(2) == "done"
    assert [row.records_fetched for row in ledger.runs] == [2, 1]


def test_a_decorated_coroutine_is_a_run(ledger: Ledger) -> None:
    @ledger.run("t", "s")
    async def fetch() -> int:
        await asyncio.sleep(0)
        return 7

    assert asyncio.run(fetch()) == 7
    assert ledger.runs.successful().count() == 1


def test_a_generator_function_cannot_be_decorated(ledger: Ledger) -> None:
    with pytest.raises(InvalidValue, match="generator"):

        @ledger.run("t", "s")
        def fetch() -> Iterator[int]:
            yield 1


def test_log_ingestion_tells_of_a_failure_and_does_not_raise_it(ledger: Ledger) -> None:
    def fetch(run: Run) -> None:
        raise ConnectionError("refused")

    outcome = ledger.log_ingestion(task_name="t", data_source="s", fetch=fetch)
    assert (outcome.success, outcome.failure_message) == (False, "refused")


def test_log_ingestion_raises_for_an_unknown_key_and_fails_the_run(ledger: Ledger) -> None:
    with pytest.raises(InvalidValue, match="fetchd"):
        ledger.log_ingestion(task_name="t", data_source="s", fetch=lambda run: {"fetchd": 1})
    (row,) = ledger.runs
    assert row.status == "failed"


def test_log_ingestion_accepts_nothing_declared(ledger: Ledger) -> None:
    outcome = ledger.log_ingestion(task_name="t", data_source="s", fetch=lambda run: None)
    assert outcome.success
    assert ledger.find_run(outcome.run.id).records_fetched == 0


def test_ingest_tells_created_updated_and_skipped(ledger: Ledger) -> None:
    with ledger.run("t", "s") as run:
        assert run.ingest("X", 1, {"b": 1, "a": [1.5, None, True]}) == "created"
        assert run.ingest("X", 1, {"a": [1.5, None, True], "b": 1}) == "skipped"
        assert run.ingest("X", "1", {"b": 2}) == "updated"
        assert run.ingest("Y", 1, {"b": 1}) == "created"
    with ledger.run("t", "s") as run:
        assert run.ingest_many("X", [(1, {"b": 2}), (2, {"b": 2})]) == {"1": "skipped", "2": "created"}
    assert (run.result.created, run.result.updated, run.result.skipped) == (1, 0, 1)


def test_the_first_touch_makes_the_row_and_created_outranks(ledger: Ledger) -> None:
    with ledger.run("t", "s") as run:
        run.record("X", 1, "skipped")
        run.record("X", 1, "created")
        run.record("X", 1, "updated")
    (record,) = ledger.find_run(run.id).records
    assert record.operation == "created"


def test_the_fold_decides_when_two_runs_see_a_record_first(ledger: Ledger, url: str) -> None:
    with audit_ledger.connect(url) as other, ledger.run("t", "s") as one, other.run("t", "s") as two:
        assert one.ingest("X", 1, {"a": 1}) == "created"
        assert two.ingest("X", 1, {"a": 1}) == "created"
        one.flush()
    assert [touch.operation for touch in ledger.provenance("X", 1)] == ["skipped", "created"]


def test_same_bytes_are_stored_once(ledger: Ledger, admin: Admin) -> None:
    with ledger.run("t", "s") as run:
        run.ingest_many("X", {number: {"same": True} for number in range(100)})
        run.api_call(endpoint="e", response={"same": True})
    assert admin.execute("SELECT count(*), min(size) FROM bodies").fetchone() == (1, 13)


def test_a_pydantic_model_is_content(ledger: Ledger) -> None:
    class Trade(BaseModel):
        ticker: str
        day: date

    with ledger.run("t", "s") as run:
        assert run.ingest("X", 1, Trade(ticker="A", day=date(2025, 1, 1))) == "created"
        assert run.ingest("X", 1, {"day": "2025-01-01", "ticker": "A"}) == "skipped"


def test_declared_counts_that_differ_are_kept_and_shown(ledger: Ledger) -> None:
    with ledger.run("t", "s") as run:
        run.record("X", 1, "created")
        run.counts(created=5)
    details = ledger.details(run.id)
    assert details.run.records_created == 5
    assert [d.detail for d in details.discrepancies] == ["declared 5 created, recorded 1"]


def test_a_killed_run_is_closed_from_outside_and_a_later_end_is_shown(ledger: Ledger) -> None:
    with ledger.run("t", "s") as run:
        row = ledger.close_run(str(run.id)[:13], "the host was rebooted")
        assert (row.status, row.error_message) == ("failed", "the host was rebooted")
        with pytest.raises(RunEnded):
            ledger.close_run(run.id, "again")
    details = ledger.details(run.id)
    assert details.run.status == "failed"
    assert [d.kind for d in details.discrepancies] == ["end"]


def test_secrets_are_cut_out_before_anything_is_stored(ledger: Ledger, admin: Admin) -> None:
    secret = "hunter2" + "x" * 20
    with (
        pytest.raises(RuntimeError),
        ledger.run("t", "s", parameters={"api_key": secret, "url": f"https://u:{secret}@h/"}) as run,
    ):
        run.api_call(
            endpoint=f"https://api.example.com/x?api_key={secret}",
            request={"headers": {"Authorization": f"Bearer {secret}"}},
            response=f'{{"access_token": "{secret}"}}'.encode(),
        )
        raise RuntimeError(f"GET /x?token={secret} failed")
    kept = b"".join(
        row[0] for row in admin.execute("SELECT state FROM events UNION ALL SELECT content FROM bodies")
    )
    assert secret.encode() not in kept
    assert b"[REDACTED]" in kept


def test_durations_hold_when_the_wall_clock_is_set(ledger: Ledger) -> None:
    with ledger.run("t", "s") as run:
        before = run.now
        time.sleep(0.01)
        assert timedelta(milliseconds=10) <= run.now - before < timedelta(seconds=5)
    seconds = ledger.find_run(run.id).duration_seconds
    assert seconds is not None
    assert seconds >= 0.01


def test_the_standard_logger_tells_how_a_run_ended(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="audit_ledger"):
        with ledger.run("daily", "s") as run:
            run.record("X", 1, "created")
            run.record("X", 2, "updated")
        with pytest.raises(RuntimeError), ledger.run("daily", "s"):
            raise RuntimeError("API error")
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("INFO", "✅ daily completed: 1 new, 1 updated"),
        ("ERROR", "❌ daily failed: API error"),
    ]


BAD: list[tuple[str, Callable[[Run], object], str]] = [
    ("unknown operation", lambda run: run.record("X", 1, "deleted"), "operation"),  # type: ignore[arg-type]
    ("empty id", lambda run: run.record("X", "", "created"), "record_id"),
    ("10 MB id", lambda run: run.record("X", "x" * 10_000_000, "created"), "record_id"),
    ("NUL in an id", lambda run: run.record("X", "a\0b", "created"), "record_id"),
    ("surrogate in an id", lambda run: run.record("X", "a\ud800", "created"), "record_id"),
    ("bool id", lambda run: run.record("X", True, "created"), "record_id"),
    ("float id", lambda run: run.ingest("X", 1.5, {}), "record_id"),  # type: ignore[arg-type]
    ("None id", lambda run: run.ingest("X", None, {}), "record_id"),  # type: ignore[arg-type]
    ("empty type", lambda run: run.ingest("", 1, {}), "record_type"),
    ("NaN", lambda run: run.ingest("X", 1, {"price": float("nan")}), "content.price"),
    ("infinity", lambda run: run.ingest("X", 1, [float("inf")]), "content[0]"),
    ("1e200000", lambda run: run.ingest("X", 1, {"n": 10**2000}), "content.n"),
    ("Decimal", lambda run: run.ingest("X", 1, {"n": Decimal("1e200000")}), "content.n"),
    ("NUL in content", lambda run: run.ingest("X", 1, {"a": {"b": "x\0"}}), "content.a.b"),
    ("surrogate in content", lambda run: run.ingest("X", 1, {"\udfff": 1}), "content"),
    ("key that is no text", lambda run: run.ingest("X", 1, {1: 2}), "content"),
    ("an object", lambda run: run.ingest("X", 1, {"o": object()}), "content.o"),
    ("no content", lambda run: run.ingest("X", 1, None), "content"),
    ("depth", lambda run: run.ingest("X", 1, nested(10_000)), "content"),
    ("dates reversed", lambda run: run.date_range("2025-02-01", "2025-01-01"), "RunCompleted"),
    ("datetime for a date", lambda run: run.date_range(datetime(2025, 1, 1), None), "data_date_start"),
    ("negative count", lambda run: run.counts(created=-1), "created"),
    ("bool count", lambda run: run.counts(fetched=True), "fetched"),
    (
        "naive datetime",
        lambda run: run.api_call(endpoint="e", captured_at=datetime(2025, 1, 1)),
        "captured_at",
    ),
    ("status 9", lambda run: run.api_call(endpoint="e", http_status_code=9), "http_status_code"),
    ("no endpoint", lambda run: run.api_call(endpoint=""), "endpoint"),
    ("negative duration", lambda run: run.api_call(endpoint="e", duration_ms=-1), "duration_ms"),
    ("NaN duration", lambda run: run.api_call(endpoint="e", duration_ms=float("nan")), "duration_ms"),
    ("deep request", lambda run: run.api_call(endpoint="e", request=nested(10_000)), "request"),
    ("object as response", lambda run: run.api_call(endpoint="e", response=object()), "response"),
]


def nested(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(("use", "field"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_input_is_refused_naming_the_field_and_nothing_is_written(
    ledger: Ledger, admin: Admin, use: Callable[[Run], object], field: str
) -> None:
    with ledger.run("t", "s") as run:
        with pytest.raises(InvalidValue) as caught:
            use(run)
        assert caught.value.field.startswith(field)
        assert caught.value.expected
        assert caught.value.actual
    assert types(admin) == ["RunStarted", "RunCompleted"]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"task": "", "source": "s"}, "task"),
        ({"task": "t", "source": "x\0"}, "source"),
        ({"task": "t", "source": "s", "parameters": {"a": object()}}, "parameters.a"),
        ({"task": "t", "source": "s", "parameters": {"a": 2**60}}, "parameters.a"),
        ({"task": "t", "source": "s", "parameters": {"a": "x" * 70_000}}, "RunStarted"),
        ({"task": "t", "source": "s", "scheduled_for": datetime(2025, 1, 1)}, "scheduled_for"),
    ],
)
def test_a_run_that_cannot_be_recorded_does_not_begin(
    ledger: Ledger, admin: Admin, arguments: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidValue) as caught, ledger.run(**arguments):
        pytest.fail("the block was entered")
    assert caught.value.field == field
    assert types(admin) == []


def test_a_run_cannot_be_used_after_its_end(ledger: Ledger) -> None:
    with ledger.run("t", "s") as run:
        pass
    uses: list[Callable[[], object]] = [
        lambda: run.record("X", 1, "created"),
        lambda: run.ingest("X", 1, {}),
        lambda: run.api_call(endpoint="e"),
        lambda: run.counts(fetched=1),
        run.complete,
        run.flush,
    ]
    for use in uses:
        with pytest.raises(RunEnded):
            use()


def test_a_forked_child_cannot_write_its_parents_run(ledger: Ledger, admin: Admin) -> None:
    with ledger.run("t", "s") as run:
        child = os.fork()
        if child == 0:
            try:
                run.record("X", 1, "created")
            except RunEnded:
                os._exit(7)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert types(admin) == ["RunStarted", "RunCompleted"]


@pytest.mark.parametrize("prefix", ["", " ", "xyz", "12345678-1234-1234-1234-123456789abcd"])
def test_a_run_id_that_is_none_is_refused(ledger: Ledger, prefix: str) -> None:
    with ledger.run("t", "s"):
        pass
    with pytest.raises(InvalidValue, match="run id"):
        ledger.find_run(prefix)


@pytest.mark.parametrize("since", ["soon", "999999w", "0001-01-01T00:00+14:00", "2025-12-24T09:00"])
def test_a_since_that_is_no_instant_is_refused(ledger: Ledger, since: str) -> None:
    with pytest.raises(InvalidValue, match="since"):
        ledger.runs.started_since(since)


@pytest.mark.parametrize("text", ["\0", "\ud800"])
def test_a_question_that_the_database_cannot_hold_is_refused(ledger: Ledger, text: str) -> None:
    with pytest.raises(InvalidValue, match="the question"):
        ledger.provenance("X", text)


def test_an_unknown_run_and_an_ambiguous_prefix_are_named(ledger: Ledger) -> None:
    with pytest.raises(UnknownRun, match="no run"):
        ledger.find_run(uuid4())
    with pytest.raises(InvalidValue, match="run id"):
        ledger.find_run("xyz")
    for _ in range(17):
        with ledger.run("t", "s"):
            pass
    firsts = [str(row.run_id)[0] for row in ledger.runs]
    shared = next(digit for digit in firsts if firsts.count(digit) > 1)
    with pytest.raises(UnknownRun, match="several"):
        ledger.find_run(shared)


def test_a_reader_reads_but_may_not_record(ledger: Ledger, reader_url: str) -> None:
    with ledger.run("t", "s"):
        pass
    with audit_ledger.connect(reader_url) as reader:
        assert reader.runs.count() == 1
        with pytest.raises(WrongRole, match="ledger_writer"), reader.run("t", "s"):
            pytest.fail("the block was entered")


def test_a_database_without_a_ledger_says_what_to_do(server: Any, empty_database: str) -> None:
    with pytest.raises(NotInitialised, match="audit-ledger init"):
        audit_ledger.connect(server.url("postgres", empty_database))


def test_an_unreachable_database_is_said_before_anything_is_fetched() -> None:
    with pytest.raises(Unreachable) as caught:
        audit_ledger.connect("postgresql://u:topsecret@127.0.0.1:1/x")
    assert "topsecret" not in str(caught.value)


def test_ids_are_kept_as_text(ledger: Ledger) -> None:
    key = UUID("12345678-1234-4234-8234-123456789abc")
    with ledger.run("t", "s") as run:
        run.record("X", key, "created")
        run.record("X", 12345, "created")
    assert len(ledger.provenance("X", str(key))) == 1
    assert len(ledger.provenance("X", "12345")) == 1


def test_a_ledger_that_was_closed_says_so_at_once_and_what_a_run_of_it_says_is_spooled(
    url: str, ledger: Ledger
) -> None:
    began = time.monotonic()
    with audit_ledger.connect(url) as closed:
        run = closed.run("t", "s").__enter__()
        run.record("Trade", 1, "created")
    for use in (lambda: closed.runs.count(), lambda: closed.run("t", "s").__enter__(), closed.reach):
        with pytest.raises(LedgerClosed, match="inside the block, or connect again"):
            use()
    with pytest.raises(RecordingError, match="the ledger is closed"):
        run.complete()
    assert time.monotonic() - began < 10  # it does not wait for what does not come back
    assert ledger.forward().events == 2
    assert ledger.find_run(run.id).status == "completed"
