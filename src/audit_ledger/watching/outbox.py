"""Whom to tell of which alert, and when: the deliveries that are due, and what became of attempts.

At least once: before a channel is told, AlertAttempted is on record; afterwards AlertDelivered or
AlertFailed. An attempt whose end is not on record, since the watcher was killed, may have arrived: it is made
again, and the message says that it may be the second. A channel that fails is tried again, after 5 s, 10 s,
20 s and so on, up to 15 min, for as long as it takes; after some failures the channel that it escalates to is
told as well.

Pure but for the clock that says how long to wait: what is due is asked for, what happened is said.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from audit_ledger.events import AlertAttempted, AlertDelivered, AlertFailed, Event, Notice
from audit_ledger.plan import Plan
from audit_ledger.watching.findings import LEDGER
from audit_ledger.watching.quiet import held_until

FIRST_PAUSE = 5.0
LONGEST_PAUSE = 900.0
"""Seconds between a failed attempt and the next one."""


@dataclass
class Alert:
    """An alert, as far as telling goes.

    Attributes:
        alert_id: Its UUID.
        subject: A task, or the ledger.
        severity: critical or warning.
        title: What it says, in a line.
        detail: What is the matter.
        channels: Who is told.
        raised_at: When it was raised.
        owner: Who looks after it.
        run_id: The run that it began with.
        acknowledged: Whether somebody has seen it.
        resolved: Why it is over; None while it is open.
    """

    alert_id: UUID
    subject: str
    severity: str
    title: str
    detail: str
    channels: tuple[str, ...]
    raised_at: datetime
    owner: str | None = None
    run_id: UUID | None = None
    acknowledged: bool = False
    resolved: str | None = None


@dataclass
class Delivery:
    """One notice of one alert to one channel.

    Attributes:
        attempts: How many were begun.
        failures: How many failed in a row.
        unknown: Whether the outcome of one is not known.
        delivered_at: When it was delivered last; None where it was not.
        after_end: Whether it was delivered when the alert was over.
        not_before: By the clock of pauses, when to try again.
        under_way: Whether an attempt is being made.
        escalates: The channel in whose place this one is told.
    """

    attempts: int = 0
    failures: int = 0
    unknown: bool = False
    delivered_at: datetime | None = None
    after_end: bool = False
    not_before: float = 0.0
    under_way: bool = False
    escalates: str | None = None


@dataclass(frozen=True)
class Attempt:
    """An attempt to make: AlertAttempted goes on record before it begins.

    Attributes:
        alert: The alert.
        channel: The name of the channel.
        notice: raised or resolved.
        number: Which attempt it is.
        repeated: Whether an earlier one may have arrived.
        escalates: The channel in whose place this one is told.
        title: The message's first line.
        body: The message.
    """

    alert: Alert
    channel: str
    notice: Notice
    number: int
    repeated: bool
    escalates: str | None
    title: str
    body: str

    def begun(self, now: datetime) -> Event:
        """The event that says that it is about to be made."""
        return AlertAttempted.of(**self._named(now), escalates=self.escalates)

    def ended(self, now: datetime, error: str | None) -> Event:
        """The event that says what became of it."""
        if error is None:
            return AlertDelivered.of(**self._named(now), repeated=self.repeated or None)
        return AlertFailed.of(**self._named(now), error=error[:10_000] or "no message")

    def _named(self, now: datetime) -> dict[str, Any]:
        return {
            "alert_id": self.alert.alert_id,
            "attempt": self.number,
            "channel": self.channel,
            "notice": self.notice,
            "occurred_at": now,
        }


@dataclass
class Outbox:
    """The alerts that somebody is still to be told of.

    Attributes:
        clock: Seconds, by which pauses are counted: one that nobody sets.
    """

    clock: Callable[[], float]
    _alerts: dict[UUID, Alert] = field(default_factory=dict)
    _deliveries: dict[tuple[UUID, str, Notice], Delivery] = field(default_factory=dict)

    def add(self, alert: Alert) -> None:
        """An alert was raised, or is on record as one that may not have been told of."""
        self._alerts[alert.alert_id] = alert

    def recall(self, alert_id: UUID, channel: str, notice: Notice, delivery: Delivery) -> None:
        """What is on record of earlier attempts."""
        self._deliveries[alert_id, channel, notice] = delivery

    def acknowledge(self, alert_id: UUID) -> None:
        """Somebody has seen an alert."""
        if alert_id in self._alerts:
            self._alerts[alert_id].acknowledged = True

    def resolve(self, alert_id: UUID, reason: str) -> None:
        """An alert is over."""
        if alert_id in self._alerts:
            self._alerts[alert_id].resolved = reason

    @property
    def under_way(self) -> bool:
        """Whether attempts are being made."""
        return any(delivery.under_way for delivery in self._deliveries.values())

    def due(self, plan: Plan, now: datetime) -> list[Attempt]:
        """The attempts to make now; each counts as under way until `end` is told of it."""
        found = []
        for alert in [*self._alerts.values()]:
            wanted = [*self._wanted(alert, plan, now)]
            if not wanted and alert.resolved is not None and not self._busy(alert):
                self._forget(alert)
            for channel, notice, delivery in wanted:
                if delivery.under_way or delivery.not_before > self.clock():
                    continue
                known = plan.channels.get(channel)
                task = None if alert.subject == LEDGER else alert.subject
                critical = alert.severity == "critical"
                if known is not None and held_until(known, plan.maintenance, task, now, critical=critical):
                    continue
                delivery.under_way = True
                delivery.attempts += 1
                found.append(_attempt(alert, channel, notice, delivery))
        return found

    def end(self, attempt: Attempt, now: datetime, error: str | None) -> Event:
        """What became of an attempt; the event that says so."""
        delivery = self._deliveries[attempt.alert.alert_id, attempt.channel, attempt.notice]
        delivery.under_way = False
        delivery.unknown = False
        if error is None:
            delivery.failures = 0
            delivery.delivered_at = now
            delivery.after_end = attempt.alert.resolved is not None
        else:
            delivery.failures += 1
            delivery.not_before = self.clock() + pause(delivery.failures)
        return attempt.ended(now, error)

    def _wanted(self, alert: Alert, plan: Plan, now: datetime) -> Iterator[tuple[str, Notice, Delivery]]:
        """The deliveries that an alert still lacks."""
        told = dict.fromkeys(alert.channels)
        for name in told.copy():
            self._escalate(alert, name, plan, told)
        for name, instead_of in told.items():
            raised = self._of(alert, name, "raised")
            raised.escalates = raised.escalates or instead_of
            again = plan.task(alert.subject).resend_after
            if raised.delivered_at is None or (
                again is not None
                and not alert.acknowledged
                and alert.resolved is None
                and now - raised.delivered_at >= again
            ):
                yield name, "raised", raised
            elif alert.resolved is not None and not raised.after_end:
                resolved = self._of(alert, name, "resolved")
                if resolved.delivered_at is None:
                    yield name, "resolved", resolved

    def _escalate(self, alert: Alert, name: str, plan: Plan, told: dict[str, str | None]) -> None:
        """Add the channel that one escalates to, where that one fails; and so on."""
        channel = plan.channels.get(name)
        while channel is not None and channel.escalate_to is not None and channel.escalate_to not in told:
            raised = self._deliveries.get((alert.alert_id, channel.name, "raised"))
            known = self._deliveries.get((alert.alert_id, channel.escalate_to, "raised"))
            fails = (
                raised is not None
                and raised.delivered_at is None
                and (raised.failures >= channel.escalate_after)
            )
            if not fails and known is None:
                return
            told[channel.escalate_to] = channel.name
            channel = plan.channels.get(channel.escalate_to)

    def _of(self, alert: Alert, channel: str, notice: Notice) -> Delivery:
        return self._deliveries.setdefault((alert.alert_id, channel, notice), Delivery())

    def _busy(self, alert: Alert) -> bool:
        return any(key[0] == alert.alert_id and one.under_way for key, one in self._deliveries.items())

    def _forget(self, alert: Alert) -> None:
        del self._alerts[alert.alert_id]
        for key in [key for key in self._deliveries if key[0] == alert.alert_id]:
            del self._deliveries[key]


def pause(failures: int) -> float:
    """Seconds to wait after so many failures in a row."""
    return min(FIRST_PAUSE * 2.0 ** min(failures - 1, 20), LONGEST_PAUSE)


def _attempt(alert: Alert, channel: str, notice: Notice, delivery: Delivery) -> Attempt:
    over = alert.resolved is not None
    sign = "✅ over:" if notice == "resolved" else "❌" if alert.severity == "critical" else "⚠️"
    lines = [alert.detail]
    if over:
        lines.append(f"It is over: {alert.resolved}.")
    lines += [
        "",
        f"Raised {alert.raised_at:%Y-%m-%d %H:%M:%S} UTC, {alert.severity}."
        + (f" Owner: {alert.owner}." if alert.owner else ""),
    ]
    if alert.run_id is not None:
        lines.append(f"The run: audit-ledger show {alert.run_id}")
    if not over and not alert.acknowledged:
        lines.append(f"Say that you have seen it: audit-ledger ack {alert.alert_id}")
    if delivery.escalates is not None:
        lines.append(f"The channel {delivery.escalates} could not be told.")
    if delivery.unknown:
        lines.append("This may be the second time that you are told.")
    return Attempt(
        alert,
        channel,
        notice,
        delivery.attempts,
        delivery.unknown,
        delivery.escalates,
        f"{sign} {alert.title}",
        "\n".join(lines),
    )
