"""What is measured stands on: an embedded server of its own, and a database with a ledger for each topic."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from audit_ledger.settings import Settings, load
from audit_ledger.store import migrations
from audit_ledger.store.recorder import Datastore
from audit_ledger.store.server import SUPERUSER, EmbeddedServer

LEDGER = "ledger"
WAL_FILES = 30
"""Files of the write-ahead log, 16 MB each, for a series to use: as many as lie between checkpoints."""


@dataclass(frozen=True)
class Ground:
    """A running server, with the settings that a user would have who had set none."""

    server: EmbeddedServer
    settings: Settings

    @property
    def home(self) -> Path:
        """Folder of the server."""
        return self.settings.home

    def make_ledger(self, database: str) -> None:
        """Make a database with an empty ledger."""
        with self.administer("postgres") as conn:
            conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
        with self.administer(database) as conn:
            migrations.init(conn, LEDGER)

    def administer(self, database: str) -> psycopg.Connection[Any]:
        """A superuser's connection, in autocommit."""
        return psycopg.connect(self.server.url(SUPERUSER, database), autocommit=True)

    def writer_url(self, database: str) -> str:
        """The URL of a ledger for its writer."""
        return self.server.url(f"{LEDGER}_writer", database)

    def writer(self, database: str) -> Datastore:
        """The connections that `audit_ledger.connect()` would make."""
        return Datastore(self.writer_url(database), LEDGER, self.settings)

    def settle(self, database: str) -> None:
        """Give both sides the same start, that of a server which has been in use for a while.

        Nothing is left to write back, and there are files of the write-ahead log to use again. A new
        server makes such a file every 16 MB, which takes some 12 ms, and may do so in step with the turns
        of the contestants.
        """
        with self.administer(database) as conn:
            for _ in range(WAL_FILES):
                conn.execute("SELECT pg_logical_emit_message(false, 'bench', repeat('x', 16 << 20))")
            conn.execute("CHECKPOINT")


@contextmanager
def ground() -> Iterator[Ground]:
    """A server in a temporary folder, stopped and removed at the end."""
    for name in [name for name in os.environ if name.startswith("AUDIT_LEDGER_")]:
        del os.environ[name]
    home = Path(tempfile.mkdtemp(prefix="audit-ledger-bench-"))
    home.chmod(0o711)  # the server's account must pass, where root starts it
    os.environ["AUDIT_LEDGER_CONFIG"] = str(home / "none.toml")
    server = EmbeddedServer(home)
    try:
        server.ensure_running()
        yield Ground(server, load(home=home))
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)
