"""The demo, played as `make demo` plays it, and the commands that it tells the reader to try next."""

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
BEFORE = [
    r"\$ python scripts/fetch_congress_daily\.py --base-url http://127\.0\.0\.1:\d+",
    r"audit-ledger: made an embedded ledger in SANDBOX",
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
]
AFTER = [
    r".* completed .*data_fetch:committees_daily.*",
    r".* completed .*data_fetch:insider_daily.*",
    r".* completed .*data_fetch:congress_daily.*",
    r"\$ audit-ledger records QuiverTrade --as-of (\d+)",
    r"sample-filing-.*",
    r"as of position \d+, recorded \S+Z, final",
    r"\$ audit-ledger provenance QuiverTrade sample-filing-2-0",
    r".* updated .*data_fetch:congress_daily.*",
    r".* created .*data_fetch:congress_daily.*",
    r"\$ audit-ledger check --since 24h",
    r"❌ failed data_fetch:insider_daily \(run FAILED\): .*answered 200, text/html.*",
    r"\(exit status 1\)",
    r"unset AUDIT_LEDGER_URL",
    r"export AUDIT_LEDGER_HOME=SANDBOX PATH=.*:\$PATH",
    r"audit-ledger show FAILED",
    r"audit-ledger server stop .*",
    r"Its database server is stopped now; .*",
]


def next_line(said: str, pattern: str, at: int) -> re.Match[str]:
    """The next line that is as the pattern says, from there on."""
    found = re.compile(f"^{pattern}$", re.MULTILINE).search(said, at)
    assert found, f"no line {pattern!r} in what follows:\n{said[at:]}"
    return found


def test_the_demo_leaves_a_sandbox_to_explore_and_nothing_else(
    home: Path, url: str, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(home))
    monkeypatch.setenv("AUDIT_LEDGER_URL", url)
    ran = subprocess.run(
        [sys.executable, str(DEMO / "demo.py"), "--stop"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd="/",
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout

    found = next_line(
        ran.stdout, r"A sandbox ledger in (/\S+), and a sample upstream with invented data\.", 0
    )
    sandbox = Path(found[1])
    for pattern in BEFORE:
        found = next_line(ran.stdout, pattern.replace("SANDBOX", str(sandbox)), found.end())
    found = next_line(ran.stdout, r"([0-9a-f]{8}) .* failed .*data_fetch:insider_daily.*", found.end())
    failed = found[1]
    for pattern in AFTER:
        pattern = pattern.replace("SANDBOX", str(sandbox)).replace("FAILED", failed)
        found = next_line(ran.stdout, pattern, found.end())

    assert sandbox.parent == home
    assert not EmbeddedServer(sandbox).status().running
    assert ledger.runs.count() == 0

    advice = ran.stdout[ran.stdout.index("To look around in this sandbox, paste:") :]
    commands = re.findall(r"^(?:unset|export|audit-ledger) .*$", advice, re.MULTILINE)
    tried = subprocess.run(
        ["/bin/sh", "-e"], input="\n".join(commands), capture_output=True, text=True, timeout=60, check=False
    )
    assert tried.returncode == 0, tried.stderr
    assert f"run          {failed}" in tried.stdout
    assert "/beta/bulk/congresstrading" in tried.stdout
    assert tried.stdout.endswith("\nstopped\n")


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
