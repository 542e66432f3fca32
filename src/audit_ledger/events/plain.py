"""How runs begin and end, written without the models.

Importing pydantic, and making models of it, takes `exec` a quarter of the time that it may add to a command.

A state is the canonical JSON of its fields (see the package), and nothing else is made here. Taken are only
values that the models take too, and write as they are: text without NUL or lone surrogates and well within
its limits, counts, instants, JSON without fractions. Whatever else there is in an event is left to its model,
which says what is wrong with it. tests/properties/test_plain_events.py holds the two against each other.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, overload

from audit_ledger.canonical import MAX_INTEGER, UNSTORABLE, canonical_json, instant
from audit_ledger.errors import InvalidValue
from audit_ledger.events.limits import MAX_COUNT, MAX_NAME, MAX_STATE_BYTES, MAX_TEXT

if TYPE_CHECKING:
    from audit_ledger.events.runs import RunCompleted, RunFailed, RunJoined, RunStarted


@dataclass(frozen=True, slots=True)
class Plain:
    """An event without its model; its fields are attributes as well.

    Attributes:
        type: The event's type.
        state: Its canonical bytes.
        fields: Those of its fields that have a value.
    """

    type: str
    state: bytes
    fields: Mapping[str, Any]

    def __getattr__(self, name: str) -> Any:
        if name not in FORMS[self.type]:
            raise AttributeError(f"{self.type} has no field {name!r} here")
        return self.fields.get(name)


class _NotPlain(Exception):
    """Something that is left to the models."""


def _text(value: Any) -> str:
    return _of_length(value, MAX_TEXT)


def _name(value: Any) -> str:
    return _of_length(value, MAX_NAME // 4)


def _of_length(value: Any, characters: int) -> str:
    if type(value) is not str or not 0 < len(value) <= characters or UNSTORABLE.search(value):
        raise _NotPlain
    return value


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MAX_COUNT:
        raise _NotPlain
    return value


def _exit_status(value: Any) -> int:
    if _count(value) > 255:
        raise _NotPlain
    return int(value)


def _signal(value: Any) -> str:
    text = _of_length(value, 20)
    if not (text.isascii() and text.isalnum() and text.isupper()):
        raise _NotPlain
    return text


def _instant(value: Any) -> str:
    if type(value) is not datetime or value.utcoffset() is None:
        raise _NotPlain
    try:
        return instant(value)
    except OverflowError:
        raise _NotPlain from None


def _document(value: Any) -> Any:
    if type(value) is not dict:
        raise _NotPlain
    try:
        return json.loads(canonical_json(value, max_integer=MAX_INTEGER), parse_float=_fraction)
    except InvalidValue:
        raise _NotPlain from None


def _fraction(_: str) -> float:
    raise _NotPlain  # json and pydantic write some of them in different forms


_ENDED: dict[str, Callable[[Any], Any]] = {"duration_ms": _count, "occurred_at": _instant}

FORMS: dict[str, dict[str, Callable[[Any], Any]]] = {
    "RunStarted": {
        "actor": _text,
        "code_version": _text,
        "host": _text,
        "occurred_at": _instant,
        "parameters": _document,
        "process_id": _count,
        "scheduled_for": _instant,
        "software_version": _text,
        "source": _name,
        "task": _name,
    },
    "RunCompleted": _ENDED,
    "RunFailed": _ENDED
    | {
        "error_class": _text,
        "exit_status": _exit_status,
        "message": _text,
        "output": _text,
        "signal": _signal,
    },
}
"""What is plain in which event: it takes a value, and returns it as JSON."""

REQUIRED = {
    "RunStarted": {"occurred_at", "source", "task"},
    "RunCompleted": {"occurred_at"},
    "RunFailed": {"error_class", "message", "occurred_at"},
}


def plain(kind: str, fields: Mapping[str, Any]) -> Plain | None:
    """The event of that type and these fields; None where it is left to its model. None is no value."""
    given = {name: value for name, value in fields.items() if value is not None}
    form = FORMS.get(kind, {})
    if not form.keys() >= fields.keys() or not given.keys() >= REQUIRED[kind]:
        return None
    try:
        document = {name: form[name](value) for name, value in given.items()}
    except _NotPlain:
        return None
    state = canonical_json({**document, "v": 1})
    if len(state) > MAX_STATE_BYTES:
        return None
    if "parameters" in given:
        given["parameters"] = document["parameters"]
    return Plain(kind, state, given)


@overload
def made(kind: Literal["RunStarted", "RunJoined"], **fields: Any) -> "RunStarted | RunJoined | Plain": ...
@overload
def made(kind: Literal["RunCompleted"], **fields: Any) -> "RunCompleted | Plain": ...
@overload
def made(kind: Literal["RunFailed"], **fields: Any) -> "RunFailed | Plain": ...
def made(kind: str, **fields: Any) -> Any:
    """An event: a plain one, or one of the model of that type.

    Raises:
        InvalidValue: a field cannot be recorded; names the field.
    """
    found = plain(kind, fields)
    if found is not None:
        return found
    from audit_ledger.events import runs

    return getattr(runs, kind).of(**fields)
