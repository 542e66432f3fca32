"""What `ingest` tells: a record's content, compared with the latest that is known.

Known is what the read models have, and what this run has handed over itself and they do not have yet.
The answer is provisional: the fold decides, in the order of the log.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from audit_ledger.errors import LedgerError
from audit_ledger.store import projections
from audit_ledger.store.bodies import Body, Latest, latest, there
from audit_ledger.store.database import Database
from audit_ledger.store.refusals import translated

if TYPE_CHECKING:
    from audit_ledger.events import Operation, RecordIngested

log = logging.getLogger("audit_ledger")

REMEMBERED = 10_000
"""Records whose content a run remembers itself, before the read models know it."""


WITHDRAWN = b""
"""In place of the digest of a content: the record is no more."""


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

    def withdraw(self, record_type: str, record_id: str) -> None:
        """Take note that a record is no more: what brings it back creates it."""
        with self._lock:
            self._remember((record_type, record_id), WITHDRAWN)

    def there(self, record_type: str, upto: int) -> set[str] | None:
        """The ids of all records of a kind that are not withdrawn; None when the database could not be asked.

        Args:
            record_type: The kind.
            upto: The position that the read models are brought up to first.
        """
        try:
            with translated(self._database):
                for attempt in self._database.attempts():
                    with attempt:
                        projections.update(self._database, upto=upto)
                        return there(self._database, record_type)
        except LedgerError as error:
            log.warning("it cannot be said for now which records are no more: %s", error)
        return None

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
        self._remember(key, body.sha256)
        if mine is not None:
            return Told("skipped" if mine == body.sha256 else "created" if mine == WITHDRAWN else "updated")
        if known is None:
            return Told(None)
        latest_known = known.get(event.record_id)
        if latest_known is None or latest_known.withdrawn:
            return Told("created")
        if latest_known.sha256 == body.sha256:
            return Told("skipped", latest_known.commitment)
        return Told("updated")

    def _remember(self, key: tuple[str, str], content: bytes) -> None:
        self._recent[key] = content
        self._recent.move_to_end(key)
        if len(self._recent) > REMEMBERED:
            self._recent.popitem(last=False)
