"""How the tests of HTTP capture call an API, and what they then find on record."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import requests
from urllib3.util import Retry

from audit_ledger import Ledger

Fetch = Callable[..., bytes]


def by_requests(url: str, method: str = "GET", **options: Any) -> bytes:
    return requests.request(method, url, timeout=5, **options).content


def by_httpx(url: str, method: str = "GET", **options: Any) -> bytes:
    return httpx.request(method, url, follow_redirects=True, **options).content


def by_httpx_async(url: str, method: str = "GET", **options: Any) -> bytes:
    async def fetch() -> bytes:
        async with httpx.AsyncClient(follow_redirects=True) as client:
            return (await client.request(method, url, **options)).content

    return asyncio.run(fetch())


CLIENTS = {"requests": by_requests, "httpx": by_httpx, "httpx async": by_httpx_async}


def captured(ledger: Ledger) -> list[dict[str, Any]]:
    """The calls on record, oldest first, with their payloads and bodies."""
    ledger.update_read_models()
    rows = ledger.database.query(
        "SELECT e.*, l.id AS log_id, q.payload::text AS asked, p.payload::text AS answer,"
        "       b.content AS bytes, b.size, b.salt"
        "  FROM api_call_made e"
        "  LEFT JOIN api_call_logs l ON l.id = e.position"
        "  LEFT JOIN api_payloads q ON q.id = l.api_request_payload_id"
        "  LEFT JOIN api_payloads p ON p.id = l.api_response_payload_id"
        "  LEFT JOIN bodies b ON b.commitment = e.response"
        " ORDER BY e.position"
    )
    return [row | {name: parsed(row[name]) for name in ("asked", "answer")} for row in rows]


def parsed(text: str | None) -> Any:
    """JSON, or its text where it is too deep for Python."""
    try:
        return None if text is None else json.loads(text)
    except RecursionError:
        return text


def one(ledger: Ledger) -> dict[str, Any]:
    [call] = captured(ledger)
    assert call["log_id"] == call["position"]
    return call


def capturing(ledger: Ledger) -> Any:
    return ledger.run("task", "source", capture=True)


def patient() -> requests.adapters.HTTPAdapter:
    retry = Retry(3, status_forcelist=[503], allowed_methods=None, backoff_factor=0.01)
    return requests.adapters.HTTPAdapter(max_retries=retry)
