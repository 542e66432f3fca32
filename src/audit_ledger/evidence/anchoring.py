"""Anchoring: the last checkpoint goes to every folder and every timestamping authority of ledger.toml.

Each place is tried by itself: what fails at one is told, and the others go on. What was done is noted in the
database, so that it is done once, and so that what failed is tried again.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from psycopg.rows import tuple_row

from audit_ledger.errors import AnchorFailed, ConfigurationError, EvidenceInvalid, LedgerError, NotSealed
from audit_ledger.evidence import anchors as noted
from audit_ledger.evidence import folders, stamping, timestamps
from audit_ledger.evidence.anchors import Anchor
from audit_ledger.evidence.proving import LAST
from audit_ledger.evidence.sealing import Stored, one
from audit_ledger.plan import Anchors, Authority
from audit_ledger.store.database import Database
from audit_ledger.store.refusals import questioned

AGAIN = 60.0
AT_MOST = 3600.0
"""Seconds after which what failed is tried again; each further failure doubles them, up to an hour."""

DUE = """
    SELECT coalesce(max(c.size), 0) AS sealed,
           coalesce(max(a.size), 0) AS anchored,
           clock_timestamp() - max(a.anchored_at) AS since,
           array(SELECT b.kind || ' ' || b.name
                   FROM anchors b
                  WHERE b.origin = o.id
                    AND b.size = (SELECT max(m.size) FROM anchors m WHERE m.origin = o.id)) AS places
      FROM origin o
      LEFT JOIN (SELECT size FROM checkpoints ORDER BY size DESC LIMIT 1) c ON true
      LEFT JOIN (SELECT size, origin, min(anchored_at) AS anchored_at FROM anchors GROUP BY size, origin
                  ORDER BY size DESC) a ON a.origin = o.id
     GROUP BY o.id
