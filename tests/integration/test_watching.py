"""The watcher: what it finds is on record once, and told at least once, whatever is killed or away."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

import audit_ledger
from audit_ledger import Ledger
from audit_ledger.errors import ConfigurationError, DeliveryFailed
from audit_ledger.evidence import keyring, sealing
from audit_ledger.plan import Channel, Plan, load_plan
from audit_ledger.settings import load
from audit_ledger.store.database import Database
from audit_ledger.store.recorder import LedgerRecorder
from audit_ledger.watching.outbox import Attempt
from audit_ledger.watching.service import watch
from audit_ledger.watching.verification import Verification, verdict
from audit_ledger.watching.watcher import Watcher
from tests.receivers import Webhook
from tests.store import InThread, events, recorder_at, until
from tests.watching import Clock, end, start

Admin = psycopg.Connection[Any]

NINE = datetime(2025, 12, 24, 9, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class Channels:
    """Keeps what channels are told; a channel that is down fails."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []
        self.attempts: list[Attempt] = []
        self.down: set[str] = set()

    def __call__(self, channel: Channel, attempt: Attempt) -> None:
        self.attempts.append(attempt)
        if channel.name in self.down:
            raise DeliveryFailed(f"{channel.name} is down")
        self.told.append((channel.name, attempt.notice, attempt.alert.title))

    def said(self, channel: str = "mail") -> list[tuple[str, str]]:
        return [(notice, title) for name, notice, title in self.told if name == channel]


@pytest.fixture
def channels() -> Channels:
    return Channels()


@pytest.fixture
def recorder(url: str) -> Iterator[LedgerRecorder]:
    with recorder_at(url) as made:
        yield made


@pytest.fixture
def clock(admin: Admin) -> Clock:
    return Clock(admin, NINE)


def plan(home: Path, text: str = "") -> Plan:
    """A plan of a task that is due at ten, and two channels."""
    file = home / "plan.toml"
    file.write_text(
        '[watch]\nchannels = ["mail"]\nmin_records = 0\n'.replace("min_records = 0\n", "")
        + '[channels.mail]\nurl = "json://127.0.0.1/mail"\nescalate_to = "pager"\n'
        + '[channels.pager]\nurl = "json://127.0.0.1/pager"\n'
        + (text or '[tasks.daily]\nschedule = "0 10 * * *"\n')
    )
    return load_plan(file)


@contextmanager
def watching(
    recorder: LedgerRecorder, clock: Clock, channels: Any, planned: Plan, *, stop: bool = True
) -> Iterator[Watcher]:
    watcher = Watcher(recorder.datastore, recorder, planned, channels, clock, clock.pauses)
    watcher.begin()
    yield watcher
    if stop:
        watcher.stop()


def step(watcher: Watcher) -> None:
    """A step, and what comes of it, until nobody is being told."""
    watcher.step()
    while watcher.busy:
        watcher._sending[0][1].exception()
        watcher.step()
    watcher._fold()


def findings(admin: Admin) -> list[tuple[str, str | None]]:
    return admin.execute("SELECT kind, task_name FROM findings ORDER BY id").fetchall()


def test_a_failed_run_is_found_told_and_over_when_a_later_one_completes(
    recorder: LedgerRecorder, clock: Clock, channels: Channels, admin: Admin, home: Path
) -> None:
    with watching(recorder, clock, channels, plan(home)) as watcher:
        run = start(recorder, "other", NINE)
        end(recorder, run, NINE, failed="API error")
        step(watcher)
        assert findings(admin) == [("failed", "other")]
        assert channels.said() == [("raised", "other failed")]
        (alert,) = admin.execute("SELECT run_id, detail, owner, resolved_reason FROM alerts").fetchall()
        assert alert == (run, "API error", None, None)
        step(watcher)
        assert len(channels.told) == 1
        end(recorder, start(recorder, "other", NINE + MINUTE), NINE + MINUTE)
        step(watcher)
        assert channels.said() == [("raised", "other failed"), ("resolved", "other failed")]
        assert admin.execute("SELECT resolved_reason FROM alerts").fetchall() == [("a later run completed",)]


