"""What is published is read by clients of transparency logs, and never says what its checkpoint does not."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from filelock import FileLock

import audit_ledger
from audit_ledger import Ledger
from audit_ledger.errors import ConfigurationError, EvidenceInvalid, LedgerBusy, NotSealed
from audit_ledger.evidence import checkpoint, keyring, merkle, publishing
from audit_ledger.evidence.keys import Signer
from audit_ledger.evidence.tiles import (
    ENTRIES,
    hash_reader,
    new_bundles,
    parse_bundle,
    parse_path,
    tree_tiles,
)
from audit_ledger.store.server import EmbeddedServer
from tests.unit.evidence.test_tessera_log import verify_log

from .test_sealing import append as append
from .test_sealing import forced

Admin = psycopg.Connection[Any]
READER = Path(__file__).parent / "tlog_reader.go"


@pytest.fixture
def sealer_url(server: EmbeddedServer, database: str) -> str:
    return server.url("ledger_sealer", database)


@pytest.fixture
def sealer(sealer_url: str) -> Iterator[Ledger]:
    """The ledger, connected as its sealer, who has a key."""
    with audit_ledger.connect(sealer_url) as connected:
        keyring.make(connected.settings, str(connected.ledger_id))
        yield connected


@pytest.fixture
def signer(sealer: Ledger) -> Signer:
    return keyring.find(sealer.settings, str(sealer.ledger_id))


@pytest.fixture
def folder(home: Path) -> Path:
    return home / "public"


def files(folder: Path) -> dict[str, bytes]:
    """All files that are published, by their paths."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != publishing.LOCK
    }


