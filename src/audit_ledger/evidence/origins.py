"""Origins, and what was sealed under those that a recovery has closed, against what else says it.

Each origin but the first was opened by an event, which names it and the one before. Checkpoints and tiles of
a closed origin were put away as they were, for who has proofs from them: they are compared with each other,
and not with the events, which need not be those that were sealed (`recovery`).
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from audit_ledger.errors import EvidenceInvalid
from audit_ledger.events import LedgerRecovered
from audit_ledger.evidence.keys import Verifier
from audit_ledger.evidence.sealing import Cursor, one, paged
from audit_ledger.evidence.stored_checkpoints import Row, compare
from audit_ledger.evidence.tiles import Edge, Tile, split_hashes, tree_tiles

Note = Callable[..., None]
"""Notes a fault: part, position, detail; `times` it stands for."""

KeysOf = Callable[[str], set[Verifier]]
"""Gives the known keys of an origin."""

ORIGINS = """
    SELECT o.number, o.id::text, o.after_position, o.opened_at::text,
           e.type, e.stream_id::text, e.state, e.recorded_at::text
      FROM origins o
      LEFT JOIN events e ON o.number > 1 AND e.position = least(o.after_position, 2::bigint << 61) + 1
     ORDER BY o.number
"""

STRAY = """
    SELECT 'checkpoint', c.origin::text, c.size
      FROM closed_checkpoints c WHERE c.origin <> ALL (%(closed)s::uuid[])
     UNION ALL
    SELECT 'tile', t.origin::text, (t.number << 8 * (t.level + 1)) + 1
      FROM closed_tiles t WHERE t.origin <> ALL (%(closed)s::uuid[])
     UNION ALL
    SELECT 'refusal', r.origin::text, r.size FROM refusals r WHERE r.origin <> ALL (%(all)s::uuid[])
     ORDER BY 2, 3
     LIMIT 20
"""

TILES = """
    SELECT number, hashes FROM closed_tiles
     WHERE origin = %s AND level = 0 AND number > %s ORDER BY number LIMIT %s
"""

CHECKPOINTS = """
    SELECT size, root, note, key_id FROM closed_checkpoints
     WHERE origin = %s AND size > %s ORDER BY size LIMIT %s
"""

REFUSES = """
    SELECT h.refuses, h.position, EXISTS (SELECT FROM refusals r JOIN origin o ON o.id = r.origin)
      FROM head h