def test_one_alert_an_incident_however_many_findings(
    recorder: LedgerRecorder, clock: Clock, channels: Channels, admin: Admin, home: Path
) -> None:
    with watching(recorder, clock, channels, plan(home)) as watcher:
        for _ in range(3):
            end(recorder, start(recorder, "other", NINE), NINE, failed="API error")
            step(watcher)
        assert findings(admin) == [("failed", "other")] * 3
        assert channels.said() == [("raised", "other failed")]
        alerts = admin.execute("SELECT DISTINCT alert_id FROM findings").fetchall()
        assert len(alerts) == 1


def test_a_failure_that_was_made_good_before_anybody_looked_is_told_all_the_same(
    recorder: LedgerRecorder, clock: Clock, channels: Channels, admin: Admin, home: Path
) -> None:
    with watching(recorder, clock, channels, plan(home)) as watcher:
        end(recorder, start(recorder, "other", NINE), NINE, failed="API error")
        end(recorder, start(recorder, "other", NINE + MINUTE), NINE + MINUTE)
        step(watcher)
    assert channels.said() == [("raised", "other failed")]
    assert "It is over: a later run completed." in channels.attempts[0].body


def test_a_missed_run_is_found_when_its_grace_is_over_and_over_when_it_comes_late(
    recorder: LedgerRecorder, clock: Clock, channels: Channels, admin: Admin, home: Path
) -> None:
    with watching(recorder, clock, channels, plan(home)) as watcher:
        assert watcher.step() == NINE + 75 * MINUTE
        clock.set(NINE + 75 * MINUTE)
        step(watcher)
        assert findings(admin) == []
        clock.set(NINE + 75 * MINUTE + timedelta(seconds=1))
        step(watcher)
        assert findings(admin) == [("missed", "daily")]
        assert admin.execute("SELECT scheduled_for FROM findings").fetchall() == [(NINE + 60 * MINUTE,)]
        clock.set(NINE + 90 * MINUTE)
        step(watcher)
        end(recorder, start(recorder, "daily", clock.now), clock.now)
        step(watcher)
        assert findings(admin) == [("missed", "daily"), ("late", "daily")]
        over = admin.execute("SELECT kind, resolved_reason FROM alerts ORDER BY id").fetchall()
        assert over == [("missed", "the run began after all"), ("late", None)]
        clock.set(NINE + 25 * 60 * MINUTE)
        end(recorder, start(recorder, "daily", clock.now), clock.now)
        step(watcher)
        over = admin.execute("SELECT kind, resolved_reason FROM alerts ORDER BY id").fetchall()
        assert over[1] == ("late", "a later run completed")


def test_a_silent_run_is_abandoned_until_it_ends_after_all(
    recorder: LedgerRecorder, clock: Clock, channels: Channels, admin: Admin, ledger: Ledger, home: Path
) -> None:
    status = "SELECT status, error_details ->> 'class' FROM data_ingestion_runs"
    with watching(recorder, clock, channels, plan(home)) as watcher:
        run = start(recorder, "other", NINE)
        step(watcher)
        clock.set(NINE + 11 * MINUTE)
        step(watcher)
        assert findings(admin) == [("abandoned", "other")]
        assert admin.execute(status).fetchall() == [("failed", "RunAbandoned")]
        assert ledger.details(run).discrepancies == []
        step(watcher)
        clock.set(NINE + 30 * MINUTE)
        step(watcher)
        end(recorder, run, clock.now)
        step(watcher)
        assert admin.execute(status).fetchall() == [("completed", None)]
        assert findings(admin) == [("abandoned", "other")]
        assert channels.said() == [("raised", "other was abandoned"), ("resolved", "other was abandoned")]
        assert [one.kind for one in ledger.details(run).discrepancies] == ["abandoned"]


def test_what_was_before_the_first_watch_is_nobodys_alert_but_silence_is(
    recorder: LedgerRecorder, clock: Clock, channels: Channels, admin: Admin, home: Path
) -> None:
    end(recorder, start(recorder, "other", NINE), NINE, failed="long ago")
    start(recorder, "silent", NINE)
    clock.set(NINE + 30 * MINUTE)
    with watching(recorder, clock, channels, plan(home)) as watcher:
        step(watcher)
    assert findings(admin) == [("abandoned", "silent")]


