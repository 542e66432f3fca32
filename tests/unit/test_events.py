"""The vocabulary: canonical order, bounds, and what is refused."""

import json
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit_ledger.canonical import MAX_INTEGER
from audit_ledger.errors import InvalidValue
from audit_ledger.events import (
    MAX_REFERRERS,
    AlertAcknowledged,
    AlertAttempted,
    AlertDelivered,
    AlertFailed,
    AlertRaised,
    AlertResolved,
    AnomalyFound,
    ApiCallMade,
    BodyErased,
    DecisionExecuted,
    DecisionMade,
    Event,
    EventCorrected,
    HeartbeatRecorded,
    HoldAdded,
    HoldReleased,
    KeyRotated,
    LedgerRecovered,
    LedgerVerified,
    RecordIngested,
    RecordWithdrawn,
    RetentionChanged,
    RunAbandoned,
    RunCompleted,
    RunFailed,
    RunJoined,
    RunLeft,
    RunMissed,
    RunSkipped,
    RunStarted,
    TaskDefined,
    TaskRemoved,
    WatchAdvanced,
    canonical_json,
    decode,
    storable,
    vocabulary,
)

rfc8785 = pytest.importorskip("rfc8785")

NOW = datetime(2025, 12, 24, 9, 0, tzinfo=timezone(timedelta(hours=-5)))
ALL: list[Event] = [
    RunStarted(
        occurred_at=NOW,
        task="t",
        source="s",
        parameters={"b": [1, {"z": None, "a": "ü"}], "a": 1.5},
        process_id=7,
        scheduled_for=NOW,
        actor="ada",
        host="h",
        code_version="1",
        software_version="2",
    ),
    RecordIngested(occurred_at=NOW, record_type="T", record_id="1", operation="created", content="A" * 43),
    ApiCallMade(
        occurred_at=NOW,
        captured_at=NOW,
        endpoint="e",
        method="GET",
        http_status_code=200,
        duration_ms=1,
        rate_limit_remaining=2,
        request="A" * 43,
        response="B" * 43,
        run_id=UUID(int=1),
    ),
    RunCompleted(
        occurred_at=NOW,
        fetched=1,
        created=2,
        updated=3,
        skipped=4,
        duration_ms=5,
        data_date_start=date(2025, 1, 1),
        data_date_end=date(2025, 1, 2),
    ),
    RecordWithdrawn(occurred_at=NOW, record_type="T", record_id="1"),
    EventCorrected(occurred_at=NOW, by="ada", corrects=7, reason="typo", values={"b": 1, "a": [2]}),
    DecisionMade(
        occurred_at=NOW,
        by="ada",
        decision_id="D1",
        reference=7,
        inputs=(("T", "1"), ("T", "2")),
        details={"b": 1, "a": "x"},
    ),
    DecisionExecuted(occurred_at=NOW, decision_id="D1", execution_id="E1", details={"price": "1.5"}),
    HeartbeatRecorded(occurred_at=NOW),
    HeartbeatRecorded(occurred_at=NOW, run_id=UUID(int=1), done=7, total=2**40),
    RunFailed(occurred_at=NOW, message="m", error_class="E", backtrace=["a", "b"]),
    RunFailed(
        occurred_at=NOW, message="m", error_class="CommandFailed", exit_status=3, output="no such file"
    ),
    RunFailed(occurred_at=NOW, message="m", error_class="CommandFailed", signal="SIGRTMIN+1"),
    RunJoined(
        actor="ada",
        code_version="1",
        host="h",
        occurred_at=NOW,
        parameters={"day": "2025-12-24"},
        process_id=7,
        run_id=UUID(int=1),
        software_version="2",
        source="s",
        task="t",
    ),
    RunLeft(occurred_at=NOW, run_id=UUID(int=1), duration_ms=5, error_class="E", message="m"),
    RunSkipped(
        host="h",
        occurred_at=NOW,
        reason="another goes on",
        running=UUID(int=1),
        scheduled_for=NOW,
        source="s",
        task="t",
    ),
    TaskDefined(occurred_at=NOW, task="t", definition={"schedule": "0 9 * * *", "grace": 60}),
    TaskRemoved(occurred_at=NOW, task="t"),
    WatchAdvanced(occurred_at=NOW, upto=0),
    RunMissed(alert_id=UUID(int=3), detail="d", key="missed t", occurred_at=NOW, scheduled_for=NOW, task="t"),
    RunAbandoned(
        alert_id=UUID(int=3),
        detail="d",
        key="abandoned 1",
        last_seen_at=NOW,
        occurred_at=NOW,
        run_id=UUID(int=1),
        task="t",
    ),
    AnomalyFound(
        alert_id=UUID(int=3),
        detail="d",
        endpoint="e",
        key="slow_endpoint e",
        kind="slow_endpoint",
        occurred_at=NOW,
        run_id=UUID(int=1),
        task="t",
        values={"median_ms": 5},
    ),
    AlertRaised(
        alert_id=UUID(int=3),
        channels=("mail", "chat"),
        detail="d",
        kind="missed",
        occurred_at=NOW,
        owner="ada",
        run_id=UUID(int=1),
        severity="critical",
        subject="t",
        title="t was missed",
    ),
    AlertAttempted(
        alert_id=UUID(int=3), attempt=1, channel="chat", escalates="mail", notice="raised", occurred_at=NOW
    ),
    AlertDelivered(
        alert_id=UUID(int=3), attempt=2, channel="mail", notice="raised", occurred_at=NOW, repeated=True
    ),
    AlertFailed(
        alert_id=UUID(int=3), attempt=1, channel="mail", error="refused", notice="resolved", occurred_at=NOW
    ),
    AlertAcknowledged(alert_id=UUID(int=3), by="ada", occurred_at=NOW, reason="on it"),
    AlertResolved(alert_id=UUID(int=3), occurred_at=NOW, reason="a later run completed"),
    BodyErased(occurred_at=NOW, by="ada", reason="asked", commitment="A" * 43, referrers=(1, 2)),
    HoldAdded(occurred_at=NOW, by="ada", reason="court", hold_id=UUID(int=1), run_id=UUID(int=2)),
    HoldAdded(occurred_at=NOW, by="ada", reason="court", hold_id=UUID(int=1), record_type="T", record_id="1"),
    HoldAdded(occurred_at=NOW, by="ada", reason="court", hold_id=UUID(int=1), payload_id=3),
    HoldReleased(occurred_at=NOW, by="ada", reason="over", hold_id=UUID(int=1)),
    RetentionChanged(occurred_at=NOW, by="ada", reason="law", days=0),
    LedgerRecovered(occurred_at=NOW, by="ada", reason="a copy", previous_origin=UUID(int=1), clone=True),
    LedgerRecovered(
        occurred_at=NOW,
        by="ada",
        reason="disk lost",
        previous_origin=UUID(int=1),
        checkpoint_digest="0a" * 32,
        checkpoint_root="1b" * 32,
        checkpoint_size=9,
        lost_from=3,
        lost_upto=9,
    ),
    KeyRotated(
        occurred_at=NOW,
        by="ada",
        previous="x+00000000+" + "A" * 44,
        next="x+00000001+" + "B" * 44,
        reason="yearly",
    ),
    LedgerVerified(
        occurred_at=NOW,
        bodies=3,
        checkpoints=2,
        duration_ms=7,
        erased=1,
        position=9,
        root="0" * 64,
        size=8,
        wrong=0,
    ),
]


