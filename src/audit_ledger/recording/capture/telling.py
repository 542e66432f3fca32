"""A finished call as an event with its bodies: secrets cut out first, then what is left kept.

**The request on record** is an HTTP message (RFC 9112; media type message/http, section 10.1): request
line, headers and body as the client was about to send them, so that what was asked is there whole, its
query included.
**The response on record** is the body of the answer, as the script saw it: without transfer and content
encodings. Its headers, those on a list, stand in the event.
"""

from __future__ import annotations

import re
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from audit_ledger import events
from audit_ledger.canonical import storable
from audit_ledger.errors import InvalidValue
from audit_ledger.events.limits import MAX_STATE_BYTES
from audit_ledger.events.plain import Plain
from audit_ledger.recording.capture import rate_limits
from audit_ledger.recording.capture.copying import decoded
from audit_ledger.recording.messages import Dropped, Messages
from audit_ledger.store.bodies import Body, Unkept
from audit_ledger.store.pending import Pending

if TYPE_CHECKING:
    from audit_ledger.events import ApiCallMade, Event
    from audit_ledger.recording.capture.call import Call
    from audit_ledger.recording.capture.copying import Copy

MESSAGE_CHARACTERS = 500
ENDPOINT_CHARACTERS = 2_000
HEADER_CHARACTERS = 16_000
COMMITMENTS = 200
"""Bytes that the commitments of request and response will add to an event."""
OTHER_BYTES = 2_000
"""More than an event's names, numbers and instants take."""
REQUEST = "message/http; msgtype=request"
UNKNOWN = "unknown"
"""The endpoint of a call whose URL cannot be told."""

_DROPPED = re.compile(r"[\t\r\n]")
"""What `urlsplit` leaves out of a URL, wherever it stands."""


