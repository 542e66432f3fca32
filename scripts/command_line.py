"""The command line of a fetch script: its options, its API key, its last words and exit status."""

import os
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from datetime import date

import audit_ledger
from audit_ledger import Ledger, LedgerError, Run
from recorded_api import FetchError


def main(name: str, fetch: Callable[[Ledger, str, date | None], Run], base_url: str) -> None:
    """Connect to the ledger, call `fetch(ledger, base_url, since)`, and say what became of its run.

    Without --since, `since` is None: all that upstream has. The exit status is 1 where upstream or the
    ledger failed; any other exception is a mistake in the script, and keeps its traceback.
    """
    parser = ArgumentParser(description=sys.modules[fetch.__module__].__doc__)
    parser.add_argument("--base-url", default=base_url, metavar="URL", help="default: %(default)s")
    parser.add_argument("--since", type=date.fromisoformat, metavar="YYYY-MM-DD")
    options = parser.parse_args()
    try:
        with audit_ledger.connect() as ledger:
            run = fetch(ledger, options.base_url.rstrip("/"), options.since)
    except (FetchError, LedgerError) as error:
        sys.exit(f"❌ {name} data ingestion failed: {error}")
    print(f"✅ {name} data ingestion completed (run_id: {run.id})")
    print(f"   Records: {run.result.created} created, {run.result.updated} updated")


def key(variable: str) -> str:
    """The API key in an environment variable. Asked for in a run, a missing one fails it on record."""
    value = os.environ.get(variable, "").strip()
    if not value or not value.isascii() or not value.isprintable():
        raise FetchError(f"{variable} {'holds no key' if value else 'is not set'}: set it to your API key")
    return value
