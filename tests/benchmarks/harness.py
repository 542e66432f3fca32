"""How to measure: turn and turn about, untimed preparation, and a ratio of medians with its spread."""

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from audit_ledger.store.projections import CHUNK

WARM_UP = 2
"""Rounds that are measured and thrown away: they fill caches, plan statements and extend tables."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        batch: Events in a batch.
        rounds: Timed samples of each contestant.
        fold_chunks: Chunks that are folded, in turn with the bare statements; few enough that no checkpoint
            falls among them.
        chunk: Events in one of them.
        runner_runs: Runs, of a thousand events, that the library's runner folds one by one.
        rebuilds: How often the read models are rebuilt.
        starts: How often a stopped server is connected to.
        records: Records of the long run.
        calls: API calls in a sample of capture.
        call_rounds: Samples of capture.
        large_calls: API calls with large bodies.
        as_of_few: Events of the small ledger that is asked as of an instant.
        as_of_many: Events of the large one.
        as_of_rounds: Timed answers to each question.
        checks: How often a thousand tasks are looked at.
        idle_seconds: For how long a watcher is left alone.
        alerts: Runs that fail while it watches.
        sealed_batch: New events of a large checkpoint.
        seals: Timed large checkpoints.
        sealed: Events of the ledger that small checkpoints and proofs are made of, at least.
        small_seals: Timed small checkpoints.
        proofs: Timed proofs.
        verifications: How often all of it is verified.
        verify_few: Events of the smaller package that is verified.
        verify_many: Events of the larger one.
        verify_rounds: How often the smaller one is.
    """

    batch: int = 10_000
    rounds: int = 31
    fold_chunks: int = 16
    chunk: int = CHUNK
    runner_runs: int = 10
    rebuilds: int = 3
    starts: int = 7
    records: int = 1_000_000
    calls: int = 300
    call_rounds: int = 15
    large_calls: int = 10_000
    as_of_few: int = 100_000
    as_of_many: int = 10_000_000
    as_of_rounds: int = 101
    checks: int = 5
    idle_seconds: float = 30
    alerts: int = 5
    sealed_batch: int = 100_000
    seals: int = 7
    sealed: int = 10_000_000
    small_seals: int = 51
    proofs: int = 101
    verifications: int = 3
    verify_few: int = 100_000
    verify_many: int = 10_000_000
    verify_rounds: int = 5


QUICK = Sizes(
    batch=500,
    rounds=3,
    fold_chunks=1,
    chunk=2000,
    runner_runs=1,
    rebuilds=1,
    starts=1,
    records=4_000,
    calls=5,
    call_rounds=1,
    large_calls=20,
    as_of_few=10_000,
    as_of_many=20_000,
    as_of_rounds=2,
    checks=1,
    idle_seconds=1,
    alerts=1,
    sealed_batch=500,
    seals=1,
    sealed=2_000,
    small_seals=2,
    proofs=2,
    verifications=1,
    verify_few=2_000,
    verify_many=4_000,
    verify_rounds=1,
)
"""Just enough to see that everything works; the figures mean nothing."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: What is measured.
        ours: The figure of audit-ledger.
        peer: What it is held against: a peer measured in the same run, or a fixed limit.
        ratio: The one to the other; above 1 is better where `at_least`, else worse.
        target: What the ratio must reach, or must not exceed.
        at_least: Whether the target is a floor, as for rates; else it is a ceiling.
        spread: Lower and upper quartile of the ratio over the samples; None for a single reading.
    """

    name: str
    ours: str
    peer: str
    ratio: float
    target: float
    at_least: bool
    spread: tuple[float, float] | None = None

    @property
    def ok(self) -> bool:
        """Whether the target is met."""
        return self.ratio >= self.target if self.at_least else self.ratio <= self.target

    @property
    def cells(self) -> tuple[str, ...]:
        """The row as text, in the order of the table's columns."""
        spread = f" ({self.spread[0]:.2f}–{self.spread[1]:.2f})" if self.spread else ""
        sign = "≥" if self.at_least else "≤"
        return (
            self.name,
            self.ours,
            self.peer,
            f"{self.ratio:.2f}{spread}",
            f"{sign} {self.target:g}",
            "✅" if self.ok else "❌",
        )


def seconds(action: Callable[[], object]) -> float:
    """How long a call takes. What was prepared for it is collected first; it pays for its own garbage."""
    gc.collect()
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def take_turns(rounds: int, *contestants: Callable[[], float]) -> list[list[float]]:
    """Measure several in turn (A, B, A, B, …), so that whatever slows the machine slows them alike.

    Args:
        rounds: Samples to keep of each.
        contestants: Each makes its own preparations, and returns its own seconds.

    Returns:
        The seconds of each contestant, by round.
    """
    samples = [[contestant() for contestant in contestants] for _ in range(WARM_UP + rounds)]
    return [list(column) for column in zip(*samples[WARM_UP:], strict=True)]


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """Lower and upper quartile."""
    if len(values) < 2:
        return values[0], values[0]
    lower, _, upper = statistics.quantiles(values, n=4, method="inclusive")
    return lower, upper


def rates(
    name: str, peer: str, ours: Sequence[float], theirs: Sequence[float], events: int, target: float
) -> Row:
    """Compare events a second: the ratio must be at least the target."""
    our_median, their_median = statistics.median(ours), statistics.median(theirs)
    return Row(
        name,
        f"{events / our_median:,.0f} events/s",
        f"{peer}: {events / their_median:,.0f} events/s",
        their_median / our_median,
        target,
        at_least=True,
        spread=quartiles([b / a for a, b in zip(ours, theirs, strict=True)]),
    )


def times(name: str, peer: str, ours: Sequence[float], theirs: Sequence[float], target: float) -> Row:
    """Compare durations: ours may be at most `target` times theirs."""
    our_median, their_median = statistics.median(ours), statistics.median(theirs)
    return Row(
        name,
        f"{our_median * 1000:.2f} ms",
        f"{peer}: {their_median * 1000:.2f} ms",
        our_median / their_median,
        target,
        at_least=False,
        spread=quartiles([a / b for a, b in zip(ours, theirs, strict=True)]),
    )


def within(name: str, ours: Sequence[float], limit: float, unit: str) -> Row:
    """Hold a figure against a fixed limit: the ratio is the part of it that is used."""
    median = statistics.median(ours)
    return Row(
        name,
        f"{median:,.4g} {unit}",
        f"limit: {limit:g} {unit}",
        median / limit,
        1,
        at_least=False,
        spread=quartiles([value / limit for value in ours]) if len(ours) > 1 else None,
    )
