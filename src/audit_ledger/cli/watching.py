"""The commands that watch: check, watch, alerts, ack, audit-alerts."""

from __future__ import annotations

import signal
import threading
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audit_ledger import cli
from audit_ledger.cli.output import (
    Column,
    Json,
    count,
    instant,
    one_line,
    print_json,
    print_pairs,
    print_table,
    warn,
)
from audit_ledger.cli.place import asking
from audit_ledger.cli.questions import SINCE, AsOf, Final

if TYPE_CHECKING:
    from audit_ledger.reading.interface import Reading
    from audit_ledger.watching.check import Checked

ALERT_ID = typer.Argument(help="The alert's id, or its first digits.")

ALERTS = (
    Column("alert", "alert_id"),
    Column("raised", "raised_at"),
    Column("status", "status"),
    Column("severity", "severity", room=True),
    Column("title", "title"),
    Column("owner", "owner", room=True),
)
FINDINGS = (
    Column("found", "found_at"),
    Column("kind", "kind"),
    Column("run", "run_id"),
    Column("due", "scheduled_for", room=True),
    Column("what", "detail"),
)
ATTEMPTS = (
    Column("channel", "channel"),
    Column("notice", "notice"),
    Column("attempt", "attempt"),
    Column("at", "attempted_at"),
    Column("status", "status"),
    Column("error", "error"),
)
AUDITED = (
    Column("at", "at"),
    Column("kind", "kind"),
    Column("task", "task"),
    Column("run", "run_id"),
    Column("told", "told_at"),
    Column("what", "detail", room=True),
)


class LogFormat(StrEnum):
    """What a line of a log is."""

    text = "text"
    json = "json"


def check(
    ctx: typer.Context,
    since: Annotated[str, typer.Option(help=SINCE)] = "24h",
    as_json: Json = False,
    as_of: AsOf = None,
    final: Final = False,
) -> None:
    """Look once for what is not well: for cron.

    Runs that failed, were not begun when ledger.toml says so, take too long, show no sign of life or brought
    nothing, and whatever else a watcher would find; or no run at all. And whether the ledger continues its
    checkpoints that are kept elsewhere, where [anchors] of ledger.toml says where. Ends with 1 when there is
    something.

    Example: audit-ledger check --since 24h
    """
    from audit_ledger.reading.when import since as instant_of

    with asking(ctx) as ledger:
        start = instant_of(since, now=ledger.now)
        findings = [*_elsewhere(ledger), *ledger.check(start)]
        number = ledger.runs.started_since(start).count()
    if as_json:
        print_json([asdict(found) for found in findings])
    else:
        for found in findings:
            about = f" since {instant(start)}" if found.kind == "none" else ""
            about = f" {found.task}" if found.task else about
            run = f" (run {found.run_id.hex[:8]})" if found.run_id else ""
            typer.echo(one_line(f"❌ {found.kind}{about}{run}: {found.detail}"))
        if not findings:
            typer.echo(f"✅ {count(number, 'run')} since {instant(start)}: nothing is wrong")
    if findings:
        raise typer.Exit(cli.WRONG)


def _elsewhere(ledger: Reading) -> list[Checked]:
    """What comparing with checkpoints that are kept elsewhere finds; nothing, of a ledger as it was."""
    from audit_ledger import Ledger
    from audit_ledger.errors import LedgerError
    from audit_ledger.watching.check import Checked

    if not isinstance(ledger, Ledger):
        return []
    try:
        looked = ledger.look_outside()
    except LedgerError as error:
        return [Checked("outside", str(error))]
    refused = ledger.status().refused
    if refused is None and looked.wrong is not None:  # who may not say so in the database
        refused = f"expected {looked.wrong.expected}; found {looked.wrong.actual}"
    found = [Checked("outside", str(trouble)) for trouble in looked.troubles]
    return found if refused is None else [Checked("refused", f"the ledger refuses events: {refused}"), *found]


def watch(
    ctx: typer.Context,
    verify_at: Annotated[
        str | None,
        typer.Option(help="When to verify everything, as verify --live: a cron expression, in UTC."),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(metavar="[HOST:]PORT", help="Serve metrics for Prometheus there; HOST: 127.0.0.1."),
    ] = None,
    log_format: Annotated[
        LogFormat | None, typer.Option(help="Form of what it logs; default: the setting log_format.")
    ] = None,
) -> None:
    """Watch, until stopped: put on record what is not well, and tell the channels of ledger.toml.

    For a service manager. Several may watch one ledger: one is at work, the others wait for its end.

    Examples: audit-ledger watch --verify-at "0 3 * * sun"; audit-ledger watch --metrics 0.0.0.0:9464
    """
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    from audit_ledger import logs

    logs.configure(log_format.value if log_format else ctx.obj.settings().log_format)
    with ctx.obj.connect() as ledger:
        ledger.watch(stopped, verify_at=verify_at, metrics=metrics)


