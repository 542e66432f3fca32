"""Verify an evidence package of audit-ledger: offline, by this one file, without trusting who made it.

    python verify.py PACKAGE.zip --key VKEY [--tsa CERT.pem] [--jobs N]

It takes Python 3.11, the package `cryptography`, and for timestamps `openssl`. Every event is hashed from its
bytes, the Merkle tree is rebuilt (RFC 6962), signatures are checked (C2SP signed-note, tlog-checkpoint); then
the events are folded, and every row of the answer is compared. It ends with 0: all that is claimed is proven;
1: it is not, any doubt being a failure with its reason; 2: the command or the file cannot be used.

Memory does not grow with the events. read_range hashes and decodes 65,536 leaves, and leaves what happened to
records in files, by record; fold_records folds one part of the records. Rows come out in no order, so lines
are compared by sums: each has a mark, its hash under a random key; the marks of a stretch of ids are added
up, of the answer and of the fold. Where they differ, that stretch is folded anew, to say which row it is.
"""

import argparse
import base64
import gc
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
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache, lru_cache
from itertools import accumulate, chain, islice, pairwise
from json.encoder import encode_basestring
from pathlib import Path
from typing import Any
from uuid import UUID

RANGE = 1 << 16  # leaves of a task: a complete subtree
PART = 100_000  # events, about, that the records of a part are folded from
RANK = {"skipped": 0, "updated": 1, "withdrawn": 2, "created": 3}
COLUMNS = {
    "data_ingestion_runs": "id run_id task_name started_at completed_at failed_at status data_source"
    " data_date_start data_date_end records_fetched records_created records_updated records_skipped"
    " error_message error_details created_at updated_at",
    "data_ingestion_run_records": "id data_ingestion_run_id record_type record_id operation created_at"
    " updated_at",
    "api_call_logs": "id data_ingestion_run_id api_request_payload_id api_response_payload_id endpoint"
    " http_status_code duration_ms rate_limit_remaining created_at updated_at",
    "records": "id record_type record_id content data_ingestion_run_id created_at",
    "events": "position recorded_at recorded_by stream_id version type state",
}
# What the folds cast of an event, and to what; ! where it cannot be NULL. If a cast fails, it is set aside.
FIELDS = {
    "RunStarted": "run_id=uuid occurred_at=instant! task=key! source=key!",
    "RecordIngested": "run_id=uuid record_type=key! record_id=key! operation=operation content=text",
    "RecordWithdrawn": "run_id=uuid record_type=key! record_id=key!",
    "ApiCallMade": "run_id=uuid request=key response=key endpoint=text! http_status_code=int duration_ms=int"
    " rate_limit_remaining=bigint error_class=text",
    "RunCompleted": "run_id=uuid occurred_at=instant! message=text duration_ms=bigint",
    "RunFailed": "run_id=uuid occurred_at=instant! message=text duration_ms=bigint",
    "RunAbandoned": "run_id=uuid occurred_at=instant! detail=text! last_seen_at=instant scheduled_for=instant"
    " alert_id=uuid! key=key!",
    "the end that counts": "fetched=int created=int updated=int skipped=int data_date_start=day"
    " data_date_end=day error_class=text backtrace=json exit_status=int signal=text output=text",
}
OTHERS = re.compile(  # types that are folded as well, into tables that are no part of an answer
    "HeartbeatRecorded|AnomalyFound|RunMissed|RunSkipped|TaskDefined|TaskRemoved|WatchAdvanced|BodyErased|"
    "KeyRotated|HoldAdded|HoldReleased|RetentionChanged|EventCorrected|DecisionMade|DecisionExecuted|AlertRaised|"
    "AlertAttempted|AlertDelivered|AlertFailed|AlertAcknowledged|AlertResolved"
).fullmatch
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


# Keys, signatures and checkpoints: C2SP signed-note and tlog-checkpoint

_KEY = re.compile(r"([^\s+\0-\x1f]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]{44})")
_NOTE = re.compile(
    "(([^\n]+)\n(0|[1-9][0-9]{0,17})\n([A-Za-z0-9+/]{43}=)\n(?:[^\n]+\n)*)\n"
    r"((?:— [^\s+]+ [A-Za-z0-9+/]+={0,2}\n){1,100})"
)


def parse_key(line: str) -> tuple[str, bytes, bytes]:
    """Name, id and public key of a verifier key."""
    name, key_id, encoded = matched(_KEY, line, "a verifier key").groups()
    data = decoded(encoded, "a verifier key")
    digest = hashlib.sha256(name.encode() + b"\n" + data).hexdigest()
    need(data[0] == 1 and digest[:8] == key_id, f"{line:.120}: not Ed25519, or the id is that of another key")
    return name, bytes.fromhex(key_id), data[1:]


