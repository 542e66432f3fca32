"""From ingestion to execution: what a decision could know, what it used, and what came of it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from audit_ledger.errors import UnknownDecision
from audit_ledger.store.database import Reader


@dataclass(frozen=True)
class Used:
    """A record that a decision used, as it was at the decision's reference.

    Attributes:
        record_type: Kind of record.
        record_id: Its id at its source.
        position: Position of the event that brought the version that was valid then; None where the record
            was not on record, or withdrawn.
        recorded_at: When that was recorded.
        run_id: The run that brought it.
        task_name: What ran.
        commitment: Commitment of its content.
        replaced_by: Position of what has replaced it since; None where it is still the latest.
        corrections: How often the event that brought it was corrected.
    """

    record_type: str
    record_id: str
    position: int | None
    recorded_at: datetime | None
    run_id: UUID | None
    task_name: str | None
    commitment: str | None
    replaced_by: int | None
    corrections: int


@dataclass(frozen=True)
class Available:
    """What a run had brought of the kinds of records that the decision used, and was valid at its reference.

    Attributes:
        run_id: The run.
        task_name: What ran.
        record_type: Kind of record.
        records: How many records' valid versions are of this run.
    """

    run_id: UUID
    task_name: str
    record_type: str
    records: int


@dataclass(frozen=True)
class Execution:
    """What was carried out of a decision.

    Attributes:
        execution_id: Its id.
        position: Position of its event.
        executed_at: When, by the script's clock.
        recorded_at: When it was recorded.
        by: Who did it.
        details: What else was said of it.
    """

    execution_id: str
    position: int
    executed_at: datetime
    recorded_at: datetime
    by: str | None
    details: dict[str, Any] | None


@dataclass(frozen=True)
class Chain:
    """A decision, with what came before and after it.

    Attributes:
        decision_id: Its id.
        position: Position of its event.
        decided_at: When, by the script's clock.
        recorded_at: When it was recorded.
        by: Who decided.
        details: What else was said of it.
        reference: Position up to which the ledger was known to it.
        reference_at: recorded_at of that position.
        runs: How many runs were on record by then.
        available: By run and kind, the versions that were valid then.
        used: The records that it used.
        executions: What was carried out, oldest first.
    """

    decision_id: str
    position: int
    decided_at: datetime
    recorded_at: datetime
    by: str | None
    details: dict[str, Any] | None
    reference: int
    reference_at: datetime
    runs: int
    available: list[Available]
    used: list[Used]
    executions: list[Execution]

    @property
    def discrepancies(self) -> list[str]:
        """Records that it says it used, and that were not on record at its reference."""
        return [
            f"{used.record_type} {used.record_id} was not on record at position {self.reference}"
            for used in self.used
            if used.position is None
        ]


def chain(database: Reader, decision_id: str) -> Chain:
    """What a decision could know, what it used, and what was carried out.

    Raises:
        UnknownDecision: no decision of that id is on record.
    """
    found = database.query(
        "SELECT d.decision_id, d.id AS position, d.decided_at, d.created_at AS recorded_at, d.by, d.details,"
        "       d.reference, e.recorded_at AS reference_at,"
        "       (SELECT count(*) FROM data_ingestion_runs r WHERE r.id <= d.reference) AS runs"
        "  FROM decisions d JOIN events e ON e.position = d.reference"
        " WHERE d.decision_id = %s ORDER BY d.id LIMIT 1",
        [decision_id],
    )
    if not found:
        raise UnknownDecision(
            f"no decision has the id {decision_id}",
            remedy="correct the id; a decision is recorded by ledger.record_decision()",
        )
    reference = found[0]["reference"]
    used = database.query(
        "SELECT i.record_type, i.record_id, v.id AS position, v.created_at AS recorded_at, r.run_id,"
        "       r.task_name, v.content AS commitment, v.to_position AS replaced_by,"
        "       (SELECT count(*) FROM corrections c WHERE c.position = v.id) AS corrections"
        "  FROM decision_inputs i"
        "  LEFT JOIN LATERAL (SELECT v.* FROM record_versions v"
        "        WHERE v.record_type = i.record_type AND v.record_id = i.record_id AND v.id <= %(reference)s"
        "        ORDER BY v.record_type DESC, v.record_id DESC, v.id DESC LIMIT 1) v"
        "       ON v.operation <> 'withdrawn'"
        "  LEFT JOIN data_ingestion_runs r ON r.id = v.data_ingestion_run_id"
        " WHERE i.decision_id = %(decision)s ORDER BY i.id, i.ordinal",
        {"decision": decision_id, "reference": reference},
    )
    available = database.query(
        "SELECT r.run_id, r.task_name, v.record_type, count(*) AS records"
        "  FROM record_versions v JOIN data_ingestion_runs r ON r.id = v.data_ingestion_run_id"
        " WHERE v.record_type = ANY (%(types)s) AND v.id <= %(reference)s AND v.operation <> 'withdrawn'"
        "   AND (v.to_position IS NULL OR v.to_position > %(reference)s)"
        " GROUP BY r.id, r.run_id, r.task_name, v.record_type ORDER BY r.id DESC, v.record_type",
        {"types": sorted({row["record_type"] for row in used}), "reference": reference},
    )
    executions = database.query(
        "SELECT execution_id, id AS position, executed_at, created_at AS recorded_at, by, details"
        "  FROM executions WHERE decision_id = %s ORDER BY id",
        [decision_id],
    )
    return Chain(
        **found[0],
        available=[Available(**row) for row in available],
        used=[Used(**row) for row in used],
        executions=[Execution(**row) for row in executions],
    )
