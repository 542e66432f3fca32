"""What is on record of bodies that are read, or sent, bit by bit, and of those that are too large."""

import asyncio
import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests

import audit_ledger
from audit_ledger import Ledger
from audit_ledger.store.bodies import commitment
from tests.api_server import MEBIBYTE, ROWS, ApiServer
from tests.capturing import Fetch, by_requests, captured, capturing, one


def test_a_stream_is_recorded_once_it_is_read(ledger: Ledger, api: ApiServer) -> None:
    with capturing(ledger):
        with requests.get(f"{api.url}/rows", stream=True, timeout=5) as answer:
            lines = b"".join(answer.iter_lines())
        with httpx.stream("GET", f"{api.url}/rows") as response:
            content = b"".join(response.iter_raw())
    first, second = captured(ledger)
    assert bytes(first["bytes"]) == lines
    assert bytes(second["bytes"]) == content
    assert not (first["response_partial"])
    assert not (second["response_partial"])


@pytest.mark.parametrize("decode", [True, False])
def test_reads_of_the_raw_answer_are_recorded(ledger: Ledger, api: ApiServer, *, decode: bool) -> None:
    with capturing(ledger), requests.get(f"{api.url}/gzip", stream=True, timeout=5) as answer:
        parts = iter(lambda: answer.raw.read(100, decode_content=decode), b"")
        content = b"".join(parts)
    call = one(ledger)
    assert call["answer"] == ROWS
    assert json.loads(content if decode else gzip.decompress(content)) == ROWS


def test_what_a_script_does_not_read_is_not_on_record_and_the_call_says_so(
    ledger: Ledger, api: ApiServer
) -> None:
    with capturing(ledger):
        with requests.get(f"{api.url}/rows", stream=True, timeout=5) as answer:
            answer.raw.read(10)
        with httpx.stream("GET", f"{api.url}/rows"):
            pass
        forgotten = requests.get(f"{api.url}/rows", stream=True, timeout=5)
    calls = captured(ledger)
    assert [call["response_partial"] for call in calls] == [True] * 3
    assert sorted(bytes(call["bytes"]) for call in calls if call["bytes"]) == [b'[{"Ticker"']
    forgotten.close()


def test_an_answer_that_is_garbage_is_on_record(ledger: Ledger, api: ApiServer) -> None:
    with capturing(ledger):
        for _ in range(3):
            requests.get(f"{api.url}/rows", stream=True, timeout=5)
    assert [call["http_status_code"] for call in captured(ledger)] == [200] * 3


def test_generators_and_files_are_recorded_as_they_are_sent(
    ledger: Ledger, api: ApiServer, tmp_path: Path
) -> None:
    file = tmp_path / "upload"
    file.write_bytes(b"upload" * 1000)

    async def generated() -> Any:
        yield b"one "
        yield b"two"

    async def send() -> None:
        async with httpx.AsyncClient() as client:
            await client.post(f"{api.url}/echo", content=generated())

    with capturing(ledger):
        requests.post(f"{api.url}/echo", data=iter([b"one ", b"two"]), timeout=5)
        with file.open("rb") as opened:
            requests.post(f"{api.url}/echo", data=opened, timeout=5)
        httpx.post(f"{api.url}/echo", content=iter([b"one ", b"two"]))
        asyncio.run(send())
    calls = captured(ledger)
    assert [call["asked"] for call in calls] == ["one two", "upload" * 1000, "one two", "one two"]
    assert [asked.body.decode() for asked in api.asked] == [call["asked"] for call in calls]


def test_above_the_cap_commitment_and_size_are_kept(url: str, api: ApiServer, fetch: Fetch) -> None:
    with audit_ledger.connect(url, max_body_bytes=100) as ledger:
        with capturing(ledger):
            content = fetch(f"{api.url}/rows")
            fetch(f"{api.url}/echo", "POST", content=b"x" * 50) if fetch is not by_requests else fetch(
                f"{api.url}/echo", "POST", data=b"x" * 50
            )
        large, small = captured(ledger)
        assert large["response_truncated"]
        assert large["answer"] == {"truncated": {"size": len(content), "commitment": large["response"]}}
        assert large["bytes"] is None
        assert large["response"] == commitment(content, bytes(large["salt"]))
        assert small["answer"] == small["asked"] == "x" * 50


def test_a_request_above_the_cap_is_not_kept_either(url: str, api: ApiServer) -> None:
    with audit_ledger.connect(url, max_body_bytes=100) as ledger:
        with capturing(ledger):
            requests.post(f"{api.url}/none", data=b"x" * 500, timeout=5)
        call = one(ledger)
    assert call["request_truncated"]
    assert call["asked"] == {"truncated": {"size": 500, "commitment": call["request"]}}


def test_a_gibibyte_passes_in_flat_memory(ledger: Ledger, api: ApiServer) -> None:
    with capturing(ledger), requests.get(f"{api.url}/gibibyte", stream=True, timeout=60) as answer:
        tracemalloc.start()
        size = sum(len(chunk) for chunk in answer.iter_content(len(MEBIBYTE)))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert size == 1 << 30
    assert peak < 64 << 20
    call = one(ledger)
    assert call["response_truncated"]
    assert call["size"] == 1 << 30


def test_a_bomb_is_not_unpacked_past_the_cap(ledger: Ledger, api: ApiServer) -> None:
    with capturing(ledger):
        with httpx.stream("GET", f"{api.url}/bomb") as response:
            packed = sum(len(chunk) for chunk in response.iter_raw())
        with requests.get(f"{api.url}/bomb", stream=True, timeout=5) as answer:
            tracemalloc.start()
            for _ in answer.iter_content(1 << 16):
                pass
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
    raw, read = captured(ledger)
    assert raw["response_truncated"]
    assert raw["size"] == packed
    assert read["response_truncated"]
    assert read["size"] == 64 << 20
    assert peak < 48 << 20
