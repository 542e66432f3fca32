"""Events that are written without their models have the bytes that their models give them."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from audit_ledger.events import RunCompleted, RunFailed, RunStarted, decode
from audit_ledger.events.plain import FORMS, REQUIRED, Plain, made, plain

NOW = datetime(2025, 12, 24, 14, 0, 0, 123456, tzinfo=UTC)
MODELS: dict[str, type[RunStarted | RunCompleted | RunFailed]] = {
    "RunStarted": RunStarted,
    "RunCompleted": RunCompleted,
    "RunFailed": RunFailed,
}

offsets = st.timedeltas(min_value=timedelta(hours=-23), max_value=timedelta(hours=23))
zones = st.sampled_from([UTC, ZoneInfo("Europe/Berlin"), ZoneInfo("Africa/Monrovia")]) | offsets.map(timezone)
instants = st.datetimes(timezones=zones) | st.datetimes(timezones=st.none() | zones)
texts = st.text(st.characters(), max_size=30) | st.sampled_from(
    ["a" * n for n in (250, 251, 1000, 1001, 10_000, 10_001)]
    + ["🧾" * 250, "🧾" * 251, '\x7f\x80\u2028"\\/<>&']
)
numbers = st.integers(0, 300) | st.integers() | st.sampled_from([2**31 - 1, 2**31, 2**53 - 1, 2**53, 2**63])
scalars = st.none() | st.booleans() | numbers | st.integers(-10, 10) | st.floats() | texts
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
anything = documents | instants | st.binary(max_size=4) | st.uuids() | st.dates()
BY_FIELD: dict[str, st.SearchStrategy[Any]] = {
    "duration_ms": numbers,
    "exit_status": numbers,
    "occurred_at": instants,
    "parameters": st.dictionaries(texts, documents, max_size=4),
    "process_id": numbers,
    "scheduled_for": instants,
    "signal": st.from_regex(r"SIG[A-Z0-9_+]{0,20}") | texts,
}


@st.composite
def events(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A type, and fields: most of them plain ones of the right sort; one may be any, of any."""
    kind = draw(st.sampled_from(sorted(FORMS)))
    fields: dict[str, Any] = dict.fromkeys(REQUIRED[kind], "given") | {"occurred_at": NOW}
    for name in draw(st.lists(st.sampled_from(sorted(FORMS[kind])), unique=True, max_size=6)):
        fields[name] = draw(BY_FIELD.get(name, texts))
    if draw(st.booleans()):
        name = draw(st.sampled_from([*MODELS[kind].model_fields, "unheard_of"]))
        fields[name] = draw(st.none() | anything)
    return kind, fields


@settings(max_examples=500)
@given(events())
@example(("RunStarted", {"occurred_at": NOW, "source": "s", "task": "t", "parameters": {"x": 1e22}}))
@example(("RunStarted", {"occurred_at": NOW, "source": "s", "task": "t", "parameters": {"a": {"b": None}}}))
@example(("RunFailed", {"occurred_at": NOW, "error_class": "E", "message": "m", "output": "\x00"}))
def test_what_is_plain_has_the_bytes_that_its_model_gives_it(event: tuple[str, dict[str, Any]]) -> None:
    kind, fields = event
    found = plain(kind, fields)
    if found is None:
        return
    model = MODELS[kind].of(**fields)  # raises where the model would have refused it
    assert found.state == model.state
    assert found.type == model.type
    assert decode(kind, found.state) == decode(kind, model.state)
    for name in FORMS[kind]:
        if name != "parameters":
            assert getattr(found, name) == getattr(model, name)
    assert getattr(found, "parameters", None) == getattr(model, "parameters", None)


@given(
    texts.filter(lambda text: 0 < len(text) <= 250 and text.isprintable()),
    st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))),
)
def test_what_exec_says_of_a_command_is_plain(task: str, command: list[str]) -> None:
    started = made(
        "RunStarted",
        actor="root",
        code_version=None,
        host="host",
        occurred_at=NOW,
        parameters={"command": command},
        process_id=4711,
        scheduled_for=NOW.astimezone(ZoneInfo("America/New_York")),
        software_version="audit-ledger 1",
        source="s",
        task=task,
    )
    assert isinstance(started, Plain)
    assert started.parameters == {"command": command}
    assert started.code_version is None
    assert json.loads(started.state)["scheduled_for"] == "2025-12-24T14:00:00.123456Z"


def test_ends_of_commands_are_plain() -> None:
    ended = {"occurred_at": NOW, "duration_ms": 12}
    assert isinstance(made("RunCompleted", **ended), Plain)
    failed = {**ended, "error_class": "CommandFailed", "message": "exit status 1", "exit_status": 1}
    assert isinstance(made("RunFailed", **failed, output="Traceback:\n\tno\x1b[0m\r\n", signal=None), Plain)
    assert isinstance(made("RunFailed", **failed, signal="SIGKILL"), Plain)


@pytest.mark.parametrize("kind", sorted(FORMS))
def test_what_a_model_requires_and_has_is_known(kind: str) -> None:
    fields = MODELS[kind].model_fields
    assert set(FORMS[kind]) < set(fields)
    assert {name for name, field in fields.items() if field.is_required()} == REQUIRED[kind]


def test_a_field_that_is_not_plain_is_asked_for_in_vain() -> None:
    with pytest.raises(AttributeError, match="RunCompleted has no field 'created' here"):
        _ = made("RunCompleted", occurred_at=NOW).created
    assert isinstance(made("RunCompleted", occurred_at=NOW, created=1), RunCompleted)
