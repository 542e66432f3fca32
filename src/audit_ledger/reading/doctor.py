"""What must be so for a ledger to work: checks, each with what was found and what to do about it.

A check that cannot be made, since one before it failed, is left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from psycopg import Connection
from psycopg.rows import DictRow

from audit_ledger.errors import (
    LedgerError,
    NotInitialised,
    SchemaMismatch,
    ServerError,
    SpoolError,
    WrongRole,
)
from audit_ledger.reading.status import Status, status
from audit_ledger.settings import Settings
from audit_ledger.store import migrations, projections
from audit_ledger.store.connecting import configure, connect
from audit_ledger.store.database import Database
from audit_ledger.store.refusals import translated
from audit_ledger.store.server import SUPERUSER, EmbeddedServer
from audit_ledger.store.spool import Spool
from audit_ledger.store.sql import schema_files
from audit_ledger.version import VERSION

SERVERS = range(15, 19)
"""Major versions of PostgreSQL that this software is made for."""

GUARDS = {
    "events_lock": "events",
    "events_guard": "events",
    "events_immutable": "events",
    "head_immutable": "head",
    "origins_immutable": "origins",
    "origins_close": "origins",
    "refusals_immutable": "refusals",
    "refusals_begin": "refusals",
    "anchors_immutable": "anchors",
    "closed_checkpoints_immutable": "closed_checkpoints",
    "closed_tiles_immutable": "closed_tiles",
    "tiles_grow": "tiles",
    "tiles_immutable": "tiles",
    "checkpoints_immutable": "checkpoints",
}
"""The triggers that keep the ledger append-only, and their tables."""

STATES = {"O": "off in sessions that replicate", "D": "disabled", "R": "on for replication alone"}

LISTED = 20
"""So many events that were set aside are listed."""


@dataclass(frozen=True)
class Check:
    """One thing that must be so.

    Attributes:
        name: What was looked at.
        ok: Whether it is as it must be.
        detail: What was found.
        remedy: What to do, where it is not.
    """

    name: str
    ok: bool
    detail: str
    remedy: str | None = None


def examine(settings: Settings) -> list[Check]:
    """Check everything that can be checked.

    An embedded server that is stopped is started, since any script would; one that was never made
    is not made. Where the role may, the read models are brought up to date first.
    """
    return [*_database(settings), _spool(settings)]


def _database(settings: Settings) -> Iterator[Check]:
    try:
        url = settings.url or _embedded(settings)
        with connect(url, settings) as conn:
            configure(conn, settings.name, settings)
            yield from _server(conn)
            ready = migrations.check(conn, settings.name)
            yield _ledger(conn, settings.name, ready.ledger_id)
            role = _role(conn, settings)
            yield role
            yield _guards(conn, settings.name)
            yield from _refusal(conn)
        yield from _read_models(url, settings, may_update=role.ok)
    except (NotInitialised, SchemaMismatch, WrongRole) as error:
        yield Check("ledger", ok=False, detail=_found(error), remedy=error.remedy)
    except LedgerError as error:
        yield Check("server", ok=False, detail=_found(error), remedy=error.remedy)
    except Exception as error:  # noqa: BLE001 - whatever stands in the way of a check is a finding
        yield Check(
            "database",
            ok=False,
            detail=f"{type(error).__name__}: {error}",
            remedy="see the log of the database server",
        )


def _found(error: LedgerError) -> str:
    return error.what if error.actual is None else f"{error.what}: {error.actual}"


def _embedded(settings: Settings) -> str:
    """The URL of the embedded server, running."""
    server = EmbeddedServer(settings.home, user=settings.server_user)
    if not server.status().data_directory.exists():
        raise ServerError(
            f"there is no embedded ledger in {settings.home}",
            remedy="audit-ledger init makes one, as the first run does; or set AUDIT_LEDGER_URL",
        )
    server.ensure_running()
    return server.url(SUPERUSER)


def _server(conn: Connection[DictRow]) -> Iterator[Check]:
    info = conn.info
    yield Check("server", ok=True, detail=f"{info.host}:{info.port}/{info.dbname} answers, to {info.user}")
    major = info.server_version // 10000
    version = f"PostgreSQL {info.parameter_status('server_version')}"
    if major in SERVERS:
        yield Check("version", ok=True, detail=version)
    else:
        yield Check(
            "version",
            ok=False,
            detail=f"{version} is not one of {SERVERS[0]} to {SERVERS[-1]}",
            remedy="use one of those" if major < SERVERS[0] else "upgrade audit-ledger",
        )


def _ledger(conn: Connection[DictRow], name: str, ledger_id: UUID) -> Check:
    """That what made it is what this software would make it with."""
    ours = {int(file.name.split("_")[0]): file.sha256 for file in schema_files()}
    rows = conn.execute("SELECT number, file, sha256 FROM migrations ORDER BY number").fetchall()
    other = [row["file"] for row in rows if ours.get(row["number"]) != row["sha256"]]
    if other:
        return Check(
            "ledger",
            ok=False,
            detail=f"made with another {', another '.join(other)} than that of audit-ledger {VERSION}",
            remedy="install the audit-ledger that made the ledger, or a newer release",
        )
    if migrations.current(conn, name) is None:
        return Check(
            "ledger",
            ok=False,
            detail=f"{name} lacks a read model of this software",
            remedy="run `audit-ledger init` as an administrator of the database",
        )
    return Check("ledger", ok=True, detail=f"{name} is initialised and current, id {ledger_id}")


def _refusal(conn: Connection[DictRow]) -> Iterator[Check]:
    """That events are refused, where they are."""
    for row in conn.execute(
        "SELECT r.expected, r.actual FROM refusals r, head h WHERE h.refuses ORDER BY r.number DESC LIMIT 1"
    ):
        yield Check(
            "refused",
            ok=False,
            detail=f"events are refused: expected {row['expected']}; found {row['actual']}",
            remedy="restore the right database; where there is none, audit-ledger recover",
        )


def _role(conn: Connection[DictRow], settings: Settings) -> Check:
    """That who connects may write; embedded, that is the writer whoever asks."""
    user = conn.info.user if settings.url else f"{settings.name}_writer"
    row = conn.execute(
        "SELECT NOT pg_is_in_recovery()"
        "   AND has_table_privilege(%(user)s, 'events', 'INSERT')"
        "   AND has_function_privilege(%(user)s, 'append(uuid[], bigint[], text[], bytea[])', 'EXECUTE')"
        "   AND has_function_privilege(%(user)s, 'put_bodies(bytea[], text[], bytea[], text[], bigint[])',"
        "                              'EXECUTE')"
        "   AND has_function_privilege(%(user)s, 'update_read_models(bigint, integer)', 'EXECUTE') AS may",
        {"user": user},
    ).fetchone()
    if row is not None and row["may"]:
        return Check("role", ok=True, detail=f"{user} may write")
    error = migrations.refuse_reader(user, settings.name)
    return Check("role", ok=False, detail=f"{user} may read, but not write", remedy=error.remedy)


def _guards(conn: Connection[DictRow], name: str) -> Check:
    rows = conn.execute(
        "SELECT c.relname AS on_table, t.tgname AS trigger, t.tgenabled::text AS state"
        "  FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid"
        "  JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND NOT t.tgisinternal",
        [name],
    ).fetchall()
    states = {(row["trigger"], row["on_table"]): row["state"] for row in rows}
    off = [
        (guard, table, STATES.get(states.get((guard, table), ""), "missing"))
        for guard, table in GUARDS.items()
        if states.get((guard, table)) != "A"
    ]
    if not off:
        return Check("guards", ok=True, detail=f"{len(GUARDS)} of {len(GUARDS)} enabled, always")
    return Check(
        "guards",
        ok=False,
        detail=", ".join(f"{guard} on {table} is {state}" for guard, table, state in off),
        remedy="find out who did that, and what was changed since; then, as the owner: "
        + "; ".join(f"ALTER TABLE {name}.{table} ENABLE ALWAYS TRIGGER {guard}" for guard, table, _ in off),
    )


def _read_models(url: str, settings: Settings, *, may_update: bool) -> Iterator[Check]:
    """That they have all that was in the log when this began, from files that are still the same."""
    with Database(url, settings.name, settings) as database, translated(database):
        head = status(database, "").position
        if may_update:
            projections.update(database, timeout=settings.projection_timeout)
        found = status(database, "")
        yield _progress(found, head, settings.name)
        yield _files(found)
        yield _set_aside(database)
        yield _erasures(database)


def _progress(found: Status, head: int, name: str) -> Check:
    behind = {model.projection: head - model.position for model in found.read_models}
    behind = {projection: lag for projection, lag in behind.items() if lag > 0}
    if not behind:
        return Check("read models", ok=True, detail=f"{len(found.read_models)}, all at position {head}")
    return Check(
        "read models",
        ok=False,
        detail=", ".join(f"{projection} is {lag:,} events behind" for projection, lag in behind.items()),
        remedy=f"audit-ledger projections update, as {name}_writer; the end of a run does it too",
    )


def _files(found: Status) -> Check:
    changed = [f"{model.projection}.sql" for model in found.read_models if model.changed]
    if not changed:
        return Check("projection files", ok=True, detail="those that made the read models")
    return Check(
        "projection files",
        ok=False,
        detail=f"{', '.join(changed)} changed since the read models were made",
        remedy="run `audit-ledger projections rebuild` as an administrator of the database",
    )


def _set_aside(database: Database) -> Check:
    rows = database.query(
        "SELECT position, message, count(*) OVER () AS total FROM set_aside ORDER BY position LIMIT %s",
        [LISTED],
    )
    if not rows:
        return Check("set-aside events", ok=True, detail="none")
    lines = [f"position {row['position']}: {row['message']}" for row in rows]
    if rows[0]["total"] > len(rows):
        lines.append(f"and {rows[0]['total'] - len(rows):,} more")
    return Check(
        "set-aside events",
        ok=False,
        detail="\n   ".join([f"{rows[0]['total']:,} could not be folded", *lines]),
        remedy="they stay in the log, and the read models lack them; report them, with the messages",
    )


def _erasures(database: Database) -> Check:
    """That what is said to be erased is gone, and that nothing else is."""
    rows = database.query(
        "SELECT format('position %%s says that the body %%s was erased, but its bytes are there',"
        "              x.payload -> 'erased' ->> 'position', x.commitment) AS finding"
        "  FROM erased_bodies x JOIN bodies b ON b.commitment = x.commitment AND b.salt IS NOT NULL"
        " UNION ALL"
        " SELECT format('the bytes of the body %%s are gone, but no event says why', b.commitment)"
        "  FROM bodies b WHERE b.salt IS NULL"
        "   AND NOT EXISTS (SELECT FROM body_erasures x WHERE x.commitment = b.commitment)"
        " ORDER BY 1 LIMIT %s",
        [LISTED],
    )
    if not rows:
        return Check("erasures", ok=True, detail="what events say was erased is gone, and nothing else is")
    return Check(
        "erasures",
        ok=False,
        detail="\n   ".join(row["finding"] for row in rows),
        remedy="find out who did that, past the commands that erase; erase what was meant to be erased",
    )


def _spool(settings: Settings) -> Check:
    """That nothing waits on this machine for the database, and nothing was refused, or damaged."""
    spool = Spool.of(settings)
    try:
        found = spool.status()
    except SpoolError as error:
        return Check("spool", ok=False, detail=_found(error), remedy=error.remedy)
    finally:
        spool.close()
    held = sum(stream.events for stream in found.set_aside)
    lines, remedies = [], []
    if found.events > held:
        lines.append(f"{found.events - held:,} events wait in {found.path}")
        remedies.append("audit-ledger spool forward")
    if held:
        lines.append(f"{held:,} events in {found.path} were refused: {found.set_aside[0].set_aside}")
        remedies.append("see `audit-ledger spool status`; then audit-ledger spool forward --again")
    if found.damaged:
        lines.append(f"what could not be read was moved aside: {', '.join(map(str, found.damaged))}")
        remedies.append("get out what is readable: sqlite3 FILE .recover; then move the file away")
    if found.others:
        lines.append(f"spools of other ledgers are not empty: {', '.join(map(str, found.others))}")
        remedies.append("forward them, connected to those: audit-ledger --url URL spool forward")
    if not lines:
        return Check("spool", ok=True, detail="nothing waits")
    return Check("spool", ok=False, detail="; ".join(lines), remedy="; ".join(remedies))
