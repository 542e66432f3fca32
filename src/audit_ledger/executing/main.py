"""From the command line of `audit-ledger exec` to its exit code."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from audit_ledger.executing.arguments import parse

if TYPE_CHECKING:
    from audit_ledger.executing.recording import Recording


def main(
    given: Sequence[str], *, url: str | None = None, home: Path | None = None, name: str | None = None
) -> int:
    """Run a command inside a run.

    Args:
        given: What follows `exec` on the command line.
        url: PostgreSQL URL of the ledger, as for `connect`.
        home: Folder of the embedded one.
        name: The ledger's name.

    Returns:
        What to exit with.

    Raises:
        SystemExit: the command line asked for help, or is not understood.
    """
    asked = parse(given)
    gc.disable()  # what is imported stays; looking for garbage among it takes a tenth of the time
    from audit_ledger.executing.execute import execute, when_away

    def connect() -> Recording:
        from audit_ledger.executing.recording import Recording

        ledger = Recording(url, home, name, when_away(asked))
        gc.freeze()
        gc.enable()  # the command may run for days
        return ledger

    try:
        return execute(asked, connect)
    finally:
        gc.unfreeze()
        gc.enable()
