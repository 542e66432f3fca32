"""The watcher: looks at what is new and at the clock, puts what it finds on record, and tells channels.

One step folds what is new, lets the monitors look at the tasks that it is about and at those whose time has
come, and appends findings and alerts in one batch, so that a finding on record has its alert on record. Then
what is due goes to the channels, each attempt in a thread of its own; the events about attempts are appended
by the watcher's thread. Killed at any moment, the next watcher goes on from what is on record.

Of several watchers of a ledger one is at work: the one that has the advisory lock. The others wait for it.
"""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from audit_ledger.errors import LedgerError
from audit_ledger.events import (
    AlertRaised,
    AlertResolved,
    Event,
    TaskDefined,
    TaskRemoved,
    WatchAdvanced,
)
from audit_ledger.plan import Channel, Plan
from audit_ledger.store import projections
from audit_ledger.store.database import Database
from audit_ledger.store.event_store import EventStore
from audit_ledger.store.refusals import translated
from audit_ledger.watching import journal
from audit_ledger.watching.findings import LEDGER, Finding
from audit_ledger.watching.history import Era
from audit_ledger.watching.incidents import Incidents
from audit_ledger.watching.monitors import look, next_look
from audit_ledger.watching.outbox import Alert, Attempt, Outbox
from audit_ledger.watching.schedule import previous_slot
from audit_ledger.watching.state import eras_on_record, histories, tasks_on_record
from audit_ledger.watching.verification import Verification

log = logging.getLogger("audit_ledger")

EVERY = timedelta(hours=1)
"""A watcher says at least so often how far it has looked."""

BEHIND = timedelta(minutes=1)
"""Read models may lag for so long."""

NEVER = datetime.max.replace(tzinfo=UTC)
"""When time alone can bring nothing to find."""

Send = Callable[[Channel, Attempt], None]
"""Tell a channel. Raises where it was not delivered."""


