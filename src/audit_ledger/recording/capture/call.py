"""One hop of HTTP as it happens, and the log of a run's hops.

A client's wrapper begins a `Call`, times it, feeds it what passes by, and finishes it: with the last byte
that the script read, with an error, or, where the script never read on, with the end of the run. What is
costly, cutting secrets out and hashing, is left to the run's sending thread.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from audit_ledger.recording.capture.copying import Copy
from audit_ledger.recording.capture.telling import Finished

if TYPE_CHECKING:
    from types import TracebackType

    from audit_ledger.recording.messages import Messages
    from audit_ledger.recording.outbox import Outbox

log = logging.getLogger("audit_ledger")

Headers = list[tuple[str, str]]


class Clock(Protocol):
    """Where a call belongs: a run, as far as its calls must know it."""

    @property
    def now(self) -> datetime:
        """This moment, on the run's own clock."""

    @property
    def ended(self) -> bool:
        """Whether it takes no more calls."""


class Call:
    """One hop: a request, and the answer to it or the error in its place.

    Attributes:
        attempt: Which attempt of the client's own retries it is, from 1.
        occurred_at: When it began.
        method, url, request_headers, request: What is asked; the body as far as it has been read.
        status, response_headers, response: What came back so far.
        decoded: Whether the client has taken the content encoding off the body already.
        error: Class and message of the exception that ended it.
        capture_error: What of it could not be captured.
        partial: Whether the answer's body goes on after what was read.
    """

    __slots__ = (
        "_calls", "_reading", "_since", "_waited", "attempt", "capture_error", "decoded", "error",
        "method", "occurred_at", "partial", "request", "request_headers", "response", "response_headers",
        "status", "url",
    )  # fmt: skip

    def __init__(
        self, calls: CallLog, method: str, url: str, headers: Headers, request: Copy, attempt: int = 1
    ) -> None:
        self._calls = calls
        self._reading = False
        self._since: float | None = None
        self._waited = 0.0
        self.attempt = attempt
        self.occurred_at = calls.clock.now
        self.method = method
        self.url = url
        self.request_headers = headers
        self.request = request
        self.status: int | None = None
        self.response_headers: Headers = []
        self.response = Copy(calls.cap)
        self.decoded = False
        self.error: tuple[str, str] | None = None
        self.capture_error: str | None = None
        self.partial = False
        calls.open[id(self)] = self

    @property
    def finished(self) -> bool:
        """Whether it is on its way to the ledger."""
        return id(self) not in self._calls.open

    @property
    def duration_ms(self) -> int:
        """How long the script waited for the network, sending and reading, by a monotonic clock."""
        return round(self._waited * 1000)

    def again(self) -> Call:
        """The client's next attempt at the same; a body that is read as it is sent is read once more."""
        body, self.request = self.request, self.request.snapshot()
        return Call(self._calls, self.method, self.url, self.request_headers, body, self.attempt + 1)

    def begin(self) -> None:
        """It is sent only now, after a pause of the client's that was no waiting for the network."""
        self.occurred_at = self._calls.clock.now
        self.start()

    def start(self) -> None:
        """The clock runs: the script waits."""
        self._since = time.monotonic()

    def stop(self) -> None:
        """The clock stands: the script has what it waited for."""
        if self._since is not None:
            self._waited += time.monotonic() - self._since
            self._since = None

    def answered(self, status: int, headers: Headers) -> None:
        """The head of the answer is here; its body is read from now on."""
        self.stop()
        self.status = status
        self.response_headers = headers

    def reading(self) -> AbstractContextManager[bool]:
        """Around each read of the answer's body: whether this is the outermost, whose bytes count."""
        return _WITHIN if self._reading else _Reading(self)

    def read_begins(self) -> None:
        """The script waits for more of the answer's body; what reads now is within this read."""
        self._reading = True
        self.start()

    def read_ends(self, error: BaseException | None) -> None:
        """It has it, or an error in its place."""
        try:
            if error is not None:
                self.failed(error)
        finally:
            self._reading = False
            self.stop()

    def failed(self, error: BaseException) -> None:
        """An error in place of the answer, or of the rest of it."""
        self.stop()
        if self.finished:
            return
        kind = type(error)
        self.error = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins."), _message(error)
        self.partial = self.status is not None
        self.finish()

    def finish(self, *, late: bool = False) -> None:
        """Nothing more comes. `late`: said by the garbage collector, which must not wait for anything."""
        if self._calls.open.pop(id(self), None) is not None:
            self._calls.send(self, late=late)


