"""A JSON API, called with patience and taken strictly. Copy it beside a fetch script of your own.

Its session is the run's, which records every call. `Api.get` tries again what may pass by itself (no
answer, a cut one, 429, 500, 502 to 504), waits where a rate limit asks for it, and takes nothing but strict
JSON of the expected shape. All else is a FetchError, which ends a run as failed, its message being the reason
on record.
"""

import time
from collections.abc import Mapping
from typing import TypeVar

import requests
import tenacity
from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from audit_ledger import Run

TIMEOUT = (10, 60)  # seconds: until connected; without a byte
LONGEST_WAIT = 90  # seconds
MAY_PASS = (429, 500, 502, 503, 504)
T = TypeVar("T")


class FetchError(Exception):
    """Upstream gave nothing that can be used; the message says what it gave."""


class TryAgain(FetchError):
    """The same, but it may pass by itself."""


class Api:
    """The API at a URL. The headers go with every request; keys in them are never recorded."""

    def __init__(self, run: Run, base_url: str, headers: Mapping[str, str]) -> None:
        self._base_url, self._wait = base_url, 0
        self._session = run.session()
        self._session.headers.update(headers)

    def get(self, path: str, shape: type[T], *at: str | int, **params: int) -> T:
        """What stands in the answer to GET at a place such as "results", 0; raises FetchError."""
        answer = self._ask(self._base_url + path, params)
        try:
            found = from_json(answer.content, allow_inf_nan=False)
            for step in at:
                found = found[step]
            return TypeAdapter(shape).validate_json(to_json(found))
        except ValidationError as error:
            first = error.errors()[0]
            where = (f"row {part + 1}" if isinstance(part, int) else part for part in first["loc"])
            raise FetchError(": ".join([told(answer), *where, first["msg"]])) from error
        except ValueError as error:
            raise FetchError(f"{told(answer)}: no JSON in UTF-8: {error}") from error
        except (LookupError, TypeError) as error:
            raise FetchError(f"{told(answer)}: nothing in it at {at}") from error

    @tenacity.retry(
        retry=tenacity.retry_if_exception_type(TryAgain),
        stop=tenacity.stop_after_attempt(4),
        wait=tenacity.wait_exponential(multiplier=0.5),
        reraise=True,
    )
    def _ask(self, url: str, params: Mapping[str, int]) -> requests.Response:
        time.sleep(self._wait)
        self._wait = 0
        try:
            answer = self._session.get(url, params=params, timeout=TIMEOUT)
        except requests.RequestException as error:
            raise TryAgain(f"GET {url}: no answer, or not to its end: {error}") from error
        self._wait = wait_asked_for(answer.headers)
        if answer.status_code != requests.codes.ok:
            raise (TryAgain if answer.status_code in MAY_PASS else FetchError)(told(answer))
        return answer


def told(answer: requests.Response) -> str:
    """An answer in a line: what was asked, status, media type, first bytes."""
    kind = answer.headers.get("Content-Type")
    return f"GET {answer.url} answered {answer.status_code}, {kind}, {answer.content[:60]!r}"


def wait_asked_for(headers: Mapping[str, str]) -> int:
    """Seconds to leave upstream alone: Retry-After, or what is left of a rate limit that is used up."""
    reset = headers.get("X-RateLimit-Reset") if headers.get("X-RateLimit-Remaining") == "0" else None
    asked = headers.get("Retry-After") or reset or "0"
    return min(int(asked), LONGEST_WAIT) if asked.isdecimal() else LONGEST_WAIT  # a date, perhaps
