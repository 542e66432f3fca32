"""What exec writes with: a ledger without the half that reads, which takes long to import."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

from audit_ledger.connecting import reach
from audit_ledger.recording import redacting
from audit_ledger.recording.messages import Messages
from audit_ledger.recording.run import Run
from audit_ledger.settings import load
from audit_ledger.store import migrations
from audit_ledger.store.database import Database
from audit_ledger.store.recorder import LedgerRecorder


class Recording:
    """A connection for one run; a context manager that closes it.

    Attributes:
        settings: What it was connected with.
        url: Where the ledger is.
        ledger_id: Its identity.
        recorder: Its event store.
        redactor: What cuts secrets out.
    """

    def __init__(self, url: str | None, home: Path | None, name: str | None) -> None:
        self.settings = load(url=url, home=home, name=name)
        reached = reach(self.settings)
        if not reached.ready.may_write:
            raise migrations.refuse_reader(reached.ready.user, self.settings.name)
        self.url = reached.url
        self.ledger_id = reached.ready.ledger_id
        self.redactor = redacting.redactor(self.settings)
        self._database = Database(self.url, self.settings.name, self.settings)
        self.recorder = LedgerRecorder(self._database)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._database.close()

    def start(self, **what: Any) -> Run:
        """Start the run, which joins no other one."""
        messages = Messages(self.redactor, self.settings.max_body_bytes)
        return Run(self.recorder, self.settings, self.ledger_id, messages, **what)