class Note:
    """A checkpoint in a signed note, whose signatures are not checked yet."""

    def __init__(self, member: str, data: bytes) -> None:
        need(not re.search(rb"[\0-\x09\x0b-\x1f]", data), f"{member} has control characters")
        text, origin, size, root, block = matched(_NOTE, text_of(data, member), member).groups()
        self.member, self.text, self.origin, self.size = member, text.encode(), origin, int(size)
        self.root = decoded(root, f"the root of {member}")
        lines = [line.split(" ") for line in block.split("\n")[:-1]]
        self.signatures = [(name, decoded(value, f"a signature of {member}")) for _, name, value in lines]

    def signed_by(self, keys: Iterable[str]) -> bool:
        """Whether one of these keys has signed it; a signature of any of them that fails condemns it."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        signed = False
        for name, key_id, public in map(parse_key, keys):
            for value in [
                value for signer, value in self.signatures if (signer, value[:4]) == (name, key_id)
            ]:
                try:
                    Ed25519PublicKey.from_public_bytes(public).verify(value[4:], self.text)
                except InvalidSignature:
                    raise NotProven(f"{self.member}: the signature of {name} is wrong") from None
                signed = True
        return signed


# The Merkle tree (RFC 6962 section 2.1) and its files (C2SP tlog-tiles)


_LEAF_HASH, _NODE = hashlib.sha256(b"\x00"), hashlib.sha256(b"\x01")


def parents(hashes: Sequence[bytes]) -> list[bytes]:
    """The hashes over an even number of siblings."""
    copy, pairs, found = _NODE.copy, iter(hashes), []
    for left, right in zip(pairs, pairs, strict=True):
        node = copy()
        node.update(left + right)
        found.append(node.digest())
    return found


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


def spans(size: int) -> list[tuple[int, int]]:
    """The complete subtrees of a tree, largest first: from which leaf, to before which."""
    bits = [1 << bit for bit in reversed(range(size.bit_length())) if size >> bit & 1]
    return [(end - bit, end) for bit, end in zip(bits, accumulate(bits), strict=True)]


def tile(level: int | str, number: int, width: int) -> str:
    """The member of a tile of hashes, or of a bundle of entries."""
    digits = f"{number:d}".zfill(-(-len(f"{number:d}") // 3) * 3)
    path = "".join(f"x{group}/" for group in re.findall("...", digits[:-3])) + digits[-3:]
    return f"log/tile/{level}/{path}" + (f".p/{width}" if width < 256 else "")


def proven_root(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """The root that an inclusion proof leads to (RFC 9162 section 2.1.3.2); none if its length is wrong."""
    node, last, root = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return b""
        left = node & 1 or node == last
        root = parents([sibling, root] if left else [root, sibling])[0]
        while left and not node & 1 and node:
            node, last = node >> 1, last >> 1
        node, last = node >> 1, last >> 1
    return root if last == 0 else b""


# Events: a leaf is a line of JSON with the columns, a line feed, and the state as the ledger stores it

_STRING = r'"((?:[^"\\\x00-\x1f]|\\["\\btnfr]|\\u00[01][0-9a-f])*)"'
_LEAF = re.compile(
    r'\{"position":([1-9][0-9]{0,18}),"recorded_at":"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{6}Z)",'
    rf'"recorded_by":{_STRING},"stream_id":"([0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}})",'
    rf'"type":{_STRING},"version":(0|[1-9][0-9]{{0,18}})\}}\n'
)
_TOUCH = re.compile(  # the state of a RecordIngested as it is written, in ASCII, nothing escaped: of most
    rb'\{(?:"content":"([\w-]+)",)?"occurred_at":"[0-9TZ:.-]+",(?:"operation":"(created|updated|skipped)",)?'
    rb'"record_id":"([ !#-\[\]-~]{1,999})","record_type":"([ !#-\[\]-~]{1,999})",'
    rb'(?:"run_id":"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})",)?"v":1\}'
).fullmatch


def parse_leaf(leaf: bytes, what: str) -> tuple[int, str, str, str, str, int]:
    """position, recorded_at, recorded_by, stream_id, type and version of a leaf, in their one form."""
    line = text_of(leaf[: leaf.find(b"\n") + 1], what)
    position, at, by, stream, kind, version = matched(_LEAF, line, what).groups()
    by, kind = json.loads(f'["{by}","{kind}"]')
    again = f'"recorded_by":{as_json(by)},"stream_id":"{stream}","type":{as_json(kind)},"version":'
    good = line.endswith(f"{again}{version}}}\n") and instant(at) == at
    need(good, f"{what} is not the leaf of an event: {line!r:.200}")
    return int(position), at, by, stream, kind, int(version)


@lru_cache(4096)
def instant(given: str) -> str | None:
    """An instant (RFC 3339, UTC) with six decimals."""
    found = re.fullmatch(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[0-9]{2}:){2}[0-9]{2})(?:\.([0-9]{1,6}))?Z", given)
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
    good: object = form == "text"
    if form in ("int", "bigint"):
        half = 1 << (31 if form == "int" else 63)
        if re.fullmatch(r"\s*[+-]?[0-9]{1,99}\s*", found, re.ASCII) and -half <= int(found) < half:
            return int(found)
    elif form == "uuid" and re.fullmatch(r"(\{)?[0-9a-fA-F]{4}(-?[0-9a-fA-F]{4}){7}(?(1)\})", found):
        return str(UUID(found))
    elif form == "instant":
        good = found = instant(found) or ""
    elif form == "day":
        good = re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", found) and instant(f"{found}T00:00:00Z")
    elif form == "operation":
        good = found in ("created", "updated", "skipped")
    elif form == "key":
        good = len(found.encode()) <= 2600  # an index takes no more
    if not good:
        raise Aside
    return found


@cache
def _forms(kind: str) -> list[tuple[str, str, bool]]:
    return [(*each.rstrip("!").split("="), each.endswith("!")) for each in FIELDS[kind].split()]  # type: ignore[misc]


def fields(kind: str, state: dict[str, Any]) -> list[Any]:
    """What the folds take of an event."""
    values = [(cast(state.get(name), form), required) for name, form, required in _forms(kind)]
    if (None, True) in values:
        raise Aside
    return [value for value, _ in values]


def end_of(kind: str, state: dict[str, Any]) -> list[Any] | None:
    """What the end of a run says where it is the first: counts, days, details; None if it cannot be it."""
    try:
        *values, class_, backtrace, status, signal, output = fields("the end that counts", state)
    except Aside:
        return None
    more = {"exit_status": status, "signal": signal, "output": output}
    known = {name: value for name, value in more.items() if value is not None}
    details = str(jsonb({"class": class_, "backtrace": backtrace, **known}))
    return [*values, details if kind == "RunFailed" else None]


# Lines of the answer


def _keyed(line: str, key: bytes = os.urandom(32)) -> int:
    return int.from_bytes(hashlib.blake2b(line.encode(), key=key, digest_size=16).digest(), "big")


# Python's own hash of text is SipHash under a random key, unless somebody has fixed it.
_FIXED = not sys.flags.hash_randomization or os.environ.get("PYTHONHASHSEED", "random") != "random"
mark: Callable[[str], int] = _keyed if _FIXED else hash


_QUOTED = re.compile('[",\n\r]').search


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
    if isinstance(value, str):
        return value if isinstance(value, Json) else encode_basestring(value)
    return json.dumps(value)


def as_csv(value: str | int | None) -> str:
    """A value as PostgreSQL's COPY (FORMAT csv) writes it."""
    found = "" if value is None else str(value)
    return '"' + found.replace('"', '""') + '"' if value == "" or _QUOTED(found) else found


def lines_of(table: str, row: Sequence[Any]) -> tuple[str, str]:
    """The lines of a row, as CSV and as JSON with a comma behind."""
    pairs = zip(COLUMNS[table].split(), map(as_json, row), strict=True)
    return ",".join(map(as_csv, row)), "{" + ",".join(f'"{name}":{value}' for name, value in pairs) + "},"


def stretch(row: int) -> tuple[tuple[int, int], int]:
    """The stretch of ids that an id is in, and its end: of 65,536, those with as many digits."""
    digits, block = len(str(row)), row >> 16
    return (digits, block), min(block + 1 << 16, 10**digits)


class Record:
    """A record: its names as CSV and as JSON; its last version, whose content is '' if it was withdrawn."""

    __slots__ = ("at", "content", "csv", "id", "json", "number", "run")

    def __init__(self, number: int, type_: str, record_id: str) -> None:
        self.number, self.id, self.run, self.at = number, 0, 0, ""
        self.content: bytes | None = b""
        self.csv = f"{as_csv(type_)},{as_csv(record_id)}"
        self.json = f'"record_type":{as_json(type_)},"record_id":{as_json(record_id)}'


