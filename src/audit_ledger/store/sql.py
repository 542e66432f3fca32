"""The SQL files of schema/ and projections/: found, read, and taken apart into named blocks.

A file is a header comment, then blocks that each begin with `-- name: NAME`. The header of a schema file may
hold `-- run as: ROLE` (the owner otherwise) and `-- in: as_of` (the schema of questions as of an instant; the
role's own otherwise); that of a projection `-- of: TYPE, …` (the types of events that it folds; all of them
otherwise) and `-- after: NAME, …` (those that must have folded a range before it does).
"""

import hashlib
import importlib.resources
import re
from collections.abc import Iterable
from dataclasses import dataclass
from graphlib import TopologicalSorter
from importlib.resources.abc import Traversable
from pathlib import Path

BLOCK = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
TABLE = re.compile(r"^CREATE TABLE (\w+)", re.MULTILINE)
VIEW = re.compile(r"^CREATE VIEW (\w+)", re.MULTILINE)
HEADER = re.compile(r"^-- (run as|in|of|after): *(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class SqlFile:
    """One SQL file.

    Attributes:
        name: The file's name without `.sql`.
        sha256: SHA-256 of the file's bytes, hexadecimal.
        text: All of it.
        header: The header's `key: value` lines.
        blocks: The text of each named block, in the file's order.
    """

    name: str
    sha256: str
    text: str
    header: dict[str, str]
    blocks: dict[str, str]

    @classmethod
    def parse(cls, name: str, content: bytes) -> "SqlFile":
        """Take a file apart."""
        text = content.decode()
        head, *parts = BLOCK.split(text)
        blocks: dict[str, str] = {}
        for block, body in zip(parts[::2], parts[1::2], strict=True):
            blocks[block] = blocks.get(block, "") + body.strip() + "\n"
        return cls(
            name=name.removesuffix(".sql"),
            sha256=hashlib.sha256(content).hexdigest(),
            text=text,
            header=dict(HEADER.findall(head)),
            blocks=blocks,
        )

    @property
    def after(self) -> list[str]:
        """The projections that come before this one."""
        return self._listed("after")

    @property
    def types(self) -> list[str] | None:
        """The types of events that a projection folds; None for all."""
        return self._listed("of") or None

    @property
    def tables(self) -> list[str]:
        """The tables that a projection makes, those that others refer to first."""
        return TABLE.findall(self.blocks["ddl"])

    def views(self, *blocks: str) -> list[str]:
        """The views that these blocks make."""
        return [name for block in blocks for name in VIEW.findall(self.blocks.get(block, ""))]

    def _listed(self, key: str) -> list[str]:
        return [name for name in re.split(r"[,\s]+", self.header.get(key, "")) if name]


def folder(name: str) -> Traversable:
    """The folder `schema` or `projections`: inside the package, or in the checkout it came from."""
    inside = importlib.resources.files("audit_ledger") / name
    return inside if inside.is_dir() else Path(__file__).parents[3] / name


def file_names(of: str) -> list[str]:
    """The names of the files of the folder `schema` or `projections`, in order; they are not read."""
    return sorted(
        file.name.removesuffix(".sql") for file in folder(of).iterdir() if file.name.endswith(".sql")
    )


def _read(name: str) -> list[SqlFile]:
    files = (file for file in folder(name).iterdir() if file.name.endswith(".sql"))
    return [SqlFile.parse(f.name, f.read_bytes()) for f in sorted(files, key=lambda f: f.name)]


def schema_files() -> list[SqlFile]:
    """The files of schema/, in the order of their numbers."""
    return _read("schema")


def projection_files() -> list[SqlFile]:
    """The files of projections/, each after those that it names."""
    return in_order(_read("projections"))


def in_order(files: Iterable[SqlFile]) -> list[SqlFile]:
    """Sort projections so that each comes after those that it names in its header."""
    by_name = {file.name: file for file in files}
    graph = {file.name: file.after for file in by_name.values()}
    return [by_name[name] for name in TopologicalSorter(graph).static_order()]
