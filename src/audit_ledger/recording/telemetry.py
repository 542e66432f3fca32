"""What OpenTelemetry is told of runs, where the setting `otel` says so: a span of each, and metrics of it.

The span is the current one while the script is inside of the run, so that what other instrumentations see,
such as HTTP calls, lies beneath it; the run's own parent is whatever was current when it began. Calls are not
told from here: the instrumentation of an HTTP client does that, and would do it twice. A process that joins
the run of another one tells nothing: the run is told where it began.

Only the API of OpenTelemetry is used, and only here. Without it, or without the setting, nothing happens and
nothing is imported. What goes wrong in it never reaches the script.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from audit_ledger.version import VERSION

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from audit_ledger.events import Plain, RunCompleted, RunFailed, RunLeft
    from audit_ledger.recording.counting import Counts
    from audit_ledger.recording.run import Run

log = logging.getLogger("audit_ledger")

NAME = "audit_ledger"
OPERATIONS = ("fetched", "created", "updated", "skipped")


def begin(run: Run) -> Telemetry | None:
    """Tell that a run began; None where it cannot be told."""
    try:
        from opentelemetry import trace
    except ImportError:
        said = "⚠️ otel is set, but OpenTelemetry is not installed: pip install 'audit-ledger[otel]'"
        log.warning(said, extra=run.named)
        return None
    try:
        span = trace.get_tracer(NAME, VERSION).start_span(
            "audit_ledger.run", start_time=_nanoseconds(run.started_at), attributes=_attributes(run)
        )
    except Exception as error:  # noqa: BLE001 - foreign code; the run goes on
        _broken(run, error)
        return None
    return Telemetry(run, span)


class Telemetry:
    """The span of a run, and what is told at its end."""

    def __init__(self, run: Run, span: Span) -> None:
        self._run = run
        self._span = span

    def enter(self) -> Callable[[], None]:
        """Make the span the current one, until what is returned is called."""
        from opentelemetry import context, trace

        token = context.attach(trace.set_span_in_context(self._span))

        def leave() -> None:
            # Where it was left in another context than it was entered in, there is nothing to put back.
            if trace.get_current_span() is self._span:
                context.detach(token)

        return leave

    def end(self, event: RunCompleted | RunFailed | RunLeft | Plain, counts: Counts | None) -> None:
        """Tell how the run ended.

        Args:
            event: Its end; secrets are cut out of it already.
            counts: What it brought; None where it could not be recorded to its end.
        """
        try:
            self._end(event, counts)
        except Exception as error:  # noqa: BLE001 - foreign code; the run has ended all the same
            _broken(self._run, error)

    def _end(self, event: RunCompleted | RunFailed | RunLeft | Plain, counts: Counts | None) -> None:
        from opentelemetry import metrics, trace

        message = getattr(event, "message", None)
        status = "completed" if message is None else "failed"
        at = _nanoseconds(event.occurred_at)
        self._span.set_attribute("audit_ledger.status", status)
        brought = {name: getattr(counts, name) for name in OPERATIONS} if counts is not None else {}
        for operation, count in brought.items():
            self._span.set_attribute(f"audit_ledger.records.{operation}", count)
        if message is not None:
            told = {"exception.message": message, "exception.type": getattr(event, "error_class", "")}
            if backtrace := getattr(event, "backtrace", None):
                told["exception.stacktrace"] = "\n".join(backtrace)
            self._span.add_event("exception", told, timestamp=at)
            self._span.set_status(trace.StatusCode.ERROR, message)
        self._span.end(end_time=at)

        meter = metrics.get_meter(NAME, VERSION)
        of_run = {"audit_ledger.task": self._run.task, "audit_ledger.source": self._run.source}
        ended = {**of_run, "audit_ledger.status": status}
        meter.create_counter("audit_ledger.runs", "{run}", "Runs that ended.").add(1, ended)
        seconds = (event.duration_ms or 0) / 1000
        meter.create_histogram("audit_ledger.run.duration", "s", "How long runs took.").record(seconds, ended)
        records = meter.create_counter("audit_ledger.records", "{record}", "Records that runs brought.")
        for operation, count in brought.items():
            if operation != "fetched":
                records.add(count, {**of_run, "audit_ledger.operation": operation})


def _attributes(run: Run) -> dict[str, Any]:
    return {
        "audit_ledger.run_id": str(run.id),
        "audit_ledger.task": run.task,
        "audit_ledger.source": run.source,
    }


def _broken(run: Run, error: Exception) -> None:
    """Say that OpenTelemetry failed; its message may hold anything, such as headers with a token."""
    log.warning("OpenTelemetry could not be told of the run: %s", type(error).__name__, extra=run.named)


def _nanoseconds(at: datetime) -> int:
    return int(at.timestamp()) * 1_000_000_000 + at.microsecond * 1000
