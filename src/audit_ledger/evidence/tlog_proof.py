"""C2SP tlog-proof: a file, `.tlog-proof`, that shows offline that a leaf is in a log.

    c2sp.org/tlog-proof@v1
    extra ZXZpZGVuY2U=                              optional: base64, proves nothing
    index 1                                         of the leaf, from 0
    0Nc2CrefWKseHj/mStd+LqC8B+NrX0btIiPt2SmN+ek=    the inclusion proof, a hash a line

    example.com/log                                 the signed checkpoint, byte for byte
    2
    T1X2GdkahjV3iyufF9b0kVsWFxITU0VI4EpNml2Teci4=

    — example.com/log …

Who has the leaf's bytes, the log's origin and its verifier key can verify it, without the log.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from audit_ledger.errors import EvidenceInvalid
from audit_ledger.evidence import checkpoint, merkle
from audit_ledger.evidence.keys import Verifier
from audit_ledger.evidence.text import decode_base64, decode_decimal, encode_base64, malformed

HEADER = "c2sp.org/tlog-proof@v1"
MAX_HASHES = 63
"""Of an inclusion proof: a tree has fewer than 2**63 leaves."""


@dataclass(frozen=True)
class TlogProof:
    """The content of a tlog-proof file.

    Attributes:
        index: The leaf's index, from 0.
        hashes: Its inclusion proof.
        checkpoint: The signed note of the checkpoint.
        extra: Whatever the application adds; not to be trusted.
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None

    def __bytes__(self) -> bytes:
        """The file."""
        lines = [HEADER]
        if self.extra is not None:
            lines.append(f"extra {encode_base64(self.extra)}")
        lines.append(f"index {self.index:d}")
        lines += map(encode_base64, self.hashes)
        return "".join(f"{line}\n" for line in [*lines, ""]).encode() + self.checkpoint


def parse(data: bytes) -> TlogProof:
    """The content of a tlog-proof file; neither proof nor checkpoint is verified.

    Raises:
        EvidenceInvalid: it is not one.
    """
    head, empty, signed = data.partition(b"\n\n")
    if not empty or not signed:
        raise malformed("a tlog-proof", "a proof, an empty line and a checkpoint", f"{data[:80]!r}")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise malformed(
            "a tlog-proof", "ASCII before the checkpoint", f"byte {error.start} is not"
        ) from error
    if lines.pop(0) != HEADER:
        raise malformed("a tlog-proof", f"the first line {HEADER}", f"{data[:40]!r}")
    extra = None
    if lines and lines[0].startswith("extra "):
        extra = decode_base64(lines.pop(0).removeprefix("extra "), "the extra line of a tlog-proof")
    if not lines or not lines[0].startswith("index "):
        raise malformed("a tlog-proof", "a line `index N`", lines[0] if lines else "none")
    index = decode_decimal(lines.pop(0).removeprefix("index "), "the index of a tlog-proof")
    if len(lines) > MAX_HASHES:
        raise malformed("a tlog-proof", f"at most {MAX_HASHES} hashes", f"{len(lines)}")
    hashes = tuple(decode_base64(line, "a hash of a tlog-proof", size=merkle.HASH_SIZE) for line in lines)
    return TlogProof(index, hashes, signed, extra)


def verify(
    data: bytes,
    leaf: bytes,
    *,
    origin: str,
    keys: Iterable[Verifier],
    witnesses: Iterable[Verifier] = (),
) -> tuple[TlogProof, checkpoint.Verified]:
    """The proof and its checkpoint, if the file shows that the leaf is in the log.

    Args:
        data: The file.
        leaf: The leaf's bytes.
        origin: The log.
        keys: The log's keys, of which one must have signed the checkpoint.
        witnesses: Known witnesses.

    Raises:
        EvidenceInvalid: it does not.
    """
    proof = parse(data)
    verified = checkpoint.verify(proof.checkpoint, origin=origin, keys=keys, witnesses=witnesses)
    stated = verified.checkpoint
    try:
        merkle.verify_inclusion(merkle.leaf_hash(leaf), proof.index, stated.size, proof.hashes, stated.root)
    except merkle.InvalidProof as error:
        raise EvidenceInvalid(
            f"the file does not prove that the leaf is in {origin} at index {proof.index}: {error.what}",
            expected=error.expected,
            actual=error.actual,
            remedy="check that the bytes are exactly those of the leaf; else do not trust the file",
        ) from error
    return proof, verified
