"""Where a ledger is, and how far it goes."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from audit_ledger.store.database import Database
from audit_ledger.store.refusals import gone
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
        sealed_recorded_at: When the last of them was recorded; None where none are.
        unsealed: Events behind it: durable, not yet proven.
        anchored: Position up to which a checkpoint went out; 0 where none did.
        anchored_at: When, by its earliest timestamp, else by the writer of a file; None where none did.
        anchored_by: The folders and authorities that have it.
        unanchored: Events behind it, which who has the key and a superuser's rights could rewrite unseen.
        unanchored_since: When the first of them was recorded.
        refused: Why events are refused; None where they are not.
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
    sealed_recorded_at: datetime | None
    unsealed: int
    anchored: int
    anchored_at: datetime | None
    anchored_by: list[str]
    unanchored: int
    unanchored_since: datetime | None
    refused: str | None
    set_aside: int
    read_models: list[ReadModel]


def status(database: Database, place: str) -> Status:
    """Where the ledger is and how far it goes.

    Raises:
        EvidenceInvalid: the head of the log is gone.
    """
    ours = {file.name: file.sha256 for file in projection_files()}
    rows = database.query(
        "SELECT o.id AS ledger_id, o.created_at, h.position,"
        "       nullif(h.recorded_at, '-infinity') AS recorded_at,"
        "       (SELECT recorded_at FROM events WHERE position = 1) AS first_recorded_at,"
        "       coalesce(c.size, 0) AS sealed,"
        "       (SELECT e.recorded_at FROM events e WHERE e.position = c.size) AS sealed_recorded_at,"
        "       greatest(h.position - coalesce(c.size, 0), 0) AS unsealed,"
        "       coalesce(a.size, 0) AS anchored, a.stated_at AS anchored_at,"
        "       coalesce(a.names, '{}') AS anchored_by,"
        "       greatest(h.position - coalesce(a.size, 0), 0) AS unanchored,"
        "       (SELECT e.recorded_at FROM events e WHERE e.position = coalesce(a.size, 0) + 1)"
        "           AS unanchored_since,"
        "       (SELECT format('expected %s; found %s', r.expected, r.actual) FROM refusals r"
        "         WHERE h.refuses ORDER BY r.number DESC LIMIT 1) AS refused,"
        "       (SELECT count(*) FROM set_aside) AS set_aside"
        "  FROM origin o CROSS JOIN head h"
        "  LEFT JOIN (SELECT * FROM checkpoints ORDER BY size DESC LIMIT 1) c ON true"
        "  LEFT JOIN LATERAL (SELECT b.size, array_agg(b.name ORDER BY b.number) AS names,"
        "                            coalesce(min(b.stated_at) FILTER (WHERE b.kind = 'timestamp'),"
        "                                     min(b.stated_at)) AS stated_at"
        "                       FROM anchors b WHERE b.origin = o.id"
        "                      GROUP BY b.size ORDER BY b.size DESC LIMIT 1) a ON true"
    )
    if not rows:
        raise gone("the head of the log", "head")
    (head,) = rows
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
