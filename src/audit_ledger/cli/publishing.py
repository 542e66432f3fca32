"""The command publish."""

from pathlib import Path
from typing import Annotated

import typer

from audit_ledger.cli.output import count
from audit_ledger.cli.place import Role


def publish(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Folder, made where it is not.", metavar="DIR")],
) -> None:
    """Write checkpoint, tiles and entries as static files, for clients of transparency logs (tlog-tiles).

    Only what is new is written. It discloses all events: whoever may read the folder reads the ledger.

    Example: audit-ledger publish /srv/www/ledger
    """
    from audit_ledger.cli.replaying import progress

    with ctx.obj.connect(Role.reader) as ledger, progress("publishing") as tell:
        done = ledger.publish(folder, tell=tell)
    if done.files:
        typer.echo(
            f"published up to position {done.size:,} in {folder}, from {done.before:,}:"
            f" {count(done.files, 'file')}"
        )
    else:
        typer.echo(f"nothing new since position {done.size:,}")
