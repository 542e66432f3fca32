"""A watcher's look at checkpoints that are kept elsewhere, and what it does when the ledger refuses events.

Then nothing can go on record, no alert either: the channels of [watch] are told directly, once by a process.
"""

import logging
import time
from typing import Protocol

from audit_ledger.errors import LedgerError, WritesRefused
from audit_ledger.evidence import outside
from audit_ledger.plan import Channel, Plan
from audit_ledger.store.database import Database
from audit_ledger.watching import channels

log = logging.getLogger("audit_ledger")

EVERY = 60.0
"""Seconds between two looks."""

REFUSED = """
    SELECT r.size, r.expected, r.actual FROM refusals r, head h WHERE h.refuses ORDER BY r.number DESC LIMIT 1
"""


class Send(Protocol):
    """Sends a message through a channel, as watching.channels.send."""

    def __call__(self, channel: Channel, title: str, body: str, *, critical: bool) -> None:
        """Send it.

        Raises:
            DeliveryFailed: the channel did not take it.
        """


class Elsewhere:
    """Compares a ledger with its checkpoints that are kept elsewhere, every minute.

    Args:
        database: The ledger.
        send: How channels are told.
    """

    def __init__(self, database: Database, send: Send = channels.send) -> None:
        self._database = database
        self._send = send
        self._next = 0.0
        self._said: set[str] = set()
        self._told = False

    def step(self, plan: Plan) -> None:
        """Look, if it is time.

        Raises:
            WritesRefused: the ledger does not continue one of them, and refuses events.
        """
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + EVERY
        looked = outside.look(self._database, plan.anchors)
        for trouble in looked.troubles:
            self._say(trouble)
        if looked.wrong is not None:
            self._next = 0.0
            outside.refuse(self._database, looked.wrong)
            raise looked.wrong.error()
        for row in self._database.query(REFUSED):
            self._next = 0.0
            raise WritesRefused(
                f"the ledger refuses events: it does not continue its checkpoint of size {row['size']}"
                " that was kept elsewhere",
                expected=row["expected"],
                actual=row["actual"],
                remedy=outside.REMEDY,
            )
        self._told = False

    def tell(self, plan: Plan, error: WritesRefused) -> None:
        """Tell the channels of [watch], unless they were."""
        if self._told:
            return
        self._told = True
        for name in plan.watch.channels:
            try:
                self._send(plan.channels[name], "the ledger refuses events", str(error), critical=True)
            except LedgerError as failed:
                self._told = False
                log.critical("❌ channel %s could not be told: %s", name, failed)

    def _say(self, trouble: LedgerError) -> None:
        if str(trouble) not in self._said:
            log.critical("❌ %s", trouble)
            self._said.add(str(trouble))