def test_what_happened_while_no_watcher_was_at_work_is_found_by_the_next(
    recorder: LedgerRecorder, clock: Clock, channels: Channels, admin: Admin, home: Path
) -> None:
    with watching(recorder, clock, channels, plan(home)) as watcher:
        step(watcher)
    end(recorder, start(recorder, "other", NINE), NINE, failed="API error")
    clock.set(NINE + timedelta(days=3, hours=2))
    with watching(recorder, clock, channels, plan(home)) as watcher:
        step(watcher)
    assert sorted(findings(admin)) == [("failed", "other"), *[("missed", "daily")] * 4]
    assert sorted(channels.said()) == [("raised", "daily did not run"), ("raised", "other failed")]


def killed_at(recorder: LedgerRecorder, clock: Clock, channels: Channels, planned: Plan, after: int) -> bool:
    """A watcher that is killed just before its nth append; returns whether it came so far."""

    class Killed(BaseException):
        pass

    class Dying(LedgerRecorder):
        appends = 0

        def append(self, *args: Any, **named: Any) -> int:
            self.appends += 1
            if self.appends == after:
                raise Killed
            return super().append(*args, **named)

    dying = Dying(recorder.datastore)
    watcher = Watcher(recorder.datastore, dying, planned, channels, clock, clock.pauses)
    try:
        watcher.begin()
        for _ in range(3):
            step(watcher)
        watcher.stop()
    except Killed:
        watcher.abandon()
        return True
    return False


def test_killed_at_any_moment_no_alert_is_lost_and_a_second_delivery_is_marked(
    recorder: LedgerRecorder, clock: Clock, channels: Channels, admin: Admin, home: Path
) -> None:
    """Killed before each of its appends in turn, the next one makes up for it."""
    planned = plan(home)
    with watching(recorder, clock, channels, planned) as watcher:
        step(watcher)
    kills = 0
    for turn in range(1, 20):
        end(recorder, start(recorder, f"task {turn}", NINE), NINE, failed="API error")
        if not killed_at(recorder, clock, channels, planned, turn):
            break
        kills += 1
        with watching(recorder, clock, channels, planned) as watcher:
            step(watcher)
    assert kills >= 3
    assert len(findings(admin)) == len(set(findings(admin))) == turn
    for number in range(1, turn + 1):
        deliveries = [one for one in channels.attempts if one.alert.subject == f"task {number}"]
        assert 1 <= len(deliveries) <= 2, number
        assert [one.repeated for one in deliveries] == [False, True][: len(deliveries)], number
        delivered = admin.execute(
            "SELECT count(*) FROM alert_attempts t JOIN alerts a USING (alert_id)"
            " WHERE a.subject = %s AND t.status = 'delivered'",
            [f"task {number}"],
        ).fetchall()
        assert delivered == [(1,)], number
    assert any(one.repeated for one in channels.attempts)
    assert "This may be the second time" in next(one.body for one in channels.attempts if one.repeated)


def test_a_channel_that_is_down_for_a_day_is_told_in_the_end_and_the_one_it_escalates_to_at_once(
    recorder: LedgerRecorder, clock: Clock, channels: Channels, admin: Admin, home: Path
) -> None:
    channels.down.add("mail")
    with watching(recorder, clock, channels, plan(home, "\n")) as watcher:
        end(recorder, start(recorder, "other", NINE), NINE, failed="API error")
        step(watcher)
        for _ in range(24 * 60):
            clock.set(clock.now + MINUTE)
            step(watcher)
        assert channels.said("mail") == []
        assert channels.said("pager") == [("raised", "other failed")]
        failed = admin.execute(
            "SELECT count(*), count(error) FROM alert_attempts WHERE channel = 'mail' AND status = 'failed'"
        ).fetchall()
        assert 90 < failed[0][0] < 110
        assert failed[0][0] == failed[0][1]
        assert admin.execute(
            "SELECT escalates, status, attempted_at - %s < '5 minutes' FROM alert_attempts"
            " WHERE channel = 'pager'",
            [NINE],
        ).fetchall() == [("mail", "delivered", True)]
        channels.down.clear()
        clock.set(clock.now + 15 * MINUTE)
        step(watcher)
        assert channels.said("mail") == [("raised", "other failed")]


def test_quiet_hours_and_maintenance_postpone_and_hide_nothing(
    recorder: LedgerRecorder, clock: Clock, channels: Channels, admin: Admin, home: Path
) -> None:
    quiet = '[[maintenance]]\ntasks = ["other"]\nstart = 2025-12-24T08:00:00Z\nend = 2025-12-24T11:00:00Z\n'
    with watching(recorder, clock, channels, plan(home, quiet)) as watcher:
        end(recorder, start(recorder, "other", NINE), NINE, failed="API error")
        step(watcher)
        assert findings(admin) == [("failed", "other")]
        assert admin.execute("SELECT count(*) FROM alerts").fetchall() == [(1,)]
        assert channels.told == []
        clock.set(NINE + 120 * MINUTE)
        step(watcher)
        assert channels.said() == [("raised", "other failed")]


