"""Which run a call belongs to: the one that its context, or the thread that started its thread, is inside of.

A context variable follows the code through functions and asyncio tasks. Threads begin without it, so
while calls are captured a thread takes the run of who starts it, and work that is submitted to a thread pool
the run of who submits it.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audit_ledger.recording.capture.call import CallLog

_inside: ContextVar[CallLog | None] = ContextVar("audit_ledger_run", default=None)
_INHERITED = "_audit_ledger_run"
_pooling = threading.local()


def current() -> CallLog | None:
    """The call log of the run that this code is inside of."""
    return _inside.get() or getattr(threading.current_thread(), _INHERITED, None)


@contextmanager
def inside(calls: CallLog | None) -> Iterator[None]:
    """Be inside a run."""
    token = _inside.set(calls)
    try:
        yield
    finally:
        _inside.reset(token)


def enter(calls: CallLog) -> Callable[[], None]:
    """Be inside a run from now on; what is returned ends that, in whichever context it is called."""
    before = _inside.get()
    token = _inside.set(calls)

    def leave() -> None:
        try:
            _inside.reset(token)
        except ValueError:  # another context than the one that entered, e.g. an async fixture's
            if _inside.get() is calls:
                _inside.set(before)

    return leave


def starting(start: Callable[..., None]) -> Callable[..., None]:
    """Wrap `Thread.start`."""

    @functools.wraps(start)
    def wrapped(thread: threading.Thread, *args: Any, **kwargs: Any) -> None:
        # A pool's threads outlive what is submitted to it, and belong to nobody.
        if (calls := current()) is not None and not getattr(_pooling, "now", False):
            setattr(thread, _INHERITED, calls)
        start(thread, *args, **kwargs)

    return wrapped


def submitting(submit: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `ThreadPoolExecutor.submit`."""

    @functools.wraps(submit)
    def wrapped(pool: Executor, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        if (calls := current()) is None:
            return submit(pool, function, *args, **kwargs)
        _pooling.now = True
        try:
            return submit(pool, _run_inside, calls, function, *args, **kwargs)
        finally:
            _pooling.now = False

    return wrapped


def _run_inside(calls: CallLog, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    with inside(calls):
        return function(*args, **kwargs)
