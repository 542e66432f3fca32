"""How to reach a ledger: by its URL, or by starting the embedded server, which is made on first use."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from audit_ledger.settings import Settings
from audit_ledger.store import migrations
from audit_ledger.store.database import connect as connect_to

if TYPE_CHECKING:
    from audit_ledger.store.server import EmbeddedServer


@dataclass(frozen=True)
class Reached:
    """A ledger that answered.

    Attributes:
        url: Where it is, password included.
        ready: What it is, and what the role may do.
        server: The embedded server, where it is one.
    """

    url: str
    ready: migrations.Ready
    server: EmbeddedServer | None


def reach(settings: Settings, role: str = "writer") -> Reached:
    """Find the ledger, and see that it is fit for use.

    Args:
        settings: Where it is.
        role: As whom to connect to the embedded ledger; with a URL, its user decides.

    Raises:
        ServerError: the embedded server cannot be set up or started.
        Unreachable: no database answers at the URL.
        NotInitialised: it holds no ledger of that name.
        SchemaMismatch: its ledger is older or newer than this software.
        WrongRole: the role may not read it.
    """
    server = None
    if settings.url:
        url = settings.url
    else:
        from audit_ledger.store.server import EmbeddedServer

        server = EmbeddedServer(settings.home, user=settings.server_user)
        for line in prepare(server, settings)[:1]:
            sys.stderr.write(f"audit-ledger: {line}\n")
        url = server.url(f"{settings.name}_{role}")
    with connect_to(url, settings) as conn:
        return Reached(url, migrations.check(conn, settings.name), server)


def prepare(server: EmbeddedServer, settings: Settings) -> list[str]:
    """Start the embedded server and make its ledger, where either is missing; returns what was done."""
    from audit_ledger.store.server import SUPERUSER

    made = server.ensure_running()
    done: list[str] = []
    if made:
        done.append(f"made an embedded ledger in {settings.home}")
    with connect_to(server.url(SUPERUSER), settings) as conn:
        if made or not migrations.is_current(conn, settings.name):
            done += migrations.init(conn, settings.name)
    return done
