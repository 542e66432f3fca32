"""Checkpoints that were kept elsewhere, and whether the ledger still continues them.

A checkpoint counts where a pinned key of the ledger has signed it; what else lies in a folder is said,
neither accepted nor a reason to refuse anything. One that counts, and that the ledger is smaller than, or
does not begin with, convicts it: an old copy was restored, or somebody rewrote it. Then it refuses events,
in the database itself.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from psycopg.rows import tuple_row

from audit_ledger.errors import AnchorFailed, EvidenceInvalid, LedgerError, WritesRefused
from audit_ledger.evidence import checkpoint, folders, sealing
from audit_ledger.evidence.checkpoint import Checkpoint
from audit_ledger.evidence.keys import ED25519, Verifier
from audit_ledger.evidence.tiles import Edge
from audit_ledger.plan import Anchors
from audit_ledger.store.database import Database
from audit_ledger.store.refusals import questioned, translated

SHOWN = 3
"""So many files of a folder that are no checkpoints are told one by one."""

REMEDY = (
    "restore the right database; where there is none, an officer opens a new origin: audit-ledger recover"
)


@dataclass(frozen=True)
class Outside:
    """A checkpoint of the ledger that was kept elsewhere, its signature checked.

    Attributes:
        place: Its file.
        stated: What it states.
        note: Its exact bytes.
    """

    place: Path
    stated: Checkpoint
    note: bytes

    @property
    def digest(self) -> str:
        """SHA-256 of the note, hexadecimal."""
        return sha256(self.note).hexdigest()


@dataclass(frozen=True)
class Conviction:
    """That the ledger does not continue one.

    Attributes:
        by: The checkpoint.
        actual: What the ledger has instead.
    """

    by: Outside
    actual: str

    @property
    def expected(self) -> str:
        """What the checkpoint states, and where it is."""
        stated = self.by.stated
        return f"the root {stated.root.hex()} at size {stated.size} ({self.by.place})"

    def error(self) -> WritesRefused:
        """The same as an error."""
        return WritesRefused(
            f"the ledger refuses events: it does not continue its checkpoint of size {self.by.stated.size}"
            " that was kept elsewhere",
            expected=self.expected,
            actual=self.actual,
            remedy=REMEDY,
        )


@dataclass(frozen=True)
class Looked:
    """What came of looking.

    Attributes:
        highest: The highest checkpoint that was found elsewhere; None where there is none.
        wrong: That one of them convicts the ledger; None where none does.
        troubles: What could not be looked at, or is no checkpoint of the ledger.
    """

    highest: Outside | None
    wrong: Conviction | None
    troubles: tuple[LedgerError, ...]


def look(database: Database, anchors: Anchors, files: Sequence[Path] = ()) -> Looked:
    """Compare the ledger with the highest checkpoint in each folder, and with those files.

    Args:
        database: The ledger.
        anchors: Where the folders are, and the keys.
        files: More checkpoints.

    Raises:
        ConfigurationError: `cryptography` is not installed.
    """
    (row,) = database.query("SELECT o.id::text AS origin FROM origin o")
    origin = row["origin"]
    troubles: list[LedgerError] = []
    found: list[Outside] = []
    if not anchors.folders and not files:
        return Looked(None, None, ())
    try:
        keys = pinned_keys(anchors, origin)
    except (AnchorFailed, EvidenceInvalid) as error:
        return Looked(None, None, (error,))
    for folder in anchors.folders:
        try:
            sizes = folders.sizes(folder, origin)
        except AnchorFailed as error:
            troubles.append(error)
            continue
        highest = _highest(folder, origin, sizes, keys, troubles)
        if highest is not None:
            found.append(highest)
        troubles += _emptied(database, folder, max(sizes, default=0))
    for file in files:
        try:
            found.append(read(file, origin, keys))
        except (AnchorFailed, EvidenceInvalid) as error:
            troubles.append(error)
    found.sort(key=lambda one: one.stated.size)
    wrong = next(
        (Conviction(one, actual) for one in _apart(found) if (actual := differs(database, one.stated))), None
    )
    if wrong is not None:
        agreed = _agreed(database, anchors.folders, keys, wrong.by.stated)
        wrong = Conviction(wrong.by, f"{wrong.actual}; {_between(agreed, wrong.by.stated.size)}")
    return Looked(found[-1] if found else None, wrong, tuple(troubles))


def pinned_keys(anchors: Anchors, origin: str) -> list[Verifier]:
    """The keys that checkpoints of that origin must be signed by.

    Raises:
        AnchorFailed: the file cannot be read, or has no key of that origin.
        EvidenceInvalid: a line of it is no verifier key.
    """
    if anchors.keys is None:
        lines: list[str] = []
    else:
        lines = folders.read(anchors.keys).decode("utf-8", "replace").splitlines()
    known = [Verifier.parse(line.strip()) for line in lines if line.strip()]
    keys = [key for key in known if key.name == origin and key.type == ED25519]
    if not keys:
        raise AnchorFailed(
            "checkpoints that were kept elsewhere cannot be checked",
            expected=f"a verifier key of the ledger {origin} in the file that `keys` of [anchors] names",
            actual=f"none in {anchors.keys}" if anchors.keys else "there is no such file in ledger.toml",
            remedy="if the ledger has that id rightly, add the line that audit-ledger key list shows",
        )
    return keys


def read(file: Path, origin: str, keys: Iterable[Verifier]) -> Outside:
    """The checkpoint in a file, its signature checked.

    Raises:
        AnchorFailed: the file cannot be read.
        EvidenceInvalid: it is no checkpoint of that origin, or not signed by one of the keys.
    """
    note = folders.read(file)
    try:
        stated = checkpoint.verify(note, origin=origin, keys=keys).checkpoint
    except EvidenceInvalid as error:
        raise EvidenceInvalid(
            f"{file} is no checkpoint of this ledger: {error.what}",
            expected=error.expected,
            actual=error.actual,
            remedy="find out who wrote it; it proves nothing, neither for nor against the ledger",
        ) from error
    if stated.size == 0:
        raise EvidenceInvalid(
            f"{file} states nothing", expected="a size of 1 or more", actual="0", remedy="leave it out"
        )
    return Outside(file, stated, note)


def differs(database: Database, stated: Checkpoint) -> str | None:
    """What the ledger has instead of what a checkpoint states, in words; None where it continues it."""
    size = stated.size
    with (
        questioned(database),
        database.connection() as conn,
        conn.transaction(),
        conn.cursor(binary=True, row_factory=tuple_row) as cursor,
    ):
        cursor.execute(
            "SELECT h.position, EXISTS (SELECT FROM events e WHERE e.position = %s) FROM head h", [size]
        )
        row = cursor.fetchone()
        if row is None:
            return "the head of the log is gone"
        position, there = row
        if position < size:
            return f"the ledger has {position} events"
        if not there:
            return f"the event at position {size} is gone"
        try:
            root = _root(cursor, size)
        except EvidenceInvalid as error:
            return f"{error.what} ({error.actual})"
    return None if root == stated.root else f"the root {root.hex()}"


def refuse(database: Database, wrong: Conviction) -> bool:
    """Have the database refuse events from now on; whether that is new.

    Raises:
        WrongRole: the role may neither append nor seal.
        LedgerBusy: others appended for longer than `lock_timeout`.
    """
    stated = wrong.by.stated
    with translated(database):
        for attempt in database.attempts():
            with attempt, database.connection() as conn:
                row = conn.execute(
                    "SELECT refuse_appends(%s::uuid, %s, %s, %s, %s) AS new",
                    [stated.origin, stated.size, wrong.by.note, wrong.expected, wrong.actual],
                ).fetchone()
                assert row is not None  # a function call has a row
                return bool(row["new"])
    raise AssertionError  # an attempt returns or raises


def _highest(
    folder: Path, origin: str, sizes: Sequence[int], keys: Sequence[Verifier], troubles: list[LedgerError]
) -> Outside | None:
    """The highest checkpoint in a folder that counts; of the files above it, the first ones are troubles."""
    found: Outside | None = None
    passed: list[LedgerError] = []
    for size in sizes:
        try:
            found = _of_size(folders.checkpoint_file(folder, origin, size), size, origin, keys)
            break
        except (AnchorFailed, EvidenceInvalid) as error:
            passed.append(error)
    troubles += passed[:SHOWN]
    if len(passed) > SHOWN:
        troubles.append(
            EvidenceInvalid(
                f"{len(passed) - SHOWN} more files in {folder / origin} are no checkpoints of this ledger",
                remedy="find out who wrote them; after a rotation, add the new key to the pinned ones",
            )
        )
    return found


def _of_size(file: Path, size: int, origin: str, keys: Sequence[Verifier]) -> Outside:
    """The checkpoint in a file that is named after its size.

    Raises:
        AnchorFailed, EvidenceInvalid: as `read`; or it is of another size.
    """
    found = read(file, origin, keys)
    if found.stated.size != size:
        raise EvidenceInvalid(
            f"{file} is a checkpoint of another size",
            expected=f"size {size}, as its name says",
            actual=f"size {found.stated.size}",
            remedy="find out who renamed it",
        )
    return found


def _emptied(database: Database, folder: Path, highest: int) -> list[LedgerError]:
    """That a folder has less than was written to it."""
    (row,) = database.query(
        "SELECT max(a.size) AS size FROM anchors a JOIN origin o ON o.id = a.origin"
        " WHERE a.kind = 'folder' AND a.name = %s",
        [str(folder)],
    )
    if (row["size"] or 0) <= highest:
        return []
    return [
        AnchorFailed(
            f"the folder {folder} has lost checkpoints that were written to it",
            expected=f"one of size {row['size']}",
            actual=f"the highest has size {highest}" if highest else "there is none",
            remedy="find out who removed them; mount the folder, where it is another disk's",
        )
    ]


def _agreed(database: Database, places: Sequence[Path], keys: Sequence[Verifier], wrong: Checkpoint) -> int:
    """The size of the highest checkpoint in folders that the ledger continues, below one that it does not.

    By halving: a ledger that continues one of a size continues those below it.
    """
    kept = []
    for folder in places:
        with suppress(AnchorFailed):  # which was told
            kept += [(size, folder) for size in folders.sizes(folder, wrong.origin) if size < wrong.size]
    kept.sort()
    agreed = 0
    while kept:
        middle = len(kept) // 2
        size, folder = kept[middle]
        try:
            found = _of_size(folders.checkpoint_file(folder, wrong.origin, size), size, wrong.origin, keys)
        except (AnchorFailed, EvidenceInvalid):
            del kept[middle]
            continue
        if differs(database, found.stated) is None:
            agreed, kept = size, kept[middle + 1 :]
        else:
            kept = kept[:middle]
    return agreed


def _between(agreed: int, size: int) -> str:
    """Where it begins that a ledger does not continue a checkpoint of that size, in words."""
    if not agreed:
        return f"something up to position {size} is not as it was"
    return (
        f"it continues that of size {agreed}: something from position {agreed + 1} to {size} is not as it was"
    )


def _apart(found: Iterable[Outside]) -> list[Outside]:
    """Those that state different things."""
    return list({(one.stated.size, one.stated.root): one for one in found}.values())


def _root(cursor: sealing.Cursor, size: int) -> bytes:
    """The root of the first `size` events: by the tiles; where they do not reach so far, from the events."""
    try:
        return Edge(size, lambda tile: sealing.read_tile(cursor, tile)).root()
    except EvidenceInvalid:
        edge = Edge()
    cursor.execute(sealing.PLANNED)
    for start in range(0, size, sealing.CHUNK):
        edge.append(_leaf_hashes(cursor, start, min(start + sealing.CHUNK, size)))
    return edge.root()


def _leaf_hashes(cursor: sealing.Cursor, start: int, end: int) -> list[bytes]:
    """The leaf hashes of the events of positions (start, end]."""
    hashes: list[bytes] = []
    params: dict[str, Any] = {"start": start, "end": end, "batch": sealing.BATCH}
    with cursor.copy(sealing.BATCHES, params) as copy:
        copy.set_types(["bytea"])
        for (batch,) in copy.rows():
            hashes += sealing.batch_hashes(batch or b"")
    if len(hashes) != end - start:
        raise EvidenceInvalid(
            f"events are gone between the positions {start + 1} and {end}", actual=f"{len(hashes)} are there"
        )
    return hashes
