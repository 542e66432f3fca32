"""The read models of runs, as questions: which runs, which records, which calls."""

from dataclasses import dataclass, field, fields
from datetime import date, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from audit_ledger.errors import AmbiguousRun, InvalidValue, UnknownRun
from audit_ledger.reading.query import Query, the_one
from audit_ledger.reading.when import since
from audit_ledger.store.database import Reader

Status = Literal["running", "completed", "failed"]


@dataclass(frozen=True)
class RunRow:
    """A row of data_ingestion_runs; the table's comments say what each column is."""

    id: int
    run_id: UUID
    task_name: str
    started_at: datetime
    completed_at: datetime | None
    failed_at: datetime | None
    status: Status
    data_source: str
    data_date_start: date | None
    data_date_end: date | None
    records_fetched: int
    records_created: int
    records_updated: int
    records_skipped: int
    error_message: str | None
    error_details: dict[str, Any] | None
    created_at: datetime
    updated_at: datetime
    database: Reader = field(repr=False, compare=False)

    @property
    def success(self) -> bool:
        """Whether it completed."""
        return self.status == "completed"

    @property
    def duration_seconds(self) -> float | None:
        """How long it took; None while it runs."""
        ended = self.completed_at or self.failed_at
        return None if ended is None else (ended - self.started_at).total_seconds()

    @property
    def abandoned(self) -> bool:
        """Whether it counts as failed only since a watcher found it abandoned: a real end may still come."""
        return (self.error_details or {}).get("class") == "RunAbandoned"

    @property
    def recorded_after_seconds(self) -> float:
        """How long after it happened its start was recorded, or its end, whichever took longer.

        By two clocks, the script's and the database's. Much more than a second is what was spooled.
        """
        delay = self.created_at - self.started_at
        ended = self.completed_at or self.failed_at
        if ended is not None:
            delay = max(delay, self.updated_at - ended)
        return max(0.0, delay.total_seconds())

    @property
    def records(self) -> "RunRecords":
        """The records that it touched."""
        return RunRecords(self.database).where("data_ingestion_run_id = {run}", run=self.id)

    @property
    def calls(self) -> "ApiCalls":
        """The API calls that it made."""
        return ApiCalls(self.database).where("data_ingestion_run_id = {run}", run=self.id)


@dataclass(frozen=True)
class RunRecordRow:
    """A row of data_ingestion_run_records."""

    id: int
    data_ingestion_run_id: int
    record_type: str
    record_id: str
    operation: Literal["created", "updated", "skipped", "withdrawn"]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class ApiCallRow:
    """A row of api_call_logs."""

    id: int
    data_ingestion_run_id: int
    api_request_payload_id: int | None
    api_response_payload_id: int | None
    endpoint: str
    http_status_code: int | None
    duration_ms: int | None
    rate_limit_remaining: int | None
    created_at: datetime
    updated_at: datetime

    @property
    def success(self) -> bool:
        """Whether it was answered with 200 to 299."""
        return self.http_status_code is not None and 200 <= self.http_status_code <= 299


def columns(row: type) -> tuple[str, ...]:
    """The columns of the table that a row class stands for."""
    return tuple(f.name for f in fields(row) if f.name != "database")


def as_dict(row: Any) -> dict[str, Any]:
    """A row by the column names of its table."""
    return {name: getattr(row, name) for name in columns(type(row))}


