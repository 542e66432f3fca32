"""Verify an evidence package of audit-ledger: offline, by this one file, without trusting whoever made the package.

    python verify.py PACKAGE.zip --key VKEY [--tsa CERT.pem] [--jobs N]

It takes Python 3.11, the package `cryptography`, and `openssl` for timestamps. Every event is hashed from its bytes, the
Merkle tree rebuilt (RFC 6962), signatures checked (C2SP signed-note, tlog-checkpoint); then the events are folded, and
every row of the answer is compared. Ends with 0: all that is claimed is proven; 1: it is not, any doubt being a failure
with its reason; 2: the command or the file cannot be used.

Memory does not grow with the events. read_range hashes and decodes 65,536 leaves, and leaves what happened to records in
files, by record; fold_records folds one part of the records. Rows come out in no order, so lines are compared by sums:
each has a mark, its hash under a random key; the marks of a stretch of ids are added up, for the answer and for the fold.
"""

import argparse
import base64
import hashlib
import hmac
import json
import marshal
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import zipfile
import zlib
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache, lru_cache, partial
from itertools import accumulate, islice, pairwise
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

RANGE = 1 << 16  # leaves of a task: a complete subtree
RANK = {"skipped": 0, "updated": 1, "withdrawn": 2, "created": 3}
COLUMNS = {
    "data_ingestion_runs": "id run_id task_name started_at completed_at failed_at status data_source data_date_start"
    " data_date_end records_fetched records_created records_updated records_skipped error_message error_details"
    " created_at updated_at",
    "data_ingestion_run_records": "id data_ingestion_run_id record_type record_id operation created_at updated_at",
    "api_call_logs": "id data_ingestion_run_id api_request_payload_id api_response_payload_id endpoint"
    " http_status_code duration_ms rate_limit_remaining created_at updated_at",
    "records": "id record_type record_id content data_ingestion_run_id created_at",
    "events": "position recorded_at recorded_by stream_id version type state",
}
# What the folds cast of an event, and to what; ! where it cannot be NULL. Where a cast fails, the event is set aside.
FIELDS = {
    "RunStarted": "run_id=uuid occurred_at=instant! task=key! source=key!",
    "RecordIngested": "run_id=uuid record_type=key! record_id=key! operation=operation content=text",
    "RecordWithdrawn": "run_id=uuid record_type=key! record_id=key!",
    "ApiCallMade": "run_id=uuid request=key response=key endpoint=text! http_status_code=int duration_ms=int"
    " rate_limit_remaining=bigint error_class=text",
    "RunCompleted": "run_id=uuid occurred_at=instant! duration_ms=bigint message=text",
    "RunFailed": "run_id=uuid occurred_at=instant! duration_ms=bigint message=text",
    "RunAbandoned": "run_id=uuid occurred_at=instant! last_seen_at=instant scheduled_for=instant alert_id=uuid! key=key!"
    " detail=text!",
    "the end that counts": "fetched=int created=int updated=int skipped=int data_date_start=day data_date_end=day"
    " error_class=text backtrace=json exit_status=int signal=text output=text",
}
OTHERS = [
    "HeartbeatRecorded",
    "AnomalyFound",
    "RunMissed",
    "RunSkipped",
    "TaskDefined",
    "TaskRemoved",
    "WatchAdvanced",
    "BodyErased",
    "HoldAdded",
    "HoldReleased",
    "RetentionChanged",
    "EventCorrected",
    "DecisionMade",
    "DecisionExecuted",
    "AlertRaised",
    "AlertAttempted",
    "AlertDelivered",
    "AlertFailed",
    "AlertAcknowledged",
    "AlertResolved",
]  # folded by the ledger into tables that are no part of an answer
QUESTION = dict(
    zip(
        [
            "as_of",
            "asked",
            "bodies",
            "kind",
            "leaves",
            "ledger_id",
            "made_at",
            "narrowed",
            "position",
            "recorded_at",
            "set_aside",
            "software_version",
            "tables",
        ],
        [
            "str|NoneType",
            "str",
            "int",
            "str",
            "int",
            "str",
            "str",
            "dict|NoneType",
            "int",
            "str",
            "int",
            "str",
            "list",
        ],
        strict=True,
    )
)
CLOCKS = timedelta(minutes=1)  # granted between the ledger's clock and that of a timestamping authority
SMALL, LINE = 64 << 20, 4 << 20  # bytes of a member that is read whole, and of a line of the answer, at most


class NotProven(Exception):
    """Something does not hold."""


class Unusable(Exception):
    """The command or the file cannot be used."""


class Aside(Exception):
    """An event that the ledger cannot fold."""


def need(holds: object, reason: str) -> None:
    """Nothing, if it holds."""
    if not holds:
        raise NotProven(reason)


def matched(pattern: str | re.Pattern[str], given: str, what: str) -> re.Match[str]:
    """The match of all that is given."""
    found = re.fullmatch(pattern, given)
    if not found:
        raise NotProven(f"{what} is malformed: {given!r:.200}")
    return found


