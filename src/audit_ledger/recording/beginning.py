"""How a run begins, or is joined: who does it, where, and by which software."""

import getpass
import socket
from typing import TYPE_CHECKING, Any, Literal

from audit_ledger.canonical import storable
from audit_ledger.events.plain import Plain, made
from audit_ledger.settings import Settings
from audit_ledger.version import VERSION

if TYPE_CHECKING:
    from audit_ledger.events import RunJoined, RunStarted


def beginning(
    kind: Literal["RunStarted", "RunJoined"], settings: Settings, **fields: Any
) -> "RunStarted | RunJoined | Plain":
    """The first event of a stream, of that type; what it does not name is found out.

    Raises:
        InvalidValue: a field cannot be recorded; the error names it.
    """
    return made(
        kind,
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
