"""Which ledger a command is about, and the ways to get at it. What is heavy is imported when used."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import typer

from audit_ledger.cli.output import Format, count, warn
from audit_ledger.errors import UnknownRun

if TYPE_CHECKING:
    from audit_ledger import Ledger
    from audit_ledger.reading.interface import Reading
    from audit_ledger.settings import Settings
    from audit_ledger.store.server import EmbeddedServer


class Role(StrEnum):
    """As whom to connect."""

    writer = "writer"
    reader = "reader"
    officer = "officer"
    sealer = "sealer"
    admin = "admin"


@dataclass(frozen=True)
class Place:
    """Where the ledger is, as far as the command line says.

    Attributes:
        url: PostgreSQL URL.
        home: Folder of the embedded server; given here, it outranks a URL in the environment.
        name: The ledger's name.
        as_of: As of when questions are asked; None for now.
        final: Whether an answer that is not final yet is to be made so, by a heartbeat.
    """

    url: str | None = None
    home: Path | None = None
    name: str | None = None
    as_of: str | None = None
    final: bool = False

    @property
    def url_given(self) -> str | None:
        """The URL for `connect`: empty where a folder was given, which outranks the environment's URL."""
        return "" if self.url is None and self.home is not None else self.url

    def settings(self) -> Settings:
        """The settings, the command line first."""
        from audit_ledger.settings import load

        return load(url=self.url_given, home=self.home, name=self.name)

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

        return audit_ledger.connect(
            self.url_given, role=role.value, home=self.home, name=self.name, when_away="strict"
        )

    def connection_url(self, role: Role | None) -> str:
        """The URL of the ledger for a role; the embedded server is started where necessary.

        With a configured URL, the role is one that its user switches to; the administrator is
        whoever the URL names.
        """
        from psycopg.conninfo import conninfo_to_dict, make_conninfo

        from audit_ledger.reaching import prepare
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
def asking(ctx: typer.Context) -> Iterator[Reading]:
    """The ledger, for a question: as of when --as-of says, or as it is.

    What it is as of is shown when the command is through: with an answer as of an instant always, with one of
    now at a terminal. Warns where an answer of now lacks events that were there before it.
    """
    place: Place = ctx.obj
    with place.connect() as ledger:
        if place.as_of is not None:
            then = ledger.as_of(place.as_of, final=place.final)
            yield then
            _show_at_end(ctx, str(then.header))
            return
        head = ledger.status().position
        try:
            yield ledger
        except UnknownRun:
            _warn_of_lag(ledger, head)
            raise
        _warn_of_lag(ledger, head)
        if sys.stdout.isatty() and (header := ledger.header) is not None:
            _show_at_end(ctx, str(header))


def _show_at_end(ctx: typer.Context, header: str) -> None:
    """Show the header once the answer is printed: beside it, where a program may read it."""
    if ctx.params.get("form", Format.table) != Format.table:
        return  # it is in the answer itself
    beside = bool(ctx.params.get("as_json") or ctx.params.get("raw"))
    ctx.call_on_close(lambda: typer.echo(header, err=beside))


def _warn_of_lag(ledger: Ledger, head: int) -> None:
    behind = head - min((model.position for model in ledger.status().read_models), default=head)
    if behind > 0:
        warn(f"read models are {count(behind, 'event')} behind")
