"""A command inside a run: what is recorded of it, and that it runs whatever becomes of the recording."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args
from uuid import UUID, uuid4

from audit_ledger import ledger_toml
from audit_ledger.canonical import storable
from audit_ledger.errors import InvalidValue, LedgerError, ServerError, Unreachable
from audit_ledger.executing import child
from audit_ledger.executing.arguments import Arguments, Overlap, WhenAway
from audit_ledger.executing.tail import Tail
from audit_ledger.recording.joining import REPORT, RUN, Invitation, combined, reports

if TYPE_CHECKING:
    from audit_ledger.executing.recording import Recording
    from audit_ledger.recording.run import Run
    from audit_ledger.redaction import Redactor

NOT_STARTED = 75
"""EX_TEMPFAIL of sysexits.h: the command was not started; another time it may be."""

USAGE = 2

ARGUMENTS_SHOWN = 100
ARGUMENT_CHARACTERS = 400
"""So much of a command line is recorded, lest an event becomes too large."""

Connect = Callable[[], "Recording"]


def execute(asked: Arguments, connect: Connect) -> int:
    """Run a command inside a run; returns what to exit with.

    Args:
        asked: What for.
        connect: Connects to the ledger.
    """
    try:
        ledger = connect()
    except Exception as error:  # noqa: BLE001 - the command is to run all the same
        if when_away(asked) == "strict":
            return _refuse(error)
        return _unrecorded(asked, error)
    with ledger:
        code, left = _recorded(asked, ledger)
    child.stay_behind(left)
    return code


def when_away(asked: Arguments) -> WhenAway:
    """What to do while the ledger does not answer."""
    return asked.when_away or "spool"


def overlap_of(asked: Arguments) -> Overlap:
    """What to do while another run of the task goes on.

    Raises:
        ConfigurationError: what ledger.toml says of it cannot be used.
    """
    said = ledger_toml.overlap_of(asked.task) if asked.overlap is None else asked.overlap
    if said is None:
        return "allow"
    if said in get_args(Overlap):
        return cast("Overlap", said)
    from audit_ledger.plan import load_plan

    return load_plan().task(asked.task).overlap  # which says at which line, and why


def _recorded(asked: Arguments, ledger: Recording) -> tuple[int, list[child.Stream]]:
    """Run the command with a ledger at hand."""
    run_id = uuid4()
    with ExitStack() as stack:
        signals = stack.enter_context(child.Signals())
        try:
            overlap = overlap_of(asked)
            running = None if overlap == "allow" else _running(asked, ledger, run_id, stack)
            if running is not None and overlap == "skip":
                return _skip(asked, ledger, running), []
            run = ledger.start(
                run_id=run_id,
                task=asked.task,
                source=asked.source,
                scheduled_for=asked.scheduled_for,
                parameters=parameters(asked.command, ledger.redactor),
            )
        except InvalidValue as error:
            _say(f"error: {error}")
            return USAGE, []
        except Exception as error:  # noqa: BLE001 - the command is to run all the same
            if when_away(asked) == "strict":
                return _refuse(error), []
            _warn(error)
            ended, left = _run(asked, signals, lambda _: None, None)
            return ended.code, left
        if running is not None:
            message = f"run {running} of {asked.task} goes on, and the task is not to overlap with itself"
            _say(f"error: {message}")
            _end(run, {"error_class": "RunOverlaps", "message": message})
            return NOT_STARTED, []
        tail = Tail()
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="audit-ledger-run-")))
        ended, left = _run(asked, signals, tail.add, Invitation(run.id, folder))
        _record_end(run, ended, asked, tail.shown(ledger.redactor) if ended.code else None, folder)
        return ended.code, left


def _running(asked: Arguments, ledger: Recording, run_id: UUID, stack: ExitStack) -> UUID | None:
    """The run of the task that goes on; where there is none, others are kept out from now on."""
    from audit_ledger.store.overlap import TaskLock

    try:
        lock = TaskLock(ledger.url, ledger.settings, ledger.ledger_id, asked.task, run_id)
        stack.callback(lock.release)
        return lock.take()
    except (ServerError, Unreachable) as error:
        if when_away(asked) == "strict":
            raise
        _say(f"warning: whether another run of {asked.task} goes on cannot be seen: {error.what}")
        return None


def _skip(asked: Arguments, ledger: Recording, running: UUID) -> int:
    """Record that a run was skipped."""
    from audit_ledger.recording.skipping import skip

    reason = f"run {running} goes on"
    skip(
        ledger.recorder,
        reason=reason,
        running=running,
        scheduled_for=asked.scheduled_for,
        source=asked.source,
        task=asked.task,
    )
    _say(f"{asked.task} is skipped: {reason}")
    return 0


def _run(
    asked: Arguments, signals: child.Signals, add: Callable[[bytes], None], invites: Invitation | None
) -> tuple[child.Ended, list[child.Stream]]:
    """Run the command; not if a signal came before it was started."""
    if signals.early is not None:
        return child.Ended(
            signal=child.signal_name(signals.early), code=128 + signals.early, not_started=InterruptedError()
        ), []
    environment = {name: value for name, value in os.environ.items() if name not in (RUN, REPORT)}
    ended, left = child.run(
        asked.command,
        signals,
        add,
        environment=environment | (invites.environment if invites else {}),
        timeout=asked.timeout,
        kill_after=asked.kill_after,
    )
    if ended.not_started is not None:
        _say(_not_started(asked.command[0], ended))
    return ended, left


def _record_end(run: Run, ended: child.Ended, asked: Arguments, output: str | None, folder: Path) -> None:
    """Record how the command ended, with what the scripts declared that joined the run."""
    try:
        told = combined(reports(folder, lambda text: _say(f"warning: {text}")))
        failure = told.failure if told is not None else {}
        if told is not None:
            run.counts(**told.declared)
            run.date_range(told.dates.get("data_date_start"), told.dates.get("data_date_end"))
    except (LedgerError, TypeError) as error:
        _say(f"warning: what the scripts inside declared cannot be recorded: {error}")
        failure = {}
    _end(run, {} if ended.code == 0 else {**_described(ended, asked, failure), "output": output})


def _end(run: Run, failure: dict[str, Any]) -> None:
    """End the run; where it cannot be recorded to its end, say so, and no more."""
    try:
        if failure:
            run.fail_as(failure)
        else:
            run.complete()
    except Exception as error:  # noqa: BLE001 - the command's exit code is what counts
        _warn(error)


def _described(ended: child.Ended, asked: Arguments, failure: dict[str, Any]) -> dict[str, Any]:
    """The fields of RunFailed: an exception that a script inside reported says more than an exit status."""
    fields: dict[str, Any] = {"exit_status": ended.status, "signal": ended.signal}
    if isinstance(ended.not_started, InterruptedError):
        message = f"{ended.signal} came before the command was started"
        return {**fields, "error_class": "CommandNotStarted", "message": message}
    if ended.not_started is not None:
        kind = "CommandNotFound" if ended.code == child.NOT_FOUND else "CommandNotExecutable"
        message = _not_started(asked.command[0], ended)
        return {"exit_status": ended.code, "error_class": kind, "message": message}
    how = f"exit status {ended.status}" if ended.signal is None else f"ended by {ended.signal}"
    if ended.timed_out:
        return {
            **fields,
            "error_class": "CommandTimedOut",
            "message": f"not done after {asked.timeout:g} s; {how}",
        }
    described = {
        "error_class": "CommandFailed" if ended.signal is None else "CommandKilled",
        "message": how,
    }
    known: dict[str, Any] = {
        name: failure[name] for name in ("error_class", "message", "backtrace") if name in failure
    }
    return {**fields, **described, **known}


def _not_started(program: str, ended: child.Ended) -> str:
    reason = ended.not_started.strerror if ended.not_started is not None else None
    return f"{storable(program)[:ARGUMENT_CHARACTERS]}: {reason or ended.not_started}"


def parameters(command: Sequence[str], redactor: Redactor) -> dict[str, Any]:
    """What the run runs with: the command line without secrets, and the run that it is inside of, if any."""
    shown = [
        text if len(text) <= ARGUMENT_CHARACTERS else text[: ARGUMENT_CHARACTERS - 1] + "…"
        for text in map(storable, redactor.command_line(list(command)))
    ]
    if len(shown) > ARGUMENTS_SHOWN:
        shown[ARGUMENTS_SHOWN - 1 :] = [f"… and {len(shown) - ARGUMENTS_SHOWN + 1} more"]
    within = os.environ.get(RUN)
    return {"command": shown, **({"within": storable(within)[:100]} if within else {})}


def _refuse(error: Exception) -> int:
    _say(f"error: the command is not started, since it could not be recorded: {error}")
    return NOT_STARTED


def _unrecorded(asked: Arguments, error: Exception) -> int:
    """Run the command without a ledger."""
    _warn(error)
    with child.Signals() as signals:
        ended, left = _run(asked, signals, lambda _: None, None)
    child.stay_behind(left)
    return ended.code


def _warn(error: Exception) -> None:
    """Say that the recording failed, so that nobody overlooks it."""
    _say(f"warning: THIS RUN IS NOT RECORDED, or not to its end; the command is not affected.\n  {error}")


def _say(text: str) -> None:
    sys.stderr.write(f"audit-ledger exec: {text}\n")
    sys.stderr.flush()
