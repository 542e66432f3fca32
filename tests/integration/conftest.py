"""What these tests share: a server to stop and to start, a database that is away, a sealed ledger."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

import audit_ledger
from audit_ledger import Ledger
from audit_ledger.evidence.keys import Signer
from audit_ledger.store import migrations
from audit_ledger.store.server import SUPERUSER, EmbeddedServer
from tests.everything import tell_everything
from tests.folders import new_folder
from tests.places import Place


@pytest.fixture(scope="module")
def own_server() -> Iterator[EmbeddedServer]:
    """A server of these tests' own, with a ledger, to stop and to start."""
    home = new_folder()
    binaries = os.environ.get("AUDIT_LEDGER_TEST_POSTGRES")
    server = EmbeddedServer(home, binaries=Path(binaries) if binaries else None)
    server.ensure_running()
    with psycopg.connect(server.url(SUPERUSER), autocommit=True) as conn:
        migrations.init(conn, "ledger")
    yield server
    server.stop()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def running(own_server: EmbeddedServer) -> EmbeddedServer:
    own_server.ensure_running()
    return own_server


class Away:
    """Lets a database be away, and come back: nobody may connect, and whoever is connected is thrown out."""

    def __init__(self, admin: psycopg.Connection[Any], database: str) -> None:
        self._dsn, self._database = admin.info.dsn, database

    def begin(self) -> None:
        with psycopg.connect(self._dsn, dbname="postgres", autocommit=True) as other:
            other.execute(f"ALTER DATABASE {self._database} ALLOW_CONNECTIONS false")
            other.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = %s AND usename = 'ledger_writer'",
                [self._database],
            )

    def end(self) -> None:
        with psycopg.connect(self._dsn, dbname="postgres", autocommit=True) as other:
            other.execute(f"ALTER DATABASE {self._database} ALLOW_CONNECTIONS true")


@pytest.fixture
def away(admin: psycopg.Connection[Any], database: str) -> Iterator[Away]:
    """The database of the test, which can be away."""
    switch = Away(admin, database)
    yield switch
    switch.end()


@pytest.fixture
def signer(ledger: Ledger) -> Signer:
    """The key of the ledger."""
    return Signer(str(ledger.ledger_id), bytes(range(32)))


@pytest.fixture
def sealer(admin_url: str, signer: Signer) -> Iterator[Ledger]:
    """The ledger, connected to as one who has the key."""
    with audit_ledger.connect(admin_url, sealing_key=SecretStr(signer.key)) as connected:
        yield connected


@pytest.fixture
def told(ledger: Ledger, officer: Ledger, admin: psycopg.Connection[Any], sealer: Ledger) -> Ledger:
    """A ledger with events of every type, sealed in two steps."""
    with ledger.run("before", "s") as run:
        run.ingest("X", 1, {"n": 1})
    sealer.seal()
    tell_everything(ledger, officer, admin, to_be_sealed=True)
    sealer.seal()
    return sealer


@pytest.fixture
def place(
    server: EmbeddedServer, database: str, home: Path, reader_url: str, monkeypatch: pytest.MonkeyPatch
) -> Place:
    monkeypatch.setenv("AUDIT_LEDGER_CONFIG", str(home / "ledger.toml"))
    with psycopg.connect(reader_url) as conn:
        row = conn.execute("SELECT id FROM ledger.origin").fetchone()
    assert row is not None
    return Place(server, database, home, str(row[0]))
