"""What a run has to say, on its way to the event store: buffered, sent in the background, never lost.

Events wait here with the bodies that they refer to; a thread sends them by count or by age. When the
database stays away for longer than `retry_for`, what could not be sent goes to a file that
`audit-ledger resend` delivers, and so does all that follows, in order.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol
from uuid import UUID

from psycopg import Connection
from psycopg.rows import DictRow

from audit_ledger.errors import RecordingError
from audit_ledger.events import Event
from audit_ledger.recording.resend import Batch, Pending, ResendFile, read
from audit_ledger.store.bodies import put
from audit_ledger.store.recorder import LedgerRecorder

log = logging.getLogger("audit_ledger")

FLUSH_EVENTS = 1000
"""So many waiting events are sent at once, without waiting for more."""

FLUSH_SECONDS = 1.0
"""No event waits longer than this to be sent."""


class Waiting(Protocol):
    """What waits to be sent: an event, or what becomes one in the sending thread."""

    @property
    def size(self) -> int:
        """About how many bytes it holds."""

    def prepare(self) -> Pending:
        """The event with its bodies; must not raise."""


def send(recorder: LedgerRecorder, batch: Batch, *, again: bool = False) -> int:
    """Store the bodies of a batch and append its events, in one transaction; returns the last position.

    Args:
        recorder: The event store.
        batch: What to send.
        again: Whether it may be there already; if so, byte for byte, it counts as sent.
    """
    bodies = [body for pending in batch.events for body in pending.bodies.values()]
    if not bodies:
        events = [pending.event for pending in batch.events]
        return recorder.append(batch.stream_id, batch.version, events, again=again)

    def make(conn: Connection[DictRow]) -> list[Event]:
        commitments = iter(put(conn, bodies))
        return [
            pending.event.model_copy(update={name: next(commitments) for name in pending.bodies})
            if pending.bodies
            else pending.event
            for pending in batch.events
        ]

    return recorder.append_with(batch.stream_id, batch.version, make, again=again)


class Outbox:
    """The bounded buffer of one run. Threads may share it.

    Attributes:
        version: Version of the last event that was sent, or written to the file.
        position: Position of the last event that was sent.
        failure: Why sending was given up, if it was.
        file: Where unsent events went, if any did.
        lost: How many events could go neither to the database nor to the file.
    """

    def __init__(
        self,
        recorder: LedgerRecorder,
        stream_id: UUID,
        max_events: int,
        max_bytes: int,
        resend_file: Callable[[], ResendFile],
    ) -> None:
        self.version = 0
        self.position = 0
        self.failure: BaseException | None = None
        self.file: ResendFile | None = None
        self.lost = 0
        self._recorder = recorder
        self._stream_id = stream_id
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._resend_file = resend_file
        self._waiting: list[Waiting] = []
        self._aside: deque[Waiting] = deque()
        self._held_events = 0
        self._held_bytes = 0
        self._urgent = False
        self._closing = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def start(self, first: Pending) -> None:
        """Send the first event of the stream, now, in the calling thread.

        Raises:
            LedgerError: it could not be sent; nothing is kept.
        """
        self.position = send(self._recorder, Batch(self._stream_id, 0, [first]))
        self.version = 1

    def add(self, pending: Waiting) -> None:
        """Take an event in; blocks while the buffer is full."""
        size = pending.size
        with self._changed:
            while self._held_events and not self._room_for(size):
                self._hurry()
                self._changed.wait()
            self._waiting.append(pending)
            self._held_events += 1
            self._held_bytes += size
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name=f"audit-ledger {self._stream_id}", daemon=True
                )
                self._thread.start()
            elif len(self._waiting) == 1:
                self._changed.notify_all()  # its second begins
            elif len(self._waiting) >= FLUSH_EVENTS:
                self._hurry()

    def put_aside(self, pending: Waiting) -> None:
        """Take an event in that is sent with the next ones, or at the end; without a lock, never waiting."""
        self._aside.append(pending)

    def flush(self) -> None:
        """Wait until everything that was added is sent, or in the file."""
        with self._changed:
            while self._held_events:
                self._hurry()
                self._changed.wait()

    def close(self, last: Pending) -> None:
        """Send what is left and then `last`, in the calling thread."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        self._deliver([*self._waiting, *self._set_aside(), last])
        self._waiting = []

    def recording_error(self, task: str) -> RecordingError | None:
        """The error that says what could not be sent and where it is kept; None where all was sent."""
        if self.failure is None:
            return None
        path = self.file.path if self.file else None
        remedy = f"once the database is back: audit-ledger resend {path}" if path else "none: see actual"
        if self.lost:
            remedy += f"; {self.lost} events could not even be saved"
        error = RecordingError(
            f"run {self._stream_id} of {task} could not be recorded to its end",
            path=path,
            actual=str(self.failure),
            remedy=remedy,
        )
        error.__cause__ = self.failure
        return error

    def _room_for(self, size: int) -> bool:
        return self._held_events < self._max_events and self._held_bytes + size <= self._max_bytes

    def _hurry(self) -> None:
        """Have the thread send what waits, now."""
        self._urgent = True
        self._changed.notify_all()

    def _run(self) -> None:
        """The thread: send what waits by count, by age, or because somebody waits for it."""
        while True:
            with self._changed:
                while not self._waiting and not self._closing:
                    self._changed.wait()
                deadline = time.monotonic() + FLUSH_SECONDS
                while not self._urgent and not self._closing and (left := deadline - time.monotonic()) > 0:
                    self._changed.wait(left)
                if self._closing and len(self._waiting) < FLUSH_EVENTS:
                    return  # whoever closes sends the rest, in one batch with the end
                batch, self._waiting, self._urgent = self._waiting, [], False
            self._deliver([*batch, *self._set_aside()])
            with self._changed:
                self._held_events -= len(batch)
                self._held_bytes -= sum(pending.size for pending in batch)
                self._changed.notify_all()

    def _set_aside(self) -> list[Waiting]:
        return [self._aside.popleft() for _ in range(len(self._aside))]

    def _deliver(self, waiting: Sequence[Waiting]) -> None:
        """Send a batch, or keep it in the file."""
        events = [one.prepare() for one in waiting]
        batch = Batch(self._stream_id, self.version, events)
        self.version += len(events)
        if self.failure is None:
            try:
                self.position = send(self._recorder, batch)
            except Exception as error:  # noqa: BLE001 - kept, and raised at the end of the run
                self.failure = error
            else:
                return
        try:
            if self.file is None:
                self.file = self._resend_file()
            self.file.write(batch)
        except OSError as error:
            self.lost += len(events)
            log.critical(
                "%d events of run %s are lost: %s",
                len(events),
                self._stream_id,
                error,
                extra={"run_id": str(self._stream_id)},
            )


def resend(recorder: LedgerRecorder, path: Path, ledger_id: UUID) -> int:
    """Deliver a resend file; returns how many events it held. What is there already is not sent twice.

    Raises:
        InvalidValue: it is no resend file of this ledger, or is damaged.
        VersionConflict: the ledger has other events in their place.
    """
    count = 0
    for batch in read(path, ledger_id):
        send(recorder, batch, again=True)
        count += len(batch.events)
    path.rename(path.with_suffix(".delivered"))
    return count
