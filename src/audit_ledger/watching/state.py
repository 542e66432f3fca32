"""From the read models to what monitors look at: the histories of many tasks, by few statements, by index."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from audit_ledger.plan import Plan, Task
from audit_ledger.store.database import Reader
from audit_ledger.watching.history import Calls, Era, History, RunSeen

PAST = 50
"""Runs before those to judge that are looked at as well."""

TASKS = """
WITH RECURSIVE named AS (
    (SELECT task_name FROM data_ingestion_runs ORDER BY task_name LIMIT 1)
    UNION ALL
    SELECT (SELECT r.task_name FROM data_ingestion_runs r WHERE r.task_name > n.task_name
             ORDER BY r.task_name LIMIT 1)
      FROM named n WHERE n.task_name IS NOT NULL
)
SELECT task_name FROM named WHERE task_name IS NOT NULL
"""
"""Every task that ever ran, by leaping from one to the next on the index."""

RUNS = """
WITH wanted AS MATERIALIZED (
    SELECT w.task FROM unnest(%(tasks)s::text[]) AS w(task)
), fresh AS MATERIALIZED (
    SELECT r.id FROM wanted w
     CROSS JOIN LATERAL (SELECT r.id FROM data_ingestion_runs r
                          WHERE r.task_name = w.task AND r.started_at >= %(since)s) r
    UNION
    SELECT r.id FROM data_ingestion_runs r WHERE r.id > %(after)s
    UNION
    SELECT f.data_ingestion_run_id FROM data_ingestion_run_ends f WHERE f.id > %(after)s
), looked AS (
    SELECT f.id FROM fresh f
    UNION
    SELECT r.id FROM wanted w
     CROSS JOIN LATERAL (SELECT r.id FROM data_ingestion_runs r WHERE r.task_name = w.task
                          ORDER BY r.started_at DESC LIMIT %(past)s) r
    UNION
    SELECT r.id FROM wanted w
     CROSS JOIN LATERAL (SELECT r.id FROM data_ingestion_runs r
                          WHERE r.task_name = w.task AND r.status = 'completed'
                          ORDER BY r.started_at DESC LIMIT 1) r
    UNION
    SELECT r.id FROM data_ingestion_runs r WHERE r.status = 'running'
)
SELECT r.id, r.run_id, r.task_name, r.started_at, r.created_at, r.error_message,
       CASE WHEN f.id IS NULL THEN 'running' ELSE r.status END AS status,
       coalesce(r.completed_at, r.failed_at) AS ended_at,
       f.id AS end_position, f.created_at AS end_recorded_at, f.duration_ms,
       greatest(r.records_fetched, r.records_created + r.records_updated + r.records_skipped) AS records,
       h.id IS NOT NULL AS fresh,
       CASE WHEN h.id IS NOT NULL AND r.task_name = ANY (%(scheduled)s::text[]) THEN
            (SELECT s.scheduled_for FROM run_started s WHERE s.position = r.id) END AS scheduled_for,
       CASE WHEN f.id IS NULL THEN
            greatest(r.created_at,
                     (SELECT e.recorded_at FROM events e
                       WHERE e.stream_id = r.run_id AND (%(upto)s::bigint IS NULL OR e.position <= %(upto)s)
                       ORDER BY e.version DESC LIMIT 1),
                     (SELECT p.created_at FROM data_ingestion_run_progress p
                       WHERE p.data_ingestion_run_id = r.id ORDER BY p.id DESC LIMIT 1)) END AS last_seen_at
  FROM looked l
  JOIN data_ingestion_runs r ON r.id = l.id AND r.task_name = ANY (%(tasks)s::text[])
  LEFT JOIN data_ingestion_run_ends f ON f.data_ingestion_run_id = r.id AND f.first
  LEFT JOIN fresh h ON h.id = r.id
 ORDER BY r.task_name, r.started_at, r.id
"""
"""The runs of tasks: fresh ones, the latest ones, the last that completed, and those that go on."""

CALLS = """
SELECT c.data_ingestion_run_id AS id, c.endpoint, count(*) AS count,
       count(*) FILTER (WHERE c.http_status_code IS NULL OR c.http_status_code >= 400) AS errors,
       count(*) FILTER (WHERE c.http_status_code = 429) AS limited,
       min(c.rate_limit_remaining) AS remaining,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY c.duration_ms) AS median_ms
  FROM api_call_logs c
 WHERE c.data_ingestion_run_id = ANY (%(runs)s::bigint[])
 GROUP BY c.data_ingestion_run_id, c.endpoint
 ORDER BY c.data_ingestion_run_id, c.endpoint
"""

MISCOUNTED = """
WITH declared AS MATERIALIZED (
    SELECT e.run_id, e.position, e.created, e.updated, e.skipped
      FROM run_ended e
     WHERE e.position = ANY (%(ends)s::bigint[]) AND num_nonnulls(e.created, e.updated, e.skipped) > 0
)
SELECT f.data_ingestion_run_id AS id,
       (SELECT string_agg(format('declared %%s %%s, recorded %%s', s.declared, s.operation, s.recorded), '; '
                          ORDER BY s.operation)
          FROM (VALUES ('created', d.created, c.created), ('updated', d.updated, c.updated),
                       ('skipped', d.skipped, c.skipped)) AS s(operation, declared, recorded)
         WHERE s.declared <> s.recorded) AS said
  FROM declared d
  JOIN data_ingestion_run_ends f ON f.id = d.position
 CROSS JOIN LATERAL (
       SELECT count(*) AS touched,
              count(*) FILTER (WHERE r.operation = 'created') AS created,
              count(*) FILTER (WHERE r.operation = 'updated') AS updated,
              count(*) FILTER (WHERE r.operation = 'skipped') AS skipped
         FROM data_ingestion_run_records r
        WHERE r.data_ingestion_run_id = f.data_ingestion_run_id) c
 WHERE c.touched > 0
