"""Sealing and proofs on PostgreSQL: stored is what the pure functions compute, and changes are found."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.rows import tuple_row
from pydantic import SecretStr

import audit_ledger
from audit_ledger import Ledger
from audit_ledger.errors import (
    ConfigurationError,
    EvidenceInvalid,
    LedgerBusy,
    NotSealed,
    UnknownPosition,
    WrongRole,
)
from audit_ledger.evidence import checkpoint, keyring, merkle, proving, sealing, tiles, tlog_proof
from audit_ledger.evidence.keys import COSIGNATURE, Signer
from audit_ledger.settings import load
from audit_ledger.store.database import Database
from audit_ledger.store.server import EmbeddedServer
from tests.store import InThread, events, recorder_at, until, waiting

Admin = psycopg.Connection[Any]
SEED = bytes(range(32))


@pytest.fixture
def sealer_url(server: EmbeddedServer, database: str) -> str:
    return server.url("ledger_sealer", database)


@pytest.fixture
def sealer(sealer_url: str) -> Iterator[Database]:
    """The ledger, connected to as its sealer."""
    with Database(sealer_url, "ledger", load(url=sealer_url, lock_timeout=0.5)) as connected:
        yield connected


@pytest.fixture
def signer(admin: Admin) -> Signer:
    """A key of the ledger."""
    return Signer(str(scalar(admin, "SELECT id FROM origin")), SEED)


@pytest.fixture
def append(url: str) -> Iterator[Callable[[int], None]]:
    """Appends so many events."""
    with recorder_at(url) as recorder:

        def append(count: int) -> None:
            recorder.insert_events(events(uuid4(), count))

        yield append


def scalar(conn: Admin, statement: str, params: Any = None) -> Any:
    row = conn.execute(statement, params).fetchone()
    assert row is not None
    return row[0]


def leaf_hashes(conn: Admin) -> list[bytes]:
    return [row[0] for row in conn.execute("SELECT hash FROM leaf_hashes ORDER BY position")]


def stored_tiles(conn: Admin) -> dict[tuple[int, int], bytes]:
    rows = conn.execute("SELECT level, number, hashes FROM tiles").fetchall()
    return {(level, number): hashes for level, number, hashes in rows}


def computed_tiles(hashes: list[bytes]) -> dict[tiles.Tile, bytes]:
    """The tiles of a tree, by their definition: hashes of a level are roots of 256 of the level below."""
    found, level = {}, 0
    while hashes:
        for number, start in enumerate(range(0, len(hashes), 256)):
            part = hashes[start : start + 256]
            found[tiles.Tile(level, number, len(part))] = b"".join(part)
        full = len(hashes) // 256 * 256
        hashes = [merkle.root(hashes[start : start + 256]) for start in range(0, full, 256)]
        level += 1
    return found


def forced(admin: Admin, statement: str, params: Any = None) -> None:
    """What a superuser can do to a table of the ledger whose triggers they switch off."""
    with admin.transaction():
        for table in ("events", "tiles", "checkpoints"):
            admin.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        assert admin.execute(statement, params).rowcount == 1
        for table in ("events", "tiles", "checkpoints"):
            admin.execute(f"ALTER TABLE {table} ENABLE TRIGGER ALL")


# What is sealed


def test_many_seals_store_what_the_pure_functions_compute(
    sealer: Database,
    signer: Signer,
    admin: Admin,
    append: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sealing, "CHUNK", 300)
    assert sealing.seal(sealer, signer) is None
    older: list[checkpoint.Checkpoint] = []
    for size in (1, 2, 255, 256, 257, 512, 700, 1500):
        append(size - (older[-1].size if older else 0))
        sealed = sealing.seal(sealer, signer)
        assert sealed is not None
        hashes = leaf_hashes(admin)
        assert (sealed.size, sealed.root) == (size, merkle.root(hashes))
        computed = computed_tiles(hashes)
        assert stored_tiles(admin) == {(t.level, t.number): data for t, data in computed.items()}
        assert sealing.seal(sealer, signer) is None
        with sealer.connection() as conn, conn.cursor(row_factory=tuple_row) as cursor:
            read = tiles.hash_reader(size, lambda tile: sealing.read_tile(cursor, tile))
            for old in older:
                proof = merkle.consistency_proof(old.size, size, read)
                checkpoint.verify_consistency(old, sealed, proof)
        older.append(sealed)
    rows = admin.execute("SELECT size, root, note, key_id FROM checkpoints ORDER BY size").fetchall()
    for (size, root, note, key_id), expected in zip(rows, older, strict=True):
        stated = checkpoint.verify(note, origin=signer.name, keys=[signer.verifier]).checkpoint
        assert stated == expected
        assert (stated.size, stated.root, key_id) == (size, root, signer.verifier.key_id.hex())


def test_a_level_above_two_others_is_sealed(sealer: Database, signer: Signer, admin: Admin) -> None:
    statement = (
        "SELECT append(array_agg(gen_random_uuid()), array_agg(1::bigint), array_agg('Noted'::text),"
        " array_agg('{}'::bytea)) FROM generate_series(1, %s::int)"
    )
    admin.execute(statement, [65_000])
    sealing.seal(sealer, signer)
    admin.execute(statement, [1_000])
    sealed = sealing.seal(sealer, signer)
    assert sealed is not None
    hashes = leaf_hashes(admin)
    assert sealed.root == merkle.root(hashes)
    assert stored_tiles(admin) == {(t.level, t.number): d for t, d in computed_tiles(hashes).items()}
    assert max(level for level, _ in stored_tiles(admin)) == 2


def test_tiles_of_every_earlier_size_can_be_served(
    sealer: Database, signer: Signer, admin: Admin, append: Callable[[int], None]
) -> None:
    for count in (300, 300):
        append(count)
        sealing.seal(sealer, signer)
    hashes = leaf_hashes(admin)
    with sealer.connection() as conn, conn.cursor(row_factory=tuple_row) as cursor:
        for size in (1, 255, 256, 300, 513, 600):
            computed = computed_tiles(hashes[:size])
            assert set(computed) == set(tiles.tree_tiles(size))
            for tile in tiles.tree_tiles(size):
                assert sealing.read_tile(cursor, tile) == computed[tile], tile.path
        with pytest.raises(EvidenceInvalid, match=r"tile/0/002\.p/89 is not in the database"):
            sealing.read_tile(cursor, tiles.Tile(0, 2, 89))


def test_a_leaf_that_is_too_long_for_a_bundle_is_sealed_and_proven(
    sealer: Database, signer: Signer, admin: Admin
) -> None:
    for state in (b"{}", b"x" * 70_000, b"{}"):
        admin.execute("SELECT append(ARRAY[%s::uuid], ARRAY[1], ARRAY['Noted'], ARRAY[%s])", [uuid4(), state])
    sealed = sealing.seal(sealer, signer)
    assert sealed is not None
    assert sealed.root == merkle.root(leaf_hashes(admin))
    proof = proving.prove_event(sealer, 2)
    event, _ = proving.verify_event(proof.file, [signer.verifier], origin=signer.name)
    assert event.state == b"x" * 70_000


def test_a_checkpoint_is_told_on_the_ledgers_channel(
    sealer: Database, signer: Signer, admin: Admin, append: Callable[[int], None]
) -> None:
    admin.execute("LISTEN ledger_checkpoints")
    append(3)
    sealing.seal(sealer, signer)
    assert [notice.payload for notice in admin.notifies(timeout=5, stop_after=1)] == ["3"]


# Several at once, and killed


def test_who_appends_does_not_wait_for_a_sealer(
    sealer_url: str, admin: Admin, append: Callable[[int], None]
) -> None:
    append(1)
    with psycopg.connect(sealer_url) as sealing_now:
        sealing_now.execute("SELECT ledger.begin_seal()")
        append(1)
    assert scalar(admin, "SELECT position FROM head") == 2


def test_a_sealer_waits_for_the_other_and_names_it_where_that_takes_too_long(
    sealer: Database, sealer_url: str, signer: Signer, append: Callable[[int], None]
) -> None:
    append(1)
    with psycopg.connect(sealer_url) as other:
        other.execute("SELECT ledger.begin_seal()")
        with pytest.raises(LedgerBusy, match="sealing") as busy:
            sealing.seal(sealer, signer)
        assert f"process {other.info.backend_pid}" in str(busy.value.actual)
    assert sealing.seal(sealer, signer) is not None


def test_two_sealers_at_once_do_the_work_once(
    sealer: Database, sealer_url: str, signer: Signer, admin: Admin, append: Callable[[int], None]
) -> None:
    append(600)
    with psycopg.connect(sealer_url) as gate, Database(sealer_url, "ledger", load(url=sealer_url)) as second:
        gate.execute("SELECT ledger.begin_seal()")
        both = [InThread(lambda: sealing.seal(second, signer)) for _ in range(2)]
        until(lambda: len(waiting(admin)) == 2)
        gate.rollback()
        done = [call.result() for call in both]
    assert sorted(sealed is None for sealed in done) == [False, True]
    assert admin.execute("SELECT size, root FROM checkpoints").fetchall() == [
        (600, merkle.root(leaf_hashes(admin)))
    ]


CHILD = """
import sys, time
from audit_ledger.evidence import sealing
from audit_ledger.evidence.keys import Signer
from audit_ledger.settings import load
from audit_ledger.store.database import Database

