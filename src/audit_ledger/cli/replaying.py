"""The commands that fold once more: replay, verify --live, projections rebuild."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audit_ledger import cli
from audit_ledger.cli.output import (
    Column,
    Form,
    Format,
    cell,
    one_line,
    print_export,
    print_table,
    warn,
)
from audit_ledger.cli.place import Role
from audit_ledger.cli.questions import AsOf
from audit_ledger.cli.sealing import verify_proof

if TYPE_CHECKING:
    from rich.progress import Task

    from audit_ledger.reading.replay import Replay
    from audit_ledger.store.copies import Tell


TABLES = (Column("table", "table"), Column("rows", "rows"))


def replay(
    ctx: typer.Context,
    table: Annotated[str | None, typer.Option(help="Print the rows of this table.", metavar="NAME")] = None,
    form: Form = Format.table,
    as_of: AsOf = None,
) -> None:
    """Fold the events up to an instant into a scratch copy of the read models, and show it.

    Example: audit-ledger replay --as-of "2025-12-24 09:00 America/New_York" --table record_versions
    """
    when = ctx.obj.as_of
    if when is None:
        raise typer.BadParameter("--as-of says up to when the events are replayed")
    with ctx.obj.connect() as ledger, progress() as tell, ledger.replay(when, tell=tell) as replayed:
        if table is None:
            print_table([{"table": name, "rows": replayed.count(name)} for name in replayed.tables], TABLES)
            typer.echo(f"\n{replayed.header}")
        elif form is Format.table:
            _print_rows(replayed, table)
        else:
            print_export(replayed.header.as_dict(), replayed.export(table, form.value), form)


def _print_rows(replayed: Replay, table: str) -> None:
    rows = [{name: cell(value) for name, value in row.items()} for row in replayed.rows(table)]
    if rows:
        print_table(rows, [Column(name, name) for name in rows[0]])
        typer.echo(f"\n{replayed.header}")
    else:
        warn(f"no rows\n{replayed.header}")


def verify(
    ctx: typer.Context,
    live: Annotated[
        bool, typer.Option("--live", help="Compare a replay with the read models, now and as of the past.")
    ] = False,
    points: Annotated[int, typer.Option(help="As of so many positions.", min=0)] = 3,
    proof: Annotated[
        Path | None, typer.Option(help="Check a file of `prove event`, without the ledger.", metavar="FILE")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="The ledger's verifier key; of --live: if not yours.", metavar="VKEY")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="With --live: write what was found to a file, as JSON.", metavar="FILE"),
    ] = None,
) -> None:
    """Verify all that is stored, or check a proof.

    --live hashes every event again, and compares with the tiles of the Merkle tree and the signed
    checkpoints; recomputes the commitments of bodies; replays the events, and compares with the read models
    and the views as of an instant. Ends with 1 when something differs, and names the first position; or when
    a proof proves nothing.

    Example: audit-ledger verify --live --points 10

    Example: audit-ledger verify --proof 12.tlog-proof --key "$(cat ledger.vkey)"
    """
    if live == (proof is not None):
        raise typer.BadParameter("one of --live and --proof says what is verified")
    if proof is not None:
        if key is None:
            raise typer.BadParameter("--key says who must have signed the proof: the ledger's verifier key")
        verify_proof(proof, key)
        return
    from audit_ledger.evidence import report as reports

    began, clock = datetime.now(UTC), time.monotonic()
    with ctx.obj.connect() as ledger, progress("verifying") as tell:
        found = ledger.verify_live(points, keys=None if key is None else [key.strip()], tell=tell)
        took = timedelta(seconds=time.monotonic() - clock)
        if report is not None:
            reports.write(report, reports.report(found, ledger.ledger_id, began, took))
    for line in reports.lines(found):
        typer.echo(one_line(line))
    if not found.same:
        raise typer.Exit(cli.WRONG)


CHANGES = (
    Column("table", "table"),
    Column("inserted", "inserted"),
    Column("updated", "updated"),
    Column("deleted", "deleted"),
)


def projections_rebuild(
    ctx: typer.Context,
    name: Annotated[
        str | None, typer.Argument(help="One read model; by default all.", metavar="[NAME]")
    ] = None,
) -> None:
    """Refill read models from the events, and take over projection files that changed.

    It goes on where it was interrupted. Writers and readers need not stop. Run it as an administrator of the
    database, as init.

    Example: audit-ledger projections rebuild
    """
    from dataclasses import asdict

    from audit_ledger.store.rebuild import rebuild

    settings = ctx.obj.settings()
    url = ctx.obj.connection_url(Role.admin)
    with progress() as tell:
        done = rebuild(url, settings, name, tell)
    if done.resumed_at:
        warn(f"went on from position {done.resumed_at:,}, where it had been interrupted")
    print_table([asdict(change) for change in done.changes], CHANGES)
    how = "; the tables were replaced" if done.swapped else ""
    typer.echo(f"\nrebuilt from the events up to position {done.position:,}{how}")


@contextmanager
def progress(doing: str = "folding") -> Iterator[Tell]:
    """A bar on stderr with rate and time left; none where that is no terminal."""
    from audit_ledger.store.copies import silent

    if not sys.stderr.isatty():
        yield silent
        return

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:,.0f} events/s" if task.speed else "")

    with Progress(
        TextColumn(doing),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeLeft(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        folding = bar.add_task(doing, total=None)

        def tell(position: int, upto: int) -> None:
            if bar.tasks[0].total is None:  # it may go on where it was interrupted: the rate begins here
                bar.reset(folding, completed=position, total=upto)
            bar.update(folding, completed=position, total=upto)

        yield tell