"""


@dataclass(frozen=True)
class Anchored:
    """What anchoring did.

    Attributes:
        size: The checkpoint's.
        anchor: All places that it is at now; None where it is at none.
        new: Those that it was not at before: kind and name.
        failures: Why it is not at others: kind, name and error.
    """

    size: int
    anchor: Anchor | None
    new: tuple[tuple[str, str], ...]
    failures: tuple[tuple[str, str, LedgerError], ...]


def anchor(database: Database, anchors: Anchors, size: int | None = None) -> Anchored:
    """Bring a checkpoint to every place where it is not yet.

    Args:
        database: The ledger, connected to as its sealer.
        anchors: The places.
        size: The checkpoint's; by default the last one.

    Raises:
        ConfigurationError: there is no place.
        NotSealed: there is no checkpoint.
        EvidenceInvalid: the checkpoint was changed in the database.
        WrongRole: the role may not seal.
    """
    if not anchors.places:
        raise ConfigurationError(
            "there is no place to anchor checkpoints at",
            expected="folders, or [[anchors.timestamps]], in the table [anchors] of ledger.toml",
            actual="neither",
            remedy="add one: docs/how-to/anchor-checkpoints.md",
        )
    last = _checkpoint(database, size)
    before = noted.of_size(database, last.size)
    work = _Work(database, last, before)
    for folder in anchors.folders:
        work.folder(folder)
    for authority in anchors.timestamps:
        work.timestamp(authority, anchors.folders)
    return Anchored(last.size, noted.of_size(database, last.size), tuple(work.new), tuple(work.failures))


def due(database: Database, anchors: Anchors) -> int | None:
    """The size of the checkpoint that it is time to anchor; None where it is not time.

    That is the last one, where `every` is over, or `every_events` are sealed since; else the last that was
    anchored, where it is not at every place yet.
    """
    if not anchors.places:
        return None
    (row,) = database.query(DUE)
    sealed, anchored = row["sealed"], row["anchored"]
    if sealed > anchored and (
        row["since"] is None
        or row["since"] >= anchors.every
        or (anchors.every_events is not None and sealed - anchored >= anchors.every_events)
    ):
        return int(sealed)
    missing = {f"{kind} {name}" for kind, name in anchors.places} - set(row["places"])
    return int(anchored) if anchored and missing else None


class _Work:
    """One checkpoint on its way to its places."""

    def __init__(self, database: Database, last: Stored, before: Anchor | None) -> None:
        assert last.note is not None  # there is a checkpoint
        self._database = database
        self._origin, self._size, self._note = last.origin, last.size, last.note
        self._folders = {name for name, _ in before.folders} if before else set()
        self._timestamps = {one.name: one for one in before.timestamps} if before else {}
        self.new: list[tuple[str, str]] = []
        self.failures: list[tuple[str, str, LedgerError]] = []

    def folder(self, folder: Path) -> None:
        """Write the checkpoint to a folder, also where it was taken out of it."""
        try:
            folders.put(folder, folders.checkpoint_file(folder, self._origin, self._size), self._note)
            if str(folder) not in self._folders:
                noted.note_anchor(self._database, self._size, "folder", str(folder), datetime.now(UTC))
                self.new.append(("folder", str(folder)))
        except (AnchorFailed, EvidenceInvalid) as error:
            self.failures.append(("folder", str(folder), error))

    def timestamp(self, authority: Authority, beside: tuple[Path, ...]) -> None:
        """Have the checkpoint timestamped, and write the response beside it in each folder."""
        name = authority.name
        try:
            known = self._timestamps.get(name)
            if known is None:
                response, stated_at = stamping.stamp(authority, self._note)
                noted.note_anchor(self._database, self._size, "timestamp", name, stated_at, response)
                self.new.append(("timestamp", name))
            else:
                response = known.response
        except (AnchorFailed, ConfigurationError, EvidenceInvalid) as error:
            self.failures.append(("timestamp", name, error))
            return
        for folder in beside:
            self._beside(folder, authority, response)

    def _beside(self, folder: Path, authority: Authority, response: bytes) -> None:
        file = folders.timestamp_file(folder, self._origin, self._size, authority.name)
        try:
            try:
                folders.put(folder, file, response)
            except EvidenceInvalid:  # another one was faster; each request gets a response of its own
                timestamps.verify(authority, folders.read(file), self._note)
        except (AnchorFailed, EvidenceInvalid) as error:
            if not any(failed[:2] == ("folder", str(folder)) for failed in self.failures):
                self.failures.append(("folder", str(folder), error))


def _checkpoint(database: Database, size: int | None) -> Stored:
    """A checkpoint as the database has it, which its note must state."""
    statement = LAST.replace("ORDER BY size", "WHERE size = %(size)s ORDER BY size") if size else LAST
    with (
        questioned(database),
        database.connection() as conn,
        conn.cursor(binary=True, row_factory=tuple_row) as cursor,
    ):
        cursor.execute(statement, {"size": size} if size else None)
        found = Stored(*one(cursor))
    if found.note is None:
        raise NotSealed(
            "there is no checkpoint to be anchored",
            expected=f"one of size {size}" if size else "one at least",
            actual="none",
            remedy="audit-ledger seal",
        )
    found.stated()
    return found


class InBackground:
    """Anchors when it is due, in a thread of its own, so that sealing does not wait for authorities.

    Args:
        work: Anchors what is due, and tells of it; returns whether all went well.
    """

    def __init__(self, work: Callable[[], bool]) -> None:
        self._work = work
        self._pause = AGAIN
        self._not_before = 0.0
        self._thread: threading.Thread | None = None

    def step(self) -> None:
        """Begin, unless it is under way, or failed a short while ago."""
        if time.monotonic() < self._not_before or (self._thread is not None and self._thread.is_alive()):
            return
        self._thread = threading.Thread(target=self._run, name="audit-ledger anchor", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> None:
        """Wait until it is through, so long at most."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        if self._work():
            self._pause = AGAIN
            self._not_before = 0.0
        else:
            self._not_before = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, AT_MOST)