def text_of(data: bytes, what: str) -> str:
    """UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise NotProven(f"{what} is not UTF-8 at byte {error.start}") from None


def decoded(encoded: str, what: str) -> bytes:
    """The bytes of base64 in its one form (RFC 4648 section 4)."""
    try:
        data = base64.b64decode(encoded.encode("ascii"), validate=True)
    except ValueError:
        data = b""
    need(base64.b64encode(data).decode() == encoded, f"{what} is not base64: {encoded!r:.100}")
    return data


# Keys, signatures and checkpoints

_NOTE = re.compile(
    "(([^\n]+)\n(0|[1-9][0-9]{0,17})\n([A-Za-z0-9+/]{43}=)\n(?:[^\n]+\n)*)\n"
    r"((?:— [^\s+]+ [A-Za-z0-9+/]+={0,2}\n){1,100})"
)


def parse_key(line: str) -> tuple[str, bytes, bytes]:
    """Name, id and public key of a verifier key (C2SP signed-note, Ed25519)."""
    name, key_id, encoded = matched(
        r"([^\s+\0-\x1f]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]{44})", line, "a key"
    ).groups()
    data = decoded(encoded, "a verifier key")
    good = data[0] == 1 and hashlib.sha256(name.encode() + b"\n" + data).hexdigest()[:8] == key_id
    need(good, f"the verifier key {line:.120} is not Ed25519, or its id is that of another")
    return name, bytes.fromhex(key_id), data[1:]


class Note(NamedTuple):
    """A checkpoint (C2SP tlog-checkpoint) as a signed note, whose signatures are not checked yet."""

    member: str
    text: str
    origin: str
    size: int
    root: bytes
    signatures: list[tuple[str, bytes]]

    @classmethod
    def parse(cls, member: str, data: bytes) -> "Note":
        """The checkpoint of a note's bytes."""
        need(not re.search(rb"[\0-\x09\x0b-\x1f]", data), f"{member} has control characters")
        text, origin, size, root, block = matched(_NOTE, text_of(data, member), member).groups()
        lines = [line.split(" ") for line in block.split("\n")[:-1]]
        signatures = [(name, decoded(encoded, f"a signature of {member}")) for _, name, encoded in lines]
        return cls(member, text, origin, int(size), decoded(root, f"the root of {member}"), signatures)

    def signed_by(self, keys: Iterable[str]) -> str | None:
        """The last of these keys that signed it; a signature of any of them that fails condemns the note."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        signer = None
        for key in keys:
            name, key_id, public = parse_key(key)
            for value in [
                value[4:] for signed, value in self.signatures if (signed, value[:4]) == (name, key_id)
            ]:
                try:
                    Ed25519PublicKey.from_public_bytes(public).verify(value, self.text.encode())
                except InvalidSignature:
                    raise NotProven(
                        f"{self.member}: the signature of {name}+{key_id.hex()} does not fit"
                    ) from None
                signer = key
        return signer


# The Merkle tree (RFC 6962 section 2.1) and its files (C2SP tlog-tiles)


def parents(hashes: Sequence[bytes]) -> list[bytes]:
    """The hashes over an even number of siblings."""
    sha, pairs = hashlib.sha256, iter(hashes)
    return [sha(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]


def subtrees(hashes: Sequence[bytes]) -> list[bytes]:
    """The complete subtrees, largest first, that hashes of one level make."""
    level, found = list(hashes), []
    while level:
        if len(level) & 1:
            found.append(level.pop())
        level = parents(level)
    return found[::-1]


def root_of(trees: Sequence[bytes]) -> bytes:
    """The root over complete subtrees, largest first."""
    right = trees[-1]
    for left in reversed(trees[:-1]):
        right = parents([left, right])[0]
    return right


def tile(level: int | str, number: int, width: int) -> str:
    """The member of a tile of hashes, or of a bundle of entries."""
    digits = f"{number:d}".zfill(-(-len(f"{number:d}") // 3) * 3)
    path = "".join(f"x{group}/" for group in re.findall("...", digits[:-3])) + digits[-3:]
    return f"log/tile/{level}/{path}" + (f".p/{width}" if width < 256 else "")


def proven_root(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """The root that an inclusion proof leads to (RFC 9162 section 2.1.3.2); none where its length is wrong."""
    node, last, root = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return b""
        if node & 1 or node == last:
            root = parents([sibling, root])[0]
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            root = parents([root, sibling])[0]
        node, last = node >> 1, last >> 1
    return root if last == 0 else b""


# Events: a leaf is a line of JSON with the columns, a line feed, and the state as the ledger stores it

_STRING = r'"((?:[^"\\\x00-\x1f]|\\["\\btnfr]|\\u00[01][0-9a-f])*)"'
_LEAF = re.compile(
    r'\{"position":([1-9][0-9]{0,18}),"recorded_at":"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{6}Z)","recorded_by":'
    rf'{_STRING},"stream_id":"([0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}})","type":{_STRING},'
    r'"version":(0|[1-9][0-9]{0,18})\}\n'
)
_TOUCH = re.compile(  # the state of a RecordIngested as it is written, where nothing is escaped: that of most events
    rb'\{(?:"content":"([\w-]+)",)?"occurred_at":"[0-9TZ:.-]+",(?:"operation":"(created|updated|skipped)",)?"record_id":'
    rb'"([^"\\\x00-\x1f]{1,500})","record_type":"([^"\\\x00-\x1f]{1,500})",(?:"run_id":"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}'
    rb'-[0-9a-f]{12})",)?"v":1\}'
).fullmatch


def parse_leaf(leaf: bytes, what: str) -> tuple[int, str, str, str, str, int]:
    """position, recorded_at, recorded_by, stream_id, type and version of a leaf, in their one form."""
    line = text_of(leaf[: leaf.find(b"\n") + 1], what)
    position, at, by, stream, kind, version = matched(_LEAF, line, what).groups()
    by, kind = json.loads(f'["{by}","{kind}"]')
    again = (
        f'"recorded_by":{as_json(by)},"stream_id":"{stream}","type":{as_json(kind)},"version":{version}}}\n'
    )
    need(line.endswith(again) and instant(at), f"{what} is not the leaf of an event: {line!r:.200}")
    return int(position), at, by, stream, kind, int(version)


def parse_bundle(data: bytes, width: int, name: str) -> list[bytes]:
    """The leaves of a bundle, each behind its length of two bytes."""
    leaves, start, size = [], 0, len(data)
    while start < size - 1:
        end = start + 2 + (data[start] << 8 | data[start + 1])
        leaves.append(data[start + 2 : end])
        start = end
    need(start == size and len(leaves) == width, f"{name} is not a bundle of {width} leaves")
    return leaves


@lru_cache(4096)
def instant(given: str) -> str | None:
    """An instant (RFC 3339, UTC) with six decimals."""
    found = re.fullmatch(
        r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,6}))?Z", given
    )
    try:
        return found and f"{datetime.fromisoformat(found[1]).isoformat()}.{found[2] or '':0<6}Z"
    except ValueError:
        return None


def _number(given: str) -> Decimal:
    number = Decimal(given)
    if number.adjusted() > 131_071 or int(number.as_tuple().exponent) < -16_383:  # there, numeric ends
        raise Aside
    return number


def load(state: bytes) -> dict[str, Any]:
    """A state as PostgreSQL's jsonb takes it; one that is no object has no fields."""
    try:
        value = json.loads(state.decode(), parse_float=_number, parse_constant=_number)
        if b"\\u" in state and (jsonb(value).encode(), re.search(rb"(?<!\\)(?:\\\\)*\\u0000", state))[1]:
            raise Aside  # NUL; a lone surrogate cannot be encoded
    except (ValueError, RecursionError, ArithmeticError):  # neither UTF-8 nor JSON, too deep, or too large
        raise Aside from None
    return value if isinstance(value, dict) else {}


def cast(value: Any, form: str) -> Any:
    """A field as the ledger's decoding views cast it."""
    if value is None or form == "json":
        return value
    found = value if isinstance(value, str) else str(jsonb(value))
    if form in ("int", "bigint"):
        half = 1 << (31 if form == "int" else 63)
        if re.fullmatch(r"\s*[+-]?[0-9]{1,99}\s*", found, re.ASCII) and -half <= int(found) < half:
            return int(found)
    elif form == "uuid":
        if re.fullmatch(r"(\{)?[0-9a-fA-F]{4}(-?[0-9a-fA-F]{4}){7}(?(1)\})", found):
            return str(UUID(found))
    elif form == "instant" and instant(found):
        return instant(found)
    elif (
        (
            form == "day"
            and re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", found)
            and instant(f"{found}T00:00:00Z")
        )
        or (form == "operation" and found in ("created", "updated", "skipped"))
        or form == "text"
        or (form == "key" and len(found.encode()) <= 2600)
    ):
        return found
    raise Aside


@cache
def _forms(kind: str) -> list[tuple[str, str, bool]]:
    return [(*each.rstrip("!").split("="), each.endswith("!")) for each in FIELDS[kind].split()]  # type: ignore[misc]


def fields(kind: str, state: dict[str, Any]) -> list[Any]:
    """What the folds take of an event."""
    values = [(cast(state.get(name), form), required) for name, form, required in _forms(kind)]
    if (None, True) in values:
        raise Aside
    return [value for value, _ in values]


# Lines of the answer, and their sums


def _keyed(line: str, key: bytes = os.urandom(32)) -> int:
    return int.from_bytes(hashlib.blake2b(line.encode(), key=key, digest_size=16).digest(), "big")


# Python's own hash of text is SipHash under a random key, unless somebody has fixed it.
mark: Callable[[str], int] = (
    hash if sys.flags.hash_randomization and not os.environ.get("PYTHONHASHSEED") else _keyed
)


class Json(str):
    """A value that is JSON already."""

    __slots__ = ()