@dataclass
class Found:
    """What a task has found: of leaves, of the answer, or in a fold."""

    cuts: dict[int, list[bytes]] = field(default_factory=dict)  # size: subtrees of this range up to there
    times: dict[int, str] = field(default_factory=dict)  # position: recorded_at; of some
    places: list[tuple[int, int]] = field(default_factory=list)  # of each part: where, how many bytes
    others: int = 0  # events of types that are no part of an answer
    rotations: list[tuple[int, Any, Any]] = field(default_factory=list)  # position, previous and next key
    named: set[str] = field(default_factory=set)  # commitments of bodies
    aside: int = 0  # events that cannot be folded
    counts: Counter[Any] = field(default_factory=Counter)  # run and operation: records before its end
    sums: Counter[Any] = field(default_factory=Counter)  # table, form and stretch: marks of lines
    rows: dict[int, Any] = field(default_factory=dict)  # id: lines, of the stretch that is looked into

    def add(self, table: str, ids: Sequence[int], **lines: Sequence[str]) -> None:
        """Add lines of rows, by ascending ids."""
        first = 0
        while first < len(ids):
            where, end = stretch(ids[first])
            last = bisect_left(ids, end, first)
            for form, some in lines.items():
                self.sums[table, form, where] += sum(map(mark, some[first:last]))
            if package.want == (table, where):
                rows = zip(*(some[first:last] for some in lines.values()), strict=True)
                self.rows.update(zip(ids[first:last], rows, strict=True))
            first = last

    def add_rows(self, table: str, rows: Iterable[Sequence[Any]]) -> None:
        """Add rows, by ascending ids."""
        rows = iter(rows)
        while some := list(islice(rows, 10_000)):
            csv, objects = zip(*(lines_of(table, row) for row in some), strict=True)
            self.add(table, [row[0] for row in some], csv=csv, json=objects)

    def join(self, other: "Found") -> None:
        """Add what another task has found."""
        self.cuts |= other.cuts
        self.times |= other.times
        self.rows |= other.rows
        self.sums.update(other.sums)
        self.named |= other.named
        self.rotations += other.rotations
        self.others, self.aside = self.others + other.others, self.aside + other.aside
        self.counts.update(other.counts)


_ROW = re.compile(r'((?:[^"\n]|"[^"]*+")*+)\n')
_MEMBER = re.compile(
    r"SHA256SUMS|verify\.py|report\.html|question\.json|keys|log/checkpoint|log/tile/(?:entries|[0-7])/[0-9x/p.]+|"
    r"anchors/[0-9]+\.checkpoint|anchors/[0-9]+\.[\w-]+\.tsr|anchors/[\w-]+\.pem|answer/[a-z_]+\.(?:csv|json)|"
    r"bodies/index\.json|bodies/[\w-]{43}|proofs/[0-9]+\.tlog-proof",
    re.ASCII,
)
_BODY = re.compile(
    r'\{"commitment":"([\w-]{43})","salt":(?:null|"([\w-]{42}[AEIMQUYcgkosw048])"),"size":([0-9]{1,18}),'
    rf'"media_type":(?:null|{_STRING}),"status":"(present|erased|truncated)"\}}'
)
_AT, _WHOLE = '"([0-9]{4}-[0-9T:.-]{21}Z)"', "(0|[1-9][0-9]{0,17})"
_QUESTION = re.compile(
    rf'\{{"as_of":(?:null|{_AT}),"asked":{_STRING},"bodies":{_WHOLE},"kind":"(complete|inclusion only)",'
    rf'"leaves":{_WHOLE},"ledger_id":{_STRING},"made_at":{_AT},"narrowed":(null|\{{.+\}}),"position":{_WHOLE},'
    rf'"recorded_at":{_AT},"set_aside":{_WHOLE},"software_version":{_STRING},"tables":\["([a-z_",]+)"\]\}}\n'
)
_PROOF = re.compile("c2sp.org/tlog-proof@v1\n(?:extra (.+)\n)?index ([0-9]+)\n((?:.{44}\n){0,63})\n([^\0]+)")
_DAMAGES = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError)
_WORDS = {word.encode(): word for word in RANK}


