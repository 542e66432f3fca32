"""Settings: where they come from, which wins, and what is said of a wrong one."""

from pathlib import Path

import pytest

from audit_ledger.errors import ConfigurationError
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


def test_the_page_lists_every_setting() -> None:
    page = PAGE.read_text()
    for name in Settings.model_fields:
        assert f"| `{name}` | `AUDIT_LEDGER_{name.upper()}` |" in page
