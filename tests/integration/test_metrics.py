"""Metrics: the endpoint serves what is on record, never less than before, whoever is at work or away."""

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

import audit_ledger
from audit_ledger import Ledger
from audit_ledger.errors import ConfigurationError
from audit_ledger.events import (
    AlertAttempted,
    AlertDelivered,
    AlertFailed,
    AlertRaised,
    AlertResolved,
    ApiCallMade,
    RunAbandoned,
    WatchAdvanced,
)
from audit_ledger.evidence import keyring
from audit_ledger.store.recorder import LedgerRecorder
from audit_ledger.store.server import EmbeddedServer
from audit_ledger.watching import tally
from audit_ledger.watching.metric_families import METRICS, PREFIX
from audit_ledger.watching.metrics import address, serving
from audit_ledger.watching.tally import MAX_ENDPOINTS, OTHER
from tests.store import InThread, recorder_at, until
from tests.watching import end, start

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]
Scrape = Callable[[], "Scraped"]

DOCS = Path(__file__).parents[2] / "docs"
SCRIPT = Path(sys.executable).parent / "audit-ledger"
NOON = datetime(2025, 12, 24, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class Scraped:
    """What one scrape served, parsed as Prometheus parses it."""

    def __init__(self, text: str) -> None:
        self.families = list(text_string_to_metric_families(text))
        self.series: Series = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        return self.series[PREFIX + name, frozenset(labels.items())]

    def of(self, name: str) -> dict[frozenset[tuple[str, str]], float]:
        return {labels: value for (found, labels), value in self.series.items() if found == PREFIX + name}

    @property
    def counters(self) -> Series:
        counted = ("_total", "_bucket", "_count", "_sum")
        return {key: value for key, value in self.series.items() if key[0].endswith(counted)}


def fetch(port: int) -> Scraped:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        return Scraped(answer.read().decode())


def free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


@pytest.fixture
def recorder(url: str) -> Iterator[LedgerRecorder]:
    with recorder_at(url) as made:
        yield made


@pytest.fixture
def scrape(ledger: Ledger) -> Iterator[Scrape]:
    """Scrapes the endpoint of a ledger, the read models brought up to date before."""
    port = free_port()
    with serving(ledger.database, str(port)):

        def scraped() -> Scraped:
            ledger.update_read_models()
            return fetch(port)

        yield scraped


def test_what_is_served_is_what_was_recorded(
    ledger: Ledger, recorder: LedgerRecorder, scrape: Scrape
) -> None:
    for created in (3, 4):
        run = start(recorder, "daily", NOON)
        end(
            recorder,
            run,
            NOON + created * SECOND,
            took=created * SECOND,
            fetched=10,
            created=created,
            updated=1,
        )
    end(
        recorder,
        start(recorder, "daily", NOON),
        NOON,
        failed="API error",
        took=timedelta(seconds=400),
        fetched=0,
    )
    start(recorder, "weekly", NOON)
    seen = scrape()
    assert seen("up") == 1
    assert seen("runs_started_total", task="daily") == 3
    assert seen("runs_total", task="daily", status="completed") == 2
    assert seen("runs_total", task="daily", status="failed") == 1
    assert seen("runs_total", task="weekly", status="completed") == 0
    assert (seen("runs_running", task="daily"), seen("runs_running", task="weekly")) == (0, 1)
    assert seen("records_fetched_total", task="daily") == 20
    assert seen("records_total", task="daily", operation="created") == 7
    assert seen("records_total", task="daily", operation="updated") == 2
    assert seen("last_success_timestamp_seconds", task="daily") == (NOON + 4 * SECOND).timestamp()
    age = datetime.now(UTC) - NOON
    assert seen("last_success_age_seconds", task="daily") == pytest.approx(age.total_seconds(), abs=30)
    assert not any(("task", "weekly") in labels for labels in seen.of("last_success_age_seconds"))
    assert seen("events_total") == seen.series["audit_ledger_events_total", frozenset()] == 7
    assert seen("head_timestamp_seconds") == pytest.approx(datetime.now(UTC).timestamp(), abs=30)
    assert seen("events_set_aside") == 0
    assert seen("watcher_at_work") == 0
    assert set(seen.of("read_model_lag_events").values()) == {0}
    assert seen("info", ledger_id=str(ledger.ledger_id), version=audit_ledger.__version__) == 1


def test_what_is_not_sealed_is_seen_by_events_and_seconds(
    ledger: Ledger, recorder: LedgerRecorder, server: EmbeddedServer, database: str, scrape: Scrape
) -> None:
    seen = scrape()
    assert [seen(name) for name in ("sealed_events", "unsealed_events", "unsealed_seconds")] == [0, 0, 0]
    end(recorder, start(recorder, "daily", NOON), NOON)
    time.sleep(0.01)
    seen = scrape()
    assert (seen("sealed_events"), seen("unsealed_events")) == (0, 2)
    assert 0.01 <= seen("unsealed_seconds") < 30
    with audit_ledger.connect(server.url("ledger_sealer", database)) as sealer:
        keyring.make(sealer.settings, str(ledger.ledger_id))
        sealer.seal()
    seen = scrape()
    assert [seen(name) for name in ("sealed_events", "unsealed_events", "unsealed_seconds")] == [2, 0, 0]
    start(recorder, "daily", NOON)
    seen = scrape()
    assert (seen("sealed_events"), seen("unsealed_events")) == (2, 1)


def test_durations_fall_into_the_bucket_that_holds_their_bound(
    recorder: LedgerRecorder, scrape: Scrape
) -> None:
    for seconds in (0.999, 1, 1.001, 86_400, 86_401):
        end(recorder, start(recorder, "daily", NOON), NOON, took=timedelta(seconds=seconds))
    seen = scrape()
    found = {dict(labels)["le"]: value for labels, value in seen.of("run_duration_seconds_bucket").items()}
    assert (found["1.0"], found["10.0"], found["14400.0"], found["86400.0"], found["+Inf"]) == (2, 3, 3, 4, 5)
    assert seen("run_duration_seconds_count", task="daily") == 5
    assert seen("run_duration_seconds_sum", task="daily") == pytest.approx(172_804)


def alert(recorder: LedgerRecorder, channel: str = "mail") -> tuple[UUID, UUID, dict[str, Any]]:
    """An alert that a channel is being told of: its stream, its id, and what names the attempt."""
    stream, alert_id = uuid4(), uuid4()
    named: dict[str, Any] = {
        "alert_id": alert_id, "attempt": 1, "channel": channel, "notice": "raised", "occurred_at": NOON,
    }  # fmt: skip
    raised = AlertRaised.of(
        alert_id=alert_id,
        channels=(channel,),
        detail="API error",
        kind="failed",
        occurred_at=NOON,
        severity="critical",
        subject="daily",
        title="daily failed",
    )
    recorder.append(stream, 0, [raised, AlertAttempted.of(**named)])
    return stream, alert_id, named


def test_every_metric_is_described_and_served(recorder: LedgerRecorder, scrape: Scrape) -> None:
    run = start(recorder, "daily", NOON)
    call = ApiCallMade.of(endpoint="api.example.com/a", http_status_code=200, occurred_at=NOON)
    end(recorder, run, NOON, call)
    stream, _, named = alert(recorder)
    recorder.append(stream, 2, [AlertDelivered.of(**named), WatchAdvanced.of(occurred_at=NOON, upto=1)])
    seen = scrape()
    served = {family.name: family for family in seen.families if family.name.startswith(PREFIX)}
    for metric in METRICS:
        name = PREFIX + metric.name
        family = served.pop(name if name in served else name.removesuffix("_total"))
        # The text format has no type of its own for an info.
        assert (family.type, family.documentation) == (metric.kind.replace("info", "gauge"), metric.says)
        assert family.samples, name
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels)
    assert served == {}


