"""Events that are on their way to the event store, with the bodies that they have yet to refer to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from audit_ledger.store.bodies import Body, Unkept

if TYPE_CHECKING:
    from audit_ledger.events import Event, Plain


@dataclass(frozen=True)
class Pending:
    """An event, and the bodies whose commitments it still lacks, by the field that they go in."""

    event: Event | Plain
    bodies: dict[str, Body | Unkept] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """About how many bytes it holds."""
        return 200 + sum(len(body.content) for body in self.bodies.values() if isinstance(body, Body))

    def prepare(self) -> Pending:
        """Itself: nothing is left to do before it can be sent."""
        return self

    def naming(self, **fields: object) -> Event:
        """The event with some more fields; a plain one has none to be filled in."""
        from audit_ledger.events import Event

        assert isinstance(self.event, Event)
        return self.event.model_copy(update=fields)


@dataclass(frozen=True)
class Batch:
    """Consecutive events of a stream; `version` is that of the event before them."""

    stream_id: UUID
    version: int
    events: Sequence[Pending]


class Spooled(NamedTuple):
    """An event in the spool.

    Attributes:
        number: Its place in the spool.
        stream_id: Its stream.
        version: Its place in the stream.
        type: The kind of fact.
        state: Its state, without the commitments of `bodies`.
        bodies: What it has yet to refer to, by field.
    """

    number: int
    stream_id: UUID
    version: int
    type: str
    state: bytes
    bodies: dict[str, Body | Unkept]
