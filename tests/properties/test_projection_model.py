"""The read models against a plain fold in Python, and against themselves in other portions.

Whatever the log holds, and however it is cut, the tables are the same, row by row: folded in random
portions, one event at a time, or all at once; and they are what the rules say (projections/*.sql, and
"Rules that make state independent of accident").
"""

import json
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import chain, cycle, product
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from eventsourcing.persistence import StoredEvent
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row

from audit_ledger import Ledger
from audit_ledger.errors import InvalidValue
from audit_ledger.events import (
    AlertAcknowledged,
    AlertAttempted,
    AlertDelivered,
    AlertFailed,
    AlertRaised,
    AlertResolved,
    ApiCallMade,
    Event,
    HeartbeatRecorded,
    RecordIngested,
    RecordWithdrawn,
    RunAbandoned,
    RunCompleted,
    RunFailed,
    RunStarted,
    decode,
    vocabulary,
)
from audit_ledger.store.copies import Copy, temporary_copy
from audit_ledger.store.recorder import LedgerRecorder
from tests.store import InThread, recorder_at

Connection = psycopg.Connection[Any]
Rows = list[dict[str, Any]]

NOON = datetime(2025, 12, 24, 12, tzinfo=UTC)
RANK = {"skipped": 0, "updated": 1, "withdrawn": 2, "created": 3}


# The plain fold


