"""The form of events: their fields' types, their base, and their canonical bytes."""

import json
from datetime import date, datetime
from typing import Annotated, Any, ClassVar, Self
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
)

from audit_ledger.canonical import MAX_INTEGER, canonical_json, instant, storable
from audit_ledger.errors import InvalidValue
from audit_ledger.events.limits import MAX_COUNT, MAX_NAME, MAX_STATE_BYTES, MAX_TEXT


def _identifier(value: object) -> object:
    """A record id as text; what would print differently from one system to the next is refused."""
    if isinstance(value, bool | float):
        raise ValueError(f"expected str, int or UUID, got {type(value).__name__}")  # noqa: TRY004
    return str(value) if isinstance(value, int | UUID) else value


def _indexable(text: str) -> str:
    """Ids and types are index keys."""
    if "\0" in text:
        raise ValueError("expected text without NUL characters")
    if len(text) > MAX_NAME // 4 and len(text.encode()) > MAX_NAME:
        raise ValueError("expected at most 1,000 bytes of UTF-8")
    return text


def _day(value: object) -> object:
    if isinstance(value, datetime):
        raise ValueError("expected a date; take .date() of a datetime")  # noqa: TRY004
    return value


def document(field: str) -> BeforeValidator:
    """JSON as it will be stored; what is none is refused by the path inside that field."""
    return BeforeValidator(lambda value: json.loads(canonical_json(value, field, max_integer=MAX_INTEGER)))


def sorted_headers(headers: dict[str, str]) -> dict[str, str]:
    """Headers in canonical order, as they can be stored."""
    return {name: storable(headers[name]) for name in sorted(headers)}


Instant = Annotated[AwareDatetime, PlainSerializer(instant, return_type=str)]
Day = Annotated[date, BeforeValidator(_day)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT, pattern=r"^[^\x00]*$")]
Name = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME), AfterValidator(_indexable)]
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
        if not cls.__name__.startswith("_"):
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
