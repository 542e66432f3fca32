"""`audit-ledger config`: what it says of a right and of a wrong ledger.toml, and a message that it sends."""

import json
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from audit_ledger import cli
from audit_ledger.cli.app import app

RIGHT = """\
[watch]
channels = ["hook"]
[tasks."data_fetch:daily"]
schedule = "0 9 * * mon-fri"
timezone = "America/New_York"
owner = "data-team"
[tasks.unscheduled]
channels = []
[channels.hook]
url = "json://bob:s3cret-word@127.0.0.1:1/T0KEN123"
"""
WRONG = '[tasks.a]\nschedule = "soon"\n[tasks.b]\nmin_record = 1\n'


@pytest.fixture
def file(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that settings use."""
    path = home / "ledger.toml"
    monkeypatch.setenv("AUDIT_LEDGER_CONFIG", str(path))
    return path


def ask(*args: str | Path) -> Result:
    return CliRunner().invoke(app, ["config", *map(str, args)], prog_name="audit-ledger")


def test_check_shows_the_next_five_times_of_each_task_and_who_is_told(file: Path) -> None:
    file.write_text(RIGHT)
    said = ask("check")
    assert said.exit_code == cli.FINE
    times = re.findall(r"(\w{3}) \d{4}-\d\d-\d\d 09:00 -0[45]:00, in (?:\d+[dhm] ?)+\n", said.stdout)
    assert len(times) == 5
    assert set(times) <= {"Mon", "Tue", "Wed", "Thu", "Fri"}
    for line in ("channels  hook", "owner     data-team", "none: it is never missed", "2 tasks, 1 channel"):
        assert line in said.stdout
    assert "task unscheduled: nobody is told" in said.stderr
    assert "s3cret-word" not in said.output


def test_check_lists_every_problem_with_its_line_and_ends_with_1(file: Path) -> None:
    file.write_text(WRONG)
    said = ask("check")
    assert said.exit_code == cli.WRONG
    assert f"{file}:2: tasks.a.schedule cannot be used" in said.stderr
    assert f"{file}:4: tasks.b.min_record cannot be used" in said.stderr
    assert "did you mean min_records?" in said.stderr
    assert "is right" not in said.stdout


def test_check_is_json_for_programs(file: Path) -> None:
    file.write_text(RIGHT)
    said = json.loads(ask("check", "--json").stdout)
    assert (said["ok"], said["problems"], said["channels"]) == (True, [], ["hook"])
    task = said["tasks"][0]
    assert (task["task"], task["grace"], len(task["next"])) == ("data_fetch:daily", 900, 5)
    assert datetime.fromisoformat(task["next"][0]) > datetime.now(UTC)
    file.write_text(WRONG)
    result = ask("check", "--json")
    assert result.exit_code == cli.WRONG
    assert [problem["line"] for problem in json.loads(result.stdout)["problems"]] == [2, 4]


def test_check_takes_another_file_and_says_when_there_is_none(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text("[watch]\n")
    assert f"{other} is right" in ask("check", other).stdout
    missing = ask("check")
    assert missing.exit_code == cli.FAILED
    assert "cannot be read" in missing.stderr


def test_check_warns_of_a_channel_that_cannot_be_used_here(file: Path) -> None:
    file.write_text(
        '[channels.a]\nurl_env = "AUDIT_LEDGER_NO_SUCH"\n[channels.b]\nurl = "nosuch://s3cret-word/"\n'
    )
    said = ask("check")
    assert said.exit_code == cli.FINE
    assert "warning: channel a: " in said.stderr
    assert "AUDIT_LEDGER_NO_SUCH" in said.stderr
    assert "warning: channel b: " in said.stderr
    assert "s3cret-word" not in said.output


@pytest.fixture
def received() -> Iterator[tuple[int, list[Any]]]:
    """The port of a webhook, and what it received."""
    posted: list[Any] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_port, posted
        server.shutdown()


def test_test_channel_sends_a_message(file: Path, received: tuple[int, list[Any]]) -> None:
    port, posted = received
    file.write_text(
        f'[channels.hook]\nurl = "json://127.0.0.1:{port}/"\nquiet = ["00:00-12:00", "12:00-23:59"]\n'
    )
    said = ask("test-channel", "hook")
    assert (said.exit_code, said.stdout) == (cli.FINE, "channel hook took the message\n")
    assert [message["title"] for message in posted] == ["audit-ledger: test message"]


def test_test_channel_says_why_a_message_was_not_taken(file: Path) -> None:
    file.write_text(RIGHT)
    refused = ask("test-channel", "hook")
    assert refused.exit_code == cli.FAILED
    assert "refused" in refused.stderr
    assert "T0KEN123" not in refused.output
    unknown = ask("test-channel", "hok")
    assert unknown.exit_code == cli.FAILED
    assert "a channel: hook" in unknown.stderr
