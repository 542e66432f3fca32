"""The file ledger.toml: where it is, its text as TOML, and the line at which a key of it stands.

Settings are its keys at the top level; its tables, `TABLES`, are what `plan` reads.
"""

import os
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

TABLES = ("watch", "tasks", "channels", "maintenance", "anchors")
"""Keys at the top level that are no settings."""

Key = Sequence[str | int]
"""The way to a value: keys of tables, and places in arrays from 0 on."""

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


class NotToml(ValueError):
    """The text is not TOML: at which line and column, from 1 on, and why."""

    def __init__(self, line: int, column: int, why: str) -> None:
        super().__init__(f"{why} at line {line}, column {column}")
        self.line, self.column, self.why = line, column, why


def config_file() -> Path:
    """Where the file is, whether it is there or not: AUDIT_LEDGER_CONFIG, or in the working directory."""
    return Path(os.environ.get("AUDIT_LEDGER_CONFIG") or "ledger.toml")


def names_anchors() -> bool:
    """Whether the file has a table [anchors]; one that cannot be read has none."""
    try:
        _, content = parse(config_file().read_bytes())
    except (OSError, NotToml):
        return False
    return "anchors" in content


def overlap_of(task: str) -> object:
    """What the file says of a task and overlap, in its own table or, for all, in [watch]. It is not checked.

    None where it says nothing.

    Raises:
        NotToml, OSError: it cannot be read.
    """
    try:
        _, content = parse(config_file().read_bytes())
    except FileNotFoundError:
        return None
    tables = content.get("tasks"), content.get("watch")
    own, common = (table if isinstance(table, dict) else {} for table in tables)
    of_task = own.get(task)
    return of_task["overlap"] if isinstance(of_task, dict) and "overlap" in of_task else common.get("overlap")


@lru_cache(1)
def parse(data: bytes) -> tuple[str, dict[str, Any]]:
    """The text of the file, and what it says: for reading, since whoever asks next gets the same.

    Raises:
        NotToml: it is not UTF-8, or not TOML.
    """
    import tomllib

    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        column = len(before) - before.rfind(b"\n")
        raise NotToml(before.count(b"\n") + 1, column, "bytes that are not UTF-8") from error
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        lines = text.rstrip("\n").split("\n")
        found = _PLACE.search(str(error))
        line, column = (
            (int(found[1]), int(found[2])) if found and found[1] else (len(lines), len(lines[-1]) + 1)
        )
        raise NotToml(line, column, _PLACE.sub("", str(error))) from error


def line_of(text: str, key: Key) -> int:
    r"""The line, from 1 on, at which the statement begins that first gives the key, or what is around it.

    That is the line after the last shorter prefix of the text that is TOML too and does not have the key: a
    statement of several lines is TOML only as a whole, while comments and empty lines are by themselves.

        >>> text = '[tasks.a]\nmin_records = 1\nchannels = [\n  "mail",\n]\n'
        >>> line_of(text, ("tasks", "a", "channels", 0))
        3

    Args:
        text: The whole file, which is TOML.
        key: Where to look.
    """
    lines = text.split("\n")
    content = _parsed(lines, len(lines))
    while key and not _has(content, key):
        key = key[:-1]
    if not key:
        return 1
    low, high = 0, len(lines)  # the key is not in the first `low` lines, and is in the first `high`
    while high - low > 1:
        middle = (low + high) // 2
        end = middle
        while (parsed := _parsed(lines, end)) is None:
            end -= 1
        if _has(parsed, key):
            high = end
        else:
            low = middle
    start = high - 1
    while _parsed(lines, start) is None:
        start -= 1
    return start + 1


def key_text(key: Key) -> str:
    """The key as one writes it in the file: `tasks."data_fetch:daily".channels[0]`."""
    text = ""
    for part in key:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            quoted = (
                part if _BARE.fullmatch(part) else '"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"'
            )
            text += f".{quoted}" if text else quoted
    return text


def _parsed(lines: list[str], end: int) -> dict[str, Any] | None:
    import tomllib

    try:
        return tomllib.loads("\n".join(lines[:end]))
    except tomllib.TOMLDecodeError:
        return None


def _has(value: Any, key: Key) -> bool:
    for part in key:
        if isinstance(part, int):
            if not isinstance(value, list) or len(value) <= part:
                return False
            value = value[part]
        elif not isinstance(value, dict) or part not in value:
            return False
        else:
            value = value[part]
    return True
