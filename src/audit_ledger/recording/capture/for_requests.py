"""Capture of calls made with requests, and of the retries that urllib3 makes beneath it.

`HTTPAdapter.send` is one hop: redirects are hops of their own, and so is each attempt of a
`urllib3.util.Retry`, which tells of it by `increment`. The answer's body is copied as the script reads
it: the urllib3 response becomes one of a subclass whose reads pass the bytes on.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import requests
import urllib3
from urllib3.exceptions import HTTPError
from urllib3.util.response import is_fp_closed

from audit_ledger.recording.capture.call import Call, CallLog, harmless, pairs
from audit_ledger.recording.capture.copying import Copy, Sent, SentFile, as_bytes
from audit_ledger.recording.capture.current import inside
from audit_ledger.recording.capture.instrument import wanted

_sending = threading.local()
"""The call that this thread is sending, as `call`."""


class CapturingSession(requests.Session):
    """A `requests.Session` whose calls belong to one run, whichever thread makes them."""

    def __init__(self, calls: CallLog) -> None:
        super().__init__()
        self._calls = calls

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send a prepared request."""
        with inside(self._calls):
            return super().send(request, **kwargs)


def sending(send: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `HTTPAdapter.send`."""

    @functools.wraps(send)
    def wrapped(adapter: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        calls = None if getattr(_sending, "call", None) else wanted()  # an adapter within an adapter: once
        call = None if calls is None else _begin(calls, request)
        if call is None:
            return send(adapter, request, *args, **kwargs)
        body = request.body
        _sending.call = call
        _watch_body(call, request)
        call.start()
        try:
            response = send(adapter, request, *args, **kwargs)
        except BaseException as error:
            _sending.call.failed(error)
            raise
        finally:
            call, _sending.call = _sending.call, None
            request.body = body
        _answered(call, response.raw, response.status_code)
        return response

    return wrapped


def retrying(increment: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `Retry.increment`, which urllib3 calls after each attempt that failed."""

    @functools.wraps(increment)
    def wrapped(
        retry: Any,
        method: Any = None,
        url: Any = None,
        response: Any = None,
        error: Any = None,
        *rest: Any,
        **more: Any,
    ) -> Any:
        call = getattr(_sending, "call", None)
        if call is not None and response is not None:
            _head(call, response, response.status)
        result = increment(retry, method, url, response, error, *rest, **more)  # raises where it was the last
        if call is not None:
            _sending.call = _again(call, response, error) or call
        return result

    return wrapped


def sleeping(sleep: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `Retry.sleep`: the next attempt begins after it."""

    @functools.wraps(sleep)
    def wrapped(retry: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return sleep(retry, *args, **kwargs)
        finally:
            call = getattr(_sending, "call", None)
            if call is not None:
                call.begin()

    return wrapped


@harmless
def _begin(calls: CallLog, request: Any) -> Call:
    body = request.body
    content = as_bytes(body) if isinstance(body, str | bytes | bytearray) else b""
    return Call(
        calls,
        str(request.method or "GET"),
        str(request.url),
        pairs(request.headers),
        Copy(calls.cap, content),
    )


@harmless
def _watch_body(call: Call, request: Any) -> None:
    """Copy a body that is read as it is sent."""
    body = request.body
    if body is not None and not isinstance(body, str | bytes | bytearray):
        request.body = (SentFile if hasattr(body, "read") else Sent)(body, call.request)


@harmless
def _head(call: Call, raw: Any, status: int) -> None:
    call.answered(status, pairs(raw.headers))


@harmless
def _again(call: Call, response: Any, error: Any) -> Call:
    """The attempt is over; another one begins."""
    again = call.again()
    if error is not None:
        call.failed(error)
    else:
        try:  # urllib3 would read it now and throw it away
            for chunk in response.stream(1 << 16, decode_content=False):
                call.response.add(chunk)
            call.finish()
        except (HTTPError, OSError) as broken:
            call.failed(broken)
    again.start()
    return again


@harmless
def _answered(call: Call, raw: Any, status: int) -> None:
    _head(call, raw, status)
    if isinstance(raw, urllib3.HTTPResponse) and not isinstance(raw, _Watched):
        raw.__class__ = _watched(type(raw))
        raw._audit_ledger_call = call  # type: ignore[attr-defined]  # noqa: SLF001 - ours, on their object
        call.decoded = True
    else:
        call.capture_error = f"the answer's body cannot be followed: {type(raw).__name__}"
        call.finish()


@functools.cache
def _watched(kind: type[Any]) -> type[Any]:
    return type(kind.__name__, (_Watched, kind), {"__module__": kind.__module__})


class _Watched:
    """What is mixed into a urllib3 response: each read by the script is copied."""

    _audit_ledger_call: Call

    def stream(self, amt: int | None = 1 << 16, decode_content: bool | None = None) -> Iterator[bytes]:
        return _following(self, super().stream(amt, decode_content), decode_content)  # type: ignore[misc]

    def read_chunked(self, amt: int | None = None, decode_content: bool | None = None) -> Iterator[bytes]:
        return _following(self, super().read_chunked(amt, decode_content), decode_content)  # type: ignore[misc]

    def read(
        self, amt: int | None = None, decode_content: bool | None = None, *args: Any, **kwargs: Any
    ) -> bytes:
        with self._audit_ledger_call.reading() as outermost:
            chunk: bytes = super().read(amt, decode_content, *args, **kwargs)  # type: ignore[misc]
            if outermost:
                over = amt is None or amt < 0 or (not chunk and amt > 0)
                _read(self._audit_ledger_call, self, chunk, decode_content, over=over)
        return chunk

    def read1(self, amt: int | None = None, decode_content: bool | None = None) -> bytes:
        with self._audit_ledger_call.reading() as outermost:
            chunk: bytes = super().read1(amt, decode_content)  # type: ignore[misc]
            if outermost:
                _read(
                    self._audit_ledger_call, self, chunk or b"", decode_content, over=not chunk and amt != 0
                )
        return chunk

    def close(self) -> None:
        call = self._audit_ledger_call
        if not call.finished:
            _closing(call, self)
        super().close()  # type: ignore[misc]


def _following(raw: Any, chunks: Iterator[bytes], decode_content: bool | None) -> Iterator[bytes]:
    """What a generator of a response yields, copied where no other read is around it."""
    call = raw._audit_ledger_call  # noqa: SLF001 - ours, on their object
    while True:
        with call.reading() as outermost:
            chunk = next(chunks, None)
            if outermost:
                _read(call, raw, chunk or b"", decode_content, over=chunk is None)
        if chunk is None:
            return
        yield chunk


@harmless
def _read(call: Call, raw: Any, chunk: bytes, decode_content: bool | None, *, over: bool) -> None:
    if chunk:
        if call.decoded and not (raw.decode_content if decode_content is None else decode_content):
            call.decoded = False
        call.response.add(chunk)
    if over and not call.finished:
        call.stop()
        call.finish()


@harmless
def _closing(call: Call, raw: Any) -> None:
    """The script is through with it, or it is garbage: wait for nothing here."""
    call.partial = not is_fp_closed(raw._fp)  # noqa: SLF001 - no public name says it
    call.finish(late=True)