@dataclass
class Package:
    """The ZIP file, and what is known of it; processes that help are forked, and know it too."""

    path: Path
    spill: Path
    bar: bool = False
    jobs: int = 1
    sums: dict[str, str] = field(default_factory=dict)
    parts: int = 1
    position: int = 0
    leaves: int = 0
    want: tuple[str, tuple[int, int]] | None = None
    wanted: set[bytes] = field(default_factory=set)
    cuts: set[int] = field(default_factory=set)
    places: list[list[tuple[int, int]]] = field(default_factory=list)
    runs: dict[bytes | None, list[Any]] = field(default_factory=dict)
    opened: tuple[int, zipfile.ZipFile] | None = None

    @property
    def zip(self) -> zipfile.ZipFile:
        """The file, opened by each process for itself."""
        if self.opened is None or self.opened[0] != os.getpid():
            try:
                self.opened = os.getpid(), zipfile.ZipFile(self.path)
            except _DAMAGES as error:
                raise Unusable(f"{self.path} cannot be read as a ZIP file: {error}") from None
        return self.opened[1]

    def open(self) -> None:
        """Step 1: every member is listed once in SHA256SUMS, and nothing else is there."""
        names: set[str] = set()
        for info in self.zip.infolist():
            name = info.filename
            need(_MEMBER.fullmatch(name) and ".." not in name, f"no package has a member {name!r:.100}")
            need(name not in names, f"{name} is there twice")
            deflated = not info.flag_bits & 1 and info.compress_type in (0, 8)
            need(deflated, f"{name} is encrypted, or not deflated")
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
        """The content of a member; an error at its end if its digest is not that of the manifest."""
        need(name in self.sums or name == "SHA256SUMS", f"{name} is not there")
        digest = hashlib.sha256()
        try:
            size = self.zip.getinfo(name).file_size
            need(limit is None or size <= limit, f"{name} is larger than it can be: {size} bytes")
            with self.zip.open(name) as stream:
                while piece := stream.read(1 << 20):
                    digest.update(piece)
                    yield piece
        except _DAMAGES as error:
            raise NotProven(f"{name} is damaged: {error}") from None
        found = digest.hexdigest()
        need(self.sums.get(name, found) == found, f"{name} is not what SHA256SUMS says, but {found}")

    def read(self, name: str, limit: int = SMALL) -> bytes:
        """The content of a member."""
        return b"".join(self.pieces(name, limit))

    def named(self, pattern: str) -> list[str]:
        """Members by their names."""
        return [name for name in sorted(self.sums) if re.fullmatch(pattern, name)]

    def together(self, what: str, tasks: Sequence[tuple[str, Any]]) -> Iterator[Found]:
        """What methods find, in the order of these tasks, by several processes."""
        pool = ProcessPoolExecutor(self.jobs, multiprocessing.get_context("fork")) if self.jobs > 1 else None
        try:
            for done, result in enumerate(pool.map(call, tasks) if pool else map(call, tasks), 1):
                if self.bar:
                    bar = f"\r{what} [{'#' * (40 * done // len(tasks)):40}]"
                    print(bar if done < len(tasks) else f"\r{'':60}\r", end="", file=sys.stderr, flush=True)
                yield result
        finally:
            if pool:
                pool.shutdown(cancel_futures=True)

    # Step 3: the leaves, and what the folds need of them

    def read_range(self, task: int) -> Found:
        """Hash and decode the leaves of a range."""
        found, spill = Found(), [list[Any]() for _ in range(self.parts + 2)]
        at, kind, stream, middle, base, position = "", "", b"", b"", 0, task * RANGE
        types, roots, sha, end = dict[bytes, bytes](), list[bytes](), _LEAF_HASH.copy, position + RANGE
        parts, wanted, limit, cuts, crc32 = self.parts, self.wanted, self.position, self.cuts, zlib.crc32
        for first in range(position, min(end, self.leaves), 256):
            width, start, hashes = min(256, self.leaves - first), 0, list[bytes]()
            name = tile("entries", first >> 8, width)
            bundle = self.read(name, 256 << 16)
            size = len(bundle) - 1
            while start < size:  # each leaf is behind its length of two bytes
                start, last = start + 2, start + 2 + (bundle[start] << 8 | bundle[start + 1])
                leaf, start, position = bundle[start:last], last, position + 1
                digest = sha()
                digest.update(leaf)
                hashes.append(digest.digest())
                head = b'{"position":%d%b%d}\n' % (position, middle, position - base)  # the last, one further
                if not middle or not leaf.startswith(head):
                    what, before = f"the leaf at position {position}", at
                    stated, at, _, stream_id, kind, version = parse_leaf(leaf, what)
                    need(stated == position, f"{what} states position {stated}")
                    need(at >= before, f"{what} was recorded at {at}, before the one before it, at {before}")
                    head, base, stream = leaf[: leaf.find(b"\n") + 1], position - version, stream_id.encode()
                    middle = head[head.find(b",") : head.rfind(b":") + 1]
                    found.times = found.times or {position: at}
                    ingests, other = kind == "RecordIngested", kind in FIELDS or OTHERS(kind)
                if position in cuts:
                    found.times[position] = at
                if ingests and position <= limit and (touch := _TOUCH(leaf, len(head))):
                    content, done, record, type_, run = touch.groups()
                    row = position, at, run or stream, types.setdefault(type_, type_), record, done, content
                    spill[crc32(record) % parts].append(row)
                    if wanted and content in wanted:
                        found.named.add(content.decode())
                elif other and (position <= limit or kind == "KeyRotated"):
                    self.decode(kind, leaf[len(head) :], (position, at, stream), found, spill)
            need(start == size + 1 and len(hashes) == width, f"{name} is not a bundle of {width} leaves")
            for cut in cuts.intersection(range(first + 1, position + 1)):
                part = subtrees(hashes[: cut - first])  # of a whole bundle, one hash like the others
                found.cuts[cut] = subtrees(roots + part) if cut - first == 256 else subtrees(roots) + part
            roots += subtrees(hashes) if width == 256 else []
        found.times[position] = at
        found.cuts |= {end: subtrees(roots)} if len(roots) == 256 else {}
        with (self.spill / f"{task}").open("wb") as file:
            found.places = [(file.tell(), file.write(marshal.dumps(rows))) for rows in spill]
        return found

    def decode(self, kind: str, state: bytes, event: Any, found: Found, spill: list[list[Any]]) -> None:
        """Leave what an event says where it belongs: position, recorded_at, run_id, and the rest."""
        position, at, stream = event
        try:
            if kind == "KeyRotated":
                keys = load(state)
                found.rotations.append((position, keys.get("previous"), keys.get("next")))
            if position > self.position or kind not in FIELDS:
                found.others += position <= self.position and kind != "KeyRotated"
                return
            given = load(state)
            run, *said = fields(kind, given)
            head = position, at, run.encode() if run else stream
            if kind.startswith("Record"):
                type_, record, *rest = said if kind == "RecordIngested" else (*said, "withdrawn", "")
                row = [None if each is None else each.encode() for each in (type_, record, *rest)]
                spill[zlib.crc32(row[1] or b"") % self.parts].append((*head, *row))
                found.named |= {rest[1]} if row[3] in self.wanted else set()
            elif kind == "ApiCallMade":
                at_of = "occurred_at" if given.get("captured_at") is None else "captured_at"
                if said[:2] != [None, None] and cast(given.get(at_of), "instant") is None:
                    raise Aside  # noqa: TRY301  as any other that cannot be folded
                spill[-2].append((*head, *said))
                found.named |= {each for each in said[:2] if each and each.encode() in self.wanted}
            else:
                run_id = head[2] if run or kind != "RunAbandoned" else None
                more = end_of(kind, given) if kind in ("RunCompleted", "RunFailed") else said[1:]
                spill[-1].append((position, at, run_id, kind, *said[:2], more))
        except Aside:
            need(kind != "KeyRotated", f"the event {position}, a KeyRotated, is no JSON")
            found.aside += 1

    def spilled(self, part: int, tasks: Iterable[int]) -> Iterator[Any]:
        """What read_range left in a part, by position."""
        for task in tasks:
            start, size = self.places[task][part]
            with (self.spill / f"{task}").open("rb") as file:
                file.seek(start)
                yield from marshal.loads(file.read(size))  # noqa: S302  written a moment ago

    # Step 6: the folds, by the rules of projections/*.sql, and the answer

    def fold_runs(self) -> int:
        """Put the runs together; returns how many of their events cannot be folded."""
        self.runs, aside = {}, 0
        for position, at, run_id, kind, when, message, said in self.spilled(-1, range(len(self.places))):
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

    def run_rows(self, counts: Counter[Any]) -> Iterator[list[Any]]:
        """The rows of runs: the first real end of each wins; before it, that it was found abandoned."""
        for run_id, (start, _, at, started, (task, source), end, abandoned) in self.runs.items():
            status, done, failed, message, details, updated = "running", None, None, None, None, at
            days, numbers = [None, None], [0, 0, 0, 0]
            if end:
                updated, kind, when, message, (*declared, first, last, details) = end
                counted = [counts[start, operation] for operation in ("created", "updated", "skipped")]
                both = zip(declared, (sum(counted), *counted), strict=True)
                numbers = [mine if theirs is None else theirs for theirs, mine in both]
                status, done, failed = "completed", when, None
                days = [first, last]
                if kind == "RunFailed":
                    status, done, failed, details = "failed", None, when, Json(details)
            elif abandoned:
                updated, failed, message = abandoned
                status, details = "failed", Json('{"class": "RunAbandoned"}')
            head = [start, (run_id or b"").decode(), task, started, done, failed, status, source]
            yield [*head, *days, *numbers, message, details, at, updated]

    def fold_calls(self, task: int) -> Found:
        """Fold the API calls of a range."""
        found, rows = Found(), []
        for position, at, run_id, *bodies, endpoint, status, took, left, error in self.spilled(-2, [task]):
            run = self.runs.get(run_id)
            if run is None or run[0] > position:
                found.aside += 1
                continue
            ids = [None if body is None else 2 * position - 1 + turn for turn, body in enumerate(bodies)]
            status = status if error is None or (status or 0) >= 400 else None
            rows.append([position, run[0], *ids, endpoint, status, took, left, at, at])
        found.add_rows("api_call_logs", rows)
        return found

    def fold_records(self, part: int) -> Found:
        """Fold what happened to one part of the records, into their rows, and the counts of runs."""
        records, rows, found = dict[tuple[bytes, bytes], Record](), dict[int, list[Any]](), Found()
        runs, rank, words, last, run, start, end = self.runs, RANK, _WORDS, None, None, 0, 0
        touches = self.spilled(part, range(len(self.places)))
        for position, at, run_id, type_, record_id, operation, content in touches:
            if run_id is not last:
                last, run = run_id, runs.get(run_id)
                start, end = (run[0], run[1] or 1 << 62) if run else (1 << 62, 0)
            if start > position:  # no such run began before it
                found.aside += 1
                continue
            record = records.get((type_, record_id))
            if record is None:  # the first that is heard of a record makes a version of it
                record = Record(len(records), type_.decode(), record_id.decode())
                records[type_, record_id], new, done = record, True, "created"
            else:  # another content does; so does a change that is declared, and does not say to what
                silent = content is None and operation in (None, b"skipped")
                new = not silent and (content is None or content != record.content)
                done = "skipped" if not new else "created" if record.content == b"" else "updated"
            if new:
                record.id, record.run, record.at, record.content = position, start, at, content
            if operation is not None:
                done = words[operation]
            key = start << 32 | record.number
            row = rows.get(key)
            if row is None:  # the first touch in a run makes the row; until its end, a later one can raise it
                rows[key] = [position, start, record, done, at, at, end]
            elif rank[done] > rank[row[3]] and position < end:
                row[3], row[5] = done, at
        ended = [(row[1], row[3]) for row in rows.values() if row[0] < row[6] < 1 << 62]
        found.counts.update(ended)
        ids = [row[0] for row in rows.values()]
        csv = [f"{i},{run},{r.csv},{done},{at},{to}" for i, run, r, done, at, to, _ in rows.values()]
        objects = [
            f'{{"id":{i},"data_ingestion_run_id":{run},{r.json},"operation":"{done}","created_at":"{at}",'
            f'"updated_at":"{to}"}},'
            for i, run, r, done, at, to, _ in rows.values()
        ]
        found.add("data_ingestion_run_records", ids, csv=csv, json=objects)
        known = sorted((r for r in records.values() if r.content != b""), key=lambda record: record.id)
        contents = [None if r.content is None else r.content.decode() for r in known]
        both = list(zip(known, contents, strict=True))
        csv = [f"{r.id},{r.csv},{as_csv(content)},{r.run},{r.at}" for r, content in both]
        objects = [
            f'{{"id":{r.id},{r.json},"content":{as_json(content)},"data_ingestion_run_id":{r.run},'
            f'"created_at":"{r.at}"}},'
            for r, content in both
        ]
        found.add("records", [r.id for r in known], csv=csv, json=objects)
        return found

    def fold(self) -> Found:
        """Fold all tables."""
        found = Found(aside=self.fold_runs())
        records = [("fold_records", part) for part in range(self.parts)]
        calls = [("fold_calls", task) for task in range(len(self.places))]
        for part in self.together("folding", records + calls):
            found.join(part)
        found.add_rows("data_ingestion_runs", self.run_rows(found.counts))
        return found

    def lines(self, table: str, form: str) -> Iterator[list[str]]:
        """The rows of a file of the answer, some at a time; those of JSON with a comma behind each."""
        name, rest, held, begun, some = f"answer/{table}.{form}", b"", list[str](), False, False
        for piece in self.pieces(name):
            rest += piece
            cut = rest.rfind(b"\n") + 1
            text, rest = text_of(rest[:cut], name), rest[cut:]
            if form == "json" or '"' not in text:
                lines = text.split("\n")[:-1]
            else:  # quoted text can have line feeds
                lines, at = [], 0
                while row := _ROW.match(text, at):
                    lines.append(row[1])
                    at = row.end()
                rest = text[at:].encode() + rest
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

    def scan(self, file: tuple[str, str]) -> Found:
        """The sums of a file of the answer, whose ids must ascend."""
        (table, form), found, count, previous = file, Found(), 0, ((0, 0), "")
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
                found.sums[table, form, where] += sum(map(mark, part))
                if self.want == (table, where):
                    found.rows.update((id_of(line), (line,)) for line in part)
        return found

    def compare(self, folded: Found, answered: Found) -> None:
        """The answer is what was folded; else an error that says which row is the first that is not."""
        keys = {key for key in (*folded.sums, *answered.sums) if folded.sums[key] != answered.sums[key]}
        if not keys:
            return
        table, form, where = min(keys, key=lambda key: (list(COLUMNS).index(key[0]), key[2], key[1]))
        self.want = table, where
        expected, given = self.fold().rows, self.scan((table, form)).rows
        for row in sorted({*expected, *given}):
            ours, theirs = expected.get(row, ("", ""))[form == "json"], given.get(row, ("",))[0]
            about = f"answer/{table}.{form}, the row of position {row}"
            need(ours, f"{about}: no event makes it: {theirs!r:.300}")
            need(theirs, f"{about} is missing: {ours!r:.300}")
            need(ours == theirs, f"{about} is not what the events make: {ours!r:.300}, but {theirs!r:.300}")
        raise NotProven(f"answer/{table}.{form} has a row twice")

    # Steps 2 to 5 and 7

    def stored(self, level: int, index: int, total: int) -> bytes:
        """The hash of a complete subtree, as the tiles of a tree of that size have it."""
        first = index << level % 8
        name = tile(level // 8, first >> 8, min(256, (total >> level // 8 * 8) - (first & ~255)))
        data = self.read(name)[32 * (first & 255) :][: 32 << level % 8]
        need(len(data) == 32 << level % 8, f"{name} is too short")
        return subtrees([data[at : at + 32] for at in range(0, len(data), 32)])[0]

    def tree_root(self, start: int, end: int, inside: dict[tuple[int, int], bytes], total: int) -> bytes:
        """The root over leaves of a tree: of first subtrees that are known, and behind them of tiles."""
        span = end - start
        if (start, end) in inside:
            return inside[start, end]
        if start >= max(known for _, known in inside) and span & span - 1 == 0:
            return self.stored(span.bit_length() - 1, start // span, total)
        middle = start + (1 << (span - 1).bit_length() - 1)
        left, right = (self.tree_root(*side, inside, total) for side in ((start, middle), (middle, end)))
        return parents([left, right])[0]

    def question(self) -> dict[str, Any]:
        """What is claimed."""
        given = text_of(self.read("question.json"), "question.json")
        matched(_QUESTION, given, "question.json")
        try:
            asked: dict[str, Any] = json.loads(given)
        except (ValueError, RecursionError):
            asked = {}
        again = json.dumps(asked, ensure_ascii=False, separators=(",", ":")) + "\n"
        need(again == given, "question.json is malformed")
        self.position, self.leaves, complete = asked["position"], asked["leaves"], asked["kind"] == "complete"
        need(complete == (asked["narrowed"] is None), "question.json: what is narrowed is included only")
        leaves = (self.position, self.position + 1) if complete else (0,)
        need(self.position > 0 and self.leaves in leaves, "question.json: these are not the leaves")
        tables = list(COLUMNS)[:4] if complete else ["events"]
        files = sorted(f"answer/{table}.{form}" for table in tables for form in ("csv", "json"))
        there = asked["tables"] == tables and self.named("answer/.*") == files
        need(there, f"the answer is not {', '.join(files)}")
        return asked

    def check_complete(self, asked: dict[str, Any], notes: Sequence[Note], report: "Report") -> Found:
        """Steps 3 and 6: the leaves make the roots that were signed, and the events make the answer."""
        total, tasks = notes[0].size, range(-(-self.leaves // RANGE))
        need(total >= self.leaves, f"log/checkpoint is of {total} leaves only")
        need(self.leaves > self.position or total == self.position, "the leaf behind the last is missing")
        self.cuts = {note.size for note in notes if note.size <= self.leaves} | {self.position, self.leaves}
        self.parts = 1 + self.leaves // PART
        entries, others = self.named("log/tile/entries/.*"), self.named("proofs/.*")
        need(len(entries) == -(-self.leaves >> 8) and not others, f"there are not just {self.leaves} leaves")
        bundles = [tile("entries", n, min(256, self.leaves - (n << 8))) for n in range(len(entries))]
        need(entries == sorted(bundles), f"there are not just {self.leaves} leaves")
        scans = [("scan", (table, form)) for form in ("json", "csv") for table in asked["tables"]]
        both = list(self.together("reading", [*scans, *(("read_range", task) for task in tasks)]))
        ranges, found, answered = both[len(scans) :], Found(), Found()
        for before, after in pairwise(ranges):
            last, first = max(before.times), min(after.times)
            need(before.times[last] <= after.times[first], f"the event {first} was recorded before {last}")
        for each in ranges:
            found.join(each)
        whole = [found.cuts[(task + 1) * RANGE][0] for task in tasks[: self.leaves // RANGE]]
        cuts = found.cuts.items()
        trees = {n: subtrees(whole[: n // RANGE]) + (cut if n % RANGE else []) for n, cut in cuts}
        inside = dict(zip(spans(self.leaves), trees[self.leaves], strict=True))
        for note in notes:
            known = note.size <= self.leaves
            root = root_of(trees[note.size]) if known else self.tree_root(0, note.size, inside, total)
            need(root == note.root, f"{note.member}: the root of its {note.size} leaves is {root.hex()}")
        for each in both[: len(scans)]:
            answered.join(each)
        self.places = [each.places for each in ranges]
        folded = self.fold()
        self.compare(folded, answered)
        aside, others = found.aside + folded.aside, asked["set_aside"] - found.aside - folded.aside
        need(0 <= others <= found.others, f"{aside} events cannot be folded, not {asked['set_aside']}")
        report.proven.append(
            f"the events 1 to {self.leaves}, by their bytes, are the first of {total} signed"
        )
        rows = f"the events 1 to {self.position} make these rows, and no others"
        report.proven.append(f"the answer is complete: {rows}")
        report.proven += [f"{aside} of these events cannot be folded, and make no rows"] * bool(aside)
        report.asserted += [f"{others} events of other kinds could not be folded"] * bool(others)
        return found

    def check_inclusion(self, notes: Sequence[Note], report: "Report") -> Found:
        """Each event of the answer has its proof; that there are no others is not claimed."""
        sealed, found, last = notes[0], Found(), (0, "")
        objects, csv = (list(chain.from_iterable(self.lines("events", form))) for form in ("json", "csv"))
        need(0 < len(objects) == len(csv), "answer/events.csv and answer/events.json have not as many rows")
        for line, other in zip(objects, csv, strict=True):
            try:
                row = json.loads(line[:-1])
                position, at, by, stream, version, kind, state = row.values()
                head = f'{{"position":{position},"recorded_at":"{at}","recorded_by":{as_json(by)}'
                tail = f'"stream_id":"{stream}","type":{as_json(kind)},"version":{version}}}'
                top, leaf = f"{head},{tail}\n".encode(), f"{head},{tail}\n{state}".encode()
            except (ValueError, AttributeError, TypeError, RecursionError):
                raise NotProven(f"answer/events.json has a line that is no event: {line!r:.200}") from None
            written = lines_of("events", list(row.values()))
            need(written == (other, line), f"the event {position} is not the same in both files")
            need(parse_leaf(leaf, f"the event {position}")[0] == position, f"{position!r} is no position")
            need(last[0] < position and last[1] <= at, f"the event {position} is not in order")
            found.times[position], last, name = at, (position, at), f"proofs/{position}.tlog-proof"
            extra, index, path, signed = matched(_PROOF, text_of(self.read(name), name), name).groups()
            leaf = decoded(extra, name) if extra else leaf  # a state may be no text
            same = leaf.startswith(top) and leaf[len(top) :].decode("utf-8", "backslashreplace") == state
            need(same, f"{name} is of another leaf")
            need(signed.encode() == self.read("log/checkpoint"), f"{name} has another checkpoint")
            hashed, proof = hashlib.sha256(b"\x00" + leaf).digest(), [decoded(x, name) for x in path.split()]
            root = proven_root(hashed, position - 1, sealed.size, proof)
            proven = root == sealed.root and index == f"{position - 1}"
            need(proven, f"{name} does not prove the event {position}")
            self.decode(kind, leaf[len(top) :], (position, at, b""), found, [[], [], []])
        need(last[0] <= self.position <= sealed.size, "the answer has events that it cannot know")
        proofs = sorted(f"proofs/{position}.tlog-proof" for position in found.times)
        need(self.named("(proofs|log/tile/entries)/.*") == proofs, "there are proofs, or leaves, of no event")
        for note in notes[1:]:
            inside = dict.fromkeys(spans(note.size), note.root)  # a complete tree is its own subtree
            if len(inside) > 1:
                sizes = [(a, b - a) for a, b in inside]
                hashes = [self.stored(n.bit_length() - 1, a // n, sealed.size) for a, n in sizes]
                inside = dict(zip(inside, hashes, strict=True))
            roots = root_of(list(inside.values())), self.tree_root(0, sealed.size, inside, sealed.size)
            need(roots == (note.root, sealed.root), f"log/checkpoint does not continue {note.member}")
        report.proven.append(f"these {len(csv)} events, by their bytes, are among {sealed.size} signed")
        report.unchecked.append("INCLUSION ONLY: that there are no other events like these is not shown")
        return found

    def check_position(self, asked: dict[str, Any], times: dict[int, str], report: "Report") -> None:
        """Step 4: the position is the last that the answer may know."""
        at, as_of = asked["recorded_at"], asked["as_of"]
        need(times.get(self.position, at) == at, f"the event {self.position} was not recorded at {at}")
        if as_of is None:
            if run := re.fullmatch(r"\s*run\s+([0-9a-f-]+)\s*", asked["asked"], re.IGNORECASE):
                ids = {UUID((name or b"").decode()).hex: ended for name, (_, ended, *_) in self.runs.items()}
                start = run[1].lower().replace("-", "")
                ends = [ended for name, ended in ids.items() if name.startswith(start)]
                need(ends == [self.position] or not self.leaves, f"{asked['asked']} did not end there")
                report.asserted += ["that the run ended there"] * (not self.leaves)
            else:
                good = asked["asked"].strip() == f"{self.position}"
                need(good, f"{asked['asked']!r:.100}, as it was asked, is not position {self.position}")
            return
        need(instant(as_of) == as_of and at <= as_of, f"the event {self.position} was recorded after {as_of}")
        try:
            means = datetime.fromisoformat(asked["asked"].strip())
            good = means.tzinfo and f"{means.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}" == as_of
            need(good, f"{asked['asked']!r:.100}, as it was asked, is not {as_of}")
        except ValueError:  # as people write it
            report.asserted.append(f"{asked['asked']!r:.100}, as it was asked, means {as_of}")
        if self.leaves > self.position:
            after = times[self.leaves]
            need(after > as_of, f"the event {self.leaves}, recorded at {after}, is missing in the answer")
            report.proven.append(f"the next event was recorded after that, at {after}: the answer is final")
        elif self.leaves:
            report.unchecked.append("whether the answer is final: no later event has been signed")

    def trust(self, notes: Sequence[Note], keys: Sequence[str], found: Found) -> list[str]:
        """Step 2: a trusted key signed each note, or one that follows on it by an event that it signed."""
        trusted, unsigned = list(keys), list(notes)
        for _ in notes:
            for note in [note for note in unsigned if note.signed_by(trusted)]:
                unsigned.remove(note)
                for position, previous, following in found.rotations:
                    if position <= note.size and previous in trusted and following not in trusted:
                        parse_key(f"{following}")
                        trusted.append(following)
        need(not unsigned, f"{[note.member for note in unsigned]} have no signature of {', '.join(trusted)}")
        for note in notes:
            note.signed_by(trusted)  # by now trusted, and none of their signatures may be wrong
        return trusted

    def stamp(self, note: str, tsr: str, certificates: bytes) -> datetime | str:
        """The time of an RFC 3161 timestamp over a note, or why it is not known."""
        if not certificates:
            return "there is no certificate of its authority; give it with --tsa"
        for name, data in (("data", self.read(note)), ("reply", self.read(tsr)), ("pinned", certificates)):
            (self.spill / name).write_bytes(data)

        def openssl(*arguments: str) -> subprocess.CompletedProcess[str]:
            command = ["openssl", "ts", *arguments]
            return subprocess.run(command, cwd=self.spill, capture_output=True, text=True, check=False)

        try:
            shown = openssl("-reply", "-in", "reply", "-text")
        except OSError:
            return "there is no openssl"
        signed = shown.stdout.rpartition("TST info:")[2]  # before it, anybody can have written what is shown
        found = re.search(r"\nTime stamp: (\w{3} +\d+ [\d:]{8})(?:\.\d+)? (\d{4}) GMT\n", signed)
        if shown.returncode or not found:
            raise NotProven(f"{tsr} is no timestamp: {shown.stderr.strip()[-200:]}")
        at = datetime.strptime(f"{found[1]} {found[2]}", "%b %d %H:%M:%S %Y").replace(tzinfo=UTC)
        files = ("-data", "data", "-in", "reply", "-CAfile", "pinned", "-untrusted", "pinned")
        checked = openssl("-verify", *files, "-attime", f"{at.timestamp():.0f}")
        need(checked.returncode == 0, f"{tsr} does not stamp {note}: {checked.stderr.strip()[-200:]}")
        return at

    def check_times(self, pinned: bytes, notes: Sequence[Note], found: Found, report: "Report") -> None:
        """Step 5: no event is recorded after a timestamp that covers it; says what timestamps show."""
        sizes, covered, times = {note.member: note.size for note in notes}, [], found.times
        for tsr in self.named(r"anchors/.*\.tsr"):
            size, name = matched(r"anchors/(\d+)\.([\w-]+)\.tsr", tsr, tsr).groups()
            note, own = f"anchors/{size}.checkpoint", f"anchors/{name}.pem"
            need(note in sizes, f"{tsr} is there, but not {note}")
            at = self.stamp(note, tsr, pinned or (self.read(own) if own in self.sums else b""))
            if isinstance(at, str):
                report.unchecked.append(f"{tsr}: {at}")
                continue
            if not pinned:
                report.unchecked.append(f"{own}: it comes with the package, as {tsr} does; give --tsa")
            last = max((position for position in times if position <= sizes[note]), default=0)
            late = times.get(last, "") > f"{at + CLOCKS:%Y-%m-%dT%H:%M:%S}.000000Z"
            need(not late, f"the event {last}, recorded at {times.get(last)}: {tsr} had seen it at {at}")
            covered += [at] * (sizes[note] >= self.position)
            report.proven.append(f"{name} has seen events 1 to {sizes[note]} at {at:%Y-%m-%d %H:%M:%S} UTC")
        if covered:
            report.proven.append(f"the answer has not changed since {min(covered):%Y-%m-%d %H:%M:%S} UTC")
        else:
            report.unchecked.append("when: no timestamp that was checked covers the answer")
        report.asserted.append("recorded_at is what the operator's clock said, within what timestamps show")

    def check_bodies(self, bodies: Sequence[re.Match[str]], named: set[str], report: "Report") -> None:
        """Step 7: bodies are those that events commit to."""
        present = sorted(f"bodies/{body[1]}" for body in bodies if body[5] == "present")
        need(present == self.named("bodies/.{43}"), "there are other bodies than in bodies/index.json")
        for body in bodies:
            name, size = f"bodies/{body[1]}", int(body[3])
            need(body[1] in named, f"{name}: no event commits to it")
            if body[5] == "erased":
                report.proven.append(f"{name}: PROVEN, PAYLOAD ERASED")
            elif body[5] == "truncated":
                report.unchecked.append(f"{name}: it was too large to keep")
            else:
                code = hmac.new(base64.urlsafe_b64decode(f"{body[2] or ''}="), digestmod="sha256")
                length = 0
                for piece in self.pieces(name, size):
                    code.update(piece)
                    length += len(piece)
                good = base64.urlsafe_b64encode(code.digest()).decode() == f"{body[1]}="
                need(good and length == size, f"{name} is not what the events commit to")
        report.proven += [f"{len(present)} bodies are those that the events commit to"] * bool(present)

    def check(self, report: "Report", keys: Sequence[str], tsa: Sequence[Path]) -> None:
        """All of it; the description of the format numbers the steps."""
        try:
            pinned = b"\n".join(path.read_bytes() for path in tsa)
            list(map(parse_key, keys))
        except (OSError, NotProven) as error:
            raise Unusable(f"--key or --tsa: {error}") from None
        self.open()
        asked = self.question()
        members = ["log/checkpoint", *self.named(r"anchors/[0-9]+\.checkpoint")]
        notes = [Note(name, self.read(name)) for name in members]
        for note in notes:
            need(note.origin == asked["ledger_id"], f"{note.member} is of another ledger, {note.origin}")
            named = note.member in (members[0], f"anchors/{note.size}.checkpoint")
            need(named, f"{note.member} is of size {note.size}")
            need(0 < note.size <= notes[0].size, f"{note.member} is larger than log/checkpoint, or empty")
        bodies: list[re.Match[str]] = []
        for name in self.named(r"bodies/index\.json"):
            rows = matched(r"(?s)\[\n(.*)\n\]\n", text_of(self.read(name), name), name)[1].split(",\n")
            bodies = [matched(_BODY, row, name) for row in rows if row]
        self.wanted = {body[1].encode() for body in bodies}
        right = len(self.wanted) == len(bodies) == asked["bodies"]
        need(right, "question.json says another number of bodies")
        stated = matched("(?:.+\n)+", text_of(self.read("keys"), "keys"), "keys")[0].split("\n")[:-1]
        list(map(parse_key, stated))
        for name in self.named(r"verify\.py|report\.html|anchors/.*|log/tile/[0-7]/.*"):
            self.read(name)
        complete = asked["kind"] == "complete"
        found = self.check_complete(asked, notes, report) if complete else self.check_inclusion(notes, report)
        signers = ", ".join(self.trust(notes, keys or stated, found))
        report.proven.append(f"the checkpoints are signed by {signers}")
        if not keys:
            report.unchecked.append("the key: it comes with the package; have it from elsewhere, give --key")
        self.check_position(asked, found.times, report)
        self.check_times(pinned, notes, found, report)
        self.check_bodies(bodies, found.named, report)


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
        lines = [f"proven: {line}" for line in self.proven] + [f"asserted: {line}" for line in self.asserted]
        lines += [f"UNCHECKED: {line}" for line in self.unchecked]
        lines += ["PROVEN" if self.failure is None else f"NOT PROVEN: {self.failure}"]
        steering = "[\0-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
        return "\n".join(re.sub(steering, "\ufffd", line) for line in lines)


package: Package  # what is verified: here, and in the processes that are forked from this one


def call(task: tuple[str, Any]) -> Any:
    """What a method of the package returns."""
    gc.disable()  # what is made here has no cycles, and is a lot
    return getattr(package, task[0])(task[1])


def verify(
    path: Path, keys: Sequence[str] = (), tsa: Sequence[Path] = (), jobs: int | None = None, bar: bool = False
) -> Report:
    """Verify a package.

    Args:
        path: The ZIP file.
        keys: The verifier keys that are trusted; without any, those in the package, and the report says so.
        tsa: Files of certificates of authorities that are trusted; without any, those in the package.
        jobs: How many processes work; by default as many as there are processors.
        bar: Whether to draw on stderr how far it is.
    """
    global package
    report, collected = Report(), gc.isenabled()
    jobs = (jobs or os.cpu_count() or 1) if "fork" in multiprocessing.get_all_start_methods() else 1
    package = Package(path, Path(), bar, jobs)
    try:
        with tempfile.TemporaryDirectory(prefix="verify-") as folder:
            package.spill = Path(folder)
            package.check(report, keys, tsa)
    except (Unusable, ImportError) as error:
        report.code, report.failure = 2, f"{error}"
    except Exception as error:  # noqa: BLE001  whatever it is, nothing is proven, and nobody wants a traceback
        known = isinstance(error, NotProven)
        report.code, report.failure = 1, f"{error}" if known else f"an error: {type(error).__name__}: {error}"
    finally:
        (gc.enable if collected else gc.disable)()
        if package.opened:
            package.opened[1].close()
    return report


def main() -> int:
    """Verify what the command line says; returns the exit code."""
    parser = argparse.ArgumentParser(description="Verify an evidence package of audit-ledger.")
    parser.add_argument("package", type=Path, metavar="PACKAGE.zip")
    parser.add_argument("--key", action="append", default=[], metavar="VKEY", help="a key that you trust")
    parser.add_argument("--tsa", action="append", default=[], type=Path, metavar="CERT", help="an authority")
    parser.add_argument("--jobs", type=int, metavar="N", help="processes; by default one a processor")
    given = parser.parse_args()
    report = verify(given.package, given.key, given.tsa, given.jobs, bar=sys.stderr.isatty())
    print(report)
    return report.code


if __name__ == "__main__":
    sys.exit(main())