@pytest.mark.parametrize("event", ALL, ids=[event.type for event in ALL])
def test_state_is_canonical_json(event: Event) -> None:
    """The key order of RFC 8785; the oracle is another implementation of it."""
    assert event.state == rfc8785.dumps(json.loads(event.state))


@pytest.mark.parametrize("event", ALL, ids=[event.type for event in ALL])
def test_state_decodes_to_the_same_event(event: Event) -> None:
    assert decode(event.type, event.state) == event


def test_every_event_type_is_shown_here() -> None:
    assert {event.type for event in ALL} == set(vocabulary())


def test_instants_are_utc_with_six_decimals() -> None:
    assert json.loads(ALL[1].state)["occurred_at"] == "2025-12-24T14:00:00.000000Z"


def test_what_has_no_value_is_absent() -> None:
    assert RunCompleted(occurred_at=NOW).state == b'{"occurred_at":"2025-12-24T14:00:00.000000Z","v":1}'


def test_an_empty_run_takes_less_than_a_kilobyte() -> None:
    started = RunStarted.of(
        actor="x" * 32,
        host="h" * 64,
        occurred_at=NOW,
        process_id=2**22,
        software_version="audit-ledger 10.10.10",
        source="quiverquant_congress",
        task="data_fetch:congress_daily",
    )
    assert len(started.state) + len(RunCompleted(occurred_at=NOW, duration_ms=10**6).state) < 1024


