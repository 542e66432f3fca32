"""The commands about checkpoints that are kept elsewhere: anchor, anchors, recover."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audit_ledger import cli
from audit_ledger.cli.output import Column, Json, complain, count, one_line, print_json, print_table, warn
from audit_ledger.cli.place import Role
from audit_ledger.errors import LedgerError

if TYPE_CHECKING:
    from audit_ledger import Ledger
    from audit_ledger.evidence.anchoring import Anchored, InBackground

ANCHORS = (
    Column("size", "size"),
    Column("at", "at"),
    Column("by", "kind"),
    Column("where", "name", room=True),
)


def anchor(
    ctx: typer.Context,
    check: Annotated[
        list[Path] | None,
        typer.Option(
            "--check", help="Anchor nothing: compare the ledger with this checkpoint.", metavar="FILE"
        ),
    ] = None,
) -> None:
    """Bring the last checkpoint to the folders and the timestamping authorities of [anchors] in ledger.toml.

    `audit-ledger seal` does so by itself, as often as [anchors] says. With --check, which may be repeated:
    compare the ledger with checkpoints in files, and in the folders. Ends with 1 where a place has not got
    it, or where the ledger does not continue a checkpoint; it refuses events then.

    Example: audit-ledger anchor
    """
    if check is not None:
        _check(ctx, check)
        return
    with ctx.obj.connect(Role.sealer) as ledger:
        done = ledger.anchor()
    _show(done)
    if done.failures:
        raise typer.Exit(cli.WRONG)


def _check(ctx: typer.Context, files: list[Path]) -> None:
    with ctx.obj.connect() as ledger:
        looked = ledger.look_outside(files)
    for trouble in looked.troubles:
        complain(str(trouble))
    if looked.wrong is not None:
        complain(str(looked.wrong.error()))
    if looked.wrong is not None or looked.troubles or looked.highest is None:
        raise typer.Exit(cli.WRONG)
    highest = looked.highest
    typer.echo(
        f"✅ the ledger continues its checkpoint of {count(highest.stated.size, 'event')}, in {highest.place}"
    )


def anchors(ctx: typer.Context, as_json: Json = False) -> None:
    """Show which checkpoints went out, when, and where to.

    `at` is what the timestamping authority states; of a folder, the clock of whoever wrote the file.

    Example: audit-ledger anchors
    """
    with ctx.obj.connect(Role.reader) as ledger:
        found = ledger.anchors()
    rows: list[dict[str, Any]] = []
    for one in reversed(found):
        rows += [
            {"size": one.size, "at": stamp.time, "kind": "timestamp", "name": stamp.name}
            for stamp in one.timestamps
        ]
        rows += [{"size": one.size, "at": at, "kind": "folder", "name": name} for name, at in one.folders]
    if as_json:
        print_json(rows)
    elif rows:
        print_table(rows, ANCHORS)
    else:
        warn("no anchor: audit-ledger anchor")


def recover(
    ctx: typer.Context,
    reason: Annotated[str, typer.Option(help="Why; in the log for ever. No personal data.")],
    by: Annotated[
        str | None, typer.Option(help="Who decided it; default: the setting actor, or you.")
    ] = None,
    clone: Annotated[
        bool, typer.Option("--clone", help="The ledger goes on elsewhere: this is a copy of it.")
    ] = False,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(
            help="A checkpoint that was kept elsewhere than in the folders of ledger.toml.", metavar="FILE"
        ),
    ] = None,
) -> None:
    """Go on under another origin: where history was lost that is anchored, or in a copy of a ledger.

    The ledger takes events again, the first of which, LedgerRecovered, says what was lost. The key of the
    origin before does not seal any more: make another. Restoring the right database, where there is one, is
    better.

    Example: audit-ledger recover --reason "disk lost, restored the backup of Sunday"
    """
    with ctx.obj.connect(Role.officer) as ledger:
        done = ledger.recover(reason=reason, by=by or _me(ledger), clone=clone, checkpoints=checkpoint or [])
    typer.echo(
        f"opened the origin {done.origin} at position {done.position}; before it was {done.previous_origin}"
    )
    if done.lost is not None:
        number = done.lost[1] - done.lost[0] + 1
        warn(
            f"lost: {count(number, 'event')} of the origin before, positions {done.lost[0]} to {done.lost[1]}"
        )
    warn("next: audit-ledger key new; its verifier key into the file that [anchors] names; audit-ledger seal")


def _me(ledger: Ledger) -> str:
    import getpass

    return ledger.settings.actor or getpass.getuser()


def after_seal(ledger: Ledger, *, at_once: bool = False) -> bool:
    """Anchor, where it is time, or at once; whether nothing failed. What fails is said, and stops nothing."""
    from audit_ledger.ledger_toml import names_anchors

    if not names_anchors():
        return True
    try:
        done = ledger.anchor() if at_once else ledger.anchor_if_due()
    except LedgerError as error:
        warn(f"⚠️ nothing was anchored: {error}")
        return False
    if done is None:
        return True
    _show(done)
    return not done.failures


def in_background(ledger: Ledger) -> InBackground:
    """Anchors while sealing goes on, again and again."""
    from audit_ledger.evidence.anchoring import InBackground

    def work() -> bool:
        try:
            return after_seal(ledger)
        except Exception as error:  # noqa: BLE001 - said; sealing goes on, and it is tried again
            warn(f"⚠️ nothing was anchored: {error}")
            return False

    return InBackground(work)


def _show(done: Anchored) -> None:
    times = {stamp.name: stamp.time for stamp in done.anchor.timestamps} if done.anchor else {}
    for kind, name in done.new:
        stated = f" at {times[name]:%Y-%m-%d %H:%M:%SZ}" if kind == "timestamp" else ""
        typer.echo(one_line(f"anchored up to position {done.size} by the {kind} {name}{stated}"))
    if not done.new and not done.failures:
        typer.echo(f"nothing new: position {done.size} is anchored everywhere")
    sys.stdout.flush()
    for _, _, error in done.failures:
        warn(f"⚠️ position {done.size} is not anchored everywhere: {error}")
