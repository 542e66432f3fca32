"""Every metric that is served of a ledger: name, kind, labels, and what it is (the HELP that is scraped).

By the conventions of Prometheus: base units, seconds since 1970 for instants, `_total` for what only grows.
"""

from dataclasses import dataclass
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)

PREFIX = "audit_ledger_"


@dataclass(frozen=True)
class Described:
    """A metric.

    Attributes:
        name: As it is scraped, without the prefix; that of a histogram without what its series add.
        kind: counter, gauge, histogram or info.
        labels: Names of its labels.
        says: What it is.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    says: str

    def family(self) -> Any:
        """An empty family of it."""
        made = {
            "counter": CounterMetricFamily,
            "gauge": GaugeMetricFamily,
            "histogram": HistogramMetricFamily,
            "info": InfoMetricFamily,
        }[self.kind]
        name = (PREFIX + self.name).removesuffix("_info")  # the library puts it back
        return made(name, self.says, labels=self.labels)


def _gauge(name: str, says: str, *labels: str) -> Described:
    return Described(name, "gauge", labels, says)


def _counter(name: str, says: str, *labels: str) -> Described:
    return Described(name, "counter", labels, says)


METRICS = (
    _gauge("up", "Whether the ledger could be read for this scrape."),
    Described("info", "info", ("ledger_id", "version"), "The ledger, and the version of this software."),
    _gauge("scrape_duration_seconds", "How long it took to read the ledger for this scrape."),
    _counter("events_total", "Events on record: the position of the head."),
    _gauge("head_timestamp_seconds", "When the last event was recorded."),
    _gauge(
        "unanchored_events",
        "Events behind the last anchored checkpoint: what who has the key and all rights could rewrite.",
    ),
    _gauge("unanchored_seconds", "How long ago the first of them was recorded; 0 where there is none."),
    _gauge(
        "writes_refused", "Whether the ledger refuses events, since a checkpoint kept elsewhere convicts it."
    ),
    _gauge("events_set_aside", "Events that could not be folded into the read models."),
    _gauge("sealed_events", "Events that a signed checkpoint covers; 0 where nothing was ever sealed."),
    _gauge("unsealed_events", "Events that no checkpoint covers yet: durable, not proven."),
    _gauge("unsealed_seconds", "How long ago the first of them was recorded; 0 where there is none."),
    _gauge("read_model_lag_events", "Events that a projection has yet to fold.", "projection"),
    _gauge(
        "read_model_lag_seconds",
        "How long ago the first of them was recorded; 0 where there is none.",
        "projection",
    ),
    _counter("runs_started_total", "Runs that began.", "task"),
    _counter(
        "runs_total",
        "Runs that completed or failed, and runs that were found abandoned, which may end after all.",
        "task",
        "status",
    ),
    _gauge("runs_running", "Runs that go on.", "task"),
    Described(
        "run_duration_seconds",
        "histogram",
        ("task",),
        "How long runs took that completed or failed, by their own monotonic clock.",
    ),
    _counter("records_fetched_total", "Records that runs had fetched when they ended.", "task"),
    _counter(
        "records_total",
        "Records that runs had created, updated or skipped when they ended: declared, else counted.",
        "task",
        "operation",
    ),
    _gauge(
        "last_success_timestamp_seconds", "When the last run that completed did, by its own clock.", "task"
    ),
    _gauge("last_success_age_seconds", "How long ago that was, by the clock of the database.", "task"),
    _counter(
        "api_calls_total",
        "API calls by the class of their status code, 1xx to 9xx, or none where no answer came.",
        "endpoint",
        "status_class",
    ),
    _gauge("alerts_open", "Alerts whose incident is not over.", "severity", "kind"),
    _counter(
        "alert_deliveries_total", "Attempts to tell a channel, delivered or failed.", "channel", "status"
    ),
    _gauge("spooled_events", "Events that wait on this host for the database, those set aside included."),
    _gauge("watcher_at_work", "Whether a watcher of the ledger is at work, here or elsewhere."),
    _gauge("watcher_here", "Whether that is the watcher of this process; 0 while it waits for its turn."),
    _gauge(
        "watcher_last_look_timestamp_seconds",
        "When the watcher here looked last; else when one last said so on record, every hour at least.",
    ),
)
