"""anchor, anchors, recover, and what seal, status, check and watch do about anchors, as people run them."""

import json
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

import audit_ledger
from audit_ledger import Ledger, cli
from audit_ledger.cli.app import app
from audit_ledger.evidence import keyring, merkle
from audit_ledger.evidence.checkpoint import Checkpoint
from audit_ledger.watching import elsewhere
from tests.authority import TestAuthority, serving
from tests.receivers import Webhook
from tests.store import InThread, until

SCRIPT = Path(sys.executable).with_name("audit-ledger")

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl, which is not here")


def ask(*args: str) -> tuple[int, str, str]:
    """Exit code, output and complaints of a command."""
    result = CliRunner().invoke(app, args)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(autouse=True)
def _place(admin_url: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIT_LEDGER_URL", admin_url)
    monkeypatch.setenv("AUDIT_LEDGER_CONFIG", str(home / "ledger.toml"))


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[TestAuthority]:
    with serving(TestAuthority(tmp_path / "tsa")) as running:
        yield running


@pytest.fixture
def folder(home: Path, ledger: Ledger, authority: TestAuthority) -> Path:
    """The folder of anchors, as ledger.toml names it, with a timestamping authority."""
    folder = home / "outside"
    folder.mkdir()
    (home / "ledger.vkey").write_text(ask("key", "new")[1])
    configure(home, authority)
    return folder


def configure(home: Path, authority: TestAuthority, more: str = "", before: str = "") -> None:
    (home / "ledger.toml").write_text(
        f'{before}[anchors]\nfolders = ["outside"]\nkeys = "ledger.vkey"\n{more}\n'
        f'[[anchors.timestamps]]\nname = "one"\nurl = "{authority.url}"\n'
        f'certificate = "{authority.certificate}"\n'
    )


def record(ledger: Ledger) -> None:
    with ledger.run("t", "s") as run:
        run.ingest("X", 1, {"a": 1})


def convict(home: Path, ledger: Ledger, size: int = 3) -> Path:
    """A checkpoint of another history, signed by the ledger's own key."""
    origin = str(ledger.ledger_id)
    file = home / "another.checkpoint"
    file.write_bytes(Checkpoint(origin, size, merkle.EMPTY_ROOT).sign(keyring.find(ledger.settings, origin)))
    return file


def test_seal_anchors_what_is_due_and_status_shows_what_is_not(
    ledger: Ledger, folder: Path, home: Path, authority: TestAuthority
) -> None:
    record(ledger)
    status = ask("status")[1]
    assert "anchored     nothing yet; 3 events (positions 1 to 3, since 20" in status
    assert ": a superuser with the key could rewrite them" in status
    code, shown, told = ask("seal")
    assert (code, told) == (cli.FINE, "")
    lines = shown.splitlines()
    assert lines[0].startswith("sealed up to position 3: root ")
    assert lines[1] == f"anchored up to position 3 by the folder {folder}"
    assert lines[2].startswith("anchored up to position 3 by the timestamp one at 20")
    assert f"by {folder}, one; nothing unanchored" in ask("status")[1]
    record(ledger)
    assert len(ask("seal")[1].splitlines()) == 1  # it is not time
    assert "3 events (positions 4 to 6, since 20" in ask("status")[1]
    assert json.loads(ask("status", "--json")[1])["unanchored"] == 3
    configure(home, authority, "every_events = 3")
    assert len(ask("seal")[1].splitlines()) == 3
    assert ask("anchor")[1] == "nothing new: position 6 is anchored everywhere\n"
    shown = ask("anchors")[1]
    assert [line.split()[0] for line in shown.splitlines()] == ["size", "6", "6", "3", "3"]
    rows = json.loads(ask("anchors", "--json")[1])
    assert [(row["size"], row["kind"], row["name"]) for row in rows[:2]] == [
        (6, "timestamp", "one"),
        (6, "folder", str(folder)),
    ]


def test_what_fails_is_said_and_stops_no_sealing(
    ledger: Ledger, folder: Path, authority: TestAuthority
) -> None:
    authority.answer = lambda _: b"<html>"
    record(ledger)
    code, shown, told = ask("seal")
    assert code == cli.FINE
    assert shown.splitlines()[1] == f"anchored up to position 3 by the folder {folder}"
    assert "position 3 is not anchored everywhere: the timestamping authority one" in told
    code, _, told = ask("anchor")
    assert (code, "authority one" in told) == (cli.WRONG, True)
    authority.answer = authority.respond
    assert "by the timestamp one" in ask("seal")[1]  # nothing new to seal, and yet it is tried again


def test_follow_anchors_and_tries_again_after_a_failure(
    ledger: Ledger, folder: Path, authority: TestAuthority
) -> None:
    record(ledger)
    hidden = folder.rename(folder.with_name("away"))
    command = [str(SCRIPT), "seal", "--follow"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        lines = [process.stdout.readline(), process.stdout.readline()]
        assert lines[0].startswith("sealed up to position 3")
        assert lines[1].startswith("anchored up to position 3 by the timestamp one")
        while "cannot be written to" not in process.stderr.readline():
            pass
        record(ledger)  # sealing goes on
        assert process.stdout.readline().startswith("sealed up to position 6")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == cli.FINE
    hidden.rename(folder)
    assert "anchored up to position 3 by the folder" in ask("seal")[1]


def test_anchor_without_a_place_says_how_to_name_one(ledger: Ledger, home: Path) -> None:
    code, _, complaint = ask("anchor")
    assert (code, "[anchors] of ledger.toml" in complaint) == (cli.FAILED, True)
    assert ask("anchors")[2] == "no anchor: audit-ledger anchor\n"


def test_check_compares_with_files_and_finds_what_is_wrong(ledger: Ledger, folder: Path, home: Path) -> None:
    record(ledger)
    ask("seal")
    assert ask("check")[0] == cli.FINE
    file = next(folder.rglob("3.checkpoint"))
    code, shown, _ = ask("anchor", "--check", str(file))
    assert (code, shown) == (cli.FINE, f"✅ the ledger continues its checkpoint of 3 events, in {file}\n")
    code, _, complaint = ask("anchor", "--check", str(home / "none"))
    assert (code, "cannot be read" in complaint) == (cli.WRONG, True)
    file.rename(file.with_name("4.checkpoint"))
    code, shown, _ = ask("check")
    assert code == cli.WRONG
    assert "❌ outside: " in shown
    assert "is a checkpoint of another size" in shown
    file.with_name("4.checkpoint").rename(file)
    code, _, complaint = ask("anchor", "--check", str(file), "--check", str(convict(home, ledger)))
    assert (code, "remedy: restore the right database" in complaint) == (cli.WRONG, True)
    code, shown, _ = ask("check")
    assert code == cli.WRONG
    assert shown.startswith("❌ refused: the ledger refuses events: expected the root ")
    assert "refused      expected the root" in ask("status")[1]
    code, _, complaint = ask("seal")
    assert (code, "the ledger refuses events" in complaint) == (cli.FAILED, True)
    assert ask("runs")[0] == cli.FINE
    code, shown, _ = ask("doctor")
    assert (code, "events are refused: expected the root" in shown) == (cli.WRONG, True)


def test_recover_says_what_is_next_and_doing_it_goes_on(ledger: Ledger, folder: Path, home: Path) -> None:
    record(ledger)
    ask("seal")
    before = str(ledger.ledger_id)
    ask("anchor", "--check", str(convict(home, ledger, size=9)))
    code, shown, told = ask("recover", "--reason", "restored", "--by", "Ann")
    assert code == cli.FINE
    assert f"at position 4; before it was {before}" in shown
    assert "lost: 6 events of the origin before, positions 4 to 9" in told
    assert "next: audit-ledger key new" in told
    with (home / "ledger.vkey").open("a") as keys:
        keys.write(ask("key", "new")[1])
    assert ask("key", "list")[1].count("another ledger's") == 1
    assert "anchored up to position 4 by the folder" in ask("seal")[1]
    with audit_ledger.connect() as again:
        record(again)
        assert again.status().refused is None
    assert ask("check")[0] == cli.FINE
    assert ask("verify", "--live")[0] == cli.FINE
    assert ask("recover")[0] == cli.USAGE


def test_a_watcher_that_finds_it_tells_the_channels(
    ledger: Ledger,
    folder: Path,
    home: Path,
    authority: TestAuthority,
    webhook: Webhook,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(elsewhere, "EVERY", 0.0)
    record(ledger)
    ask("seal")
    url = f"json://127.0.0.1:{webhook.server_port}/ops"
    configure(home, authority, before=f'[watch]\nchannels = ["ops"]\n[channels.ops]\nurl = "{url}"\n')
    forged = convict(home, ledger, size=7)
    stopped = threading.Event()
    with audit_ledger.connect() as watching:
        thread = InThread(lambda: watching.watch(stopped))
        until(lambda: watching.database.query("SELECT FROM watches"))
        shutil.copy(forged, next(folder.rglob("3.checkpoint")).with_name("7.checkpoint"))
        until(lambda: webhook.received)
        stopped.set()
        thread.result()
    ((path, told),) = webhook.received
    assert path == "/ops"
    assert "the ledger refuses events" in told["title"]
    assert "checkpoint of size 7" in told["message"]
    assert ledger.status().refused is not None


def test_metrics_say_what_is_exposed_and_that_events_are_refused(
    ledger: Ledger, folder: Path, home: Path
) -> None:
    from tests.receivers import free_port

    metrics = pytest.importorskip("audit_ledger.watching.metrics")
    port = free_port()

    def seen() -> dict[str, float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
            lines = [line for line in answer.read().decode().splitlines() if not line.startswith("#")]
        return {line.split()[0].removeprefix("audit_ledger_"): float(line.split()[1]) for line in lines}

    with metrics.serving(ledger.database, str(port)):
        record(ledger)
        before = seen()
        assert (before["unsealed_events"], before["unanchored_events"], before["writes_refused"]) == (3, 3, 0)
        assert 0 < before["unanchored_seconds"] < 60
        ask("seal")
        record(ledger)
        ask("anchor", "--check", str(convict(home, ledger)))
        after = seen()
    assert (after["unsealed_events"], after["unanchored_events"], after["writes_refused"]) == (3, 3, 1)
    assert 0 < after["unanchored_seconds"] < before["unanchored_seconds"] + 60


def test_a_command_of_a_refusing_ledger_is_run_and_spooled(
    ledger: Ledger, folder: Path, home: Path, admin: psycopg.Connection[object]
) -> None:
    record(ledger)
    ask("seal")
    ask("anchor", "--check", str(convict(home, ledger)))
    command = [str(SCRIPT), "exec", "--task", "t", "--source", "s", "--", "echo", "fetched"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "fetched\n")
    assert "the ledger refuses events" in done.stderr
    assert ledger.spool.status().events > 0
    row = admin.execute("SELECT position FROM head").fetchone()
    assert row == (3,)


def test_the_checkpoint_that_has_the_signatures_of_both_keys_goes_out_at_once(
    folder: Path, ledger: Ledger, home: Path
) -> None:
    record(ledger)
    ask("seal")
    code, shown, _ = ask("key", "rotate", "--reason", "yearly", "--by", "Ann")
    assert code == cli.FINE
    (both,) = [path for path in folder.rglob("*.checkpoint") if path.read_bytes().count("— ".encode()) == 2]
    assert both.stem == "4"
    pinned = home / "ledger.vkey"
    pinned.write_text(pinned.read_text() + shown.splitlines()[0] + "\n")
    record(ledger)
    assert ask("seal")[0] == cli.FINE
    assert ask("anchor")[0] == cli.FINE
    assert ask("anchor", "--check", str(both))[0] == cli.FINE
