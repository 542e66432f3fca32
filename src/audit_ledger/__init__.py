"""An event-sourced, append-only audit ledger of data-ingestion runs, on PostgreSQL.

import audit_ledger

ledger = audit_ledger.connect()
with ledger.run("data_fetch:congress_daily", source="quiverquant_congress") as run:
    run.ingest("QuiverTrade", 12345, {"Ticker": "AAPL"})
"""

from audit_ledger.errors import (
    InvalidValue,
    LedgerError,
    NotInitialised,
    RecordingError,
    RunEnded,
    UnknownRun,
    Unreachable,
    WrongRole,
)
from audit_ledger.ledger import Ledger, connect
from audit_ledger.recording.capture.instrument import instrument
from audit_ledger.recording.run import Run
from audit_ledger.recording.scope import Outcome
from audit_ledger.version import VERSION

__version__ = VERSION

__all__ = [
    "InvalidValue",
    "Ledger",
    "LedgerError",
    "NotInitialised",
    "Outcome",
    "RecordingError",
    "Run",
    "RunEnded",
    "UnknownRun",
    "Unreachable",
    "WrongRole",
    "__version__",
    "connect",
    "instrument",
]
