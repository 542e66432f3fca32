"""Bodies: bytes kept outside the log, and the commitments by which the log refers to them.

The commitment of a body is HMAC-SHA256 (RFC 2104) of its bytes under a random 32-byte salt, in
base64url without padding (RFC 4648 section 5): 43 characters. Whoever has bytes and salt can check
it; once they are erased, nobody can tell from it what the bytes were.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from psycopg import Connection
from psycopg.rows import DictRow

from audit_ledger.store.database import Database

SALT_BYTES = 32


@dataclass(frozen=True)
class Body:
    """Bytes and their media type (RFC 6838)."""

    content: bytes
    media_type: str

    @cached_property
    def sha256(self) -> bytes:
        """SHA-256 of the bytes."""
        return hashlib.sha256(self.content).digest()


@dataclass(frozen=True)
class Unkept:
    """A body that was too large to keep: what is left of it.

    Attributes:
        commitment: Its commitment, under the salt.
        salt: 32 random bytes.
        size: Bytes.
        media_type: RFC 6838.
    """

    commitment: str
    salt: bytes
    size: int
    media_type: str

    @classmethod
    def of(cls, content: bytes, media_type: str) -> "Unkept":
        """What is left of these bytes."""
        salt = secrets.token_bytes(SALT_BYTES)
        return cls(commitment(content, salt), salt, len(content), media_type)


def commitment(content: bytes, salt: bytes) -> str:
    """The commitment of bytes under a salt.

    >>> commitment(b"{}", bytes(32))
    'xwkYYxTmQYYpRV9r6vHN8uFevcjoXRgSOAGFcY6FwKo'
    """
    digest = hmac.digest(salt, content, "sha256")
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def put(conn: Connection[DictRow], bodies: Sequence[Body | Unkept]) -> list[str]:
    """Store those bodies that are not there yet, in one round trip; returns their commitments in order.

    Until the connection's transaction ends none of them is erased; it appends the events that refer to them.
    """
    unique: dict[bytes | str, Unkept | tuple[Body, bytes]] = {}
    for body in bodies:
        if isinstance(body, Unkept):
            unique[body.commitment] = body
        elif body.sha256 not in unique:
            unique[body.sha256] = body, secrets.token_bytes(SALT_BYTES)
    rows = [
        (None, one.media_type, one.salt, one.commitment, one.size)
        if isinstance(one, Unkept)
        else (
            one[0].content,
            one[0].media_type,
            one[1],
            commitment(one[0].content, one[1]),
            len(one[0].content),
        )
        for one in unique.values()
    ]
    params = [list(column) for column in zip(*rows, strict=True)]
    row = conn.execute(
        "SELECT put_bodies(%b::bytea[], %b::text[], %b::bytea[], %b::text[], %b::bigint[]) AS commitments",
        params,
        prepare=True,
    ).fetchone()
    assert row is not None  # a function call has a row
    found = dict(zip(unique, row["commitments"], strict=True))
    return [found[body.commitment if isinstance(body, Unkept) else body.sha256] for body in bodies]


@dataclass(frozen=True)
class Latest:
    """The latest content of a record: its commitment, its SHA-256 unless erased; or that it was withdrawn."""

    commitment: str | None
    sha256: bytes | None
    withdrawn: bool


def latest(database: Database, record_type: str, record_ids: Sequence[str]) -> dict[str, Latest]:
    """The latest known contents of records, by id, in one round trip; unknown records are absent."""
    with database.connection() as conn:
        rows = conn.execute(
            "SELECT g.record_id, v.content, b.sha256, v.operation = 'withdrawn' AS withdrawn"
            "  FROM unnest(%b::text[]) AS g(record_id)"
            " CROSS JOIN LATERAL (SELECT content, operation FROM record_versions v"
            "        WHERE v.record_type = %b AND v.record_id = g.record_id"
            "        ORDER BY v.record_type DESC, v.record_id DESC, v.id DESC LIMIT 1) v"
            "  LEFT JOIN bodies b ON b.commitment = v.content",
            [list(record_ids), record_type],
            prepare=True,
        ).fetchall()
    return {
        row["record_id"]: Latest(row["content"], row["sha256"] and bytes(row["sha256"]), row["withdrawn"])
        for row in rows
    }


def there(database: Database, record_type: str) -> set[str]:
    """The ids of all records of a kind that are not withdrawn, as far as the read models are."""
    with database.connection() as conn:
        rows = conn.execute(
            "SELECT record_id FROM record_versions"
            " WHERE record_type = %b AND to_position IS NULL AND operation <> 'withdrawn'",
            [record_type],
        ).fetchall()
    return {row["record_id"] for row in rows}
