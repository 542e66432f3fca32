"""Wrapping the HTTP clients where their calls go out, and undoing it.

Each wrapper asks which run its call belongs to and, where it belongs to none, passes it on untouched.
They are there while somebody needs them: a run that captures, or `instrument()`. A client that is imported
later is wrapped then. What someone else has wrapped over ours meanwhile is left alone, and ours stays
beneath, doing nothing.
"""

from __future__ import annotations

import functools
import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType, TracebackType
from typing import Any, Self

import wrapt

from audit_ledger.recording.capture.call import CallLog
from audit_ledger.recording.capture.current import current, starting, submitting

_OURS = "_audit_ledger_wraps"


@dataclass(frozen=True)
class Patch:
    """A function of a class that is wrapped.

    Attributes:
        module: Where the class is.
        owner: The class.
        name: The function.
        wrap: Makes the wrapper of the function that is there.
    """

    module: str
    owner: str
    name: str
    wrap: Callable[[Callable[..., Any]], Callable[..., Any]]

    def put(self) -> None:
        """Wrap it, if its module is there and it is not wrapped already."""
        owner = self._owner()
        if owner is not None and not any(hasattr(f, _OURS) for f in _layers(getattr(owner, self.name))):
            original = getattr(owner, self.name)
            wrapper = self.wrap(original)
            setattr(wrapper, _OURS, original)
            setattr(owner, self.name, wrapper)

    def undo(self) -> None:
        """Put back what was there, unless someone has wrapped ours."""
        owner = self._owner()
        if owner is not None and (original := getattr(getattr(owner, self.name), _OURS, None)):
            setattr(owner, self.name, original)

    def _owner(self) -> type | None:
        module = sys.modules.get(self.module)
        return getattr(module, self.owner, None) if module is not None else None


def _layers(function: Any) -> Iterator[Any]:
    """A function and those that it wraps."""
    while function is not None:
        yield function
        function = getattr(function, "__wrapped__", None)


def _from(module: str, name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A wrapper of a module of ours that is imported by the first call.

    Not before: the client may be in the middle of being imported when it is wrapped.
    """

    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        made: list[Callable[..., Any]] = []

        @functools.wraps(original)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if not made:
                made.append(getattr(importlib.import_module(module), name)(original))
            return made[0](*args, **kwargs)

        return wrapper

    return wrap


_REQUESTS = "audit_ledger.recording.capture.for_requests"
_HTTPX = "audit_ledger.recording.capture.for_httpx"
PATCHES = (
    Patch("threading", "Thread", "start", starting),
    Patch("concurrent.futures.thread", "ThreadPoolExecutor", "submit", submitting),
    Patch("requests.adapters", "HTTPAdapter", "send", _from(_REQUESTS, "sending")),
    Patch("urllib3.util.retry", "Retry", "increment", _from(_REQUESTS, "retrying")),
    Patch("urllib3.util.retry", "Retry", "sleep", _from(_REQUESTS, "sleeping")),
    Patch("httpx", "HTTPTransport", "handle_request", _from(_HTTPX, "handling")),
    Patch("httpx", "AsyncHTTPTransport", "handle_async_request", _from(_HTTPX, "handling_async")),
)

_lock = threading.RLock()
_users = 0
_everywhere = 0
_hooked = False


def wanted() -> CallLog | None:
    """The call log that a call made here and now belongs in; None where nobody wants it."""
    calls = current()
    if calls is None or not (calls.wanted or _everywhere):
        return None
    if calls.clock.ended:
        calls.too_late()
        return None
    return calls


def acquire() -> Callable[[], None]:
    """Have the clients wrapped until what is returned is called."""
    global _users, _hooked
    with _lock:
        _users += 1
        if not _hooked:
            _hooked = True
            for module in {patch.module for patch in PATCHES}:
                wrapt.register_post_import_hook(_imported, module)
        for patch in PATCHES:
            patch.put()
    return _Release()


class _Release:
    """Gives back what `acquire` took, once."""

    def __init__(self) -> None:
        self._done = False

    def __call__(self) -> None:
        global _users
        with _lock:
            if self._done:
                return
            self._done = True
            _users -= 1
            if not _users:
                for patch in reversed(PATCHES):
                    patch.undo()


def _imported(module: ModuleType) -> None:
    with _lock:
        if _users:
            for patch in PATCHES:
                if patch.module == module.__name__:
                    patch.put()


class Instrumentation:
    """What `instrument()` returns; `undo()`, or the end of a `with` block, ends it."""

    def __init__(self) -> None:
        global _everywhere
        self._release: Callable[[], None] | None = acquire()
        with _lock:
            _everywhere += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.undo()

    def undo(self) -> None:
        """Capture no more; the clients are as they were."""
        global _everywhere
        with _lock:
            if self._release is not None:
                _everywhere -= 1
                self._release()
                self._release = None


def instrument() -> Instrumentation:
    """Record the HTTP calls of every run of this process, as `ledger.run(..., capture=True)` does of one."""
    return Instrumentation()
