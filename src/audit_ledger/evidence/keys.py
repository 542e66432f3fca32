"""Keys and signatures of C2SP signed-note and tlog-cosignature, all of Ed25519 (RFC 8032).

    verifier key    NAME+ID+BASE64                  public: type and public key
    signer key      PRIVATE+KEY+NAME+ID+BASE64      secret: type and seed; Go's sumdb/note has it so
    signature       — NAME BASE64                   the key's id and the signature

ID is 8 hexadecimal digits: the first 4 bytes of SHA-256(NAME ‖ 0x0A ‖ type ‖ public key). The type is a byte:

    1    Ed25519 over the text
    4    cosignature/v1, of a witness: 8 bytes of time (seconds, big-endian), then Ed25519 over the lines
         `cosignature/v1` and `time SECONDS`, followed by the text
"""

import re
from dataclasses import dataclass, field
from hashlib import sha256
from types import ModuleType
from typing import TYPE_CHECKING

from audit_ledger.errors import ConfigurationError, EvidenceInvalid
from audit_ledger.evidence.text import MAX_INTEGER, decode_base64, encode_base64, malformed

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ED25519 = 1
COSIGNATURE = 4
CONTROL = re.compile("[\x00-\x09\x0b-\x1f]")
"""What no note contains."""
_SPACE = re.compile(r"\s")


@dataclass(frozen=True)
class Signature:
    """A signature line, not checked.

    Attributes:
        name: The key's name.
        key_id: The key's id, 4 bytes.
        value: The signature, as the key's type says.
    """

    name: str
    key_id: bytes
    value: bytes

    @property
    def line(self) -> str:
        """The line, with its line feed."""
        return f"— {self.name} {encode_base64(self.key_id + self.value)}\n"

    @property
    def time(self) -> int:
        """When a cosignature was made, by the witness's clock: seconds of POSIX time.

        Raises:
            EvidenceInvalid: it is not a cosignature.
        """
        seconds = int.from_bytes(self.value[:8], "big")
        if len(self.value) != 72 or seconds > MAX_INTEGER:
            raise malformed("a cosignature", "8 bytes of time and 64 of Ed25519", self.line)
        return seconds


@dataclass(frozen=True)
class Verifier:
    """A public key and its name.

    Attributes:
        name: The name.
        public_key: 32 bytes (RFC 8032).
        type: ED25519 or COSIGNATURE.
    """

    name: str
    public_key: bytes
    type: int = ED25519

    @property
    def key_id(self) -> bytes:
        """The 4 bytes that tell the keys of a name apart."""
        # C2SP signed-note, Signatures: SHA-256(key name || 0x0A || signature type || public key)[:4]
        return sha256(self.name.encode() + b"\n" + bytes([self.type]) + self.public_key).digest()[:4]

    @property
    def key(self) -> str:
        """The verifier key, as it is exchanged."""
        return f"{self.name}+{self.key_id.hex()}+{encode_base64(bytes([self.type]) + self.public_key)}"

    @classmethod
    def parse(cls, key: str) -> "Verifier":
        """The verifier of a verifier key.

        Raises:
            EvidenceInvalid: it is not one, or its id is not that of its name and public key.
        """
        name, key_id, data = _key_parts(key, "a verifier key")
        verifier = cls(name, data[1:], data[0])
        if verifier.key_id != key_id:
            raise malformed("a verifier key", f"the id {verifier.key_id.hex()} of its key", key_id.hex())
        return verifier

    def made(self, signature: Signature) -> bool:
        """Whether a signature line says that it is by this key."""
        return signature.name == self.name and signature.key_id == self.key_id

    def verify(self, text: str, signature: Signature) -> None:
        """Nothing, if the signature is by this key and over that text.

        Raises:
            EvidenceInvalid: it is not.
        """
        curve = _ed25519()
        from cryptography.exceptions import InvalidSignature

        signed = signature.value[8:] if self.type == COSIGNATURE else signature.value
        try:
            message = _cosigned(text, signature.time) if self.type == COSIGNATURE else text.encode()
            curve.Ed25519PublicKey.from_public_bytes(self.public_key).verify(signed, message)
        except InvalidSignature as error:
            raise EvidenceInvalid(
                f"the signature of {self.name}+{self.key_id.hex()} does not fit the text",
                expected="an Ed25519 signature (RFC 8032) over the note's text",
                actual=signature.line.rstrip(),
                remedy="do not trust the note: it was altered, or another key signed it",
            ) from error