sealing.CHUNK = 256

def tell(position, upto):
    print(position, flush=True)
    time.sleep(30 if position > 600 else 0)

with Database(sys.argv[1], "ledger", load(url=sys.argv[1])) as database:
    sealing.seal(database, Signer(sys.argv[2], bytes(range(32))), tell=tell)
"""


def test_a_sealer_that_is_killed_in_the_middle_loses_nothing(
    sealer: Database, sealer_url: str, signer: Signer, admin: Admin, append: Callable[[int], None]
) -> None:
    append(100)
    sealing.seal(sealer, signer)
    before = stored_tiles(admin)
    append(900)
    command = [sys.executable, "-c", CHILD, sealer_url, signer.name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert [int(child.stdout.readline()) for _ in range(2)] == [356, 612]
        child.send_signal(signal.SIGKILL)
    assert stored_tiles(admin) == before
    until(lambda: scalar(admin, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0)
    sealed = sealing.seal(sealer, signer)
    assert sealed is not None
    assert (sealed.size, sealed.root) == (1000, merkle.root(leaf_hashes(admin)))


# Proofs


def test_every_event_of_a_sealed_ledger_is_proven(
    sealer: Database, signer: Signer, admin: Admin, append: Callable[[int], None]
) -> None:
    append(600)
    sealing.seal(sealer, signer)
    append(1)
    for position in (1, 2, 255, 256, 257, 512, 513, 600):
        proof = proving.prove_event(sealer, position)
        event, verified = proving.verify_event(proof.file, [signer.verifier], origin=signer.name)
        row = admin.execute("SELECT * FROM events WHERE position = %s", [position]).fetchone()
        assert row is not None
        assert set(event) == set(row)
        assert (event.position, verified.checkpoint.size) == (position, 600)


def test_what_is_not_sealed_or_not_there_cannot_be_proven(
    ledger: Ledger, sealer: Database, signer: Signer, append: Callable[[int], None]
) -> None:
    with pytest.raises(UnknownPosition):
        ledger.prove_event(1)
    append(2)
    with pytest.raises(NotSealed, match="position 1 is not sealed"):
        ledger.prove_event(1)
    sealing.seal(sealer, signer)
    append(1)
    assert ledger.prove_event(2).size == 2
    with pytest.raises(NotSealed):
        ledger.prove_event(3)
    for position in (0, -1, 4, 2**62):
        with pytest.raises(UnknownPosition):
            ledger.prove_event(position)


def test_a_proof_with_another_event_in_it_proves_nothing(
    sealer: Database, signer: Signer, append: Callable[[int], None]
) -> None:
    append(3)
    sealing.seal(sealer, signer)
    one, two = (proving.prove_event(sealer, position).file.split(b"\n") for position in (1, 2))
    mixed = b"\n".join([one[0], two[1], *one[2:]])
    with pytest.raises(EvidenceInvalid, match="does not prove"):
        proving.verify_event(mixed, [signer.verifier], origin=signer.name)
    bare = b"\n".join([one[0], *one[2:]])
    with pytest.raises(EvidenceInvalid, match="does not hold the event"):
        proving.verify_event(bare, [signer.verifier], origin=signer.name)


def test_an_event_that_was_signed_out_of_its_place_proves_nothing(
    sealer: Database, signer: Signer, admin: Admin, append: Callable[[int], None]
) -> None:
    append(2)
    first, second = (row[0] for row in admin.execute("SELECT leaf FROM leaves ORDER BY position"))
    hashes = [merkle.leaf_hash(second), merkle.leaf_hash(first)]
    signed = checkpoint.Checkpoint(signer.name, 2, merkle.root(hashes)).sign(signer)
    forged = bytes(tlog_proof.TlogProof(0, (hashes[1],), signed, extra=second))
    with pytest.raises(EvidenceInvalid, match="another position"):
        proving.verify_event(forged, [signer.verifier], origin=signer.name)


# Who may, and who changes things nevertheless


@pytest.mark.parametrize("role", ["ledger_writer", "ledger_officer", "ledger_reader"])
def test_only_the_sealer_seals(
    role: str, server: EmbeddedServer, database: str, signer: Signer, append: Callable[[int], None]
) -> None:
    append(1)
    url = server.url(role, database)
    with Database(url, "ledger", load(url=url)) as other, pytest.raises(WrongRole) as wrong:
        sealing.seal(other, signer)
    assert wrong.value.expected == "a member of ledger_sealer"


@pytest.mark.parametrize("role", ["ledger_writer", "ledger_officer", "ledger_reader", "ledger_sealer"])
def test_no_role_of_scripts_and_people_writes_tiles_or_checkpoints(
    role: str, server: EmbeddedServer, database: str
) -> None:
    with psycopg.connect(server.url(role, database), autocommit=True) as conn:
        for statement in [
            "INSERT INTO ledger.tiles VALUES (0, 0, repeat('x', 32)::bytea)",
            "INSERT INTO ledger.checkpoints VALUES (1, repeat('x', 32)::bytea, '', '00000000')",
            "UPDATE ledger.tiles SET hashes = hashes",
            "DELETE FROM ledger.checkpoints",
            "TRUNCATE ledger.tiles",
        ]:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(statement)


def test_the_sealer_does_not_append(sealer_url: str) -> None:
    with (
        psycopg.connect(sealer_url, autocommit=True) as conn,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        conn.execute("INSERT INTO ledger.events SELECT * FROM ledger.events")


def test_a_sealer_cannot_store_what_does_not_continue(
    sealer: Database, signer: Signer, sealer_url: str, append: Callable[[int], None]
) -> None:
    append(300)
    sealing.seal(sealer, signer)
    append(300)
    tile, mark = "ARRAY[%s]::smallint[], ARRAY[%s]::bigint[], ARRAY[%s]::bytea[]", b"x" * 32
    with psycopg.connect(sealer_url, autocommit=True) as conn:

        def refused(statement: str, params: list[Any]) -> psycopg.Error:
            with pytest.raises(psycopg.Error) as error:
                conn.execute(statement, params)
            return error.value

        add = f"SELECT ledger.add_tiles({tile})"
        assert refused(add, [0, 0, mark * 256]).sqlstate == "AL001"  # another content
        assert refused(add, [0, 1, mark * 100]).sqlstate == "AL001"  # not what its tile begins with
        assert refused(add, [0, 1, mark]).sqlstate == "AL001"  # shorter
        assert refused(add, [0, 2, mark]).sqlstate == "AL013"  # behind a partial one
        assert refused(add, [0, 9, mark]).sqlstate == "AL013"  # behind none
        assert refused(add, [0, 2, mark[:31]]).sqlstate in {"AL013", "23514"}
        assert refused(add, [2, 0, mark[:31]]).diag.constraint_name == "tiles_one_to_256_hashes"
        state = "SELECT ledger.add_checkpoint(%s, %s, %s, %s)"
        for size in (0, 299, 300, 601):
            assert refused(state, [size, mark, b"n", "00000000"]).sqlstate == "AL013", size
        assert "Level 0 has 300 hashes; due are 600" in str(refused(state, [600, mark, b"n", "00000000"]))
    assert sealing.seal(sealer, signer) is not None


def test_a_superuser_is_stopped_by_the_triggers(
    sealer: Database, signer: Signer, admin: Admin, append: Callable[[int], None]
) -> None:
    append(3)
    sealing.seal(sealer, signer)
    before = stored_tiles(admin)
    for mode in ("origin", "replica"):
        admin.execute(f"SET session_replication_role = {mode}")
        for statement in [
            "UPDATE tiles SET hashes = reverse(hashes) || hashes"
            if admin.info.server_version >= 180000
            else "UPDATE tiles SET hashes = '\\x00'::bytea || hashes",
            "UPDATE tiles SET hashes = hashes",
            "UPDATE tiles SET number = 7, hashes = hashes || hashes",
            "DELETE FROM tiles",
            "TRUNCATE tiles",
            "UPDATE checkpoints SET key_id = key_id",
            "DELETE FROM checkpoints",
            "TRUNCATE checkpoints",
        ]:
            with pytest.raises(psycopg.Error) as refused:
                admin.execute(statement)
            assert refused.value.sqlstate == "AL001", statement
    assert stored_tiles(admin) == before


FLIP = "set_bit({0}, {1}, 1 - get_bit({0}, {1}))"


def test_a_bit_flipped_in_a_sealed_event_is_found_by_its_proof(
    sealer: Database, signer: Signer, admin: Admin, append: Callable[[int], None]
) -> None:
    append(300)
    sealing.seal(sealer, signer)
    forced(admin, f"UPDATE events SET state = {FLIP.format('state', 3)} WHERE position = 42")
    with pytest.raises(EvidenceInvalid, match="position 42 is not the one that was sealed at size 300"):
        proving.prove_event(sealer, 42)
    assert proving.prove_event(sealer, 41).position == 41


@pytest.mark.parametrize(
    "change",
    [
        "recorded_at = recorded_at + interval '1 microsecond'",
        "recorded_by = 'eve'",
        "stream_id = gen_random_uuid()",
        "type = 'Other'",
        "version = version + 1000",
    ],
)
def test_a_change_of_any_column_of_a_sealed_event_is_found_by_its_proof(
    change: str, sealer: Database, signer: Signer, admin: Admin, append: Callable[[int], None]
) -> None:
    append(5)
    sealing.seal(sealer, signer)
    forced(admin, f"UPDATE events SET {change} WHERE position = 2")
    with pytest.raises(EvidenceInvalid, match="position 2 is not the one"):
        proving.prove_event(sealer, 2)


def test_a_sealed_event_that_was_deleted_is_named(
    sealer: Database, signer: Signer, admin: Admin, append: Callable[[int], None]
) -> None:
    append(5)
    sealing.seal(sealer, signer)
    forced(admin, "DELETE FROM events WHERE position = 2")
    with pytest.raises(EvidenceInvalid, match="position 2 is not the one"):
        proving.prove_event(sealer, 2)


def test_an_event_that_is_gone_before_it_was_sealed_is_named(
    sealer: Database, signer: Signer, admin: Admin, append: Callable[[int], None]
) -> None:
    append(600)
    forced(admin, "DELETE FROM events WHERE position = 300")
    with pytest.raises(EvidenceInvalid, match="position 300 is gone"):
        sealing.seal(sealer, signer)
    assert stored_tiles(admin) == {}


@pytest.mark.parametrize(("size", "level", "number"), [(300, 0, 1), (300, 1, 0)])
def test_a_bit_flipped_in_the_edge_is_found_by_the_next_sealing(
    size: int,
    level: int,
    number: int,
    sealer: Database,
    signer: Signer,
    admin: Admin,
    append: Callable[[int], None],
) -> None:
    append(size)
    sealing.seal(sealer, signer)
    forced(
        admin,
        f"UPDATE tiles SET hashes = {FLIP.format('hashes', 77)} WHERE level = %s AND number = %s",
        [level, number],
    )
    append(1)
    with pytest.raises(EvidenceInvalid, match="tiles at size 300 are not those of its checkpoint"):
        sealing.seal(sealer, signer)
    with pytest.raises(EvidenceInvalid, match=r"position 300 (cannot be proven: the tiles at size 300|is)"):
        proving.prove_event(sealer, 300)


def test_a_bit_flipped_in_a_full_tile_is_found_by_proofs_that_need_it(
    sealer: Database, signer: Signer, admin: Admin, append: Callable[[int], None]
) -> None:
    append(300)
    sealing.seal(sealer, signer)
    forced(admin, f"UPDATE tiles SET hashes = {FLIP.format('hashes', 77)} WHERE level = 0 AND number = 0")
    with pytest.raises(EvidenceInvalid, match="the tiles at size 300 were changed"):
        proving.prove_event(sealer, 2)
    assert proving.prove_event(sealer, 1).position == 1  # the hash of the very event is no part of its proof


def test_a_bit_flipped_in_the_root_of_a_checkpoint_is_found(
    sealer: Database, signer: Signer, admin: Admin, append: Callable[[int], None]
) -> None:
    append(3)
    sealing.seal(sealer, signer)
    forced(admin, f"UPDATE checkpoints SET root = {FLIP.format('root', 8)}")
    append(1)
    with pytest.raises(EvidenceInvalid, match="checkpoint of size 3 was changed"):
        sealing.seal(sealer, signer)
    with pytest.raises(EvidenceInvalid, match="checkpoint of size 3 was changed"):
        proving.prove_event(sealer, 1)


def signature_changed(admin: Admin, character: Callable[[int], int]) -> None:
    """Change one character of the last checkpoint's signature, in the middle of what its key signed."""
    note = bytearray(admin.execute("SELECT note FROM checkpoints").fetchall()[0][0])
    note[-30] = character(note[-30])
    forced(admin, f"UPDATE checkpoints SET note = '\\x{note.hex()}'")


