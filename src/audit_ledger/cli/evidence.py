"""The commands that give evidence away: evidence, prove record, prove run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audit_ledger.cli.output import count, warn
from audit_ledger.cli.questions import RUN_ID, AsOf
from audit_ledger.errors import ConfigurationError

KEY = typer.Option(
    "--key",
    help="Verifier key of the ledger; repeat it for several, the newest last. By default those kept here.",
    metavar="VKEY",
)


def evidence(
    ctx: typer.Context,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.", metavar="FILE.zip")],
    bodies: Annotated[
        bool, typer.Option("--bodies", help="With the contents of the records; narrowed, of the calls too.")
    ] = False,
    task: Annotated[str | None, typer.Option(help="Only events of runs of this task.")] = None,
    source: Annotated[str | None, typer.Option(help="Only events of runs of this data source.")] = None,
    record: Annotated[
        tuple[str, str] | None, typer.Option(help="Only events of this record.", metavar="TYPE ID")
    ] = None,
    run: Annotated[str | None, typer.Option(help="Only events of this run.", metavar="RUN_ID")] = None,
    key: Annotated[list[str] | None, KEY] = None,
    force: Annotated[bool, typer.Option("--force", help="Take the place of a file that is there.")] = False,
    as_of: AsOf = None,
) -> None:
    """Write a file from which an outsider checks, without the ledger, what it held as of an instant.

    It holds every event up to then, and the next: whoever is given it sees them all. With --task, --source,
    --record or --run it holds the events of that alone, and does not show that there are no others.

    Example: audit-ledger evidence --as-of "2025-12-24 09:00 America/New_York" -o 2025-12-24.zip
    """
    from audit_ledger.cli.replaying import progress

    when = ctx.obj.as_of or (run and f"run {run}")
    if when is None:
        raise typer.BadParameter("--as-of says what the evidence is of")
    with ctx.obj.connect() as ledger, progress("writing") as tell:
        made = ledger.evidence(
            when,
            output,
            bodies=bodies,
            task=task,
            source=source,
            record=record,
            run=run,
            keys=key or (),
            force=force,
            announce=warn,
            tell=tell,
        )
    question = made.question
    if question.narrowed is None and not question.final:
        warn(
            "no later event is sealed, so that the package cannot show that the answer is final:"
            " once there is one, audit-ledger seal, and write it anew"
        )
    if not made.covered:
        warn("no checkpoint outside your reach covers it: it proves what you signed, and not when")
    what = f" with {count(made.bodies, 'body').replace('bodys', 'bodies')}" if bodies else ""
    typer.echo(
        f"{output}: {count(made.events, 'event')}{what}, {question.kind},"
        f" under the checkpoint of size {question.size}\n{question.header}"
    )


def prove_record(
    ctx: typer.Context,
    record_type: Annotated[str, typer.Argument(help="Kind of record.")],
    record_id: Annotated[str, typer.Argument(help="Its id; after -- where it begins with a dash.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.", metavar="FILE")],
    as_of: AsOf = None,
) -> None:
    """Write a file that shows that a record was in the ledger: the event that brought what was in force then.

    Example: audit-ledger prove record QuiverTrade 12345 -o 12345.tlog-proof
    """
    with ctx.obj.connect() as ledger:
        proof = ledger.prove_record(record_type, record_id, ctx.obj.as_of)
    write_proof(output, proof.file)
    typer.echo(
        f"{output}: {record_type} {record_id} was in the ledger at this checkpoint, of size {proof.size},"
        f" by the event at position {proof.position}"
    )


def prove_run(
    ctx: typer.Context,
    run_id: Annotated[str, RUN_ID],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write to.", metavar="DIR")],
    as_of: AsOf = None,
) -> None:
    """Write a file for each event of a run, that shows that it is in the ledger: POSITION.tlog-proof.

    Example: audit-ledger prove run 1f0c3a7e -o proofs
    """
    size = written = 0
    with ctx.obj.connect() as ledger:
        for proof in ledger.prove_run(run_id, ctx.obj.as_of):
            if not written:
                _make(output)
            write_proof(output / f"{proof.position}.tlog-proof", proof.file)
            size, written = proof.size, written + 1
    typer.echo(f"{output}: {count(written, 'event')} of the run are in the checkpoint of size {size}")


def write_proof(file: Path, data: bytes) -> None:
    """Write a proof.

    Raises:
        ConfigurationError: it cannot be written there.
    """
    try:
        file.write_bytes(data)
    except OSError as error:
        raise ConfigurationError(
            f"the proof cannot be written to {file}",
            expected="a path in a folder that you may make files in",
            actual=str(error),
            remedy="choose another path with -o",
        ) from error


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"the folder {folder} cannot be made", actual=str(error), remedy="choose another path with -o"
        ) from error
