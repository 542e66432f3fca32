"""What changed: from one instant to another, and from one content of a record to the next."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from audit_ledger.reading.as_of import AsOf
from audit_ledger.reading.records import RecordChanges
from audit_ledger.reading.runs import Runs


@dataclass(frozen=True)
class Difference:
    """What changed from one instant to another.

    Attributes:
        earlier: The ledger as of the one.
        later: The ledger as of the other.
    """

    earlier: AsOf
    later: AsOf

    @property
    def started(self) -> Runs:
        """The runs that began in between, as they were at the later instant."""
        return self.later.runs.where("id > {after}", after=self.earlier.header.position)

    @property
    def ended(self) -> Runs:
        """The runs that ended in between."""
        return self.later.runs.where(
            "id IN (SELECT f.data_ingestion_run_id FROM data_ingestion_run_ends f"
            "        WHERE f.first AND f.id > {after})",
            after=self.earlier.header.position,
        )

    @property
    def records(self) -> RecordChanges:
        """The records that were created, updated or withdrawn, the oldest change first."""
        return RecordChanges.since(self.later._reader, self.earlier.header.position)  # noqa: SLF001


@dataclass(frozen=True)
class FieldChange:
    """How one value of a content differs from the one before.

    Attributes:
        path: Where, as a JSON Pointer (RFC 6901); empty for the content itself.
        change: added, removed or changed.
        before: What was there.
        after: What is there.
    """

    path: str
    change: Literal["added", "removed", "changed"]
    before: Any
    after: Any


CHANGES: dict[str, Literal["added", "removed"]] = {
    "dictionary_item_added": "added",
    "iterable_item_added": "added",
    "dictionary_item_removed": "removed",
    "iterable_item_removed": "removed",
}


def field_changes(before: Any, after: Any) -> list[FieldChange]:
    """The values that differ between two contents, by path."""
    from deepdiff import DeepDiff  # takes half a second to import

    found: list[FieldChange] = []
    for kind, levels in DeepDiff(before, after, view="tree", threshold_to_diff_deeper=0).items():
        for level in levels:
            path = "".join(f"/{_escaped(step)}" for step in level.path(output_format="list"))
            change: Literal["added", "removed", "changed"] = CHANGES.get(kind, "changed")
            found.append(
                FieldChange(
                    path,
                    change,
                    None if change == "added" else level.t1,
                    None if change == "removed" else level.t2,
                )
            )
    return sorted(found, key=lambda one: one.path)


def _escaped(step: object) -> str:
    """A step of a JSON Pointer (RFC 6901 section 3)."""
    return str(step).replace("~", "~0").replace("/", "~1")


def versions_compared(versions: list[Any]) -> Iterator[tuple[Any, list[FieldChange]]]:
    """Each version but the oldest with what it changed, newest first."""
    for later, earlier in itertools.pairwise(versions):
        yield later, field_changes(earlier.content, later.content)
