"""The original specification's examples, played one by one."""

from datetime import date, datetime, timedelta

import pytest

from audit_ledger import Ledger
from audit_ledger.recording.run import Run

TASK, SOURCE = "data_fetch:congress_daily", "quiverquant_congress"


def test_a_run_with_counts_and_no_operations(ledger: Ledger) -> None:
    outcome = ledger.log_ingestion(
        task_name=TASK,
        data_source=SOURCE,
        fetch=lambda run: {"fetched": 10, "created": 5, "updated": 3, "skipped": 2},
    )
    assert outcome.success
    assert outcome.failure_message is None
    row = ledger.find_run(outcome.run.id)
    assert row.status == "completed"
    assert row.success
    assert (row.records_fetched, row.records_created, row.records_updated, row.records_skipped) == (
        10,
        5,
        3,
        2,
    )
    assert row.records.count() == 0
    assert ledger.details(row.run_id).discrepancies == []
    assert row.completed_at is not None
    assert row.failed_at is None
    assert row.duration_seconds is not None
    assert row.duration_seconds >= 0


def test_a_failing_block_leaves_status_failed(ledger: Ledger) -> None:
    def fetch(run: Run) -> None:
        raise RuntimeError("API error")

    outcome = ledger.log_ingestion(task_name=TASK, data_source=SOURCE, fetch=fetch)
    assert not outcome.success
    assert outcome.failure_message == "API error"
    row = ledger.find_run(outcome.run.id)
    assert row.status == "failed"
    assert row.failed_at is not None
    assert row.completed_at is None
    assert row.error_message == "API error"
    assert row.error_details is not None
    assert row.error_details["class"] == "RuntimeError"
    assert "fetch" in row.error_details["backtrace"][-1]


def test_a_complete_congress_fetch_with_two_created_trades(ledger: Ledger) -> None:
    def fetch(run: Run) -> dict[str, object]:
        return {
            "fetched": 2,
            "created": 2,
            "updated": 0,
            "skipped": 0,
            "date_range": (date(2025, 12, 1), date(2025, 12, 23)),
            "record_operations": [
                {"record": ("QuiverTrade", 12345), "operation": "created"},
                {"record": ("QuiverTrade", 12346), "operation": "created"},
            ],
            "api_calls": [
                {
                    "endpoint": "api.quiverquant.com/beta/live/congresstrading",
                    "request": {"since": "2025-12-01"},
                    "response": [{"Ticker": "AAPL"}, {"Ticker": "MSFT"}],
                    "timestamp": datetime.fromisoformat("2025-12-24T09:00:00-05:00"),
                    "status_code": 200,
                    "duration_ms": 245,
                    "rate_limit_remaining": 99,
                }
            ],
        }

    outcome = ledger.log_ingestion(task_name=TASK, data_source=SOURCE, fetch=fetch)
    assert outcome.success
    row = ledger.find_run(outcome.run.id)
    assert (row.data_date_start, row.data_date_end) == (date(2025, 12, 1), date(2025, 12, 23))
    records = row.records.created().order_by("id").all()
    assert [(r.record_type, r.record_id) for r in records] == [
        ("QuiverTrade", "12345"),
        ("QuiverTrade", "12346"),
    ]
    (call,) = row.calls
    assert call.endpoint == "api.quiverquant.com/beta/live/congresstrading"
    assert (call.http_status_code, call.duration_ms, call.rate_limit_remaining) == (200, 245, 99)
    assert call.success
    assert row.calls.failed().all() == []
    assert call.api_request_payload_id is not None
    assert call.api_response_payload_id is not None
    with ledger.database.connection() as conn:
        payloads = conn.execute(
            "SELECT type, payload, source, captured_at FROM api_payloads ORDER BY id"
        ).fetchall()
    assert [(p["type"], p["payload"], p["source"]) for p in payloads] == [
        ("ApiRequest", {"since": "2025-12-01"}, SOURCE),
        ("ApiResponse", [{"Ticker": "AAPL"}, {"Ticker": "MSFT"}], SOURCE),
    ]
    assert payloads[0]["captured_at"] == datetime.fromisoformat("2025-12-24T14:00:00+00:00")


def test_recent_successful_runs_of_a_source_newest_five_and_the_trades_of_the_first(ledger: Ledger) -> None:
    for number in range(7):
        with ledger.run(TASK, SOURCE) as run:
            run.record("QuiverTrade", number, "created")
    with pytest.raises(RuntimeError), ledger.run(TASK, SOURCE):
        raise RuntimeError("API error")
    with ledger.run("data_fetch:insider_daily", "quiverquant_insider"):
        pass
    runs = ledger.runs.for_source(SOURCE).successful().completed_since(timedelta(days=1)).limit(5).all()
    assert len(runs) == 5
    assert all(run.status == "completed" and run.data_source == SOURCE for run in runs)
    assert [run.id for run in runs] == sorted((run.id for run in runs), reverse=True)
    trades = runs[0].records.of_type("QuiverTrade").all()
    assert [trade.record_id for trade in trades] == ["6"]
    assert ledger.runs.recent().count() == 9


def test_which_run_made_a_trade_when_and_with_which_task_and_operation(ledger: Ledger) -> None:
    with ledger.run(TASK, SOURCE) as run:
        run.record("QuiverTrade", 12345, "created")
    with ledger.run(TASK, SOURCE) as later:
        run_2 = later
        later.record("QuiverTrade", "12345", "updated")
    updated, created = ledger.provenance("QuiverTrade", 12345)
    assert (created.run_id, created.operation, created.task_name) == (run.id, "created", TASK)
    assert (updated.run_id, updated.operation) == (run_2.id, "updated")
    assert created.created_at < updated.created_at
    assert created.data_source == SOURCE
    assert ledger.provenance("QuiverTrade", 1) == []


def test_warn_when_the_last_run_of_a_task_fetched_nothing(ledger: Ledger) -> None:
    with ledger.run(TASK, SOURCE) as run:
        run.counts(fetched=0)
    last = ledger.runs.for_task(TASK).first()
    assert last is not None
    assert last.records_fetched == 0
    (finding,) = ledger.check("24h")
    assert (finding.kind, finding.run_id) == ("empty", last.run_id)
