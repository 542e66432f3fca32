"""What makes a ledger's content provable: sealing it, and proofs of what is sealed."""

from audit_ledger.evidence import keyring, proving, sealing
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
            ConfigurationError: there is no key, it is another ledger's, or `cryptography` is not installed.
            EvidenceInvalid: what is stored does not agree with the last checkpoint: somebody changed it.
            WritesRefused: the ledger does not continue a checkpoint that was kept elsewhere.
            WrongRole: the role may not seal.
            LedgerBusy: another sealer was at work for longer than `lock_timeout`.
        """
        self._refuse_where_convicted()
        signer = keyring.find(self.settings, str(self.ledger_id))
        return sealing.seal(self.database, signer, tell=tell)

    def prove_event(self, position: int) -> proving.EventProof:
        """That an event is in the ledger, at its last checkpoint: `.file` is checked without the ledger.

        Raises:
            UnknownPosition: there is no such event.
            NotSealed: no checkpoint covers it yet.
            EvidenceInvalid: the event, a tile or the checkpoint is not what was sealed: somebody changed it.
        """
        return proving.prove_event(self.database, position)
