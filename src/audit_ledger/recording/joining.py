"""Taking part in the run of another process: `audit-ledger exec` runs a command, and a script inside joins.

Two environment variables invite: AUDIT_LEDGER_RUN is the id of the run, AUDIT_LEDGER_RUN_REPORT a folder that
only its user can enter. Whoever joins writes a stream of its own, all of whose events name the run, from
RunJoined to RunLeft. The run ends elsewhere; what that end must know is left in the folder as a report, one
file for each that left:

    {"left_at":"2025-12-24T14:00:00+00:00","declared":{"created":5},"counted":{"created":5,"fetched":5},
     "dates":{"data_date_start":"2025-12-23"},"failure":{"error_class":"KeyError","message":"…"}}
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

log = logging.getLogger("audit_ledger")

RUN = "AUDIT_LEDGER_RUN"
REPORT = "AUDIT_LEDGER_RUN_REPORT"

MAX_REPORT_BYTES = 64 << 10
"""No report is longer; a longer file is none."""


@dataclass(frozen=True)
class Invitation:
    """What the environment says of the run to join.

    Attributes:
        run_id: The run.
        folder: Where reports go; None where whoever runs the command wants none.
    """

    run_id: UUID
    folder: Path | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The variables that say so to a child."""
        return {RUN: str(self.run_id), **({} if self.folder is None else {REPORT: str(self.folder)})}


def invitation(environment: Mapping[str, str] = os.environ) -> Invitation | None:
    """The run that this process is invited to join; None where none is, with a warning where it is no id."""
    given = environment.get(RUN)
    if not given:
        return None
    try:
        run_id = UUID(given)
    except ValueError:
        log.warning("%s is %.80r, which is no run's id: this is a run of its own", RUN, given)
        return None
    folder = environment.get(REPORT)
    return Invitation(run_id, Path(folder) if folder else None)


@dataclass(frozen=True)
class Report:
    """What the end of a run must know of a process that took part in it.

    Attributes:
        left_at: When it left.
        declared: Counts that it declared.
        counted: How many records it touched: fetched, created, updated, skipped.
        dates: data_date_start and data_date_end, as far as it declared them.
        failure: error_class, message and backtrace of what it raised, without secrets; empty for nothing.
    """

    left_at: datetime
    declared: dict[str, int] = field(default_factory=dict)
    counted: dict[str, int] = field(default_factory=dict)
    dates: dict[str, date] = field(default_factory=dict)
    failure: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Leave it in the folder, whole or not at all.

        Raises:
            OSError: it cannot be written there.
        """
        name = folder / f"{uuid4()}.json"
        text = json.dumps(
            {
                "left_at": self.left_at.isoformat(),
                "declared": self.declared,
                "counted": self.counted,
                "dates": {key: day.isoformat() for key, day in self.dates.items()},
                "failure": self.failure,
            }
        )
        partial = name.with_suffix(".partial")
        partial.write_text(text)
        partial.replace(name)

    @classmethod
    def read(cls, file: Path) -> Report:
        """The report in a file.

        Raises:
            ValueError, LookupError, TypeError, AttributeError, OSError: it holds none.
        """
        if file.stat().st_size > MAX_REPORT_BYTES:
            raise ValueError(f"more than {MAX_REPORT_BYTES:,} bytes")
        row = json.loads(file.read_text())
        return cls(
            left_at=datetime.fromisoformat(row["left_at"]),
            declared={str(name): int(count) for name, count in row["declared"].items()},
            counted={str(name): int(count) for name, count in row["counted"].items()},
            dates={str(name): date.fromisoformat(day) for name, day in row["dates"].items()},
            failure={str(name): value for name, value in row["failure"].items()},
        )


def reports(folder: Path, tell: Callable[[str], object]) -> list[Report]:
    """The reports in a folder, by when they were left; `tell` is told of a file that holds none."""
    found = []
    for file in folder.glob("*.json"):
        try:
            found.append(Report.read(file))
        except (ValueError, LookupError, TypeError, AttributeError, OSError) as error:
            tell(f"{file} is no report of a process that left the run: {error}")
    return sorted(found, key=lambda report: report.left_at)


def combined(parts: Iterable[Report]) -> Report | None:
    """Several reports as one; None where there are none.

    Counts add up: who did not declare a count that another one declared adds what it touched. The dates span
    all; the failure is the last one.
    """
    parts = list(parts)
    if not parts:
        return None
    declared = {name for part in parts for name in part.declared}
    starts = [part.dates["data_date_start"] for part in parts if "data_date_start" in part.dates]
    ends = [part.dates["data_date_end"] for part in parts if "data_date_end" in part.dates]
    dates = ({"data_date_start": min(starts)} if starts else {}) | (
        {"data_date_end": max(ends)} if ends else {}
    )
    return Report(
        left_at=parts[-1].left_at,
        declared={
            name: sum(part.declared.get(name, part.counted.get(name, 0)) for part in parts)
            for name in sorted(declared)
        },
        dates=dates,
        failure=next((part.failure for part in reversed(parts) if part.failure), {}),
    )
