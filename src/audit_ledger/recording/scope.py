"""How a script wraps its work in a run: a block, a decorator, or a callable with an outcome."""

import functools
import inspect
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar, cast

from audit_ledger.errors import InvalidValue, LedgerError
from audit_ledger.recording.capture.current import enter
from audit_ledger.recording.run import Run

log = logging.getLogger("audit_ledger")

R = TypeVar("R")


class RunScope:
    """What `ledger.run(...)` returns: a `with` block around one run, or a decorator of functions.

    An exception inside is recorded as RunFailed and raised again. SystemExit(0) completes the run;
    any other SystemExit, and KeyboardInterrupt, fail it and go on.

    As a decorator it starts a run for each call, sync or async; a function with a parameter named
    `run` is given the run.
    """

    def __init__(self, start: Callable[[], Run]) -> None:
        self._start = start
        self._runs: list[tuple[Run, Callable[[], None]]] = []

    def __enter__(self) -> Run:
        run = self._start()
        self._runs.append((run, _inside(run)))
        return run

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        run, leave = self._runs.pop()
        leave()
        end(run, error)

    async def __aenter__(self) -> Run:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, trace)

    def __call__(self, function: Callable[..., R]) -> Callable[..., R]:
        """Decorate a function: each call is a run."""
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise InvalidValue(
                "the decorated function",
                expected="a function or a coroutine function",
                actual=f"the generator function {function.__name__}",
                remedy="use `with ledger.run(...)` inside it",
            )
        wants_run = "run" in inspect.signature(function).parameters

        def given(run: Run, kwargs: dict[str, Any]) -> dict[str, Any]:
            return {"run": run, **kwargs} if wants_run else kwargs

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def wrapped_async(*args: Any, **kwargs: Any) -> Any:
                with RunScope(self._start) as run:
                    return await function(*args, **given(run, kwargs))

            return cast("Callable[..., R]", wrapped_async)

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> R:
            with RunScope(self._start) as run:
                return function(*args, **given(run, kwargs))

        return wrapped


def _inside(run: Run) -> Callable[[], None]:
    """Be inside a run from now on; what is returned ends that."""
    leave = enter(run.calls)
    if run.telemetry is None:
        return leave
    leave_span = run.telemetry.enter()

    def leave_both() -> None:
        leave_span()
        leave()

    return leave_both


def end(run: Run, error: BaseException | None) -> None:
    """End a run as its block ended.

    Raises:
        RecordingError: the block was fine, but the run could not be recorded to its end. When the
            block itself raised, that exception goes on and carries a note instead.
    """
    if run.ended:  # by the script itself, or this is a forked child, whose parent will
        return
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        run.complete()
        return
    try:
        run.fail(error)
    except LedgerError as unrecorded:
        error.add_note(str(unrecorded))
        log.critical("%s", unrecorded, extra=run.named)


@dataclass(frozen=True)
class Outcome:
    """What became of `log_ingestion`.

    Attributes:
        success: Whether `fetch` returned.
        run: The run.
        failure_message: Why not, where not.
    """

    success: bool
    run: Run
    failure_message: str | None = None


COUNTS = ("fetched", "created", "updated", "skipped")
DECLARABLE = (*COUNTS, "date_range", "record_operations", "api_calls")
OPERATION_KEYS = {"record", "operation"}
CALL_KEYS = {
    "endpoint": "endpoint",
    "request": "request",
    "response": "response",
    "timestamp": "captured_at",
    "status_code": "http_status_code",
    "duration_ms": "duration_ms",
    "rate_limit_remaining": "rate_limit_remaining",
}


def log_ingestion(run: Run, fetch: Callable[[Run], Mapping[str, Any] | None]) -> Outcome:
    """Call `fetch` inside a run that has begun, and record what it declares.

    Raises:
        InvalidValue: what `fetch` returned cannot be recorded; the run is failed.
        RecordingError: the run could not be recorded to its end.
        BaseException: what `fetch` raised, if it is no Exception (KeyboardInterrupt, SystemExit).
    """
    try:
        leave = _inside(run)
        try:
            declared = fetch(run)
        finally:
            leave()
    except Exception as error:  # noqa: BLE001 - the outcome tells
        if not run.ended:
            run.fail(error)
        return Outcome(success=False, run=run, failure_message=str(error) or type(error).__name__)
    except BaseException as error:
        end(run, error)
        raise
    try:
        declare(run, declared)
    except InvalidValue as error:
        end(run, error)
        raise
    if not run.ended:
        run.complete()
    return Outcome(success=True, run=run)


def declare(run: Run, declared: Mapping[str, Any] | None) -> None:
    """Record what `fetch` returned.

    Raises:
        InvalidValue: it is neither None nor a mapping of the known keys, or a value cannot be recorded.
    """
    if declared is None:
        return
    if not isinstance(declared, Mapping):
        raise InvalidValue(
            "what fetch returned", expected="None or a mapping", actual=type(declared).__name__
        )
    _known(declared, DECLARABLE, "what fetch returned")
    for operation in declared.get("record_operations") or ():
        _known(operation, OPERATION_KEYS, "record_operations")
        record_type, record_id = _pair(operation.get("record"), "record_operations.record")
        run.record(record_type, record_id, operation.get("operation"))
    for call in declared.get("api_calls") or ():
        _known(call, CALL_KEYS, "api_calls")
        run.api_call(**{CALL_KEYS[key]: value for key, value in call.items()})
    if declared.get("date_range") is not None:
        run.date_range(*_pair(declared["date_range"], "date_range"))
    run.counts(**{name: declared.get(name) for name in COUNTS})


def _known(given: Any, known: Any, where: str) -> None:
    if not isinstance(given, Mapping):
        raise InvalidValue(where, expected="a mapping", actual=type(given).__name__)
    unknown = [key for key in given if key not in known]
    if unknown:
        raise InvalidValue(
            f"the key {unknown[0]!r} in {where}",
            expected=f"one of {', '.join(sorted(known))}",
            actual=repr(unknown[0]),
            remedy="check its spelling",
        )


def _pair(value: Any, where: str) -> tuple[Any, Any]:
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise InvalidValue(where, expected="a pair", actual=f"{value!r:.80}")
    return value[0], value[1]
