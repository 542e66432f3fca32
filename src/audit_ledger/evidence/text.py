"""What the text formats of C2SP have in common: base64 and decimals of which there is one form each."""

import re
from base64 import b64decode, b64encode
from binascii import Error

from audit_ledger.errors import EvidenceInvalid

MAX_INTEGER = 2**63 - 1
DECIMAL = re.compile("0|[1-9][0-9]{0,18}")


def encode_base64(data: bytes) -> str:
    """Base64 of RFC 4648 section 4, padded."""
    return b64encode(data).decode("ascii")


def decode_base64(text: str, what: str, *, size: int | None = None) -> bytes:
    """The bytes of a base64 text.

    Args:
        text: RFC 4648 section 4; padded, without line feeds, unused bits zero (section 3.5).
        what: What it is, for the error.
        size: How many bytes it must be, where that is fixed.

    Raises:
        EvidenceInvalid: it is not that.
    """
    try:
        data = b64decode(text.encode("ascii"), validate=True)
    except (Error, UnicodeEncodeError) as error:
        raise malformed(what, "base64 (RFC 4648 section 4)", text) from error
    if encode_base64(data) != text:  # RFC 4648 section 3.5: unused bits are zero
        raise malformed(what, f"base64 in its one form, {encode_base64(data):.100}", text)
    if size is not None and len(data) != size:
        raise malformed(what, f"base64 of {size} bytes", f"{len(data)} bytes")
    return data


def decode_decimal(text: str, what: str) -> int:
    """The number from 0 to 2**63 - 1 that a text of ASCII digits without leading zeros is.

    Raises:
        EvidenceInvalid: it is not that.
    """
    if not DECIMAL.fullmatch(text) or int(text) > MAX_INTEGER:
        raise malformed(what, "a decimal from 0 to 2**63 - 1 without leading zeros", text)
    return int(text)


def malformed(what: str, expected: str, actual: str) -> EvidenceInvalid:
    """The error that something does not have its form."""
    return EvidenceInvalid(
        f"{what} is malformed",
        expected=expected,
        actual=f"{actual!r:.120}",
        remedy="do not trust it; fetch it again from whoever gave it to you",
    )
