"""What officers decide: erasing, holding, keeping, and going on after a history was lost."""

from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import Field, StringConstraints, model_validator

from audit_ledger.events.form import Commitment, Event, Identifier, Instant, Name, Position, Reason
from audit_ledger.events.limits import MAX_DAYS, MAX_REFERRERS

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class BodyErased(Event):
    """An officer erased the bytes of a body. `referrers` are the positions of all events that refer to it.

    A body with more than 2,000 takes several events, in one transaction and one stream, each with its share.
    """

    by: Name
    commitment: Commitment
    occurred_at: Instant
    reason: Reason
    referrers: Annotated[tuple[Position, ...], Field(max_length=MAX_REFERRERS)]
    v: Literal[1] = 1


class HoldAdded(Event):
    """An officer forbade erasing what a payload's call, a record's events or a run's events refer to."""

    by: Name
    hold_id: UUID
    occurred_at: Instant
    payload_id: Position | None = None
    reason: Reason
    record_id: Identifier | None = None
    record_type: Name | None = None
    run_id: UUID | None = None
    v: Literal[1] = 1

    @model_validator(mode="after")
    def _one_scope(self) -> Self:
        given = (self.payload_id, self.record_id, self.run_id)
        if sum(scope is not None for scope in given) != 1 or (self.record_id is None) != (
            self.record_type is None
        ):
            raise ValueError("expected one of payload_id, record_type with record_id, run_id")
        return self


class HoldReleased(Event):
    """An officer ended a hold."""

    by: Name
    hold_id: UUID
    occurred_at: Instant
    reason: Reason
    v: Literal[1] = 1


class LedgerRecovered(Event):
    """An officer opened another origin, whose id is the event's stream; this is the first event under it.

    `checkpoint_…` is the highest checkpoint of the previous origin that was kept elsewhere: its size, its
    root and the SHA-256 of its note, hexadecimal. Events from `lost_from` up to `lost_upto` were in it, and
    are not here.
    """

    by: Name
    checkpoint_digest: Digest | None = None
    checkpoint_root: Digest | None = None
    checkpoint_size: Position | None = None
    clone: bool = False
    lost_from: Position | None = None
    lost_upto: Position | None = None
    occurred_at: Instant
    previous_origin: UUID
    reason: Reason
    v: Literal[1] = 1

    @model_validator(mode="after")
    def _whole(self) -> Self:
        stated = (self.checkpoint_digest, self.checkpoint_root, self.checkpoint_size)
        if len({one is None for one in stated}) != 1 or (self.lost_from is None) != (self.lost_upto is None):
            raise ValueError(
                "expected digest, root and size of a checkpoint, or none of them; lost_from with lost_upto"
            )
        return self


class RetentionChanged(Event):
    """An officer decided for how many days bodies are kept from their last referrer on; 0: no minimum."""

    by: Name
    days: Annotated[int, Field(strict=True, ge=0, le=MAX_DAYS)]
    occurred_at: Instant
    reason: Reason
    v: Literal[1] = 1
