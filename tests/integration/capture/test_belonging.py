"""Which run a call belongs to, and that nothing else is touched."""

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import requests
import urllib3

import audit_ledger
from audit_ledger import Ledger, Run
from audit_ledger.recording.capture import (
    instrument,
)
from tests.api_server import ROWS, ApiServer
from tests.capturing import Fetch, by_requests, captured, capturing


def test_calls_outside_of_a_run_are_left_alone(ledger: Ledger, api: ApiServer, fetch: Fetch) -> None:
    with instrument.instrument():
        fetch(f"{api.url}/rows")
    with ledger.run("task", "source"):
        fetch(f"{api.url}/rows")
    assert captured(ledger) == []


def test_instrument_captures_every_run_until_it_is_undone(
    ledger: Ledger, api: ApiServer, fetch: Fetch
) -> None:
    capture = audit_ledger.instrument()
    with ledger.run("task", "source"):
        fetch(f"{api.url}/rows")
    capture.undo()
    capture.undo()
    with ledger.run("task", "source"):
        fetch(f"{api.url}/rows")
    assert len(captured(ledger)) == 1


def test_a_session_of_the_run_records_and_other_sessions_do_not(ledger: Ledger, api: ApiServer) -> None:
    with ledger.run("task", "source") as run:
        session = run.session()
        assert isinstance(session, requests.Session)
        session.headers["X-Mine"] = "1"
        session.get(f"{api.url}/redirect", timeout=5)
        requests.get(f"{api.url}/gone", timeout=5)
    assert [call["asked"] for call in captured(ledger)] == ["GET /redirect", "GET /rows?page=2"]


def test_nothing_is_counted_twice(ledger: Ledger, api: ApiServer) -> None:
    class Wrapping(requests.adapters.HTTPAdapter):
        def send(self, *args: Any, **kwargs: Any) -> requests.Response:
            return requests.adapters.HTTPAdapter().send(*args, **kwargs)

    with audit_ledger.instrument(), capturing(ledger) as run, run.session() as session:
        session.mount("http://", Wrapping())
        session.get(f"{api.url}/rows", timeout=5)
    assert len(captured(ledger)) == 1


def test_runs_side_by_side_keep_their_calls_apart(ledger: Ledger, api: ApiServer) -> None:
    def script(number: int) -> None:
        with ledger.run(f"task {number}", "source", capture=True):
            for _ in range(10):
                requests.get(f"{api.url}/rows?task={number}", timeout=5)

    threads = [threading.Thread(target=script, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(4):
        run = ledger.runs.for_task(f"task {number}").first()
        assert run is not None
        assert run.calls.count() == 10
    rows = ledger.database.query(
        "SELECT r.task_name, p.payload #>> '{}' AS asked, count(*) AS n FROM api_payloads p"
        "  JOIN api_call_logs l ON l.api_request_payload_id = p.id"
        "  JOIN data_ingestion_runs r ON r.id = l.data_ingestion_run_id GROUP BY 1, 2 ORDER BY 1"
    )
    assert [(row["asked"], row["n"]) for row in rows] == [
        (f"GET /rows?task={number}", 10) for number in range(4)
    ]


def test_threads_pools_and_tasks_of_a_run_are_inside_it(ledger: Ledger, api: ApiServer) -> None:
    with ThreadPoolExecutor(2) as pool:
        pool.submit(int).result()  # its thread is older than the run
        with capturing(ledger):
            thread = threading.Thread(target=by_requests, args=[f"{api.url}/rows?in=thread"])
            thread.start()
            thread.join()
            list(pool.map(by_requests, [f"{api.url}/rows?in=pool{n}" for n in range(3)]))

            async def gather() -> None:
                async with httpx.AsyncClient() as client:
                    await asyncio.gather(*(client.get(f"{api.url}/rows?in=task{n}") for n in range(3)))
                await asyncio.to_thread(by_requests, f"{api.url}/rows?in=to_thread")

            asyncio.run(gather())
        pool.submit(by_requests, f"{api.url}/rows?in=nothing").result()
    assert {call["asked"].partition("=")[2] for call in captured(ledger)} == {
        *("thread", "pool0", "pool1", "pool2", "task0", "task1", "task2", "to_thread")
    }


def test_a_run_inside_a_run_takes_its_own_calls(ledger: Ledger, api: ApiServer) -> None:
    with capturing(ledger) as outer:
        with capturing(ledger) as inner:
            requests.get(f"{api.url}/rows?in=inner", timeout=5)
        requests.get(f"{api.url}/rows?in=outer", timeout=5)
    assert [(call["run_id"], call["asked"]) for call in captured(ledger)] == [
        (inner.id, "GET /rows?in=inner"),
        (outer.id, "GET /rows?in=outer"),
    ]


def test_a_decorated_function_and_log_ingestion_capture_too(ledger: Ledger, api: ApiServer) -> None:
    @ledger.run("decorated", "source", capture=True)
    def script() -> None:
        requests.get(f"{api.url}/rows", timeout=5)

    @ledger.run("async", "source", capture=True)
    async def script_async() -> None:
        async with httpx.AsyncClient() as client:
            await client.get(f"{api.url}/rows")

    def fetch(run: Run) -> None:
        requests.get(f"{api.url}/rows", timeout=5)

    script()
    asyncio.run(script_async())
    ledger.log_ingestion(task_name="logged", data_source="source", fetch=fetch, capture=True)
    assert len(captured(ledger)) == 3
    assert {run.calls.count() for run in ledger.runs} == {1}


def test_a_call_after_the_end_of_its_run_goes_through_with_a_warning(
    ledger: Ledger, api: ApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    with audit_ledger.instrument(), ledger.run("task", "source") as run:
        session = run.session()
    with audit_ledger.instrument(), caplog.at_level(logging.WARNING, "audit_ledger"):
        assert session.get(f"{api.url}/rows", timeout=5).json() == ROWS
        assert session.get(f"{api.url}/rows", timeout=5).json() == ROWS
    assert captured(ledger) == []
    assert len([record for record in caplog.records if "after the end" in record.message]) == 1


def test_what_someone_else_wraps_over_ours_is_left_alone(ledger: Ledger, api: ApiServer) -> None:
    original = requests.adapters.HTTPAdapter.send
    seen: list[str] = []

    def wrap() -> None:
        inner = requests.adapters.HTTPAdapter.send

        def send(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
            seen.append(request.url)
            return inner(self, request, *args, **kwargs)

        send.__wrapped__ = inner  # type: ignore[attr-defined]
        requests.adapters.HTTPAdapter.send = send  # type: ignore[method-assign]

    try:
        with capturing(ledger):
            wrap()
            requests.get(f"{api.url}/rows", timeout=5)
        requests.get(f"{api.url}/rows", timeout=5)
        with capturing(ledger):
            requests.get(f"{api.url}/rows", timeout=5)
        assert len(seen) == 3
        assert len(captured(ledger)) == 2
    finally:
        requests.adapters.HTTPAdapter.send = original  # type: ignore[method-assign]


def test_urllib3_by_itself_is_left_alone(ledger: Ledger, api: ApiServer) -> None:
    with capturing(ledger), urllib3.PoolManager() as pool:
        pool.request("GET", f"{api.url}/rows")
    assert captured(ledger) == []