def published(folder: Path, signer: Signer, admin: Admin) -> int:
    """The size of what is in a folder, which is verified as any client does, and compared with the ledger."""
    there = files(folder)
    stated = verify_log(there, signer.verifier, signer.name)
    leaves = [row[0] for row in admin.execute("SELECT leaf FROM leaves WHERE position <= %s", [stated.size])]
    bundles = [parse_bundle(there[bundle.path], bundle.width) for bundle in new_bundles(0, stated.size)]
    assert [leaf for bundle in bundles for leaf in bundle] == leaves
    for tile in tree_tiles(stated.size):
        assert len(there[tile.path]) == 32 * tile.width
    read = hash_reader(stated.size, lambda tile: there[tile.path])
    for index in {0, stated.size // 2, stated.size - 1}:
        proof = merkle.inclusion_proof(index, stated.size, read)
        hashed = merkle.leaf_hash(leaves[index])
        merkle.verify_inclusion(hashed, index, stated.size, proof, stated.root)
    return stated.size


SIZES = (1, 2, 255, 256, 257, 512, 700, 1500)


def test_each_size_is_published_incrementally_and_reads_as_a_whole_log(
    sealer: Ledger, signer: Signer, admin: Admin, append: Callable[[int], None], folder: Path, home: Path
) -> None:
    before = 0
    for size in SIZES:
        append(size - before)
        sealer.seal()
        unchanged = {
            path: (folder / path).stat().st_mtime_ns
            for path in files(folder)
            if not path.endswith("checkpoint")
        }
        done = sealer.publish(folder)
        assert (done.before, done.size) == (before, size)
        assert published(folder, signer, admin) == size
        for path, when in unchanged.items():  # what was full is not written again
            if parse_path(path).width == 256:
                assert (folder / path).stat().st_mtime_ns == when
        assert sealer.publish(folder) == publishing.Published(size, size, 0)
        before = size
    at_once = home / "at once"
    sealer.publish(at_once)
    expected = {
        "checkpoint",
        *(tile.path for tile in tree_tiles(1500)),
        *(b.path for b in new_bundles(0, 1500)),
    }
    assert set(files(at_once)) == expected
    assert {path: data for path, data in files(folder).items() if path in expected} == files(at_once)


def test_partial_tiles_go_once_the_full_one_is_there(
    sealer: Ledger, append: Callable[[int], None], folder: Path
) -> None:
    for count in (100, 100, 100):
        append(count)
        sealer.seal()
        sealer.publish(folder)
    paths = set(files(folder))
    assert "tile/0/000" in paths
    assert not any(path.startswith(("tile/0/000.p", "tile/entries/000.p")) for path in paths)
    assert {"tile/0/001.p/44", "tile/entries/001.p/44", "tile/1/000.p/1"} <= paths


def test_a_large_ledger_has_three_levels_and_paths_of_several_folders(
    sealer: Ledger, signer: Signer, admin: Admin, folder: Path
) -> None:
    admin.execute(
        "SELECT append(array_agg(gen_random_uuid()), array_agg(1::bigint), array_agg('Noted'::text),"
        " array_agg('{}'::bytea)) FROM generate_series(1, 260000)"
    )
    sealer.seal()
    told: list[tuple[int, int]] = []
    sealer.publish(folder, tell=lambda now, upto: told.append((now, upto)))
    assert told[0] == (publishing.TELL_EVERY, 260_000)
    assert told[-1] == (260_000, 260_000)
    assert (folder / "tile/entries/x001/015.p/160").is_file()
    assert (folder / "tile/2/000.p/3").is_file()
    assert published(folder, signer, admin) == 260_000


# Refused


def test_nothing_is_published_before_anything_is_sealed(
    sealer: Ledger, append: Callable[[int], None], folder: Path
) -> None:
    append(1)
    with pytest.raises(NotSealed, match="nothing is sealed yet"):
        sealer.publish(folder)
    assert files(folder) == {}


def test_the_folder_of_another_ledger_or_of_something_else_is_refused(
    sealer: Ledger, append: Callable[[int], None], folder: Path
) -> None:
    append(1)
    sealer.seal()
    folder.mkdir()
    other = Signer("another.example", bytes(32))
    (folder / "checkpoint").write_bytes(checkpoint.Checkpoint(other.name, 1, bytes(32)).sign(other))
    with pytest.raises(
        EvidenceInvalid, match="not of this ledger: the checkpoint is of another log"
    ) as refused:
        sealer.publish(folder)
    assert refused.value.actual == "another.example"
    (folder / "checkpoint").write_bytes(b"nothing of the kind")
    with pytest.raises(EvidenceInvalid, match="not of this ledger"):
        sealer.publish(folder)
    (folder / "checkpoint").rename(folder / "letter.txt")
    with pytest.raises(ConfigurationError, match="holds something else") as unlike:
        sealer.publish(folder)
    assert unlike.value.actual == "letter.txt"
    assert set(files(folder)) == {"letter.txt"}


def test_a_folder_that_the_ledger_does_not_continue_is_refused(
    sealer: Ledger, signer: Signer, append: Callable[[int], None], folder: Path
) -> None:
    append(300)
    sealer.seal()
    sealer.publish(folder)
    append(10)
    sealer.seal()
    before = files(folder)
    for size, refusal in (
        (300, "does not continue what is published"),
        (311, "is shorter than what is published"),
    ):
        forged = checkpoint.Checkpoint(signer.name, size, bytes(32)).sign(signer)
        (folder / "checkpoint").write_bytes(forged)
        with pytest.raises(EvidenceInvalid, match=refusal):
            sealer.publish(folder)
        assert files(folder) == {**before, "checkpoint": forged}


def test_an_event_that_was_changed_is_not_published(
    sealer: Ledger, admin: Admin, append: Callable[[int], None], folder: Path
) -> None:
    append(300)
    sealer.seal()
    sealer.publish(folder)
    append(300)
    sealer.seal()
    before = files(folder)["checkpoint"]
    forced(admin, "UPDATE events SET type = 'Other' WHERE position = 400")
    with pytest.raises(EvidenceInvalid, match="are not those that were sealed"):
        sealer.publish(folder)
    forced(admin, "DELETE FROM events WHERE position = 400")
    with pytest.raises(EvidenceInvalid, match="an event is gone between position 257 and 512"):
        sealer.publish(folder)
    assert files(folder)["checkpoint"] == before


@pytest.mark.parametrize("position", [1, 200, 256, 300])
def test_a_leaf_that_is_too_long_is_refused_by_its_position(
    position: int, sealer: Ledger, admin: Admin, append: Callable[[int], None], folder: Path
) -> None:
    append(position - 1)
    admin.execute(
        "SELECT append(ARRAY[%s::uuid], ARRAY[1], ARRAY['Noted'], ARRAY[%s])", [uuid4(), b"\0\2" * 35_000]
    )
    append(300 - position)
    sealer.seal()
    with pytest.raises(EvidenceInvalid, match=f"position {position} cannot be published") as refused:
        sealer.publish(folder)
    assert "65535 bytes" in str(refused.value.expected)


def test_one_publishes_at_a_time(sealer: Ledger, append: Callable[[int], None], folder: Path) -> None:
    append(1)
    sealer.seal()
    folder.mkdir()
    with FileLock(folder / publishing.LOCK), pytest.raises(LedgerBusy, match="another process publishes"):
        sealer.publish(folder)


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("chattr"), reason="root may write anywhere")
def test_a_folder_that_cannot_be_made_is_said(
    sealer: Ledger, append: Callable[[int], None], home: Path
) -> None:
    append(1)
    sealer.seal()
    (home / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be written to"):
        sealer.publish(home / "file" / "public")


# Killed


CHILD = """
import sys, time
from pathlib import Path
import audit_ledger
from audit_ledger.evidence import publishing

publishing.TELL_EVERY = 256
count = 0

def tell(position, upto):
    print(position, flush=True)
    time.sleep(30 if position >= 2048 else 0)

with audit_ledger.connect(sys.argv[1]) as ledger:
    ledger.publish(Path(sys.argv[2]), tell=tell)
"""


def test_publishing_that_was_killed_leaves_what_was_and_is_resumed(
    sealer: Ledger, sealer_url: str, signer: Signer, admin: Admin, append: Callable[[int], None], folder: Path
) -> None:
    append(300)
    sealer.seal()
    sealer.publish(folder)
    append(3000)
    sealer.seal()
    command = [sys.executable, "-c", CHILD, sealer_url, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        while int(child.stdout.readline()) < 2048:
            pass
        child.send_signal(signal.SIGKILL)
    assert "tile/entries/007" in files(folder)
    assert published(folder, signer, admin) == 300
    written = (folder / "tile/entries/007").stat().st_mtime_ns
    assert sealer.publish(folder).before == 300
    assert published(folder, signer, admin) == 3300
    assert (folder / "tile/entries/007").stat().st_mtime_ns == written  # it is not done twice
    assert not [path for path in files(folder) if "/." in path]


# By an implementation that is not ours


@pytest.fixture(scope="session")
def go_reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A client of transparency logs, of the packages that Go's own module checksum database is read with.

    Each Go toolchain brings their source along; nothing is downloaded.
    """
    go = shutil.which("go")
    if go is None:
        pytest.skip("needs Go, which is not here")
    root = subprocess.run([go, "env", "GOROOT"], capture_output=True, text=True, check=True).stdout.strip()
    vendored = Path(root) / "src" / "cmd" / "vendor" / "golang.org" / "x"
    if not (vendored / "mod" / "sumdb" / "tlog").is_dir():
        pytest.skip("needs the source of Go's own tools, which this toolchain lacks")
    path = tmp_path_factory.mktemp("go")
    shutil.copytree(vendored, path / "src" / "golang.org" / "x")
    subprocess.run(
        [go, "build", "-o", str(path / "reader"), str(READER)],
        env={**os.environ, "GO111MODULE": "off", "GOPATH": str(path), "GOCACHE": str(path / "cache")},
        check=True,
        cwd=path,
    )
    return path / "reader"


def test_go_reads_what_is_published_and_every_proof_of_it(
    go_reader: Path, sealer: Ledger, signer: Signer, append: Callable[[int], None], folder: Path, home: Path
) -> None:
    def read(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [go_reader, folder, signer.verifier.key, *more], capture_output=True, text=True, check=False
        )

    append(300)
    sealer.seal()
    sealer.publish(folder)
    shutil.copy(folder / "checkpoint", home / "older")
    assert read().stdout == "verified 300 entries\n"
    append(1000)
    sealer.seal()
    sealer.publish(folder)
    assert read(str(home / "older")).stdout == "continues 300\nverified 1300 entries\n"
    for path in ("checkpoint", "tile/0/003", "tile/1/000.p/5", "tile/entries/005.p/20"):
        whole = (folder / path).read_bytes()
        for place in (40, len(whole) - 20):
            (folder / path).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            assert read().returncode == 1, (path, place)
        (folder / path).write_bytes(whole)
    assert ENTRIES < 0
    assert read().returncode == 0
