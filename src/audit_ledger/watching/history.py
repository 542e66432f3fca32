"""What monitors look at: the runs of a task as they are on record, and when it was due."""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from itertools import zip_longest
from uuid import UUID

from audit_ledger.plan import Task
from audit_ledger.watching.schedule import next_slots, slots

EARLY = timedelta(minutes=1)
"""A run may begin so long before its slot: clocks differ."""


@dataclass(frozen=True)
class Calls:
    """The API calls of a run to one endpoint.

    Attributes:
        endpoint: The endpoint.
        count: How many.
        errors: Those without an answer, or with a status of 400 and more.
        limited: Those with the status 429.
        remaining: The fewest calls that the API said remain; None where it did not say.
        median_ms: Median duration, milliseconds; None where none is on record.
    """

    endpoint: str
    count: int
    errors: int
    limited: int
    remaining: int | None
    median_ms: float | None


@dataclass(frozen=True)
class RunSeen:
    """A run as it is on record.

    Attributes:
        position: Position of its RunStarted.
        run_id: Its UUID.
        started_at: When it began, by its own clock.
        recorded_at: When that was recorded.
        scheduled_for: When it was due, where it said so.
        status: running, completed or failed; one that was found abandoned is running, for all that is known.
        ended_at: When it ended, by its own clock.
        end_position: Position of its end.
        end_recorded_at: When its end was recorded.
        duration_ms: How long it took.
        records: How many records it brought.
        message: Why it failed.
        last_seen_at: While it runs: when something of it was recorded last.
        miscounted: What it declared that is not what it recorded, in words.
        calls: Its API calls, by endpoint.
    """

    position: int
    run_id: UUID
    started_at: datetime
    recorded_at: datetime
    scheduled_for: datetime | None = None
    status: str = "running"
    ended_at: datetime | None = None
    end_position: int | None = None
    end_recorded_at: datetime | None = None
    duration_ms: int | None = None
    records: int = 0
    message: str | None = None
    last_seen_at: datetime | None = None
    miscounted: str | None = None
    calls: tuple[Calls, ...] = ()


@dataclass(frozen=True)
class Era:
    """For how long a task was defined as it was.

    Attributes:
        task: Its definition.
        start: From when on, exclusive.
        end: Until when, inclusive; None where it still is.
    """

    task: Task
    start: datetime
    end: datetime | None = None


@dataclass(frozen=True)
class Due:
    """A slot of a task, and what became of it.

    Attributes:
        slot: When a run was due.
        by: When it counts as missed.
        run: The run that answered it.
        skipped: Whether it was left out since another run still went on.
    """

    slot: datetime
    by: datetime
    run: RunSeen | None = None
    skipped: bool = False

    @property
    def on_time(self) -> bool:
        """Whether a run answered it in time, by its own clock or by the ledger's."""
        return self.run is not None and min(self.run.started_at, self.run.recorded_at) <= self.by


@dataclass(frozen=True)
class History:
    """What is on record of a task.

    Attributes:
        task: How it is defined now.
        now: This moment.
        eras: Its definitions, from when on slots are looked at, oldest first.
        runs: Its runs, oldest first: those to judge, and some before them to judge by.
        fresh: Positions of the runs to judge.
        skips: When runs of it were skipped: the slot where that is known, else the moment.
        incidents: Runs that something was found of, which are no measure for others.
        watched_since: Since when its freshness can be told.
    """

    task: Task
    now: datetime
    eras: tuple[Era, ...] = ()
    runs: tuple[RunSeen, ...] = ()
    fresh: frozenset[int] = frozenset()
    skips: tuple[datetime, ...] = ()
    incidents: frozenset[UUID] = frozenset()
    watched_since: datetime | None = None

    @property
    def judged(self) -> Iterator[RunSeen]:
        """The runs to judge, oldest first."""
        return (run for run in self.runs if run.position in self.fresh)

    @cached_property
    def due(self) -> list[Due]:
        """The slots until now, and the run that answered each."""
        return list(_matched(self))


def _matched(history: History) -> Iterator[Due]:
    """Give each slot its run.

    That is the one that names it, else the first that began, or was recorded, before the next slot, and that
    no slot before it had.
    """
    named = {run.scheduled_for: run for run in reversed(history.runs) if run.scheduled_for is not None}
    free = [run for run in history.runs if run.scheduled_for is None]
    began = sorted([(run.started_at, index) for index, run in enumerate(free)])
    recorded = sorted([(run.recorded_at, index) for index, run in enumerate(free)])
    skips = sorted(history.skips)
    taken: set[int] = set()
    for era in history.eras:
        if era.task.schedule is None:
            continue
        end = min(era.end or history.now, history.now)
        due = list(slots(era.task.schedule, era.task.zone, era.start, end))
        ends = [*due[1:], *next_slots(era.task.schedule, era.task.zone, due[-1], 1)] if due else []
        for slot, upto in zip_longest(due, ends):
            bounds = (slot - EARLY, (upto or slot + timedelta(days=36_500)) - EARLY)
            run = named.get(slot)
            if run is None:
                found = min(
                    (
                        index
                        for times in (began, recorded)
                        for _, index in times[
                            bisect_left(times, (bounds[0], -1)) : bisect_left(times, (bounds[1], -1))
                        ]
                        if index not in taken
                    ),
                    default=None,
                )
                if found is not None:
                    taken.add(found)
                    run = free[found]
            at = bisect_left(skips, bounds[0])
            skipped = run is None and at < len(skips) and skips[at] < bounds[1]
            yield Due(slot, slot + era.task.grace, run, skipped)
