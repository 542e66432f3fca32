"""`python -m tests.benchmarks`: measure, print the table, and write it into the docs where asked to."""

import argparse
import signal
import sys
from collections.abc import Callable, Iterator

from rich.console import Console

from tests.benchmarks import (
    append,
    as_of,
    capture,
    execute,
    fold,
    memory,
    runs,
    sealing,
    storage,
    table,
    verify,
    watching,
)
from tests.benchmarks.ground import Ground, ground
from tests.benchmarks.harness import QUICK, Row, Sizes

TOPICS: dict[str, Callable[[Ground, Sizes], Iterator[Row]]] = {
    "append": append.measure,
    "runs": runs.measure,
    "fold": fold.measure,
    "as_of": as_of.measure,
    "watching": watching.measure,
    "sealing": sealing.measure,
    "memory": memory.measure,
    "capture": capture.measure,
    "storage": storage.measure,
    "exec": execute.measure,
    "verify": verify.measure,
}


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "topics", nargs="*", metavar="TOPIC", help=f"any of {', '.join(TOPICS)}; default: all"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run?")
    parser.add_argument("--markdown", action="store_true", help="write the table to the docs as well")
    given = parser.parse_args()
    unknown = set(given.topics) - TOPICS.keys()
    if unknown:
        parser.error(f"no such topic: {', '.join(sorted(unknown))}")
    if given.markdown and (given.quick or given.topics):
        parser.error("--markdown takes the whole benchmark: no --quick, no topics")
    sizes = QUICK if given.quick else Sizes()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped
    rows: list[Row] = []
    console = Console()
    with ground() as place:
        machine = table.describe(place)
        for topic in given.topics or TOPICS:
            console.print(f"{topic} …", style="dim")
            rows += TOPICS[topic](place, sizes)
    table.show(console, rows, machine)
    if given.markdown:
        table.write(rows, machine)


if __name__ == "__main__":
    main()
