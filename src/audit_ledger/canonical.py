"""Canonical JSON that every supported PostgreSQL can hold: the form of events and of contents of records.

Keys are in the order of RFC 8785 (section 3.2.3), there is no white space, and numbers are as Python's
`json` writes them. Instants are text.
"""

import json
import re
from datetime import UTC, datetime
from math import isfinite

from audit_ledger.errors import InvalidValue

MAX_DEPTH = 64
MAX_INTEGER = 2**53 - 1
"""RFC 8785 section 3.2.2.3, RFC 7493 section 2.2: integers beyond it lose digits elsewhere."""


def canonical_json(value: object, field: str = "value", *, max_integer: int | None = None) -> bytes:
    """The canonical bytes of a JSON document: keys sorted, no white space, UTF-8.

    Args:
        value: dict with str keys, list, tuple, str, int, float, bool or None, at most 64 deep.
        field: What to call the document in an error.
        max_integer: The largest magnitude of an integer; by default any that Python can print.

    Raises:
        InvalidValue: something in it is not JSON, or PostgreSQL's jsonb cannot hold it. The error
            names its path.
    """
    ordered = _checked(value, field, 1, max_integer)
    text = json.dumps(ordered, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode()


def _checked(value: object, path: str, depth: int, max_integer: int | None) -> object:
    """The same document with its keys in canonical order, or an error that names the path."""
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return _text(value, path)
    if isinstance(value, int):
        if max_integer is not None and abs(value) > max_integer:
            raise InvalidValue(
                path,
                expected=f"an integer within ±{max_integer}",
                actual="a larger one",
                remedy="record it as a string",
            )
        if abs(value) >= 10**1000:
            raise InvalidValue(
                path,
                expected="an integer of at most 1,000 digits",
                actual="a larger one",
                remedy="record it as a string",
            )
        return int(value)
    if isinstance(value, float):
        if not isfinite(value):
            raise InvalidValue(
                path,
                expected="a finite number",
                actual=str(value),
                remedy="record it as None or as a string",
            )
        return value
    if depth > MAX_DEPTH:
        raise InvalidValue(
            path[:200],
            expected=f"at most {MAX_DEPTH} levels",
            actual="more",
            remedy="flatten it, or record it as bytes",
        )
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise InvalidValue(
                    f"{path} key {key!r:.80}",
                    expected="a string",
                    actual=type(key).__name__,
                    remedy="convert the key with str()",
                )
        # RFC 8785 section 3.2.3 sorts by UTF-16 code units; within ASCII that is code point order.
        keys = sorted(value) if "".join(value).isascii() else sorted(value, key=_utf16)
        return {
            _text(key, f"{path} key"): _checked(value[key], f"{path}.{key}", depth + 1, max_integer)
            for key in keys
        }
    if isinstance(value, list | tuple):
        return [_checked(item, f"{path}[{i}]", depth + 1, max_integer) for i, item in enumerate(value)]
    raise InvalidValue(
        path,
        expected="JSON (dict, list, str, int, float, bool, None) or bytes",
        actual=type(value).__name__,
        remedy="convert it first, e.g. a Decimal or a datetime with str()",
    )


def _utf16(key: str) -> bytes:
    return key.encode("utf-16-be", "surrogatepass")


def instant(value: datetime) -> str:
    """An instant as RFC 3339 in UTC, with six decimals."""
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def _text(text: str, path: str) -> str:
    bad = UNSTORABLE.search(text)
    if bad:
        what = "a NUL character" if bad[0] == "\0" else f"a lone surrogate, U+{ord(bad[0]):04X}"
        raise InvalidValue(
            path[:200],
            expected="text that UTF-8 and jsonb can hold",
            actual=f"{what} at index {bad.start()}",
            remedy="remove or replace it",
        )
    return text


def storable(text: str) -> str:
    """Text made fit for an event: NUL and lone surrogates replaced by U+FFFD. For messages of others."""
    return text if text.isascii() and "\0" not in text else UNSTORABLE.sub("\ufffd", text)
