"""The vocabulary: every event, as a frozen pydantic model, and its canonical JSON.

**State.** An event's state is one JSON object in UTF-8, without white space, its keys in the order
of RFC 8785 (section 3.2.3; here they are ASCII, so plain code point order), absent rather than null
where there is no value. `v` is the version of the event type's schema. It casts to PostgreSQL's
jsonb on every supported server: no NUL, no lone surrogate, finite numbers within ±(2^53 − 1),
depth at most 64, at most 60,000 bytes. Instants are RFC 3339 in UTC with six decimals; days are
RFC 3339 full-dates; identifiers and amounts are strings.

    >>> event = RecordIngested(
    ...     occurred_at=datetime(2025, 12, 24, 14, tzinfo=UTC),
    ...     record_type="QuiverTrade", record_id="12345", operation="created",
    ... )
    >>> event.state
    b'{"occurred_at":"2025-12-24T14:00:00.000000Z","operation":"created","record_id":"12345","record_type":"QuiverTrade","v":1}'

The stream of an event is the run that it is about, unless `run_id` names another one.
"""

import json
from datetime import UTC, date, datetime
from typing import Annotated, Any, ClassVar, Literal, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    ValidationError,
    model_validator,
)

from audit_ledger.canonical import MAX_INTEGER
from audit_ledger.canonical import canonical_json as canonical_json
from audit_ledger.canonical import storable as storable
from audit_ledger.errors import InvalidValue

MAX_STATE_BYTES = 60_000
MAX_COUNT = 2**31 - 1
MAX_REFERRERS = 2000
"""Positions that one BodyErased names: with the longest reason they fit in a state."""
MAX_DAYS = 36_500
"""The longest retention: a hundred years."""

MAX_INPUTS = 1000
"""Records that one DecisionMade names at most; a decision with more has several, in one stream."""

AnomalyKind = Literal[
    "api_errors",
    "empty",
    "failed",
    "late",
    "miscounted",
    "overrun",
    "rate_limit_low",
    "rate_limited",
    "read_models_behind",
    "slow_endpoint",
    "stale",
    "too_few",
    "too_many",
    "unusual_duration",
    "unusual_volume",
    "verification_failed",
]
Kind = AnomalyKind | Literal["missed", "abandoned"]
"""What a watcher can find."""

Notice = Literal["raised", "resolved"]
"""What a channel is told of an alert."""

Operation = Literal["created", "updated", "skipped"]
"""What a run did with a record that it saw."""


def _identifier(value: object) -> object:
    """A record id as text; what would print differently from one system to the next is refused."""
    if isinstance(value, bool | float):
        raise ValueError(f"expected str, int or UUID, got {type(value).__name__}")  # noqa: TRY004
    return str(value) if isinstance(value, int | UUID) else value


def _indexable(text: str) -> str:
    """Ids and types are index keys, which PostgreSQL bounds at about 2,700 bytes a row."""
    if "\0" in text:
        raise ValueError("expected text without NUL characters")
    if len(text) > 250 and len(text.encode()) > 1000:
        raise ValueError("expected at most 1,000 bytes of UTF-8")
    return text


def _day(value: object) -> object:
    if isinstance(value, datetime):
        raise ValueError("expected a date; take .date() of a datetime")  # noqa: TRY004
    return value


def _instant(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _document(field: str) -> BeforeValidator:
    """JSON as it will be stored; what is none is refused by the path inside that field."""
    return BeforeValidator(lambda value: json.loads(canonical_json(value, field, max_integer=MAX_INTEGER)))


def _sorted(headers: dict[str, str]) -> dict[str, str]:
    return {name: storable(headers[name]) for name in sorted(headers)}


Instant = Annotated[AwareDatetime, PlainSerializer(_instant, return_type=str)]
Day = Annotated[date, BeforeValidator(_day)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=10_000, pattern=r"^[^\x00]*$")]
Name = Annotated[str, StringConstraints(min_length=1, max_length=1000), AfterValidator(_indexable)]
Identifier = Annotated[Name, BeforeValidator(_identifier)]
Commitment = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{43}$")]
Count = Annotated[int, Field(strict=True, ge=0, le=MAX_COUNT)]
Amount = Annotated[int, Field(strict=True, ge=0, le=MAX_INTEGER)]
Position = Annotated[int, Field(strict=True, ge=1, le=MAX_INTEGER)]
Reason = Annotated[str, StringConstraints(min_length=1, max_length=1000, pattern=r"^[^\x00]*$")]


