"""Notes and keys: all vectors of golang.org/x/mod/sumdb/note and C2SP, cosignatures, and what no note is."""

import base64
import subprocess
import sys

import pytest

from audit_ledger.errors import EvidenceInvalid
from audit_ledger.evidence import note
from audit_ledger.evidence.keys import COSIGNATURE, Signature, Signer, Verifier
from tests.unit.evidence.vectors import load

LOG = Signer("example.com/log", bytes(range(32)))
WITNESS = Signer("witness.example.com/w1", bytes(range(32, 64)), COSIGNATURE)
TEXT = "a text\n\nof three lines\n"


def test_notes_open_as_in_go() -> None:
    vectors = load("go_note")["open"]
    assert sum(v["ok"] for v in vectors) == 3
    for v in vectors:
        message, keys = base64.b64decode(v["msg"]), [Verifier.parse(key) for key in v["keys"]]
        if not v["ok"]:
            with pytest.raises(EvidenceInvalid):
                note.verify(message, keys)
            continue
        opened, verified = note.verify(message, keys)
        known = {(key.name, key.key_id) for key, _ in verified}
        assert [key.name for key, _ in verified] == v["verified"]
        # Go drops lines that are there twice; here they are kept, so that the bytes stay the same.
        others = [s.name for s in dict.fromkeys(opened.signatures) if (s.name, s.key_id) not in known]
        assert others == v["unverified"], v["desc"]
        assert bytes(opened) == message


def test_a_key_signs_as_in_go() -> None:
    v = load("go_note")["sign"]
    signer = Signer.parse(v["skey"])
    assert signer.key == v["skey"]
    assert note.sign(v["text"], signer).decode() == v["want"]
    for text in v["bad_texts"]:
        with pytest.raises(EvidenceInvalid):
            note.sign(text, signer)


def test_verifier_keys_are_parsed_as_in_go() -> None:
    vectors = load("go_note")
    good = vectors["good_vkey"]
    assert Verifier.parse(good).key == good
    bad = list(vectors["bad_vkeys"])
    bad += [good[i:j] for i in range(len(good)) for j in range(i, len(good) + 1) if good[i:j] != good]
    bad += [good[:i] + chr(ord(good[i]) + 1) + good[i + 1 :] for i in range(len(good))]
    for key in bad:
        with pytest.raises(EvidenceInvalid):
            Verifier.parse(key)


def test_the_example_of_the_specification_verifies() -> None:
    v = load("c2sp_examples")["signed_note"]
    message = v["note"].encode()
    assert v["ok"]
    opened, _ = note.verify(message, [Verifier.parse(v["vkey"])])
    assert opened.text == "This is an example message.\n"


def test_one_false_signature_of_a_known_key_condemns_the_note() -> None:
    good, other = LOG.sign(TEXT), LOG.sign("another text\n")
    for lines in ((good, other), (other, good)):
        with pytest.raises(EvidenceInvalid, match="does not fit the text"):
            note.verify(bytes(note.Note(TEXT, lines)), [LOG.verifier])
    _, verified = note.verify(bytes(note.Note(TEXT, (good, good))), [LOG.verifier])
    assert verified == ((LOG.verifier, good),)


@pytest.mark.parametrize("text", ["", "no line feed", "a\ttab\n", "a\rreturn\n", "nul\0\n"])
def test_a_text_that_no_note_can_have_is_not_signed(text: str) -> None:
    with pytest.raises(EvidenceInvalid, match="the text of a note"):
        note.sign(text, LOG)


