"""How a run begins: who started it, where, and by which software."""

import getpass
import socket
from typing import Any

from audit_ledger.events import RunStarted, storable
from audit_ledger.settings import Settings
from audit_ledger.version import VERSION


def beginning(settings: Settings, **fields: Any) -> RunStarted:
    """The first event of a run; what it does not name is found out.

    Raises:
        InvalidValue: a field cannot be recorded; the error names it.
    """
    return RunStarted.of(
        actor=settings.actor or _user(),
        code_version=settings.code_version,
        host=socket.gethostname() or None,
        software_version=f"audit-ledger {VERSION}",
        **fields,
    )


def _user() -> str | None:
    """The system's name for whoever runs this, where it has one."""
    try:
        return storable(getpass.getuser())
    except (OSError, KeyError):  # a process without an entry in the user database
        return None