def test_a_signature_that_was_changed_is_found(
    sealer: Database, signer: Signer, admin: Admin, append: Callable[[int], None]
) -> None:
    append(3)
    sealing.seal(sealer, signer)
    signature_changed(admin, lambda character: ord("B" if character == ord("A") else "A"))
    append(1)
    with pytest.raises(EvidenceInvalid, match="checkpoint of size 3 was changed"):
        sealing.seal(sealer, signer)
    # A proof is made without any key: who checks it finds the signature wrong.
    proof = proving.prove_event(sealer, 1)
    with pytest.raises(EvidenceInvalid, match="signature"):
        proving.verify_event(proof.file, [signer.verifier], origin=signer.name)


def test_a_signature_that_is_no_longer_base64_is_found(
    sealer: Database, signer: Signer, admin: Admin, append: Callable[[int], None]
) -> None:
    append(3)
    sealing.seal(sealer, signer)
    signature_changed(admin, lambda _: ord("`"))
    append(1)
    with pytest.raises(EvidenceInvalid, match="checkpoint of size 3 was changed"):
        sealing.seal(sealer, signer)
    with pytest.raises(EvidenceInvalid, match="checkpoint of size 3 was changed"):
        proving.prove_event(sealer, 1)


def test_a_ledger_that_is_shorter_than_its_checkpoint_is_not_sealed(
    sealer: Database, signer: Signer, admin: Admin, append: Callable[[int], None]
) -> None:
    append(3)
    sealing.seal(sealer, signer)
    with admin.transaction():
        admin.execute("ALTER TABLE events DISABLE TRIGGER ALL; ALTER TABLE head DISABLE TRIGGER ALL")
        admin.execute("DELETE FROM events WHERE position = 3")
        admin.execute("UPDATE head SET position = 2")
    with pytest.raises(EvidenceInvalid, match="shorter than its checkpoint of size 3"):
        sealing.seal(sealer, signer)


