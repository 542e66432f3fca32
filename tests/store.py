"""What the tests of the event store write with, what they write, and what they look at."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psycopg
from eventsourcing.persistence import StoredEvent

from audit_ledger.settings import load
from audit_ledger.store.recorder import Datastore, LedgerRecorder


@contextmanager
def recorder_at(url: str, **settings: Any) -> Iterator[LedgerRecorder]:
    """A recorder of its own pool, closed at the end."""
    with Datastore(url, "ledger", load(url=url, **settings)) as database:
        yield LedgerRecorder(database)


def events(stream: UUID, count: int, after: int = 0, state: bytes = b"{}") -> list[StoredEvent]:
    """So many events of a stream, the first of the version that follows `after`."""
    return [
        StoredEvent(originator_id=stream, originator_version=version, topic="Noted", state=state)
        for version in range(after + 1, after + 1 + count)
    ]


def log(conn: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    """The whole log: position, recorded_at, recorded_by, stream_id, version, type, state."""
    return conn.execute(
        "SELECT position, recorded_at, recorded_by, stream_id, version, type, state"
        "  FROM ledger.events ORDER BY position"
    ).fetchall()


def head(conn: psycopg.Connection[Any]) -> int:
    """The last position, as the head has it, which must be what the log has."""
    row = conn.execute(
        "SELECT position, (SELECT coalesce(max(position), 0) FROM ledger.events),"
        "       recorded_at = (SELECT coalesce(max(recorded_at), '-infinity') FROM ledger.events)"
        "  FROM ledger.head"
    ).fetchone()
    assert row is not None
    assert row[0] == row[1]
    assert row[2]
    return int(row[0])


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.005)


class InThread(threading.Thread):
    """A call in a thread of its own; `result` waits for what it returns, and raises what it raises."""

    def __init__(self, call: Callable[[], Any]) -> None:
        super().__init__()
        self._call = call
        self._result: Any = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._result = self._call()
        except BaseException as error:
            self._error = error

    def result(self, seconds: float = 30) -> Any:
        self.join(seconds)
        assert not self.is_alive(), "it does not return"
        if self._error is not None:
            raise self._error
        return self._result


def waiting(conn: psycopg.Connection[Any]) -> list[int]:
    """The processes of this database that wait for the append lock."""
    rows = conn.execute(
        "SELECT l.pid FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
        " WHERE l.locktype = 'advisory' AND NOT l.granted AND d.datname = current_database()"
    ).fetchall()
    return [row[0] for row in rows]
