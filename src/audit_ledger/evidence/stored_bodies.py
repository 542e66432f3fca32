"""Bodies against their commitments: each that is there is hashed again, each erased one has an event of that.

What the commitment does not cover is compared where something else says it: the SHA-256 and the size with the
bytes, the media type with what events say.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

from audit_ledger.evidence.sealing import Cursor
from audit_ledger.store.bodies import commitment as commit

Note = Callable[..., None]
"""Notes a fault: part, position, detail; `times` it stands for."""

BODIES = """
    COPY (SELECT commitment, salt, sha256, size, content FROM bodies) TO STDOUT (FORMAT binary)
"""

MISSING = """
    SELECT r.commitment, min(r."position"), count(*) OVER ()
      FROM (SELECT v.content AS commitment, v.id AS "position" FROM record_versions v
             WHERE v.content IS NOT NULL
             UNION ALL
            SELECT p.commitment, (p.id + 1) / 2 FROM api_payload_rows p) r
     WHERE NOT EXISTS (SELECT FROM bodies b WHERE b.commitment = r.commitment)
     GROUP BY r.commitment
     ORDER BY 2
     LIMIT 20
"""

MISNAMED = """
    SELECT b.commitment, b.media_type, count(*) OVER ()
      FROM bodies b
     WHERE b.media_type NOT IN ('application/json', 'application/octet-stream')
       AND NOT EXISTS (SELECT FROM api_payload_rows p
                        WHERE p.commitment = b.commitment AND p.media_type = b.media_type)
       AND (SELECT min(p."position") FROM progress p) = (SELECT h."position" FROM head h)
     ORDER BY 1
     LIMIT 20
"""
"""What is new may not be folded yet; then media types are left for the next time."""

ERASED = """
    SELECT commitment FROM bodies WHERE salt IS NULL AND commitment > %s ORDER BY commitment LIMIT 1000
"""

UNTOLD = """
    SELECT s.commitment
      FROM unnest(%s::text[], %s::uuid[]) AS s(commitment, stream_id)
     WHERE NOT EXISTS (SELECT FROM events e WHERE e.stream_id = s.stream_id AND e.type = 'BodyErased')
"""


@dataclass
class Bodies:
    """How many bodies there are.

    Attributes:
        present: With their bytes.
        erased: Whose bytes were erased.
        truncated: Which were too large to keep.
    """

    present: int = 0
    erased: int = 0
    truncated: int = 0


def verify_bodies(cursor: Cursor, made_as: str, note: Note) -> Bodies:
    """Recompute the commitments of all bodies that are there; note each that is not what was committed to.

    Args:
        cursor: The ledger.
        made_as: The id that it was made with, after which the streams of erasures are named.
        note: Notes a fault.
    """
    found = Bodies()
    with cursor.copy(BODIES) as copy:
        copy.set_types(["text", "bytea", "bytea", "int8", "bytea"])
        for row in copy.rows():
            _verify(found, note, *row)
    for commitment, position, number in _asked(cursor, MISSING):
        note("body", position, f"the body {commitment}, which the event refers to, is gone", times=number)
    for commitment in _untold(cursor, made_as):
        note("body", None, f"the body {commitment} was erased, and no event says so")
    for commitment, media_type, number in _asked(cursor, MISNAMED):
        note(
            "body",
            None,
            f"the body {commitment} has a media type, {media_type!r}, that no event gives it",
            times=number,
        )
    return found


def _asked(cursor: Cursor, statement: str) -> list[tuple[Any, ...]]:
    """The rows of a statement; of their number, which is last, the first has all that are not shown, too."""
    rows: list[tuple[Any, ...]] = cursor.execute(statement.encode()).fetchall()
    return [(*row[:-1], row[-1] - len(rows) + 1 if index == 0 else 1) for index, row in enumerate(rows)]


def _untold(cursor: Cursor, made_as: str) -> Iterator[str]:
    """The bodies whose bytes are gone without an event: each erasure is in a stream of the body's own."""
    last = ""
    while True:
        page = [row[0] for row in cursor.execute(ERASED, [last]).fetchall()]
        if not page:
            return
        last = page[-1]
        streams = [uuid5(UUID(made_as), commitment) for commitment in page]
        yield from [row[0] for row in cursor.execute(UNTOLD, [page, streams]).fetchall()]


def _verify(
    found: Bodies,
    note: Note,
    commitment: str,
    salt: bytes | None,
    sha256: bytes | None,
    size: int,
    content: bytes | None,
) -> None:
    if salt is None:
        found.erased += 1
    elif content is None:
        found.truncated += 1
    else:
        found.present += 1
        wrong = None
        if commit(bytes(content), bytes(salt)) != commitment:
            wrong = "its bytes, its salt or its name were changed: they do not give its commitment"
        elif sha256 != hashlib.sha256(content).digest():
            wrong = "its SHA-256 is another"
        elif size != len(content):
            wrong = f"it has {len(content):,} bytes, and is said to have {size:,}"
        if wrong:
            note("body", None, f"the body {commitment}: {wrong}")
