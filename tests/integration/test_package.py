"""Evidence packages on a real ledger: each member is what the format says; none is written by halves."""

import base64
import hmac
import json
import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.rows import dict_row

import audit_ledger
from audit_ledger import Ledger
from audit_ledger.errors import (
    BeforeBeginning,
    ConfigurationError,
    EvidenceInvalid,
    InvalidValue,
    NotSealed,
    UnknownRecord,
    UnknownRun,
)
from audit_ledger.events import ApiCallMade
from audit_ledger.evidence import checkpoint, keyring, merkle, tiles
from audit_ledger.evidence.keys import Signer
from audit_ledger.evidence.package.answer import TABLES
from audit_ledger.evidence.proving import verify_event
from audit_ledger.evidence.verify import verify
from audit_ledger.store.bodies import Unkept
from audit_ledger.store.pending import Pending
from tests.authority import TestAuthority, serving
from tests.packages import unpacked
from tests.store import log

Admin = psycopg.Connection[Any]


def rows_as_of(admin: Admin, position: int, table: str) -> list[dict[str, Any]]:
    """The rows of a view as of a position, instants as the package has them."""
    where = "WHERE to_position IS NULL AND operation <> 'withdrawn'" if table == "record_versions" else ""
    with admin.transaction(), admin.cursor(row_factory=dict_row) as cursor:
        cursor.execute("SELECT set_config('audit_ledger.as_of', %s, true)", [str(position)])
        found = cursor.execute(f"SELECT * FROM as_of.{table} {where} ORDER BY id").fetchall()
    return [{name: as_json(value) for name, value in row.items()} for row in found]


def as_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    return str(value) if isinstance(value, UUID | date) else value


