"""Saying that a run did not begin, since another one of its task goes on."""

import socket
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from audit_ledger import events
from audit_ledger.store.event_store import EventStore


def skip(recorder: EventStore, **what: Any) -> None:
    """Record it, in a stream of its own.

    Args:
        recorder: The event store.
        **what: Fields of RunSkipped: task, source, reason and, where known, running and scheduled_for.

    Raises:
        LedgerError: it could not be recorded.
    """
    event = events.RunSkipped.of(occurred_at=datetime.now(UTC), host=socket.gethostname() or None, **what)
    recorder.append(uuid4(), 0, [event])
