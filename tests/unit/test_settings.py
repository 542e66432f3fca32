"""Settings: where they come from, which wins, and what is said of a wrong one."""

from pathlib import Path

import pytest

from audit_ledger.errors import ConfigurationError
from audit_ledger.recording.redacting import redactor
from audit_ledger.redaction import Redactor
from audit_ledger.settings import Settings, load

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"


def test_arguments_win_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ledger.toml"
    file.write_text('actor = "file"\ncode_version = "file"\nlock_timeout = 1\n')
    monkeypatch.setenv("AUDIT_LEDGER_CONFIG", str(file))
    monkeypatch.setenv("AUDIT_LEDGER_CODE_VERSION", "environment")
    monkeypatch.setenv("AUDIT_LEDGER_LOCK_TIMEOUT", "2")
    settings = load(lock_timeout=3)
    assert (settings.actor, settings.code_version, settings.lock_timeout) == ("file", "environment", 3)


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
    settings = load()
    assert redactor(settings) == Redactor(
        ("tax id",), ("ACME-[0-9]{6}",), ("X-Page",), key=b"sixteen bytes ok"
    )
    assert "sixteen" not in repr(settings) + repr(redactor(settings))
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
    for name in Settings.model_fields:
        assert f"| `{name}` | `AUDIT_LEDGER_{name.upper()}` |" in page
