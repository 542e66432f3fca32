"""What of a ledger is counted for metrics: once from the beginning, and from then on what is new.

Every counter is a sum over rows that do not change once they are there, by position: the ends of runs, API
calls, attempts to tell a channel that have ended. A reading folds the rows after the last one into the sums,
in one snapshot of the database, so that counters never fall and agree with each other, and costs what is new,
whatever is old. What is not a sum, such as alerts that are open, is asked for by index.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate
from typing import Any

from psycopg import Connection, IsolationLevel
from psycopg.rows import DictRow

BUCKETS = (1, 10, 60, 300, 900, 3600, 14400, 86400)
"""Seconds that a run took at most, by which durations are told apart."""

MAX_ENDPOINTS = 100
"""The first endpoints on record have a label of their own; those that came later share one."""

OTHER = "(other)"
"""The label of all other endpoints."""

FOLDED = ("alerts", "api_call_logs", "data_ingestion_run_ends", "data_ingestion_runs")
"""The projections whose rows are counted."""

STATE = """
SELECT h.position, nullif(h.recorded_at, '-infinity') AS recorded_at, clock_timestamp() AS now,
       (SELECT id FROM origin) AS ledger_id,
       h.refuses,
       (SELECT e.recorded_at FROM events e WHERE e.position = coalesce(a.size, 0) + 1) AS unanchored_since,
       greatest(h.position - coalesce(a.size, 0), 0) AS unanchored,
       (SELECT count(*) FROM set_aside) AS set_aside,
       c.size AS sealed,
       (SELECT e.recorded_at FROM events e WHERE e.position = c.size + 1) AS unsealed_since,
       (SELECT w.watched_at FROM watches w ORDER BY w.id DESC LIMIT 1) AS watched_at,
       EXISTS (SELECT FROM pg_locks l
                WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
                  AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
                  AND (l.classid::bigint << 32 | l.objid::bigint) = hashtextextended(%s, 0)) AS watched
  FROM head h
 CROSS JOIN (SELECT coalesce(max(k.size), 0) AS size FROM checkpoints k) c
  LEFT JOIN (SELECT b.size FROM anchors b JOIN origin o ON o.id = b.origin
              ORDER BY b.size DESC LIMIT 1) a ON true
"""

LAG = """
SELECT p.projection, p.position,
       (SELECT e.recorded_at FROM events e WHERE e.position = p.position + 1) AS waiting_since
  FROM progress p ORDER BY p.ordinal
"""

STARTED = """
SELECT r.task_name, count(*) AS started
  FROM data_ingestion_runs r WHERE r.id > %(after)s AND r.id <= %(upto)s GROUP BY r.task_name
"""

ENDED = """
SELECT r.task_name, f.status, width_bucket(f.duration_ms - 1, %(buckets)s::bigint[]) AS bucket,
       count(*) AS ends, coalesce(sum(f.duration_ms), 0)::bigint AS milliseconds,
       max(f.ended_at) FILTER (WHERE f.first AND f.status = 'completed') AS last_success,
       coalesce(sum(r.records_fetched) FILTER (WHERE f.first), 0) AS fetched,
       coalesce(sum(r.records_created) FILTER (WHERE f.first), 0) AS created,
       coalesce(sum(r.records_updated) FILTER (WHERE f.first), 0) AS updated,
       coalesce(sum(r.records_skipped) FILTER (WHERE f.first), 0) AS skipped
  FROM data_ingestion_run_ends f
  JOIN data_ingestion_runs r ON r.id = f.data_ingestion_run_id
 WHERE f.id > %(after)s AND f.id <= %(upto)s AND (f.first OR f.status = 'abandoned')
 GROUP BY r.task_name, f.status, bucket
"""
"""The ends that count, and those found abandoned. A bucket holds its upper bound, hence the millisecond."""

CALLED = """
WITH counted AS MATERIALIZED (
    SELECT c.endpoint, c.http_status_code / 100 AS class, count(*) AS calls, min(c.id) AS first
      FROM api_call_logs c
     WHERE c.id > %(after)s AND c.id <= %(upto)s
     GROUP BY c.endpoint, class
), named AS (
    SELECT c.endpoint FROM counted c
     WHERE c.endpoint <> ALL (%(endpoints)s::text[])
     GROUP BY c.endpoint ORDER BY min(c.first) LIMIT %(room)s
)
SELECT CASE WHEN c.endpoint = ANY (%(endpoints)s::text[]) OR c.endpoint IN (SELECT n.endpoint FROM named n)
            THEN c.endpoint END AS endpoint,
       c.class, sum(c.calls)::bigint AS calls
  FROM counted c
 GROUP BY 1, 2
"""

TOLD = """
SELECT t.channel, t.status, count(*) AS attempts,
       coalesce(array_agg(t.id) FILTER (WHERE t.status = 'begun'), '{}') AS ids
  FROM alert_attempts t
 WHERE t.id > %(after)s AND t.id <= %(upto)s OR t.id = ANY (%(begun)s::bigint[])
 GROUP BY t.channel, t.status
