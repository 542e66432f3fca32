"""When a cron expression says that a run is due: its slots, as instants in UTC.

A schedule is written in the local time of a zone; what happens in the nights when that time steps is what
Debian's cron does, by cronsim:

- **A job at fixed times** (neither the minute nor the hour begins with `*`: `30 2 * * *`, `0 1-4 * * *`)
  has each of its times once a day. A time inside the gap of spring comes at the first instant after the gap
  (02:30 → 03:00); several of them, and one at that instant, are one slot. A time in the hour that autumn
  repeats comes the first time only.
- **A job with a wildcard** (the minute or the hour begins with `*`: `0 * * * *`, `*/15 2 * * *`) comes
  whenever the clock on the wall shows its time: not in the gap, and both times in the repeated hour. An
  hourly job therefore comes every 60 minutes throughout.

    >>> from zoneinfo import ZoneInfo
    >>> berlin = ZoneInfo("Europe/Berlin")
    >>> [f"{slot:%H:%M}" for slot in slots("30 2 * * *", berlin, datetime(2025, 3, 29, 12, tzinfo=UTC),
    ...                                    datetime(2025, 3, 31, 12, tzinfo=UTC))]
    ['01:00', '00:30']

Looking starts at `after`, however long ago that is; the cost is that of the slots in between, some 10 µs each
(a day has 1,440 of a job that runs every minute): a caller that was away for long bounds the span.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice

from cronsim import CronSim

_BACK = (timedelta(hours=1), *(timedelta(days=days) for days in (1, 8, 32, 367, 1_470, 14_700)))
"""How far `previous_slot` looks back, a step at a time; a schedule that comes at all does within 40 years."""


def slots(expression: str, zone: tzinfo, after: datetime, upto: datetime) -> Iterator[datetime]:
    """The slots of a schedule after one instant and up to another, in order, each once.

    Args:
        expression: A cron expression that the plan has accepted.
        zone: The time zone that it is written in.
        after: An aware instant; a slot at it is not among them.
        upto: An aware instant; a slot at it is.

    Yields:
        Instants in UTC.
    """
    for slot in _following(expression, zone, after):
        if slot > upto:
            return
        yield slot


def next_slots(expression: str, zone: tzinfo, after: datetime, count: int) -> list[datetime]:
    """The first `count` slots after an instant, in UTC; fewer where there are none within 50 years."""
    return list(islice(_following(expression, zone, after), count))


def previous_slot(expression: str, zone: tzinfo, upto: datetime) -> datetime | None:
    """The last slot that is not after an instant, in UTC; None where there is none in the 40 years before."""
    for back in _BACK:
        last = None
        for slot in slots(expression, zone, upto - back, upto):
            last = slot
        if last is not None:
            return last
    return None


def _following(expression: str, zone: tzinfo, after: datetime) -> Iterator[datetime]:
    """All slots after an instant.

    cronsim goes by the wall clock where a job is at fixed times, and so may begin with a time that is over:
    in the second of two equal hours, with one of the first.
    """
    last = after.astimezone(UTC)
    for local in CronSim(expression, last.astimezone(zone)):
        slot = local.astimezone(UTC)
        if slot > last:
            last = slot
            yield slot
