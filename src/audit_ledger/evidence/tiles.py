"""C2SP tlog-tiles: a Merkle tree as files of at most 256 hashes, and its leaves as bundles of at most 256.

    tile/<L>/<N>[.p/<W>]         hashes of level 8 * L of the tree: those from N * 256 on, 32 bytes each
    tile/entries/<N>[.p/<W>]     leaves from N * 256 on, each behind its length (big-endian, 16 bits)

N is written in groups of three digits, all but the last behind an `x`: 1234067 is x001/x234/067. A tile of W
hashes, fewer than 256, is partial: the last of its level. A tree of 70,000 leaves has 273 full tiles and one
of width 112 at level 0, a full one and one of width 17 at level 1, and one of width 1 at level 2.

    >>> [tile.path for tile in tree_tiles(70_000) if tile.width < 256]
    ['tile/0/273.p/112', 'tile/1/001.p/17', 'tile/2/000.p/1']
"""

import re
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import NamedTuple

from audit_ledger.errors import EvidenceInvalid
from audit_ledger.evidence import merkle
from audit_ledger.evidence.merkle import HASH_SIZE, ReadHash
from audit_ledger.evidence.text import malformed

HEIGHT = 8
WIDTH = 1 << HEIGHT
ENTRIES = -1
"""The level of entry bundles, which lie below the hashes."""
MAX_LEAF = 2**16 - 1
"""Bytes of a leaf that a bundle can hold. An event's state has 60,000 at most, so all leaves fit."""


class Tile(NamedTuple):
    """The name of a tile or an entry bundle.

    Attributes:
        level: 0 for hashes of leaves, each level spanning 256 hashes of the one below; ENTRIES for leaves.
        number: Its place in the level, from 0.
        width: How many hashes or leaves it has; 256 where it is full.
    """

    level: int
    number: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """Its path below the log's prefix."""
        digits = f"{self.number:d}"
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[i : i + 3] for i in range(0, len(digits), 3)]
        path = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
        level = "entries" if self.level == ENTRIES else f"{self.level:d}"
        partial = f".p/{self.width:d}" if self.width < WIDTH else ""
        return f"tile/{level}/{path}{partial}"


_PATH = re.compile(
    r"tile/(entries|[0-9]|[1-5][0-9]|6[0-3])/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?", re.ASCII
)


def parse_path(path: str) -> Tile:
    """The tile that has that path.

    Raises:
        EvidenceInvalid: none has.
    """
    found = _PATH.fullmatch(path)
    if found:
        level, groups, width = found.groups()
        number = int(groups.replace("x", "").replace("/", ""))
        tile = Tile(ENTRIES if level == "entries" else int(level), number, int(width or WIDTH))
        if tile.path == path:  # neither needless groups of zeros, nor a partial tile of full width
            return tile
    raise malformed("the path of a tile", "tile/<0 to 63 or entries>/x001/x234/067[.p/<1 to 255>]", path)


def tree_tiles(size: int) -> Iterator[Tile]:
    """The tiles of hashes of the tree with `size` leaves, level by level."""
    return new_tiles(0, size)


def new_tiles(old: int, new: int, *, height: int = HEIGHT) -> Iterator[Tile]:
    """The tiles that a tree of `new` leaves has and that of its first `old` leaves has not, level by level.

    A partial tile that grows is new. Tiles of another height than 8 are not those of C2SP.
    """
    level = 0
    while old < new:
        for number in range(old >> height, new >> height):
            yield Tile(level, number, 1 << height)
        if width := new & (1 << height) - 1:
            yield Tile(level, new >> height, width)
        old, new, level = old >> height, new >> height, level + 1


def new_bundles(old: int, new: int) -> Iterator[Tile]:
    """The entry bundles that a log of `new` leaves has and the log of its first `old` leaves has not."""
    return (tile._replace(level=ENTRIES) for tile in new_tiles(old, new) if tile.level == 0)


def tile_root(data: bytes) -> bytes:
    """The root of the hashes of a tile: for a full one, a hash of the tile above it."""
    return merkle.root(split_hashes(data))


def split_hashes(data: bytes) -> list[bytes]:
    """The hashes of a tile.

    Raises:
        EvidenceInvalid: they are not 1 to 256 hashes.
    """
    if len(data) % HASH_SIZE or not 0 < len(data) <= WIDTH * HASH_SIZE:
        raise malformed("a tile", "1 to 256 hashes of 32 bytes", f"{len(data)} bytes")
    return [data[i : i + HASH_SIZE] for i in range(0, len(data), HASH_SIZE)]


def hash_reader(size: int, fetch: Callable[[Tile], bytes]) -> ReadHash:
    """A reader of the stored hashes of the tree of `size` leaves, by which merkle makes proofs.

    It believes the tiles: proofs made by it are to be verified, as all are. Each tile is fetched once.

    Args:
        size: How many leaves the tree has.
        fetch: Gives the bytes of a tile, exactly as wide as it is named.
    """
    fetched: dict[Tile, bytes] = {}

    def read(level: int, index: int) -> bytes:
        if (index + 1) << level > size:
            raise EvidenceInvalid(
                "a tree of that size has no such stored hash",
                expected=f"hashes of the first {size} leaves",
                actual=f"level {level}, index {index}",
                remedy="read from the tiles of a later checkpoint",
            )
        tile_level, inside = divmod(level, HEIGHT)
        first = index << inside  # among the hashes of the tile's level
        number = first >> HEIGHT
        tile = Tile(tile_level, number, min(WIDTH, (size >> HEIGHT * tile_level) - (number << HEIGHT)))
        data = fetched.get(tile)
        if data is None:
            data = fetched[tile] = fetch(tile)
            if len(data) != tile.width * HASH_SIZE:
                raise malformed(
                    f"the tile {tile.path}", f"{tile.width * HASH_SIZE} bytes", f"{len(data)} bytes"
                )
        start = (first & WIDTH - 1) * HASH_SIZE
        hashes = data[start : start + (HASH_SIZE << inside)]
        return hashes if inside == 0 else tile_root(hashes)

    return read


