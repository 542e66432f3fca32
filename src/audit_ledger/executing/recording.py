"""What exec writes with: a ledger without the half that reads, which takes long to import."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from audit_ledger.reaching import Reaching
from audit_ledger.recording import redacting
from audit_ledger.recording.messages import Messages
from audit_ledger.recording.run import Run
from audit_ledger.settings import load
from audit_ledger.store.event_store import EventStore


class Recording(Reaching):
    """A connection for one run; a context manager that closes it.

    Attributes:
        redactor: What cuts secrets out.
    """

    def __init__(self, url: str | None, home: Path | None, name: str | None, when_away: str) -> None:
        super().__init__(load(url=url, home=home, name=name, when_away=when_away))
        self.redactor = redacting.redactor(self.settings)
        self.reach()

    @property
    def recorder(self) -> EventStore:
        """The event store.

        Raises:
            Unreachable, ServerError: the database is away.
        """
        return self._recorder

    def start(self, **what: Any) -> Run:
        """Start the run, which joins no other one."""
        return self._begin(Messages(self.redactor, self.settings.max_body_bytes), **what)
