"""What is asked of the ledger, and what a package claims: question.json."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from audit_ledger.canonical import canonical_json
from audit_ledger.reading.as_of import Header

COMPLETE = "complete"
INCLUSION = "inclusion only"


@dataclass(frozen=True)
class Narrowed:
    """To what the events of a package are narrowed.

    Attributes:
        by: task, source, record or run.
        values: The task, the source, the run's id, or type and id of the record.
    """

    by: str
    values: tuple[str, ...]

    def __str__(self) -> str:
        return f"the {self.by} {' '.join(self.values)}"

    def as_dict(self) -> dict[str, Any]:
        """As question.json has it."""
        return {self.by: list(self.values) if len(self.values) > 1 else self.values[0]}


@dataclass(frozen=True)
class Question:
    """What a package claims.

    Attributes:
        header: As of when the answer is.
        leaves: How many leaves are in log/: 1 to so many.
        size: That of the checkpoint.
        tables: Those of the answer.
        narrowed: To what it is narrowed; then it shows inclusion only.
        made_at: When it was made.
    """

    header: Header
    leaves: int
    size: int
    tables: tuple[str, ...]
    narrowed: Narrowed | None
    made_at: datetime

    @property
    def kind(self) -> str:
        """Whether it shows that the answer is complete."""
        return COMPLETE if self.narrowed is None else INCLUSION

    @property
    def final(self) -> bool:
        """Whether it is shown that the answer will stay the same: by the next event, unless of a position."""
        return self.header.as_of is None or self.leaves > self.header.position

    def document(self, bodies: int) -> bytes:
        """question.json."""
        header = self.header
        return (
            canonical_json(
                {
                    "as_of": None if header.as_of is None else instant(header.as_of),
                    "asked": header.asked,
                    "bodies": bodies,
                    "kind": self.kind,
                    "leaves": self.leaves,
                    "ledger_id": str(header.ledger_id),
                    "made_at": instant(self.made_at),
                    "narrowed": self.narrowed and self.narrowed.as_dict(),
                    "position": header.position,
                    "recorded_at": instant(header.recorded_at),
                    "set_aside": header.set_aside,
                    "software_version": header.software_version,
                    "tables": list(self.tables),
                }
            )
            + b"\n"
        )


def instant(when: datetime) -> str:
    """An instant as the package has it: UTC, six decimals, Z."""
    return when.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
