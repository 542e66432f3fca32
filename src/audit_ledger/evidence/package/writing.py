"""Writing a package: what is asked, proven and answered in one snapshot, member by member."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from audit_ledger.errors import ConfigurationError, InvalidValue, UnknownRecord
from audit_ledger.evidence import anchors, checkpoint, leaf
from audit_ledger.evidence.anchors import Anchor
from audit_ledger.evidence.keys import Verifier
from audit_ledger.evidence.package import answer, bodies, log, report
from audit_ledger.evidence.package.archive import Archive, created
from audit_ledger.evidence.package.question import Narrowed, Question
from audit_ledger.evidence.package.snapshot import Rotated, Snapshot, snapshot
from audit_ledger.plan import load_anchors
from audit_ledger.store.copies import Tell, silent
from audit_ledger.store.database import Database

VERIFIER = Path(__file__).parents[1] / "verify.py"
"""The stand-alone verifier, which goes into each package."""

READ = 1 << 16


@dataclass(frozen=True)
class Package:
    """A package that was written.

    Attributes:
        file: It.
        question: What it claims.
        events: How many events it discloses.
        bodies: How many bodies it lists.
        anchors: Its checkpoints outside the operator's reach, by size.
    """

    file: Path
    question: Question
    events: int
    bodies: int
    anchors: tuple[Anchor, ...]

    @property
    def covered(self) -> bool:
        """Whether one of these covers the whole answer."""
        return any(anchor.size >= self.question.header.position for anchor in self.anchors)


@dataclass(frozen=True)
class Wanted:
    """What a package is to hold.

    Attributes:
        asked: As of when, as text.
        narrowed: The events that it is narrowed to; None for all.
        bodies: Whether the bodies are to be in it.
        keys: The ledger's verifier keys, the newest last.
    """

    asked: str
    narrowed: Narrowed | None
    bodies: bool
    keys: Sequence[Verifier]


def write(
    database: Database,
    file: Path,
    wanted: Wanted,
    *,
    force: bool = False,
    announce: Callable[[str], None] = lambda _: None,
    tell: Tell = silent,
) -> Package:
    """Write a package.

    Args:
        database: The ledger.
        file: Where to.
        wanted: What it is to hold.
        force: Whether it may take the place of a file that is there.
        announce: Is told what the package discloses, before anything is written.
        tell: Is told now and then how far it is, and how far it goes, as positions.

    Raises:
        InvalidValue, BeforeBeginning, ReadModelsBehind: as with `Ledger.as_of`.
        NotSealed: no checkpoint covers the answer yet.
        UnknownRecord: it is narrowed to what is not on record.
        EvidenceInvalid: what is stored is not what was sealed: somebody changed it.
        ConfigurationError: no key is known, the file is there already, or cannot be written.
    """
    made_at = datetime.now(UTC)
    with created(file, made_at, force=force) as archive, snapshot(database, wanted.asked) as taken:
        position, size = taken.header.position, taken.prover.last.size
        taken.check_sealed(position)
        rotated = taken.rotated()
        keys = _in_order(wanted.keys, rotated)
        _check_signed(taken, keys)
        complete = wanted.narrowed is None
        question = Question(
            header=taken.header,
            leaves=min(position + 1, size) if complete else 0,
            size=size,
            tables=tuple(table.name for table in answer.TABLES) if complete else (answer.EVENTS,),
            narrowed=wanted.narrowed,
            made_at=made_at,
        )
        writer = _Writer(archive, taken, question, wanted.bodies, announce, tell)
        return writer.write(file, keys, _anchors(database, question), rotated)


def _anchors(database: Database, question: Question) -> tuple[Anchor, ...]:
    """The anchors around the answer, and that of the package's own checkpoint."""
    position = question.header.position
    found = anchors.around(database, position, max(position, question.leaves))
    own = anchors.of_size(database, question.size)
    by_size = {
        anchor.size: anchor for anchor in (*found, *([own] if own else ())) if anchor.size <= question.size
    }
    return tuple(by_size[size] for size in sorted(by_size))


def _in_order(known: Sequence[Verifier], rotated: Sequence[Rotated]) -> list[Verifier]:
    """The keys that are known and those that follow from them, the newest last."""
    following = [key for change in rotated for key in change.keys]
    return list(dict.fromkeys([*(key for key in known if key not in following), *following]))


def _check_signed(taken: Snapshot, keys: Sequence[Verifier]) -> None:
    if not keys:
        raise ConfigurationError(
            "no verifier key of the ledger is known",
            expected="the key by which the package is to be verified",
            actual="none is given, and none is in the folder keys of AUDIT_LEDGER_HOME",
            remedy="give it with --key; audit-ledger key list shows it where the key is",
        )
    note = taken.prover.last.note
    assert note is not None  # it is sealed
    checkpoint.verify(note, origin=str(taken.header.ledger_id), keys=keys)
    assert taken.prover.stated  # or raises: the row is what the note says