def test_a_state_over_the_bound_is_refused() -> None:
    event = RunStarted.of(occurred_at=NOW, task="t", source="s", parameters={"a": "x" * 60_000})
    with pytest.raises(InvalidValue, match="60,000 bytes"):
        _ = event.state


def test_the_largest_erasure_fits_in_a_state() -> None:
    event = BodyErased.of(
        by="\x01" * 1000,
        commitment="A" * 43,
        occurred_at=NOW,
        reason="\x01" * 1000,
        referrers=[MAX_INTEGER] * MAX_REFERRERS,
    )
    assert len(event.state) <= 60_000
    with pytest.raises(InvalidValue, match="referrers"):
        BodyErased.of(**{**dict(event), "referrers": [1] * (MAX_REFERRERS + 1)})


@pytest.mark.parametrize(
    "scope",
    [
        {},
        {"payload_id": 3, "run_id": UUID(int=2)},
        {"record_type": "T"},
        {"record_id": "1"},
        {"record_type": "T", "run_id": UUID(int=2)},
    ],
    ids=str,
)
def test_a_hold_covers_one_thing(scope: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue, match="one of payload_id"):
        HoldAdded.of(occurred_at=NOW, by="ada", reason="court", hold_id=UUID(int=1), **scope)


@pytest.mark.parametrize("days", [-1, 36_501, 1.5, "7", True])
def test_a_retention_is_a_whole_number_of_days(days: Any) -> None:
    with pytest.raises(InvalidValue, match="days"):
        RetentionChanged.of(occurred_at=NOW, by="ada", reason="law", days=days)


@pytest.mark.parametrize("size", [1000, 999])
def test_ids_are_bounded_in_bytes(size: int) -> None:
    RecordIngested.of(occurred_at=NOW, record_type="T", record_id="x" * size)
    with pytest.raises(InvalidValue, match="record_id"):
        RecordIngested.of(occurred_at=NOW, record_type="T", record_id="ü" * size)


def test_an_unknown_type_and_a_wrong_state_are_refused() -> None:
    with pytest.raises(InvalidValue, match="RunStarted"):
        decode("RunExploded", b"{}")
    with pytest.raises(InvalidValue, match="RunCompleted"):
        decode("RunCompleted", b'{"occurred_at":"2025-12-24T14:00:00Z","surprise":1}')


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
SCALARS = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXT
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_canonical_json_agrees_with_rfc_8785(value: Any) -> None:
    assert canonical_json(value) == rfc8785.dumps(value)


@given(JSON)
def test_canonical_json_is_a_fixed_point(value: Any) -> None:
    once = canonical_json(value)
    assert canonical_json(json.loads(once)) == once


@given(st.dictionaries(TEXT, st.integers(0, 9)))
def test_key_order_does_not_depend_on_insertion(value: dict[str, int]) -> None:
    assert canonical_json(value) == canonical_json(dict(reversed(value.items())))


@given(st.text())
def test_storable_text_can_be_recorded(text: str) -> None:
    message = storable(text) or "-"
    event = RunFailed.of(occurred_at=NOW, message=message[:10_000], error_class="E")
    assert decode("RunFailed", event.state) == event


def test_content_may_be_64_levels_deep_and_no_deeper() -> None:
    value: object = 1
    for _ in range(64):
        value = [value]
    assert canonical_json(value) == b"[" * 64 + b"1" + b"]" * 64
    with pytest.raises(InvalidValue, match="64 levels"):
        canonical_json([value])


def test_instants_in_other_zones_are_the_same_instant() -> None:
    assert RunCompleted(occurred_at=NOW).state == RunCompleted(occurred_at=NOW.astimezone(UTC)).state
