"""Sealing: the events that are new enter the Merkle tree, and a checkpoint of all of them is signed.

One transaction: what is sealed already is compared with its checkpoint, the events behind it are read
and hashed, tiles and checkpoint are stored. It has a lock of its own, so that who appends does
not wait for it, and two sealers do the same work one after the other.
"""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import psycopg
from psycopg.rows import tuple_row

from audit_ledger.errors import ConfigurationError, EvidenceInvalid, InvalidValue
from audit_ledger.events import KeyRotated, decode
from audit_ledger.evidence import checkpoint, merkle, note
from audit_ledger.evidence.checkpoint import Checkpoint
from audit_ledger.evidence.keys import Signer, Verifier
from audit_ledger.evidence.tiles import HEIGHT, Edge, Tile
from audit_ledger.store.copies import Tell, silent
from audit_ledger.store.database import Database
from audit_ledger.store.refusals import translated

CHUNK = 1 << 16
"""Events whose hashes are kept at once, until their tiles are stored: 2 MiB of them."""

BATCH = 256
"""Events whose leaves are fetched in one row: a row of 16 MiB at most."""

BATCHES = r"""
    COPY (
        SELECT (SELECT string_agg(CASE WHEN octet_length(l.leaf) < 65536
                                       THEN substring(int4send(octet_length(l.leaf)) FROM 3) || l.leaf
                                       ELSE '\x0000'::bytea || sha256('\x00'::bytea || l.leaf)
                                  END, ''::bytea ORDER BY l.position)
                  FROM (SELECT position, leaf FROM leaves
                         WHERE position > g AND position <= least(g + %(batch)s, %(end)s)
                        OFFSET 0) l)
          FROM generate_series(%(start)s::bigint, %(end)s - 1, %(batch)s) g
    ) TO STDOUT (FORMAT binary)
"""
"""Batches of leaves, each leaf behind its length of two bytes; of one too long for that, two zero bytes and
its hash. A row for each leaf would take longer, and the server may hash more slowly than we do."""

PLANNED = """
    SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
           set_config('jit', 'off', true)
"""
"""Holds the planner to the primary key, whatever it believes of a log that grows without end; and compiling
the statement anew for each chunk would take longer than running it."""

KEEP = "keep the database as it is, and compare with a backup and with checkpoints that were kept elsewhere"
"""What to do where what is stored was changed."""

Cursor = psycopg.Cursor[Any]

PAGE = 500
"""Rows that are fetched at a time, where there may be many."""


class Stored(NamedTuple):
    """The last checkpoint as the database has it, and where the ledger is.

    Attributes:
        origin: The ledger's id.
        position: Its last position.
        size: That of the checkpoint; 0 where there is none.
        root: Its root; None where there is no checkpoint.
        note: The signed note; None where there is no checkpoint.
        key_id: Id of the key that signed it; None where there is no checkpoint.
    """

    origin: str
    position: int
    size: int
    root: bytes | None
    note: bytes | None
    key_id: str | None

    def stated(self, *keys: Verifier) -> Checkpoint:
        """What the note states; its signature is checked where it is by one of these keys.

        Raises:
            EvidenceInvalid: the note says other than the row that it is in, or its signature fails.
        """
        assert self.note is not None  # there is a checkpoint
        try:
            known = [key for key in keys if key.key_id.hex() == self.key_id]
            if known:
                stated = checkpoint.verify(self.note, origin=self.origin, keys=known).checkpoint
            else:
                stated = checkpoint.parse(note.parse(self.note).text, origin=self.origin)
        except EvidenceInvalid as error:
            raise EvidenceInvalid(
                f"the checkpoint of size {self.size} was changed in the database: {error.what}",
                expected=error.expected,
                actual=error.actual,
                remedy=KEEP,
            ) from error
        if (stated.size, stated.root) != (self.size, self.root):
            raise EvidenceInvalid(
                f"the checkpoint of size {self.size} was changed in the database",
                expected=f"what its note states: size {stated.size}, root {stated.root.hex()}",
                actual=f"size {self.size}, root {(self.root or b'').hex()}",
                remedy=KEEP,
            )
        return stated


