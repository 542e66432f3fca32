"""The ledger as static files, in the layout of C2SP tlog-tiles, for clients of transparency logs.

    DIR/checkpoint                      the last signed checkpoint
    DIR/tile/LEVEL/NNN[.p/W]            hashes, 256 a file; the last one of a level has its width in its path
    DIR/tile/entries/NNN[.p/W]          leaves, 256 a file, each behind its length

What is new since the checkpoint in the folder is written, the checkpoint last, each file all of it or
nothing; so that whoever reads the folder at any moment, or after a crash, finds what its checkpoint states.
"""

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from filelock import FileLock, Timeout
from psycopg.rows import tuple_row

from audit_ledger.errors import ConfigurationError, EvidenceInvalid, LedgerBusy, NotSealed
from audit_ledger.evidence import checkpoint, merkle, note
from audit_ledger.evidence.checkpoint import Checkpoint
from audit_ledger.evidence.keys import Verifier
from audit_ledger.evidence.proving import LAST
from audit_ledger.evidence.sealing import BATCH, BATCHES, KEEP, PLANNED, Cursor, Stored, one, read_tile
from audit_ledger.evidence.tiles import (
    ENTRIES,
    HEIGHT,
    MAX_LEAF,
    WIDTH,
    Edge,
    Tile,
    hash_reader,
    parse_bundle,
)
from audit_ledger.store.connecting import configure, connect
from audit_ledger.store.copies import Tell, silent
from audit_ledger.store.database import Database
from audit_ledger.store.refusals import translated

CHECKPOINT = "checkpoint"
LOCK = ".publishing.lock"
TELL_EVERY = 1 << 14
"""Events between two times that progress is told."""


@dataclass(frozen=True)
class Published:
    """What was published.

    Attributes:
        before: The size of the checkpoint that the folder had; 0 where it had none.
        size: The size of the one that it has.
        files: How many files were written.
    """

    before: int
    size: int
    files: int


def publish(
    database: Database, folder: Path, *, keys: Iterable[Verifier] = (), tell: Tell = silent
) -> Published:
    """Write what is sealed, and not in the folder yet, as static files. Safe to repeat, and to be killed.

    Args:
        database: The ledger; a reader's role is enough.
        folder: Where to; made where it is not there.
        keys: Verifier keys of the ledger: by one of these the checkpoint is checked before it goes out.
        tell: Is told now and then how far it is, and how far it goes, as positions.

    Raises:
        NotSealed: there is no checkpoint yet.
        EvidenceInvalid: the folder holds another log, or one that this ledger does not continue; or what is
            stored is not what was sealed; or a leaf is too long for the format.
        ConfigurationError: the folder holds something else, or cannot be written to.
        LedgerBusy: another process publishes to the folder.
    """
    with (
        _folder(folder),
        translated(database),
        connect(database.url, database.settings) as conn,
    ):
        configure(conn, database.name, database.settings)
        with conn.transaction(), conn.cursor(binary=True, row_factory=tuple_row) as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            cursor.execute(LAST)
            return _publish(cursor, Stored(*one(cursor)), folder, tuple(keys), tell)


