"""The table of results: for a terminal, and as Markdown in docs/reference/benchmarks.md."""

import os
import platform
import re
from datetime import UTC, datetime
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from tests.benchmarks.ground import Ground
from tests.benchmarks.harness import Row

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "benchmarks.md"
BEGIN = "<!-- benchmarks: begin -->"
END = "<!-- benchmarks: end -->"
COLUMNS = ("What", "Ours", "Peer or limit", "Ratio (quartiles)", "Target", "")


def describe(ground: Ground) -> str:
    """What it was measured on, in a line."""
    load = f", load average {os.getloadavg()[0]:.1f} at the beginning" if hasattr(os, "getloadavg") else ""
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores,"
        f" {round(psutil.virtual_memory().total / 2**30)} GiB,"
        f" PostgreSQL {ground.server.status().version}, Python {platform.python_version()},"
        f" {datetime.now(UTC):%Y-%m-%d}{load}"
    )


def show(console: Console, rows: list[Row], machine: str) -> None:
    """Print the table."""
    table = Table(caption=machine)
    for column in COLUMNS:
        table.add_column(column, no_wrap=column == "")
    for row in rows:
        table.add_row(*row.cells)
    console.print(table)


def markdown(rows: list[Row], machine: str) -> str:
    """The table as Markdown, with what it was measured on below."""
    lines = [COLUMNS, ("---",) * len(COLUMNS), *(row.cells for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\nMeasured on: {machine}.\n"


def write(rows: list[Row], machine: str) -> None:
    """Put the table between the markers of the page."""
    text = PAGE.read_text()
    between = re.compile(f"(?<={BEGIN}\n).*(?={END})", re.DOTALL)
    if not between.search(text):
        raise SystemExit(f"{PAGE} lacks the lines {BEGIN} and {END}")
    PAGE.write_text(between.sub(lambda _: markdown(rows, machine), text))