class _Reading:
    """The outermost read of a body: twice as fast as a generator's context, and each call has several."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    def __enter__(self) -> bool:
        self._call.read_begins()
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call.read_ends(error)


_WITHIN = nullcontext(False)
"""A read within a read."""


class CallLog:
    """The calls of a run.

    Attributes:
        clock: The run.
        cap: Bytes of a body that are kept at most.
        wanted: Whether the run asked for capture.
        open: Those calls that are not finished.
    """

    def __init__(self, clock: Clock, cap: int, outbox: Outbox, messages: Messages, *, wanted: bool) -> None:
        self.clock = clock
        self.cap = cap
        self.wanted = wanted
        self.open: dict[int, Call] = {}
        self._outbox = outbox
        self._messages = messages
        self._warned = False

    def of_a_session(self) -> CallLog:
        """The same log for a session, whose calls are wanted whether or not the run's others are."""
        same = copy.copy(self)
        same.wanted = True
        return same

    def send(self, call: Call, *, late: bool = False) -> None:
        """Hand a finished call over to the run's outbox. Never raises: clients are on the stack."""
        try:
            if self.clock.ended and not late:
                self.too_late()
                return
            finished = Finished(call, self.clock.now, self._messages)
            if late:
                self._outbox.put_aside(finished)
            else:
                self._outbox.add(finished)
        except Exception as error:  # noqa: BLE001 - whatever it is, the call goes on
            log.error("a call could not be recorded: %s", type(error).__name__)  # noqa: TRY400 - no secrets

    def fail(self, error: BaseException, method: object = None, url: object = None) -> None:
        """Capture itself broke: the call goes on, and the run says so."""
        log.warning("a call could not be captured: %s", type(error).__name__)  # its message may hold secrets
        try:
            call = Call(self, str(method or ""), str(url or ""), [], Copy(self.cap))
            call.capture_error = f"{type(error).__name__}: {_message(error)}"
            call.finish()
        except Exception as broken:  # noqa: BLE001 - whatever it is, the call goes on
            log.error("nor could that be recorded: %s", type(broken).__name__)  # noqa: TRY400 - no secrets

    def close(self) -> None:
        """The run ends: what was never read to its end is told as far as it was read."""
        for call in list(self.open.values()):
            call.stop()
            call.partial = True
            call.finish()

    def too_late(self) -> None:
        """Say once that a call came after the end of its run."""
        if not self._warned:
            self._warned = True
            log.warning("a call after the end of its run is not recorded: %r", self.clock)


def harmless(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate what looks at a call from within a client: what goes wrong there is the run's to tell.

    The first argument is the call, or the call log where there is no call yet.
    """

    def guarded(calls: CallLog | Call, *args: Any, **kwargs: Any) -> Any:
        try:
            return function(calls, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - told in the run
            if isinstance(calls, CallLog):
                calls.fail(error)
            else:
                calls.capture_error = f"{type(error).__name__}: {_message(error)}"
                calls.finish()
            return None

    return guarded


def pairs(headers: Any) -> Headers:
    """Headers as pairs of text, whatever a client keeps them in."""
    items: Iterable[tuple[Any, Any]] = headers.items() if hasattr(headers, "items") else headers
    return [
        (name if type(name) is str else _header(name), value if type(value) is str else _header(value))
        for name, value in items
    ]


def _header(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001 - a foreign __str__ may do anything
        return f"(its message could not be read: {type(broken).__name__})"
