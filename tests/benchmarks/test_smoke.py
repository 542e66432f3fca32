"""The benchmark runs and measures what it says; how fast is for `make bench` to tell."""

import subprocess
import sys
from pathlib import Path

MEASURES = 50


def test_the_benchmark_measures_everything() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "--quick"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
        timeout=300,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("✅") + result.stdout.count("❌") == MEASURES