def test_an_attempt_is_counted_when_it_has_ended_however_much_later(
    recorder: LedgerRecorder, scrape: Scrape
) -> None:
    first, alert_id, one = alert(recorder)
    second, _, two = alert(recorder, "pager")
    before = scrape()
    assert before.of("alert_deliveries_total") == {}
    assert before("alerts_open", severity="critical", kind="failed") == 2
    end(recorder, start(recorder, "daily", NOON), NOON)
    scrape()
    recorder.append(first, 2, [AlertFailed.of(**one, error="refused")])
    recorder.append(second, 2, [AlertDelivered.of(**two)])
    recorder.append(first, 3, [AlertResolved.of(alert_id=alert_id, occurred_at=NOON, reason="made good")])
    recorder.append(second, 3, [AlertResolved.of(alert_id=two["alert_id"], occurred_at=NOON, reason="so")])
    for _ in range(2):
        after = scrape()
        assert after("alert_deliveries_total", channel="mail", status="failed") == 1
        assert after("alert_deliveries_total", channel="pager", status="delivered") == 1
        assert after("alerts_open", severity="critical", kind="failed") == 0


def test_a_run_that_was_found_abandoned_and_ends_after_all_counts_as_both(
    recorder: LedgerRecorder, scrape: Scrape
) -> None:
    run = start(recorder, "daily", NOON)
    found = RunAbandoned.of(
        alert_id=uuid4(),
        detail="silent",
        key="k",
        last_seen_at=NOON,
        occurred_at=NOON,
        run_id=run,
        task="daily",
    )
    recorder.append(uuid4(), 0, [found])
    before = scrape()
    assert before("runs_total", task="daily", status="abandoned") == 1
    assert before("runs_running", task="daily") == 0
    end(recorder, run, NOON, created=5)
    after = scrape()
    assert after("runs_total", task="daily", status="abandoned") == 1
    assert after("runs_total", task="daily", status="completed") == 1
    assert after("records_total", task="daily", operation="created") == 5
    assert after("run_duration_seconds_count", task="daily") == 1