class Edge:
    """The right edge of a tree that grows: the hashes of its partial tiles, which its next tiles begin with.

    Attributes:
        size: How many leaves the tree has.
    """

    def __init__(self, size: int = 0, fetch: Callable[[Tile], bytes] | None = None) -> None:
        """The edge of the tree of `size` leaves.

        Args:
            size: How many leaves the tree has.
            fetch: Gives the bytes of its partial tiles; not needed for a tree without leaves.

        Raises:
            EvidenceInvalid: a tile is not as wide as the size says.
        """
        self.size = size
        self._levels: list[list[bytes]] = []
        while size:
            width = size & WIDTH - 1
            hashes: list[bytes] = []
            if width:
                assert fetch is not None
                tile = Tile(len(self._levels), size >> HEIGHT, width)
                hashes = split_hashes(fetch(tile))
                if len(hashes) != width:
                    raise malformed(f"the tile {tile.path}", f"{width} hashes", f"{len(hashes)}")
            self._levels.append(hashes)
            size >>= HEIGHT

    def append(self, leaf_hashes: Sequence[bytes]) -> list[tuple[Tile, bytes]]:
        """Append leaves by their hashes; returns the tiles that became full, with their bytes."""
        full: list[tuple[Tile, bytes]] = []
        done, first = 0, self.size
        while done < len(leaf_hashes):
            room = WIDTH - (first + done & WIDTH - 1)
            part = leaf_hashes[done : done + room]
            done += len(part)
            self.size = first + done
            full += self._grow(part)
        return full

    def _grow(self, hashes: Sequence[bytes]) -> Iterator[tuple[Tile, bytes]]:
        """Append hashes that fit into the partial tile of level 0."""
        level = 0
        while True:
            if level == len(self._levels):
                self._levels.append([])
            edge = self._levels[level]
            edge.extend(hashes)
            if len(edge) < WIDTH:
                return
            yield Tile(level, (self.size >> HEIGHT * (level + 1)) - 1), b"".join(edge)
            hashes = [merkle.root(edge)]
            edge.clear()
            level += 1

    def partial(self) -> Iterator[tuple[Tile, bytes]]:
        """The partial tiles of the tree as it is, with their bytes."""
        for level, hashes in enumerate(self._levels):
            if hashes:
                yield Tile(level, self.size >> HEIGHT * (level + 1), len(hashes)), b"".join(hashes)

    def root(self) -> bytes:
        """The root hash of the tree as it is."""
        return merkle.Frontier.at(self.size, self._read).root()

    def _read(self, level: int, index: int) -> bytes:
        """A stored hash of the right edge: one of those that the root is folded from."""
        tile_level, inside = divmod(level, HEIGHT)
        first = (index << inside) & WIDTH - 1
        return merkle.root(self._levels[tile_level][first : first + (1 << inside)])


def write_bundle(leaves: Sequence[bytes]) -> bytes:
    """The entry bundle of 1 to 256 leaves.

    Raises:
        EvidenceInvalid: a leaf is too long for the format, or there are too many.
    """
    if not 0 < len(leaves) <= WIDTH:
        raise malformed("an entry bundle", "1 to 256 leaves", f"{len(leaves)}")
    parts = []
    for leaf in leaves:
        if len(leaf) > MAX_LEAF:
            raise EvidenceInvalid(
                "a leaf is too long for an entry bundle",
                expected=f"at most {MAX_LEAF} bytes (C2SP tlog-tiles)",
                actual=f"{len(leaf)} bytes",
                remedy="find out how an event with a state of more than 60,000 bytes got in",
            )
        parts += [len(leaf).to_bytes(2, "big"), leaf]
    return b"".join(parts)


def parse_bundle(data: bytes, width: int) -> list[bytes]:
    """The leaves of an entry bundle.

    Args:
        data: Its bytes.
        width: How many leaves it must have.

    Raises:
        EvidenceInvalid: it is cut short, has other than `width` leaves, or bytes behind them.
    """
    leaves = []
    start, size = 0, len(data)
    while start < size - 1:
        end = start + 2 + (data[start] << 8 | data[start + 1])
        leaves.append(data[start + 2 : end])
        start = end
    if start != size or len(leaves) != width or not 0 < width <= WIDTH:
        raise malformed(
            "an entry bundle",
            f"{width} leaves, each behind its length of two bytes, and no more",
            f"{len(leaves)} leaves in {size} bytes, of which they take {start}",
        )
    return leaves


def bundle_hashes(data: bytes, width: int) -> list[bytes]:
    """The leaf hashes of an entry bundle: merkle.leaf_hash of each leaf of parse_bundle, in one loop.

    Raises:
        EvidenceInvalid: as parse_bundle.
    """
    digest = sha256
    return [digest(b"\x00" + leaf).digest() for leaf in parse_bundle(data, width)]
