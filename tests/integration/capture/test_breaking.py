"""Capture that breaks never breaks the call, and the run says so; a redactor of one's own decides."""

import io
from typing import Any

import pytest
import requests

import audit_ledger
from audit_ledger import Ledger
from audit_ledger.recording.capture import copying, for_requests, rate_limits, telling
from audit_ledger.recording.capture.call import Call
from audit_ledger.recording.capture.copying import Copy
from tests.api_server import ROWS, ApiServer, serving
from tests.capturing import captured, capturing, one


@pytest.mark.parametrize("place", ["_head", "_read", "_begin"])
def test_the_call_goes_on_and_the_run_tells(
    ledger: Ledger, api: ApiServer, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise ValueError("broken on purpose, password=planted")

    inside = {
        "_head": (for_requests, "pairs"),
        "_read": (copying.Copy, "add"),
        "_begin": (for_requests, "Call"),
    }
    monkeypatch.setattr(*inside[place], broken)
    with capturing(ledger) as run:
        assert requests.get(f"{api.url}/rows", timeout=5).json() == ROWS
    call = one(ledger)
    assert call["capture_error"] == "ValueError: broken on purpose, password=[REDACTED]"
    assert call["run_id"] == run.id
    assert [found.kind for found in ledger.details(run.id).discrepancies] == ["capture"]


def test_what_breaks_in_the_background_is_told_as_well(
    ledger: Ledger, api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(rate_limits, "remaining", broken)
    with capturing(ledger):
        requests.get(f"{api.url}/rows", timeout=5)
    call = one(ledger)
    assert call["capture_error"].startswith("ZeroDivisionError")
    assert call["endpoint"] == f"{api.place}/rows"


def test_an_answer_that_cannot_be_followed_is_said(ledger: Ledger) -> None:
    class Odd(requests.adapters.HTTPAdapter):
        def build_response(self, request: Any, response: Any) -> requests.Response:
            built = super().build_response(request, response)
            built.raw = io.BytesIO(b"odd")
            return built

    with serving() as api, capturing(ledger), requests.Session() as session:
        session.mount("http://", Odd())
        assert session.get(f"{api.url}/rows", timeout=5).content == b"odd"
    assert "BytesIO" in one(ledger)["capture_error"]


def test_a_redactor_of_ones_own_comes_last_and_decides(url: str, api: ApiServer) -> None:
    def redactor(content: bytes, media_type: str) -> bytes:
        assert media_type == "application/json"
        return content.replace(b"Jos\xc3\xa9", b"somebody")

    with audit_ledger.connect(url, redactor=redactor) as ledger:
        with capturing(ledger) as run:
            requests.get(f"{api.url}/rows", timeout=5)
            run.api_call(endpoint="e", response={"Name": "José"})
        first, second = captured(ledger)
    assert {row["Name"] for row in first["answer"]} == {"somebody"}
    assert second["answer"] == {"Name": "somebody"}


@pytest.mark.parametrize("redactor", [lambda content, media_type: 1 / 0, lambda content, media_type: None])
def test_a_redactor_that_fails_keeps_the_body_off_the_record(
    url: str, api: ApiServer, admin: Any, redactor: Any
) -> None:
    with audit_ledger.connect(url, redactor=redactor) as ledger:
        with capturing(ledger) as run:
            assert requests.post(f"{api.url}/rows", json={"a": 1}, timeout=5).json() == ROWS
            run.api_call(endpoint="e", request={"a": 1})
        for call in captured(ledger):
            assert "request dropped: the redactor" in call["capture_error"]
            assert call["request"] is call["response"] is None
    assert admin.execute("SELECT count(*) FROM bodies").fetchone() == (0,)


def test_a_call_of_which_nothing_can_be_told_is_on_record_and_holds_nothing_up(
    ledger: Ledger, api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise ZeroDivisionError("password=planted")

    with capturing(ledger) as run:
        with monkeypatch.context() as patched:
            patched.setattr(telling.Finished, "_text", broken)
            patched.setattr(telling.Finished, "_url", property(broken))
            requests.get(f"{api.url}/rows", timeout=5)
            run.flush()
        requests.get(f"{api.url}/rows", timeout=5)
    first, second = captured(ledger)
    assert (first["endpoint"], first["capture_error"]) == ("unknown", "ZeroDivisionError")
    assert second["answer"] == ROWS


def test_headers_that_no_event_has_room_for_cost_the_headers_and_not_the_run(
    url: str, api: ApiServer
) -> None:
    many = {f"X-RateLimit-{number}": "\x01" * 900 for number in range(80)}
    with audit_ledger.connect(url) as ledger:
        with capturing(ledger) as run:
            calls = run.calls
            call = Call(calls, "GET", f"{api.url}/rows", [], Copy(100))
            call.answered(200, list(many.items()))
            call.finish()
            requests.get(f"{api.url}/rows", timeout=5)
        first, second = captured(ledger)
    assert first["http_status_code"] == 200
    assert first["endpoint"] == f"{api.place}/rows"
    assert "InvalidValue" in first["capture_error"]
    assert second["answer"] == ROWS