def seal(database: Database, *signers: Signer, tell: Tell = silent) -> Checkpoint | None:
    """Seal all events that are there; returns the new checkpoint, or None where nothing is new.

    The key of the last checkpoint goes on, until a KeyRotated event names another: the first checkpoint that
    covers the event is signed by both.

    Safe to repeat, to be killed, and to be called by several at once.

    Args:
        database: The ledger, connected to as its sealer.
        signers: The keys that are at hand; their name is the ledger's id.
        tell: Is told now and then how far it is, and how far it goes, as positions.

    Raises:
        EvidenceInvalid: what is stored does not agree with the last checkpoint: somebody changed it.
        ConfigurationError: the key is that of another ledger, or not the one that goes on.
        WrongRole: the role may not seal.
        LedgerBusy: another sealer was at work for longer than `lock_timeout`.
    """
    with translated(database):
        for attempt in database.attempts():
            with attempt, database.connection() as conn, conn.transaction():
                return _seal(conn.cursor(binary=True, row_factory=tuple_row), signers, tell)
    raise AssertionError  # an attempt returns or raises


def _seal(cursor: Cursor, held: Sequence[Signer], tell: Tell) -> Checkpoint | None:
    cursor.execute("SELECT * FROM begin_seal()")
    last = Stored(*one(cursor))
    for signer in held:
        if signer.name != last.origin:
            raise ConfigurationError(
                "the sealing key is that of another ledger",
                expected=f"a key named {last.origin}",
                actual=signer.name,
                remedy="set AUDIT_LEDGER_SEALING_KEY to the key of this ledger (audit-ledger key list)",
            )
    edge = _edge(cursor, last, held)
    if last.position == last.size:
        return None
    cursor.execute(PLANNED)
    signers = _signers(cursor, last, held)
    for start in range(last.size, last.position, CHUNK):
        end = min(start + CHUNK, last.position)
        _add(cursor, edge.append(_hashes(cursor, start, end)))
        tell(end, last.position)
    _add(cursor, [(tile, data) for tile, data in edge.partial() if _grew(tile.level, last.size, edge.size)])
    new = Checkpoint(last.origin, edge.size, edge.root())
    cursor.execute(
        "SELECT add_checkpoint(%s, %s, %s, %s)",
        [new.size, new.root, new.sign(*signers), signers[-1].verifier.key_id.hex()],
    )
    return new


def _signers(cursor: Cursor, last: Stored, held: Sequence[Signer]) -> list[Signer]:
    """The keys that sign the next checkpoint: that of the last one, and those that events behind it name."""
    signers = [held[0]] if last.key_id is None else [key for key in held if _id(key) == last.key_id][:1]
    if not signers:
        raise ConfigurationError(
            "this key does not go on where the last checkpoint stopped",
            expected=f"the key with the id {last.key_id}, which signed the checkpoint of size {last.size}",
            actual=", ".join(map(_id, held)),
            remedy="seal with that key; to change it, audit-ledger key rotate; where it is lost,"
            " audit-ledger recover",
        )
    cursor.execute(
        "SELECT position, state FROM events"
        " WHERE position > greatest(%s, (SELECT max(after_position) FROM origins)) AND position <= %s"
        "   AND type = 'KeyRotated' ORDER BY position",
        [last.size, last.position],
    )
    for position, state in cursor.fetchall():
        previous, following = rotated(position, bytes(state))
        if previous != signers[-1].verifier:
            raise EvidenceInvalid(
                f"the event at position {position} changes another key than the one that seals",
                expected=f"previous: {signers[-1].verifier.key}",
                actual=previous.key,
                remedy="find out who appended it; sign nothing before",
            )
        found = [key for key in held if key.verifier == following]
        if not found:
            raise ConfigurationError(
                f"the event at position {position} names a key that is not here",
                expected=f"the signer key of {following.key}",
                actual=", ".join(key.verifier.key for key in held),
                remedy="seal where audit-ledger key rotate was run; if nobody did, find out who appended it,"
                " and sign nothing before",
            )
        signers.append(found[0])
    return signers


def rotated(position: int, state: bytes) -> tuple[Verifier, Verifier]:
    """The previous and the next key of a KeyRotated event.

    Raises:
        EvidenceInvalid: it names none.
    """
    try:
        event = decode("KeyRotated", state)
    except InvalidValue as error:
        raise EvidenceInvalid(
            f"the event at position {position} does not say which keys it changes",
            expected="a KeyRotated event, as audit-ledger key rotate appends it",
            actual=error.actual,
            remedy="find out who appended it",
        ) from error
    assert isinstance(event, KeyRotated)
    return Verifier.parse(event.previous), Verifier.parse(event.next)


