"""What tests of watching stand on: a ledger on a virtual clock, and runs that happen when they say."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg

from audit_ledger.events import Event, RunCompleted, RunFailed, RunStarted
from audit_ledger.store.recorder import LedgerRecorder

FUNCTIONS = """
SELECT p.oid::regprocedure::text AS name, pg_get_functiondef(p.oid) AS definition
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE n.nspname IN ('ledger', 'ledger_read') AND p.prosrc LIKE '%clock_timestamp()%'
"""


class Clock:
    """The clock of a database, whose functions ask a table for the time; and that of whoever watches."""

    def __init__(self, admin: psycopg.Connection[Any], start: datetime) -> None:
        self._admin = admin
        self.now = start
        self.seconds = 0.0
        admin.execute("CREATE TABLE public.virtual_clock AS SELECT %s::timestamptz AS now", [start])
        admin.execute("GRANT SELECT ON public.virtual_clock TO PUBLIC")
        changed = admin.execute(FUNCTIONS).fetchall()
        assert changed
        for _, definition in changed:
            virtual = definition.replace("clock_timestamp()", "(SELECT c.now FROM public.virtual_clock c)")
            admin.execute(virtual.encode())

    def __call__(self) -> datetime:
        return self.now

    def pauses(self) -> float:
        """Seconds, by a clock that nobody sets back."""
        return self.seconds

    def set(self, now: datetime) -> None:
        """Go on, or step back, to an instant."""
        self.seconds += max(0.0, (now - self.now).total_seconds())
        self.now = now
        self._admin.execute("UPDATE public.virtual_clock SET now = %s", [now])


def start(recorder: LedgerRecorder, task: str, at: datetime, **more: Any) -> UUID:
    """A run began."""
    run_id = uuid4()
    recorder.append(run_id, 0, [RunStarted.of(task=task, source="s", occurred_at=at, **more)])
    return run_id


def end(
    recorder: LedgerRecorder,
    run_id: UUID,
    at: datetime,
    *events: Event,
    version: int = 1,
    failed: str | None = None,
    took: timedelta = timedelta(seconds=30),
    **more: Any,
) -> None:
    """It ended, after those events."""
    given = {"occurred_at": at, "duration_ms": took // timedelta(milliseconds=1), **more}
    last: Event
    if failed is None:
        last = RunCompleted.of(**{"fetched": 10, **given})
    else:
        last = RunFailed.of(message=failed, error_class="RuntimeError", **given)
    recorder.append(run_id, version, [*events, last])


@contextmanager
def connected(url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection in autocommit that looks at the read models."""
    with psycopg.connect(url, autocommit=True, options="-c search_path=ledger_read,ledger") as conn:
        yield conn
