"""Settings checked: the pydantic model of them, and what is said of a value that cannot be used."""

import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    create_model,
    field_validator,
)

from audit_ledger.errors import ConfigurationError
from audit_ledger.ledger_toml import TABLES, NotToml, config_file, line_of, parse
from audit_ledger.settings import SETTINGS, Settings, absolute, is_taken


class _Rules(BaseModel):
    """What types and bounds do not say."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    @field_validator("name", check_fields=False)
    @classmethod
    def _not_taken(cls, name: str) -> str:
        """The schemas of another ledger are called so."""
        if is_taken(name):
            raise ValueError(f"{name!r} may be a schema of another ledger")
        return name

    @field_validator("redact_names", "redact_headers", check_fields=False)
    @classmethod
    def _named(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        """A name without a letter or a digit would be the name of nothing, or of everything."""
        for name in names:
            if not re.search(r"[^\W_]", name):
                raise ValueError(f"{name!r} is no name")
        return names

    @field_validator("redact_patterns", check_fields=False)
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

    @field_validator("redact_key", check_fields=False)
    @classmethod
    def _long_enough(cls, key: SecretStr | None) -> SecretStr | None:
        """A short key could be found by trial, and secrets by it."""
        if key is not None and len(key.get_secret_value().encode()) < 16:
            raise ValueError("a key has 16 bytes or more")
        return key

    @field_validator("home", "report_folder", check_fields=False)
    @classmethod
    def _absolute(cls, folder: Path | None) -> Path | None:
        return folder and absolute(folder)


_TYPES = get_type_hints(Settings, localns={"SecretStr": SecretStr})
_FIELDS: dict[str, Any] = {
    name: (_TYPES[name], Field(None, **setting.metadata)) for name, setting in SETTINGS.items()
}
_Model: type[BaseModel] = create_model("_Model", __base__=_Rules, **_FIELDS)
"""The settings with their types and bounds. Defaults are not its business: what is not given is not set."""


def checked(said: Mapping[str, object], given: Mapping[str, object]) -> dict[str, Any]:
    """The values of settings.

    Args:
        said: What is said of them, from wherever.
        given: What of that was given as arguments.

    Raises:
        ConfigurationError: one cannot be used.
    """
    try:
        model = _Model.model_validate(said)
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
    return {name: getattr(model, name) for name in model.model_fields_set}


def wrong_settings(content: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """What cannot be used of the settings in the content of a ledger.toml: name, expected, actual, remedy."""
    given = {name: value for name, value in content.items() if name not in TABLES}
    try:
        _Model.model_validate(given)
    except ValidationError as error:
        return [_told(found, "correct the value") for found in error.errors()]
    return []


def _told(found: Mapping[str, Any], remedy: str) -> tuple[str, str, str, str]:
    """What is wrong with a setting. Nothing is shown that may be a secret, as with a misspelt name."""
    name = "_".join(str(part) for part in found["loc"])
    if found["type"] == "extra_forbidden":
        close = get_close_matches(name, [*SETTINGS, *TABLES], 1)
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
