"""Settings, from the environment (`AUDIT_LEDGER_*`) first and `ledger.toml` second.

`ledger.toml` is read from the path in `AUDIT_LEDGER_CONFIG`, or from the working directory. Its keys are the
field names below, without the prefix; its tables are no settings, `plan` reads them.

Values are checked by a pydantic model (check.py), unless it is plain that they can be used: `exec` has no
time to import it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from audit_ledger.canonical import MAX_INTEGER
from audit_ledger.errors import ConfigurationError
from audit_ledger.ledger_toml import TABLES, NotToml, config_file, parse

if TYPE_CHECKING:
    from pydantic import SecretStr


def default_home() -> Path:
    """The folder of the embedded ledger: the user's data folder, or /var/lib for root.

    The embedded server never runs as root, and the account that it runs under instead cannot
    enter root's home, hence the place of its own.
    """
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path("/var/lib/audit-ledger")
    import platformdirs

    return platformdirs.user_data_path("audit-ledger", appauthor=False)


def _is(description: str, **bounds: Any) -> dict[str, Any]:
    """What a setting is, and its bounds: what pydantic's Field takes."""
    return {"description": description, **bounds}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a user can set. Times are in seconds."""

    url: str | None = field(
        default=None, repr=False, metadata=_is("PostgreSQL URL; without one, the embedded server")
    )
    home: Path = field(default_factory=default_home, metadata=_is("folder of the embedded server"))
    name: str = field(
        default="ledger",
        metadata=_is(
            "the ledger's name: its schemas are NAME, NAME_read …, its roles NAME_writer …",
            pattern=r"^[a-z][a-z0-9_]{0,39}$",
        ),
    )
    server_user: str | None = field(
        default=None, metadata=_is("system account that runs the embedded server when root starts it")
    )
    connect_timeout: float = field(default=10, metadata=_is("wait this long for a connection", gt=0))
    lock_timeout: float = field(default=30, metadata=_is("wait this long for the append lock", gt=0))
    retry_for: float = field(
        default=30, metadata=_is("keep trying this long when the database is lost in mid-run", ge=0)
    )
    when_away: Literal["strict", "spool"] = field(
        default="strict",
        metadata=_is(
            "database away when a run starts: strict: an error; spool: the run goes on, kept locally"
        ),
    )
    spool_max_bytes: int = field(default=1 << 30, metadata=_is("bytes that the spool may hold", ge=1 << 16))
    projection_timeout: float = field(
        default=5, metadata=_is("at the end of a run, spend at most this on the read models", gt=0)
    )
    heartbeat: float = field(
        default=60,
        metadata=_is("say that a run goes on when nothing else of it was sent for so long; 0: never", ge=0),
    )
    buffer_events: int = field(default=5_000, metadata=_is("events a run may hold unsent", ge=1))
    buffer_bytes: int = field(default=8 << 20, metadata=_is("bytes a run may hold unsent", ge=1 << 16))
    max_body_bytes: int = field(
        default=16 << 20, metadata=_is("bytes of a captured body that are kept at most", ge=0)
    )
    actor: str | None = field(default=None, metadata=_is("who runs the scripts; default: the system user"))
    code_version: str | None = field(default=None, metadata=_is("version of the scripts, e.g. a commit"))

    log_format: Literal["text", "json"] = field(default="text", metadata=_is("form of what commands log"))
    otel: bool = field(
        default=False, metadata=_is("whether runs are told to OpenTelemetry: a span and metrics of each")
    )

    redact_names: tuple[str, ...] = field(
        default=(), metadata=_is("more secret names, their words apart: tax id")
    )
    redact_patterns: tuple[str, ...] = field(
        default=(), metadata=_is("more regular expressions of secret values")
    )
    redact_headers: tuple[str, ...] = field(default=(), metadata=_is("more response headers to keep"))
    redact_key: SecretStr | None = field(
        default=None,
        metadata=_is("key of the digests in the marks of secrets, 16 bytes or more; kept from the database"),
    )

    sealing_key: SecretStr | None = field(
        default=None,
        metadata=_is("path of the file with the signer key that seals, or that key; default: in HOME/keys"),
    )
    verifier_key: str | None = field(
        default=None,
        metadata=_is("verifier key of the ledger, by which checkpoints are checked where no sealing key is"),
    )
    report_folder: Path | None = field(
        default=None,
        metadata=_is("folder for the reports of what a watcher verifies; default: none are written"),
    )


SETTINGS = {setting.name: setting for setting in fields(Settings)}
"""The settings by name; each has its type as text, and in its metadata its description and bounds."""


def is_taken(name: str) -> bool:
    """Whether a schema of another ledger may be called so."""
    return name == "as_of" or name.endswith(("_read", "_as_of"))


def load(**overrides: object) -> Settings:
    """Read the settings; `overrides` that are not None win.

    Raises:
        ConfigurationError: a value is of the wrong form, or ledger.toml is not TOML.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        said = {**_from_file(), **_from_environment(), **given}
    except (NotToml, UnicodeDecodeError, OSError) as error:
        raise ConfigurationError(
            "ledger.toml cannot be read",
            expected="a TOML file",
            actual=str(error),
            remedy="correct the file, or point AUDIT_LEDGER_CONFIG elsewhere",
        ) from error
    values = plain(said)
    if values is None:
        from audit_ledger.settings.check import checked

        values = checked(said, given)
    return Settings(**values)


def plain(said: Mapping[str, object]) -> dict[str, Any] | None:
    """The values of settings, where it is plain that they can be used; None where the model is to look.

    Plain are text, folders and numbers, these also as text, as the environment has them.
    """
    if not said.keys() <= SETTINGS.keys():
        return None
    values = {name: _plain(name, value) for name, value in said.items()}
    return None if None in values.values() else values


def _plain(name: str, value: Any) -> object:
    """The value of a setting; None where it is not plain what it is."""
    kind, bounds = SETTINGS[name].type, SETTINGS[name].metadata
    if kind in ("int", "float"):
        number = _number(value, whole=kind == "int")
        if number is None or number < bounds.get("ge", number) or number <= bounds.get("gt", -1):
            return None
        return number
    if name == "home" and isinstance(value, str | Path):
        return absolute(Path(value))
    if not isinstance(value, str):
        return None
    usable = (
        kind == "str | None"
        or (name == "name" and re.fullmatch(bounds["pattern"], value) is not None and not is_taken(value))
        or (name == "when_away" and value in ("strict", "spool"))
    )
    return value if usable else None


_NUMERAL = re.compile(r"(?:0|[1-9][0-9]{0,14})(\.[0-9]{1,9})?")


def _number(value: object, *, whole: bool) -> float | None:
    """A number that is not negative, as such or as text; None where it is none, or no plain one."""
    if type(value) is str:
        numeral = _NUMERAL.fullmatch(value)
        usable = numeral is not None and not (whole and numeral[1])
    else:
        usable = type(value) in ((int,) if whole else (int, float)) and 0 <= value <= MAX_INTEGER  # type: ignore[operator]
    if not usable:
        return None
    return int(value) if whole else float(value)  # type: ignore[call-overload, arg-type]


def absolute(folder: Path) -> Path:
    """Cron and TOML do not expand `~`, and a script may change its working directory."""
    return folder.expanduser().absolute()


def _from_environment() -> dict[str, Any]:
    """What the environment says: text, or JSON where several values are meant. What is empty says nothing."""
    given: dict[str, Any] = {}
    for name, setting in SETTINGS.items():
        variable = f"AUDIT_LEDGER_{name.upper()}"
        text = os.environ.get(variable)
        if text and str(setting.type).startswith("tuple"):
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
