"""The stand-alone verifier against packages of real ledgers, and against what somebody does to them."""

import ast
import json
import random
import re
import shutil
import subprocess
import sys
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import audit_ledger
from audit_ledger import Ledger
from audit_ledger.events import KeyRotated
from audit_ledger.evidence import checkpoint, merkle, note, sealing
from audit_ledger.evidence import verify as verifier
from audit_ledger.evidence.checkpoint import Checkpoint
from audit_ledger.evidence.keys import Signer
from audit_ledger.evidence.leaf import decode
from audit_ledger.evidence.verify import verify
from tests.attacks import (
    MANIFEST,
    Members,
    asked,
    leaves_of,
    manifest_of,
    members_of,
    packed,
    resealed,
    rows_of,
    verified,
    verified_file,
    with_leaves,
    with_rows,
)
from tests.authority import TestAuthority
from tests.properties.test_projection_model import Bench, Saying, sayings
from tests.store import log, recorder_at

Admin = psycopg.Connection[Any]
VERIFIER = Path(audit_ledger.__file__).parent / "evidence" / "verify.py"
CRASHED = re.compile("(Type|Key|Index|Attribute|Name|UnboundLocal|Assertion|ZeroDivision)Error").search
"""What a failure names where the verifier itself is wrong."""
TABLES = ("data_ingestion_runs", "data_ingestion_run_records", "api_call_logs", "records")


@pytest.fixture
def key(signer: Signer) -> str:
    return signer.verifier.key


@pytest.fixture
def small(ledger: Ledger, sealer: Ledger, home: Path) -> Members:
    """A package as of an instant: a run with a record and a call, and bodies; a later run is sealed too."""
    with ledger.run("t", "s") as run:
        run.ingest("X", "1", {"n": 1})
        run.api_call(endpoint="e", response={"a": 1})
    ended = ledger.as_of(f"run {run.id}").header.recorded_at
    with ledger.run("later", "s"):
        pass
    sealer.seal()
    return members_of(sealer.evidence(ended.isoformat(), home / "small.zip", bodies=True).file)


# Good packages are proven


def test_a_package_is_proven_as_of_every_position(told: Ledger, admin: Admin, key: str, home: Path) -> None:
    for position, *_ in log(admin):
        file = told.evidence(position, home / f"{position}.zip", bodies=True).file
        report = verify(file, [key], jobs=1)
        assert report.code == 0, str(report)
        assert any("the answer is complete" in line for line in report.proven)
        assert not any("key" in line for line in report.unchecked)
    assert "PROVEN, PAYLOAD ERASED" in str(report)
    assert "3 of these events cannot be folded, and make no rows" in report.proven


