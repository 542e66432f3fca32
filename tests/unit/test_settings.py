"""Settings: where they come from, which wins, and what is said of a wrong one."""

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from audit_ledger.errors import ConfigurationError
from audit_ledger.recording.redacting import redactor
from audit_ledger.redaction import Redactor
from audit_ledger.settings import SETTINGS, Settings, load, plain
from audit_ledger.settings.check import checked

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"


def test_arguments_win_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ledger.toml"
    file.write_text('actor = "file"\ncode_version = "file"\nlock_timeout = 1\n')
    monkeypatch.setenv("AUDIT_LEDGER_CONFIG", str(file))
    monkeypatch.setenv("AUDIT_LEDGER_CODE_VERSION", "environment")
    monkeypatch.setenv("AUDIT_LEDGER_LOCK_TIMEOUT", "2")
    found = load(lock_timeout=3)
    assert (found.actor, found.code_version, found.lock_timeout) == ("file", "environment", 3)


def test_a_wrong_value_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIT_LEDGER_RETRY_FOR", "soon")
    with pytest.raises(ConfigurationError, match="AUDIT_LEDGER_RETRY_FOR"):
        load()


def test_an_unknown_key_of_the_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "ledger.toml"
    file.write_text("locktimeout = 1\n")
    monkeypatch.setenv("AUDIT_LEDGER_CONFIG", str(file))
    with pytest.raises(ConfigurationError, match="locktimeout"):
        load()


def test_a_file_that_is_no_toml_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "ledger.toml"
    file.write_text("actor = \n")
    monkeypatch.setenv("AUDIT_LEDGER_CONFIG", str(file))
    with pytest.raises(ConfigurationError, match="TOML"):
        load()


def test_a_name_that_is_no_plain_identifier_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="name"):
        load(name='x"; DROP')


def test_the_redactor_is_made_from_the_file_and_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ledger.toml"
    file.write_text('redact_names = ["tax id"]\nredact_patterns = ["ACME-[0-9]{6}"]\n')
    monkeypatch.setenv("AUDIT_LEDGER_CONFIG", str(file))
    monkeypatch.setenv("AUDIT_LEDGER_REDACT_HEADERS", '["X-Page"]')
    monkeypatch.setenv("AUDIT_LEDGER_REDACT_KEY", "sixteen bytes ok")
    found = load()
    assert redactor(found) == Redactor(("tax id",), ("ACME-[0-9]{6}",), ("X-Page",), key=b"sixteen bytes ok")
    assert "sixteen" not in repr(found) + repr(redactor(found))
    assert redactor(load(redact_names=())).extra_names == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("redact_patterns", '["("]'),
        ("redact_patterns", '["a*"]'),
        ("redact_patterns", "ACME"),
        ("redact_names", '["_"]'),
        ("redact_headers", '[""]'),
        ("redact_key", "fifteen bytes .."[:15]),
    ],
)
def test_a_redaction_that_cannot_be_used_is_refused(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"AUDIT_LEDGER_{name.upper()}", value)
    with pytest.raises(ConfigurationError) as caught:
        load()
    assert name in str(caught.value).lower()
    assert name != "redact_key" or value not in str(caught.value)


def test_the_page_lists_every_setting() -> None:
    page = PAGE.read_text()
    for name in SETTINGS:
        assert f"| `{name}` | `AUDIT_LEDGER_{name.upper()}` |" in page


def test_a_password_in_the_url_is_not_shown() -> None:
    assert "secret" not in repr(load(url="postgresql://me:secret@host/db"))


NUMERALS = (
    st.integers(-1, 1 << 31).map(str)
    | st.floats().map(str)
    | st.sampled_from(
        [
            "0",
            "00",
            "007",
            "1.50",
            ".5",
            "5.",
            " 5",
            "5 ",
            "1e3",
            "1_000",
            "٣",
            "9" * 15,
            "9" * 16,
            "0.000000001",
        ]
    )
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "str": st.from_regex(r"[a-z][a-z0-9_]{0,39}", fullmatch=True)
    | st.sampled_from(["", "ledger\n", "a_read", "as_of", "x_as_of", "Ledger", "l" * 41]),
    "str | None": st.text(max_size=10),
    "Path": st.sampled_from(["/a/b", "~/a", "a/../b", "", ".", Path("x")]),
    "int": st.integers(-1, 1 << 31) | NUMERALS | st.sampled_from([2**53, 2**53 + 1, 10**400]),
    "float": st.integers(-1, 100) | NUMERALS | st.floats() | st.sampled_from([10**400, 0, 0.0, -0.0]),
    "bool": st.booleans(),
}
ANYTHING = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(["a b"])


@st.composite
def said(draw: st.DrawFn) -> dict[str, Any]:
    """Some settings, with values mostly of their type."""
    names = draw(st.lists(st.sampled_from([*SETTINGS, *SETTINGS, "unheard_of"]), unique=True, max_size=4))
    return {
        name: draw(VALUES.get(str(SETTINGS[name].type), ANYTHING) | ANYTHING) if name in SETTINGS else 1
        for name in names
    }


@settings(max_examples=500)
@given(said())
@example({"url": "postgresql://", "home": "~/x", "name": "l", "retry_for": 0, "heartbeat": 0.5, "otel": True})
@example({"when_away": "spool", "connect_timeout": 0, "buffer_events": 1.0})
@example({"lock_timeout": math.inf})
@example({"name": "ledger\n"})
def test_what_is_plain_is_what_the_model_makes_of_it(values: dict[str, Any]) -> None:
    found = plain(values)
    if found is not None:
        model = checked(values, values)  # raises where the model refuses it
        assert found == model
        assert {name: type(value) for name, value in found.items()} == {n: type(v) for n, v in model.items()}


def test_what_most_say_is_plain() -> None:
    most = {
        "url": "postgresql://u@h/d",
        "name": "trades",
        "when_away": "spool",
        "actor": "etl",
        "retry_for": 120,
    }
    assert plain(most) == {**most, "retry_for": 120.0}
    assert plain({"home": "/srv/ledger", "heartbeat": 0, "buffer_events": 7}) is not None
    assert plain({"retry_for": "1.5", "buffer_events": "7"}) == {"retry_for": 1.5, "buffer_events": 7}


def test_defaults_can_be_used() -> None:
    defaults = {name: getattr(Settings(), name) for name in SETTINGS}
    assert checked(defaults, {}) == defaults
