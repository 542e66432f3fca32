"""What `ingest` tells: a record's content, compared with the latest that is known.

Known is what the read models have, and what this run has handed over itself and they do not have yet.
The answer is provisional: the fold decides, in the order of the log.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from audit_ledger.errors import LedgerError
from audit_ledger.events import Operation, RecordIngested
from audit_ledger.store.bodies import Body, Latest, latest
from audit_ledger.store.database import Database, translated

log = logging.getLogger("audit_ledger")

REMEMBERED = 10_000
"""Records whose content a run remembers itself, before the read models know it."""


@dataclass(frozen=True)
class Told:
    """What is told of one record.

    Attributes:
        operation: What it is; None when the database could not be asked.
        commitment: That of its content, where the ledger has the very bytes already.
    """

    operation: Operation | None
    commitment: str | None = None


class Comparison:
    """Compares the records of one run. Threads may share it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._recent: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def tell(self, batch: Sequence[tuple[RecordIngested, Body]], *, away: bool) -> list[Told]:
        """What each record of a batch is; all are of one type.

        Args:
            batch: The records, in order.
            away: Whether the database is known to be lost, and is not to be asked.
        """
        known = None if away else self._known([event for event, _ in batch])
        with self._lock:
            return [self._tell(event, body, known) for event, body in batch]

    def _known(self, events: Sequence[RecordIngested]) -> dict[str, Latest] | None:
        """What is on record of those records; None when the database could not be asked."""
        try:
            with translated(self._database):
                for attempt in self._database.attempts():
                    with attempt:
                        return latest(self._database, events[0].record_type, [e.record_id for e in events])
        except LedgerError as error:
            log.warning("records cannot be compared for now: %s", error)
        return None

    def _tell(self, event: RecordIngested, body: Body, known: dict[str, Latest] | None) -> Told:
        key = (event.record_type, event.record_id)
        mine = self._recent.pop(key, None)
        self._recent[key] = body.sha256
        if len(self._recent) > REMEMBERED:
            self._recent.popitem(last=False)
        if mine is not None:
            return Told("skipped" if mine == body.sha256 else "updated")
        if known is None:
            return Told(None)
        there = known.get(event.record_id)
        if there is None:
            return Told("created")
        if there.sha256 == body.sha256:
            return Told("skipped", there.commitment)
        return Told("updated")
