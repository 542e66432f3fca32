"""Verifying all that is stored again and again, at the slots of a schedule: on record, and as a report."""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from audit_ledger.errors import ConfigurationError, LedgerError
from audit_ledger.events import LedgerVerified
from audit_ledger.evidence import keyring, report
from audit_ledger.evidence.whole import Whole, verify_whole
from audit_ledger.plan import load_anchors
from audit_ledger.plan.values import Unfit, schedule
from audit_ledger.store.database import Database
from audit_ledger.watching.schedule import next_slots

log = logging.getLogger("audit_ledger")


@dataclass(frozen=True)
class Verdict:
    """What came of a verification.

    Attributes:
        position: How far the read models were; None where it could not be made.
        wrong: What is wrong, in words; None where nothing is.
        event: What is put on record; None where it could not be made.
    """

    position: int | None
    wrong: str | None
    event: LedgerVerified | None = None


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
    """Verify everything; a report is written where the setting `report_folder` says so.

    Whatever stands in the way is a finding: who watches goes on.

    Args:
        database: The ledger.
        points: As of so many positions the views are compared.
    """
    began, clock = datetime.now(UTC), time.monotonic()
    try:
        (origin,) = database.query("SELECT id FROM origin")
        known = keyring.verifiers(database.settings)
        found = verify_whole(database, points, keys=known, anchors=load_anchors())
        took = timedelta(seconds=time.monotonic() - clock)
        if database.settings.report_folder is not None:
            report.write(
                database.settings.report_folder / report.name(began),
                report.report(found, origin["id"], began, took),
            )
    except LedgerError as error:
        return Verdict(None, f"it could not be verified: {error}")
    except Exception as error:
        log.exception("❌ the ledger could not be verified")
        return Verdict(None, f"it could not be verified: {type(error).__name__}: {error}")
    position = found.read_models.position
    wrong = None if found.same else "\n".join(line for line in report.lines(found) if line.startswith("❌"))
    return Verdict(position, wrong, _event(found, began, took))


def _event(found: Whole, began: datetime, took: timedelta) -> LedgerVerified:
    log = found.log
    return LedgerVerified.of(
        bodies=log.bodies,
        checkpoints=log.checkpoints,
        duration_ms=round(took.total_seconds() * 1000),
        erased=log.erased,
        occurred_at=began,
        position=log.position,
        root=None if log.root is None else bytes(log.root).hex(),
        size=log.sealed or None,
        wrong=found.wrong,
    )
