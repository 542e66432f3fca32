"""The watcher as a service: it waits for its turn, for events and for the clock, until it is stopped."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from psycopg import Connection

from audit_ledger.errors import ConfigurationError, LedgerError, WritesRefused
from audit_ledger.plan import Channel, Plan, load_plan
from audit_ledger.settings import Settings
from audit_ledger.store.connecting import configure, connect
from audit_ledger.store.database import Database
from audit_ledger.store.event_store import EventStore
from audit_ledger.watching import channels
from audit_ledger.watching.elsewhere import Elsewhere
from audit_ledger.watching.outbox import Attempt
from audit_ledger.watching.verification import Verification, verdict
from audit_ledger.watching.watcher import Send, Watcher

log = logging.getLogger("audit_ledger")

PAUSE = 5.0
"""Seconds without a notice after which a watcher looks all the same: notices can be lost."""

SETTLE = 0.5
"""Seconds between two looks at least, however many events come."""

LOCK = "SELECT pg_try_advisory_lock(hashtextextended(%s, 0)) AS mine"


def lock_name(ledger: str) -> str:
    """The name of the lock that the watcher at work holds."""
    return f"audit-ledger watch {ledger}"


def tell(channel: Channel, attempt: Attempt) -> None:
    """Make an attempt.

    Raises:
        DeliveryFailed: the channel did not take it.
    """
    channels.send(
        channel,
        attempt.title,
        attempt.body,
        critical=attempt.alert.severity == "critical",
        resolved=attempt.notice == "resolved",
    )


def watch(
    database: Database,
    settings: Settings,
    *,
    stopped: threading.Event,
    plan_file: Path | None = None,
    send: Send = tell,
    verify_at: str | None = None,
    metrics: str | None = None,
    ready: Callable[[Watcher], None] = lambda _: None,
) -> None:
    """Watch until stopped; a database that is lost is waited for.

    Args:
        database: The ledger.
        settings: Its settings.
        stopped: Set it to stop.
        plan_file: ledger.toml; by default that of the settings. It is read again when it changes; where it
            cannot be used, that is said, and the last one that could holds on.
        send: How channels are told.
        verify_at: When to verify the read models: a cron expression, in UTC; never by default.
        metrics: [HOST:]PORT at which metrics are served meanwhile; by default nowhere.
        ready: Is told of each watcher that has taken over.

    Raises:
        ConfigurationError: ledger.toml, or that schedule, cannot be used; or metrics cannot be served there.
    """
    verification = None if verify_at is None else Verification(partial(verdict, database), verify_at)
    source = _PlanSource(plan_file)
    with ExitStack() as stack:
        collector = None if metrics is None else stack.enter_context(_metrics().serving(database, metrics))

        @contextmanager
        def at_work(watcher: Watcher) -> Iterator[None]:
            ready(watcher)
            if collector is not None:
                collector.at_work(watcher)
            try:
                yield
            finally:
                if collector is not None:
                    collector.at_rest()

        _in_turns(database, settings, source, send, stopped, at_work, verification)


def _metrics() -> Any:
    """The module that serves metrics, which takes a package of the extra `watch`."""
    try:
        from audit_ledger.watching import metrics
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "prometheus_client":
            raise
        raise ConfigurationError(
            "metrics cannot be served",
            expected="the package prometheus-client",
            actual="it is not installed",
            remedy="pip install 'audit-ledger[watch]'",
        ) from error
    return metrics


AtWork = Callable[[Watcher], AbstractContextManager[None]]
"""A block in which a watcher is at work."""


def _in_turns(
    database: Database,
    settings: Settings,
    source: "_PlanSource",
    send: Send,
    stopped: threading.Event,
    at_work: AtWork,
    verification: Verification | None,
) -> None:
    """Wait for a turn, and work until the database is lost; again and again."""
    pause = 0.5
    elsewhere = Elsewhere(database)
    while not stopped.is_set():
        try:
            with _turn(database, settings, stopped) as conn:
                if conn is None:
                    return
                pause = 0.5
                _at_work(conn, database, source, send, stopped, at_work, verification, elsewhere)
        except (LedgerError, psycopg.Error) as error:
            if isinstance(error, ConfigurationError):
                raise
            if isinstance(error, WritesRefused):
                elsewhere.tell(source.plan, error)
            log.critical("❌ watching was interrupted: %s", error)
            stopped.wait(pause)
            pause = min(2 * pause, 30)


@contextmanager
def _turn(
    database: Database, settings: Settings, stopped: threading.Event
) -> Iterator[Connection[dict[str, Any]] | None]:
    """A connection that has the lock of watchers and listens; None where it was stopped before."""
    with connect(database.url, settings) as conn:
        configure(conn, database.name, settings)
        said = False
        while True:
            row = conn.execute(LOCK, [lock_name(database.name)]).fetchone()
            if row is not None and row["mine"]:
                break
            if not said:
                log.info("another watcher is at work; waiting for its turn")
                said = True
            if stopped.wait(2):
                yield None
                return
        conn.execute(f'LISTEN "{database.name}_events"'.encode())
        yield conn


def _at_work(
    conn: Connection[dict[str, Any]],
    database: Database,
    source: "_PlanSource",
    send: Send,
    stopped: threading.Event,
    at_work: AtWork,
    verification: Verification | None,
    elsewhere: Elsewhere,
) -> None:
    def clock() -> datetime:
        """The clock that recorded_at goes by; it does not go back behind the last event."""
        row = conn.execute("SELECT greatest(clock_timestamp(), h.recorded_at) AS now FROM head h").fetchone()
        assert row is not None  # the head is one row
        return row["now"].astimezone(UTC)  # type: ignore[no-any-return]

    watcher = Watcher(database, EventStore(database), source.plan, send, clock, verification=verification)
    try:
        watcher.begin()
        with at_work(watcher):
            looked = 0.0
            while not stopped.is_set():
                if source.changed():
                    watcher.define(source.plan)
                elsewhere.step(source.plan)
                stopped.wait(max(0.0, looked + SETTLE - time.monotonic()))
                looked = time.monotonic()
                next_at = watcher.step()
                wait = PAUSE if next_at is None else min(PAUSE, (next_at - clock()).total_seconds() + 0.01)
                _wait(conn, 0.1 if watcher.busy else wait, stopped)
            watcher.stop()
    except BaseException:
        watcher.abandon()
        raise


def _wait(conn: Connection[dict[str, Any]], seconds: float, stopped: threading.Event) -> None:
    """Until an event is appended, or so many seconds have gone by, or it is to stop."""
    deadline = time.monotonic() + seconds
    while not stopped.is_set():
        left = deadline - time.monotonic()
        if left <= 0:
            return
        for _ in conn.notifies(timeout=min(left, 1.0), stop_after=1):
            return


class _PlanSource:
    """ledger.toml, read again when it changes."""

    def __init__(self, path: Path | None) -> None:
        self.plan: Plan = load_plan(path)
        self._path = self.plan.file or path
        self._stamp = self._of_file()

    def changed(self) -> bool:
        """Whether there is a new plan; one that cannot be used is none."""
        stamp = self._of_file()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            self.plan = load_plan(self._path)
        except ConfigurationError as error:
            log.critical("❌ the new ledger.toml is not used, the last one holds on: %s", error)
            return False
        log.info("read %s again", self._path)
        return True

    def _of_file(self) -> tuple[int, int] | None:
        if self._path is None:
            return None
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_size
