"""A run: one execution of a fetch script, and what it says about itself while it lasts.

Events go through an outbox (see there); the first is durable before the block's first line runs, the
last before the block returns. All times of a run are its start by the wall clock plus what a monotonic
clock has counted since, so that its durations hold when somebody sets the clock.

Threads may share a run. A forked child may not: one process writes a stream.
"""

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID, uuid4

from audit_ledger.errors import InvalidValue, LedgerError, RunEnded
from audit_ledger.events import (
    Operation,
    RecordIngested,
    RecordWithdrawn,
    RunCompleted,
    RunFailed,
)
from audit_ledger.recording import content as contents
from audit_ledger.recording.api_call import told
from audit_ledger.recording.beginning import beginning
from audit_ledger.recording.capture.call import CallLog
from audit_ledger.recording.capture.instrument import acquire
from audit_ledger.recording.comparison import Comparison
from audit_ledger.recording.counting import Counts, counted
from audit_ledger.recording.failure import describe, plain
from audit_ledger.recording.messages import Messages
from audit_ledger.recording.outbox import Outbox
from audit_ledger.recording.resend import Pending, ResendFile
from audit_ledger.settings import Settings
from audit_ledger.store.bodies import Body
from audit_ledger.store.recorder import LedgerRecorder

if TYPE_CHECKING:
    import requests

log = logging.getLogger("audit_ledger")

LOOKUP_RECORDS = 1000
LOOKUP_BYTES = 4 << 20
"""`ingest_many` asks for at most so many records, and holds at most so many bytes, at a time."""


