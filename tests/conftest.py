"""What the tests stand on: a real PostgreSQL, and a fresh ledger for each test, cloned from a template.

The server is the embedded one; AUDIT_LEDGER_TEST_POSTGRES=/path/to/bin runs the same tests on other
binaries. Real data lies in ../shared; tests that need it skip where it is not there, and say so.
"""

import importlib.util
import itertools
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg
import pytest
from aiosmtpd.controller import Controller
from psycopg import sql

import audit_ledger
from audit_ledger import Ledger
from audit_ledger.recording.capture import current
from audit_ledger.store import migrations
from audit_ledger.store.server import SUPERUSER, EmbeddedServer
from tests.folders import new_folder
from tests.receivers import Mailbox, Webhook

SHARED = Path(os.environ.get("AUDIT_LEDGER_SHARED", Path(__file__).parents[2] / "shared"))
TEMPLATE = "template_ledger"
NUMBERS = itertools.count(1)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """No test reads, or writes to, the settings and the ledger of whoever runs it."""
    for name in list(os.environ):
        if name.startswith("AUDIT_LEDGER_") and not name.startswith(
            ("AUDIT_LEDGER_TEST", "AUDIT_LEDGER_SHARED")
        ):
            monkeypatch.delenv(name)
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)  # with which the verifier refuses to work
    monkeypatch.setenv("AUDIT_LEDGER_CONFIG", str(home / "none.toml"))
    monkeypatch.setenv("AUDIT_LEDGER_HOME", str(home))
    # A run that a test leaves open must not say for ever after that it goes on, nor be the next one's.
    monkeypatch.setenv("AUDIT_LEDGER_HEARTBEAT", "0")
    current._inside.set(None)


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder for a server, or for what else a user has in theirs."""
    path = new_folder()
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedServer]:
    """A running server."""
    path = new_folder()
    binaries = os.environ.get("AUDIT_LEDGER_TEST_POSTGRES")
    server = EmbeddedServer(path, binaries=Path(binaries) if binaries else None)
    server.ensure_running()
    with psycopg.connect(server.url(SUPERUSER, "postgres"), autocommit=True) as conn:
        # Nothing here outlives the tests; those about crashes have servers of their own.
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            conn.execute(f"ALTER SYSTEM SET {setting} = off")
        conn.execute("SELECT pg_reload_conf()")
    yield server
    server.stop()
    shutil.rmtree(path, ignore_errors=True)


def administer(server: EmbeddedServer, statement: str, name: str) -> None:
    """Run a statement about a database, as the superuser."""
    with psycopg.connect(server.url(SUPERUSER, "postgres"), autocommit=True) as conn:
        conn.execute(sql.SQL(statement).format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def template(server: EmbeddedServer) -> str:
    """A database with an empty ledger, for cloning."""
    administer(server, "CREATE DATABASE {}", TEMPLATE)
    with psycopg.connect(server.url(SUPERUSER, TEMPLATE), autocommit=True) as conn:
        migrations.init(conn, "ledger")
    return TEMPLATE


@pytest.fixture
def empty_database(server: EmbeddedServer) -> Iterator[str]:
    """The name of a database without a ledger."""
    name = f"empty_{next(NUMBERS)}"
    administer(server, "CREATE DATABASE {}", name)
    yield name
    administer(server, "DROP DATABASE {} WITH (FORCE)", name)


@pytest.fixture
def database(server: EmbeddedServer, template: str) -> Iterator[str]:
    """The name of a database with an empty ledger of the test's own."""
    name = f"test_{next(NUMBERS)}"
    administer(server, f"CREATE DATABASE {{}} TEMPLATE {template} STRATEGY file_copy", name)
    yield name
    administer(server, "DROP DATABASE {} WITH (FORCE)", name)


@pytest.fixture
def url(server: EmbeddedServer, database: str) -> str:
    """The URL of that ledger for its writer."""
    return server.url("ledger_writer", database)


@pytest.fixture
def reader_url(server: EmbeddedServer, database: str) -> str:
    """The URL of that ledger for its reader."""
    return server.url("ledger_reader", database)


@pytest.fixture
def officer_url(server: EmbeddedServer, database: str) -> str:
    """The URL of that ledger for its officer."""
    return server.url("ledger_officer", database)


@pytest.fixture
def admin_url(server: EmbeddedServer, database: str) -> str:
    """The URL of that ledger for the superuser."""
    return server.url(SUPERUSER, database)


@pytest.fixture
def admin(admin_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A superuser's connection to that ledger, in autocommit."""
    with psycopg.connect(admin_url, autocommit=True, options="-c search_path=ledger_read,ledger") as conn:
        yield conn


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    """That ledger, connected as its writer."""
    with audit_ledger.connect(url) as connected:
        yield connected


@pytest.fixture
def officer(officer_url: str) -> Iterator[Ledger]:
    """That ledger, connected as its officer."""
    with audit_ledger.connect(officer_url) as connected:
        yield connected


def shared(*parts: str) -> Path:
    """A path in ../shared; skips the test where it is not there."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs shared/{'/'.join(parts)}, which is not here")
    return path


@pytest.fixture(scope="session")
def serve() -> ModuleType:
    """The module that serves the real data over HTTP: `serve.start(today=...)`."""
    path = shared("realdata", "serve.py")
    spec = importlib.util.spec_from_file_location("realdata_serve", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    """A mailbox with an SMTP server at a free port."""
    box = Mailbox()
    controller = Controller(box, hostname="127.0.0.1", port=box.port)
    controller.start()
    yield box
    controller.stop()


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    """A webhook at a free port."""
    with Webhook() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
