"""The command line: parse, one call, show.

Exit codes, the same for every command:

    0    fine; also when nothing was found to show
    1    the question was answered, and something is wrong (check, doctor)
    2    the command line was not understood
    3    it could not be done; the error says why, and what to do
    130  interrupted, or not confirmed
    141  whoever read the output went away, as with other programs
"""

import os
import sys

FINE, WRONG, USAGE, FAILED, INTERRUPTED, UNREAD = 0, 1, 2, 3, 130, 141


def main() -> None:
    """The console script `audit-ledger`."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:  # a terminal that cannot show a character gets its number
            reconfigure(errors="backslashreplace")
    if sys.argv[1:2] == ["exec"]:  # started quickly: the other commands take longer to be made than it may
        from audit_ledger.executing.main import main as execute

        code = execute(sys.argv[2:])
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)  # taking all modules apart again would only take time
    from audit_ledger.cli.app import app

    app(prog_name="audit-ledger")
