"""Every exception that audit-ledger raises, under one base.

    LedgerError
    ├── InvalidValue (also ValueError)   an argument that cannot be used; names the field
    ├── ConfigurationError               the environment or ledger.toml is wrong
    ├── ServerError                      the embedded server cannot be set up, started or stopped
    ├── Unreachable                      no database answers at the URL
    ├── NotInitialised                   the database holds no ledger of that name
    ├── SchemaMismatch                   the database is newer than this software, or was altered
    ├── WrongRole                        the database role may not do this
    ├── LedgerBusy                       the append lock could not be had in time; names its holder
    ├── AppendRefused                    a guard of the database refused the events
    │   └── VersionConflict              the stream already has an event at that version
    ├── WritesRefused                    a checkpoint kept elsewhere convicts the ledger: nothing is appended
    ├── ErasureRefused                   a body cannot be erased
    │   ├── Held                         a hold covers an event that refers to it; names the hold
    │   └── RetentionNotOver             it must be kept longer; names the day
    ├── Erased                           a body's bytes were erased; says by whom, when and why
    ├── BeforeBeginning                  a question as of an instant before the ledger's first event
    ├── ReadModelsBehind                 the read models have not reached the position that was asked for
    ├── UnknownRun                       no run has that id
    │   └── AmbiguousRun                 several runs begin with that prefix
    ├── UnknownPayload                   no API payload has that id
    ├── UnknownRecord                    no such record, or no content of it, is on record
    ├── EvidenceInvalid                  a proof, checkpoint, tile, leaf or signature does not hold
    ├── NotSealed                        the event is on record, but no checkpoint covers it yet
    ├── AnchorFailed                     a checkpoint could not be anchored somewhere
    ├── UnknownPosition                  the ledger has no event at that position
    ├── UnknownDecision                  no decision of that id is on record
    ├── UnknownHold                      no hold in force has that id
    ├── UnknownAlert                     no alert has that id
    │   └── AmbiguousAlert               several alerts begin with that prefix
    ├── LedgerClosed                     a ledger was used after it was closed
    ├── RunEnded                         a run was used after its end
    ├── DeliveryFailed                   a channel did not take a message
    ├── RecordingError                   events could not be sent; names the spool that holds them
    └── SpoolError                       the spool cannot take events, or give them
        ├── SpoolFull                    it holds as much as it may, or its disk is full
        └── SpoolBusy                    another process forwards it

Each carries what was expected, what was found and what to do, and prints all three. Exit codes
are the business of the command line alone.
"""

from pathlib import Path


class LedgerError(Exception):
    """Base of every error of audit-ledger.

    Attributes:
        what: One sentence: what went wrong.
        expected: What would have been right, if that helps.
        actual: What was found instead.
        remedy: What the reader can do about it.
    """

    def __init__(
        self,
        what: str,
        *,
        expected: str | None = None,
        actual: str | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.expected = expected
        self.actual = actual
        self.remedy = remedy

    def __str__(self) -> str:
        parts = [self.what]
        if self.expected is not None:
            parts.append(f"expected: {self.expected}")
        if self.actual is not None:
            parts.append(f"actual: {self.actual}")
        if self.remedy is not None:
            parts.append(f"remedy: {self.remedy}")
        return "\n  ".join(parts)


class InvalidValue(LedgerError, ValueError):
    """An argument that cannot be used. `field` names it, with its path inside a document."""

    def __init__(
        self, field: str, *, expected: str, actual: str, remedy: str | None = None, of: str = ""
    ) -> None:
        what = f"{field} of {of} cannot be used" if of else f"{field} cannot be used"
        super().__init__(what, expected=expected, actual=actual, remedy=remedy)
        self.field = field

    def about(self, subject: str) -> "InvalidValue":
        """The same error, saying what has the field."""
        return InvalidValue(
            self.field, expected=self.expected or "", actual=self.actual or "", remedy=self.remedy, of=subject
        )


class ConfigurationError(LedgerError):
    """The environment or ledger.toml holds something that cannot be used."""


class ServerError(LedgerError):
    """The embedded server cannot be set up, started or stopped."""


class Unreachable(LedgerError):
    """No database answers at the URL."""


class NotInitialised(LedgerError):
    """The database is there, but holds no ledger of that name."""


class SchemaMismatch(LedgerError):
    """The ledger's schema is newer than this software, or a migration was altered."""


class WrongRole(LedgerError):
    """The database role that connected may not do this."""


class LedgerBusy(LedgerError):
    """The lock that orders positions could not be had in time; `actual` names its holder."""


class AppendRefused(LedgerError):
    """A guard of the database refused the events; nothing of the batch was written."""


class VersionConflict(AppendRefused):
    """The stream already has an event at the version that the append expected to be free."""


class WritesRefused(LedgerError):
    """The ledger does not continue a checkpoint that was kept elsewhere: nothing is appended nor sealed."""


class ErasureRefused(LedgerError):
    """A body cannot be erased; nothing was."""


class Held(ErasureRefused):
    """A hold covers an event that refers to the body; `actual` names the hold."""


class RetentionNotOver(ErasureRefused):
    """The body must be kept longer; `actual` names the day."""


class Erased(LedgerError):
    """A body's bytes were erased; `actual` says by whom, when and why."""


class BeforeBeginning(LedgerError):
    """Nothing is on record as of then; `actual` says when the ledger begins."""


class ReadModelsBehind(LedgerError):
    """The read models have not come as far as the answer takes; `actual` says how far they are."""


class UnknownRun(LedgerError):
    """No run has the id that was asked for."""


class AmbiguousRun(UnknownRun):
    """Several runs begin with the prefix that was asked for."""


class UnknownPayload(LedgerError):
    """No request or response of an API call has the id that was asked for."""


class UnknownRecord(LedgerError):
    """No run has touched the record that was asked for, or none gave its content."""


class EvidenceInvalid(LedgerError):
    """A proof, checkpoint, tile, leaf or signature is malformed, or does not hold: it proves nothing."""


class NotSealed(LedgerError):
    """The event is on record, durably, but no checkpoint covers it yet: it cannot be proven."""


class AnchorFailed(LedgerError):
    """A checkpoint could not be anchored in a folder, or at a timestamping authority."""


class UnknownPosition(LedgerError):
    """The ledger has no event at the position that was named."""


class UnknownDecision(LedgerError):
    """No decision of the id that was named is on record."""


class UnknownHold(LedgerError):
    """No hold in force has the id that was asked for."""


class UnknownAlert(LedgerError):
    """No alert has that id."""


class AmbiguousAlert(UnknownAlert):
    """Several alerts have an id that begins so."""


class LedgerClosed(LedgerError):
    """A ledger was used after it was closed."""


class RunEnded(LedgerError):
    """A run was used after its end."""


class DeliveryFailed(LedgerError):
    """A channel did not take a message; `actual` says why, without the secrets of the channel's URL."""


class RecordingError(LedgerError):
    """Events of a run could not be sent. `path` is the spool that holds them; None where they are lost."""

    def __init__(self, what: str, *, path: Path | None, remedy: str, actual: str) -> None:
        super().__init__(what, actual=actual, remedy=remedy)
        self.path = path


class SpoolError(LedgerError):
    """The spool cannot take events, or give them."""


class SpoolFull(SpoolError):
    """The spool holds as much as it may, or its disk is full."""


class SpoolBusy(SpoolError):
    """Another process forwards the spool."""
