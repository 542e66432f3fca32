"""What scripts hand over, made fit to be kept: contents of records, messages of API calls, parameters."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from audit_ledger.errors import InvalidValue
from audit_ledger.events import canonical_json
from audit_ledger.recording.redaction import redact, redact_body
from audit_ledger.store.bodies import Body

JSON = "application/json"
BINARY = "application/octet-stream"


def record_content(content: object) -> Body:
    """A record's content: bytes as they are, a pydantic model or JSON as canonical JSON.

    Raises:
        InvalidValue: it is neither; the error names the path inside it.
    """
    if isinstance(content, bytes | bytearray | memoryview):
        return Body(bytes(content), BINARY)
    if isinstance(content, BaseModel):
        content = content.model_dump(mode="json")
    if content is None:
        raise InvalidValue(
            "content",
            expected="JSON or bytes",
            actual="None",
            remedy="use record() where there is no content",
        )
    return Body(canonical_json(content, "content"), JSON)


def message(value: Any, field: str) -> Body | None:
    """A request or a response, without its secrets; None stays None.

    Bytes and text keep their exact form unless a secret is cut from them; whatever else is JSON
    becomes canonical JSON.

    Raises:
        InvalidValue: it is neither bytes, text nor JSON.
    """
    if value is None:
        return None
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogatepass")
    if isinstance(value, bytes | bytearray | memoryview):
        content = bytes(value)
        media_type = _guess(content)
        return Body(redact_body(content, media_type), media_type)
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return Body(canonical_json(redact(value), field), JSON)


def parameters(given: Mapping[str, Any] | None) -> Any:
    """What a run runs with, as JSON without its secrets; dates, decimals, UUIDs and paths become text."""
    if given is None:
        return None
    try:
        return redact(to_jsonable_python(dict(given), inf_nan_mode="constants"))
    except ValueError:  # RunStarted will say what is no JSON, and where
        return dict(given)


def _guess(content: bytes) -> str:
    """The media type of bytes that came without one: JSON, text or neither."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return BINARY
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return "text/plain; charset=utf-8"
    return JSON
