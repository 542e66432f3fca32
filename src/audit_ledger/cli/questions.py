"""The commands that ask: runs, show, provenance."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audit_ledger.cli.output import (
    Column,
    Form,
    Format,
    Json,
    one_line,
    print_export,
    print_json,
    print_pairs,
    print_table,
    warn,
)
from audit_ledger.cli.place import asking

if TYPE_CHECKING:
    from audit_ledger.reading.interface import Reading
    from audit_ledger.reading.query import Query
    from audit_ledger.reading.runs import Runs


def _travel(ctx: typer.Context, as_of: str | None) -> str | None:
    if as_of is not None:
        ctx.obj = replace(ctx.obj, as_of=as_of)
    return as_of


def _finally(ctx: typer.Context, final: bool) -> bool:
    if final:
        ctx.obj = replace(ctx.obj, final=True)
    return final


AS_OF = (
    'As of when: "2025-12-24 09:00 America/New_York", "2025-12-24T09:00:00-05:00", a date with a zone (the'
    ' end of that day), a position, or "run RUN_ID".'
)
AsOf = Annotated[str | None, typer.Option("--as-of", metavar="WHEN", callback=_travel, help=AS_OF)]
Final = Annotated[
    bool,
    typer.Option(
        "--final", callback=_finally, help="With --as-of: record a heartbeat first, if that makes it final."
    ),
]
RUN_ID = typer.Argument(help="Id of the run, or its first digits.", metavar="RUN_ID")
SINCE = 'Span until now ("24h", "90m", "7d", "2w"), or instant with an offset ("2025-12-24T09:00:00-05:00").'


class Status(StrEnum):
    """The states of a run."""

    running = "running"
    completed = "completed"
    failed = "failed"


RUNS = (
    Column("run", "run_id"),
    Column("started", "started_at"),
    Column("status", "status"),
    Column("task", "task_name"),
    Column("source", "data_source", room=True),
    Column("fetched", "records_fetched", room=True),
    Column("created", "records_created", room=True),
    Column("updated", "records_updated", room=True),
    Column("skipped", "records_skipped", room=True),
    Column("new/upd/skip", "records", room=False, right=True),
)


def runs(
    ctx: typer.Context,
    task: Annotated[str | None, typer.Option(help="Only of this task.")] = None,
    source: Annotated[str | None, typer.Option(help="Only of this data source.")] = None,
    status: Annotated[Status | None, typer.Option(help="Only in this state.")] = None,
    since: Annotated[str | None, typer.Option(help=f"Only started since. {SINCE}")] = None,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1, max=1_000_000)] = 20,
    follow: Annotated[
        bool,
        typer.Option("--follow", "-f", help="Go on: show what begins, ends and comes on, until Ctrl-C."),
    ] = False,
    as_json: Json = False,
    form: Form = Format.table,
    as_of: AsOf = None,
    final: Final = False,
) -> None:
    """List the runs, newest first.

    With --follow a table that changes; where there is no terminal a line a change, or with --json an object.

    Example: audit-ledger runs --task data_fetch:congress_daily --status failed --since 7d
    """
    from audit_ledger.reading.runs import as_dict

    def narrowed(query: Runs) -> Runs:
        if task is not None:
            query = query.for_task(task)
        if source is not None:
            query = query.for_source(source)
        if status is not None:
            query = query.with_status(status.value)
        return query if since is None else query.started_since(since)

    if follow:
        if ctx.obj.as_of is not None or form is not Format.table:
            raise typer.BadParameter("--follow is about now: it goes with neither --as-of nor --format")
        from audit_ledger.cli.following import follow_runs

        with ctx.obj.connect() as now:
            follow_runs(now, narrowed(now.runs.limit(limit)), as_json=as_json)
        return
    with asking(ctx) as ledger:
        query = narrowed(ledger.runs.limit(limit))
        if form is not Format.table:
            export(ledger, query, form)
            return
        rows = [{**as_dict(run), "recorded_after_seconds": run.recorded_after_seconds} for run in query]
    if as_json:
        print_json(rows)
    elif rows:
        parts = ("records_created", "records_updated", "records_skipped")
        print_table([{**row, "records": "/".join(str(row[part]) for part in parts)} for row in rows], RUNS)
        for row in rows:
            if (delay := late(row["recorded_after_seconds"])) is not None:
                typer.echo(f"run {row['run_id'].hex[:8]} was {delay}")
    else:
        warn("no runs" if (task, source, status, since) == (None,) * 4 else "no such runs")


def show(
    ctx: typer.Context,
    run_id: Annotated[str, RUN_ID],
    as_json: Json = False,
    as_of: AsOf = None,
    final: Final = False,
) -> None:
    """Show all that is known of one run.

    Example: audit-ledger show 1f0c3a7e
    """
    from audit_ledger.reading.details import summary
    from audit_ledger.reading.runs import as_dict

    with asking(ctx) as ledger:
        details = ledger.details(run_id)
        records, calls = summary(details.run)
    if as_json:
        print_json(
            {
                **as_dict(details.run),
                "recorded_after_seconds": details.run.recorded_after_seconds,
                "started": details.started,
                "recorded": details.recorded,
                "records": records,
                "calls": calls,
                "discrepancies": [asdict(found) for found in details.discrepancies],
                "corrections": [asdict(found) for found in details.corrections],
            }
        )
        return
    run, started = details.run, details.started
    duration = run.duration_seconds
    print_pairs(
        [
            ("run", run.run_id),
            ("task", run.task_name),
            ("source", run.data_source),
            ("status", run.status),
            ("started", run.started_at),
            ("completed", run.completed_at),
            ("failed", run.failed_at),
            ("duration", None if duration is None else f"{duration:,.3f} s"),
            ("data from", run.data_date_start),
            ("data to", run.data_date_end),
            ("counts", _counts(as_dict(run))),
            ("scheduled for", started.get("scheduled_for")),
            ("parameters", _compact(started.get("parameters"))),
            ("actor", started.get("actor")),
            ("host", started.get("host")),
            ("process", started.get("process_id")),
            ("code version", started.get("code_version")),
            ("software", started.get("software_version")),
            ("recorded by", started.get("recorded_by")),
            ("recorded at", run.created_at),
            ("delay", late(run.recorded_after_seconds)),
            ("position", run.id),
            ("calls", _calls(calls)),
        ]
    )
    if records:
        typer.echo()
        print_table(records, [Column(key, key) for key in ("record_type", "operation", "records")])
    for found in details.discrepancies:
        typer.echo(f"\n❌ discrepancy ({found.kind}): {one_line(found.detail)}")
    print_corrections([asdict(found) for found in details.corrections])
    if run.status == "failed":
        error = run.error_details or {}
        typer.echo()
        print_pairs(
            [
                ("error", run.error_message),
                ("class", error.get("class")),
                ("exit status", error.get("exit_status")),
                ("signal", error.get("signal")),
            ]
        )
        print_pairs([("  at", frame) for frame in error.get("backtrace") or ()])
        print_pairs([("  printed", line) for line in (error.get("output") or "").splitlines()])


def late(seconds: float) -> str | None:
    """That something was recorded long after it happened, such as "recorded 2 h 5 min after it happened"."""
    minutes = int(seconds // 60)
    if not minutes:
        return None
    days, hours = divmod(minutes // 60, 24)
    parts = [(days, "d"), (hours, "h"), (minutes % 60, "min")]
    return f"recorded {' '.join(f'{n} {unit}' for n, unit in parts if n)} after it happened"


def export(ledger: Reading, query: Query[Any], form: Format, columns: Sequence[str] = ()) -> None:
    """Print the rows of a query for programs, with the header of the answer."""
    header = ledger.header
    print_export(header.as_dict() if header else {}, query.export(form.value, columns), form)


def print_corrections(corrections: Sequence[Mapping[str, Any]]) -> None:
    """Say what was said later of events that were wrong."""
    for found in corrections:
        values = f": {_compact(found['values'])}" if found["values"] else ""
        typer.echo(
            one_line(
                f"✎ position {found['position']} was corrected by {found['by']}: {found['reason']}{values}"
            )
        )


def _counts(row: dict[str, Any]) -> str:
    names = ("fetched", "created", "updated", "skipped")
    return ", ".join(f"{row[f'records_{name}']:,} {name}" for name in names)


def _compact(value: object) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)


def _calls(calls: list[dict[str, Any]]) -> str | None:
    """The API calls of a run on one line, such as "3: 2 with status 200, 1 without an answer"."""
    if not calls:
        return None
    total = sum(row["calls"] for row in calls)
    parts = [
        f"{row['calls']:,} "
        + (
            "without an answer"
            if row["http_status_code"] is None
            else f"with status {row['http_status_code']}"
        )
        for row in calls
    ]
    return f"{total:,}: {', '.join(parts)}"


PROVENANCE = (
    Column("run", "run_id"),
    Column("recorded", "created_at"),
    Column("operation", "operation"),
    Column("task", "task_name"),
    Column("source", "data_source", room=True),
    Column("run started", "started_at", room=True),
    Column("run status", "status"),
)


def provenance(
    ctx: typer.Context,
    record_type: Annotated[str, typer.Argument(help="Kind of record.")],
    record_id: Annotated[str, typer.Argument(help="Its id; after -- where it begins with a dash.")],
    as_json: Json = False,
    form: Form = Format.table,
    as_of: AsOf = None,
    final: Final = False,
) -> None:
    """Say which runs touched a record, when and how, newest first.

    Example: audit-ledger provenance QuiverTrade 12345
    """
    with asking(ctx) as ledger:
        if form is not Format.table:
            export(ledger, ledger.touches.of(record_type, record_id), form)
            return
        rows = [asdict(touch) for touch in ledger.provenance(record_type, record_id)]
    if as_json:
        print_json(rows)
    elif rows:
        print_table(rows, PROVENANCE)
    else:
        warn(f"no run has touched {record_type} {record_id}")
