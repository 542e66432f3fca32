"""RFC 3161: a timestamping authority states that these very bytes existed at a moment, by its clock.

What is asked for is a signature over the SHA-512 of the bytes; the bytes stay here. A response is only
believed where it is of this request, and by a certificate, valid then, that leads to those in ledger.toml.
"""

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from audit_ledger.errors import AnchorFailed, ConfigurationError, EvidenceInvalid
from audit_ledger.plan import Authority

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

DIGESTS = {
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}
"""By object identifier (RFC 5754 section 2): those that authorities sign."""


def verify(authority: Authority, response: bytes, message: bytes) -> datetime:
    """The time that a response states, once it is verified.

    Raises:
        AnchorFailed: it is none, of other bytes, or does not lead to the pinned certificates.
        ConfigurationError: `rfc3161-client` is not installed.
    """
    return verified(authority, certificates(authority), response, message, None)


def stated(response: bytes, message: bytes) -> datetime:
    """The time that a response states; that it is of these bytes is compared, who signed it is not.

    Raises:
        EvidenceInvalid: it is no response, or of other bytes.
        ConfigurationError: `rfc3161-client` is not installed.
    """
    tsp = rfc3161()
    try:
        told = tsp.decode_timestamp_response(response).tst_info
        algorithm = DIGESTS.get(told.message_imprint.hash_algorithm.dotted_string)
        digest, time = told.message_imprint.message, told.gen_time
    except ValueError as error:
        raise EvidenceInvalid("it is no timestamp (RFC 3161)", actual=str(error)) from error
    if algorithm is None or hashlib.new(algorithm, message).digest() != digest:
        raise EvidenceInvalid(
            "it is a timestamp of other bytes",
            expected=f"one of the {len(message)} bytes of the checkpoint",
            actual=f"the digest {digest.hex()}",
        )
    return cast(datetime, time).astimezone(UTC)


def pinned(authority: Authority) -> bytes:
    """The certificates of an authority, PEM, as they are pinned.

    Raises:
        AnchorFailed: they cannot be read.
    """
    try:
        return authority.certificate.read_bytes()
    except OSError as error:
        raise failed(
            authority, f"certificates in {authority.certificate}", error.strerror or str(error)
        ) from error


def certificates(authority: Authority) -> "list[Certificate]":
    """The pinned certificates of an authority; a root is among them.

    Raises:
        AnchorFailed: they cannot be read, or are none.
    """
    from cryptography import x509

    expected = f"certificates in {authority.certificate}, PEM, with a root, which is signed by itself"
    try:
        found = x509.load_pem_x509_certificates(pinned(authority))
    except ValueError as error:
        raise failed(authority, expected, str(error)) from error
    if not any(one.issuer == one.subject for one in found):
        raise failed(authority, expected, "no root")
    return found


def verified(
    authority: Authority,
    pinned: "list[Certificate]",
    response: bytes,
    message: bytes,
    nonce: int | None,
) -> datetime:
    """The time that a response states, once it is verified by these certificates, and has that nonce."""
    from cryptography import x509

    tsp = rfc3161()
    expected = "a timestamp of these bytes, which leads to the pinned certificates"
    builder: Any = tsp.VerifierBuilder(
        policy_id=x509.ObjectIdentifier(authority.policy) if authority.policy else None,
        roots=[one for one in pinned if one.issuer == one.subject],
        intermediates=[one for one in pinned if one.issuer != one.subject],
        nonce=nonce,
    )
    try:
        decoded = tsp.decode_timestamp_response(response)
        if decoded.status != 0:  # RFC 3161 section 2.4.2: granted
            raise failed(authority, "the status granted", f"status {decoded.status}: {decoded.status_string}")
        builder.build().verify_message(decoded, message)
        time: datetime = decoded.tst_info.gen_time
    except (ValueError, tsp.VerificationError) as error:
        raise failed(authority, expected, str(error) or type(error).__name__) from error
    return time.astimezone(UTC)


def failed(authority: Authority, expected: str, actual: str) -> AnchorFailed:
    """The error of an authority that gave none."""
    return AnchorFailed(
        f"the timestamping authority {authority.name} gave no timestamp that holds",
        expected=expected,
        actual=actual,
        remedy="nothing of it was kept; try again. Else correct [[anchors.timestamps]] in ledger.toml",
    )


def rfc3161() -> Any:
    """The module `rfc3161_client`.

    Raises:
        ConfigurationError: it is not installed.
    """
    try:
        import rfc3161_client
    except ImportError as error:
        raise ConfigurationError(
            "timestamps can be neither asked for nor verified",
            expected="the package rfc3161-client",
            actual="it is not installed",
            remedy="pip install 'audit-ledger[evidence]'",
        ) from error
    return rfc3161_client
