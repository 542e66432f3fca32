"""ledger.toml read as a Plan, or as all the problems that it has: each with its line and what to do."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from audit_ledger.errors import ConfigurationError
from audit_ledger.ledger_toml import Key, NotToml, config_file, key_text, line_of, parse
from audit_ledger.plan.anchors import Anchors
from audit_ledger.plan.models import Channel, Maintenance, Plan, Task, Watch, task_of
from audit_ledger.plan.table import Table
from audit_ledger.plan.values import Unfit, duration_text
from audit_ledger.settings.check import wrong_settings

NOT_SHOWN = "not shown, it may be secret"
_T = TypeVar("_T", bound=Table)


@dataclass(frozen=True)
class Problem:
    """What of ledger.toml cannot be used.

    Attributes:
        file: The file.
        line: Its line, from 1 on.
        key: The key, as one writes it; "" where the text is not TOML.
        expected: What would be right.
        actual: What is there; never a secret.
        remedy: What to do.
    """

    file: Path
    line: int
    key: str
    expected: str
    actual: str
    remedy: str

    def error(self) -> ConfigurationError:
        """The same as an error."""
        what = f"{self.key} cannot be used" if self.key else "the file cannot be read"
        return ConfigurationError(
            f"{self.file}:{self.line}: {what}",
            expected=self.expected,
            actual=self.actual,
            remedy=self.remedy,
        )


@dataclass(frozen=True)
class _Finding:
    """A problem whose line is not looked up yet."""

    key: Key
    expected: str
    actual: str
    remedy: str | None = None


def load_plan(path: Path | None = None) -> Plan:
    """What ledger.toml says of tasks, channels, maintenance and anchors.

    Args:
        path: The file; by default the one that the settings come from, and nothing where that is not there.

    Raises:
        ConfigurationError: the first problem of the file.
    """
    plan, problems = examine(path)
    if problems:
        raise problems[0].error()
    return plan


def load_anchors(path: Path | None = None) -> Anchors:
    """What ledger.toml says of anchors; what else is wrong with it does not matter.

    Args:
        path: The file; by default the one that the settings come from, and nothing where that is not there.

    Raises:
        ConfigurationError: the first problem of the file, or of its table [anchors].
    """
    plan, problems = examine(path)
    for problem in problems:
        if problem.key.partition(".")[0].partition("[")[0] in ("", "anchors"):
            raise problem.error()
    return plan.anchors


def examine(path: Path | None = None) -> tuple[Plan, list[Problem]]:
    """What can be used of the file, and all its problems, by line.

    Of a file with a problem the plan lacks what cannot be used: it is for showing, not for watching.

    Raises:
        ConfigurationError: the file cannot be opened.
    """
    file = config_file() if path is None else path
    try:
        data = file.read_bytes()
    except FileNotFoundError as error:
        if path is None:
            return Plan(), []
        raise _unreadable(file, error) from error
    except OSError as error:
        raise _unreadable(file, error) from error
    try:
        text, content = parse(data)
    except NotToml as error:
        where = f"{error.why}, at column {error.column}"
        return Plan(file=file), [Problem(file, error.line, "", "TOML", where, "correct the line")]
    reader = _Reader(file, content)
    plan = reader.plan()
    for name, *found in wrong_settings(content):
        reader.findings.append(_Finding((name,), *found))
    problems = [
        Problem(
            file,
            line_of(text, found.key),
            key_text(found.key),
            found.expected,
            found.actual,
            found.remedy or "correct the value",
        )
        for found in reader.findings
    ]
    return plan, sorted(problems, key=lambda problem: problem.line)


def _unreadable(file: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"{file} cannot be read",
        expected="a TOML file",
        actual=error.strerror or str(error),
        remedy="correct the path, or the file's permissions",
    )


class _Reader:
    """One reading of the file's content; `findings` are what cannot be used."""

    def __init__(self, file: Path, content: dict[str, Any]) -> None:
        self.file = file
        self.content = content
        self.findings: list[_Finding] = []

    def plan(self) -> Plan:
        """What can be used."""
        table = self._table("watch", self.content.get("watch", {}))
        watch = self._made(Watch, ("watch",), table) or Watch()
        channels = {
            name: channel
            for name, table in self._tables("channels", "[channels.NAME]")
            if (channel := self._made(Channel, ("channels", name), self._beside_the_file(table), name=name))
        }
        tasks = {
            name: task
            for name, table in self._tables("tasks", '[tasks."NAME"]')
            if (task := self._made(Task, ("tasks", name), table, watch, name=name))
        }
        self._channels_are_there(watch, tasks, channels)
        self._escalation_ends(channels)
        return Plan(
            watch=watch,
            tasks=tasks,
            channels=channels,
            maintenance=self._maintenance(),
            anchors=self._anchors(),
            file=self.file,
        )

    def _table(self, name: str, value: object) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        self.findings.append(_Finding((name,), "a table", type(value).__name__, f"write [{name}]"))
        return {}

    def _tables(self, name: str, form: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Tables within a table, by name."""
        for key, value in self._table(name, self.content.get(name, {})).items():
            if isinstance(value, dict):
                yield key, value
            else:
                self.findings.append(_Finding((name, key), "a table", NOT_SHOWN, f"write {form}"))

    def _maintenance(self) -> tuple[Maintenance, ...]:
        given = self.content.get("maintenance", [])
        if not isinstance(given, list) or not all(isinstance(table, dict) for table in given):
            self.findings.append(
                _Finding(
                    ("maintenance",), "an array of tables", type(given).__name__, "write [[maintenance]]"
                )
            )
            return ()
        made = (self._made(Maintenance, ("maintenance", n), table) for n, table in enumerate(given))
        return tuple(window for window in made if window is not None)

    def _anchors(self) -> Anchors:
        table = dict(self._table("anchors", self.content.get("anchors", {})))
        folders, authorities = table.get("folders"), table.get("timestamps")
        if isinstance(folders, list):
            table["folders"] = [self._path(folder) for folder in folders]
        if "keys" in table:
            table["keys"] = self._path(table["keys"])
        if isinstance(authorities, list):
            table["timestamps"] = [
                {**one, "certificate": self._path(one["certificate"])}
                if isinstance(one, dict) and "certificate" in one
                else one
                for one in authorities
            ]
        return self._made(Anchors, ("anchors",), table) or Anchors()

    def _path(self, path: object) -> object:
        """A path of the file: a relative one is beside it."""
        if not isinstance(path, str) or not path:
            return path
        return str(self.file.parent.absolute() / Path(path).expanduser())

    def _beside_the_file(self, table: dict[str, Any]) -> dict[str, Any]:
        """A relative url_file is beside ledger.toml."""
        path = table.get("url_file")
        return table if path is None else {**table, "url_file": self._path(path)}

    def _made(
        self, model: type[_T], key: Key, table: dict[str, Any], watch: Watch | None = None, **more: str
    ) -> _T | None:
        """The model of a table, or None where it cannot be used."""
        known = [name for name in model.model_fields if name not in more]
        unknown = [name for name in table if name not in known]
        for name in unknown:
            self.findings.append(
                _Finding((*key, name), "a key that is known here", NOT_SHOWN, _meant(name, known))
            )
        usable = {name: value for name, value in table.items() if name in known}
        try:
            made: Table = model(**usable, **more) if watch is None else task_of(watch, more["name"], usable)
        except ValidationError as error:
            for found in error.errors(include_url=False):
                self.findings.append(_found(key, table, found))
            return None
        return made if isinstance(made, model) and not unknown else None

    def _channels_are_there(
        self, watch: Watch, tasks: Mapping[str, Task], channels: Mapping[str, Channel]
    ) -> None:
        """Whoever is to be told has a table."""
        del tasks  # what can be used of them; all are looked at
        named = self._table_or_none(("channels",))
        users: list[tuple[Key, object]] = [(("watch", "channels"), watch.channels)]
        for name, table in (self._table_or_none(("tasks",)) or {}).items():
            if isinstance(table, dict):
                users.append((("tasks", name, "channels"), table.get("channels")))
        for key, wanted in users:
            for place, channel in enumerate(wanted if isinstance(wanted, list | tuple) else ()):
                if isinstance(channel, str) and channel not in (named or {}):
                    self._no_such_channel((*key, place), channel, named or {})
        for name, made in channels.items():
            if made.escalate_to is not None and made.escalate_to not in (named or {}):
                self._no_such_channel(("channels", name, "escalate_to"), made.escalate_to, named or {})

    def _table_or_none(self, key: tuple[str]) -> dict[str, Any] | None:
        found = self.content.get(key[0])
        return found if isinstance(found, dict) else None

    def _no_such_channel(self, key: Key, channel: str, named: Mapping[str, Any]) -> None:
        expected = f"a channel: {', '.join(named)}" if named else "a channel; the file has none"
        close = get_close_matches(channel, named, 1)
        remedy = f'did you mean "{close[0]}"?' if close else f"add [channels.{key_text((channel,))}]"
        self.findings.append(_Finding(key, expected, repr(channel), remedy))

    def _escalation_ends(self, channels: Mapping[str, Channel]) -> None:
        """A channel that fails is never the one that is told of it; each loop is said once."""
        looped: set[str] = set()
        for first in channels:
            way = [first]
            while (after := channels[way[-1]].escalate_to) in channels and after not in way:
                way.append(str(after))
            if after == first and not looped & set(way):
                looped |= set(way)
                self.findings.append(
                    _Finding(
                        ("channels", first, "escalate_to"),
                        "a channel from which no escalation comes back",
                        " → ".join((*way, first)),
                        "end the loop: leave out one escalate_to",
                    )
                )


def _found(key: Key, table: Mapping[str, Any], error: Any) -> _Finding:
    """What pydantic found, as we say it."""
    where: Key = (*key, *error["loc"])
    value = error["input"]
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, Unfit):
        expected, remedy = cause.expected, cause.remedy
    else:
        expected = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        expected, remedy = expected.removeprefix("expected "), None
    if len(where) == len(key):
        actual = f"the table's keys are {', '.join(table) or 'none'}"
    else:
        actual = _shown(value) if where[0] != "channels" or where[-1] != "url" else NOT_SHOWN
    return _Finding(where, expected, actual, remedy)


def _shown(value: object) -> str:
    if isinstance(value, timedelta):
        return duration_text(value)
    text = repr(value) if isinstance(value, str | int | float) else f"{type(value).__name__} {value}"
    return text if len(text) <= 80 else text[:77] + "..."


def _meant(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, 1)
    return f"did you mean {close[0]}?" if close else f"leave it out; known here are {', '.join(known)}"