def test_a_package_is_verified_by_its_own_file_anywhere(told: Ledger, key: str, home: Path) -> None:
    file = told.evidence(20, home / "a.zip").file
    with zipfile.ZipFile(file) as archive:
        archive.extract("verify.py", home)
    assert (home / "verify.py").read_bytes() == VERIFIER.read_bytes()
    command = [sys.executable, "-I", "verify.py", file.name]
    for options, code, last in (
        (["--key", key], 0, "PROVEN"),
        ([], 0, "PROVEN"),
        (["--key", Signer(key.split("+")[0], bytes(32)).verifier.key, "--jobs", "2"], 1, "NOT PROVEN"),
        (
            ["--key", "nonsense"],
            2,
            "NOT PROVEN: --key, --tsa or the file cannot be used: a verifier key is malformed",
        ),
        (
            ["--key", key, "--tsa", "none.pem"],
            2,
            "NOT PROVEN: --key, --tsa or the file cannot be used: [Errno 2]",
        ),
    ):
        done = subprocess.run(
            [*command, *options], cwd=home, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert done.stdout.splitlines()[-1].startswith(last)
        assert done.stderr == ""
        assert ("UNCHECKED: the key" in done.stdout) == (not options)
    (home / "b.zip").write_bytes(b"no zip")
    for absent in ("b.zip", "c.zip"):
        done = subprocess.run(
            [*command[:3], absent], cwd=home, capture_output=True, text=True, check=False, timeout=60
        )
        assert (done.returncode, done.stderr) == (2, "")


@pytest.mark.parametrize("narrowed", [{"task": "t"}, {"source": "s"}, {"record": ("X", 3)}], ids=str)
def test_a_narrowed_package_is_proven_to_be_included_only(
    told: Ledger, admin: Admin, key: str, home: Path, narrowed: Any
) -> None:
    for position in (10, log(admin)[-1][0]):
        file = told.evidence(position, home / f"{position}.zip", bodies=True, **narrowed).file
        report = verify(file, [key], jobs=1)
        assert report.code == 0, str(report)
        assert any("INCLUSION ONLY" in line for line in report.unchecked)
        assert not any("complete" in line for line in report.proven)
    members = members_of(file)
    for name in members:
        if name.startswith("proofs/"):
            rest = {other: data for other, data in members.items() if other != name}
            assert verified(rest, key).code == 1
            broken = members | {name: members[name].replace(b"index 1", b"index 2")}
            assert broken == members or verified(broken, key).code == 1
    rows = rows_of(members, "events")
    assert verified(with_rows(members, "events", rows[1:]), key).code == 1  # a proof of no event is there
    for column in ("version", "recorded_by"):
        other = with_rows(members, "events", [_other_event(rows[0][1], column), *rows[1:]])
        position = json.loads(rows[0][1])["position"]
        assert f"answer/events.csv, the row of position {position} is" in f"{verified(other, key).failure}"


def _other_event(line: str, column: str) -> tuple[str, str]:
    from audit_ledger.evidence.package.answer import csv_record

    row = json.loads(line)
    row[column] = 99 if column == "version" else "nobody"
    return csv_record(row.values()).decode().rstrip("\n"), json.dumps(
        row, separators=(",", ":"), ensure_ascii=False
    )


def test_several_processes_find_what_one_finds(
    told: Ledger, key: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifier, "PART", 7)
    file = told.evidence(30, home / "a.zip", bodies=True).file
    assert verify(file, [key], jobs=3) == verify(file, [key], jobs=1)
    members = members_of(file)
    wrong = with_rows(members, "records", rows_of(members, "records")[1:])
    (home / "b.zip").write_bytes(packed((wrong | {MANIFEST: manifest_of(wrong)}).items()))
    one, three = (verify(home / "b.zip", [key], jobs=jobs) for jobs in (1, 3))
    assert one == three
    assert "is missing" in f"{one.failure}"


@pytest.mark.parametrize("span", [512, 1 << 16], ids=["several ranges", "one range"])
def test_wherever_an_answer_or_an_anchor_ends_the_tree_is_the_one_that_was_signed(
    ledger: Ledger, sealer: Ledger, signer: Signer, key: str, home: Path, monkeypatch: Any, span: int
) -> None:
    monkeypatch.setattr(verifier, "RANGE", span)
    monkeypatch.setattr(verifier, "PART", span)
    with ledger.run("t", "s") as run:
        run.ingest_many("X", {number: {"n": number} for number in range(1300)})
    sealer.seal()
    for position in (1, 254, 255, 256, 257, 511, 512, 767, 768, 1022, 1023, 1024, 1025, 1301, 1302):
        members = members_of(sealer.evidence(position, home / "a.zip", force=True).file)
        for size in (1, 128, 255, 256, 257, 511, 512, 513, 1024, position):
            if size <= position:
                members = anchored(members, signer, size)
        report = verified(members, key)
        assert report.code == 0, (position, str(report))


# Completeness: the fold agrees with the views, and with nothing else


def test_whatever_happened_the_verifier_folds_it_as_the_ledger_does(
    url: str, admin: Admin, sealer: Ledger, key: str, home: Path
) -> None:
    with recorder_at(url) as recorder:
        bench = Bench(admin, recorder)

        @settings(
            max_examples=6,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
        )
        @given(sayings(), st.integers(0, 2**32))
        def holds(events: list[Saying], seed: int) -> None:
            rng = random.Random(seed)
            # No bundle has room for the largest states, which nobody can append but a superuser.
            bench.tell([saying for saying in events if len(saying[2](None)[1]) <= 60_000])
            sealer.update_read_models()
            sealer.seal()
            last = recorder.max_notification_id() or 0
            for position in {last, *rng.sample(range(bench.base + 1, last + 1), 3)}:
                members = members_of(sealer.evidence(position, home / "a.zip", force=True).file)
                report = verified(members, key)
                assert report.code == 0, str(report)
            check_rows(members, key, rng)

        holds()


def test_rows_in_the_order_of_their_text_are_not_in_the_order_of_their_ids(
    ledger: Ledger, sealer: Ledger, key: str, home: Path
) -> None:
    for _ in range(6):
        with ledger.run("t", "s"):
            pass
    sealer.seal()
    members = members_of(sealer.evidence(12, home / "a.zip", force=True).file)
    rows = rows_of(members, "data_ingestion_runs")
    by_text = sorted(rows)  # the run at 11 comes second: the first and the last are as wide as they would be
    assert [json.loads(row)["id"] for _, row in by_text] == [1, 11, 3, 5, 7, 9]
    assert verified(with_rows(members, "data_ingestion_runs", rows), key).code == 0
    failure = verified(with_rows(members, "data_ingestion_runs", by_text), key).failure
    assert "ids do not ascend" in f"{failure}"


def check_rows(members: Members, key: str, rng: random.Random) -> None:
    """A row that is dropped, added or changed is found, in every table."""
    for table in TABLES:
        rows = rows_of(members, table)
        if not rows:
            continue
        turn = rng.randrange(len(rows))
        position = json.loads(rows[turn][1])["id"]
        less = verified(with_rows(members, table, rows[:turn] + rows[turn + 1 :]), key)
        assert f"{table}.csv, the row of position {position} is missing" in f"{less.failure}"
        twice = verified(with_rows(members, table, rows[: turn + 1] + rows[turn:]), key)
        assert re.search("has a row twice|ids do not ascend|more rows than", f"{twice.failure}")
        if len(rows) > 1:
            first = turn - 1 if turn else 0
            swapped = [*rows[:first], rows[first + 1], rows[first], *rows[first + 2 :]]
            assert verified(with_rows(members, table, swapped), key).code == 1
        for form in ("csv", "json"):
            name = f"answer/{table}.{form}"
            data = members[name]
            at = rng.randrange(data.index(b"\n") + 1, len(data))
            other = bytes([data[at] ^ 1 << rng.randrange(7)])
            assert verified(members | {name: data[:at] + other + data[at + 1 :]}, key).code == 1


# Every byte


BOUND_BY_THE_MANIFEST_ALONE = ("verify.py", "report.html")
"""Members that nothing is proven from."""
STATED_ONLY = ("asked", "made_at", "software_version")
"""Of question.json: what nothing else says."""
WITHIN = ("as_of",)
"""Of question.json: what can be moved as far as the answer is the same, and then the report says so."""


def test_every_byte_of_every_member_counts(small: Members, key: str) -> None:
    assert verified(small, key, resum=False).code == 0
    for name, data in small.items():
        # One bit of each byte, another from byte to byte. Of the long ones that nothing else binds, some.
        step = 997 if name in BOUND_BY_THE_MANIFEST_ALONE else 1
        for at in range(0, len(data), step):
            changed = small | {name: data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]}
            assert verified(changed, key, resum=False).code == 1, (name, at)


