"""What ledger.toml says of tasks, channels and maintenance; and what is said where it is wrong."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from audit_ledger.errors import ConfigurationError
from audit_ledger.events import TaskDefined, decode
from audit_ledger.executing.arguments import parse
from audit_ledger.executing.execute import overlap_of
from audit_ledger.ledger_toml import key_text, line_of
from audit_ledger.plan import (
    Anchors,
    Authority,
    Channel,
    Maintenance,
    Plan,
    Task,
    Watch,
    examine,
    load_anchors,
    load_plan,
)
from audit_ledger.plan.values import Unfit, duration, duration_text
from audit_ledger.settings import load

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "ledger-toml.md"

WHOLE = """\
actor = "etl"

[watch]
channels = ["mail", "chat"]
owner = "data-team"
abandoned_after = "10m"

[tasks."data_fetch:congress_daily"]
schedule = "0 9 * * mon-fri"
timezone = "America/New_York"
source = "quiverquant_congress"
grace = "15m"
expected_duration = 600
min_records = 1
max_records = 5000
freshness = "26h"
owner = "ada@example.com"
channels = ["mail"]
overlap = "skip"
max_api_error_rate = 0.5
slow_endpoint = 2.5
severity = "warning"

[channels.mail]
url = "mailto://user:pass-word@smtp.example.com?to=ops@example.com"
escalate_to = "pager"
quiet = ["22:00-07:00", "sat", "sun"]
quiet_timezone = "Europe/Berlin"

[channels.chat]
url_env = "CHAT_URL"

[channels.pager]
url_file = "pager.url"

[[maintenance]]
tasks = ["data_fetch:*"]
start = 2025-12-24T22:00:00-05:00
end = 2025-12-25T02:00:00-05:00
reason = "upgrade"

