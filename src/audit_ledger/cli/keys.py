"""The commands about the key that seals: key new, key list, key rotate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from audit_ledger.cli.governance import Reason
from audit_ledger.cli.output import Column, print_table, warn
from audit_ledger.cli.place import Role
from audit_ledger.errors import ConfigurationError

if TYPE_CHECKING:
    from audit_ledger import Ledger

KEYS = (
    Column("verifier key", "key"),
    Column("checkpoints", "checkpoints"),
    Column("state", "state"),
    Column("in", "place"),
)


def key_new(
    ctx: typer.Context,
    only_print: Annotated[
        bool,
        typer.Option("--print", help="Print the secret key, for a store of secrets; keep it nowhere."),
    ] = False,
) -> None:
    """Make the key that seals the ledger, and print its verifier key, which is public.

    The file of the secret key is made in the folder keys of AUDIT_LEDGER_HOME. Keep a copy where only you can
    read it: a lost key cannot be made again.

    Example: audit-ledger key new
    """
    from audit_ledger.evidence import keyring

    with ctx.obj.connect(Role.reader) as ledger:
        origin = str(ledger.ledger_id)
        if only_print:
            signer = keyring.generate(origin)
            typer.echo(signer.key)
            warn(f"its verifier key, which is public: {signer.verifier.key}")
            return
        sealing = _signed(ledger)
        if sealing:
            raise ConfigurationError(
                "the ledger is sealed with a key already",
                expected="no checkpoint yet",
                actual=f"checkpoints of the key with the id {next(iter(sealing))}",
                remedy="to change it, audit-ledger key rotate; where it is lost, audit-ledger recover",
            )
        signer, file = keyring.make(ledger.settings, origin)
    typer.echo(signer.verifier.key)
    warn(f"the secret key is in {file}: keep it from scripts, and a copy in a safe place")


def key_list(ctx: typer.Context) -> None:
    """Show the verifier keys of the sealing keys that you have, where each is, and how much it has sealed.

    Example: audit-ledger key list
    """
    from audit_ledger.evidence import keyring

    with ctx.obj.connect(Role.reader) as ledger:
        signed, origin = _signed(ledger), str(ledger.ledger_id)
        rows: list[dict[str, Any]] = []
        for signer, place in keyring.listed(ledger.settings):
            key_id = signer.verifier.key_id.hex()
            ours = signer.name == origin
            rows.append(
                {
                    "key": signer.verifier.key,
                    "checkpoints": signed.get(key_id, 0) if ours else "another ledger's",
                    "state": _state(place, key_id, signed) if ours else "",
                    "place": place,
                }
            )
    if rows:
        print_table(rows, KEYS)
    else:
        warn("no key: audit-ledger key new")


def _signed(ledger: Ledger) -> dict[str, int]:
    """How many checkpoints are by each key, that of the last one first."""
    return {
        row["key_id"]: row["checkpoints"]
        for row in ledger.database.query(
            "SELECT key_id, count(*) AS checkpoints FROM checkpoints GROUP BY key_id ORDER BY max(size) DESC"
        )
    }


def _state(place: str, key_id: str, signed: dict[str, int]) -> str:
    """What a key is to the ledger now."""
    from audit_ledger.evidence import keyring

    if place.endswith(keyring.RETIRED):
        return "set aside"
    if not signed or key_id == next(iter(signed)):
        return "seals"
    return "was followed" if key_id in signed else "to follow"


def key_rotate(
    ctx: typer.Context,
    reason: Reason,
    by: Annotated[
        str | None,
        typer.Option(help="Who decided it; in the log as well. Default: the setting actor, or you."),
    ] = None,
    remove_old: Annotated[
        bool, typer.Option("--remove-old", help="Delete the older key instead of setting it aside.")
    ] = False,
) -> None:
    """Change the key that seals: make the next one, put on record that it follows, and sign with both.

    The verifier key of the next one is printed: whoever trusts the older one believes it by the signature of
    that one. Interrupted, it goes on when it is repeated, or with the next seal.

    Example: audit-ledger key rotate --reason "yearly" --by "Ann"
    """
    from audit_ledger.cli.anchoring import after_seal
    from audit_ledger.cli.replaying import progress
    from audit_ledger.cli.sealing import show
    from audit_ledger.evidence.rotation import retire

    with ctx.obj.connect(Role.sealer) as ledger:
        done = ledger.rotate_key(reason=reason, by=by)
        if done.resumed:
            warn(f"goes on with the change at position {done.position}")
        with progress("sealing") as tell:
            sealed = ledger.seal(tell=tell)
        typer.echo(done.next.key)
        if sealed is not None:
            show(sealed)
            after_seal(ledger, at_once=True)  # the one checkpoint that has the signatures of both keys
        left = retire(ledger.database, ledger.settings, ledger.ledger_id, remove=remove_old)
    warn(
        f"the key {done.previous.key_id.hex()} is followed by {done.next.key_id.hex()} from position"
        f" {done.position} on; to show it: audit-ledger prove event {done.position} -o rotated.tlog-proof"
    )
    if left:
        warn(left)
