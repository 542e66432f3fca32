"""All commands, in the order of `--help`, and what becomes of their errors."""

import inspect
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

import audit_ledger
from audit_ledger import cli
from audit_ledger.cli import (
    administration,
    amendments,
    anchoring,
    calls,
    config,
    governance,
    keys,
    publishing,
    questions,
    records,
    replaying,
    sealing,
    spooled,
    standing,
    watching,
)
from audit_ledger.cli.output import complain
from audit_ledger.cli.place import Place
from audit_ledger.errors import LedgerError

HELP = """
An append-only audit ledger of data-ingestion runs, on PostgreSQL.

Without a URL the ledger is the embedded one, whose server is started when it is needed.
Settings also come from AUDIT_LEDGER_URL, AUDIT_LEDGER_HOME, AUDIT_LEDGER_NAME and ledger.toml.

Did it run?                  audit-ledger check --since 24h
Where did this come from?    audit-ledger provenance QuiverTrade 12345
What did we have then?       audit-ledger records QuiverTrade --as-of "2025-12-24 09:00 America/New_York"
"""
EPILOG = "".join(inspect.cleandoc(cli.__doc__ or "").partition("Exit codes")[1:])


class Commands(TyperGroup):
    """The commands, with their errors turned into words on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except LedgerError as error:
            complain(str(error))
            raise typer.Exit(cli.FAILED) from error
        except KeyboardInterrupt as error:
            complain("interrupted")
            raise typer.Exit(cli.INTERRUPTED) from error
        except BrokenPipeError as error:
            # What is still buffered goes nowhere, lest the interpreter complains when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(cli.UNREAD) from error
        return result


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"audit-ledger {audit_ledger.__version__}")
        raise typer.Exit


def _options(
    ctx: typer.Context,
    url: Annotated[str | None, typer.Option(help="PostgreSQL URL of the ledger.", metavar="URL")] = None,
    home: Annotated[
        Path | None,
        typer.Option(help="Folder of the embedded ledger, to be used whatever AUDIT_LEDGER_URL says."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the ledger; default: ledger.")] = None,
    as_of: Annotated[
        str | None, typer.Option("--as-of", metavar="WHEN", help="Ask as of then; also after the command.")
    ] = None,
    final: Annotated[bool, typer.Option("--final", help="Make that answer final, by a heartbeat.")] = False,
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    ctx.obj = Place(url, home, name, as_of, final)


app = typer.Typer(
    cls=Commands,
    callback=_options,
    help=HELP,
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.command(rich_help_panel="Questions")(questions.runs)
app.command(rich_help_panel="Questions")(questions.show)
app.command(rich_help_panel="Questions")(questions.provenance)
app.command(rich_help_panel="Questions")(records.records)
app.command(rich_help_panel="Questions")(records.history)
app.command(rich_help_panel="Questions")(records.diff)
app.command(rich_help_panel="Questions")(records.chain)
app.command(rich_help_panel="Questions")(calls.calls)
app.command(rich_help_panel="Questions")(calls.payload)
app.command(rich_help_panel="Watching")(watching.check)
app.command(rich_help_panel="Watching")(watching.watch)
app.command(rich_help_panel="Watching")(watching.alerts)
app.command(rich_help_panel="Watching")(watching.ack)
app.command("audit-alerts", rich_help_panel="Watching")(watching.audit_alerts)
app.command(rich_help_panel="Questions")(standing.status)
app.command(rich_help_panel="Questions")(replaying.replay)
app.command(rich_help_panel="Questions")(replaying.verify)


class Raw(TyperCommand):
    """A command that reads its own command line."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Leave all of it to the command, help included."""
        ctx.args = args
        return args


@app.command("exec", cls=Raw, rich_help_panel="Recording")
def exec_(ctx: typer.Context) -> None:
    """Run any command inside a run; `audit-ledger exec --help` says how.

    Example: audit-ledger exec --task data_fetch:congress_daily --source quiverquant_congress -- ./fetch.sh
    """
    from audit_ledger.executing.main import main

    place: Place = ctx.obj
    raise typer.Exit(main(ctx.args, url=place.url_given, home=place.home, name=place.name))


