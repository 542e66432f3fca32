"""What a run says, and what is said of one: the events of every fetch script."""

from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from audit_ledger.canonical import MAX_INTEGER
from audit_ledger.events.form import (
    Amount,
    Commitment,
    Count,
    Day,
    Event,
    Identifier,
    Instant,
    Name,
    Reason,
    Text,
    document,
    sorted_headers,
)
from audit_ledger.events.limits import MAX_COUNT

Operation = Literal["created", "updated", "skipped"]
"""What a run did with a record that it saw."""


class RunStarted(Event):
    """A run began. The first event of its stream."""

    actor: Text | None = None
    code_version: Text | None = None
    host: Text | None = None
    occurred_at: Instant
    parameters: Annotated[dict[str, Any], document("parameters")] | None = None
    process_id: int | None = None
    run_id: UUID | None = None
    scheduled_for: Instant | None = None
    software_version: Text | None = None
    source: Name
    task: Name
    v: Literal[1] = 1


class RecordIngested(Event):
    """A run touched a record. Where `operation` is absent, comparing contents decides it."""

    content: Commitment | None = None
    occurred_at: Instant
    operation: Operation | None = None
    record_id: Identifier
    record_type: Name
    run_id: UUID | None = None
    v: Literal[1] = 1


class RecordWithdrawn(Event):
    """A run found that a record is no longer at its source: from here on it is no more."""

    occurred_at: Instant
    record_id: Identifier
    record_type: Name
    run_id: UUID | None = None
    v: Literal[1] = 1


class ApiCallMade(Event):
    """A run called an API: one hop. `request` and `response` are commitments; durations are monotonic.

    `attempt` counts a client's own retries. Without a status no answer came, and `error_class` says why;
    with one, it says what ended the reading. `response_headers` are those on a list, by name in lower case.
    A body is truncated where it was too large to keep, partial where it was not read to its end.
    `capture_error` says what of the call is missing here, and why.
    """

    attempt: Annotated[int, Field(strict=True, ge=1, le=MAX_COUNT)] | None = None
    capture_error: Text | None = None
    captured_at: Instant | None = None
    duration_ms: Count | None = None
    endpoint: Text
    error_class: Text | None = None
    error_message: Text | None = None
    http_status_code: Annotated[int, Field(strict=True, ge=100, le=999)] | None = None
    method: Annotated[str, StringConstraints(pattern=r"^[A-Z]{1,20}$")] | None = None
    occurred_at: Instant
    rate_limit_remaining: Annotated[int, Field(strict=True, ge=-MAX_INTEGER, le=MAX_INTEGER)] | None = None
    request: Commitment | None = None
    request_media_type: Text | None = None
    request_truncated: bool | None = None
    response: Commitment | None = None
    response_headers: Annotated[dict[str, str], AfterValidator(sorted_headers)] | None = None
    response_media_type: Text | None = None
    response_partial: bool | None = None
    response_truncated: bool | None = None
    run_id: UUID | None = None
    v: Literal[1] = 1


class _Ended(Event):
    """What both ends of a run check."""

    @model_validator(mode="after")
    def _dates_in_order(self) -> Self:
        start, end = getattr(self, "data_date_start", None), getattr(self, "data_date_end", None)
        if start is not None and end is not None and start > end:
            raise ValueError("expected data_date_start not after data_date_end")
        return self


class RunCompleted(_Ended):
    """A run reached its end. Counts are there where the script declared them."""

    created: Count | None = None
    data_date_end: Day | None = None
    data_date_start: Day | None = None
    duration_ms: Annotated[int, Field(ge=0, le=MAX_INTEGER)] | None = None
    fetched: Count | None = None
    occurred_at: Instant
    run_id: UUID | None = None
    skipped: Count | None = None
    updated: Count | None = None
    v: Literal[1] = 1


class RunFailed(_Ended):
    """A run failed: with what, where, and how far it had come.

    Of a command, `exit_status` or `signal` say how it ended, and `output` is the tail of what it printed.
    """

    backtrace: list[Text] | None = None
    created: Count | None = None
    data_date_end: Day | None = None
    data_date_start: Day | None = None
    duration_ms: Annotated[int, Field(ge=0, le=MAX_INTEGER)] | None = None
    error_class: Text
    exit_status: Annotated[int, Field(strict=True, ge=0, le=255)] | None = None
    fetched: Count | None = None
    message: Text
    occurred_at: Instant
    output: Text | None = None
    run_id: UUID | None = None
    signal: Annotated[str, StringConstraints(pattern=r"^[A-Z0-9_+]{1,20}$")] | None = None
    skipped: Count | None = None
    updated: Count | None = None
    v: Literal[1] = 1


class HeartbeatRecorded(Event):
    """Time went by. In a run's name: it goes on, and how far it is. In nobody's: what was before is final."""

    done: Amount | None = None
    occurred_at: Instant
    run_id: UUID | None = None
    total: Amount | None = None
    v: Literal[1] = 1


class RunJoined(Event):
    """A process takes part in the run of another one. The first event of its stream."""

    actor: Text | None = None
    code_version: Text | None = None
    host: Text | None = None
    occurred_at: Instant
    parameters: Annotated[dict[str, Any], document("parameters")] | None = None
    process_id: int | None = None
    run_id: UUID
    software_version: Text | None = None
    source: Name
    task: Name
    v: Literal[1] = 1


class RunLeft(Event):
    """A process that took part in a run has done its part, or failed at it. The run goes on."""

    duration_ms: Annotated[int, Field(ge=0, le=MAX_INTEGER)] | None = None
    error_class: Text | None = None
    message: Text | None = None
    occurred_at: Instant
    run_id: UUID
    v: Literal[1] = 1


class RunSkipped(Event):
    """A run of a task did not begin, since another one still went on."""

    host: Text | None = None
    occurred_at: Instant
    reason: Reason
    running: UUID | None = None
    scheduled_for: Instant | None = None
    source: Name
    task: Name
    v: Literal[1] = 1
