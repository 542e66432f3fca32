"""The demo, played as `make demo` plays it, and the commands that it tells the reader to try next."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from audit_ledger import Ledger
from audit_ledger.store.server import EmbeddedServer

DEMO = Path(__file__).parents[2] / "scripts" / "demo"
ID = r"[0-9a-f]{8}-[0-9a-f-]{27}"
SAID = [
    r"A sandbox ledger in (?P<home>/\S+), and a sample upstream with invented data\.",
    r"\$ python scripts/fetch_congress_daily\.py --base-url http://127\.0\.0\.1:\d+",
    r"made an embedded ledger in (?P=home)",
    rf"✅ Congress data ingestion completed \(run_id: {ID}\)",
    r"   Records: 4 created, 0 updated",
    r"\$ python scripts/fetch_insider_daily\.py --base-url \S+",
    rf"✅ Insider data ingestion completed \(run_id: {ID}\)",
    r"   Records: 2 created, 0 updated",
    r"\$ python scripts/fetch_committees_daily\.py --base-url \S+",
    rf"✅ Committees data ingestion completed \(run_id: {ID}\)",
    r"   Records: 6 created, 0 updated",
    r"── The second day: .*",
    r"   Records: 2 created, 1 updated",
    r"   Records: 1 created, 0 updated",
    r"   Records: 1 created, 1 updated",
    r"❌ Insider data ingestion failed: GET \S+ answered 200, text/html, .*maintenance.*no JSON in UTF-8.*",
    r"\(exit status 1\)",
    r"\$ audit-ledger runs",
    r"(?P<failed>[0-9a-f]{8}) .* failed .*data_fetch:insider_daily.*",
    r".* completed .*data_fetch:committees_daily.*",
    r".* completed .*data_fetch:insider_daily.*",
    r".* completed .*data_fetch:congress_daily.*",
    r"\$ audit-ledger provenance QuiverTrade sample-filing-2-0",
    r".* updated .*data_fetch:congress_daily.*",
    r".* created .*data_fetch:congress_daily.*",
    r"\$ audit-ledger check --since 24h",
    r"❌ failed data_fetch:insider_daily \(run (?P=failed), .*answered 200, text/html.*",
    r"\(exit status 1\)",
    r"unset AUDIT_LEDGER_URL",
    r"export AUDIT_LEDGER_HOME=(?P=home) PATH=.*:\$PATH",
    r"audit-ledger show (?P=failed)",
    r"audit-ledger server stop .*",
    r"Its database server is stopped now; .*",
]


@pytest.fixture
def played(home: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the demo prints, to somebody who has a ledger of their own."""
    monkeypatch.setenv("TMPDIR", str(home))
    monkeypatch.setenv("AUDIT_LEDGER_URL", url)
    command = [sys.executable, str(DEMO / "demo.py"), "--stop"]
    ran = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd="/",
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    return ran.stdout


def test_the_demo_shows_two_days_a_failure_and_the_answers(played: str, home: Path, ledger: Ledger) -> None:
    said = re.search(r"\n(?:.*\n)*?".join(SAID), played)
    assert said, played
    assert Path(said["home"]).parent == home
    assert not EmbeddedServer(Path(said["home"])).status().running
    assert ledger.runs.count() == 0


def test_what_the_demo_tells_to_try_next_works(played: str) -> None:
    lines = played[played.index("To look around in this sandbox, paste:") :].splitlines()
    commands = [line for line in lines if line.startswith(("unset ", "export ", "audit-ledger "))]
    assert len(commands) >= 6
    ran = subprocess.run(
        ["/bin/sh", "-e"], input="\n".join(commands), capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "status       failed" in ran.stdout
    assert "beta/live/insiders" in ran.stdout or "congresstrading" in ran.stdout
    assert ran.stdout.endswith("stopped\n")
    assert os.environ["AUDIT_LEDGER_URL"] not in ran.stdout


def test_the_sample_server_runs_alone_and_can_fail() -> None:
    command = [sys.executable, str(DEMO / "sample_server.py"), "--port", "0", "--fail"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        answer = requests.get(f"{url}/beta/live/insiders", timeout=10)
        process.send_signal(signal.SIGINT)
    assert process.returncode == 0
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html")
    assert "Sample upstream: down for maintenance" in answer.text
