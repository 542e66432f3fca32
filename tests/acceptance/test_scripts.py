"""The fetch scripts, run as their users run them, against the real data over HTTP, with every fault."""

import ast
import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import psycopg
import pytest

import audit_ledger
from audit_ledger import Ledger
from tests.conftest import shared

SCRIPTS = Path(__file__).parents[2] / "scripts"
KEYS = {"QUIVER_API_KEY": "quiver-0f9b7c", "PROPUBLICA_API_KEY": "propublica-51ab3e"}
NAMES = {"congress": "Congress", "insider": "Insider", "committees": "Committees"}
Row = dict[str, Any]


class Ended(NamedTuple):
    status: int
    out: str
    err: str


def finish(process: subprocess.Popen[str]) -> Ended:
    with process:
        out, err = process.communicate(timeout=120)
    return Ended(process.returncode, out, err)


class Scripts:
    """The fetch scripts, writing to one ledger and asking one upstream."""

    def __init__(self, ledger_url: str, upstream: Any) -> None:
        self.upstream = upstream
        self.environment = os.environ | KEYS | {"AUDIT_LEDGER_URL": ledger_url, "NO_PROXY": "127.0.0.1"}

    def start(self, name: str, *arguments: str) -> subprocess.Popen[str]:
        script = str(SCRIPTS / f"fetch_{name}_daily.py")
        command = [sys.executable, script, "--base-url", self.upstream.url, *arguments]
        return subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def __call__(self, name: str, *arguments: str, today: str | None = None) -> Ended:
        if today is not None:
            self.upstream.state.today = today
        return finish(self.start(name, *arguments))

    def fault(self, *kinds: str) -> None:
        """The next requests get these faults, one each; "" is none."""
        self.upstream.state.faults[:] = [(kind, 0.2) for kind in kinds]

    @property
    def asked(self) -> list[Row]:
        """What upstream was asked since it started: method, path, status, bytes."""
        return list(self.upstream.state.log)


@pytest.fixture
def start_upstream(serve: ModuleType) -> Iterator[Callable[..., Any]]:
    """Starts an upstream with the real data, or with other data of the same shape."""
    started = []

    def start(today: str = "2024-09-20", **options: Any) -> Any:
        server = serve.start(today=today, **{"limit": 1_000_000, **options})
        started.append(server)
        return server

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


@pytest.fixture
def scripts(url: str, start_upstream: Callable[..., Any]) -> Scripts:
    return Scripts(url, start_upstream())


