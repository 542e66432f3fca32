"""Looking at a ledger as it changes, until Ctrl-C: `runs --follow`, `projections update --follow`."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer

from audit_ledger.cli.output import Column, encoded, instant, one_line, table_of, warn
from audit_ledger.errors import LedgerBusy, Unreachable

if TYPE_CHECKING:
    from audit_ledger import Ledger
    from audit_ledger.reading.following import Reached
    from audit_ledger.reading.runs import RunRow, Runs

POLL = 2.0
"""Look at least every so many seconds: a notice can be lost."""

AT_MOST = 0.2
"""Look at most every so many seconds, however much is written."""

COLUMNS = (
    Column("run", "run_id"),
    Column("started", "started_at"),
    Column("status", "status"),
    Column("task", "task_name"),
    Column("source", "data_source", room=True),
    Column("progress", "progress"),
)


def follow(ledger: Ledger, look: Callable[[], object], *, pause: float = 0) -> None:
    """Look whenever something was written, whatever becomes of the database, until SIGINT or SIGTERM.

    Args:
        ledger: The ledger.
        look: Is called each time.
        pause: Seconds between two looks at least.
    """
    import psycopg
    from psycopg import sql

    from audit_ledger.store.connecting import connect

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    channel = sql.SQL("LISTEN {}").format(sql.Identifier(f"{ledger.settings.name}_events"))
    away = False
    try:
        while True:
            try:
                with connect(ledger.url, ledger.settings) as conn:
                    conn.execute(channel)  # first, so that nothing comes between it and the look
                    while True:
                        look()
                        if away:
                            warn("the database is back")
                            away = False
                        time.sleep(pause)
                        for _ in conn.notifies(timeout=POLL, stop_after=1):
                            pass
            except (Unreachable, LedgerBusy, psycopg.OperationalError) as error:
                if not away:
                    warn(f"the database is away, still trying: {one_line(str(error))}")
                    away = True
                time.sleep(POLL)
    except KeyboardInterrupt:
        pass  # that is how it ends


def follow_runs(ledger: Ledger, query: Runs, *, as_json: bool) -> None:
    """Show runs, and what changes of them: at a terminal a table, elsewhere a line a change."""
    if as_json or not sys.stdout.isatty():
        follow(ledger, _Lines(ledger, query, as_json=as_json).look, pause=AT_MOST)
        return
    from rich.live import Live

    with Live(auto_refresh=False) as live:

        def look() -> None:
            found = [_row(run, reached) for run, reached in _look(ledger, query)]
            live.update(table_of(found, COLUMNS, live.console.width), refresh=True)

        follow(ledger, look, pause=AT_MOST)


class _Lines:
    """Prints what is new since the last look."""

    def __init__(self, ledger: Ledger, query: Runs, *, as_json: bool) -> None:
        self._ledger = ledger
        self._query = query
        self._as_json = as_json
        self._shown: dict[int, tuple[str, int | None, int | None]] = {}

    def look(self) -> None:
        """Print a line for each run that is new or has changed, the oldest first."""
        found = _look(self._ledger, self._query)
        for run, reached in reversed(found):
            if self._shown.get(run.id) != _state(run, reached):
                typer.echo(self._json(run, reached) if self._as_json else self._line(run, reached))
        self._shown = {run.id: _state(run, reached) for run, reached in found}

    def _line(self, run: RunRow, reached: Reached | None) -> str:
        ended = run.completed_at or run.failed_at
        when = ended or (reached.at if reached else run.started_at)
        row = _row(run, reached)
        line = f"{instant(when)}  {run.run_id.hex[:8]}  {run.status:<9}  {run.task_name}  {row['progress']}"
        return one_line(line) if "\n" in line else line.rstrip()

    def _json(self, run: RunRow, reached: Reached | None) -> str:
        return json.dumps(
            {
                "run_id": run.run_id,
                "task_name": run.task_name,
                "data_source": run.data_source,
                "status": run.status,
                "started_at": run.started_at,
                "ended_at": run.completed_at or run.failed_at,
                "error_message": run.error_message,
                "done": reached and reached.done,
                "total": reached and reached.total,
                "percent": reached and reached.percent,
                "per_second": reached and reached.per_second,
                "seen_at": datetime.now(UTC),
            },
            default=encoded,
        )


def _state(run: RunRow, reached: Reached | None) -> tuple[str, int | None, int | None]:
    """What is told of a run as soon as it changes."""
    return run.status, reached.done if reached else None, reached.total if reached else None


def _look(ledger: Ledger, query: Runs) -> Sequence[tuple[RunRow, Reached | None]]:
    """The runs that are asked for, the newest first, and how far they are."""
    from audit_ledger.reading.following import progress

    ledger.update_read_models()
    runs = query.all()
    reached = progress(ledger.database, [run.id for run in runs])
    return [(run, reached.get(run.id)) for run in runs]


def _row(run: RunRow, reached: Reached | None) -> dict[str, Any]:
    """A run for people."""
    said = ""
    if run.status == "failed":
        said = one_line(run.error_message or "")
    elif run.status == "completed":
        said = f"{run.records_created} new, {run.records_updated} updated"
    elif reached is not None:
        total, percent, rate = reached.total, reached.percent, reached.per_second
        said = f"{reached.done:,}" if total is None else f"{reached.done:,} of {total:,}"
        more = [f"{percent:.0f} %"] if percent is not None else []
        more += [f"{rate:,.1f}/s"] if rate is not None else []
        said += f" ({', '.join(more)})" if more else ""
    return {
        "run_id": run.run_id,
        "started_at": run.started_at,
        "status": run.status,
        "task_name": run.task_name,
        "data_source": run.data_source,
        "progress": said,
    }