app.command(rich_help_panel="Amendments")(amendments.close)
app.command(rich_help_panel="Amendments")(amendments.correct)
spool = typer.Typer(no_args_is_help=True, help="What waits on this machine while the database is away.")
spool.command("status")(spooled.spool_status)
spool.command("forward")(spooled.spool_forward)
app.add_typer(spool, name="spool", rich_help_panel="Amendments")
projections = typer.Typer(
    no_args_is_help=True, help="The read models: how far they are, and bringing them on."
)
projections.command("status")(standing.projections_status)
projections.command("update")(amendments.projections_update)
projections.command("rebuild")(replaying.projections_rebuild)
app.add_typer(projections, name="projections", rich_help_panel="Amendments")

erase = typer.Typer(no_args_is_help=True, help="Erase bytes for good; the log keeps what refers to them.")
erase.command("payload")(governance.erase_payload)
erase.command("record")(governance.erase_record)
app.add_typer(erase, name="erase", rich_help_panel="Officers")
hold = typer.Typer(no_args_is_help=True, help="Forbid erasing what a hold covers, until it is released.")
hold_add = typer.Typer(no_args_is_help=True, help="Add a hold on a payload, a record or a run.")
hold_add.command("payload")(governance.hold_add_payload)
hold_add.command("record")(governance.hold_add_record)
hold_add.command("run")(governance.hold_add_run)
hold.add_typer(hold_add, name="add")
hold.command("release")(governance.hold_release)
hold.command("list")(governance.hold_list)
app.add_typer(hold, name="hold", rich_help_panel="Officers")
retention = typer.Typer(invoke_without_command=True, callback=governance.retention)
retention.command("show")(governance.retention_show)
retention.command("set")(governance.retention_set)
app.add_typer(retention, name="retention", rich_help_panel="Officers")
app.command(rich_help_panel="Officers")(anchoring.recover)

app.command(rich_help_panel="Evidence")(sealing.seal)
app.command(rich_help_panel="Evidence")(anchoring.anchor)
app.command(rich_help_panel="Evidence")(anchoring.anchors)
app.command(rich_help_panel="Evidence")(publishing.publish)
prove = typer.Typer(no_args_is_help=True, help="Write files that show to outsiders what is in the ledger.")
prove.command("event")(sealing.prove_event)
app.add_typer(prove, name="prove", rich_help_panel="Evidence")
key = typer.Typer(no_args_is_help=True, help="The key that seals the ledger.")
key.command("new")(keys.key_new)
key.command("list")(keys.key_list)
key.command("rotate")(keys.key_rotate)
app.add_typer(key, name="key", rich_help_panel="Evidence")

app.command(rich_help_panel="Administration")(administration.init)
app.command(rich_help_panel="Administration")(administration.doctor)
app.command(rich_help_panel="Administration")(administration.url)
configuration = typer.Typer(no_args_is_help=True, help="The file ledger.toml: tasks, channels, maintenance.")
configuration.command("check")(config.check)
configuration.command("test-channel")(config.test_channel)
app.add_typer(configuration, name="config", rich_help_panel="Administration")
PASSES_ARGUMENTS = {"allow_extra_args": True, "ignore_unknown_options": True}
app.command(rich_help_panel="Administration", context_settings=PASSES_ARGUMENTS)(administration.psql)
app.command("pg_dump", rich_help_panel="Administration", context_settings=PASSES_ARGUMENTS)(
    administration.pg_dump
)
server = typer.Typer(no_args_is_help=True, help="The embedded PostgreSQL server, in AUDIT_LEDGER_HOME.")
server.command("start")(administration.server_start)
server.command("stop")(administration.server_stop)
server.command("status")(administration.server_status)
app.add_typer(server, name="server", rich_help_panel="Administration")
