"""What officers may do with a ledger: erase bodies, hold them, and say how long they are kept."""

from abc import abstractmethod
from uuid import UUID

from audit_ledger.reaching import Reaching
from audit_ledger.reading import erasures
from audit_ledger.reading.holds import Hold, find_hold, hold_scope
from audit_ledger.recording import governance
from audit_ledger.recording.erasure import Erasure, erase
from audit_ledger.store import migrations
from audit_ledger.store.projections import Progress


class Governance(Reaching):
    """The part of `Ledger` that is for officers; asking is for everybody."""

    def erase_payload(self, payload_id: int, *, reason: str, by: str) -> Erasure:
        """Erase the body of an API request or response, for good. What refers to it stays on record.

        Args:
            payload_id: Its id in api_payloads.
            reason: Why; it is in the log for ever, and so is who: no personal data.
            by: Who decided it.

        Raises:
            UnknownPayload: there is no such payload.
            Erased: it was erased before.
            Held: a hold covers an event that refers to the same body.
            RetentionNotOver: it must be kept longer.
            WrongRole: the role is no officer.
            InvalidValue: an argument cannot be recorded.
        """
        self._as_officer()
        body = erasures.body_of_payload(self.database, payload_id)
        return Erasure(erase(self._recorder, self.made_as, [body], by=by, reason=reason), [])

    def erase_record(self, record_type: str, record_id: str | int | UUID, *, reason: str, by: str) -> Erasure:
        """Erase all contents that a record ever had, for good. What refers to them stays on record.

        The result names other records that had the very same content, and API responses that may hold it.

        Raises:
            UnknownRecord: no content of it is on record.
            Erased, Held, RetentionNotOver, WrongRole, InvalidValue: as with erase_payload.
        """
        self._as_officer()
        bodies = erasures.bodies_of_record(self.database, record_type, str(record_id))
        erased = erase(self._recorder, self.made_as, bodies, by=by, reason=reason)
        return Erasure(erased, erasures.payloads_beside(self.database, record_type, str(record_id)))

    def add_hold(
        self,
        *,
        payload: int | None = None,
        record: tuple[str, str | int | UUID] | None = None,
        run: UUID | str | None = None,
        reason: str,
        by: str,
    ) -> Hold:
        """Forbid erasing, until the hold is released, one of these.

        Args:
            payload: The bodies of the API call that this payload is of.
            record: Every content of a record: its type and id.
            run: Everything that the events of this run refer to.
            reason: Why; no personal data.
            by: Who decided it.

        Raises:
            UnknownPayload, UnknownRecord, UnknownRun: there is no such thing.
            WrongRole: the role is no officer.
            InvalidValue: not one of the three, or an argument cannot be recorded.
        """
        self._as_officer()
        covered = hold_scope(self.database, payload, record, run)
        hold_id = governance.add_hold(self._recorder, self.made_as, by=by, reason=reason, **covered)
        self.update_read_models()
        return find_hold(self.database, hold_id)

    def release_hold(self, hold_id: UUID | str, *, reason: str, by: str) -> Hold:
        """End a hold, by its id or the digits that it begins with.

        Raises:
            UnknownHold: no hold in force has that id.
            VersionConflict: another officer releases it at the same moment.
            WrongRole: the role is no officer.
            InvalidValue: an argument cannot be recorded.
        """
        self._as_officer()
        hold = find_hold(self.database, hold_id)
        governance.release_hold(self._recorder, self.made_as, hold.hold_id, by=by, reason=reason)
        self.update_read_models()
        return hold

    def set_retention(self, days: int, *, reason: str, by: str) -> None:
        """Keep bodies for so many days after the last event that refers to them; 0: no minimum.

        Raises:
            VersionConflict: another officer sets it at the same moment.
            WrongRole: the role is no officer.
            InvalidValue: not a whole number from 0 to 36,500, or an argument cannot be recorded.
        """
        self._as_officer()
        governance.set_retention(self._recorder, self.made_as, days, by=by, reason=reason)
        self.update_read_models()

    def _as_officer(self) -> None:
        """Refuse whoever is no officer; bring the read models up to date."""
        if not self._ready.may_govern:
            raise migrations.refuse_writer(self._ready.user, self.database.name)
        self.update_read_models()

    @abstractmethod
    def update_read_models(self) -> Progress:
        """Fold every event that is new into the read models."""
