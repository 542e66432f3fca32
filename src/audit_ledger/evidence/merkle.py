"""Merkle trees of RFC 6962 and RFC 9162 (their trees are the same): hashes, roots and proofs of both kinds.

    HASH(leaf)          = SHA-256(0x00 ‖ leaf)              RFC 9162 section 2.1.1
    HASH(left, right)   = SHA-256(0x01 ‖ left ‖ right)
    MTH of no leaf      = SHA-256()
    MTH of n > 1 leaves = HASH(MTH of the first k, MTH of the rest), k the largest power of two below n

Leaves and sizes count from 0. Proofs are made from *stored hashes*, read by a function of (level, index): the
MTH of the 2**level leaves from index * 2**level on, a complete subtree, which never changes once it is there.

    >>> tree = Frontier()
    >>> tree.extend([leaf_hash(b"one"), leaf_hash(b"two")])
    >>> tree.root() == node_hash(leaf_hash(b"one"), leaf_hash(b"two"))
    True
    >>> verify_inclusion(leaf_hash(b"two"), 1, tree.size, [leaf_hash(b"one")], tree.root())
"""

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

HASH_SIZE = 32
EMPTY_ROOT = sha256().digest()
MAX_SIZE = 2**63 - 1

ReadHash = Callable[[int, int], bytes]

_NODE = sha256(b"\x01")


class InvalidProof(ValueError):
    """A proof does not hold, or cannot be made; says what was expected and what was found."""

    def __init__(self, what: str, *, expected: str, actual: str) -> None:
        super().__init__(f"{what}: expected {expected}, found {actual}")
        self.what = what
        self.expected = expected
        self.actual = actual


def leaf_hash(leaf: bytes) -> bytes:
    """The hash of a leaf's bytes."""
    return sha256(b"\x00" + leaf).digest()  # RFC 9162 section 2.1.1: HASH(0x00 || d[0])


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of a node by those of its two children."""
    return sha256(b"\x01" + left + right).digest()  # RFC 9162 section 2.1.1: HASH(0x01 || ... || ...)


def _parents(hashes: Sequence[bytes]) -> list[bytes]:
    """The hashes of the nodes over an even number of siblings; an inner loop, without a call a node."""
    prefix = _NODE.copy
    parents: list[bytes] = []
    add = parents.append
    siblings = iter(hashes)
    for left, right in zip(siblings, siblings, strict=True):
        node = prefix()
        node.update(left + right)
        add(node.digest())
    return parents


class Frontier:
    """A tree that grows: its size, and the complete subtrees that it consists of, one for each bit of it.

    Attributes:
        size: How many leaves it has.
    """

    def __init__(self) -> None:
        self.size = 0
        self._subtrees: list[bytes | None] = []  # by level

    @classmethod
    def at(cls, size: int, read: ReadHash) -> "Frontier":
        """The tree of `size` leaves whose stored hashes `read` gives."""
        tree = cls()
        tree.size = size
        tree._subtrees = [
            _checked(read(level, (size >> level) - 1), f"the stored hash {level}, {(size >> level) - 1}")
            if size >> level & 1
            else None
            for level in range(size.bit_length())
        ]
        return tree

    def extend(self, leaf_hashes: Sequence[bytes]) -> None:
        """Append leaves by their hashes; many at once are faster than one by one."""
        self.size += len(leaf_hashes)
        subtrees = self._subtrees
        carried, level = list(leaf_hashes), 0
        while carried:
            if level == len(subtrees):
                subtrees.append(None)
            waiting = subtrees[level]
            if waiting is not None:
                carried.insert(0, waiting)
            subtrees[level] = carried.pop() if len(carried) & 1 else None
            carried = _parents(carried)
            level += 1

    def root(self) -> bytes:
        """The root hash of the leaves so far."""
        return _folded([subtree for subtree in reversed(self._subtrees) if subtree is not None])


def _folded(subtrees: Sequence[bytes]) -> bytes:
    """The root over complete subtrees, left to right, each smaller than the one before it."""
    if not subtrees:
        return EMPTY_ROOT
    right = subtrees[-1]
    for left in reversed(subtrees[:-1]):
        right = node_hash(left, right)
    return right


def root(leaf_hashes: Iterable[bytes]) -> bytes:
    """The root hash over the hashes of leaves."""
    tree = Frontier()
    tree.extend(list(leaf_hashes))
    return tree.root()


def range_hash(start: int, end: int, read: ReadHash) -> bytes:
    """MTH of the leaves from `start` up to before `end`, where that is a subtree of some tree."""
    subtrees = []
    while start < end:
        level = (end - start).bit_length() - 1
        subtrees.append(_checked(read(level, start >> level), f"the stored hash {level}, {start >> level}"))
        start += 1 << level
    return _folded(subtrees)


def inclusion_proof(index: int, size: int, read: ReadHash) -> list[bytes]:
    """The hashes that lead from leaf `index` to the root of the first `size` leaves, from its sibling up.

    Raises:
        InvalidProof: the tree has no such leaf.
    """
    _check_inside(index, size)
    proof = []
    start, end = 0, size
    while end - start > 1:  # RFC 9162 section 2.1.3.1: PATH(m, D_n)
        middle = start + _split(end - start)
        if index < middle:
            proof.append(range_hash(middle, end, read))
            end = middle
        else:
            proof.append(range_hash(start, middle, read))
            start = middle
    return proof[::-1]


def consistency_proof(old: int, new: int, read: ReadHash) -> list[bytes]:
    """The hashes that show that the first `old` leaves of the tree of `new` leaves are the tree of `old`.

    Raises:
        InvalidProof: not 0 < old <= new.
    """
    _check_sizes(old, new)
    proof = []
    start, end = 0, new
    while old != end:  # RFC 9162 section 2.1.4.1: SUBPROOF(m, D_n, b)
        middle = start + _split(end - start)
        if old <= middle:
            proof.append(range_hash(middle, end, read))
            end = middle
        else:
            proof.append(range_hash(start, middle, read))
            start = middle
    if start > 0:  # b is false: the verifier does not know this subtree
        proof.append(range_hash(start, end, read))
    return proof[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Nothing, if the proof shows that the leaf with that hash is at `index` of the tree with that root.

    Args:
        leaf: The leaf's hash.
        index: Its index, from 0.
        size: How many leaves the tree has.
        proof: As inclusion_proof makes it.
        root: The tree's root hash.

    Raises:
        InvalidProof: it does not.
    """
    _check_inside(index, size)  # RFC 9162 section 2.1.3.2, step 1
    for hashed in (leaf, root, *proof):
        _checked(hashed, "a hash of the inclusion proof")
    below = (
        index ^ (size - 1)
    ).bit_length()  # levels at which the leaf's subtree can have a sibling to its right
    _check_length(proof, below + (index >> below).bit_count(), "inclusion proof")
    node, last, computed = index, size - 1, leaf  # step 2 (fn, sn) and 3 (r)
    for sibling in proof:  # step 4
        if node & 1 or node == last:
            computed = node_hash(sibling, computed)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            computed = node_hash(computed, sibling)
        node, last = node >> 1, last >> 1
    _check_same(computed, root, "the root hash by the inclusion proof")  # step 5; sn is 0 by the length


