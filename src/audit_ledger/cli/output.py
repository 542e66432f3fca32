"""How answers look: tables for people, JSON for programs, complaints on stderr.

Whatever comes from the ledger may have been written by anyone: what would steer a terminal is
replaced before it gets there.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

if TYPE_CHECKING:
    from rich.table import Table


class Format(StrEnum):
    """How an answer is printed."""

    table = "table"
    json = "json"
    csv = "csv"


Form = Annotated[
    Format,
    typer.Option(
        "--format",
        help="table; json: an object of the answer's header and its rows; csv: the header in a first line"
        " that begins with #, then RFC 4180. Rows are streamed, however many.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

ROOMY = 120
"""Columns of a terminal that has room for everything."""

ENDLESS = 100_000
"""Columns where there is no terminal: nothing is cut or wrapped."""

_C1 = range(0x7F, 0xA0)
_BIDI = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
_STEERING = dict.fromkeys((*(n for n in range(0x20) if n not in (9, 10)), *_C1, *_BIDI), "\ufffd")
_ESCAPED = {n: f"\\u{n:04x}" for n in (*_C1, *_BIDI)}

_STYLES = {"completed": "green", "failed": "red", "running": "yellow"}


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        header: What stands above it.
        key: Which value of a row it shows.
        room: Whether it is for a roomy terminal only (True), a narrow one only (False), or any.
        right: Whether it is aligned to the right, as numbers are anyway.
    """

    header: str
    key: str
    room: bool | None = None
    right: bool = False


def plain(text: str) -> str:
    """Text that cannot steer a terminal; line feeds and tabs stay."""
    return text.translate(_STEERING)


def one_line(text: str) -> str:
    """The same on one line."""
    return plain(" ".join(text.split()))


def instant(when: datetime) -> str:
    """An instant for people: in UTC, to the second."""
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"


def cell(value: object) -> str:
    """A value in a table: run ids by their first digits, which every command accepts."""
    if value is None:
        return ""
    if isinstance(value, UUID):
        return value.hex[:8]
    return instant(value) if isinstance(value, datetime) else one_line(str(value))


def print_json(value: object) -> None:
    """Print a document: instants as ISO 8601 in UTC, UUIDs and paths as text."""
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    text = json.dumps(value, indent=2, ensure_ascii=not utf8, default=encoded)
    typer.echo(text.translate(_ESCAPED))


def print_export(header: Mapping[str, Any], rows: Iterable[bytes], form: Format) -> None:
    """Print an answer for programs, with its header, as it comes from the database."""
    out = sys.stdout.buffer
    said = json.dumps(header, default=encoded)
    if form is Format.csv:
        out.write(f"# {said}\n".encode())
        for data in rows:
            out.write(data)
    else:
        out.write(f'{{"answer": {said},\n"rows": ['.encode())
        between = b"\n"
        for data in rows:  # COPY sends a row at a time
            out.write(between + data.rstrip(b"\n"))
            between = b",\n"
        out.write(b"\n]}\n")
    out.flush()


def encoded(value: object) -> str:
    """What JSON has no form for, as text."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, UUID | Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def print_table(rows: Sequence[Mapping[str, Any]], columns: Iterable[Column]) -> None:
    """Print rows, as many columns as there is room for."""
    from rich.console import Console

    class Pipe(Console):
        def on_broken_pipe(self) -> None:
            raise  # what rich is handling; by itself it would end with 1

    terminal = sys.stdout.isatty()
    console = Pipe(width=None if terminal else ENDLESS)
    console.print(table_of(rows, columns, console.width))


def table_of(rows: Sequence[Mapping[str, Any]], columns: Iterable[Column], width: int) -> "Table":
    """A table of rows, as many columns as there is room for in so many characters."""
    from rich.table import Table
    from rich.text import Text

    roomy = width >= ROOMY
    table = Table(box=None, pad_edge=False, padding=(0, 2 if roomy else 1, 0, 0), header_style="bold")
    shown = [column for column in columns if column.room in (None, roomy)]
    for column in shown:
        number = column.right or any(isinstance(row[column.key], int) for row in rows)
        narrow = any(isinstance(row[column.key], int | datetime | UUID) for row in rows)
        table.add_column(
            column.header, justify="right" if number else "left", no_wrap=narrow, overflow="fold"
        )
    for row in rows:
        cells = (cell(row[column.key]) for column in shown)
        table.add_row(*(Text(text, style=_STYLES.get(text, "")) for text in cells))
    return table


def print_pairs(pairs: Iterable[tuple[str, object]]) -> None:
    """Print what is known of one thing, a line each; what is None is left out."""
    known = [(name, value) for name, value in pairs if value is not None]
    width = max((len(name) for name, _ in known), default=0)
    for name, value in known:
        text = instant(value) if isinstance(value, datetime) else plain(str(value))
        typer.echo(f"{name:<{width}}  {text}")


def count(number: int, noun: str) -> str:
    """A number of things: "1 run", "2 runs"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def warn(text: str) -> None:
    """One line to whoever watches, beside the answer."""
    typer.echo(plain(text), err=True)


def complain(text: str) -> None:
    """Say what went wrong."""
    typer.echo(f"error: {plain(text)}", err=True)
