"""The commands of evidence: seal, prove, and verify --proof."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audit_ledger import cli
from audit_ledger.cli import anchoring
from audit_ledger.cli.evidence import write_proof
from audit_ledger.cli.output import complain, count, one_line, print_pairs
from audit_ledger.cli.place import Role
from audit_ledger.errors import ConfigurationError, EvidenceInvalid, InvalidValue

if TYPE_CHECKING:
    from audit_ledger import Ledger
    from audit_ledger.evidence.checkpoint import Checkpoint
    from audit_ledger.evidence.leaf import Leaf

AT_LEAST = 60.0
"""Seal at least every so many seconds, where there is something new."""


def seal(
    ctx: typer.Context,
    follow: Annotated[
        bool, typer.Option("--follow", help="Seal whenever a run ends, and at least every minute.")
    ] = False,
) -> None:
    """Hash the events that are new into the ledger's Merkle tree, and sign a checkpoint of all of them.

    Takes the key that `audit-ledger key new` makes. Scripts that record do not wait for it.

    Example: audit-ledger seal
    """
    from audit_ledger.cli.replaying import progress

    with ctx.obj.connect(Role.sealer) as ledger:
        if follow:
            from audit_ledger.cli import following

            following.follow(ledger, _Follower(ledger).look, pause=following.AT_MOST)
            return
        with progress("sealing") as tell:
            sealed = ledger.seal(tell=tell)
        if sealed is not None:
            show(sealed)
        anchoring.after_seal(ledger)
        if sealed is not None:
            return
        found = ledger.status()
    typer.echo(f"nothing new since position {found.sealed}" if found.position else "the ledger is empty")


class _Follower:
    """Seals when a run has ended, and when a minute has passed."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._looked = 0
        self._sealed_at: float | None = None
        self._anchoring = anchoring.in_background(ledger)

    def look(self) -> None:
        """Seal, if it is time."""
        (row,) = self._ledger.database.query(
            "SELECT h.position, EXISTS (SELECT FROM events WHERE position > %s AND position <= h.position"
            "   AND type IN ('RunCompleted', 'RunFailed')) AS ended FROM head h",
            [self._looked],
        )
        now = time.monotonic()
        if self._sealed_at is None or row["ended"] or now - self._sealed_at >= AT_LEAST:
            sealed = self._ledger.seal()
            if sealed is not None:
                show(sealed)
                sys.stdout.flush()
            self._sealed_at = now
            self._anchoring.step()
        self._looked = row["position"]


def show(sealed: Checkpoint) -> None:
    """Say what was sealed."""
    typer.echo(f"sealed up to position {sealed.size}: root {sealed.root.hex()}")


def prove_event(
    ctx: typer.Context,
    position: Annotated[int, typer.Argument(help="Position of the event.", min=1)],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; default: stdout.", metavar="FILE")
    ] = None,
) -> None:
    """Write a file that shows to anybody who has the verifier key that an event is in the ledger.

    It is a c2sp.org/tlog-proof with the event's bytes: give it away only where the event itself may be seen.

    Example: audit-ledger prove event 12 -o 12.tlog-proof
    """
    with ctx.obj.connect(Role.reader) as ledger:
        proof = ledger.prove_event(position)
    if output is None:
        sys.stdout.buffer.write(proof.file)
        return
    write_proof(output, proof.file)
    typer.echo(f"{output}: the event at position {position} is in the checkpoint of size {proof.size}")


def verify_package(package: Path, keys: list[str], tsa: list[Path], jobs: int | None) -> None:
    """Check an evidence package, by the verifier that is in each of them; ends as it does."""
    from audit_ledger.evidence.verify import verify

    report = verify(package, keys, tsa, jobs, bar=sys.stderr.isatty())
    typer.echo(str(report))
    if report.code:
        raise typer.Exit(report.code)


def verify_proofs(given: list[Path], key: str) -> None:
    """Check files that `prove` made, without the ledger; ends with 1 where one proves nothing.

    Args:
        given: The files; a folder stands for the proofs in it.
        key: The ledger's verifier key.
    """
    from audit_ledger.evidence.keys import ED25519, Verifier
    from audit_ledger.evidence.proving import verify_event
    from audit_ledger.evidence.sealing import rotated

    verifier = Verifier.parse(key.strip())
    if verifier.type != ED25519:
        raise InvalidValue(
            "key", expected="the verifier key of a ledger, of type 1", actual="one of a witness"
        )
    files = [file for one in given for file in _proofs_in(one)]
    wrong, sizes, following = 0, set[int](), list[str]()
    for file in files:
        try:
            event, verified = verify_event(_read(file), [verifier], origin=verifier.name)
        except EvidenceInvalid as error:
            complain(str(error) if len(files) == 1 else f"{file}: {error}")
            wrong += 1
            continue
        sizes.add(verified.checkpoint.size)
        if event.type == "KeyRotated":
            following.append(rotated(event.position, event.state)[1].key)
        if len(files) == 1:
            _show_event(event)
        else:
            at = f"{event.recorded_at:%Y-%m-%d %H:%M:%S.%fZ}"
            typer.echo(one_line(f"✅ {file}: position {event.position}, {event.type}, recorded {at}"))
    if wrong:
        raise typer.Exit(cli.WRONG)
    which = "this event is" if len(files) == 1 else f"these {len(files):,} events are"
    size = count(max(sizes), "event")
    where = f"its checkpoint of {size}" if len(sizes) == 1 else f"{len(sizes)} checkpoints, of up to {size}"
    typer.echo(f"\n✅ {which} in the ledger {verifier.name}, in {where}")
    for other in following:
        typer.echo(f"from its next checkpoint on it is signed by {other}")


def _proofs_in(given: Path) -> list[Path]:
    """The file, or the proofs in the folder, by their numbers."""
    if not given.is_dir():
        return [given]
    found = sorted(given.glob("*.tlog-proof"), key=lambda file: (len(file.name), file.name))
    if not found:
        raise ConfigurationError(
            f"there is no proof in {given}",
            expected="files *.tlog-proof",
            actual="none",
            remedy="give the folder that `prove run` wrote to",
        )
    return found


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"the proof cannot be read from {file}", actual=str(error), remedy="give the path of a proof"
        ) from error


def _show_event(event: Leaf) -> None:
    print_pairs(
        [
            ("position", event.position),
            ("recorded", f"{event.recorded_at:%Y-%m-%d %H:%M:%S.%fZ}"),
            ("recorded by", event.recorded_by),
            ("type", event.type),
            ("stream", event.stream_id),
            ("version", event.version),
            ("state", event.state.decode("utf-8", "backslashreplace")),
        ]
    )