@dataclass
class Model:
    """The read models, in plain Python, one event after the other."""

    runs: dict[UUID, dict[str, Any]] = field(default_factory=dict)
    ends: Rows = field(default_factory=list)
    records: dict[tuple[int, str, str], dict[str, Any]] = field(default_factory=dict)
    versions: dict[tuple[str, str], Rows] = field(default_factory=dict)
    changes: Rows = field(default_factory=list)
    calls: Rows = field(default_factory=list)
    payloads: Rows = field(default_factory=list)
    progress: Rows = field(default_factory=list)
    findings: Rows = field(default_factory=list)
    alerts: dict[UUID, dict[str, Any]] = field(default_factory=dict)
    attempts: dict[tuple[Any, ...], dict[str, Any]] = field(default_factory=dict)
    aside: list[int] = field(default_factory=list)

    def fold(self, position: int, recorded_at: datetime, stream: UUID, type_: str, state: bytes) -> None:
        if type_ not in vocabulary():
            return
        try:
            event = decode(type_, state)
        except InvalidValue:
            self.aside.append(position)
            return
        run_id = getattr(event, "run_id", None) or stream
        given = {"id": position, "created_at": recorded_at, "updated_at": recorded_at}
        if isinstance(event, RunStarted):
            if run_id in self.runs:
                self.aside.append(position)
            else:
                self.runs[run_id] = self.started(event, run_id, given)
        elif type_.startswith("Alert"):
            self.alerted(event, given)
        elif isinstance(event, HeartbeatRecorded):
            if run_id in self.runs:
                said = {name: getattr(event, name) for name in ("done", "total", "occurred_at")}
                self.progress.append({**given, **said, "data_ingestion_run_id": self.runs[run_id]["id"]})
        elif run_id not in self.runs:
            self.aside.append(position)
        elif isinstance(event, RunAbandoned):
            self.abandoned(event, self.runs[run_id], given)
        elif isinstance(event, RecordIngested | RecordWithdrawn):
            self.ingested(event, self.runs[run_id], given)
        elif isinstance(event, ApiCallMade):
            self.called(event, self.runs[run_id], given)
        elif isinstance(event, RunCompleted | RunFailed):
            self.ended(event, self.runs[run_id], given)

    def started(self, event: RunStarted, run_id: UUID, given: dict[str, Any]) -> dict[str, Any]:
        nothing = ("completed_at", "failed_at", "data_date_start", "data_date_end", "error_message")
        return {
            **given,
            "run_id": run_id,
            "task_name": event.task,
            "data_source": event.source,
            "started_at": event.occurred_at,
            "status": "running",
            **dict.fromkeys((*nothing, "error_details")),
            **{f"records_{count}": 0 for count in ("fetched", "created", "updated", "skipped")},
        }

    def first_end(self, run: dict[str, Any]) -> dict[str, Any] | None:
        return next(
            (end for end in self.ends if end["data_ingestion_run_id"] == run["id"] and end["first"]), None
        )

    def ingested(
        self, event: RecordIngested | RecordWithdrawn, run: dict[str, Any], given: dict[str, Any]
    ) -> None:
        named = {"record_type": event.record_type, "record_id": event.record_id}
        about = {**named, "data_ingestion_run_id": run["id"]}
        brought = self.version(event, {**given, **about})
        said = "withdrawn" if isinstance(event, RecordWithdrawn) else event.operation
        operation = said or brought or "skipped"
        key = (run["id"], event.record_type, event.record_id)
        row = self.records.setdefault(key, {**given, **about, "operation": operation})
        if self.first_end(run) is None and RANK[operation] > RANK[row["operation"]]:
            self.changes.append(
                {
                    **given,
                    "data_ingestion_run_record_id": row["id"],
                    "operation": row["operation"],
                    "operation_at": row["updated_at"],
                }
            )
            row |= {"operation": operation, "updated_at": given["updated_at"]}

    def version(self, event: RecordIngested | RecordWithdrawn, row: dict[str, Any]) -> str | None:
        """A new version of the record, or none; returns what it did to the record."""
        known = self.versions.setdefault((event.record_type, event.record_id), [])
        gone = bool(known) and known[-1]["operation"] == "withdrawn"
        withdraws = isinstance(event, RecordWithdrawn)
        content = None if isinstance(event, RecordWithdrawn) else event.content
        declared = None if isinstance(event, RecordWithdrawn) else event.operation
        if known:
            silent = content is None and declared in (None, "skipped") and not withdraws
            same = content is not None and content == known[-1]["content"]
            if silent or same or (withdraws and gone):
                return None
            known[-1] |= {"to_position": row["id"], "updated_at": row["created_at"]}
        operation = "withdrawn" if withdraws else "updated" if known and not gone else "created"
        known.append({**row, "operation": operation, "content": content, "to_position": None})
        return operation

    def called(self, event: ApiCallMade, run: dict[str, Any], given: dict[str, Any]) -> None:
        ids: dict[str, int | None] = {}
        for turn, (name, commitment) in enumerate([("request", event.request), ("response", event.response)]):
            number = 2 * given["id"] - 1 + turn
            ids[f"api_{name}_payload_id"] = number if commitment else None
            if commitment:
                self.payloads.append(
                    {
                        **given,
                        "id": number,
                        "type": f"Api{name.title()}",
                        "commitment": commitment,
                        "media_type": getattr(event, f"{name}_media_type"),
                        "source": run["data_source"],
                        "captured_at": event.captured_at or event.occurred_at,
                    }
                )
        said = event.model_dump(
            include={"endpoint", "http_status_code", "duration_ms", "rate_limit_remaining"}
        )
        if event.error_class and (event.http_status_code or 0) < 400:
            said["http_status_code"] = None
        self.calls.append({**given, **ids, **said, "data_ingestion_run_id": run["id"]})

    def ended(self, event: RunCompleted | RunFailed, run: dict[str, Any], given: dict[str, Any]) -> None:
        failure = event if isinstance(event, RunFailed) else None
        status = "failed" if failure else "completed"
        first = self.first_end(run) is None
        self.ends.append(
            {
                **given,
                "data_ingestion_run_id": run["id"],
                "status": status,
                "first": first,
                "message": failure and failure.message,
                "duration_ms": event.duration_ms,
                "ended_at": event.occurred_at,
            }
        )
        if not first:
            return
        every = [row["operation"] for (run_id, *_), row in self.records.items() if run_id == run["id"]]
        touched = [operation for operation in every if operation != "withdrawn"]
        run |= {
            "status": status,
            "completed_at": None if failure else event.occurred_at,
            "failed_at": event.occurred_at if failure else None,
            "data_date_start": event.data_date_start,
            "data_date_end": event.data_date_end,
            "records_fetched": len(touched) if event.fetched is None else event.fetched,
            "error_message": failure and failure.message,
            "error_details": failure
            and {
                "class": failure.error_class,
                "backtrace": failure.backtrace,
                **failure.model_dump(include={"exit_status", "signal", "output"}, exclude_none=True),
            },
            "updated_at": given["updated_at"],
        }
        for operation in ("created", "updated", "skipped"):
            declared = getattr(event, operation)
            run[f"records_{operation}"] = touched.count(operation) if declared is None else declared

    def abandoned(self, event: RunAbandoned, run: dict[str, Any], given: dict[str, Any]) -> None:
        about = {"data_ingestion_run_id": run["id"], "message": event.detail, "ended_at": event.occurred_at}
        self.ends.append({**given, **about, "status": "abandoned", "first": False, "duration_ms": None})
        names = ("alert_id", "key", "run_id", "last_seen_at", "detail")
        said = {name: getattr(event, name) for name in names}
        rest = {"task_name": event.task, "found_at": event.occurred_at, "kind": "abandoned"}
        nothing = dict.fromkeys(("scheduled_for", "endpoint", "values"))
        self.findings.append({**given, **said, **rest, **nothing})
        if run["status"] == "running":
            run |= {
                "status": "failed",
                "failed_at": event.occurred_at,
                "error_message": event.detail,
                "error_details": {"class": "RunAbandoned"},
                "updated_at": given["updated_at"],
            }

    def alerted(self, event: Any, given: dict[str, Any]) -> None:
        alert = self.alerts.get(event.alert_id)
        at, position = event.occurred_at, given["id"]
        if isinstance(event, AlertRaised):
            if alert is not None:
                self.aside.append(position)
                return
            nothing = [f"acknowledged_{what}" for what in ("at", "by", "reason", "position")]
            nothing += [f"resolved_{what}" for what in ("at", "reason", "position")]
            said = event.model_dump(exclude={"v", "occurred_at"})
            said["channels"] = list(event.channels)
            self.alerts[event.alert_id] = {**given, **said, "raised_at": at, **dict.fromkeys(nothing)}
        elif isinstance(event, AlertAttempted):
            key = (event.alert_id, event.channel, event.notice, event.attempt)
            if alert is None or key in self.attempts:
                self.aside.append(position)
                return
            ended = dict.fromkeys(("error", "ended_at", "ended_position"))
            said = event.model_dump(exclude={"v", "occurred_at"})
            begun = {"attempted_at": at, "status": "begun", "repeated": False}
            self.attempts[key] = {**given, **said, **begun, **ended}
        elif isinstance(event, AlertDelivered | AlertFailed):
            attempt = self.attempts.get((event.alert_id, event.channel, event.notice, event.attempt))
            if attempt is not None and attempt["ended_position"] is None:
                attempt |= {
                    "status": "delivered" if isinstance(event, AlertDelivered) else "failed",
                    "repeated": isinstance(event, AlertDelivered) and bool(event.repeated),
                    "error": getattr(event, "error", None),
                    "ended_at": at,
                    "ended_position": position,
                    "updated_at": given["updated_at"],
                }
        elif alert is not None:
            what = "acknowledged" if isinstance(event, AlertAcknowledged) else "resolved"
            if alert[f"{what}_position"] is None:
                alert |= {f"{what}_at": at, f"{what}_reason": event.reason, f"{what}_position": position}
                alert["updated_at"] = given["updated_at"]
                if isinstance(event, AlertAcknowledged):
                    alert["acknowledged_by"] = event.by

    @property
    def tables(self) -> dict[str, Rows]:
        return {
            "data_ingestion_runs": by_id(self.runs.values()),
            "data_ingestion_run_ends": by_id(self.ends),
            "data_ingestion_run_records": by_id(self.records.values()),
            "data_ingestion_run_record_changes": by_id(self.changes),
            "record_versions": by_id(chain.from_iterable(self.versions.values())),
            "api_call_logs": by_id(self.calls),
            "api_payload_rows": by_id(self.payloads),
            "data_ingestion_run_progress": by_id(self.progress),
            "findings": by_id(self.findings),
            "alerts": by_id(self.alerts.values()),
            "alert_attempts": by_id(self.attempts.values()),
        }