@dataclass(frozen=True)
class Signer:
    """A private key and its name.

    Attributes:
        name: The name.
        seed: 32 random bytes, the private key of RFC 8032.
        type: ED25519 or COSIGNATURE.
    """

    name: str
    seed: bytes = field(repr=False)
    type: int = ED25519

    def __post_init__(self) -> None:
        check_name(self.name, "a signer key")
        if len(self.seed) != 32 or self.type not in (ED25519, COSIGNATURE):
            raise malformed(
                "a signer key", "a seed of 32 bytes and the type 1 or 4", f"{len(self.seed)} bytes"
            )

    @property
    def verifier(self) -> Verifier:
        """What verifies its signatures."""
        return Verifier(self.name, self._private().public_key().public_bytes_raw(), self.type)

    @property
    def key(self) -> str:
        """The signer key, as it is stored: a secret."""
        secret = encode_base64(bytes([self.type]) + self.seed)
        return f"PRIVATE+KEY+{self.name}+{self.verifier.key_id.hex()}+{secret}"

    @classmethod
    def parse(cls, key: str) -> "Signer":
        """The signer of a signer key. Errors do not show the key.

        Raises:
            EvidenceInvalid: it is not one, or its id is not that of its name and public key.
        """
        if not key.startswith("PRIVATE+KEY+"):
            raise malformed("a signer key", "PRIVATE+KEY+NAME+ID+BASE64", "something else, not shown")
        try:
            name, key_id, data = _key_parts(key.removeprefix("PRIVATE+KEY+"), "a signer key")
        except EvidenceInvalid:
            raise malformed(
                "a signer key", "PRIVATE+KEY+NAME+ID+BASE64", "something else, not shown"
            ) from None
        signer = cls(name, data[1:], data[0])
        if signer.verifier.key_id != key_id:
            raise malformed("a signer key", f"the id {signer.verifier.key_id.hex()} of its key", key_id.hex())
        return signer

    def sign(self, text: str, *, time: int | None = None) -> Signature:
        """The signature of a note's text.

        Args:
            text: The text, with its last line feed.
            time: For a cosignature, and only for one: when it is made, in seconds of POSIX time.

        Raises:
            EvidenceInvalid: the text cannot be that of a note.
        """
        _check_text(text)
        if (time is None) == (self.type == COSIGNATURE):
            raise malformed("the time of a signature", "one for a cosignature, and only for one", str(time))
        if time is None:
            value = self._private().sign(text.encode())
        else:
            value = time.to_bytes(8, "big") + self._private().sign(_cosigned(text, time))
        return Signature(self.name, self.verifier.key_id, value)

    def _private(self) -> "Ed25519PrivateKey":
        private: Ed25519PrivateKey = _ed25519().Ed25519PrivateKey.from_private_bytes(self.seed)
        return private


def _key_parts(key: str, what: str) -> tuple[str, bytes, bytes]:
    """Name, id, and type with key, of either kind of key."""
    name, _, rest = key.partition("+")
    key_id, _, encoded = rest.partition("+")
    check_name(name, what)
    if not re.fullmatch("[0-9a-f]{8}", key_id):
        raise malformed(what, "NAME+ID+BASE64, the id 8 hexadecimal digits", key)
    data = decode_base64(encoded, what, size=33)
    if data[0] not in (ED25519, COSIGNATURE):
        raise malformed(what, "type 1 (Ed25519) or 4 (cosignature/v1)", f"type {data[0]}")
    return name, bytes.fromhex(key_id), data


def check_name(name: str, what: str) -> None:
    """Nothing, if a key can have that name."""
    # C2SP signed-note, Format: not empty, neither Unicode spaces nor plus
    if not name or "+" in name or _SPACE.search(name):
        raise malformed(what, "a name without spaces and plus", name)


def _check_text(text: str) -> None:
    if not text.endswith("\n") or CONTROL.search(text):
        raise malformed(
            "the text of a note", "lines, the last ended too, without control characters", text[-80:]
        )


def _cosigned(text: str, time: int) -> bytes:
    """C2SP tlog-cosignature, Ed25519 signed message."""
    return f"cosignature/v1\ntime {time:d}\n{text}".encode()


def _ed25519() -> ModuleType:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise ConfigurationError(
            "signatures can be neither made nor verified",
            expected="the package cryptography",
            actual="it is not installed",
            remedy="pip install 'audit-ledger[evidence]'",
        ) from error
    return ed25519
