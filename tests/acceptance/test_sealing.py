"""key, seal, prove and verify --proof, as people run them."""

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from typer.testing import CliRunner

import audit_ledger
from audit_ledger import Ledger, cli
from audit_ledger.cli import sealing
from audit_ledger.cli.app import app
from tests.store import events, recorder_at

SCRIPT = Path(sys.executable).with_name("audit-ledger")


def ask(*args: str) -> tuple[int, str, str]:
    """Exit code, output and complaints of a command."""
    result = CliRunner().invoke(app, args)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(autouse=True)
def _place(admin_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIT_LEDGER_URL", admin_url)


def record(ledger: Ledger) -> None:
    with ledger.run("t", "s") as run:
        run.ingest("X", 1, {"a": 1})


def test_an_event_is_sealed_proven_and_verified_without_the_ledger(
    ledger: Ledger, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, verifier_key, told = ask("key", "new")
    assert code == cli.FINE
    assert re.fullmatch(rf"{ledger.ledger_id}\+[0-9a-f]{{8}}\+\S{{44}}\n", verifier_key)
    assert "keep it from scripts" in told
    assert ask("seal")[1] == "the ledger is empty\n"
    record(ledger)
    code, _, complaint = ask("prove", "event", "2")
    assert (code, "not sealed yet" in complaint) == (cli.FAILED, True)
    assert "sealed       nothing yet; 3 events unsealed" in ask("status")[1]
    code, shown, _ = ask("seal")
    assert code == cli.FINE
    assert re.fullmatch("sealed up to position 3: root [0-9a-f]{64}\n", shown)
    assert ask("seal")[1] == "nothing new since position 3\n"
    assert re.search("sealed +up to position 3, recorded .*; nothing unsealed", ask("status")[1])
    assert ask("key", "list")[1].splitlines()[1].split()[:2] == [verifier_key.strip(), "1"]
    file = home / "2.tlog-proof"
    assert ask("prove", "event", "2", "-o", str(file))[0] == cli.FINE

    monkeypatch.setenv("AUDIT_LEDGER_URL", "postgresql://nobody@127.0.0.1:1/nowhere")
    code, shown, _ = ask("verify", "--proof", str(file), "--key", verifier_key)
    assert code == cli.FINE
    assert shown.splitlines()[0].split() == ["position", "2"]
    assert ["type", "RecordIngested"] in [line.split() for line in shown.splitlines()]
    assert f"✅ this event is in the ledger {ledger.ledger_id}, in its checkpoint of 3 events" in shown
    file.write_bytes(file.read_bytes().replace(b"index 1\n", b"index 2\n"))
    code, shown, complaint = ask("verify", "--proof", str(file), "--key", verifier_key)
    assert (code, shown) == (cli.WRONG, "")
    assert "does not prove" in complaint


def test_every_byte_of_a_proof_counts(ledger: Ledger, home: Path) -> None:
    _, key, _ = ask("key", "new")
    record(ledger)
    ask("seal")
    file = home / "2.tlog-proof"
    ask("prove", "event", "2", "-o", str(file))
    whole = file.read_bytes()
    for place in range(0, len(whole), 7):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert ask("verify", "--proof", str(file), "--key", key)[0] == cli.WRONG, place


def test_verify_says_what_it_needs(home: Path) -> None:
    for options in ([], ["--live", "--proof", "x"], ["--proof", "x"]):
        assert ask("verify", *options)[0] == cli.USAGE
    code, _, complaint = ask("verify", "--proof", "x", "--key", "y")
    assert (code, "a verifier key is malformed" in complaint) == (cli.FAILED, True)
    key = "log+cf1de8fc+ARr9Jd8VGrr8vbZQ5oRGCkW7n/g0Jj1dCZ9Km8ifMkdv"
    code, _, complaint = ask("verify", "--proof", str(home / "none"), "--key", key)
    assert code == cli.FAILED


def test_seal_without_a_key_says_how_to_make_one(ledger: Ledger) -> None:
    record(ledger)
    code, _, complaint = ask("seal")
    assert code == cli.FAILED
    assert "remedy: make one (audit-ledger key new)" in complaint
    assert ask("key", "list")[2] == "no key: audit-ledger key new\n"


def test_follow_seals_after_a_minute_what_belongs_to_no_ended_run(
    ledger: Ledger, admin_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask("key", "new")
    with audit_ledger.connect(admin_url) as sealer, recorder_at(admin_url) as recorder:
        follower = sealing._Follower(sealer)

        def sealed_after_appending() -> int:
            recorder.insert_events(events(uuid4(), 1))
            follower.look()
            return ledger.status().sealed

        assert [sealed_after_appending() for _ in range(3)] == [1, 1, 1]
        monkeypatch.setattr(sealing, "AT_LEAST", 0)
        assert sealed_after_appending() == 4


def test_follow_seals_when_a_run_ends(ledger: Ledger, admin: psycopg.Connection[Any]) -> None:
    ask("key", "new")
    record(ledger)
    with subprocess.Popen([SCRIPT, "seal", "--follow"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("sealed up to position 3: ")
        admin.execute("LISTEN ledger_checkpoints")
        record(ledger)
        while "sealed up to position 6" not in process.stdout.readline():
            pass
        assert [notice.payload for notice in admin.notifies(timeout=10, stop_after=2)][-1] == "6"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == cli.FINE


def test_a_key_is_rotated_and_shows_the_next_one(ledger: Ledger, home: Path) -> None:
    _, old, _ = ask("key", "new")
    record(ledger)
    code, _, complaint = ask("key", "rotate", "--reason", "x")
    assert (code, "no checkpoint has been signed yet" in complaint) == (cli.FAILED, True)
    ask("seal")
    code, shown, told = ask("key", "rotate", "--reason", "yearly", "--by", "Ann")
    assert code == cli.FINE
    new, sealed = shown.splitlines()
    assert sealed.startswith("sealed up to position 4: ")
    assert "is followed by" in told
    lines = [line.split() for line in ask("key", "list")[1].splitlines()[1:]]
    assert [(line[0], line[1], line[2]) for line in lines] == [
        (new, "1", "seals"),
        (old.strip(), "1", "set"),
    ]
    file = home / "rotated.tlog-proof"
    ask("prove", "event", "4", "-o", str(file))
    code, shown, _ = ask("verify", "--proof", str(file), "--key", old)
    assert (code, shown.splitlines()[-1].endswith(f" is signed by {new}")) == (cli.FINE, True)
    record(ledger)
    ask("seal")
    ask("prove", "event", "1", "-o", str(file))
    code, _, complaint = ask("verify", "--proof", str(file), "--key", old)
    assert (code, "get the newer verifier key" in complaint) == (cli.WRONG, True)
    assert ask("verify", "--proof", str(file), "--key", new)[0] == cli.FINE
    code, _, complaint = ask("key", "new")
    assert (code, "audit-ledger key rotate" in complaint) == (cli.FAILED, True)


def test_a_key_is_printed_for_a_store_of_secrets(ledger: Ledger, home: Path) -> None:
    code, secret, told = ask("key", "new", "--print")
    assert code == cli.FINE
    assert secret.startswith(f"PRIVATE+KEY+{ledger.ledger_id}+")
    assert f"{ledger.ledger_id}+" in told
    assert not (home / "keys").exists()


def test_the_older_key_is_deleted_where_that_is_asked_for(ledger: Ledger, home: Path) -> None:
    ask("key", "new")
    record(ledger)
    ask("seal")
    assert ask("key", "rotate", "--reason", "leaked", "--remove-old")[0] == cli.FINE
    assert len(list((home / "keys").iterdir())) == 1
