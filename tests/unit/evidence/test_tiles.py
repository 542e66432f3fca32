"""Tiles: their paths, which a tree has, how they grow, and reading and proving from them."""

import doctest

import pytest

from audit_ledger.errors import EvidenceInvalid
from audit_ledger.evidence import merkle, tiles
from audit_ledger.evidence.tiles import (
    ENTRIES,
    Edge,
    Tile,
    bundle_hashes,
    hash_reader,
    new_bundles,
    new_tiles,
    parse_bundle,
    parse_path,
    tree_tiles,
    write_bundle,
)
from tests.unit.evidence.vectors import load

HASHES = [merkle.leaf_hash(b"leaf %d" % i) for i in range(70_000)]


def test_paths_are_those_of_go_without_the_height() -> None:
    vectors = load("go_tlog")
    for v in vectors["tile_paths"]:
        width = 256 if v["W"] == 1 << v["H"] else v["W"]
        path = v["path"].replace(f"tile/{v['H']}/", "tile/", 1).replace("tile/data", "tile/entries")
        tile = Tile(ENTRIES if v["L"] == -1 else v["L"], v["N"], width)
        assert tile.path == path
        assert parse_path(path) == tile
    for bad in vectors["bad_tile_paths"]:
        with pytest.raises(EvidenceInvalid):
            parse_path(bad.replace("tile/3/", "tile/", 1))


def test_paths_and_widths_are_those_of_the_specification() -> None:
    vectors = load("c2sp_examples")
    for number, path in vectors["tile_index_path"].items():
        assert Tile(0, int(number)).path == f"tile/0/{path}"
    for size, levels in vectors["tiles_for_size"].items():
        tiles = list(tree_tiles(int(size)))
        assert {tile.level for tile in tiles} == {int(level) for level in levels}
        for level, counts in levels.items():
            mine = [tile for tile in tiles if tile.level == int(level)]
            assert sum(tile.width == 256 for tile in mine) == counts["full"]
            assert sum(tile.width for tile in mine if tile.width < 256) == counts["partial"]


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/67",
        "tile/0/0067",
        "tile/0/001/067",
        "tile/0/x001/x067",
        "tile/0/x000/067",
        "tile/00/067",
        "tile/64/067",
        "tile/-1/067",
        "tile/data/067",
        "tile/0/067.p/0",
        "tile/0/067.p/256",
        "tile/0/067.p/01",
        "tile/0/067.p/",
        "tile/0/067/",
        "/tile/0/067",
        "tile/0/067\n",
        "tile/0/٠٦٧",
        "checkpoint",
        "",
    ],
)
def test_other_paths_are_refused(path: str) -> None:
    with pytest.raises(EvidenceInvalid, match=r"tile/<0 to 63 or entries>"):
        parse_path(path)


def test_as_many_tiles_are_new_as_in_go() -> None:
    for v in load("go_tlog")["new_tiles_H10"]:
        assert len(list(new_tiles(v["old"], v["new"], height=10))) == v["count"]


def test_new_tiles_are_those_that_only_the_larger_tree_has() -> None:
    for old in (0, 1, 255, 256, 257, 65_535, 65_536, 65_537):
        for new in (old, old + 1, old + 255, old + 256, old + 257, 70_000):
            assert set(new_tiles(old, new)) == set(tree_tiles(new)) - set(tree_tiles(old))
            bundles = list(new_bundles(old, new))
            assert [b._replace(level=0) for b in bundles] == [t for t in new_tiles(old, new) if t.level == 0]


def grown(*sizes: int) -> dict[Tile, bytes]:
    """All the tiles that a tree writes that is sealed at these sizes."""
    edge = Edge()
    files: dict[Tile, bytes] = {}
    for size in sizes:
        old = edge.size
        written = dict(edge.append(HASHES[old:size]))
        written |= dict(edge.partial())
        assert set(new_tiles(old, size)) <= set(written)
        files |= written
        assert edge.root() == merkle.root(HASHES[:size])
        # From its files alone, as a sealer that starts again does.
        edge = Edge(size, files.__getitem__)
        assert edge.root() == merkle.root(HASHES[:size])
    return files


