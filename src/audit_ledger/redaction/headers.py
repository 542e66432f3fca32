"""HTTP headers: of a request all, their secrets hidden; of a response only those of a list."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from audit_ledger.redaction.names import LONGEST, header_holds_secret

if TYPE_CHECKING:
    from audit_ledger.redaction.rules import Rules

LONGEST_VALUE: Final = 1_000  # characters of a response header's value that are kept
_KEPT = frozenset(
    re.findall(
        r"\S+",
        """
        accept-ranges age allow cache-control content-disposition content-encoding content-language
        content-length content-location content-range content-type date deprecation etag expires
        last-modified link location ratelimit ratelimit-policy retry-after server sunset traceparent
        transfer-encoding vary via warning x-correlation-id x-ratelimit x-request-id x-total-count
        """,
    )
)
_KEPT_BEGINNINGS = ("ratelimit-", "x-ratelimit-", "x-rate-limit-")
_URLS = ("content-location", "destination", "location", "origin", "referer", "referrer")
# The scheme word stays, since it is public and says what was tried (RFC 9110, 11.4).
_SCHEMES = re.compile(
    r"(?i)(basic|bearer|digest|negotiate|token|apikey|hawk|aws4-hmac-sha256|dpop)[ ]+(?=\S)"
)


def is_secret(rules: "Rules", name: str) -> bool:
    """Whether a header of that name holds a secret."""
    return rules.hides(name) or header_holds_secret(name)


def _value(rules: "Rules", name: str, value: str, depth: int) -> str:
    if is_secret(rules, name):
        scheme = _SCHEMES.match(value)
        start = scheme.end() if scheme else 0
        return value[:start] + rules.mark(value[start:]) if value else ""
    return _of_no_secret(rules, name.lower(), value, depth)


def _of_no_secret(rules: "Rules", name: str, value: str, depth: int) -> str:
    return rules.url(value, depth) if name in _URLS else rules.text(value, depth)


def line(rules: "Rules", text: str, depth: int) -> str:
    """A header as a command line gives it, `Name: value`."""
    name, colon, value = text.partition(":")
    start = len(value) - len(value.lstrip())
    return f"{name}{colon}{value[:start]}{_value(rules, name.strip(), value[start:], depth)}"


def request(rules: "Rules", headers: Iterable[tuple[str, str]], depth: int) -> list[tuple[str, str]]:
    """All headers in their order."""
    return [(rules.name(name)[0], _value(rules, name, value, depth)) for name, value in headers]


def response(
    rules: "Rules", headers: Iterable[tuple[str, str]], extra: frozenset[str], depth: int
) -> dict[str, str]:
    """The headers that are kept, by name in lower case; those of one name joined (RFC 9110, 5.3)."""
    found: dict[str, list[str]] = {}
    for given, value in headers:
        name = given.strip().lower()
        kept = name in _KEPT or name.startswith(_KEPT_BEGINNINGS) or name in extra
        if kept and not (rules.secret_header(name) if len(name) < LONGEST else is_secret(rules, name)):
            found.setdefault(name, []).append(value)
    return {
        name: _of_no_secret(rules, name, ", ".join(values), depth)[:LONGEST_VALUE]
        for name, values in found.items()
    }
