"""What a run brought, as the read models count it once they have reached its end."""

import logging
from dataclasses import dataclass
from uuid import UUID

from audit_ledger.errors import LedgerError
from audit_ledger.store import projections
from audit_ledger.store.database import Database
from audit_ledger.store.refusals import translated

log = logging.getLogger("audit_ledger")


@dataclass(frozen=True)
class Counts:
    """How many records a run fetched, created, updated and skipped."""

    fetched: int = 0
    created: int = 0
    updated: int = 0
    skipped: int = 0


def counted(database: Database, run_id: UUID, end: int, timeout: float) -> Counts | None:
    """Bring the read models up to a run's end, and read what they count for it.

    Args:
        database: The ledger.
        run_id: The run.
        end: Position of its last event.
        timeout: Seconds to spend at most.

    Returns:
        None, and a warning in the log, where they could not follow: the run is on record all the same.
    """
    named = {"run_id": str(run_id)}
    try:
        with translated(database):
            progress = projections.update(database, upto=end, timeout=timeout)
        if progress.position >= end:
            rows = database.query(
                "SELECT records_fetched AS fetched, records_created AS created,"
                " records_updated AS updated, records_skipped AS skipped"
                "  FROM data_ingestion_runs WHERE run_id = %b",
                [run_id],
            )
            return Counts(**rows[0]) if rows else None
    except LedgerError as error:
        log.warning(
            "run %s is recorded, but the read models could not follow: %s", run_id, error, extra=named
        )
        return None
    log.warning("run %s is recorded; the read models are behind and follow later", run_id, extra=named)
    return None
