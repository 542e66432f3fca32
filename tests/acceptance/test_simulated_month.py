"""A month of three tasks on a virtual clock, with failures of each kind: all found and told, none invented.

The months hold the nights when the clocks of Europe/Berlin and America/New_York step. Everything but the
clock is real: the ledger, the watcher, the SMTP server, the receiver of webhooks.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg
import pytest

from audit_ledger import Ledger
from audit_ledger.events import ApiCallMade, Event, HeartbeatRecorded, RecordIngested
from audit_ledger.plan import load_plan
from audit_ledger.store.recorder import LedgerRecorder
from audit_ledger.watching.service import tell
from audit_ledger.watching.watcher import Watcher
from tests.receivers import Mailbox, Webhook
from tests.store import recorder_at
from tests.watching import Clock, end, start

BERLIN, NEW_YORK = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")
SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)
DAYS = 33

PLAN = """
[watch]
channels = ["mail", "hook"]
owner = "ada"
[channels.mail]
url = "mailto://127.0.0.1:{mail}?from=ledger@example.com&to=ops@example.com&mode=insecure"
[channels.hook]
url = "json://127.0.0.1:{hook}/alerts"
[tasks.nightly]
schedule = "30 2 * * *"
timezone = "Europe/Berlin"
expected_duration = "20m"
freshness = "30h"
[tasks.trades]
schedule = "0 9,13,17 * * mon-fri"
timezone = "America/New_York"
min_records = 5
max_records = 500
[tasks.rates]
schedule = "0 */6 * * *"
timezone = "America/New_York"
expected_duration = "10m"
"""


@dataclass
class Month:
    """What happens, when; and what of it is to be found.

    Attributes:
        begin: The first day.
        skipped_night: When the nightly job comes in the night in which its time does not.
    """

    begin: date
    skipped_night: datetime | None
    recorder: LedgerRecorder
    dice: random.Random = field(default_factory=lambda: random.Random(20251026))
    agenda: list[tuple[datetime, Callable[[], object]]] = field(default_factory=list)
    planted: Counter[tuple[str, str]] = field(default_factory=Counter)

    def days(self) -> Iterator[tuple[int, date]]:
        for number in range(DAYS):
            yield number, self.begin + number * DAY

    def plan(self) -> None:
        for number, day in self.days():
            self.nightly(number, self.at(day, 2, 30, BERLIN))
            if day.weekday() < 5:
                for hour in (9, 13, 17):
                    self.trades(number, hour, self.at(day, hour, 0, NEW_YORK))
            for hour in (0, 6, 12, 18):
                self.rates(number, hour, self.at(day, hour, 0, NEW_YORK))
        self.agenda.sort(key=lambda one: one[0])

    def at(self, day: date, hour: int, minute: int, zone: ZoneInfo) -> datetime:
        local = datetime.combine(day, time(hour, minute), zone)
        there = local.astimezone(UTC).astimezone(zone)
        if there.replace(tzinfo=None) != local.replace(tzinfo=None):
            assert self.skipped_night is not None
            return self.skipped_night
        return local.astimezone(UTC)

    def plant(self, *found: tuple[str, str]) -> None:
        self.planted.update(found)

    def nightly(self, number: int, at: datetime) -> None:
        match number:
            case 12:
                self.plant(("failed", "nightly"), ("stale", "nightly"))
                self.run("nightly", at, failed="API error")
            case 15:
                self.plant(("missed", "nightly"), ("stale", "nightly"))
            case 18:
                self.plant(("empty", "nightly"))
                self.run("nightly", at, fetched=0)
            case 22:
                self.plant(("unusual_duration", "nightly"))
                self.run("nightly", at, took=8 * MINUTE)
            case _:
                self.run("nightly", at)

    def trades(self, number: int, hour: int, at: datetime) -> None:
        weekday = (self.begin + number * DAY).weekday()
        match (number // 7, weekday, hour):
            case (1, 1, 13):
                self.plant(("missed", "trades"), ("late", "trades"))
                self.run("trades", at + 40 * MINUTE)
            case (1, 2, 9):
                self.plant(("abandoned", "trades"))
                self.agenda.append((at, partial(start, self.recorder, "trades", at)))
            case (1, 3, 17):
                self.plant(("too_few", "trades"), ("unusual_volume", "trades"))
                self.run("trades", at, fetched=3)
            case (2, 0, 13):
                self.plant(("too_many", "trades"), ("unusual_volume", "trades"))
                self.run("trades", at, fetched=600)
            case (2, 2, 9):
                self.plant(("api_errors", "trades"))
                self.run("trades", at, calls=[(500, 40, 900)] * 4 + [(200, 40, 900)] * 2)
            case (2, 3, 13):
                self.plant(("rate_limited", "trades"))
                self.run("trades", at, calls=[(429, 40, 900)] + [(200, 40, 900)] * 9)
            case (2, 4, 9):
                self.plant(("rate_limit_low", "trades"))
                self.run("trades", at, calls=[(200, 40, 3)])
            case (3, 0, 9):
                self.plant(("slow_endpoint", "trades"))
                self.run("trades", at, calls=[(200, 8000, 900)] * 2)
            case _:
                self.run("trades", at)

    def rates(self, number: int, hour: int, at: datetime) -> None:
        match (number, hour):
            case (9, 6):
                self.plant(("overrun", "rates"), ("unusual_duration", "rates"))
                self.run("rates", at, took=25 * MINUTE, beats=True)
            case (13, 12):
                self.plant(("abandoned", "rates"), ("overrun", "rates"), ("unusual_duration", "rates"))
                self.run("rates", at, took=90 * MINUTE)
            case (17, 18):
                self.plant(("unusual_volume", "rates"))
                self.run("rates", at, fetched=300)
            case (20, 0):
                self.plant(("miscounted", "rates"))
                self.run("rates", at, created=5, records=3)
            case _:
                self.run("rates", at)

    def run(
        self,
        task: str,
        at: datetime,
        *,
        took: timedelta | None = None,
        beats: bool = False,
        calls: list[tuple[int, int, int]] | None = None,
        records: int = 0,
        **more: Any,
    ) -> None:
        """A run: begins within seconds, takes half a minute, brings about a hundred records."""
        begun = at + self.dice.randint(0, 20) * SECOND
        lasts = took or self.dice.randint(20, 45) * SECOND
        given: dict[str, Any] = {"fetched": self.dice.randint(80, 120), **more}
        going_on: list[UUID] = []
        between: list[Event] = [
            ApiCallMade.of(
                endpoint="api.example.com/v1",
                occurred_at=begun,
                http_status_code=status,
                duration_ms=milliseconds,
                rate_limit_remaining=remaining,
            )
            for status, milliseconds, remaining in calls or [(200, 40, 900)] * 3
        ]
        between += [
            RecordIngested.of(
                occurred_at=begun, record_type="Rate", record_id=f"{at:%d%H}-{line}", operation="created"
            )
            for line in range(records)
        ]
        self.agenda.append((begun, lambda: going_on.append(start(self.recorder, task, begun))))
        versions = [1]

        def beat(when: datetime) -> None:
            self.recorder.append(going_on[0], versions[0], [HeartbeatRecorded.of(occurred_at=when)])
            versions[0] += 1

        if beats:
            for minute in range(1, lasts // MINUTE):
                self.agenda.append((begun + minute * MINUTE, partial(beat, begun + minute * MINUTE)))
        ended = begun + lasts
        self.agenda.append(
            (
                ended,
                lambda: end(
                    self.recorder, going_on[0], ended, *between, version=versions[0], took=lasts, **given
                ),
            )
        )


@pytest.mark.parametrize(
    ("begin", "skipped_night"),
    [(date(2025, 10, 6), None), (date(2025, 3, 3), datetime(2025, 3, 30, 1, tzinfo=UTC))],
    ids=["autumn", "spring"],
)
def test_every_planted_failure_of_a_month_is_found_and_told_and_nothing_else(
    begin: date,
    skipped_night: datetime | None,
    url: str,
    ledger: Ledger,
    admin: psycopg.Connection[Any],
    home: Path,
    mailbox: Mailbox,
    webhook: Webhook,
) -> None:
    (home / "ledger.toml").write_text(PLAN.format(mail=mailbox.port, hook=webhook.server_port))
    first = datetime.combine(begin, time(), UTC)
    clock = Clock(admin, first)
    with recorder_at(url) as recorder:
        month = Month(begin, skipped_night, recorder)
        month.plan()
        watcher = Watcher(
            recorder.datastore, recorder, load_plan(home / "ledger.toml"), tell, clock, clock.pauses
        )
        watcher.begin()
        last = month.agenda[-1][0] + 5 * MINUTE
        live(month, watcher, clock, last)
        watcher.stop()
    ledger.update_read_models()
    found = Counter(admin.execute("SELECT kind, task_name FROM findings").fetchall())
    assert found == month.planted
    alerts = ledger.alerts.all()
    assert [alert.title for alert in alerts if alert.resolved_at is None] == []
    raised = Counter(f"❌ {alert.title}" for alert in alerts)
    over = Counter(f"✅ over: {alert.title}" for alert in alerts)
    mailed = Counter(str(message["Subject"]) for message in mailbox.messages)
    posted = Counter(str(body["title"]) for _, body in webhook.received)
    assert mailed == posted
    assert {title: mailed[title] for title in raised} == raised
    assert set(mailed) <= set(raised) | set(over)
    audited = ledger.audit_alerts(first, last)
    assert Counter((one.kind, one.task) for one in audited) == {
        ("failed", "nightly"): 1,
        ("missed", "nightly"): 1,
        ("missed", "trades"): 1,
        ("abandoned", "trades"): 1,
        ("abandoned", "rates"): 1,
    }
    assert all(one.told_at is not None and one.told_at - one.at < 2 * MINUTE for one in audited)


def live(month: Month, watcher: Watcher, clock: Clock, last: datetime) -> None:
    """Let time go by until an instant, from one thing that happens to the next."""
    agenda = iter([*month.agenda, (last, lambda: None)])
    when, happens = next(agenda)
    look: datetime | None = clock.now
    while True:
        if look is not None and look + SECOND < when:
            clock.set(max(clock.now, look + SECOND))
        else:
            clock.set(max(clock.now, when))
            happens()
            when, happens = next(agenda, (datetime.max.replace(tzinfo=UTC), happens))
        look = watcher.step()
        while watcher.busy:
            watcher._sending[0][1].exception()
            look = watcher.step()
        if when > last:
            return
