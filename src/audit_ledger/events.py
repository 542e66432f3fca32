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

**Content.** What `canonical_json` makes of a record's content has the same key order, and the
numbers as Python's `json` writes them.
"""

import json
import re
from datetime import UTC, date, datetime
from math import isfinite
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

from audit_ledger.errors import InvalidValue

MAX_STATE_BYTES = 60_000
MAX_DEPTH = 64
MAX_INTEGER = 2**53 - 1
"""RFC 8785 section 3.2.2.3, RFC 7493 section 2.2: integers beyond it lose digits elsewhere."""
MAX_COUNT = 2**31 - 1

Operation = Literal["created", "updated", "skipped"]
"""What a run did with a record."""


def canonical_json(value: object, field: str = "value", *, max_integer: int | None = None) -> bytes:
    """The canonical bytes of a JSON document: keys sorted, no white space, UTF-8.

    Args:
        value: dict with str keys, list, tuple, str, int, float, bool or None, at most 64 deep.
        field: What to call the document in an error.
        max_integer: The largest magnitude of an integer; by default any that Python can print.

    Raises:
        InvalidValue: something in it is not JSON, or PostgreSQL's jsonb cannot hold it. The error
            names its path.
    """
    ordered = _checked(value, field, 1, max_integer)
    text = json.dumps(ordered, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode()


def _checked(value: object, path: str, depth: int, max_integer: int | None) -> object:
    """The same document with its keys in canonical order, or an error that names the path."""
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return _text(value, path)
    if isinstance(value, int):
        if max_integer is not None and abs(value) > max_integer:
            raise InvalidValue(
                path,
                expected=f"an integer within ±{max_integer}",
                actual="a larger one",
                remedy="record it as a string",
            )
        if abs(value) >= 10**1000:
            raise InvalidValue(
                path,
                expected="an integer of at most 1,000 digits",
                actual="a larger one",
                remedy="record it as a string",
            )
        return int(value)
    if isinstance(value, float):
        if not isfinite(value):
            raise InvalidValue(
                path,
                expected="a finite number",
                actual=str(value),
                remedy="record it as None or as a string",
            )
        return value
    if depth > MAX_DEPTH:
        raise InvalidValue(
            path[:200],
            expected=f"at most {MAX_DEPTH} levels",
            actual="more",
            remedy="flatten it, or record it as bytes",
        )
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise InvalidValue(
                    f"{path} key {key!r:.80}",
                    expected="a string",
                    actual=type(key).__name__,
                    remedy="convert the key with str()",
                )
        # RFC 8785 section 3.2.3 sorts by UTF-16 code units; within ASCII that is code point order.
        keys = sorted(value) if "".join(value).isascii() else sorted(value, key=_utf16)
        return {
            _text(key, f"{path} key"): _checked(value[key], f"{path}.{key}", depth + 1, max_integer)
            for key in keys
        }
    if isinstance(value, list | tuple):
        return [_checked(item, f"{path}[{i}]", depth + 1, max_integer) for i, item in enumerate(value)]
    raise InvalidValue(
        path,
        expected="JSON (dict, list, str, int, float, bool, None) or bytes",
        actual=type(value).__name__,
        remedy="convert it first, e.g. a Decimal or a datetime with str()",
    )


def _utf16(key: str) -> bytes:
    return key.encode("utf-16-be", "surrogatepass")


UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def _text(text: str, path: str) -> str:
    bad = UNSTORABLE.search(text)
    if bad:
        what = "a NUL character" if bad[0] == "\0" else f"a lone surrogate, U+{ord(bad[0]):04X}"
        raise InvalidValue(
            path[:200],
            expected="text that UTF-8 and jsonb can hold",
            actual=f"{what} at index {bad.start()}",
            remedy="remove or replace it",
        )
    return text


def storable(text: str) -> str:
    """Text made fit for an event: NUL and lone surrogates replaced by U+FFFD. For messages of others."""
    return UNSTORABLE.sub("\ufffd", text)


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


def _document(value: object) -> object:
    return json.loads(canonical_json(value, "parameters", max_integer=MAX_INTEGER))


def _sorted(headers: dict[str, str]) -> dict[str, str]:
    return {name: storable(headers[name]) for name in sorted(headers)}


Instant = Annotated[AwareDatetime, PlainSerializer(_instant, return_type=str)]
Day = Annotated[date, BeforeValidator(_day)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=10_000, pattern=r"^[^\x00]*$")]
Name = Annotated[str, StringConstraints(min_length=1, max_length=1000), AfterValidator(_indexable)]
Identifier = Annotated[Name, BeforeValidator(_identifier)]
Commitment = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{43}$")]
Count = Annotated[int, Field(strict=True, ge=0, le=MAX_COUNT)]


class Event(BaseModel):
    """Base of every event. Fields are declared in canonical order, so that dumping is canonical."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")
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
    parameters: Annotated[dict[str, Any], BeforeValidator(_document)] | None = None
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
    """A run failed: with what, where, and how far it had come."""

    backtrace: list[Text] | None = None
    created: Count | None = None
    data_date_end: Day | None = None
    data_date_start: Day | None = None
    duration_ms: Annotated[int, Field(ge=0, le=MAX_INTEGER)] | None = None
    error_class: Text
    fetched: Count | None = None
    message: Text
    occurred_at: Instant
    run_id: UUID | None = None
    skipped: Count | None = None
    updated: Count | None = None
    v: Literal[1] = 1


del Event.types["_Ended"]
