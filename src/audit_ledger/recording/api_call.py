"""An API call that a script tells of by itself, as an event with its bodies."""

from collections.abc import Mapping
from typing import Any

from audit_ledger import events
from audit_ledger.errors import InvalidValue
from audit_ledger.recording.messages import Dropped, Messages
from audit_ledger.store.pending import Pending


def told(
    messages: Messages, bodies: Mapping[str, object], *, endpoint: Any, duration_ms: Any, **fields: Any
) -> Pending:
    """The event, and the bodies without their secrets.

    Args:
        messages: The rules by which bodies are kept.
        bodies: request and response: bytes, text, JSON or None.
        endpoint: What was called; secrets are cut out.
        duration_ms: Milliseconds, or None.
        fields: The other fields of ApiCallMade.

    Raises:
        InvalidValue: something cannot be recorded; the error names it.
    """
    event = events.ApiCallMade.of(
        duration_ms=None if duration_ms is None else _milliseconds(duration_ms),
        endpoint=messages.redactor.redact_url(endpoint) if isinstance(endpoint, str) else endpoint,
        **fields,
    )
    kept, dropped = {}, []
    for name, value in bodies.items():
        try:
            body = messages.given(value, name)
        except Dropped as error:
            dropped.append(f"{name} dropped: {error}")
        else:
            if body is not None:
                kept[name] = body
    if dropped:
        event = event.model_copy(update={"capture_error": "; ".join(dropped)})
    return Pending(event, {**kept})


def _milliseconds(duration: object) -> int:
    if isinstance(duration, bool) or not isinstance(duration, int | float) or not 0 <= duration < 2**31:
        raise InvalidValue(
            "duration_ms", expected="milliseconds from 0 to 2,147,483,647", actual=repr(duration)
        )
    return round(duration)