@dataclass
class Watcher:
    """One watcher at work.

    Attributes:
        database: The ledger.
        recorder: Its event store.
        plan: What ledger.toml says.
        send: How channels are told.
        clock: This moment, by the clock that recorded_at goes by.
        pauses: Seconds, by a clock that nobody sets.
        verification: Verifies now and then; None: never.
        position: Everything up to here has been looked at.
        looked_at: When it last did; None: not yet.
    """

    database: Database
    recorder: EventStore
    plan: Plan
    send: Send
    clock: Callable[[], datetime]
    pauses: Callable[[], float] = time.monotonic
    verification: Verification | None = None
    position: int = 0
    looked_at: datetime | None = None
    _stream: UUID = field(default_factory=uuid4)
    _version: int = 0
    _said_at: datetime | None = None
    _last_watch: datetime | None = None
    _looks: dict[str, datetime | None] = field(default_factory=dict)
    _looked: dict[str, datetime] = field(default_factory=dict)
    _eras: dict[str, list[Era]] = field(default_factory=dict)
    _behind_since: datetime | None = None
    _incidents: Incidents = field(default_factory=lambda: Incidents(()))
    _outbox: Outbox = field(init=False)
    _threads: ThreadPoolExecutor = field(init=False)
    _sending: list[tuple[Attempt, Future[None]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._outbox = Outbox(self.pauses)
        self._threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="audit-ledger channel")

    # What is on record

    def begin(self) -> None:
        """Take over from what watchers before this one have put on record."""
        head = self._fold()
        last = journal.last_watch(self.database)
        if last is None:  # what went before the first watch is nobody's alert
            self.position = head
            self._append([WatchAdvanced.of(occurred_at=self.clock(), upto=head)])
        else:
            self.position, self._last_watch = last
        self._said_at = self.clock()
        self._incidents = Incidents(journal.incidents(self.database))
        journal.recall(self.database, self._outbox)
        self.define(self.plan)
        self._looks = dict.fromkeys(self._names())

    def define(self, plan: Plan) -> None:
        """From here on, watch by this plan; what is new in it goes on record."""
        now = self.clock()
        known = {
            name: eras[-1].task.definition
            for name, eras in eras_on_record(self.database).items()
            if eras and eras[-1].end is None
        }
        events: list[Event] = [
            TaskDefined.of(definition=task.definition, occurred_at=now, task=name)
            for name, task in plan.tasks.items()
            if known.get(name) != task.definition
        ]
        events += [TaskRemoved.of(occurred_at=now, task=name) for name in known if name not in plan.tasks]
        self._append(events)
        self.plan = plan
        self._eras = eras_on_record(self.database)  # what was appended just now comes with the next step
        self._looks = dict.fromkeys(self._names())

    def stop(self) -> None:
        """Say how far it has looked, wait for the channels that are being told, and put that on record."""
        for _, future in self._sending:
            future.exception()
        self._take_back(self.clock())
        self._append([WatchAdvanced.of(occurred_at=self.clock(), upto=self.position)])
        self._threads.shutdown()

    def abandon(self) -> None:
        """Let go of what is under way: the connection is lost, and what is on record is the truth."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    # A step

    def step(self) -> datetime | None:
        """Look at what is new and at the clock, and tell whoever is to be told.

        Returns:
            When to look again at the latest; None where only an event can bring something new.
        """
        now = self.clock()
        head = self._fold()
        if head > self.position:
            if self.database.query("SELECT FROM task_definitions WHERE id > %s LIMIT 1", [self.position]):
                self._eras = eras_on_record(self.database)
                self._looks = dict.fromkeys(self._names())
            for name in self._touched():
                self._looks[name] = None
        due = [name for name, at in self._looks.items() if at is None or at <= now]
        if due:
            self._look(due, now, head)
        self._lag(head, now)
        self._verify(now)
        self.position = head
        self.looked_at = now
        if self._said_at is None or now - self._said_at >= EVERY:
            self._append([WatchAdvanced.of(occurred_at=now, upto=head)])
            self._said_at = now
        self._tell(now)
        next_at = min((at for at in self._looks.values() if at is not None), default=NEVER)
        return None if next_at == NEVER else next_at

    @property
    def busy(self) -> bool:
        """Whether channels are being told at this moment."""
        return bool(self._sending)

    def _fold(self) -> int:
        with translated(self.database):
            progress = projections.update(self.database, timeout=self.database.settings.projection_timeout)
        return progress.position

    def _names(self) -> list[str]:
        told_of = {incident.subject for incident in self._incidents if incident.subject != LEDGER}
        return sorted({*self.plan.tasks, *tasks_on_record(self.database), *told_of})

    def _touched(self) -> set[str]:
        """The tasks that events since the last look are about; acknowledgements are taken note of."""
        rows = self.database.query(
            "SELECT r.task_name FROM data_ingestion_runs r WHERE r.id > %(after)s"
            " UNION SELECT r.task_name FROM data_ingestion_run_ends f"
            "  JOIN data_ingestion_runs r ON r.id = f.data_ingestion_run_id WHERE f.id > %(after)s"
            " UNION SELECT s.task_name FROM data_ingestion_run_skips s WHERE s.id > %(after)s",
            {"after": self.position},
        )
        for row in self.database.query(
            "SELECT alert_id FROM alerts WHERE acknowledged_position > %(after)s", {"after": self.position}
        ):
            self._outbox.acknowledge(row["alert_id"])
        return {row["task_name"] for row in rows}

    def _look(self, names: Sequence[str], now: datetime, head: int) -> None:
        """Let the monitors look at these tasks."""
        seen = histories(
            self.database,
            self.plan,
            names,
            now=now,
            after=self.position,
            eras=self._eras,
            slots_since={name: self._slots_since(name, now) for name in names},
        )
        found = [(history, one) for history in seen for one in look(history)]
        keys = journal.known_keys(self.database, [one.key for _, one in found]) if found else set()
        events: list[Event] = []
        for history, one in found:
            if one.key not in keys:
                keys.add(one.key)
                runs = {run.run_id: run.position for run in history.runs}
                events += self._incidents.begin(
                    one, self.plan, now, runs.get(one.run_id, 0) if one.run_id else 0
                )
        for history in seen:
            events += self._incidents.end(history)
            self._looks[history.task.name] = next_look(history) or NEVER
            self._looked[history.task.name] = now
        if events:
            self._append([*events, WatchAdvanced.of(occurred_at=now, upto=head)])
            self._said_at = now

    def _slots_since(self, name: str, now: datetime) -> datetime:
        """From when on slots matter: those since the last look, and two before that a run may yet answer."""
        task = self.plan.task(name)
        since = min(self._looked.get(name, self._last_watch or now), now) - task.grace - timedelta(minutes=1)
        if task.schedule is None:
            return since
        for _ in range(2):
            before = previous_slot(task.schedule, task.zone, since)
            since = before - timedelta(microseconds=1) if before is not None else since
        return since

    def _lag(self, head: int, now: datetime) -> None:
        """Whether the read models lag behind the log."""
        (row,) = self.database.query("SELECT position FROM head")
        behind = row["position"] - head > projections.CHUNK
        self._behind_since = (self._behind_since or now) if behind else None
        open_one = next((one for one in self._incidents if one.kind == "read_models_behind"), None)
        if self._behind_since is not None and now - self._behind_since > BEHIND and open_one is None:
            said = f"{row['position'] - head:,} events are not in the read models yet"
            found = Finding("read_models_behind", f"read_models_behind {head}", said)
            self._append(self._incidents.begin(found, self.plan, now))
        elif open_one is not None and not behind:
            self._append([self._incidents.resolve(open_one, "they have caught up", now)])

    def _verify(self, now: datetime) -> None:
        """Verify where it is time; where that failed, an incident begins or goes on, else it is over."""
        came = self.verification and self.verification.step(now, self._threads)
        if not came:
            return
        if came.event is not None:
            self._append([came.event])
        if came.wrong is not None:
            found = Finding(
                "verification_failed", f"verification_failed {now:%Y-%m-%dT%H:%M:%SZ}", came.wrong
            )
            self._append(self._incidents.begin(found, self.plan, now))
            return
        log.info("✅ verified: all is as it was recorded and sealed, at position %d", came.position)
        for incident in self._incidents:
            if incident.kind == "verification_failed":
                self._append(
                    [self._incidents.resolve(incident, "a later verification found no difference", now)]
                )

    # Telling

    def _tell(self, now: datetime) -> None:
        self._take_back(now)
        attempts = self._outbox.due(self.plan, now)
        if not attempts:
            return
        self._append([attempt.begun(now) for attempt in attempts])
        for attempt in attempts:
            self._sending.append((attempt, self._threads.submit(self._send, attempt)))

    def _send(self, attempt: Attempt) -> None:
        channel = self.plan.channels.get(attempt.channel)
        if channel is None:
            raise LedgerError(
                f"there is no channel {attempt.channel}",
                expected="one of those in ledger.toml",
                remedy="define it again, or acknowledge the alert",
            )
        self.send(channel, attempt)

    def _take_back(self, now: datetime) -> None:
        """Put on record what became of the attempts that have ended."""
        ended = [(attempt, future) for attempt, future in self._sending if future.done()]
        self._sending = [(attempt, future) for attempt, future in self._sending if not future.done()]
        events = []
        for attempt, future in ended:
            error = future.exception()
            events.append(
                self._outbox.end(attempt, now, None if error is None else str(error) or repr(error))
            )
            if error is not None:
                log.warning("⚠️ %s: %s was not told: %s", attempt.title, attempt.channel, error)
        self._append(events)

    def _append(self, events: Sequence[Event]) -> None:
        """Append to this watcher's stream, and take note of alerts."""
        if not events:
            return
        self.recorder.append(self._stream, self._version, events)
        self._version += len(events)
        for event in events:
            if isinstance(event, AlertRaised):
                log.error("❌ %s: %s", event.title, event.detail)
                fields: dict[str, Any] = event.model_dump(include=set(Alert.__dataclass_fields__))
                self._outbox.add(Alert(**{**fields, "raised_at": event.occurred_at}))
            elif isinstance(event, AlertResolved):
                log.info("✅ over: %s (%s)", event.alert_id, event.reason)
                self._outbox.resolve(event.alert_id, event.reason)