class Finished:
    """A call on its way to the event store."""

    def __init__(self, call: Call, finished_at: datetime, messages: Messages) -> None:
        self._call = call
        self._finished_at = finished_at
        self._messages = messages

    @property
    def size(self) -> int:
        """About how many bytes it holds."""
        return 1000 + self._call.request.held + self._call.response.held

    def prepare(self) -> Pending:
        """The event and its bodies. Never raises: what cannot be told is told as a capture error."""
        try:
            return _storable(self._prepared())
        except Exception as error:  # noqa: BLE001 - what broke is in the event
            kind, broken = type(error).__name__, error
        try:
            return _storable(Pending(self._event(capture_error=self._text(f"{kind}: {broken}"))))
        except Exception:  # noqa: BLE001 - nothing of the call can be trusted, its text least of all
            occurred_at = self._call.occurred_at
            return Pending(
                events.ApiCallMade.of(capture_error=kind, endpoint=UNKNOWN, occurred_at=occurred_at)
            )

    def _prepared(self) -> Pending:
        call = self._call
        errors = [call.capture_error] if call.capture_error else []
        headers = self._messages.redactor.response_headers(call.response_headers)
        fields: dict[str, Any] = {
            "duration_ms": call.duration_ms,
            "rate_limit_remaining": rate_limits.remaining(headers),
            "response_headers": _bounded(headers) or None,
            "response_partial": True if call.partial and call.status is not None else None,
        }
        bodies: dict[str, Body | Unkept] = {}
        for name, make in (("request", self._request), ("response", self._response)):
            try:
                body = make()
            except Dropped as error:
                errors.append(f"{name} dropped: {error}")
                continue
            if body is not None:
                bodies[name] = body
                fields[f"{name}_media_type"] = body.media_type
                fields[f"{name}_truncated"] = True if isinstance(body, Unkept) else None
        if errors:
            fields["capture_error"] = self._text("; ".join(errors))
        return Pending(self._event(**fields), bodies)

    def _event(self, **fields: Any) -> ApiCallMade:
        call = self._call
        plain = {
            "attempt": call.attempt if call.attempt > 1 else None,
            "captured_at": self._finished_at,
            "occurred_at": call.occurred_at,
            "method": call.method if call.method.isalpha() and call.method.isupper() else None,
            "http_status_code": call.status if call.status and 100 <= call.status <= 999 else None,
        }
        if call.error is not None:
            plain |= {
                "error_class": self._text(call.error[0]),
                "error_message": self._text(call.error[1]) or None,
            }
        return events.ApiCallMade.of(endpoint=self._endpoint(), **plain, **fields)

    @cached_property
    def _url(self) -> SplitResult:
        """What was called, without secrets."""
        try:
            return _split(self._messages.redactor.redact_url(storable(self._call.url)))
        except ValueError:
            return urlsplit("")

    def _endpoint(self) -> str:
        """Host, port unless it is the usual one, and path; no query, no user, no fragment."""
        where = self._url.netloc.rpartition("@")[2] + self._url.path
        return where[:ENDPOINT_CHARACTERS] or UNKNOWN

    def _text(self, text: str) -> str:
        text = self._messages.redactor.redact_text(storable(text))
        return text if len(text) <= MESSAGE_CHARACTERS else text[: MESSAGE_CHARACTERS - 1] + "…"

    def _request(self) -> Body | Unkept | None:
        call = self._call
        if not call.url:
            return None
        content = call.request.content
        if content is None:
            return _unkept(call.request, REQUEST)
        given = {name.lower(): value for name, value in call.request_headers}
        plain = decoded(content, given.get("content-encoding", ""), call.request.cap)
        if plain is None:
            return Unkept.of(content, REQUEST)
        head = self._messages.head(call.method, self._url, call.request_headers)
        body = self._messages.clean(plain, given.get("content-type")).content if plain else b""
        return Body(head + body, REQUEST)

    def _response(self) -> Body | Unkept | None:
        call = self._call
        given = {name.lower(): value for name, value in call.response_headers}
        media_type = given.get("content-type")
        content = call.response.content
        if content is None:
            return _unkept(call.response, self._messages.media_type(media_type, b""))
        if not content:
            return None
        plain = (
            content
            if call.decoded
            else decoded(content, given.get("content-encoding", ""), call.response.cap)
        )
        if plain is None:
            return Unkept.of(content, self._messages.media_type(media_type, b""))
        return self._messages.clean(plain, media_type)


def _storable(pending: Pending) -> Pending:
    """The same; raises InvalidValue where the event is larger than the log takes."""
    assert not isinstance(pending.event, Plain)  # calls have models
    if _at_most(pending.event) > MAX_STATE_BYTES and len(pending.event.state) + COMMITMENTS > MAX_STATE_BYTES:
        raise InvalidValue("ApiCallMade", expected=f"at most {MAX_STATE_BYTES:,} bytes", actual="more")
    return pending


def _at_most(event: Event) -> int:
    """Bytes that its state cannot exceed, commitments included: JSON takes at most six for a character."""
    characters = 0
    for value in event.__dict__.values():
        if isinstance(value, str):
            characters += len(value)
        elif isinstance(value, dict):
            characters += sum(1 + len(name) + len(text) for name, text in value.items())
    return COMMITMENTS + OTHER_BYTES + 6 * characters


def _split(url: str) -> SplitResult:
    """`urlsplit`, which remembers what it split, of what is the same from call to call: not the query."""
    before, mark, query = url.partition("?")
    if not mark or "#" in url or _DROPPED.search(query):
        return urlsplit(url)
    return urlsplit(before)._replace(query=query)


def _unkept(copy: Copy, media_type: str) -> Unkept:
    assert copy.salt is not None  # drawn when the cap was passed
    return Unkept(copy.commitment, copy.salt, copy.size, media_type)


def _bounded(headers: dict[str, str]) -> dict[str, str]:
    """As many of the headers as an event has room for, in canonical order."""
    kept: dict[str, str] = {}
    room = HEADER_CHARACTERS
    for name in sorted(headers):
        room -= len(name) + len(headers[name])
        if room >= 0:
            kept[name] = storable(headers[name])
    return kept
