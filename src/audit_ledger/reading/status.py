"""Where a ledger is, and how far it goes."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from audit_ledger.store.database import Database
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
        sealed: Position up to which events are sealed; 0 where none are.
        sealed_at: When they were; None where none are.
        unsealed: Events behind it: durable, not yet proven.
        set_aside: Events that could not be folded.
        read_models: Progress and lag of each read model.
    """

    ledger_id: UUID
    place: str
    created_at: datetime
    first_recorded_at: datetime | None
    position: int
    recorded_at: datetime | None
    sealed: int
    sealed_at: datetime | None
    unsealed: int
    set_aside: int
    read_models: list[ReadModel]


def status(database: Database, place: str) -> Status:
    """Where the ledger is and how far it goes."""
    ours = {file.name: file.sha256 for file in projection_files()}
    (head,) = database.query(
        "SELECT o.id AS ledger_id, o.created_at, h.position,"
        "       nullif(h.recorded_at, '-infinity') AS recorded_at,"
        "       (SELECT recorded_at FROM events WHERE position = 1) AS first_recorded_at,"
        "       coalesce(c.size, 0) AS sealed, c.sealed_at,"
        "       greatest(h.position - coalesce(c.size, 0), 0) AS unsealed,"
        "       (SELECT count(*) FROM set_aside) AS set_aside"
        "  FROM origin o CROSS JOIN head h"
        "  LEFT JOIN (SELECT * FROM checkpoints ORDER BY size DESC LIMIT 1) c ON true"
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