def load(*parts: str) -> list[Row]:
    with gzip.open(shared("realdata", *parts), "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def snapshots(kind: str) -> list[str]:
    return sorted(path.name[:10] for path in shared("realdata", kind).glob("*.jsonl.gz"))


def compare(known: dict[Any, Row], now: dict[Any, Row]) -> dict[str, int]:
    """What a run must count that finds `now` where `known` was; brings `known` up to date."""
    created = len(now.keys() - known.keys())
    updated = sum(known[key] != now[key] for key in now.keys() & known.keys())
    known |= now
    return {
        "records_fetched": len(now),
        "records_created": created,
        "records_updated": updated,
        "records_skipped": len(now) - created - updated,
    }


def last_run(ledger: Ledger) -> Any:
    run = ledger.runs.first()
    assert run is not None
    return run


def counted(run: Any) -> dict[str, int]:
    names = ("records_fetched", "records_created", "records_updated", "records_skipped")
    return {name: getattr(run, name) for name in names}


def assert_completed(ended: Ended, name: str, ledger: Ledger, expected: dict[str, int]) -> None:
    run = last_run(ledger)
    assert ended.err == ""
    assert ended.out == (
        f"✅ {NAMES[name]} data ingestion completed (run_id: {run.run_id})\n"
        f"   Records: {expected['records_created']} created, {expected['records_updated']} updated\n"
    )
    assert ended.status == 0
    assert run.status == "completed"
    assert counted(run) == expected
    assert ledger.details(run.run_id).discrepancies == []


def assert_failed(ended: Ended, name: str, ledger: Ledger, *said: str) -> None:
    run = last_run(ledger)
    assert ended.out == ""
    assert ended.err.startswith(f"❌ {NAMES[name]} data ingestion failed: ")
    assert "Traceback" not in ended.err
    assert ended.status == 1
    assert run.status == "failed"
    assert run.records.count() == 0
    for words in said:
        assert words in run.error_message
        assert words in ended.err


def by_filing_and_line(rows: list[Row]) -> dict[Any, Row]:
    return {(row["Filing"], row["Line"]): row for row in rows}


def test_congress_counts_what_each_snapshot_added(scripts: Scripts, ledger: Ledger) -> None:
    days, known = snapshots("congress"), dict[Any, Row]()
    assert len(days) >= 6
    for day in days:
        rows = load("congress", f"{day}.jsonl.gz")
        ended = scripts("congress", today=day)
        assert_completed(ended, "congress", ledger, compare(known, by_filing_and_line(rows)))
        run, dates = last_run(ledger), sorted(row["ReportDate"] for row in rows)
        assert (run.task_name, run.data_source) == ("data_fetch:congress_daily", "quiverquant_congress")
        assert [str(run.data_date_start), str(run.data_date_end)] == [dates[0], dates[-1]]
        assert run.calls.count() == len(rows) // 1000 + 1


def test_committees_count_what_changed_between_snapshots(scripts: Scripts, ledger: Ledger) -> None:
    days, known = snapshots("committees"), dict[Any, Row]()
    assert len(days) >= 4
    for day in (days[0], days[1], days[len(days) // 2], days[-1]):
        rows = load("committees", f"{day}.jsonl.gz")
        committees = {row["thomas_id"]: row for row in rows if row["kind"] == "committee"}
        seats = {member["bioguide"] for row in committees.values() for member in row["members"]}
        profiles = {row["bioguide"]: row for row in rows if row.get("bioguide") in seats}
        expected = compare(known, committees | profiles)
        assert_completed(scripts("committees", today=day), "committees", ledger, expected)
        run = last_run(ledger)
        assert (run.task_name, run.data_source) == ("data_fetch:committees_daily", "propublica_committees")
        for kind, rows_of_kind in (("Committee", committees), ("PoliticianProfile", profiles)):
            touched = run.records.of_type(kind)
            assert touched.count() - touched.withdrawn().count() == len(rows_of_kind)
            assert {record.record_id for record in ledger.records(kind)} == rows_of_kind.keys()
        assert run.calls.successful().count() == 3 + len(committees) + len(profiles)


def test_insiders_count_what_was_filed_day_by_day(scripts: Scripts, ledger: Ledger) -> None:
    rows, known = load("insiders.jsonl.gz"), dict[Any, Row]()
    days = sorted({row["fileDate"][:10] for row in rows})
    for day in (days[0], days[1], days[2], days[9], days[9], days[-1]):
        filed = [row for row in rows if row["fileDate"][:10] <= day]
        expected = compare(known, {json.dumps(row, sort_keys=True): row for row in filed})
        assert_completed(scripts("insider", today=day), "insider", ledger, expected)
        run = last_run(ledger)
        assert (run.task_name, run.data_source) == ("data_fetch:insider_daily", "quiverquant_insider")
        assert [str(run.data_date_start), str(run.data_date_end)] == [days[0], day]


def test_records_keep_every_field_that_upstream_gave(
    scripts: Scripts, admin: psycopg.Connection[Any]
) -> None:
    scripts("insider", today="2024-09-13")
    scripts("congress", "--since", "2020-05-01", today="2020-05-04")
    scripts("committees", today="2025-12-24")
    kept = [
        json.loads(content)
        for (content,) in admin.execute(
            "SELECT b.content FROM record_versions v JOIN bodies b ON commitment = v.content"
        )
    ]
    given = [row for row in load("insiders.jsonl.gz") if row["fileDate"][:10] <= "2024-09-13"]
    given += [row for row in load("congress", "2020-05-04.jsonl.gz") if row["ReportDate"] >= "2020-05-01"]
    given += load("committees", "2025-12-24.jsonl.gz")
    seated = {member["bioguide"] for row in given for member in row.get("members", ())}
    given = [row for row in given if row.get("kind") != "legislator" or row["bioguide"] in seated]
    assert sorted(map(canonical, kept)) == sorted(map(canonical, given))


def canonical(row: Row) -> str:
    return json.dumps(row, sort_keys=True)


@pytest.mark.parametrize(
    ("name", "field", "source", "day"),
    [
        ("congress", "ReportDate", "congress/2020-05-04.jsonl.gz", "2020-05-01"),
        ("insider", "fileDate", "insiders.jsonl.gz", "2024-09-18"),
    ],
)
def test_since_asks_for_that_day_and_later(
    scripts: Scripts, ledger: Ledger, name: str, field: str, source: str, day: str
) -> None:
    today = "2020-05-04" if name == "congress" else "2024-09-20"
    later = [row for row in load(*source.split("/")) if day <= row[field][:10] <= today]
    assert later
    expected = compare({}, {canonical(row): row for row in later})
    assert_completed(scripts(name, "--since", day, today=today), name, ledger, expected)
    run = last_run(ledger)
    assert str(run.data_date_start) == min(row[field][:10] for row in later)
    assert ledger.details(run.run_id).started["parameters"] == {"since": day}


@pytest.mark.parametrize("name", ["congress", "insider"])
def test_since_a_day_after_the_last_completes_with_nothing(
    scripts: Scripts, ledger: Ledger, name: str
) -> None:
    assert_completed(scripts(name, "--since", "2030-01-01"), name, ledger, compare({}, {}))
    run = last_run(ledger)
    assert (run.data_date_start, run.data_date_end) == (None, None)
    assert [finding.kind for finding in ledger.check()] == ["empty"]


def test_since_something_else_than_a_day_is_refused_before_a_run_begins(
    scripts: Scripts, ledger: Ledger
) -> None:
    ended = scripts("congress", "--since", "yesterday")
    assert ended.status == 2
    assert "YYYY-MM-DD" in ended.err
    assert ledger.runs.count() == 0


PASSING = {  # what upstream says to one request, and then to the next: the statuses on record
    "500": [500, 200],
    "503": [503, 200],
    "429": [429, 200],
    "drop": [None, 200],
    "truncate": [None, 200],
    "redirect": [302, 200],
    "slow": [200],
    "gzip": [200],
}
USELESS = {  # and what the failed run says of it
    "401": ("answered 401", "fault 401"),
    "404": ("answered 404", "fault 404"),
    "badjson": ("answered 200, application/json", "no JSON in UTF-8"),
    "html": ("answered 200, text/html", "502 Bad Gateway", "no JSON in UTF-8"),
    "latin1": ("answered 200, application/json", "no JSON in UTF-8", "unicode"),
    "empty": ("answered",),
}
LASTING = {
    "500": ("answered 500", "fault 500"),
    "503": ("answered 503", "fault 503"),
    "429": ("answered 429", "fault 429"),
    "drop": ("no answer", "without response"),
    "truncate": ("not to its end", "IncompleteRead"),
}


def test_every_fault_of_the_server_is_tested(serve: ModuleType) -> None:
    assert set(serve.FAULTS) == PASSING.keys() | USELESS.keys() | LASTING.keys()


@pytest.mark.parametrize("kind", PASSING)
def test_a_fault_that_passes_is_overcome_and_on_record(scripts: Scripts, ledger: Ledger, kind: str) -> None:
    rows = [row for row in load("insiders.jsonl.gz") if row["fileDate"][:10] <= "2024-09-20"]
    scripts.fault(kind)
    ended = scripts("insider")
    expected = compare({}, {canonical(row): row for row in rows})
    assert_completed(ended, "insider", ledger, expected)
    calls = last_run(ledger).calls.order_by("id").all()
    assert [call.http_status_code for call in calls] == PASSING[kind]
    headless = [kind == "drop", *[False] * len(calls)]
    assert [call.rate_limit_remaining is None for call in calls] == headless[: len(calls)]
    if kind == "slow":
        assert calls[0].duration_ms >= 200


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", USELESS)
def test_a_useless_answer_fails_the_run_and_says_what_it_was(
    scripts: Scripts, ledger: Ledger, name: str, kind: str
) -> None:
    scripts.fault(kind)
    assert_failed(scripts(name), name, ledger, *USELESS[kind])
    assert last_run(ledger).calls.count() == len(scripts.asked) == 1


def test_a_fault_that_lasts_fails_the_run_after_a_few_attempts(
    url: str, ledger: Ledger, start_upstream: Callable[..., Any]
) -> None:
    started = {}
    for kind in LASTING:
        scripts = Scripts(url, start_upstream())
        scripts.fault(*[kind] * 20)
        started[kind] = (scripts, scripts.start("insider"))
    ended = {kind: finish(process) for kind, (_, process) in started.items()}
    for kind, (status, out, err) in ended.items():
        assert (status, out) == (1, "")
        assert err.startswith("❌ Insider data ingestion failed: GET ")
        assert "Traceback" not in err
        assert len(started[kind][0].asked) == 4
        (run,) = [run for run in ledger.runs.failed() if str(run.error_message) in err]
        assert run.records.count() == 0
        assert run.calls.failed().count() == 4
        assert all(words in str(run.error_message) for words in LASTING[kind])


def test_a_fault_in_the_middle_leaves_no_record(scripts: Scripts, ledger: Ledger) -> None:
    scripts.fault("", "", "", "badjson")
    ended = scripts("congress", today="2020-05-04")
    assert_failed(ended, "congress", ledger, "page=4", "no JSON in UTF-8")
    scripts.fault(*[""] * 200, "404")
    ended = scripts("committees", today="2025-12-24")
    assert_failed(ended, "committees", ledger, "/members/", "answered 404")


def test_an_empty_page_in_the_middle_is_not_taken_for_the_end(scripts: Scripts, ledger: Ledger) -> None:
    rows = load("congress", "2020-05-04.jsonl.gz")
    scripts.fault("", "", "empty")
    ended = scripts("congress", today="2020-05-04")
    assert_completed(ended, "congress", ledger, compare({}, by_filing_and_line(rows)))


def test_a_used_up_rate_limit_is_waited_for(scripts: Scripts, ledger: Ledger) -> None:
    spans: dict[int, int] = {}

    def take() -> tuple[int, int]:
        """As the server's own, but four requests in two seconds, not a thousand in a minute."""
        now = time.time()
        spans[int(now // 2)] = used = spans.get(int(now // 2), 0) + 1
        return 4 - used, 2

    scripts.upstream.state.take = take
    assert scripts("congress", today="2020-05-04").status == 0
    statuses = [request["status"] for request in scripts.asked]
    assert statuses == [200] * 9
    assert min(call.rate_limit_remaining for call in last_run(ledger).calls) == 0


def test_no_key_is_on_record(scripts: Scripts, ledger: Ledger, admin: psycopg.Connection[Any]) -> None:
    for name in NAMES:
        scripts(name, today="2025-12-24")
        scripts.fault("401")
        scripts(name)
    assert ledger.runs.count() == 6
    bodies = admin.execute("SELECT content FROM bodies").fetchall()
    states = [event.state for event in ledger.events()]
    assert len(states) > 1000
    assert len(bodies) > 1000
    for recorded in [*states, *(content for (content,) in bodies)]:
        assert not any(key.encode() in recorded for key in KEYS.values())


KEY_OF = {"congress": "QUIVER_API_KEY", "insider": "QUIVER_API_KEY", "committees": "PROPUBLICA_API_KEY"}


@pytest.mark.parametrize("name", NAMES)
def test_without_a_key_the_run_fails_before_anything_is_asked(
    scripts: Scripts, ledger: Ledger, name: str
) -> None:
    del scripts.environment[KEY_OF[name]]
    assert_failed(scripts(name), name, ledger, f"{KEY_OF[name]} is not set")
    assert scripts.asked == []


def test_a_key_that_no_header_can_hold_is_not_repeated(scripts: Scripts, ledger: Ledger) -> None:
    scripts.environment["PROPUBLICA_API_KEY"] = "open\nsesame"
    ended = scripts("committees")
    assert_failed(ended, "committees", ledger, "PROPUBLICA_API_KEY holds no key")
    assert "sesame" not in ended.err
    assert scripts.asked == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"Ticker": ...}, "row 17: Ticker: Field required"),
        ({"Ticker": None}, "row 17: Ticker: Input should be a valid string"),
        ({"Line": "3"}, "row 17: Line: Input should be a valid integer"),
        ({"ReportDate": "2020-02-30"}, "row 17: ReportDate: Input should be a valid date"),
        ({"ReportDate": 1588550400}, "row 17: ReportDate: Input should be a valid date"),
        ({"Filing": "/"}, "row 17: Filing: String should match pattern"),
        ({"Amount": float("nan")}, "no JSON in UTF-8"),
        ({"Description": "Sample\0"}, "content.Description"),
    ],
)
def test_an_unsound_row_fails_the_run_and_is_named(
    url: str,
    ledger: Ledger,
    start_upstream: Callable[..., Any],
    tmp_path: Path,
    change: Row,
    said: str,
) -> None:
    rows = load("congress", "2020-05-04.jsonl.gz")[:40]
    rows[16] = {name: value for name, value in (rows[16] | change).items() if value is not ...}
    (tmp_path / "congress").mkdir()
    with gzip.open(tmp_path / "congress" / "2020-05-04.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    scripts = Scripts(url, start_upstream("2020-05-04", data=tmp_path))
    assert_failed(scripts("congress"), "congress", ledger, said)


def test_without_a_ledger_nothing_is_asked(start_upstream: Callable[..., Any]) -> None:
    scripts = Scripts("postgresql://nobody@127.0.0.1:1/none", start_upstream())
    ended = scripts("insider")
    assert ended.err.startswith("❌ Insider data ingestion failed: no database answers at 127.0.0.1:1/none")
    assert "Traceback" not in ended.err
    assert (ended.status, ended.out) == (1, "")
    assert scripts.asked == []


def test_an_upstream_that_is_not_there_fails_the_run(scripts: Scripts, ledger: Ledger) -> None:
    scripts.upstream.shutdown()
    scripts.upstream.server_close()
    assert_failed(scripts("congress"), "congress", ledger, "no answer", "refused")
    calls = last_run(ledger).calls.all()
    assert [(call.http_status_code, call.success) for call in calls] == [(None, False)] * 4


def test_scripts_are_short_and_use_the_public_api_alone() -> None:
    public = set(audit_ledger.__all__)
    for path in sorted(SCRIPTS.glob("*.py")):
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) < (60 if path.name.startswith("fetch_") else 101), path.name
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("audit_ledger"):
                assert node.module == "audit_ledger"
                assert {alias.name for alias in node.names} <= public
            if isinstance(node, ast.Import):
                assert not any(alias.name.startswith("audit_ledger.") for alias in node.names)