@contextmanager
def _folder(folder: Path) -> Iterator[None]:
    """The folder, made where it is not there, and locked; what its disk says is an error of ours."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / LOCK, timeout=0):
            yield
    except Timeout as error:
        raise LedgerBusy(
            f"another process publishes to {folder}",
            expected="to be the only one",
            actual=f"{folder / LOCK} is locked",
            remedy="wait for its end, and repeat this",
        ) from error
    except OSError as error:
        raise ConfigurationError(
            f"{folder} cannot be written to",
            expected="a folder that you may make files in, with room for them",
            actual=str(error),
            remedy="choose another folder, or correct its owner or mode; nothing that is there was spoilt",
        ) from error


def _publish(cursor: Cursor, last: Stored, folder: Path, keys: tuple[Verifier, ...], tell: Tell) -> Published:
    before = _published(folder, last.origin)
    if last.note is None:
        if before.size:
            raise _ahead(folder, before.size, 0)
        raise NotSealed(
            "nothing is sealed yet, so that there is nothing to publish",
            expected="a checkpoint",
            actual="none",
            remedy="audit-ledger seal",
        )
    stated = last.stated(*keys)
    _require_continues(cursor, folder, before, stated)
    files = _Files(folder)
    if stated.size > before.size:
        _write_tiles(cursor, before.size, stated, files, tell)
    if files.put(CHECKPOINT, last.note, durably=True):
        _remove_partial(folder, before.size, stated.size)
    tell(stated.size, stated.size)
    return Published(before.size, stated.size, files.written)


def _published(folder: Path, origin: str) -> Checkpoint:
    """The checkpoint that the folder has; one of size 0 where it has none.

    Raises:
        EvidenceInvalid: it is none of this ledger's.
        ConfigurationError: the folder is not one that was published to.
    """
    file = folder / CHECKPOINT
    if not file.exists():
        others = sorted({path.name for path in folder.iterdir()} - {"tile", LOCK})
        if others:
            raise ConfigurationError(
                f"{folder} holds something else",
                expected="a folder that is empty, or was published to",
                actual=", ".join(others[:5]),
                remedy="choose another folder",
            )
        return Checkpoint(origin, 0, merkle.EMPTY_ROOT)
    try:
        return checkpoint.parse(note.parse(file.read_bytes()).text, origin=origin)
    except EvidenceInvalid as error:
        raise EvidenceInvalid(
            f"{file} is not of this ledger: {error.what}",
            expected=error.expected,
            actual=error.actual,
            remedy="publish to a folder of this ledger's own",
        ) from error


def _require_continues(cursor: Cursor, folder: Path, before: Checkpoint, stated: Checkpoint) -> None:
    """That the ledger begins with what is in the folder.

    Raises:
        EvidenceInvalid: it does not.
    """
    if before.size > stated.size:
        raise _ahead(folder, before.size, stated.size)
    if before.size:
        reader = hash_reader(before.size, lambda tile: read_tile(cursor, tile))
        root = merkle.Frontier.at(before.size, reader).root()
        if root != before.root:
            raise EvidenceInvalid(
                f"the ledger does not continue what is published in {folder}",
                expected=f"at size {before.size} the root {before.root.hex()}",
                actual=root.hex(),
                remedy=f"{KEEP}, of which the folder has one: one of the two was rewritten",
            )


def _ahead(folder: Path, published: int, sealed: int) -> EvidenceInvalid:
    return EvidenceInvalid(
        f"the ledger is shorter than what is published in {folder}",
        expected=f"a checkpoint of size {published} or more",
        actual=f"one of size {sealed}" if sealed else "none",
        remedy=f"{KEEP}, of which the folder has one: the ledger was cut off, or is an old copy",
    )


def _write_tiles(cursor: Cursor, before: int, stated: Checkpoint, files: "_Files", tell: Tell) -> None:
    """Write the tiles and bundles of a checkpoint which the one of size `before` has not.

    Raises:
        EvidenceInvalid: events are gone or not those that were sealed, or a leaf is too long.
    """
    start = before >> HEIGHT << HEIGHT  # where the first bundle that grows begins
    edge = Edge(start, lambda tile: read_tile(cursor, tile))
    cursor.execute(PLANNED)
    with cursor.copy(BATCHES, {"start": start, "end": stated.size, "batch": BATCH}) as copy:
        copy.set_types(["bytea"])
        for (batch,) in copy.rows():
            first = edge.size
            bundle = Tile(ENTRIES, first >> HEIGHT, min(WIDTH, stated.size - first))
            data = batch or b""
            full = edge.append(_leaf_hashes(data, first, bundle.width))
            files.put(bundle.path, data)
            for tile, hashes in full:
                files.put(tile.path, hashes)
            if edge.size % TELL_EVERY == 0:
                tell(edge.size, stated.size)
    for tile, hashes in edge.partial():
        files.put(tile.path, hashes)
    if edge.root() != stated.root:
        raise EvidenceInvalid(
            f"the events up to {stated.size} are not those that were sealed: somebody changed one",
            expected=f"the root {stated.root.hex()}",
            actual=edge.root().hex(),
            remedy="audit-ledger verify --live names the first position that differs; nothing is published",
        )


def _leaf_hashes(bundle: bytes, first: int, width: int) -> list[bytes]:
    """The leaf hashes of an entry bundle.

    Args:
        bundle: Its bytes, as BATCHES gives them.
        first: The index of its first leaf.
        width: How many leaves it must have.

    Raises:
        EvidenceInvalid: an event is gone, or its leaf is too long.
    """
    try:
        leaves = parse_bundle(bundle, width)
    except EvidenceInvalid:
        leaves = _some_leaves(bundle)  # of a leaf that is too long BATCHES has no more than its hash
        if b"" not in leaves:
            raise EvidenceInvalid(
                f"an event is gone between position {first + 1} and {first + width}",
                expected=f"{width} events",
                actual="fewer",
                remedy="audit-ledger verify --live names it; nothing is published",
            ) from None
    if b"" in leaves:
        position = first + leaves.index(b"") + 1
        raise EvidenceInvalid(
            f"the event at position {position} cannot be published: its leaf is too long for an entry bundle",
            expected=f"at most {MAX_LEAF} bytes (C2SP tlog-tiles), as of all that audit-ledger records",
            actual="more",
            remedy="find out which software recorded a state of more than 60,000 bytes; the ledger can be"
            " sealed and proven as it is, but not be published",
        )
    digest = merkle.leaf_hash
    return [digest(leaf) for leaf in leaves]


def _some_leaves(bundle: bytes) -> list[bytes]:
    """The leaves up to the first that is too long, which is empty here."""
    leaves, start = [], 0
    while start + 2 <= len(bundle):
        length = bundle[start] << 8 | bundle[start + 1]
        leaves.append(bundle[start + 2 : start + 2 + length])
        if not length:
            break
        start += 2 + length
    return leaves


class _Files:
    """Files below a folder, each written whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.written = 0
        self._folder = folder
        self._made: set[Path] = set()

    def put(self, path: str, data: bytes, *, durably: bool = False) -> bool:
        """Write a file, unless it is there with the same bytes; returns whether it was written.

        Args:
            path: Its path below the folder.
            data: Its bytes.
            durably: Whether it, and all that was written before, is to outlive a crash before this returns.
        """
        file = self._folder / path
        if file.parent not in self._made:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._made.add(file.parent)
        if file.is_file() and file.stat().st_size == len(data) and file.read_bytes() == data:
            return False
        whole = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
        try:
            with whole.open("wb") as opened:
                opened.write(data)
                if durably:
                    _sync_all()
                    opened.flush()
                    os.fsync(opened.fileno())
            whole.replace(file)
        finally:
            whole.unlink(missing_ok=True)
        if durably:
            _sync_all()
        self.written += 1
        return True


def _sync_all() -> None:
    """Have the system write what it has not yet: once for all tiles, of which each would take a while."""
    if hasattr(os, "sync"):
        os.sync()


def _remove_partial(folder: Path, before: int, size: int) -> None:
    """Remove partial tiles whose full one is there now, as C2SP tlog-tiles allows."""
    for level in chain((ENTRIES,), range(64 // HEIGHT)):
        span = HEIGHT * max(level, 0)
        number = before >> span >> HEIGHT
        if number < size >> span >> HEIGHT:
            partial = folder / f"{Tile(level, number).path}.p"
            if partial.is_dir():
                shutil.rmtree(partial)
