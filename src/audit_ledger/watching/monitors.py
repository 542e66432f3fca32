"""The monitors: each a pure function of a task's history, its clock included, that yields what it finds.

Whoever calls them keeps what was found already (Finding.key), and so may call them as often as they like.
"""

import statistics
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from audit_ledger.events import AnomalyKind
from audit_ledger.watching.findings import Finding
from audit_ledger.watching.history import Calls, History, RunSeen

ENOUGH = 10
"""Completed runs before one that can be unlike them."""

MOST = 40
"""The latest of them are looked at."""

FAR = 5.0
"""So many standard deviations, estimated from the median absolute deviation, are unusual."""

DEVIATION = 1.4826
"""Of normal data, the standard deviation is so many times the median absolute deviation."""

FEW_CALLS = 5
"""An error rate is one of at least so many calls."""

Monitor = Callable[[History], Iterator[Finding]]


def failed(history: History) -> Iterator[Finding]:
    """A run failed."""
    for run in history.judged:
        if run.status == "failed":
            yield _of(history, "failed", run, run.message or "no message")


def missed(history: History) -> Iterator[Finding]:
    """A run did not begin within its grace."""
    for due in history.due:
        if due.run is None and not due.skipped and due.by < history.now:
            slot = due.slot.astimezone(history.task.zone)
            yield Finding(
                "missed",
                f"missed {history.task.name} {due.slot:%Y-%m-%dT%H:%M:%SZ}",
                f"was due at {slot:%Y-%m-%d %H:%M %Z}, and had not begun {_span(due.by - due.slot)} later",
                task=history.task.name,
                scheduled_for=due.slot,
            )


def late(history: History) -> Iterator[Finding]:
    """A run began after its grace."""
    for due in history.due:
        if due.run is not None and not due.on_time and due.run.position in history.fresh:
            after = min(due.run.started_at, due.run.recorded_at) - due.slot
            yield _of(history, "late", due.run, f"began {_span(after)} after it was due")


def overrun(history: History) -> Iterator[Finding]:
    """A run takes, or took, longer than its task's expected duration."""
    limit = history.task.expected_duration
    if limit is None:
        return
    for run in history.runs:
        if run.status == "running":
            # By either clock: that of a script may be wrong by hours.
            took = min(history.now - run.started_at, history.now - run.recorded_at)
        elif run.position in history.fresh and run.duration_ms is not None:
            took = timedelta(milliseconds=run.duration_ms)
        else:
            continue
        if took > limit:
            verb = "has run for" if run.status == "running" else "took"
            yield _of(history, "overrun", run, f"{verb} {_span(took)}, expected at most {_span(limit)}")


def abandoned(history: History) -> Iterator[Finding]:
    """A run shows no sign of life."""
    for run in history.runs:
        if run.status != "running" or run.last_seen_at is None:
            continue
        silent = history.now - run.last_seen_at
        if silent > history.task.abandoned_after:
            yield Finding(
                "abandoned",
                f"abandoned {run.run_id}",
                f"no sign of life for {_span(history.task.abandoned_after)}",
                task=history.task.name,
                run_id=run.run_id,
                last_seen_at=run.last_seen_at,
            )


def amount(history: History) -> Iterator[Finding]:
    """A completed run brought nothing, fewer records than its task's minimum, or more than its maximum."""
    least, most = history.task.min_records, history.task.max_records
    for run in history.judged:
        if run.status != "completed":
            continue
        if run.records == 0 and least > 0:
            yield _of(history, "empty", run, "completed without fetching a record")
        elif run.records < least:
            said = f"brought {run.records:,} records, expected at least {least:,}"
            yield _of(history, "too_few", run, said, records=run.records)
        elif most is not None and run.records > most:
            said = f"brought {run.records:,} records, expected at most {most:,}"
            yield _of(history, "too_many", run, said, records=run.records)


def volume(history: History) -> Iterator[Finding]:
    """A completed run brought a number of records unlike the task's past.

    Unlike: further from the median of the runs before it than FAR robust deviations (B. Iglewicz and
    D. C. Hoaglin, How to Detect and Handle Outliers, 1993) and than half the median.
    """
    for run, past in _measured(history):
        counts = [one.records for one in past]
        median = statistics.median(counts)
        bound = max(FAR * _deviation(counts, median), median / 2, 5)
        if abs(run.records - median) > bound and run.records > 0:
            said = f"brought {run.records:,} records; {median:,.0f} is usual"
            yield _of(history, "unusual_volume", run, said, records=run.records, median=median)


def duration(history: History) -> Iterator[Finding]:
    """A completed run took longer than is usual: as with volume, and more than twice the median."""
    for run, past in _measured(history):
        taken = [one.duration_ms for one in past if one.duration_ms is not None]
        if run.duration_ms is None or len(taken) < ENOUGH:
            continue
        median = statistics.median(taken)
        bound = max(FAR * _deviation(taken, median), median, 10_000)
        if run.duration_ms - median > bound:
            usual = timedelta(milliseconds=median)
            said = f"took {_span(timedelta(milliseconds=run.duration_ms))}; {_span(usual)} is usual"
            figures = {"duration_ms": run.duration_ms, "median_ms": median}
            yield _of(history, "unusual_duration", run, said, **figures)