class Event(BaseModel):
    """Base of every event. Fields are declared in canonical order, so that dumping is canonical."""

    # Most programs use few of the types: each is built when it is first used.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings", defer_build=True)
    types: ClassVar[dict[str, type["Event"]]] = {}

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Enter the event in the vocabulary."""
        super().__pydantic_init_subclass__(**kwargs)
        Event.types[cls.__name__] = cls

    @classmethod
    def of(cls, **fields: Any) -> Self:
        """Make an event.

        Raises:
            InvalidValue: a field cannot be recorded; names the field.
        """
        try:
            return cls(**fields)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            inner = first.get("ctx", {}).get("error")
            if isinstance(inner, InvalidValue):
                raise inner from None
            field = ".".join(str(part) for part in first["loc"]) or cls.__name__
            raise InvalidValue(
                field,
                expected=first["msg"].removeprefix("Value error, ").removeprefix("expected "),
                actual=_shown(first["input"]),
            ) from error

    @property
    def type(self) -> str:
        """The event's type, as the event store has it."""
        return self.__class__.__name__

    @property
    def state(self) -> bytes:
        """The canonical bytes.

        Raises:
            InvalidValue: they are more than 60,000.
        """
        state: bytes = self.__pydantic_serializer__.to_json(self, exclude_none=True)
        if len(state) > MAX_STATE_BYTES:
            raise InvalidValue(
                self.type,
                expected=f"at most {MAX_STATE_BYTES:,} bytes of JSON",
                actual=f"{len(state):,}",
                remedy="record large values as content or as bodies",
            )
        return state


def _shown(value: object) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 80 else text[:77] + '...'}"


def decode(type_name: str, state: bytes) -> Event:
    """The event of that type and state.

    Raises:
        InvalidValue: the type is unknown, or the state is not of its form.
    """
    if type_name not in Event.types:
        raise InvalidValue("type", expected=f"one of {', '.join(Event.types)}", actual=type_name)
    try:
        return Event.types[type_name].model_validate_json(state)
    except ValidationError as error:
        raise InvalidValue("state", expected=f"a {type_name}", actual=str(error)) from error


class RunStarted(Event):
    """A run began. The first event of its stream."""

    actor: Text | None = None
    code_version: Text | None = None
    host: Text | None = None
    occurred_at: Instant
    parameters: Annotated[dict[str, Any], _document("parameters")] | None = None
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
    response_headers: Annotated[dict[str, str], AfterValidator(_sorted)] | None = None
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


class BodyErased(Event):
    """An officer erased the bytes of a body. `referrers` are the positions of all events that refer to it.

    A body with more than 2,000 takes several events, in one transaction and one stream, each with its share.
    """

    by: Name
    commitment: Commitment
    occurred_at: Instant
    reason: Reason
    referrers: Annotated[tuple[Position, ...], Field(max_length=MAX_REFERRERS)]
    v: Literal[1] = 1


class HoldAdded(Event):
    """An officer forbade erasing what a payload's call, a record's events or a run's events refer to."""

    by: Name
    hold_id: UUID
    occurred_at: Instant
    payload_id: Position | None = None
    reason: Reason
    record_id: Identifier | None = None
    record_type: Name | None = None
    run_id: UUID | None = None
    v: Literal[1] = 1

    @model_validator(mode="after")
    def _one_scope(self) -> Self:
        given = (self.payload_id, self.record_id, self.run_id)
        if sum(scope is not None for scope in given) != 1 or (self.record_id is None) != (
            self.record_type is None
        ):
            raise ValueError("expected one of payload_id, record_type with record_id, run_id")
        return self


class HoldReleased(Event):
    """An officer ended a hold."""

    by: Name
    hold_id: UUID
    occurred_at: Instant
    reason: Reason
    v: Literal[1] = 1


class RetentionChanged(Event):
    """An officer decided for how many days bodies are kept from their last referrer on; 0: no minimum."""

    by: Name
    days: Annotated[int, Field(strict=True, ge=0, le=MAX_DAYS)]
    occurred_at: Instant
    reason: Reason
    v: Literal[1] = 1


class EventCorrected(Event):
    """Somebody says that an earlier event was wrong, and what is right; the event stays as it is."""

    by: Name
    corrects: Position
    occurred_at: Instant
    reason: Reason
    v: Literal[1] = 1
    values: Annotated[dict[str, Any], _document("values")] | None = None


