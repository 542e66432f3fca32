"""Verify an evidence package of audit-ledger: offline, by this one file, without trusting who made it.

    python verify.py PACKAGE.zip --key VKEY [--tsa CERT.pem] [--jobs N]

It takes Python 3.11, the package `cryptography`, and for timestamps `openssl`. It ends with 0: all that is
claimed is proven; 1: it is not, any doubt being a failure; 2: the command or the file cannot be used.

Memory does not grow with the events: read_range hashes and decodes 65,536 leaves, and leaves in files what
the answer is made of; fold_part folds it part by part. Rows come in no order, so that lines are compared by
sums of 65,536 ids: hashes (SipHash, its key random) of lines that events make, less those of lines given.
"""
import argparse, base64, functools, gc, hmac, itertools, json, marshal, multiprocessing, os, re, shutil
import subprocess, sys, tempfile, zipfile, zlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

RANGE, PART = 1 << 16, 100_000  # leaves of a task, a complete subtree; about as many events make a part
SECOND, CLOCKS = "%Y-%m-%d %H:%M:%S UTC", timedelta(minutes=1)  # granted between ledger and authority
SMALL, LINE = 64 << 20, 4 << 20  # bytes of a member that is read whole, and of a line of the answer, at most
dumps = json.JSONEncoder(ensure_ascii=False).encode
PLAIN = {"id": "%s", "data_ingestion_run_id": "%s", "created_at": '"%s"', "updated_at": '"%s"'}
RANK = {b"skipped": 0, b"updated": 1, b"withdrawn": 2, b"created": 3}
TABLES = {
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
DAY = "[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
AT = rf"{DAY}T(?:[01][0-9]|2[0-3])(?::[0-5][0-9]){{2}}\.[0-9]{{6}}Z"
UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
CHAR = r'(?:[^"\\\x00-\x1f\ud800-\udfff]|\\["\\btnfr]|\\u00(?:0[1-7bef]|1[0-9a-f]))'  # in one form; no NUL
FORMS = {  # of values, in JSON
    "int": "-?[0-9]{1,18}", "text": f'"{CHAR}*"', "texts": rf'\[(?:"{CHAR}*"(?:, )?)*\]', "object": r"\{.*\}",
    "name": f'"{CHAR}{{1,1000}}"', "day": f'"{DAY}"', "at": f'"{AT}"', "uuid": f'"{UUID}"',
    "operation": '"(?:created|updated|skipped)"', "status": '"(?:present|erased|truncated)"',
    "commitment": '"[A-Za-z0-9_-]{43}"', "salt": '"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]"',
}
END = "run_id:uuid? occurred_at:at fetched:int? created:int? updated:int? skipped:int? data_date_start:day?"
FIELDS = {  # what is read of objects, each in the form in which the ledger writes it; with ? it may be absent
    "RunStarted": "run_id:uuid? occurred_at:at task:name source:name",
    "RecordIngested": "run_id:uuid? record_type:name record_id:name operation:operation? content:commitment?",
    "RecordWithdrawn": "run_id:uuid? record_type:name record_id:name",
    "ApiCallMade": "run_id:uuid? request:commitment? response:commitment? endpoint:text http_status_code:int?"
    " duration_ms:int? rate_limit_remaining:int? error_class:text?",
    "RunCompleted": f"{END} data_date_end:day?",
    "RunFailed": f"{END} data_date_end:day? message:text error_class:text output:text? signal:text?"
    " backtrace:texts? exit_status:int?",
    "RunAbandoned": "run_id:uuid occurred_at:at detail:text",
    "KeyRotated": "previous:text next:text",
    "question.json": "as_of:at? asked:text bodies:int kind:text leaves:int ledger_id:uuid made_at:at"
    " narrowed:object? position:int recorded_at:at set_aside:int software_version:text tables:texts",
    "bodies/index.json": "commitment:commitment salt:salt? size:int media_type:text? status:status",
}
NAMES = {kind: re.findall(r"(\w+):", spec) for kind, spec in FIELDS.items()}
VALUES = {kind: re.compile(r"\[" + ", ".join(f"(?:{FORMS[form]}{'|null' * len(absent)})" for form, absent in
          re.findall(r":(\w+)(\??)", spec)) + r"\]") for kind, spec in FIELDS.items()}
LEAF = re.compile(rf'\{{"position":([1-9][0-9]{{0,18}}),"recorded_at":"({AT})","recorded_by":("{CHAR}*"),'
                  rf'"stream_id":"({UUID})","type":("{CHAR}*"),"version":(0|[1-9][0-9]{{0,18}})\}}\n')
ASCII = r'"([^"\\\x00-\x1f\x7f-\xff]{1,999})"'
TOUCH = re.compile((  # the state of most RecordIngested, which are many: it is decoded by this alone
    r'\{(?:"content":"([0-9A-Za-z_-]{43})",|)"occurred_at":"[0-9TZ:.-]{27}",(?:"operation":"(created|updated|'
    rf'skipped)",|)"record_id":{ASCII},"record_type":{ASCII},(?:"run_id":"({UUID})",|)"v":1\}}'
).encode()).fullmatch
KEY = r"([^\s+\0-\x1f]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]{44})"
NOTE = ("(([^\0-\x1f]+)\n(0|[1-9][0-9]{0,17})\n([A-Za-z0-9+/]{43}=)\n(?:[^\0-\x1f]+\n)*)\n"
        r"((?:— [^\s+\0-\x1f]+ [A-Za-z0-9+/]+={0,2}\n){1,100})")
PROOF = "c2sp.org/tlog-proof@v1\nextra (.+)\nindex ([0-9]+)\n((?:.{44}\n){0,63})\n([^\0]+)"
MEMBER = (r"SHA256SUMS|keys|verify\.py|report\.html|question\.json|log/checkpoint|answer/[a-z_]+\.(csv|json)|"
          r"anchors/([0-9]+\.checkpoint|[0-9]+\.[\w-]+\.tsr|[\w-]+\.pem)|bodies/(index\.json|[\w-]{43})|"
          r"log/tile/(entries|[0-7])/([x0-9]+/)*[0-9]+(\.p/[0-9]+)?|proofs/[0-9]+\.tlog-proof")
ROW = '([^"\n]*+(?>(?:"[^"]*+"[^"\n]*+)*))\n'  # of CSV
ROWS = re.compile(f"(?>(?:{ROW})*)".encode())
class NotProven(Exception): """Something does not hold."""
def need(holds: object, reason: str) -> None:
    if not holds: raise NotProven(reason)
def matched(pattern: str | re.Pattern[str], given: str, what: str) -> re.Match[str]:
    if found := re.fullmatch(pattern, given): return found
    raise NotProven(f"{what} is malformed: {given!r:.200}")
def decoded(encoded: str) -> bytes:  # base64, in its one form (RFC 4648 section 4)
    data = base64.b64decode(encoded.encode("ascii"), validate=True)
    need(base64.b64encode(data).decode() == encoded, f"this is not base64: {encoded!r:.100}")
    return data
def fields(kind: str, given: Any) -> list[Any] | None:  # an object's values; None if they are not by FIELDS
    values = [given.get(name) for name in NAMES[kind]] if isinstance(given, dict) else []
    return values if VALUES[kind].fullmatch(dumps(values)) else None
@functools.lru_cache(1 << 16)
def cells(value: Any) -> tuple[str, str]:
    """A value of a row as PostgreSQL's COPY (FORMAT csv) and to_json write it; a tuple is JSON already."""
    if value is None: return "", "null"
    text = value.decode() if isinstance(value, bytes) else str(value[0] if type(value) is tuple else value)
    csv = '"' + text.replace('"', '""') + '"' if not text or re.search('[",\n\r]', text) else text
    return csv, text if isinstance(value, tuple | int) else dumps(text)
# Keys, signatures and checkpoints: C2SP signed-note and tlog-checkpoint
def parse_key(line: str) -> tuple[str, bytes, bytes]:  # name, id and public key of a verifier key
    name, key_id, encoded = matched(KEY, line, "a verifier key").groups()
    data = decoded(encoded)
    good = data[0] == 1 and sha256(name.encode() + b"\n" + data).hexdigest()[:8] == key_id
    need(good, f"{line:.120}: not Ed25519, or the id is that of another key")
    return name, bytes.fromhex(key_id), data[1:]
class Note:
    """A checkpoint in a signed note, whose signatures are not checked yet."""
    def __init__(self, member: str, given: str) -> None:
        text, self.origin, size, root, block = matched(NOTE, given, member).groups()
        self.member, self.text, self.size, self.root = member, text.encode(), int(size), decoded(root)
        self.signatures = [(name, decoded(value)) for _, name, value in map(str.split, block.splitlines())]
    def signed_by(self, keys: Iterable[str]) -> bool:
        """Whether one of these keys has signed it; a signature of any of them that fails condemns it."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        theirs = [(key, value[4:]) for key in map(parse_key, keys) for name, value in self.signatures
                  if (name, value[:4]) == key[:2]]
        for (name, _, public), signature in theirs:
            try: Ed25519PublicKey.from_public_bytes(public).verify(signature, self.text)
            except InvalidSignature: raise NotProven(f"{self.member}: signed wrongly by {name}") from None
        return bool(theirs)
# The Merkle tree (RFC 6962 section 2.1), its files (C2SP tlog-tiles), and its leaves
def over(hashes: Sequence[bytes]) -> bytes:  # the hash over a power of two of hashes
    while len(hashes) > 1:
        hashes = [sha256(b"\1" + a + b).digest() for a, b in zip(hashes[::2], hashes[1::2], strict=True)]
    return hashes[0]
def proven_root(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """The root that an inclusion proof leads to (RFC 9162 section 2.1.3); none if its length is wrong."""
    if size == 1 or not proof: return leaf if (index, size, len(proof)) == (0, 1, 0) else b""
    left, *rest, sibling = 1 << (size - 1).bit_length() - 1, *proof
    if index < left: return over([proven_root(leaf, index, left, rest), sibling])
    return over([sibling, proven_root(leaf, index - left, size - left, rest)])
def tile(level: int | str, number: int, width: int) -> str:  # the member of a tile of hashes, or of entries
    *groups, last = f"{number:,}".split(",")
    path = "".join(f"x{group:0>3}/" for group in groups)
    return f"log/tile/{level}/{path}{last:0>3}" + f".p/{width}" * (width < 256)
def parse_leaf(leaf: bytes, position: int) -> tuple[bytes, str, str, str, str, int]:
    """The line of a leaf with its columns: itself, recorded_at, recorded_by, stream_id, type and version."""
    head, what = leaf[: leaf.find(b"\n") + 1], f"the leaf at position {position}"
    own, at, by, stream, kind, version = matched(LEAF, head.decode(errors="surrogateescape"), what).groups()
    need(int(own) == position, f"{what} states position {own}")
    return head, at, json.loads(by), stream, json.loads(kind), int(version)
class Found:
    """What a task has found: of leaves, in a fold, or of the answer."""
    def __init__(self) -> None:
        self.nodes, self.times = dict[tuple[int, int], bytes](), dict[int, str]()  # of leaves
        self.places, self.named, self.rotations = dict[int, Any](), set[bytes](), dict[int, list[Any]]()
        self.counts, self.sums, self.rows = Counter[Any](), Counter[Any](), dict[tuple[int, int], str]()
    def join(self, other: "Found") -> None:
        for name, value in vars(other).items(): getattr(self, name).update(value)
    def add(self, table: str, ids: Sequence[Any], sign: int = 1, id_of: Any = int, **files: Any) -> None:
        """Add lines, by ascending ids, or by what has one; those that are given have the sign -1."""
        first = 0
        while first < len(ids):
            block = id_of(ids[first]) >> 16
            last = bisect_left(ids, block + 1 << 16, first, key=id_of)
            for form, lines in files.items():
                self.sums[table, form, block] += sign * sum(map(hash, lines[first:last]))
                if package.want == (table, form, block):
                    self.rows.update({(id_of(ids[i]), sign): lines[i] for i in range(first, last)})
            first = last
    def add_rows(self, table: str, rows: Iterable[Sequence[Any]]) -> None:  # they may have more
        names, columns = TABLES[table].split(), [*zip(*rows, strict=True)] or [()]
        forms = ("%s," * len(names))[:-1], "{" + ",".join(f'"{n}":{PLAIN.get(n, "%s")}' for n in names) + "}"
        pairs = [(c, c) if n in PLAIN else [*zip(*map(cells, c))] for n, c in zip(names, columns)]
        for name, form, made in zip(("csv", "json"), forms, zip(*pairs)):
            self.add(table, columns[0], 1, int, **{name: [*map(form.__mod__, zip(*made))]})
class Package:
    """The ZIP file, and what is known of it; processes that help are forked, and know it too."""
    zip: zipfile.ZipFile
    def __init__(self, path: Path, spill: Path, jobs: int = 1, bar: bool = False) -> None:
        self.path, self.spill, self.jobs, self.bar = path, spill, jobs, bar
        self.files, self.member = dict[tuple[int, Path], Any](), ""  # what is open; which member is read
        self.position, self.leaves, self.parts, self.sums = 0, 0, 0, dict[str, bytes]()  # of members
        self.notes, self.wanted = list[Note](), set[bytes]()  # wanted: bodies
        self.places, self.runs, self.tables = dict[int, Any](), dict[bytes, Any](), list[str]()
        self.want: tuple[str, str, int] | None = None  # where a line is looked for
    def open(self) -> None:  # every member must be listed once in SHA256SUMS, and nothing else may be there
        names = Counter(info.filename for info in self.zip.infolist())
        for name, count in names.items():
            need(re.fullmatch(MEMBER, name, re.ASCII), f"no package has a member {name!r:.100}")
            need(count == 1, f"{name} is there twice")
        manifest, form = self.text("SHA256SUMS"), "([0-9a-f]{64})  (.+)\n"
        self.sums = {line[2]: bytes.fromhex(line[1]) for line in re.finditer(form, manifest)}
        again = "".join(f"{digest.hex()}  {name}\n" for name, digest in sorted(self.sums.items()))
        need(again == manifest, "SHA256SUMS is malformed, is not in order, or names a member twice")
        for name in sorted(self.sums.keys() ^ (names.keys() - {"SHA256SUMS"})):
            raise NotProven(f"{name} is {'not there' if name in self.sums else 'not in SHA256SUMS'}")
    def file(self, path: Path) -> Any:  # opened by this process: no other moves the place in it
        own, mode = (os.getpid(), path), "rb" if path == self.path else "a+b"
        return self.files.get(own) or self.files.setdefault(own, path.open(mode))
    def pieces(self, name: str, limit: int = 1 << 62) -> Iterator[bytes]:
        """The content of a member; an error at its end if its digest is not that of the manifest."""
        need(name in self.zip.NameToInfo, f"{name} is not there")
        digest, info, self.member, self.zip.fp = sha256(), self.zip.getinfo(name), name, self.file(self.path)
        need(info.file_size <= limit and info.compress_type in (0, 8), f"{name} is larger than it can be")
        with self.zip.open(info) as stream:
            while piece := stream.read(1 << 20):
                digest.update(piece)
                yield piece
        need(self.sums.get(name) in (None, digest.digest()), f"{name} is not what SHA256SUMS says")
    def read(self, name: str, limit: int = SMALL) -> bytes: return b"".join(self.pieces(name, limit))
    def text(self, name: str) -> str: return self.read(name).decode()
    def named(self, form: str) -> list[str]: return sorted(filter(re.compile(form).fullmatch, self.sums))
    def objects(self, name: str) -> list[Any]:
        """The objects in a file of JSON that is to the byte as it must be, with the values of FIELDS."""
        form, given = "{}\n" if name == "question.json" else "[\n{}\n]\n", json.loads(text := self.text(name))
        rows = [given] if name == "question.json" else given
        again = ",\n".join(json.dumps(each, ensure_ascii=False, separators=(",", ":")) for each in rows)
        good = all(fields(name, each) and list(each) == NAMES[name] for each in rows)
        need(good and text == form.format(again), f"{name} is malformed")
        return rows
    def together(self, what: str, tasks: Sequence[tuple[str, Any]]) -> Iterator[Found]:
        """What methods find, in the order of these tasks, by several processes."""
        pool = ProcessPoolExecutor(self.jobs, multiprocessing.get_context("fork")) if self.jobs > 1 else None
        try:
            for done, found in enumerate(pool.map(call, tasks) if pool else map(call, tasks), 1):
                bar = f"\r{what} [{'#' * (40 * done // len(tasks)):40}]" if done < len(tasks) else "\r\33[K"
                if self.bar: print(bar, end="", file=sys.stderr, flush=True)
                yield found
        finally:
            if pool: pool.shutdown(cancel_futures=True)
    # The leaves, and the tree over them
    def read_range(self, task: int) -> Found:
        """Hash and decode the leaves of a range; what the answer is made of goes to a file."""
        begin, end, found, at, kind = task * RANGE, min(task * RANGE + RANGE, self.leaves), Found(), "", ""
        position, base, stream, middle, types = begin, 0, b"", b"", dict[bytes, bytes]()
        parts, wanted, limit, crc32 = self.parts, self.wanted, self.position, zlib.crc32
        spill, cuts = [list[Any]() for _ in range(parts * 2 + 1)], {limit, *(n.size for n in self.notes)}
        for first in range(begin, end, 256):
            width, start, hashes = min(256, end - first), 0, list[bytes]()
            bundle = self.read(tile("entries", first >> 8, width), 256 << 16)
            size = len(bundle) - 1
            while start < size:  # each leaf is behind its length of two bytes
                start, last = start + 2, start + 2 + (bundle[start] << 8 | bundle[start + 1])
                leaf, start, position = bundle[start:last], last, position + 1
                hashes.append(sha256(b"\0" + leaf).digest())
                head = b'{"position":%d%b%d}\n' % (position, middle, position - base)  # the last, one further
                if not middle or not leaf.startswith(head):
                    head, now, _, own, kind, version = parse_leaf(leaf, position)
                    need(now >= at, f"the leaf at position {position} is of {now}, before {at}")
                    base, stream, at, often = position - version, own.encode(), now, kind == "RecordIngested"
                    middle = head[head.find(b",") : head.rfind(b":") + 1]
                    found.times = found.times or {position: at}
                if position in cuts: found.times[position] = at
                if often and position <= limit and (touch := TOUCH(leaf, len(head))):
                    content, done, record, type_, other = touch.groups()
                    row = position, at, other or stream, types.setdefault(type_, type_), record, done, content
                    spill[crc32(record) % parts].append(row)
                    if content in wanted: found.named.add(content)
                elif position <= limit or kind == "KeyRotated":
                    self.decode(kind, leaf[len(head) :], (position, at, stream), found, spill)
            need(start == size + 1 and len(hashes) == width, f"{self.member} has not {width} leaves")
            if width == 256: found.nodes[first, first + 256] = over(hashes)
            if width < 256 or not cuts.isdisjoint(range(first + 1, first + 256)):
                found.nodes.update({(first + i, first + i + 1): hashed for i, hashed in enumerate(hashes)})
        found.times[position] = at
        if end - begin == RANGE and cuts.isdisjoint(range(begin + 1, end)):
            found.nodes = {(begin, end): self.tree(found.nodes, begin, end, end)}
        file = self.file(path := self.spill / f"{os.getpid()}")
        found.places[task] = path, [(file.tell(), file.write(marshal.dumps(rows))) for rows in spill]
        file.flush()
        return found
    def decode(self, kind: str, state: bytes, event: Any, found: Found, spill: list[list[Any]]) -> None:
        """Put what an event says where it is folded: a record, call or run, behind position, time and run."""
        try: values = fields(kind, json.loads(state.decode())) if kind in FIELDS else None
        except (ValueError, RecursionError): values = None  # neither UTF-8 nor JSON, or too deep
        other = kind not in FIELDS or kind == "KeyRotated"
        if other or not values:
            found.counts["others" if other else "aside"] += 1
            if values: found.rotations[event[0]] = values
            return
        run, *said = values
        head, parts, part = (*event[:2], run.encode() if run else event[2]), len(spill) // 2, -1
        commitments = said[3:] if kind == "RecordIngested" else said[:2] if kind == "ApiCallMade" else []
        found.named |= {each.encode() for each in commitments if each} & self.wanted
        if kind.startswith("Record"):
            said = [None if each is None else each.encode() for each in [*said, "withdrawn", ""][:4]]
            part = zlib.crc32(said[1]) % parts
        elif kind == "ApiCallMade": part = parts + event[0] % parts
        spill[part].append((*head, *said) if part >= 0 else (*head, kind, said))
    def tree(self, nodes: dict[tuple[int, int], bytes], start: int, end: int, known: int) -> bytes:
        """The hash over leaves, from nodes; over complete subtrees behind those known, from tiles."""
        if (start, end) not in nodes and start >= known and (end - start).bit_count() == 1:
            level, low = divmod((end - start).bit_length() - 1, 8)
            first = start >> 8 * level
            name = tile(level, first >> 8, min(256, (self.notes[0].size >> 8 * level) - (first & ~255)))
            data = self.read(name)[32 * (first & 255) :][: 32 << low]
            need(len(data) == 32 << low, f"{name} is too short")
            nodes[start, end] = over([data[at : at + 32] for at in range(0, len(data), 32)])
        elif (start, end) not in nodes:
            mid = start + (1 << (end - start - 1).bit_length() - 1)
            nodes[start, end] = over([self.tree(nodes, start, mid, known), self.tree(nodes, mid, end, known)])
        return nodes[start, end]
    # The folds, by the rules of projections/*.sql, and the answer
    def spilled(self, part: int) -> Iterator[Any]:  # what read_range left in a part, by position
        for _, (path, places) in sorted(self.places.items()):
            (file := self.file(path)).seek(places[part][0])
            yield from marshal.loads(file.read(places[part][1]))  # noqa: S302  written a moment ago
    def fold_runs(self, found: Found) -> None:  # makes the rows of runs, but for what is counted
        self.runs = {}
        for position, at, run_id, kind, said in self.spilled(-1):
            run = self.runs.get(run_id)
            if (run is None) != (kind == "RunStarted"): found.counts["aside"] += 1
            elif run is None:
                row = [position, run_id.decode(), said[1], said[0], None, None, "running", said[2]]
                self.runs[run_id] = [position, 0, [*row, None, None, 0, 0, 0, 0, None, None, at, at]]
            elif not run[1] and kind != "RunAbandoned":  # the first end wins
                (when, *numbers), (message, *told) = said[:7], said[7:] or [None]
                names = ["class", "output", "signal", "backtrace", "exit_status"]  # in the order of jsonb
                pairs = [(k, v) for k, v in zip(names, told) if v is not None or k == "backtrace"]
                how = [None, when, "failed"] if told else [when, None, "completed"]
                details = (dumps(dict(pairs)),) if told else None
                row = [*how, run[2][7], *numbers[4:], *numbers[:4], message, details, run[2][16], at]
                run[1], run[2][4:] = position, row
            elif not run[1] and run[2][6] == "running":  # it was found abandoned, until an end is recorded
                run[2][5:7], run[2][17] = [said[0], "failed"], at
                run[2][14:16] = said[1], ('{"class": "RunAbandoned"}',)
    def fold_part(self, part: int) -> Found:
        """Fold calls, and what happened to some of the records; counts what each run did by its end."""
        found, runs, never, calls, last, start, end = Found(), self.runs, [1 << 62, 0], list[Any](), b"", 0, 0
        for position, at, run_id, *bodies, endpoint, status, took, left, error in self.spilled(-2 - part):
            ids = [body and 2 * position - 1 + turn for turn, body in enumerate(bodies)]
            status = status if error is None or (status or 0) >= 400 else None
            calls.append([position, runs.get(run_id, never)[0], *ids, endpoint, status, took, left, at, at])
        found.add_rows("api_call_logs", good := [row for row in calls if row[1] < row[0]])
        found.counts["aside"] += len(calls) - len(good)
        records, rows = dict[tuple[bytes, bytes], list[Any]](), dict[int, list[Any]]()
        for position, at, run_id, type_, record_id, operation, content in self.spilled(part):
            if run_id != last: last, (start, end) = run_id, runs.get(run_id, never)[:2]
            if start > position:
                found.counts["aside"] += 1
                continue
            new, done, record = True, b"created", records.get((type_, record_id))
            if record is None: record = records[type_, record_id] = [0, 0, "", b"", len(records)]
            else:  # another content makes a version, or a change without content
                silent = content is None and operation in (None, b"skipped")
                new = not silent and (content is None or content != record[3])
                done = b"skipped" if not new else b"created" if record[3] == b"" else b"updated"
            if new: record[:4] = position, start, at, content  # content is b"" if it was withdrawn
            key, done = start << 32 | record[4], operation or done
            row = rows.get(key)
            if not row: rows[key] = [position, start, type_, record_id, done, at, at, end or 1 << 62]
            elif RANK[done] > RANK[row[4]] and position < row[7]: row[4], row[6] = done, at  # until its end
        found.counts.update(r[1] << 2 | RANK[r[4]] for r in rows.values() if r[0] < r[7] < 1 << 62)
        found.add_rows("data_ingestion_run_records", rows.values())
        known = [(id_, *key, content, run, at) for key, (id_, run, at, content, _) in records.items()]
        found.add_rows("records", sorted(row for row in known if row[3] != b""))
        return found
    def scan(self, file: tuple[str, str]) -> Found:
        """Subtract the lines of a file of the answer, whose ids must ascend."""
        (table, form), rest, last, found = file, b"", 0, Found()
        is_json, name, header = form == "json", f"answer/{table}.{form}", TABLES[table].replace(" ", ",")
        head, mark, end = (b"[\n", b"\n{", b"\n]\n") if is_json else (f"{header}\n".encode(), b"\n", b"")
        start = header.index(",") + 4 if is_json else 0  # where the id is in a line
        def id_of(line: str) -> int: return int(line[start : line.index(",")])
        for piece in itertools.chain(self.pieces(name), [b""]):
            need((rest + piece).startswith(head), f"{name} does not begin as it must")
            rest, head = (rest + piece)[len(head) :], b""
            if not piece:
                need(rest.endswith(end) and (is_json or not rest), f"{name} is cut short")
                rest = rest[:-3] + b",\n{" if is_json and (rest != end or last) else b""
            quoted = not is_json and b'"' in rest  # quoted text can have line feeds
            cut = ROWS.match(rest).end() if quoted else rest.rfind(mark) + 1  # type: ignore[union-attr]
            text, rest = rest[:cut].decode(), rest[cut:]
            lines = re.findall(ROW, text) if quoted else text.split(",\n" if is_json else "\n")
            need((quoted or not lines.pop()) and len(rest) < LINE, f"{name} has lines that are no rows")
            if not lines: continue
            wide, n = lines[0].index(",") + 1 - start, len(lines)  # ids of as many digits ascend if lines do
            heads = "".join([line[start : start + wide] for line in lines])
            even = heads.count(",") == n and heads[wide - 1 :: wide] == "," * n
            good = (even and lines == sorted(lines)) or (ids := [*map(id_of, lines)]) == sorted({*ids})
            good = good and last < id_of(lines[0]) <= (last := id_of(lines[-1])) <= self.position
            need(good, f"{name}: ids do not ascend")
            found.add(table, lines, -1, id_of, **{form: lines})
        return found
    def fold(self) -> Found:
        """The rows that the events make, less those of the answer."""
        found = Found() if self.leaves else self.fold_proofs()
        self.fold_runs(found)
        scans: list[Any] = [("scan", (table, form)) for table in self.tables for form in ("json", "csv")]
        for part in self.together("folding", scans + [("fold_part", part) for part in range(self.parts)]):
            found.join(part)
        for start, _, row in self.runs.values():  # what an end does not declare is counted
            skipped, updated, _, created = (found.counts[start << 2 | rank] for rank in range(4))
            both = zip(row[10:14], (created + updated + skipped, created, updated, skipped), strict=True)
            row[10:14] = [counted if declared is None else declared for declared, counted in both]
        found.add_rows("data_ingestion_runs", (row for _, _, row in self.runs.values()))
        return found
    def fold_proofs(self) -> Found:
        """The events of a narrowed package, each with the proof that it is in the checkpoint's tree."""
        found, rows, before, (sealed, *anchors) = Found(), list[list[Any]](), "", self.notes
        for position in sorted(int(name[7:-11]) for name in self.named("proofs/.*")):
            name = f"proofs/{position}.tlog-proof"
            extra, index, path, signed = matched(PROOF, self.text(name), name).groups()
            leaf, proof = decoded(extra), list(map(decoded, path.split()))
            head, at, by, stream, kind, version = parse_leaf(leaf, position)
            root = proven_root(sha256(b"\0" + leaf).digest(), position - 1, sealed.size, proof)
            good = (root, index, signed) == (sealed.root, f"{position - 1}", self.text("log/checkpoint"))
            need(good, f"{name} does not prove the event {position}")
            need(before <= at, f"the event {position} was recorded at {at}, before the last, at {before}")
            found.times[position], before, state = at, at, leaf[len(head) :]
            rows.append([position, at, by, stream, version, kind, state.decode(errors="backslashreplace")])
            self.decode(kind, state, (position, at, b""), found, [[], [], []])
        for n in anchors:  # its tree is the beginning of the checkpoint's, or a node of it
            nodes = {(0, n.size): n.root} if n.size in (sealed.size, 1 << n.size.bit_length() - 1) else {}
            roots = self.tree(nodes, 0, n.size, 0), self.tree(nodes, 0, sealed.size, n.size)
            need(roots == (n.root, sealed.root), f"log/checkpoint does not continue {n.member}")
        found.add_rows("events", rows)
        return found
    def compare(self) -> Found:
        """The answer is what was folded; else an error that says which row is the first that is not."""
        found = self.fold()
        for key in sorted(key for key, total in found.sums.items() if total):
            self.want = key
            rows, about = self.fold().rows, f"answer/{key[0]}.{key[1]}, the row of position"
            for row in sorted({row for row, _ in rows}):
                made, given = (rows.get((row, sign)) for sign in (1, -1))
                need(given, f"{about} {row} is missing: {made!r:.300}")
                need(made == given, f"{about} {row} is not what events make, {made!r:.250}: {given!r:.250}")
            raise NotProven(f"answer/{key[0]}.{key[1]} has a row twice")
        return found
    # What is claimed
    def check_complete(self, asked: dict[str, Any], report: "Report") -> Found:
        """The leaves are those of the roots that were signed, and the events among them make the answer."""
        last, size, before, found = self.position, self.notes[0].size, "", Found()
        need(self.leaves == min(last + 1, size), f"the leaf behind the last of {self.leaves} is missing")
        bundles = range(min(-(-self.leaves >> 8), len(self.sums)))
        entries = sorted(tile("entries", n, min(256, self.leaves - (n << 8))) for n in bundles)
        need(self.named("log/tile/e.*|proofs/.*") == entries, f"there are not just {self.leaves} leaves")
        self.parts = 1 + self.leaves // PART
        for part in self.together("reading", [("read_range", n) for n in range(-(-self.leaves // RANGE))]):
            first = min(part.times)
            need(before <= part.times[first], f"the event {first} was recorded before the one before it")
            before = part.times[max(part.times)]
            found.join(part)
        for note in self.notes:
            root = self.tree(found.nodes, 0, note.size, self.leaves)
            need(root == note.root, f"{note.member}: the root of its {note.size} leaves is {root.hex()}")
        self.places = found.places
        aside = found.counts["aside"] + self.compare().counts["aside"]
        others, after = asked["set_aside"] - aside, found.times[self.leaves]
        need(0 <= others <= found.counts["others"], f"{aside} events cannot be folded, not as it says")
        report.proven += [f"the events 1 to {self.leaves}, by their bytes, are the first of {size} signed",
                          f"the answer is complete: the events 1 to {last} make these rows, and no others",
                          *[f"{aside} of these events cannot be folded, and make no rows"] * bool(aside)]
        report.asserted += [f"{others} events of other kinds could not be folded"] * bool(others)
        if asked["as_of"] and self.leaves > last:
            need(after > asked["as_of"], f"the event {self.leaves}, recorded at {after}, is missing there")
            report.proven.append(f"the next event was recorded after that, at {after}: the answer is final")
        elif asked["as_of"]: report.unchecked.append("whether the answer is final: no later event is signed")
        return found
    def check_times(self, pinned: bytes, times: dict[int, str], report: "Report") -> None:
        """No event is recorded after a timestamp (RFC 3161) that covers it; says what timestamps show."""
        covered = []
        for tsr in self.named(r"anchors/.*\.tsr"):
            size, name = re.findall(r"[\w-]+", tsr)[1:3]
            note, own = f"anchors/{size}.checkpoint", f"anchors/{name}.pem"
            certificates = pinned or (self.read(own) if own in self.sums else b"")
            lack = "openssl" if certificates else "certificate of its authority; give it with --tsa"
            if not certificates or not shutil.which("openssl"):
                report.unchecked.append(f"{tsr}: there is no {lack}")
                continue
            report.unchecked += [f"{own}: it comes with the package; give yours with --tsa"] * (not pinned)
            files = {"data": self.read(note), "reply": self.read(tsr), "pinned": certificates}
            for file, data in files.items(): (self.spill / file).write_bytes(data)
            def openssl(*more: str) -> subprocess.CompletedProcess[str]:
                command = ["openssl", "ts", *more, "-in", "reply"]
                return subprocess.run(command, cwd=self.spill, capture_output=True, text=True, check=False)
            shown = openssl("-reply", "-text")
            signed = shown.stdout.rpartition("TST info:")[2]  # what is before it, anybody can write
            found = re.findall(r"\nTime stamp: (\w{3} +\d+ [\d:]{8})(?:\.\d+)? (\d{4}) GMT\n", signed)
            need(len(found) == 1, f"{tsr} is no timestamp: {shown.stderr.strip()[-200:]}")
            at = datetime.strptime(" ".join([*found[0], "+0000"]), "%b %d %H:%M:%S %Y %z")
            trust = "-CAfile", "pinned", "-untrusted", "pinned", "-attime", f"{at.timestamp():.0f}"
            checked = openssl("-verify", "-data", "data", *trust)
            need(checked.returncode == 0, f"{tsr} does not stamp {note}: {checked.stderr.strip()[-200:]}")
            last = max((position for position in times if position <= int(size)), default=0)
            late = times.get(last, "") > f"{at + CLOCKS:%Y-%m-%dT%H:%M:%S}.000000Z"
            need(not late, f"the event {last}, recorded at {times.get(last)}: {tsr} had seen it at {at}")
            covered += [at] * (int(size) >= self.position)
            report.proven.append(f"{name} has seen events 1 to {size} at {at:{SECOND}}")
        report.proven += [f"the answer has not changed since {at:{SECOND}}" for at in sorted(covered)[:1]]
        report.unchecked += ["when: no timestamp that was checked covers the answer"] * (not covered)
        report.asserted.append("recorded_at is what the operator's clock said, within what timestamps show")
    def check_bodies(self, bodies: Sequence[dict[str, Any]], named: set[bytes], report: "Report") -> None:
        present = sorted(f"bodies/{body['commitment']}" for body in bodies if body["status"] == "present")
        need(present == self.named("bodies/.{43}"), "there are other bodies than in bodies/index.json")
        for commitment, salt, size, _, status in map(dict.values, bodies):
            name = f"bodies/{commitment}"
            need(commitment.encode() in named, f"{name}: no event commits to it")
            if status == "erased": report.proven.append(f"{name}: PROVEN, PAYLOAD ERASED")
            if status == "truncated": report.unchecked.append(f"{name}: it was too large to keep")
            if status != "present": continue
            content = self.read(name, size)
            code = hmac.digest(base64.urlsafe_b64decode(f"{salt or ''}="), content, "sha256")
            good = base64.urlsafe_b64encode(code).decode() == f"{commitment}=" and len(content) == size
            need(good, f"{name} is not what the events commit to")
        report.proven += [f"{len(present)} bodies are those that the events commit to"] * bool(present)
    def check(self, given: tuple["Report", Sequence[str], bytes]) -> None:
        self.open()
        (report, keys, pinned), (asked,) = given, self.objects("question.json")
        self.position, self.leaves, as_of = asked["position"], asked["leaves"], asked["as_of"]
        complete, at = asked["narrowed"] is None, asked["recorded_at"]
        self.tables = list(TABLES)[:4] if complete else ["events"]
        claims = {"tables": self.tables, "kind": "complete" if complete else "inclusion only"}
        right = asked | claims == asked and complete == bool(self.leaves) and at <= (as_of or at)
        need(right, "question.json claims what cannot be")
        files = sorted(f"answer/{table}.{form}" for table in self.tables for form in ("csv", "json"))
        need(self.named("answer/.*") == files, f"the answer is not {', '.join(files)}")
        for name in ["log/checkpoint", *self.named(r"anchors/.*\.checkpoint")]:
            self.notes.append(note := Note(name, self.text(name)))
            named = name in ("log/checkpoint", f"anchors/{note.size}.checkpoint")
            right = named and 0 < note.size <= self.notes[0].size and note.origin == asked["ledger_id"]
            need(right, f"{name} is of {note.origin}, of size {note.size}")
        size = self.notes[0].size
        need(0 < self.position <= size, f"no leaves are signed up to the event {self.position}")
        bodies = self.objects("bodies/index.json") if "bodies/index.json" in self.sums else []
        self.wanted = {body["commitment"].encode() for body in bodies}
        need(len(self.wanted) == len(bodies) == asked["bodies"], f"there are not {asked['bodies']} bodies")
        stated = matched("(?:.+\n)+", self.text("keys"), "keys")[0].split("\n")[:-1]
        list(map(parse_key, stated))
        trusted = list(keys or stated)
        for name in self.named(r"verify\.py|report\.html|anchors/.*|log/tile/[0-7]/.*"): self.read(name)
        found = self.check_complete(asked, report) if complete else self.compare()
        if not complete:
            need(found.times and not self.named("log/tile/e.*"), "there is no event, or there are leaves")
            report.proven.append(f"these {len(found.times)} events, by their bytes, are among {size} signed")
            report.unchecked.append("INCLUSION ONLY: that there are no other events like these is not shown")
        need(found.times.get(self.position, at) == at, f"the event {self.position} was not recorded at {at}")
        for position, (previous, following) in sorted(found.rotations.items()):
            signed = any(note.size >= position and note.signed_by(trusted) for note in self.notes)
            trusted += [following] * (signed and previous in trusted and following not in trusted)
        for note in self.notes: need(note.signed_by(trusted), f"{note.member} has no signature of {trusted}")
        report.proven.append(f"the checkpoints are signed by {', '.join(trusted)}")
        if not keys: report.unchecked += ["the key: it comes with the package; take it from elsewhere: --key"]
        text, meant = asked["asked"].strip(), as_of or f"{self.position}"
        need(as_of or re.fullmatch(rf"(?i){meant}|run\s[0-9a-f-]+", text), f"{text!r:.100} is not {meant}")
        report.asserted += [f"{text!r:.100}, as it was asked, means {meant}"] * (text != meant)
        self.check_times(pinned, found.times, report)
        self.check_bodies(bodies, found.named, report)
@dataclass
class Report:
    """What was found: code is 0 if it is proven, 1 if not, 2 if the file or the command cannot be used."""
    code: int = 0
    failure: str | None = None  # why it is not proven
    proven: list[str] = field(default_factory=list)
    asserted: list[str] = field(default_factory=list)  # what the operator says, and nothing else shows
    unchecked: list[str] = field(default_factory=list)  # what was not checked, and why
    def __str__(self) -> str:
        lines = [f"{k}: {v}" for k in ("proven", "asserted", "UNCHECKED") for v in vars(self)[k.lower()]]
        lines.append("PROVEN" if self.failure is None else f"NOT PROVEN: {self.failure}")
        return "\n".join(re.sub("[\0-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", "\ufffd", x) for x in lines)
package: Package  # what is verified: here, and in the processes that are forked from this one
def call(task: tuple[str, Any]) -> Any:  # what a method returns
    try: return getattr(package, task[0])(task[1])
    except (NotProven, ImportError): raise
    except Exception as error:  # noqa: BLE001  any doubt is a failure
        raise NotProven(f"{package.member} is malformed: {type(error).__name__}: {error!s:.200}") from None
def verify(path: Path, keys: Sequence[str] = (), tsa: Sequence[Path] = (), jobs: int | None = None,
           bar: bool = False) -> Report:
    """Verify a package by keys and certificates that are trusted, or by its own; bar draws on stderr."""
    global package
    report, collected = Report(), gc.isenabled()
    jobs = (jobs or os.cpu_count() or 1) if "fork" in multiprocessing.get_all_start_methods() else 1
    with tempfile.TemporaryDirectory(prefix="verify-") as folder:
        package, code = Package(path, Path(folder), jobs, bar), 2
        try:
            seed = "random" if sys.flags.ignore_environment else os.environ.get("PYTHONHASHSEED", "random")
            need(seed == "random", "PYTHONHASHSEED is set, so that hashes could be foreseen: unset it")
            pinned = b"\n".join(file.read_bytes() for file in tsa)
            list(map(parse_key, keys))
            package.zip, code = zipfile.ZipFile(package.file(path)), 1
            gc.disable()  # what is made has no cycles, and is a lot
            call(("check", (report, keys, pinned)))
        except Exception as error:  # noqa: BLE001  whatever it is
            report.failure = "--key, --tsa or the file cannot be used: " * (code == 2) + f"{error}"
            report.code = 2 if isinstance(error, ImportError) else code
        finally:
            for file in package.files.values(): file.close()
            if collected: gc.enable()
    return report
def main() -> int:  # verify what the command line says
    parser = argparse.ArgumentParser(description="Verify an evidence package of audit-ledger.")
    parser.add_argument("package", type=Path, metavar="PACKAGE.zip")
    parser.add_argument("--key", action="append", default=[], metavar="VKEY", help="a key that you trust")
    parser.add_argument("--tsa", action="append", default=[], type=Path, metavar="CERT", help="an authority")
    parser.add_argument("--jobs", type=int, metavar="N", help="processes; by default one a processor")
    given = parser.parse_args()
    report = verify(given.package, given.key, given.tsa, given.jobs, bar=sys.stderr.isatty())
    print(report)
    return report.code
if __name__ == "__main__": sys.exit(main())
