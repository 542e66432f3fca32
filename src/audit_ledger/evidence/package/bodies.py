"""The bodies of a package: the bytes that are there, and what is left to check each commitment."""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterable, Iterator

from psycopg import sql

from audit_ledger.errors import EvidenceInvalid
from audit_ledger.evidence.leaf import Leaf
from audit_ledger.evidence.package.answer import listed
from audit_ledger.evidence.package.archive import Archive
from audit_ledger.evidence.sealing import KEEP, Cursor
from audit_ledger.store.bodies import commitment
from audit_ledger.store.copies import export_statement

FOLDER = "bodies/"

IN_FORCE = sql.SQL(
    "SELECT DISTINCT v.content FROM record_versions v"
    " WHERE v.to_position IS NULL AND v.operation <> 'withdrawn' AND v.content IS NOT NULL"
)
"""The commitments that a complete answer names."""

INDEX = """
    SELECT b.commitment, translate(rtrim(encode(b.salt, 'base64'), '='), '+/', '-_') AS salt, b.size,
           b.media_type,
           CASE WHEN b.content IS NOT NULL THEN 'present'
                WHEN b.salt IS NULL THEN 'erased' ELSE 'truncated' END AS status
      FROM bodies b
     WHERE b.commitment IN ({})
     ORDER BY b.commitment COLLATE "C"
"""

PRESENT = """
    COPY (SELECT b.commitment, b.salt, b.content FROM bodies b
           WHERE b.content IS NOT NULL AND b.commitment IN ({})
           ORDER BY b.commitment COLLATE "C") TO STDOUT (FORMAT binary)
"""


def named_in(event: Leaf) -> Iterator[str]:
    """The commitments of the bodies that an event refers to; none where it cannot be read."""
    fields = {"RecordIngested": ("content",), "ApiCallMade": ("request", "response")}.get(event.type, ())
    if not fields:
        return
    try:
        state = json.loads(event.state)
    except ValueError:  # the fold has set it aside
        return
    for field in fields:
        if isinstance(state, dict) and isinstance(found := state.get(field), str):
            yield found


def these(commitments: Iterable[str]) -> sql.Composed:
    """A query of them."""
    return sql.SQL("SELECT unnest({}::text[])").format(sql.Literal(sorted(commitments)))


def write(archive: Archive, cursor: Cursor, wanted: sql.Composable) -> int:
    """Write the bodies that a query of commitments names, and their index; returns how many it lists.

    A body of which the ledger knows nothing is not listed.

    Raises:
        EvidenceInvalid: a body is not what its commitment says: somebody changed it.
    """
    count = 0

    def counted() -> Iterator[bytes]:
        nonlocal count
        with cursor.copy(export_statement(sql.SQL(INDEX).format(wanted), "json")) as copy:
            for row in copy:
                count += 1
                yield bytes(row).rstrip(b"\n")

    archive.stream(f"{FOLDER}index.json", listed(counted()))
    with cursor.copy(sql.SQL(PRESENT).format(wanted)) as copy:
        copy.set_types(["text", "bytea", "bytea"])
        for named, salt, content in copy.rows():
            _check(named, salt, content)
            archive.add(FOLDER + named, content)
    return count


def _check(named: str, salt: bytes, content: bytes) -> None:
    computed = commitment(content, salt)
    if not hmac.compare_digest(computed, named):
        raise EvidenceInvalid(
            f"the body {named} is not what was recorded: somebody changed its bytes, or its salt",
            expected=f"bytes with the commitment {named}",
            actual=computed,
            remedy=KEEP,
        )
