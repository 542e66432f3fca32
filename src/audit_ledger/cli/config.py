"""The commands about ledger.toml: config check, config test-channel. They need no ledger."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audit_ledger import cli
from audit_ledger.cli.output import Json, complain, count, one_line, print_json, print_pairs, warn

if TYPE_CHECKING:
    from audit_ledger.plan import Plan, Problem, Task

TIMES = 5
"""So many of a task's next times are shown."""


def check(
    file: Annotated[
        Path | None,
        typer.Argument(help="The file; default: AUDIT_LEDGER_CONFIG, or ledger.toml here.", metavar="FILE"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check ledger.toml, and show when each task is due next and who is told.

    Every problem is listed, with its line and what to do. Ends with 1 when there is one.

    Example: audit-ledger config check
    """
    from audit_ledger.ledger_toml import config_file
    from audit_ledger.plan import examine

    path = file or config_file()
    plan, problems = examine(path)
    warnings = list(_unsure(plan))
    now = datetime.now(UTC)
    tasks = [_shown(task, now) for task in plan.tasks.values()]
    if as_json:
        document = {"file": path, "ok": not problems, "problems": [_listed(problem) for problem in problems]}
        print_json({**document, "warnings": warnings, "channels": list(plan.channels), "tasks": tasks})
    else:
        for task in tasks:
            _print_task(task, now)
        for warning in warnings:
            warn(f"warning: {warning}")
        for problem in problems:
            complain(str(problem.error()))
        if not problems:
            named = (count(len(plan.tasks), "task"), count(len(plan.channels), "channel"))
            typer.echo(one_line(f"{path} is right: {named[0]}, {named[1]}"))
    if problems:
        raise typer.Exit(cli.WRONG)


def test_channel(
    name: Annotated[str, typer.Argument(help="The channel's name in ledger.toml.", metavar="NAME")],
) -> None:
    """Send a test message through a channel, whatever its quiet hours say.

    Example: audit-ledger config test-channel mail
    """
    from audit_ledger.errors import InvalidValue
    from audit_ledger.plan import load_plan
    from audit_ledger.watching.channels import send

    plan = load_plan()
    if name not in plan.channels:
        raise InvalidValue(
            "NAME",
            expected=f"a channel: {', '.join(plan.channels)}"
            if plan.channels
            else "a channel of ledger.toml",
            actual=repr(name),
            remedy="correct it, or add it to ledger.toml",
        )
    body = f"This is a test of channel {name}, sent by audit-ledger config test-channel. Nothing is wrong."
    send(plan.channels[name], "audit-ledger: test message", body, critical=False)
    typer.echo(one_line(f"channel {name} took the message"))


def _unsure(plan: Plan) -> Iterator[str]:
    """What is no mistake of the file, and yet may keep an alert from arriving."""
    from audit_ledger.errors import ConfigurationError
    from audit_ledger.watching.channels import check as check_channel

    for channel in plan.channels.values():
        try:
            check_channel(channel)
        except ConfigurationError as error:
            yield f"channel {channel.name}: " + "; ".join(line.strip() for line in str(error).splitlines())
    for task in plan.tasks.values():
        if not task.channels:
            yield f"task {task.name}: nobody is told; give it channels, or [watch]"


def _shown(task: Task, now: datetime) -> dict[str, Any]:
    """A task as it is shown: its next times in its own zone."""
    from audit_ledger.watching.schedule import next_slots

    times = next_slots(task.schedule, task.zone, now, TIMES) if task.schedule else []
    return {
        "task": task.name,
        **task.definition,
        "next": [time.astimezone(task.zone).isoformat() for time in times],
    }


def _listed(problem: Problem) -> dict[str, Any]:
    names = ("file", "line", "key", "expected", "actual", "remedy")
    return {name: getattr(problem, name) for name in names}


def _print_task(task: dict[str, Any], now: datetime) -> None:
    schedule = (
        f"{task['schedule']} ({task['timezone']})" if "schedule" in task else "none: it is never missed"
    )
    typer.echo(one_line(task["task"]))
    print_pairs(
        [
            ("  schedule", schedule),
            *(("  next" if n == 0 else "", _time(time, now)) for n, time in enumerate(task["next"])),
            ("  channels", ", ".join(task["channels"]) or "none"),
            ("  owner", task.get("owner")),
        ]
    )


def _time(text: str, now: datetime) -> str:
    """A time in its zone, with its offset, and how long it is until then."""
    from audit_ledger.plan.values import duration_text

    time = datetime.fromisoformat(text)
    minutes = max(timedelta(), time - now) // timedelta(minutes=1)
    until = duration_text(timedelta(minutes=minutes)) if minutes else "less than a minute"
    return f"{time:%a %Y-%m-%d %H:%M} {time.isoformat()[-6:]}, in {until}"
