"""API calls, whole: the row of api_call_logs, what else the event says, what was sent and what came back."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from audit_ledger.reading.erasures import erased, unknown_payload
from audit_ledger.reading.runs import ApiCallRow, RunRow, columns
from audit_ledger.store.database import Reader

SAID = (
    "method, occurred_at, attempt, error_class, error_message, capture_error, response_headers,"
    " request_truncated, response_truncated, response_partial"
)


def calls(run: RunRow, *, failed: bool = False, limit: int | None = None) -> list[dict[str, Any]]:
    """The calls of a run, newest first: the columns of api_call_logs, then what else the events say.

    Args:
        run: The run.
        failed: Those only that were answered with 400 or more, or not at all, or not to the end.
        limit: At most so many.
    """
    own = ", ".join(f"l.{name}" for name in columns(ApiCallRow))
    said = ", ".join(f"c.{name.strip()}" for name in SAID.split(","))
    only = "AND (l.http_status_code >= 400 OR l.http_status_code IS NULL)" if failed else ""
    return run.database.query(
        f"SELECT {own}, {said}"
        "  FROM (SELECT * FROM api_call_logs l"
        f"        WHERE l.data_ingestion_run_id = %s {only} ORDER BY l.id DESC LIMIT %s) l"
        "  JOIN api_call_made c ON c.position = l.id"
        " ORDER BY l.id DESC",
        [run.id, limit],
    )


@dataclass(frozen=True)
class Payload:
    """A request or a response of an API call.

    Attributes:
        id: Its id in api_payloads.
        type: ApiRequest or ApiResponse.
        run_id: The run that made the call.
        endpoint: What was called.
        source: The run's data source.
        captured_at: When it was captured, by the script's clock.
        media_type: RFC 6838. A request that was captured is a message/http.
        size: Bytes.
        commitment: The body's commitment.
        content: The bytes; None where there were too many to keep.
        payload: The same as api_payloads shows it, JSON text.
    """

    id: int
    type: str
    run_id: UUID
    endpoint: str
    source: str
    captured_at: datetime
    media_type: str
    size: int
    commitment: str
    content: bytes | None
    payload: str


def payload(database: Reader, payload_id: int) -> Payload:
    """A request or a response, with its bytes.

    Raises:
        UnknownPayload: there is no such payload.
        Erased: its bytes are gone; says by whom, when and why.
    """
    rows = database.query(
        "SELECT p.id, p.type, r.run_id, l.endpoint, p.source, p.captured_at,"
        "       coalesce(p.media_type, b.media_type) AS media_type, b.size, p.commitment, b.content,"
        "       a.payload::text AS payload, b.salt IS NULL AS gone"
        "  FROM api_payload_rows p"
        "  JOIN api_call_logs l ON l.id = (p.id + 1) / 2"
        "  JOIN data_ingestion_runs r ON r.id = l.data_ingestion_run_id"
        "  JOIN api_payloads a ON a.id = p.id"
        "  LEFT JOIN bodies b ON b.commitment = p.commitment"
        " WHERE p.id = %s",
        [payload_id],
    )
    if not rows:
        raise unknown_payload(payload_id)
    row = rows[0]
    if row.pop("gone"):
        raise erased(database, row["commitment"], f"payload {payload_id}")
    content = row.pop("content")
    return Payload(**row, content=None if content is None else bytes(content))