def test_calls_have_the_label_of_one_of_the_first_endpoints_or_that_of_all_others(
    recorder: LedgerRecorder, scrape: Scrape
) -> None:
    def call(endpoint: str, status: int | None = 200) -> ApiCallMade:
        return ApiCallMade.of(endpoint=endpoint, http_status_code=status, occurred_at=NOON)

    run = start(recorder, "daily", NOON)
    first = [call(f"api.example.com/{number}") for number in range(MAX_ENDPOINTS - 1)]
    recorder.append(run, 1, [*first, call("api.example.com/0", 503), call("api.example.com/0", None)])
    seen = scrape()
    assert seen("api_calls_total", endpoint="api.example.com/0", status_class="2xx") == 1
    assert seen("api_calls_total", endpoint="api.example.com/0", status_class="5xx") == 1
    assert seen("api_calls_total", endpoint="api.example.com/0", status_class="none") == 1
    late = [call("late.example.com/a"), call("late.example.com/b"), call("late.example.com/c", 404)]
    recorder.append(run, 2 + MAX_ENDPOINTS, [*late, call("api.example.com/7")])
    for _ in range(2):
        seen = scrape()
        assert seen("api_calls_total", endpoint="late.example.com/a", status_class="2xx") == 1
        assert seen("api_calls_total", endpoint=OTHER, status_class="2xx") == 1
        assert seen("api_calls_total", endpoint=OTHER, status_class="4xx") == 1
        assert seen("api_calls_total", endpoint="api.example.com/7", status_class="2xx") == 2
    endpoints = {dict(labels)["endpoint"] for labels in seen.of("api_calls_total")}
    assert len(endpoints) == MAX_ENDPOINTS + 1


def test_whoever_begins_to_count_later_counts_the_same(
    ledger: Ledger, recorder: LedgerRecorder, scrape: Scrape
) -> None:
    for number in range(5):
        run = start(recorder, f"task {number % 2}", NOON)
        call = ApiCallMade.of(endpoint=f"api.example.com/{number}", occurred_at=NOON)
        end(recorder, run, NOON, call, failed="error" if number == 3 else None)
        scrape()
    counted = scrape().counters
    port = free_port()
    with serving(ledger.database, str(port)):
        other = fetch(port).counters
    assert {key: value for key, value in counted.items() if key[0].startswith(PREFIX)} == {
        key: value for key, value in other.items() if key[0].startswith(PREFIX)
    }


def test_counters_never_fall_and_no_scrape_fails_while_runs_are_recorded(
    ledger: Ledger, recorder: LedgerRecorder, scrape: Scrape
) -> None:
    stop = threading.Event()

    def record() -> int:
        ended = 0
        while not stop.is_set():
            with ledger.run("daily", source="s") as run:
                run.counts(fetched=2, created=2)
            ended += 1
        return ended

    with ExitStack() as stack:
        threads = [InThread(record) for _ in range(2)]
        stack.callback(stop.set)
        last = scrape().counters
        for _ in range(20):
            seen = scrape()
            assert seen("up") == 1
            for key, value in last.items():
                assert seen.counters[key] >= value, key
            last = seen.counters
            # What was read at once agrees.
            counted = seen("runs_total", task="daily", status="completed") if seen.of("runs_total") else 0
            assert sum(seen.of("records_fetched_total").values()) == 2 * counted
    ended = sum(thread.result() for thread in threads)
    seen = scrape()
    assert seen("runs_total", task="daily", status="completed") == ended > 0
    assert seen("records_total", task="daily", operation="created") == 2 * ended


