"""An exception as a failed run tells it: class, message and the ten innermost frames, without secrets."""

import traceback
from typing import Any

from audit_ledger.canonical import storable
from audit_ledger.redaction import Redactor

FRAMES = 10
MESSAGE_CHARACTERS = 2_000
FRAME_CHARACTERS = 500


def describe(error: BaseException | str, redactor: Redactor) -> dict[str, Any]:
    """The fields message, error_class and backtrace of RunFailed."""
    if isinstance(error, str):
        return {
            "message": _clean(redactor, error, MESSAGE_CHARACTERS) or "no reason given",
            "error_class": "Closed",
        }
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
    return {
        "message": _clean(redactor, _message(error), MESSAGE_CHARACTERS) or name,
        "error_class": _clean(redactor, name, FRAME_CHARACTERS),
        "backtrace": [
            _clean(
                redactor,
                f"{frame.filename}:{frame.lineno} in {frame.name}: {frame.line or ''}".rstrip(": "),
                FRAME_CHARACTERS,
            )
            for frame in frames
        ],
    }


def plain(text: str) -> str:
    """Text fit for a line of a log or a terminal: no line breaks, no control characters."""
    return "".join(character if character.isprintable() else " " for character in text)


def _message(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"exit status {error.code}"
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001 - a foreign __str__ may do anything
        return f"(its message could not be read: {type(broken).__name__})"


def _clean(redactor: Redactor, text: str, limit: int) -> str:
    text = redactor.redact_text(storable(text))
    return text if len(text) <= limit else text[: limit - 1] + "…"
