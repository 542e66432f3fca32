"""The metrics of a ledger, for Prometheus: what fills them, and an HTTP endpoint that serves them.

A scrape reads the ledger on a connection of its own (see tally), whether or not the watcher of this process
is the one that is at work. While the database is away, it is answered all the same: `audit_ledger_up` is 0.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import psycopg
from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from audit_ledger.errors import ConfigurationError, LedgerError
from audit_ledger.store.connecting import configure, conninfo
from audit_ledger.store.database import Database
from audit_ledger.store.spool import Spool
from audit_ledger.version import VERSION
from audit_ledger.watching.metric_families import METRICS
from audit_ledger.watching.service import lock_name
from audit_ledger.watching.tally import BUCKETS, Tally

if TYPE_CHECKING:
    from audit_ledger.watching.watcher import Watcher

log = logging.getLogger("audit_ledger")

HOST = "127.0.0.1"
"""Where metrics are served unless it is said otherwise: who may read them is for the operator to decide."""

WITHIN = 2
"""Seconds in which the database has to let a scrape in."""

ADDRESS = re.compile(r"(?:(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]]+):)?(?P<port>\d{1,5})")


class LedgerCollector(Collector):
    """Reads the ledger when it is scraped. Threads may scrape it at once: one after the other is answered."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._spool = Spool.of(database.settings)
        self._tally = Tally(lock_name(database.name))
        self._conn: psycopg.Connection[dict[str, Any]] | None = None
        self._lock = threading.Lock()
        self._up: bool | None = None
        self._began = 0.0
        self._watcher: Watcher | None = None

    def at_work(self, watcher: Watcher) -> None:
        """The watcher of this process has taken over."""
        self._watcher = watcher

    def at_rest(self) -> None:
        """It is no longer at work."""
        self._watcher = None

    def describe(self) -> Iterable[Metric]:
        """All metrics, without values."""
        return [metric.family() for metric in METRICS]

    def collect(self) -> Iterator[Metric]:
        """All metrics as they are now; where the ledger cannot be read, that it cannot, and what waits."""
        families = {metric.name: metric.family() for metric in METRICS}
        with self._lock:
            up = self._read()
            if up:
                self._fill(families)
            self._spooled(families["spooled_events"])
        families["up"].add_metric([], float(up))
        yield from families.values() if up else [families["up"], families["spooled_events"]]

    def close(self) -> None:
        """Close its connection."""
        with self._lock:
            self._disconnect()
            self._spool.close()

    def _read(self) -> bool:
        self._began = time.perf_counter()
        try:
            self._tally.read(self._connected())
        except (psycopg.Error, LedgerError) as error:
            self._disconnect()
            if self._up is not False:
                log.warning("⚠️ metrics cannot be read: %s", "; ".join(str(error).split("\n")))
            self._up = False
        else:
            self._up = True
        return self._up

    def _spooled(self, family: Any) -> None:
        """Put what waits for the database into its family, whether or not the database is away."""
        try:
            family.add_metric([], self._spool.status().events)
        except LedgerError as error:
            log.warning("⚠️ the spool cannot be read: %s", "; ".join(str(error).split("\n")))

    def _connected(self) -> psycopg.Connection[dict[str, Any]]:
        if self._conn is None:
            database = self._database
            # Whoever scrapes does not wait for long, neither for a host that is gone.
            bounds = {"connect_timeout": WITHIN, "tcp_user_timeout": 5000, "keepalives_idle": 5}
            place = make_conninfo(conninfo(database.url, database.settings), **bounds)
            conn = psycopg.connect(place, row_factory=dict_row, autocommit=True, prepare_threshold=None)
            try:
                configure(conn, database.name, database.settings)
                conn.execute(
                    "SET statement_timeout = '60s'; SET default_transaction_read_only = on; SET jit = off"
                )
            except BaseException:
                conn.close()
                raise
            self._conn = conn
        return self._conn

    def _disconnect(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            conn.close()

    def _fill(self, families: dict[str, Any]) -> None:
        """Put what was read into the families."""
        tally, state, now = self._tally, self._tally.state, self._tally.state["now"]

        def add(name: str, value: float, *labels: str) -> None:
            families[name].add_metric(labels, value)

        families["info"].add_metric([], {"ledger_id": str(state["ledger_id"]), "version": VERSION})
        add("events_total", state["position"])
        if state["recorded_at"] is not None:
            add("head_timestamp_seconds", state["recorded_at"].timestamp())
        add("unanchored_events", state["unanchored"])
        add("unanchored_seconds", _since(state["unanchored_since"], now))
        add("writes_refused", float(state["refuses"]))
        add("events_set_aside", state["set_aside"])
        add("sealed_events", state["sealed"])
        add("unsealed_events", max(0, state["position"] - state["sealed"]))
        add("unsealed_seconds", _since(state["unsealed_since"], now))
        for model in tally.lag:
            add("read_model_lag_events", max(0, state["position"] - model["position"]), model["projection"])
            add("read_model_lag_seconds", _since(model["waiting_since"], now), model["projection"])
        for name, task in tally.tasks.items():
            add("runs_started_total", task.started, name)
            for status in ("completed", "failed", "abandoned"):
                add("runs_total", task.ended[status], name, status)
            add("runs_running", tally.running.get(name, 0), name)
            families["run_duration_seconds"].add_metric(
                [name], list(zip(BOUNDS, task.cumulative, strict=True)), task.seconds
            )
            add("records_fetched_total", task.records["fetched"], name)
            for operation in ("created", "updated", "skipped"):
                add("records_total", task.records[operation], name, operation)
            if task.last_success is not None:
                add("last_success_timestamp_seconds", task.last_success.timestamp(), name)
                add("last_success_age_seconds", max(0.0, (now - task.last_success).total_seconds()), name)
        for labels, count in tally.calls.items():
            add("api_calls_total", count, *labels)
        for labels, count in tally.open.items():
            add("alerts_open", count, *labels)
        for labels, count in tally.told.items():
            add("alert_deliveries_total", count, *labels)
        here = self._watcher
        add("watcher_at_work", float(state["watched"]))
        add("watcher_here", float(here is not None))
        looked = (here.looked_at if here is not None else None) or state["watched_at"]
        if looked is not None:
            add("watcher_last_look_timestamp_seconds", looked.timestamp())
        add("scrape_duration_seconds", time.perf_counter() - self._began)


def _since(instant: datetime | None, now: datetime) -> float:
    """Seconds since an instant; 0 where there is none."""
    return 0.0 if instant is None else max(0.0, (now - instant).total_seconds())


BOUNDS = [*map(floatToGoString, BUCKETS), "+Inf"]


def address(text: str) -> tuple[str, int]:
    """Host and port of [HOST:]PORT.

    Raises:
        ConfigurationError: it is nothing of the kind.
    """
    found = ADDRESS.fullmatch(text)
    if found is None or not 0 <= int(found["port"]) < 1 << 16:
        raise ConfigurationError(
            "metrics cannot be served there",
            expected="[HOST:]PORT, e.g. 9464, 0.0.0.0:9464 or [::1]:9464",
            actual=repr(text),
            remedy="correct the address",
        )
    return (found["host"] or HOST).strip("[]"), int(found["port"])


@contextmanager
def serving(database: Database, where: str) -> Iterator[LedgerCollector]:
    """Serve the metrics of a ledger until the block ends.

    Args:
        database: The ledger.
        where: [HOST:]PORT; port 0 is any that is free.

    Raises:
        ConfigurationError: it is no address, or nothing can be served there.
    """
    host, port = address(where)
    collector = LedgerCollector(database)
    registry = CollectorRegistry()
    registry.register(collector)
    ProcessCollector(registry=registry)
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise ConfigurationError(
            f"metrics cannot be served at {where}",
            expected="an address of this host, and a port that is free",
            actual=str(error),
            remedy="choose another port, or end what listens there",
        ) from error
    log.info(
        "metrics are served at http://%s:%d/metrics", f"[{host}]" if ":" in host else host, server.server_port
    )
    # What is on record already is counted before anybody asks.
    threading.Thread(
        target=lambda: list(collector.collect()), name="audit-ledger metrics", daemon=True
    ).start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        collector.close()