def test_a_tree_writes_the_same_tiles_however_it_grew() -> None:
    files = grown(70_000)
    assert set(files) == set(tree_tiles(70_000))
    pieces = grown(1, 3, 255, 256, 257, 600, 65_535, 65_536, 65_537, 65_900, 70_000)
    assert {tile: pieces[tile] for tile in files} == files
    for tile in (Tile(0, 0), Tile(0, 273, 112)):
        assert files[tile] == b"".join(HASHES[tile.number * 256 :][: tile.width])
    for tile in (Tile(1, 0), Tile(1, 1, 17), Tile(2, 0, 1)):
        span = 256**tile.level
        first = tile.number * 256
        assert files[tile] == b"".join(
            merkle.root(HASHES[(first + i) * span : (first + i + 1) * span]) for i in range(tile.width)
        )


def test_proofs_are_made_from_tiles() -> None:
    files = grown(70_000)
    read = hash_reader(70_000, files.__getitem__)
    root = merkle.root(HASHES)
    for index in (0, 1, 255, 256, 65_535, 65_536, 69_887, 69_888, 69_999):
        proof = merkle.inclusion_proof(index, 70_000, read)
        merkle.verify_inclusion(HASHES[index], index, 70_000, proof, root)
    for old in (1, 2, 255, 256, 257, 65_535, 65_536, 65_537, 69_999, 70_000):
        proof = merkle.consistency_proof(old, 70_000, read)
        merkle.verify_consistency(old, 70_000, proof, merkle.root(HASHES[:old]), root)


def test_every_stored_hash_is_read_from_tiles() -> None:
    files = grown(1_000)
    read = hash_reader(1_000, files.__getitem__)
    for level in range(10):
        for index in range(1_000 >> level):
            assert read(level, index) == merkle.root(HASHES[index << level : (index + 1) << level])
        with pytest.raises(EvidenceInvalid, match="hashes of the first 1000 leaves"):
            read(level, 1_000 >> level)


@pytest.mark.parametrize(("kept", "added"), [(-32, b""), (-1, b""), (None, bytes(32))])
def test_tiles_of_a_wrong_width_are_refused(kept: int | None, added: bytes) -> None:
    files = {tile: data[:kept] + added for tile, data in grown(1_000).items()}
    with pytest.raises(EvidenceInvalid, match=r"tile/0/003.p/232"):
        hash_reader(1_000, files.__getitem__)(0, 999)
    with pytest.raises(EvidenceInvalid, match="tile"):
        Edge(1_000, files.__getitem__)


def test_a_bundle_has_each_leaf_behind_its_length() -> None:
    leaves = [b"one", b"", b"x" * 65_535]
    data = write_bundle(leaves)
    assert data == b"\x00\x03one\x00\x00\xff\xff" + b"x" * 65_535
    assert parse_bundle(data, 3) == leaves
    assert bundle_hashes(data, 3) == [merkle.leaf_hash(leaf) for leaf in leaves]


@pytest.mark.parametrize(
    ("data", "width"),
    [
        (b"\x00\x03one", 2),
        (b"\x00\x03one\x00\x03two", 1),
        (b"\x00\x03on", 1),
        (b"\x00\x03one\x00", 1),
        (b"\x00\x03one\x00", 2),
        (b"\x00", 1),
        (b"", 0),
        (b"\x00\x00" * 257, 257),
    ],
)
def test_a_bundle_of_another_form_is_refused(data: bytes, width: int) -> None:
    for parse in (parse_bundle, bundle_hashes):
        with pytest.raises(EvidenceInvalid, match=f"expected: '?{width} leaves"):
            parse(data, width)


def test_leaves_that_no_bundle_holds_are_refused() -> None:
    for leaves in ([b"x" * 65_536], [], [b""] * 257):
        with pytest.raises(EvidenceInvalid):
            write_bundle(leaves)


def test_the_example_of_the_docstring_is_true() -> None:
    assert doctest.testmod(tiles) == doctest.TestResults(failed=0, attempted=1)
