"""The commands about records: records, history, diff, chain."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audit_ledger.cli.output import (
    Column,
    Form,
    Format,
    Json,
    count,
    one_line,
    plain,
    print_json,
    print_pairs,
    print_table,
    warn,
)
from audit_ledger.cli.place import asking
from audit_ledger.cli.questions import AS_OF, AsOf, Final, export, print_corrections

if TYPE_CHECKING:
    from audit_ledger.reading.difference import Difference, FieldChange

RecordType = Annotated[str, typer.Argument(help="Kind of record.")]
RecordId = Annotated[str, typer.Argument(help="Its id; after -- where it begins with a dash.")]

RECORD = ("record_id", "content", "run_id", "recorded_at")
RECORDS = (
    Column("record", "record_id"),
    Column("run", "run_id"),
    Column("recorded", "recorded_at"),
    Column("content", "content"),
)
HISTORY = (
    Column("from", "id"),
    Column("to", "to_position"),
    Column("recorded", "recorded_at"),
    Column("operation", "operation"),
    Column("run", "run_id"),
    Column("task", "task_name", room=True),
    Column("content", "content"),
)
RECORD_CHANGES = (
    Column("change", "change"),
    Column("type", "record_type"),
    Column("record", "record_id"),
    Column("recorded", "recorded_at"),
    Column("run", "run_id"),
)
RUNS = (
    Column("run", "run_id"),
    Column("started", "started_at"),
    Column("status", "status"),
    Column("task", "task_name"),
)
USED = (
    Column("used", "record"),
    Column("position", "position"),
    Column("recorded", "recorded_at"),
    Column("run", "run_id"),
    Column("task", "task_name", room=True),
    Column("since then", "since_then"),
)
AVAILABLE = (
    Column("run", "run_id"),
    Column("task", "task_name"),
    Column("type", "record_type"),
    Column("records", "records"),
)
EXECUTIONS = (
    Column("execution", "execution_id"),
    Column("position", "position"),
    Column("executed", "executed_at"),
    Column("by", "by"),
)


def records(
    ctx: typer.Context,
    record_type: RecordType,
    limit: Annotated[int | None, typer.Option(help="At most so many.", min=1)] = None,
    as_json: Json = False,
    form: Form = Format.table,
    as_of: AsOf = None,
    final: Final = False,
) -> None:
    """List the records of a kind with their content, the newest content first. Withdrawn ones are not there.

    Example: audit-ledger records QuiverTrade --as-of "2025-12-24 09:00 America/New_York"
    """
    with asking(ctx) as ledger:
        query = ledger.records(record_type)
        if limit is not None:
            query = query.limit(limit)
        if form is not Format.table:
            export(ledger, query, form, RECORD)
            return
        rows = [{name: getattr(record, name) for name in RECORD} for record in query]
    if as_json:
        print_json(rows)
    elif rows:
        print_table([{**row, "content": _compact(row["content"])} for row in rows], RECORDS)
    else:
        warn(f"no records of {record_type}")


def history(
    ctx: typer.Context,
    record_type: RecordType,
    record_id: RecordId,
    as_json: Json = False,
    form: Form = Format.table,
    as_of: AsOf = None,
    final: Final = False,
) -> None:
    """Show what a record was, version by version, newest first; each was valid from one position to the next.

    Example: audit-ledger history QuiverTrade 12345
    """
    with asking(ctx) as ledger:
        if form is not Format.table:
            export(ledger, ledger.versions.of(record_type, record_id), form)
            return
        rows = [asdict(version) for version in ledger.history(record_type, record_id)]
    if as_json:
        print_json(rows)
    elif rows:
        print_table([{**row, "content": _compact(row["content"])} for row in rows], HISTORY)
        for row in rows:
            print_corrections([{**found, "position": row["id"]} for found in row["corrections"]])
    else:
        warn(f"no run has touched {record_type} {record_id}")


def diff(
    ctx: typer.Context,
    record_type: Annotated[str | None, typer.Argument(help="Kind of record.")] = None,
    record_id: Annotated[
        str | None, typer.Argument(help="Its id; after -- where it begins with a dash.")
    ] = None,
    earlier: Annotated[str | None, typer.Option("--from", help=AS_OF, metavar="WHEN")] = None,
    later: Annotated[str | None, typer.Option("--to", help="Likewise; default: now.", metavar="WHEN")] = None,
    as_json: Json = False,
    as_of: AsOf = None,
    final: Final = False,
) -> None:
    """Show what changed: of a record, from version to version; or of the ledger, from one instant to another.

    Example: audit-ledger diff QuiverTrade 12345

    Example: audit-ledger diff --from "2025-12-24 America/New_York" --to "2025-12-31 America/New_York"
    """
    if earlier is not None:
        if record_id is not None:
            raise typer.BadParameter("--from compares the whole ledger: leave the record out")
        _diff_of_ledger(ctx, earlier, later, as_json)
    elif record_type is None or record_id is None:
        raise typer.BadParameter("name a record, TYPE ID, or two instants, --from and --to")
    else:
        _diff_of_record(ctx, record_type, record_id, as_json)


def _diff_of_record(ctx: typer.Context, record_type: str, record_id: str, as_json: bool) -> None:
    from audit_ledger.reading.difference import versions_compared

    with asking(ctx) as ledger:
        versions = ledger.history(record_type, record_id)
    changes = list(versions_compared(versions))
    if as_json:
        print_json(
            [
                {
                    "position": version.id,
                    "recorded_at": version.recorded_at,
                    "operation": version.operation,
                    "run_id": version.run_id,
                    "changes": [asdict(change) for change in found],
                }
                for version, found in changes
            ]
        )
        return
    if not versions:
        warn(f"no run has touched {record_type} {record_id}")
    elif not changes:
        warn(f"{record_type} {record_id} has not changed since it was created")
    for version, found in changes:
        at = version.recorded_at.strftime("%Y-%m-%d %H:%M:%SZ")
        typer.echo(f"{version.operation} at position {version.id}, {at}, run {version.run_id.hex[:8]}")
        for change in found if version.operation != "withdrawn" else ():
            typer.echo(f"  {one_line(_told(change))}")


def _told(change: FieldChange) -> str:
    before, after = _compact(change.before), _compact(change.after)
    path = change.path or "(the content)"
    if change.change == "added":
        return f"+ {path}: {after}"
    return f"- {path}: {before}" if change.change == "removed" else f"~ {path}: {before} → {after}"


def _diff_of_ledger(ctx: typer.Context, earlier: str, later: str | None, as_json: bool) -> None:
    from audit_ledger.reading.runs import as_dict

    with ctx.obj.connect() as ledger:
        difference: Difference = ledger.diff(earlier, later or ledger.reference().position)
        started = [as_dict(run) for run in difference.started]
        ended = [as_dict(run) for run in difference.ended]
        changes = [asdict(change) for change in difference.records]
        headers = difference.earlier.header, difference.later.header
    if as_json:
        print_json(
            {
                "from": headers[0].as_dict(),
                "to": headers[1].as_dict(),
                "runs_started": started,
                "runs_ended": ended,
                "records": changes,
            }
        )
        return
    numbers = {kind: sum(change["change"] == kind for change in changes) for kind in CHANGES}
    print_pairs(
        [
            ("from", headers[0]),
            ("to", headers[1]),
            ("runs", f"{len(started):,} started, {len(ended):,} ended"),
            ("records", ", ".join(f"{number:,} {kind}" for kind, number in numbers.items())),
        ]
    )
    for title, rows, columns in (("runs", started, RUNS), ("records", changes, RECORD_CHANGES)):
        if rows:
            typer.echo(f"\n{title}:")
            print_table(rows, columns)


CHANGES = ("created", "updated", "withdrawn")


def chain(
    ctx: typer.Context,
    decision_id: Annotated[str, typer.Argument(help="Id of the decision.")],
    as_json: Json = False,
    as_of: AsOf = None,
    final: Final = False,
) -> None:
    """Show ingestion, decision, execution: what a decision could know, what it used, what was carried out.

    Example: audit-ledger chain order-2025-12-24-1
    """
    with asking(ctx) as ledger:
        found = ledger.chain(decision_id)
    if as_json:
        print_json({**asdict(found), "discrepancies": found.discrepancies})
        return
    at = found.reference_at.strftime("%Y-%m-%d %H:%M:%SZ")
    print_pairs(
        [
            ("decision", found.decision_id),
            ("decided", found.decided_at),
            ("by", found.by),
            ("details", _compact(found.details)),
            ("position", found.position),
            (
                "knew",
                f"the ledger up to position {found.reference}, recorded {at}: {count(found.runs, 'run')}",
            ),
        ]
    )
    if found.available:
        typer.echo("\navailable to it:")
        print_table([asdict(one) for one in found.available], AVAILABLE)
    if found.used:
        typer.echo("\nused by it:")
        print_table([_used(asdict(one)) for one in found.used], USED)
    for discrepancy in found.discrepancies:
        typer.echo(one_line(f"❌ discrepancy: {discrepancy}"))
    if found.executions:
        typer.echo("\ncarried out:")
        print_table([asdict(one) for one in found.executions], EXECUTIONS)
    else:
        typer.echo("\nnothing of it was carried out")


def _used(row: dict[str, Any]) -> dict[str, Any]:
    since = [f"replaced at {row['replaced_by']}"] if row["replaced_by"] else []
    since += [f"corrected, {count(row['corrections'], 'time')}"] if row["corrections"] else []
    position = "not on record" if row["position"] is None else str(row["position"])
    record = f"{row['record_type']} {row['record_id']}"
    return {**row, "record": record, "position": position, "since_then": ", ".join(since)}


def _compact(value: object) -> str | None:
    return None if value is None else plain(json.dumps(value, ensure_ascii=False))
