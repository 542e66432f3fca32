"""Bringing the read models up to date. The folding itself is SQL, in projections/ and schema/."""

import time
from dataclasses import dataclass

import psycopg
from psycopg import Connection
from psycopg.rows import DictRow
from psycopg.types.numeric import Int4, Int8

from audit_ledger.store.database import Database

CHUNK = 20_000
"""Events folded in one transaction."""


@dataclass(frozen=True)
class Progress:
    """How far the read models are, and how far the log is, as positions."""

    position: int
    head: int


def update(
    database: Database, *, upto: int | None = None, timeout: float | None = None, chunk: int = CHUNK
) -> Progress:
    """Fold what is new into the read models, a chunk a transaction.

    Args:
        database: The ledger.
        upto: Stop once this position is folded; by default at the head.
        timeout: Stop after about so many seconds; waiting for another that folds counts too.
        chunk: Events folded in one transaction.

    Returns:
        How far it came. Short of `upto` means that time ran out: the rest is folded next time.

    Raises:
        psycopg.errors.LockNotAvailable: without a time-out: another folds, for longer than lock_timeout.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    wait = database.settings.lock_timeout if timeout is None else timeout
    with database.connection() as conn:
        while True:
            try:
                progress = _fold(conn, wait, chunk)
            except psycopg.errors.LockNotAvailable:
                if timeout is None:
                    raise
                return _read(conn)  # another folds; it will come to our events as well
            if progress.position >= (progress.head if upto is None else upto):
                return progress
            if deadline is not None and time.monotonic() > deadline:
                return progress


def _fold(conn: Connection[DictRow], wait: float, chunk: int) -> Progress:
    """Fold the next chunk, waiting so many seconds for another who folds."""
    row = conn.execute(
        "SELECT * FROM update_read_models(%b, %b)",
        [Int8(chunk), Int4(max(1, round(wait * 1000)))],
        prepare=True,
    ).fetchone()
    assert row is not None  # a function call has a row
    return Progress(row["folded_upto"], row["head_position"])


def _read(conn: Connection[DictRow]) -> Progress:
    """How far the read models are, without folding."""
    row = conn.execute(
        "SELECT (SELECT min(position) FROM progress) AS position, position AS head FROM head"
    ).fetchone()
    assert row is not None  # the head is one row
    return Progress(row["position"], row["head"])
