"""Verifying again and again: a replay beside the live read models, at the slots of a schedule."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from datetime import UTC, datetime

from audit_ledger.errors import ConfigurationError, LedgerError
from audit_ledger.plan.values import Unfit, schedule
from audit_ledger.store.comparison import verify_live
from audit_ledger.store.database import Database
from audit_ledger.watching.schedule import next_slots


@dataclass(frozen=True)
class Verdict:
    """What came of a verification.

    Attributes:
        position: How far the read models were; None where it could not be made.
        wrong: What is wrong, in words; None where nothing is.
    """

    position: int | None
    wrong: str | None


@dataclass
class Verification:
    """`verify --live` by schedule, in a thread of its own.

    Attributes:
        verify: Verifies once.
        schedule: A cron expression, in UTC.
    """

    verify: Callable[[], Verdict]
    schedule: str
    _next: datetime | None = None
    _under_way: Future[Verdict] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        try:
            schedule(self.schedule)
        except Unfit as error:
            raise ConfigurationError(
                "the schedule of verifications cannot be used",
                expected=error.expected,
                actual=repr(self.schedule),
                remedy=error.remedy or "correct it",
            ) from error

    def step(self, now: datetime, threads: Executor) -> Verdict | None:
        """Begin where it is time; what came of the last one, once it has ended."""
        if self._under_way is not None:
            if not self._under_way.done():
                return None
            ended, self._under_way = self._under_way, None
            return ended.result()
        if self._next is not None and now >= self._next:
            self._under_way = threads.submit(self.verify)
            self._next = None
        if self._next is None:
            self._next = next(iter(next_slots(self.schedule, UTC, now, 1)), None)
        return None


def verdict(database: Database, points: int = 3) -> Verdict:
    """Replay, and compare with the live read models and with the views as of so many positions."""
    try:
        found = verify_live(database, points)
    except LedgerError as error:
        return Verdict(None, f"it could not be verified: {error}")
    if found.same:
        return Verdict(found.position, None)
    differing = ", ".join(f"{number:,} rows of {table}" for table, number in found.differing.items())
    return Verdict(
        found.position, f"{differing} are not as the replay has them, at position {found.position:,}"
    )
