"""Leaves: their exact bytes, for names and types however odd, and nothing else is one."""

import json
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from audit_ledger.errors import EvidenceInvalid
from audit_ledger.evidence.leaf import Leaf, decode, encode

STREAM = UUID("0b8f6a52-0a3c-4b5e-9d1f-3f6a5c1e7d20")
AT = datetime(2026, 1, 31, 8, 30, 0, 250000, tzinfo=UTC)
EVENT = Leaf(1, AT, "ledger_writer", STREAM, "RunStarted", 1, b'{"task_name":"data_fetch:congress_daily"}')
BYTES = (
    b'{"position":1,"recorded_at":"2026-01-31T08:30:00.250000Z","recorded_by":"ledger_writer",'
    b'"stream_id":"0b8f6a52-0a3c-4b5e-9d1f-3f6a5c1e7d20","type":"RunStarted","version":1}\n'
    b'{"task_name":"data_fetch:congress_daily"}'
)


def test_a_leaf_is_these_bytes() -> None:
    assert encode(*EVENT) == BYTES
    assert decode(BYTES) == EVENT


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        ('a"b\\c/d', rb"a\"b\\c/d"),
        ("\b\t\n\f\r", rb"\b\t\n\f\r"),
        ("\x00\x01\x1f\x7f", b"\\u0000\\u0001\\u001f\x7f"),
        ("Zoë O'Neil; DROP ROLE", "Zoë O'Neil; DROP ROLE".encode()),
        ("\u2028\u2029\ufeff\U0001f600", "\u2028\u2029\ufeff\U0001f600".encode()),
        ("e\u0301 is not é", "e\u0301 is not é".encode()),
        ('","type":"Forged', rb"\",\"type\":\"Forged"),
        ("", b""),
    ],
)
def test_names_are_escaped_as_rfc_8785_says(name: str, escaped: bytes) -> None:
    leaf = encode(*EVENT._replace(recorded_by=name))
    assert b'"recorded_by":"' + escaped + b'","stream_id"' in leaf
    assert escaped == rfc8785.dumps(name)[1:-1]
    assert decode(leaf).recorded_by == name
    assert leaf.count(b"\n") == 1


def test_state_is_as_stored_whatever_it_is() -> None:
    for state in (b"", b"\n", b"\xff\x00\n{", BYTES, b" {} "):
        assert decode(encode(*EVENT._replace(state=state))).state == state


def test_instants_are_utc_with_six_decimals() -> None:
    for instant, text in [
        (AT.astimezone(timezone(timedelta(hours=-5, minutes=-30))), b"2026-01-31T08:30:00.250000Z"),
        (datetime(999, 1, 1, tzinfo=UTC), b"0999-01-01T00:00:00.000000Z"),
        (datetime.max.replace(tzinfo=UTC), b"9999-12-31T23:59:59.999999Z"),
    ]:
        leaf = encode(*EVENT._replace(recorded_at=instant))
        assert text in leaf
        assert decode(leaf).recorded_at == instant


def test_the_two_hours_of_an_autumn_night_are_told_apart() -> None:
    summer = datetime(2025, 10, 26, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    assert b"T00:30:00.000000Z" in encode(*EVENT._replace(recorded_at=summer))
    assert b"T01:30:00.000000Z" in encode(*EVENT._replace(recorded_at=summer.replace(fold=1)))


@given(
    st.builds(
        Leaf,
        st.integers(1, 2**63 - 1),
        st.datetimes(timezones=st.just(UTC)),
        st.text(),
        st.uuids(),
        st.text(),
        st.integers(0, 2**63 - 1),
        st.binary(max_size=100),
    )
)
def test_every_event_is_read_back_from_its_leaf(event: Leaf) -> None:
    leaf = encode(*event)
    assert decode(leaf) == event
    line, _, state = leaf.partition(b"\n")
    fields = {
        "position": event.position,
        "recorded_at": f"{event.recorded_at:%Y-%m-%dT%H:%M:%S.%f}Z".rjust(27, "0"),
        "recorded_by": event.recorded_by,
        "stream_id": str(event.stream_id),
        "type": event.type,
        "version": event.version,
    }
    assert line.decode() == json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    assert state == event.state


def replaced(old: bytes, new: bytes) -> bytes:
    assert old in BYTES
    return BYTES.replace(old, new, 1)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        BYTES.replace(b"\n", b""),
        b" " + BYTES,
        replaced(b"\n", b" \n"),
        replaced(b"\n", b"\r\n"),
        replaced(b":1,", b": 1,"),
        replaced(b":1,", b":01,"),
        replaced(b":1,", b":0,"),
        replaced(b":1,", b":1.0,"),
        replaced(b":1,", b":-1,"),
        replaced(b":1,", b":true,"),
        replaced(b":1,", b":9223372036854775808,"),
        replaced(b":1}", b":-1}"),
        replaced(b":1}", b':1,"extra":1}'),
        replaced(b'"version":1', b'"version":"1"'),
        replaced(b'"position":1,', b""),
        replaced(b'"position":1,', b'"position":1,"position":1,'),
        replaced(b"0.250000Z", b"0.25Z"),
        replaced(b"0.250000Z", b"0.250000+00:00"),
        replaced(b"0.250000Z", b"0.250000z"),
        replaced(b"T08:30", b" 08:30"),
        replaced(b"T08:30", b"T24:30"),
        replaced(b"01-31", b"02-31"),
        replaced(b"0b8f6a52-", b"0B8F6A52-"),
        replaced(b"0b8f6a52-0a3c-", b"0b8f6a520a3c--"),
        replaced(b"ledger_writer", rb"ledger\u005fwriter"),
        replaced(b"ledger_writer", rb"ledger\/writer"),
        replaced(b"ledger_writer", b"ledger\twriter"),
        replaced(b"ledger_writer", rb"\u001F"),
        replaced(b"ledger_writer", rb"\u000a"),
        replaced(b"ledger_writer", rb"\ud800"),
        replaced(b"ledger_writer", b"\xff"),
        replaced(b"ledger_writer", b"\xed\xa0\x80"),
        b'{"recorded_at":"2026-01-31T08:30:00.250000Z","position":1' + BYTES[57:],
    ],
)
def test_what_no_event_has_as_its_leaf_is_refused(data: bytes) -> None:
    with pytest.raises(EvidenceInvalid):
        decode(data)


@pytest.mark.parametrize(
    "event",
    [
        EVENT._replace(position=0),
        EVENT._replace(position=2**63),
        EVENT._replace(version=-1),
        EVENT._replace(recorded_at=AT.replace(tzinfo=None)),
        EVENT._replace(recorded_by="\ud800"),
    ],
)
def test_columns_that_no_event_has_are_refused(event: Leaf) -> None:
    with pytest.raises(EvidenceInvalid):
        encode(*event)
