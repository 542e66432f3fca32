"""The commands about API calls: what was asked, what came back, and what is not there any more."""

import json
from collections.abc import Iterator

import pytest
import requests
from typer.testing import CliRunner, Result

import audit_ledger
from audit_ledger import Ledger, Run, cli
from audit_ledger.cli.app import app
from audit_ledger.errors import Erased
from tests.api_server import ROWS, ApiServer, serving
from tests.capturing import capturing


@pytest.fixture
def api() -> Iterator[ApiServer]:
    with serving() as server:
        yield server


@pytest.fixture
def run(ledger: Ledger, api: ApiServer, url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run with an answered call, one that was not found, and one that nobody answered."""
    monkeypatch.setenv("AUDIT_LEDGER_URL", url)
    run: Run
    with capturing(ledger) as run:
        requests.post(f"{api.url}/rows?page=1", json={"n": 1}, timeout=5)
        requests.get(f"{api.url}/gone", timeout=5)
        with pytest.raises(requests.ConnectionError):
            requests.get("http://127.0.0.1:9/x", timeout=5)
    return run


def ask(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="audit-ledger")


def test_calls_lists_the_calls_of_a_run_newest_first(run: Run, api: ApiServer) -> None:
    lines = ask("calls", run.id).stdout.splitlines()
    assert "127.0.0.1:9/x" in lines[1]
    assert "none" in lines[1]
    assert "404" in lines[2]
    assert f"{api.place}/rows" in lines[3]
    assert "POST" in lines[3]
    assert len(lines) == 4
    assert len(ask("calls", run.id.hex[:8], "--failed").stdout.splitlines()) == 3
    assert len(ask("calls", run.id, "--limit", 1).stdout.splitlines()) == 2


def test_calls_as_json_have_the_columns_of_the_table_first(run: Run, ledger: Ledger) -> None:
    rows = json.loads(ask("calls", run.id, "--json").stdout)
    call = ledger.calls.first()
    assert call is not None
    assert list(rows[0])[:10] == list(call.__dataclass_fields__)
    assert rows[0]["error_class"] == "requests.exceptions.ConnectionError"
    assert rows[2]["response_headers"]["content-type"] == "application/json"
    assert [row["http_status_code"] for row in rows] == [None, 404, 200]


def test_a_run_without_calls_is_said(ledger: Ledger, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIT_LEDGER_URL", url)
    with ledger.run("task", "source") as run:
        pass
    assert ask("calls", run.id).stderr == "no calls\n"
    assert json.loads(ask("calls", run.id, "--json").stdout) == []


def test_payload_shows_a_request_and_a_response(run: Run, ledger: Ledger, api: ApiServer) -> None:
    call = ledger.calls.order_by("id").first()
    assert call is not None
    said = ask("payload", call.api_response_payload_id)
    assert said.exit_code == cli.FINE
    head, _, body = said.stdout.partition("\n\n")
    assert str(run.id) in head
    assert json.loads(body) == ROWS
    raw = ask("payload", call.api_request_payload_id, "--raw").stdout_bytes
    assert raw.startswith(b"POST /rows?page=1 HTTP/1.1\r\n")
    assert raw.endswith(b'\r\n\r\n{"n": 1}')
    (row,) = json.loads(ask("payload", call.api_request_payload_id, "--json").stdout)
    assert row["payload"] == {"n": 1}
    assert row["type"] == "ApiRequest"


def test_a_payload_that_there_is_not_is_said(run: Run) -> None:
    said = ask("payload", 4711)
    assert said.exit_code != cli.FINE
    assert "no payload has the id 4711" in said.stderr


def test_a_payload_too_large_to_keep_is_shown_as_such(
    url: str, api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIT_LEDGER_URL", url)
    with audit_ledger.connect(url, max_body_bytes=100) as ledger:
        with capturing(ledger):
            size = len(requests.get(f"{api.url}/rows", timeout=5).content)
        call = ledger.calls.first()
    assert call is not None
    assert f"{size:,} bytes" in ask("payload", call.api_response_payload_id).stdout
    raw = ask("payload", call.api_response_payload_id, "--raw")
    assert raw.exit_code == cli.FAILED
    assert "too large to keep" in raw.stderr


def test_an_erased_payload_says_by_whom_and_why(run: Run, ledger: Ledger, officer: Ledger) -> None:
    call = ledger.calls.order_by("id").first()
    assert call is not None
    assert call.api_response_payload_id is not None
    officer.erase_payload(call.api_response_payload_id, reason="request 17", by="privacy team")
    with pytest.raises(Erased, match=r"privacy team.*request 17"):
        ledger.payload(call.api_response_payload_id)
