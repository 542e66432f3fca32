"""Record three fetch scripts in a sandbox ledger, and look at it: what `make demo` runs.

The scripts fetch invented data from a small server on loopback, on two days; then that server is down
for maintenance. The sandbox is a new temporary folder, and nobody's ledger is touched. Where stdin is
a terminal, its database server runs on for exploring; otherwise, or with --stop, it is stopped.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from threading import Thread

from sample_server import SampleServer

CHECKOUT = Path(__file__).parents[2]
PROGRAMS = sysconfig.get_path("scripts")
FINE, WRONG = 0, 1
SCRIPTS = ("congress", "insider", "committees")


def environment(home: Path) -> dict[str, str]:
    """The caller's environment, but for the ledger's place, API keys, and the way to our programs."""
    kept = {name: value for name, value in os.environ.items() if name != "AUDIT_LEDGER_URL"}
    return kept | {
        "AUDIT_LEDGER_HOME": str(home),
        "AUDIT_LEDGER_CONFIG": str(home / "ledger.toml"),  # is not there; the caller's is left alone
        "QUIVER_API_KEY": "sample-key",
        "PROPUBLICA_API_KEY": "sample-key",
        "PATH": os.pathsep.join([PROGRAMS, kept.get("PATH", os.defpath)]),
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }


def heading(text: str) -> None:
    """Say what comes next."""
    print(f"\n── {text}\n", flush=True)


def do(env: dict[str, str], command: str, ends_with: int = FINE) -> None:
    """Show a command and what it prints; an exit status that was not expected ends the demo."""
    print(f"$ {command}", flush=True)
    status = subprocess.run(shlex.split(command), env=env, cwd=CHECKOUT, check=False).returncode
    if status != ends_with:
        sys.exit(f"the demo went wrong: that ended with {status}, and was to end with {ends_with}")
    if status != FINE:
        print(f"(exit status {status})", flush=True)


def fetch(env: dict[str, str], script: str, url: str, ends_with: int = FINE) -> None:
    """Run one of the fetch scripts against the sample server."""
    do(env, f"python scripts/fetch_{script}_daily.py --base-url {url}", ends_with)


def play(env: dict[str, str]) -> None:
    """Two days of fetching, a failure, and four questions."""
    with SampleServer() as upstream:
        Thread(target=upstream.serve_forever, daemon=True).start()
        heading("The first day: everything is new.")
        for script in SCRIPTS:
            fetch(env, script, upstream.url)
        position = last_position(env)
        heading("The second day: some of it is new, some has changed, the rest is skipped.")
        upstream.day = 2
        for script in SCRIPTS:
            fetch(env, script, upstream.url)
        heading("Then upstream answers with a web page. That run fails, and the ledger knows why.")
        upstream.failing = True
        fetch(env, "insider", upstream.url, WRONG)
        upstream.shutdown()
    heading("Did it run?")
    do(env, "audit-ledger runs")
    heading("What did we have after the first day? Any instant will do, too.")
    do(env, f"audit-ledger records QuiverTrade --as-of {position}")
    heading("Where did this trade come from?")
    do(env, "audit-ledger provenance QuiverTrade sample-filing-2-0")
    heading("Is anything wrong? For cron: the exit status is 1 when something is.")
    do(env, "audit-ledger check --since 24h", WRONG)


def last_position(env: dict[str, str]) -> int:
    """The position of the ledger's last event."""
    ran = subprocess.run(["audit-ledger", "status", "--json"], env=env, stdout=subprocess.PIPE, check=True)
    return int(json.loads(ran.stdout)["position"])


def failed_run(env: dict[str, str]) -> str:
    """The first digits of the id of the run that failed."""
    command = ["audit-ledger", "runs", "--status", "failed", "--json"]
    ran = subprocess.run(command, env=env, stdout=subprocess.PIPE, check=True)
    return str(json.loads(ran.stdout)[0]["run_id"])[:8]


def try_next(home: Path, run_id: str) -> None:
    """Say how to go on with the sandbox."""
    heading("To look around in this sandbox, paste:")
    if os.environ.get("AUDIT_LEDGER_URL"):
        print("unset AUDIT_LEDGER_URL")
    if os.environ.get("AUDIT_LEDGER_CONFIG") or Path("ledger.toml").exists():
        print(f"export AUDIT_LEDGER_CONFIG={shlex.quote(str(home / 'ledger.toml'))}")
    print(f"export AUDIT_LEDGER_HOME={shlex.quote(str(home))} PATH={shlex.quote(PROGRAMS)}:$PATH")
    print(f"audit-ledger show {run_id}")
    print("audit-ledger status")
    print("audit-ledger psql -c 'SELECT endpoint, http_status_code, duration_ms FROM api_call_logs LIMIT 5'")
    print("audit-ledger server stop     # and when you have seen enough: rm -r $AUDIT_LEDGER_HOME")


def main() -> None:
    """Play the demo."""
    parser = argparse.ArgumentParser(description="Record three fetch scripts in a sandbox ledger.")
    parser.add_argument("--stop", action="store_true", help="stop the sandbox's database server at the end")
    stop = parser.parse_args().stop or not sys.stdin.isatty()
    home = Path(tempfile.mkdtemp(prefix="audit-ledger-demo-"))
    home.chmod(0o711)  # an account of the database server's own must pass, if root runs this
    env = environment(home)
    print(f"A sandbox ledger in {home}, and a sample upstream with invented data.")
    try:
        play(env)
        try_next(home, failed_run(env))
    except BaseException:
        stop = True
        raise
    finally:
        if stop:
            command = ["audit-ledger", "server", "stop"]
            subprocess.run(command, env=env, stdout=subprocess.DEVNULL, check=False)
    if stop:
        print("\nIts database server is stopped now; the next of these commands starts it again.")


if __name__ == "__main__":
    main()
