"""Each attack on the page about what the ledger proves names a test that is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "what-the-ledger-proves.md"


def test_every_threat_names_a_test_that_exists() -> None:
    table = PAGE.read_text().split("## Threats")[1]
    rows = [line for line in table.splitlines() if line.startswith("| ")][2:]
    named = [re.fullmatch(r"(test_\w+)", row.strip("| ").split(" | ")[-1].strip()) for row in rows]
    assert len(rows) > 20
    assert all(named), [row for row, name in zip(rows, named, strict=True) if not name]
    defined = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^\s*def (test_\w+)", file.read_text(), re.MULTILINE)
    }
    assert [name[1] for name in named if name and name[1] not in defined] == []