def verify_consistency(old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """Nothing, if the proof shows that the tree of `new` leaves begins with the tree of `old` leaves.

    Raises:
        InvalidProof: it does not; also where `old` is 0, since any tree begins with the empty one.
    """
    _check_sizes(old, new)
    for hashed in (old_root, new_root, *proof):
        _checked(hashed, "a hash of the consistency proof")
    _check_length(proof, consistency_length(old, new), "consistency proof")
    if old == new:
        _check_same(old_root, new_root, "the root hash of the same size")
        return
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)  # RFC 9162 section 2.1.4.2, step 2
    node, last = old - 1, new - 1  # step 3 (fn, sn)
    while node & 1:  # step 4
        node, last = node >> 1, last >> 1
    old_computed = new_computed = path[0]  # step 5 (fr, sr)
    for sibling in path[1:]:  # step 6
        if node & 1 or node == last:
            old_computed = node_hash(sibling, old_computed)
            new_computed = node_hash(sibling, new_computed)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            new_computed = node_hash(new_computed, sibling)
        node, last = node >> 1, last >> 1
    _check_same(old_computed, old_root, "the older root hash by the consistency proof")  # step 7; sn is 0
    _check_same(new_computed, new_root, "the newer root hash by the consistency proof")


def consistency_length(old: int, new: int) -> int:
    """How many hashes the consistency proof of two sizes has, where 0 < old <= new."""
    if old == new:
        return 0
    level = (old & -old).bit_length() - 1  # of the last complete subtree of the older tree
    node, last = (old - 1) >> level, (new - 1) >> level
    below = (node ^ last).bit_length()
    return below + (node >> below).bit_count() + (node > 0)


def _split(size: int) -> int:
    """RFC 9162 section 2.1.1: the largest power of two smaller than `size`, which is above 1."""
    return 1 << (size - 1).bit_length() - 1


def _checked(hashed: bytes, what: str) -> bytes:
    if len(hashed) != HASH_SIZE:
        raise InvalidProof(f"{what} has a wrong length", expected="32 bytes", actual=f"{len(hashed)} bytes")
    return hashed


def _check_inside(index: int, size: int) -> None:
    if not 0 < size <= MAX_SIZE:
        raise InvalidProof("the tree's size is wrong", expected="1 to 2**63 - 1 leaves", actual=f"{size}")
    if not 0 <= index < size:
        raise InvalidProof(
            "the tree has no such leaf", expected=f"an index from 0 to {size - 1}", actual=f"{index}"
        )


def _check_sizes(old: int, new: int) -> None:
    if not 0 < old <= new <= MAX_SIZE:
        raise InvalidProof(
            "sizes that no consistency proof compares",
            expected="0 < older size <= newer size < 2**63",
            actual=f"{old} and {new}",
        )


def _check_length(proof: Sequence[bytes], length: int, what: str) -> None:
    if len(proof) != length:
        raise InvalidProof(
            f"the {what} has a wrong length", expected=f"{length} hashes", actual=f"{len(proof)}"
        )


def _check_same(computed: bytes, stated: bytes, what: str) -> None:
    if computed != stated:
        raise InvalidProof(f"{what} is another", expected=stated.hex(), actual=computed.hex())
