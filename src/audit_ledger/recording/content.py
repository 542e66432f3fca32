"""What scripts hand over, made fit to be kept: contents of records, and parameters."""

from collections.abc import Mapping
from typing import Any

from audit_ledger.canonical import canonical_json
from audit_ledger.errors import InvalidValue
from audit_ledger.recording.messages import BINARY, JSON, dumped
from audit_ledger.redaction import Redactor
from audit_ledger.store.bodies import Body


def record_content(content: object) -> Body:
    """A record's content: bytes as they are, a pydantic model or JSON as canonical JSON.

    Raises:
        InvalidValue: it is neither; the error names the path inside it.
    """
    if isinstance(content, bytes | bytearray | memoryview):
        return Body(bytes(content), BINARY)
    content = dumped(content)
    if content is None:
        raise InvalidValue(
            "content",
            expected="JSON or bytes",
            actual="None",
            remedy="use record() where there is no content",
        )
    return Body(canonical_json(content, "content"), JSON)


def parameters(given: Mapping[str, Any] | None, redactor: Redactor) -> Any:
    """What a run runs with, as JSON without its secrets; dates, decimals, UUIDs and paths become text."""
    if given is None:
        return None
    try:
        return redactor.redact(_as_json(dict(given)))
    except ValueError:  # RunStarted will say what is no JSON, and where
        return dict(given)


def _as_json(value: dict[Any, Any]) -> Any:
    """Values as JSON has them. Text, and lists of text, as of commands, need no conversion."""
    if all(type(name) is str and _is_text(inner) for name, inner in value.items()):
        return value
    from pydantic_core import to_jsonable_python

    return to_jsonable_python(value, inf_nan_mode="constants")


def _is_text(value: object) -> bool:
    return type(value) is str or (type(value) is list and all(type(part) is str for part in value))