class _Writer:
    """Writes the members of a package, in the order in which they become known."""

    def __init__(
        self,
        archive: Archive,
        taken: Snapshot,
        question: Question,
        bodies: bool,
        announce: Callable[[str], None],
        tell: Tell,
    ) -> None:
        self._archive = archive
        self._taken = taken
        self._question = question
        self._with_bodies = bodies
        self._announce = announce
        self._tell = tell
        self._types: Counter[str] = Counter()
        self._named: set[str] = set()

    def write(
        self, file: Path, keys: Sequence[Verifier], outside: Sequence[Anchor], rotated: Sequence[Rotated]
    ) -> Package:
        """Write all of it."""
        narrowed = self._question.narrowed
        # Changes of keys that are in the log; by one that is not, nobody could tell.
        inside = [change for change in rotated if change.position <= self._question.leaves]
        sizes = [*(anchor.size for anchor in outside), *(change.size for change in inside)]
        if narrowed is None:
            events = self._question.leaves
            disclosed = report.discloses_all(self._taken, events)
            self._announce(disclosed)
            self._write_complete(sizes)
        else:
            positions = self._taken.positions(narrowed)
            if not positions:
                raise _nothing(narrowed, self._question.header.position)
            events = len(positions)
            disclosed = report.discloses_some(narrowed, events)
            self._announce(disclosed)
            self._write_events(positions, sizes)
        self._write_anchors(outside, inside)
        count = self._write_bodies() if self._with_bodies else 0
        note = self._taken.prover.last.note
        assert note is not None  # it is sealed
        self._archive.add(f"{log.FOLDER}checkpoint", note)
        self._archive.add("keys", "".join(f"{key.key}\n" for key in keys).encode())
        self._archive.add("question.json", self._question.document(count))
        self._archive.add("verify.py", VERIFIER.read_bytes())
        page = report.page(
            self._taken,
            self._question,
            keys=keys,
            disclosed=disclosed,
            types=self._types,
            bodies=count if self._with_bodies else None,
            anchors=outside,
        )
        self._archive.add("report.html", page)
        return Package(file, self._question, events, count, tuple(outside))

    def _write_complete(self, sizes: Sequence[int]) -> None:
        for table in answer.TABLES:
            for form in ("csv", "json"):
                rows = answer.rows(self._taken.cursor, table, form)
                self._archive.stream(f"answer/{table.name}.{form}", rows)
        log.write(
            self._archive, self._taken.cursor, self._taken.prover, self._question.leaves, sizes, self._tell
        )

    def _write_events(self, positions: Sequence[int], sizes: Sequence[int]) -> None:
        with ExitStack() as stack:
            as_csv, as_json = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(2))
            as_csv.write(answer.csv_record(answer.EVENT_COLUMNS))
            for done, position in enumerate(positions, 1):
                proof = self._taken.prover.prove(position)
                self._archive.add(f"proofs/{position}.tlog-proof", proof.file)
                event = leaf.decode(proof.leaf)
                row = answer.event_row(event)
                as_csv.write(answer.csv_record(row.values()))
                as_json.write((b",\n" if done > 1 else b"[\n") + answer.json_object(row))
                self._types[event.type] += 1
                self._named.update(bodies.named_in(event))
                self._tell(done, len(positions))
            as_json.write(b"\n]\n")
            self._archive.stream(f"answer/{answer.EVENTS}.csv", _read(as_csv))
            self._archive.stream(f"answer/{answer.EVENTS}.json", _read(as_json))
        needed = log.Needed(self._taken.prover)
        for size in sizes:
            needed.proof(size)
        for tile, data in needed.tiles(0):
            self._archive.add(log.FOLDER + tile.path, data)

    def _write_anchors(self, outside: Sequence[Anchor], rotated: Sequence[Rotated]) -> None:
        notes = {change.size: change.note for change in rotated}
        notes |= {anchor.size: anchor.note for anchor in outside}
        for size, note in notes.items():
            self._archive.add(f"anchors/{size}.checkpoint", note)
        for anchor in outside:
            earliest = {stamp.name: stamp.response for stamp in reversed(anchor.timestamps)}
            for name, response in earliest.items():
                self._archive.add(f"anchors/{anchor.size}.{name}.tsr", response)
        for name, certificates in anchors.certificates(load_anchors(), outside).items():
            self._archive.add(f"anchors/{name}.pem", certificates)

    def _write_bodies(self) -> int:
        wanted = bodies.IN_FORCE if self._question.narrowed is None else bodies.these(self._named)
        return bodies.write(self._archive, self._taken.cursor, wanted)


def _read(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(0)
    while part := file.read(READ):
        yield part


def _nothing(narrowed: Narrowed, position: int) -> Exception:
    if narrowed.by == "record":
        return UnknownRecord(
            f"no run has touched {' '.join(narrowed.values)} up to position {position}",
            remedy="audit-ledger records --as-of shows what was on record",
        )
    return InvalidValue(
        narrowed.by,
        expected=f"a {narrowed.by} of which something is on record up to position {position}",
        actual=repr(narrowed.values[0]),
    )