def _id(signer: Signer) -> str:
    return signer.verifier.key_id.hex()


def _edge(cursor: Cursor, last: Stored, held: Sequence[Signer]) -> Edge:
    """The edge of what is sealed, once it agrees with the last checkpoint."""
    if last.note is None:
        return Edge()
    stated = last.stated(*(signer.verifier for signer in held))
    if last.position < last.size:
        raise EvidenceInvalid(
            f"the ledger is shorter than its checkpoint of size {last.size}",
            expected=f"{last.size} events or more",
            actual=f"{last.position}",
            remedy=KEEP,
        )
    edge = Edge(last.size, lambda tile: read_tile(cursor, tile))
    if edge.root() != stated.root:
        raise EvidenceInvalid(
            f"the tiles at size {last.size} are not those of its checkpoint: they were changed",
            expected=f"the root {stated.root.hex()}",
            actual=edge.root().hex(),
            remedy=KEEP,
        )
    return edge


def paged(cursor: Cursor, statement: str, after: int, *params: object) -> Iterator[Any]:
    """The rows of a statement, page by page; the cursor is free for others in between.

    Args:
        cursor: The ledger.
        statement: Ends with parameters for the last value of its first column, by which it is ordered, and
            for how many rows it returns.
        after: The value before the first.
        params: Those that come before.
    """
    while rows := cursor.execute(statement.encode(), [*params, after, PAGE]).fetchall():
        yield from rows
        after = rows[-1][0]


def one(cursor: Cursor) -> Any:
    """The row of a statement that always has one."""
    row = cursor.fetchone()
    assert row is not None
    return row


def read_tile(cursor: Cursor, tile: Tile) -> bytes:
    """The bytes of a tile of hashes, as wide as it is named: a tile of a smaller tree begins a stored one.

    Raises:
        EvidenceInvalid: so many hashes are not stored.
    """
    size = tile.width * merkle.HASH_SIZE
    cursor.execute(
        "SELECT substring(hashes FROM 1 FOR %s) FROM tiles WHERE level = %s AND number = %s",
        [size, tile.level, tile.number],
    )
    row = cursor.fetchone()
    data = b"" if row is None else bytes(row[0])
    if len(data) != size:
        raise EvidenceInvalid(
            f"the tile {tile.path} is not in the database",
            expected=f"{tile.width} hashes",
            actual=f"{len(data) // merkle.HASH_SIZE}",
            remedy=KEEP,
        )
    return data


def _hashes(cursor: Cursor, start: int, end: int) -> list[bytes]:
    """The leaf hashes of the events of positions (start, end]."""
    hashes: list[bytes] = []
    with cursor.copy(BATCHES, {"start": start, "end": end, "batch": BATCH}) as copy:
        copy.set_types(["bytea"])
        for (batch,) in copy.rows():
            hashes += batch_hashes(batch or b"")
    if len(hashes) != end - start:
        cursor.execute(
            "SELECT min(p) FROM generate_series(%s::bigint, %s) p"
            " WHERE NOT EXISTS (SELECT FROM events e WHERE e.position = p)",
            [start + 1, end],
        )
        raise EvidenceInvalid(
            f"the event at position {one(cursor)[0]} is gone",
            expected=f"an event at each position from {start + 1} to {end}",
            actual=f"{len(hashes)} events",
            remedy=KEEP,
        )
    return hashes


def batch_hashes(batch: bytes) -> list[bytes]:
    """The leaf hashes of a batch of leaves, as BATCHES gives them."""
    hashes, digest = [], sha256
    start, size = 0, len(batch)
    while start < size:
        length = batch[start] << 8 | batch[start + 1]
        start += 2
        if length:
            hashes.append(digest(b"\x00" + batch[start : start + length]).digest())  # RFC 6962 section 2.1
        else:
            length = merkle.HASH_SIZE
            hashes.append(batch[start : start + length])
        start += length
    return hashes


def _grew(level: int, old: int, new: int) -> bool:
    return old >> HEIGHT * level < new >> HEIGHT * level


def _add(cursor: Cursor, tiles: Sequence[tuple[Tile, bytes]]) -> None:
    if tiles:
        cursor.execute(
            "SELECT add_tiles(%s::smallint[], %s::bigint[], %s::bytea[])",
            [
                [tile.level for tile, _ in tiles],
                [tile.number for tile, _ in tiles],
                [data for _, data in tiles],
            ],
        )
