"""How a run begins, or is joined: who does it, where, and by which software."""

import getpass
import socket
from typing import Any, TypeVar

from audit_ledger.events import RunJoined, RunStarted, storable
from audit_ledger.settings import Settings
from audit_ledger.version import VERSION

Beginning = TypeVar("Beginning", RunStarted, RunJoined)


def beginning(kind: type[Beginning], settings: Settings, **fields: Any) -> Beginning:
    """The first event of a stream of that kind; what it does not name is found out.

    Raises:
        InvalidValue: a field cannot be recorded; the error names it.
    """
    return kind.of(
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
