"""The log of a package: every leaf up to the answer's end, and the tiles from there to its checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from audit_ledger.errors import EvidenceInvalid
from audit_ledger.evidence import merkle, tiles
from audit_ledger.evidence.merkle import Frontier, InvalidProof
from audit_ledger.evidence.package.archive import Archive
from audit_ledger.evidence.proving import Prover
from audit_ledger.evidence.sealing import BATCH, BATCHES, KEEP, PLANNED, Cursor
from audit_ledger.evidence.tiles import ENTRIES, HEIGHT, WIDTH, Tile
from audit_ledger.store.copies import Tell

FOLDER = "log/"


def write(
    archive: Archive, cursor: Cursor, prover: Prover, leaves: int, anchored: Iterable[int], tell: Tell
) -> None:
    """Write the leaves 1 to `leaves`, and the tiles; what is written is what was sealed.

    Args:
        archive: The package.
        cursor: Of a transaction.
        prover: Reads tiles in it.
        leaves: How many.
        anchored: Sizes of the anchors.
        tell: Is told how far it is, as positions.

    Raises:
        EvidenceInvalid: the leaves are not those that were sealed: somebody changed an event.
    """
    tree = Frontier()
    # Rolled back: the planner's settings are for this statement alone.
    with cursor.connection.transaction(force_rollback=True):
        cursor.execute(PLANNED)
        for number, bundle in enumerate(_bundles(cursor, leaves)):
            tile = Tile(ENTRIES, number, min(WIDTH, leaves - number * WIDTH))
            tree.extend(_hashes(bundle, tile))
            archive.add(FOLDER + tile.path, bundle)
            tell(tree.size, leaves)
    needed = Needed(prover)
    _compare(tree, needed)
    for size in anchored:
        if size > leaves:
            needed.proof(size)
    for tile, data in needed.tiles(leaves):
        archive.add(FOLDER + tile.path, data)


def _bundles(cursor: Cursor, leaves: int) -> Iterator[bytes]:
    """The entry bundles of the first leaves: sealing reads its batches in that very form."""
    assert BATCH == WIDTH
    with cursor.copy(BATCHES, {"start": 0, "end": leaves, "batch": BATCH}) as copy:
        copy.set_types(["bytea"])
        for (batch,) in copy.rows():
            yield batch or b""


def _hashes(bundle: bytes, tile: Tile) -> list[bytes]:
    try:
        return tiles.bundle_hashes(bundle, tile.width)
    except EvidenceInvalid as error:
        first = tile.number * WIDTH + 1
        raise EvidenceInvalid(
            f"an event between the positions {first} and {first + tile.width - 1} is gone, or too long",
            expected=f"an event of at most {tiles.MAX_LEAF} bytes at each of them",
            actual=error.actual,
            remedy=KEEP,
        ) from error


class Needed:
    """The tiles that proofs of consistency with the checkpoint read.

    Args:
        prover: Reads tiles.
    """

    def __init__(self, prover: Prover) -> None:
        self.size = prover.last.size
        self.root = prover.stated.root
        self._prover = prover
        self._tiles: dict[Tile, bytes] = {}

    def proof(self, size: int) -> list[bytes]:
        """The proof that the tree of the checkpoint begins with that of so many leaves.

        Raises:
            EvidenceInvalid: a tile is not there.
        """
        return merkle.consistency_proof(size, self.size, tiles.hash_reader(self.size, self._read))

    def tiles(self, leaves: int) -> list[tuple[Tile, bytes]]:
        """Those that were read, but for what can be computed from the first leaves."""
        return [
            (tile, data)
            for tile, data in sorted(self._tiles.items())
            if (tile.number * WIDTH + tile.width) << HEIGHT * tile.level > leaves
        ]

    def _read(self, tile: Tile) -> bytes:
        return self._tiles.setdefault(tile, self._prover.read(tile))


def _compare(tree: Frontier, needed: Needed) -> None:
    try:
        merkle.verify_consistency(tree.size, needed.size, needed.proof(tree.size), tree.root(), needed.root)
    except InvalidProof as error:
        raise EvidenceInvalid(
            f"the events up to position {tree.size} are not those that were sealed: somebody changed one of"
            " them, or a tile",
            expected=f"a log that the checkpoint of size {needed.size} continues",
            actual=str(error),
            remedy=f"{KEEP}; audit-ledger verify --live looks for what was changed",
        ) from error
