"""What processes that join a run leave for its end, and what is kept of a command's output."""

import threading
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from audit_ledger.executing.arguments import duration, parse
from audit_ledger.executing.tail import KEPT_BYTES, SHOWN, Tail
from audit_ledger.recording.joining import Report, combined, invitation, reports
from audit_ledger.redaction import Redactor

NOON = datetime(2025, 12, 24, 12, tzinfo=UTC)


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    report = Report(
        NOON,
        {"created": 1},
        {"created": 2, "fetched": 2},
        {"data_date_start": date(2025, 12, 23)},
        {"error_class": "KeyError", "message": "x", "backtrace": ["a"]},
    )
    report.write(tmp_path)
    assert reports(tmp_path, pytest.fail) == [report]


def test_a_file_that_is_no_report_is_named_and_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "b.json").write_text('{"left_at": 3}')
    (tmp_path / "c.json").write_text('{"left_at": "2025-12-24", "declared": {"created": "many"}}')
    (tmp_path / "d.json").write_bytes(b"[" * 70_000)
    (tmp_path / "e.partial").write_text("{}")
    told: list[str] = []
    assert reports(tmp_path, told.append) == []
    assert sorted(text.partition(" ")[0][-6:] for text in told) == ["a.json", "b.json", "c.json", "d.json"]


def test_reports_add_up() -> None:
    first = Report(NOON, {"created": 3}, {}, {"data_date_start": date(2025, 1, 2)}, {"message": "first"})
    second = Report(
        NOON + timedelta(seconds=1),
        {"fetched": 9},
        {"created": 4, "fetched": 9},
        {"data_date_start": date(2025, 1, 1), "data_date_end": date(2025, 1, 3)},
    )
    both = combined([first, second])
    assert both is not None
    assert both.declared == {"created": 7, "fetched": 9}
    assert both.dates == {"data_date_start": date(2025, 1, 1), "data_date_end": date(2025, 1, 3)}
    assert both.failure == {"message": "first"}
    assert combined([]) is None


def test_an_invitation_is_passed_on_as_it_came() -> None:
    environment = {
        "AUDIT_LEDGER_RUN": "5e0f2d68-7c0c-4c53-9d0c-0f4f1d1f3a11",
        "AUDIT_LEDGER_RUN_REPORT": "/tmp/x",
    }
    found = invitation(environment)
    assert found is not None
    assert found.environment == environment
    assert invitation({}) is None
    assert invitation({"AUDIT_LEDGER_RUN": ""}) is None


def test_a_secret_at_the_cut_is_not_shown_by_half() -> None:
    for filler in range(0, 60, 7):
        tail = Tail()
        tail.add(b"password=" + b"s3cr" * 20 + b"\n" + b"x" * (KEPT_BYTES - 40 - filler) + b"\nthe end\n")
        shown = tail.shown(Redactor())
        assert shown is not None
        assert shown.endswith("the end")
        assert "s3cr" not in shown
        tail = Tail()
        tail.add(b"password=" + b"s3cr" * 20 + b"\n" + b"x" * (SHOWN - 40 - filler) + b"\nthe end\n")
        assert "s3cr" not in (tail.shown(Redactor()) or "")


def test_output_in_many_parts_from_many_threads_is_bounded() -> None:
    tail = Tail()

    def print_much() -> None:
        for _ in range(200):
            tail.add(b"0123456789" * 500)

    threads = [threading.Thread(target=print_much) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shown = tail.shown(Redactor())
    assert shown == "…" + ("0123456789" * SHOWN)[-SHOWN:]


@pytest.mark.parametrize("printed", [b"", b"\n\n"])
def test_no_output_is_none(printed: bytes) -> None:
    tail = Tail()
    tail.add(printed)
    assert tail.shown(Redactor()) is None


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("0.5s", 0.5), ("10m", 600), ("2h", 7200), ("1d", 86400)]
)
def test_durations_have_units(text: str, seconds: float) -> None:
    assert duration(text) == seconds


def test_all_after_the_dashes_is_the_command() -> None:
    asked = parse(["--task", "t", "--source", "s", "--timeout", "1m", "--", "run", "--task", "--", "-x"])
    assert asked.command == ["run", "--task", "--", "-x"]
    assert (asked.task, asked.timeout, asked.overlap) == ("t", 60, None)
