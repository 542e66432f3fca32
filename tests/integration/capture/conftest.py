"""An API of the tests' own, each client in turn, and clients that are left as they were."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import requests
from urllib3.util import Retry

from audit_ledger.recording.capture import current
from tests.api_server import ApiServer, serving
from tests.capturing import CLIENTS, Fetch


@pytest.fixture
def api() -> Iterator[ApiServer]:
    with serving() as server:
        yield server


@pytest.fixture(autouse=True)
def _undone() -> Iterator[None]:
    """Each test leaves the clients as they were."""
    before = [
        threading.Thread.start,
        ThreadPoolExecutor.submit,
        requests.adapters.HTTPAdapter.send,
        Retry.increment,
        Retry.sleep,
        httpx.HTTPTransport.handle_request,
        httpx.AsyncHTTPTransport.handle_async_request,
    ]
    with current.inside(None):  # other tests leave runs open
        yield
        assert current.current() is None
    assert before == [
        threading.Thread.start,
        ThreadPoolExecutor.submit,
        requests.adapters.HTTPAdapter.send,
        Retry.increment,
        Retry.sleep,
        httpx.HTTPTransport.handle_request,
        httpx.AsyncHTTPTransport.handle_async_request,
    ]


@pytest.fixture(params=[*CLIENTS.values()], ids=[*CLIENTS])
def fetch(request: pytest.FixtureRequest) -> Fetch:
    made: Fetch = request.param
    return made
