"""What becomes of checkpoints outside of a ledger: anchoring them, comparing with them, and recovering."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from audit_ledger.reaching import Reaching
from audit_ledger.store import migrations

if TYPE_CHECKING:
    from audit_ledger.evidence.anchoring import Anchored
    from audit_ledger.evidence.anchors import Anchor
    from audit_ledger.evidence.outside import Looked
    from audit_ledger.evidence.recovery import Recovered


class Anchoring(Reaching):
    """The part of `Ledger` that is about checkpoints kept elsewhere, as [anchors] of ledger.toml says."""

    def anchor(self, size: int | None = None) -> "Anchored":
        """Bring the last checkpoint to every folder and timestamping authority where it is not yet.

        What fails at one place is in the result; the others go on. Safe to repeat, and for several at once.

        Args:
            size: That of another checkpoint than the last.

        Raises:
            ConfigurationError: ledger.toml names no place, or cannot be used.
            NotSealed: there is no checkpoint.
            WritesRefused: the ledger does not continue one that was kept elsewhere.
            WrongRole: the role may not seal.
        """
        from audit_ledger.evidence import anchoring
        from audit_ledger.plan import load_anchors

        anchors = load_anchors()
        self._refuse_where_convicted()
        return anchoring.anchor(self.database, anchors, size)

    def anchor_if_due(self) -> "Anchored | None":
        """Anchor, if it is time by `every` and `every_events` of [anchors], or something failed; else None.

        Raises:
            ConfigurationError: ledger.toml cannot be used.
            WritesRefused, WrongRole: as `anchor`.
        """
        from audit_ledger.evidence import anchoring
        from audit_ledger.plan import load_anchors

        size = anchoring.due(self.database, load_anchors())
        return None if size is None else self.anchor(size)

    def anchors(self) -> "list[Anchor]":
        """The anchors of checkpoints of the ledger's origin, by size."""
        from audit_ledger.evidence import anchors

        return anchors.listed(self.database)

    def look_outside(self, files: Sequence[Path] = ()) -> "Looked":
        """Compare with checkpoints that were kept elsewhere: the highest of each folder, and those files.

        Where it does not continue one, it refuses events from then on, where the role may say so.

        Raises:
            ConfigurationError: ledger.toml cannot be used, or `cryptography` is not installed.
        """
        return self._look_outside(files)

    def recover(
        self, *, reason: str, by: str, clone: bool = False, checkpoints: Sequence[Path] = ()
    ) -> "Recovered":
        """Go on under another origin, where anchored history is lost, or this is a copy of a ledger.

        Args:
            reason: Why; it is in the log for ever, and so is who: no personal data.
            by: Who decided it.
            clone: Whether the ledger goes on elsewhere.
            checkpoints: Files of checkpoints that were kept elsewhere than in the folders of ledger.toml.

        Raises:
            EvidenceInvalid: one of these files is no checkpoint of the ledger.
            AnchorFailed: one of them, or the pinned keys, cannot be read.
            InvalidValue: an argument cannot be recorded.
            WrongRole: the role is no officer.
        """
        from audit_ledger.evidence import recovery
        from audit_ledger.plan import load_anchors

        if not self._ready.may_govern:
            raise migrations.refuse_writer(self._ready.user, self.database.name)
        return recovery.recover(
            self.database, load_anchors(), reason=reason, by=by, clone=clone, files=checkpoints
        )