def stale(history: History) -> Iterator[Finding]:
    """The last completed run is too old."""
    limit = history.task.freshness
    if limit is None:
        return
    completed = [run for run in history.runs if run.status == "completed" and run.ended_at is not None]
    last = max(completed, key=lambda run: run.ended_at or run.started_at, default=None)
    since = last.ended_at if last is not None else history.watched_since
    if since is None or history.now - since <= limit:
        return
    if last is None:
        said, key = f"has never completed, expected every {_span(limit)}", "never"
    else:
        said, key = (
            f"last completed at {since:%Y-%m-%d %H:%M} UTC, more than {_span(limit)} ago",
            last.run_id.hex,
        )
    yield Finding("stale", f"stale {history.task.name} {key}", said, task=history.task.name)


def miscounted(history: History) -> Iterator[Finding]:
    """A run declared other counts than it recorded."""
    for run in history.judged:
        if run.miscounted is not None:
            yield _of(history, "miscounted", run, run.miscounted)


def calls(history: History) -> Iterator[Finding]:
    """API calls of a run failed, were refused for their number, or were slow; or few more are allowed."""
    task = history.task
    for run in history.judged:
        for found in run.calls:
            if found.count >= FEW_CALLS and found.errors / found.count > task.max_api_error_rate:
                said = f"{found.errors:,} of {found.count:,} calls of {found.endpoint} failed"
                yield _call(history, "api_errors", run, found, said, errors=found.errors, calls=found.count)
            if found.limited:
                said = f"{found.endpoint} answered 429 to {found.limited:,} of {found.count:,} calls"
                yield _call(history, "rate_limited", run, found, said, limited=found.limited)
            if found.remaining is not None and found.remaining < task.min_rate_limit_remaining:
                said = f"{found.endpoint} says that {found.remaining:,} calls remain"
                yield _call(history, "rate_limit_low", run, found, said, remaining=found.remaining)
            if found.median_ms is not None and found.median_ms > task.slow_endpoint / timedelta(
                milliseconds=1
            ):
                said = f"{found.endpoint} took {_span(timedelta(milliseconds=found.median_ms))} in the median"
                yield _call(history, "slow_endpoint", run, found, said, median_ms=found.median_ms)


MONITORS: tuple[Monitor, ...] = (
    failed,
    missed,
    late,
    overrun,
    abandoned,
    amount,
    volume,
    duration,
    stale,
    miscounted,
    calls,
)


def look(history: History) -> Iterator[Finding]:
    """All that the monitors find."""
    for monitor in MONITORS:
        yield from monitor(history)


def next_look(history: History) -> datetime | None:
    """When time alone may bring something to find; None where only an event can."""
    from audit_ledger.watching.schedule import next_slots

    task, now = history.task, history.now
    times = [due.by for due in history.due if due.run is None and not due.skipped and due.by >= now]
    if task.schedule is not None:
        times += [slot + task.grace for slot in next_slots(task.schedule, task.zone, now, 1)]
    for run in history.runs:
        if run.status == "running":
            if task.expected_duration is not None:
                times.append(max(run.started_at, run.recorded_at) + task.expected_duration)
            if run.last_seen_at is not None:
                times.append(run.last_seen_at + task.abandoned_after)
    if task.freshness is not None:
        ends = [run.ended_at for run in history.runs if run.status == "completed" and run.ended_at]
        since = max(ends, default=history.watched_since)
        if since is not None:
            times.append(since + task.freshness)
    return min((time for time in times if time >= now), default=None)


def _of(history: History, kind: AnomalyKind, run: RunSeen, detail: str, **values: object) -> Finding:
    return Finding(
        kind, f"{kind} {run.run_id}", detail, task=history.task.name, run_id=run.run_id, values=values
    )


def _call(
    history: History, kind: AnomalyKind, run: RunSeen, found: Calls, detail: str, **values: object
) -> Finding:
    return Finding(
        kind,
        f"{kind} {run.run_id} {found.endpoint}"[:250],
        detail,
        task=history.task.name,
        run_id=run.run_id,
        endpoint=found.endpoint,
        values=values,
    )


def _measured(history: History) -> Iterator[tuple[RunSeen, list[RunSeen]]]:
    """The completed runs to judge, each with enough completed runs before it to judge it by."""
    past: list[RunSeen] = []
    for run in history.runs:
        if run.status != "completed":
            continue
        if run.position in history.fresh and len(past) >= ENOUGH:
            yield run, past[-MOST:]
        if run.run_id not in history.incidents:
            past.append(run)


def _deviation(values: list[int], median: float) -> float:
    return DEVIATION * statistics.median(abs(value - median) for value in values)


def _span(length: timedelta) -> str:
    """A duration in words: its two largest units."""
    seconds = length.total_seconds()
    if seconds < 60:
        return f"{seconds:.1f}".rstrip("0").rstrip(".") + " s"
    minutes = round(seconds / 60)
    units = [(minutes // 1440, "d"), (minutes // 60 % 24, "h"), (minutes % 60, "min")]
    shown = [f"{number} {unit}" for number, unit in units if number]
    return " ".join(shown[:2])
