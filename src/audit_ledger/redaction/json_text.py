"""JSON texts of any depth: the standard library's reader and writer recurse, and give up at about 1,000."""

import json
import re
from typing import Any

_TOKEN = re.compile(r'[ \t\r\n]*+(?:([{\[}\],:])|("(?:[^"\\]|\\.)*+")|([^\s{}\[\],:"]++))')
_DEEPEST = 100_000  # levels: sixteen MiB of open brackets would take gigabytes
_END = re.compile(r"[ \t\r\n]*+\Z")


class _Reader:
    """Reads a text token by token and keeps the open objects and arrays on a list."""

    def __init__(self) -> None:
        self.root: list[Any] = []
        self.stack: list[Any] = [self.root]
        self.keys: list[Any] = [None]  # of each open object, the key whose value comes next
        self.repeated: list[dict[str, Any]] = []
        self.expects = "v"  # a value, a key, a colon, or what follows a value

    def add(self, value: Any) -> None:
        target, key = self.stack[-1], self.keys[-1]
        if isinstance(target, list):
            target.append(value)
        else:
            if key in target:
                self.repeated.append({key: target[key]})
            target[key] = value

    def mark(self, mark: str) -> None:
        top = self.stack[-1]
        if mark in "{[" and self.expects in ("v", "v]"):
            if len(self.stack) > _DEEPEST:
                raise ValueError("too deep")
            value: Any = {} if mark == "{" else []
            self.add(value)
            self.stack.append(value)
            self.keys.append(None)
            self.expects = "k}" if mark == "{" else "v]"
        elif mark in "}]" and mark in self.expects and isinstance(top, dict) == (mark == "}"):
            self.stack.pop()
            self.keys.pop()
            self.expects = self.follows()
        elif mark == "," and "," in self.expects:
            self.expects = "k" if isinstance(top, dict) else "v"
        elif mark == ":" and self.expects == ":":
            self.expects = "v"
        else:
            raise ValueError(mark)

    def follows(self) -> str:
        if len(self.stack) == 1:
            return ""
        return ",}" if isinstance(self.stack[-1], dict) else ",]"

    def scalar(self, text: str, *, string: bool) -> None:
        value = json.loads(text)
        if string and self.expects[:1] == "k":
            self.keys[-1] = value
            self.expects = ":"
        elif self.expects in ("v", "v]"):
            self.add(value)
            self.expects = self.follows()
        else:
            raise ValueError(text)


def load(text: str) -> tuple[Any, list[dict[str, Any]]]:
    """A JSON text (RFC 8259) as a value, and the members that later ones of the same name replaced.

    Raises:
        ValueError: it is none.
    """
    repeated: list[dict[str, Any]] = []

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            repeated.extend({key: value} for key, value in pairs)
        return found

    try:
        return json.loads(text, object_pairs_hook=members), repeated
    except RecursionError:
        reader, at = _Reader(), 0
    while match := _TOKEN.match(text, at):
        at = match.end()
        if match[1]:
            reader.mark(match[1])
        else:
            reader.scalar(match[2] or match[3], string=match[2] is not None)
    if reader.expects or not reader.root or not _END.match(text, at):
        raise ValueError("no JSON")
    return reader.root[0], reader.repeated


def dump(value: Any, *, ascii_only: bool) -> str:
    """A JSON value as its shortest text."""
    try:
        return json.dumps(value, ensure_ascii=ascii_only, separators=(",", ":"))
    except RecursionError:
        pass
    parts: list[str] = []
    todo: list[Any] = [(value,)]  # texts to write as they are, and values, each in a tuple
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            parts.append(item)
            continue
        (item,) = item
        if isinstance(item, dict) and item:
            inner: list[Any] = []
            for key, held in item.items():
                inner += [",", json.dumps(key, ensure_ascii=ascii_only) + ":", (held,)]
            todo += ["}", *reversed(inner[1:]), "{"]
        elif isinstance(item, list) and item:
            inner = [part for held in item for part in (",", (held,))]
            todo += ["]", *reversed(inner[1:]), "["]
        else:
            parts.append(json.dumps(item, ensure_ascii=ascii_only))
    return "".join(parts)
