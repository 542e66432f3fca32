"""Events as rows of PostgreSQL's binary COPY format. Pure.

The format: https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format": a signature, rows
of a field count and length-prefixed fields in network byte order, and a trailer.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import Protocol
from uuid import UUID

COLUMNS = ("position", "recorded_at", "recorded_by", "stream_id", "version", "type", "state")
SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
"""Day zero of PostgreSQL's timestamps, which count microseconds."""

_INT4 = Struct(">i").pack
_INT8 = Struct(">q").pack
_LENGTH_8 = _INT4(8)
_FIELDS = Struct(">h").pack(len(COLUMNS)) + _LENGTH_8


class Storable(Protocol):
    """What is packed: the library's StoredEvent, or anything with its attributes."""

    @property
    def originator_id(self) -> UUID | str:
        """The stream."""

    @property
    def originator_version(self) -> int:
        """Place in the stream."""

    @property
    def topic(self) -> str:
        """The type."""

    @property
    def state(self) -> bytes:
        """The exact bytes."""


def pack_rows(events: Iterable[Storable], first: int, recorded_at: datetime, recorded_by: str) -> bytes:
    """Rows of consecutive positions from `first` on, with what the append lock gave."""
    int4, int8 = _INT4, _INT8
    by = recorded_by.encode()
    microseconds = (recorded_at - EPOCH) // timedelta(microseconds=1)
    given = int4(8) + int8(microseconds) + int4(len(by)) + by + int4(16)
    types: dict[str, bytes] = {}
    pieces: list[bytes] = []
    add = pieces.extend
    last_id: object = None
    middle = b""
    for position, event in enumerate(events, first):
        if event.originator_id is not last_id:
            last_id = event.originator_id
            stream = last_id if isinstance(last_id, UUID) else UUID(str(last_id))
            middle = given + stream.bytes + _LENGTH_8
        topic, state = event.topic, event.state
        packed_type = types.get(topic)
        if packed_type is None:
            encoded = topic.encode()
            packed_type = types[topic] = int4(len(encoded)) + encoded
        add(
            (
                _FIELDS,
                int8(position),
                middle,
                int8(event.originator_version),
                packed_type,
                int4(len(state)),
                state,
            )
        )
    return b"".join(pieces)
