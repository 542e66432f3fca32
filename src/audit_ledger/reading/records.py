"""Records: what they are, what they were version after version, and what changed between two positions."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from audit_ledger.reading.query import Query
from audit_ledger.reading.runs import columns
from audit_ledger.store.database import Reader


@dataclass(frozen=True)
class Record:
    """A record with its content.

    Attributes:
        record_type: Kind of record.
        record_id: Its id at its source.
        content: JSON as JSON, other text as a string, binary as {"base64": …}, an erased one as
            {"erased": …}; None where it was never given.
        run_id: The run that brought this content.
        recorded_at: When that was recorded.
        position: By the event of that position.
        commitment: The content's commitment.
    """

    record_type: str
    record_id: str
    content: Any
    run_id: UUID
    recorded_at: datetime
    position: int
    commitment: str | None


@dataclass(frozen=True)
class Records(Query[Record]):
    """Rows of the view records: every record that is not withdrawn, the newest content first."""

    order: tuple[str, bool] = ("position", True)

    table = "records"
    columns = columns(Record)

    def make(self, row: dict[str, Any]) -> Record:
        """A record."""
        return Record(**row)

    def of_type(self, record_type: str) -> "Records":
        """Of one kind."""
        return self.where("record_type = {record_type}", record_type=record_type)


@dataclass(frozen=True)
class Version:
    """What a record was from one position to another.

    Attributes:
        id: Position of the event that brought it: valid from here.
        to_position: Position of the event that replaced it; None for the latest.
        record_type: Kind of record.
        record_id: Its id at its source.
        operation: created, updated or withdrawn.
        content: As with Record.
        commitment: The content's commitment.
        run_id: The run that brought it.
        task_name: What ran.
        recorded_at: When it was recorded.
        replaced_at: When what replaced it was recorded; None for the latest.
        corrections: What was said later of the event that brought it: by, reason, values, position,
            recorded_at.
    """

    id: int
    to_position: int | None
    record_type: str
    record_id: str
    operation: Literal["created", "updated", "withdrawn"]
    content: Any
    commitment: str | None
    run_id: UUID
    task_name: str
    recorded_at: datetime
    replaced_at: datetime | None
    corrections: list[dict[str, Any]]


@dataclass(frozen=True)
class Versions(Query[Version]):
    """The versions of records, newest first."""

    table = (
        "(SELECT v.id, v.to_position, v.record_type, v.record_id, v.operation,"
        "        coalesce(body_as_json(b.content, b.media_type),"
        "                 (SELECT x.payload FROM erased_bodies x WHERE x.commitment = v.content)) AS content,"
        "        v.content AS commitment, r.run_id, r.task_name, v.created_at AS recorded_at,"
        "        CASE WHEN v.to_position IS NOT NULL THEN v.updated_at END AS replaced_at,"
        "        coalesce((SELECT jsonb_agg(jsonb_build_object('by', c.by, 'reason', c.reason,"
        "                         'values', c.values, 'position', c.id, 'recorded_at', c.created_at)"
        "                         ORDER BY c.id)"
        "                    FROM corrections c WHERE c.position = v.id), '[]') AS corrections"
        "   FROM record_versions v"
        "   JOIN data_ingestion_runs r ON r.id = v.data_ingestion_run_id"
        "   LEFT JOIN bodies b ON b.commitment = v.content) versions"
    )
    columns = columns(Version)

    def make(self, row: dict[str, Any]) -> Version:
        """A version."""
        return Version(**row)

    def of(self, record_type: str, record_id: str | int | UUID) -> "Versions":
        """Of one record."""
        return self.where(
            "record_type = {record_type} AND record_id = {record_id}",
            record_type=record_type,
            record_id=str(record_id),
        )


@dataclass(frozen=True)
class RecordChange:
    """How a record differs from one position to a later one.

    Attributes:
        record_type: Kind of record.
        record_id: Its id at its source.
        change: created, updated or withdrawn.
        run_id: The run that made it what it is at the later position.
        recorded_at: When that was recorded.
        position: By the event of that position.
    """

    record_type: str
    record_id: str
    change: Literal["created", "updated", "withdrawn"]
    run_id: UUID
    recorded_at: datetime
    position: int


@dataclass(frozen=True)
class RecordChanges(Query[RecordChange]):
    """The records that differ as of the position asked from what they were `after`; the oldest first."""

    order: tuple[str, bool] = ("position", False)

    # Both ends are looked up by index; what was changed and changed back is no difference.
    table = (
        "(SELECT t.record_type, t.record_id, r.run_id, a.created_at AS recorded_at, a.id AS position,"
        "        CASE WHEN a.operation <> 'withdrawn' AND coalesce(b.operation, 'withdrawn') = 'withdrawn'"
        "             THEN 'created'"
        "             WHEN a.operation <> 'withdrawn'"
        "                  AND (a.content IS NULL OR a.content IS DISTINCT FROM b.content)"
        "             THEN 'updated'"
        "             WHEN a.operation = 'withdrawn' AND coalesce(b.operation, 'withdrawn') <> 'withdrawn'"
        "             THEN 'withdrawn' END AS change"
        "   FROM (SELECT DISTINCT v.record_type, v.record_id, p.after"
        "           FROM (VALUES (%(after)s::bigint)) AS p(after) JOIN record_versions v ON v.id > p.after) t"
        "  CROSS JOIN LATERAL (SELECT v.* FROM record_versions v"
        "         WHERE v.record_type = t.record_type AND v.record_id = t.record_id"
        "         ORDER BY v.record_type DESC, v.record_id DESC, v.id DESC LIMIT 1) a"
        "   LEFT JOIN LATERAL (SELECT v.* FROM record_versions v"
        "         WHERE v.record_type = t.record_type AND v.record_id = t.record_id AND v.id <= t.after"
        "         ORDER BY v.record_type DESC, v.record_id DESC, v.id DESC LIMIT 1) b ON true"
        "   JOIN data_ingestion_runs r ON r.id = a.data_ingestion_run_id) changes"
    )
    columns = columns(RecordChange)

    @classmethod
    def since(cls, reader: Reader, after: int) -> "RecordChanges":
        """Those since a position."""
        return cls(reader, bound={"after": after}).where("change IS NOT NULL")

    def make(self, row: dict[str, Any]) -> RecordChange:
        """A change."""
        return RecordChange(**row)
