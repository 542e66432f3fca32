"""What becomes of a ledger's runs while its database is away: by the setting `when_away`, in the spool."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import UUID

from audit_ledger.errors import LedgerError, SpoolError
from audit_ledger.settings import Settings
from audit_ledger.store.event_store import EventStore
from audit_ledger.store.pending import Batch
from audit_ledger.store.spool import Spool

if TYPE_CHECKING:
    from audit_ledger.recording.forwarding import BackgroundForwarding

log = logging.getLogger("audit_ledger")


class Spooling:
    """The spool of one ledger, as its runs use it. Threads may share it.

    Attributes:
        spool: Where events wait.
        strict: Whether a run whose first event cannot be sent is an error.
        ledger_id: The ledger, where it was ever reached.
        trouble: Why the spool could not be written to, if it could not.
    """

    def __init__(self, settings: Settings) -> None:
        self.spool = Spool.of(settings)
        self.strict = settings.when_away == "strict"
        self.trouble: str | None = None
        self.ledger_id: UUID | None = None
        if not self.strict:
            with _warned("the spool"):
                self.ledger_id = self.spool.ledger_id

    def reached(self, ledger_id: UUID) -> None:
        """Take note that the ledger was reached, and which it is."""
        self.ledger_id = ledger_id
        if not self.strict:
            with _warned("runs could not be spooled, should the database be away"):
                self.spool.remember(ledger_id)

    def forward(self, recorder: EventStore, ledger_id: UUID) -> BackgroundForwarding | None:
        """Begin to forward what waits, where anything does."""
        with _warned("what is spooled cannot be forwarded"):
            if self.spool.waiting:
                from audit_ledger.recording.forwarding import BackgroundForwarding

                return BackgroundForwarding(self.spool, recorder, ledger_id)
        return None

    def announce(self, run_id: UUID, error: Exception) -> None:
        """Say that a run is spooled from here on."""
        reason = error.what if isinstance(error, LedgerError) else f"{type(error).__name__}: {error}"
        tell(
            logging.WARNING,
            f"run {run_id} is spooled in {self.spool.path} ({reason}); the next run forwards it once the"
            " database is back, or `audit-ledger spool forward` does",
        )

    def write(self, batch: Batch) -> None:
        """Spool a batch.

        Raises:
            SpoolError: it could not be; nothing of it was.
        """
        self.spool.write(batch, self.ledger_id)

    def failed(self, run_id: UUID, error: Exception, held: int) -> None:
        """Say that the spool cannot be written to; once for each reason."""
        trouble = str(error)
        if trouble != self.trouble:
            tell(logging.CRITICAL, f"{held} events of run {run_id} cannot be spooled: {trouble}")
        self.trouble = trouble

    def close(self) -> None:
        """Close the spool's file."""
        self.spool.close()


def tell(level: int, text: str) -> None:
    """Say what nobody must miss: in the log, and on stderr, whatever becomes of the log."""
    log.log(level, "%s", text)
    sys.stderr.write(f"audit-ledger: {text}\n")


@contextmanager
def _warned(what: str) -> Iterator[None]:
    """Recording goes on where the spool cannot be used; it is said."""
    try:
        yield
    except SpoolError as error:
        tell(logging.WARNING, f"{what}: {error}")