def jsonb(value: Any) -> Json:
    """JSON as PostgreSQL prints jsonb: keys by the length of their bytes, then by their bytes."""
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: (len(key.encode()), key.encode()))
        return Json("{" + ", ".join(f"{as_json(key)}: {jsonb(value[key])}" for key in keys) + "}")
    if isinstance(value, list):
        return Json("[" + ", ".join(map(jsonb, value)) + "]")
    return Json(f"{value or abs(value):f}" if isinstance(value, Decimal) else as_json(value))


def as_json(value: str | int | None) -> str:
    """A value as JSON; text as PostgreSQL's to_json writes it."""
    return value if isinstance(value, Json) else json.dumps(value, ensure_ascii=False)


def as_csv(value: str | int | None) -> str:
    """A value as PostgreSQL's COPY (FORMAT csv) writes it."""
    found = "" if value is None else str(value)
    return '"' + found.replace('"', '""') + '"' if value == "" or re.search('[",\n\r]', found) else found


Stretch = tuple[int, int]
Want = tuple[str, Stretch] | None


def stretch(row: int) -> tuple[Stretch, int]:
    """The stretch of ids that an id is in, and its end: among 65,536, those with as many digits."""
    digits, block = len(str(row)), row >> 16
    return (digits, block), min(block + 1 << 16, 10**digits)


class Sums:
    """Marks of lines, added up by table, form and stretch; of the one stretch that is wanted, the lines instead."""

    def __init__(self, want: Want = None) -> None:
        self.want, self.aside, self.rows = want, 0, dict[int, tuple[str, ...]]()
        self.sums, self.counts = Counter[tuple[str, str, Stretch]](), dict[int, list[int]]()

    def add(self, table: str, ids: Sequence[int], **lines: Sequence[str]) -> None:
        """Add rows, by ascending ids, in one form or both."""
        first = 0
        while first < len(ids):
            where, end = stretch(ids[first])
            last = bisect_left(ids, end, first)
            if self.want is None:
                for form, some in lines.items():
                    self.sums[table, form, where] += sum(map(mark, some[first:last]))
            elif self.want == (table, where):
                rows = zip(*(some[first:last] for some in lines.values()), strict=True)
                self.rows.update(zip(ids[first:last], rows, strict=True))
            first = last

    def add_rows(self, table: str, rows: Iterable[Sequence[Any]]) -> None:
        """Add rows that are values, by ascending ids."""
        rows, names = iter(rows), COLUMNS[table].split()
        while some := list(islice(rows, 10_000)):
            pairs = [zip(names, map(as_json, row), strict=True) for row in some]
            objects = ["{" + ",".join(f'"{name}":{value}' for name, value in row) + "}," for row in pairs]
            self.add(
                table,
                [row[0] for row in some],
                csv=[",".join(map(as_csv, row)) for row in some],
                json=objects,
            )


class Record:
    """A record: its names as CSV and as JSON, and its last version, whose content is '' where it was withdrawn."""

    __slots__ = ("at", "content", "csv", "id", "json", "number", "run")

    def __init__(self, number: int, type_: str, record_id: str) -> None:
        self.number, self.id, self.run, self.at = number, 0, 0, ""
        self.content: str | None = None
        self.csv = f"{as_csv(type_)},{as_csv(record_id)}"
        self.json = f'"record_type":{as_json(type_)},"record_id":{as_json(record_id)}'


class Range(NamedTuple):
    """What one task read of the leaves."""

    cuts: dict[int, list[bytes]]  # size: complete subtrees of this range up to there; whole, where it is full
    times: dict[int, str]  # position: recorded_at; of the first, the last, and the cuts
    places: dict[str, tuple[int, int]]  # part: where its rows are, and their bytes
    aside: int
    others: int
    rotations: list[tuple[int, Any, Any]]
    named: set[str]


_ROW = re.compile(r'((?:[^"\n]|"[^"]*+")*+)\n')
_MEMBER = re.compile(
    r"SHA256SUMS|verify\.py|report\.html|question\.json|keys|log/checkpoint|log/tile/(?:entries|[0-7])/[0-9x/p.]+|"
    r"anchors/[0-9]+\.checkpoint|anchors/[0-9]+\.[\w-]+\.tsr|anchors/[\w-]+\.pem|answer/[a-z_]+\.(?:csv|json)|"
    r"bodies/index\.json|bodies/[\w-]{43}|proofs/[0-9]+\.tlog-proof",
    re.ASCII,
)
_BODY = re.compile(
    r'\{"commitment":"([\w-]{43})","salt":(?:null|"([\w-]{43})"),"size":([0-9]{1,18}),"media_type":(?:null|"[^"]*"),'
    r'"status":"(present|erased|truncated)"\}',
    re.ASCII,
)
DAMAGES = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError)


