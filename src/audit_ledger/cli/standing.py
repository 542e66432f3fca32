"""The commands that say where a ledger stands: status, projections status."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import typer

from audit_ledger.cli.output import Column, Json, count, instant, print_json, print_pairs, print_table

MODELS = (
    Column("read model", "projection"),
    Column("position", "position"),
    Column("lag", "lag"),
    Column("moved", "updated_at"),
    Column("file changed", "changed"),
)


def status(ctx: typer.Context, as_json: Json = False) -> None:
    """Show where the ledger is, how far it goes, and how far the read models are.

    Example: audit-ledger status
    """
    with ctx.obj.connect() as ledger:
        found, spooled = ledger.status(), ledger.spool.status()
    if as_json:
        print_json({**asdict(found), "spool": asdict(spooled)})
        return
    waiting = f"{count(spooled.events, 'event')} in {spooled.path}: audit-ledger spool status"
    print_pairs(
        [
            ("ledger", found.ledger_id),
            ("place", found.place),
            ("made", found.created_at),
            ("first event", found.first_recorded_at or "none yet"),
            ("head", f"position {found.position}"),
            ("recorded", found.recorded_at),
            ("sealed", _sealed(found)),
            ("anchored", _anchored(found)),
            ("refused", found.refused),
            ("set aside", count(found.set_aside, "event") if found.set_aside else "none"),
            ("spooled", waiting if spooled.events else "none"),
        ]
    )
    typer.echo()
    print_table(_models(found), MODELS)


def _sealed(found: Any) -> str:
    unsealed = f"{count(found.unsealed, 'event')} unsealed" if found.unsealed else "nothing unsealed"
    if not found.sealed:
        return f"nothing yet; {unsealed}"
    return f"up to position {found.sealed}, recorded {instant(found.sealed_recorded_at)}; {unsealed}"


def _anchored(found: Any) -> str:
    exposed = "nothing unanchored"
    if found.unanchored:
        upto = f"positions {found.anchored + 1} to {found.position}, since {instant(found.unanchored_since)}"
        exposed = (
            f"{count(found.unanchored, 'event')} ({upto}) not anchored:"
            " a superuser with the key could rewrite them"
        )
    if not found.anchored:
        return f"nothing yet; {exposed}"
    places = ", ".join(found.anchored_by)
    return f"up to position {found.anchored} at {instant(found.anchored_at)} by {places}; {exposed}"


def projections_status(ctx: typer.Context, as_json: Json = False) -> None:
    """Show how far each read model is, and by how many events it lags.

    Example: audit-ledger projections status
    """
    with ctx.obj.connect() as ledger:
        found = ledger.status()
    if as_json:
        print_json([asdict(model) for model in found.read_models])
    else:
        print_table(_models(found), MODELS)


def _models(found: Any) -> list[dict[str, Any]]:
    rows = [asdict(model) for model in found.read_models]
    return [{**row, "changed": "yes" if row["changed"] else "no"} for row in rows]
