"""Logs: a line says which run it is about, wherever it was logged; as text or JSON, without secrets."""

import asyncio
import io
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog

from audit_ledger import Ledger, Run, logs
from audit_ledger.errors import InvalidValue
from audit_ledger.recording.capture import instrument

LINES = logging.getLogger("scripts.fetch")
SECRET = "hunter2-" + "correct-horse"

Said = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def said() -> Iterator[Said]:
    """What was logged since, a line of JSON each."""
    stream = io.StringIO()
    undo = logs.configure("json", stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    undo()


@pytest.fixture
def text() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    undo = logs.configure("text", stream=stream)
    yield stream
    undo()


def test_a_line_is_an_object_with_its_time_level_logger_and_what_was_said(said: Said) -> None:
    before = datetime.now(UTC)
    LINES.warning("fetched %d rows", 3, extra={"page": 7})
    (line,) = said()
    at = datetime.fromisoformat(line.pop("timestamp"))
    assert abs((at - before).total_seconds()) < 10
    assert list(line.items()) == [
        ("level", "warning"),
        ("logger", "scripts.fetch"),
        ("event", "fetched 3 rows"),
        ("page", 7),
    ]


def test_a_script_that_logs_inside_a_run_says_which(ledger: Ledger, said: Said) -> None:
    LINES.info("before")
    with ledger.run("daily", source="s") as run:
        LINES.info("inside")
    LINES.info("after")
    by_event = {line["event"]: (line.get("run_id"), line.get("task")) for line in said()}
    assert by_event == {
        "before": (None, None),
        "inside": (str(run.id), "daily"),
        "✅ daily completed: 0 new, 0 updated": (str(run.id), "daily"),
        "after": (None, None),
    }


def test_so_do_threads_pools_and_tasks_of_asyncio_each_of_its_own_run(ledger: Ledger, said: Said) -> None:
    def fetch(run: Run) -> None:
        thread = threading.Thread(target=LINES.info, args=("thread of %s", run.task))
        thread.start()
        thread.join()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(LINES.info, "pool of %s", run.task).result()

    async def work(task: str) -> None:
        async with ledger.run(task, source="s") as run:
            await asyncio.sleep(0.01)
            LINES.info("task of %s", task)
            await asyncio.to_thread(fetch, run)

    async def both() -> None:
        await asyncio.gather(work("one"), work("two"))

    asyncio.run(both())
    lines = [line for line in said() if line["logger"] == "scripts.fetch"]
    assert sorted(line["event"] for line in lines) == sorted(
        f"{where} of {task}" for where in ("thread", "pool", "task") for task in ("one", "two")
    )
    for line in lines:
        assert line["event"].endswith(f"of {line['task']}")
    assert len({line["run_id"] for line in lines}) == 2


def test_a_run_that_fails_says_which_it_was(ledger: Ledger, said: Said) -> None:
    with pytest.raises(RuntimeError), ledger.run("daily", source="s") as run:
        raise RuntimeError("API error")
    (line,) = [line for line in said() if line["level"] == "error"]
    assert (line["event"], line["run_id"], line["task"]) == (
        "❌ daily failed: API error",
        str(run.id),
        "daily",
    )


def test_an_exception_is_told_by_class_and_traceback(said: Said) -> None:
    try:
        int("x")
    except ValueError:
        LINES.exception("it broke")
    (line,) = said()
    assert line["exception_class"] == "ValueError"
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("with base 10: 'x'")


def test_secrets_are_cut_out_of_whatever_is_logged(said: Said, text: io.StringIO) -> None:
    stream = io.StringIO()
    for form in logs.FORMATS:
        undo = logs.configure(form, stream=stream)
        LINES.info("GET https://api.example.com/?api_key=%s", SECRET)
        LINES.info("sent", extra={"password": SECRET, "headers": {"Authorization": f"Bearer {SECRET}"}})
        try:
            raise ValueError(f"https://user:{SECRET}@example.com is wrong")
        except ValueError:
            LINES.exception("it broke")
        undo()
    assert SECRET not in stream.getvalue()
    assert "api.example.com" in stream.getvalue()


def test_what_is_no_json_is_told_all_the_same(said: Said) -> None:
    loop: list[Any] = []
    loop.append(loop)
    LINES.info("odd", extra={"at": datetime(2025, 1, 1, tzinfo=UTC), "loop": loop, "path": Path("a")})
    (line,) = said()
    assert line["at"] == "2025-01-01 00:00:00+00:00"
    assert line["path"] == "a"
    assert "loop" in line


def test_text_is_a_line_that_ends_with_the_run(ledger: Ledger, text: io.StringIO) -> None:
    with ledger.run("daily", source="s") as run:
        LINES.info("inside")
    first = text.getvalue().splitlines()[0]
    assert first.endswith(f"Z INFO inside  run_id={run.id}  task=daily")


def test_loggers_of_structlog_are_lines_like_all_others(ledger: Ledger, said: Said) -> None:
    structlog.configure(
        processors=[structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    try:
        with ledger.run("daily", source="s") as run:
            structlog.get_logger("own").info("fetched", rows=3, token=SECRET)
    finally:
        structlog.reset_defaults()
    line = said()[0]
    assert (line["event"], line["rows"], line["run_id"]) == ("fetched", 3, str(run.id))
    assert line["token"] != SECRET


def test_the_chatter_of_libraries_is_off_and_their_warnings_are_not(said: Said) -> None:
    logging.getLogger("apprise").info("Loaded 130 plugins")
    logging.getLogger("apprise").warning("it broke")
    assert [line["event"] for line in said()] == ["it broke"]


def test_configuring_again_replaces_and_undoing_puts_back_what_was_there() -> None:
    root = logging.getLogger()
    before = (root.level, list(root.handlers), instrument._users)
    first, second = io.StringIO(), io.StringIO()
    logs.configure("json", stream=first)
    undo = logs.configure("text", stream=second)
    LINES.info("once")
    undo()
    undo()
    assert first.getvalue() == ""
    assert second.getvalue().count("once") == 1
    assert (root.level, list(root.handlers), instrument._users) == before


def test_a_form_that_there_is_not_is_refused() -> None:
    with pytest.raises(InvalidValue, match="text or json"):
        logs.configure("xml")


def test_the_watcher_logs_json_where_the_environment_or_an_option_says_so(url: str, home: Path) -> None:
    (home / "ledger.toml").write_text("[watch\n")
    for more, environment in ((["--log-format", "json"], {}), ([], {"AUDIT_LEDGER_LOG_FORMAT": "json"})):
        process = subprocess.Popen(
            [Path(sys.executable).with_name("audit-ledger"), "--url", url, "watch", "--metrics", "0", *more],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        assert process.stderr is not None
        line = json.loads(process.stderr.readline())
        process.terminate()
        rest = process.communicate(timeout=20)[1]
        assert line["event"].startswith("metrics are served at http://127.0.0.1:")
        assert all(json.loads(other) for other in rest.splitlines())
        assert process.returncode == 0
