"""HTTP capture: what it adds to a call, beside OpenTelemetry and vcrpy.

Each contestant makes the same calls on loopback with one `requests.Session`: a plain one, one inside a run
that captures, one that OpenTelemetry instruments (spans to memory: no bodies, nothing durable), and one that
vcrpy records (to a file). What a contestant adds is its time less that of the plain calls of the same round.
Ours includes everything: redaction, hashing, sending in the background, and a last wait until all is durable.
"""

import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import requests
import vcr
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import audit_ledger
from audit_ledger import Ledger
from tests.benchmarks.ground import Ground
from tests.benchmarks.harness import Row, Sizes, quartiles, seconds, take_turns
from tests.benchmarks.upstream import serving

DATABASE = "bench_capture"


def measure(ground: Ground, sizes: Sizes) -> Iterator[Row]:
    """The rows of the table about capture."""
    ground.make_ledger(DATABASE)
    with serving() as url, audit_ledger.connect(ground.writer_url(DATABASE)) as ledger:
        with Calls(f"{url}/rows", sizes.calls, ledger) as calls:
            plain, ours, theirs, taped = take_turns(
                sizes.call_rounds, calls.plain, calls.ours, calls.spans, calls.tape
            )
        with Calls(f"{url}/new", sizes.calls, ledger) as calls:
            plain_new, ours_new, theirs_new = take_turns(
                sizes.call_rounds, calls.plain, calls.ours, calls.spans
            )
    name = "What capture adds to a call of 2 kB, all durable"
    yield added(name, "OpenTelemetry, to memory", plain, ours, theirs, sizes.calls, 1.5)
    yield added(name, "vcrpy", plain, ours, taped, sizes.calls, 1)
    name = "The same, each answer another"
    yield added(name, "OpenTelemetry, to memory", plain_new, ours_new, theirs_new, sizes.calls, 1.5)


def added(
    name: str,
    peer: str,
    plain: list[float],
    ours: list[float],
    theirs: list[float],
    calls: int,
    target: float,
) -> Row:
    """Compare what two contestants add to the plain calls: ours may be at most `target` times theirs."""
    our_part = [1000 * (a - p) / calls for a, p in zip(ours, plain, strict=True)]
    their_part = [1000 * (b - p) / calls for b, p in zip(theirs, plain, strict=True)]
    our_median, their_median = statistics.median(our_part), statistics.median(their_part)
    return Row(
        name,
        f"{our_median:.3f} ms",
        f"{peer}: {their_median:.3f} ms",
        our_median / their_median,
        target,
        at_least=False,
        spread=quartiles([a / b for a, b in zip(our_part, their_part, strict=True)]),
    )


class Calls:
    """The contestants; each makes its calls and returns the seconds that they took."""

    def __init__(self, url: str, count: int, ledger: Ledger) -> None:
        self._url = url
        self._count = count
        self._ledger = ledger
        self._session = requests.Session()
        self._spans = InMemorySpanExporter()
        self._provider = TracerProvider()
        self._provider.add_span_processor(SimpleSpanProcessor(self._spans))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._session.close()

    def plain(self) -> float:
        """As they are."""
        return seconds(self._call)

    def ours(self) -> float:
        """In a run that captures."""
        with self._ledger.run("bench:capture", "bench", capture=True) as run:

            def call() -> None:
                self._call()
                run.flush()

            return seconds(call)

    def spans(self) -> float:
        """Instrumented by OpenTelemetry."""
        RequestsInstrumentor().instrument(tracer_provider=self._provider)
        try:
            return seconds(self._call)
        finally:
            RequestsInstrumentor().uninstrument()
            assert len(self._spans.get_finished_spans()) == self._count
            self._spans.clear()

    def tape(self) -> float:
        """Recorded by vcrpy."""
        with tempfile.TemporaryDirectory() as folder:

            def record() -> None:
                with vcr.use_cassette(str(Path(folder) / "cassette.yaml"), record_mode="all"):
                    self._call()

            return seconds(record)

    def _call(self) -> None:
        for page in range(self._count):
            answer = self._session.get(
                f"{self._url}?page={page}", headers={"Authorization": "Bearer a-key-of-the-benchmark"}
            )
            assert answer.json()