[[maintenance]]
schedule = "0 2 * * sun"
timezone = "America/New_York"
duration = "2h"
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that settings use; it is not there yet."""
    path = tmp_path / "ledger.toml"
    monkeypatch.setenv("AUDIT_LEDGER_CONFIG", str(path))
    return path


def wrong(file: Path, text: str) -> ConfigurationError:
    """The one problem of a file."""
    file.write_text(text)
    _, problems = examine()
    assert len(problems) == 1, problems
    with pytest.raises(ConfigurationError) as caught:
        load_plan()
    assert str(caught.value) == str(problems[0].error())
    return caught.value


def test_the_plan_is_read_from_the_file_that_settings_use(file: Path) -> None:
    file.write_text(WHOLE)
    plan = load_plan()
    task = plan.task("data_fetch:congress_daily")
    assert (task.schedule, task.zone) == ("0 9 * * mon-fri", ZoneInfo("America/New_York"))
    assert (task.grace, task.expected_duration) == (timedelta(minutes=15), timedelta(minutes=10))
    assert (task.min_records, task.max_records, task.freshness) == (1, 5000, timedelta(hours=26))
    assert (task.owner, task.channels, task.overlap) == ("ada@example.com", ("mail",), "skip")
    assert (task.severity, task.max_api_error_rate) == ("warning", 0.5)
    assert task.slow_endpoint == timedelta(seconds=2.5)
    assert plan.channels["mail"].escalate_to == "pager"
    assert plan.channels["pager"].url_file == file.parent / "pager.url"
    assert plan.maintenance[0].end == datetime(2025, 12, 25, 7, tzinfo=UTC)
    assert plan.maintenance[1].duration == timedelta(hours=2)
    assert plan.file == file


def test_settings_leave_the_tables_alone(file: Path) -> None:
    file.write_text(WHOLE)
    assert load().actor == "etl"


def test_without_a_file_nothing_is_planned(file: Path) -> None:
    assert load_plan() == Plan()
    assert load_plan().task("any").grace == timedelta(minutes=15)


def test_a_file_that_is_named_must_be_there(file: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_plan(file)


def test_watch_holds_for_tasks_that_do_not_say_otherwise_and_for_those_not_named(file: Path) -> None:
    file.write_text(
        '[watch]\nowner = "team"\ngrace = "5m"\nchannels = ["a"]\n[channels.a]\nurl = "json://h/"\n'
        '[tasks.x]\ngrace = "1m"\n[tasks.y]\nchannels = []\n'
    )
    plan = load_plan()
    assert (plan.task("x").owner, plan.task("x").grace) == ("team", timedelta(minutes=1))
    assert (plan.task("y").channels, plan.task("y").grace) == ((), timedelta(minutes=5))
    assert (plan.task("z").name, plan.task("z").channels) == ("z", ("a",))
    assert list(plan.tasks) == ["x", "y"]


def test_a_definition_goes_through_an_event_and_back(file: Path) -> None:
    file.write_text(WHOLE)
    for task in (load_plan().task("data_fetch:congress_daily"), Task(name="bare", resend_after="90s")):
        event = TaskDefined.of(definition=task.definition, occurred_at=datetime.now(UTC), task=task.name)
        read = decode("TaskDefined", event.state)
        assert isinstance(read, TaskDefined)
        assert Task.of_definition(read.task, read.definition) == task
        assert "pass-word" not in event.state.decode()
    assert load_plan().task("data_fetch:congress_daily").definition["freshness"] == 93_600


def test_a_definition_of_later_software_is_read_without_what_is_not_known() -> None:
    assert Task.of_definition("x", {"min_records": 3, "mood": "good"}).min_records == 3


def test_no_error_and_no_representation_shows_where_a_channel_goes(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(WHOLE)
    plan = load_plan()
    assert "pass-word" not in repr(plan) + str(plan.channels["mail"])
    assert plan.channels["mail"].secret_url().startswith("mailto://user:pass-word@")
    for text in (
        '[channels.a]\nulr = "json://user:pass-word@h/"\n',
        '[channels.a]\nurl = "user:pass-word"\n',
        '[channels.a]\nurl = ["user:pass-word"]\n',
        '[channels]\na = "json://user:pass-word@h/"\n',
        'ulr = "postgresql://user:pass-word@h/"\n',
    ):
        file.write_text(text)
        shown = "".join(str(problem.error()) + repr(problem) for problem in examine()[1])
        assert shown
        assert "pass-word" not in shown
    monkeypatch.setenv("CHAT_URL", "user:pass-word")
    with pytest.raises(ConfigurationError) as caught:
        plan.channels["chat"].secret_url()
    assert "CHAT_URL" in str(caught.value)
    assert "pass-word" not in str(caught.value)


def test_the_url_of_a_channel_comes_from_the_environment_or_a_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(WHOLE)
    chat, pager = (load_plan().channels[name] for name in ("chat", "pager"))
    with pytest.raises(ConfigurationError, match="CHAT_URL"):
        chat.secret_url()
    with pytest.raises(ConfigurationError, match=r"pager\.url"):
        pager.secret_url()
    monkeypatch.setenv("CHAT_URL", "slack://a/b/c")
    (file.parent / "pager.url").write_text("json://localhost/\n")
    assert chat.secret_url() == "slack://a/b/c"
    assert pager.secret_url() == "json://localhost/"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("[watch]\n\nowner = \n", 3, ["TOML", "Invalid value"]),
        ('[watch]\nowner = "x\n', 2, ["TOML"]),
        ("[watch]\nx = [1,\n", 2, ["TOML"]),
        ("locktimeout = 1\n", 1, ["locktimeout", "did you mean lock_timeout?"]),
        ("[task.x]\n", 1, ["task ", "did you mean tasks?"]),
        ('lock_timeout = "soon"\n', 1, ["lock_timeout", "'soon'"]),
        ("\n[tasks.x]\nmin_record = 1\n", 3, ["tasks.x.min_record ", "did you mean min_records?"]),
        ('[tasks."a b"]\nname = "c"\n', 2, ['tasks."a b".name', "leave it out"]),
        ("[tasks]\nx = 3\n", 2, ["tasks.x ", "a table", '[tasks."NAME"]']),
        ("tasks = 3\n", 1, ["tasks ", "a table"]),
        ("[maintenance]\nreason = 'x'\n", 1, ["[[maintenance]]"]),
        ('[tasks.x]\ngrace = "soon"\n', 2, ["tasks.x.grace", "a duration", "'soon'"]),
        ("[tasks.x]\ngrace = -1\n", 2, ["not negative", "-1"]),
        ("[tasks.x]\ngrace = true\n", 2, ["a duration"]),
        ("[watch]\nabandoned_after = 0\n", 2, ["watch.abandoned_after", "more than 0"]),
        ('[tasks.x]\noverlap = "maybe"\n', 2, ["'allow', 'skip' or 'fail'", "'maybe'"]),
        ("[tasks.x]\nmin_records = true\n", 2, ["integer"]),
        ("[tasks.x]\nmin_records = 5\nmax_records = 4\n", 1, ["5 and 4", "max_records"]),
        ("[tasks.x]\nmax_api_error_rate = 20\n", 2, ["less than or equal to 1", "20"]),
        ('[tasks.x]\nchannels = "mail"\n', 2, ["an array", 'write ["mail"]']),
        ('[tasks.x]\ntimezone = "America/New York"\n', 2, ['did you mean "America/New_York"?']),
        ('[tasks.x]\ntimezone = "Berlin"\n', 2, ['did you mean "Europe/Berlin"?']),
        ('[tasks.x]\ntimezone = "America"\n', 2, ["a time zone"]),
        ('[tasks.x]\ntimezone = "/etc/passwd"\n', 2, ["a time zone"]),
        ('[tasks.x]\nschedule = "0 25 * * *"\n', 2, ["the field hour", "'0 25 * * *'"]),
        ('[tasks.x]\nschedule = "0 0 9 * * *"\n', 2, ["five fields", "these are 6"]),
        ('[tasks.x]\nschedule = "@daily"\n', 2, ["0 0 * * *"]),
        ('[tasks.x]\nschedule = "0 0 30 2 *"\n', 2, ["day-of-month"]),
        ('[tasks.x]\nschedule = "0 0 */31 * tue#3"\n', 2, ["a time that comes"]),
        (
            '[channels.mail]\nurl = "json://h/"\n[tasks.x]\nchannels = [\n  "mail",\n  "mial",\n]\n',
            4,
            ["tasks.x.channels[1]", "'mial'", 'did you mean "mail"?'],
        ),
        ('[watch]\nchannels = ["chat"]\n', 2, ["watch.channels[0]", "add [channels.chat]"]),
        ("[channels.a]\n", 1, ["exactly one of url, url_env, url_file"]),
        ('[channels.a]\nurl = "json://h/"\nurl_env = "X"\n', 1, ["exactly one"]),
        ('[channels.a]\nurl = "json://h/"\nescalate_to = "b"\n', 3, ["escalate_to", "a channel: a"]),
        ('[channels.a]\nurl = "json://h/"\nescalate_to = "a"\n', 3, ["a → a", "end the loop"]),
        (
            '[channels.a]\nurl = "json://h/"\nescalate_to = "b"\n'
            '[channels.b]\nurl = "json://h/"\nescalate_to = "a"\n',
            3,
            ["a → b → a"],
        ),
        ('[channels.a]\nurl = "json://h/"\nquiet = ["22-7"]\n', 3, ["channels.a.quiet[0]", "22:00-07:00"]),
        ('[channels.a]\nurl = "json://h/"\nquiet = ["07:00-07:00"]\n', 3, ["different times"]),
        ('[channels.a]\nurl = "json://h/"\nquiet = ["07:00-19:00", "18:00-07:00"]\n', 1, ["that end"]),
        (
            '[channels.a]\nurl = "json://h/"\nquiet = ["mon","tue","wed","thu","fri","sat","sun"]\n',
            1,
            ["that end"],
        ),
        ("[[maintenance]]\nstart = 2025-01-01T00:00:00Z\n", 1, ["either start and end"]),
        (
            "[[maintenance]]\nstart = 2025-01-02T00:00:00Z\nend = 2025-01-01T00:00:00Z\n",
            1,
            ["an end after the start"],
        ),
        (
            "[[maintenance]]\nstart = 2025-01-02T00:00:00\nend = 2025-01-03T00:00:00Z\n",
            2,
            ["maintenance[0].start", "with an offset"],
        ),
        ('[[maintenance]]\nschedule = "0 * * * *"\nduration = "1h"\n', 1, ["before the next one begins"]),
        (
            '[[maintenance]]\nschedule = "0 2 * * *"\nduration = "1h"\n'
            '[[maintenance]]\nschedule = "0 2 * * x"\nduration = "1h"\n',
            5,
            ["maintenance[1].schedule"],
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_line_and_what_to_do(
    file: Path, text: str, line: int, said: list[str]
) -> None:
    error = wrong(file, text)
    assert str(error).startswith(f"{file}:{line}: ")
    assert [word for word in said if word not in str(error)] == []
    assert None not in (error.expected, error.actual, error.remedy)


def test_bytes_that_are_no_text_are_said_with_their_line(file: Path) -> None:
    file.write_bytes(b'[watch]\nowner = "M\xfcller"\n')
    with pytest.raises(ConfigurationError, match=r"ledger\.toml:2: "):
        load_plan()


def test_all_problems_are_found_at_once_in_the_order_of_the_file(file: Path) -> None:
    file.write_text(
        'nane = "x"\n[tasks.a]\ngrace = "x"\nmin_records = "y"\n[tasks.b]\ntimezone = "Mars/Base"\n'
        'channels = ["gone"]\n[channels.c]\nurl = "json://h/"\nquiet = ["never"]\n'
    )
    plan, problems = examine()
    assert [(problem.line, problem.key) for problem in problems] == [
        (1, "nane"),
        (3, "tasks.a.grace"),
        (4, "tasks.a.min_records"),
        (6, "tasks.b.timezone"),
        (7, "tasks.b.channels[0]"),
        (10, "channels.c.quiet[0]"),
    ]
    assert list(plan.tasks) == []


def test_a_wrong_setting_of_the_file_is_said_with_its_line(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text('actor = "x"\nlock_timeout = "soon"\n')
    with pytest.raises(ConfigurationError, match=r"ledger\.toml:2: the setting lock_timeout"):
        load()
    monkeypatch.setenv("AUDIT_LEDGER_LOCK_TIMEOUT", "later")
    with pytest.raises(ConfigurationError, match=r"\Athe setting lock_timeout"):
        load()


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ("a.b.c = 1\na.b.d = 2\n", ("a", "b", "d"), 2),
        ("a = {b = 1, c = 2}\n", ("a", "c"), 1),
        ("# first\n\n[a]\n# b\n\nb = '''\n[x]\nb = 1\n'''\nc = 1\n", ("a", "b"), 6),
        ("[a]\nb = '''\n[x]\n'''\nc = 1\n", ("a", "c"), 5),
        ("[[a]]\nb = 1\n[[a]]\n[[a]]\nb = 2\n", ("a", 2, "b"), 5),
        ("[[a]]\nb = 1\n[[a]]\n[[a]]\nb = 2\n", ("a", 1, "b"), 3),
        ("[a]\nb = 1\n", ("z",), 1),
        ("\n\n[a.b]\nc = 1", ("a",), 3),
    ],
)
def test_a_key_is_found_where_its_statement_begins(text: str, key: tuple[str | int, ...], line: int) -> None:
    assert line_of(text, key) == line


def test_a_key_is_shown_as_one_writes_it() -> None:
    assert key_text(("tasks", 'a:"b"', "channels", 1)) == r'tasks."a:\"b\"".channels[1]'


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("15m", 900),
        ("26h", 93_600),
        ("7d", 604_800),
        ("1h 30m", 5400),
        ("1h30m", 5400),
        ("1.5h", 5400),
    ],
)
def test_durations_are_read_and_shown(text: str, seconds: int) -> None:
    length = duration(text)
    assert length == duration(seconds) == timedelta(seconds=seconds)
    assert duration(duration_text(length)) == length


@pytest.mark.parametrize(
    "value", ["", "5", "m", "5 m x", "-5m", "5y", float("nan"), float("inf"), None, "9999999w"]
)
def test_what_is_no_duration_is_refused(value: object) -> None:
    with pytest.raises(Unfit):
        duration(value)


def test_a_thousand_tasks_have_their_lines_found(file: Path) -> None:
    tables = [f'[tasks.t{n}]\nschedule = "{n % 60} 9 * * *"\ngrace = "5m"\n' for n in range(1000)]
    file.write_text("".join(tables) + '[tasks.last]\ngrace = "x"\n')
    plan, problems = examine()
    assert [problem.line for problem in problems] == [3002]
    assert len(plan.tasks) == 1000


def test_a_channel_made_by_hand_needs_one_place() -> None:
    with pytest.raises(ValidationError):
        Channel(name="a")


ANCHORS = """\
[anchors]
folders = ["outside", "/mnt/locked"]
keys = "ledger.vkey"
every = "15m"
every_events = 1000

