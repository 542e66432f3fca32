"""What there is to erase, what was erased, and what else may hold the same data."""

from audit_ledger.errors import Erased, UnknownPayload, UnknownRecord
from audit_ledger.store.database import Reader


def body_of_payload(database: Reader, payload_id: int) -> str:
    """The commitment of the body of a payload.

    Raises:
        UnknownPayload: there is no such payload.
        Erased: its bytes are gone.
    """
    rows = database.query(
        "SELECT p.commitment, b.salt IS NOT NULL AS there"
        "  FROM api_payload_rows p LEFT JOIN bodies b ON b.commitment = p.commitment WHERE p.id = %s",
        [payload_id],
    )
    if not rows:
        raise unknown_payload(payload_id)
    if not rows[0]["there"]:
        raise erased(database, rows[0]["commitment"], f"payload {payload_id}")
    return str(rows[0]["commitment"])


def unknown_payload(payload_id: int | None) -> UnknownPayload:
    """The error for a payload that there is not."""
    return UnknownPayload(
        f"no payload has the id {payload_id}", remedy="list the calls of a run: audit-ledger calls RUN_ID"
    )


def bodies_of_record(database: Reader, record_type: str, record_id: str) -> list[str]:
    """The commitments of all contents of a record whose bytes are there, oldest first.

    Raises:
        UnknownRecord: it has no contents.
        Erased: the bytes of all of them are gone.
    """
    rows = database.query(
        "SELECT v.content, bool_and(b.salt IS NOT NULL) AS there"
        "  FROM record_versions v LEFT JOIN bodies b ON b.commitment = v.content"
        " WHERE v.record_type = %s AND v.record_id = %s AND v.content IS NOT NULL"
        " GROUP BY v.content ORDER BY min(v.id)",
        [record_type, record_id],
    )
    if not rows:
        raise UnknownRecord(
            f"no content of {record_type} {record_id} is on record",
            remedy=f"see which runs touched it: audit-ledger provenance {record_type} {record_id}",
        )
    there = [row["content"] for row in rows if row["there"]]
    if not there:
        raise erased(database, rows[-1]["content"], f"every content of {record_type} {record_id}")
    return there


def erased(database: Reader, commitment: str, subject: str) -> Erased:
    """The error that says by whom, when and why a body was erased."""
    rows = database.query(
        "SELECT payload -> 'erased' AS erased FROM erased_bodies WHERE commitment = %s", [commitment]
    )
    told = rows[0]["erased"] if rows else None
    return Erased(
        f"{subject} was erased" if told else f"the bytes of {subject} are not there",
        actual="by {by}, at {at}, position {position}: {reason}".format(**told) if told else None,
        remedy="the bytes are gone for good; what refers to them is still on record",
    )


def payloads_beside(database: Reader, record_type: str, record_id: str) -> list[int]:
    """The ids of the API responses, not erased, of those runs that brought a record's contents."""
    rows = database.query(
        "SELECT DISTINCT p.id"
        "  FROM record_versions v"
        "  JOIN api_call_logs c ON c.data_ingestion_run_id = v.data_ingestion_run_id"
        "  JOIN api_payload_rows p ON p.id = c.api_response_payload_id"
        "  JOIN bodies b ON b.commitment = p.commitment AND b.salt IS NOT NULL"
        " WHERE v.record_type = %s AND v.record_id = %s ORDER BY p.id",
        [record_type, record_id],
    )
    return [row["id"] for row in rows]