def test_an_alert_that_nobody_acknowledges_is_told_again_where_the_plan_says_so(
    recorder: LedgerRecorder, clock: Clock, channels: Channels, ledger: Ledger, home: Path
) -> None:
    again = plan(home, '[tasks.other]\nresend_after = "1h"\n')
    with watching(recorder, clock, channels, again) as watcher:
        end(recorder, start(recorder, "other", NINE), NINE, failed="API error")
        step(watcher)
        clock.set(NINE + 61 * MINUTE)
        step(watcher)
        assert len(channels.told) == 2
        (alert,) = ledger.alerts
        ledger.acknowledge(alert.alert_id.hex[:8], by="ada", reason="on it")
        assert [one.status for one in ledger.alerts] == ["acknowledged"]
        step(watcher)
        clock.set(NINE + 300 * MINUTE)
        step(watcher)
        assert len(channels.told) == 2


def test_a_task_that_is_renamed_or_removed_is_missed_no_more(
    recorder: LedgerRecorder, clock: Clock, channels: Channels, admin: Admin, home: Path
) -> None:
    with watching(recorder, clock, channels, plan(home)) as watcher:
        clock.set(NINE + 80 * MINUTE)
        step(watcher)
        assert findings(admin) == [("missed", "daily")]
        watcher.define(plan(home, '[tasks.renamed]\nschedule = "0 11 * * *"\n'))
        step(watcher)
        assert admin.execute("SELECT resolved_reason FROM alerts").fetchall() == [
            ("the task has no schedule any more",)
        ]
        clock.set(NINE + timedelta(days=2))
        step(watcher)
        assert findings(admin) == [("missed", "daily"), *[("missed", "renamed")] * 2]
    said = admin.execute("SELECT task_name, definition IS NULL FROM task_definitions ORDER BY id").fetchall()
    assert said == [("daily", False), ("renamed", False), ("daily", True)]


@pytest.mark.parametrize("hours", [1, -1])
def test_time_that_steps_an_hour_loses_no_alert_and_invents_none(
    hours: int, recorder: LedgerRecorder, clock: Clock, channels: Channels, admin: Admin, home: Path
) -> None:
    """The database's clock steps in the middle of a run, and of the pause after a failed attempt."""
    channels.down.add("mail")
    with watching(recorder, clock, channels, plan(home, "\n")) as watcher:
        end(recorder, start(recorder, "other", NINE), NINE, failed="API error")
        goes_on = start(recorder, "long", NINE)
        step(watcher)
        clock.set(NINE + timedelta(hours=hours))
        end(recorder, goes_on, clock.now)
        step(watcher)
        channels.down.clear()
        clock.seconds += 60
        clock.set(clock.now + MINUTE)
        step(watcher)
    assert findings(admin) == [("failed", "other")]
    assert channels.said() == [("raised", "other failed")]


def test_a_verification_that_finds_a_difference_is_an_incident_until_a_later_one_finds_none(
    recorder: LedgerRecorder, clock: Clock, channels: Channels, admin: Admin, home: Path
) -> None:
    verification = Verification(partial(verdict, recorder.datastore), "0 * * * *")
    with watching(recorder, clock, channels, plan(home, "\n")) as watcher:
        watcher.verification = verification

        def verify_at(hour: int) -> None:
            clock.set(NINE.replace(hour=hour))
            step(watcher)
            until(lambda: verification._under_way is None or verification._under_way.done())
            step(watcher)

        end(recorder, start(recorder, "other", NINE), NINE)
        step(watcher)
        verify_at(10)
        assert findings(admin) == []
        admin.execute("UPDATE data_ingestion_runs SET records_fetched = 11")
        verify_at(11)
        assert findings(admin) == [("verification_failed", None)]
        (said,) = admin.execute("SELECT detail FROM findings").fetchone() or [""]
        assert "ledger_read.data_ingestion_runs: 1 row not as the replay has them" in said
        verify_at(12)
        assert len(findings(admin)) == 2
        admin.execute("UPDATE data_ingestion_runs SET records_fetched = 10")
        verify_at(13)
        assert channels.said() == [
            ("raised", "the ledger failed its verification"),
            ("resolved", "the ledger failed its verification"),
        ]
    states = admin.execute(
        "SELECT state FROM events WHERE type = 'LedgerVerified' ORDER BY position"
    ).fetchall()
    assert [json.loads(state)["wrong"] for (state,) in states] == [0, 2, 2, 0]  # now, and as of


