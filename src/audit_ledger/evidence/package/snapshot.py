"""One snapshot of the database, in which all is read that goes into a package: it is one answer."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid5

from psycopg import Connection, sql
from psycopg.rows import DictRow, tuple_row

from audit_ledger.errors import NotSealed
from audit_ledger.evidence.keys import Verifier
from audit_ledger.evidence.package.answer import positions_of
from audit_ledger.evidence.package.question import Narrowed
from audit_ledger.evidence.proving import EventProof, Prover
from audit_ledger.evidence.sealing import Cursor
from audit_ledger.evidence.sealing import rotated as keys_of
from audit_ledger.reading.as_of import Header
from audit_ledger.store.as_of import TRAVEL, as_path
from audit_ledger.store.database import Database
from audit_ledger.store.refusals import questioned
from audit_ledger.version import VERSION

ROTATED = """
    SELECT e.position, e.state, c.size, c.note
      FROM events e
     CROSS JOIN LATERAL (SELECT k.size, k.note FROM checkpoints k
                          WHERE k.size >= e.position ORDER BY k.size LIMIT 1) c
     WHERE e.stream_id = %s AND e.type = 'KeyRotated' AND e.position <= %s
     ORDER BY e.position
"""
"""The changes of keys, each with the checkpoint that both keys signed."""

ONE_ANSWER = """
    SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;
    SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL jit = off; SET LOCAL client_encoding = 'UTF8'
"""


@dataclass(frozen=True)
class Rotated:
    """A change of keys.

    Attributes:
        position: Its event.
        keys: The key up to there, and the key from there on.
        size: That of the checkpoint that both signed.
        note: It.
    """

    position: int
    keys: tuple[Verifier, Verifier]
    size: int
    note: bytes


@dataclass(frozen=True)
class Snapshot:
    """The ledger as it was when the transaction began, and a position that is asked as of.

    Attributes:
        header: That of the answer.
        cursor: What asks the views as of that position.
        prover: Proves events.
        live: The schema of the read models as they are now.
    """

    header: Header
    cursor: Cursor
    prover: Prover
    live: str
    _conn: Connection[DictRow]

    def query(self, statement: str | sql.Composed, params: Any = None) -> list[DictRow]:
        """The rows of a reading statement."""
        return self._conn.execute(statement, params).fetchall()

    def positions(self, narrowed: Narrowed) -> array[int]:
        """The positions of the events that something is narrowed to, in order."""
        found = array("q")
        with self.cursor.copy(
            sql.SQL("COPY ({}) TO STDOUT (FORMAT binary)").format(positions_of(narrowed))
        ) as copy:
            copy.set_types(["bigint"])
            found.extend(position for (position,) in copy.rows())
        return found

    def rotated(self) -> list[Rotated]:
        """The changes of keys that are sealed, in order.

        Raises:
            EvidenceInvalid: an event that changes keys does not say which.
        """
        rows = self.query(ROTATED, [uuid5(self.header.ledger_id, "keys"), self.prover.last.size])
        return [
            Rotated(
                row["position"],
                keys_of(row["position"], bytes(row["state"])),
                row["size"],
                bytes(row["note"]),
            )
            for row in rows
        ]

    def check_sealed(self, position: int) -> None:
        """Nothing, where a checkpoint covers a position.

        Raises:
            NotSealed: none does.
        """
        size = self.prover.last.size
        if size < position:
            raise NotSealed(
                f"nothing is sealed up to position {position} yet",
                expected=f"a checkpoint of size {position} or more",
                actual=f"the last one has size {size}" if size else "there is no checkpoint",
                remedy="audit-ledger seal",
            )


@contextmanager
def snapshot(database: Database, asked: str) -> Iterator[Snapshot]:
    """A snapshot as of what is asked.

    Raises:
        InvalidValue, BeforeBeginning, ReadModelsBehind: as with `Ledger.as_of`.
    """
    path = ", ".join(as_path(database.name))
    with questioned(database), database.connection() as conn, conn.transaction():
        conn.execute(ONE_ANSWER, prepare=False)
        conn.execute(TRAVEL, [path, asked])
        row = conn.execute("SELECT * FROM answer").fetchone()
        assert row is not None  # resolve() has a row, or raises
        header = Header(**{**row, "software_version": f"audit-ledger {VERSION}"})
        conn.execute(TRAVEL, [path, str(header.position)])
        with conn.cursor(binary=True, row_factory=tuple_row) as cursor:
            yield Snapshot(header, cursor, Prover(cursor), f"{database.name}_read", conn)


def proofs(database: Database, asked: str, narrowed: Narrowed) -> Iterator[EventProof]:
    """Proofs of the events that something is narrowed to, as of what is asked, in order.

    Raises:
        NotSealed: they are not all sealed yet; none is given then.
        EvidenceInvalid: an event, a tile or the checkpoint is not what was sealed: somebody changed it.
    """
    with snapshot(database, asked) as taken:
        positions = taken.positions(narrowed)
        if positions:
            taken.check_sealed(positions[-1])
        for position in positions:
            yield taken.prover.prove(position)
