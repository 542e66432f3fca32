"""What goes to an API and comes back, made fit to be kept: secrets cut out, the media type settled."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel

from audit_ledger.events import canonical_json
from audit_ledger.recording.redaction import Redactor
from audit_ledger.store.bodies import Body

JSON = "application/json"
BINARY = "application/octet-stream"
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+(?:\s*;[ -~]*)?", re.ASCII)

OwnRedactor = Callable[[bytes, str], bytes]
"""A user's own: given a message's body, secrets cut out already, and its media type; returns what to keep."""


class Dropped(Exception):
    """A body must not be kept, since the user's own redactor could not say what may."""


@dataclass(frozen=True)
class Messages:
    """The rules by which messages are kept.

    Attributes:
        redactor: Cuts secrets out.
        own: The user's own redactor, which comes after it.
    """

    redactor: Redactor
    own: OwnRedactor | None = None

    def given(self, value: Any, field: str) -> Body | None:
        """A request or a response as a script gives it; None stays None.

        Bytes and text keep their exact form unless a secret is cut from them; whatever else is JSON
        becomes canonical JSON.

        Raises:
            InvalidValue: it is neither bytes, text nor JSON.
            Dropped: the user's own redactor failed.
        """
        if value is None:
            return None
        if isinstance(value, str):
            value = value.encode("utf-8", "surrogatepass")
        if isinstance(value, bytes | bytearray | memoryview):
            return self.clean(bytes(value), None)
        if isinstance(value, BaseModel):
            value = value.model_dump(mode="json")
        return self._owned(canonical_json(self.redactor.redact(value), field), JSON)

    def clean(self, content: bytes, media_type: str | None) -> Body:
        """A body without its secrets.

        Args:
            content: Its bytes, without content encoding.
            media_type: What the message says of it (the value of Content-Type), if anything.

        Raises:
            Dropped: the user's own redactor failed.
        """
        kind = self.media_type(media_type, content)
        return self._owned(self.redactor.redact_body(content, kind), kind)

    def head(self, method: str, url: str, headers: list[tuple[str, str]]) -> bytes:
        """Request line and headers (RFC 9112 sections 3 and 5), with the empty line that ends them."""
        parts = urlsplit(self.redactor.redact_url(url))
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        kept = self.redactor.request_headers(headers)
        if not any(name.lower() == "host" for name, _ in kept):
            kept = [("Host", parts.netloc.rpartition("@")[2]), *kept]
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in kept), "", ""]
        return "\r\n".join(lines).encode("utf-8", "surrogatepass")

    def media_type(self, given: str | None, content: bytes) -> str:
        """The media type that a message names, secrets cut out, or a guess where it names none."""
        if given and len(given) <= 200 and _MEDIA_TYPE.fullmatch(given.strip()):
            return self.redactor.redact_text(given.strip())
        return _guess(content)

    def _owned(self, content: bytes, media_type: str) -> Body:
        if self.own is None:
            return Body(content, media_type)
        try:
            content = self.own(content, media_type)
        except Exception as error:
            raise Dropped(f"the redactor raised {type(error).__name__}") from error
        if not isinstance(content, bytes):
            raise Dropped(f"the redactor returned {type(content).__name__}, not bytes")
        return Body(content, media_type)


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
