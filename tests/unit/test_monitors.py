"""The monitors: what each finds in a history, and that it finds nothing else."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from audit_ledger.plan import Task
from audit_ledger.watching.findings import Finding
from audit_ledger.watching.history import Calls, Era, History, RunSeen
from audit_ledger.watching.monitors import ENOUGH, look, next_look

NOON = datetime(2025, 12, 24, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def task(**said: Any) -> Task:
    return Task.of_definition("t", said)


def run(number: int = 1, at: datetime = NOON, **more: Any) -> RunSeen:
    """A run that completed with ten records after a second, unless more is said."""
    ended = at + timedelta(seconds=1)
    given: dict[str, Any] = {
        "status": "completed",
        "ended_at": ended,
        "end_position": number * 10 + 5,
        "end_recorded_at": ended,
        "duration_ms": 1000,
        "records": 10,
        "recorded_at": at,
    }
    if more.get("status") == "running":
        given |= {"ended_at": None, "end_position": None, "end_recorded_at": None, "duration_ms": None}
        given |= {"records": 0, "last_seen_at": at}
    return RunSeen(position=number * 10, run_id=UUID(int=number), started_at=at, **{**given, **more})


def history(
    runs: Sequence[RunSeen] = (), now: datetime = NOON + HOUR, since: datetime | None = None, **said: Any
) -> History:
    """The history of a task that was defined a day ago, all of whose runs are to be judged."""
    defined = task(**said)
    begin = since or NOON - timedelta(days=1)
    return History(
        task=defined,
        now=now,
        eras=(Era(defined, begin),),
        runs=tuple(runs),
        fresh=frozenset(run.position for run in runs),
        watched_since=begin,
    )


def kinds(seen: History) -> list[str]:
    return [found.kind for found in look(seen)]


def one(seen: History) -> Finding:
    (found,) = look(seen)
    return found


def test_a_run_that_completed_is_nothing_to_look_at() -> None:
    assert kinds(history([run()])) == []


def test_a_failed_run_is_found_with_its_message() -> None:
    found = one(history([run(status="failed", message="API error")]))
    assert (found.kind, found.detail, found.run_id) == ("failed", "API error", UUID(int=1))


def test_a_run_that_is_not_fresh_is_not_judged_again() -> None:
    assert kinds(replace(history([run(status="failed")]), fresh=frozenset())) == []


# Slots


def test_a_slot_is_missed_once_its_grace_is_over_and_not_before() -> None:
    said: dict[str, Any] = {"schedule": "0 12 * * *", "grace": 600, "since": NOON - HOUR}
    assert kinds(history(now=NOON + timedelta(seconds=600), **said)) == []
    found = one(history(now=NOON + timedelta(seconds=601), **said))
    assert (found.kind, found.scheduled_for) == ("missed", NOON)
    assert found.detail == "was due at 2025-12-24 12:00 UTC, and had not begun 10 min later"


@pytest.mark.parametrize(
    ("begun", "found"),
    [
        (timedelta(seconds=-60), []),
        (timedelta(), []),
        (timedelta(minutes=15), []),
        (timedelta(minutes=15, seconds=1), ["late"]),
        (timedelta(hours=23), ["late"]),
    ],
)
def test_a_run_answers_its_slot_from_a_minute_before_until_the_next(
    begun: timedelta, found: list[str]
) -> None:
    at = NOON + begun
    seen = history(
        [run(at=at)], now=NOON + timedelta(hours=23, minutes=30), schedule="0 12 * * *", since=NOON - HOUR
    )
    assert kinds(seen) == found


def test_a_run_long_before_its_slot_does_not_answer_it() -> None:
    seen = history([run(at=NOON - timedelta(minutes=2))], schedule="0 12 * * *", since=NOON - HOUR)
    assert kinds(seen) == ["missed"]


def test_a_run_that_names_its_slot_answers_it_and_no_other() -> None:
    named = run(at=NOON - 3 * HOUR, scheduled_for=NOON)
    assert kinds(history([named], schedule="0 9,12 * * *", since=NOON - 4 * HOUR)) == ["missed"]


def test_each_run_answers_one_slot() -> None:
    slots: dict[str, Any] = {"schedule": "*/10 * * * *", "grace": 0, "since": NOON - timedelta(seconds=1)}
    runs = [run(1, NOON), run(2, NOON + timedelta(minutes=1)), run(3, NOON + timedelta(minutes=20))]
    found = list(look(history(runs, now=NOON + timedelta(minutes=29), **slots)))
    assert [one.scheduled_for for one in found if one.kind == "missed"] == [NOON + timedelta(minutes=10)]


@pytest.mark.parametrize("off", [HOUR, -HOUR])
def test_a_script_whose_clock_is_an_hour_off_has_not_missed_its_slot(off: timedelta) -> None:
    seen = history(
        [run(at=NOON + off, recorded_at=NOON)], now=NOON + 2 * HOUR, schedule="0 12 * * *", since=NOON - HOUR
    )
    assert kinds(seen) == []


def test_a_slot_that_was_skipped_since_another_run_goes_on_is_not_missed() -> None:
    seen = history(schedule="0 12 * * *", since=NOON - HOUR)
    assert kinds(replace(seen, skips=(NOON + timedelta(seconds=1),))) == []


def test_slots_before_a_task_was_defined_are_nobodys() -> None:
    assert kinds(history(schedule="0 12 * * *", since=NOON)) == []


def test_slots_are_those_of_the_definition_of_their_time() -> None:
    """At noon it was due by the old schedule; by the new one, which came ten minutes later, at eleven."""
    old, new = task(schedule="0 12 * * *"), task(schedule="0 11 * * *")
    changed = NOON + timedelta(minutes=10)
    seen = replace(history(), task=new, eras=(Era(old, NOON - HOUR, changed), Era(new, changed)))
    assert [found.scheduled_for for found in look(seen)] == [NOON]


@pytest.mark.parametrize(
    ("zone", "night"),
    [("Europe/Berlin", datetime(2025, 10, 26)), ("America/New_York", datetime(2025, 11, 2))],
)
def test_the_hour_that_comes_twice_is_one_slot_of_a_daily_job(zone: str, night: datetime) -> None:
    berlin = ZoneInfo(zone)
    first = night.replace(hour=2 if zone == "Europe/Berlin" else 1, minute=30, tzinfo=berlin).astimezone(UTC)
    said: dict[str, Any] = {
        "schedule": "30 2 * * *" if zone == "Europe/Berlin" else "30 1 * * *",
        "timezone": zone,
    }
    seen = history(now=first + 20 * HOUR, since=first - HOUR, **said)
    assert [found.scheduled_for for found in look(seen)] == [first]
    assert kinds(replace(seen, runs=(run(at=first),), fresh=frozenset())) == []


# How long


def test_a_run_that_takes_too_long_is_found_while_it_runs_and_only_once() -> None:
    said: dict[str, Any] = {"expected_duration": 600, "abandoned_after": 86400}
    goes_on = run(status="running")
    assert kinds(history([goes_on], now=NOON + timedelta(seconds=600), **said)) == []
    found = one(history([goes_on], now=NOON + timedelta(seconds=601), **said))
    assert found.kind == "overrun"
    ended = one(history([run(duration_ms=700_000)], **said))
    assert ended.key == found.key


def test_a_run_without_a_sign_of_life_is_abandoned() -> None:
    seen = history([run(status="running", last_seen_at=NOON)], now=NOON + timedelta(minutes=10))
    assert kinds(seen) == []
    found = one(replace(seen, now=NOON + timedelta(minutes=10, seconds=1)))
    assert (found.kind, found.last_seen_at) == ("abandoned", NOON)


@pytest.mark.parametrize("clock", [HOUR, -HOUR], ids=["ahead", "behind"])
def test_a_script_whose_clock_is_off_is_neither_abandoned_nor_too_long(clock: timedelta) -> None:
    at = NOON + timedelta(minutes=59)
    goes_on = run(at=at + clock, recorded_at=at, status="running", last_seen_at=at)
    assert kinds(history([goes_on], now=NOON + HOUR, expected_duration=600)) == []


# How much


@pytest.mark.parametrize(
    ("records", "said", "found"),
    [
        (0, {}, ["empty"]),
        (0, {"min_records": 0}, []),
        (1, {}, []),
        (4, {"min_records": 5}, ["too_few"]),
        (5, {"min_records": 5}, []),
        (5, {"max_records": 5}, []),
        (6, {"max_records": 5}, ["too_many"]),
    ],
)
def test_a_run_brings_as_much_as_its_task_says(records: int, said: dict[str, Any], found: list[str]) -> None:
    assert kinds(history([run(records=records)], **said)) == found


def days(counts: Sequence[int], **more: Any) -> list[RunSeen]:
    begin = NOON - timedelta(days=len(counts))
    return [run(n, begin + timedelta(days=n), records=count, **more) for n, count in enumerate(counts, 1)]


def test_a_volume_unlike_the_past_is_found_either_way_and_a_small_change_is_not() -> None:
    past = [100, 104, 97, 99, 101, 103, 98, 100, 102, 100]
    for last, found in [(100, []), (130, []), (20, ["unusual_volume"]), (400, ["unusual_volume"])]:
        runs = days([*past, last])
        assert kinds(replace(history(runs), fresh=frozenset({runs[-1].position}))) == found, last


def test_a_volume_is_not_judged_before_there_is_enough_history() -> None:
    runs = days([*[100] * (ENOUGH - 1), 100_000])
    assert kinds(history(runs)) == []
    runs = days([*[100] * ENOUGH, 100_000])
    assert kinds(history(runs)) == ["unusual_volume"]


def test_a_known_incident_is_no_measure_and_the_run_itself_is_none() -> None:
    runs = days([*[100] * ENOUGH, 0, *[10_000] * 3])
    seen = replace(history(runs, min_records=0), incidents=frozenset(run.run_id for run in runs[-3:]))
    assert kinds(seen) == ["unusual_volume"] * 3


def test_a_run_that_takes_unusually_long_is_found_and_a_quick_one_is_not() -> None:
    for last, found in [(61_000, []), (1_000, []), (400_000, ["unusual_duration"])]:
        runs = [*days([10] * ENOUGH, duration_ms=60_000), run(99, NOON, duration_ms=last)]
        assert kinds(replace(history(runs), fresh=frozenset({990}))) == found, last


def test_noise_is_nothing_to_look_at() -> None:
    """A year of counts and durations that vary by a third either way."""
    import random

    dice = random.Random(7)
    begin = NOON - timedelta(days=365)
    runs = [
        run(
            n,
            begin + timedelta(days=n),
            records=dice.randint(700, 1300),
            duration_ms=dice.randint(40_000, 80_000),
        )
        for n in range(365)
    ]
    assert kinds(history(runs, now=NOON + HOUR)) == []


# Freshness, counts, calls


def test_a_source_is_stale_when_the_last_completed_run_is_too_old() -> None:
    completed = run(at=NOON - timedelta(seconds=1))
    failed = run(2, NOON + HOUR, status="failed", message="m")
    seen = replace(history([completed, failed], freshness=7200), fresh=frozenset())
    assert kinds(replace(seen, now=NOON + 2 * HOUR)) == []
    assert kinds(replace(seen, now=NOON + 2 * HOUR + timedelta(seconds=1))) == ["stale"]


def test_a_source_that_never_completed_is_stale_from_when_it_was_watched() -> None:
    seen = history(freshness=7200, since=NOON)
    assert kinds(replace(seen, now=NOON + 2 * HOUR)) == []
    assert one(replace(seen, now=NOON + 3 * HOUR)).detail == "has never completed, expected every 2 h"


def test_counts_that_do_not_agree_are_found() -> None:
    assert one(history([run(miscounted="declared 3 created, recorded 2")])).kind == "miscounted"


@pytest.mark.parametrize(
    ("seen", "found"),
    [
        (Calls("e", 10, 2, 0, None, 5.0), []),
        (Calls("e", 10, 3, 0, None, 5.0), ["api_errors"]),
        (Calls("e", 4, 4, 0, None, 5.0), []),
        (Calls("e", 10, 1, 1, None, 5.0), ["rate_limited"]),
        (Calls("e", 10, 0, 0, 10, 5.0), []),
        (Calls("e", 10, 0, 0, 9, 5.0), ["rate_limit_low"]),
        (Calls("e", 10, 0, 0, None, 5000.0), []),
        (Calls("e", 10, 0, 0, None, 5001.0), ["slow_endpoint"]),
        (Calls("e", 10, 0, 0, None, None), []),
    ],
)
def test_api_calls_are_judged_by_errors_limits_and_durations(seen: Calls, found: list[str]) -> None:
    assert kinds(history([run(calls=(seen,))])) == found


# When to look again


@pytest.mark.parametrize(
    ("seen", "at"),
    [
        (history(), None),
        (history(schedule="0 14 * * *"), NOON + timedelta(hours=2, minutes=15)),
        (history(now=NOON, since=NOON - HOUR, schedule="0 12 * * *"), NOON + timedelta(minutes=15)),
        (history([run(at=NOON + HOUR, status="running")]), NOON + timedelta(hours=1, minutes=10)),
        (
            history([run(at=NOON + HOUR, status="running")], expected_duration=60),
            NOON + timedelta(hours=1, minutes=1),
        ),
        (history([run(at=NOON)], freshness=7200), NOON + timedelta(hours=2, seconds=1)),
    ],
)
def test_the_clock_is_looked_at_when_it_can_bring_something(seen: History, at: datetime | None) -> None:
    assert next_look(seen) == at
