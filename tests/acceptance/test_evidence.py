"""evidence, prove record and prove run, as people run them."""

import re
from pathlib import Path

import pytest

from audit_ledger import Ledger, cli
from tests.acceptance.test_sealing import ask
from tests.packages import unpacked


@pytest.fixture(autouse=True)
def _place(admin_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIT_LEDGER_URL", admin_url)


@pytest.fixture
def run_id(ledger: Ledger) -> str:
    """A run, sealed, and one begun after it."""
    with ledger.run("prices", "feed") as run:
        run.ingest("Price", "AAPL", {"close": 1})
        run.api_call(endpoint="e", response={"a": 1})
    with ledger.run("later", "feed"):
        pass
    ask("key", "new")
    ask("seal")
    return str(run.id)


def test_evidence_is_written_and_says_whom_it_discloses(ledger: Ledger, run_id: str, home: Path) -> None:
    file = home / "a.zip"
    code, shown, told = ask("evidence", "--as-of", "4", "-o", str(file), "--bodies")
    assert code == cli.FINE
    assert re.fullmatch(
        rf"{file}: 5 events with 1 body, complete, under the checkpoint of size 6\n"
        r"as of position 4, recorded \S+, final\n",
        shown,
    )
    assert told.splitlines() == [
        "this package discloses all 5 events up to position 5, of every task and source:"
        " prices (feed), later (feed)",
        "no checkpoint outside your reach covers it: it proves what you signed, and not when",
    ]
    assert unpacked(file).question["asked"] == "4"
    code, shown, complaint = ask("evidence", "--as-of", "4", "-o", str(file))
    assert (code, shown, "there already" in complaint) == (cli.FAILED, "", True)
    code, shown, told = ask("evidence", "--as-of", "9999-01-01Z", "-o", str(file), "--force")
    assert (code, shown.endswith("not final\n")) == (cli.FINE, True)
    assert "cannot show that the answer is final" in told
    assert "final" not in ask("evidence", "--as-of", "6", "-o", str(file), "--force")[2]
    assert unpacked(file).question["leaves"] == 6


def test_evidence_of_an_instant_that_is_not_sealed_says_what_to_do(
    ledger: Ledger, run_id: str, home: Path
) -> None:
    with ledger.run("unsealed", "feed"):
        pass
    code, shown, complaint = ask("evidence", "--as-of", "8", "-o", str(home / "a.zip"))
    assert (code, shown) == (cli.FAILED, "")
    assert "remedy: audit-ledger seal" in complaint
    assert ask("evidence", "-o", str(home / "a.zip"))[0] == cli.USAGE
    assert not list(home.glob("*.zip"))


def test_evidence_can_be_narrowed(run_id: str, home: Path) -> None:
    file = home / "a.zip"
    for options, events, of in (
        (["--as-of", "6", "--task", "later"], 2, "task later;"),
        (["--as-of", "6", "--source", "feed"], 6, "source feed;"),
        (["--as-of", "6", "--record", "Price", "AAPL"], 4, "record Price AAPL;"),
        (["--run", run_id], 4, f"run {run_id};"),
        (["--run", run_id[:8], "--bodies"], 4, f"run {run_id};"),
    ):
        code, shown, told = ask("evidence", *options, "-o", str(file), "--force")
        assert code == cli.FINE
        assert f"{events} events" in shown
        assert "inclusion only" in shown
        assert told.startswith(f"this package discloses {events} events of the {of}")
        assert len(unpacked(file).rows("events")) == events
    code, _, complaint = ask("evidence", "--as-of", "6", "--task", "none", "-o", str(file), "--force")
    assert (code, "something is on record" in complaint) == (cli.FAILED, True)
    assert len(unpacked(file).rows("events")) == 4


def test_a_record_and_a_run_are_proven_and_verified_without_the_ledger(
    run_id: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ask("key", "list")[1].splitlines()[1].split()[0]
    file, folder = home / "AAPL.tlog-proof", home / "proofs"
    code, shown, _ = ask("prove", "record", "Price", "AAPL", "-o", str(file), "--as-of", "4")
    assert code == cli.FINE
    assert shown == (
        f"{file}: Price AAPL was in the ledger at this checkpoint, of size 6, by the event at position 2\n"
    )
    code, shown, _ = ask("prove", "run", run_id[:8], "-o", str(folder))
    assert code == cli.FINE
    assert shown == f"{folder}: 4 events of the run are in the checkpoint of size 6\n"
    files = sorted(folder.iterdir())
    assert [path.name for path in files] == [f"{position}.tlog-proof" for position in (1, 2, 3, 4)]
    for refused in (
        ("prove", "record", "Price", "none", "-o", str(home / "none")),
        ("prove", "run", "ffffffff", "-o", str(home / "none")),
        ("prove", "run", run_id, "-o", str(file / "none")),
    ):
        assert ask(*refused)[0] == cli.FAILED
    assert not (home / "none").exists()

    monkeypatch.setenv("AUDIT_LEDGER_URL", "postgresql://nobody@127.0.0.1:1/nowhere")
    assert "✅" in ask("verify", "--proof", str(file), "--key", key)[1]
    code, shown, _ = ask("verify", "--proof", str(folder), "--proof", str(file), "--key", key)
    assert code == cli.FINE
    first, *lines, empty, last = shown.splitlines()
    assert first.startswith(f"✅ {files[0]}: position 1, RunStarted, recorded ")
    assert (len(lines), empty) == (4, "")
    assert last == f"✅ these 5 events are in the ledger {key.split('+')[0]}, in its checkpoint of 6 events"
    files[1].write_bytes(files[1].read_bytes().replace(b"index 1\n", b"index 2\n"))
    code, shown, complaint = ask("verify", "--proof", str(folder), "--key", key)
    assert (code, len(shown.splitlines())) == (cli.WRONG, 3)
    assert f"error: {files[1]}: the file does not prove" in complaint
    code, _, complaint = ask("verify", "--proof", str(home / "keys"), "--key", key)
    assert (code, "there is no proof in" in complaint) == (cli.FAILED, True)
