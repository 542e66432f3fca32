"""When an alert may go out: not in a channel's quiet hours, nor while its task is under maintenance.

Both only postpone. A window holds from its start on, and no longer at its end. Hours of the day are on the
clock of the channel's zone: where that clock steps over one, it is the first instant after the gap; where it
shows one twice, a window begins at the first and ends at the last. A recurring maintenance window begins at a
slot of its schedule (schedule.py) and takes as long as it says by every clock.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from fnmatch import fnmatchcase

from audit_ledger.plan import Channel, Maintenance
from audit_ledger.watching.schedule import previous_slot

LONGEST = timedelta(days=731)
"""Windows that follow each other for longer than this are not followed any further."""


def held_until(
    channel: Channel, maintenance: Iterable[Maintenance], task: str | None, now: datetime, *, critical: bool
) -> datetime | None:
    """The instant until which an alert has to wait, in UTC; None where it may go out now.

    Args:
        channel: Whom it is for.
        maintenance: The windows of the plan.
        task: Whose alert it is; None: of no task, which only windows of all tasks (`*`) hold.
        now: An aware instant.
        critical: Whether the alert is critical, for which a channel may have no quiet hours.
    """
    windows = [window for window in maintenance if _covers(window, task)]
    quiet = channel.quiet_critical or not critical
    free = now.astimezone(UTC)
    while free - now < LONGEST:
        ends = [end for window in windows if (end := _end(window, free)) is not None]
        if quiet:
            ends += _quiet_ends(channel, free)
        if not ends:
            break
        free = max(ends)
    return free if free > now else None


def _covers(window: Maintenance, task: str | None) -> bool:
    if task is None:
        return "*" in window.tasks
    return any(fnmatchcase(task, pattern) for pattern in window.tasks)


def _end(window: Maintenance, at: datetime) -> datetime | None:
    """When a window that is open at an instant ends."""
    start, end = window.start, window.end
    if window.schedule is not None and window.duration is not None:
        start = previous_slot(window.schedule, window.zone, at)
        end = None if start is None else start + window.duration
    if start is None or end is None or not start <= at < end:
        return None
    return end.astimezone(UTC)


def _quiet_ends(channel: Channel, at: datetime) -> Iterator[datetime]:
    """When those quiet hours end that an instant is in: hours that began on its day or on the day before."""
    zone = channel.quiet_zone
    today = at.astimezone(zone).date()
    for day in (today - timedelta(days=1), today):
        for quiet in channel.quiet:
            if quiet.day not in (None, day.weekday()):
                continue
            until = day if quiet.end > quiet.start else day + timedelta(days=1)
            end = _instant(until, quiet.end, zone, last=True)
            if _instant(day, quiet.start, zone, last=False) <= at < end:
                yield end


def _instant(day: date, hour: time, zone: tzinfo, *, last: bool) -> datetime:
    """When the clock of a zone shows that hour, the first time or the last, in UTC."""
    local = datetime.combine(day, hour, tzinfo=zone)
    while local.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != local.replace(tzinfo=None):
        local += timedelta(minutes=1)  # the clock never shows it
    return local.replace(fold=int(last)).astimezone(UTC)