@pytest.mark.parametrize("statement", ["STARTED", "ENDED", "CALLED", "TOLD", "OPEN", "RUNNING"])
def test_what_a_scrape_asks_for_can_be_answered_by_index(
    statement: str, admin: psycopg.Connection[Any]
) -> None:
    given = {"after": 5, "upto": 9, "buckets": [1000], "endpoints": ["a"], "room": 5, "begun": [3]}
    admin.execute("SET enable_seqscan = off")
    plan = admin.execute("EXPLAIN " + getattr(tally, statement), given).fetchall()
    said = "\n".join(line for (line,) in plan)
    assert "Index" in said
    assert "Seq Scan" not in said


def test_read_models_that_lag_are_seen_by_events_and_seconds(
    ledger: Ledger, recorder: LedgerRecorder
) -> None:
    port = free_port()
    with serving(ledger.database, str(port)):
        start(recorder, "daily", NOON)
        start(recorder, "daily", NOON)
        seen = fetch(port)
        assert seen("events_total") == 2
        assert seen("read_model_lag_events", projection="data_ingestion_runs") == 2
        assert 0 < seen("read_model_lag_seconds", projection="data_ingestion_runs") < 60
        assert seen.of("runs_started_total") == {}
        ledger.update_read_models()
        seen = fetch(port)
        assert seen("read_model_lag_events", projection="data_ingestion_runs") == 0
        assert seen("read_model_lag_seconds", projection="data_ingestion_runs") == 0
        assert seen("runs_started_total", task="daily") == 2


