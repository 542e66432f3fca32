"""A whole log that another implementation, Tessera, wrote: read from its files, every altered bit found."""

import base64
from typing import Any

import pytest

from audit_ledger.errors import EvidenceInvalid
from audit_ledger.evidence import checkpoint, merkle, tlog_proof
from audit_ledger.evidence.checkpoint import Checkpoint
from audit_ledger.evidence.keys import Signer, Verifier
from audit_ledger.evidence.tiles import (
    Edge,
    Tile,
    bundle_hashes,
    hash_reader,
    new_bundles,
    parse_bundle,
    tree_tiles,
    write_bundle,
)
from tests.unit.evidence.vectors import load

ORIGIN = "example.com/log/testdata"


@pytest.fixture(scope="module")
def log() -> Any:
    vectors = load("tessera_log15")
    vectors["files"] = {path: base64.b64decode(data) for path, data in vectors["files"].items()}
    return vectors


def verify(files: dict[str, bytes], vkey: str, name: str = "checkpoint") -> Checkpoint:
    """Check that log from its files; returns its checkpoint."""
    return verify_log(files, Verifier.parse(vkey), ORIGIN, name)


def verify_log(files: dict[str, bytes], key: Verifier, origin: str, name: str = "checkpoint") -> Checkpoint:
    """Check a log from its files alone: signature, tiles, entries and root; returns its checkpoint."""
    stated = checkpoint.verify(files[name], origin=origin, keys=[key]).checkpoint
    edge = Edge()
    for bundle in new_bundles(0, stated.size):
        for tile, data in edge.append(bundle_hashes(files[bundle.path], bundle.width)):
            if files[tile.path] != data:
                raise EvidenceInvalid("a tile is another than its entries have")
    if edge.root() != stated.root:
        raise EvidenceInvalid("the entries have another root than the checkpoint")
    for tile, data in edge.partial():
        if files[tile.path] != data:
            raise EvidenceInvalid("a tile is another than its entries have")
    return stated


def test_the_log_verifies_at_every_size(log: Any) -> None:
    for size in range(16):
        stated = verify(log["files"], log["vkey"], f"checkpoint.{size}")
        assert stated.size == size
        for tile in tree_tiles(size):
            assert tile.path in log["files"]
    assert verify(log["files"], log["vkey"]).size == 15
    assert parse_bundle(log["files"]["tile/entries/000.p/15"], 15) == [v.encode() for v in log["leaves"]]


def test_every_size_continues_every_smaller_one_by_proofs_from_the_tiles(log: Any) -> None:
    files, keys = log["files"], [Verifier.parse(log["vkey"])]
    stated = [
        checkpoint.verify(files[f"checkpoint.{size}"], origin=ORIGIN, keys=keys).checkpoint
        for size in range(16)
    ]
    for new in range(1, 16):
        read = hash_reader(new, lambda tile: files[tile.path])
        for old in range(1, new + 1):
            proof = merkle.consistency_proof(old, new, read)
            checkpoint.verify_consistency(stated[old], stated[new], proof)
        for index in range(new):
            proof = merkle.inclusion_proof(index, new, read)
            data = bytes(tlog_proof.TlogProof(index, tuple(proof), files[f"checkpoint.{new}"]))
            tlog_proof.verify(data, log["leaves"][index].encode(), origin=ORIGIN, keys=keys)


def test_we_write_the_same_files(log: Any) -> None:
    signer = Signer.parse(log["skey"])
    leaves = [leaf.encode() for leaf in log["leaves"]]
    files: dict[str, bytes] = {}
    edge = Edge()
    for size in range(16):
        edge.append([merkle.leaf_hash(leaf) for leaf in leaves[edge.size : size]])
        files |= {tile.path: data for tile, data in edge.partial()}
        files[f"checkpoint.{size}"] = Checkpoint(ORIGIN, size, edge.root()).sign(signer)
        if size:
            files[Tile(-1, 0, size).path] = write_bundle(leaves[:size])
    files["checkpoint"] = files["checkpoint.15"]
    assert files == log["files"]


def test_every_altered_bit_is_found(log: Any) -> None:
    read = ["checkpoint", "tile/0/000.p/15", "tile/entries/000.p/15"]
    for path in read:
        data = log["files"][path]
        for at in range(len(data) * 8):
            flipped = bytearray(data)
            flipped[at // 8] ^= 1 << at % 8
            with pytest.raises(EvidenceInvalid):
                verify({**log["files"], path: bytes(flipped)}, log["vkey"])
