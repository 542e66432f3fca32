"""Capture of calls made with httpx, sync and async: each passage through its HTTP transports is one hop."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from audit_ledger.recording.capture.call import Call, CallLog, harmless, pairs
from audit_ledger.recording.capture.copying import Copy
from audit_ledger.recording.capture.instrument import wanted


def handling(handle: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `HTTPTransport.handle_request`."""

    @functools.wraps(handle)
    def wrapped(transport: Any, request: httpx.Request) -> Any:
        call = _call(request)
        if call is None:
            return handle(transport, request)
        with _sent(call):
            response = handle(transport, request)
        _answered(call, response)
        return response

    return wrapped


def handling_async(handle: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `AsyncHTTPTransport.handle_async_request`."""

    @functools.wraps(handle)
    async def wrapped(transport: Any, request: httpx.Request) -> Any:
        call = _call(request)
        if call is None:
            return await handle(transport, request)
        with _sent(call):
            response = await handle(transport, request)
        _answered(call, response)
        return response

    return wrapped


def _call(request: httpx.Request) -> Call | None:
    calls = wanted()
    call: Call | None = None if calls is None else _begin(calls, request)
    return call


@contextmanager
def _sent(call: Call) -> Iterator[None]:
    call.start()
    try:
        yield
    except BaseException as error:
        call.failed(error)
        raise


@harmless
def _begin(calls: CallLog, request: httpx.Request) -> Call:
    copy = Copy(calls.cap)
    call = Call(calls, request.method, str(request.url), pairs(request.headers.raw), copy)
    try:
        copy.add(request.content)
    except httpx.RequestNotRead:
        request.stream = _Sent(request.stream, copy)
    return call


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