# Keys


def test_a_key_is_made_once_in_a_file_that_its_owner_alone_can_read(home: Path) -> None:
    settings, origin = load(home=home), str(uuid4())
    signer, file = keyring.make(settings, origin)
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert keyring.find(settings, origin) == signer
    with pytest.raises(ConfigurationError, match="already"):
        keyring.make(settings, origin)
    assert keyring.find(settings, origin) == signer
    assert keyring.listed(settings) == [(signer, str(file))]


@pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX")
def test_a_key_that_others_can_read_is_refused(home: Path) -> None:
    settings, origin = load(home=home), str(uuid4())
    _, file = keyring.make(settings, origin)
    file.chmod(0o640)
    with pytest.raises(ConfigurationError, match="others can read") as refused:
        keyring.find(settings, origin)
    assert refused.value.actual == "mode 0640"


def test_the_setting_names_a_file_or_is_the_key(home: Path) -> None:
    origin = str(uuid4())
    signer, file = keyring.make(load(home=home), origin)
    moved = file.rename(home / "elsewhere")
    for given in (str(moved), signer.key):
        settings = load(home=home, sealing_key=SecretStr(given))
        assert keyring.find(settings, origin) == signer
        assert [found for found, _ in keyring.listed(settings)] == [signer]
        assert signer.key not in repr(settings)
        with pytest.raises(ConfigurationError, match="already"):
            keyring.make(settings, origin)
        with pytest.raises(ConfigurationError, match="another ledger"):
            keyring.find(settings, str(uuid4()))


