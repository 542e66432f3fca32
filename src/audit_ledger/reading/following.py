"""How far runs are: their last progress, and how fast they come on."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from audit_ledger.store.database import Reader

# The first and the last that was said; a heartbeat may say that the run goes on and no more.
_PROGRESS = """
SELECT r.id, l.done, l.total, l.occurred_at, f.occurred_at AS since, f.done AS from_done
  FROM unnest(%(runs)s::bigint[]) AS r(id)
 CROSS JOIN LATERAL (
       SELECT p.done, p.total, p.occurred_at FROM data_ingestion_run_progress p
        WHERE p.data_ingestion_run_id = r.id AND p.done IS NOT NULL ORDER BY p.id DESC LIMIT 1) l
 CROSS JOIN LATERAL (
       SELECT p.done, p.occurred_at FROM data_ingestion_run_progress p
        WHERE p.data_ingestion_run_id = r.id AND p.done IS NOT NULL ORDER BY p.id LIMIT 1) f
"""


@dataclass(frozen=True)
class Reached:
    """How far a run said that it was.

    Attributes:
        done: How much is done.
        total: How much there is to do, where the run knows it.
        at: When it said so.
        per_second: How much was done a second, from the first time that it said anything; None where that was
            the only one.
    """

    done: int
    total: int | None
    at: datetime
    per_second: float | None

    @property
    def percent(self) -> float | None:
        """The part that is done, in percent; None where there is no total."""
        return 100 * self.done / self.total if self.total else None


def progress(database: Reader, runs: Sequence[int]) -> dict[int, Reached]:
    """How far runs are, by their id in data_ingestion_runs; those that never said anything are left out."""
    rows = database.query(_PROGRESS, {"runs": list(runs)})
    return {row["id"]: Reached(row["done"], row["total"], row["occurred_at"], _rate(row)) for row in rows}


def _rate(row: dict[str, object]) -> float | None:
    at, since, done, before = row["occurred_at"], row["since"], row["done"], row["from_done"]
    assert isinstance(at, datetime)
    assert isinstance(since, datetime)
    assert isinstance(done, int)
    assert isinstance(before, int)
    seconds = (at - since).total_seconds()
    return (done - before) / seconds if seconds > 0 else None
