"""Whatever a superuser changes, deletes or reorders in the stored ledger is found, and its position named."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import psycopg
import pytest

import audit_ledger
from audit_ledger import Ledger
from audit_ledger.errors import EvidenceInvalid
from audit_ledger.evidence import keyring, merkle, report, sealing, whole
from audit_ledger.evidence.checkpoint import Checkpoint
from audit_ledger.evidence.keys import Signer
from audit_ledger.evidence.tiles import Edge
from audit_ledger.store.rebuild import rebuild
from audit_ledger.store.server import EmbeddedServer
from tests.store import InThread, events, recorder_at

Admin = psycopg.Connection[Any]
TRIGGERS = {"events": "events_immutable", "head": "ALL", "tiles": "ALL", "checkpoints": "ALL"}
"""Those that a superuser switches off; what is appended is guarded as ever."""

SIZES = (255, 520, 600)

FLIP = "set_byte({0}, 3, 255 - get_byte({0}, 3))".format


@dataclass
class Sealed:
    """A ledger of 620 events and 5 bodies, of which 600 are sealed, by checkpoints of three sizes.

    Attributes:
        ledger: Connected to as its sealer.
        signer: Its key.
        admin: A superuser, whom no trigger stops.
    """

    ledger: Ledger
    signer: Signer
    admin: Admin

    def verify(self, *, with_key: bool = True) -> whole.LogVerified:
        return whole.verify_log(self.ledger.database, [self.signer.verifier] if with_key else [])

    def scalar(self, statement: str, params: Any = None) -> Any:
        row = self.admin.execute(statement, params).fetchone()
        assert row is not None
        return row[0]


@pytest.fixture
def sealed(server: EmbeddedServer, database: str, url: str, ledger: Ledger, admin: Admin) -> Iterator[Sealed]:
    with recorder_at(url) as recorder, audit_ledger.connect(server.url("ledger_sealer", database)) as sealer:
        signer, _ = keyring.make(sealer.settings, str(sealer.ledger_id))
        with ledger.run("t", "s") as run:
            for number in range(3):
                run.ingest("X", number, {"n": number})
            run.api_call(endpoint="e", request={"q": 1}, response=b"\xff", http_status_code=500)
        for size in SIZES:
            position = sealer.status().position
            recorder.insert_events(events(uuid4(), size - position))
            sealer.seal()
        recorder.insert_events(events(uuid4(), 20))
        ledger.update_read_models()
        for table, triggers in TRIGGERS.items():
            admin.execute(f"ALTER TABLE {table} DISABLE TRIGGER {triggers}")
        admin.execute("ALTER TABLE checkpoints DROP CONSTRAINT checkpoints_size_from_one")
        yield Sealed(sealer, signer, admin)


def test_nothing_is_wrong_with_a_ledger_that_nobody_changed(sealed: Sealed) -> None:
    found = sealed.verify()
    assert found.same, found.faults
    assert (found.position, found.sealed, found.checkpoints, found.unchecked) == (620, 600, 3, 0)
    assert (found.tiles, found.bodies, found.erased, found.first) == (4, 5, 0, None)
    assert sealed.verify(with_key=False).unchecked == 3


def flipped(value: Any, bit: int) -> Any:
    """A value with one bit flipped: in a text, of a letter or digit, which becomes another."""
    if isinstance(value, bytes):
        place = bit % (len(value) * 8)
        return value[: place // 8] + bytes([value[place // 8] ^ 1 << place % 8]) + value[place // 8 + 1 :]
    if isinstance(value, str):
        places = (*range(bit % len(value), len(value)), *range(bit % len(value)))
        place = next(i for i in places if value[i].isalnum() and chr(ord(value[i]) ^ 1).isalnum())
        return value[:place] + chr(ord(value[place]) ^ 1) + value[place + 1 :]
    return value ^ 1 << bit


def is_about(found: whole.LogVerified, part: str, position: int) -> bool:
    return any((fault.part, fault.position) == (part, position) for fault in found.faults)


def test_one_bit_flipped_in_any_column_of_a_sealed_event_is_found_at_its_position(sealed: Sealed) -> None:
    admin = sealed.admin
    for position in (1, 42, 255, 256, 257, 512, 513, 600):
        for column, bit in (("recorded_by", 0), ("type", 0), ("version", 12), ("version", 40), ("state", 1)):
            before = sealed.scalar(f"SELECT {column} FROM events WHERE position = %s", [position])
            update = f"UPDATE events SET {column} = %s WHERE position = %s"
            admin.execute(update, [flipped(before, bit), position])
            found = sealed.verify()
            assert found.first is not None, (column, position)
            assert (found.first.part, found.first.position) == ("event", position), (column, found.faults)
            assert found.wrong == {"event": 1}
            admin.execute(update, [before, position])
        for change, back in (
            (
                "recorded_at = recorded_at + interval '1 microsecond'",
                "recorded_at = recorded_at - interval '1 us'",
            ),
            (
                "recorded_at = recorded_at - interval '1 microsecond'",
                "recorded_at = recorded_at + interval '1 us'",
            ),
            ("stream_id = overlay(stream_id::text placing '0' from 15)::uuid", None),
        ):
            stream = sealed.scalar("SELECT stream_id FROM events WHERE position = %s", [position])
            admin.execute(f"UPDATE events SET {change} WHERE position = %s", [position])
            assert is_about(sealed.verify(), "event", position), (change, position)
            if back is None:
                admin.execute("UPDATE events SET stream_id = %s WHERE position = %s", [stream, position])
            else:
                admin.execute(f"UPDATE events SET {back} WHERE position = %s", [position])
    assert sealed.verify().same


@pytest.mark.parametrize("bit", [10, 20, 40, 61])
@pytest.mark.parametrize("position", [1, 300, 600, 610])
def test_an_event_that_claims_another_position_is_missed_at_its_own(
    sealed: Sealed, position: int, bit: int
) -> None:
    sealed.admin.execute(
        "UPDATE events SET position = %s WHERE position = %s", [flipped(position, bit), position]
    )
    found = sealed.verify()
    assert is_about(found, "event", position), found.faults
    assert found.wrong["head"] == 1


@pytest.mark.parametrize(
    ("level", "number", "bit", "first"),
    [
        (0, 0, 9, 1),
        (0, 0, 8 * 32 * 41, 42),
        (0, 1, 77, 257),
        (0, 2, 8 * 32 * 87, 600),
        (1, 0, 9, 1),
        (1, 0, 300, 257),
    ],
)
def test_one_bit_flipped_in_a_hash_of_any_level_is_found_and_the_event_cleared(
    sealed: Sealed, level: int, number: int, bit: int, first: int
) -> None:
    where = [level, number]
    before = sealed.scalar("SELECT hashes FROM tiles WHERE level = %s AND number = %s", where)
    sealed.admin.execute(
        "UPDATE tiles SET hashes = %s WHERE level = %s AND number = %s", [flipped(before, bit), *where]
    )
    found = sealed.verify()
    assert found.first is not None
    assert (found.first.part, found.first.position, found.wrong) == ("tile", first, {"tile": 1}), found.faults


@pytest.mark.parametrize("change", ["level = 2", "level = 3", "level = 6", "number = 3", "number = 1048578"])
def test_a_tile_that_claims_another_place_is_found(sealed: Sealed, change: str) -> None:
    sealed.admin.execute(f"UPDATE tiles SET {change} WHERE level = 0 AND number = 2")
    found = sealed.verify()
    assert is_about(found, "tile", 513), found.faults


@pytest.mark.parametrize("size", SIZES)
def test_one_bit_flipped_in_a_checkpoint_is_found(sealed: Sealed, size: int) -> None:
    admin = sealed.admin
    row = admin.execute("SELECT root, note, key_id FROM checkpoints WHERE size = %s", [size]).fetchone()
    assert row is not None
    root, note, key_id = row
    changes = [
        ("root", flipped(root, 9)),
        ("key_id", ("0" if key_id[0] != "0" else "1") + key_id[1:]),
        *(("note", flipped(note, bit)) for bit in range(0, len(note) * 8, 41)),
    ]
    for column, value in changes:
        admin.execute(f"UPDATE checkpoints SET {column} = %s WHERE size = %s", [value, size])
        found = sealed.verify()
        assert is_about(found, "checkpoint", size), (column, value, found.faults)
        assert set(found.wrong) == {"checkpoint"}, (column, value, found.faults)
        admin.execute(
            "UPDATE checkpoints SET root = %s, note = %s, key_id = %s WHERE size = %s",
            [root, note, key_id, size],
        )
    for bit in (0, 1, 12, 40):
        admin.execute("UPDATE checkpoints SET size = %s WHERE size = %s", [flipped(size, bit), size])
        found = sealed.verify()
        assert is_about(found, "checkpoint", flipped(size, bit)), (bit, found.faults)
        admin.execute("UPDATE checkpoints SET size = %s WHERE size = %s", [size, flipped(size, bit)])
    assert sealed.verify().same


def test_without_a_key_a_changed_signature_alone_is_not_found_and_that_is_said(sealed: Sealed) -> None:
    sealed.admin.execute(
        "UPDATE checkpoints SET note = set_byte(note, octet_length(note) - 20,"
        " CASE get_byte(note, octet_length(note) - 20) WHEN 65 THEN 66 ELSE 65 END) WHERE size = 600"
    )
    assert not sealed.verify().same
    found = sealed.verify(with_key=False)
    assert (found.same, found.unchecked) == (True, 3)


@pytest.mark.parametrize("column", ["commitment", "salt", "sha256", "size", "media_type", "content"])
def test_one_bit_flipped_in_a_body_is_found(sealed: Sealed, column: str) -> None:
    commitments = [
        row[0] for row in sealed.admin.execute("SELECT commitment FROM bodies ORDER BY commitment")
    ]
    for commitment in commitments:
        before = sealed.scalar(f"SELECT {column} FROM bodies WHERE commitment = %s", [commitment])
        value = flipped(before, 0)
        sealed.admin.execute(f"UPDATE bodies SET {column} = %s WHERE commitment = %s", [value, commitment])
        found = sealed.verify()
        assert found.wrong.get("body"), (column, before)
        name = value if column == "commitment" else commitment
        assert any(f"the body {name}" in fault.detail for fault in found.faults), found.faults
        sealed.admin.execute(f"UPDATE bodies SET {column} = %s WHERE commitment = %s", [before, name])


def test_a_body_that_is_gone_is_missed_at_the_event_that_refers_to_it(sealed: Sealed) -> None:
    sealed.admin.execute(
        "DELETE FROM bodies WHERE commitment = (SELECT content FROM record_versions WHERE record_id = '1')"
    )
    found = sealed.verify()
    assert [(fault.part, fault.position) for fault in found.faults] == [("body", 3)]


def test_bytes_that_are_gone_without_an_event_are_found_and_an_erasure_is_proven(
    sealed: Sealed, officer: Ledger
) -> None:
    officer.erase_record("X", 2, reason="asked for", by="Ann")
    found = sealed.verify()
    assert (found.same, found.bodies, found.erased) == (True, 4, 1)
    sealed.admin.execute(
        "UPDATE bodies SET content = NULL, salt = NULL, sha256 = NULL"
        " WHERE commitment = (SELECT content FROM record_versions WHERE record_id = '0')"
    )
    found = sealed.verify()
    assert found.wrong == {"body": 1}
    assert "no event says so" in found.faults[0].detail


@pytest.mark.parametrize("column", ["position", "recorded_at"])
def test_a_head_that_was_moved_is_found(sealed: Sealed, column: str) -> None:
    change = (
        "position = position - 1" if column == "position" else "recorded_at = recorded_at - interval '1 us'"
    )
    sealed.admin.execute(f"UPDATE head SET {change}")
    assert sealed.verify().wrong == {"head": 1}


def test_a_head_that_was_moved_back_does_not_keep_a_replay_from_ending(
    sealed: Sealed, admin_url: str
) -> None:
    sealed.admin.execute("UPDATE head SET position = position - 3")
    found = sealed.ledger.verify_live(points=2)
    assert found.log.wrong == {"head": 1}
    assert found.read_models.position == 617
    assert "ledger_read.progress" in found.read_models.differing
    with pytest.raises(EvidenceInvalid, match="the log ends before"):
        rebuild(admin_url, sealed.ledger.settings)


@pytest.mark.parametrize(
    ("change", "part", "position"),
    [
        ("UPDATE head SET recorded_at = 'infinity'", "head", 620),
        ("UPDATE head SET recorded_at = '0001-01-01 BC'", "head", 620),
        ("UPDATE events SET recorded_at = 'infinity' WHERE position = 620", "head", 620),
        ("UPDATE events SET recorded_at = '-infinity' WHERE position = 7", "event", 7),
        ("UPDATE events SET recorded_at = '20000-01-01' WHERE position = 7", "event", 7),
        ("UPDATE events SET position = ~(1::bigint << 63) WHERE position = 600", "event", 2**63 - 1),
        ("UPDATE events SET position = 1::bigint << 63 WHERE position = 7", "event", 7),
        ("UPDATE tiles SET number = ~(1::bigint << 63) WHERE level = 0 AND number = 2", "tile", 513),
        ("UPDATE tiles SET number = 1::bigint << 63 WHERE level = 0 AND number = 2", "tile", 513),
        ("UPDATE tiles SET level = 32767 WHERE level = 1", "tile", 1),
        ("UPDATE checkpoints SET size = ~(1::bigint << 63) WHERE size = 520", "checkpoint", 2**63 - 1),
    ],
)
def test_a_value_as_far_off_as_can_be_is_found_too(
    sealed: Sealed, change: str, part: str, position: int
) -> None:
    sealed.admin.execute("ALTER TABLE events DROP CONSTRAINT events_position_from_one")
    for constraint in ("tiles_level_in_range", "tiles_number_not_negative"):
        sealed.admin.execute(f"ALTER TABLE tiles DROP CONSTRAINT {constraint}")
    assert sealed.admin.execute(change).rowcount == 1
    found = sealed.verify()
    assert is_about(found, part, position), found.faults
    assert all(line.startswith(("❌", "✅")) for line in report.lines(sealed.ledger.verify_live(points=1)))


@pytest.mark.parametrize("position", [-(2**63), -1, 0, 5, 2**63 - 1])
def test_a_read_model_that_is_said_to_be_elsewhere_is_found(sealed: Sealed, position: int) -> None:
    sealed.admin.execute("UPDATE progress SET position = %s WHERE projection = 'corrections'", [position])
    found = sealed.ledger.verify_live(points=2).read_models
    assert found.differing == {"ledger_read.progress": 1}
    (difference,) = found.differences
    assert (difference.id, difference.column, difference.there) == ("corrections", "position", position)


def test_a_head_that_is_gone_is_said_to_be_gone(sealed: Sealed, ledger: Ledger, url: str) -> None:
    sealed.admin.execute("DELETE FROM head")
    gone = pytest.raises(EvidenceInvalid, match=r"the head of the log.* is gone: somebody deleted it")
    with gone:
        ledger.status()
    with gone, ledger.run("t", "s"):
        pass
    with gone:
        sealed.ledger.seal()
    for table in ("origins", "events"):
        sealed.admin.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        sealed.admin.execute(f"DELETE FROM {table}")
    with pytest.raises(EvidenceInvalid, match=r"the identity of the ledger .* is gone"):
        audit_ledger.connect(url)


# What is kept of closed origins


@pytest.fixture
def closed(sealed: Sealed, officer: Ledger) -> Sealed:
    """The ledger as its officer made another origin of it, which nobody has sealed yet."""
    officer.recover(reason="a copy", by="Ann", clone=True)
    for table in ("origins", "closed_checkpoints", "closed_tiles", "refusals"):
        sealed.admin.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
    found = sealed.verify()
    assert (found.same, found.closed, found.unchecked, found.sealed) == (True, 3, 0, 0), found.faults
    return sealed


@pytest.mark.parametrize(
    ("change", "part", "position"),
    [
        (f"UPDATE closed_tiles SET hashes = {FLIP('hashes')} WHERE level = 0 AND number = 1", "tile", 256),
        (f"UPDATE closed_tiles SET hashes = {FLIP('hashes')} WHERE level = 1", "tile", 1),
        ("UPDATE closed_tiles SET hashes = hashes || hashes WHERE level = 0 AND number = 2", "tile", 601),
        ("UPDATE closed_tiles SET hashes = substr(hashes, 1, 32) WHERE level = 1", "tile", 1),
        ("DELETE FROM closed_tiles WHERE level = 0 AND number = 1", "tile", 256),
        ("DELETE FROM closed_tiles WHERE level = 0 AND number = 2", "tile", 256),
        ("DELETE FROM closed_tiles WHERE level = 1", "tile", 1),
        ("UPDATE closed_tiles SET origin = gen_random_uuid() WHERE level = 1", "tile", 1),
        ("DELETE FROM closed_checkpoints WHERE size = 600", "tile", 521),
        ("DELETE FROM closed_checkpoints", "tile", 1),
        (f"UPDATE closed_checkpoints SET root = {FLIP('root')} WHERE size = 520", "checkpoint", 520),
        ("UPDATE closed_checkpoints SET note = '' WHERE size = 520", "checkpoint", 520),
        ("UPDATE closed_checkpoints SET size = 521 WHERE size = 520", "checkpoint", 521),
        ("UPDATE closed_checkpoints SET origin = gen_random_uuid() WHERE size = 520", "checkpoint", 520),
        ("UPDATE origins SET after_position = 610 WHERE number = 2", "origin", 611),
        ("UPDATE origins SET after_position = 610 WHERE number = 1", "origin", 611),
        ("UPDATE origins SET after_position = ~(1::bigint << 63) WHERE number = 2", "origin", 2**63),
        ("UPDATE origins SET opened_at = 'infinity' WHERE number = 2", "origin", 621),
        ("UPDATE origins SET number = 3 WHERE number = 2", "origin", 621),
        ("UPDATE origins SET id = gen_random_uuid() WHERE number = 2", "origin", 621),
        ("UPDATE origins SET id = gen_random_uuid() WHERE number = 1", "origin", 621),
        ("UPDATE head SET refuses = true", "head", 621),
    ],
)
def test_a_change_of_what_is_kept_of_closed_origins_is_found(
    closed: Sealed, change: str, part: str, position: int
) -> None:
    assert closed.admin.execute(change).rowcount > 0
    found = closed.verify()
    assert is_about(found, part, position), found.faults


def test_a_closed_checkpoint_that_nobody_signed_is_found(closed: Sealed) -> None:
    forged = Checkpoint(closed.signer.name, 520, merkle.EMPTY_ROOT)
    note = forged.sign(Signer(closed.signer.name, bytes(32)))
    closed.admin.execute(
        "UPDATE closed_checkpoints SET (root, note) = (%s, %s) WHERE size = 520", [forged.root, note]
    )
    assert is_about(closed.verify(), "checkpoint", 520)
    # Without the key the tiles tell it.
    assert is_about(closed.verify(with_key=False), "tile", 256)


def test_a_ledger_that_was_made_to_take_events_again_is_found(sealed: Sealed) -> None:
    note = Checkpoint(sealed.signer.name, 3, merkle.EMPTY_ROOT).sign(sealed.signer)
    with sealed.ledger.database.connection() as conn:
        conn.execute("SELECT refuse_appends(%s::uuid, 3, %s, 'x', 'y')", [sealed.signer.name, note])
    assert sealed.verify().same
    sealed.admin.execute("UPDATE head SET refuses = false")
    found = sealed.verify()
    assert [f"{fault}" for fault in found.faults] == ["position 620: the ledger takes events that it refused"]


# Events that are deleted, reordered, truncated, rewritten


@pytest.mark.parametrize("position", [1, 100, 256, 257, 599, 600, 610])
def test_an_event_that_was_deleted_is_named(sealed: Sealed, position: int) -> None:
    sealed.admin.execute("DELETE FROM events WHERE position = %s", [position])
    found = sealed.verify()
    assert [(fault.part, fault.position) for fault in found.faults] == [("event", position)]
    assert found.wrong == {"event": 1}


def test_events_that_were_deleted_are_counted(sealed: Sealed) -> None:
    sealed.admin.execute("DELETE FROM events WHERE position BETWEEN 100 AND 400")
    found = sealed.verify()
    assert found.first is not None
    assert (found.first.position, found.wrong) == (100, {"event": 301})


@pytest.mark.parametrize(("one", "other"), [(10, 11), (3, 500), (255, 256)])
def test_two_events_that_were_swapped_are_named(sealed: Sealed, one: int, other: int) -> None:
    for old, new in ((one, 10_000), (other, one), (10_000, other)):
        sealed.admin.execute("UPDATE events SET position = %s WHERE position = %s", [new, old])
    found = sealed.verify()
    assert is_about(found, "event", one)
    assert is_about(found, "event", other)
    assert found.first is not None
    assert found.first.position == one


def truncate(admin: Admin, position: int) -> None:
    admin.execute("DELETE FROM events WHERE position > %s", [position])
    admin.execute(
        "UPDATE head SET (position, recorded_at) ="
        " (SELECT position, recorded_at FROM events WHERE position = %s)",
        [position],
    )


def test_a_tail_that_was_cut_off_is_named(sealed: Sealed) -> None:
    truncate(sealed.admin, 590)
    found = sealed.verify()
    assert found.first is not None
    assert (found.first.part, found.first.position, found.wrong) == ("event", 591, {"event": 10})
    assert "the ledger ends at 590, its last checkpoint has size 600" in found.first.detail


def test_a_tail_that_was_cut_off_with_its_checkpoint_is_shown_by_the_tiles(sealed: Sealed) -> None:
    truncate(sealed.admin, 520)
    sealed.admin.execute("DELETE FROM checkpoints WHERE size > 520")
    found = sealed.verify()
    assert found.first is not None
    assert (found.first.part, found.first.position, found.wrong) == ("tile", 521, {"tile": 1})


def test_tiles_that_were_cut_off_are_named(sealed: Sealed) -> None:
    sealed.admin.execute("DELETE FROM tiles WHERE level = 0 AND number = 2")
    assert is_about(sealed.verify(), "tile", 513)
    sealed.admin.execute("DELETE FROM tiles WHERE level = 0")
    assert is_about(sealed.verify(), "tile", 1)


def rewrite(admin: Admin, position: int) -> None:
    admin.execute("UPDATE events SET state = '{\"forged\":1}' WHERE position >= %s", [position])


@pytest.mark.parametrize("position", [2, 256, 300, 520, 595])
def test_a_ledger_rewritten_from_an_event_on_is_named_there(sealed: Sealed, position: int) -> None:
    rewrite(sealed.admin, position)
    found = sealed.verify()
    assert found.first is not None
    assert (found.first.part, found.first.position) == ("event", position)
    assert found.wrong == {"event": 601 - position}


def retile(sealed: Sealed) -> None:
    """Compute all tiles anew of the events that there are."""
    edge = Edge()
    hashes = [
        row[0] for row in sealed.admin.execute("SELECT hash FROM leaf_hashes ORDER BY position LIMIT 600")
    ]
    for tile, data in [*edge.append(hashes), *edge.partial()]:
        sealed.admin.execute(
            "UPDATE tiles SET hashes = %s WHERE level = %s AND number = %s", [data, tile.level, tile.number]
        )


def test_a_ledger_rewritten_with_its_tiles_is_found_between_two_checkpoints(sealed: Sealed) -> None:
    rewrite(sealed.admin, 300)
    retile(sealed)
    found = sealed.verify()
    assert [(fault.part, fault.position) for fault in found.faults] == [("event", 256), ("event", 256)]
    assert "somewhere from here to 520" in found.faults[0].detail


def test_a_ledger_rewritten_with_its_tiles_and_signed_by_another_key_is_found(sealed: Sealed) -> None:
    rewrite(sealed.admin, 300)
    retile(sealed)
    other = Signer(sealed.signer.name, bytes(32))
    for size in (520, 600):
        hashes = [
            row[0]
            for row in sealed.admin.execute("SELECT hash FROM leaf_hashes ORDER BY position LIMIT %s", [size])
        ]
        forged = Checkpoint(other.name, size, merkle.root(hashes))
        sealed.admin.execute(
            "UPDATE checkpoints SET root = %s, note = %s, key_id = %s WHERE size = %s",
            [forged.root, forged.sign(other), other.verifier.key_id.hex(), size],
        )
    found = sealed.verify()
    assert [(fault.part, fault.position) for fault in found.faults] == [
        ("checkpoint", 520),
        ("checkpoint", 600),
    ]


def test_a_clock_that_was_set_back_before_sealing_is_found(sealed: Sealed) -> None:
    sealed.admin.execute(
        "UPDATE events SET recorded_at = recorded_at - interval '1 hour' WHERE position = 610"
    )
    found = sealed.verify()
    assert found.first is not None
    assert (found.first.position, "before the event before it" in found.first.detail) == (610, True)


def test_faults_beyond_the_first_twenty_are_counted(sealed: Sealed) -> None:
    rewrite(sealed.admin, 2)
    found = sealed.verify()
    assert (len(found.faults), found.wrong) == (whole.SHOWN, {"event": 599})


def test_chunks_are_no_limits(sealed: Sealed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "PAGE", 1)
    assert sealed.verify().same


def test_checkpoints_by_several_keys_are_checked_by_any_of_them(sealed: Sealed) -> None:
    done = sealed.ledger.rotate_key(reason="x")
    sealed.ledger.seal()
    for key in (done.previous, done.next):
        found = whole.verify_log(sealed.ledger.database, [key])
        assert (found.same, found.unchecked, found.checkpoints) == (True, 0, 4), found.faults
    sealed.admin.execute("UPDATE events SET state = '{}' WHERE position = %s", [done.position])
    found = whole.verify_log(sealed.ledger.database, [done.next])
    assert is_about(found, "event", done.position), found.faults


def test_who_verifies_sees_one_moment_while_others_record_and_seal(sealed: Sealed, url: str) -> None:
    stopped = threading.Event()

    def work() -> int:
        turns = 0
        with recorder_at(url) as recorder:
            while not stopped.is_set():
                recorder.insert_events(events(uuid4(), 40))
                sealed.ledger.seal()
                turns += 1
        return turns

    working = InThread(work)
    with audit_ledger.connect(url) as reader:
        for _ in range(10):
            found = whole.verify_log(reader.database, [sealed.signer.verifier])
            assert found.same, found.faults
    stopped.set()
    assert working.result() > 1


def test_a_large_ledger_is_verified_in_chunks(server: EmbeddedServer, database: str, admin: Admin) -> None:
    statement = (
        "SELECT append(array_agg(gen_random_uuid()), array_agg(1::bigint), array_agg('Noted'::text),"
        " array_agg('{}'::bytea)) FROM generate_series(1, %s::int)"
    )
    with audit_ledger.connect(server.url("ledger_sealer", database)) as ledger:
        signer, _ = keyring.make(ledger.settings, str(ledger.ledger_id))
        for count in (65_000, 67_000):
            admin.execute(statement, [count])
            ledger.seal()
        told: list[tuple[int, int]] = []
        found = whole.verify_log(
            ledger.database, [signer.verifier], lambda now, upto: told.append((now, upto))
        )
        assert (found.same, found.sealed, found.tiles) == (True, 132_000, 516 + 3 + 1), found.faults
        assert told == [(65_536, 132_000), (131_072, 132_000), (132_000, 132_000), (132_000, 132_000)]
        for table in ("events", "tiles"):
            admin.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        admin.execute(
            "UPDATE tiles SET hashes = set_byte(hashes, 40, 1 - get_byte(hashes, 40)) WHERE level = 2"
        )
        admin.execute("UPDATE events SET version = 2 WHERE position IN (70000, 131900)")
        found = whole.verify_log(ledger.database, [signer.verifier])
        assert [(fault.part, fault.position) for fault in found.faults] == [
            ("tile", 65_537),
            ("event", 70_000),
            ("event", 131_900),
        ]


def test_a_ledger_that_goes_on_under_another_origin_is_verified_by_its_new_key(
    sealed: Sealed, officer: Ledger, server: EmbeddedServer, database: str
) -> None:
    officer.erase_record("X", 2, reason="asked for", by="Ann")
    officer.recover(reason="a copy", by="Ann", clone=True)
    with audit_ledger.connect(server.url("ledger_sealer", database)) as sealer:
        assert sealer.ledger_id != sealed.ledger.ledger_id
        keyring.make(sealer.settings, str(sealer.ledger_id))
        sealer.seal()
        done = sealer.rotate_key(reason="x")
        sealer.seal()
        for key in (done.previous, done.next):
            found = whole.verify_log(sealer.database, [key, sealed.signer.verifier])
            assert (found.same, found.unchecked, found.erased) == (True, 0, 1), found.faults
            assert (found.checkpoints, found.closed) == (2, 3)
            assert whole.verify_log(sealer.database, [key]).unchecked == 3
