"""Capture of calls made with httpx, sync and async: each passage through its HTTP transports is one hop.

A transport with `retries` connects anew where connecting fails, far below, in httpcore. httpcore tells of it
by its `trace` extension (https://www.encode.io/httpcore/extensions/#trace), so each attempt becomes a call of
its own. What goes down is a twin of the script's request, which itself stays as it is.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import Any

import httpx

from audit_ledger.recording.capture.call import Call, CallLog, harmless, pairs
from audit_ledger.recording.capture.copying import Copy
from audit_ledger.recording.capture.instrument import wanted

Trace = Callable[[str, dict[str, Any]], Any]
"""What httpcore calls, with an event's name and what there is to say of it."""


def handling(handle: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `HTTPTransport.handle_request`."""

    @functools.wraps(handle)
    def wrapped(transport: Any, request: httpx.Request) -> Any:
        begun = _hop(request, _nothing)
        if begun is None:
            return handle(transport, request)
        hop, twin = begun
        with hop:
            response = handle(transport, twin)
        _answered(hop.over(), response)
        return response

    return wrapped


def handling_async(handle: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `AsyncHTTPTransport.handle_async_request`."""

    @functools.wraps(handle)
    async def wrapped(transport: Any, request: httpx.Request) -> Any:
        begun = _hop(request, _nothing_async)
        if begun is None:
            return await handle(transport, request)
        hop, twin = begun
        with hop:
            response = await handle(transport, twin)
        _answered(hop.over(), response)
        return response

    return wrapped


class _Hop:
    """A request on its way through a transport, in as many attempts as that makes."""

    def __init__(self, call: Call) -> None:
        self._call: Call | None = call
        self._error: BaseException | None = None

    def __enter__(self) -> None:
        assert self._call is not None  # not over yet
        self._call.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.over().failed(error)

    def over(self) -> Call:
        """The last attempt; nothing is kept of it here, where httpcore's request still leads to."""
        call, self._call, self._error = self._call, None, None
        assert call is not None  # said once
        return call

    def trace(self, theirs: Trace) -> Trace:
        """Follow the attempts, then do as the script's own function does."""

        def trace(event: str, info: dict[str, Any]) -> Any:
            if self._call is not None and event.startswith("connection."):
                self._call = _connecting(self._call, self, event, info) or self._call
            return theirs(event, info)

        return trace

    def connecting(self, call: Call, event: str, info: dict[str, Any]) -> Call:
        """What is under way once this has happened."""
        if event == "connection.retry.started":
            assert self._error is not None  # it is why there is another attempt
            again = call.again()
            call.failed(self._error)
            return again
        if event == "connection.retry.complete":
            call.begin()
        elif event.endswith(".failed"):
            self._error = info["exception"]
        return call


def _nothing(event: str, info: dict[str, Any]) -> None:
    """The trace of a script that has none."""


async def _nothing_async(event: str, info: dict[str, Any]) -> None:
    """The same for async transports, whose trace functions are coroutine functions."""


def _hop(request: httpx.Request, default: Trace) -> tuple[_Hop, httpx.Request] | None:
    calls = wanted()
    begun: tuple[_Hop, httpx.Request] | None = None if calls is None else _begin(calls, request, default)
    return begun


@harmless
def _begin(calls: CallLog, request: httpx.Request, default: Trace) -> tuple[_Hop, httpx.Request]:
    twin: httpx.Request = object.__new__(type(request))  # copy.copy() would leave out stream and extensions
    vars(twin).update(vars(request))
    copy = Copy(calls.cap)
    call = Call(calls, request.method, str(request.url), pairs(request.headers.raw), copy)
    hop = _Hop(call)
    theirs = request.extensions.get("trace")
    twin.extensions = {**request.extensions, "trace": hop.trace(default if theirs is None else theirs)}
    try:
        copy.add(request.content)
    except httpx.RequestNotRead:
        twin.stream = _Sent(request.stream, copy)
    return hop, twin


@harmless
def _connecting(call: Call, hop: _Hop, event: str, info: dict[str, Any]) -> Call:
    return hop.connecting(call, event, info)


@harmless
def _answered(call: Call, response: httpx.Response) -> None:
    call.answered(response.status_code, pairs(response.headers.raw))
    response.stream = _Received(response.stream, call)


class _Sent(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A request body that is copied as it is sent."""

    def __init__(self, stream: Any, copy: Copy) -> None:
        self._stream = stream
        self._copy = copy

    def __iter__(self) -> Iterator[bytes]:
        self._copy.restart()
        for chunk in self._stream:
            self._copy.add(chunk)
            yield chunk

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self._copy.restart()
        async for chunk in self._stream:
            self._copy.add(chunk)
            yield chunk

    def close(self) -> None:
        self._stream.close()

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Received(httpx.SyncByteStream, httpx.AsyncByteStream):
    """An answer's body that is copied as it is read."""

    def __init__(self, stream: Any, call: Call) -> None:
        self._stream = stream
        self._call = call

    def __iter__(self) -> Iterator[bytes]:
        chunks = iter(self._stream)
        while True:
            with self._call.reading():
                chunk = next(chunks, None)
            if chunk is None:
                break
            _read(self._call, chunk)
            yield chunk
        self._call.finish()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = aiter(self._stream)
        while True:
            with self._call.reading():
                chunk = await anext(chunks, None)
            if chunk is None:
                break
            _read(self._call, chunk)
            yield chunk
        self._call.finish()

    def close(self) -> None:
        _closing(self._call)
        self._stream.close()

    async def aclose(self) -> None:
        _closing(self._call)
        await self._stream.aclose()


@harmless
def _read(call: Call, chunk: bytes) -> None:
    call.response.add(chunk)


@harmless
def _closing(call: Call) -> None:
    """The script is through with the answer, whether or not it was read to its end."""
    if not call.finished:
        call.partial = True
        call.finish()
