"""One long run in a process of its own: `long_run URL record|ingest_many COUNT`; prints JSON.

{"baseline": …, "peak": …}    bytes of resident memory: once connected, and at most until the end
"""

import gc
import json
import re
import resource
import sys
from itertools import islice
from pathlib import Path

import psutil

import audit_ledger
from audit_ledger import Run
from tests.benchmarks.rows import RECORD_TYPE, record_id, trades

BATCH = 1000


def main() -> None:
    """Connect, look, record, look again."""
    url, how, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with audit_ledger.connect(url) as ledger:
        gc.collect()
        baseline = psutil.Process().memory_info().rss
        with ledger.run("bench:long", source="bench") as run:
            {"record": record, "ingest_many": ingest_many}[how](run, count)
        print(json.dumps({"baseline": baseline, "peak": peak()}))


def record(run: Run, count: int) -> None:
    """One at a time, each with what the application did."""
    for number in range(count):
        run.record(RECORD_TYPE, record_id(number), "created")


def ingest_many(run: Run, count: int) -> None:
    """A thousand at a time, each with its content."""
    source = trades(count)
    while batch := dict(islice(source, BATCH)):
        run.ingest_many(RECORD_TYPE, batch)


def peak() -> int:
    """The most resident memory that this process has had, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count what the parent held when it made this process
        found = re.search(r"^VmHWM:\s*(\d+) kB", status.read_text(), re.MULTILINE)
        assert found is not None  # Linux tells
        return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS: in bytes


if __name__ == "__main__":
    main()
