"""What makes a ledger's content provable: sealing it, proofs of what is sealed, and packages of evidence."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from audit_ledger.errors import InvalidValue, UnknownRecord
from audit_ledger.reaching import Reaching
from audit_ledger.reading.as_of import AsOf, AsOfWhen, Header, asked
from audit_ledger.store.copies import Tell, silent

if TYPE_CHECKING:  # whoever does not prove anything does without: it takes long to import
    from audit_ledger.evidence.checkpoint import Checkpoint
    from audit_ledger.evidence.keys import Verifier
    from audit_ledger.evidence.package.question import Narrowed
    from audit_ledger.evidence.package.writing import Package
    from audit_ledger.evidence.proving import EventProof
    from audit_ledger.evidence.publishing import Published
    from audit_ledger.evidence.rotation import Rotation


def _unheard(_said: str) -> None:
    """Tell nobody."""


class Proofs(Reaching):
    """The part of `Ledger` that seals, for who has the key, and that proves, for everybody."""

    @property
    @abstractmethod
    def header(self) -> Header | None:
        """As of when answers are that are given now; None while the ledger is empty."""

    @abstractmethod
    def _header_of(self, text: str) -> Header:
        """The header of an answer, once the read models have it."""

    def seal(self, *, tell: Tell = silent) -> Checkpoint | None:
        """Seal all events that are there; returns the new checkpoint, or None where nothing is new.

        Writers do not wait for it. Safe to repeat, to be killed, and to be called by several at once.

        Args:
            tell: Is told now and then how far it is, and how far it goes, as positions.

        Raises:
            ConfigurationError: there is no key, it is another ledger's or not the one that goes on, or
                `cryptography` is not installed.
            EvidenceInvalid: what is stored does not agree with the last checkpoint: somebody changed it.
            WritesRefused: the ledger does not continue a checkpoint that was kept elsewhere.
            WrongRole: the role may not seal.
            LedgerBusy: another sealer was at work for longer than `lock_timeout`.
        """
        from audit_ledger.evidence import keyring, rotation, sealing

        self._refuse_where_convicted()
        held = keyring.held(self.settings, str(self.ledger_id))
        sealed = sealing.seal(self.database, *held, tell=tell)
        rotation.retire(self.database, self.settings, self.ledger_id)
        return sealed

    def rotate_key(self, *, reason: str, by: str | None = None) -> Rotation:
        """Make another key, and put on record that it follows; both sign the next checkpoint.

        Goes on where it was interrupted. `seal` does the rest.

        Args:
            reason: Why; in the log for ever.
            by: Who decided it, in the log as well; by default the setting `actor`, or the system user.

        Raises:
            NotSealed: there is no checkpoint yet, whose key could be changed.
            ConfigurationError: a key is missing here; says which.
            InvalidValue: an argument cannot be recorded.
            VersionConflict: somebody else changes the key at the same moment.
            WrongRole: the role is no sealer.
            WritesRefused: it does not continue a checkpoint that was kept elsewhere.
        """
        from audit_ledger.evidence import rotation

        self._refuse_where_convicted()
        return rotation.rotate(self.database, self.settings, self.ledger_id, reason=reason, by=by)

    def prove_event(self, position: int) -> EventProof:
        """That an event is in the ledger, at its last checkpoint: `.file` is checked without the ledger.

        Raises:
            UnknownPosition: there is no such event.
            NotSealed: no checkpoint covers it yet.
            EvidenceInvalid: the event, a tile or the checkpoint is not what was sealed: somebody changed it.
        """
        from audit_ledger.evidence import proving

        return proving.prove_event(self.database, position)

    def publish(self, folder: Path, *, tell: Tell = silent) -> Published:
        """Write what is sealed, and not in the folder yet, as static files (C2SP tlog-tiles).

        Safe to repeat, and to be killed. It discloses all events to whoever may read the folder.

        Args:
            folder: Where to; made where it is not there.
            tell: Is told now and then how far it is, and how far it goes, as positions.

        Raises:
            NotSealed: there is no checkpoint yet.
            EvidenceInvalid: the folder holds another log, or one that this ledger does not continue; or what
                is stored is not what was sealed; or a leaf is too long for the format.
            ConfigurationError: the folder holds something else, or cannot be written to.
            LedgerBusy: another process publishes to the folder.
        """
        from audit_ledger.evidence import keyring, publishing

        keys = keyring.verifiers(self.settings, str(self.ledger_id))
        return publishing.publish(self.database, folder, keys=keys, tell=tell)

    def prove_record(
        self, record_type: str, record_id: str | int | UUID, when: AsOfWhen | None = None
    ) -> EventProof:
        """That a record was in the ledger: the event that brought the version that is in force then.

        Args:
            record_type: Kind of record.
            record_id: Its id.
            when: As with `as_of`; by default now.

        Raises:
            UnknownRecord: it is not on record then, or was withdrawn.
            InvalidValue, BeforeBeginning, ReadModelsBehind: as with `as_of`.
            NotSealed, EvidenceInvalid: as `prove_event`.
        """
        from audit_ledger.evidence import proving

        name = f"{record_type} {record_id}"
        header = self.header if when is None else self._header_of(asked(when))
        versions = header and AsOf(self.database, header).versions.of(record_type, record_id)
        version = versions.first() if versions else None
        if version is None or version.operation == "withdrawn":
            at = f"as of position {header.position}" if header else "the ledger is empty"
            raise UnknownRecord(
                f"{name} is not in the ledger",
                expected="a record that is in force",
                actual=f"it was withdrawn by the event at position {version.id}" if version else at,
                remedy=f"audit-ledger history {name} shows what is on record of it",
            )
        return proving.prove_event(self.database, version.id)

    def prove_run(self, run_id: UUID | str, when: AsOfWhen | None = None) -> Iterator[EventProof]:
        """That the events of a run are in the ledger, each by itself, in order; none if not all are sealed.

        Args:
            run_id: The run.
            when: As with `as_of`; by default now.

        Raises:
            UnknownRun: there is no such run then.
            InvalidValue, BeforeBeginning, ReadModelsBehind: as with `as_of`.
            NotSealed, EvidenceInvalid: as `prove_event`.
        """
        from audit_ledger.evidence.package.question import Narrowed
        from audit_ledger.evidence.package.snapshot import proofs

        header = self.header if when is None else self._header_of(asked(when))
        if header is None:
            header = self._header_of("0")  # raises: the ledger has not begun
        run = AsOf(self.database, header).find_run(run_id)
        yield from proofs(self.database, str(header.position), Narrowed("run", (str(run.run_id),)))

    def evidence(
        self,
        when: AsOfWhen,
        file: Path | str,
        *,
        bodies: bool = False,
        task: str | None = None,
        source: str | None = None,
        record: tuple[str, str | int | UUID] | None = None,
        run: UUID | str | None = None,
        keys: Sequence[str] = (),
        force: bool = False,
        announce: Callable[[str], None] = _unheard,
        tell: Tell = silent,
    ) -> Package:
        """Write a package from which an outsider checks, without the ledger, what it held as of an instant.

        It holds every event up to then, and one more: whoever is given it sees them all. Narrowed to a task,
        a source, a record or a run it holds the events of that alone, and does not show that they are all.

        Args:
            when: As with `as_of`.
            file: Where to write it: a ZIP file.
            bodies: Whether the contents of the records in force are to be in it; in a narrowed one, those of
                its records and its calls.
            task: Only events of runs of this task.
            source: Only events of runs of this data source.
            record: Only events of the record of that type and id, and of the runs that touched it.
            run: Only events of this run.
            keys: The ledger's verifier keys, the newest last, besides those that are kept on this machine.
            force: Whether the file may take the place of one that is there.
            announce: Is told what the package discloses, before anything is written.
            tell: Is told now and then how far it is, and how far it goes.

        Raises:
            InvalidValue, BeforeBeginning, ReadModelsBehind: as with `as_of`.
            NotSealed: no checkpoint covers the answer yet.
            UnknownRun, UnknownRecord: what it is to be narrowed to is not on record then.
            EvidenceInvalid: what is stored is not what was sealed: somebody changed it.
            ConfigurationError: no key of the ledger is known, the file is there already or cannot be
                written, or the extra `evidence` is not installed.
        """
        from audit_ledger.evidence.package.writing import Wanted, write

        text = asked(when)
        header = self._header_of(text)
        narrowed = self._narrowed(header, task, source, record, run)
        return write(
            self.database,
            Path(file),
            Wanted(text, narrowed, bodies, self._verifiers(keys)),
            force=force,
            announce=announce,
            tell=tell,
        )

    def _narrowed(
        self,
        header: Header,
        task: str | None,
        source: str | None,
        record: tuple[str, str | int | UUID] | None,
        run: UUID | str | None,
    ) -> Narrowed | None:
        from audit_ledger.evidence.package.question import Narrowed

        found = [
            Narrowed(by, (value,)) for by, value in (("task", task), ("source", source)) if value is not None
        ]
        if record is not None:
            found.append(Narrowed("record", (record[0], str(record[1]))))
        if run is not None:
            found.append(Narrowed("run", (str(AsOf(self.database, header).find_run(run).run_id),)))
        if len(found) > 1:
            raise InvalidValue(
                "what to narrow to",
                expected="one of task, source, record and run",
                actual=" and ".join(narrowed.by for narrowed in found),
            )
        return found[0] if found else None

    def _verifiers(self, given: Sequence[str]) -> list[Verifier]:
        """The keys that are kept here, those that ledger.toml pins, then those that are given."""
        from audit_ledger.evidence import keyring
        from audit_ledger.evidence.keys import Verifier
        from audit_ledger.evidence.outside import pinned_keys
        from audit_ledger.plan import load_anchors

        origin, anchors = str(self.ledger_id), load_anchors()
        kept = keyring.verifiers(self.settings, origin)
        pinned = pinned_keys(anchors, origin) if anchors.keys else []
        return list(dict.fromkeys([*kept, *pinned, *(Verifier.parse(key.strip()) for key in given)]))