def test_every_byte_counts_even_where_the_manifest_is_made_anew(small: Members, key: str) -> None:
    question = small["question.json"].decode()
    stated = [
        (question.index(f'"{name}":'), question.index(",", question.index(f'"{name}":')))
        for name in STATED_ONLY
    ]
    within = [question.index(f'"{name}":') + len(name) + 3 for name in WITHIN]
    tile = next((name for name in small if name.startswith("log/tile/0/")), "")
    for name, data in small.items():
        if name in (*BOUND_BY_THE_MANIFEST_ALONE, MANIFEST):
            continue
        for at in range(len(data)):
            if name == "question.json" and any(first <= at < end for first, end in stated):
                continue
            if name == tile and at < 32 * json.loads(question)["leaves"]:
                continue  # hashes of leaves that are there: computed, never read
            row = data[:at].rpartition(b"\n")[2]
            if name == "bodies/index.json" and b"media_type" in row and b"status" not in row:
                continue  # of which no event says anything
            changed = small | {name: data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]}
            report = verified(changed, key)
            if report.code == 0 and name == "question.json" and question.rfind('"', 0, at) in within:
                means = json.loads(changed[name])["as_of"]
                assert any(line.endswith(f"as it was asked, means {means}") for line in report.asserted)
                continue
            assert report.code == 1, (name, at, data[at - 20 : at + 20])
            assert not CRASHED(f"{report.failure}"), (name, at, report.failure)


