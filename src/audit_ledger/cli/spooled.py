"""The commands about the spool: spool status, spool forward."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from audit_ledger import cli
from audit_ledger.cli.output import Json, complain, count, one_line, print_json, print_pairs, warn
from audit_ledger.cli.place import Place
from audit_ledger.cli.replaying import progress

File = Annotated[
    Path | None,
    typer.Option("--file", help="Another spool than the ledger's own.", exists=True, dir_okay=False),
]


def spool_status(ctx: typer.Context, file: File = None, as_json: Json = False) -> None:
    """Show what waits on this machine for the database. It need not be there.

    Example: audit-ledger spool status
    """
    from audit_ledger.store.spool import Spool

    place: Place = ctx.obj
    spool = Spool.of(place.settings(), file and file.absolute())
    try:
        found = spool.status()
    finally:
        spool.close()
    if as_json:
        print_json(asdict(found))
        return
    ledgers = ["not known yet" if one is None else str(one) for one in found.ledger_ids]
    print_pairs(
        [
            ("file", found.path),
            ("events", f"{found.events:,}"),
            ("runs", f"{found.runs:,}"),
            ("oldest", found.oldest),
            ("bytes", f"{found.bytes:,} of {found.max_bytes:,}"),
            ("ledger", ", ".join(ledgers) or None),
            ("last error", found.last_error and one_line(found.last_error)),
            ("at", found.last_error_at),
        ]
    )
    for stream in found.set_aside:
        typer.echo(
            one_line(f"❌ refused, {count(stream.events, 'event')} of {stream.stream_id}: {stream.set_aside}")
        )
    for path in found.damaged:
        typer.echo(one_line(f"❌ damaged, moved aside: {path}"))
    for path in found.others:
        typer.echo(one_line(f"❌ of another ledger, not empty: {path}"))


def spool_forward(
    ctx: typer.Context,
    file: File = None,
    again: Annotated[bool, typer.Option("--again", help="Try again what the ledger refused before.")] = False,
) -> None:
    """Bring what waits on this machine to the ledger, in order, once. Safe to repeat, and to be killed.

    Ends with 1 when the ledger refused something for good: it is kept, and the rest is forwarded.

    Example: audit-ledger spool forward
    """
    from audit_ledger.store.spool import Spool

    with ctx.obj.connect() as ledger:
        spool = Spool.of(ledger.settings, file.absolute()) if file else ledger.spool
        try:
            if again and spool.path.exists():
                spool.take_back()
            with progress("forwarding") as tell:
                done = ledger.forward(spool, tell=tell)
        finally:
            spool.close()
        if done.adopted:
            warn(
                f"{count(done.adopted, 'run')} had been spooled before their ledger was ever reached:"
                f" they go to the ledger {ledger.ledger_id}"
            )
        typer.echo(f"forwarded {count(done.events, 'event')} of {spool.path}")
        if done.refused:
            complain(f"the ledger refused {count(done.refused, 'stream')}: see audit-ledger spool status")
        if done.foreign:
            complain(
                f"{count(done.foreign, 'event')} belong to another ledger than {ledger.ledger_id}, and stay:"
                " connect to theirs; audit-ledger spool status names it"
            )
    if done.refused or done.foreign:
        raise typer.Exit(cli.WRONG)
