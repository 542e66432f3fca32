"""C2SP signed-note: a text, and who signed it.

    This is an example message.

    — example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONn…Yu72IneyaQM=

A text that ends in a line feed, an empty line, then signature lines, each an em dash, the key's name, and
base64 of the key's id and the signature. All is UTF-8, without control characters but line feeds. The text
may have empty lines; the last one of the note ends it.

Signatures of keys that are not known are kept and say nothing; one of a known key that fails condemns the
note.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from audit_ledger.errors import EvidenceInvalid
from audit_ledger.evidence.keys import CONTROL, Signature, Signer, Verifier, check_name
from audit_ledger.evidence.text import decode_base64, malformed

MAX_SIGNATURES = 100
"""As golang.org/x/mod/sumdb/note; the specification asks for a limit, of at least 16."""


@dataclass(frozen=True)
class Note:
    """A signed text.

    Attributes:
        text: The text, with its last line feed.
        signatures: The signature lines, in order, not checked.
    """

    text: str
    signatures: tuple[Signature, ...]

    def __bytes__(self) -> bytes:
        """The note as it is sent and stored."""
        return f"{self.text}\n{''.join(signature.line for signature in self.signatures)}".encode()


def parse(message: bytes) -> Note:
    """A note, its signatures not checked: do not trust its text.

    Raises:
        EvidenceInvalid: it is not a note.
    """
    try:
        whole = message.decode()  # C2SP signed-note, Format
    except UnicodeDecodeError as error:
        raise malformed("a note", "UTF-8", f"byte {error.start} is not") from error
    if found := CONTROL.search(whole):
        raise malformed("a note", "no control characters but line feeds", f"U+{ord(found[0]):04X}")
    text, empty, block = whole.rpartition("\n\n")  # the last empty line parts text and signatures
    if not empty or not block.endswith("\n"):
        raise malformed("a note", "text, an empty line, and signature lines", whole[-80:])
    lines = block[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise malformed("a note", f"at most {MAX_SIGNATURES} signatures", f"{len(lines)}")
    return Note(f"{text}\n", tuple(map(_parsed_line, lines)))


def verify(
    message: bytes, verifiers: Iterable[Verifier]
) -> tuple[Note, tuple[tuple[Verifier, Signature], ...]]:
    """A note, and the signatures of known keys, each checked; the others are in note.signatures alone.

    Raises:
        EvidenceInvalid: it is not a note, no known key signed it, a signature of a known key fails, or two
            known keys cannot be told apart.
    """
    note = parse(message)
    known: dict[tuple[str, bytes], list[Verifier]] = {}
    for verifier in verifiers:
        known.setdefault((verifier.name, verifier.key_id), []).append(verifier)
    verified: dict[Verifier, Signature] = {}
    for signature in note.signatures:
        candidates = known.get((signature.name, signature.key_id), [])
        if len(candidates) > 1:
            name = f"{signature.name}+{signature.key_id.hex()}"
            raise malformed("the list of known keys", f"one key {name}", f"{len(candidates)} of them")
        for verifier in candidates:
            verifier.verify(note.text, signature)  # stricter than Go, which takes the first one of a key only
            verified.setdefault(verifier, signature)
    if not verified:
        keys = " or ".join(verifier.key for candidates in known.values() for verifier in candidates)
        changed = {name for name, _ in known} & {signature.name for signature in note.signatures}
        raise EvidenceInvalid(
            "no known key has signed the note",
            expected=f"a signature of {keys or 'a known key'}",
            actual=", ".join(f"{s.name}+{s.key_id.hex()}" for s in note.signatures),
            remedy="if its key was changed since, get the newer verifier key: a note that names it, with the"
            " signature of the one you have, shows it; if not, do not trust the note"
            if changed
            else "get the verifier key from somebody you trust, and give it",
        )
    return note, tuple(verified.items())


def sign(text: str, *signers: Signer, kept: Sequence[Signature] = ()) -> bytes:
    """A text signed by keys of type ED25519, behind signatures that it has already.

    Raises:
        EvidenceInvalid: the text cannot be that of a note.
    """
    return bytes(Note(text, (*kept, *(signer.sign(text) for signer in signers))))


def cosign(message: bytes, witness: Signer, time: int) -> bytes:
    """A note with a witness's cosignature added.

    Args:
        message: The note.
        witness: A key of type COSIGNATURE.
        time: When, in seconds of POSIX time.
    """
    note = parse(message)
    return bytes(Note(note.text, (*note.signatures, witness.sign(note.text, time=time))))


def _parsed_line(line: str) -> Signature:
    parts = line.split(" ")
    if len(parts) != 3 or parts[0] != "—":
        raise malformed("a signature line", "— NAME BASE64", line)
    check_name(parts[1], "a signature line")
    data = decode_base64(parts[2], "a signature line")
    if len(data) < 5:
        raise malformed("a signature line", "base64 of an id of 4 bytes and a signature", line)
    return Signature(parts[1], data[:4], data[4:])
