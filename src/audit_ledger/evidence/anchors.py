"""The anchors of a ledger: which of its checkpoints went out, where to and when.

An anchor is a checkpoint and its places: folders that a file of it was written to, and timestamps of its
bytes. The table `anchors` has them; how a checkpoint is anchored is in anchoring.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from audit_ledger.errors import AnchorFailed, ConfigurationError, EvidenceInvalid
from audit_ledger.evidence import timestamps
from audit_ledger.evidence.sealing import Cursor, paged
from audit_ledger.plan import Anchors, Authority
from audit_ledger.store.database import Database
from audit_ledger.store.refusals import questioned, translated

OF_THIS_ORIGIN = """
    SELECT a.size, c.note, a.kind, a.name, a.stated_at, a.token
      FROM anchors a
      JOIN origin o ON o.id = a.origin
      JOIN checkpoints c ON c.size = a.size
"""

ALL = """
    SELECT a.number, a.origin::text, a.size, a.kind, a.name,
           CASE WHEN a.stated_at BETWEEN '0001-01-01Z' AND '9999-12-31Z' THEN a.stated_at END,
           a.token, coalesce(c.note, k.note)
      FROM anchors a
     CROSS JOIN origin o
      LEFT JOIN checkpoints c ON a.origin = o.id AND c.size = a.size
      LEFT JOIN closed_checkpoints k ON k.origin = a.origin AND k.size = a.size
     WHERE a.number > %s
     ORDER BY a.number
     LIMIT %s
"""


@dataclass(frozen=True)
class Timestamp:
    """A timestamp of a checkpoint.

    Attributes:
        name: The authority's name in ledger.toml, when it was asked.
        response: The RFC 3161 response over the exact bytes of the note.
        time: When the bytes existed, as the authority states it.
    """

    name: str
    response: bytes
    time: datetime


@dataclass(frozen=True)
class Anchor:
    """A checkpoint that went out.

    Attributes:
        size: Its size.
        note: Its exact bytes.
        folders: The folders that it was written to, each with when, by the clock of whoever wrote it.
        timestamps: Its timestamps, the earliest first.
    """

    size: int
    note: bytes
    folders: tuple[tuple[str, datetime], ...]
    timestamps: tuple[Timestamp, ...]


def around(database: Database, position: int, upto: int | None = None) -> list[Anchor]:
    """The anchors nearest to an event: the highest of a size at or below it, and the lowest that covers it.

    Args:
        database: The ledger.
        position: The event.
        upto: A later event that the second one has to cover as well; by default there is none.

    Returns:
        None, one or two, by size; one where its size is the position.
    """
    return _anchors(
        database,
        " WHERE a.size IN ("
        "   (SELECT max(b.size) FROM anchors b WHERE b.origin = o.id AND b.size <= %(position)s),"
        "   (SELECT min(b.size) FROM anchors b WHERE b.origin = o.id AND b.size >= %(upto)s))",
        {"position": position, "upto": position if upto is None else upto},
    )


def listed(database: Database) -> list[Anchor]:
    """All anchors of checkpoints of the ledger's origin, by size."""
    return _anchors(database, "", {})


def of_size(database: Database, size: int) -> Anchor | None:
    """The anchor of a checkpoint; None where it went nowhere."""
    found = _anchors(database, " WHERE a.size = %(size)s", {"size": size})
    return found[0] if found else None


def certificates(anchors: Anchors, found: Sequence[Anchor]) -> dict[str, bytes]:
    """The pinned certificates (PEM) of the authorities that these anchors have timestamps of.

    Of an authority that ledger.toml no longer names there are none.

    Raises:
        AnchorFailed: they cannot be read.
    """
    wanted = {timestamp.name for anchor in found for timestamp in anchor.timestamps}
    return {
        authority.name: timestamps.pinned(authority)
        for authority in anchors.timestamps
        if authority.name in wanted
    }


def note_anchor(
    database: Database, size: int, kind: str, name: str, stated_at: datetime, response: bytes | None = None
) -> None:
    """Note that a checkpoint went out; that of another one at the same moment stays.

    Raises:
        EvidenceInvalid: there is no such checkpoint any more.
        WrongRole: the role may not seal.
    """
    with translated(database):
        for attempt in database.attempts():
            with attempt, database.connection() as conn:
                conn.execute("SELECT add_anchor(%s, %s, %s, %s, %s)", [size, kind, name, stated_at, response])


@dataclass
class Timestamps:
    """How many timestamps were compared.

    Attributes:
        verified: Of these bytes, by the authority that ledger.toml names, at the time that is noted.
        unchecked: Of these bytes, at that time; by whom could not be checked. Or nothing could be.
    """

    verified: int = 0
    unchecked: int = 0


def verify_anchors(cursor: Cursor, anchors: Anchors, note: Callable[..., None]) -> Timestamps:
    """Compare what was anchored with checkpoints and timestamps.

    Args:
        cursor: The ledger.
        anchors: Which authorities there are.
        note: Notes a fault: part, position, detail.
    """
    found = Timestamps()
    authorities = {authority.name: authority for authority in anchors.timestamps}
    for _, origin, size, kind, name, stated_at, token, message in paged(cursor, ALL, -(1 << 63)):
        about = f"the anchor of size {size:,} of {origin} at {kind} {name}"
        if message is None:
            note("anchor", size, f"{about}: there is no such checkpoint")
        elif kind != ("folder" if token is None else "timestamp"):
            note("anchor", size, f"{about}: its kind was changed, or its timestamp")
        elif kind == "timestamp":
            wrong = _verify(found, authorities.get(name), bytes(token), bytes(message), stated_at)
            if wrong:
                note("anchor", size, f"{about}: {wrong}")
    return found


def _verify(
    found: Timestamps, authority: Authority | None, token: bytes, message: bytes, noted_at: datetime | None
) -> str | None:
    """What is wrong with a timestamp; None where nothing is."""
    try:
        stated_at = timestamps.stated(token, message)
        try:
            if authority is not None:
                timestamps.pinned(authority)
        except AnchorFailed:
            authority = None  # whose certificates cannot be read now is as good as unknown
        if authority is not None:
            timestamps.verify(authority, token, message)
    except ConfigurationError:
        found.unchecked += 1
        return None
    except (AnchorFailed, EvidenceInvalid) as error:
        return f"{error.what}: {error.actual}"
    if stated_at != noted_at:
        return f"it states {stated_at}, and is said to state {noted_at or 'no such time'}"
    if authority is None:
        found.unchecked += 1
    else:
        found.verified += 1
    return None


def _anchors(database: Database, where: str, params: dict[str, Any]) -> list[Anchor]:
    with questioned(database):
        rows = database.query(OF_THIS_ORIGIN + where + " ORDER BY a.size, a.stated_at, a.number", params)
    found: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["size"], []).append(row)
    return [
        Anchor(
            size,
            bytes(places[0]["note"]),
            tuple((row["name"], row["stated_at"]) for row in places if row["kind"] == "folder"),
            tuple(
                Timestamp(row["name"], bytes(row["token"]), row["stated_at"])
                for row in places
                if row["kind"] == "timestamp"
            ),
        )
        for size, places in found.items()
    ]
