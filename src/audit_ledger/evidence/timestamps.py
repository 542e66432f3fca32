"""RFC 3161: a timestamping authority states that these very bytes existed at a moment, by its clock.

What is asked for is a signature over the SHA-512 of the bytes; the bytes stay here. A response is only
believed where it is of this request, and by a certificate, valid then, that leads to those in ledger.toml.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import requests
import tenacity

from audit_ledger.errors import AnchorFailed, ConfigurationError
from audit_ledger.plan import Authority

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

TIMEOUT = (5, 10)
"""Seconds to wait for a connection, and for each part of an answer."""

ATTEMPTS = 3
MAX_BYTES = 1 << 20
"""A longer response is none."""


def stamp(authority: Authority, message: bytes) -> tuple[bytes, datetime]:
    """A timestamp of these bytes: the response as it was sent, verified, and the time that it states.

    Raises:
        AnchorFailed: the authority does not answer, refuses, or its response does not hold.
        ConfigurationError: `rfc3161-client` is not installed.
    """
    tsp = _rfc3161()
    certificates = _certificates(authority)  # first: whom nothing would be believed is not asked
    request = (
        tsp.TimestampRequestBuilder().data(message).nonce(nonce=True).cert_request(cert_request=True).build()
    )
    response = _ask(authority, request.as_bytes())
    return response, _verified(authority, certificates, response, message, request.nonce)


def verify(authority: Authority, response: bytes, message: bytes) -> datetime:
    """The time that a response states, once it is verified.

    Raises:
        AnchorFailed: it is none, of other bytes, or does not lead to the pinned certificates.
        ConfigurationError: `rfc3161-client` is not installed.
    """
    return _verified(authority, _certificates(authority), response, message, None)


def pinned(authority: Authority) -> bytes:
    """The certificates of an authority, PEM, as they are pinned.

    Raises:
        AnchorFailed: they cannot be read.
    """
    try:
        return authority.certificate.read_bytes()
    except OSError as error:
        raise _failed(
            authority, f"certificates in {authority.certificate}", error.strerror or str(error)
        ) from error


def _certificates(authority: Authority) -> "list[Certificate]":
    from cryptography import x509

    expected = f"certificates in {authority.certificate}, PEM, with a root, which is signed by itself"
    try:
        found = x509.load_pem_x509_certificates(pinned(authority))
    except ValueError as error:
        raise _failed(authority, expected, str(error)) from error
    if not any(one.issuer == one.subject for one in found):
        raise _failed(authority, expected, "no root")
    return found


def _verified(
    authority: Authority,
    certificates: "list[Certificate]",
    response: bytes,
    message: bytes,
    nonce: int | None,
) -> datetime:
    from cryptography import x509

    tsp = _rfc3161()
    expected = "a timestamp of these bytes, which leads to the pinned certificates"
    builder: Any = tsp.VerifierBuilder(
        policy_id=x509.ObjectIdentifier(authority.policy) if authority.policy else None,
        roots=[one for one in certificates if one.issuer == one.subject],
        intermediates=[one for one in certificates if one.issuer != one.subject],
        nonce=nonce,
    )
    try:
        decoded = tsp.decode_timestamp_response(response)
        if decoded.status != 0:  # RFC 3161 section 2.4.2: granted
            raise _failed(
                authority, "the status granted", f"status {decoded.status}: {decoded.status_string}"
            )
        builder.build().verify_message(decoded, message)
        time: datetime = decoded.tst_info.gen_time
    except (ValueError, tsp.VerificationError) as error:
        raise _failed(authority, expected, str(error) or type(error).__name__) from error
    return time.astimezone(UTC)


def _ask(authority: Authority, request: bytes) -> bytes:
    """What the authority answers; where it does not, or not now, it is tried again."""

    @tenacity.retry(
        retry=tenacity.retry_if_exception_type((requests.ConnectionError, requests.Timeout, _Unable)),
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        wait=tenacity.wait_exponential(multiplier=0.25, max=2),
        reraise=True,
    )
    def attempt() -> bytes:
        headers = {"Content-Type": "application/timestamp-query", "Accept": "application/timestamp-reply"}
        with requests.post(
            authority.url, data=request, headers=headers, timeout=TIMEOUT, stream=True
        ) as answer:
            if answer.status_code >= 500 or answer.status_code == 429:
                raise _Unable(f"HTTP status {answer.status_code}")
            answer.raise_for_status()
            data: bytes = b""
            for part in answer.iter_content(1 << 14):
                data += part
                if len(data) > MAX_BYTES:
                    raise _failed(authority, f"a response of at most {MAX_BYTES:,} bytes", "more")
            return data

    try:
        return attempt()
    except requests.RequestException as error:
        raise _failed(authority, f"a response at {authority.url}", str(error)) from error


class _Unable(requests.RequestException):
    """It says that it cannot now."""


def _failed(authority: Authority, expected: str, actual: str) -> AnchorFailed:
    return AnchorFailed(
        f"the timestamping authority {authority.name} gave no timestamp that holds",
        expected=expected,
        actual=actual,
        remedy="nothing of it was kept; try again. Else correct [[anchors.timestamps]] in ledger.toml",
    )


def _rfc3161() -> Any:
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
