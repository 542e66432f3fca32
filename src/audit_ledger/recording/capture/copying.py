"""A copy of a body as it passes by: all of its bytes up to a cap, beyond it no more than a commitment."""

import base64
import hmac
import io
import secrets
from collections.abc import Iterator
from typing import Any

from audit_ledger.store.bodies import SALT_BYTES


class Copy:
    """What was seen of a body so far.

    Attributes:
        cap: So many bytes are kept at most.
        size: Bytes seen.
        salt: The key of the commitment; drawn when the cap is passed.
    """

    __slots__ = ("_chunks", "_mac", "cap", "salt", "size")

    def __init__(self, cap: int, content: bytes = b"") -> None:
        self.cap = cap
        self.size = 0
        self.salt: bytes | None = None
        self._chunks: list[bytes] = []
        self._mac: hmac.HMAC | None = None
        if content:
            self.add(content)

    def add(self, chunk: bytes) -> None:
        """Take in what came next."""
        self.size += len(chunk)
        if self._mac is not None:
            self._mac.update(chunk)
        elif self.size > self.cap:
            self.salt = secrets.token_bytes(SALT_BYTES)
            self._mac = hmac.new(self.salt, digestmod="sha256")
            for earlier in (*self._chunks, chunk):
                self._mac.update(earlier)
            self._chunks = []
        else:
            self._chunks.append(bytes(chunk))

    def restart(self) -> None:
        """Forget it all: the body is sent once more, from its beginning."""
        self.size, self.salt, self._chunks, self._mac = 0, None, [], None

    def snapshot(self) -> "Copy":
        """What was seen so far, unmoved by what comes next."""
        taken = Copy(self.cap)
        taken.size, taken.salt, taken._chunks = self.size, self.salt, [*self._chunks]
        taken._mac = self._mac and self._mac.copy()
        return taken

    @property
    def content(self) -> bytes | None:
        """The bytes; None where there were more than the cap."""
        return None if self._mac is not None else b"".join(self._chunks)

    @property
    def held(self) -> int:
        """Bytes that it holds in memory."""
        return 0 if self._mac is not None else self.size

    @property
    def commitment(self) -> str:
        """The commitment (store.bodies) of all bytes that passed, where they were more than the cap."""
        assert self._mac is not None  # asked for only where content is None
        return base64.urlsafe_b64encode(self._mac.digest()).decode().rstrip("=")


class Sent:
    """A request body of a script's own, a file or an iterable, that is copied while the client reads it."""

    def __init__(self, body: Any, copy: Copy) -> None:
        self._body = body
        self._copy = copy

    def __getattr__(self, name: str) -> Any:
        return getattr(self._body, name)

    def __iter__(self) -> Iterator[Any]:
        for chunk in self._body:
            self._copy.add(as_bytes(chunk))
            yield chunk


class SentFile(Sent):
    """The same for what is read rather than iterated."""

    def read(self, *args: Any) -> Any:
        """Read on."""
        chunk = self._body.read(*args)
        self._copy.add(as_bytes(chunk))
        return chunk

    def seek(self, *args: Any) -> Any:
        """Go back, as clients do before they send it once more."""
        self._copy.restart()
        return self._body.seek(*args)


def as_bytes(chunk: Any) -> bytes:
    """A chunk of a body as it is sent: text as UTF-8."""
    return chunk.encode("utf-8", "surrogatepass") if isinstance(chunk, str) else bytes(chunk)


def decoded(content: bytes, encoding: str, cap: int) -> bytes | None:
    """A body without its content encoding (RFC 9110 section 8.4); None where that exceeds the cap.

    What does not decode, or is encoded in a way that no decoder is installed for, stays as it is.
    """
    if not encoding or encoding.strip().lower() == "identity":
        return content
    import urllib3  # only here: a run that captures nothing does without it

    answer = urllib3.HTTPResponse(
        io.BytesIO(content), headers={"content-encoding": encoding}, preload_content=False
    )
    parts: list[bytes] = []
    size = 0
    try:
        for part in answer.stream(1 << 16, decode_content=True):
            parts.append(part)
            size += len(part)
            if size > cap:
                return None
    except urllib3.exceptions.HTTPError:
        return content
    return b"".join(parts)
