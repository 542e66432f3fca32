"""Checkpoints: their text, who signed them, and whether a later one continues an earlier one."""

from dataclasses import replace

import pytest

from audit_ledger.errors import EvidenceInvalid
from audit_ledger.evidence import checkpoint, merkle, note
from audit_ledger.evidence.checkpoint import Checkpoint
from audit_ledger.evidence.keys import COSIGNATURE, Signer
from tests.unit.evidence.test_merkle import READ, ROOTS
from tests.unit.evidence.vectors import load

ORIGIN = "example.com/log"
LOG = Signer(ORIGIN, bytes(range(32)))
OTHER = Signer(ORIGIN, bytes(range(1, 33)))
WITNESS = Signer("witness.example.com/w1", bytes(range(32, 64)), COSIGNATURE)


def of(size: int) -> Checkpoint:
    return Checkpoint(ORIGIN, size, ROOTS[size])


def test_the_example_of_the_specification_is_parsed() -> None:
    v = load("c2sp_examples")["checkpoint_parse"]
    text = note.parse(v["note"].encode()).text
    parsed = checkpoint.parse(text, origin=v["origin"])
    assert (parsed.origin, parsed.size, parsed.extension) == (v["origin"], v["size"], ())
    assert parsed.text == text


def test_the_tree_head_of_go_is_parsed_and_its_distortions_are_refused() -> None:
    v = load("go_tlog")["tree_head"]
    parsed = checkpoint.parse(v["text"], origin="go.sum database tree")
    assert (parsed.size, parsed.root) == (v["size"], merkle.leaf_hash(v["leaf_of_root"].encode()))
    assert parsed.text == v["text"]
    for bad in v["bad"]:
        with pytest.raises(EvidenceInvalid):
            checkpoint.parse(bad, origin="go.sum database tree")


def test_extension_lines_are_kept() -> None:
    extended = replace(of(3), extension=("one", "two lines"))
    assert checkpoint.parse(extended.text) == extended


TEXT = of(3).text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n\n",
        TEXT[:-1],
        TEXT + "\n",
        TEXT + "\nextension\n",
        "\n" + TEXT,
        TEXT.replace("\n3\n", "\n03\n"),
        TEXT.replace("\n3\n", "\n+3\n"),
        TEXT.replace("\n3\n", "\n-3\n"),
        TEXT.replace("\n3\n", "\n3 \n"),
        TEXT.replace("\n3\n", "\n٣\n"),
        TEXT.replace("\n3\n", f"\n{2**63}\n"),
        TEXT.replace("\n3\n", "\n\n"),
        TEXT.replace("=", ""),
        TEXT.replace("=\n", "\n=\n"),
        f"{ORIGIN}\n3\n\n",
        f"{ORIGIN}\n3\nAAAA\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(EvidenceInvalid):
        checkpoint.parse(text)


@pytest.mark.parametrize(
    "wrong",
    [
        replace(of(3), origin=""),
        replace(of(3), origin="two\nlines"),
        replace(of(3), size=-1),
        replace(of(3), size=2**63),
        replace(of(3), root=b""),
        replace(of(3), extension=("",)),
        replace(of(3), extension=("two\nlines",)),
    ],
)
def test_what_cannot_be_written_is_not_signed(wrong: Checkpoint) -> None:
    with pytest.raises(EvidenceInvalid):
        wrong.sign(LOG)


def test_a_checkpoint_is_taken_from_its_log_alone() -> None:
    message = note.cosign(of(3).sign(LOG), WITNESS, 1_700_000_000)
    verified = checkpoint.verify(
        message, origin=ORIGIN, keys=[LOG.verifier, OTHER.verifier], witnesses=[WITNESS.verifier]
    )
    assert verified.checkpoint == of(3)
    assert [key for key, _ in verified.signed] == [LOG.verifier]
    assert [(key, signature.time) for key, signature in verified.cosigned] == [
        (WITNESS.verifier, 1_700_000_000)
    ]
    with pytest.raises(EvidenceInvalid, match="no known key"):
        checkpoint.verify(message, origin=ORIGIN, keys=[OTHER.verifier])
    with pytest.raises(EvidenceInvalid, match="the log has not signed"):
        checkpoint.verify(message, origin=ORIGIN, keys=[OTHER.verifier], witnesses=[WITNESS.verifier])
    with pytest.raises(EvidenceInvalid, match="of another log"):
        checkpoint.verify(message, origin="example.com/blog", keys=[LOG.verifier])


def test_a_log_continues_its_earlier_checkpoints() -> None:
    proof = merkle.consistency_proof(77, 200, READ)
    checkpoint.verify_consistency(of(77), of(200), proof)
    checkpoint.verify_consistency(of(200), of(200), [])
    checkpoint.verify_consistency(of(0), of(200), [])
    checkpoint.verify_consistency(of(0), of(0), [])


@pytest.mark.parametrize(
    ("older", "newer", "proof"),
    [
        (of(77), of(200), []),
        (of(77), of(201), merkle.consistency_proof(77, 200, READ)),
        (of(200), of(77), merkle.consistency_proof(77, 200, READ)),
        (replace(of(77), root=ROOTS[76]), of(200), merkle.consistency_proof(77, 200, READ)),
        (of(77), replace(of(200), origin="example.com/blog"), merkle.consistency_proof(77, 200, READ)),
        (of(200), replace(of(200), root=ROOTS[199]), []),
        (of(0), of(200), [ROOTS[1]]),
        (of(200), of(0), []),
        (replace(of(0), root=ROOTS[1]), of(200), []),
    ],
)
def test_a_log_that_was_rewritten_is_convicted(
    older: Checkpoint, newer: Checkpoint, proof: list[bytes]
) -> None:
    with pytest.raises(EvidenceInvalid):
        checkpoint.verify_consistency(older, newer, proof)