"""
"""What runs declared that recorded records as well, where the two differ."""

SKIPS = """
SELECT task_name, coalesce(scheduled_for, skipped_at) AS at
  FROM data_ingestion_run_skips WHERE task_name = ANY (%(tasks)s::text[]) AND skipped_at >= %(since)s
"""

INCIDENTS = """
SELECT task_name, run_id FROM findings
 WHERE run_id IS NOT NULL AND task_name = ANY (%(tasks)s::text[]) AND kind <> 'late'
"""

DEFINITIONS = "SELECT task_name, definition, created_at FROM task_definitions ORDER BY id"


def tasks_on_record(reader: Reader) -> list[str]:
    """The name of every task that ever ran, in order."""
    return [row["task_name"] for row in reader.query(TASKS)]


def eras_on_record(reader: Reader) -> dict[str, list[Era]]:
    """How each task was defined, by the TaskDefined and TaskRemoved events, oldest first."""
    eras: dict[str, list[Era]] = defaultdict(list)
    for row in reader.query(DEFINITIONS):
        known = eras[row["task_name"]]
        if known and known[-1].end is None:
            known[-1] = Era(known[-1].task, known[-1].start, row["created_at"])
        if row["definition"] is not None:
            try:
                task = Task.of_definition(row["task_name"], row["definition"])
            except ValidationError:
                continue  # of another version of this software; `definition` itself is on record
            known.append(Era(task, row["created_at"]))
    return dict(eras)


def histories(
    reader: Reader,
    plan: Plan,
    tasks: Sequence[str],
    *,
    now: datetime,
    since: datetime | None = None,
    after: int | None = None,
    eras: dict[str, list[Era]] | None = None,
    slots_since: Mapping[str, datetime],
) -> list[History]:
    """The histories of tasks.

    Args:
        reader: The ledger, as it is or as it was.
        plan: How tasks are defined now.
        tasks: Their names.
        now: This moment.
        since: Runs that started since then are fresh.
        after: Runs that began or ended after this position are fresh.
        eras: How tasks were defined; by default as they are now, all the time.
        slots_since: From when on the slots of each task are looked at.
    """
    given: dict[str, Any] = {
        "tasks": list(tasks),
        "scheduled": [name for name in tasks if plan.task(name).schedule is not None],
        "since": since or "infinity",
        "after": 2**62 if after is None else after,
        "past": PAST,
        "upto": reader.upto,
    }
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in tasks}
    for row in reader.query(RUNS, given):
        rows[row["task_name"]].append(row)
    fresh = [row for some in rows.values() for row in some if row["fresh"]]
    calls = _calls(reader, [row["id"] for row in fresh])
    miscounted = _miscounted(reader, [row["end_position"] for row in fresh if row["end_position"]])
    skips: dict[str, list[datetime]] = defaultdict(list)
    earliest = min(slots_since.values(), default=now) - timedelta(days=1)
    for row in reader.query(SKIPS, {**given, "since": earliest}):
        skips[row["task_name"]].append(row["at"])
    incidents: dict[str, set[UUID]] = defaultdict(set)
    for row in reader.query(INCIDENTS, given):
        incidents[row["task_name"]].add(row["run_id"])

    def defined(name: str) -> list[Era]:
        return [Era(plan.task(name), slots_since[name])] if eras is None else eras.get(name, [])

    return [
        History(
            task=plan.task(name),
            now=now,
            eras=tuple(_from(slots_since[name], defined(name))),
            runs=tuple(_run(row, calls, miscounted) for row in rows[name]),
            fresh=frozenset(row["id"] for row in rows[name] if row["fresh"]),
            skips=tuple(skips.get(name, ())),
            incidents=frozenset(incidents.get(name, ())),
            watched_since=_defined(defined(name)),
        )
        for name in tasks
    ]


def _from(since: datetime, eras: Iterable[Era]) -> Iterable[Era]:
    """The parts of eras after an instant."""
    for era in eras:
        if era.end is None or era.end > since:
            yield Era(era.task, max(era.start, since), era.end)


def _defined(eras: Sequence[Era]) -> datetime | None:
    """Since when a task has been watched, without a break."""
    since = None
    for era, before in zip(eras, [None, *eras], strict=False):
        if before is None or before.end != era.start:
            since = era.start
    return since


def _run(row: dict[str, Any], calls: dict[int, list[Calls]], miscounted: dict[int, str]) -> RunSeen:
    return RunSeen(
        position=row["id"],
        run_id=row["run_id"],
        started_at=row["started_at"],
        recorded_at=row["created_at"],
        scheduled_for=row["scheduled_for"],
        status=row["status"],
        ended_at=row["ended_at"] if row["end_position"] else None,
        end_position=row["end_position"],
        end_recorded_at=row["end_recorded_at"],
        duration_ms=row["duration_ms"],
        records=row["records"],
        message=row["error_message"],
        last_seen_at=row["last_seen_at"],
        miscounted=miscounted.get(row["id"]),
        calls=tuple(calls.get(row["id"], ())),
    )


def _calls(reader: Reader, runs: list[int]) -> dict[int, list[Calls]]:
    found: dict[int, list[Calls]] = defaultdict(list)
    for row in reader.query(CALLS, {"runs": runs}) if runs else ():
        found[row.pop("id")].append(Calls(**row))
    return found


def _miscounted(reader: Reader, ends: list[int]) -> dict[int, str]:
    rows = reader.query(MISCOUNTED, {"ends": ends}) if ends else ()
    return {row["id"]: row["said"] for row in rows if row["said"]}
