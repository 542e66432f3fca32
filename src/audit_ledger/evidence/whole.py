"""Verifying all that is stored: events, tiles, checkpoints, origins, anchors, bodies, and the read models.

Nothing that is stored is believed: each event is hashed again, from its bytes, and compared. Where two things
differ, a third says which was changed, as far as that can be told: the level above, or what was signed.
All of it is one snapshot of the database; memory does not grow with the ledger.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID, uuid5

from psycopg.rows import tuple_row

from audit_ledger.errors import EvidenceInvalid, LedgerError
from audit_ledger.evidence.anchors import verify_anchors
from audit_ledger.evidence.keys import Verifier
from audit_ledger.evidence.origins import verify_origins
from audit_ledger.evidence.outside import Looked, look
from audit_ledger.evidence.rehash import Rehash
from audit_ledger.evidence.sealing import Cursor, one, rotated
from audit_ledger.evidence.stored_bodies import verify_bodies
from audit_ledger.plan import Anchors
from audit_ledger.store.comparison import Verified, require_points, verify_live
from audit_ledger.store.connecting import configure, connect
from audit_ledger.store.copies import Tell, silent
from audit_ledger.store.database import Database
from audit_ledger.store.refusals import gone, translated

SHOWN = 20
"""So many faults are told of each part."""


@dataclass(frozen=True)
class Fault:
    """Something that is not as it was sealed, or recorded.

    Attributes:
        part: "event", "tile", "checkpoint", "head", "origin", "anchor", "refusal" or "body"; "event or tile"
            where it cannot be told which.
        position: The first event that it is about; None for a body.
        detail: What is wrong, in words.
    """

    part: str
    position: int | None
    detail: str

    def __str__(self) -> str:
        return self.detail if self.position is None else f"position {self.position:,}: {self.detail}"


@dataclass
class Faults:
    """What is wrong: all of it counted, the first of each part told."""

    told: list[Fault] = field(default_factory=list)
    counted: Counter[str] = field(default_factory=Counter)

    def add(self, part: str, position: int | None, detail: str, *, times: int = 1) -> None:
        """Note a fault, of so many."""
        if self.counted[part] < SHOWN:
            self.told.append(Fault(part, position, detail))
        self.counted[part] += times


@dataclass(frozen=True)
class LogVerified:
    """What came of verifying the log, its tiles and checkpoints, and the bodies.

    Attributes:
        position: The last event.
        sealed: Up to where a checkpoint covers the events; 0 where there is none.
        root: The root that the last checkpoint states; None where there is none.
        tiles: How many tiles there are.
        checkpoints: How many checkpoints.
        closed: How many more of origins that are closed.
        unchecked: How many of both have a signature that was not checked, for want of a key.
        timestamps: How many timestamps of checkpoints hold, by the certificates in ledger.toml.
        untrusted: How many more whose authority was not checked, for want of its certificate.
        bodies: How many bodies were recomputed.
        erased: Bodies that are provably erased: PROVEN, PAYLOAD ERASED.
        truncated: Bodies that were too large to keep.
        wrong: How many faults there are, by part.
        faults: The first twenty of each part, in order of position.
    """

    position: int
    sealed: int
    root: bytes | None
    tiles: int
    checkpoints: int
    closed: int
    unchecked: int
    timestamps: int
    untrusted: int
    bodies: int
    erased: int
    truncated: int
    wrong: dict[str, int]
    faults: list[Fault]

    @property
    def same(self) -> bool:
        """Whether nothing is wrong."""
        return not self.wrong

    @property
    def first(self) -> Fault | None:
        """The fault at the lowest position; None where there is none."""
        return self.faults[0] if self.faults else None


@dataclass(frozen=True)
class Whole:
    """What a verification of the whole ledger found.

    Attributes:
        log: Events, tiles, checkpoints and bodies.
        read_models: The read models, and the views as of an instant.
        uncompared: Why these could not be compared, where the log is wrong in such a way; else None.
        outside: What came of comparing with the checkpoints that ledger.toml says are kept elsewhere; None
            where it says nothing of any.
    """

    log: LogVerified
    read_models: Verified
    uncompared: str | None = None
    outside: Looked | None = None

    @property
    def same(self) -> bool:
        """Whether nothing is wrong, and nothing differs."""
        return self.log.same and self.read_models.same and not self._convicted

    @property
    def wrong(self) -> int:
        """How much is wrong, or differs."""
        differing = sum(self.read_models.differing.values())
        return sum(self.log.wrong.values()) + differing + self._convicted

    @property
    def _convicted(self) -> bool:
        return self.outside is not None and self.outside.wrong is not None


def verify_whole(
    database: Database,
    points: int = 3,
    *,
    keys: Iterable[Verifier] = (),
    anchors: Anchors | None = None,
    tell: Tell = silent,
) -> Whole:
    """Verify the log, tiles, checkpoints, bodies, origins and anchors, then the read models by a replay.

    And whether the ledger continues its checkpoints that are kept elsewhere.

    Args:
        database: The ledger; a reader's role is enough.
        points: As of so many positions the views are compared.
        keys: Verifier keys of the ledger, and of its closed origins; those that follow them, or that they
            follow, are found.
        anchors: Which timestamping authorities there are, and folders of checkpoints.
        tell: Is told now and then how far it is, and how far it goes, as positions; once for the log, once
            for the replay.

    Raises:
        EvidenceInvalid: the identity of the ledger is gone.
        InvalidValue: `points` is no number of points.
        SchemaMismatch, WrongRole: as `store.comparison.verify_live`, unless the log is wrong.
        ConfigurationError: there are keys, but `cryptography` is not installed.
    """
    require_points(points)
    log = verify_log(database, keys, tell, anchors=anchors)
    outside = look(database, anchors) if anchors is not None and anchors.folders else None
    try:
        return Whole(log, verify_live(database, points, tell), outside=outside)
    except LedgerError as error:
        if log.same and not (outside and outside.wrong):
            raise
        told = f"the read models cannot be compared: {error}"
        return Whole(log, Verified(0, [], [], 0, {}, []), told, outside)


def verify_log(
    database: Database,
    keys: Iterable[Verifier] = (),
    tell: Tell = silent,
    *,
    anchors: Anchors | None = None,
) -> LogVerified:
    """Verify events, tiles, checkpoints, bodies, origins and anchors, as `verify_whole` does."""
    with translated(database), connect(database.url, database.settings) as conn:
        configure(conn, database.name, database.settings)
        with conn.transaction(), conn.cursor(binary=True, row_factory=tuple_row) as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            return _verify(cursor, list(keys), tell, Anchors() if anchors is None else anchors)


def _verify(cursor: Cursor, keys: Collection[Verifier], tell: Tell, anchors: Anchors) -> LogVerified:
    cursor.execute("SELECT id::text, made_as::text FROM origin")
    found = cursor.fetchone()
    if found is None:
        raise gone("the identity of the ledger", "origins")
    origin, made_as = found
    faults = Faults()
    keys_of = partial(_related, cursor, keys, faults)
    log = Rehash(cursor, origin, keys_of(origin), faults.add)
    log.verify(tell)
    closed = verify_origins(cursor, keys_of, faults.add)
    stamped = verify_anchors(cursor, anchors, faults.add)
    bodies = verify_bodies(cursor, made_as, faults.add)
    cursor.execute("SELECT count(*) FROM tiles")
    return LogVerified(
        position=log.last,
        sealed=log.sealed,
        root=log.root,
        tiles=one(cursor)[0],
        checkpoints=log.checkpoints,
        closed=closed.checkpoints,
        unchecked=log.unchecked + closed.unchecked,
        timestamps=stamped.verified,
        untrusted=stamped.unchecked,
        bodies=bodies.present,
        erased=bodies.erased,
        truncated=bodies.truncated,
        wrong=dict(faults.counted),
        faults=sorted(faults.told, key=lambda fault: (fault.position is None, fault.position)),
    )


def _related(cursor: Cursor, keys: Iterable[Verifier], faults: Faults, origin: str) -> set[Verifier]:
    """Those keys that are an origin's, and those that they follow or that follow them, as events say."""
    cursor.execute(
        "SELECT position, state FROM events WHERE stream_id = %s AND type = 'KeyRotated' ORDER BY version",
        [uuid5(UUID(origin), "keys")],
    )
    changes = []
    for position, state in cursor.fetchall():
        try:
            changes.append(rotated(position, bytes(state)))
        except EvidenceInvalid as error:
            faults.add("event", position, error.what)
    known = {key for key in keys if key.name == origin}
    for change in (*changes, *reversed(changes)):
        if known.intersection(change):
            known.update(change)
    return known
