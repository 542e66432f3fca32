"""How a ledger is reached: its database, which may be away, and what is known of it then."""

import sys
import time
from uuid import UUID

import psycopg

from audit_ledger.errors import LedgerError, ServerError, Unreachable
from audit_ledger.recording.spooling import Spooling
from audit_ledger.settings import Settings
from audit_ledger.store import migrations
from audit_ledger.store.database import Database, unreachable
from audit_ledger.store.database import connect as connect_to
from audit_ledger.store.recorder import LedgerRecorder
from audit_ledger.store.server import SUPERUSER, EmbeddedServer

FRESH = 1.0
"""For so many seconds after the database was reached, a run takes it to be there."""


def prepare(server: EmbeddedServer, settings: Settings) -> list[str]:
    """Start the embedded server and make its ledger, where either is missing; returns what was done."""
    made = server.ensure_running()
    done: list[str] = []
    if made:
        done.append(f"made an embedded ledger in {settings.home}")
    with connect_to(server.url(SUPERUSER), settings) as conn:
        if made or not migrations.is_current(conn, settings.name):
            done += migrations.init(conn, settings.name)
    return done


class Reaching:
    """The part of `Ledger` that is about its database being there, or away."""

    def __init__(self, database: Database, settings: Settings, server: EmbeddedServer | None) -> None:
        self.url = database.url
        self.settings = settings
        self.server = server
        self._database = database
        self._writing = LedgerRecorder(database)
        self._spooling = Spooling(settings)
        self.spool = self._spooling.spool
        self._found: migrations.Ready | None = None
        self._found_at = 0.0

    def reach(self) -> LedgerError | None:
        """Look whether the database is there and holds the ledger; returns why not, where runs are spooled.

        Raises:
            ServerError, Unreachable: it is away, and `when_away` is "strict".
            NotInitialised, SchemaMismatch, WrongRole: it is there, but not fit for use.
        """
        try:
            self._found = self._look()
        except (ServerError, Unreachable) as error:
            if self._spooling.strict:
                raise
            return error
        self._found_at = time.monotonic()
        self._spooling.reached(self._found.ledger_id)
        return None

    def _look(self) -> migrations.Ready:
        try:
            if self.server is not None:
                for line in prepare(self.server, self.settings)[:1]:
                    sys.stderr.write(f"audit-ledger: {line}\n")
            with connect_to(self.url, self.settings) as conn:
                return migrations.check(conn, self.settings.name)
        except psycopg.OperationalError as error:
            raise unreachable(self.url, error) from error

    @property
    def _ready(self) -> migrations.Ready:
        """What was found when the database was reached; it is tried again where it was not."""
        if self._found is None:
            away = self.reach()
            if away is not None:
                raise away
            assert self._found is not None  # reached
        return self._found

    @property
    def ledger_id(self) -> UUID:
        """Its identity; where the database is away, that of the ledger that was last reached here.

        Raises:
            Unreachable, ServerError: the database is away, and never was reached.
        """
        if self._found is None and self._spooling.ledger_id is not None:
            return self._spooling.ledger_id
        return self._ready.ledger_id

    @property
    def database(self) -> Database:
        """Its connections.

        Raises:
            Unreachable, ServerError: the database is away.
        """
        assert self._ready  # or raises
        return self._database

    @property
    def _recorder(self) -> LedgerRecorder:
        assert self._ready  # or raises
        return self._writing

    def _away(self) -> LedgerError | None:
        """Why a run that starts now is spooled from its beginning; None where the database is there.

        Strictly it is not looked for: sending the first event will tell.
        """
        if self._spooling.strict or time.monotonic() - self._found_at < FRESH:
            return None
        return self.reach()
