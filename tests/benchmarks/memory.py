"""A long run: the memory that it takes, and the room that its events take.

The run is a process of its own (long_run.py), which reads what it holds at most from the system. A
million records are made one at a time, as a script would read them from a socket.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from tests.benchmarks.ground import LEDGER, Ground
from tests.benchmarks.harness import Row, Sizes, within

DATABASE = "bench_memory"
MEBIBYTE = 1 << 20
MEMORY_LIMIT = 64
BYTES_LIMIT = 350


def measure(ground: Ground, sizes: Sizes) -> Iterator[Row]:
    """The rows of the table about a long run."""
    ground.make_ledger(DATABASE)
    before = size(ground)
    for how in ("ingest_many", "record"):
        found = long_run(ground, how, sizes.records)
        yield within(
            f"Memory that {sizes.records:,} records by `{how}` add",
            [(found["peak"] - found["baseline"]) / MEBIBYTE],
            MEMORY_LIMIT,
            "MiB",
        )
        if how == "ingest_many":
            stored = size(ground)
            each = (stored["bytes"] - before["bytes"]) / (stored["events"] - before["events"])
            yield within("Event store a record event, indexes included", [each], BYTES_LIMIT, "bytes")


def long_run(ground: Ground, how: str, count: int) -> dict[str, Any]:
    """Record that many records in one run, in a process of its own; what it says of itself."""
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks.long_run",
        ground.writer_url(DATABASE),
        how,
        str(count),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise RuntimeError(f"the long run failed:\n{ran.stderr}")
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def size(ground: Ground) -> dict[str, int]:
    """How many events there are, and the bytes of their table with its indexes."""
    with ground.administer(DATABASE) as conn:
        row = conn.execute(
            f"SELECT position, pg_total_relation_size('{LEDGER}.events') FROM {LEDGER}.head"
        ).fetchone()
    assert row is not None  # head has one row
    return {"events": row[0], "bytes": row[1]}