def test_a_scrape_while_the_database_is_away_says_so_and_the_next_goes_on_counting(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = EmbeddedServer(home / "own")
    with audit_ledger.connect(home=home / "own", when_away="spool", retry_for=0) as ledger:
        try:
            with ledger.run("daily", source="s"):
                pass
            port = free_port()
            with serving(ledger.database, str(port)):
                before = fetch(port)
                assert before("runs_total", task="daily", status="completed") == 1
                server.stop()
                for _ in range(2):
                    away = fetch(port)
                    assert away("up") == 0
                    named = {f.name for f in away.families if f.name.startswith(PREFIX)}
                    assert named == {PREFIX + "up", PREFIX + "spooled_events"}
                    assert away("spooled_events") == 0
                with ledger.run("daily", source="s"):
                    pass
                assert fetch(port)("spooled_events") == 2
                said = [r for r in caplog.records if "metrics cannot be read" in r.getMessage()]
                assert len(said) == 1
                assert said[0].exc_info is None
                server.ensure_running()
                after = fetch(port)
                assert after("up") == 1
                assert after("spooled_events") == 2
                assert (
                    after.counters.items()
                    >= {
                        key: value for key, value in before.counters.items() if key[0].startswith(PREFIX)
                    }.items()
                )
        finally:
            server.stop()


def watcher(port: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [SCRIPT, "watch", "--metrics", str(port)], stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def test_two_watchers_serve_metrics_and_say_which_is_at_work(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIT_LEDGER_URL", url)
    first, second = free_port(), free_port()

    def here(port: int) -> float | None:
        try:
            return fetch(port)("watcher_here")
        except urllib.error.URLError:
            return None

    one = watcher(first)
    two = None
    try:
        until(lambda: here(first) == 1)
        two = watcher(second)
        until(lambda: here(second) == 0 or two.poll() is not None)
        assert two.poll() is None, two.communicate()[1]  # its port may be another's by now
        standby = fetch(second)
        assert standby("watcher_at_work") == 1
        until(lambda: PREFIX + "watcher_last_look_timestamp_seconds" in {n for n, _ in fetch(first).series})
        assert fetch(first)("watcher_last_look_timestamp_seconds") == pytest.approx(
            datetime.now(UTC).timestamp(), abs=30
        )
        one.send_signal(signal.SIGTERM)
        assert one.wait(20) == 0
        until(lambda: here(second) == 1)
        two.send_signal(signal.SIGTERM)
        assert two.wait(20) == 0
        said = "".join(process.stderr.read() for process in (one, two) if process.stderr)
        assert "Traceback" not in said
    finally:
        for process in (one, two):
            if process is not None:
                if process.poll() is None:
                    process.kill()
                process.communicate()


@pytest.mark.parametrize(
    ("given", "host", "port"),
    [("9464", "127.0.0.1", 9464), ("0.0.0.0:9464", "0.0.0.0", 9464), ("[::1]:0", "::1", 0)],
)
def test_an_address_is_a_port_with_or_without_a_host(given: str, host: str, port: int) -> None:
    assert address(given) == (host, port)


@pytest.mark.parametrize("given", ["", "host", "127.0.0.1:", "::1:9464", "65536", "-1", "http://x:1/"])
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(ConfigurationError, match="HOST"):
        address(given)


def test_a_port_that_is_taken_is_said(ledger: Ledger) -> None:
    port = free_port()
    with (
        serving(ledger.database, str(port)),
        pytest.raises(ConfigurationError, match="choose another port"),
        serving(ledger.database, str(port)),
    ):
        pass


def test_metrics_without_the_package_say_what_to_install(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("audit_ledger.watching.metric")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("audit_ledger.watching.metrics", raising=False)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ConfigurationError, match=re.escape("pip install 'audit-ledger[watch]'")):
        ledger.watch(threading.Event(), metrics="0")


def test_the_examples_and_the_page_name_only_metrics_that_are_served() -> None:
    served = {PREFIX + metric.name for metric in METRICS}
    histograms = {PREFIX + metric.name for metric in METRICS if metric.kind == "histogram"}
    served |= {name + suffix for name in histograms for suffix in ("_bucket", "_count", "_sum")}
    for place in ("examples/grafana-dashboard.json", "examples/prometheus-rules.yml"):
        named = set(re.findall(r"\baudit_ledger_\w+", (DOCS / place).read_text()))
        assert named, place
        assert named - served == set(), place
    table = re.findall(
        r"^\| `(audit_ledger_\w+)` \| (\w+) \| (.*?) \| (.*?) \|$",
        (DOCS / "reference" / "metrics.md").read_text(),
        re.MULTILINE,
    )
    assert table == [
        (
            PREFIX + metric.name,
            metric.kind,
            ", ".join(f"`{label}`" for label in metric.labels),
            metric.says,
        )
        for metric in METRICS
    ]


def expressions() -> list[str]:
    """Every PromQL expression of the examples."""
    rules = yaml.safe_load((DOCS / "examples" / "prometheus-rules.yml").read_text())
    board = json.loads((DOCS / "examples" / "grafana-dashboard.json").read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    return [rule["expr"] for group in rules["groups"] for rule in group["rules"]] + asked


def test_the_examples_hold_rules_and_panels_that_are_complete() -> None:
    rules = yaml.safe_load((DOCS / "examples" / "prometheus-rules.yml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            assert set(rule) >= {"alert", "expr", "for", "labels", "annotations"}
            assert set(rule["annotations"]) == {"summary", "description"}
    board = json.loads((DOCS / "examples" / "grafana-dashboard.json").read_text())
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids)) > 5
    assert all(panel["targets"] and panel["title"] for panel in board["panels"])


@pytest.mark.parametrize("expression", expressions())
def test_an_expression_of_the_examples_is_plausible(expression: str) -> None:
    # promtool is no part of the tests: brackets close, labels are those of the metric, ranges on counters.
    opened: list[str] = []
    for character in re.sub(r'"[^"]*"', "", expression):
        if character in "([{":
            opened.append(character)
        elif character in ")]}":
            assert opened
            assert opened.pop() + character in ("()", "[]", "{}")
    assert opened == []
    by_name = {PREFIX + metric.name: metric for metric in METRICS}
    for name, matchers, span in re.findall(r"\b(audit_ledger_\w+)(\{[^}]*\})?(\[[^]]*\])?", expression):
        metric = by_name.get(name) or by_name[re.sub(r"_(bucket|count|sum)$", "", name)]
        labels = set(re.findall(r"(\w+)(?:=~|!=|!~|=)", matchers))
        assert labels <= {*metric.labels, "le", "job", "instance"}
        if span:
            assert re.fullmatch(r"\[(\d+[smhd]|\$__rate_interval|\$__range)\]", span)
            assert metric.kind in ("counter", "histogram") or "_over_time(" in expression
    for kept in re.findall(r"\bby \(([^)]*)\)", expression):
        known = {label for metric in METRICS for label in metric.labels} | {"le", "instance"}
        assert {label.strip() for label in kept.split(",")} <= known