def test_the_answer_is_what_the_views_as_of_the_position_say(told: Ledger, admin: Admin, home: Path) -> None:
    last = log(admin)[-1][0]
    for position in (3, last // 2, last - 1, last):
        file = home / f"{position}.zip"
        told.evidence(position, file)
        package = unpacked(file)
        assert package.question["tables"] == [table.name for table in TABLES]
        for table in TABLES:
            expected = rows_as_of(admin, position, table.source or table.name)
            columns = [column.lstrip("@") for column in table.columns.split()]
            if table.source:
                expected = [{name: row[name] for name in columns} for row in expected]
            rows = package.rows(table.name)
            assert rows == expected
            assert package[f"answer/{table.name}.csv"].split(b"\n")[0].decode().split(",") == columns
            assert all(list(row) == columns for row in rows)


def test_the_log_is_every_leaf_up_to_the_next_event_and_leads_to_the_checkpoint(
    told: Ledger, admin: Admin, signer: Signer, home: Path
) -> None:
    events = log(admin)
    for position in (1, 2, 5, len(events) - 1, len(events)):
        made = told.evidence(position, home / f"{position}.zip")
        package = unpacked(made.file)
        assert package.question["position"] == position
        assert package.question["leaves"] == made.question.leaves == min(position + 1, len(events))
        assert package["keys"].decode() == f"{signer.verifier.key}\n"
        stated = checkpoint.verify(
            package["log/checkpoint"], origin=str(told.ledger_id), keys=[signer.verifier]
        ).checkpoint
        assert stated.size == len(events)
        leaves = package.leaves()
        assert [(e.position, e.recorded_at, e.state) for e in leaves] == [
            (row[0], row[1], row[6]) for row in events[: made.question.leaves]
        ]


def test_the_tiles_are_those_that_lead_from_the_log_to_a_larger_checkpoint(
    ledger: Ledger, sealer: Ledger, home: Path
) -> None:
    with ledger.run("t", "s") as run:
        run.ingest_many("X", {number: {"n": number} for number in range(1500)})
    sealer.seal()
    for position in (1, 255, 256, 300, 511, 1024, 1501):
        package = unpacked(sealer.evidence(position, home / f"{position}.zip").file)
        size, leaves = 1502, position + 1
        members = {
            tiles.parse_path(name.removeprefix("log/")): package[name]
            for name in package.under("log/tile/")
            if "/entries/" not in name
        }
        hashes = [
            hashed
            for name in sorted(package.under("log/tile/entries/"))
            for hashed in tiles.bundle_hashes(
                package[name], tiles.parse_path(name.removeprefix("log/")).width
            )
        ]
        assert len(hashes) == leaves

        def from_package(level: int, index: int, known: list[bytes] = hashes, have: Any = members) -> bytes:
            if (index + 1) << level <= len(known):
                return merkle.root(known[index << level : (index + 1) << level])
            return tiles.hash_reader(1502, have.__getitem__)(level, index)

        proof = merkle.consistency_proof(leaves, size, from_package)
        stated = checkpoint.parse(package["log/checkpoint"].decode().rpartition("\n\n")[0] + "\n")
        merkle.verify_consistency(leaves, size, proof, merkle.root(hashes), stated.root)
        assert all(tile.number * 256 + tile.width << 8 * tile.level > leaves for tile in members)


def test_the_question_says_what_is_claimed(told: Ledger, ledger: Ledger, home: Path) -> None:
    before = ledger.as_of(2).header.recorded_at
    asked = before.isoformat()
    package = unpacked(told.evidence(asked, home / "a.zip").file)
    header = ledger.as_of(asked).header
    assert package.question == {
        "as_of": as_json(before),
        "asked": asked,
        "bodies": 0,
        "kind": "complete",
        "leaves": header.position + 1,
        "ledger_id": str(ledger.ledger_id),
        "made_at": package.question["made_at"],
        "narrowed": None,
        "position": header.position,
        "recorded_at": as_json(header.recorded_at),
        "set_aside": 0,
        "software_version": header.software_version,
        "tables": [table.name for table in TABLES],
    }
    assert package["question.json"].endswith(b"}\n")
    assert (
        package["question.json"]
        == (
            json.dumps(package.question, sort_keys=True, ensure_ascii=False, separators=(",", ":")) + "\n"
        ).encode()
    )
    assert datetime.now(UTC) - datetime.fromisoformat(package.question["made_at"]) < timedelta(minutes=1)
    last = unpacked(told.evidence(ledger.as_of("9999-01-01Z").header.position, home / "b.zip").file)
    assert last.question["as_of"] is None
    assert last.question["set_aside"] == 3
    assert last.question["leaves"] == last.question["position"]


def test_bodies_are_the_contents_of_the_records_in_force(told: Ledger, admin: Admin, home: Path) -> None:
    position = log(admin)[-1][0]
    made = told.evidence(position, home / "a.zip", bodies=True)
    package = unpacked(made.file)
    index = json.loads(package["bodies/index.json"])
    records = package.rows("records")
    assert {row["commitment"] for row in index} == {row["content"] for row in records} - {None}
    assert len(index) == made.bodies == package.question["bodies"] > 5
    assert [row["commitment"] for row in index] == sorted(row["commitment"] for row in index)
    (erased,) = [row for row in index if row["status"] == "erased"]
    (x4,) = [row["content"] for row in records if (row["record_type"], row["record_id"]) == ("X", "4")]
    assert erased == {
        "commitment": x4, "salt": None, "size": 7, "media_type": "application/json", "status": "erased"
    }  # fmt: skip
    for row in index:
        if row["status"] == "present":
            content = package[f"bodies/{row['commitment']}"]
            salt = base64.urlsafe_b64decode(row["salt"] + "=")
            digest = hmac.digest(salt, content, "sha256")
            assert base64.urlsafe_b64encode(digest).decode().rstrip("=") == row["commitment"]
            assert len(content) == row["size"]
            assert "=" not in row["salt"]
    assert len(package.under("bodies/")) == len(index)  # all but the erased one, and the index


def test_bodies_that_were_too_large_to_keep_are_listed_as_such(
    ledger: Ledger, sealer: Ledger, home: Path
) -> None:
    unkept = Unkept.of(b"so much", "text/plain")
    with ledger.run("t", "s") as run:
        call = ApiCallMade(occurred_at=run.now, endpoint="e", response_truncated=True, run_id=run.id)
        run._outbox.add(Pending(call, {"response": unkept}))
        run.api_call(endpoint="e", response="little")
    sealer.seal()
    package = unpacked(sealer.evidence(4, home / "a.zip", run=run.id, bodies=True).file)
    rows = {row["status"]: row for row in json.loads(package["bodies/index.json"])}
    assert rows.keys() == {"present", "truncated"}
    assert rows["truncated"]["commitment"] == unkept.commitment
    assert rows["truncated"]["size"] == 7
    assert base64.urlsafe_b64decode(rows["truncated"]["salt"] + "=") == unkept.salt
    assert {*package.under("bodies/")} == {f"bodies/{rows['present']['commitment']}", "bodies/index.json"}


def test_a_package_of_a_run_has_its_events_each_with_a_proof(
    told: Ledger, ledger: Ledger, signer: Signer, admin: Admin, home: Path
) -> None:
    run = ledger.runs.for_task("t").order_by("id").first()
    assert run is not None
    position = log(admin)[-1][0]
    made = told.evidence(position, home / "a.zip", run=run.run_id.hex[:8], bodies=True)
    package = unpacked(made.file)
    events = {row[0]: row for row in log(admin) if row[3] == run.run_id}
    rows = package.rows("events")
    assert {row["position"] for row in rows} == events.keys()
    assert [row["position"] for row in rows] == sorted(events)
    assert package.question["kind"] == "inclusion only"
    assert package.question["narrowed"] == {"run": str(run.run_id)}
    assert (package.question["leaves"], package.question["tables"]) == (0, ["events"])
    assert package.under("log/") == ["log/checkpoint"]
    assert package.under("answer/") == ["answer/events.csv", "answer/events.json"]
    for row in rows:
        proof = package[f"proofs/{row['position']}.tlog-proof"]
        event, verified = verify_event(proof, [signer.verifier], origin=str(told.ledger_id))
        assert proof.endswith(package["log/checkpoint"])
        assert verified.checkpoint.size == position
        stored = events[event.position]
        assert tuple(row.values()) == (
            *(stored[0], as_json(stored[1]), *stored[2:3], str(stored[3]), *stored[4:6]), stored[6].decode()
        )  # fmt: skip
    assert len(package.under("proofs/")) == len(rows) == made.events
    calls = [json.loads(row["state"]) for row in rows if row["type"] == "ApiCallMade"]
    listed = {row["commitment"] for row in json.loads(package["bodies/index.json"])}
    assert {call[key] for call in calls for key in ("request", "response") if key in call} < listed
    assert "It does not show that there are no others" in text_of(package.report)


def test_a_package_of_a_task_and_of_a_source_has_the_events_of_its_runs(
    told: Ledger, admin: Admin, home: Path
) -> None:
    runs = {run.run_id: run for run in told.runs.all()}
    for by, column in (("task", "task_name"), ("source", "data_source")):
        for value in {getattr(run, column) for run in runs.values()}:
            position = log(admin)[-1][0]
            narrowed: dict[str, Any] = {by: value}
            package = unpacked(told.evidence(position, home / "a.zip", force=True, **narrowed).file)
            found = {row["position"] for row in package.rows("events")}
            ids = {run.run_id for run in runs.values() if getattr(run, column) == value}
            theirs = {row[0] for row in log(admin) if row[3] in ids}
            assert theirs <= found
            # What others said of a run, as a watcher does, names it.
            rest = [row for row in log(admin) if row[0] in found - theirs]
            assert all(any(str(run).encode() in row[6] for run in ids) for row in rest)
            assert package.question["narrowed"] == {by: value}


def test_a_package_of_a_record_has_its_events_and_those_that_say_how_it_came(
    told: Ledger, admin: Admin, home: Path
) -> None:
    position = log(admin)[-1][0]
    package = unpacked(told.evidence(position, home / "a.zip", record=("X", 3), bodies=True).file)
    rows = package.rows("events")
    assert package.question["narrowed"] == {"record": ["X", "3"]}
    touched = [json.loads(row["state"]) for row in rows if row["type"].startswith("Record")]
    assert {(state["record_type"], state["record_id"]) for state in touched} == {("X", "3")}
    kinds = [row["type"] for row in rows]
    assert kinds.count("RunStarted") == kinds.count("RunCompleted") + kinds.count("RunFailed") == 2
    assert kinds.count("RecordWithdrawn") == 1
    assert kinds.count("ApiCallMade") == 2
    content = [package[f"bodies/{state['content']}"] for state in touched if "content" in state]
    assert content == [b'{"n":3}', b'{"n":"back"}']


def test_states_that_are_no_text_are_in_the_answer_all_the_same(
    ledger: Ledger, admin: Admin, sealer: Ledger, home: Path
) -> None:
    with ledger.run("t", "s") as run:
        pass
    bad = b'\xff,"\r\n'
    admin.execute(
        "SELECT append(ARRAY[%s]::uuid[], ARRAY[3]::bigint[], ARRAY['RecordIngested'], ARRAY[%s]::bytea[])",
        [run.id, bad],
    )
    sealer.update_read_models()
    sealer.seal()
    package = unpacked(sealer.evidence(3, home / "a.zip", run=run.id, bodies=True).file)
    assert package.rows("events")[-1]["state"] == '\\xff,"\r\n'
    assert package["answer/events.csv"].endswith(b',"\\xff,""\r\n"\n')


# Refusals


def test_nothing_is_written_of_what_is_not_sealed(ledger: Ledger, sealer: Ledger, home: Path) -> None:
    with ledger.run("t", "s") as run:
        pass
    with pytest.raises(NotSealed, match="nothing is sealed up to position 2") as caught:
        sealer.evidence(2, home / "a.zip")
    assert caught.value.remedy == "audit-ledger seal"
    sealer.seal()
    with ledger.run("t", "s"):
        pass
    assert sealer.evidence(2, home / "a.zip").question.leaves == 2
    with pytest.raises(NotSealed, match="position 3"):
        sealer.evidence(3, home / "b.zip")
    with pytest.raises(NotSealed):
        sealer.evidence(4, home / "b.zip", run=run.id)
    with pytest.raises(NotSealed):
        list(sealer.prove_run(ledger.runs.all()[0].run_id))
    assert sorted(path.name for path in home.glob("*.zip*")) == ["a.zip"]


def test_what_is_asked_wrongly_is_refused_and_leaves_no_file(told: Ledger, home: Path) -> None:
    for error, when, narrowed in (
        (BeforeBeginning, "2001-01-01T00:00:00Z", {}),
        (InvalidValue, "yesterday", {}),
        (InvalidValue, 10**6, {}),
        (InvalidValue, 5, {"task": "no such"}),
        (InvalidValue, 5, {"source": "no such"}),
        (UnknownRecord, 5, {"record": ("X", "no such")}),
        (UnknownRun, 5, {"run": uuid4()}),
        (InvalidValue, 5, {"task": "t", "source": "s"}),
    ):
        with pytest.raises(error):
            told.evidence(when, home / "a.zip", **narrowed)
        assert not list(home.glob("*.zip*"))
        assert not list(home.glob(".*.part"))


def test_a_file_that_is_there_is_left_as_it_is_unless_that_is_meant(told: Ledger, home: Path) -> None:
    file = home / "a.zip"
    file.write_bytes(b"mine")
    with pytest.raises(ConfigurationError, match="there already"):
        told.evidence(5, file)
    with pytest.raises(NotSealed):
        told.evidence(unsealed(told), file, force=True)
    assert file.read_bytes() == b"mine"
    told.evidence(5, file, force=True)
    assert unpacked(file).question["position"] == 5
    with pytest.raises(ConfigurationError, match="cannot be written"):
        told.evidence(5, home / "none" / "a.zip")


def unsealed(ledger: Ledger) -> int:
    """The position of a new event that no checkpoint covers."""
    with ledger.run("unsealed", "s"):
        pass
    return ledger.status().position


def test_a_file_that_appears_meanwhile_is_left_as_it_is(told: Ledger, home: Path) -> None:
    file = home / "a.zip"
    with pytest.raises(ConfigurationError, match="there already"):
        told.evidence(5, file, announce=lambda _: file.touch())
    assert file.read_bytes() == b""
    assert [path.name for path in home.glob("*a.zip*")] == ["a.zip"]


def test_without_a_key_that_signed_nothing_is_written(
    told: Ledger, ledger: Ledger, signer: Signer, home: Path
) -> None:
    with pytest.raises(ConfigurationError, match="no verifier key"):
        ledger.evidence(5, home / "a.zip")
    with pytest.raises(EvidenceInvalid, match="no known key has signed"):
        ledger.evidence(5, home / "a.zip", keys=[Signer(str(ledger.ledger_id), bytes(32)).verifier.key])
    ledger.evidence(5, home / "a.zip", keys=[signer.verifier.key])
    assert [path.name for path in home.glob("*.zip")] == ["a.zip"]


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("events", "UPDATE events SET state = state || ' ' WHERE position = 4"),
        ("events", "DELETE FROM events WHERE position = 4"),
        ("events", "UPDATE events SET recorded_by = 'nobody' WHERE position = 1"),
        (
            "tiles",
            "UPDATE tiles SET hashes = set_byte(hashes, 500, get_byte(hashes, 500) # 1) WHERE level = 0",
        ),
        (
            "checkpoints",
            "UPDATE checkpoints SET note = set_byte(note, 50, get_byte(note, 50) # 1) WHERE size > 5",
        ),
        ("bodies", "UPDATE bodies SET content = content || ' ' WHERE content IS NOT NULL"),
    ],
)
def test_what_was_changed_is_not_packed_as_if_it_had_not_been(
    told: Ledger, admin: Admin, home: Path, table: str, change: str
) -> None:
    with admin.transaction():
        admin.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        assert admin.execute(change).rowcount > 0
        admin.execute(f"ALTER TABLE {table} ENABLE TRIGGER ALL")
    with pytest.raises(EvidenceInvalid):
        told.evidence(6, home / "a.zip", bodies=True)
    assert not list(home.glob("*a.zip*"))


