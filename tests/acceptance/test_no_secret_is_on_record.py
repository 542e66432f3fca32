"""Planted secrets, in every place that a request, a response, an exception or a command line can carry one.

Afterwards none of them is in a full pg_dump of the ledger, in what was logged or printed, or in a
spool: not as bytes, nor percent-encoded, in base64, in hexadecimal, or in something gzipped.
"""

import base64
import binascii
import gzip
import json
import logging
import re
import subprocess
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import httpx
import psycopg
import pytest
import requests

import audit_ledger
from audit_ledger import Ledger, RecordingError
from audit_ledger.store.server import SUPERUSER, EmbeddedServer
from tests.api_server import ApiServer, serving
from tests.capturing import capturing
from tests.secrets import SECRETS, Planted

LATIN = str.maketrans({"\n": " ", "\r": " "})


@pytest.fixture
def api() -> Iterator[ApiServer]:
    with serving() as server:
        yield server


def header(secret: Planted) -> dict[str, str]:
    return {secret.header: secret.header_value.translate(LATIN)}


def plant(api: ApiServer, secret: Planted) -> None:
    """Send it in every part of a request; /echo sends the body back."""
    query = f"n=1&{quote(secret.query, safe='')}={quote(secret.value, safe='')}"
    with suppress(requests.RequestException):
        requests.post(
            f"{api.url}/echo?{query}#{query}",
            json={"deep": [{secret.json_key: secret.value, "n": 1}]},
            headers=header(secret),
            timeout=5,
        )
    with suppress(requests.RequestException):
        user = secret.user_information.partition(":")
        where = f"{quote(user[0], safe='')}:{quote(user[2], safe='')}@{api.place}"
        requests.post(f"http://{where}/echo", data={secret.form_key: secret.value}, timeout=5)
    with suppress(requests.RequestException):
        requests.post(f"{api.url}/echo", files={secret.form_key: (None, secret.value)}, timeout=5)
    with suppress(httpx.HTTPError):
        content = gzip.compress(json.dumps({secret.json_key: secret.value}).encode())
        packed = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        httpx.post(f"{api.url}/echo?{query}", content=content, headers=packed)


def record(ledger: Ledger, api: ApiServer, secrets: list[Planted]) -> None:
    """Runs that carry the secrets in their calls, their parameters, and what they fail with."""
    with capturing(ledger) as run:
        for secret in secrets:
            plant(api, secret)
        with suppress(requests.ConnectionError):
            requests.get(f"http://127.0.0.1:9/?{secrets[0].query}={quote(secrets[0].value)}", timeout=1)
        run.flush()
    for secret in secrets:
        parameters = {"arguments": ["fetch", *secret.command_line], secret.json_key: secret.value}
        with suppress(ValueError), ledger.run("task", "source", parameters=parameters) as run:
            run.api_call(
                endpoint=f"https://h/?{secret.query}={secret.value}", request={secret.json_key: secret.value}
            )
            raise ValueError(secret.text)


def layers(content: bytes) -> Iterator[bytes]:
    """Bytes, and what is in them in hexadecimal, in base64, percent-encoded, or gzipped."""
    yield content
    yield unquote_to_bytes(content)
    for digits in re.findall(rb"\\\\?x((?:[0-9a-f]{2}){8,})", content):
        inner = binascii.unhexlify(digits)
        yield inner
        yield unquote_to_bytes(inner)
        yield from packed(inner)
    for text in re.findall(rb"[A-Za-z0-9+/_-]{16,}={0,2}", content):
        with suppress(binascii.Error):
            yield base64.b64decode(
                text + b"=" * (-len(text) % 4), altchars=b"-_" if b"-" in text or b"_" in text else None
            )
    yield from packed(content)


def packed(content: bytes) -> Iterator[bytes]:
    for found in re.finditer(rb"\x1f\x8b\x08", content):
        with suppress(zlib.error):
            yield zlib.decompressobj(31).decompress(content[found.start() :])


def found(secrets: list[Planted], *places: bytes) -> list[str]:
    """The kinds of those secrets that are somewhere in there."""
    everything = b"\n".join(layer for place in places for layer in layers(place))
    return sorted({secret.kind for secret in secrets if secret.value.encode() in everything})


def dump(server: EmbeddedServer, database: str) -> bytes:
    done = subprocess.run(
        [str(server.binaries / "pg_dump"), server.url(SUPERUSER, database)], capture_output=True, check=True
    )
    return done.stdout


def test_the_search_finds_what_is_there() -> None:
    secret = SECRETS[0]
    value = secret.value.encode()
    for place in (
        value,
        quote(secret.value, safe="").encode(),
        b"x " + base64.b64encode(value),
        b"\\\\x" + binascii.hexlify(b"{" + value + b"}"),
        b"\\\\x" + binascii.hexlify(gzip.compress(b"{" + value + b"}")),
        b"--" + gzip.compress(value),
    ):
        assert found([secret], place) == [secret.kind]
    assert found([secret], b"nothing of the kind") == []


def test_no_planted_secret_is_in_the_ledger_nor_in_what_was_said(
    ledger: Ledger,
    api: ApiServer,
    server: EmbeddedServer,
    database: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert len(SECRETS) >= 200
    with caplog.at_level(logging.DEBUG, "audit_ledger"):
        record(ledger, api, SECRETS)
    asked = b"".join(request.body for request in api.asked)
    sent = [secret for secret in SECRETS if secret.value.encode() in b"".join(layers(asked))]
    assert len(sent) > len(SECRETS) / 2  # what was sent was sent unharmed
    dumped = dump(server, database)
    assert dumped.count(b"ApiCallMade") > 3 * len(SECRETS)
    logged = "\n".join(
        record.getMessage() for record in caplog.records if record.name.startswith("audit_ledger")
    )
    out, err = capfd.readouterr()
    assert found(SECRETS, dumped, logged.encode(), out.encode(), err.encode()) == []
    assert [run.error_message for run in ledger.runs.failed()].count(None) == 0
    assert not ledger.database.query("SELECT FROM api_call_made WHERE capture_error IS NOT NULL")


def test_no_planted_secret_is_in_a_spool(
    url: str, api: ApiServer, admin: psycopg.Connection[Any], database: str, home: Path
) -> None:
    with audit_ledger.connect(url, retry_for=0, redact_key="a key of sixteen") as ledger:
        with pytest.raises(RecordingError) as raised, capturing(ledger) as run:
            run.flush()
            with psycopg.connect(admin.info.dsn, dbname="postgres", autocommit=True) as other:
                other.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS false")
                other.execute(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                    " WHERE datname = %s AND usename = 'ledger_writer'",
                    [database],
                )
            for secret in SECRETS:
                plant(api, secret)
        with psycopg.connect(admin.info.dsn, dbname="postgres", autocommit=True) as other:
            other.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS true")
        assert raised.value.path is not None
        files = sorted(raised.value.path.parent.iterdir())  # the write-ahead log holds most of it
        written = b"".join(file.read_bytes() for file in files)
        assert written.count(b"ApiCallMade") > 3 * len(SECRETS)
        assert re.search(rb"\[REDACTED:[0-9a-f]{8}\]", b"".join(layers(written)))
        assert found(SECRETS, written, str(raised.value).encode()) == []
        assert ledger.forward().events > 3 * len(SECRETS)