def test_an_event_that_was_changed_is_an_alert_an_event_and_a_report(
    recorder: LedgerRecorder, clock: Clock, channels: Channels, admin: Admin, admin_url: str, home: Path
) -> None:
    reports = home / "reports"
    settings = load(url=admin_url, home=home, report_folder=reports)
    with (
        Database(admin_url, "ledger", settings) as database,
        watching(recorder, clock, channels, plan(home, "\n")) as watcher,
    ):
        verification = Verification(partial(verdict, database), "0 * * * *")
        watcher.verification = verification

        def verify_at(hour: int) -> None:
            clock.set(NINE.replace(hour=hour))
            step(watcher)
            until(lambda: verification._under_way is None or verification._under_way.done())
            step(watcher)

        (origin,) = admin.execute("SELECT id::text FROM origin").fetchone() or [""]
        signer, _ = keyring.make(settings, origin)
        end(recorder, start(recorder, "other", NINE), NINE)
        sealed = sealing.seal(database, signer)
        assert sealed is not None
        step(watcher)
        verify_at(10)
        admin.execute("ALTER TABLE events DISABLE TRIGGER events_immutable")
        admin.execute("UPDATE events SET recorded_by = 'eve' WHERE position = 2")
        verify_at(11)
    assert channels.said() == [("raised", "the ledger failed its verification")]
    (said,) = admin.execute("SELECT detail FROM findings").fetchone() or [""]
    assert "❌ event: position 2: the event was changed" in said
    states = [
        json.loads(state)
        for (state,) in admin.execute(
            "SELECT state FROM events WHERE type = 'LedgerVerified' ORDER BY position"
        )
    ]
    assert [(one["size"], one["root"], one["checkpoints"], one["wrong"]) for one in states] == [
        (sealed.size, sealed.root.hex(), 1, wrong) for wrong in (0, 1)
    ]
    good, bad = (json.loads(file.read_text()) for file in sorted(reports.iterdir()))
    assert (good["outcome"], good["log"]["faults"]) == ("nothing is wrong", [])
    assert (bad["outcome"], bad["log"]["faults"][0]["position"]) == ("wrong", 2)


def test_a_report_that_cannot_be_written_is_found(
    recorder: LedgerRecorder, admin_url: str, home: Path
) -> None:
    (home / "taken").write_text("")
    settings = load(url=admin_url, home=home, report_folder=home / "taken")
    with Database(admin_url, "ledger", settings) as database:
        came = verdict(database)
    assert came.wrong is not None
    assert "the report cannot be written" in came.wrong


def test_whatever_stands_in_the_way_of_a_verification_is_found(
    recorder: LedgerRecorder, admin: Admin, caplog: pytest.LogCaptureFixture
) -> None:
    admin.execute("DROP TABLE tiles CASCADE")
    came = verdict(recorder.datastore)
    assert came.wrong is not None
    assert 'relation "tiles" does not exist' in came.wrong
    assert "could not be verified" in caplog.text


def test_read_models_that_lag_behind_are_an_incident_until_they_have_caught_up(
    recorder: LedgerRecorder,
    clock: Clock,
    channels: Channels,
    admin: Admin,
    admin_url: str,
    home: Path,
) -> None:
    patient = replace(recorder.datastore.settings, projection_timeout=0.01)
    with watching(recorder, clock, channels, plan(home, "\n")) as watcher:
        watcher.database.settings = patient
        with psycopg.connect(admin_url) as holder:
            holder.execute("SELECT FROM ledger_read.progress FOR UPDATE")
            for _ in range(3):
                recorder.insert_events(events(uuid4(), 10_000))
            watcher.step()
            clock.set(NINE + 2 * MINUTE)
            watcher.step()
            holder.rollback()
        step(watcher)
        assert findings(admin) == [("read_models_behind", None)]
        step(watcher)
        assert admin.execute("SELECT resolved_reason FROM alerts").fetchall() == [("they have caught up",)]


