"""Slots of schedules: which instants, above all in the nights when clocks step."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from audit_ledger.watching.schedule import next_slots, previous_slot, slots

BERLIN = ZoneInfo("Europe/Berlin")  # 2025: 30 March 02:00 → 03:00 (01:00Z); 26 October 03:00 → 02:00 (01:00Z)
NEW_YORK = ZoneInfo(
    "America/New_York"
)  # 2025: 9 March 02:00 → 03:00 (07:00Z); 2 November 02:00 → 01:00 (06:00Z)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def found(expression: str, zone: ZoneInfo, after: str, upto: str) -> list[str]:
    """The slots, as UTC without the year."""
    return [f"{slot:%m-%d %H:%M}" for slot in slots(expression, zone, at(after), at(upto))]


def every(minutes: int, first: str, last: str) -> list[str]:
    """Instants at even distances."""
    span = at(last) - at(first)
    return [
        f"{at(first) + n * timedelta(minutes=minutes):%m-%d %H:%M}"
        for n in range(span // timedelta(minutes=minutes) + 1)
    ]


NIGHTS = [
    (BERLIN, "2025-03-29T23:30", "2025-03-30T03:00"),
    (BERLIN, "2025-10-25T22:30", "2025-10-26T03:00"),
    (NEW_YORK, "2025-03-09T05:30", "2025-03-09T09:00"),
    (NEW_YORK, "2025-11-02T04:30", "2025-11-02T08:00"),
]


@pytest.mark.parametrize(("zone", "after", "upto"), NIGHTS)
def test_an_hourly_job_comes_every_sixty_minutes_in_every_night(
    zone: ZoneInfo, after: str, upto: str
) -> None:
    first = f"{at(after) + timedelta(minutes=30):%Y-%m-%dT%H:%M}"
    assert found("0 * * * *", zone, after, upto) == every(60, first, upto)


@pytest.mark.parametrize(("zone", "after", "upto"), NIGHTS)
def test_a_job_of_every_quarter_hour_comes_every_fifteen_minutes_in_every_night(
    zone: ZoneInfo, after: str, upto: str
) -> None:
    first = f"{at(after) + timedelta(minutes=15):%Y-%m-%dT%H:%M}"
    assert found("*/15 * * * *", zone, after, upto) == every(15, first, upto)


@pytest.mark.parametrize(
    ("expression", "zone", "after", "upto", "expected"),
    [
        # In the gap: at the first instant after it.
        (
            "30 2 * * *",
            BERLIN,
            "2025-03-29T00:00",
            "2025-03-31T12:00",
            ["03-29 01:30", "03-30 01:00", "03-31 00:30"],
        ),
        (
            "30 2 * * *",
            NEW_YORK,
            "2025-03-08T00:00",
            "2025-03-10T12:00",
            ["03-08 07:30", "03-09 07:00", "03-10 06:30"],
        ),
        # Several in the gap, and one at its end, are one.
        ("0,30 2,3 * * *", BERLIN, "2025-03-29T23:00", "2025-03-30T12:00", ["03-30 01:00", "03-30 01:30"]),
        ("15,30,45 2 * * *", NEW_YORK, "2025-03-09T05:00", "2025-03-09T12:00", ["03-09 07:00"]),
        # In the repeated hour: the first time only.
        (
            "30 2 * * *",
            BERLIN,
            "2025-10-25T00:00",
            "2025-10-27T12:00",
            ["10-25 00:30", "10-26 00:30", "10-27 01:30"],
        ),
        (
            "30 1 * * *",
            NEW_YORK,
            "2025-11-01T00:00",
            "2025-11-03T12:00",
            ["11-01 05:30", "11-02 05:30", "11-03 06:30"],
        ),
        # Hours by name are fixed times as well, so the repeated hour has one.
        (
            "0 1-4 * * *",
            BERLIN,
            "2025-10-25T22:00",
            "2025-10-26T12:00",
            ["10-25 23:00", "10-26 00:00", "10-26 02:00", "10-26 03:00"],
        ),
        (
            "0 1-4 * * *",
            BERLIN,
            "2025-03-29T23:00",
            "2025-03-30T12:00",
            ["03-30 00:00", "03-30 01:00", "03-30 02:00"],
        ),
        # A wildcard goes by the clock on the wall: nothing in the gap, twice in the repeated hour.
        ("*/30 2 * * *", BERLIN, "2025-03-29T12:00", "2025-03-30T12:00", []),
        (
            "*/30 2 * * *",
            BERLIN,
            "2025-10-25T12:00",
            "2025-10-26T12:00",
            ["10-26 00:00", "10-26 00:30", "10-26 01:00", "10-26 01:30"],
        ),
        (
            "*/30 1 * * *",
            NEW_YORK,
            "2025-11-01T12:00",
            "2025-11-02T12:00",
            ["11-02 05:00", "11-02 05:30", "11-02 06:00", "11-02 06:30"],
        ),
        # Beside those hours a daily job keeps its local time.
        ("0 9 * * mon-fri", NEW_YORK, "2025-03-07T00:00", "2025-03-11T00:00", ["03-07 14:00", "03-10 13:00"]),
        ("0 9 * * mon-fri", NEW_YORK, "2025-10-31T00:00", "2025-11-04T00:00", ["10-31 13:00", "11-03 14:00"]),
    ],
)
def test_the_nights_when_clocks_step(
    expression: str, zone: ZoneInfo, after: str, upto: str, expected: list[str]
) -> None:
    assert found(expression, zone, after, upto) == expected


def test_asking_from_any_instant_of_those_nights_gives_the_same_slots() -> None:
    for zone, start, end in NIGHTS:
        for expression in (
            "30 2 * * *",
            "30 1 * * *",
            "0 * * * *",
            "*/15 * * * *",
            "0,30 1-3 * * *",
            "*/20 2 * * *",
        ):
            whole = list(slots(expression, zone, at(start), at(end)))
            assert all(before < after for before, after in pairwise(whole))
            moment = at(start)
            while moment < at(end):
                assert list(slots(expression, zone, moment, at(end))) == [s for s in whole if s > moment]
                moment += timedelta(minutes=5)


def test_after_is_left_out_and_upto_is_not() -> None:
    assert found("0 9 * * *", ZoneInfo("UTC"), "2025-01-01T09:00", "2025-01-02T09:00") == ["01-02 09:00"]
    assert found("0 9 * * *", ZoneInfo("UTC"), "2025-01-01T08:59:59.999999", "2025-01-01T09:00") == [
        "01-01 09:00"
    ]
    assert found("0 9 * * *", ZoneInfo("UTC"), "2025-01-01T09:00:00.000001", "2025-01-02T08:59") == []


def test_slots_are_in_utc_whatever_zone_the_span_is_in() -> None:
    after = datetime(2025, 6, 1, tzinfo=BERLIN)
    (slot,) = slots("0 9 * * *", NEW_YORK, after, after + timedelta(days=1))
    assert slot == at("2025-06-01T13:00")
    assert slot.utcoffset() == timedelta()


def test_the_next_slots_are_counted() -> None:
    assert next_slots("0 9 * * mon", BERLIN, at("2025-03-24T12:00"), 2) == [
        at("2025-03-31T07:00"),
        at("2025-04-07T07:00"),
    ]


@pytest.mark.parametrize(
    ("expression", "upto", "expected"),
    [
        ("*/5 * * * *", "2025-10-26T01:03", "2025-10-26T01:00"),
        ("0 9 * * *", "2025-10-26T08:00", "2025-10-26T08:00"),
        ("0 9 * * *", "2025-10-26T07:59", "2025-10-25T07:00"),
        ("30 2 * * *", "2025-10-26T01:45", "2025-10-26T00:30"),
        ("0 0 1 1 *", "2025-10-26T00:00", "2024-12-31T23:00"),
        ("0 0 29 2 *", "2023-10-26T00:00", "2020-02-28T23:00"),
    ],
)
def test_the_previous_slot_is_the_last_that_is_not_later(expression: str, upto: str, expected: str) -> None:
    assert previous_slot(expression, BERLIN, at(upto)) == at(expected)


def test_the_first_slot_is_found_however_long_ago_one_asks_from() -> None:
    every_minute = slots("* * * * *", NEW_YORK, at("1999-12-31T23:59:30"), at("2025-01-01T00:00"))
    assert next(every_minute) == at("2000-01-01T00:00")
    assert len(list(slots("* * * * *", NEW_YORK, at("2025-11-02T04:00"), at("2025-11-03T05:00")))) == 25 * 60
