"""What is on record of connections that httpx tries again by itself: `HTTPTransport(retries=…)`.

httpcore does so at once, then after 0.5 s, 1 s, …
"""

import asyncio
import gc
import logging
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from audit_ledger import Ledger
from audit_ledger.recording.capture.call import Call
from tests.api_server import ROWS, ApiServer, running, serving
from tests.capturing import captured, capturing, one

NOWHERE = "http://127.0.0.1:9/x"

Send = Callable[..., httpx.Response]
"""Sends one request: URL, extensions, options of the transport; what it is given as `json` is posted."""


def plainly(url: str, extensions: Any = None, json: Any = None, **options: Any) -> httpx.Response:
    with httpx.Client(transport=httpx.HTTPTransport(**options)) as client:
        return client.send(
            client.build_request("POST" if json else "GET", url, json=json, extensions=extensions)
        )


def in_a_loop(url: str, extensions: Any = None, json: Any = None, **options: Any) -> httpx.Response:
    async def sending() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(**options)) as client:
            return await client.send(
                client.build_request("POST" if json else "GET", url, json=json, extensions=extensions)
            )

    return asyncio.run(sending())


either = pytest.mark.parametrize("send", [plainly, in_a_loop])


class Late(ApiServer):
    """An API at whose port nobody listens until it opens."""

    def server_activate(self) -> None:
        pass

    def open(self) -> None:
        super().server_activate()


