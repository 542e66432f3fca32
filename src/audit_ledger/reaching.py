"""How a ledger is reached: its database, which may be away, what is known of it then, and how runs begin."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

import psycopg

from audit_ledger.errors import LedgerError, ServerError, Unreachable
from audit_ledger.ledger_toml import names_anchors
from audit_ledger.recording.messages import Messages
from audit_ledger.recording.run import Run
from audit_ledger.recording.spooling import Spooling, tell
from audit_ledger.settings import Settings
from audit_ledger.store import migrations
from audit_ledger.store.connecting import connect as connect_to
from audit_ledger.store.connecting import conninfo, unreachable
from audit_ledger.store.database import Database
from audit_ledger.store.event_store import EventStore

if TYPE_CHECKING:  # whoever has a URL, and no anchors, does without: they take long to import
    from audit_ledger.evidence.outside import Looked
    from audit_ledger.store.server import EmbeddedServer

FRESH = 1.0
"""For so many seconds after the database was reached, a run takes it to be there."""


def prepare(server: EmbeddedServer, settings: Settings) -> list[str]:
    """Start the embedded server and make its ledger, where either is missing; returns what was done."""
    from audit_ledger.store.server import SUPERUSER

    made = server.ensure_running()
    done: list[str] = []
    if made:
        done.append(f"made an embedded ledger in {settings.home}")
    with connect_to(server.url(SUPERUSER), settings) as conn:
        if made or migrations.current(conn, settings.name) is None:
            done += migrations.init(conn, settings.name)
    return done


class Reaching:
    """The part of a ledger that is about its database being there, or away, and about the runs that begin.

    Args:
        settings: Where it is.
        role: As whom to connect to the embedded ledger; with a URL, its user decides.

    Attributes:
        url: Where it is, password included.
        settings: What it was connected with.
        server: The embedded server, where it is one.
        spool: Where events wait while the database is away.

    Raises:
        Unreachable: the URL is not a PostgreSQL URL.
    """

    def __init__(self, settings: Settings, role: str = "writer") -> None:
        self.settings = settings
        self.server: EmbeddedServer | None = None
        if settings.url:
            self.url = settings.url
        else:
            from audit_ledger.store.server import EmbeddedServer

            self.server = EmbeddedServer(settings.home, user=settings.server_user)
            self.url = self.server.url(f"{settings.name}_{role}")
        conninfo(self.url, settings)  # what is no URL is an error, also while a database may be away
        self._database = Database(self.url, settings.name, settings)
        self._writing = EventStore(self._database)
        self._spooling = Spooling(settings)
        self.spool = self._spooling.spool
        self._found: migrations.Ready | None = None
        self._found_at = 0.0
        self._compared = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. The embedded server runs on."""
        self._database.close()
        self._spooling.close()

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
        self._spooling.reached(self._found.made_as)
        if self._found.may_write and not self._compared:
            self._compared = True
            self._compare_outside()
        return None

    def _compare_outside(self) -> None:
        """Compare with checkpoints that were kept elsewhere, if ledger.toml says where; nothing is raised.

        A script must not fail for it: where the ledger does not continue one, appending will.
        """
        try:
            if not names_anchors():
                return
            looked = self._look_outside()
        except Exception as error:  # noqa: BLE001 - said; the script goes on
            tell(logging.WARNING, f"checkpoints that were kept elsewhere could not be compared: {error}")
            return
        for trouble in looked.troubles:
            tell(logging.WARNING, str(trouble))
        if looked.wrong is not None:
            tell(logging.CRITICAL, str(looked.wrong.error()))

    def _look_outside(self, files: Sequence[Path] = ()) -> Looked:
        """Compare with checkpoints that were kept elsewhere; the ledger refuses events if one convicts it."""
        from audit_ledger.evidence import outside
        from audit_ledger.plan import load_anchors

        looked = outside.look(self.database, load_anchors(), files)
        if looked.wrong is not None:
            try:
                outside.refuse(self.database, looked.wrong)
            except LedgerError as error:
                tell(logging.WARNING, f"the ledger cannot be made to refuse events: {error}")
        return looked

    def _refuse_where_convicted(self) -> None:
        """Nothing, unless the ledger does not continue a checkpoint that was kept elsewhere.

        Raises:
            WritesRefused: it does not.
            ConfigurationError: ledger.toml cannot be used.
        """
        if names_anchors():
            looked = self._look_outside()
            for trouble in looked.troubles:
                tell(logging.WARNING, str(trouble))
            if looked.wrong is not None:
                raise looked.wrong.error()

    def _look(self) -> migrations.Ready:
        try:
            if self.server is not None:
                if (found := self._embedded()) is not None:
                    return found
                for line in prepare(self.server, self.settings)[:1]:
                    sys.stderr.write(f"audit-ledger: {line}\n")
            with self._database.first_connection() as conn:
                return migrations.check(conn, self.settings.name)
        except psycopg.OperationalError as error:
            raise unreachable(self.url, error) from error

    def _embedded(self) -> migrations.Ready | None:
        """What is found where the embedded server runs already, and its ledger is whole, as nearly always."""
        assert self.server is not None
        if not self.server.seems_running:
            return None
        try:
            with self._database.first_connection() as conn:
                return migrations.current(conn, self.settings.name)
        except (Unreachable, psycopg.OperationalError):
            return None

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
        """Its identity; where the database is away, that which the ledger last reached here was made with.

        Raises:
            Unreachable, ServerError: the database is away, and never was reached.
        """
        if self._found is None and self._spooling.ledger_id is not None:
            return self._spooling.ledger_id
        return self._ready.ledger_id

    @property
    def made_as(self) -> UUID:
        """The identity that it was made with, which a recovery does not change.

        Raises:
            Unreachable, ServerError: the database is away.
        """
        return self._ready.made_as

    @property
    def database(self) -> Database:
        """Its connections.

        Raises:
            Unreachable, ServerError: the database is away.
        """
        assert self._ready  # or raises
        return self._database

    @property
    def _recorder(self) -> EventStore:
        assert self._ready  # or raises
        return self._writing

    def _away(self) -> LedgerError | None:
        """Why a run that starts now is spooled from its beginning; None where the database is there.

        Strictly it is not looked for: sending the first event will tell.
        """
        if self._spooling.strict or time.monotonic() - self._found_at < FRESH:
            return None
        return self.reach()

    def _begin(self, messages: Messages, **what: Any) -> Run:
        """Begin a run; what is spooled begins to be forwarded.

        Raises:
            WrongRole: the role may not append.
            LedgerError: as `Run`.
        """
        away = self._away()
        forwarding = None
        if away is None:
            if not self._ready.may_write:
                raise migrations.refuse_reader(self._ready.user, self.settings.name)
            forwarding = self._spooling.forward(self._writing, self._ready.made_as)
        return Run(
            self._writing,
            self.settings,
            self._spooling,
            messages,
            away=away,
            forwarding=forwarding,
            **what,
        )