"""

OPEN = """
SELECT a.severity, a.kind, count(*) AS alerts
  FROM alerts a WHERE a.resolved_position IS NULL GROUP BY a.severity, a.kind
"""

RUNNING = (
    "SELECT r.task_name, count(*) AS runs FROM data_ingestion_runs r WHERE r.status = 'running' GROUP BY 1"
)


@dataclass
class OfTask:
    """The sums of a task.

    Attributes:
        started: Runs that began.
        ended: Runs by how they ended: completed, failed; and those found abandoned.
        records: Records by operation, as the ends of runs have it: declared, else counted.
        durations: Runs by the bucket that their duration falls into, the last for what is longer than all.
        seconds: Sum of the durations.
        last_success: When the last run that completed did.
    """

    started: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    records: Counter[str] = field(default_factory=Counter)
    durations: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    seconds: float = 0.0
    last_success: datetime | None = None

    @property
    def cumulative(self) -> list[int]:
        """Runs that took no longer than each bound of BUCKETS, and all."""
        return list(accumulate(self.durations))


@dataclass
class Tally:
    """The sums, and what was read with them last.

    Attributes:
        lock: Name of the advisory lock that the watcher at work holds.
        position: Everything up to here is in the sums.
        tasks: By name.
        calls: API calls by endpoint and class of status.
        told: Attempts to tell channels, by channel and how they ended.
        open: Alerts that are open, by severity and kind; 0 for those that were, since this began.
        running: Runs that go on, by task.
        state: The head, the clock, and whether somebody watches: the columns of STATE.
        lag: How far projections are: the columns of LAG.
    """

    lock: str
    position: int = 0
    tasks: dict[str, OfTask] = field(default_factory=dict)
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    told: Counter[tuple[str, str]] = field(default_factory=Counter)
    open: dict[tuple[str, str], int] = field(default_factory=dict)
    running: dict[str, int] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)
    lag: list[dict[str, Any]] = field(default_factory=list)
    _begun: list[int] = field(default_factory=list)

    def read(self, conn: Connection[DictRow]) -> None:
        """Count what is new. Where that fails nothing has been counted.

        Args:
            conn: Looks at the ledger's schemas; its next transaction is this one.

        Raises:
            psycopg.Error: the database is away, or refuses.
        """
        conn.isolation_level = IsolationLevel.REPEATABLE_READ
        with conn.transaction():
            (state,) = conn.execute(STATE, [self.lock]).fetchall()
            lag = conn.execute(LAG).fetchall()
            if self._is_another(state):
                self.__dict__.update(Tally(self.lock).__dict__)
            folded = min(row["position"] for row in lag if row["projection"] in FOLDED)
            given = {"after": self.position, "upto": max(self.position, folded)}
            started = conn.execute(STARTED, given).fetchall()
            ended = conn.execute(ENDED, {**given, "buckets": [1000 * bound for bound in BUCKETS]}).fetchall()
            named = {endpoint for endpoint, _ in self.calls} - {OTHER}
            room = {"endpoints": [*named], "room": MAX_ENDPOINTS - len(named)}
            called = conn.execute(CALLED, {**given, **room}).fetchall()
            told = conn.execute(TOLD, {**given, "begun": self._begun}).fetchall()
            opened = conn.execute(OPEN).fetchall()
            running = conn.execute(RUNNING).fetchall()
        for row in started:
            self._of(row["task_name"]).started += row["started"]
        for row in ended:
            self._end(row)
        for row in called:
            status = "none" if row["class"] is None else f"{row['class']}xx"
            self.calls[row["endpoint"] or OTHER, status] += row["calls"]
        for row in told:
            if row["status"] != "begun":
                self.told[row["channel"], row["status"]] += row["attempts"]
        self._begun = [position for row in told for position in row["ids"]]
        self.open = dict.fromkeys(self.open, 0) | {(r["severity"], r["kind"]): r["alerts"] for r in opened}
        self.running = {row["task_name"]: row["runs"] for row in running}
        self.state, self.lag, self.position = state, lag, given["upto"]

    def _is_another(self, state: dict[str, Any]) -> bool:
        """Whether it is not the ledger any more that was counted, but, say, a backup of it."""
        known = self.state.get("ledger_id", state["ledger_id"])
        return bool(state["position"] < self.position or state["ledger_id"] != known)

    def _of(self, task: str) -> OfTask:
        return self.tasks.setdefault(task, OfTask())

    def _end(self, row: dict[str, Any]) -> None:
        task = self._of(row["task_name"])
        task.ended[row["status"]] += row["ends"]
        for operation in ("fetched", "created", "updated", "skipped"):
            task.records[operation] += row[operation]
        if row["bucket"] is not None:
            task.durations[row["bucket"]] += row["ends"]
            task.seconds += row["milliseconds"] / 1000
        if row["last_success"] is not None:
            task.last_success = max(task.last_success or row["last_success"], row["last_success"])
