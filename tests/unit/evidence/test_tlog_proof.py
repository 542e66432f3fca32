"""tlog-proof files: written, parsed and verified; malformed, altered and misapplied ones refused."""

from dataclasses import replace
from hashlib import sha256

import pytest

from audit_ledger.errors import EvidenceInvalid
from audit_ledger.evidence import merkle, tlog_proof
from audit_ledger.evidence.checkpoint import Checkpoint
from audit_ledger.evidence.keys import Signer
from audit_ledger.evidence.tlog_proof import TlogProof
from tests.unit.evidence.test_merkle import LEAVES, READ, ROOTS
from tests.unit.evidence.vectors import load

ORIGIN = "example.com/log"
LOG = Signer(ORIGIN, bytes(range(32)))
SIGNED = Checkpoint(ORIGIN, 200, ROOTS[200]).sign(LOG)
PROOF = TlogProof(77, tuple(merkle.inclusion_proof(77, 200, READ)), SIGNED, b"evidence")
DATA = bytes(PROOF)


def verify(data: bytes, leaf: bytes = LEAVES[77], origin: str = ORIGIN) -> Checkpoint:
    return tlog_proof.verify(data, leaf, origin=origin, keys=[LOG.verifier])[1].checkpoint


def test_malformed_proofs_are_refused() -> None:
    vectors = load("tlog_proof")
    assert len(vectors["bad"]) == 7
    for v in vectors["bad"]:
        with pytest.raises(EvidenceInvalid):
            tlog_proof.parse(v["proof"].encode())


def test_proofs_are_read_back_from_their_bytes() -> None:
    for v in load("tlog_proof")["marshal"]:
        proof = TlogProof(
            v["index"],
            tuple(sha256(text.encode()).digest() for text in v["hashes_of"]),
            v["checkpoint"].encode(),
            None if v["extra"] is None else v["extra"].encode(),
        )
        assert tlog_proof.parse(bytes(proof)) == proof


def test_a_file_has_these_lines() -> None:
    lines = DATA.decode().split("\n")
    assert lines[:3] == ["c2sp.org/tlog-proof@v1", "extra ZXZpZGVuY2U=", "index 77"]
    assert lines[3 + len(PROOF.hashes) :][:3] == ["", ORIGIN, "200"]
    assert DATA.endswith(b"\n\n" + SIGNED)
    assert b"extra" not in bytes(replace(PROOF, extra=None))


def test_a_proof_verifies_for_its_leaf_and_log_alone() -> None:
    assert verify(DATA).size == 200
    with pytest.raises(EvidenceInvalid, match="does not prove"):
        verify(DATA, LEAVES[78])
    with pytest.raises(EvidenceInvalid, match="another log"):
        verify(DATA, origin="example.com/blog")
    with pytest.raises(EvidenceInvalid, match="does not prove"):
        verify(bytes(replace(PROOF, index=78)))
    with pytest.raises(EvidenceInvalid, match="does not prove"):
        verify(bytes(replace(PROOF, index=200)))
    with pytest.raises(EvidenceInvalid, match="does not prove"):
        verify(bytes(replace(PROOF, hashes=PROOF.hashes[1:])))


def test_every_flipped_bit_of_a_file_is_found_but_in_what_proves_nothing() -> None:
    extra = range(DATA.index(b"ZXZp"), DATA.index(b"\nindex"))
    found = set()
    for at in range(len(DATA) * 8):
        flipped = bytearray(DATA)
        flipped[at // 8] ^= 1 << at % 8
        try:
            verify(bytes(flipped))
        except EvidenceInvalid:
            found.add(at // 8)
        else:
            assert at // 8 in extra
    assert set(range(len(DATA))) - set(extra) <= found


@pytest.mark.parametrize(
    "data",
    [
        b"",
        DATA.replace(b"\n\n", b"\n"),
        DATA.replace(b"\n", b"\r\n"),
        DATA[: DATA.index(b"\n\n") + 2],
        DATA.replace(b"index 77", b"index 077"),
        DATA.replace(b"index 77", b"index  77"),
        DATA.replace(b"index 77", b"Index 77"),
        DATA.replace(b"index 77", f"index {2**63}".encode()),
        DATA.replace(b"index 77", b"index 77\nextra AAAA"),
        DATA.replace(b"extra ZXZpZGVuY2U=", b"extra ZXZpZGVuY2V="),
        bytes(replace(PROOF, hashes=PROOF.hashes[:1] * 64)),
        b"\xef\xbb\xbf" + DATA,
    ],
)
def test_other_forms_are_refused(data: bytes) -> None:
    with pytest.raises(EvidenceInvalid, match="malformed"):
        tlog_proof.parse(data)
