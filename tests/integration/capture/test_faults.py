"""What is on record of a call that failed, or was tried again."""

import io
import ssl
from datetime import timedelta

import httpx
import pytest
import requests
import trustme
from urllib3.util import Retry

from audit_ledger import Ledger
from tests.api_server import ROWS, ApiServer, serving
from tests.capturing import Fetch, captured, capturing, one, patient


def test_no_connection_is_on_record_with_the_error(ledger: Ledger, fetch: Fetch) -> None:
    with capturing(ledger), pytest.raises((requests.ConnectionError, httpx.ConnectError)) as raised:
        fetch("http://127.0.0.1:9/x?page=1")
    call = one(ledger)
    assert call["http_status_code"] is None
    assert call["asked"] == "GET /x?page=1"
    assert call["error_class"] == f"{raised.type.__module__}.{raised.type.__qualname__}"
    assert call["error_message"]
    assert ledger.calls.failed().count() == 1


def test_a_connection_that_is_dropped_is_on_record(ledger: Ledger, api: ApiServer, fetch: Fetch) -> None:
    with capturing(ledger), pytest.raises((requests.ConnectionError, httpx.RemoteProtocolError)):
        fetch(f"{api.url}/drop")
    assert one(ledger)["error_class"] in (
        "requests.exceptions.ConnectionError",
        "httpx.RemoteProtocolError",
    )


def test_a_timeout_is_on_record(ledger: Ledger, api: ApiServer) -> None:
    with capturing(ledger):
        with pytest.raises(requests.ReadTimeout):
            requests.get(f"{api.url}/slow", timeout=0.1)
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(f"{api.url}/slow", timeout=0.1)
    assert [call["error_class"] for call in captured(ledger)] == [
        "requests.exceptions.ReadTimeout",
        "httpx.ReadTimeout",
    ]


def test_a_certificate_that_nobody_vouches_for_is_on_record(ledger: Ledger, fetch: Fetch) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with serving(context) as api, capturing(ledger), pytest.raises(Exception, match="CERTIFICATE"):
        fetch(f"{api.url}/rows")
    call = one(ledger)
    assert call["error_class"] in ("requests.exceptions.SSLError", "httpx.ConnectError")
    assert "CERTIFICATE_VERIFY_FAILED" in call["error_message"]
    assert call["http_status_code"] is None


def test_a_body_that_breaks_off_is_kept_as_far_as_it_came(
    ledger: Ledger, api: ApiServer, fetch: Fetch
) -> None:
    with capturing(ledger), pytest.raises(Exception, match=r"(?i)incomplete|without sending complete"):
        fetch(f"{api.url}/truncated")
    call = one(ledger)
    assert call["http_status_code"] == 200
    assert call["response_partial"]
    assert call["error_class"]
    assert ledger.calls.successful().count() == 0
    assert ledger.calls.failed().count() == 1


def test_a_body_that_does_not_decode_is_on_record(ledger: Ledger, api: ApiServer, fetch: Fetch) -> None:
    with capturing(ledger), pytest.raises((requests.RequestException, httpx.DecodingError)):
        fetch(f"{api.url}/broken-gzip")
    call = one(ledger)
    assert call["http_status_code"] == 200
    assert call["response_partial"] or bytes(call["bytes"]) == b"no gzip at all"


def test_each_attempt_of_a_retry_is_on_record(ledger: Ledger, api: ApiServer) -> None:
    api.away = 2
    with capturing(ledger), requests.Session() as session:
        session.mount("http://", patient())
        assert session.post(f"{api.url}/rows", json={"a": 1}, timeout=5).json() == ROWS
    calls = captured(ledger)
    assert [(call["attempt"], call["http_status_code"]) for call in calls] == [
        (1, 503),
        (2, 503),
        (3, 200),
    ]
    assert [call["answer"] for call in calls] == [{"error": "away"}, {"error": "away"}, ROWS]
    assert [call["asked"] for call in calls] == [{"a": 1}] * 3


def test_the_pause_between_two_attempts_is_part_of_neither(ledger: Ledger, api: ApiServer) -> None:
    api.away = 2
    retry = Retry(2, status_forcelist=[503], allowed_methods=None, backoff_factor=0.3)  # pauses 0, then 0.6 s
    with capturing(ledger), requests.Session() as session:
        session.mount("http://", requests.adapters.HTTPAdapter(max_retries=retry))
        session.get(f"{api.url}/rows", timeout=5)
    first, second, third = captured(ledger)
    assert third["occurred_at"] - second["captured_at"] >= timedelta(seconds=0.5)
    assert max(call["duration_ms"] for call in (first, second, third)) < 500


def test_the_last_attempt_of_a_retry_in_vain_is_on_record(ledger: Ledger, api: ApiServer) -> None:
    api.away = 9
    with capturing(ledger), requests.Session() as session:
        session.mount("http://", patient())
        with pytest.raises(requests.exceptions.RetryError):
            session.get(f"{api.url}/rows", timeout=5)
    calls = captured(ledger)
    assert [(call["attempt"], call["http_status_code"]) for call in calls] == [
        (number, 503) for number in (1, 2, 3, 4)
    ]
    assert calls[-1]["error_class"] == "requests.exceptions.RetryError"


def test_attempts_without_a_connection_are_on_record(ledger: Ledger) -> None:
    with capturing(ledger), requests.Session() as session:
        session.mount("http://", patient())
        with pytest.raises(requests.ConnectionError):
            session.get("http://127.0.0.1:9/x", timeout=5)
    calls = captured(ledger)
    assert [call["attempt"] for call in calls] == [1, 2, 3, 4]
    assert all(call["error_class"] and call["http_status_code"] is None for call in calls)


def test_a_file_that_is_sent_again_is_recorded_whole_each_time(ledger: Ledger, api: ApiServer) -> None:
    api.away = 1
    with capturing(ledger), requests.Session() as session:
        session.mount("http://", patient())
        session.post(f"{api.url}/echo", data=io.BytesIO(b"line\n" * 1000), timeout=5)
    assert [call["asked"] for call in captured(ledger)] == ["line\n" * 1000] * 2
