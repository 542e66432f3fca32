"""The alerts on record: what they are about, whether somebody has seen them, and who was told."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from audit_ledger.errors import AmbiguousAlert, UnknownAlert
from audit_ledger.reading.query import Query, the_one
from audit_ledger.reading.runs import columns
from audit_ledger.store.database import Reader


@dataclass(frozen=True)
class AlertRow:
    """A row of alerts.

    Attributes:
        id: Position of its AlertRaised event.
        alert_id: Its UUID.
        kind: What it is about: the kind of its findings.
        subject: A task, or the ledger.
        severity: critical or warning.
        title: What it says, in a line.
        detail: What is the matter.
        owner: Who looks after the task.
        run_id: The run that it began with.
        channels: Who is told.
        raised_at: When it was raised, by the watcher's clock.
        acknowledged_at: When somebody acknowledged it.
        acknowledged_by: Who.
        acknowledged_reason: What they said.
        resolved_at: When the incident was over.
        resolved_reason: Why it was.
        created_at: When it was recorded.
    """

    id: int
    alert_id: UUID
    kind: str
    subject: str
    severity: str
    title: str
    detail: str
    owner: str | None
    run_id: UUID | None
    channels: list[str]
    raised_at: datetime
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    acknowledged_reason: str | None
    resolved_at: datetime | None
    resolved_reason: str | None
    created_at: datetime

    @property
    def status(self) -> str:
        """resolved, acknowledged, or open."""
        if self.resolved_at is not None:
            return "resolved"
        return "acknowledged" if self.acknowledged_at is not None else "open"


@dataclass(frozen=True)
class Alerts(Query[AlertRow]):
    """Rows of alerts."""

    table = "alerts"
    columns = columns(AlertRow)

    def make(self, row: dict[str, Any]) -> AlertRow:
        """An alert."""
        return AlertRow(**row)

    def open(self) -> "Alerts":
        """Those whose incident is not over."""
        return self.where("resolved_position IS NULL")

    def of_task(self, task: str) -> "Alerts":
        """About one task."""
        return self.where("subject = {task}", task=task)


def find_alert(reader: Reader, alert_id: UUID | str) -> AlertRow:
    """The alert of that id, or of the id that begins so.

    Raises:
        UnknownAlert: there is none.
        AmbiguousAlert: there are several.
        InvalidValue: not hexadecimal digits.
    """
    return the_one(Alerts(reader), "alert_id", alert_id, "alert", (UnknownAlert, AmbiguousAlert))


@dataclass(frozen=True)
class AlertDetails:
    """All that is known of an alert.

    Attributes:
        alert: Its row.
        findings: What belongs to it, oldest first.
        attempts: Who was told, and what became of it, oldest first.
    """

    alert: AlertRow
    findings: list[dict[str, Any]]
    attempts: list[dict[str, Any]]


def alert_details(reader: Reader, alert_id: UUID | str) -> AlertDetails:
    """All that is known of an alert.

    Raises:
        UnknownAlert, InvalidValue: as with `find_alert`.
    """
    alert = find_alert(reader, alert_id)
    return AlertDetails(alert, findings(reader, alert.alert_id), attempts(reader, alert.alert_id))


def attempts(reader: Reader, alert_id: UUID) -> list[dict[str, Any]]:
    """Who was told of an alert: rows of channel, notice, attempt, status, error, attempted_at and others."""
    return reader.query(
        "SELECT channel, notice, attempt, status, repeated, escalates, error, attempted_at, ended_at"
        "  FROM alert_attempts WHERE alert_id = %s ORDER BY id",
        [alert_id],
    )


def findings(reader: Reader, alert_id: UUID) -> list[dict[str, Any]]:
    """What belongs to an alert: rows of kind, task_name, run_id, scheduled_for, detail, values, found_at."""
    return reader.query(
        "SELECT id AS position, kind, task_name, run_id, scheduled_for, last_seen_at, endpoint, detail,"
        ' "values", found_at, created_at FROM findings WHERE alert_id = %s ORDER BY id',
        [alert_id],
    )