@dataclass(frozen=True)
class Runs(Query[RunRow]):
    """Rows of data_ingestion_runs."""

    table = "data_ingestion_runs"
    columns = columns(RunRow)

    def make(self, row: dict[str, Any]) -> RunRow:
        """A run."""
        return RunRow(**row, database=self.database)

    def recent(self) -> "Runs":
        """Started within the last 24 hours, newest first."""
        return self.started_since(timedelta(hours=24)).order_by("started_at", descending=True)

    def for_task(self, task: str) -> "Runs":
        """Of one task."""
        return self.where("task_name = {task}", task=task)

    def for_source(self, source: str) -> "Runs":
        """Of one data source."""
        return self.where("data_source = {source}", source=source)

    def with_status(self, status: Status) -> "Runs":
        """In one state.

        Raises:
            InvalidValue: there is no such state.
        """
        if status not in ("running", "completed", "failed"):
            raise InvalidValue("status", expected="running, completed or failed", actual=repr(status))
        return self.where("status = {status}", status=status)

    def successful(self) -> "Runs":
        """Completed."""
        return self.with_status("completed")

    def failed(self) -> "Runs":
        """Failed."""
        return self.with_status("failed")

    def running(self) -> "Runs":
        """Not ended."""
        return self.with_status("running")

    def started_since(self, when: datetime | timedelta | str) -> "Runs":
        """Started at or after an instant (with a time zone), or within a span until now ("24h")."""
        return self.where("started_at >= {when}", when=since(when, now=self.database.now))

    def completed_since(self, when: datetime | timedelta | str) -> "Runs":
        """Completed at or after an instant (with a time zone), or within a span until now ("24h")."""
        return self.where("completed_at >= {when}", when=since(when, now=self.database.now))


@dataclass(frozen=True)
class RunRecords(Query[RunRecordRow]):
    """Rows of data_ingestion_run_records."""

    table = "data_ingestion_run_records"
    columns = columns(RunRecordRow)

    def make(self, row: dict[str, Any]) -> RunRecordRow:
        """A record that a run touched."""
        return RunRecordRow(**row)

    def created(self) -> "RunRecords":
        """Those that the run created."""
        return self.where("operation = 'created'")

    def updated(self) -> "RunRecords":
        """Those that the run updated."""
        return self.where("operation = 'updated'")

    def skipped(self) -> "RunRecords":
        """Those that the run found unchanged."""
        return self.where("operation = 'skipped'")

    def withdrawn(self) -> "RunRecords":
        """Those that the run found to be no longer at their source."""
        return self.where("operation = 'withdrawn'")

    def of_type(self, record_type: str) -> "RunRecords":
        """Of one kind."""
        return self.where("record_type = {record_type}", record_type=record_type)


@dataclass(frozen=True)
class ApiCalls(Query[ApiCallRow]):
    """Rows of api_call_logs."""

    table = "api_call_logs"
    columns = columns(ApiCallRow)

    def make(self, row: dict[str, Any]) -> ApiCallRow:
        """A call."""
        return ApiCallRow(**row)

    def successful(self) -> "ApiCalls":
        """Answered with 200 to 299."""
        return self.where("http_status_code BETWEEN 200 AND 299")

    def failed(self) -> "ApiCalls":
        """Answered with 400 or more, or not at all."""
        return self.where("http_status_code >= 400 OR http_status_code IS NULL")


def find_run(database: Reader, run_id: UUID | str) -> RunRow:
    """The run of that id, or of the id that begins so.

    Raises:
        UnknownRun: there is none.
        AmbiguousRun: there are several.
        InvalidValue: not hexadecimal digits.
    """
    return the_one(Runs(database), "run_id", run_id, "run", (UnknownRun, AmbiguousRun))


@dataclass(frozen=True)
class Touch:
    """That a run touched a record: who, when, how."""

    record_type: str
    record_id: str
    operation: Literal["created", "updated", "skipped", "withdrawn"]
    run_id: UUID
    task_name: str
    data_source: str
    status: Status
    started_at: datetime
    created_at: datetime
    id: int


@dataclass(frozen=True)
class Touches(Query[Touch]):
    """Which runs touched records, newest first."""

    table = (
        "(SELECT t.record_type, t.record_id, t.operation, r.run_id, r.task_name, r.data_source, r.status,"
        "        r.started_at, t.created_at, t.id"
        "   FROM data_ingestion_run_records t"
        "   JOIN data_ingestion_runs r ON r.id = t.data_ingestion_run_id) touches"
    )
    columns = columns(Touch)

    def make(self, row: dict[str, Any]) -> Touch:
        """A touch."""
        return Touch(**row)

    def of(self, record_type: str, record_id: str | int | UUID) -> "Touches":
        """Of one record."""
        return self.where(
            "record_type = {record_type} AND record_id = {record_id}",
            record_type=record_type,
            record_id=str(record_id),
        )
