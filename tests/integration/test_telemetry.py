"""OpenTelemetry: where the setting says so, a run is a span and metrics; otherwise it costs nothing."""

import asyncio
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from opentelemetry import metrics, trace
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import audit_ledger
from audit_ledger import Ledger
from tests.api_server import serving

SECRET = "hunter2-" + "correct-horse"


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    with audit_ledger.connect(url, otel=True) as connected:
        yield connected


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Keeps the spans that a program would export."""
    made = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(made))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return made


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> InMemoryMetricReader:
    """Keeps the metrics that a program would export."""
    made = InMemoryMetricReader()
    provider = MeterProvider([made], shutdown_on_exit=False)
    monkeypatch.setattr("opentelemetry.metrics._internal._METER_PROVIDER", provider)
    return made


def told(reader: InMemoryMetricReader) -> dict[str, list[tuple[dict[str, Any], float]]]:
    """The points of each metric: attributes, and the value or the sum."""
    data = reader.get_metrics_data()
    assert data is not None
    return {
        metric.name: [
            (dict(point.attributes or {}), float(getattr(point, "value", getattr(point, "sum", 0))))
            for point in metric.data.data_points
        ]
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return {name.removeprefix("audit_ledger."): value for name, value in (span.attributes or {}).items()}


def test_a_run_is_a_span_with_what_it_was_and_brought(ledger: Ledger, exporter: InMemorySpanExporter) -> None:
    with ledger.run("daily", source="s") as run:
        run.ingest("Trade", 1, {"a": 1})
    (span,) = exporter.get_finished_spans()
    assert span.name == "audit_ledger.run"
    assert span.status.is_ok
    assert attributes(span) == {
        "run_id": str(run.id),
        "task": "daily",
        "source": "s",
        "status": "completed",
        "records.fetched": 1,
        "records.created": 1,
        "records.updated": 0,
        "records.skipped": 0,
    }
    row = ledger.find_run(run.id)
    assert row.completed_at is not None
    began, ended = round(run.started_at.timestamp() * 1e6), round(row.completed_at.timestamp() * 1e6)
    assert (span.start_time, span.end_time) == (began * 1000, ended * 1000)


def test_a_failure_is_told_without_its_secrets(ledger: Ledger, exporter: InMemorySpanExporter) -> None:
    with pytest.raises(RuntimeError), ledger.run("daily", source="s"):
        raise RuntimeError(f"https://user:{SECRET}@example.com is away")
    (span,) = exporter.get_finished_spans()
    assert attributes(span)["status"] == "failed"
    assert not span.status.is_ok
    (event,) = span.events
    assert event.name == "exception"
    assert event.attributes is not None
    assert event.attributes["exception.type"] == "RuntimeError"
    assert "is away" in str(event.attributes["exception.message"])
    assert "test_telemetry.py" in str(event.attributes["exception.stacktrace"])
    assert SECRET not in span.to_json()


def test_its_parent_is_what_was_current_and_what_happens_inside_lies_beneath(
    ledger: Ledger, exporter: InMemorySpanExporter
) -> None:
    tracer = trace.get_tracer("job")
    with tracer.start_as_current_span("job") as job:
        with ledger.run("daily", source="s"), tracer.start_as_current_span("step"):
            pass
        ledger.log_ingestion(
            task_name="other",
            data_source="s",
            fetch=lambda run: tracer.start_span("beneath").end(),
        )
        assert trace.get_current_span() is job
    spans = {attributes(span).get("task", span.name): span for span in exporter.get_finished_spans()}
    assert set(spans) == {"job", "daily", "step", "other", "beneath"}

    def parent(name: str) -> int | None:
        found = spans[name].parent
        return found.span_id if found else None

    def own(name: str) -> int:
        context = spans[name].get_span_context()
        assert context is not None
        return context.span_id

    assert parent("daily") == parent("other") == own("job")
    assert parent("step") == own("daily")
    assert parent("beneath") == own("other")


def test_runs_of_tasks_of_asyncio_keep_their_spans_apart(
    ledger: Ledger, exporter: InMemorySpanExporter
) -> None:
    async def work(task: str) -> None:
        async with ledger.run(task, source="s"):
            await asyncio.sleep(0.01)
            trace.get_tracer("t").start_span(f"in {task}").end()

    async def both() -> None:
        await asyncio.gather(work("one"), work("two"))

    asyncio.run(both())
    spans = {attributes(span).get("task", span.name): span for span in exporter.get_finished_spans()}
    for task in ("one", "two"):
        parent, context = spans[f"in {task}"].parent, spans[task].get_span_context()
        assert parent is not None
        assert context is not None
        assert parent.span_id == context.span_id


def test_calls_are_told_once_by_the_instrumentation_of_their_client_beneath_the_run(
    ledger: Ledger, exporter: InMemorySpanExporter
) -> None:
    instrumentor = RequestsInstrumentor()
    instrumentor.instrument()
    try:
        with serving() as api, ledger.run("daily", source="s", capture=True) as run:
            requests.get(f"{api.url}/rows", timeout=10)
    finally:
        instrumentor.uninstrument()
    assert ledger.find_run(run.id).calls.count() == 1
    call, whole = exporter.get_finished_spans()
    assert whole.name == "audit_ledger.run"
    context = whole.get_span_context()
    assert call.parent is not None
    assert context is not None
    assert call.parent.span_id == context.span_id


def test_runs_durations_and_records_are_metrics(ledger: Ledger, reader: InMemoryMetricReader) -> None:
    for created in (2, 3):
        with ledger.run("daily", source="s") as run:
            run.counts(fetched=9, created=created, updated=1)
    with pytest.raises(RuntimeError), ledger.run("daily", source="s"):
        raise RuntimeError("API error")
    seen = told(reader)
    of_run = {"audit_ledger.task": "daily", "audit_ledger.source": "s"}
    completed, failed = (
        {**of_run, "audit_ledger.status": "completed"},
        {**of_run, "audit_ledger.status": "failed"},
    )
    assert seen["audit_ledger.runs"] == [(completed, 2), (failed, 1)]
    assert [labels for labels, _ in seen["audit_ledger.run.duration"]] == [completed, failed]
    records = {labels["audit_ledger.operation"]: value for labels, value in seen["audit_ledger.records"]}
    assert (records["created"], records["updated"], records["skipped"]) == (5, 2, 0)


class Broken(SpanProcessor):
    """Fails wherever it can."""

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        raise RuntimeError(SECRET)

    def on_end(self, span: Any) -> None:
        raise RuntimeError(SECRET)


def test_what_fails_in_opentelemetry_does_not_reach_the_script(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Broken())
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    with ledger.run("daily", source="s") as run:
        pass
    assert ledger.find_run(run.id).status == "completed"
    assert "could not be told" in caplog.text
    assert SECRET not in caplog.text


def test_without_the_package_a_run_goes_on_and_says_what_to_install(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with caplog.at_level(logging.WARNING), ledger.run("daily", source="s") as run:
        pass
    assert ledger.find_run(run.id).status == "completed"
    assert "pip install 'audit-ledger[otel]'" in caplog.text


def test_it_is_off_unless_set_and_then_nothing_of_it_is_imported(url: str) -> None:
    script = (
        "import sys, audit_ledger\n"
        "with audit_ledger.connect(sys.argv[1]) as ledger, ledger.run('daily', source='s') as run:\n"
        "    assert run.telemetry is None\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
    )
    subprocess.run([sys.executable, "-c", script, url], check=True, timeout=60)


def test_the_setting_comes_from_the_environment(
    url: str, exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIT_LEDGER_OTEL", "true")
    with audit_ledger.connect(url) as connected, connected.run("daily", source="s"):
        pass
    assert len(exporter.get_finished_spans()) == 1
    assert metrics.get_meter_provider() is not None
