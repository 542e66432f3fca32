"""What is on record of a call that was answered."""

import re
import threading
from typing import Any

import pytest
import requests

import audit_ledger
from audit_ledger import Ledger
from tests.api_server import DEEP, ROWS, ApiServer
from tests.capturing import Fetch, captured, capturing, one


def test_a_call_is_recorded_with_what_was_asked_and_what_came_back(
    ledger: Ledger, api: ApiServer, fetch: Fetch
) -> None:
    with capturing(ledger) as run:
        content = fetch(f"{api.url}/rows?page=1&q=a%20b#top", headers={"X-Mine": "1"})
    call = one(ledger)
    assert call["run_id"] == run.id
    assert call["endpoint"] == f"{api.place}/rows"
    assert call["method"] == "GET"
    assert call["http_status_code"] == 200
    assert call["rate_limit_remaining"] == 41
    assert call["response_headers"]["x-ratelimit-remaining"] == "41"
    assert call["asked"] == "GET /rows?page=1&q=a%20b"
    assert call["answer"] == ROWS
    assert bytes(call["bytes"]) == content
    assert (call["attempt"], call["error_class"], call["capture_error"]) == (1, None, None)
    assert not (call["response_partial"])
    assert not (call["response_truncated"])
    assert not (call["request_truncated"])
    assert run.started_at <= call["occurred_at"] <= call["captured_at"]


def test_the_request_is_an_http_message_with_headers_and_body(
    ledger: Ledger, api: ApiServer, fetch: Fetch
) -> None:
    with capturing(ledger):
        fetch(f"{api.url}/echo?n=1", "POST", json={"name": "José"}, headers={"X-Mine": "yes"})
    call = one(ledger)
    assert call["asked"] == {"name": "José"}
    [row] = ledger.database.query("SELECT * FROM bodies WHERE commitment = %s", [call["request"]])
    assert row["media_type"] == "message/http; msgtype=request"
    head, body = bytes(row["content"]).split(b"\r\n\r\n", 1)
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /echo?n=1 HTTP/1.1"
    assert f"host: {api.place}" in [line.lower() for line in lines]
    assert "x-mine: yes" in [line.lower() for line in lines]
    assert body == api.asked[0].body


def test_secrets_are_cut_out_of_what_is_recorded_and_still_sent(
    ledger: Ledger, api: ApiServer, fetch: Fetch, admin: Any
) -> None:
    with capturing(ledger):
        fetch(
            f"{api.url}/echo?api_key=planted1",
            "POST",
            json={"password": "planted2", "n": 1},
            headers={"Authorization": "Bearer planted3", "Cookie": "sid=planted4"},
        )
    assert "planted3" in api.asked[0].headers["Authorization"]
    assert b"planted2" in api.asked[0].body
    call = one(ledger)
    assert call["asked"] == call["answer"] == {"password": "[REDACTED]", "n": 1}
    everything = admin.execute("SELECT string_agg(convert_from(state, 'UTF8'), '') FROM events").fetchone()[
        0
    ] + "".join(bytes(content).decode() for (content,) in admin.execute("SELECT content FROM bodies"))
    assert "planted" not in everything
    assert "api_key=[REDACTED]" in everything


def test_a_redirect_is_a_call_of_its_own(ledger: Ledger, api: ApiServer, fetch: Fetch) -> None:
    with capturing(ledger):
        fetch(f"{api.url}/redirect")
    first, second = captured(ledger)
    assert (first["http_status_code"], first["asked"]) == (302, "GET /redirect")
    assert first["response_headers"]["location"] == "/rows?page=2"
    assert (second["http_status_code"], second["asked"]) == (200, "GET /rows?page=2")
    assert second["answer"] == ROWS


def test_an_answer_without_a_body_has_no_payload(ledger: Ledger, api: ApiServer, fetch: Fetch) -> None:
    with capturing(ledger):
        for path in ("/empty", "/none", "/empty-chunked"):
            fetch(api.url + path)
        fetch(f"{api.url}/rows", "HEAD")
    calls = captured(ledger)
    assert [call["http_status_code"] for call in calls] == [200, 204, 200, 200]
    assert all(call["response"] is None for call in calls)
    assert not any(call["response_partial"] or call["capture_error"] for call in calls)


@pytest.mark.parametrize(
    ("path", "payload"),
    [
        ("/chunked", {"a": 1}),
        ("/gzip", ROWS),
        ("/br", ROWS),
        ("/no-json", '{"a": '),
        ("/untyped", {"a": 1}),
        ("/latin1", {"base64": "Sm9z6Q=="}),
        ("/gone", {"error": "gone"}),
        ("/deep", DEEP.decode()),
    ],
)
def test_a_body_is_shown_as_json_else_as_text_else_as_base64(
    ledger: Ledger, api: ApiServer, fetch: Fetch, path: str, payload: object
) -> None:
    with capturing(ledger):
        content = fetch(api.url + path)
    call = one(ledger)
    assert call["answer"] == payload
    assert bytes(call["bytes"]) == content


def test_a_binary_body_is_kept_to_the_byte(ledger: Ledger, api: ApiServer, fetch: Fetch) -> None:
    with capturing(ledger):
        fetch(f"{api.url}/binary")
    call = one(ledger)
    assert bytes(call["bytes"]) == bytes(range(256))
    assert call["response_media_type"] == "image/png"


def test_the_same_body_is_stored_once(ledger: Ledger, api: ApiServer, fetch: Fetch) -> None:
    with capturing(ledger):
        for page in range(5):
            fetch(f"{api.url}/rows?page={page}")
    calls = captured(ledger)
    assert len({call["response"] for call in calls}) == 1
    assert len({call["request"] for call in calls}) == 5


def test_durations_come_from_waiting_for_the_network(ledger: Ledger, api: ApiServer) -> None:
    with capturing(ledger) as run:
        requests.get(f"{api.url}/slow", timeout=5)
        with requests.get(f"{api.url}/rows", stream=True, timeout=5) as answer:
            pause = threading.Event()
            for _ in answer.iter_content(10):
                pause.wait(0.01)
        run.flush()
    slow, streamed = captured(ledger)
    assert slow["duration_ms"] >= 1000
    assert streamed["duration_ms"] < 100 * len(ROWS)


def test_the_script_does_not_wait_for_the_database(ledger: Ledger, api: ApiServer, admin: Any) -> None:
    with capturing(ledger) as run:
        run.flush()
        with admin.transaction():  # nobody can append meanwhile
            admin.execute("SELECT pg_advisory_xact_lock(append_lock_key())")
            for page in range(50):
                requests.get(f"{api.url}/rows?page={page}", timeout=5)
            assert admin.execute("SELECT count(*) FROM api_call_made").fetchone() == (0,)
    assert len(captured(ledger)) == 50


def test_the_settings_of_redaction_reach_the_calls(url: str, api: ApiServer) -> None:
    settings: dict[str, Any] = {
        "redact_names": ("house number",),
        "redact_patterns": (r"NV[A-Z]+",),
        "redact_headers": ("x-mine",),
        "redact_key": "sixteen bytes at least",
    }
    with audit_ledger.connect(url, **settings) as ledger:
        with capturing(ledger):
            requests.post(f"{api.url}/echo", json={"houseNumber": "12b", "note": "NVDA up"}, timeout=5)
        answer = one(ledger)["answer"]
    assert re.fullmatch(r"\[REDACTED:[0-9a-f]{8}\]", answer["houseNumber"])
    assert re.fullmatch(r"\[REDACTED:[0-9a-f]{8}\] up", answer["note"])
