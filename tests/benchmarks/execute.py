"""What `audit-ledger exec` adds to a command: `true`, on a running server, with and without it.

The embedded ledger, and one by URL. Installed packages have their bytecode beside them; a checkout may not,
so that it is written to a folder of the benchmark's own.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from audit_ledger.store.server import DATABASE
from tests.benchmarks.ground import Ground
from tests.benchmarks.harness import Row, Sizes, seconds, take_turns, within

LIMIT = 250
EXEC = (str(Path(sys.executable).parent / "audit-ledger"), "exec", "--task", "t", "--source", "bench", "--")


def measure(ground: Ground, sizes: Sizes) -> Iterator[Row]:
    """The rows of the table about exec."""
    with tempfile.TemporaryDirectory() as bytecode:
        own = {"AUDIT_LEDGER_CONFIG": str(ground.home / "none.toml"), "PYTHONPYCACHEPREFIX": bytecode}
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        places = {
            "embedded": {"AUDIT_LEDGER_HOME": str(ground.home)},
            "by URL": {"AUDIT_LEDGER_URL": ground.writer_url(DATABASE)},
        }
        _run([*EXEC, "true"], environment | own | places["embedded"])  # makes the ledger
        for name, place in places.items():
            given = environment | own | place
            ours, bare = take_turns(
                sizes.starts * 3,
                lambda given=given: seconds(lambda: _run([*EXEC, "true"], given)),  # type: ignore[misc]
                lambda given=given: seconds(lambda: _run(["true"], given)),  # type: ignore[misc]
            )
            added = [1000 * (with_it - median(bare)) for with_it in ours]
            yield within(f"exec adds to `true`, {name}", added, LIMIT, "ms")


def _run(command: list[str], environment: dict[str, str]) -> None:
    subprocess.run(command, check=True, env=environment)
