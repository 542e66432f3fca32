"""Forwarding: what waits in a spool goes to the ledger, in order, once.

A page of events is appended in one transaction and then deleted from the spool. Whoever is killed in between
leaves both, and the next one finds each event there already, byte for byte. What the ledger refuses for good
is set aside, stream by stream, and holds nothing else up.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from psycopg import Connection
from psycopg.rows import DictRow

from audit_ledger.errors import AppendRefused, InvalidValue, LedgerError, SpoolBusy, SpoolError
from audit_ledger.events import decode
from audit_ledger.store.bodies import put
from audit_ledger.store.copies import Tell, silent
from audit_ledger.store.event_store import EventStore, Row
from audit_ledger.store.pending import Spooled
from audit_ledger.store.spool import Spool

log = logging.getLogger("audit_ledger")

PAGE_EVENTS = 10_000
PAGE_BYTES = 8 << 20
"""One transaction takes so many events, and so many bytes of bodies, at most."""

FIRST = 0.5
"""Seconds that a run waits at its start for what is spooled, so that little of it comes first."""


@dataclass
class Forwarded:
    """What forwarding did.

    Attributes:
        events: How many events the ledger has now, and the spool no longer.
        adopted: How many of the runs had been spooled before the ledger was ever reached.
        refused: How many streams the ledger refuses for good: those set aside, now or before.
        foreign: Events that were left, since they belong to another ledger.
        finished: Whether nothing is left to forward; otherwise time was up.
    """

    events: int = 0
    adopted: int = 0
    refused: int = 0
    foreign: int = 0
    finished: bool = False


def forward(
    spool: Spool,
    recorder: EventStore,
    ledger_id: UUID,
    *,
    stop: Callable[[], bool] = lambda: False,
    tell: Tell = silent,
) -> Forwarded:
    """Forward what waits in a spool.

    Args:
        spool: The spool.
        recorder: The ledger's event store.
        ledger_id: The ledger.
        stop: Is asked before each page whether to leave the rest for another time.
        tell: Is told after each page how many events are through, and of how many.

    Raises:
        SpoolBusy: another process forwards it.
        SpoolError: the spool cannot be read.
        Unreachable: the database stayed away for longer than `retry_for`.
        LedgerError: the database does not take events now.
    """
    done = Forwarded()
    if not spool.path.exists():
        done.finished = True
        return done
    with spool.forwarding():
        try:
            _forward(spool, recorder, ledger_id, done, stop, tell)
        except SpoolError:
            raise
        except LedgerError as error:
            spool.note(f"forwarding: {error.what}")
            raise
        finally:
            if done.events:
                spool.tidy()
    return done


def _forward(
    spool: Spool,
    recorder: EventStore,
    ledger_id: UUID,
    done: Forwarded,
    stop: Callable[[], bool],
    tell: Tell,
) -> None:
    done.adopted = spool.adopt(ledger_id)
    if done.adopted:
        log.warning(
            "%d runs were spooled in %s before their ledger was ever reached: they go to %s",
            done.adopted,
            spool.path,
            ledger_id,
        )
    passed_over = spool.passed_over(ledger_id)
    total = spool.count()
    after = 0
    tell(0, total)
    while not stop():
        page, last = spool.page(after, PAGE_EVENTS, PAGE_BYTES, passed_over)
        if last == after:
            done.finished = True
            spool.note(None)
            break
        refused = _deliver(spool, recorder, page) if page else set()
        passed_over |= refused
        delivered = [event for event in page if event.stream_id not in refused]
        if delivered:
            spool.remove(delivered)
            done.events += len(delivered)
            tell(done.events, max(total, done.events))
        after = last
    left = spool.streams()
    done.refused = sum(stream.set_aside is not None for stream in left)
    done.foreign = sum(stream.events for stream in left if stream.ledger_id not in (None, ledger_id))


def _deliver(spool: Spool, recorder: EventStore, events: Sequence[Spooled]) -> set[UUID]:
    """Append events; returns the streams that the ledger refuses for good, which are set aside."""
    try:
        recorder.deliver(lambda conn: _rows(conn, events))
    except (AppendRefused, InvalidValue) as error:
        streams = list(dict.fromkeys(event.stream_id for event in events))
        if len(streams) == 1:
            spool.set_aside(streams[0], str(error))
            log.critical(
                "the ledger refused %d events of %s for good; they are set aside in %s: %s",
                len(events),
                streams[0],
                spool.path,
                error,
            )
            return {streams[0]}
        half = set(streams[: len(streams) // 2])
        return _deliver(spool, recorder, [one for one in events if one.stream_id in half]) | _deliver(
            spool, recorder, [one for one in events if one.stream_id not in half]
        )
    return set()


def _rows(conn: Connection[DictRow], events: Sequence[Spooled]) -> list[Row]:
    """The events as they are appended; their bodies are stored first, and referred to."""
    bodies = [body for event in events for body in event.bodies.values()]
    commitments = iter(put(conn, bodies)) if bodies else iter(())
    return [
        Row(
            event.stream_id,
            event.version,
            event.type,
            decode(event.type, event.state)
            .model_copy(update={name: next(commitments) for name in event.bodies})
            .state
            if event.bodies
            else event.state,
        )
        for event in events
    ]


class BackgroundForwarding:
    """Forwarding beside a run: it never fails the script, and keeps it waiting for no longer than is said."""

    def __init__(self, spool: Spool, recorder: EventStore, ledger_id: UUID) -> None:
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=[spool, recorder, ledger_id], name="audit-ledger forward", daemon=True
        )
        self._thread.start()
        self._thread.join(FIRST)

    def finish(self, timeout: float) -> None:
        """Wait so many seconds at most, and have it leave the rest for another time."""
        deadline = time.monotonic() + timeout
        self._thread.join(timeout)
        self._stopped.set()
        self._thread.join(max(0, deadline - time.monotonic()))

    def _run(self, spool: Spool, recorder: EventStore, ledger_id: UUID) -> None:
        try:
            done = forward(spool, recorder, ledger_id, stop=self._stopped.is_set)
        except SpoolBusy:
            log.info("another process forwards %s", spool.path)
        except Exception as error:  # noqa: BLE001 - the script goes on, whatever becomes of the spool
            log.error("what is spooled in %s could not be forwarded: %s", spool.path, error)  # noqa: TRY400
        else:
            log.log(
                logging.WARNING if done.events else logging.INFO,
                "forwarded %d events from %s%s",
                done.events,
                spool.path,
                "" if done.finished else "; more are left for the next run",
            )
            if done.foreign:
                log.error(
                    "%d events in %s belong to another ledger, and stay there", done.foreign, spool.path
                )
