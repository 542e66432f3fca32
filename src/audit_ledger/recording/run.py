"""A run: one execution of a fetch script, and what it says about itself while it lasts.

Events go through an outbox (see there); the first is durable before the block's first line runs, the
last before the block returns. All times of a run are its start by the wall clock plus what a monotonic
clock has counted since, so that its durations hold when somebody sets the clock.

Threads may share a run. A forked child may not: one process writes a stream. A process that is invited joins
the run of another one (see joining): it writes a stream of its own, and the run ends elsewhere.
"""

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from audit_ledger import events
from audit_ledger.errors import LedgerError, RunEnded
from audit_ledger.events.plain import Plain, made
from audit_ledger.recording import content as contents
from audit_ledger.recording import telemetry
from audit_ledger.recording.api_call import told
from audit_ledger.recording.beginning import beginning
from audit_ledger.recording.capture.call import CallLog
from audit_ledger.recording.comparison import Comparison
from audit_ledger.recording.counting import Counts, counted
from audit_ledger.recording.failure import describe, plain
from audit_ledger.recording.ingesting import Ingesting
from audit_ledger.recording.joining import Invitation, Report
from audit_ledger.recording.messages import Messages
from audit_ledger.recording.outbox import Outbox
from audit_ledger.recording.progress import Progressing
from audit_ledger.recording.spooling import Spooling
from audit_ledger.settings import Settings
from audit_ledger.store.event_store import EventStore
from audit_ledger.store.pending import Pending

if TYPE_CHECKING:
    import requests

    from audit_ledger.events import RunCompleted, RunFailed, RunLeft
    from audit_ledger.recording.forwarding import BackgroundForwarding

log = logging.getLogger("audit_ledger")


