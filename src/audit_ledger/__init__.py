"""An event-sourced, append-only audit ledger of data-ingestion runs, on PostgreSQL.

import audit_ledger

ledger = audit_ledger.connect()
with ledger.run("data_fetch:congress_daily", source="quiverquant_congress") as run:
    run.ingest("QuiverTrade", 12345, {"Ticker": "AAPL"})
"""

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from audit_ledger.version import VERSION

if TYPE_CHECKING:
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

__version__ = VERSION

# Who wants to see what is logged says where; errors are raised besides.
logging.getLogger("audit_ledger").addHandler(logging.NullHandler())

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

_PLACES = {
    "Ledger": "ledger",
    "Outcome": "recording.scope",
    "Run": "recording.run",
    "connect": "ledger",
    "instrument": "recording.capture.instrument",
}
"""Where the names are that are not errors. Each is imported when it is first asked for: the command line,
which imports this package too, has not the time for all of them."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_PLACES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value
