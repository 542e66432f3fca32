"""The commands of officers: erase, hold, retention. No other connects as the embedded ledger's officer."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audit_ledger import cli
from audit_ledger.cli.output import Column, Json, count, one_line, print_json, print_pairs, print_table, warn
from audit_ledger.cli.place import Role, asking
from audit_ledger.cli.questions import AsOf, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from audit_ledger.reading.holds import Hold
    from audit_ledger.recording.erasure import Erasure, Referrer

Reason = Annotated[str, typer.Option(help="Why; it is in the log for ever: no personal data.")]
By = Annotated[str, typer.Option(help="Who decided it; in the log for ever as well.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
PayloadId = Annotated[int, typer.Argument(help="Id of the payload (api_payloads).", min=1)]
RecordType = Annotated[str, typer.Argument(help="Kind of record.")]
RecordId = Annotated[str, typer.Argument(help="Its id; after -- where it begins with a dash.")]

LISTED = 20
"""So many events, or payloads, are named; --json names all."""

REFERRERS = (
    Column("position", "position"),
    Column("run", "run_id"),
    Column("what", "what"),
)
HOLDS = (
    Column("hold", "hold_id"),
    Column("added", "created_at"),
    Column("covers", "covers"),
    Column("by", "by"),
    Column("reason", "reason"),
)


def erase_payload(
    ctx: typer.Context, payload_id: PayloadId, reason: Reason, by: By, yes: Yes = False, as_json: Json = False
) -> None:
    """Erase the body of an API request or response, for good. What refers to it stays on record.

    Example: audit-ledger erase payload 84 --reason "GDPR request 17" --by "privacy team"
    """
    _confirm(f"Erase the bytes of payload {payload_id}, for good?", yes)
    with ctx.obj.connect(Role.officer) as ledger:
        erasure = ledger.erase_payload(payload_id, reason=reason, by=by)
    if as_json:
        print_json(asdict(erasure))
        return
    typer.echo(f"erased payload {payload_id}: {_events(erasure)}")
    own = (payload_id + 1) // 2
    _print_others([found for found in _referrers(erasure) if found.position != own])


def erase_record(
    ctx: typer.Context,
    record_type: RecordType,
    record_id: RecordId,
    reason: Reason,
    by: By,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Erase all contents that a record ever had, for good. What refers to them stays on record.

    Example: audit-ledger erase record QuiverTrade 12345 --reason "GDPR request 17" --by "privacy team"
    """
    record = f"{record_type} {record_id}"
    _confirm(f"Erase the bytes of every content of {one_line(record)}, for good?", yes)
    with ctx.obj.connect(Role.officer) as ledger:
        erasure = ledger.erase_record(record_type, record_id, reason=reason, by=by)
    if as_json:
        print_json(asdict(erasure))
        return
    typer.echo(one_line(f"erased {count(len(erasure.bodies), 'content')} of {record}: {_events(erasure)}"))
    _print_others(
        [
            found
            for found in _referrers(erasure)
            if (found.record_type, found.record_id) != (record_type, record_id)
        ]
    )
    if erasure.payload_ids:
        shown = ", ".join(map(str, erasure.payload_ids[:LISTED]))
        more = len(erasure.payload_ids) - LISTED
        typer.echo(
            "the API responses of the runs that brought it may hold the same data: "
            f"payloads {shown}{f' and {more:,} more' if more > 0 else ''}"
        )


def _confirm(question: str, yes: bool) -> None:
    """Ask whoever sits at a terminal."""
    if yes or not sys.stdin.isatty():
        return
    try:
        sure = typer.confirm(question, err=True)
    except typer.Abort:
        sure = False
    if not sure:
        warn("nothing was erased")
        raise typer.Exit(cli.INTERRUPTED)


def _events(erasure: Erasure) -> str:
    positions = ", ".join(str(body.position) for body in erasure.bodies)
    return f"position {positions}" if len(erasure.bodies) == 1 else f"positions {positions}"


def _referrers(erasure: Erasure) -> list[Referrer]:
    return [referrer for body in erasure.bodies for referrer in body.referrers]


def _print_others(others: Sequence[Referrer]) -> None:
    """Name the events that referred to the same bytes without having been asked about."""
    if not others:
        return
    typer.echo(f"{count(len(others), 'other event')} referred to the same bytes:")
    rows: list[dict[str, Any]] = [
        {
            "position": str(found.position),
            "run_id": found.run_id,
            "what": f"{found.record_type} {found.record_id}" if found.endpoint is None else found.endpoint,
        }
        for found in others[:LISTED]
    ]
    print_table(rows, REFERRERS)
    if len(others) > LISTED:
        typer.echo(f"and {len(others) - LISTED:,} more")


