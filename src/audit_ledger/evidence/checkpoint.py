"""C2SP tlog-checkpoint: the text by which a log states its size and root hash, signed as a note.

    example.com/behind-the-sofa                     the origin: which log
    20852163                                        its size
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=    base64 of the root hash

Lines may follow; none is empty, and all end in a line feed. The origin of a ledger is its id.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from audit_ledger.errors import EvidenceInvalid
from audit_ledger.evidence import merkle, note
from audit_ledger.evidence.keys import Signature, Signer, Verifier
from audit_ledger.evidence.text import MAX_INTEGER, decode_base64, decode_decimal, encode_base64, malformed


@dataclass(frozen=True)
class Checkpoint:
    """What a log states of itself.

    Attributes:
        origin: Which log.
        size: How many leaves it has.
        root: Their root hash, 32 bytes.
        extension: Lines behind these, without line feeds.
    """

    origin: str
    size: int
    root: bytes
    extension: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The text that is signed.

        Raises:
            EvidenceInvalid: a line of it cannot be one.
        """
        for line in (self.origin, *self.extension):
            if not line or "\n" in line:
                raise malformed("a checkpoint", "lines that are not empty", line)
        if not 0 <= self.size <= MAX_INTEGER or len(self.root) != merkle.HASH_SIZE:
            raise malformed("a checkpoint", "a size below 2**63 and a root hash of 32 bytes", repr(self))
        lines = (self.origin, f"{self.size:d}", encode_base64(self.root), *self.extension)
        return "".join(f"{line}\n" for line in lines)

    def sign(self, *signers: Signer) -> bytes:
        """The signed note."""
        return note.sign(self.text, *signers)


def parse(text: str, *, origin: str | None = None) -> Checkpoint:
    """The checkpoint that a note's text states.

    Args:
        text: The text, with its last line feed.
        origin: Which log it must be of.

    Raises:
        EvidenceInvalid: it is not a checkpoint, or of another log.
    """
    lines = text.split("\n")
    if (
        len(lines) < 4 or lines.pop() or not all(lines)
    ):  # C2SP tlog-checkpoint, Note text: three lines or more
        raise malformed("a checkpoint", "an origin, a size and a root hash, a line each", text)
    stated, size, root, *extension = lines
    if origin is not None and stated != origin:
        raise EvidenceInvalid(
            "the checkpoint is of another log",
            expected=f"the origin {origin}",
            actual=stated,
            remedy="take the checkpoint of the log that you ask about",
        )
    return Checkpoint(
        stated,
        decode_decimal(size, "the size of a checkpoint"),
        decode_base64(root, "the root hash of a checkpoint", size=merkle.HASH_SIZE),
        tuple(extension),
    )


@dataclass(frozen=True)
class Verified:
    """A checkpoint that its log has signed.

    Attributes:
        checkpoint: What it states.
        signed: The keys of the log that signed it, with their signatures.
        cosigned: The witnesses that did; `signature.time` is when.
    """

    checkpoint: Checkpoint
    signed: tuple[tuple[Verifier, Signature], ...]
    cosigned: tuple[tuple[Verifier, Signature], ...] = ()


def verify(
    message: bytes, *, origin: str, keys: Iterable[Verifier], witnesses: Iterable[Verifier] = ()
) -> Verified:
    """The checkpoint of a signed note.

    Args:
        message: The note's bytes.
        origin: The log that it must be of.
        keys: The log's keys, of which one must have signed.
        witnesses: Known witnesses; none need have signed.

    Raises:
        EvidenceInvalid: it is malformed, of another log, not signed by it, or the signature of a known key
            fails.
    """
    keys, witnesses = tuple(keys), tuple(witnesses)
    signed_note, verified = note.verify(message, (*keys, *witnesses))
    signed = tuple((key, signature) for key, signature in verified if key in keys)
    if not signed:
        raise EvidenceInvalid(
            "the log has not signed the checkpoint",
            expected=f"a signature of {' or '.join(key.key for key in keys) or 'a key of the log'}",
            actual=", ".join(f"{key.name}+{key.key_id.hex()}" for key, _ in verified),
            remedy="take the checkpoint from the log, or give its key",
        )
    cosigned = tuple((key, signature) for key, signature in verified if key not in keys)
    return Verified(parse(signed_note.text, origin=origin), signed, cosigned)


def verify_consistency(older: Checkpoint, newer: Checkpoint, proof: Sequence[bytes]) -> None:
    """Nothing, if the proof shows that the newer log begins with the older one.

    Any log begins with one without leaves; there the proof is empty.

    Raises:
        EvidenceInvalid: it does not: of two signed checkpoints, this convicts the log.
    """
    if older.origin != newer.origin:
        raise EvidenceInvalid(
            "the checkpoints are of two logs",
            expected=f"the origin {older.origin}",
            actual=newer.origin,
            remedy="compare checkpoints of the same log",
        )
    try:
        if older.size:
            merkle.verify_consistency(older.size, newer.size, proof, older.root, newer.root)
            return
    except merkle.InvalidProof as error:
        raise EvidenceInvalid(
            f"the log at size {newer.size} does not continue the one at size {older.size}: {error.what}",
            expected=error.expected,
            actual=error.actual,
            remedy="keep both checkpoints: unless the proof was damaged, the log was rewritten",
        ) from error
    for checkpoint in (older, newer):
        if checkpoint.size == 0 and checkpoint.root != merkle.EMPTY_ROOT:
            raise malformed("a checkpoint of size 0", merkle.EMPTY_ROOT.hex(), checkpoint.root.hex())
    if proof:
        raise malformed("the consistency proof from size 0", "no hashes", f"{len(proof)} hashes")
