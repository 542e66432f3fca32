"""What an attacker does to evidence packages: other members, with the manifest as it was, or made anew."""

import hashlib
import io
import json
import re
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from audit_ledger.evidence import merkle, tiles
from audit_ledger.evidence.checkpoint import Checkpoint
from audit_ledger.evidence.keys import Signer
from audit_ledger.evidence.verify import Report, verify
from tests.folders import in_memory

Members = dict[str, bytes]
MANIFEST = "SHA256SUMS"


def members_of(file: Path) -> Members:
    """The members of a package, the manifest among them."""
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def manifest_of(members: Mapping[str, bytes]) -> bytes:
    """A manifest that is right."""
    rest = sorted((name, data) for name, data in members.items() if name != MANIFEST)
    return "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in rest).encode()


def packed(members: Iterable[tuple[str, bytes]]) -> bytes:
    """A package of these members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members:
            archive.writestr(name, data)
    return file.getvalue()


def verified(members: Mapping[str, bytes], *keys: str, resum: bool = True, **more: Any) -> Report:
    """What the verifier says of these members; an attacker makes the manifest anew."""
    given = dict(members) | ({MANIFEST: manifest_of(members)} if resum else {})
    return verified_file(packed(given.items()), *keys, **more)


def verified_file(data: bytes, *keys: str, **more: Any) -> Report:
    """What the verifier says of a file with these bytes."""
    with tempfile.TemporaryDirectory(dir=in_memory()) as folder:
        file = Path(folder) / "package.zip"
        file.write_bytes(data)
        return verify(file, keys, jobs=1, **more)


def asked(members: Members, **changes: Any) -> Members:
    """The members with another question."""
    question = json.loads(members["question.json"]) | changes
    text = json.dumps(question, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return members | {"question.json": f"{text}\n".encode()}


def leaves_of(members: Members) -> list[bytes]:
    """The leaves, in order."""
    bundles = [
        (tiles.parse_path(name.removeprefix("log/")), data)
        for name, data in members.items()
        if name.startswith("log/tile/entries/")
    ]
    return [leaf for tile, data in sorted(bundles) for leaf in tiles.parse_bundle(data, tile.width)]


def with_leaves(members: Members, leaves: list[bytes]) -> Members:
    """The members with other leaves, in bundles that are well-formed."""
    rest = {name: data for name, data in members.items() if not name.startswith("log/tile/entries/")}
    bundles = {
        f"log/{tile.path}": tiles.write_bundle(leaves[tile.number * 256 : tile.number * 256 + tile.width])
        for tile in tiles.new_bundles(0, len(leaves))
    }
    return rest | bundles


def resealed(members: Members, signer: Signer) -> Members:
    """The members as one who holds the key can make them: a checkpoint of just the leaves that are there."""
    leaves = leaves_of(members)
    origin = json.loads(members["question.json"])["ledger_id"]
    root = merkle.root(merkle.leaf_hash(leaf) for leaf in leaves)
    return members | {"log/checkpoint": Checkpoint(origin, len(leaves), root).sign(signer)}


def rows_of(members: Members, table: str) -> list[tuple[str, str]]:
    """The rows of a table, each as its lines of CSV and of JSON."""
    csv_text, json_text = (members[f"answer/{table}.{form}"].decode() for form in ("csv", "json"))
    csv_lines = re.findall(r'((?:[^"\n]|"[^"]*")*)\n', csv_text)[1:]
    return list(zip(csv_lines, json_text[2:-3].split(",\n") if csv_lines else [], strict=True))


def with_rows(members: Members, table: str, rows: list[tuple[str, str]]) -> Members:
    """The members with other rows in both files of a table."""
    header = members[f"answer/{table}.csv"].decode().partition("\n")[0]
    csv_new = "".join(f"{line}\n" for line in (header, *(row[0] for row in rows)))
    json_new = "[\n" + ",\n".join(row[1] for row in rows) + "\n]\n"
    return members | {f"answer/{table}.csv": csv_new.encode(), f"answer/{table}.json": json_new.encode()}
