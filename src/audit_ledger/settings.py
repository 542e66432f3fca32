"""Settings, from the environment (`AUDIT_LEDGER_*`) first and `ledger.toml` second.

`ledger.toml` is read from the path in `AUDIT_LEDGER_CONFIG`, or from the working directory. Its
keys are the field names below, without the prefix; its tables are no settings, `plan` reads them.
"""

import json
import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_origin

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from audit_ledger.errors import ConfigurationError
from audit_ledger.ledger_toml import TABLES, NotToml, config_file, line_of, parse


def default_home() -> Path:
    """The folder of the embedded ledger: the user's data folder, or /var/lib for root.

    The embedded server never runs as root, and the account that it runs under instead cannot
    enter root's home, hence the place of its own.
    """
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path("/var/lib/audit-ledger")
    return platformdirs.user_data_path("audit-ledger", appauthor=False)


class Settings(BaseModel):
    """What a user can set. Times are in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: str | None = Field(None, description="PostgreSQL URL; without one, the embedded server")
    home: Path = Field(default_factory=default_home, description="folder of the embedded server")
    name: str = Field(
        "ledger",
        pattern=r"^[a-z][a-z0-9_]{0,39}$",
        description="the ledger's name: its schemas are NAME, NAME_read …, its roles NAME_writer …",
    )
    server_user: str | None = Field(
        None, description="system account that runs the embedded server when root starts it"
    )
    connect_timeout: float = Field(10, gt=0, description="wait this long for a connection")
    lock_timeout: float = Field(30, gt=0, description="wait this long for the append lock")
    retry_for: float = Field(
        30, ge=0, description="keep trying this long when the database is lost in mid-run"
    )
    when_away: Literal["strict", "spool"] = Field(
        "strict",
        description="database away when a run starts: strict: an error; spool: the run goes on, kept locally",
    )
    spool_max_bytes: int = Field(1 << 30, ge=1 << 16, description="bytes that the spool may hold")
    projection_timeout: float = Field(
        5, gt=0, description="at the end of a run, spend at most this on the read models"
    )
    heartbeat: float = Field(
        60, ge=0, description="say that a run goes on when nothing else of it was sent for so long; 0: never"
    )
    buffer_events: int = Field(5_000, ge=1, description="events a run may hold unsent")
    buffer_bytes: int = Field(8 << 20, ge=1 << 16, description="bytes a run may hold unsent")
    max_body_bytes: int = Field(16 << 20, ge=0, description="bytes of a captured body that are kept at most")
    actor: str | None = Field(None, description="who runs the scripts; default: the system user")
    code_version: str | None = Field(None, description="version of the scripts, e.g. a commit")

    log_format: Literal["text", "json"] = Field("text", description="form of what commands log")
    otel: bool = Field(
        False, description="whether runs are told to OpenTelemetry: a span and metrics of each"
    )

    redact_names: tuple[str, ...] = Field((), description="more secret names, their words apart: tax id")
    redact_patterns: tuple[str, ...] = Field((), description="more regular expressions of secret values")
    redact_headers: tuple[str, ...] = Field((), description="more response headers to keep")
    redact_key: SecretStr | None = Field(
        None,
        description="key of the digests in the marks of secrets, 16 bytes or more; kept from the database",
    )

    sealing_key: SecretStr | None = Field(
        None,
        description="path of the file with the signer key that seals, or that key; default: in HOME/keys",
    )

    verifier_key: str | None = Field(
        None,
        description="verifier key of the ledger, by which checkpoints are checked where no sealing key is",
    )
    report_folder: Path | None = Field(
        None, description="folder for the reports of what a watcher verifies; default: none are written"
    )

    @field_validator("name")
    @classmethod
    def _not_taken(cls, name: str) -> str:
        """The schemas of another ledger are called so."""
        if name == "as_of" or name.endswith(("_read", "_as_of")):
            raise ValueError(f"{name!r} may be a schema of another ledger")
        return name

    @field_validator("redact_names", "redact_headers")
    @classmethod
    def _named(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        """A name without a letter or a digit would be the name of nothing, or of everything."""
        for name in names:
            if not re.search(r"[^\W_]", name):
                raise ValueError(f"{name!r} is no name")
        return names

    @field_validator("redact_patterns")
    @classmethod
    def _usable(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        """What matches the empty string would put a mark between any two characters."""
        for pattern in patterns:
            try:
                matches_nothing = re.compile(pattern).search("") is not None
            except re.error as error:
                raise ValueError(f"{pattern!r} does not compile: {error}") from error
            if matches_nothing:
                raise ValueError(f"{pattern!r} matches the empty string")
        return patterns

    @field_validator("redact_key")
    @classmethod
    def _long_enough(cls, key: SecretStr | None) -> SecretStr | None:
        """A short key could be found by trial, and secrets by it."""
        if key is not None and len(key.get_secret_value().encode()) < 16:
            raise ValueError("a key has 16 bytes or more")
        return key

    @field_validator("home", "report_folder")
    @classmethod
    def _absolute(cls, folder: Path | None) -> Path | None:
        """Cron and TOML do not expand `~`, and a script may change its working directory."""
        return folder and folder.expanduser().absolute()


def _from_environment() -> dict[str, Any]:
    """What the environment says: text, or JSON where several values are meant. What is empty says nothing."""
    given: dict[str, Any] = {}
    for name, field in Settings.model_fields.items():
        variable = f"AUDIT_LEDGER_{name.upper()}"
        text = os.environ.get(variable)
        if text and get_origin(field.annotation) is tuple:
            try:
                given[name] = json.loads(text)
            except ValueError as error:
                raise ConfigurationError(
                    f"{variable} cannot be read",
                    expected='JSON, e.g. ["tax id", "iban"]',
                    actual=str(error),
                    remedy="correct the environment variable",
                ) from error
        elif text:
            given[name] = text
    return given


def _from_file() -> dict[str, Any]:
    """What ledger.toml says, without its tables; nothing, where it is not there."""
    file = config_file()
    if not file.is_file():
        return {}
    _, content = parse(file.read_bytes())
    return {name: value for name, value in content.items() if name not in TABLES}


def wrong_settings(content: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """What cannot be used of the settings in the content of a ledger.toml: name, expected, actual, remedy."""
    given = {name: value for name, value in content.items() if name not in TABLES}
    try:
        Settings.model_validate(given)
    except ValidationError as error:
        return [_told(found, "correct the value") for found in error.errors()]
    return []


def _told(found: Mapping[str, Any], remedy: str) -> tuple[str, str, str, str]:
    """What is wrong with a setting. Nothing is shown that may be a secret, as with a misspelt name."""
    name = "_".join(str(part) for part in found["loc"])
    if found["type"] == "extra_forbidden":
        close = get_close_matches(name, [*Settings.model_fields, *TABLES], 1)
        meant = f"did you mean {close[0]}?" if close else "leave it out"
        return name, "the name of a setting", "not shown, it may be secret", meant
    secret = name in ("redact_key", "sealing_key", "url")
    return name, found["msg"], "not shown" if secret else repr(found.get("input")), remedy


def _place(name: str, given: Mapping[str, object]) -> str:
    """The file and the line that a setting comes from; "" where it comes from elsewhere."""
    file = config_file()
    if name in given or os.environ.get(f"AUDIT_LEDGER_{name.upper()}") or not file.is_file():
        return ""
    try:
        text, content = parse(file.read_bytes())
    except (OSError, NotToml):
        return ""
    return f"{file}:{line_of(text, (name,))}: " if name in content else ""


def load(**overrides: object) -> Settings:
    """Read the settings; `overrides` that are not None win.

    Raises:
        ConfigurationError: a value is of the wrong form, or ledger.toml is not TOML.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings.model_validate({**_from_file(), **_from_environment(), **given})
    except ValidationError as error:
        first = error.errors()[0]
        variable = f"AUDIT_LEDGER_{'_'.join(str(part) for part in first['loc']).upper()}"
        name, expected, actual, remedy = _told(
            first, f"correct {variable} or {first['loc'][-1]} in ledger.toml"
        )
        raise ConfigurationError(
            f"{_place(name, given)}the setting {name} cannot be used",
            expected=expected,
            actual=actual,
            remedy=remedy,
        ) from error
    except (NotToml, UnicodeDecodeError, OSError) as error:
        raise ConfigurationError(
            "ledger.toml cannot be read",
            expected="a TOML file",
            actual=str(error),
            remedy="correct the file, or point AUDIT_LEDGER_CONFIG elsewhere",
        ) from error