def test_every_leaf_counts(told: Ledger, signer: Signer, key: str, home: Path) -> None:
    members = members_of(told.evidence(30, home / "a.zip").file)
    leaves = leaves_of(members)
    for turn in range(len(leaves)):
        without = with_leaves(members, leaves[:turn] + leaves[turn + 1 :])
        assert verified(without, key).code == 1
        # Also by one who holds the key.
        question = {"position": 29, "leaves": 30, "asked": "29"}
        failure = verified(resealed(asked(without, **question), signer), key).failure
        assert failure, turn
        swapped = with_leaves(
            members, leaves[: turn - 1] + leaves[turn - 1 : turn + 1][::-1] + leaves[turn + 1 :]
        )
        assert swapped == members or verified(resealed(swapped, signer), key).code == 1


def test_a_leaf_that_the_key_holder_rewrites_is_found_in_the_answer(
    told: Ledger, signer: Signer, key: str, home: Path
) -> None:
    members = members_of(told.evidence(30, home / "a.zip").file)
    leaves = leaves_of(members)
    (turn,) = [turn for turn, leaf in enumerate(leaves[:14]) if b'"record_id":"5"' in leaf]
    leaves[turn] = leaves[turn].replace(b'"record_id":"5"', b'"record_id":"x"')
    report = verified(resealed(with_leaves(members, leaves), signer), key)
    assert f"the row of position {turn + 1}" in f"{report.failure}"


# Keys, positions, and times


def test_another_key_proves_nothing(small: Members, signer: Signer, key: str) -> None:
    thief = Signer(signer.name, bytes(32))
    stated = checkpoint.parse(note.parse(small["log/checkpoint"]).text)
    forged = small | {"log/checkpoint": stated.sign(thief)}
    assert "no signature" in f"{verified(forged, key).failure}"
    itself = verified(forged | {"keys": f"{thief.verifier.key}\n".encode()})
    assert itself.code == 0
    assert any("the key: it comes with the package" in line for line in itself.unchecked)


def test_a_key_that_follows_by_an_event_under_the_older_ones_signature_is_trusted(
    ledger: Ledger, sealer: Ledger, signer: Signer, key: str, home: Path
) -> None:
    with ledger.run("t", "s"):
        pass
    new = Signer(signer.name, bytes(31) + b"x")
    members = members_of(_rotated(ledger, sealer, signer, new, home))
    stated = checkpoint.parse(note.parse(members["log/checkpoint"]).text)
    by_new = members | {"log/checkpoint": stated.sign(new), "keys": f"{key}\n{new.verifier.key}\n".encode()}
    assert verified(by_new, new.verifier.key).code == 0
    assert "no signature" in f"{verified(by_new, key).failure}"  # nothing that the older key signed says so
    by_both = by_new | {"log/checkpoint": stated.sign(signer, new)}
    assert verified(by_both, key).code == 0
    anchored = by_new | {f"anchors/{stated.size}.checkpoint": stated.sign(signer)}
    assert verified(anchored, key).code == 0
    position = next(turn for turn, leaf in enumerate(leaves_of(members), 1) if b'"KeyRotated"' in leaf)
    early = leaves_of(members)[: position - 1]
    root = merkle.root(merkle.leaf_hash(leaf) for leaf in early)
    before = Checkpoint(stated.origin, position - 1, root).sign(signer)
    assert (
        verified(by_new | {f"anchors/{position - 1}.checkpoint": before}, key).code == 1
    )  # before the event
    assert verified(by_new | {f"anchors/{position - 1}.checkpoint": before}, new.verifier.key).code == 1


