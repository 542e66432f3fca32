"""Every example in the README and in docs/ runs, and prints what the page says.

In a page, ```python blocks are executed one after the other; in ```console blocks each line that
begins with `$ ` is a command, and what follows is what it prints (stdout and stderr), where `…` stands for
anything, and several spaces are as good as one: a column is as wide as what happens to be in it. A page has
a ledger of its own, an empty folder to work in, and files made by ```toml / ```python blocks whose first
line is `# file: NAME`. `<!-- skip: next "reason" -->` skips a block.
"""

import contextlib
import os
import re
import subprocess
import sys
import unittest
from pathlib import Path
from typing import Any

import pytest
from sybil import Document, Example, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser, SkipParser

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAME = re.compile(r"\A# file: (\S+)\n")


def write_file(example: Example) -> bool:
    """Write the block to the file that its first line names, if it names one."""
    named = NAME.match(example.parsed)
    if named:
        Path(named[1]).write_text(example.parsed)
    return named is not None


PYTHON = PythonEvaluator()


def python(example: Example) -> str | None:
    """```python: a file, or code to execute."""
    if not write_file(example):
        PYTHON(example)
    return None


def spaced(text: str) -> str:
    """The text with one space wherever there are several, and none at the ends of lines."""
    return "\n".join(re.sub(" +", " ", line).strip() for line in text.strip().split("\n"))


def console(example: Example) -> str | None:
    """```console: run each command and compare what it prints."""
    for part in re.split(r"^\$ ", example.parsed, flags=re.MULTILINE)[1:]:
        lines = part.split("\n")
        command = lines.pop(0)
        while command.endswith("\\"):
            command += "\n" + lines.pop(0)
        expected = "\n".join(lines).strip()
        result = subprocess.run(
            ["bash", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=120,
        )
        pattern = re.escape(spaced(expected)).replace("…", ".*?")
        if not re.fullmatch(pattern, spaced(result.stdout), flags=re.DOTALL):
            return f"$ {command}\n--- expected\n{expected}\n--- printed\n{result.stdout}"
    return None


def toml(example: Example) -> str | None:
    """```toml: a file."""
    return None if write_file(example) else "a toml block names its file: # file: ledger.toml"


PARSERS: list[Any] = [
    CodeBlockParser(language="python", evaluator=python),
    CodeBlockParser(language="console", evaluator=console),
    CodeBlockParser(language="toml", evaluator=toml),
    SkipParser(),
]


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_example_runs_and_prints_what_the_page_says(
    page: Path, admin_url: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIT_LEDGER_URL", admin_url)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("AUDIT_LEDGER_CONFIG", raising=False)
    monkeypatch.chdir(home)
    document: Document = Sybil(PARSERS).parse(page)
    for example in document.examples():
        with contextlib.suppress(unittest.SkipTest):  # what the page says is not run here
            example.evaluate()


def test_no_page_links_to_a_file_that_is_not_there() -> None:
    missing = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert missing == []
