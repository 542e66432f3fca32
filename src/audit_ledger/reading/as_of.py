"""The ledger as it was: the same questions as of an instant, and the header that every answer carries."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from audit_ledger.errors import InvalidValue
from audit_ledger.reading.interface import Reading
from audit_ledger.reading.runs import RunRow
from audit_ledger.store.as_of import DatabaseAsOf, resolve
from audit_ledger.store.refusals import AN_INSTANT
from audit_ledger.version import VERSION

if TYPE_CHECKING:
    from audit_ledger.store.database import Database, Reader


class OfRun(Protocol):
    """A run as a script holds it."""

    id: UUID


AsOfWhen = datetime | str | int | UUID | RunRow | OfRun
"""An instant with its zone; the same, a date with its zone or `run RUN_ID` as text; a position; or a run."""


@dataclass(frozen=True)
class Header:
    """As of when an answer is, and how sure that is.

    Attributes:
        ledger_id: The ledger.
        begins_at: recorded_at of its first event: nothing is known from before.
        asked: As of when it was asked, as text; "now" where it was not said.
        as_of: The instant that this means; None where a position or a run was asked for.
        position: The last event that the answer knows.
        recorded_at: recorded_at of that event.
        final: Whether the answer will stay the same for ever; else events may still come before the instant.
        set_aside: Events up to there that could not be folded, and are missing from the answer.
        software_version: Version of audit-ledger that answered.
    """

    ledger_id: UUID
    begins_at: datetime
    asked: str
    as_of: datetime | None
    position: int
    recorded_at: datetime
    final: bool
    set_aside: int
    software_version: str

    def __str__(self) -> str:
        at = self.recorded_at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        aside = f", without {self.set_aside} events that were set aside" if self.set_aside else ""
        return (
            f"as of position {self.position}, recorded {at}, {'final' if self.final else 'not final'}{aside}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Its fields by name."""
        return asdict(self)


class AsOf(Reading):
    """The ledger as of an instant: every answer is from what was recorded by then, however late it comes."""

    def __init__(self, database: Database, header: Header) -> None:
        self._header = header
        self._database = DatabaseAsOf(database, header.position, header.as_of or header.recorded_at)

    def __repr__(self) -> str:
        return f"<The ledger {self.header}>"

    @property
    def header(self) -> Header:
        """What every answer carries."""
        return self._header

    @property
    def _reader(self) -> Reader:
        return self._database


def asked(when: AsOfWhen) -> str:
    """What is asked as of, as text that the database understands.

    Raises:
        InvalidValue: it is nothing of the kind.
    """
    if isinstance(when, datetime):
        return _in_utc(when).isoformat(sep=" ")
    if isinstance(when, str):
        return when
    if isinstance(when, int) and not isinstance(when, bool):
        return str(when) if when >= 0 else f"position {when}"
    if isinstance(when, UUID):
        return f"run {when}"
    for name in ("run_id", "id"):  # a run on record, or one that a script holds
        if isinstance(run_id := getattr(when, name, None), UUID):
            return f"run {run_id}"
    remedy = f'give "{when} America/New_York", for the end of that day' if isinstance(when, date) else None
    raise InvalidValue("as of", expected=AN_INSTANT, actual=repr(when), remedy=remedy)


def _in_utc(when: datetime) -> datetime:
    if when.tzinfo is None:
        return when
    try:
        return when.astimezone(UTC)
    except OverflowError:  # hours before the first year or after the last: no ledger can tell them apart
        return when.replace(tzinfo=UTC)


def header(database: Database, when: str) -> Header:
    """The header of an answer as of then.

    Raises:
        InvalidValue: it is no instant with a zone, no position, and no run that has ended.
        BeforeBeginning: nothing is on record as of then.
    """
    return Header(**{**resolve(database, when), "software_version": f"audit-ledger {VERSION}"})


def header_of_now(database: Database) -> Header | None:
    """The header of an answer that is given now: as far as the read models are; None while they are empty."""
    (folded,) = database.query("SELECT min(position) AS position FROM progress")
    if folded["position"] == 0:
        return None
    found = header(database, str(folded["position"]))
    return Header(**{**asdict(found), "asked": "now", "final": False})
