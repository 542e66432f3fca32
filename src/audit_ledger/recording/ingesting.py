"""What a run says of records: one by one, in numbers, as a whole snapshot; declared; withdrawn."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from audit_ledger import events
from audit_ledger.errors import InvalidValue
from audit_ledger.recording import content as contents
from audit_ledger.recording.comparison import Comparison
from audit_ledger.recording.outbox import Outbox
from audit_ledger.store.bodies import Body
from audit_ledger.store.pending import Pending

if TYPE_CHECKING:
    from audit_ledger.events import Operation, RecordIngested

LOOKUP_RECORDS = 1000
LOOKUP_BYTES = 4 << 20
"""`ingest_many` asks for at most so many records, and holds at most so many bytes, at a time."""


class Ingesting(ABC):
    """The part of `Run` that is about records."""

    _comparison: Comparison
    _outbox: Outbox
    _tally: Counter[str]
    _lock: threading.Lock

    @property
    @abstractmethod
    def now(self) -> datetime:
        """This moment, on the run's own clock."""

    @abstractmethod
    def flush(self) -> None:
        """Wait until everything said so far is durable (or, the database being away, in the spool)."""

    @abstractmethod
    def _check_open(self) -> None:
        """Refuse what comes after the end of the run."""

    def record(
        self,
        record_type: str,
        record_id: str | int | UUID,
        operation: Operation,
        content: object = None,
    ) -> None:
        """Say what the application did with a record.

        Args:
            record_type: Kind of record, e.g. "QuiverTrade".
            record_id: Its id at the source; kept as text.
            operation: "created", "updated" or "skipped".
            content: What the record is now, if the ledger is to keep it: JSON or bytes.

        Raises:
            InvalidValue: an argument cannot be recorded; the error names it.
            RunEnded: the run is over.
        """
        self._check_open()
        event = events.RecordIngested.of(
            occurred_at=self.now, operation=operation, record_id=record_id, record_type=record_type
        )
        self._count(operation)
        self._outbox.add(
            Pending(event, {} if content is None else {"content": contents.record_content(content)})
        )

    def ingest(self, record_type: str, record_id: str | int | UUID, content: object) -> Operation | None:
        """Hand a record over, and be told what the ledger makes of it.

        Args:
            record_type: Kind of record, e.g. "QuiverTrade".
            record_id: Its id at the source; kept as text.
            content: What the record is now: JSON (keys are put in canonical order) or bytes.

        Returns:
            "created", "updated" or "skipped", by comparison with the latest content on record. It is
            provisional: of two runs that see a record for the first time at the same moment both are
            told "created", and the one that is recorded first has created it. None when the
            database is away and could not be asked; the record is kept all the same.

        Raises:
            InvalidValue: an argument cannot be recorded; the error names it.
            RunEnded: the run is over.
        """
        return next(iter(self.ingest_many(record_type, [(record_id, content)]).values()))

    def ingest_many(
        self,
        record_type: str,
        records: Mapping[Any, object] | Iterable[tuple[str | int | UUID, object]],
    ) -> dict[str, Operation | None]:
        """Hand many records over: like `ingest`, in one round trip a thousand.

        Args:
            record_type: Kind of record.
            records: Contents by id, or pairs of id and content.

        Returns:
            What `ingest` returns, by id as text.

        Raises:
            InvalidValue: an argument cannot be recorded; the records before its batch are recorded.
            RunEnded: the run is over.
        """
        pairs = records.items() if isinstance(records, Mapping) else records
        result: dict[str, Operation | None] = {}
        for batch in self._batches(record_type, iter(pairs)):
            self._check_open()
            told = self._comparison.tell(batch, away=self._outbox.failure is not None)
            for (event, body), answer in zip(batch, told, strict=True):
                result[event.record_id] = answer.operation
                self._count(answer.operation or "updated")
                if answer.commitment is None:
                    self._outbox.add(Pending(event, {"content": body}))
                else:
                    self._outbox.add(Pending(event.model_copy(update={"content": answer.commitment})))
        return result

    def withdraw(self, record_type: str, record_id: str | int | UUID) -> None:
        """Say that a record is no longer at its source: it ends here, and what it was stays on record.

        Raises:
            InvalidValue: an argument cannot be recorded; the error names it.
            RunEnded: the run is over.
        """
        self._check_open()
        event = events.RecordWithdrawn.of(occurred_at=self.now, record_id=record_id, record_type=record_type)
        self._comparison.withdraw(record_type, event.record_id)
        self._outbox.add(Pending(event))

    def ingest_snapshot(
        self,
        record_type: str,
        records: Mapping[Any, object] | Iterable[tuple[str | int | UUID, object]],
        *,
        allow_empty: bool = False,
    ) -> dict[str, Operation | Literal["withdrawn"] | None]:
        """Hand over all the records of a kind that there are: those that are missing are withdrawn.

        For sources that send everything each time. When the database is away, what is missing cannot be
        known: nothing is withdrawn then, and the next snapshot finds it.

        Args:
            record_type: Kind of record. The snapshot is of all of it, whichever run or source brought it.
            records: Contents by id, or pairs of id and content.
            allow_empty: Whether a snapshot without any record may withdraw all of them.

        Returns:
            What `ingest` returns, by id as text, and "withdrawn" for those that were missing.

        Raises:
            InvalidValue: an argument cannot be recorded, or the snapshot is empty and records are on record.
            RunEnded: the run is over.
        """
        self.flush()
        away = self._outbox.failure is not None
        known = None if away else self._comparison.there(record_type, self._outbox.position)
        result: dict[str, Operation | Literal["withdrawn"] | None] = {}
        result.update(self.ingest_many(record_type, records))
        if known and not result and not allow_empty:
            raise InvalidValue(
                "the snapshot",
                expected=f"records of {record_type}, as long as any are on record",
                actual=f"none; {len(known):,} are on record",
                remedy="if it is true that there are none: allow_empty=True",
            )
        for gone in sorted((known or set()) - result.keys()):
            self.withdraw(record_type, gone)
            result[gone] = "withdrawn"
        return result

    def _count(self, operation: str) -> None:
        with self._lock:
            self._tally[operation] += 1

    def _batches(
        self, record_type: str, pairs: Iterator[tuple[Any, object]]
    ) -> Iterator[list[tuple[RecordIngested, Body]]]:
        batch: list[tuple[RecordIngested, Body]] = []
        size = 0
        for record_id, content in pairs:
            event = events.RecordIngested.of(
                occurred_at=self.now, record_id=record_id, record_type=record_type
            )
            try:
                body = contents.record_content(content)
            except InvalidValue as error:
                raise error.about(f"{record_type} {event.record_id}") from error
            batch.append((event, body))
            size += len(body.content)
            if len(batch) >= LOOKUP_RECORDS or size >= LOOKUP_BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch
