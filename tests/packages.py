"""What tests of evidence packages look at: the members of a package, as an outsider unpacks them."""

import csv
import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit_ledger.evidence import leaf, tiles, verify
from audit_ledger.evidence.leaf import Leaf


@dataclass(frozen=True)
class Unpacked:
    """The members of a package by name."""

    members: dict[str, bytes]

    def __getitem__(self, name: str) -> bytes:
        return self.members[name]

    def under(self, folder: str) -> list[str]:
        """The names of the members in a folder."""
        return sorted(name for name in self.members if name.startswith(folder))

    @property
    def question(self) -> dict[str, Any]:
        """What it claims."""
        found: dict[str, Any] = json.loads(self["question.json"])
        return found

    @property
    def report(self) -> str:
        """The report, as HTML."""
        return self["report.html"].decode()

    def rows(self, table: str) -> list[dict[str, Any]]:
        """The rows of a table of the answer, once both files of it have the same."""
        rows: list[dict[str, Any]] = json.loads(self[f"answer/{table}.json"])
        records = list(csv.DictReader(io.StringIO(self[f"answer/{table}.csv"].decode(), newline="")))
        assert [{name: as_text(value) for name, value in row.items()} for row in rows] == [
            {
                name: "{" if text[:1] == "{" and name == "error_details" else text
                for name, text in record.items()
            }
            for record in records
        ]
        return rows

    def leaves(self) -> list[Leaf]:
        """The events in its log, in the order of the bundles."""
        bundles = [
            (tiles.parse_path(name.removeprefix("log/")), data)
            for name, data in self.members.items()
            if name.startswith("log/tile/entries/")
        ]
        return [
            leaf.decode(data)
            for tile, bundle in sorted(bundles)
            for data in tiles.parse_bundle(bundle, tile.width)
        ]


def as_text(value: object) -> str:
    """A value of the JSON file as the CSV file has it; of a document, no more than that it is one."""
    if value is None:
        return ""
    return "{" if isinstance(value, dict) else str(value)


def unpacked(file: Path, *, proven: bool = True) -> Unpacked:
    """The members of a package, each as the manifest says, once the verifier has proven all of it."""
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert len(names) == len(set(names))
        members = {name: archive.read(name) for name in names}
    manifest = members.pop("SHA256SUMS")
    assert manifest == b"".join(
        f"{hashlib.sha256(data).hexdigest()}  {name}\n".encode() for name, data in sorted(members.items())
    )
    if proven:
        report = verify.verify(file, members["keys"].decode().splitlines(), [], 1)
        assert report.code == 0, str(report)
    assert members["verify.py"] == Path(verify.__file__).read_bytes()
    return Unpacked(members)
