"""Verifying an evidence package: hashing, the fold with its comparison, the whole on all cores, and memory.

The packages are of the ledgers that questions as of an instant are asked of, up to the last event but one.
Rates a core are of CPU time. Hashing is that of the verifier with nothing to fold, from the file; hashlib
alone has the same leaves in memory. What the whole takes beyond hashing is the fold and the comparison.
"""

import gc
import hashlib
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from pydantic import SecretStr

import audit_ledger
from audit_ledger.evidence import merkle, tiles
from audit_ledger.evidence import verify as verifier
from audit_ledger.evidence.keys import Signer
from audit_ledger.store.server import SUPERUSER
from tests.benchmarks.as_of import ledger_of
from tests.benchmarks.ground import Ground
from tests.benchmarks.harness import Row, Sizes, quartiles, take_turns, within

LEAVES = 400_000
"""Leaves a second, on one core, that are to be hashed at least."""
EVENTS = 120_000
"""Events a second, on one core, that are to be folded and compared at least."""
STARTED_BY_ONE_THAT_IS_SMALL = """
import resource, subprocess, sys
code = subprocess.call([sys.executable, "-I", *sys.argv[1:]], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""
"""What a process held at most counts what the process had that it was forked from: this one has much."""
MEBIBYTE = 1 << 20
BYTES = 16
"""What an event may take of memory: its share of the ZIP file's directory, and of its run."""
WHOLE = 45 / 10_000_000
"""Seconds an event, on two cores, for all of it."""


def measure(ground: Ground, sizes: Sizes) -> Iterator[Row]:
    """The rows of the table about verifying."""
    with tempfile.TemporaryDirectory() as folder:
        few, many = (package(ground, n, Path(folder)) for n in (sizes.verify_few, sizes.verify_many))
        count = sizes.verify_few
        ours, theirs, all_of_it = take_turns(
            sizes.verify_rounds, lambda: hashing(few, count), lambda: bare(few), lambda: alone(few)
        )
        yield at_least("Verifier: leaves from a file into the root, a core", count, ours, LEAVES)
        yield Row(
            "Verifier: leaves from a file, beside hashlib alone",
            f"{count / median(ours):,.0f} leaves/s",
            f"hashlib, leaves in memory: {count / median(theirs):,.0f} leaves/s",
            median(theirs) / median(ours),
            0.3,
            at_least=True,
            spread=quartiles([b / a for a, b in zip(ours, theirs, strict=True)]),
        )
        folds = [whole - part for whole, part in zip(all_of_it, ours, strict=True)]
        yield at_least("Verifier: fold of the answer and comparison, a core", count, folds, EVENTS)
        (_, memory_few), (large, memory_many) = (apart(file) for file in (few, many))
        cores = os.cpu_count() or 1
        limit = WHOLE * sizes.verify_many * 2 / cores
        yield within(f"Verifier: {sizes.verify_many:,} events, {cores} cores", [large], limit, "s")
        more = (memory_many - memory_few) / (sizes.verify_many - sizes.verify_few)
        yield Row(
            f"Verifier: memory of a process, an event more than {count:,}",
            f"{more:.1f} bytes ({memory_many / MEBIBYTE:,.0f} MiB in all)",
            f"limit: {BYTES} bytes",
            more / BYTES,
            1,
            at_least=False,
        )


def at_least(name: str, count: int, samples: list[float], target: int) -> Row:
    """Hold a rate against the one that is to be reached."""
    rate = count / median(samples)
    spread = quartiles([count / sample / target for sample in samples])
    return Row(
        name, f"{rate:,.0f}/s", f"at least {target:,}/s", rate / target, 1, at_least=True, spread=spread
    )


def package(ground: Ground, events: int, folder: Path) -> Path:
    """A package of a ledger of so many events."""
    url = ground.server.url(SUPERUSER, ledger_of(ground, events))
    with audit_ledger.connect(url) as ledger:
        signer = Signer(str(ledger.ledger_id), bytes(range(32)))
    with audit_ledger.connect(url, sealing_key=SecretStr(signer.key)) as ledger:
        ledger.seal()
        return ledger.evidence(events - 1, folder / f"{events}.zip", keys=[signer.verifier.key]).file


def cpu_seconds(action: Callable[[], object]) -> float:
    """How much of a processor a call takes; it makes no cycles, and the verifier collects none either."""
    gc.collect()
    gc.disable()
    start = time.process_time()
    action()
    taken = time.process_time() - start
    gc.enable()
    return taken


def hashing(file: Path, leaves: int) -> float:
    """CPU seconds to read, check and hash the leaves, where none is to be folded."""
    with tempfile.TemporaryDirectory() as spill:
        found = verifier.Package(file, Path(spill))
        found.zip = zipfile.ZipFile(found.file(file))
        found.leaves = leaves
        found.open()
        ranges = range(-(-leaves // verifier.RANGE))
        try:
            return cpu_seconds(lambda: [found.read_range(task) for task in ranges])
        finally:
            for opened in found.files.values():
                opened.close()


def bare(file: Path) -> float:
    """CPU seconds that hashlib takes for the same leaves, and the tree over them."""
    with zipfile.ZipFile(file) as archive:
        bundles = [(name, archive.read(name)) for name in archive.namelist() if "/entries/" in name]
    leaves = [
        leaf
        for name, data in bundles
        for leaf in tiles.parse_bundle(data, tiles.parse_path(name.removeprefix("log/")).width)
    ]

    def hashed() -> bytes:
        return merkle.root([hashlib.sha256(b"\x00" + leaf).digest() for leaf in leaves])

    return cpu_seconds(hashed)


def alone(file: Path) -> float:
    """CPU seconds of all of it, in one process.

    Raises:
        RuntimeError: the package is not proven.
    """

    def whole() -> None:
        report = verifier.verify(file, jobs=1)
        if report.code:
            raise RuntimeError(str(report))

    return cpu_seconds(whole)


def apart(file: Path) -> tuple[float, float]:
    """Seconds of the verifier as a program on all cores, and the bytes that a process of it held at most.

    Raises:
        RuntimeError: the package is not proven.
    """
    start = time.perf_counter()
    command = [sys.executable, "-I", "-c", STARTED_BY_ONE_THAT_IS_SMALL, verifier.__file__, str(file)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise RuntimeError(f"{file} is not proven: {ran.stdout}{ran.stderr}")
    return time.perf_counter() - start, int(ran.stdout) * 1024
