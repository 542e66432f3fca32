"""Proofs from what is stored: that an event is in the ledger, as a file that is checked without the ledger.

The file is a C2SP tlog-proof whose `extra` line holds the leaf: the event's bytes, which the proof is about.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache

from psycopg.rows import tuple_row

from audit_ledger.errors import EvidenceInvalid, NotSealed, UnknownPosition
from audit_ledger.evidence import leaf, merkle, tiles, tlog_proof
from audit_ledger.evidence.checkpoint import Checkpoint, Verified
from audit_ledger.evidence.keys import Verifier
from audit_ledger.evidence.sealing import KEEP, Cursor, Stored, one, read_tile
from audit_ledger.evidence.tlog_proof import TlogProof
from audit_ledger.store.database import Database
from audit_ledger.store.refusals import questioned

LAST = """
    SELECT o.id::text, h.position, coalesce(c.size, 0), c.root, c.note, c.key_id
      FROM origin o
     CROSS JOIN head h
      LEFT JOIN (SELECT * FROM checkpoints ORDER BY size DESC LIMIT 1) c ON true
"""
"""The last checkpoint, and where the ledger is: the columns of Stored."""

KEPT = 256
"""Tiles that are kept for the next proof, 2 MiB of them, and hashes that were computed from them."""

COVERING = """
    SELECT o.id::text, h.position, c.size, c.root, c.note, c.key_id
      FROM origin o
     CROSS JOIN head h
     CROSS JOIN (SELECT * FROM checkpoints WHERE size >= %s ORDER BY size LIMIT 1) c
"""
"""The first checkpoint that covers a position."""


@dataclass(frozen=True)
class EventProof:
    """That an event is in the ledger.

    Attributes:
        position: The event.
        size: The checkpoint that the proof leads to.
        leaf: The event's bytes.
        file: The tlog-proof, with the leaf in it.
    """

    position: int
    size: int
    leaf: bytes
    file: bytes


class Prover:
    """Proves events at the last checkpoint, in one transaction; next to each other, they share tiles.

    Attributes:
        last: The last checkpoint, and where the ledger is.
    """

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        cursor.execute(LAST)
        self.last = Stored(*one(cursor))
        self._tile = lru_cache(KEPT)(lambda tile: read_tile(cursor, tile))
        size = self.last.size
        self._hash: merkle.ReadHash = lru_cache(KEPT)(
            lambda level, index: tiles.hash_reader(size, self.read)(level, index)
        )

    @cached_property
    def stated(self) -> Checkpoint:
        """What the last checkpoint states.

        Raises:
            EvidenceInvalid: it was changed in the database.
        """
        return self.last.stated()

    def read(self, tile: tiles.Tile) -> bytes:
        """The bytes of a tile of the tree of the last checkpoint.

        Raises:
            EvidenceInvalid: so many hashes are not stored.
        """
        return self._tile(tile)

    def prove(self, position: int) -> EventProof:
        """Prove an event; that of another key at the first checkpoint that covers it.

        Raises:
            UnknownPosition, NotSealed, EvidenceInvalid: as `prove_event`.
        """
        cursor, last = self._cursor, self.last
        cursor.execute(
            "SELECT l.leaf, e.type FROM leaves l JOIN events e USING (position) WHERE position = %s",
            [position],
        )
        found = cursor.fetchone()
        if found is None and not 0 < position <= max(last.position, last.size):
            raise UnknownPosition(
                f"the ledger has no event at position {position}",
                expected=f"a position from 1 to {last.position}",
                actual=str(position),
            )
        if last.size < position:
            raise NotSealed(
                f"the event at position {position} is not sealed yet",
                expected=f"a checkpoint of size {position} or more",
                actual=f"the last one has size {last.size}",
                remedy="audit-ledger seal",
            )
        if found is None:
            raise _changed(position, last.size, "an event", "it is gone")
        stated, read = self.stated, self._hash
        if found[1] == "KeyRotated":  # at the checkpoint that has the signatures of both keys
            cursor.execute(COVERING, [position])
            last = Stored(*one(cursor))
            stated, read = last.stated(), tiles.hash_reader(last.size, lambda tile: read_tile(cursor, tile))
        hashes = merkle.inclusion_proof(position - 1, last.size, read)
        sealed = read(0, position - 1)
        written = bytes(found[0])
        hashed = merkle.leaf_hash(written)
        try:
            merkle.verify_inclusion(hashed, position - 1, last.size, hashes, stated.root)
        except merkle.InvalidProof as error:
            if hashed != sealed:
                raise _changed(position, last.size, f"the leaf hash {sealed.hex()}", hashed.hex()) from error
            raise EvidenceInvalid(
                f"the event at position {position} cannot be proven:"
                f" the tiles at size {last.size} were changed",
                expected=f"the root {error.expected}",
                actual=error.actual,
                remedy=KEEP,
            ) from error
        assert last.note is not None  # it was read
        file = TlogProof(position - 1, tuple(hashes), last.note, extra=written)
        return EventProof(position, last.size, written, bytes(file))


@contextmanager
def prover(database: Database) -> Iterator[Prover]:
    """What proves events of a ledger, for as long as the block lasts."""
    # Tiles may grow meanwhile; their beginnings, which are read, stay.
    with (
        questioned(database),
        database.connection() as conn,
        conn.cursor(binary=True, row_factory=tuple_row) as cursor,
    ):
        yield Prover(cursor)


def prove_event(database: Database, position: int) -> EventProof:
    """Prove an event, at the last checkpoint; that of another key at the first that covers it.

    Raises:
        UnknownPosition: there is no such event.
        NotSealed: no checkpoint covers it yet.
        EvidenceInvalid: the event, a tile or the checkpoint is not what was sealed: somebody changed it.
    """
    with prover(database) as proving:
        return proving.prove(position)


def verify_event(file: bytes, keys: Iterable[Verifier], *, origin: str) -> tuple[leaf.Leaf, Verified]:
    """The event of a file that `prove_event` made, and the checkpoint that it is in; needs no ledger.

    Args:
        file: The tlog-proof, with the leaf in its extra line.
        keys: The ledger's keys, of which one must have signed.
        origin: The ledger's id.

    Raises:
        EvidenceInvalid: the file does not prove that the event is in the ledger.
    """
    written = tlog_proof.parse(file).extra
    if written is None:
        raise EvidenceInvalid(
            "the proof does not hold the event that it is about",
            expected="a line `extra` with the bytes of the leaf",
            actual="none",
            remedy="ask for a file that `audit-ledger prove event` made",
        )
    proof, verified = tlog_proof.verify(file, written, origin=origin, keys=keys)
    event = leaf.decode(written)
    if event.position != proof.index + 1:
        raise EvidenceInvalid(
            "the event says that it is at another position than it is proven to be at",
            expected=f"position {proof.index + 1}",
            actual=f"position {event.position}",
            remedy="do not trust the ledger: it signed a tree with an event out of its place",
        )
    return event, verified


def _changed(position: int, size: int, expected: str, actual: str) -> EvidenceInvalid:
    return EvidenceInvalid(
        f"the event at position {position} is not the one that was sealed at size {size}: somebody changed"
        " it, or its tile",
        expected=expected,
        actual=actual,
        remedy=KEEP,
    )