def test_the_audit_of_alerts_names_what_nobody_was_told_of(
    recorder: LedgerRecorder, clock: Clock, channels: Channels, ledger: Ledger, home: Path
) -> None:
    with watching(recorder, clock, channels, plan(home)) as watcher:
        told = start(recorder, "other", NINE)
        end(recorder, told, NINE, failed="API error")
        clock.set(NINE + 80 * MINUTE)
        step(watcher)
        channels.down |= {"mail", "pager"}
        untold = start(recorder, "another", clock.now)
        end(recorder, untold, clock.now, failed="API error")
        step(watcher)
    unseen = start(recorder, "other", clock.now)
    end(recorder, unseen, clock.now, failed="while nobody watched")
    silent = start(recorder, "silent", clock.now)
    clock.set(NINE + timedelta(days=1, hours=3))
    found = ledger.audit_alerts(NINE - MINUTE, clock.now)
    assert {(one.kind, one.run_id or one.scheduled_for, one.told_at is not None) for one in found} == {
        ("failed", told, True),
        ("missed", NINE + 60 * MINUTE, True),
        ("failed", untold, False),
        ("failed", unseen, False),
        ("abandoned", silent, False),
        ("missed", NINE + timedelta(days=1, hours=1), False),
    }
    assert {one.run_id for one in found if one.alert_id is not None} == {told, untold, None}


# As a service


def service(url: str, channels: Any, file: Path, stopped: threading.Event, ready: threading.Event) -> None:
    with audit_ledger.connect(url) as ledger:
        watch(
            ledger.database,
            load(url=url),
            stopped=stopped,
            plan_file=file,
            send=channels,
            ready=lambda _: ready.set(),
        )


def test_of_two_watchers_one_tells_and_the_other_takes_over(
    url: str, ledger: Ledger, channels: Channels, home: Path, admin: Admin
) -> None:
    plan(home, "\n")
    stops = [threading.Event(), threading.Event()]
    readies = [threading.Event(), threading.Event()]
    first = InThread(lambda: service(url, channels, home / "plan.toml", stops[0], readies[0]))
    assert readies[0].wait(20)
    second = InThread(lambda: service(url, channels, home / "plan.toml", stops[1], readies[1]))
    try:
        fail(ledger, "one")
        until(lambda: channels.said() == [("raised", "one failed")])
        assert not readies[1].is_set()
        stops[0].set()
        first.result()
        assert readies[1].wait(20)
        fail(ledger, "two")
        until(lambda: channels.said() == [("raised", "one failed"), ("raised", "two failed")])
    finally:
        for stop in stops:
            stop.set()
        second.result()
    ledger.update_read_models()
    assert findings(admin) == [("failed", "one"), ("failed", "two")]


def test_a_watcher_goes_on_when_its_connections_are_lost(
    url: str, ledger: Ledger, channels: Channels, home: Path, admin: Admin
) -> None:
    plan(home, "\n")
    stop, ready = threading.Event(), threading.Event()
    thread = InThread(lambda: service(url, channels, home / "plan.toml", stop, ready))
    try:
        assert ready.wait(20)
        ready.clear()
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
        fail(ledger, "one")
        until(lambda: channels.said() == [("raised", "one failed")])
    finally:
        stop.set()
        thread.result()


def test_a_new_ledger_toml_is_read_and_one_that_cannot_be_used_is_not(
    url: str, ledger: Ledger, channels: Channels, home: Path, admin: Admin, caplog: pytest.LogCaptureFixture
) -> None:
    plan(home, "\n")
    stop, ready = threading.Event(), threading.Event()
    thread = InThread(lambda: service(url, channels, home / "plan.toml", stop, ready))
    defined = "SELECT task_name FROM task_definitions ORDER BY id"
    try:
        assert ready.wait(20)
        good = (home / "plan.toml").read_text()
        (home / "plan.toml").write_text(good + "[tasks.new]\ngrace = 'soon'\n")
        fail(ledger, "one")
        until(lambda: "is not used, the last one holds on" in caplog.text)
        assert "plan.toml" in caplog.text
        (home / "plan.toml").write_text(good + '[tasks.new]\ngrace = "5m"\n')
        fail(ledger, "two")
        until(lambda: (ledger.update_read_models(), admin.execute(defined).fetchall() == [("new",)])[1])
        until(lambda: len(channels.told) == 2)
    finally:
        stop.set()
        thread.result()


