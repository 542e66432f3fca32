"""What watchers find, and whom they tell: tasks, findings, alerts."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from audit_ledger.canonical import MAX_INTEGER
from audit_ledger.events.form import Event, Instant, Name, Reason, Text, document
from audit_ledger.events.limits import MAX_COUNT

AnomalyKind = Literal[
    "api_errors",
    "empty",
    "failed",
    "late",
    "miscounted",
    "overrun",
    "rate_limit_low",
    "rate_limited",
    "read_models_behind",
    "slow_endpoint",
    "stale",
    "too_few",
    "too_many",
    "unusual_duration",
    "unusual_volume",
    "verification_failed",
]
Kind = AnomalyKind | Literal["missed", "abandoned"]
"""What a watcher can find."""

Notice = Literal["raised", "resolved"]
"""What a channel is told of an alert."""


class TaskDefined(Event):
    """From here on a task is watched as `definition` says: its table in ledger.toml."""

    definition: Annotated[dict[str, Any], document("definition")]
    occurred_at: Instant
    task: Name
    v: Literal[1] = 1


class TaskRemoved(Event):
    """ledger.toml no longer names a task."""

    occurred_at: Instant
    task: Name
    v: Literal[1] = 1


class WatchAdvanced(Event):
    """A watcher has looked at everything up to a position."""

    occurred_at: Instant
    upto: Annotated[int, Field(strict=True, ge=0, le=MAX_INTEGER)]
    v: Literal[1] = 1


class RunMissed(Event):
    """A watcher found that a run did not begin when it was due. `key` says what was found, once."""

    alert_id: UUID
    detail: Text
    key: Name
    occurred_at: Instant
    scheduled_for: Instant
    task: Name
    v: Literal[1] = 1


class RunAbandoned(Event):
    """A watcher found that a run shows no sign of life. Provisional: a real end recorded later wins."""

    alert_id: UUID
    detail: Text
    key: Name
    last_seen_at: Instant
    occurred_at: Instant
    run_id: UUID
    task: Name
    v: Literal[1] = 1


class AnomalyFound(Event):
    """A watcher found something else that is not as it should be."""

    alert_id: UUID
    detail: Text
    endpoint: Text | None = None
    key: Name
    kind: AnomalyKind
    occurred_at: Instant
    run_id: UUID | None = None
    task: Name | None = None
    v: Literal[1] = 1
    values: Annotated[dict[str, Any], document("values")] | None = None


class AlertRaised(Event):
    """An incident began: somebody is to be told. What is found until it is resolved belongs to it."""

    alert_id: UUID
    channels: tuple[Name, ...]
    detail: Text
    kind: Kind
    occurred_at: Instant
    owner: Text | None = None
    run_id: UUID | None = None
    severity: Literal["critical", "warning"]
    subject: Name
    title: Text
    v: Literal[1] = 1


class AlertAttempted(Event):
    """A watcher is about to tell a channel of an alert."""

    alert_id: UUID
    attempt: Annotated[int, Field(strict=True, ge=1, le=MAX_COUNT)]
    channel: Name
    escalates: Name | None = None
    notice: Notice
    occurred_at: Instant
    v: Literal[1] = 1


class AlertDelivered(Event):
    """A channel took an alert; `repeated` where an earlier attempt, cut short, may have arrived as well."""

    alert_id: UUID
    attempt: Annotated[int, Field(strict=True, ge=1, le=MAX_COUNT)]
    channel: Name
    notice: Notice
    occurred_at: Instant
    repeated: bool | None = None
    v: Literal[1] = 1


class AlertFailed(Event):
    """A channel did not take an alert."""

    alert_id: UUID
    attempt: Annotated[int, Field(strict=True, ge=1, le=MAX_COUNT)]
    channel: Name
    error: Text
    notice: Notice
    occurred_at: Instant
    v: Literal[1] = 1


class AlertAcknowledged(Event):
    """Somebody has seen an alert, and looks after it."""

    alert_id: UUID
    by: Name
    occurred_at: Instant
    reason: Reason | None = None
    v: Literal[1] = 1


class AlertResolved(Event):
    """An incident is over."""

    alert_id: UUID
    occurred_at: Instant
    reason: Reason
    v: Literal[1] = 1
