"""When an alert waits: quiet hours and maintenance windows postpone it, and never for ever."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from audit_ledger.plan import Channel, Maintenance
from audit_ledger.watching.quiet import held_until

BERLIN = "Europe/Berlin"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def channel(*quiet: str, zone: str = BERLIN, **more: Any) -> Channel:
    return Channel(name="mail", url="json://h/", quiet=quiet, quiet_timezone=zone, **more)


def window(**fields: Any) -> Maintenance:
    return Maintenance(**fields)


def once(start: str, end: str, **more: Any) -> Maintenance:
    return window(start=at(start), end=at(end), **more)


def held(
    where: Channel, now: str, *windows: Maintenance, task: str | None = "a:b", critical: bool = True
) -> str | None:
    found = held_until(where, windows, task, at(now), critical=critical)
    return None if found is None else f"{found:%Y-%m-%dT%H:%M}"


@pytest.mark.parametrize(
    ("now", "until"),
    [
        ("2025-06-02T19:59", None),  # Monday 21:59 in Berlin
        ("2025-06-02T20:00", "2025-06-03T05:00"),
        ("2025-06-03T04:59", "2025-06-03T05:00"),
        ("2025-06-03T05:00", None),
        # In the night of spring 22:00-07:00 takes eight hours, in that of autumn ten.
        ("2025-03-29T21:00", "2025-03-30T05:00"),
        ("2025-10-25T20:00", "2025-10-26T06:00"),
    ],
)
def test_quiet_hours_pass_midnight_on_the_clock_of_their_zone(now: str, until: str | None) -> None:
    assert held(channel("22:00-07:00"), now) == until


@pytest.mark.parametrize(
    ("hours", "now", "until"),
    [
        # 30 March: 02:00 → 03:00 at 01:00Z.
        ("01:00-02:30", "2025-03-30T00:59", "2025-03-30T01:00"),
        ("01:00-02:30", "2025-03-30T01:00", None),
        ("02:30-04:00", "2025-03-30T00:59", None),
        ("02:30-04:00", "2025-03-30T01:00", "2025-03-30T02:00"),
        ("02:10-02:40", "2025-03-30T01:00", None),
        # 26 October: 03:00 → 02:00 at 01:00Z; begins with the first 02:30, ends with the last.
        ("01:00-02:30", "2025-10-26T00:45", "2025-10-26T01:30"),
        ("01:00-02:30", "2025-10-26T01:30", None),
        ("02:30-04:00", "2025-10-26T00:30", "2025-10-26T03:00"),
        ("02:30-04:00", "2025-10-26T00:29", None),
    ],
)
def test_quiet_hours_in_the_nights_when_clocks_step(hours: str, now: str, until: str | None) -> None:
    assert held(channel(hours), now) == until


def test_a_quiet_weekend_ends_on_monday_after_the_quiet_night() -> None:
    where = channel("22:00-07:00", "sat", "sun")
    assert held(where, "2025-06-06T20:30") == "2025-06-09T05:00"  # Friday 22:30
    assert held(where, "2025-06-07T10:00") == "2025-06-09T05:00"
    assert held(where, "2025-06-06T19:00") is None


def test_hours_until_midnight_end_there() -> None:
    assert held(channel("20:00-24:00", zone="UTC"), "2025-06-02T23:59") == "2025-06-03T00:00"
    assert held(channel("20:00-24:00", zone="UTC"), "2025-06-02T00:00") is None


def test_critical_alerts_wait_only_where_the_channel_says_so() -> None:
    loud = channel("22:00-07:00", quiet_critical=False)
    assert held(loud, "2025-06-02T21:00") is None
    assert held(loud, "2025-06-02T21:00", critical=False) == "2025-06-03T05:00"
    assert held(loud, "2025-06-02T21:00", once("2025-06-02T20:00", "2025-06-02T22:00")) == "2025-06-02T22:00"


def test_a_maintenance_window_holds_from_its_start_to_its_end() -> None:
    upgrade = once("2025-06-02T10:00", "2025-06-02T12:00")
    assert held(channel(), "2025-06-02T09:59", upgrade) is None
    assert held(channel(), "2025-06-02T10:00", upgrade) == "2025-06-02T12:00"
    assert held(channel(), "2025-06-02T12:00", upgrade) is None


def test_a_maintenance_window_is_about_the_tasks_that_it_names() -> None:
    upgrade = once("2025-06-02T10:00", "2025-06-02T12:00", tasks=["data_fetch:*", "x"])
    assert held(channel(), "2025-06-02T11:00", upgrade, task="data_fetch:daily") == "2025-06-02T12:00"
    assert held(channel(), "2025-06-02T11:00", upgrade, task="x") == "2025-06-02T12:00"
    assert held(channel(), "2025-06-02T11:00", upgrade, task="DATA_FETCH:daily") is None
    assert held(channel(), "2025-06-02T11:00", upgrade, task=None) is None
    assert (
        held(channel(), "2025-06-02T11:00", once("2025-06-02T10:00", "2025-06-02T12:00"), task=None)
        is not None
    )


def test_a_recurring_window_keeps_its_local_time_and_its_length() -> None:
    nightly = window(schedule="0 1 * * *", timezone=BERLIN, duration="3h")
    assert held(channel(), "2025-06-02T00:00", nightly) == "2025-06-02T02:00"
    assert held(channel(), "2025-06-01T22:59", nightly) is None
    assert held(channel(), "2025-03-30T00:00", nightly) == "2025-03-30T03:00"  # 01:00 to 05:00 on the clock
    assert held(channel(), "2025-10-25T23:00", nightly) == "2025-10-26T02:00"  # 01:00 to 03:00


def test_windows_that_follow_each_other_are_waited_for_together() -> None:
    where = channel("22:00-07:00", zone="UTC")
    windows = (
        once("2025-06-02T18:00", "2025-06-02T22:00"),
        once("2025-06-03T06:30", "2025-06-03T09:00"),
        window(schedule="0 9 * * tue", duration="30m"),
        once("2025-06-03T09:31", "2025-06-03T10:00"),
    )
    assert held(where, "2025-06-02T19:00", *windows) == "2025-06-03T09:30"


def test_what_is_held_is_free_at_the_instant_it_is_held_until() -> None:
    where = channel("22:00-07:00", "13:00-14:15", "sun")
    windows = (window(schedule="0 2 * * *", timezone="America/New_York", duration="90m"),)
    for start in ("2025-03-29T00:00", "2025-10-25T00:00"):
        for minutes in range(0, 3 * 1440, 7):
            now = at(start) + timedelta(minutes=minutes)
            until = held_until(where, windows, "t", now, critical=True)
            if until is not None:
                assert now < until < now + timedelta(days=3)
                assert held_until(where, windows, "t", until, critical=True) is None
                assert held_until(where, windows, "t", until - timedelta(seconds=1), critical=True) == until


def test_windows_that_never_end_do_not_take_for_ever_to_ask_about() -> None:
    where = channel("19:00-07:00", zone="UTC")
    until = held_until(
        where, [window(schedule="0 7 * * *", duration="12h")], "t", at("2025-06-02T00:00"), critical=True
    )
    assert until is not None
