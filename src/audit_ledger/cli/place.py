"""Which ledger a command is about, and the ways to get at it. What is heavy is imported when used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import typer

from audit_ledger.cli.output import count, warn
from audit_ledger.errors import UnknownRun

if TYPE_CHECKING:
    from audit_ledger import Ledger
    from audit_ledger.settings import Settings
    from audit_ledger.store.server import EmbeddedServer


class Role(StrEnum):
    """As whom to connect."""

    writer = "writer"
    reader = "reader"
    officer = "officer"
    admin = "admin"


@dataclass(frozen=True)
class Place:
    """Where the ledger is, as far as the command line says.

    Attributes:
        url: PostgreSQL URL.
        home: Folder of the embedded server; given here, it outranks a URL in the environment.
        name: The ledger's name.
    """

    url: str | None = None
    home: Path | None = None
    name: str | None = None

    @property
    def _url(self) -> str | None:
        return "" if self.url is None and self.home is not None else self.url

    def settings(self) -> Settings:
        """The settings, the command line first."""
        from audit_ledger.settings import load

        return load(url=self._url, home=self.home, name=self.name)

    def server(self) -> EmbeddedServer:
        """The embedded server, in whatever state."""
        from audit_ledger.store.server import EmbeddedServer

        settings = self.settings()
        return EmbeddedServer(settings.home, user=settings.server_user)

    def connect(self, role: Role = Role.writer) -> Ledger:
        """A connection to the ledger; the embedded server is started, and made, where necessary.

        The role counts for the embedded ledger; with a URL, its user decides.
        """
        import audit_ledger

        return audit_ledger.connect(self._url, role=role.value, home=self.home, name=self.name)

    def connection_url(self, role: Role | None) -> str:
        """The URL of the ledger for a role; the embedded server is started where necessary.

        With a configured URL, the role is one that its user switches to; the administrator is
        whoever the URL names.
        """
        from psycopg.conninfo import conninfo_to_dict, make_conninfo

        from audit_ledger.ledger import prepare
        from audit_ledger.store.server import SUPERUSER

        settings = self.settings()
        if not settings.url:
            server = self.server()
            prepare(server, settings)
            return server.url(SUPERUSER if role is Role.admin else f"{settings.name}_{role or Role.writer}")
        if role is None or role is Role.admin:
            return settings.url
        given = conninfo_to_dict(settings.url).get("options") or ""
        options = f"{given} -c role={settings.name}_{role}".strip()
        if "://" not in settings.url:
            return make_conninfo(settings.url, options=options)
        separator = "&" if "?" in settings.url else "?"
        return f"{settings.url}{separator}options={quote(options, safe='')}"  # the last one counts


@contextmanager
def asking(ctx: typer.Context) -> Iterator[Ledger]:
    """The ledger, for a question; warns where the answer lacks events that were there before it."""
    with ctx.obj.connect() as ledger:
        head = ledger.status().position
        try:
            yield ledger
        except UnknownRun:
            _warn_of_lag(ledger, head)
            raise
        _warn_of_lag(ledger, head)


def _warn_of_lag(ledger: Ledger, head: int) -> None:
    behind = head - min((model.position for model in ledger.status().read_models), default=head)
    if behind > 0:
        warn(f"read models are {count(behind, 'event')} behind")
