"""Instants and spans as people write them."""

import re
from datetime import UTC, datetime, timedelta

from audit_ledger.errors import InvalidValue

SPAN = re.compile(r"^(\d{1,6})\s*(s|m|h|d|w)$")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def since(when: datetime | timedelta | str, field: str = "since", *, now: datetime | None = None) -> datetime:
    """The instant that is meant, in UTC: one with a time zone, a span before now, or either as text.

    Text is a span such as "24h", "90m", "7d", "2w", or RFC 3339 / ISO 8601 with an offset.

    Raises:
        InvalidValue: it is neither, or has no time zone.
    """
    given = when
    try:
        if isinstance(when, str):
            span = SPAN.match(when.strip().lower())
            when = (
                timedelta(seconds=int(span[1]) * SECONDS[span[2]])
                if span
                else datetime.fromisoformat(when.strip())
            )
        if isinstance(when, timedelta):
            return (now or datetime.now(UTC)) - when
        if when.tzinfo is not None:
            return when.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidValue(
            field,
            expected='a span such as "24h" or "7d", or an instant such as "2025-12-24T09:00:00-05:00"',
            actual=repr(given),
        ) from error
    raise InvalidValue(
        field,
        expected="an instant with a time zone",
        actual=f"{when.isoformat()}, without one",
        remedy=f"say which: {when.isoformat()}Z, or {when.isoformat()}-05:00",
    )