# One answer, whoever writes meanwhile


def test_it_is_one_answer_though_others_write_and_seal_meanwhile(
    told: Ledger, url: str, admin: Admin, home: Path
) -> None:
    before = log(admin)[-1][0]

    def meanwhile(_: str) -> None:
        with audit_ledger.connect(url) as other, other.run("meanwhile", "s") as run:
            run.ingest("X", 1, {"n": "later"})
        told.seal()

    when = datetime.now(UTC) + timedelta(hours=1)
    package = unpacked(told.evidence(when, home / "a.zip", announce=meanwhile).file)
    assert package.question["position"] == package.question["leaves"] == before
    assert len(package.leaves()) == before
    assert "meanwhile" not in {row["task_name"] for row in package.rows("data_ingestion_runs")}
    assert unpacked(told.evidence(when, home / "b.zip").file).question["position"] == before + 3


# Anchors


@pytest.fixture
def authority(
    home: Path, tmp_path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TestAuthority]:
    """A timestamping authority, and a ledger.toml that names it, and a folder for checkpoints."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl, which is not here")
    (home / "outside").mkdir()
    (home / "keys.vkey").write_text(f"{signer.verifier.key}\n")
    monkeypatch.setenv("AUDIT_LEDGER_CONFIG", str(home / "ledger.toml"))
    with serving(TestAuthority(tmp_path / "tsa")) as running:
        (home / "ledger.toml").write_text(
            f'[anchors]\nfolders = ["outside"]\nkeys = "keys.vkey"\n[[anchors.timestamps]]\nname = "tsa1"\n'
            f'url = "{running.url}"\ncertificate = "{running.certificate}"\n'
        )
        yield running


def anchored(ledger: Ledger, sealer: Ledger, *, anchor: bool = True) -> int:
    """The size of a checkpoint that has one run more than the last one, anchored where that is meant."""
    with ledger.run("t", "s") as run:
        run.ingest_many("X", {f"{run.id}:{number}": {"n": number} for number in range(300)})
    sealed = sealer.seal()
    assert sealed is not None
    assert not anchor or sealer.anchor().failures == ()
    return sealed.size


def test_the_anchors_are_those_around_the_answer_and_its_own(
    ledger: Ledger, sealer: Ledger, authority: TestAuthority, home: Path
) -> None:
    sizes = [anchored(ledger, sealer) for _ in range(4)]
    last = anchored(ledger, sealer, anchor=False)
    for position, around in (
        (1, [sizes[0]]),
        (sizes[0] - 1, [sizes[0]]),
        (sizes[0], sizes[:2]),
        (sizes[1] + 10, sizes[1:3]),
        (sizes[3], [sizes[3]]),
        (sizes[3] + 10, [sizes[3]]),
        (last, [sizes[3]]),
    ):
        made = ledger.evidence(position, home / "a.zip", force=True)  # by the key that ledger.toml pins
        package = unpacked(made.file)
        assert [anchor.size for anchor in made.anchors] == around
        assert made.covered is (around[-1] >= position)
        assert {*package.under("anchors/")} == {
            *(f"anchors/{size}.checkpoint" for size in around),
            *(f"anchors/{size}.tsa1.tsr" for size in around),
            "anchors/tsa1.pem",
        }
        assert package["anchors/tsa1.pem"] == authority.certificate.read_bytes()
        for size in around:
            assert (
                package[f"anchors/{size}.checkpoint"]
                == (home / "outside" / str(ledger.ledger_id) / f"{size}.checkpoint").read_bytes()
            )
        report = verify(made.file, package["keys"].decode().splitlines(), [authority.certificate], 1)
        assert report.code == 0
        assert ("the answer has not changed since" in str(report)) is made.covered
        text = text_of(package.report)
        assert all(f"of {size:,} events" in text for size in around)
        assert f"{made.anchors[0].timestamps[0].time:%Y-%m-%d %H:%M:%S} UTC, says tsa1" in text
        assert ("None of them covers the whole answer" in text) is not made.covered
        assert f"openssl ts -verify -data anchors/{around[0]}.checkpoint" in text


def test_a_narrowed_package_has_the_tiles_that_lead_from_its_anchors_to_its_checkpoint(
    ledger: Ledger, sealer: Ledger, authority: TestAuthority, home: Path
) -> None:
    sizes = [anchored(ledger, sealer) for _ in range(3)]
    last = anchored(ledger, sealer, anchor=False)
    made = ledger.evidence(sizes[1], home / "a.zip", record=("X", f"{ledger.runs.all()[-1].run_id}:7"))
    package = unpacked(made.file)
    assert [anchor.size for anchor in made.anchors] == [sizes[1]]
    read: dict[tiles.Tile, bytes] = {
        tiles.parse_path(name.removeprefix("log/")): package[name] for name in package.under("log/tile/")
    }
    proof = merkle.consistency_proof(sizes[1], last, tiles.hash_reader(last, read.__getitem__))
    older, newer = (
        checkpoint.parse(package[name].decode().rpartition("\n\n")[0] + "\n")
        for name in (f"anchors/{sizes[1]}.checkpoint", "log/checkpoint")
    )
    checkpoint.verify_consistency(older, newer, proof)


def test_a_checkpoint_in_a_folder_alone_is_said_to_have_no_timestamp(
    ledger: Ledger, sealer: Ledger, authority: TestAuthority, home: Path
) -> None:
    config = home / "ledger.toml"
    config.write_text(config.read_text().partition("[[")[0])
    anchored(ledger, sealer)
    package = unpacked(ledger.evidence(5, home / "a.zip").file)
    assert len(package.under("anchors/")) == 1
    text = text_of(package.report)
    assert "no time-stamp; put aside at" in text
    assert "There are no time-stamps in this package" in text
    assert str(home) not in text


# Keys that were changed


def test_whoever_has_the_first_key_learns_those_that_followed_from_the_package(
    ledger: Ledger, admin_url: str, home: Path
) -> None:
    with audit_ledger.connect(admin_url) as sealer:  # its keys are files: a change makes the next one
        first = keyring.make(sealer.settings, str(ledger.ledger_id))[0].verifier
        keys, changed = [first], []
        anchored(ledger, sealer, anchor=False)
        for _ in range(2):
            done = sealer.rotate_key(reason="yearly", by="Ann")
            keys.append(done.next)
            changed.append(anchored(ledger, sealer, anchor=False))
        last = anchored(ledger, sealer, anchor=False)
        for position, inside in ((last, changed), (changed[0] - 5, changed[:1]), (2, [])):
            made = sealer.evidence(position, home / "a.zip", force=True)
            package = unpacked(made.file)
            assert package["keys"].decode().splitlines() == [key.key for key in keys]
            assert package.under("anchors/") == [f"anchors/{size}.checkpoint" for size in inside]
            assert made.anchors == ()
            proven = verify(made.file, [first.key], [], 1).code == 0
            assert proven is (inside == changed)  # up to the key of the package's own checkpoint
            assert "The ledger has changed its key; the newest is the last." in text_of(package.report)
        narrowed = unpacked(sealer.evidence(5, home / "b.zip", task="t").file)
        assert narrowed.under("anchors/") == []


# The report


class Strict(HTMLParser):
    """Reads HTML in which every tag is closed, in order, and keeps its text."""

    EMPTY = ("meta", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)
        if tag in ("td", "th", "tr", "p", "li", "h2"):
            self.text.append(" ")
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text.append(data)


def text_of(html: str) -> str:
    """What people read, once every tag is closed, and nothing is fetched from elsewhere or executed."""
    assert html.startswith("<!DOCTYPE html>\n")
    parser = Strict()
    parser.feed(html)
    parser.close()
    assert parser.open == []
    assert not parser.tags & {"script", "link", "img", "iframe", "object", "form"}
    assert parser.attributes <= {"lang", "charset", "class"}
    assert "url(" not in html
    assert "@import" not in html
    return " ".join("".join(parser.text).split())


def test_the_report_says_what_is_proven_and_what_not(
    told: Ledger, ledger: Ledger, admin: Admin, signer: Signer, home: Path
) -> None:
    when = ledger.as_of(2).header.recorded_at
    said: list[str] = []
    made = told.evidence(when, home / "a.zip", announce=said.append)
    package = unpacked(made.file)
    text = text_of(package.report)
    leaves = package.question["leaves"]
    everything = (
        f"this package discloses all {leaves} events up to position {leaves}, of every task and source"
    )
    assert said == [f"{everything}: before (s), t (s)"]  # the run that the next event begins
    assert said[0][1:] in text
    assert "The answer is final." in text
    assert "The answer is complete." in text
    assert "No checkpoint outside the operator's reach is in this package." in text
    assert signer.verifier.key in text
    assert signer.verifier.key_id.hex() in text
    root = checkpoint.parse(package["log/checkpoint"].decode().rpartition("\n\n")[0] + "\n").root
    assert root.hex() in text
    last = text_of(unpacked(told.evidence("9999-01-01Z", home / "b.zip").file).report)
    assert "The answer is not final" in last
    assert "3 of the events up to there could not be read as data" in last
    counted = admin.execute("SELECT status, count(*) FROM data_ingestion_runs GROUP BY 1").fetchall()
    assert all(f"{status} {count}" in last for status, count in counted)


def test_the_report_shows_what_comes_from_the_data_as_text(
    ledger: Ledger, sealer: Ledger, home: Path
) -> None:
    task, source = "<script>alert(1)</script>", "'\"><img src=x onerror=y>"
    with pytest.raises(RuntimeError), ledger.run(task, source) as run:
        run.ingest("<b>&amp;", 1, {})
        raise RuntimeError("<i>boom</i>")
    sealer.seal()
    for narrowed in ({}, {"task": task}, {"record": ("<b>&amp;", 1)}):
        file = sealer.evidence(3, home / "a.zip", force=True, **narrowed).file
        text = text_of(unpacked(file).report)
        assert ("<b>&amp;" if "record" in narrowed else task) in text


# Single events


def test_prove_record_gives_the_event_that_brought_the_version_in_force(
    told: Ledger, ledger: Ledger, signer: Signer
) -> None:
    versions = ledger.history("X", 2)
    for version in versions:
        proof = ledger.prove_record("X", 2, version.id)
        event, _ = verify_event(proof.file, [signer.verifier], origin=str(told.ledger_id))
        assert event.position == proof.position == version.id
        assert json.loads(event.state)["content"] == version.commitment
    assert ledger.prove_record("X", 2).position == versions[0].id
    withdrawn = next(version for version in ledger.history("X", 3) if version.operation == "withdrawn")
    with pytest.raises(UnknownRecord, match="X 3 is not in the ledger") as caught:
        ledger.prove_record("X", 3, withdrawn.id)
    assert caught.value.actual == f"it was withdrawn by the event at position {withdrawn.id}"
    with pytest.raises(UnknownRecord, match="X none"):
        ledger.prove_record("X", "none")


def test_prove_record_and_run_of_an_empty_ledger_say_so(ledger: Ledger) -> None:
    with pytest.raises(UnknownRecord, match="X 1"):
        ledger.prove_record("X", 1)
    with pytest.raises(BeforeBeginning):
        list(ledger.prove_run(uuid4()))


def test_prove_run_gives_each_event_of_the_run(told: Ledger, signer: Signer, admin: Admin) -> None:
    for run in told.runs.all():
        proofs = list(told.prove_run(run.run_id))
        stream = [row[0] for row in log(admin) if row[3] == run.run_id]
        assert {*stream} <= {proof.position for proof in proofs}
        for proof in proofs:
            event, _ = verify_event(proof.file, [signer.verifier], origin=str(told.ledger_id))
            assert event.position == proof.position
            assert event.stream_id == run.run_id or str(run.run_id).encode() in event.state