def _rotated(ledger: Ledger, sealer: Ledger, signer: Signer, new: Signer, home: Path) -> Path:
    event = KeyRotated.of(
        by="Ann",
        next=new.verifier.key,
        occurred_at=datetime.now(UTC),
        previous=signer.verifier.key,
        reason="yearly",
    )
    sealer.database.query("SELECT announce_key(gen_random_uuid(), 1, %s)", [event.state])
    with ledger.run("after", "s"):
        pass
    sealing.seal(sealer.database, signer, new)
    return sealer.evidence(5, home / "rotated.zip").file


def test_the_position_cannot_be_moved(small: Members, key: str) -> None:
    question = json.loads(small["question.json"])
    position, as_of = question["position"], datetime.fromisoformat(question["as_of"])
    for moved in (position - 1, position + 1):
        for leaves in (moved, moved + 1, question["leaves"]):
            assert verified(asked(small, position=moved, leaves=leaves), key).code == 1
    for moved_to in (as_of - timedelta(microseconds=1), as_of + timedelta(minutes=5)):
        text = moved_to.isoformat(timespec="microseconds").replace("+00:00", "Z")
        assert verified(asked(small, as_of=text), key).code == 1
    assert verified(asked(small, as_of=None), key).code == 1
    assert verified(asked(small, recorded_at=text), key).code == 1
    assert verified(asked(small, set_aside=1), key).code == 1


def test_an_answer_that_ends_where_the_log_ends_is_not_final(
    told: Ledger, admin: Admin, key: str, home: Path
) -> None:
    members = members_of(told.evidence("9999-01-01Z", home / "a.zip").file)
    report = verified(members, key)
    assert report.code == 0
    assert any("no later event" in line for line in report.unchecked)
    # The leaf behind the answer can only be missing where the checkpoint ends there too.
    members = members_of(told.evidence(10, home / "b.zip").file)
    assert (
        "missing"
        in f"{verified(with_leaves(asked(members, leaves=10), leaves_of(members)[:10]), key).failure}"
    )


def test_what_was_asked_in_words_is_asserted_to_mean_the_position_or_the_instant(
    told: Ledger, key: str, home: Path
) -> None:
    run = told.runs.for_task("t").order_by("id").first()
    assert run is not None
    members = members_of(told.evidence(f"run {run.run_id}", home / "a.zip").file)
    position = json.loads(members["question.json"])["position"]
    report = verified(members, key)
    assert report.code == 0, str(report)
    assert f"'run {run.run_id}', as it was asked, means {position}" in report.asserted
    assert "as it was asked" not in str(verified(asked(members, asked=f"{position}"), key))
    for other in ("", "yesterday", f"{position - 1}", f"{position}0", "run", "run x"):
        assert verified(asked(members, asked=other), key).code == 1, other