def hold_add_payload(
    ctx: typer.Context, payload_id: PayloadId, reason: Reason, by: By, as_json: Json = False
) -> None:
    """Forbid erasing the request and the response of a payload's API call.

    Example: audit-ledger hold add payload 84 --reason "case 4711" --by "legal"
    """
    _add(ctx, as_json, payload=payload_id, reason=reason, by=by)


def hold_add_record(
    ctx: typer.Context,
    record_type: RecordType,
    record_id: RecordId,
    reason: Reason,
    by: By,
    as_json: Json = False,
) -> None:
    """Forbid erasing any content of a record.

    Example: audit-ledger hold add record QuiverTrade 12345 --reason "case 4711" --by "legal"
    """
    _add(ctx, as_json, record=(record_type, record_id), reason=reason, by=by)


def hold_add_run(
    ctx: typer.Context,
    run_id: Annotated[str, typer.Argument(help="Id of the run, or its first digits.", metavar="RUN_ID")],
    reason: Reason,
    by: By,
    as_json: Json = False,
) -> None:
    """Forbid erasing anything that a run's events refer to.

    Example: audit-ledger hold add run 1f0c3a7e --reason "case 4711" --by "legal"
    """
    _add(ctx, as_json, run=run_id, reason=reason, by=by)


def _add(ctx: typer.Context, as_json: bool, **what: Any) -> None:
    with ctx.obj.connect(Role.officer) as ledger:
        hold = ledger.add_hold(**what)
    if as_json:
        print_json(asdict(hold))
    else:
        typer.echo(one_line(f"added hold {hold.hold_id} on {hold.covers}"))


def hold_release(
    ctx: typer.Context,
    hold_id: Annotated[str, typer.Argument(help="Id of the hold, or its first digits.", metavar="HOLD_ID")],
    reason: Reason,
    by: By,
) -> None:
    """End a hold.

    Example: audit-ledger hold release 5b2e9c1d --reason "case 4711 is closed" --by "legal"
    """
    with ctx.obj.connect(Role.officer) as ledger:
        hold = ledger.release_hold(hold_id, reason=reason, by=by)
    typer.echo(one_line(f"released hold {hold.hold_id} on {hold.covers}"))


def hold_list(
    ctx: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="Those that were released, too.")] = False,
    as_json: Json = False,
    as_of: AsOf = None,
    final: Final = False,
) -> None:
    """List the holds in force, newest first.

    Example: audit-ledger hold list
    """
    with asking(ctx) as ledger:
        found: list[Hold] = ledger.holds(released=everything)
    if as_json:
        print_json([asdict(hold) for hold in found])
    elif found:
        columns = (*HOLDS, Column("released", "released_at")) if everything else HOLDS
        print_table([{**asdict(hold), "covers": hold.covers} for hold in found], columns)
    else:
        warn("no holds")


def retention(ctx: typer.Context) -> None:
    """How long bodies must be kept before they may be erased.

    Example: audit-ledger retention
    """
    if ctx.invoked_subcommand is None:
        retention_show(ctx)


def retention_show(
    ctx: typer.Context, as_json: Json = False, as_of: AsOf = None, final: Final = False
) -> None:
    """Show how long bodies must be kept, and who decided it.

    Example: audit-ledger retention show
    """
    with asking(ctx) as ledger:
        found = ledger.retention()
    if as_json:
        print_json(asdict(found))
        return
    print_pairs(
        [
            ("retention", count(found.days, "day") if found.days else "none"),
            ("by", found.by),
            ("reason", found.reason),
            ("recorded", found.created_at),
        ]
    )


def retention_set(
    ctx: typer.Context,
    days: Annotated[
        int, typer.Argument(help="Days after the last event that refers to a body; 0: none.", min=0)
    ],
    reason: Reason,
    by: By,
) -> None:
    """Say how long bodies must be kept.

    Example: audit-ledger retention set 2555 --reason "seven years, SEC 17a-4" --by "compliance"
    """
    with ctx.obj.connect(Role.officer) as ledger:
        ledger.set_retention(days, reason=reason, by=by)
    typer.echo(f"bodies are kept for {count(days, 'day')}" if days else "bodies need not be kept")
