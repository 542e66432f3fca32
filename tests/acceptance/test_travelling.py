"""The command line as of an instant: what it prints, with which header, and what it refuses."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from audit_ledger import Ledger, Run, cli
from tests.acceptance.test_cli import Said, ask
from tests.acceptance.test_cli import _configured as _configured
from tests.acceptance.test_cli import as_reader as as_reader

TASK, SOURCE = "data_fetch:congress_daily", "quiverquant_congress"


@dataclass
class Days:
    """Three days of one source: two trades, one of them amended, then withdrawn."""

    first: Run
    second: Run
    third: Run
    after_first: int
    after_second: int


@pytest.fixture
def days(ledger: Ledger) -> Days:
    runs, ends = [], []
    for trades in (
        {12345: {"Ticker": "SAMPL", "Range": "$1"}, 12346: {"Ticker": "XMPL"}},
        {12345: {"Ticker": "SAMPL", "Range": "$2"}, 12346: {"Ticker": "XMPL"}},
        {12346: {"Ticker": "XMPL"}},
    ):
        with ledger.run(TASK, source=SOURCE) as run:
            run.api_call(
                endpoint="api.test/v1",
                http_status_code=200,
                response={str(number): trade for number, trade in trades.items()},
            )
            run.ingest_snapshot("QuiverTrade", trades)
        runs.append(run)
        ends.append(ledger.reference().position)
    return Days(runs[0], runs[1], runs[2], ends[0], ends[1])


def last_line(said: Said) -> str:
    return said.lines[-1]


def test_records_as_of_are_those_of_then_with_the_header(days: Days) -> None:
    said = ask("records", "QuiverTrade", "--as-of", str(days.after_first))
    assert said.code == cli.FINE
    assert "$1" in said.stdout
    assert last_line(said).startswith(f"as of position {days.after_first}, recorded 20")
    assert last_line(said).endswith(", final")


@pytest.mark.parametrize("before", [True, False])
def test_as_of_stands_before_or_after_the_command(days: Days, before: bool) -> None:
    travel = ["--as-of", f"run {days.second.id}"]
    command = ["records", "QuiverTrade", "--json"]
    said = ask(*travel, *command) if before else ask(*command, *travel)
    assert {row["record_id"]: row["content"] for row in said.json} == {
        "12345": {"Ticker": "SAMPL", "Range": "$2"},
        "12346": {"Ticker": "XMPL"},
    }
    assert list(said.json[0]) == ["record_id", "content", "run_id", "recorded_at"]
    assert said.stderr.startswith(f"as of position {days.after_second}, ")


def test_every_question_travels(days: Days) -> None:
    at = str(days.after_first)
    assert [row["run_id"] for row in ask("runs", "--as-of", at, "--json").json] == [str(days.first.id)]
    assert len(ask("provenance", "QuiverTrade", "12345", "--as-of", at, "--json").json) == 1
    assert len(ask("history", "QuiverTrade", "12345", "--as-of", at, "--json").json) == 1
    assert ask("check", "--as-of", at, "--json").json == []
    assert ask("hold", "list", "--as-of", at, "--json").json == []
    assert ask("retention", "show", "--as-of", at, "--json").json["days"] == 0
    (call,) = ask("calls", str(days.first.id), "--as-of", at, "--json").json
    payload = call["api_response_payload_id"]
    assert ask("payload", str(payload), "--as-of", at, "--json").json[0]["payload"]["12345"]["Range"] == "$1"
    shown = ask("show", str(days.first.id), "--as-of", "1", "--json").json
    assert (shown["status"], shown["records_created"]) == ("running", 0)
    for command in (["calls", str(days.third.id)], ["show", str(days.third.id)], ["chain", "D"]):
        assert ask(*command, "--as-of", at).code == cli.FAILED


def test_what_is_recorded_later_is_unknown_before(days: Days) -> None:
    said = ask("show", str(days.third.id), "--as-of", str(days.after_first))
    assert said.code == cli.FAILED
    assert "no run has the id" in said.stderr


@pytest.mark.parametrize(
    ("when", "told"),
    [
        ("2025-12-24 09:00", "without a time zone could be any of many"),
        ("2025-12-24 09:00 EST", "no instant"),
        ("yesterday", "no instant"),
        ("2025-12-24 09:00 America/New_York", "the ledger had not begun"),
        ("999999", "there is no position 999999 yet"),
        ("run deadbeef", "there is no such run"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_a_remedy(days: Days, when: str, told: str) -> None:
    said = ask("records", "QuiverTrade", "--as-of", when)
    assert (said.code, said.stdout) == (cli.FAILED, "")
    assert told in said.stderr
    assert "remedy: " in said.stderr


def test_a_reader_travels_too(days: Days, as_reader: Callable[[], None]) -> None:
    as_reader()
    assert len(ask("records", "QuiverTrade", "--as-of", str(days.after_first), "--json").json) == 2


def test_an_answer_of_the_future_is_not_final(days: Days) -> None:
    assert last_line(ask("runs", "--as-of", "2999-01-01 UTC")).endswith(", not final")


def test_final_records_a_heartbeat_where_that_makes_the_answer_final(days: Days, ledger: Ledger) -> None:
    now = ledger.reference().recorded_at.isoformat()
    before = ledger.reference().position
    assert last_line(ask("runs", "--as-of", now)).endswith(", not final")
    said = ask("runs", "--as-of", now, "--final")
    assert last_line(said) == last_line(said).replace(", not final", ", final")
    assert f"as of position {before}," in last_line(said)
    assert ledger.reference().position == before + 1
    assert last_line(ask("runs", "--as-of", now)).endswith(", final")


def test_json_carries_the_header_and_streams_the_rows(days: Days) -> None:
    document = json.loads(
        ask("records", "QuiverTrade", "--as-of", str(days.after_first), "--format", "json").stdout
    )
    assert document["answer"]["position"] == days.after_first
    assert document["answer"]["final"] is True
    assert set(document["answer"]) >= {"ledger_id", "begins_at", "recorded_at", "software_version"}
    assert sorted(row["record_id"] for row in document["rows"]) == ["12345", "12346"]


def test_csv_carries_the_header_in_its_first_line(days: Days, ledger: Ledger) -> None:
    with ledger.run(TASK, source=SOURCE) as run:
        run.ingest("Odd", 'a,"b"\n%s {x}', {"text": 'quote " comma , line\nfeed \\ back'})
    head, _, rest = ask("records", "Odd", "--format", "csv").stdout.partition("\n")
    assert json.loads(head.removeprefix("# "))["asked"] == "now"
    (row,) = csv.DictReader(io.StringIO(rest, newline=""))
    assert row["record_id"] == 'a,"b"\n%s {x}'
    assert json.loads(row["content"]) == {"text": 'quote " comma , line\nfeed \\ back'}


@pytest.mark.parametrize(
    "command",
    [["runs"], ["provenance", "QuiverTrade", "12345"], ["history", "QuiverTrade", "12345"]],
    ids=lambda command: str(command[0]),
)
@pytest.mark.parametrize("form", ["json", "csv"])
def test_every_listing_can_be_exported(days: Days, command: list[str], form: str) -> None:
    as_json = ask(*command, "--json").json
    printed = ask(*command, "--format", form).stdout
    if form == "json":
        assert len(json.loads(printed)["rows"]) == len(as_json)
    else:
        rows = [*csv.DictReader(io.StringIO(printed.partition("\n")[2], newline=""))]
        assert [row["run_id"] for row in rows] == [row["run_id"] for row in as_json]


def test_calls_can_be_exported(days: Days) -> None:
    exported = json.loads(ask("calls", str(days.first.id), "--format", "json").stdout)["rows"]
    assert [row["endpoint"] for row in exported] == ["api.test/v1"]


def test_history_shows_each_version_and_the_withdrawal(days: Days) -> None:
    rows = ask("history", "QuiverTrade", "12345", "--json").json
    assert [row["operation"] for row in rows] == ["withdrawn", "updated", "created"]
    assert [row["to_position"] for row in rows] == [None, rows[0]["id"], rows[1]["id"]]
    assert ask("history", "QuiverTrade", "1").stderr == "no run has touched QuiverTrade 1\n"


def test_diff_of_a_record_goes_field_by_field(days: Days) -> None:
    said = ask("diff", "QuiverTrade", "12345")
    assert '  ~ /Range: "$1" → "$2"' in said.lines
    assert said.lines[0].startswith("withdrawn at position ")
    changes = ask("diff", "QuiverTrade", "12345", "--json").json
    assert changes[1]["changes"] == [{"path": "/Range", "change": "changed", "before": "$1", "after": "$2"}]
    assert "has not changed" in ask("diff", "QuiverTrade", "12346").stderr


def test_diff_of_two_instants_counts_runs_and_records(days: Days) -> None:
    found = ask("diff", "--from", str(days.after_first), "--to", str(days.after_second), "--json").json
    assert [row["run_id"] for row in found["runs_started"]] == [str(days.second.id)]
    assert [(row["record_id"], row["change"]) for row in found["records"]] == [("12345", "updated")]
    said = ask("diff", "--from", str(days.after_first))
    assert "records  0 created, 0 updated, 1 withdrawn" in said.stdout


@pytest.mark.parametrize("args", [["QuiverTrade"], [], ["QuiverTrade", "1", "--from", "1"]])
def test_a_diff_of_nothing_in_particular_is_a_usage_error(args: list[str]) -> None:
    assert ask("diff", *args).code == cli.USAGE


def test_the_chain_goes_from_ingestion_to_execution(days: Days, ledger: Ledger) -> None:
    known = f"{ledger.ledger_id}@{days.after_second}@{ledger.as_of(days.after_second).header.recorded_at}"
    ledger.record_decision("D1", known, inputs=[("QuiverTrade", 12345), ("QuiverTrade", 7)], by="model 3")
    ledger.record_execution("order-1", decision="D1", details={"shares": 10})
    found = ask("chain", "D1", "--json").json
    used, unknown = found["used"]
    assert (used["run_id"], used["commitment"] is not None) == (str(days.second.id), True)
    assert used["replaced_by"] is not None
    assert unknown["position"] is None
    assert found["discrepancies"] == [f"QuiverTrade 7 was not on record at position {days.after_second}"]
    assert {row["run_id"]: row["records"] for row in found["available"]} == {
        str(days.second.id): 1,
        str(days.first.id): 1,
    }
    assert [row["execution_id"] for row in found["executions"]] == ["order-1"]
    said = ask("chain", "D1")
    assert "❌ discrepancy: QuiverTrade 7 was not on record" in said.stdout
    assert "order-1" in said.stdout


def test_a_correction_is_shown_beside_what_it_corrects(days: Days, ledger: Ledger) -> None:
    (first,) = ask("history", "QuiverTrade", "12346", "--json").json
    said = ask("correct", first["id"], "--reason", "cents", "--by", "ada", "--values", '{"Range": "$3"}')
    assert said.stdout.startswith(f"position {first['id']} is corrected by position ")
    assert "corrected by ada: cents" in ask("history", "QuiverTrade", "12346").stdout
    assert "corrected by ada: cents" in ask("show", str(days.first.id)).stdout
    before = ask("history", "QuiverTrade", "12346", "--as-of", str(days.after_first), "--json").json
    assert before[0]["corrections"] == []
    assert ask("correct", "1", "--reason", "r", "--by", "b", "--values", "[1]").code == cli.USAGE
    assert ask("correct", "99999", "--reason", "r", "--by", "b").code == cli.FAILED


def test_no_setting_is_left_in_the_session(days: Days, ledger: Ledger) -> None:
    then: Any = ledger.as_of(days.after_first)
    assert then.runs.count() == 1
    assert ledger.runs.count() == 3
    assert then.runs.count() == 1