"""


@dataclass
class Closed:
    """What there is of closed origins.

    Attributes:
        origins: How many were closed.
        checkpoints: How many of their checkpoints were compared.
        unchecked: How many of these have a signature that no known key could check.
    """

    origins: int = 0
    checkpoints: int = 0
    unchecked: int = 0


class _Opened(NamedTuple):
    """An origin, and the event that opened it; None throughout for the first."""

    number: int
    id: str
    after_position: int
    opened_at: str
    type: str | None
    stream_id: str | None
    state: bytes | None
    recorded_at: str | None


def verify_origins(cursor: Cursor, keys_of: KeysOf, note: Note) -> Closed:
    """Compare the origins with their events, and of those that are closed, checkpoints with tiles.

    Args:
        cursor: The ledger.
        keys_of: Gives the keys by which checkpoints of an origin are checked.
        note: Notes a fault.
    """
    origins = [_Opened(*row) for row in cursor.execute(ORIGINS).fetchall()]
    for place, origin in enumerate(origins):
        wrong = _wrong(origin, place, origins[place - 1].id if place else None)
        if wrong:
            note("origin", origin.after_position + 1, f"the origin {origin.id} {wrong}")
    ids = [origin.id for origin in origins]
    found = Closed(len(ids) - 1)
    for closed in ids[:-1]:
        _ClosedTree(cursor, closed, note).verify(keys_of(closed), found)
    for part, stray, position in cursor.execute(STRAY, {"closed": ids[:-1], "all": ids}).fetchall():
        note(part, position, f"there is a {part} of an origin that the ledger has not closed: {stray}")
    for refuses, position, refused in cursor.execute(REFUSES).fetchall():
        if refuses == refused:
            continue
        told = "is said to refuse events, and nothing says why" if refuses else "takes events that it refused"
        note("head", position, f"the ledger {told}")
    return found


def _wrong(origin: _Opened, place: int, previous: str | None) -> str | None:
    """What is not as the event says that opened an origin; None where nothing is."""
    if origin.number != place + 1:
        return f"has the number {origin.number}, and is number {place + 1}"
    if previous is None:
        return f"is said to begin behind {origin.after_position:,}" if origin.after_position else None
    if origin.type != LedgerRecovered.__name__ or origin.stream_id != origin.id:
        return f"was opened by no event at {origin.after_position + 1:,}"
    if origin.opened_at != origin.recorded_at:
        return f"was opened at {origin.recorded_at}, and is said to have been at {origin.opened_at}"
    assert origin.state is not None  # there is an event
    try:
        before = str(UUID(json.loads(bytes(origin.state))["previous_origin"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        before = "none"
    return None if before == previous else f"followed {before}, as its event says, not {previous}"


class _ClosedTree:
    """The tree of a closed origin, from its tiles of level 0 up."""

    def __init__(self, cursor: Cursor, origin: str, note: Note) -> None:
        self._cursor = cursor
        self._origin = origin
        self._note = note
        self._edge = Edge()
        self._tiles = paged(cursor, TILES, -1, origin)
        self._waiting: Sequence[bytes] = ()
        self._agreed = 0  # size of the last checkpoint whose root the tiles have

    def verify(self, keys: set[Verifier], found: Closed) -> None:
        """Compare checkpoints with notes and keys, and with the tiles; each tile with those below."""
        for row in map(Row._make, paged(self._cursor, CHECKPOINTS, 0, self._origin)):
            said = compare(row, self._origin, keys)
            found.checkpoints += 1
            found.unchecked += said.unchecked
            about = f"the checkpoint of size {row.size:,}"
            if said.wrong:
                self._tell("checkpoint", row.size, f"{about} {said.wrong}")
            self._grow(row.size)
            if self._edge.size == row.size and self._edge.root() in said.roots:
                self._agreed = row.size
            else:
                self._tell(
                    "tile", self._agreed + 1, f"somewhere from here on the tiles are not those of {about}"
                )
        for tile, hashes in self._edge.partial():
            if tile.level:
                self._compare(tile, hashes)
        self._find_surplus()

    def _tell(self, part: str, position: int, detail: str) -> None:
        self._note(part, position, f"closed origin {self._origin}: {detail}")

    def _grow(self, size: int) -> None:
        """Take the hashes of level 0 up to that size, as far as there are any."""
        while self._edge.size < size:
            if not self._waiting:
                number, hashes = next(self._tiles, (-1, b""))
                try:
                    waiting = split_hashes(bytes(hashes))
                except EvidenceInvalid:
                    waiting = []
                if number != self._edge.size >> 8 or self._edge.size & 255 or not waiting:
                    return
                self._waiting = waiting
            room = size - self._edge.size
            for tile, data in self._edge.append(self._waiting[:room]):
                if tile.level:
                    self._compare(tile, data)
            self._waiting = self._waiting[room:]

    def _compare(self, tile: Tile, computed: bytes) -> None:
        """Compare a tile above level 0 with the roots of the tiles below it."""
        self._cursor.execute(
            "SELECT hashes FROM closed_tiles WHERE origin = %s AND level = %s AND number = %s",
            [self._origin, tile.level, tile.number],
        )
        there = self._cursor.fetchone()
        if there is None or bytes(there[0]) != computed:
            first = (tile.number << 8 * (tile.level + 1)) + 1
            self._tell(
                "tile", first, f"the tile {tile.number} of level {tile.level} is not that of those below"
            )

    def _find_surplus(self) -> None:
        """More tiles, or more hashes in the last one, than the last checkpoint has."""
        due = sum(1 for _ in tree_tiles(self._edge.size))
        self._cursor.execute("SELECT count(*) FROM closed_tiles WHERE origin = %s", [self._origin])
        (there,) = one(self._cursor)
        if self._waiting or there != due:
            self._tell(
                "tile",
                self._edge.size + 1,
                f"there are {there:,} tiles; due are {due:,}, of {self._edge.size:,} events",
            )