class Run(Ingesting, Progressing):
    """One execution of a fetch script. `ledger.run(...)` makes it; its methods record what happens.

    Attributes:
        id: The run's UUID, which is also its event stream, unless it was joined.
        task: What runs.
        source: Where the data comes from.
        parameters: What it runs with, without secrets.
        calls: Where its HTTP calls are captured.
        telemetry: What OpenTelemetry is told of it, if anything.
        started_at: When it started, by this machine's clock, in UTC.
    """

    def __init__(
        self,
        recorder: EventStore,
        settings: Settings,
        spooling: Spooling,
        messages: Messages,
        *,
        away: LedgerError | None = None,
        forwarding: "BackgroundForwarding | None" = None,
        task: str,
        source: str,
        scheduled_for: datetime | None = None,
        parameters: Mapping[str, Any] | None = None,
        capture: bool = False,
        run_id: UUID | None = None,
        joins: Invitation | None = None,
    ) -> None:
        self._joins = joins
        stream_id = run_id or uuid4()
        self.id = stream_id if joins is None else joins.run_id
        self.task = task
        self.source = source
        self.started_at = datetime.now(UTC)
        self._result: Counts | None = None
        self._monotonic = time.monotonic()
        self._recorder = recorder
        self._settings = settings
        self._process_id = os.getpid()
        self._ended = False
        self._lock = threading.Lock()
        self._declared: dict[str, int] = {}
        self._tally: Counter[str] = Counter()
        self._dates: dict[str, date] = {}
        self._comparison = Comparison(recorder.database)
        self._messages = messages
        what = {
            "occurred_at": self.started_at,
            "parameters": contents.parameters(parameters, messages.redactor),
            "process_id": self._process_id,
            "source": source,
            "task": task,
        }
        started = (
            beginning("RunStarted", settings, scheduled_for=scheduled_for, **what)
            if joins is None
            else beginning("RunJoined", settings, run_id=self.id, **what)
        )
        self.parameters = started.parameters
        self._outbox = Outbox(
            recorder,
            stream_id,
            settings.buffer_events,
            settings.buffer_bytes,
            spooling,
            beat=self._beat,
            beat_after=settings.heartbeat,
            run_id=None if joins is None else self.id,
        )
        self.calls = CallLog(self, settings.max_body_bytes, self._outbox, self._messages, wanted=capture)
        self._release = _acquire() if capture else None
        self._forwarding = forwarding
        self._outbox.start(Pending(started), away)
        self.telemetry = telemetry.begin(self) if settings.otel and joins is None else None

    def __repr__(self) -> str:
        return f"<Run {self.id} of {self.task}>"

    @property
    def result(self) -> Counts:
        """What the run brought: as declared, else as counted.

        By the ledger, that is, or by the run itself where it is spooled, or the read models could not follow
        in time.

        Raises:
            LedgerError: the run has not ended.
        """
        if self._result is None:
            raise LedgerError(
                f"run {self.id} has no result yet",
                expected="a run that has ended and was recorded",
                actual="recorded in part" if self._ended else "it goes on",
                remedy="ask after the with block",
            )
        return self._result

    @property
    def now(self) -> datetime:
        """This moment, on the run's own clock."""
        return self.started_at + timedelta(seconds=time.monotonic() - self._monotonic)

    def api_call(
        self,
        *,
        endpoint: str,
        request: object = None,
        response: object = None,
        http_status_code: int | None = None,
        method: str | None = None,
        duration_ms: float | None = None,
        rate_limit_remaining: int | None = None,
        captured_at: datetime | None = None,
    ) -> None:
        """Say that an API was called. Secrets are cut out before anything is stored.

        Args:
            endpoint: What was called, e.g. "api.quiverquant.com/beta/live/congresstrading".
            request: What was sent: bytes, text or JSON.
            response: What came back: bytes, text or JSON.
            http_status_code: 100 to 999; None where no answer came.
            method: HTTP method in capitals.
            duration_ms: Milliseconds.
            rate_limit_remaining: Calls left, as the API said.
            captured_at: When the answer came, with a time zone; by default now.

        Raises:
            InvalidValue: an argument cannot be recorded; the error names it.
            RunEnded: the run is over.
        """
        self._check_open()
        self._outbox.add(
            told(
                self._messages,
                {"request": request, "response": response},
                captured_at=captured_at,
                duration_ms=duration_ms,
                endpoint=endpoint,
                http_status_code=http_status_code,
                method=method,
                occurred_at=self.now,
                rate_limit_remaining=rate_limit_remaining,
            )
        )

    def session(self) -> "requests.Session":
        """A `requests.Session` that records each call made with it in this run, from whichever thread.

        Raises:
            RunEnded: the run is over.
        """
        from audit_ledger.recording.capture.for_requests import CapturingSession

        self._check_open()
        if self._release is None:
            self._release = _acquire()
        return CapturingSession(self.calls.of_a_session())

    def counts(
        self,
        *,
        fetched: int | None = None,
        created: int | None = None,
        updated: int | None = None,
        skipped: int | None = None,
    ) -> None:
        """Declare what the run brought; what is never declared is counted from the events.

        Raises:
            InvalidValue: not a whole number from 0 to 2,147,483,647.
            RunEnded: the run is over.
        """
        self._check_open()
        given = {"fetched": fetched, "created": created, "updated": updated, "skipped": skipped}
        declared = {name: count for name, count in given.items() if count is not None}
        events.RunCompleted.of(occurred_at=self.started_at, **declared)
        self._declared.update(declared)

    def date_range(self, start: date | str | None, end: date | str | None) -> None:
        """Declare which days the data covers, both inclusive; None leaves a side open.

        Raises:
            InvalidValue: not dates, or reversed.
            RunEnded: the run is over.
        """
        self._check_open()
        checked = events.RunCompleted.of(
            occurred_at=self.started_at, data_date_start=start, data_date_end=end
        )
        dates = {"data_date_start": checked.data_date_start, "data_date_end": checked.data_date_end}
        self._dates = {name: day for name, day in dates.items() if day is not None}

    def flush(self) -> None:
        """Wait until everything said so far is durable (or, the database being away, in the spool)."""
        self._check_open()
        self._outbox.flush()

    def complete(self) -> None:
        """End the run as completed; the `with` block does it. Of a run that was joined, end the part in it.

        Raises:
            RecordingError: the end, or something before it, could not be sent; names the spool.
            RunEnded: the run is over already.
        """
        self._check_open()
        if self._joins is not None:
            self._leave({})
            return
        counts = self._end(made("RunCompleted", **self._reached()))
        said = "✅ %s completed: %d new, %d updated"
        log.info(said, plain(self.task), counts.created, counts.updated, extra=self.named)

    def fail(self, error: BaseException | str) -> None:
        """End the run as failed; the `with` block does it for an exception. As with `complete`.

        Raises:
            RecordingError: the end, or something before it, could not be sent; names the spool.
            RunEnded: the run is over already.
        """
        self.fail_as(describe(error, self._messages.redactor))

    def fail_as(self, failure: Mapping[str, Any]) -> None:
        """End the run as failed, where the caller knows how: no secrets are cut out here.

        Args:
            failure: Fields of RunFailed: message and error_class at the least.

        Raises:
            InvalidValue: a field cannot be recorded; the run goes on.
            RecordingError, RunEnded: as with `fail`.
        """
        self._check_open()
        if self._joins is not None:
            self._leave(failure)
            return
        event = made("RunFailed", **self._reached(), **failure)
        log.error("❌ %s failed: %s", plain(self.task), plain(event.message), extra=self.named)
        self._end(event)

    @property
    def named(self) -> dict[str, str]:
        """What a line of a log says of the run: run_id and task."""
        return {"run_id": str(self.id), "task": self.task}

    @property
    def ended(self) -> bool:
        """Whether the run is over, or belongs to the process that this one was forked from."""
        return self._ended or os.getpid() != self._process_id

    def _check_open(self) -> None:
        if os.getpid() != self._process_id:
            raise RunEnded(
                f"run {self.id} belongs to another process",
                expected=f"process {self._process_id}",
                actual=f"process {os.getpid()}",
                remedy="start a run in the child, or send results back to the parent",
            )
        if self._ended:
            raise RunEnded(f"run {self.id} has ended", remedy="start another run")

    def _reached(self) -> dict[str, Any]:
        now = self.now
        milliseconds = (now - self.started_at) // timedelta(milliseconds=1)
        return {"occurred_at": now, "duration_ms": milliseconds, **self._declared, **self._dates}

    def _leave(self, failure: Mapping[str, Any]) -> None:
        """End this process's part in the run, and leave word for whoever ends it."""
        reached = self._reached()
        told = {name: failure[name] for name in ("error_class", "message") if name in failure}
        event = events.RunLeft.of(
            occurred_at=reached["occurred_at"], duration_ms=reached["duration_ms"], run_id=self.id, **told
        )
        if self._joins is not None and self._joins.folder is not None:
            report = Report(self.now, self._declared, self._touched, self._dates, dict(failure))
            try:
                report.write(self._joins.folder)
            except OSError as error:
                log.warning(
                    "what %s declared does not reach the end of its run: %s",
                    plain(self.task),
                    error,
                    extra=self.named,
                )
        self._end(event)

    @property
    def _touched(self) -> dict[str, int]:
        return {"fetched": sum(self._tally.values()), **self._tally}

    def _end(self, event: "RunCompleted | RunFailed | RunLeft | Plain") -> Counts:
        self._end_progress()
        self.calls.close()
        self._ended = True
        if self._release is not None:
            self._release()
        self._outbox.close(Pending(event))
        failure = self._outbox.recording_error(self.task)
        if failure is not None:
            if self.telemetry is not None:
                self.telemetry.end(event, None)
            raise failure
        if self._forwarding is not None:
            self._forwarding.finish(self._settings.projection_timeout)
        told = None
        if (
            self._outbox.failure is None and self._joins is None
        ):  # of a run that goes on nothing is counted yet
            told = counted(
                self._recorder.database, self.id, self._outbox.position, self._settings.projection_timeout
            )
        self._result = told or Counts(**{**self._touched, **self._declared})
        if self.telemetry is not None:
            self.telemetry.end(event, self._result)
        return self._result


def _acquire() -> Callable[[], None]:
    """Wrap the HTTP clients; only runs that capture pay for what that takes."""
    from audit_ledger.recording.capture.instrument import acquire

    return acquire()
