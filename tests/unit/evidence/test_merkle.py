"""Merkle trees: the vectors of RFC 6962, the definitions of RFC 9162, every proof to size 300, mutated."""

import doctest
from collections.abc import Callable, Iterator

import pymerkle
import pytest

from audit_ledger.evidence import merkle
from audit_ledger.evidence.merkle import InvalidProof
from tests.unit.evidence.vectors import load

SIZE = 300
LEAVES = [b"record %d" % i for i in range(SIZE)]
HASHES = [merkle.leaf_hash(leaf) for leaf in LEAVES]

# RFC 6962 test data as certificate-transparency and transparency-dev/merkle have it.
RFC_LEAVES = [
    bytes.fromhex(leaf)
    for leaf in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
RFC_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def stored(hashes: list[bytes]) -> Callable[[int, int], bytes]:
    """Reads the hashes of complete subtrees, kept by level."""
    levels = [hashes]
    while len(levels[-1]) > 1:
        below = levels[-1]
        levels.append([merkle.node_hash(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)])
    return lambda level, index: levels[level][index]


READ = stored(HASHES)


# RFC 9162 sections 2.1.1, 2.1.3.1 and 2.1.4.1, word for word: slow, and independent of what is tested.
def mth(d: list[bytes]) -> bytes:
    if len(d) == 1:
        return d[0]
    k = largest_power_below(len(d))
    return merkle.node_hash(mth(d[:k]), mth(d[k:]))


def path(m: int, d: list[bytes]) -> list[bytes]:
    if len(d) == 1:
        return []
    k = largest_power_below(len(d))
    if m < k:
        return [*path(m, d[:k]), mth(d[k:])]
    return [*path(m - k, d[k:]), mth(d[:k])]


def subproof(m: int, d: list[bytes], b: bool) -> list[bytes]:
    if m == len(d):
        return [] if b else [mth(d)]
    k = largest_power_below(len(d))
    if m <= k:
        return [*subproof(m, d[:k], b), mth(d[k:])]
    return [*subproof(m - k, d[k:], False), mth(d[:k])]


def largest_power_below(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


ROOTS = [merkle.EMPTY_ROOT, *(mth(HASHES[:size]) for size in range(1, SIZE + 1))]


def test_the_roots_of_rfc_6962_are_computed() -> None:
    hashes = [merkle.leaf_hash(leaf) for leaf in RFC_LEAVES]
    assert [merkle.root(hashes[:size]).hex() for size in range(9)] == RFC_ROOTS


def test_the_published_nodes_are_computed() -> None:
    vectors = load("rfc6962_roots")
    hashes = [merkle.leaf_hash(bytes.fromhex(leaf)) for leaf in vectors["leaves"]]
    assert [merkle.root(hashes[:size]).hex() for size in range(9)] == vectors["roots"]
    read = stored(hashes)
    for level, nodes in enumerate(vectors["nodes"]):
        assert [read(level, index).hex() for index in range(len(nodes))] == nodes


def test_the_roots_of_other_leaves_are_those_of_other_implementations() -> None:
    vectors = load("derived_rfc6962_proofs")
    for size, root in enumerate(vectors["roots_byte_leaves"]):
        assert merkle.root([merkle.leaf_hash(bytes([i])) for i in range(size)]).hex() == root
    for size, root in vectors["roots_record_leaves_300"].items():
        assert merkle.root(HASHES[: int(size)]).hex() == root == ROOTS[int(size)].hex()


def test_all_published_proofs_of_sizes_1_to_8_are_made_and_verify() -> None:
    vectors = load("derived_rfc6962_proofs")
    read = stored([merkle.leaf_hash(leaf) for leaf in RFC_LEAVES])
    assert len(vectors["inclusion"]) == len(vectors["consistency"]) == 36
    for v in vectors["inclusion"]:
        proof = [bytes.fromhex(hashed) for hashed in v["proof"]]
        assert merkle.inclusion_proof(v["index"], v["size"], read) == proof
        merkle.verify_inclusion(
            bytes.fromhex(v["leaf_hash"]), v["index"], v["size"], proof, bytes.fromhex(v["root"])
        )
    for v in vectors["consistency"]:
        proof = [bytes.fromhex(hashed) for hashed in v["proof"]]
        assert merkle.consistency_proof(v["old"], v["new"], read) == proof
        merkle.verify_consistency(
            v["old"], v["new"], proof, bytes.fromhex(v["old_root"]), bytes.fromhex(v["new_root"])
        )


def test_a_frontier_has_the_root_of_every_size_however_it_grew() -> None:
    for step in (1, 2, 3, 7, 64, 255):
        tree = merkle.Frontier()
        while tree.size < SIZE:
            tree.extend(HASHES[tree.size : tree.size + step])
            assert tree.root() == ROOTS[tree.size]
    tree.extend([])
    assert (tree.size, tree.root()) == (SIZE, ROOTS[SIZE])


def test_a_frontier_continues_from_stored_hashes() -> None:
    for size in range(SIZE):
        tree = merkle.Frontier.at(size, READ)
        assert tree.root() == ROOTS[size]
        tree.extend(HASHES[size:])
        assert tree.root() == ROOTS[SIZE]


def test_proofs_are_those_of_the_definitions() -> None:
    for size in range(1, 41):
        for index in range(size):
            assert merkle.inclusion_proof(index, size, READ) == path(index, HASHES[:size])
            assert merkle.consistency_proof(index + 1, size, READ) == subproof(index + 1, HASHES[:size], True)


def damaged(proof: list[bytes], turn: int) -> Iterator[list[bytes]]:
    """The proof dropped from, added to, and, by turns, with one bit flipped or two hashes swapped."""
    at = turn % (len(proof) + 1)
    yield [*proof[:at], HASHES[turn % SIZE], *proof[at:]]
    if proof:
        at = turn % len(proof)
        yield [*proof[:at], *proof[at + 1 :]]
        flipped = bytearray(proof[at])
        flipped[turn % 32] ^= 1 << turn // 32 % 8
        yield [*proof[:at], bytes(flipped), *proof[at + 1 :]]
        yield [*proof[:at], proof[at][:31], *proof[at + 1 :]]
    if len(proof) > 1:
        at = turn % (len(proof) - 1)
        yield [*proof[:at], proof[at + 1], proof[at], *proof[at + 2 :]]


def refused(verify: Callable[..., None], *arguments: object) -> bool:
    try:
        verify(*arguments)
    except InvalidProof:
        return True
    return False


def test_every_inclusion_proof_to_size_300_verifies_and_its_mutations_do_not() -> None:
    turn = 0
    for size in range(1, SIZE + 1):
        root = ROOTS[size]
        for index in range(size):
            leaf, turn = HASHES[index], turn + 1
            proof = merkle.inclusion_proof(index, size, READ)
            merkle.verify_inclusion(leaf, index, size, proof, root)
            if size > 128 and turn % 3:  # for the tests' time
                continue
            for mutation in damaged(proof, turn):
                assert refused(merkle.verify_inclusion, leaf, index, size, mutation, root), (index, size)
            # With that size's root, as a checkpoint states it: sizes 3 and 4 alone have the same paths.
            for other in {size - 1, size + 1, 2 * size} & set(range(SIZE + 1)):
                assert refused(merkle.verify_inclusion, leaf, index, other, proof, ROOTS[other]), (
                    index,
                    size,
                )
            for other in (index - 1, index + 1, index ^ 2, size):
                assert refused(merkle.verify_inclusion, leaf, other, size, proof, root), (index, size)
            assert refused(merkle.verify_inclusion, HASHES[index - 1], index, size, proof, root), (
                index,
                size,
            )


def test_every_consistency_proof_to_size_300_verifies_and_its_mutations_do_not() -> None:
    turn = 0
    for new in range(1, SIZE + 1):
        for old in range(1, new + 1):
            turn += 1
            proof = merkle.consistency_proof(old, new, READ)
            merkle.verify_consistency(old, new, proof, ROOTS[old], ROOTS[new])
            assert len(proof) == merkle.consistency_length(old, new)
            if new > 128 and turn % 3:  # for the tests' time
                continue
            for mutation in damaged(proof, turn):
                assert refused(merkle.verify_consistency, old, new, mutation, ROOTS[old], ROOTS[new]), (
                    old,
                    new,
                )
            if old < new:
                for first, second in ((old - 1, new), (old + 1, new), (old, new - 1), (new, old)):
                    assert refused(
                        merkle.verify_consistency, first, second, proof, ROOTS[first], ROOTS[second]
                    ), (old, new)
            assert refused(merkle.verify_consistency, old, new, proof, ROOTS[old - 1], ROOTS[new]), (old, new)
            assert refused(merkle.verify_consistency, old, new, proof, ROOTS[old], ROOTS[new - 1]), (old, new)


def test_every_bit_of_a_proof_counts() -> None:
    proof = merkle.inclusion_proof(77, 200, READ)
    consistency = merkle.consistency_proof(77, 200, READ)
    for at in range(len(proof) * 256):
        mutation = list(proof)
        flipped = int.from_bytes(mutation[at // 256], "big") ^ 1 << at % 256
        mutation[at // 256] = flipped.to_bytes(32, "big")
        assert refused(merkle.verify_inclusion, HASHES[77], 77, 200, mutation, ROOTS[200])
    for at in range(len(consistency) * 256):
        mutation = list(consistency)
        flipped = int.from_bytes(mutation[at // 256], "big") ^ 1 << at % 256
        mutation[at // 256] = flipped.to_bytes(32, "big")
        assert refused(merkle.verify_consistency, 77, 200, mutation, ROOTS[77], ROOTS[200])


def test_pymerkle_agrees_on_roots_and_proofs() -> None:
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    for size, leaf in enumerate(LEAVES, 1):
        tree.append_entry(leaf)
        assert tree.get_root(size) == ROOTS[size]
        if size > 40 and size % 3:
            continue
        for index in range(size):
            theirs = tree.prove_inclusion(index + 1, size)
            assert theirs.path == [HASHES[index], *merkle.inclusion_proof(index, size, READ)]


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: merkle.inclusion_proof(3, 3, READ), "an index from 0 to 2"),
        (lambda: merkle.inclusion_proof(-1, 3, READ), "an index from 0 to 2"),
        (lambda: merkle.inclusion_proof(0, 0, READ), "1 to 2**63 - 1 leaves"),
        (lambda: merkle.consistency_proof(0, 3, READ), "0 < older size <= newer size"),
        (lambda: merkle.consistency_proof(4, 3, READ), "0 < older size <= newer size"),
        (lambda: merkle.verify_inclusion(HASHES[0], 0, 2**63, [], ROOTS[1]), "1 to 2**63 - 1 leaves"),
        (lambda: merkle.verify_inclusion(HASHES[0], 0, 8, [HASHES[1]], ROOTS[8]), "3 hashes, found 1"),
        (lambda: merkle.verify_inclusion(b"short", 0, 1, [], ROOTS[1]), "32 bytes, found 5 bytes"),
        (lambda: merkle.verify_inclusion(HASHES[0], 0, 1, [], ROOTS[2]), ROOTS[2].hex()),
        (lambda: merkle.verify_consistency(2, 2, [HASHES[1]], ROOTS[2], ROOTS[2]), "0 hashes, found 1"),
        (lambda: merkle.verify_consistency(2, 2, [], ROOTS[2], ROOTS[1]), ROOTS[1].hex()),
        (lambda: merkle.verify_consistency(6, 8, [], ROOTS[6], ROOTS[8]), "3 hashes, found 0"),
        (lambda: merkle.verify_consistency(3, 4, [b"short"] * 3, ROOTS[3], ROOTS[4]), "found 5 bytes"),
        (lambda: merkle.Frontier.at(3, lambda level, index: b"short"), "32 bytes, found 5 bytes"),
    ],
)
def test_errors_say_what_is_expected(call: Callable[[], object], expected: str) -> None:
    with pytest.raises(InvalidProof) as caught:
        call()
    assert expected in str(caught.value)


def test_the_example_of_the_docstring_is_true() -> None:
    assert doctest.testmod(merkle) == doctest.TestResults(failed=0, attempted=4)