[[anchors.timestamps]]
name = "one"
url = "https://tsa.example.com/tsr"
certificate = "certificates/one.pem"

[[anchors.timestamps]]
name = "two"
url = "http://tsa.example.org"
certificate = "/etc/two.pem"
policy = "1.2.3.4.1"
"""


def test_anchors_are_read_their_paths_beside_the_file(file: Path) -> None:
    file.write_text(ANCHORS)
    anchors = load_anchors()
    assert load_plan().anchors == anchors
    assert anchors.folders == (file.parent / "outside", Path("/mnt/locked"))
    assert (anchors.keys, anchors.every) == (file.parent / "ledger.vkey", timedelta(minutes=15))
    assert anchors.timestamps[0].certificate == file.parent / "certificates/one.pem"
    assert anchors.timestamps[1].policy == "1.2.3.4.1"
    assert anchors.places == [
        ("folder", str(file.parent / "outside")),
        ("folder", "/mnt/locked"),
        ("timestamp", "one"),
        ("timestamp", "two"),
    ]
    file.unlink()
    assert load_anchors() == Anchors()


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ('keys = "ledger.vkey"\n', "", 1, ["anchors", "verifier keys"]),
        ('folders = ["outside", "/mnt/locked"]', 'folders = "outside"', 2, ["anchors.folders", "an array"]),
        ('folders = ["outside", "/mnt/locked"]', 'folders = ["a", "a"]', 1, ["not the same"]),
        ('every = "15m"', 'every = "often"', 4, ["anchors.every", "a duration"]),
        ("every_events = 1000", "every_events = 0", 5, ["anchors.every_events"]),
        ("every_events", "every_event", 5, ["did you mean every_events?"]),
        ('name = "two"', 'name = "one"', 1, ["different names"]),
        ('name = "two"', 'name = "../two"', 13, ["anchors.timestamps[1].name"]),
        ('"http://tsa.example.org"', '"ftp://tsa"', 14, ["anchors.timestamps[1].url", "http"]),
        ('"1.2.3.4.1"', '"one"', 16, ["anchors.timestamps[1].policy", "object identifier"]),
        ('certificate = "/etc/two.pem"\n', "", 12, ["anchors.timestamps[1].certificate"]),
        ('certificate = "/etc/two.pem"', "certificates = 1", 12, ["anchors.timestamps[1]"]),
    ],
)
def test_what_is_wrong_with_anchors_is_said(
    file: Path, old: str, new: str, line: int, said: list[str]
) -> None:
    assert old in ANCHORS
    file.write_text(ANCHORS.replace(old, new))
    _, problems = examine()
    problem = problems[0]
    text = f"{problem.key} {problem.expected} {problem.actual} {problem.remedy}"
    assert problem.line == line
    for part in said:
        assert any(part in f"{one.key} {one.expected} {one.remedy}" for one in problems), text
    with pytest.raises(ConfigurationError, match="anchors"):
        load_anchors()


def test_what_is_wrong_elsewhere_does_not_keep_anchors_from_being_read(file: Path) -> None:
    file.write_text(ANCHORS + '[tasks.a]\ngrace = "x"\n')
    assert load_anchors().every_events == 1000
    with pytest.raises(ConfigurationError):
        load_plan()


def test_the_page_lists_every_key_of_every_table() -> None:
    sections = dict(part.split("\n", 1) for part in PAGE.read_text().split("\n## ")[1:])
    listed = {
        title.partition(",")[0]: re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
        for title, text in sections.items()
    }
    tables = {
        "[watch]": list(Watch.model_fields),
        '[tasks."NAME"]': [name for name in Task.model_fields if name not in (*Watch.model_fields, "name")],
        "[channels.NAME]": [name for name in Channel.model_fields if name != "name"],
        "[[maintenance]]": list(Maintenance.model_fields),
        "[anchors]": [name for name in Anchors.model_fields if name != "timestamps"],
        "[[anchors.timestamps]]": list(Authority.model_fields),
    }
    assert {title: keys for title, keys in listed.items() if keys} == tables


@pytest.mark.parametrize(
    "text",
    [
        "",
        '[watch]\noverlap = "fail"\n',
        '[tasks.t]\noverlap = "skip"\n[watch]\noverlap = "fail"\n',
        '[tasks.t]\nmin_records = 1\n[watch]\noverlap = "fail"\n',
        '[tasks.other]\noverlap = "skip"\n',
        '[tasks.t]\noverlap = "allow"\n[watch]\noverlap = "skip"\n',
    ],
)
def test_the_overlap_of_a_task_is_found_without_the_plan(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ledger.toml"
    file.write_text(text)
    monkeypatch.setenv("AUDIT_LEDGER_CONFIG", str(file))
    arguments = parse(["--task", "t", "--source", "s", "--", "true"])
    assert overlap_of(arguments) == load_plan().task("t").overlap


@pytest.mark.parametrize("said", ['"sometimes"', '""', "false", "[]"])
def test_an_overlap_that_there_is_not_is_an_error_with_its_line(
    said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ledger.toml"
    file.write_text(f"[watch]\n\noverlap = {said}\n")
    monkeypatch.setenv("AUDIT_LEDGER_CONFIG", str(file))
    arguments = parse(["--task", "t", "--source", "s", "--", "true"])
    with pytest.raises(ConfigurationError, match=r"ledger\.toml:3: watch\.overlap"):
        overlap_of(arguments)
    assert overlap_of(parse(["--task", "t", "--source", "s", "--overlap", "skip", "--", "true"])) == "skip"
