"""What monitors find, and in which words people are told.

A finding is one fact (this run failed; this slot was missed) and has a key, so that it is found once. The
findings of one kind about one subject, from the first to the moment when all is well again, are an incident,
and an incident is one alert.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from audit_ledger.events import AnomalyFound, Kind, RunAbandoned, RunMissed

LEDGER = "the ledger"
"""The subject of what is no task's."""

TITLES: Mapping[str, str] = {
    "abandoned": "was abandoned",
    "api_errors": "had API calls that failed",
    "empty": "brought nothing",
    "failed": "failed",
    "late": "began late",
    "miscounted": "declared other counts than it recorded",
    "missed": "did not run",
    "overrun": "takes too long",
    "rate_limit_low": "has nearly used up a rate limit",
    "rate_limited": "was rate-limited",
    "read_models_behind": "has read models that lag behind",
    "slow_endpoint": "met a slow endpoint",
    "stale": "is stale",
    "too_few": "brought too little",
    "too_many": "brought too much",
    "unusual_duration": "took unusually long",
    "unusual_volume": "brought an unusual number of records",
    "verification_failed": "failed its verification",
}
"""What is said of a subject, by the kind of a finding."""


@dataclass(frozen=True)
class Finding:
    """Something that somebody should look at.

    Attributes:
        kind: What it is.
        key: Which one, in a word; the same fact has the same key whenever it is found.
        detail: What is the matter, in words.
        task: The task; None where it is about the ledger.
        run_id: The run, where it is about one.
        endpoint: The endpoint, where it is about one.
        scheduled_for: When the run was due that was missed.
        last_seen_at: When the run was last heard of that is abandoned.
        values: The figures behind it, JSON.
    """

    kind: Kind
    key: str
    detail: str
    task: str | None = None
    run_id: UUID | None = None
    endpoint: str | None = None
    scheduled_for: datetime | None = None
    last_seen_at: datetime | None = None
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def subject(self) -> str:
        """What the incident is about: with its kind, it says which incident."""
        return self.task or LEDGER

    @property
    def title(self) -> str:
        """The line that an alert begins with."""
        return f"{self.subject} {TITLES[self.kind]}"

    def event(self, alert_id: UUID, at: datetime) -> RunMissed | RunAbandoned | AnomalyFound:
        """The event that puts it on record.

        Args:
            alert_id: The alert of its incident.
            at: When it was found.
        """
        common: dict[str, Any] = {"alert_id": alert_id, "key": self.key, "occurred_at": at, "task": self.task}
        common["detail"] = self.detail[:10_000]
        if self.kind == "missed":
            return RunMissed.of(**common, scheduled_for=self.scheduled_for)
        if self.kind == "abandoned":
            return RunAbandoned.of(**common, run_id=self.run_id, last_seen_at=self.last_seen_at)
        return AnomalyFound.of(
            **common,
            endpoint=self.endpoint,
            kind=self.kind,
            run_id=self.run_id,
            values=dict(self.values) or None,
        )
