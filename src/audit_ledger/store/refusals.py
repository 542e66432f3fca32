"""What a refusal of the database means: an error of ours, which says expected, actual and remedy."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import Diagnostic

from audit_ledger.errors import (
    AppendRefused,
    BeforeBeginning,
    Erased,
    EvidenceInvalid,
    Held,
    InvalidValue,
    LedgerBusy,
    LedgerError,
    ReadModelsBehind,
    RetentionNotOver,
    VersionConflict,
    WritesRefused,
    WrongRole,
)
from audit_ledger.settings import Settings
from audit_ledger.store.connecting import configure, connect, is_lost, unreachable


class Place(Protocol):
    """Which ledger refused."""

    url: str
    name: str
    settings: Settings


@contextmanager
def translated(place: Place) -> Iterator[None]:
    """Raise what the database refused as an error of ours; everything else passes unchanged."""
    try:
        yield
    except psycopg.Error as error:
        ours = translate(place, error)
        if ours is None:
            raise
        raise ours from error


@contextmanager
def questioned(place: Place) -> Iterator[None]:
    """The same for questions, whose parameters may be anything.

    Raises:
        InvalidValue: a parameter is nothing that a database can hold.
    """
    try:
        with translated(place):
            yield
    except (UnicodeEncodeError, psycopg.DataError) as error:
        raise InvalidValue(
            "the question", expected="values that the database can hold", actual=str(error).strip()
        ) from error


def translate(place: Place, error: psycopg.Error) -> LedgerError | None:
    """The error of ours that a database error means; None where it means none."""
    code = error.sqlstate or ""
    diag = error.diag
    message = diag.message_primary or str(error)
    if code == "AL010":
        return InvalidValue(
            "as of", expected=AN_INSTANT, actual=_told(message, diag), remedy=diag.message_hint
        )
    if code.startswith("AL"):
        kind, expected = REFUSALS.get(code, (AppendRefused, None))
        return kind(
            message,
            expected=expected and expected.format(name=place.name),
            actual=diag.message_detail,
            remedy=diag.message_hint,
        )
    if code == "23505" and diag.constraint_name == "events_stream_version":
        return VersionConflict(
            "the stream already has an event at that version",
            expected="the next version of the stream",
            actual=diag.message_detail,
            remedy="one process writes a stream: give each run its own run_id",
        )
    if code == "P0002":  # no_data_found: what functions rely on to be there
        return gone("the head of the log, or one of its events,", "head, or of events")
    if code == "55P03":
        context = diag.context or ""
        lock = next((lock for sign, lock in WAITED_FOR.items() if sign in context), "append")
        return LedgerBusy(
            f"another session is {DOING[lock]}",
            expected=f"to have its lock within {place.settings.lock_timeout:g} s",
            actual=_holder(place, lock),
            remedy="end that session, or raise AUDIT_LEDGER_LOCK_TIMEOUT",
        )
    if code == "42501":
        user = conninfo_to_dict(place.url).get("user")
        needed = "officer" if ERASING.search(message) else "sealer" if SEALING.search(message) else "writer"
        role = f"{place.name}_{needed}"
        return WrongRole(
            message,
            expected=f"a member of {role}",
            actual=str(user or "the role of the operating-system user"),
            remedy=f"GRANT {role} to the role, or connect as {role}",
        )
    if is_lost(error):
        return unreachable(place.url, error)
    return None


def gone(what: str, table: str) -> EvidenceInvalid:
    """The error where a row is gone that every ledger has: only a superuser can have deleted it."""
    return EvidenceInvalid(
        f"{what} is gone: somebody deleted it",
        expected=f"a row of the table {table}",
        actual="none",
        remedy="keep the database as it is; see audit-ledger verify --live, and compare with a backup",
    )


AN_INSTANT = "an instant or a date with its time zone, a position, or run RUN_ID"
"""What a question can be asked as of."""


def _told(message: str, diag: Diagnostic) -> str:
    detail = diag.message_detail
    return f"{detail}: {message}" if detail else message


REFUSALS: dict[str, tuple[type[LedgerError], str | None]] = {
    "AL005": (WrongRole, "a member of {name}_officer"),
    "AL007": (Held, "no hold in force on any event that refers to the body"),
    "AL008": (RetentionNotOver, "the retention to be over for every event that refers to the body"),
    "AL009": (Erased, "a body whose bytes are there"),
    "AL011": (BeforeBeginning, None),
    "AL012": (ReadModelsBehind, None),
    "AL016": (WrongRole, "a member of {name}_sealer"),
    "AL013": (EvidenceInvalid, "hashes and sizes that go on from those that are stored"),
    "AL020": (WritesRefused, "the history that the ledger had when that checkpoint went out"),
}
"""What SQLSTATEs of ours are, and what would have been right; any other is an append refused."""

ERASING = re.compile("scan_for_bodies|begin_erasure|erase_body")
"""The functions that only officers may call."""

SEALING = re.compile("seal_lock_key|begin_seal|add_tiles|add_checkpoint|announce_key|add_anchor")
"""The functions that only sealers may call."""

WAITED_FOR = {"update_read_models": "progress", "body_lock_key": "bodies", "begin_seal": "seal"}
"""What in the context of a time-out shows which lock was waited for; otherwise, that of appending."""

DOING = {
    "append": "appending",
    "progress": "folding the read models",
    "bodies": "storing or erasing bodies",
    "seal": "sealing",
}

HELD = {
    "bodies": "l.locktype = 'advisory' AND (l.classid::bigint << 32 | l.objid::bigint) = body_lock_key()",
    "append": "l.locktype = 'advisory' AND (l.classid::bigint << 32 | l.objid::bigint) = append_lock_key()",
    "seal": "l.locktype = 'advisory' AND (l.classid::bigint << 32 | l.objid::bigint) = seal_lock_key()",
    "progress": "l.locktype = 'relation' AND l.relation = 'progress'::regclass AND l.mode = 'RowShareLock'",
}
"""How the lock of appending, and that of folding, show in pg_locks."""


def _holder(place: Place, lock: str) -> str:
    """Who holds a lock, in words."""
    query = f"""
        SELECT a.pid, a.usename, a.application_name, clock_timestamp() - a.xact_start AS since
          FROM pg_locks l JOIN pg_stat_activity a USING (pid)
         WHERE l.granted AND {HELD[lock]}
           AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
         ORDER BY a.xact_start
    """
    try:
        with connect(place.url, place.settings) as conn:
            configure(conn, place.name, place.settings)
            row = conn.execute(query).fetchone()
    except (psycopg.Error, LedgerError) as error:
        return f"its holder could not be asked for: {error}"
    if row is None:
        return "its holder is gone by now"
    since = "" if row["since"] is None else f" for {row['since']}"  # hidden from other roles
    return f"held by process {row['pid']} ({row['usename']}, {row['application_name'] or 'unnamed'}){since}"