def anchored(members: Members, signer: Signer, size: int, **files: bytes) -> Members:
    """The members with an anchor of so many leaves, and files beside it."""
    leaves = leaves_of(members)
    root = merkle.root(merkle.leaf_hash(leaf) for leaf in leaves[:size])
    signed = Checkpoint(signer.name, size, root).sign(signer)
    return members | {f"anchors/{size}.checkpoint": signed} | {f"anchors/{k}": v for k, v in files.items()}


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl, which is not here")
def test_timestamps_say_when(
    small: Members, signer: Signer, key: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, other = TestAuthority(home / "tsa"), TestAuthority(home / "other", "Other")
    size = json.loads(small["question.json"])["position"]
    members = anchored(small, signer, size)
    stamped = members | {
        f"anchors/{size}.one.tsr": authority.timestamp(members[f"anchors/{size}.checkpoint"])
    }
    report = verified(stamped, key)
    assert report.code == 0
    assert any("no certificate" in line for line in report.unchecked)
    report = verified(stamped, key, tsa=[authority.certificate])
    assert report.code == 0, str(report)
    assert any("the answer has not changed since" in line for line in report.proven)
    assert report.unchecked == []
    assert verified(stamped, key, tsa=[other.certificate]).code == 1
    own = stamped | {"anchors/one.pem": authority.certificate.read_bytes()}
    report = verified(own, key)
    assert report.code == 0
    assert any("comes with the package" in line for line in report.unchecked)
    elsewhere = stamped | {f"anchors/{size}.one.tsr": authority.timestamp(members["log/checkpoint"])}
    assert "does not stamp" in f"{verified(elsewhere, key, tsa=[authority.certificate]).failure}"
    garbage = stamped | {f"anchors/{size}.one.tsr": b"\x30\x03garbage"}
    assert "is no timestamp" in f"{verified(garbage, key, tsa=[authority.certificate]).failure}"
    monkeypatch.setenv("PATH", str(home))
    report = verified(stamped, key, tsa=[authority.certificate])
    assert report.code == 0
    assert any("there is no openssl" in line for line in report.unchecked)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl, which is not here")
def test_a_timestamp_from_before_an_event_that_it_covers_convicts(
    small: Members, signer: Signer, key: str, home: Path
) -> None:
    """As where the ledger's clock was set forward: recorded_at is later than the timestamp."""
    authority = TestAuthority(home / "tsa")
    leaves = leaves_of(small)

    def later(leaf: bytes, by: timedelta) -> bytes:
        event = decode(leaf)
        old = f"{event.recorded_at:%Y-%m-%dT%H:%M:%S.%fZ}".encode()
        return leaf.replace(old, f"{event.recorded_at + by:%Y-%m-%dT%H:%M:%S.%fZ}".encode())

    for by, good in ((timedelta(seconds=20), True), (timedelta(minutes=3), False)):
        members = with_leaves(small, [later(leaf, by) for leaf in leaves])
        for leaf in leaves:  # whoever holds the key has all that follows agree
            event = decode(leaf)
            old, new = (
                f"{at:%Y-%m-%dT%H:%M:%S.%fZ}".encode() for at in (event.recorded_at, event.recorded_at + by)
            )
            members = {
                name: data if "entries" in name else data.replace(old, new) for name, data in members.items()
            }
        members = asked(members, asked=json.loads(members["question.json"])["as_of"])
        members = anchored(resealed(members, signer), signer, len(leaves))
        size = len(leaves)
        tsr = authority.timestamp(members[f"anchors/{size}.checkpoint"])
        report = verified(members | {f"anchors/{size}.one.tsr": tsr}, key, tsa=[authority.certificate])
        assert (report.code == 0) == good, str(report)
        assert good or "had seen it at" in f"{report.failure}"


def test_an_anchor_that_the_log_does_not_continue_convicts(small: Members, signer: Signer, key: str) -> None:
    for size in range(1, len(leaves_of(small)) + 1):
        assert verified(anchored(small, signer, size), key).code == 0
        root = merkle.root([merkle.leaf_hash(b"another")] * size)
        forged = small | {f"anchors/{size}.checkpoint": Checkpoint(signer.name, size, root).sign(signer)}
        assert "the root of its" in f"{verified(forged, key).failure}"


# What is malformed


def test_what_is_no_package_is_refused_and_nothing_crashes(small: Members, key: str, home: Path) -> None:
    def failure(members: Members, **options: Any) -> str:
        report = verified(members, key, **options)
        assert report.code == 1
        assert report.failure
        assert not CRASHED(report.failure)
        return report.failure

    assert "no package has a member" in failure(small | {"../keys": b""})
    assert "no package has a member" in failure(small | {"/etc/passwd": b""})
    assert "no package has a member" in failure(small | {"answer/../keys": b""})
    assert "not in SHA256SUMS" in failure(small | {"anchors/9.checkpoint": b""}, resum=False)
    assert "not there" in failure({n: d for n, d in small.items() if n != "report.html"}, resum=False)
    assert "SHA256SUMS is not there" in failure(
        {n: d for n, d in small.items() if n != MANIFEST}, resum=False
    )
    assert "larger than it can be" in failure(small | {"question.json": b" " * (65 << 20)})
    assert "question.json is malformed" in failure(small | {"question.json": b"{}\n"})
    assert "question.json is malformed" in failure(small | {"question.json": b"[" * 5000})
    assert "a verifier key is malformed" in failure(small | {"keys": b"nobody\n"})
    assert "log/checkpoint" in failure(small | {"log/checkpoint": b"a\n1\nb\n"})
    for table in TABLES:
        for form in ("csv", "json"):
            name = f"answer/{table}.{form}"
            for data in (
                b"",
                b"\n",
                b"[\n]\n",
                small[name][:-1],
                small[name] + b"\n",
                small[name] * 2,
                b'"' * 5_000_000,
            ):
                if data != small[name]:
                    failure(small | {name: data})
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = packed([*small.items(), ("keys", small["keys"])])
    assert "is there twice" in f"{verified_file(twice, key).failure}"


def test_a_file_whose_structure_is_damaged_is_refused_and_nothing_crashes(small: Members, key: str) -> None:
    data = bytearray(packed(small.items()))
    rng = random.Random(7)
    for _ in range(300):
        at = rng.randrange(len(data))
        old, data[at] = data[at], rng.randrange(256)

        report = verified_file(bytes(data), key)
        assert report.code in (0, 1, 2)
        assert report.code == 0 or report.failure
        assert not CRASHED(f"{report.failure}"), report.failure
        data[at] = old


def test_a_leaf_that_is_no_event_is_refused_though_the_key_holder_signs_it(
    small: Members, signer: Signer, key: str
) -> None:
    leaves = leaves_of(small)
    bad = [
        (0, b'{"position":1?1}\n{}'),
        (0, b'{"position":11}\n{}'),
        (0, leaves[0].replace(b'{"position"', b'{ "position"')),
        (0, b""),
        (1, leaves[1].replace(b'"position":2', b'"position":02')),
        (1, leaves[1].replace(b'"position":2', b'"position":3')),
        (1, leaves[1].replace(b'"version":2', b'"version":2.0')),
        (1, leaves[1].replace(b"ledger", b"l\\u0065dger")),
        (1, leaves[1].replace(b"Z", b"z", 1)),
        (1, leaves[1].replace(b'"recorded_at":"20', b'"recorded_at":"19')),
    ]
    for turn, leaf in bad:
        assert leaf != leaves[turn]
        changed = [leaf if at == turn else other for at, other in enumerate(leaves)]
        failure = verified(resealed(with_leaves(small, changed), signer), key).failure
        assert re.search("the leaf at position|is not a bundle", f"{failure}"), (leaf, failure)


def test_what_a_package_is_not_to_hold_is_refused_though_the_manifest_lists_it(
    small: Members, key: str
) -> None:
    for name in ("proofs/1.tlog-proof", "log/tile/entries/001", "answer/events.csv", f"bodies/{'A' * 43}"):
        assert verified(small | {name: b"anything"}, key).code == 1, name
    huge = verified(asked(small, position=10**16, leaves=10**16), key)
    assert "leaves" in f"{huge.failure}"
    saltless = re.sub(rb'"salt":"[^"]*"', b'"salt":null', small["bodies/index.json"], count=1)
    assert (
        "is not what the events commit to"
        in f"{verified(small | {'bodies/index.json': saltless}, key).failure}"
    )


def test_the_verifier_is_one_file_of_600_lines_that_takes_python_and_cryptography() -> None:
    text = VERIFIER.read_text()
    assert len(text.splitlines()) <= 600
    assert max(map(len, text.splitlines())) <= 110
    imported = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(text))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [f"{node.module}"] * (1 - node.level)
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported - sys.stdlib_module_names == {"cryptography"}
    assert not any(isinstance(node, ast.ImportFrom) and node.level for node in ast.walk(ast.parse(text)))
