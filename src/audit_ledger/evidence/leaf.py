r"""The bytes of an event that are hashed into the Merkle tree, from which anyone re-hashes it.

One line of JSON, a line feed, then `state` exactly as the ledger stores it:

    {"position":1,"recorded_at":"2026-01-31T08:30:00.250000Z","recorded_by":"ledger_writer",
     "stream_id":"0b8f6a52-0a3c-4b5e-9d1f-3f6a5c1e7d20","type":"RunStarted","version":1}
    {"task_name":"data_fetch:congress_daily"}

(here the first line is broken for the page; in a leaf it is one, without spaces). Its keys are in that
order, that of RFC 8785 section 3.2.3. position and version are decimals without leading zeros; recorded_at
is UTC with six decimals and `Z`; stream_id is a UUID in lower case (RFC 9562 section 4). Text is UTF-8,
escaped as RFC 8785 section 3.2.2.2 says: `\"` `\\` `\b` `\t` `\n` `\f` `\r`, `\u00xx` in lower case for other
characters below U+0020, and everything else as it is. So json.dumps(..., ensure_ascii=False) writes it, and
PostgreSQL's to_json(text).

The leaf of the event at a position has the index position - 1.
"""

import re
from datetime import UTC, datetime
from functools import lru_cache
from json import dumps, loads
from typing import NamedTuple
from uuid import UUID

from audit_ledger.errors import EvidenceInvalid
from audit_ledger.evidence.text import MAX_INTEGER, malformed


class Leaf(NamedTuple):
    """The columns of an event, in the order of its leaf.

    Attributes:
        position: Its place in the ledger, from 1.
        recorded_at: When the ledger recorded it; with a time zone.
        recorded_by: The database role that recorded it.
        stream_id: Its stream.
        type: The kind of fact.
        version: Its place in the stream.
        state: Its bytes, exactly as stored.
    """

    position: int
    recorded_at: datetime
    recorded_by: str
    stream_id: UUID
    type: str
    version: int
    state: bytes


def encode(
    position: int,
    recorded_at: datetime,
    recorded_by: str,
    stream_id: UUID,
    type: str,  # noqa: A002  the name of the column
    version: int,
    state: bytes,
) -> bytes:
    """The leaf of an event.

    Raises:
        EvidenceInvalid: a column holds what no event can have.
    """
    if not 0 < position <= MAX_INTEGER or not 0 <= version <= MAX_INTEGER:
        raise malformed(
            "a leaf", "position from 1, version from 0", f"position {position}, version {version}"
        )
    return (
        f'{{"position":{position:d},"recorded_at":{_instant(recorded_at)},"recorded_by":{_string(recorded_by)},'
        f'"stream_id":"{_hyphenated(stream_id)}","type":{_string(type)},"version":{version:d}}}\n'
    ).encode() + state


_STRING = r'"((?:[^"\\\x00-\x1f]|\\["\\btnfr]|\\u00[01][0-9a-f])*)"'
_NUMBER = r"(0|[1-9][0-9]{0,18})"
_LINE = re.compile(
    rf'\{{"position":{_NUMBER},"recorded_at":"([0-9]{{4}}-[0-9:T.-]{{21}})Z","recorded_by":{_STRING},'
    rf'"stream_id":"([0-9a-f-]{{36}})","type":{_STRING},"version":{_NUMBER}\}}\n'
)


def decode(data: bytes) -> Leaf:
    """The event whose leaf that is.

    Raises:
        EvidenceInvalid: no event has exactly this leaf.
    """
    end = data.find(b"\n") + 1
    try:
        line = data[:end].decode()
        found = _LINE.fullmatch(line)
        if not found:
            raise _not_a_leaf(data)
        position, recorded_at, recorded_by, stream_id, kind, version = found.groups()
        leaf = Leaf(
            int(position),
            _parsed_instant(recorded_at),
            _parsed_string(recorded_by),
            _parsed_uuid(stream_id),
            _parsed_string(kind),
            int(version),
            data[end:],
        )
    except ValueError as error:
        raise _not_a_leaf(data) from error
    if encode(*leaf) != data:
        raise _not_a_leaf(data)
    return leaf


def _not_a_leaf(data: bytes) -> EvidenceInvalid:
    return EvidenceInvalid(
        "the bytes are not those of an event's leaf",
        expected="a line of JSON: position, recorded_at, recorded_by, stream_id, type, version; then state",
        actual=f"{data[:200]!r}",
        remedy="do not trust it; fetch it again from whoever gave it to you",
    )


def _instant(instant: datetime) -> str:
    if instant.tzinfo is None:
        raise malformed("recorded_at of a leaf", "an instant with its time zone", instant.isoformat())
    # In a zone of its own, an hour that is there twice is equal to itself; in UTC it is not.
    return _utc_instant(instant if instant.tzinfo is UTC else instant.astimezone(UTC))


# Neighbours share instant, role, stream and type: each is written, and read, once for all of them.
@lru_cache(256)
def _utc_instant(instant: datetime) -> str:
    return f'"{instant.replace(tzinfo=None).isoformat(timespec="microseconds")}Z"'


@lru_cache(256)
def _parsed_instant(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@lru_cache(256)
def _string(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise malformed("text of a leaf", "text that UTF-8 can hold", text) from error
    return dumps(text, ensure_ascii=False)  # RFC 8785 section 3.2.2.2


@lru_cache(256)
def _parsed_string(text: str) -> str:
    parsed: str = loads(f'"{text}"') if "\\" in text else text
    return parsed


_hyphenated = lru_cache(256)(UUID.__str__)
_parsed_uuid = lru_cache(256)(UUID)
