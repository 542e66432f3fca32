"""What officers decided, as questions: which holds are in force, and how long bodies are kept."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from audit_ledger.errors import InvalidValue, UnknownHold, UnknownRecord
from audit_ledger.reading.erasures import unknown_payload
from audit_ledger.reading.runs import find_run
from audit_ledger.store.database import Reader


@dataclass(frozen=True)
class Hold:
    """A hold. While it is in force, nothing that it covers is erased.

    Attributes:
        hold_id: Its id.
        by: Who decided it.
        reason: Why.
        payload_id: It covers the API call of this payload, or
        record_type: every content of the record of this type
        record_id: and of this id, or
        run_id: everything that this run's events refer to.
        created_at: When it was recorded.
        released_at: When its release was recorded; None while it is in force.
        released_by: Who decided that.
        release_reason: Why.
    """

    hold_id: UUID
    by: str
    reason: str
    payload_id: int | None
    record_type: str | None
    record_id: str | None
    run_id: UUID | None
    created_at: datetime
    released_at: datetime | None
    released_by: str | None
    release_reason: str | None

    @property
    def covers(self) -> str:
        """What it covers, in words."""
        if self.payload_id is not None:
            return f"payload {self.payload_id}"
        if self.record_type is not None:
            return f"record {self.record_type} {self.record_id}"
        return f"run {self.run_id}"


def holds(database: Reader, *, released: bool = False) -> list[Hold]:
    """The holds in force, newest first; with `released`, those that were released as well."""
    rows = database.query(
        "SELECT h.hold_id, h.by, h.reason, h.payload_id, h.record_type, h.record_id, h.run_id, h.created_at,"
        "       r.created_at AS released_at, r.by AS released_by, r.reason AS release_reason"
        "  FROM holds h"
        "  LEFT JOIN LATERAL (SELECT * FROM hold_releases r WHERE r.hold_id = h.hold_id AND r.id > h.id"
        "        ORDER BY r.id LIMIT 1) r ON true"
        " WHERE %s OR r.id IS NULL ORDER BY h.id DESC",
        [released],
    )
    return [Hold(**row) for row in rows]


def find_hold(database: Reader, hold_id: UUID | str) -> Hold:
    """The hold in force of that id, or of the id that begins so.

    Raises:
        UnknownHold: there is none, it was released, or there are several.
        InvalidValue: not hexadecimal digits.
    """
    digits = str(hold_id).strip().lower().replace("-", "")
    if not re.fullmatch("[0-9a-f]{1,32}", digits):
        raise InvalidValue("hold id", expected="a UUID, or its first digits", actual=f"{hold_id!r:.80}")
    found = [hold for hold in holds(database, released=True) if hold.hold_id.hex.startswith(digits)]
    in_force = [hold for hold in found if hold.released_at is None]
    if len(in_force) == 1:
        return in_force[0]
    if in_force:
        raise UnknownHold(
            f"several holds begin with {hold_id}",
            expected="the digits of one hold",
            actual=", ".join(str(hold.hold_id) for hold in in_force[:3]),
            remedy="give more digits",
        )
    raise UnknownHold(
        f"no hold in force has the id {hold_id}",
        actual=f"released by {found[0].released_by}: {found[0].release_reason}" if found else None,
        remedy="list the holds: audit-ledger hold list",
    )


def hold_scope(
    database: Reader,
    payload: int | None,
    record: tuple[str, str | int | UUID] | None,
    run: UUID | str | None,
) -> dict[str, Any]:
    """What a hold is to cover, as the fields of its event; it must be on record.

    Raises:
        UnknownPayload, UnknownRecord, UnknownRun, AmbiguousRun: it is not.
        InvalidValue: not one of the three is given.
    """
    if sum(given is not None for given in (payload, record, run)) != 1:
        raise InvalidValue(
            "hold", expected="one of payload, record, run", actual=f"{payload=}, {record=}, {run=}"
        )
    if run is not None:
        return {"run_id": find_run(database, run).run_id}
    if record is not None:
        record_type, record_id = record[0], str(record[1])
        if not database.query(
            "SELECT FROM record_versions WHERE record_type = %s AND record_id = %s LIMIT 1",
            [record_type, record_id],
        ):
            raise UnknownRecord(
                f"no run has touched {record_type} {record_id}", remedy="correct its type or its id"
            )
        return {"record_type": record_type, "record_id": record_id}
    if not database.query("SELECT FROM api_payload_rows WHERE id = %s", [payload]):
        raise unknown_payload(payload)
    return {"payload_id": payload}


@dataclass(frozen=True)
class Retention:
    """How long bodies are kept.

    Attributes:
        days: Days of 24 hours after the last event that refers to a body; 0: no minimum.
        by: Who decided it; None where nobody did.
        reason: Why.
        created_at: When it was recorded.
    """

    days: int = 0
    by: str | None = None
    reason: str | None = None
    created_at: datetime | None = None


def retention(database: Reader) -> Retention:
    """How long bodies are kept."""
    rows = database.query(
        "SELECT days, by, reason, created_at FROM retention_changes ORDER BY id DESC LIMIT 1"
    )
    return Retention(**rows[0]) if rows else Retention()
