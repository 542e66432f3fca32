"""`audit-ledger exec`: any command, inside a run, which it does not notice.

`arguments` reads the command line, `execute` records, `child` starts the command, passes on what goes to it
and what comes from it and waits for it, `tail` keeps the end of its output.
"""
