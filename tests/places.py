"""A ledger whose checkpoints go out: its key, ledger.toml with [anchors], and a folder of checkpoints."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg

import audit_ledger
from audit_ledger import Ledger
from audit_ledger.evidence import anchoring
from audit_ledger.evidence.checkpoint import Checkpoint
from audit_ledger.evidence.keys import Signer
from audit_ledger.store.server import SUPERUSER, EmbeddedServer
from tests.authority import TestAuthority
from tests.conftest import administer
from tests.store import events, recorder_at, until

Admin = psycopg.Connection[Any]
SEED = bytes(range(32))


class Place:
    """A ledger with its key, and with an [anchors] table that names a folder: what the tests turn.

    Attributes:
        folder: The folder of checkpoints.
        config: ledger.toml.
        keys: The file with the verifier key.
        signer: The key.
    """

    def __init__(self, server: EmbeddedServer, database: str, home: Path, origin: str) -> None:
        self.server, self.database, self.home = server, database, home
        self.folder, self.config, self.keys = home / "outside", home / "ledger.toml", home / "keys.vkey"
        self.folder.mkdir()
        self.signer = Signer(origin, SEED)
        self.keys.write_text(self.signer.verifier.key + "\n")
        (home / "keys").mkdir(mode=0o700)
        self._key(self.signer)
        self.configure()

    def _key(self, signer: Signer) -> None:
        file = self.home / "keys" / f"{signer.name}.key"
        file.write_text(signer.key)
        file.chmod(0o600)

    def configure(self, *authorities: TestAuthority, more: str = "", folders: tuple[Path, ...] = ()) -> None:
        """Write ledger.toml."""
        paths = ", ".join(f'"{folder}"' for folder in folders or (self.folder,))
        text = f'[anchors]\nfolders = [{paths}]\nkeys = "{self.keys.name}"\n{more}\n'
        for number, authority in enumerate(authorities, 1):
            text += (
                f'[[anchors.timestamps]]\nname = "tsa{number}"\nurl = "{authority.url}"\n'
                f'certificate = "{authority.certificate}"\n'
            )
        self.config.write_text(text)

    def new_key(self, origin: str) -> Signer:
        """The key of another origin, known and pinned."""
        signer = Signer(origin, bytes(reversed(SEED)))
        self._key(signer)
        self.keys.write_text(self.keys.read_text() + signer.verifier.key + "\n")
        return signer

    def url(self, role: str, database: str | None = None) -> str:
        return self.server.url(role, database or self.database)

    def connect(self, role: str = "ledger_writer", database: str | None = None, **settings: Any) -> Ledger:
        return audit_ledger.connect(self.url(role, database), home=self.home, **settings)

    def append(self, count: int, database: str | None = None) -> None:
        with recorder_at(self.url("ledger_writer", database)) as recorder:
            recorder.insert_events(events(uuid4(), count))

    def seal(self, database: str | None = None) -> Checkpoint | None:
        with self.connect("ledger_sealer", database) as ledger:
            return ledger.seal()

    def anchor(self, database: str | None = None) -> anchoring.Anchored:
        with self.connect("ledger_sealer", database) as ledger:
            return ledger.anchor()

    def anchored(self, count: int, database: str | None = None) -> anchoring.Anchored:
        """Append so many events, seal them, and anchor the checkpoint."""
        self.append(count, database)
        assert self.seal(database) is not None
        return self.anchor(database)

    def file(self, size: int, suffix: str = "checkpoint") -> Path:
        return self.folder / self.signer.name / f"{size}.{suffix}"

    def copy(self, name: str) -> Iterator[str]:
        """The database as it is now, as another one: what restoring a backup gives."""

        def made() -> bool:
            try:
                administer(self.server, f"CREATE DATABASE {{}} TEMPLATE {self.database}", name)
            except psycopg.errors.ObjectInUse:  # a connection is still on its way out
                return False
            return True

        until(made)
        try:
            yield name
        finally:
            administer(self.server, "DROP DATABASE {} WITH (FORCE)", name)

    def superuser(self, database: str | None = None) -> Admin:
        return psycopg.connect(
            self.url(SUPERUSER, database), autocommit=True, options="-c search_path=ledger_read,ledger"
        )
