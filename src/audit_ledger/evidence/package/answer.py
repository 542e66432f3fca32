"""The answer's tables, each as CSV and as JSON with the same rows; and the events of a narrowed package.

The statements are asked of the views as of a position, which a transaction's search path leads to.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from audit_ledger.evidence.leaf import Leaf
from audit_ledger.evidence.package.question import Narrowed, instant
from audit_ledger.evidence.sealing import Cursor
from audit_ledger.store.copies import export_statement

INSTANT = """to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS {}"""


@dataclass(frozen=True)
class Table:
    """A table of the answer.

    Attributes:
        name: Its name.
        columns: Its columns in order; those of instants behind an @.
        source: The view that it is read from; by default that of its name.
        where: Which of its rows.
    """

    name: str
    columns: str
    source: str = ""
    where: str = "true"

    @property
    def select(self) -> sql.Composed:
        """Its rows in ascending id."""
        columns = [
            sql.SQL(INSTANT).format(sql.Identifier(column[1:]), sql.Identifier(column[1:]))
            if column.startswith("@")
            else sql.Identifier(column)
            for column in self.columns.split()
        ]
        return sql.SQL("SELECT {} FROM {} v WHERE {} ORDER BY v.id").format(
            sql.SQL(", ").join(columns), sql.Identifier(self.source or self.name), sql.SQL(self.where)
        )


TABLES = (
    Table(
        "data_ingestion_runs",
        "id run_id task_name @started_at @completed_at @failed_at status data_source data_date_start"
        " data_date_end records_fetched records_created records_updated records_skipped error_message"
        " error_details @created_at @updated_at",
    ),
    Table(
        "data_ingestion_run_records",
        "id data_ingestion_run_id record_type record_id operation @created_at @updated_at",
    ),
    Table(
        "api_call_logs",
        "id data_ingestion_run_id api_request_payload_id api_response_payload_id endpoint http_status_code"
        " duration_ms rate_limit_remaining @created_at @updated_at",
    ),
    Table(
        "records",
        "id record_type record_id content data_ingestion_run_id @created_at",
        source="record_versions",
        where="v.to_position IS NULL AND v.operation <> 'withdrawn'",
    ),
)
"""Those of a complete answer."""


def rows(cursor: Cursor, table: Table, form: str) -> Iterator[bytes]:
    """A file of a table: "csv" or "json"."""
    with cursor.copy(export_statement(table.select, form)) as copy:
        parts = (bytes(row) for row in copy)
        yield from parts if form == "csv" else listed(row.rstrip(b"\n") for row in parts)


def listed(objects: Iterable[bytes]) -> Iterator[bytes]:
    """A JSON array of objects, one a line."""
    yield b"[\n"
    between = b""
    for one in objects:
        yield between + one
        between = b",\n"
    yield b"\n]\n"


EVENTS = "events"
EVENT_COLUMNS = ("position", "recorded_at", "recorded_by", "stream_id", "version", "type", "state")


def event_row(event: Leaf) -> dict[str, Any]:
    """An event as a row of the table events."""
    return {
        "position": event.position,
        "recorded_at": instant(event.recorded_at),
        "recorded_by": event.recorded_by,
        "stream_id": str(event.stream_id),
        "version": event.version,
        "type": event.type,
        "state": event.state.decode("utf-8", "backslashreplace"),
    }


def json_object(row: dict[str, Any]) -> bytes:
    """A row as JSON, as PostgreSQL's row_to_json."""
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()


def csv_record(values: Iterable[object]) -> bytes:
    """A record as PostgreSQL's COPY … (FORMAT csv) writes it: quoted only where it must be."""
    return (",".join(map(_csv_field, values)) + "\n").encode()


def _csv_field(value: object) -> str:
    text = str(value)
    if text and not any(character in text for character in ',"\n\r'):
        return text
    return '"' + text.replace('"', '""') + '"'


OF_RUNS = """
    WITH r AS MATERIALIZED (SELECT id, run_id FROM data_ingestion_runs WHERE {})
    SELECT DISTINCT t.position
      FROM (SELECT e.position FROM r JOIN events e ON e.stream_id = r.run_id
            UNION ALL SELECT t.id FROM r JOIN data_ingestion_run_ends t ON t.data_ingestion_run_id = r.id
            UNION ALL SELECT t.id FROM r JOIN data_ingestion_run_records t ON t.data_ingestion_run_id = r.id
            UNION ALL SELECT t.id FROM r JOIN record_versions t ON t.data_ingestion_run_id = r.id
            UNION ALL SELECT t.id FROM r JOIN api_call_logs t ON t.data_ingestion_run_id = r.id) t
     WHERE t.position <= (SELECT "position"())
     ORDER BY 1
"""
"""The events of runs: their streams, and what others recorded of them."""

OF_RECORD = """
    WITH t AS MATERIALIZED (
        SELECT id, data_ingestion_run_id AS run FROM data_ingestion_run_records
         WHERE record_type = {type} AND record_id = {id}
        UNION SELECT id, data_ingestion_run_id FROM record_versions
         WHERE record_type = {type} AND record_id = {id})
    SELECT id AS position FROM t
    UNION SELECT run FROM t
    UNION SELECT e.id FROM t JOIN data_ingestion_run_ends e ON e.data_ingestion_run_id = t.run
    UNION SELECT c.id FROM t JOIN api_call_logs c ON c.data_ingestion_run_id = t.run
    ORDER BY 1
"""
"""The events of a record; of the runs that touched it, beginning, end and calls."""


def positions_of(narrowed: Narrowed) -> sql.Composed:
    """The statement that gives the positions of a narrowed package, in order."""
    if narrowed.by == "record":
        record_type, record_id = narrowed.values
        return sql.SQL(OF_RECORD).format(type=sql.Literal(record_type), id=sql.Literal(record_id))
    column = {"task": "task_name", "source": "data_source", "run": "run_id"}[narrowed.by]
    return sql.SQL(OF_RUNS).format(
        sql.SQL("{} = {}").format(sql.Identifier(column), sql.Literal(narrowed.values[0]))
    )
