"""The commands of evidence: seal, prove, and verify --proof."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audit_ledger import cli
from audit_ledger.cli import anchoring
from audit_ledger.cli.output import complain, count, print_pairs
from audit_ledger.cli.place import Role
from audit_ledger.errors import ConfigurationError, EvidenceInvalid, InvalidValue

if TYPE_CHECKING:
    from audit_ledger import Ledger
    from audit_ledger.evidence.checkpoint import Checkpoint

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
    try:
        output.write_bytes(proof.file)
    except OSError as error:
        raise ConfigurationError(
            f"the proof cannot be written to {output}",
            expected="a path in a folder that you may make files in",
            actual=str(error),
            remedy="choose another path with -o",
        ) from error
    typer.echo(f"{output}: the event at position {position} is in the checkpoint of size {proof.size}")


def verify_proof(file: Path, key: str) -> None:
    """Check a file that `prove event` made, without the ledger; ends with 1 where it proves nothing."""
    from audit_ledger.evidence.keys import ED25519, Verifier
    from audit_ledger.evidence.proving import verify_event
    from audit_ledger.evidence.sealing import rotated

    verifier = Verifier.parse(key.strip())
    if verifier.type != ED25519:
        raise InvalidValue(
            "key", expected="the verifier key of a ledger, of type 1", actual="one of a witness"
        )
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"the proof cannot be read from {file}", actual=str(error), remedy="give the path of a proof"
        ) from error
    try:
        event, verified = verify_event(data, [verifier], origin=verifier.name)
    except EvidenceInvalid as error:
        complain(str(error))
        raise typer.Exit(cli.WRONG) from error
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
    typer.echo(
        f"\n✅ this event is in the ledger {verifier.name},"
        f" in its checkpoint of {count(verified.checkpoint.size, 'event')}"
    )
    if event.type == "KeyRotated":
        _, following = rotated(event.position, event.state)
        typer.echo(f"from its next checkpoint on it is signed by {following.key}")