def alerts(
    ctx: typer.Context,
    alert_id: Annotated[str | None, ALERT_ID] = None,
    only_open: Annotated[bool, typer.Option("--open", help="Only those whose incident is not over.")] = False,
    limit: Annotated[int, typer.Option("--limit", help="At most so many.", min=0)] = 50,
    as_json: Json = False,
    as_of: AsOf = None,
    final: Final = False,
) -> None:
    """List the alerts, newest first; or show one: what belongs to it, and who was told.

    Examples: audit-ledger alerts --open; audit-ledger alerts 1f0c3a7e
    """
    with asking(ctx) as ledger:
        if alert_id is not None:
            _show(ledger.alert_details(alert_id), as_json=as_json)
            return
        found = ledger.alerts.open() if only_open else ledger.alerts
        rows: list[dict[str, Any]] = [{**asdict(row), "status": row.status} for row in found.limit(limit)]
    if as_json:
        print_json(rows)
    elif rows:
        print_table(rows, ALERTS)
    else:
        warn("no alert is open" if only_open else "there is no alert")


def _show(found: Any, *, as_json: bool) -> None:
    if as_json:
        alert = {**asdict(found.alert), "status": found.alert.status}
        print_json({**alert, "findings": found.findings, "attempts": found.attempts})
        return
    alert = found.alert
    pairs = [
        ("alert", alert.alert_id),
        ("title", alert.title),
        ("status", alert.status),
        ("raised", alert.raised_at),
        ("severity", alert.severity),
        ("channels", ", ".join(alert.channels) or "none"),
    ]
    if alert.owner:
        pairs.append(("owner", alert.owner))
    if alert.acknowledged_at:
        said = f": {alert.acknowledged_reason}" if alert.acknowledged_reason else ""
        pairs.append(("acknowledged", f"{instant(alert.acknowledged_at)} by {alert.acknowledged_by}{said}"))
    if alert.resolved_at:
        pairs.append(("over", f"{instant(alert.resolved_at)}: {alert.resolved_reason}"))
    print_pairs(pairs)
    typer.echo()
    print_table(found.findings, FINDINGS)
    typer.echo()
    if found.attempts:
        print_table(found.attempts, ATTEMPTS)
    else:
        warn("nobody was told")


def ack(
    ctx: typer.Context,
    alert_id: Annotated[str, ALERT_ID],
    by: Annotated[str, typer.Option(help="Who says so; in the log for ever.")],
    reason: Annotated[str | None, typer.Option(help="What there is to say; in the log for ever.")] = None,
) -> None:
    """Say that you have seen an alert: nobody is reminded of it any more.

    Example: audit-ledger ack 1f0c3a7e --by ada --reason "on it"
    """
    with ctx.obj.connect() as ledger:
        ledger.acknowledge(alert_id, by=by, reason=reason)
        alert = ledger.alert_details(alert_id).alert
    typer.echo(f"acknowledged {alert.alert_id}: {one_line(alert.title)}")


def audit_alerts(
    ctx: typer.Context,
    since: Annotated[str, typer.Option(help="Beginning: a span until now, or an instant.")] = "24h",
    until: Annotated[str | None, typer.Option(help="Its end; by default a minute ago.")] = None,
    as_json: Json = False,
    as_of: AsOf = None,
    final: Final = False,
) -> None:
    """Prove from the events that somebody was told of every failure, miss and stall of a period.

    Ends with 1 where nobody was told of one.

    Example: audit-ledger audit-alerts --since 30d
    """
    with asking(ctx) as ledger:
        found = ledger.audit_alerts(since, until)
    untold = [one for one in found if one.told_at is None]
    if as_json:
        print_json([asdict(one) for one in found])
    else:
        if untold:
            print_table([asdict(one) for one in untold], AUDITED)
        sign = "❌" if untold else "✅"
        told, all_of_them = len(found) - len(untold), count(len(found), "failure")
        said = f"somebody was told of {told:,} of {all_of_them}, misses and stalls included"
        typer.echo(f"{sign} {said}")
    if untold:
        raise typer.Exit(cli.WRONG)
