"""Events that are on their way to the event store, with the bodies that they have yet to refer to."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from audit_ledger.events import Event
from audit_ledger.store.bodies import Body, Unkept


@dataclass(frozen=True)
class Pending:
    """An event, and the bodies whose commitments it still lacks, by the field that they go in."""

    event: Event
    bodies: dict[str, Body | Unkept] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """About how many bytes it holds."""
        return 200 + sum(len(body.content) for body in self.bodies.values() if isinstance(body, Body))

    def prepare(self) -> "Pending":
        """Itself: nothing is left to do before it can be sent."""
        return self


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
