"""Asking a timestamping authority for a timestamp of a checkpoint, over HTTP (RFC 3161 section 3.4)."""

from datetime import datetime

import requests
import tenacity

from audit_ledger.evidence.timestamps import certificates, failed, rfc3161, verified
from audit_ledger.plan import Authority

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
    tsp = rfc3161()
    pinned = certificates(authority)  # first: whom nothing would be believed is not asked
    request = (
        tsp.TimestampRequestBuilder().data(message).nonce(nonce=True).cert_request(cert_request=True).build()
    )
    response = _ask(authority, request.as_bytes())
    return response, verified(authority, pinned, response, message, request.nonce)


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
                    raise failed(authority, f"a response of at most {MAX_BYTES:,} bytes", "more")
            return data

    try:
        return attempt()
    except requests.RequestException as error:
        raise failed(authority, f"a response at {authority.url}", str(error)) from error


class _Unable(requests.RequestException):
    """It says that it cannot now."""
