"""The benchmark runs and measures what it says; how fast is for `make bench` to tell."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.folders import in_memory

MEASURES = 50


def test_the_benchmark_measures_everything() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "--quick"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "TMPDIR": str(in_memory() or tempfile.gettempdir())},
        timeout=300,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("✅") + result.stdout.count("❌") == MEASURES
