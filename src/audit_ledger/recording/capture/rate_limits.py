"""What an API says of its rate limit, in the headers that are in use.

-   `RateLimit: "default";r=50;t=30` (draft-ietf-httpapi-ratelimit-headers-10, section 4), a structured
    field (RFC 9651): a list of items, `r` being what remains; earlier drafts wrote
    `limit=100, remaining=50, reset=30`.
-   `RateLimit-Remaining`, `X-RateLimit-Remaining`, `X-Rate-Limit-Remaining`, also by window, such as
    `X-RateLimit-Remaining-Minute`: a whole number.
"""

import re
from collections.abc import Mapping

_ITEM = re.compile(r"""(?:;\s*r|\bremaining)\s*=\s*(\d{1,15})(?![\w.])""", re.IGNORECASE)
_NAME = re.compile(r"(?:x-)?rate-?limit-remaining(?:-\w+)?")
_NUMBER = re.compile(r"\s*(-?\d{1,15})\s*(?:[;,]|\Z)")


def remaining(headers: Mapping[str, str]) -> int | None:
    """How many calls are left; of several windows the one with the least; None where nothing says so.

    Args:
        headers: By name in lower case. What is malformed is ignored.

    >>> remaining({"ratelimit": '"minute";r=7;t=30, "day";r=900;t=4000'})
    7
    >>> remaining({"x-ratelimit-remaining": "41"})
    41
    """
    found = [int(number) for number in _ITEM.findall(headers.get("ratelimit", ""))]
    for name, value in headers.items():
        if "remaining" in name and _NAME.fullmatch(name) and (number := _NUMBER.match(value)):
            found.append(int(number[1]))
    return min(found, default=None)
