"""Checkpoints as the database has them: whether a row is what its note states, and whether that is signed."""

from collections.abc import Collection
from typing import NamedTuple

from audit_ledger.errors import EvidenceInvalid
from audit_ledger.evidence import checkpoint
from audit_ledger.evidence import note as notes
from audit_ledger.evidence.checkpoint import Checkpoint
from audit_ledger.evidence.keys import ED25519, Signature, Verifier


class Row(NamedTuple):
    """A checkpoint as it is stored."""

    size: int
    root: bytes
    note: bytes
    key_id: str


class Said(NamedTuple):
    """What came of comparing a row with its note.

    Attributes:
        roots: The roots that row and note state; they are one where nothing was changed.
        signed: Whether its signatures were checked, and hold.
        unchecked: Whether there was no key to check them.
        wrong: What is not as it was, in words; None where nothing is.
    """

    roots: frozenset[bytes]
    signed: bool
    unchecked: bool
    wrong: str | None


def compare(row: Row, origin: str, keys: Collection[Verifier]) -> Said:
    """Compare a row with its note, and that with the keys of its origin."""
    roots = {bytes(row.root)}
    try:
        note = notes.parse(bytes(row.note))
        stated = checkpoint.parse(note.text, origin=origin)
        roots.add(stated.root)
        _require_same(row, note, stated, origin)
        if keys:
            _require_signed(row, note, origin, keys)
    except EvidenceInvalid as error:
        actual = f" (expected {error.expected}, actual {error.actual})" if error.expected else ""
        return Said(frozenset(roots), False, False, f"was changed: {error.what}{actual}")
    return Said(frozenset(roots), bool(keys), not keys, None)


def _require_same(row: Row, note: notes.Note, stated: Checkpoint, origin: str) -> None:
    if (stated.size, stated.root) != (row.size, bytes(row.root)):
        raise EvidenceInvalid(
            "its row is not what its note states",
            expected=f"size {stated.size}, root {stated.root.hex()}",
            actual=f"size {row.size}, root {bytes(row.root).hex()}",
        )
    own = _own(note, origin)
    if not own or own[-1].key_id.hex() != row.key_id:
        raise EvidenceInvalid(
            "its row names another key than its note",
            expected=own[-1].key_id.hex() if own else "a signature of the ledger",
            actual=row.key_id,
        )


def _require_signed(row: Row, note: notes.Note, origin: str, keys: Collection[Verifier]) -> None:
    own = _own(note, origin)
    signed = checkpoint.verify(bytes(row.note), origin=origin, keys=keys).signed
    if len(signed) < len(own) or any(key.type != ED25519 for key, _ in signed):
        raise EvidenceInvalid(
            "not all of its signatures are by keys of the ledger",
            expected=", ".join(key.key_id.hex() for key in keys),
            actual=", ".join(signature.key_id.hex() for signature in own),
        )


def _own(note: notes.Note, origin: str) -> list[Signature]:
    return [signature for signature in note.signatures if signature.name == origin]