@dataclass
class Package:
    """The ZIP file, and what is known of it; processes that help are forked, and know it too."""

    path: Path
    spill: Path
    bar: bool = False
    sums: dict[str, str] = field(default_factory=dict)
    parts: int = 1
    position: int = 0
    leaves: int = 0
    cuts: set[int] = field(default_factory=set)
    wanted: set[str] = field(default_factory=set)
    places: list[dict[str, tuple[int, int]]] = field(default_factory=list)
    runs: dict[str | None, list[Any]] = field(default_factory=dict)
    opened: tuple[int, zipfile.ZipFile] | None = None

    @property
    def zip(self) -> zipfile.ZipFile:
        """The file, opened by each process for itself."""
        if self.opened is None or self.opened[0] != os.getpid():
            try:
                self.opened = os.getpid(), zipfile.ZipFile(self.path)
            except DAMAGES as error:
                raise Unusable(f"{self.path} cannot be read as a ZIP file: {error}") from None
        return self.opened[1]

    def open(self) -> None:
        """Step 1: every member is listed once in SHA256SUMS, and nothing else is there."""
        names: set[str] = set()
        for info in self.zip.infolist():
            name = info.filename
            need(_MEMBER.fullmatch(name) and ".." not in name, f"no package has a member {name!r:.100}")
            need(name not in names, f"{name} is there twice")
            need(
                not info.flag_bits & 1 and info.compress_type in (0, 8),
                f"{name} is encrypted, or not deflated",
            )
            names.add(name)
        need("SHA256SUMS" in names, "there is no SHA256SUMS: this is no evidence package")
        manifest = text_of(self.read("SHA256SUMS"), "SHA256SUMS")
        lines = [matched("([0-9a-f]{64})  (.+)", line, "SHA256SUMS") for line in manifest.split("\n")[:-1]]
        self.sums = {line[2]: line[1] for line in lines}
        again = "".join(f"{digest}  {name}\n" for name, digest in sorted(self.sums.items()))
        need(again == manifest, "SHA256SUMS is not in order, or names a member twice")
        for name in sorted(self.sums.keys() ^ (names - {"SHA256SUMS"})):
            raise NotProven(f"{name} is {'not there' if name in self.sums else 'not in SHA256SUMS'}")

    def pieces(self, name: str, limit: int | None = None) -> Iterator[bytes]:
        """The content of a member; an error at its end where its digest is not that of the manifest."""
        need(name in self.sums or name == "SHA256SUMS", f"{name} is not there")
        digest = hashlib.sha256()
        try:
            size = self.zip.getinfo(name).file_size
            need(limit is None or size <= limit, f"{name} is larger than it can be: {size} bytes")
            with self.zip.open(name) as stream:
                while piece := stream.read(1 << 20):
                    digest.update(piece)
                    yield piece
        except DAMAGES as error:
            raise NotProven(f"{name} is damaged: {error}") from None
        found = digest.hexdigest()
        need(
            self.sums.get(name, found) == found, f"{name} is not what SHA256SUMS says: its SHA-256 is {found}"
        )

    def read(self, name: str, limit: int = SMALL) -> bytes:
        """The content of a member."""
        return b"".join(self.pieces(name, limit))

    def named(self, pattern: str) -> list[str]:
        """Members by their names."""
        return [name for name in sorted(self.sums) if re.fullmatch(pattern, name)]

    def together(self, method: str, arguments: Sequence[Any], jobs: int) -> Iterator[Any]:
        """What a method returns for each of these, in order, by several processes."""
        tasks = [(method, argument) for argument in arguments]
        pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("fork")) if jobs > 1 else None
        try:
            for done, result in enumerate(pool.map(call, tasks) if pool else map(call, tasks), 1):
                if self.bar:
                    bar = "#" * (40 * done // len(tasks))
                    print(f"\r{method:12} [{bar:40}]", end="", file=sys.stderr, flush=True)
                yield result
        finally:
            if pool:
                pool.shutdown(cancel_futures=True)
            if self.bar:
                print(f"\r{'':60}\r", end="", file=sys.stderr, flush=True)

    # Step 3: the leaves, and what the folds need of them

    def read_range(self, task: int) -> Range:
        """Hash and decode the leaves of a range."""
        position, version, at, kind, stream, middle = task * RANGE, 0, "", "", "", b"?"
        cuts, times, roots = {}, dict[int, str](), list[bytes]()
        spill = defaultdict[str, list[Any]](list)
        aside, others, rotations, named, sha = 0, 0, list[Any](), set[str](), hashlib.sha256
        last = min(position + RANGE, self.leaves)
        for start in range(position, last, 256):
            width = min(256, last - start)
            name = tile("entries", start >> 8, width)
            leaves = parse_bundle(self.read(name, 256 << 16), width, name)
            hashes = [sha(b"\x00" + leaf).digest() for leaf in leaves]
            if width == 256:
                roots += subtrees(hashes)
            for leaf in leaves:
                position, version = position + 1, version + 1
                head = b'{"position":%d%b%d}\n' % (position, middle, version)  # as the last one, one further
                if not leaf.startswith(head):
                    what, before = f"the leaf at position {position}", at
                    found, at, _, stream, kind, version = parse_leaf(leaf, what)
                    need(found == position, f"{what} states position {found}")
                    need(at >= before, f"{what} was recorded at {at}, before the one before it, at {before}")
                    head = leaf[: leaf.find(b"\n") + 1]
                    middle = head[head.find(b",") : head.rfind(b":") + 1]
                    times = times or {position: at}
                if position in self.cuts:
                    full = roots[: (position & RANGE - 1 or RANGE) >> 8]
                    times[position], cuts[position] = at, subtrees(full) + subtrees(hashes[: position & 255])
                if kind == "KeyRotated":
                    rotations.append((position, *map(load(leaf[len(head) :]).get, ("previous", "next"))))
                if position > self.position or kind not in FIELDS:
                    others += position <= self.position and kind in OTHERS
                    continue
                try:
                    touch = _TOUCH(leaf, len(head)) if kind == "RecordIngested" else None
                    if touch:
                        content, done, record, type_, run = [
                            each and each.decode() for each in touch.groups()
                        ]
                        row: tuple[Any, ...] = position, at, run or stream, type_, record, done, content
                        part = f"{zlib.crc32(touch[3]) % self.parts}"
                    else:
                        part, row = self.decode(kind, load(leaf[len(head) :]), position, at, stream)
                except (Aside, UnicodeDecodeError):
                    aside += 1
                    continue
                spill[part].append(row)
                if self.wanted and part != "runs":
                    named |= self.wanted.intersection(row)
        times[position] = at
        cuts[last] = subtrees(roots) + subtrees(hashes if last & 255 else [])
        places, offset = {}, 0
        with (self.spill / f"{task}").open("wb") as file:
            for part, rows in spill.items():
                data = marshal.dumps(rows)
                places[part] = offset, len(data)
                offset += file.write(data)
        return Range(cuts, times, places, aside, others, rotations, named)

    def decode(self, kind: str, state: dict[str, Any], *event: Any) -> tuple[str, tuple[Any, ...]]:
        """The part of an event, and its row there: position, recorded_at, run_id, and what else it says."""
        run, *said = fields(kind, state)
        position, at, stream = event
        if kind.startswith("Record"):
            type_, record, *rest = said if kind == "RecordIngested" else (*said, "withdrawn", "")
            return f"{zlib.crc32(record.encode()) % self.parts}", (
                position,
                at,
                run or stream,
                type_,
                record,
                *rest,
            )
        if kind == "ApiCallMade":
            captured = (
                state.get("captured_at") if state.get("captured_at") is not None else state.get("occurred_at")
            )
            if said[:2] != [None, None] and cast(captured, "instant") is None:
                raise Aside
            return "calls", (position, at, run or stream, *said)
        if kind in ("RunCompleted", "RunFailed"):
            try:
                *values, class_, backtrace, status, signal, output = fields("the end that counts", state)
                more = {"exit_status": status, "signal": signal, "output": output}
                details = {"class": class_, "backtrace": backtrace}
                details |= {name: value for name, value in more.items() if value is not None}
                said = [kind, said[0], said[2], [*values, str(jsonb(details))]]
            except Aside:  # behind another end it does no harm; it cannot be the one that counts
                said = [kind, said[0], said[2], None]
        else:
            said = [kind, said[0], said[-1], said[1:]]
        return "runs", (position, at, run if kind == "RunAbandoned" else run or stream, *said)

    # Step 6: the folds; rules as in projections/*.sql

    def spilled(self, part: str) -> Iterator[Any]:
        """What read_range left in a part, by position."""
        for task, places in enumerate(self.places):
            if part in places:
                with (self.spill / f"{task}").open("rb") as file:
                    file.seek(places[part][0])
                    yield from marshal.loads(file.read(places[part][1]))  # noqa: S302  written a moment ago

    def fold_runs(self) -> int:
        """Put the runs together; returns how many of their events cannot be folded."""
        self.runs, aside = {}, 0
        for position, at, run_id, kind, when, message, said in self.spilled("runs"):
            run = self.runs.get(run_id)
            ends = kind in ("RunCompleted", "RunFailed")
            if (run is None) != (kind == "RunStarted") or (run and ends and not run[1] and said is None):
                aside += 1
            elif run is None:  # start, end, recorded_at, started_at, task and source, what ends it, abandoned
                self.runs[run_id] = [position, 0, at, when, said, None, None]
            elif not ends:
                run[6] = run[6] or (at, when, message)
            elif not run[1]:
                run[1], run[5] = position, (at, kind, when, message, said)
        return aside

    def run_rows(self, counts: dict[int, list[int]]) -> Iterator[list[Any]]:
        """The rows of runs: the first real end of each wins; before it, that it was found abandoned."""
        for run_id, (start, _, at, started, (task, source), end, abandoned) in self.runs.items():
            status, done, failed, message, details, updated = "running", None, None, None, None, at
            days, numbers = [None, None], [0, 0, 0, 0]
            if end:
                updated, kind, when, message, (*declared, first, last, details) = end
                counted = counts.get(start, [0, 0, 0])
                numbers = [
                    c if d is None else d for d, c in zip(declared, (sum(counted), *counted), strict=True)
                ]
                days = [first, last]
                status, done, failed = (
                    ("completed", when, None) if kind == "RunCompleted" else ("failed", None, when)
                )
                message, details = (message, Json(details)) if failed else (message, None)
            elif abandoned:
                updated, failed, message = abandoned
                status, details = "failed", Json('{"class": "RunAbandoned"}')
            head = [start, run_id, task, started, done, failed, status, source]
            yield [*head, *days, *numbers, message, details, at, updated]

    def fold_calls(self, want: Want) -> Sums:
        """Fold the API calls."""
        sums = Sums(want)

        def rows() -> Iterator[list[Any]]:
            for position, at, run_id, request, response, endpoint, status, *counts, error in self.spilled(
                "calls"
            ):
                run = self.runs.get(run_id)
                if run is None or run[0] > position:
                    sums.aside += 1
                    continue
                bodies = request and 2 * position - 1, response and 2 * position
                status = status if error is None or (status or 0) >= 400 else None
                yield [position, run[0], *bodies, endpoint, status, *counts, at, at]

        sums.add_rows("api_call_logs", rows())
        return sums

    def fold_records(self, task: tuple[int, Want]) -> Sums:
        """Fold what happened to one part of the records, into their rows, and the counts of runs."""
        records, rows = dict[tuple[str, str], Record](), dict[int, list[Any]]()
        sums, runs, rank = Sums(task[1]), self.runs, RANK
        for position, at, run_id, type_, record_id, operation, content in self.spilled(f"{task[0]}"):
            run = runs.get(run_id)
            if run is None or run[0] > position:  # no such run began before it
                sums.aside += 1
                continue
            record = records.get((type_, record_id))
            if record is None:  # the first that is heard of a record makes a version of it
                record = records[type_, record_id] = Record(len(records), type_, record_id)
                new, done = True, "created"
            else:  # another content does; so does a change that is declared, and does not say to what
                new = content != record.content if content is not None else operation not in (None, "skipped")
                done = "skipped" if not new else "created" if record.content == "" else "updated"
            if new:
                record.id, record.run, record.at, record.content = position, run[0], at, content
            done = operation or done
            row = rows.get(run[0] << 32 | record.number)
            if (
                row is None
            ):  # the first touch in a run makes the row; until the run ends, a later one can raise it
                rows[run[0] << 32 | record.number] = [position, run, record, done, at, at]
            elif rank[done] > rank[row[3]] and (not run[1] or position < run[1]):
                row[3], row[5] = done, at
        counts = sums.counts
        for row, run, _, done, _, _ in rows.values():
            if row < run[1] and done != "withdrawn":
                counts.setdefault(run[0], [0, 0, 0])[("created", "updated", "skipped").index(done)] += 1
        sums.add(
            "data_ingestion_run_records",
            [row[0] for row in rows.values()],
            csv=[f"{i},{run[0]},{r.csv},{done},{at},{to}" for i, run, r, done, at, to in rows.values()],
            json=[
                f'{{"id":{i},"data_ingestion_run_id":{run[0]},{r.json},"operation":"{done}","created_at":"{at}",'
                f'"updated_at":"{to}"}},'
                for i, run, r, done, at, to in rows.values()
            ],
        )
        known = sorted((r for r in records.values() if r.content != ""), key=lambda record: record.id)
        sums.add(
            "records",
            [r.id for r in known],
            csv=[f"{r.id},{r.csv},{as_csv(r.content)},{r.run},{r.at}" for r in known],
            json=[
                f'{{"id":{r.id},{r.json},"content":{as_json(r.content)},"data_ingestion_run_id":{r.run},'
                f'"created_at":"{r.at}"}},'
                for r in known
            ],
        )
        return sums

    def fold(self, want: Want, jobs: int) -> Sums:
        """Fold all tables."""
        aside = self.fold_runs()
        total = self.fold_calls(want)
        total.aside += aside
        for sums in self.together("fold_records", [(part, want) for part in range(self.parts)], jobs):
            total.sums.update(sums.sums)
            total.rows.update(sums.rows)
            total.aside += sums.aside
            for run, counts in sums.counts.items():
                total.counts[run] = [
                    a + b for a, b in zip(total.counts.get(run, [0, 0, 0]), counts, strict=True)
                ]
        total.add_rows("data_ingestion_runs", self.run_rows(total.counts))
        return total

    def lines(self, table: str, form: str) -> Iterator[list[str]]:
        """The rows of a file of the answer, some at a time; those of JSON with a comma behind, the last one too."""
        name, rest, held, begun, some = f"answer/{table}.{form}", b"", list[str](), False, False
        for piece in self.pieces(name):
            rest += piece
            cut = rest.rfind(b"\n") + 1
            found, rest = text_of(rest[:cut], name), rest[cut:]
            if form == "json" or '"' not in found:
                lines = found.split("\n")[:-1]
            else:  # quoted text can have line feeds
                lines, at = [], 0
                while row := _ROW.match(found, at):
                    lines.append(row[1])
                    at = row.end()
                rest = found[at:].encode() + rest
            need(len(rest) < LINE, f"{name} has a line that is too long")
            if lines and not begun:
                begun = lines.pop(0) == ("[" if form == "json" else COLUMNS[table].replace(" ", ","))
                need(begun, f"{name} does not begin as it must")
            if form == "json":  # the last two lines may be the last row, and the end
                lines, held = (held + lines)[:-2], (held + lines)[-2:]
            some = some or bool(lines)
            yield lines
        good = form == "csv" or (len(held) == 2 and held[1] == "]" and (held[0] or not some))
        need(begun and not rest and good, f"{name} is cut short")
        yield [f"{line}," for line in held[:1] if line]

    def scan(self, task: tuple[str, str, Want]) -> Sums:
        """The sums of a file of the answer, whose ids must ascend."""
        table, form, want = task
        sums, count, previous = Sums(want), 0, ((0, 0), "")
        name = f"answer/{table}.{form}"

        def id_of(line: str) -> int:
            return int(matched(r'(?:\{"[a-z]+":)?([1-9][0-9]{0,18}),.*', line[:40], f"a row of {name}")[1])

        for lines in self.lines(table, form):
            first, count = 0, count + len(lines)
            need(count <= self.position, f"{name} has more rows than there are events")
            while first < len(lines):  # where ids have as many digits, lines are in the order of their ids
                where, end = stretch(id_of(lines[first]))
                last = bisect_left(lines, end, first, key=id_of)
                part = lines[first:last]
                need(part == sorted(part) and previous < (where, part[0]), f"{name}: ids do not ascend")
                previous, first = (where, part[-1]), last
                if want is None:
                    sums.sums[table, form, where] += sum(map(mark, part))
                elif want == (table, where):
                    sums.rows.update((id_of(line), (line,)) for line in part)
        return sums

    def compare(self, folded: Sums, answered: Sums, jobs: int) -> None:
        """The answer is what was folded; else an error that says which row is the first that is not."""
        keys = {key for key in (*folded.sums, *answered.sums) if folded.sums[key] != answered.sums[key]}
        if not keys:
            return
        table, form, where = min(keys, key=lambda key: (list(COLUMNS).index(key[0]), key[2], key[1]))
        expected, found = self.fold((table, where), jobs).rows, self.scan((table, form, (table, where))).rows
        for row in sorted({*expected, *found}):
            ours, theirs = expected.get(row, ("", ""))[form == "json"], found.get(row, ("",))[0]
            about = f"answer/{table}.{form}, the row of position {row},"
            need(ours or not theirs, f"{about} is made by no event: {theirs!r:.300}")
            need(theirs or not ours, f"{about} is missing: {ours!r:.300}")
            need(
                ours == theirs,
                f"{about} is not what the events make: expected {ours!r:.300}, found {theirs!r:.300}",
            )
        raise NotProven(f"answer/{table}.{form} is not what the events make")

    # Steps 2 to 5, 7 and 8

    def stored(self, level: int, index: int, total: int) -> bytes:
        """The hash of a complete subtree, as the tiles of a tree of that size have it."""
        first = index << level % 8
        name = tile(level // 8, first >> 8, min(256, (total >> level // 8 * 8) - (first & ~255)))
        data = self.read(name)[32 * (first & 255) :][: 32 << level % 8]
        need(len(data) == 32 << level % 8, f"{name} is too short")
        return subtrees([data[at : at + 32] for at in range(0, len(data), 32)])[0]

    def tree_root(self, start: int, end: int, inside: dict[tuple[int, int], bytes], total: int) -> bytes:
        """The root over leaves of a tree: of subtrees inside that are known, and behind them of tiles."""
        span, half = end - start, 1 << (end - start - 1).bit_length() - 1 if end - start > 1 else 0
        known = max(spans[1] for spans in inside)
        if (start, end) in inside:
            return inside[start, end]
        if start >= known and span & span - 1 == 0:
            return self.stored(span.bit_length() - 1, start // span, total)
        sides = (start, start + half), (start + half, end)
        return parents([self.tree_root(*side, inside, total) for side in sides])[0]

    def question(self) -> dict[str, Any]:
        """What is claimed."""
        given = text_of(self.read("question.json"), "question.json")
        try:
            asked = json.loads(given)
            good = (
                json.dumps(asked, ensure_ascii=False, sort_keys=True, separators=(",", ":")) + "\n" == given
            )
            good = good and list(asked) == sorted(QUESTION)
            good = good and all(
                type(asked[name]).__name__ in types.split("|") for name, types in QUESTION.items()
            )
            dates = [asked[name] for name in ("recorded_at", "made_at", "as_of")]
            good = good and all(each is None or instant(each) == each for each in dates)
        except (ValueError, RecursionError, TypeError):
            good = False
        need(good, f"question.json is malformed: {given!r:.200}")
        self.position, self.leaves = asked["position"], asked["leaves"]
        complete = asked["kind"] == "complete" and asked["narrowed"] is None
        need(
            complete or (asked["kind"] == "inclusion only" and asked["narrowed"]),
            "question.json claims neither kind",
        )
        leaves = (self.position, self.position + 1) if complete else (0,)
        need(
            0 < self.position < 2**62 and self.leaves in leaves, "question.json: no such position, or leaves"
        )
        tables = list(COLUMNS)[:4] if complete else ["events"]
        files = sorted(f"answer/{table}.{form}" for table in tables for form in ("csv", "json"))
        need(
            asked["tables"] == tables and self.named("answer/.*") == files,
            f"the answer is not {', '.join(files)}",
        )
        return asked  # type: ignore[no-any-return]

    def check_complete(
        self, asked: dict[str, Any], notes: Sequence[Note], jobs: int, report: "Report"
    ) -> Range:
        """Steps 3, 4 and 6: the leaves, their root, and the answer."""
        total, sizes = notes[0].size, {note.size for note in notes}
        need(total >= self.leaves, f"log/checkpoint is of {total} leaves only")
        need(
            self.leaves > self.position or total == self.position,
            "the leaf behind the last position is not there",
        )
        self.cuts = {size for size in sizes if size <= self.leaves} | {self.position, self.leaves}
        self.parts = 1 + self.leaves // 100_000
        bundles = [tile("entries", n, min(256, self.leaves - (n << 8))) for n in range(-(-self.leaves >> 8))]
        need(
            self.named("log/tile/entries/.*") == sorted(bundles),
            f"the entries are not those of {self.leaves} leaves",
        )
        ranges: list[Range] = list(self.together("read_range", range(-(-self.leaves // RANGE)), jobs))
        for before, after in pairwise(ranges):
            last, first = max(before.times), min(after.times)
            need(
                before.times[last] <= after.times[first],
                f"the leaf at position {first} was recorded before {last}",
            )
        whole = [each.cuts[(turn + 1) * RANGE][0] for turn, each in enumerate(ranges[: self.leaves // RANGE])]
        cuts = {size: trees for each in ranges for size, trees in each.cuts.items()}
        trees = {
            size: subtrees(whole[: size // RANGE]) + (cuts[size] if size % RANGE else []) for size in cuts
        }
        bits = [1 << bit for bit in reversed(range(self.leaves.bit_length())) if self.leaves >> bit & 1]
        ends = list(accumulate(bits))
        inside = {
            (end - bit, end): tree for bit, end, tree in zip(bits, ends, trees[self.leaves], strict=True)
        }
        for note in notes:
            small = note.size <= self.leaves
            root = root_of(trees[note.size]) if small else self.tree_root(0, note.size, inside, total)
            need(
                root == note.root,
                f"the leaves make the root {root.hex()}; {note.member} states {note.root.hex()}",
            )
        self.places = [each.places for each in ranges]
        folded, answered = self.fold(None, jobs), Sums()
        for sums in self.together(
            "scan", [(t, f, None) for t in asked["tables"] for f in ("json", "csv")], jobs
        ):
            answered.sums.update(sums.sums)
        self.compare(folded, answered, jobs)
        aside = sum(each.aside for each in ranges) + folded.aside
        more, others = asked["set_aside"] - aside, sum(each.others for each in ranges)
        need(0 <= more <= others, f"{aside} events cannot be folded; question.json says {asked['set_aside']}")
        if run := re.fullmatch(r"\s*run\s+([0-9a-f-]+)\s*", asked["asked"], re.IGNORECASE):
            digits = run[1].lower().replace("-", "")
            ended = [
                known[1] for name, known in self.runs.items() if f"{name}".replace("-", "").startswith(digits)
            ]
            need(ended == [self.position], f"{asked['asked']} did not end at position {self.position}")
        report.proven.append(
            f"the events 1 to {self.leaves}, hashed from their bytes, are the first of the {total} signed"
        )
        report.proven.append(
            f"the answer is complete: the events 1 to {self.position} make these rows, and no others"
        )
        report.proven += [f"{aside} of these events cannot be folded, and make no rows"] * bool(aside)
        report.asserted += [f"{more} events, of which no row would come, could not be folded"] * bool(more)
        rotations = [rotation for each in ranges for rotation in each.rotations]
        times = {position: at for each in ranges for position, at in each.times.items()}
        return Range(cuts, times, {}, aside, others, rotations, set().union(*(each.named for each in ranges)))

    def check_inclusion(self, notes: Sequence[Note], report: "Report") -> Range:
        """Each event of the answer has its proof; that there are no others is not claimed."""
        sealed, times, named, rotations = notes[0], dict[int, str](), set[str](), list[Any]()
        rows, pairs = (
            [line for some in self.lines("events", "json") for line in some],
            COLUMNS["events"].split(),
        )
        csv = [line for some in self.lines("events", "csv") for line in some]
        need(len(rows) == len(csv), "answer/events.csv and answer/events.json have different numbers of rows")
        for line, other in zip(rows, csv, strict=True):
            try:
                row = json.loads(line[:-1])
                position, at, by, stream, version, kind, state = (row[name] for name in pairs)
                head = f'{{"position":{position:d},"recorded_at":{as_json(at)},"recorded_by":{as_json(by)},"stream_id":'
                head += f'{as_json(stream)},"type":{as_json(kind)},"version":{version:d}}}\n'
                leaf = (head + state).encode()
            except (ValueError, KeyError, TypeError, RecursionError):
                raise NotProven(f"answer/events.json has a line that is no event: {line!r:.200}") from None
            sums = Sums(("events", stretch(position)[0]))
            sums.add_rows("events", [list(row.values())])
            need(
                sums.rows.get(position) == (other, line),
                f"the event {position} is not written in its one form, in both files",
            )
            need(
                parse_leaf(leaf, f"the event {position}")[0] == position > max(times, default=0),
                "positions do not ascend",
            )
            need(
                at >= max(times.values(), default=""),
                f"the event {position} was recorded before the one before it",
            )
            times[position], name = at, f"proofs/{position}.tlog-proof"
            proof = text_of(self.read(name), name)
            lines = matched(
                "c2sp.org/tlog-proof@v1\n(?:extra (.+)\n)?index ([0-9]+)\n((?:.{44}\n){0,63})\n([^\0]+)",
                proof,
                name,
            )
            need(lines[1] in (None, base64.b64encode(leaf).decode()), f"{name} is of another leaf")
            need(
                lines[4].encode() == self.read("log/checkpoint") and lines[2] == f"{position - 1}",
                f"{name} is not of this event",
            )
            path = [decoded(each, name) for each in lines[3].split("\n")[:-1]]
            root = proven_root(hashlib.sha256(b"\x00" + leaf).digest(), position - 1, sealed.size, path)
            need(root == sealed.root, f"{name} does not prove that the event is in the ledger")
            try:
                said = load(state.encode())
            except Aside:
                continue
            named |= {
                each for each in map(said.get, ("content", "request", "response")) if isinstance(each, str)
            }
            rotations += [(position, said.get("previous"), said.get("next"))] * (kind == "KeyRotated")
        need(
            times and max(times) <= self.position <= sealed.size,
            "the answer has no events, or later ones than it may",
        )
        proofs = sorted(f"proofs/{position}.tlog-proof" for position in times)
        need(
            self.named("proofs/.*") == proofs and not self.named("log/tile/entries/.*"),
            "there are other proofs, or leaves",
        )
        for note in notes[1:]:
            bits = [1 << bit for bit in reversed(range(note.size.bit_length())) if note.size >> bit & 1]
            spans = [(end - bit, end) for bit, end in zip(bits, accumulate(bits), strict=True)]
            single = (
                {spans[0]: note.root} if len(spans) == 1 else None
            )  # its root is one that the proof does not bring
            inside = single or {
                (a, b): self.stored((b - a).bit_length() - 1, a // (b - a), sealed.size) for a, b in spans
            }
            good = root_of(list(inside.values())) == note.root
            good = good and self.tree_root(0, sealed.size, inside, sealed.size) == sealed.root
            need(good, f"log/checkpoint does not continue {note.member}")
        report.proven.append(
            f"{len(times)} events, hashed from their bytes, are among the {sealed.size} that were signed"
        )
        report.unchecked.append("INCLUSION ONLY: that there are no other events of this kind is not shown")
        return Range({}, times, {}, 0, 0, rotations, named)

    def check_position(self, asked: dict[str, Any], times: dict[int, str], report: "Report") -> None:
        """Step 4: the position is the last that the answer may know."""
        at = times.get(self.position)
        need(
            at in (None, asked["recorded_at"]),
            f"the event {self.position} was recorded at {at}, not {asked['recorded_at']}",
        )
        if asked["as_of"] is None:
            good = asked["asked"].strip() == f"{self.position}" or re.match(
                r"\s*run\s", asked["asked"], re.IGNORECASE
            )
            need(good, f"what was asked, {asked['asked']!r:.100}, is not position {self.position}")
            return
        need(
            asked["recorded_at"] <= asked["as_of"],
            f"the event {self.position} was recorded after {asked['as_of']}",
        )
        report.asserted.append(f"{asked['asked']!r:.100}, as it was asked, means {asked['as_of']}")
        if self.leaves > self.position:
            after = times[self.leaves]
            need(
                after > asked["as_of"],
                f"the event {self.leaves} was recorded at {after}, and is missing in the answer",
            )
            report.proven.append(f"the next event was recorded after {asked['as_of']}: the answer is final")
        else:
            report.unchecked.append(
                "the answer is not final: no later event was signed; others may have come at that instant"
            )

    def trust(
        self, notes: Sequence[Note], keys: Sequence[str], rotations: Sequence[tuple[int, Any, Any]]
    ) -> list[str]:
        """Step 2: each note is signed by a key that is trusted, or that such a key's checkpoint shows to follow on it."""
        trusted, unsigned = list(keys), list(notes)
        for _ in notes:
            for note in [note for note in unsigned if note.signed_by(trusted)]:
                unsigned.remove(note)
                for position, previous, following in rotations:
                    if position <= note.size and previous in trusted and following not in trusted:
                        parse_key(f"{following}")
                        trusted.append(following)
        for note in unsigned:
            raise NotProven(f"{note.member} is signed by none of the keys {', '.join(trusted)}")
        for note in notes:
            note.signed_by(trusted)  # of keys that are trusted by now, no signature is wrong
        return trusted

    def stamp(self, note: str, tsr: str, certificates: bytes) -> datetime | str:
        """Step 5: the time of an RFC 3161 timestamp over a note, or why it is not known."""
        if not certificates:
            return "there is no certificate of its authority; give it with --tsa"
        for name, data in (("data", self.read(note)), ("reply", self.read(tsr)), ("pinned", certificates)):
            (self.spill / name).write_bytes(data)
        openssl = partial(
            subprocess.run,
            cwd=self.spill,
            env={**os.environ, "LC_ALL": "C"},
            capture_output=True,
            text=True,
            check=False,
        )
        try:
            shown = openssl(["openssl", "ts", "-reply", "-in", "reply", "-text"])
        except OSError:
            return "there is no openssl"
        found = re.search(
            r"^Time stamp: (\w{3} +\d+ [\d:]{8})(?:\.\d+)? (\d{4}) GMT$", shown.stdout, re.MULTILINE
        )
        if not found:
            raise NotProven(f"{tsr} is no timestamp: {shown.stderr.strip()[-200:]}")
        at = datetime.strptime(f"{found[1]} {found[2]}", "%b %d %H:%M:%S %Y").replace(tzinfo=UTC)
        files = ["-data", "data", "-in", "reply", "-CAfile", "pinned", "-untrusted", "pinned"]
        checked = openssl(["openssl", "ts", "-verify", *files, "-attime", f"{at.timestamp():.0f}"])
        need(
            checked.returncode == 0,
            f"{tsr} is no timestamp of {note} by that authority: {checked.stderr.strip()[-200:]}",
        )
        return at

    def check_times(
        self, notes: Sequence[Note], pinned: bytes, times: dict[int, str], report: "Report"
    ) -> None:
        """Step 5: no event is recorded after a timestamp that covers it; says what that shows."""
        sizes, covered = {note.member: note.size for note in notes}, []
        for tsr in self.named(r"anchors/.*\.tsr"):
            size, name = matched(r"anchors/(\d+)\.([\w-]+)\.tsr", tsr, tsr).groups()
            note = f"anchors/{size}.checkpoint"
            need(note in sizes, f"{tsr} is there, but not {note}")
            own = f"anchors/{name}.pem"
            at = self.stamp(note, tsr, pinned or (self.read(own) if own in self.sums else b""))
            if isinstance(at, str):
                report.unchecked.append(f"{tsr}: {at}")
                continue
            if not pinned:
                report.unchecked.append(
                    f"{own}, by which {tsr} was checked, comes with the package: compare it, or give --tsa"
                )
            last = max((position for position in times if position <= sizes[note]), default=0)
            latest = f"{at + CLOCKS:%Y-%m-%dT%H:%M:%S}.000000Z"
            need(
                not last or times[last] <= latest,
                f"the event {last} was recorded at {times[last]}, after {tsr}, of {at}",
            )
            covered += [at] * (sizes[note] >= self.position)
            report.proven.append(
                f"{name} has seen the first {sizes[note]} events at {at:%Y-%m-%d %H:%M:%S} UTC"
            )
        if covered:
            report.proven.append(f"the answer has not changed since {min(covered):%Y-%m-%d %H:%M:%S} UTC")
        else:
            report.unchecked.append(
                "no timestamp that was checked covers the answer: nothing but the signature speaks for it"
            )
        report.asserted.append("recorded_at, before that, is what the operator's clock said")

    def check_bodies(self, asked: dict[str, Any], named: set[str], report: "Report") -> None:
        """Step 7: bodies are those that events commit to."""
        rows, there = self.index(), self.named("bodies/.{43}")
        need(
            asked["bodies"] == len(rows),
            f"question.json says {asked['bodies']} bodies, the index {len(rows)}",
        )
        present = sorted(f"bodies/{commitment}" for commitment, _, _, status in rows if status == "present")
        need(present == there, "the bodies that are there are not those of bodies/index.json")
        for commitment, salt, size, status in rows:
            name = f"bodies/{commitment}"
            need(commitment in named, f"{name}: no event commits to it")
            if status == "erased":
                report.proven.append(f"{name}: PROVEN, PAYLOAD ERASED")
            elif status == "truncated":
                report.unchecked.append(f"{name}: it was too large to keep")
            else:
                code, length = hmac.new(base64.urlsafe_b64decode(f"{salt}="), digestmod="sha256"), 0
                for piece in self.pieces(name, int(size)):
                    code.update(piece)
                    length += len(piece)
                good = base64.urlsafe_b64encode(code.digest()).decode() == f"{commitment}=" and length == int(
                    size
                )
                need(good, f"{name} is not what the events commit to")
        report.proven += [f"{len(present)} bodies are those that the events commit to"] * bool(present)

    def index(self) -> list[tuple[str, str | None, str, str]]:
        """The rows of bodies/index.json: commitment, salt, size, status."""
        if "bodies/index.json" not in self.sums:
            return []
        lines = text_of(self.read("bodies/index.json", 1 << 40), "bodies/index.json").split("\n")
        need((lines[0], *lines[-2:]) == ("[", "]", ""), "bodies/index.json is no array of one row a line")
        found = [
            matched(_BODY, f"{line.removesuffix(',')}", "bodies/index.json") for line in lines[1:-2] if line
        ]
        need(len({each[1] for each in found}) == len(found), "bodies/index.json names a body twice")
        return [(each[1], each[2], each[3], each[4]) for each in found]

    def check(self, report: "Report", keys: Sequence[str], tsa: Sequence[Path], jobs: int) -> None:
        """All of it; steps as the description of the format numbers them."""
        self.open()
        asked = self.question()
        self.wanted = {row[0] for row in self.index()}
        members = ["log/checkpoint", *self.named(r"anchors/[0-9]+\.checkpoint")]
        notes = [Note.parse(name, self.read(name)) for name in members]
        for note in notes:
            need(note.origin == asked["ledger_id"], f"{note.member} is of another ledger, {note.origin}")
            need(
                note.member in (members[0], f"anchors/{note.size}.checkpoint"),
                f"{note.member} is of {note.size}",
            )
            need(0 < note.size <= notes[0].size, f"{note.member} is larger than log/checkpoint, or empty")
        stated = text_of(self.read("keys"), "keys").split("\n")
        for key in stated[:-1]:
            parse_key(key)
        need(len(stated) > 1 and not stated[-1], "keys is malformed")
        for name in self.named(r"verify\.py|report\.html|anchors/.*|log/tile/[0-7]/.*"):
            self.read(name)
        complete = asked["kind"] == "complete"
        found = (
            self.check_complete(asked, notes, jobs, report)
            if complete
            else self.check_inclusion(notes, report)
        )
        trusted = self.trust(notes, keys or stated[:-1], found.rotations)
        report.proven.append(f"all checkpoints are signed by {', '.join(trusted)}")
        if not keys:
            report.unchecked.append(
                "the keys come with the package: get them from somebody you trust, and give --key"
            )
        self.check_position(asked, found.times, report)
        self.check_times(notes, b"\n".join(path.read_bytes() for path in tsa), found.times, report)
        self.check_bodies(asked, found.named, report)


@dataclass
class Report:
    """What was found.

    Attributes:
        code: 0 proven, 1 not proven, 2 the file cannot be used.
        failure: Why it is not proven.
        proven: What is.
        asserted: What the operator says, and nothing else shows.
        unchecked: What was not checked, and why.
    """

    code: int = 0
    failure: str | None = None
    proven: list[str] = field(default_factory=list)
    asserted: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"proven: {line}" for line in self.proven] + [
            f"asserted by the operator: {line}" for line in self.asserted
        ]
        lines += [f"UNCHECKED: {line}" for line in self.unchecked]
        lines += ["PROVEN" if self.failure is None else f"NOT PROVEN: {self.failure}"]
        return "\n".join(
            re.sub("[\0-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", "\ufffd", line) for line in lines
        )


package: Package  # what is verified: here, and in the processes that are forked from this one


def call(task: tuple[str, Any]) -> Any:
    """What a method of the package returns."""
    return getattr(package, task[0])(task[1])


def verify(
    path: Path | str,
    keys: Sequence[str] = (),
    tsa: Sequence[Path] = (),
    jobs: int | None = None,
    bar: bool = False,
) -> Report:
    """Verify a package.

    Args:
        path: The ZIP file.
        keys: The verifier keys that are trusted; without any, those in the package, and the report says so.
        tsa: Files of certificates of the timestamping authorities that are trusted; without any, those in the package.
        jobs: How many processes work; by default as many as there are processors.
        bar: Whether to draw on stderr how far it is.
    """
    global package  # processes inherit it
    report, jobs = Report(), jobs or os.cpu_count() or 1
    if "fork" not in multiprocessing.get_all_start_methods():
        jobs = 1
    try:
        with tempfile.TemporaryDirectory(prefix="verify-") as folder:
            package = Package(Path(path), Path(folder), bar)
            for key in keys:
                parse_key(key)
            package.check(report, keys, tsa, jobs)
    except NotProven as error:
        report.code, report.failure = 1, str(error)
    except (Unusable, ImportError) as error:
        report.code, report.failure = 2, str(error)
    except Exception as error:  # noqa: BLE001  whatever it is, nothing is proven, and nobody wants a traceback
        report.code, report.failure = 1, f"it could not be checked: {type(error).__name__}: {error}"
    return report


def main() -> int:
    """Verify what the command line says; returns the exit code."""
    parser = argparse.ArgumentParser(description="Verify an evidence package of audit-ledger.")
    parser.add_argument("package", type=Path, metavar="PACKAGE.zip")
    parser.add_argument(
        "--key", action="append", default=[], metavar="VKEY", help="a verifier key that you trust"
    )
    parser.add_argument(
        "--tsa", action="append", default=[], type=Path, metavar="CERT.pem", help="of an authority"
    )
    parser.add_argument("--jobs", type=int, metavar="N", help="processes; by default one a processor")
    given = parser.parse_args()
    report = verify(given.package, given.key, given.tsa, given.jobs, sys.stderr.isatty())
    print(report)
    return report.code


if __name__ == "__main__":
    sys.exit(main())
