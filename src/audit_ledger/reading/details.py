"""All that is known of one run: its row, how it was started, every end, and what does not agree."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from audit_ledger.reading.runs import RunRow
from audit_ledger.store.database import Reader


@dataclass(frozen=True)
class Discrepancy:
    """Two statements about a run that do not agree.

    Attributes:
        kind: "counts" (declared and recorded differ), "end" (a later end than the one that counts),
            "abandoned" (a watcher found it abandoned, and it ended after all) or "capture" (of an API call
            something is missing).
        detail: What differs, in words.
    """

    kind: str
    detail: str


@dataclass(frozen=True)
class Correction:
    """What was said later of an event that was wrong. The event stays as it is, and both are shown.

    Attributes:
        id: Position of the correction.
        position: Position of the event that it corrects.
        by: Who says so.
        reason: Why the event was wrong.
        values: What is right, by name; None where only the reason is given.
        created_at: When it was recorded.
    """

    id: int
    position: int
    by: str
    reason: str
    values: dict[str, Any] | None
    created_at: datetime


def corrections(database: Reader, positions: Sequence[int]) -> list[Correction]:
    """The corrections of events, oldest first."""
    rows = database.query(
        "SELECT c.id, c.position, c.by, c.reason, c.values, c.created_at"
        "  FROM corrections c WHERE c.position = ANY (%s) ORDER BY c.id",
        [list(positions)],
    )
    return [Correction(**row) for row in rows]


@dataclass(frozen=True)
class Details:
    """One run, whole.

    Attributes:
        run: Its row.
        started: What RunStarted said of task, place and software.
        recorded: How many records of each operation are on record for it.
        discrepancies: What does not agree.
        corrections: What was said later of events of the run, oldest first.
    """

    run: RunRow
    started: dict[str, Any]
    recorded: dict[str, int]
    discrepancies: list[Discrepancy]
    corrections: list[Correction]


TOP = 20
"""So many kinds of rows are told, the most frequent first."""

STARTED = "recorded_by, scheduled_for, parameters, actor, host, process_id, code_version, software_version"


def details(run: RunRow) -> Details:
    """All that is known of a run."""
    started = run.database.query(f"SELECT {STARTED} FROM run_started WHERE position = %s", [run.id])
    counted = run.database.query(
        "SELECT operation, count(*) AS n FROM data_ingestion_run_records"
        " WHERE data_ingestion_run_id = %s GROUP BY operation",
        [run.id],
    )
    ends = run.database.query(
        "SELECT id, status, message, created_at FROM data_ingestion_run_ends"
        " WHERE data_ingestion_run_id = %s AND NOT first ORDER BY id",
        [run.id],
    )
    corrected = run.database.query(
        "SELECT c.position FROM corrections c JOIN events e ON e.position = c.position"
        " WHERE e.stream_id = %s",
        [run.run_id],
    )
    recorded = {"created": 0, "updated": 0, "skipped": 0} | {row["operation"]: row["n"] for row in counted}
    found = [
        Discrepancy("counts", f"declared {declared} {operation}, recorded {recorded[operation]}")
        for operation, declared in [
            ("created", run.records_created),
            ("updated", run.records_updated),
            ("skipped", run.records_skipped),
        ]
        if counted and run.status != "running" and declared != recorded[operation]
    ]
    found += [
        Discrepancy(
            "abandoned",
            f"taken for abandoned at position {row['id']}, {row['created_at']:%Y-%m-%d %H:%M:%S} UTC,"
            " and ended after all",
        )
        for row in ends
        if row["status"] == "abandoned" and not run.abandoned
    ]
    found += [
        Discrepancy(
            "end",
            f"{row['status']} again at position {row['id']}, {row['created_at']:%Y-%m-%d %H:%M:%S} UTC"
            + (f": {row['message']}" if row["message"] else ""),
        )
        for row in ends
        if row["status"] != "abandoned"
    ]
    missing = run.database.query(
        "SELECT c.capture_error, count(*) AS n, min(c.position) AS position"
        "  FROM api_call_logs l JOIN api_call_made c ON c.position = l.id"
        " WHERE l.data_ingestion_run_id = %s AND c.capture_error IS NOT NULL"
        " GROUP BY c.capture_error ORDER BY n DESC, c.capture_error LIMIT %s",
        [run.id, TOP],
    )
    found += [
        Discrepancy(
            "capture",
            f"{row['n']} of the API calls, first at position {row['position']}: {row['capture_error']}",
        )
        for row in missing
    ]
    said_later = corrections(run.database, [row["position"] for row in corrected])
    return Details(run, dict(started[0]), recorded, found, said_later)


def summary(run: RunRow) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The most frequent kinds of records and of calls of a run.

    Returns:
        Rows of record_type, operation, records; and rows of http_status_code (None: no answer),
        calls, duration_ms (in sum).
    """
    records = run.database.query(
        "SELECT record_type, operation, count(*) AS records FROM data_ingestion_run_records"
        " WHERE data_ingestion_run_id = %s GROUP BY record_type, operation"
        " ORDER BY records DESC, record_type, operation LIMIT %s",
        [run.id, TOP],
    )
    calls = run.database.query(
        "SELECT http_status_code, count(*) AS calls, sum(duration_ms)::bigint AS duration_ms"
        "  FROM api_call_logs WHERE data_ingestion_run_id = %s GROUP BY http_status_code"
        " ORDER BY calls DESC, http_status_code LIMIT %s",
        [run.id, TOP],
    )
    return records, calls
