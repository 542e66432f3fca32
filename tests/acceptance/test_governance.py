"""The commands of officers: what they print, ask and end with."""

import os
import pty
import subprocess
from pathlib import Path

import psycopg
import pytest

import audit_ledger
from audit_ledger import Ledger, Run, cli
from audit_ledger.store.server import EmbeddedServer
from tests.acceptance.test_cli import SCRIPT, ask, execute

WHY = ("--reason", "request 17", "--by", "privacy team")
PERSON = {"name": "Jo Public"}


@pytest.fixture(autouse=True)
def _configured(officer_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIT_LEDGER_URL", officer_url)
    for name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run(ledger: Ledger) -> Run:
    """A run that brought a person by one call, and the same bytes to somebody else."""
    with ledger.run("data_fetch:people", "crm") as run:
        run.api_call(endpoint="crm.test/people", request={"page": 1}, response=[PERSON])
        run.ingest("Person", 17, PERSON)
        run.ingest("Newsletter", "r-4", PERSON)
    return run


# erase


def test_erase_record_says_what_went_who_shared_it_and_where_else_to_look(run: Run) -> None:
    said = ask("erase", "record", "Person", "17", *WHY)
    assert (said.code, said.stderr) == (cli.FINE, "")
    first, second, _, row, last = said.lines
    assert first == "erased 1 content of Person 17: position 6"
    assert second == "1 other event referred to the same bytes:"
    assert row.split() == ["4", run.id.hex[:8], "Newsletter", "r-4"]
    assert last == "the API responses of the runs that brought it may hold the same data: payloads 4"


def test_erase_payload_says_what_went(run: Run, ledger: Ledger) -> None:
    with ledger.run("data_fetch:people", "crm") as other:
        other.api_call(endpoint="crm.test/again", response=[PERSON])
    said = ask("erase", "payload", "4", *WHY)
    assert said.lines[:2] == ["erased payload 4: position 9", "1 other event referred to the same bytes:"]
    assert said.lines[-1].split() == ["7", other.id.hex[:8], "crm.test/again"]
    again = ask("erase", "payload", "4", *WHY)
    assert again.code == cli.FAILED
    assert "error: payload 4 was erased" in again.stderr
    assert "by privacy team, at 20" in again.stderr


def test_erase_as_json_names_all_of_it(run: Run) -> None:
    said = ask("erase", "record", "Person", "17", *WHY, "--json").json
    assert said["payload_ids"] == [4]
    (body,) = said["bodies"]
    assert [(r["position"], r["record_type"], r["endpoint"]) for r in body["referrers"]] == [
        (3, "Person", None),
        (4, "Newsletter", None),
    ]
    assert {r["run_id"] for r in body["referrers"]} == {str(run.id)}


def test_a_long_list_of_others_is_cut_and_counted(ledger: Ledger) -> None:
    with ledger.run("t", "s") as run:
        run.ingest_many("Copy", {number: {} for number in range(31)})
    said = ask("erase", "record", "Copy", "0", *WHY)
    assert said.lines[1] == "30 other events referred to the same bytes:"
    assert said.lines[-1] == "and 10 more"
    assert len(said.lines) == 24


@pytest.mark.parametrize(
    ("answer", "code"), [("y\n", cli.FINE), ("n\n", cli.INTERRUPTED), ("\x04", cli.INTERRUPTED)], ids=repr
)
def test_on_a_terminal_it_asks_first(run: Run, ledger: Ledger, answer: str, code: int) -> None:
    ours, process = at_terminal("erase", "payload", "4", *WHY)
    assert process.stderr is not None
    asked = ""
    while not asked.endswith("[y/N]:"):
        asked += process.stderr.read(1)
    assert "Erase the bytes of payload 4, for good?" in asked
    os.write(ours, answer.encode())
    _, complaint = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == code, complaint
    assert ("nothing was erased" in complaint) == (code != cli.FINE)
    assert [e.type for e in ledger.events()].count("BodyErased") == (code == cli.FINE)


def test_it_does_not_ask_who_says_yes(run: Run) -> None:
    ours, process = at_terminal("erase", "payload", "4", *WHY, "--yes")
    printed = process.communicate(timeout=60)
    os.close(ours)
    assert (process.returncode, *printed) == (cli.FINE, "erased payload 4: position 6\n", "")


def at_terminal(*args: str) -> tuple[int, subprocess.Popen[str]]:
    """The console script, reading from a terminal; where to type, and the process."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [SCRIPT, *args], stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    os.close(theirs)
    return ours, process


def test_what_a_hold_or_the_retention_forbids_ends_with_3_and_says_which(run: Run) -> None:
    hold = ask("hold", "add", "run", run.id.hex[:8], "--reason", "case 4711", "--by", "legal").stdout.split()[
        2
    ]
    refused = ask("erase", "record", "Person", "17", *WHY)
    assert (refused.code, refused.stdout) == (cli.FAILED, "")
    assert f"{hold} by legal: case 4711" in refused.stderr
    assert ask("hold", "release", hold[:8], *WHY).code == cli.FINE
    assert ask("retention", "set", "30", *WHY).stdout == "bodies are kept for 30 days\n"
    refused = ask("erase", "record", "Person", "17", *WHY)
    assert refused.code == cli.FAILED
    assert "may be erased from" in refused.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["erase", "payload", "4"],
        ["erase", "record", "Person", "17"],
        ["hold", "add", "payload", "4"],
        ["hold", "release", "5b2e9c1d"],
        ["retention", "set", "1"],
    ],
    ids=" ".join,
)
def test_a_writer_is_told_which_role_it_takes(
    run: Run, url: str, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    assert ask(*command).code == cli.USAGE  # neither by nor reason
    monkeypatch.setenv("AUDIT_LEDGER_URL", url)
    said = ask(*command, *WHY)
    assert (said.code, said.stdout) == (cli.FAILED, "")
    assert "expected: a member of ledger_officer" in said.stderr


# hold


def test_holds_are_listed_until_they_are_released(
    run: Run, reader_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = ask("hold", "list")
    assert (nothing.code, nothing.stdout, nothing.stderr) == (cli.FINE, "", "no holds\n")
    for what in (["payload", "3"], ["record", "Person", "17"], ["run", str(run.id)]):
        added = ask("hold", "add", *what, *WHY)
        assert added.stdout.startswith("added hold ")
        assert added.stdout.endswith(f" on {' '.join(what)}\n")
    released = ask("hold", "list", "--json").json[0]["hold_id"]
    assert ask("hold", "release", released, *WHY).stdout == f"released hold {released} on run {run.id}\n"
    monkeypatch.setenv("AUDIT_LEDGER_URL", reader_url)
    assert [hold["record_id"] for hold in ask("hold", "list", "--json").json] == ["17", None]
    lines = ask("hold", "list").lines
    assert [line.split()[3:] for line in lines[1:]] == [
        ["record", "Person", "17", "privacy", "team", "request", "17"],
        ["payload", "3", "privacy", "team", "request", "17"],
    ]
    (gone, *_) = ask("hold", "list", "--all", "--json").json
    assert (gone["hold_id"], gone["released_by"]) == (released, "privacy team")


def test_a_hold_added_is_told_as_json(run: Run) -> None:
    added = ask("hold", "add", "payload", "4", *WHY, "--json").json
    assert added == ask("hold", "list", "--json").json[0]


def test_a_hold_that_there_is_not_cannot_be_released(run: Run) -> None:
    said = ask("hold", "release", "5b2e9c1d", *WHY)
    assert said.code == cli.FAILED
    assert "no hold in force has the id 5b2e9c1d" in said.stderr


# retention


def test_the_retention_is_shown_with_who_decided_it() -> None:
    assert ask("retention").stdout == "retention  none\n"
    assert ask("retention", "set", "2190", "--reason", "17a-4", "--by", "compliance").code == cli.FINE
    assert [line.split()[1:] for line in ask("retention").lines][:3] == [
        ["2,190", "days"],
        ["compliance"],
        ["17a-4"],
    ]
    assert ask("retention", "show").lines == ask("retention").lines
    assert ask("retention", "show", "--json").json["days"] == 2190
    assert ask("retention", "set", "0", *WHY).stdout == "bodies need not be kept\n"
    assert ask("retention", "set", "36501", *WHY).code == cli.FAILED


# the embedded ledger


def test_these_commands_alone_connect_as_the_officer_of_the_embedded_ledger(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AUDIT_LEDGER_URL")
    try:
        with audit_ledger.connect() as ledger, ledger.run("t", "s") as run:
            run.ingest("Person", 17, PERSON)
        for command in (["hold", "add", "record", "Person", "17"], ["retention", "set", "0"]):
            assert execute(*command, *WHY).code == cli.FINE
        hold = execute("hold", "list", "--json").json[0]["hold_id"]
        assert execute("hold", "release", hold, *WHY).code == cli.FINE
        assert execute("erase", "record", "Person", "17", *WHY).code == cli.FINE
        with psycopg.connect(execute("url").stdout.strip()) as conn:
            rows = conn.execute("SELECT type, recorded_by FROM ledger.events ORDER BY position").fetchall()
        with audit_ledger.connect() as ledger, pytest.raises(audit_ledger.WrongRole, match="may not erase"):
            ledger.set_retention(1, reason="r", by="b")
        with audit_ledger.connect(role="officer") as ledger:
            ledger.set_retention(1, reason="r", by="b")
        assert execute("url", "--role", "officer").stdout.startswith("postgresql://ledger_officer@")
    finally:
        EmbeddedServer(home).stop()
    assert rows == [
        ("RunStarted", "ledger_writer"),
        ("RecordIngested", "ledger_writer"),
        ("RunCompleted", "ledger_writer"),
        ("HoldAdded", "ledger_officer"),
        ("RetentionChanged", "ledger_officer"),
        ("HoldReleased", "ledger_officer"),
        ("BodyErased", "ledger_officer"),
    ]
