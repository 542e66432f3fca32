"""What a run has to say, on its way to the event store: buffered, sent in the background, never lost.

Events wait here with the bodies that they refer to; a thread sends them by count or by age. When the
database stays away for longer than `retry_for`, what could not be sent goes to the spool, and so does all
that follows, in order.

Where nothing was sent for a while, the thread itself says that the run goes on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from psycopg import Connection
from psycopg.rows import DictRow

from audit_ledger.errors import InvalidValue, LedgerError, RecordingError, Unreachable, WrongRole
from audit_ledger.recording.spooling import Spooling
from audit_ledger.store.bodies import put
from audit_ledger.store.event_store import EventStore
from audit_ledger.store.pending import Batch, Pending

if TYPE_CHECKING:
    from audit_ledger.events import Event, Plain

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


def send(recorder: EventStore, batch: Batch, *, again: bool = False) -> int:
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

    def make(conn: Connection[DictRow]) -> list[Event | Plain]:
        commitments = iter(put(conn, bodies))
        return [
            pending.naming(**{name: next(commitments) for name in pending.bodies})
            if pending.bodies
            else pending.event
            for pending in batch.events
        ]

    return recorder.append_with(batch.stream_id, batch.version, make, again=again)


class Outbox:
    """The bounded buffer of one run. Threads may share it.

    Args:
        recorder: The event store.
        stream_id: The stream that this process writes.
        max_events: Events to hold at most.
        max_bytes: Bytes to hold at most.
        spooling: Takes what cannot be sent.
        beat: Makes a sign of life.
        beat_after: Seconds without another event after which one is sent; 0 for never.
        run_id: The run that all events are to name, where the stream is not the run's own.

    Attributes:
        version: Version of the last event that was sent, or spooled.
        position: Position of the last event that was sent.
        failure: Why sending was given up, if it was.
        lost: How many events could go neither to the database nor to the spool.
    """

    def __init__(
        self,
        recorder: EventStore,
        stream_id: UUID,
        max_events: int,
        max_bytes: int,
        spooling: Spooling,
        *,
        beat: Callable[[], Pending] | None = None,
        beat_after: float = 0,
        run_id: UUID | None = None,
    ) -> None:
        self.version = 0
        self.position = 0
        self.failure: BaseException | None = None
        self.lost = 0
        self._recorder = recorder
        self._stream_id = stream_id
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._spooling = spooling
        self._unspooled: deque[Batch] = deque()
        self._beat = beat
        self._beat_after = beat_after
        self._run_id = run_id
        self._last_sent = time.monotonic()
        self._waiting: list[Waiting] = []
        self._aside: deque[Waiting] = deque()
        self._held_events = 0
        self._held_bytes = 0
        self._urgent = False
        self._closing = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def start(self, first: Pending, away: LedgerError | None = None) -> None:
        """Send the first event of the stream, now, in the calling thread.

        Args:
            first: The event.
            away: Why the database is known to be away: it is not tried then.

        Raises:
            LedgerError: it could not be sent, and is not to be spooled; nothing is kept.
        """
        batch = Batch(self._stream_id, 0, [first])
        if away is None:
            try:
                self.position = send(self._recorder, batch)
            except (InvalidValue, WrongRole):
                raise
            except Exception as error:
                if self._spooling.strict:
                    raise
                self._give_up(error)
        else:
            self._give_up(away)
        self.version = 1
        if self.failure is not None:
            self._spool(batch)
        self._last_sent = time.monotonic()
        if self._beat is not None and self._beat_after:
            with self._changed:
                self._start_thread()

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
                self._start_thread()
            elif len(self._waiting) == 1:
                self._changed.notify_all()  # its second begins
            elif len(self._waiting) >= FLUSH_EVENTS:
                self._hurry()

    def put_aside(self, pending: Waiting) -> None:
        """Take an event in that is sent with the next ones, or at the end; without a lock, never waiting."""
        self._aside.append(pending)

    def flush(self) -> None:
        """Wait until everything that was added is sent, or spooled."""
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
        self.lost += sum(len(batch.events) for batch in self._unspooled)
        self._unspooled.clear()

    def recording_error(self, task: str) -> RecordingError | None:
        """The error that says what is not on record, and where it is kept.

        None where all was sent, or all that was not is spooled and that is what the user chose.
        """
        if self.failure is None or not (self.lost or self._spooling.strict):
            return None
        spooled = self.lost < self.version
        remedy = "once the database is back: audit-ledger spool forward" if spooled else "none: see actual"
        if self.lost:
            remedy += f"; {self.lost} events could not even be spooled: {self._spooling.trouble}"
        path = self._spooling.spool.path if spooled else None
        error = RecordingError(
            f"run {self._stream_id} of {task} could not be recorded to its end",
            path=path,
            actual=str(self.failure),
            remedy=f"{remedy} (spool: {path})" if path else remedy,
        )
        error.__cause__ = self.failure
        return error

    def _start_thread(self) -> None:
        self._thread = threading.Thread(target=self._run, name=f"audit-ledger {self._stream_id}", daemon=True)
        self._thread.start()

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
                while not self._waiting and not self._closing and not self._beat_is_due():
                    self._changed.wait(self._until_beat())
                due = not self._waiting and not self._closing
            if due:
                self._deliver_beat()
                continue
            with self._changed:
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

    def _until_beat(self) -> float | None:
        """Seconds until a sign of life is due; None for never."""
        if self._beat is None or not self._beat_after or self.failure is not None:
            return None
        return max(0, self._last_sent + self._beat_after - time.monotonic())

    def _beat_is_due(self) -> bool:
        return self._until_beat() == 0

    def _deliver_beat(self) -> None:
        """Send a sign of life. While the database is away it is tried until something else is to be sent.

        An outage that only it has seen does not count as one of the run's events.
        """
        assert self._beat is not None  # or none would be due
        batch = Batch(self._stream_id, self.version, [self._prepared(self._beat())])
        tried = False
        while True:
            with self._changed:
                last = self._closing or bool(self._waiting)
            try:
                self.position = send(self._recorder, batch, again=tried)
            except Exception as error:  # noqa: BLE001 - kept, and raised at the end of the run
                tried = True
                if last or not isinstance(error, Unreachable):
                    self._give_up(error)
                    self._spool(batch)
                    break
                continue
            break
        self.version += 1
        self._last_sent = time.monotonic()

    def _prepared(self, waiting: Waiting) -> Pending:
        """The event with its bodies; it names the run where the stream does not."""
        pending = waiting.prepare()
        if self._run_id is None or getattr(pending.event, "run_id", self._run_id) is not None:
            return pending
        return Pending(pending.naming(run_id=self._run_id), pending.bodies)

    def _set_aside(self) -> list[Waiting]:
        return [self._aside.popleft() for _ in range(len(self._aside))]

    def _deliver(self, waiting: Sequence[Waiting]) -> None:
        """Send a batch, or spool it."""
        events = [self._prepared(one) for one in waiting]
        batch = Batch(self._stream_id, self.version, events)
        self.version += len(events)
        self._last_sent = time.monotonic()
        if self.failure is None:
            try:
                self.position = send(self._recorder, batch)
            except Exception as error:  # noqa: BLE001 - kept, and raised at the end of the run
                self._give_up(error)
            else:
                return
        self._spool(batch)

    def _give_up(self, error: Exception) -> None:
        """Send nothing any more: what follows must not overtake what is spooled."""
        self.failure = error
        self._spooling.announce(self._stream_id, error)

    def _spool(self, batch: Batch) -> None:
        """Spool a batch, after those that could not be spooled before; a full disk may have room again."""
        self._unspooled.append(batch)
        try:
            while self._unspooled:
                self._spooling.write(self._unspooled[0])
                self._unspooled.popleft()
        except Exception as error:  # noqa: BLE001 - said, and told at the end of the run
            held = sum(len(one.events) for one in self._unspooled)
            size = sum(pending.size for one in self._unspooled for pending in one.events)
            if batch.version and (held > self._max_events or size > self._max_bytes):
                self._unspooled.pop()
                self.lost += len(batch.events)
            self._spooling.failed(self._stream_id, error, held)
