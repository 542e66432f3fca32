"""What makes a ledger's content provable: sealing it, and proofs of what is sealed."""

from pathlib import Path

from audit_ledger.evidence import keyring, proving, publishing, rotation, sealing
from audit_ledger.evidence.checkpoint import Checkpoint
from audit_ledger.reaching import Reaching
from audit_ledger.store.copies import Tell, silent


class Proofs(Reaching):
    """The part of `Ledger` that seals, for who has the key, and that proves, for everybody."""

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
        self._refuse_where_convicted()
        held = keyring.held(self.settings, str(self.ledger_id))
        sealed = sealing.seal(self.database, *held, tell=tell)
        rotation.retire(self.database, self.settings, self.ledger_id)
        return sealed

    def rotate_key(self, *, reason: str, by: str | None = None) -> rotation.Rotation:
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
        self._refuse_where_convicted()
        return rotation.rotate(self.database, self.settings, self.ledger_id, reason=reason, by=by)

    def prove_event(self, position: int) -> proving.EventProof:
        """That an event is in the ledger, at its last checkpoint: `.file` is checked without the ledger.

        Raises:
            UnknownPosition: there is no such event.
            NotSealed: no checkpoint covers it yet.
            EvidenceInvalid: the event, a tile or the checkpoint is not what was sealed: somebody changed it.
        """
        return proving.prove_event(self.database, position)

    def publish(self, folder: Path, *, tell: Tell = silent) -> publishing.Published:
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
        keys = keyring.verifiers(self.settings, str(self.ledger_id))
        return publishing.publish(self.database, folder, keys=keys, tell=tell)