class DecisionMade(Event):
    """A decision was made by what the ledger had up to `reference`; `inputs` are the records that it used.

    A decision with many inputs takes several events, in one transaction and one stream; the first counts.
    """

    by: Name | None = None
    decision_id: Identifier
    details: Annotated[dict[str, Any], _document("details")] | None = None
    inputs: Annotated[tuple[tuple[Name, Identifier], ...], Field(max_length=MAX_INPUTS)] = ()
    occurred_at: Instant
    reference: Position
    v: Literal[1] = 1


class DecisionExecuted(Event):
    """What a decision said was carried out."""

    by: Name | None = None
    decision_id: Identifier
    details: Annotated[dict[str, Any], _document("details")] | None = None
    execution_id: Identifier
    occurred_at: Instant
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
    parameters: Annotated[dict[str, Any], _document("parameters")] | None = None
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


class TaskDefined(Event):
    """From here on a task is watched as `definition` says: its table in ledger.toml."""

    definition: Annotated[dict[str, Any], _document("definition")]
    occurred_at: Instant
    task: Name
    v: Literal[1] = 1


class TaskRemoved(Event):
    """ledger.toml no longer names a task."""

    occurred_at: Instant
    task: Name
    v: Literal[1] = 1


class WatchAdvanced(Event):
    """A watcher has looked at everything up to a position."""

    occurred_at: Instant
    upto: Annotated[int, Field(strict=True, ge=0, le=MAX_INTEGER)]
    v: Literal[1] = 1


class RunMissed(Event):
    """A watcher found that a run did not begin when it was due. `key` says what was found, once."""

    alert_id: UUID
    detail: Text
    key: Name
    occurred_at: Instant
    scheduled_for: Instant
    task: Name
    v: Literal[1] = 1


class RunAbandoned(Event):
    """A watcher found that a run shows no sign of life. Provisional: a real end recorded later wins."""

    alert_id: UUID
    detail: Text
    key: Name
    last_seen_at: Instant
    occurred_at: Instant
    run_id: UUID
    task: Name
    v: Literal[1] = 1


class AnomalyFound(Event):
    """A watcher found something else that is not as it should be."""

    alert_id: UUID
    detail: Text
    endpoint: Text | None = None
    key: Name
    kind: AnomalyKind
    occurred_at: Instant
    run_id: UUID | None = None
    task: Name | None = None
    v: Literal[1] = 1
    values: Annotated[dict[str, Any], _document("values")] | None = None


class AlertRaised(Event):
    """An incident began: somebody is to be told. What is found until it is resolved belongs to it."""

    alert_id: UUID
    channels: tuple[Name, ...]
    detail: Text
    kind: Kind
    occurred_at: Instant
    owner: Text | None = None
    run_id: UUID | None = None
    severity: Literal["critical", "warning"]
    subject: Name
    title: Text
    v: Literal[1] = 1


class AlertAttempted(Event):
    """A watcher is about to tell a channel of an alert."""

    alert_id: UUID
    attempt: Annotated[int, Field(strict=True, ge=1, le=MAX_COUNT)]
    channel: Name
    escalates: Name | None = None
    notice: Notice
    occurred_at: Instant
    v: Literal[1] = 1


class AlertDelivered(Event):
    """A channel took an alert; `repeated` where an earlier attempt, cut short, may have arrived as well."""

    alert_id: UUID
    attempt: Annotated[int, Field(strict=True, ge=1, le=MAX_COUNT)]
    channel: Name
    notice: Notice
    occurred_at: Instant
    repeated: bool | None = None
    v: Literal[1] = 1


class AlertFailed(Event):
    """A channel did not take an alert."""

    alert_id: UUID
    attempt: Annotated[int, Field(strict=True, ge=1, le=MAX_COUNT)]
    channel: Name
    error: Text
    notice: Notice
    occurred_at: Instant
    v: Literal[1] = 1


class AlertAcknowledged(Event):
    """Somebody has seen an alert, and looks after it."""

    alert_id: UUID
    by: Name
    occurred_at: Instant
    reason: Reason | None = None
    v: Literal[1] = 1


class AlertResolved(Event):
    """An incident is over."""

    alert_id: UUID
    occurred_at: Instant
    reason: Reason
    v: Literal[1] = 1


del Event.types["_Ended"]