class Run:
    """One execution of a fetch script. `ledger.run(...)` makes it; its methods record what happens.

    Attributes:
        id: The run's UUID, which is also its event stream.
        task: What runs.
        source: Where the data comes from.
        parameters: What it runs with, without secrets.
        calls: Where its HTTP calls are captured.
        started_at: When it started, by this machine's clock, in UTC.
    """

    def __init__(
        self,
        recorder: LedgerRecorder,
        settings: Settings,
        ledger_id: UUID,
        messages: Messages,
        *,
        task: str,
        source: str,
        scheduled_for: datetime | None = None,
        parameters: Mapping[str, Any] | None = None,
        capture: bool = False,
    ) -> None:
        self.id = uuid4()
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
        self._comparison = Comparison(recorder.datastore)
        self._messages = messages
        started = beginning(
            settings,
            occurred_at=self.started_at,
            parameters=contents.parameters(parameters, messages.redactor),
            process_id=self._process_id,
            scheduled_for=scheduled_for,
            source=source,
            task=task,
        )
        self.parameters = started.parameters
        self._outbox = Outbox(
            recorder,
            self.id,
            settings.buffer_events,
            settings.buffer_bytes,
            lambda: ResendFile(resend_path(settings.home, self.id), ledger_id),
        )
        self.calls = CallLog(self, settings.max_body_bytes, self._outbox, self._messages, wanted=capture)
        self._release = acquire() if capture else None
        self._outbox.start(Pending(started))

    def __repr__(self) -> str:
        return f"<Run {self.id} of {self.task}>"

    @property
    def result(self) -> Counts:
        """What the run brought: as declared, else as counted.

        By the ledger, that is, or where the read models could not follow in time by the run itself.

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

    def record(
        self,
        record_type: str,
        record_id: str | int | UUID,
        operation: Operation,
        content: object = None,
    ) -> None:
        """Say what the application did with a record.

        Args:
            record_type: Kind of record, e.g. "QuiverTrade".
            record_id: Its id at the source; kept as text.
            operation: "created", "updated" or "skipped".
            content: What the record is now, if the ledger is to keep it: JSON or bytes.

        Raises:
            InvalidValue: an argument cannot be recorded; the error names it.
            RunEnded: the run is over.
        """
        self._check_open()
        event = RecordIngested.of(
            occurred_at=self.now, operation=operation, record_id=record_id, record_type=record_type
        )
        self._count(operation)
        self._outbox.add(
            Pending(event, {} if content is None else {"content": contents.record_content(content)})
        )

    def ingest(self, record_type: str, record_id: str | int | UUID, content: object) -> Operation | None:
        """Hand a record over, and be told what the ledger makes of it.

        Args:
            record_type: Kind of record, e.g. "QuiverTrade".
            record_id: Its id at the source; kept as text.
            content: What the record is now: JSON (keys are put in canonical order) or bytes.

        Returns:
            "created", "updated" or "skipped", by comparison with the latest content on record. It is
            provisional: of two runs that see a record for the first time at the same moment both are
            told "created", and the one that is recorded first has created it. None when the
            database is away and could not be asked; the record is kept all the same.

        Raises:
            InvalidValue: an argument cannot be recorded; the error names it.
            RunEnded: the run is over.
        """
        return next(iter(self.ingest_many(record_type, [(record_id, content)]).values()))

    def ingest_many(
        self,
        record_type: str,
        records: Mapping[Any, object] | Iterable[tuple[str | int | UUID, object]],
    ) -> dict[str, Operation | None]:
        """Hand many records over: like `ingest`, in one round trip a thousand.

        Args:
            record_type: Kind of record.
            records: Contents by id, or pairs of id and content.

        Returns:
            What `ingest` returns, by id as text.

        Raises:
            InvalidValue: an argument cannot be recorded; the records before its batch are recorded.
            RunEnded: the run is over.
        """
        pairs = records.items() if isinstance(records, Mapping) else records
        result: dict[str, Operation | None] = {}
        for batch in self._batches(record_type, iter(pairs)):
            self._check_open()
            told = self._comparison.tell(batch, away=self._outbox.failure is not None)
            for (event, body), answer in zip(batch, told, strict=True):
                result[event.record_id] = answer.operation
                self._count(answer.operation or "updated")
                if answer.commitment is None:
                    self._outbox.add(Pending(event, {"content": body}))
                else:
                    self._outbox.add(Pending(event.model_copy(update={"content": answer.commitment})))
        return result

    def withdraw(self, record_type: str, record_id: str | int | UUID) -> None:
        """Say that a record is no longer at its source: it ends here, and what it was stays on record.

        Raises:
            InvalidValue: an argument cannot be recorded; the error names it.
            RunEnded: the run is over.
        """
        self._check_open()
        event = RecordWithdrawn.of(occurred_at=self.now, record_id=record_id, record_type=record_type)
        self._comparison.withdraw(record_type, event.record_id)
        self._outbox.add(Pending(event))

    def ingest_snapshot(
        self,
        record_type: str,
        records: Mapping[Any, object] | Iterable[tuple[str | int | UUID, object]],
        *,
        allow_empty: bool = False,
    ) -> dict[str, Operation | Literal["withdrawn"] | None]:
        """Hand over all the records of a kind that there are: those that are missing are withdrawn.

        For sources that send everything each time. When the database is away, what is missing cannot be
        known: nothing is withdrawn then, and the next snapshot finds it.

        Args:
            record_type: Kind of record. The snapshot is of all of it, whichever run or source brought it.
            records: Contents by id, or pairs of id and content.
            allow_empty: Whether a snapshot without any record may withdraw all of them.

        Returns:
            What `ingest` returns, by id as text, and "withdrawn" for those that were missing.

        Raises:
            InvalidValue: an argument cannot be recorded, or the snapshot is empty and records are on record.
            RunEnded: the run is over.
        """
        self.flush()
        known = self._comparison.there(record_type, self._outbox.position)
        result: dict[str, Operation | Literal["withdrawn"] | None] = {}
        result.update(self.ingest_many(record_type, records))
        if known and not result and not allow_empty:
            raise InvalidValue(
                "the snapshot",
                expected=f"records of {record_type}, as long as any are on record",
                actual=f"none; {len(known):,} are on record",
                remedy="if it is true that there are none: allow_empty=True",
            )
        for gone in sorted((known or set()) - result.keys()):
            self.withdraw(record_type, gone)
            result[gone] = "withdrawn"
        return result

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
            self._release = acquire()
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
        RunCompleted.of(occurred_at=self.started_at, **declared)
        self._declared.update(declared)

    def date_range(self, start: date | str | None, end: date | str | None) -> None:
        """Declare which days the data covers, both inclusive; None leaves a side open.

        Raises:
            InvalidValue: not dates, or reversed.
            RunEnded: the run is over.
        """
        self._check_open()
        checked = RunCompleted.of(occurred_at=self.started_at, data_date_start=start, data_date_end=end)
        dates = {"data_date_start": checked.data_date_start, "data_date_end": checked.data_date_end}
        self._dates = {name: day for name, day in dates.items() if day is not None}

    def flush(self) -> None:
        """Wait until everything said so far is durable (or, the database being lost, in a file)."""
        self._check_open()
        self._outbox.flush()

    def complete(self) -> None:
        """End the run as completed; the `with` block does it.

        Raises:
            RecordingError: the end, or something before it, could not be sent; names the file.
            RunEnded: the run is over already.
        """
        self._check_open()
        counts = self._end(RunCompleted.of(**self._reached()))
        log.info("✅ %s completed: %d new, %d updated", plain(self.task), counts.created, counts.updated)

    def fail(self, error: BaseException | str) -> None:
        """End the run as failed; the `with` block does it for an exception.

        Raises:
            RecordingError: the end, or something before it, could not be sent; names the file.
            RunEnded: the run is over already.
        """
        self._check_open()
        event = RunFailed.of(**self._reached(), **describe(error, self._messages.redactor))
        log.error("❌ %s failed: %s", plain(self.task), plain(event.message))
        self._end(event)

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

    def _end(self, event: RunCompleted | RunFailed) -> Counts:
        self.calls.close()
        self._ended = True
        if self._release is not None:
            self._release()
        self._outbox.close(Pending(event))
        failure = self._outbox.recording_error(self.task)
        if failure is not None:
            raise failure
        self._result = counted(
            self._recorder.datastore, self.id, self._outbox.position, self._settings.projection_timeout
        ) or Counts(**{"fetched": sum(self._tally.values()), **self._tally, **self._declared})
        return self._result

    def _count(self, operation: str) -> None:
        with self._lock:
            self._tally[operation] += 1

    def _batches(
        self, record_type: str, pairs: Iterator[tuple[Any, object]]
    ) -> Iterator[list[tuple[RecordIngested, Body]]]:
        batch: list[tuple[RecordIngested, Body]] = []
        size = 0
        for record_id, content in pairs:
            event = RecordIngested.of(occurred_at=self.now, record_id=record_id, record_type=record_type)
            try:
                body = contents.record_content(content)
            except InvalidValue as error:
                raise error.about(f"{record_type} {event.record_id}") from error
            batch.append((event, body))
            size += len(body.content)
            if len(batch) >= LOOKUP_RECORDS or size >= LOOKUP_BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch


def resend_path(home: Path, run_id: UUID) -> Path:
    """Where the unsent events of a run are kept."""
    return home / "resend" / f"{run_id}.jsonl"
