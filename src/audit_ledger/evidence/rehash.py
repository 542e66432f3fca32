"""Hashing all events again, and comparing the hashes with the tiles, and the roots with the checkpoints.

Three things say what an event was: the event itself, its hash in a tile of level 0, and, as part of the root
of that tile, a hash of level 1; and then there are the signed checkpoints. Where two differ, a third decides.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from copy import deepcopy
from hashlib import sha256
from typing import Any

from audit_ledger.errors import EvidenceInvalid
from audit_ledger.evidence import checkpoint, merkle
from audit_ledger.evidence import note as notes
from audit_ledger.evidence.keys import Verifier
from audit_ledger.evidence.sealing import BATCH, BATCHES, CHUNK, PLANNED, Cursor, one, paged
from audit_ledger.evidence.stored_checkpoints import Row, compare
from audit_ledger.evidence.tiles import HEIGHT, WIDTH, Edge, Tile
from audit_ledger.store.copies import Tell

CHECKPOINTS = "SELECT size, root, note, key_id FROM checkpoints WHERE size > %s ORDER BY size LIMIT %s"

NOWHERE = 1 << 62
"""No ledger comes so far; an event that claims to be there was put there."""

POSITION = re.compile(rb'\{"position":(\d+),')
INSTANT = 26
"""Characters of an instant in a leaf, without its Z."""

Hash = bytes
Note = Callable[..., None]
"""Notes a fault: part, position, detail; `times` it stands for."""


class Rehash:
    """One pass over events, tiles and checkpoints.

    Attributes:
        last: The last position.
        sealed: The size of the last checkpoint; 0 where there is none.
        root: The root that it states; None where there is none.
        checkpoints: How many were compared.
        unchecked: How many of these have a signature that no known key could check.
    """

    def __init__(self, cursor: Cursor, origin: str, keys: Iterable[Verifier], note: Note) -> None:
        self.last = self.sealed = self.checkpoints = self.unchecked = 0
        self.root: bytes | None = None
        self._cursor = cursor
        self._origin = origin
        self._keys = list(keys)
        self._note = note
        self._edge = Edge()
        self._broken = False  # a hash is nowhere to be had: no tree can be built beyond it
        self._latest = b""  # recorded_at of the event before
        self._agreed = 0  # size of the last checkpoint that the events have the root of

    def verify(self, tell: Tell) -> None:
        """Compare everything."""
        self._cursor.execute(PLANNED)
        self._find_ends()
        rows = map(Row._make, paged(self._cursor, CHECKPOINTS, 0))
        waiting = next(rows, None)
        start, upto = 0, max(self.last, self.sealed)
        while start < upto:
            end = min(start + CHUNK, upto)
            batches = self._hashed(start, end)
            stored = self._stored(0, start >> HEIGHT, -(-end // WIDTH))
            above = self._stored(1, start >> 2 * HEIGHT, (start >> 2 * HEIGHT) + 1)
            parents = _split(above.get(start >> 2 * HEIGHT, b""))
            for number, hashes in enumerate(batches, start >> HEIGHT):
                tree = self._compared(number, hashes, stored.get(number, b""), parents)
                while waiting is not None and waiting.size <= self._edge.size + len(tree):
                    done = waiting.size - self._edge.size
                    self._append(tree[:done])
                    tree = tree[done:]
                    self._check(waiting)
                    waiting = next(rows, None)
                self._append(tree)
            tell(end, upto)
            start = self._beyond(end)
        while waiting is not None:
            self._check(waiting)
            waiting = next(rows, None)
        if not self._broken:
            for tile, data in self._edge.partial():
                if tile.level:
                    self._compare_upper(tile, data)
        self._find_surplus()
        tell(upto, upto)

    def _beyond(self, end: int) -> int:
        """Where to go on behind a position: not by the million where one event claims to be far away."""
        if end < self.sealed or end >= self.last:
            return end
        self._cursor.execute("SELECT min(position) FROM events WHERE position > %s", [end])
        start: int = (one(self._cursor)[0] - 1) // CHUNK * CHUNK
        if start > end:
            self._gone(end + 1, start + 1)
        return max(start, end)

    # The ends

    def _find_ends(self) -> None:
        cursor = self._cursor
        # As text: what a superuser has put there may be no time that Python has.
        cursor.execute("SELECT position, recorded_at::text FROM head")
        head = cursor.fetchone()
        cursor.execute(
            "SELECT position, recorded_at::text FROM events WHERE position <= %s"
            " ORDER BY position DESC LIMIT 1",
            [NOWHERE],
        )
        last = cursor.fetchone() or (0, "-infinity")
        self.last = last[0]
        cursor.execute("SELECT min(position), count(*) FROM events WHERE position > %s", [NOWHERE])
        first, number = one(cursor)
        if number:
            self._note("event", first, "there is an event where none can be", times=number)
        self._find_sealed()
        if head is None:
            self._note("head", self.last, f"the head is gone; the last event is at {last[0]:,}")
        elif head != last:
            self._note(
                "head",
                min(head[0], last[0]) + (head[0] != last[0]),
                f"the head says that the last event is at {head[0]:,}, recorded {head[1]};"
                f" it is at {last[0]:,}, recorded {last[1]}",
            )

    def _find_sealed(self) -> None:
        """Size and root of the last checkpoint, as its note states them; no more than there are tiles for."""
        cursor = self._cursor
        cursor.execute("SELECT size, root, note FROM checkpoints ORDER BY size DESC LIMIT 1")
        found = cursor.fetchone()
        if found is None:
            return
        self.sealed, self.root, note = found
        with suppress(EvidenceInvalid):  # what is wrong with it is noted when its turn comes
            stated = checkpoint.parse(notes.parse(note).text, origin=self._origin)
            self.sealed, self.root = stated.size, stated.root
        cursor.execute("SELECT count(*) FROM tiles WHERE level = 0")
        (number,) = one(cursor)
        if self.sealed > number << HEIGHT:
            self._note(
                "tile",
                (number << HEIGHT) + 1,
                f"there are {number:,} tiles of level 0, too few for the last checkpoint, of size"
                f" {self.sealed:,}: tiles were deleted, or it was changed",
            )
            self.sealed = max(number << HEIGHT, min(self.sealed, self.last))

    def _find_surplus(self) -> None:
        """Tiles past the last checkpoint: it was deleted, or they were added."""
        self._cursor.execute(
            "SELECT level, number, count(*) OVER () FROM tiles"
            " WHERE number >= ((%s::bigint >> (8 * level)) + 255) >> 8 OR number < 0"
            " ORDER BY number << (8 * level), level LIMIT 1",
            [self.sealed],
        )
        found = self._cursor.fetchone()
        if found is not None:
            level, number, times = found
            self._note(
                "tile",
                (number << HEIGHT * (level + 1)) + 1,
                f"there are tiles past the last checkpoint, of size {self.sealed:,}: later checkpoints were"
                " deleted, or tiles were added",
                times=times,
            )

    # Events

    def _hashed(self, start: int, end: int) -> list[list[Hash | None]]:
        """The leaf hashes of positions (start, end], 256 at a time; None where an event is gone."""
        found: list[list[Hash | None]] = []
        with self._cursor.copy(BATCHES, {"start": start, "end": end, "batch": BATCH}) as copy:
            copy.set_types(["bytea"])
            for (batch,) in copy.rows():
                first = start + len(found) * BATCH + 1
                found.append(self._leaves(batch or b"", first, min(first + BATCH, end + 1)))
        return found

    def _leaves(self, batch: bytes, position: int, stop: int) -> list[Hash | None]:
        hashes: list[Hash | None] = []
        digest, latest = sha256, self._latest
        start, size = 0, len(batch)
        while start < size:
            length = batch[start] << 8 | batch[start + 1]
            start += 2
            if length:
                leaf = batch[start : start + length]
                prefix = b'{"position":%d,"recorded_at":"' % position
                if not leaf.startswith(prefix):
                    position = self._out_of_place(leaf, position, hashes)
                    prefix = b'{"position":%d,"recorded_at":"' % position
                at = leaf[len(prefix) : len(prefix) + INSTANT]
                if at < latest:
                    self._note(
                        "event",
                        position,
                        f"it was recorded at {at.decode()}Z, before the event before it: {latest.decode()}Z",
                    )
                latest = at
                hashes.append(digest(b"\x00" + leaf).digest())
            else:  # too long for a batch: its hash alone
                length = merkle.HASH_SIZE
                hashes.append(batch[start : start + length])
            start += length
            position += 1
        self._latest = latest
        if position < stop:
            self._gone(position, stop)
            hashes += [None] * (stop - position)
        return hashes

    def _out_of_place(self, leaf: bytes, position: int, hashes: list[Hash | None]) -> int:
        """Note what is missing before an event; returns where the event says that it is."""
        stated = POSITION.match(leaf)
        found = int(stated[1]) if stated else position
        if found > position:
            self._gone(position, found)
            hashes += [None] * (found - position)
        elif found < position:
            self._note("event", found, "there are several events at this position")
        return found

    def _gone(self, position: int, stop: int) -> None:
        """Note that the events from a position up to before another are missing."""
        many = f"the events up to {stop - 1:,} are gone" if stop - position > 1 else "the event is gone"
        if position > self.last:
            many = f"the ledger ends at {self.last:,}, its last checkpoint has size {self.sealed:,}: {many}"
        self._note("event", position, many, times=stop - position)

    # Tiles

    def _stored(self, level: int, first: int, stop: int) -> dict[int, bytes]:
        self._cursor.execute(
            "SELECT number, hashes FROM tiles WHERE level = %s AND number >= %s AND number < %s",
            [level, first, stop],
        )
        return {number: bytes(hashes) for number, hashes in self._cursor.fetchall()}

    def _compared(
        self, number: int, hashes: list[Hash | None], stored: bytes, parents: Sequence[Hash]
    ) -> list[Hash]:
        """Compare the hashes of 256 events with their tile; returns those that belong into the tree."""
        start = number << HEIGHT
        due = max(0, min(WIDTH, self.sealed - start))
        if not due:
            return []
        leaves = hashes[:due]
        if None not in leaves and stored == b"".join(leaf for leaf in leaves if leaf is not None):
            return [leaf for leaf in leaves if leaf is not None]
        sealed = _split(stored)
        if len(sealed) < due:
            self._note(
                "tile",
                start + len(sealed) + 1,
                f"the tile {number} of level 0 has {len(sealed)} hashes, due are {due}: it was cut short,"
                " or deleted",
            )
        elif len(sealed) > due:
            self._note(
                "tile",
                start + due + 1,
                f"the tile {number} of level 0 goes past the last checkpoint, of size {self.sealed:,}: later"
                " checkpoints were deleted, or it was added to",
            )
        both = min(due, len(sealed))
        differ = [place for place in range(both) if leaves[place] not in (None, sealed[place])]
        by_tile = sealed[:both] + [leaf for leaf in leaves[both:] if leaf is not None]
        by_events = [leaf for leaf in leaves if leaf is not None]
        tile_right = self._is_right(number, by_tile, due, parents)
        events_right = self._is_right(number, by_events, due, parents)
        if differ:
            if events_right and not tile_right:
                part, told = "tile", "its hash in the tiles was changed: the event is the one that was sealed"
            elif tile_right and not events_right:
                part, told = "event", "the event was changed: it is not the one that was sealed"
            else:
                part = "event or tile"
                told = "the event is not the one whose hash is in the tiles; which was changed cannot be told"
            for place in differ:
                self._note(part, start + place + 1, told)
        tree = by_events if events_right else by_tile
        if len(tree) < due:
            self._broken = True
            tree += [bytes(merkle.HASH_SIZE)] * (due - len(tree))
        return tree

    def _is_right(self, number: int, hashes: list[Hash], due: int, parents: Sequence[Hash]) -> bool:
        """Whether the level above, or for the last tile the last checkpoint, has these hashes."""
        if len(hashes) != due:
            return False
        if due == WIDTH:
            place = number & WIDTH - 1
            return place < len(parents) and merkle.root(hashes) == parents[place]
        edge = deepcopy(self._edge)
        edge.append(hashes)
        return edge.root() == self.root

    def _append(self, hashes: Sequence[Hash]) -> None:
        for tile, data in self._edge.append(hashes):
            if tile.level and not self._broken:
                self._compare_upper(tile, data)

    def _compare_upper(self, tile: Tile, computed: bytes) -> None:
        """Compare a tile above level 0 with the roots of the tiles below it."""
        stored = self._stored(tile.level, tile.number, tile.number + 1).get(tile.number, b"")
        if stored == computed:
            return
        there, due = _split(stored), _split(computed)
        place = next(
            (place for place, pair in enumerate(zip(there, due, strict=False)) if pair[0] != pair[1]),
            min(len(there), len(due)),
        )
        span = HEIGHT * tile.level
        first = ((tile.number << HEIGHT) + place << span) + 1
        told = (
            f"has {len(there)} hashes, due are {len(due)}"
            if len(there) != len(due)
            else f"has another hash for positions {first:,} to {first + (1 << span) - 1:,} than those below"
        )
        self._note("tile", first, f"the tile {tile.number} of level {tile.level} {told}")

    # Checkpoints

    def _check(self, row: Row) -> None:
        """Compare a checkpoint with its note, its key, and the tree at its size."""
        self.checkpoints += 1
        about = f"the checkpoint of size {row.size:,}"
        said = compare(row, self._origin, self._keys)
        self.unchecked += said.unchecked
        if said.wrong:
            self._note("checkpoint", row.size, f"{about} {said.wrong}")
        if self._broken or self._edge.size != row.size:
            return  # what is missing was told
        if self._edge.root() in said.roots:
            self._agreed = row.size
            return
        told = (
            "they were rewritten, tiles and all" if said.signed else "they were rewritten, or it was changed"
        )
        self._note(
            "event" if said.signed else "checkpoint",
            self._agreed + 1,
            f"somewhere from here to {row.size:,} the events are not those of {about}: {told}",
        )


def _split(data: bytes) -> list[Any]:
    return [data[i : i + merkle.HASH_SIZE] for i in range(0, len(data), merkle.HASH_SIZE)]