def test_every_flipped_bit_of_a_note_is_found() -> None:
    message = note.sign(TEXT, LOG)
    note.verify(message, [LOG.verifier])
    for at in range(len(message) * 8):
        flipped = bytearray(message)
        flipped[at // 8] ^= 1 << at % 8
        with pytest.raises(EvidenceInvalid):
            note.verify(bytes(flipped), [LOG.verifier])


def test_a_cosignature_is_over_the_time_as_well() -> None:
    message = note.cosign(note.sign(TEXT, LOG), WITNESS, 1679315147)
    opened, verified = note.verify(message, [LOG.verifier, WITNESS.verifier])
    assert [key.name for key, _ in verified] == ["example.com/log", "witness.example.com/w1"]
    cosignature = opened.signatures[1]
    assert (len(cosignature.value), cosignature.time) == (72, 1679315147)
    # C2SP tlog-cosignature: an Ed25519 signature over two lines and the note's text.
    plain = Signer(WITNESS.name, WITNESS.seed).sign(f"cosignature/v1\ntime 1679315147\n{TEXT}")
    assert cosignature.value[8:] == plain.value
    for forged in (
        (1679315148).to_bytes(8, "big") + cosignature.value[8:],
        cosignature.value[8:],
        cosignature.value + b"\0",
        b"\xff" * 8 + cosignature.value[8:],
    ):
        line = Signature(cosignature.name, cosignature.key_id, forged)
        with pytest.raises(EvidenceInvalid):
            note.verify(bytes(note.Note(TEXT, (opened.signatures[0], line))), [WITNESS.verifier])


def test_a_cosignature_of_no_time_that_is_one_is_refused() -> None:
    for value in (b"\x80" + bytes(71), bytes(71), bytes(73)):
        with pytest.raises(EvidenceInvalid, match="a cosignature is malformed"):
            _ = Signature("name", bytes(4), value).time


def test_a_key_of_one_type_is_not_taken_for_one_of_the_other() -> None:
    witness = Signer(LOG.name, LOG.seed, COSIGNATURE)
    assert witness.verifier.public_key == LOG.verifier.public_key
    assert witness.verifier.key_id != LOG.verifier.key_id
    with pytest.raises(EvidenceInvalid, match="no known key has signed"):
        note.verify(note.sign(TEXT, LOG), [witness.verifier])
    for signer, time in ((LOG, 1), (witness, None)):
        with pytest.raises(EvidenceInvalid, match="time of a signature"):
            signer.sign(TEXT, time=time)


def test_the_published_cosignature_has_its_time() -> None:
    v = load("c2sp_examples")["checkpoint_parse"]
    log, witness = note.parse(v["note"].encode()).signatures
    assert witness.time == v["cosig_time"]
    with pytest.raises(EvidenceInvalid, match="a cosignature is malformed"):
        _ = log.time


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\n",
        b"\n\n",
        b"text\n\n",
        b"text\n\n- name AAAAAAA=\n",
        "text\n\n—  AAAAAAA=\n".encode(),
        "text\n\n— name\n".encode(),
        "text\n\n— name \n".encode(),
        "text\n\n— na+me AAAAAAA=\n".encode(),
        "text\n\n— na\u2003me AAAAAAA=\n".encode(),
        "text\n\n— name AAAAAA==\n".encode(),
        "text\n\n— name AAAAAAB=\n".encode(),
        "text\n\n— name AAAAAAA\n".encode(),
        "text\n\n— name AAAA_AA=\n".encode(),
        "text\n\n— name  AAAAAAA=\n".encode(),
        "text\n\n— name AAAAAAA= \n".encode(),
        "text\n\n— name AAAAAAA=\r\n".encode(),
        "te\txt\n\n— name AAAAAAA=\n".encode(),
        "text\n— name AAAAAAA=\n".encode(),
        b"te\xed\xa0\x80xt\n\n\xe2\x80\x94 name AAAAAAA=\n",
    ],
)
def test_what_is_no_note_is_refused(message: bytes) -> None:
    with pytest.raises(EvidenceInvalid) as caught:
        note.parse(message)
    assert caught.value.expected
    assert caught.value.actual


def test_sixteen_signatures_are_taken() -> None:
    signers = [Signer(f"key{i}", bytes([i] * 32)) for i in range(16)]
    message = note.sign(TEXT, *signers)
    _, verified = note.verify(message, [signer.verifier for signer in signers])
    assert len(verified) == 16


@pytest.mark.parametrize(
    "key",
    [
        "",
        LOG.verifier.key,
        LOG.key.removeprefix("PRIVATE+"),
        LOG.key[:-1],
        LOG.key.replace("log+", "blog+"),
        LOG.key.replace("+AQAB", "+BQAB"),
        LOG.key + "=",
    ],
)
def test_what_is_no_signer_key_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(EvidenceInvalid) as caught:
        Signer.parse(key)
    secret = LOG.key.rpartition("+")[2]
    assert secret[5:20] not in str(caught.value)
    assert secret not in repr(LOG)
    assert str(LOG.seed) not in repr(LOG)


def test_notes_are_parsed_without_the_library_of_signatures_which_verifying_asks_for() -> None:
    script = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from audit_ledger.evidence import checkpoint, leaf, note, tiles, tlog_proof\n"
        "from audit_ledger.evidence.keys import Verifier\n"
        "from audit_ledger.errors import ConfigurationError\n"
        f"key = Verifier.parse({LOG.verifier.key!r}); message = {note.sign(TEXT, LOG)!r}\n"
        "assert note.parse(message).signatures\n"
        "try: note.verify(message, [key])\n"
        "except ConfigurationError as error: print(error.remedy)"
    )
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert output == "pip install 'audit-ledger[evidence]'\n"
