"""What goes to an API and comes back, made fit to be kept: secrets cut out, the media type settled."""

import gzip
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any
from urllib.parse import SplitResult

from audit_ledger.canonical import canonical_json
from audit_ledger.recording.capture.copying import decoded
from audit_ledger.redaction import Redactor
from audit_ledger.store.bodies import Body

JSON = "application/json"
BINARY = "application/octet-stream"
GZIP = b"\x1f\x8b\x08"
"""How a gzip file begins (RFC 1952 section 2.3.1)."""
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+(?:\s*;[ -~]*)?", re.ASCII)

OwnRedactor = Callable[[bytes, str], bytes]
"""A user's own: given a message's body, secrets cut out already, and its media type; returns what to keep."""

CLEAN = 1000
"""So many bodies at most are known to be clean."""


class Dropped(Exception):
    """A body must not be kept, since nobody could say what of it may."""


@dataclass(frozen=True)
class Messages:
    """The rules by which messages are kept.

    Attributes:
        redactor: Cuts secrets out.
        cap: Bytes that a body is unpacked to at most, to look into it.
        own: The user's own redactor, which comes after it.
    """

    redactor: Redactor
    cap: int
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
        value = dumped(value)
        return self._owned(canonical_json(self.redactor.redact(value), field), JSON)

    def clean(self, content: bytes, media_type: str | None) -> Body:
        """A body without its secrets.

        Args:
            content: Its bytes, without content encoding.
            media_type: What the message says of it (the value of Content-Type), if anything.

        Raises:
            Dropped: the user's own redactor failed, or it is a gzip file too large to look into.
        """
        kind = self.media_type(media_type, content)
        if content.startswith(GZIP):
            return self._owned(self._unpacked(content, kind), kind)
        body = Body(content, kind)
        known = (body.sha256, kind)
        if known not in self._clean:
            clean = self.redactor.redact_body(content, kind)
            if clean != content:
                return self._owned(clean, kind)
            if len(self._clean) >= CLEAN:
                self._clean.clear()
            self._clean.add(known)
        return body if self.own is None else self._owned(content, kind)

    @cached_property
    def _clean(self) -> set[tuple[bytes, str]]:
        """Digests and media types of bodies without secrets: who asks again often gets the same again.

        Of a body with a secret nothing is remembered.
        """
        return set()

    def _unpacked(self, content: bytes, media_type: str) -> bytes:
        """A gzip file without the secrets in it; the very same bytes if it holds none."""
        plain = decoded(content, "gzip", self.cap)
        if plain is None:
            raise Dropped(f"gzipped, and more than {self.cap:,} bytes when unpacked")
        clean = self.redactor.redact_body(plain, media_type)
        return content if clean == plain else gzip.compress(clean, mtime=0)

    def head(self, method: str, url: SplitResult, headers: list[tuple[str, str]]) -> bytes:
        """Request line and headers (RFC 9112 sections 3 and 5), with the empty line that ends them.

        Args:
            method: In capitals.
            url: Without its secrets.
            headers: As they are sent.
        """
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        kept = self._headers(tuple(headers))
        if "\r\nhost: " not in kept.lower():
            kept = f"\r\nHost: {url.netloc.rpartition('@')[2]}{kept}"
        return f"{method} {target} HTTP/1.1{kept}\r\n\r\n".encode("utf-8", "surrogatepass")

    @cached_property
    def _headers(self) -> Callable[[tuple[tuple[str, str], ...]], str]:
        """The lines of headers, without their secrets. From call to call they are mostly the same."""

        @lru_cache(100)
        def lines(headers: tuple[tuple[str, str], ...]) -> str:
            return "".join(
                f"\r\n{name}: {value}" for name, value in self.redactor.request_headers([*headers])
            )

        return lines

    @cached_property
    def _named(self) -> Callable[[str], str | None]:
        """A media type that is named as it should be, without secrets; None where it is something else."""

        @lru_cache(100)
        def named(given: str) -> str | None:
            given = given.strip()
            return self.redactor.redact_text(given) if _MEDIA_TYPE.fullmatch(given) else None

        return named

    def media_type(self, given: str | None, content: bytes) -> str:
        """The media type that a message names, secrets cut out, or a guess where it names none."""
        return (self._named(given) if given and len(given) <= 200 else None) or _guess(content)

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


def dumped(value: Any) -> Any:
    """What a pydantic model is as JSON; anything else as it is."""
    if isinstance(value, dict | list):
        return value
    from pydantic import BaseModel

    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value


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