def test_the_key_of_a_witness_is_refused(home: Path) -> None:
    witness = Signer(str(uuid4()), SEED, COSIGNATURE)
    with pytest.raises(ConfigurationError, match="witness"):
        keyring.find(load(home=home, sealing_key=SecretStr(witness.key)), witness.name)


def test_without_a_key_the_error_says_how_to_make_one(sealer_url: str, append: Callable[[int], None]) -> None:
    append(1)
    with (
        audit_ledger.connect(sealer_url) as ledger,
        pytest.raises(ConfigurationError, match="no key to seal with") as missing,
    ):
        ledger.seal()
    assert "audit-ledger key new" in str(missing.value.remedy)


def test_a_key_of_another_ledger_seals_nothing(
    sealer: Database, admin: Admin, append: Callable[[int], None]
) -> None:
    append(1)
    with pytest.raises(ConfigurationError, match="another ledger"):
        sealing.seal(sealer, Signer(str(uuid4()), SEED))
    assert scalar(admin, "SELECT count(*) FROM checkpoints") == 0


def test_without_the_extra_the_error_says_what_to_install(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric", None)
    with pytest.raises(ConfigurationError, match="signatures") as missing:
        keyring.make(load(home=home), str(uuid4()))
    assert missing.value.remedy == "pip install 'audit-ledger[evidence]'"
    assert not (home / "keys").exists()
