"""Marks: what stands in the place of a secret, with a digest of it under a key where there is one.

`[REDACTED]`, or `[REDACTED:xxxxxxxx]`: the first eight hexadecimal digits of HMAC-SHA256 (RFC 2104,
FIPS 180-4) of the secret's UTF-8 bytes. In the user information of a URL, where brackets cannot be
parsed, `REDACTED` or `REDACTED-xxxxxxxx`. What is a mark already is never marked again.

    >>> mark("hunter2", None), mark("hunter2", b"sixteen bytes ok")
    ('[REDACTED]', '[REDACTED:1214e075]')
    >>> mark("Bearer [REDACTED:1214e075]", None)
    '[REDACTED:1214e075]'
"""

import hmac
import json
import re
from typing import Final
from urllib.parse import unquote

REDACTED: Final = "[REDACTED]"
MARK: Final = r"\[REDACTED(?>(?::[0-9a-f]{8})?)\]"
SCHEME: Final = re.compile(r"(?i:bearer|basic|digest|token|apikey|negotiate)[ ]++(?=[^\s,;])")
_MARKED = re.compile(r"\[?REDACTED(?:[:-](?P<digits>[0-9a-f]{8}))?\]?")


def _digits(secret: object, key: bytes | None) -> str:
    """The digest of a secret, without the scheme before it; that of a mark is the one in it."""
    if isinstance(secret, str):
        scheme = SCHEME.match(secret)
        secret = secret[scheme.end() :] if scheme else secret
        if marked := _MARKED.fullmatch(secret):
            return marked["digits"] or ""
    if key is None:
        return ""
    if not isinstance(secret, str | bytes):
        try:
            secret = json.dumps(secret, ensure_ascii=False, separators=(",", ":"), default=str)
        except (RecursionError, TypeError, ValueError):  # too deep, or no JSON
            return ""
    data = secret.encode("utf-8", "surrogatepass") if isinstance(secret, str) else secret
    return hmac.digest(key, data, "sha256").hex()[:8]


def mark(secret: object, key: bytes | None) -> str:
    """The mark for a secret: text, bytes, or a JSON value (then its shortest JSON text is digested)."""
    digits = _digits(secret, key)
    return f"[REDACTED:{digits}]" if digits else REDACTED


def password_of(information: str) -> str:
    """The secret in `user:password`: the password, or else the user; a mark is kept whole."""
    if _MARKED.fullmatch(information):
        return information
    user, _, password = information.partition(":")
    return password or user


def user_mark(information: str, key: bytes | None) -> str:
    """The mark for a URL's user information (RFC 3986, 3.2.1)."""
    digits = _digits(unquote(password_of(information)), key)
    return f"REDACTED-{digits}" if digits else "REDACTED"
