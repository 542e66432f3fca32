"""What is in a spool, as it is shown."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

from audit_ledger.store.spool_recorder import SpooledStream


@dataclass(frozen=True)
class SpoolStatus:
    """What is in a spool.

    Attributes:
        path: The file, which may not be there.
        events: How many events wait, those that were set aside included.
        runs: Of how many runs, or other streams.
        oldest: When the first of them happened.
        bytes: How large the file is.
        max_bytes: How large it may become.
        ledger_ids: The ledgers that the events belong to; None: one that had never been reached.
        set_aside: What the ledger refused.
        last_error: What went wrong last in writing or forwarding, unless it went well since.
        last_error_at: When.
        damaged: Files that could not be read, and were moved aside.
        others: Spools beside it, of other ledgers, that are not empty.
    """

    path: Path
    events: int = 0
    runs: int = 0
    oldest: datetime | None = None
    bytes: int = 0
    max_bytes: int = 0
    ledger_ids: tuple[UUID | None, ...] = ()
    set_aside: tuple[SpooledStream, ...] = ()
    last_error: str | None = None
    last_error_at: datetime | None = None
    damaged: tuple[Path, ...] = ()
    others: tuple[Path, ...] = ()
