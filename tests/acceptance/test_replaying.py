"""replay, verify --live and projections rebuild, as people run them."""

import contextlib
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from audit_ledger import Ledger, cli
from audit_ledger.cli.app import app

SCRIPT = Path(sys.executable).with_name("audit-ledger")


def ask(*args: str) -> tuple[int, str, str]:
    """Exit code, output and complaints of a command."""
    result = CliRunner().invoke(app, args)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(autouse=True)
def _recorded(ledger: Ledger, admin_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIT_LEDGER_URL", admin_url)
    with ledger.run("t", "s") as run:
        run.ingest_many("X", {number: {"n": number} for number in range(5)})


def test_replay_shows_tables_with_their_rows_and_the_header() -> None:
    code, shown, _ = ask("replay", "--as-of", "4")
    lines = shown.splitlines()
    assert code == cli.FINE
    assert ["record_versions", "3"] in [line.split() for line in lines]
    assert lines[-1].startswith("as of position 4, recorded ")


def test_replay_shows_the_rows_of_a_table_in_each_form() -> None:
    command = ("replay", "--as-of", "4", "--table", "record_versions")
    _, shown, _ = ask(*command)
    assert len(shown.splitlines()) == 1 + 3 + 2
    document = json.loads(ask(*command, "--format", "json")[1])
    assert [row["record_id"] for row in document["rows"]] == ["0", "1", "2"]
    assert document["answer"]["position"] == 4
    _, shown, _ = ask(*command, "--format", "csv")
    assert json.loads(shown.splitlines()[0].removeprefix("# "))["position"] == 4
    assert shown.splitlines()[2].startswith("2,X,0,created,")
    assert ask("replay", "--as-of", "4", "--table", "holds")[2].startswith("no rows")


def test_replay_refuses_what_it_cannot_answer() -> None:
    assert ask("replay")[0] == cli.USAGE
    assert ask("replay", "--as-of", "2025-12-24 09:00")[0] == cli.FAILED
    code, _, complaint = ask("replay", "--as-of", "4", "--table", "bodies")
    assert code == cli.FAILED
    assert "record_versions" in complaint


def test_verify_live_ends_with_1_and_names_what_differs_and_a_rebuild_mends_it(
    admin: psycopg.Connection[Any],
) -> None:
    assert ask("verify")[0] == cli.USAGE
    code, shown, _ = ask("verify", "--live")
    assert code == cli.FINE
    assert shown.splitlines()[:2] == [
        "✅ 7 events without a gap; none is sealed yet: nothing to compare with",
        "✅ 5 bodies recomputed: as committed to",
    ]
    assert shown.splitlines()[2].startswith("✅ 12 rows of ")
    admin.execute("UPDATE data_ingestion_runs SET task_name = 'other'")
    code, shown, _ = ask("verify", "--live")
    assert code == cli.WRONG
    assert "column task_name: the replay has 't', there is 'other'" in shown
    code, shown, _ = ask("projections", "rebuild", "data_ingestion_runs")
    assert code == cli.FINE
    assert shown.splitlines()[1].split() == ["data_ingestion_runs", "0", "1", "0"]
    assert ask("verify", "--live")[0] == cli.FINE


def test_a_rebuild_by_a_writer_or_of_what_does_not_exist_is_refused(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ask("projections", "rebuild", "nothing")[0] == cli.FAILED
    monkeypatch.setenv("AUDIT_LEDGER_URL", url)
    code, _, complaint = ask("projections", "rebuild")
    assert code == cli.FAILED
    assert "administrator" in complaint


def test_who_watches_sees_how_far_it_is() -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [SCRIPT, "projections", "rebuild"],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    ) as process:
        os.close(theirs)
        seen = b""
        with contextlib.suppress(OSError):  # how Linux says that nobody is there any more
            while part := os.read(ours, 4096):
                seen += part
        os.close(ours)
        assert process.stdout is not None
        printed = process.stdout.read()
    assert process.returncode == 0
    assert b"7/7" in seen
    assert b"folding" not in printed
