"""The commands about the database: init, doctor, url, psql, pg_dump, server."""

import logging
import os
from dataclasses import asdict
from typing import Annotated, NoReturn

import typer

from audit_ledger import cli
from audit_ledger.cli.output import Json, plain, print_json, print_pairs
from audit_ledger.cli.place import Place, Role


def init(
    ctx: typer.Context,
    url: Annotated[
        str | None, typer.Option(help="URL of an administrator of the database.", metavar="URL")
    ] = None,
) -> None:
    """Make the ledger, or bring it up to this software. Safe to repeat.

    Without a URL, here or in AUDIT_LEDGER_URL, that is an embedded one in AUDIT_LEDGER_HOME.

    Example: audit-ledger init --url postgresql://postgres@db.example.com/audit
    """
    from audit_ledger.reaching import prepare
    from audit_ledger.store import migrations
    from audit_ledger.store.connecting import connect

    place: Place = ctx.obj
    if url is not None:
        place = Place(url, place.home, place.name)
    settings = place.settings()
    if settings.url:
        with connect(settings.url, settings) as conn:
            done = migrations.init(conn, settings.name)
    else:
        logging.getLogger("audit_ledger").setLevel(logging.ERROR)  # what it says is printed below
        done = prepare(place.server(), settings)
    for line in done or ["nothing to do"]:
        typer.echo(line)


def doctor(ctx: typer.Context, as_json: Json = False) -> None:
    """Check that all is as it must be for the ledger to work; say what to do where it is not.

    Ends with 1 when something is wrong.

    Example: audit-ledger doctor
    """
    from audit_ledger.reading.doctor import examine

    checks = examine(ctx.obj.settings())
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        for check in checks:
            typer.echo(plain(f"{'✅' if check.ok else '❌'} {check.name}: {check.detail}"))
            if check.remedy:
                typer.echo(plain(f"   remedy: {check.remedy}"))
    if not all(check.ok for check in checks):
        raise typer.Exit(cli.WRONG)


def url(
    ctx: typer.Context,
    role: Annotated[
        Role | None,
        typer.Option(help="As whom; default: the writer, or whoever the configured URL names."),
    ] = None,
) -> None:
    """Print the URL of the ledger, for any PostgreSQL client; with its password, if it has one.

    Example: audit-ledger url --role reader
    """
    typer.echo(ctx.obj.connection_url(role))


def psql(
    ctx: typer.Context,
    role: Annotated[Role, typer.Option(help="As whom.")] = Role.reader,
) -> None:
    """Open psql on the ledger; what else is given goes to psql.

    Tables are found without a prefix. It ends with psql's exit status.

    Example: audit-ledger psql -c 'select task_name, status from data_ingestion_runs'
    """
    _execute(ctx, "psql", role)


def pg_dump(
    ctx: typer.Context,
    role: Annotated[Role, typer.Option(help="As whom.")] = Role.admin,
) -> None:
    """Run pg_dump on the ledger's database, in the server's own version; what is given goes to pg_dump.

    It ends with pg_dump's exit status.

    Example: audit-ledger pg_dump --format=custom --file=ledger.dump
    """
    _execute(ctx, "pg_dump", role)


def _execute(ctx: typer.Context, program: str, role: Role) -> NoReturn:
    """Become a client program of PostgreSQL's, connected to the ledger, its read models found first."""
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    name = ctx.obj.settings().name
    given = conninfo_to_dict(ctx.obj.connection_url(role))
    options = f"{given.pop('options', None) or ''} -c search_path={name}_read,{name}".strip()
    password = given.pop("password", None)  # not on a command line, which everybody can see
    environment = {**os.environ, **({"PGPASSWORD": str(password)} if password else {})}
    conninfo = make_conninfo("", **{key: str(value) for key, value in given.items()}, options=options)
    path = ctx.obj.server().binaries / program
    os.execve(path, [program, f"--dbname={conninfo}", *ctx.args], environment)


def server_start(ctx: typer.Context) -> None:
    """Start the embedded server; it is made first where there is none.

    Example: audit-ledger server start
    """
    from audit_ledger.reaching import prepare

    server = ctx.obj.server()
    ran = server.status().running
    done = prepare(server, ctx.obj.settings())
    for line in done:
        typer.echo(line)
    state = server.status()
    typer.echo(f"{'runs already' if ran else 'started'}: PostgreSQL {state.version}, process {state.pid}")


def server_stop(ctx: typer.Context) -> None:
    """Stop the embedded server. It starts again when it is next needed.

    Example: audit-ledger server stop
    """
    typer.echo("stopped" if ctx.obj.server().stop() else "was not running")


def server_status(ctx: typer.Context, as_json: Json = False) -> None:
    """Show whether the embedded server runs, and where.

    Example: audit-ledger server status
    """
    state = ctx.obj.server().status()
    if as_json:
        print_json(asdict(state))
        return
    print_pairs(
        [
            ("state", "running" if state.running else "stopped"),
            ("version", state.version and f"PostgreSQL {state.version}"),
            ("process", state.pid),
            ("home", state.home),
            ("data", state.data_directory),
            ("socket", state.socket_directory),
        ]
    )