@contextmanager
def opening_after(failures: int) -> Iterator[Late]:
    """An API that opens as soon as so many connections have failed, by what httpcore logs of them."""
    server = Late()
    failed: list[logging.LogRecord] = []

    class Watching(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            failed.append(record)
            if len(failed) == failures:
                server.open()
                stack.enter_context(running(server))

    logger = logging.getLogger("httpcore.connection")
    watching = Watching()
    watching.addFilter(lambda record: record.getMessage().startswith("retry.started"))
    with ExitStack() as stack:
        stack.callback(server.server_close)
        stack.callback(logger.setLevel, logger.level)
        stack.callback(logger.removeHandler, watching)
        logger.addHandler(watching)
        logger.setLevel(logging.DEBUG)
        yield server


def attempts(calls: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(call["attempt"], call["http_status_code"], call["error_class"]) for call in calls]


def kind_of(send: Send) -> Callable[[Any], Any]:
    """Makes a trace function of the kind that the client wants, of one that takes a name and info."""

    def traced(saw: Callable[[str, Any], None]) -> Any:
        async def saw_async(event: str, info: Any) -> None:
            saw(event, info)

        return saw if send is plainly else saw_async

    return traced


@either
def test_each_connection_that_failed_is_a_call_of_its_own(ledger: Ledger, send: Send) -> None:
    with opening_after(2) as api, capturing(ledger):
        assert send(f"{api.url}/rows?page=1", json={"a": 1}, retries=3).json() == ROWS
    calls = captured(ledger)
    assert attempts(calls) == [
        (1, None, "httpcore.ConnectError"),
        (2, None, "httpcore.ConnectError"),
        (3, 200, None),
    ]
    assert all(call["error_message"] for call in calls[:2])
    assert [call["asked"] for call in calls] == [{"a": 1}] * 3
    assert [call["answer"] for call in calls] == [None, None, ROWS]
    assert {call["endpoint"] for call in calls} == {f"{api.place}/rows"}
    assert len(api.asked) == 1


@either
def test_the_pause_between_two_attempts_is_part_of_neither(ledger: Ledger, send: Send) -> None:
    with opening_after(2) as api, capturing(ledger):
        send(f"{api.url}/rows", retries=2)
    first, second, third = captured(ledger)
    assert third["occurred_at"] - second["captured_at"] >= timedelta(seconds=0.5)
    assert max(call["duration_ms"] for call in (first, second, third)) < 500


@either
def test_attempts_in_vain_are_all_on_record(ledger: Ledger, send: Send) -> None:
    with capturing(ledger), pytest.raises(httpx.ConnectError):
        send(NOWHERE, retries=2)
    assert attempts(captured(ledger)) == [
        (1, None, "httpcore.ConnectError"),
        (2, None, "httpcore.ConnectError"),
        (3, None, "httpx.ConnectError"),
    ]
    assert ledger.calls.failed().count() == 3


@either
def test_without_retries_there_is_one_attempt(ledger: Ledger, send: Send) -> None:
    with capturing(ledger), pytest.raises(httpx.ConnectError):
        send(NOWHERE)
    assert attempts(captured(ledger)) == [(1, None, "httpx.ConnectError")]


@either
def test_a_handshake_that_is_tried_again_is_on_record(ledger: Ledger, send: Send) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with serving(context) as api, capturing(ledger), pytest.raises(httpx.ConnectError):
        send(f"{api.url}/rows", retries=1)
    calls = captured(ledger)
    assert [call["attempt"] for call in calls] == [1, 2]
    assert all("CERTIFICATE_VERIFY_FAILED" in call["error_message"] for call in calls)


@either
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # httpcore leaves its socket to the collector
def test_unix_sockets_are_tried_again_too(ledger: Ledger, send: Send, tmp_path: Path) -> None:
    with capturing(ledger), pytest.raises(httpx.ConnectError):
        send("http://here/x", retries=1, uds=str(tmp_path / "nobody"))
    gc.collect()
    assert [(call["attempt"], call["endpoint"]) for call in captured(ledger)] == [
        (1, "here/x"),
        (2, "here/x"),
    ]


@either
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_httpx_does_not_try_a_proxy_again(ledger: Ledger, send: Send, scheme: str) -> None:
    with capturing(ledger), pytest.raises(httpx.ConnectError):
        send(f"{scheme}://example.invalid/x", retries=2, proxy="http://127.0.0.1:9")
    assert one(ledger)["attempt"] == 1


@either
def test_the_scripts_own_trace_sees_what_it_saw_and_its_request_is_as_it_was(
    ledger: Ledger, send: Send
) -> None:
    def events() -> list[tuple[str, list[str]]]:
        seen: list[tuple[str, list[str]]] = []
        trace = kind_of(send)(lambda event, info: seen.append((event, sorted(info))))
        with opening_after(1) as api:
            request = send(f"{api.url}/rows", {"trace": trace, "mine": 1}, retries=1).request
        assert request.extensions.pop("timeout")
        assert request.extensions == {"trace": trace, "mine": 1}
        return seen

    expected = events()
    with capturing(ledger):
        assert events() == expected
    assert {"connection.retry.complete", "http11.receive_response_body.complete"} <= {
        event for event, _ in expected
    }
    assert len(captured(ledger)) == 2


@either
def test_a_trace_that_raises_does_so_as_before(ledger: Ledger, send: Send) -> None:
    def trace(event: str, info: Any) -> None:
        if event == "connection.retry.started":
            raise ZeroDivisionError

    with capturing(ledger), pytest.raises(ZeroDivisionError):
        send(NOWHERE, {"trace": kind_of(send)(trace)}, retries=1)
    assert attempts(captured(ledger)) == [(1, None, "httpcore.ConnectError"), (2, None, "ZeroDivisionError")]


@either
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")  # httpcore refuses it
def test_a_trace_of_the_wrong_kind_is_refused_as_before(ledger: Ledger, send: Send) -> None:
    other = in_a_loop if send is plainly else plainly
    trace = kind_of(other)(lambda event, info: None)
    refusals = []
    for capture in (False, True):
        with ledger.run("task", "source", capture=capture), pytest.raises(TypeError) as refused:
            send(NOWHERE, {"trace": trace})
        refusals.append(str(refused.value))
    gc.collect()
    assert refusals[0] == refusals[1]
    assert one(ledger)["error_class"] == "TypeError"


@either
def test_capture_that_breaks_between_attempts_does_not_break_the_call(
    ledger: Ledger, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(call: Call) -> None:
        raise ValueError("broken on purpose")

    monkeypatch.setattr(Call, "again", broken)
    with opening_after(1) as api, capturing(ledger) as run:
        assert send(f"{api.url}/rows", retries=1).json() == ROWS
    assert one(ledger)["capture_error"] == "ValueError: broken on purpose"
    assert [found.kind for found in ledger.details(run.id).discrepancies] == ["capture"]


def test_a_call_that_is_cancelled_between_two_attempts_says_so(ledger: Ledger) -> None:
    async def cancelled() -> None:
        async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(retries=9)) as client:
            await asyncio.wait_for(client.get(NOWHERE), 0.3)

    with capturing(ledger), pytest.raises(TimeoutError):
        asyncio.run(cancelled())
    calls = captured(ledger)
    assert attempts(calls) == [
        (1, None, "httpcore.ConnectError"),
        (2, None, "httpcore.ConnectError"),
        (3, None, "asyncio.exceptions.CancelledError"),
    ]
    assert calls[-1]["duration_ms"] == 0


def test_one_request_sent_twice_at_once_is_told_apart(ledger: Ledger) -> None:
    async def twice() -> httpx.Request:
        async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(retries=1)) as client:
            request = client.build_request("GET", NOWHERE)
            errors = await asyncio.gather(*(client.send(request) for _ in range(2)), return_exceptions=True)
            assert {type(error) for error in errors} == {httpx.ConnectError}
            return request

    with capturing(ledger):
        assert asyncio.run(twice()).extensions.keys() == {"timeout"}
    assert sorted(call["attempt"] for call in captured(ledger)) == [1, 1, 2, 2]


@either
def test_a_body_that_is_read_as_it_is_sent_goes_with_the_attempt_that_sent_it(
    ledger: Ledger, send: Send
) -> None:
    def parts() -> Iterator[bytes]:
        yield from (b"one ", b"two")

    async def parts_async() -> Any:
        for part in parts():
            yield part

    async def post(url: str) -> bytes:
        async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(retries=1)) as client:
            return (await client.post(url, content=parts_async())).content

    with opening_after(1) as api, capturing(ledger):
        if send is plainly:
            with httpx.Client(transport=httpx.HTTPTransport(retries=1)) as client:
                content = client.post(f"{api.url}/echo", content=parts()).content
        else:
            content = asyncio.run(post(f"{api.url}/echo"))
    assert content == b"one two"
    assert [call["asked"] for call in captured(ledger)] == ["POST /echo", "one two"]
