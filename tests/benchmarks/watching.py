"""Watching: looking once at a thousand tasks, a watcher that has nothing to do, and how soon an alert leaves.

All of it by the commands that users run, on the ledger that questions as of an instant are put to.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from audit_ledger import connect
from tests.benchmarks.as_of import TASKS, ledger_of
from tests.benchmarks.ground import Ground
from tests.benchmarks.harness import Row, Sizes, within
from tests.receivers import Webhook

COMMAND = Path(sys.executable).with_name("audit-ledger")
TASK = """
[tasks."bench:{number}"]
schedule = "{minute} 9 * * *"
timezone = "America/New_York"
expected_duration = "10m"
max_records = 5000
freshness = "26h"
"""


def measure(ground: Ground, sizes: Sizes) -> Iterator[Row]:
    """The rows of the table about watching."""
    database = ledger_of(ground, sizes.as_of_many)
    with Webhook() as webhook:
        threading.Thread(target=webhook.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        file = ground.home / "watched.toml"
        file.write_text(
            f'[watch]\nchannels = ["hook"]\n[channels.hook]\nurl = "json://127.0.0.1:{webhook.server_port}/"\n'
            + "".join(TASK.format(number=number, minute=number % 60) for number in range(TASKS))
        )
        environment = {**os.environ, "AUDIT_LEDGER_CONFIG": str(file)}
        url = ground.writer_url(database)
        name = f"{TASKS:,} tasks and {sizes.as_of_many:,} events"
        checks = [checking(url, environment) for _ in range(sizes.checks)]
        yield within(f"`audit-ledger check` of {name}", checks, 2, "s")
        with watcher(url, environment) as process:
            yield within(
                f"A watcher of {name} when idle", [idle(process, sizes.idle_seconds)], 1, "% of a core"
            )
            left = [alert(url, webhook, number) for number in range(sizes.alerts)]
            yield within("From RunFailed to its alert at the channel", left, 5, "s")
        webhook.shutdown()


def checking(url: str, environment: dict[str, str]) -> float:
    """Seconds that the command takes."""
    start = time.perf_counter()
    ran = subprocess.run(
        [COMMAND, "--url", url, "check", "--since", "24h"], env=environment, capture_output=True, check=False
    )
    took = time.perf_counter() - start
    if ran.returncode not in (0, 1):
        raise RuntimeError(f"check failed: {ran.stderr.decode()}")
    return took


@contextmanager
def watcher(url: str, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A watcher that has looked at everything, and told whom it had to tell."""
    with subprocess.Popen(
        [COMMAND, "--url", url, "watch"], env=environment, stderr=subprocess.DEVNULL
    ) as process:
        try:
            busy = psutil.Process(process.pid)
            used = -1.0
            while busy.cpu_times().user - used > 0.02:
                used = busy.cpu_times().user
                time.sleep(2)
            yield process
        finally:
            process.terminate()


def idle(process: subprocess.Popen[bytes], seconds: float) -> float:
    """The share of a core that it takes, in percent."""
    watched = psutil.Process(process.pid)
    before = watched.cpu_times()
    time.sleep(seconds)
    after = watched.cpu_times()
    return 100 * (after.user + after.system - before.user - before.system) / seconds


def alert(url: str, webhook: Webhook, number: int) -> float:
    """Seconds from a run's failure to its alert's arrival."""
    task = f"failing {number}"
    with connect(url) as ledger:
        try:
            with ledger.run(task, "source"):
                raise RuntimeError("boom")
        except RuntimeError:
            failed = time.perf_counter()
    while not any(task in str(body["title"]) for _, body in webhook.received):
        if time.perf_counter() - failed > 60:
            raise RuntimeError("no alert came")
        time.sleep(0.005)
    return time.perf_counter() - failed
