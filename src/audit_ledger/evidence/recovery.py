"""Recovering: a ledger that lost history, or is a copy of another one, goes on under an origin of its own.

Two histories must never be signed under one origin. So the origin that was is closed: its checkpoints and
tiles are put away as they are, for who has proofs from them. Its key seals nothing any more, since a key is
named after its origin. The new one begins with an event that says what was lost, and seals all events from
the first one on.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from uuid import UUID, uuid4

from audit_ledger.errors import AnchorFailed, EvidenceInvalid
from audit_ledger.events import LedgerRecovered
from audit_ledger.evidence import checkpoint, note, outside
from audit_ledger.evidence.keys import Verifier
from audit_ledger.plan import Anchors
from audit_ledger.store.database import Database
from audit_ledger.store.event_store import EventStore


@dataclass(frozen=True)
class Recovered:
    """What recovering did.

    Attributes:
        origin: The new origin.
        previous_origin: The one before.
        position: The event that opened it.
        checkpoint_size: Size of the highest checkpoint of the previous one that is known from elsewhere.
        lost: Positions of events that were in it and are not here, first and last; None where none are.
    """

    origin: UUID
    previous_origin: UUID
    position: int
    checkpoint_size: int | None
    lost: tuple[int, int] | None


def recover(
    database: Database,
    anchors: Anchors,
    *,
    reason: str,
    by: str,
    clone: bool = False,
    files: Sequence[Path] = (),
) -> Recovered:
    """Open another origin, which takes events again.

    Args:
        database: The ledger, connected to as an officer.
        anchors: Where checkpoints were kept.
        reason: Why; it is in the log for ever, and so is who: no personal data.
        by: Who decided it.
        clone: Whether the ledger goes on elsewhere, and this is a copy of it.
        files: More checkpoints that were kept elsewhere.

    Raises:
        EvidenceInvalid: one of the files is no checkpoint of the ledger.
        AnchorFailed: one of them, or the pinned keys, cannot be read.
        InvalidValue: an argument cannot be recorded.
        WrongRole: the role is no officer.
    """
    now = datetime.now(UTC)
    (row,) = database.query("SELECT id FROM origin")
    before: UUID = row["id"]
    event = LedgerRecovered.of(by=by, clone=clone, occurred_at=now, previous_origin=before, reason=reason)
    highest = _highest(database, anchors, files, str(before))
    (row,) = database.query("SELECT position FROM head")
    position: int = row["position"]
    lost = None
    if highest is not None:
        stated, digest = highest
        if stated.size > position:
            lost = (position + 1, stated.size)
        event = LedgerRecovered.of(
            by=by,
            checkpoint_digest=digest,
            checkpoint_root=stated.root.hex(),
            checkpoint_size=stated.size,
            clone=clone,
            lost_from=lost and lost[0],
            lost_upto=lost and lost[1],
            occurred_at=now,
            previous_origin=before,
            reason=reason,
        )
    origin = uuid4()
    opened = EventStore(database).append(origin, 0, [event])
    return Recovered(origin, before, opened, highest and highest[0].size, lost)


def _highest(
    database: Database, anchors: Anchors, files: Sequence[Path], origin: str
) -> tuple[checkpoint.Checkpoint, str] | None:
    """The highest checkpoint that is known from elsewhere, with its note's digest.

    One that it refuses events for may not be at hand any more: the database has its note. What it has there
    that is no checkpoint, by the keys where they are pinned, does not keep anybody from recovering.
    """
    found: list[tuple[checkpoint.Checkpoint, str]] = []
    keys: list[Verifier] = []
    try:
        keys = outside.pinned_keys(anchors, origin)
    except (AnchorFailed, EvidenceInvalid):
        if files:
            raise
    for file in files:
        outside.read(file, origin, keys)  # or raises: who names a file means it
    looked = outside.look(database, anchors, files)
    if looked.highest is not None:
        found.append((looked.highest.stated, looked.highest.digest))
    if looked.wrong is not None:
        outside.refuse(database, looked.wrong)  # so that nobody appends before the event does
    for row in database.query("SELECT note FROM refusals WHERE origin = %s::uuid", [origin]):
        kept = bytes(row["note"])
        with suppress(EvidenceInvalid):
            if keys:
                stated = checkpoint.verify(kept, origin=origin, keys=keys).checkpoint
            else:
                stated = checkpoint.parse(note.parse(kept).text, origin=origin)
            found.append((stated, sha256(kept).hexdigest()))
    return max(found, key=lambda one: one[0].size) if found else None