def count(admin: Admin, table: str) -> int:
    (row,) = admin.execute(f"SELECT count(*) FROM {table}".encode()).fetchall()
    return int(row[0])


def fail(ledger: Ledger, task: str) -> UUID:
    with pytest.raises(RuntimeError), ledger.run(task, "s") as run:
        raise RuntimeError("boom")
    return run.id


def test_a_plan_that_cannot_be_used_keeps_a_watcher_from_beginning(url: str, home: Path) -> None:
    (home / "plan.toml").write_text("[tasks.t]\nschedule = 'daily'\n")
    with audit_ledger.connect(url) as ledger, pytest.raises(ConfigurationError, match=r"plan\.toml"):
        ledger.watch(threading.Event(), plan_file=home / "plan.toml")


def test_the_command_watches_until_it_is_told_to_stop(
    url: str, ledger: Ledger, home: Path, admin: Admin
) -> None:
    (home / "ledger.toml").write_text("[watch]\nowner = 'ada'\n")
    process = subprocess.Popen(
        [Path(sys.executable).with_name("audit-ledger"), "--url", url, "watch"],
        stderr=subprocess.PIPE,
        env={
            "AUDIT_LEDGER_CONFIG": str(home / "ledger.toml"),
            "AUDIT_LEDGER_HOME": str(home),
            "PATH": "/bin",
        },
        text=True,
    )
    try:
        seen = "SELECT count(*) FROM watches"
        until(lambda: (ledger.update_read_models(), admin.execute(seen).fetchall() != [(0,)])[1])
        fail(ledger, "one")
        until(lambda: (ledger.update_read_models(), findings(admin) == [("failed", "one")])[1], seconds=5)
    finally:
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=20)[1]
    assert process.returncode == 0, said
    assert "one failed: boom" in said
    assert admin.execute("SELECT owner FROM alerts").fetchall() == [("ada",)]


def test_a_watcher_that_is_killed_with_9_again_and_again_tells_of_everything_once_more_a_kill_at_most(
    url: str, ledger: Ledger, home: Path, admin: Admin, webhook: Webhook
) -> None:
    (home / "ledger.toml").write_text(
        f'[watch]\nchannels = ["hook"]\n[channels.hook]\nurl = "json://127.0.0.1:{webhook.server_port}/"\n'
    )
    command = [str(Path(sys.executable).with_name("audit-ledger")), "--url", url, "watch"]
    environment = {**os.environ, "AUDIT_LEDGER_CONFIG": str(home / "ledger.toml")}
    dice, tasks = random.Random(9), [f"task {number}" for number in range(6)]

    @contextmanager
    def watcher() -> Iterator[None]:
        """A watcher, killed in the end, that has begun when the block does: what was before nobody tells."""
        begun = count(admin, "watches")
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
            try:
                if not begun:
                    until(lambda: (ledger.update_read_models(), count(admin, "watches"))[1])
                yield
            finally:
                process.kill()

    with watcher():
        pass
    for task in tasks:
        with watcher():
            fail(ledger, task)
            time.sleep(dice.uniform(0.3, 1.6))
    with watcher():
        titles = [f"❌ {task} failed" for task in tasks]
        until(lambda: {str(body["title"]) for _, body in webhook.received} >= set(titles), 60)
        undelivered = (
            "SELECT count(*) FROM alerts a WHERE NOT EXISTS (SELECT FROM alert_attempts t"
            " WHERE t.alert_id = a.alert_id AND t.status = 'delivered')"
        )
        until(lambda: (ledger.update_read_models(), admin.execute(undelivered).fetchall() == [(0,)])[1])
    attempts = dict(
        admin.execute(
            "SELECT a.title, count(*) FROM alert_attempts t JOIN alerts a USING (alert_id) GROUP BY a.title"
        ).fetchall()
    )
    for title in titles:
        messages = [str(body["message"]) for _, body in webhook.received if body["title"] == title]
        # Once more at most for each watcher that was killed at it, and all but the first are marked.
        marked = ["This may be the second time" in message for message in messages]
        assert marked.count(False) <= 1, (title, messages)
        assert len(marked) <= attempts[title.removeprefix("❌ ")], (title, messages)
    ledger.update_read_models()
    assert sorted(findings(admin)) == sorted(("failed", task) for task in tasks)
