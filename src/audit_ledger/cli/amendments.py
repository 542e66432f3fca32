"""The commands that bring a ledger on: close, correct, projections update."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from audit_ledger.cli.questions import RUN_ID

if TYPE_CHECKING:
    from audit_ledger import Ledger

POLL = 1.0
"""Seconds after which a follower looks by itself: a notice can be lost."""


def close(
    ctx: typer.Context,
    run_id: Annotated[str, RUN_ID],
    failed: Annotated[bool, typer.Option("--failed", help="Close it as failed, the only way for now.")],
    reason: Annotated[str, typer.Option(help="Why; it becomes the run's error message.")],
) -> None:
    """End a run that was killed, so that it is no longer shown as running.

    Example: audit-ledger close 1f0c3a7e --failed --reason "the machine lost power"
    """
    del failed  # says it, no more
    with ctx.obj.connect() as ledger:
        run = ledger.close_run(run_id, reason)
    typer.echo(f"closed run {run.run_id} as {run.status}")


def correct(
    ctx: typer.Context,
    position: Annotated[int, typer.Argument(help="Position of the event that is wrong.", min=1)],
    reason: Annotated[str, typer.Option(help="Why; it is in the log for ever: no personal data.")],
    by: Annotated[str, typer.Option(help="Who says so; in the log for ever as well.")],
    values: Annotated[
        str | None, typer.Option(help="What is right, a JSON object by the names of what it replaces.")
    ] = None,
) -> None:
    """Say that an event was wrong, and what is right. The event stays as it is; both are shown.

    Example: audit-ledger correct 8702 --reason "the API sent cents" --by ada --values '{"amount": "12.50"}'
    """
    try:
        right = None if values is None else json.loads(values)
    except ValueError as error:
        raise typer.BadParameter(f"--values is no JSON: {error}") from error
    if right is not None and not isinstance(right, dict):
        raise typer.BadParameter("--values takes a JSON object")
    with ctx.obj.connect() as ledger:
        own = ledger.correct(position, right, reason=reason, by=by)
    typer.echo(f"position {position} is corrected by position {own}")


def projections_update(
    ctx: typer.Context,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on as events arrive, until interrupted.")
    ] = False,
) -> None:
    """Bring the read models up to the head of the ledger.

    Example: audit-ledger projections update --follow
    """
    with ctx.obj.connect() as ledger:
        if follow:
            _follow(ledger)
        else:
            _update(ledger)


def _update(ledger: Ledger) -> None:
    typer.echo(f"the read models are at position {ledger.update_read_models().position}")


def _follow(ledger: Ledger) -> None:
    """Fold events as they arrive, whatever becomes of the database, until SIGINT or SIGTERM."""
    from audit_ledger.cli.following import follow

    _update(ledger)
    typer.echo("following")
    follow(ledger, ledger.update_read_models)
    typer.echo("stopped")
