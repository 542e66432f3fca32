"""Where a ledger is, how far it goes, and whether its runs are well."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from audit_ledger.reading.runs import RunRow, Runs
from audit_ledger.store.database import Database, Reader
from audit_ledger.store.sql import projection_files


@dataclass(frozen=True)
class ReadModel:
    """How far one read model is.

    Attributes:
        projection: Its name.
        position: The last position that it has folded.
        lag: Events that it has yet to fold.
        updated_at: When it moved last.
        changed: Whether its file is no longer the one that made it.
    """

    projection: str
    position: int
    lag: int
    updated_at: datetime
    changed: bool


@dataclass(frozen=True)
class Status:
    """Place, beginning and head of a ledger.

    Attributes:
        ledger_id: Its identity.
        place: Where it is, without a password.
        created_at: When it was made.
        first_recorded_at: When its first event was recorded; None while it is empty.
        position: The head; 0 while it is empty.
        recorded_at: When the head was recorded.
        set_aside: Events that could not be folded.
        read_models: Progress and lag of each read model.
    """

    ledger_id: UUID
    place: str
    created_at: datetime
    first_recorded_at: datetime | None
    position: int
    recorded_at: datetime | None
    set_aside: int
    read_models: list[ReadModel]


def status(database: Database, place: str) -> Status:
    """Where the ledger is and how far it goes."""
    ours = {file.name: file.sha256 for file in projection_files()}
    (head,) = database.query(
        "SELECT o.id AS ledger_id, o.created_at, h.position,"
        "       nullif(h.recorded_at, '-infinity') AS recorded_at,"
        "       (SELECT recorded_at FROM events WHERE position = 1) AS first_recorded_at,"
        "       (SELECT count(*) FROM set_aside) AS set_aside"
        "  FROM origin o, head h"
    )
    models = database.query("SELECT * FROM progress ORDER BY ordinal")
    return Status(
        **head,
        place=place,
        read_models=[
            ReadModel(
                row["projection"],
                row["position"],
                max(0, head["position"] - row["position"]),
                row["updated_at"],
                ours.get(row["projection"]) != row["sha256"],
            )
            for row in models
        ],
    )


@dataclass(frozen=True)
class Finding:
    """Something that somebody on call should look at.

    Attributes:
        kind: "failed", "running", "empty" (completed without fetching a record), or "none" (no run at all).
        run: The run; None for "none".
        detail: What is the matter, in words.
    """

    kind: Literal["failed", "running", "empty", "none"]
    run: RunRow | None
    detail: str


def check(database: Reader, since: datetime | timedelta | str) -> list[Finding]:
    """What is not well among the runs that started since then, newest first."""
    findings: list[Finding] = []
    runs = Runs(database).started_since(since)
    suspect = runs.where(
        "status <> 'completed' OR records_fetched + records_created + records_updated + records_skipped = 0"
    )
    for run in suspect:
        if run.status == "failed":
            findings.append(Finding("failed", run, run.error_message or "no message"))
        elif run.status == "running":
            findings.append(Finding("running", run, "has not ended"))
        else:
            findings.append(Finding("empty", run, "completed without fetching a record"))
    if not findings and runs.first() is None:
        findings.append(Finding("none", None, "no run has started"))
    return findings
