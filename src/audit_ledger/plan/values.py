"""The values of ledger.toml that TOML has no type for: durations, time zones, schedules, quiet hours.

**Durations** are text such as `90s`, `15m`, `26h`, `7d`, `2w`, `1h 30m`, or a number of seconds.

**Schedules** are cron expressions of five fields: minute, hour, day of the month, month, day of the week, as
cronsim reads them: names (`mon-fri`, `jan`), steps (`*/15`), `L` and `LW` for the last day and the last
working day of the month, `5L` for its last Friday, `mon#2` for its second Monday.

**Quiet hours** are times of the day, `22:00-07:00`, which may pass midnight, or days of the week, `sat`.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from difflib import get_close_matches
from functools import lru_cache
from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, BeforeValidator, Field, StrictStr

LONGEST = timedelta(days=3650)
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EXAMPLE = "0 9 * * mon-fri"

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?\s*[smhdw]\s*)+")
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_TIMES = re.compile(r"([01]\d|2[0-3]):([0-5]\d)\s*-\s*(?:([01]\d|2[0-3]):([0-5]\d)|24:00)")


class Unfit(ValueError):
    """A value that cannot be used: what is expected instead, and what to do."""

    def __init__(self, expected: str, remedy: str | None = None) -> None:
        super().__init__(expected)
        self.expected, self.remedy = expected, remedy


def duration(value: object) -> timedelta:
    """A duration from text, or from seconds.

        >>> duration("1h 30m")
        datetime.timedelta(seconds=5400)

    Raises:
        Unfit: it is neither, is negative, or is longer than ten years.
    """
    if isinstance(value, timedelta):
        length = value
    elif isinstance(value, str) and _DURATION.fullmatch(value.strip()):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(value))
        length = timedelta(seconds=min(seconds, 1e10))
    elif isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e10:
        length = timedelta(seconds=value)
    else:
        raise Unfit('a duration, e.g. "90s", "15m", "26h", "7d", "1h 30m", or a number of seconds')
    if not timedelta() <= length <= LONGEST:
        raise Unfit("a duration of at most 3,650 days, not negative")
    return length


def duration_text(length: timedelta) -> str:
    """A duration as one writes it: `1h 30m`."""
    seconds, parts = length.total_seconds(), []
    for unit in "dhm":
        number, seconds = divmod(seconds, _UNITS[unit])
        if number:
            parts.append(f"{number:.0f}{unit}")
    if seconds or not parts:
        parts.append(f"{seconds:g}s")
    return " ".join(parts)


@lru_cache
def zone(name: str) -> tzinfo:
    """The time zone of that name.

    Raises:
        Unfit: there is none.
    """
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        known = {known.lower(): known for known in available_timezones()}
        places = {known.rpartition("/")[2].lower(): known for known in sorted(available_timezones())}
        wanted = name.lower().replace(" ", "_")
        close = get_close_matches(wanted, known, 1) or get_close_matches(wanted, places, 1)
        found = known.get(close[0]) or places[close[0]] if close else None
        raise Unfit(
            'a time zone of the IANA database, e.g. "America/New_York"',
            f'did you mean "{found}"?' if found else None,
        ) from error


def _zone_name(name: str) -> str:
    zone(name)
    return name


def schedule(expression: str) -> str:
    """The expression, where it is one of five fields and its time ever comes.

    Raises:
        Unfit: it is none.
    """
    if expression.lstrip().startswith("@"):
        raise Unfit(f'five fields, e.g. "{EXAMPLE}"', "write @daily as 0 0 * * *")
    if (fields := len(expression.split())) != 5:
        raise Unfit(
            "five fields: minute, hour, day of the month, month, day of the week; "
            f'e.g. "{EXAMPLE}"; these are {fields}'
        )
    try:
        if next(CronSim(expression, datetime(2000, 1, 1, tzinfo=UTC)), None) is None:
            raise Unfit("a time that comes; this one does not within 50 years")
    except CronSimError as error:
        bad = str(error).removeprefix("Bad ")
        raise Unfit(
            f'a cron expression, e.g. "{EXAMPLE}"', f"correct the field {bad}" if str(error) != bad else None
        ) from error
    return " ".join(expression.split())


@dataclass(frozen=True)
class Quiet:
    """Hours of every day, or whole days of the week, in some time zone.

    Attributes:
        text: As it is written.
        day: The day of the week, Monday is 0; None: every day.
        start: When it begins on that day.
        end: When it ends: on the next day where that is not after `start`; midnight for 24:00.
    """

    text: str
    day: int | None
    start: time
    end: time


def _quiet(value: object) -> Quiet:
    if isinstance(value, Quiet):
        return value
    expected = 'hours or days, e.g. "22:00-07:00" or "sat"'
    if not isinstance(value, str):
        raise Unfit(expected)
    text = value.strip().lower()
    if text in DAYS:
        return Quiet(text, DAYS.index(text), time(), time())
    found = _TIMES.fullmatch(text)
    if found is None:
        raise Unfit(expected)
    start = time(int(found[1]), int(found[2]))
    end = time(int(found[3] or 0), int(found[4] or 0))
    if start == end:
        raise Unfit("hours that begin and end at different times; no channel is quiet all day")
    return Quiet(text, None, start, end)


def _listed(value: object) -> object:
    if isinstance(value, list | tuple):
        return value
    raise Unfit('an array, e.g. ["mail", "chat"]', f'write ["{value}"]' if isinstance(value, str) else None)


Duration = Annotated[timedelta, BeforeValidator(duration)]
Zone = Annotated[StrictStr, AfterValidator(_zone_name)]
Schedule = Annotated[StrictStr, AfterValidator(schedule)]
QuietHours = Annotated[Quiet, BeforeValidator(_quiet)]
Listed = BeforeValidator(_listed)
Share = Annotated[float, Field(strict=True, ge=0, le=1)]