def by_id(rows: Any) -> Rows:
    return sorted(rows, key=lambda row: int(row["id"]))


# What happens


RUNS = 3
"""Runs that may be started; one more never is."""

Say = Callable[[UUID | None], tuple[str, bytes]]
"""Type and state of an event, given the run_id to name, if any."""

Saying = tuple[int, bool, Say]
"""The run that an event is about, whether it stands in a stream of others, and the event."""


def said(event: Event) -> tuple[str, bytes]:
    return event.type, event.state


def saying(kind: type[Event], fields: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[Any]:
    """An event of that kind, of random fields."""
    return st.builds(
        lambda given, second: (
            lambda run_id: said(
                kind.of(
                    occurred_at=NOON + timedelta(seconds=second),
                    run_id=run_id,
                    **{name: value for name, value in given.items() if value is not None},
                )
            )
        ),
        fields,
        st.integers(0, 9),
    )


COMMITMENTS = st.sampled_from([letter * 43 for letter in "ABC"])
COUNTS = {name: st.none() | st.integers(0, 5) for name in ("fetched", "created", "updated", "skipped")}
DAYS = {
    "data_date_start": st.none() | st.just(date(2025, 12, 1)),
    "data_date_end": st.none() | st.just(date(2025, 12, 24)),
    "duration_ms": st.none() | st.integers(0, 9),
}
STARTED = saying(
    RunStarted, st.fixed_dictionaries({"task": st.just("task"), "source": st.sampled_from("st")})
)
INGESTED = saying(
    RecordIngested,
    st.fixed_dictionaries(
        {
            "record_type": st.sampled_from(["QuiverTrade", "Committee"]),
            "record_id": st.sampled_from(["1", "2"]),
            "operation": st.none() | st.sampled_from(["created", "updated", "skipped"]),
            "content": st.none() | COMMITMENTS,
        }
    ),
)
WITHDRAWN = saying(
    RecordWithdrawn,
    st.fixed_dictionaries({"record_type": st.just("QuiverTrade"), "record_id": st.sampled_from(["1", "2"])}),
)
CALLED = saying(
    ApiCallMade,
    st.fixed_dictionaries(
        {
            "endpoint": st.just("api.test/v1"),
            "request": st.none() | COMMITMENTS,
            "response": st.none() | COMMITMENTS,
            "response_media_type": st.none() | st.just("application/json"),
            "captured_at": st.none() | st.just(NOON),
            "http_status_code": st.none() | st.sampled_from([200, 500]),
            "error_class": st.none() | st.just("OSError"),
            "rate_limit_remaining": st.none() | st.just(-(2**53) + 1),
        }
    ),
)
ENDED = saying(RunCompleted, st.fixed_dictionaries(COUNTS | DAYS)) | saying(
    RunFailed,
    st.fixed_dictionaries(
        {
            **COUNTS,
            **DAYS,
            "message": st.just("boom"),
            "error_class": st.just("ValueError"),
            "backtrace": st.none() | st.just(["a.py:1", "b.py:2"]),
            "exit_status": st.none() | st.just(3),
            "output": st.none() | st.just("no such file"),
        }
    ),
)
HEARTBEAT = saying(
    HeartbeatRecorded,
    st.fixed_dictionaries({name: st.none() | st.integers(0, 2**40) for name in ("done", "total")}),
)
ALERTS = [UUID(int=1), UUID(int=2)]
ABANDONED = st.builds(
    lambda second: (
        lambda run_id: said(
            RunAbandoned.of(
                alert_id=ALERTS[0],
                detail=f"silent for {second} s",
                key="abandoned",
                last_seen_at=NOON,
                occurred_at=NOON + timedelta(seconds=second),
                run_id=run_id or UUID(int=0),
                task="task",
            )
        )
    ),
    st.integers(0, 9),
)


def about_alert(event: type[Event], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """An event about one of two alerts."""
    return st.builds(
        lambda given, second: lambda _: said(event.of(occurred_at=NOON + timedelta(seconds=second), **given)),
        st.fixed_dictionaries({"alert_id": st.sampled_from(ALERTS), **fields}),
        st.integers(0, 9),
    )


TOLD = {
    "channel": st.sampled_from(["mail", "chat"]),
    "notice": st.sampled_from(["raised", "resolved"]),
    "attempt": st.just(1),
}
ALERTED = st.one_of(
    about_alert(
        AlertRaised,
        channels=st.just(["mail", "chat"]),
        detail=st.just("d"),
        kind=st.just("missed"),
        severity=st.just("critical"),
        subject=st.just("task"),
        title=st.just("t"),
    ),
    about_alert(AlertAttempted, **TOLD),
    about_alert(AlertDelivered, **TOLD, repeated=st.none() | st.just(True)),
    about_alert(AlertFailed, **TOLD, error=st.just("refused")),
    about_alert(AlertAcknowledged, by=st.sampled_from(["ada", "ben"])),
    about_alert(AlertResolved, reason=st.just("over")),
)
FINE = {"occurred_at": "2025-12-24T12:00:00.000000Z", "v": 1}
TOUCH = {**FINE, "record_type": "QuiverTrade", "record_id": "1"}
DEEP = b"[" * 50_000 + b"]" * 50_000
BAD_STATES = [
    *[
        (type_, state)
        for type_ in (
            "RunStarted",
            "RecordIngested",
            "RecordWithdrawn",
            "ApiCallMade",
            "RunCompleted",
            "RunFailed",
        )
        for state in (
            b"",
            b"{",
            b"\xff\xfe",
            b'{"a":1e999999}',
            b'{"run_id":"me"}',
            b"[" * 50_000 + b"]" * 50_000,
        )
    ],
    *[
        (type_, state)
        for type_ in ("RunStarted", "RecordIngested", "ApiCallMade")
        for state in (b"[]", b"null", b"{}", b'"text"')
    ],
    *[
        (type_, json.dumps(state).encode())
        for type_, state in [
            ("RunStarted", {**FINE, "task": "t"}),
            ("RunStarted", {**FINE, "task": "t", "source": "s", "occurred_at": "yesterday noon"}),
            ("RecordIngested", {**TOUCH, "operation": "deleted"}),
            ("RecordIngested", {**TOUCH, "operation": "withdrawn"}),
            ("RecordIngested", {**TOUCH, "record_id": None}),
            ("RecordIngested", {**TOUCH, "record_id": "a\0b"}),
            ("RecordIngested", {**TOUCH, "record_id": "\ud800"}),
            ("RecordIngested", {**TOUCH, "record_id": "".join(map(str, range(2500)))}),
            ("ApiCallMade", {**FINE, "endpoint": "e", "http_status_code": "abc"}),
            ("ApiCallMade", {**FINE, "endpoint": "e", "duration_ms": 10**30}),
            ("RunCompleted", {**FINE, "run_id": "me"}),
        ]
    ],
]
BAD = st.sampled_from(BAD_STATES).map(lambda bad: lambda _: bad)
OTHER = st.just(lambda _: ("Heartbeat", b"anything"))


def sayings() -> st.SearchStrategy[list[Saying]]:
    """What is said, in order: most runs are started first, some later, again, or never."""
    what = st.one_of(
        INGESTED,
        INGESTED,
        INGESTED,
        INGESTED,
        WITHDRAWN,
        CALLED,
        ENDED,
        STARTED,
        BAD,
        OTHER,
        HEARTBEAT,
        ABANDONED,
        ALERTED,
    )
    first = st.lists(st.tuples(st.integers(0, RUNS - 2), st.just(False), STARTED), min_size=1, max_size=2)
    rest = st.lists(st.tuples(st.integers(0, RUNS), st.booleans(), what), min_size=8, max_size=30)
    return st.builds(lambda a, b: [*a, *b], first, rest)


@dataclass
class Bench:
    """A ledger whose read models can be emptied, and folded again from where an example began."""

    admin: Connection
    recorder: LedgerRecorder
    base: int = 0

    def tell(self, events: Sequence[Saying]) -> None:
        """Append, each by itself, so that each has a recorded_at of its own."""
        self.base = self.recorder.max_notification_id() or 0
        runs = [uuid4() for _ in range(RUNS + 1)]
        elsewhere = uuid4()
        versions = dict.fromkeys([*runs, elsewhere], 0)
        for run, foreign, say in events:
            stream = elsewhere if foreign else runs[run]
            versions[stream] += 1
            type_, state = say(runs[run] if foreign else None)
            self.recorder.insert_events([StoredEvent(stream, versions[stream], type_, state)])

    def modelled(self) -> Model:
        model = Model()
        for row in self.admin.execute(
            "SELECT position, recorded_at, stream_id, type, state FROM events"
            " WHERE position > %s ORDER BY position",
            [self.base],
        ).fetchall():
            model.fold(*row)
        return model

    def folded(self, *portions: int, by: Connection | None = None) -> dict[str, Rows]:
        """Empty the read models, fold again in such portions, and return what the tables hold."""
        by = by or self.admin
        tables = self.tables()
        self.admin.execute("SET session_replication_role = replica")
        for table in tables:
            self.admin.execute(f"DELETE FROM {table}")
        self.admin.execute("SET session_replication_role = origin")
        self.admin.execute("UPDATE progress SET position = %s", [self.base])
        for portion in cycle(portions):
            row = by.execute("SELECT * FROM ledger_read.update_read_models(%s, 5000)", [portion]).fetchone()
            assert row is not None
            if row[0] == row[1]:
                break
        behind = "SELECT count(*) FROM progress, head WHERE progress.position <> head.position"
        assert self.admin.execute(behind).fetchall() == [(0,)]
        return {table: self.rows(table) for table in tables}

    def tables(self) -> list[str]:
        rows = self.admin.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'ledger_read' AND tablename <> 'progress'"
        )
        return sorted(row[0] for row in rows)

    def rows(self, table: str) -> Rows:
        with self.admin.cursor(row_factory=dict_row) as cursor:
            rows = cursor.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()
        return [{name: value for name, value in row.items() if name != "set_aside_at"} for row in rows]

    def as_of(self, when: str) -> dict[str, Rows]:
        """What the views of the schema as_of show as of then."""
        self.admin.execute("SELECT set_config('audit_ledger.as_of', %s, false)", [when])
        return {table: self.rows(f"as_of.{table}") for table in Model().tables}


@pytest.fixture
def bench(url: str, admin: Connection) -> Any:
    with recorder_at(url) as recorder:
        yield Bench(admin, recorder)


def check(bench: Bench, *portions: int) -> None:
    """One at a time, in portions and all at once, the tables are those of the plain fold."""
    one_by_one = bench.folded(1)
    model = bench.modelled()
    assert [row["position"] for row in one_by_one["set_aside"]] == model.aside
    for table, rows in model.tables.items():
        assert one_by_one[table] == rows, table
    assert bench.folded(1_000_000) == one_by_one
    if portions:
        assert bench.folded(*portions) == one_by_one
    travel(bench)


def travel(bench: Bench) -> None:
    """As of every position, and every recorded_at: the views, and a replay, have what a plain fold has."""
    with temporary_copy(bench.recorder.datastore) as copy:
        copy.make()
        copy.conn.execute("UPDATE progress SET position = %s", [bench.base])
        travel_beside(bench, copy)


def travel_beside(bench: Bench, copy: Copy) -> None:
    model = Model()
    events = bench.admin.execute(
        "SELECT position, recorded_at, stream_id, type, state FROM events"
        " WHERE position > %s ORDER BY position",
        [bench.base],
    ).fetchall()
    for event, following in zip(events, [*events[1:], None], strict=True):
        model.fold(*event)
        assert bench.as_of(str(event[0])) == model.tables, event
        copy.fold(event[0])
        replayed = {
            table: copy.conn.execute(f"SELECT * FROM {table} ORDER BY 1".encode()).fetchall()
            for table in model.tables
        }
        assert replayed == model.tables, event
        if following is None or following[1] > event[1]:
            assert bench.as_of(event[1].isoformat()) == model.tables, event


def test_rebuilt_equals_incremental_equals_the_plain_fold(bench: Bench) -> None:
    @settings(
        max_examples=30,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
        report_multiple_bugs=False,
    )
    @given(sayings(), st.lists(st.integers(1, 9), min_size=1, max_size=5))
    def holds(events: list[Saying], portions: list[int]) -> None:
        bench.tell(events)
        check(bench, *portions)

    holds()


def plain(type_: str, **fields: Any) -> Say:
    """An event of exactly these fields, right or wrong."""
    return lambda run_id: (
        type_,
        json.dumps({**fields, **({} if run_id is None else {"run_id": str(run_id)})}).encode(),
    )


START = plain("RunStarted", **FINE, task="t", source="s")
TOUCHED = plain("RecordIngested", **TOUCH, operation="created")
CALL = plain("ApiCallMade", **FINE, endpoint="e", request="A" * 43)
COMPLETED = plain("RunCompleted", **FINE)


def test_what_ends_an_alert_or_an_attempt_before_it_began_does_not_hide_its_end(bench: Bench) -> None:
    alert = {**FINE, "alert_id": str(ALERTS[0])}
    attempt = {**alert, "channel": "mail", "notice": "raised", "attempt": 1}
    ends = [
        plain("AlertAcknowledged", **alert, by="ada"),
        plain("AlertResolved", **alert, reason="over"),
        plain("AlertDelivered", **attempt),
    ]
    raised = plain(
        "AlertRaised",
        **alert,
        channels=["mail"],
        detail="d",
        kind="missed",
        severity="critical",
        subject="t",
        title="t",
    )
    bench.tell(
        [(0, False, say) for say in (*ends, raised, *ends[:2], plain("AlertAttempted", **attempt), ends[2])]
    )
    check(bench, 2)
    first = bench.base + 5
    [told] = bench.rows("alerts")
    assert (told["acknowledged_position"], told["resolved_position"]) == (first, first + 1)
    assert [row["ended_position"] for row in bench.rows("alert_attempts")] == [first + 3]


def test_as_of_before_it_was_raised_a_touch_is_what_it_was(bench: Bench) -> None:
    touches = [plain("RecordIngested", **TOUCH, operation=kind) for kind in ("skipped", "updated", "created")]
    gone = plain("RecordWithdrawn", **TOUCH)
    bench.tell([(0, False, say) for say in (START, touches[0], touches[1], gone, touches[2], touches[1])])
    check(bench, 2)
    assert len(bench.rows("data_ingestion_run_record_changes")) == 3
    raised = bench.base + 3
    assert bench.as_of(str(raised - 1))["data_ingestion_run_records"][0]["operation"] == "skipped"
    assert bench.as_of(str(raised))["data_ingestion_run_records"][0]["operation"] == "updated"


def test_a_touch_that_was_raised_later_is_as_it_was_before(bench: Bench) -> None:
    given = plain("RecordIngested", **TOUCH, content="A" * 43)
    for first in (plain("RecordWithdrawn", **TOUCH), plain("RecordIngested", **TOUCH)):
        bench.tell([(0, False, START), (0, False, first), (0, False, given), (0, False, COMPLETED)])
        check(bench)


@pytest.mark.parametrize("early", [TOUCHED, CALL, COMPLETED], ids=["record", "call", "end"])
@pytest.mark.parametrize("foreign", [False, True], ids=["own stream", "stream of others"])
def test_an_event_about_a_run_that_starts_later_is_set_aside(bench: Bench, early: Say, foreign: bool) -> None:
    bench.tell([(0, foreign, early), (0, False, START), (0, False, TOUCHED)])
    check(bench, 2)
    assert [row["position"] for row in bench.rows("set_aside")] == [bench.base + 1]


def test_an_operation_that_does_not_exist_is_set_aside_whatever_is_folded_with_it(bench: Bench) -> None:
    deleted = plain("RecordIngested", **TOUCH, operation="deleted", content="A" * 43)
    bench.tell([(0, False, START), (0, False, TOUCHED), (0, False, deleted)])
    check(bench, 2)
    assert [row["position"] for row in bench.rows("set_aside")] == [3]


def test_an_end_that_says_nothing_does_not_end_a_run(bench: Bench) -> None:
    for bad in product(["RunCompleted", "RunFailed"], [b"{}", b"[]", b"null"]):
        bench.tell([(0, False, START), (0, False, partial(lambda bad, _: bad, bad))])
        check(bench)


def saying_when(**when: str) -> Say:
    """A start, an end or a call, by what it says of time."""
    if "occurred_at" in when:
        return plain("RunStarted", **{**FINE, **when}, task="odd", source="s")
    if "captured_at" in when:
        return plain("ApiCallMade", **FINE, **when, endpoint="e", request="A" * 43)
    return plain("RunCompleted", **FINE, **when)


@pytest.mark.parametrize(
    "when",
    [
        *[{"occurred_at": odd} for odd in ("now", "today", "2025-12-24 12:00:00", "24/12/2025 12:00Z")],
        *[{"captured_at": odd} for odd in ("now", "2025-12-24T12:00:00")],
        *[{"data_date_start": odd} for odd in ("today", "24/12/2025")],
    ],
    ids=str,
)
def test_a_time_that_depends_on_who_reads_it_is_set_aside(bench: Bench, when: dict[str, str]) -> None:
    bench.tell([(0, False, START), (1, False, saying_when(**when)), (0, False, saying_when(**when))])
    check(bench)


@pytest.mark.parametrize(
    "when",
    [
        *[{"occurred_at": odd} for odd in ("infinity", "20000-01-01T00:00:00Z", "0044-03-15T12:00:00Z BC")],
        {"data_date_start": "infinity"},
    ],
    ids=str,
)
def test_a_time_that_python_cannot_hold_keeps_nobody_from_reading(
    bench: Bench, ledger: Ledger, when: dict[str, str]
) -> None:
    with ledger.run("task", "source"):
        pass
    bench.tell([(0, False, START), (0, False, saying_when(**when)), (1, False, saying_when(**when))])
    assert [run.task_name for run in ledger.runs] == ["t", "task"]


def test_what_many_fold_at_once_while_others_append_is_folded_once(
    bench: Bench, url: str, admin_url: str
) -> None:
    rng = random.Random()
    bad: Say = partial(lambda bad, _: bad, BAD_STATES[0])
    said: list[Saying] = [(run, False, START) for run in range(RUNS)]
    said += [
        (rng.randrange(RUNS + 1), rng.random() < 0.5, rng.choice([TOUCHED, CALL, COMPLETED, bad]))
        for _ in range(150)
    ]
    done = threading.Event()

    def fold() -> None:
        with psycopg.connect(url, autocommit=True) as conn:
            while True:
                last_time = done.is_set()
                conn.execute(
                    "SELECT * FROM ledger_read.update_read_models(%s, 5000)", [rng.choice([1, 3, 50])]
                )
                behind = "SELECT min(p.position) < max(h.position) FROM ledger_read.progress p, ledger.head h"
                if last_time and conn.execute(behind).fetchall() == [(False,)]:
                    return

    folding = [InThread(fold) for _ in range(4)]
    try:
        bench.tell(said)
    finally:
        done.set()
        for each in folding:
            each.result()
    together = {table: bench.rows(table) for table in bench.tables()}
    assert together == bench.folded(1_000_000)
    check(bench)


def test_what_is_folded_does_not_depend_on_the_session_that_folds(bench: Bench, admin_url: str) -> None:
    days = {"data_date_start": "2025-01-02", "data_date_end": "2025-02-01"}
    failed = plain("RunFailed", **FINE, **days, message="boom", error_class="E")
    bench.tell([(0, False, START), (0, False, TOUCHED), (0, False, CALL), (0, False, failed)])
    odd = "-c timezone=America/New_York -c datestyle=SQL,DMY -c transform_null_equals=on"
    with psycopg.connect(admin_url, autocommit=True, options=odd) as other:
        assert bench.folded(1_000_000, by=other) == bench.folded(1)
    check(bench)
