"""Changing the key that seals: the older key vouches for the next one, and no other goes on."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import psycopg
import pytest

import audit_ledger
from audit_ledger import Ledger
from audit_ledger.errors import ConfigurationError, EvidenceInvalid, NotSealed, WrongRole
from audit_ledger.evidence import checkpoint, keyring, note, proving, rotation, sealing
from audit_ledger.evidence.keys import Signer, Verifier
from audit_ledger.settings import load
from audit_ledger.store.database import Database
from audit_ledger.store.server import EmbeddedServer

from .test_sealing import append as append
from .test_sealing import forced, scalar

Admin = psycopg.Connection[Any]


@pytest.fixture
def sealer_url(server: EmbeddedServer, database: str) -> str:
    return server.url("ledger_sealer", database)


@pytest.fixture
def sealer(sealer_url: str) -> Iterator[Ledger]:
    """The ledger, connected as its sealer, who has a key."""
    with audit_ledger.connect(sealer_url) as connected:
        keyring.make(connected.settings, str(connected.ledger_id))
        yield connected


def signers(admin: Admin, size: int) -> list[str]:
    """Ids of the keys that signed a checkpoint, in order."""
    found = scalar(admin, "SELECT note FROM checkpoints WHERE size = %s", [size])
    return [signature.key_id.hex() for signature in note.parse(found).signatures]


def key_id(signer: Signer | Verifier) -> str:
    return (signer.verifier if isinstance(signer, Signer) else signer).key_id.hex()


def files(home: Path) -> set[str]:
    """The files of keys, without the ledger's id."""
    return {path.name.partition(".")[2] for path in (home / "keys").iterdir()}


def test_both_keys_sign_the_first_checkpoint_and_the_next_one_alone_those_that_follow(
    sealer: Ledger, admin: Admin, append: Callable[[int], None], home: Path
) -> None:
    append(3)
    sealer.seal()
    origin = str(sealer.ledger_id)
    old = keyring.find(sealer.settings, origin)
    append(2)
    done = sealer.rotate_key(reason="yearly", by="Ann")
    assert (done.position, done.previous, done.resumed) == (6, old.verifier, False)
    assert files(home) == {"key", "key.next"}
    append(1)
    sealer.seal()
    assert signers(admin, 7) == [key_id(old), key_id(done.next)]
    assert files(home) == {"key", f"key.{key_id(old)}.retired"}
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in (home / "keys").iterdir())
    append(1)
    sealer.seal()
    assert signers(admin, 8) == [key_id(done.next)]
    assert keyring.find(sealer.settings, origin).verifier == done.next
    stored = [row[0] for row in admin.execute("SELECT key_id FROM checkpoints ORDER BY size")]
    assert stored == [key_id(old), key_id(done.next), key_id(done.next)]


def test_the_older_key_proves_the_next_one_and_nothing_later(
    sealer: Ledger, append: Callable[[int], None]
) -> None:
    append(3)
    sealer.seal()
    old, origin = keyring.find(sealer.settings, str(sealer.ledger_id)).verifier, str(sealer.ledger_id)
    done = sealer.rotate_key(reason="yearly")
    sealer.seal()
    append(1)
    sealer.seal()
    event, _ = proving.verify_event(sealer.prove_event(done.position).file, [old], origin=origin)
    assert event.type == "KeyRotated"
    assert sealing.rotated(event.position, event.state) == (old, done.next)
    later = sealer.prove_event(1).file
    with pytest.raises(EvidenceInvalid, match="no known key has signed") as refused:
        proving.verify_event(later, [old], origin=origin)
    assert "get the newer verifier key" in str(refused.value.remedy)
    assert proving.verify_event(later, [done.next], origin=origin)[0].position == 1


def test_keys_can_be_changed_again_and_again(
    sealer: Ledger, admin: Admin, append: Callable[[int], None]
) -> None:
    append(1)
    sealer.seal()
    keys = [keyring.find(sealer.settings, str(sealer.ledger_id)).verifier]
    for _ in range(3):
        keys.append(sealer.rotate_key(reason="again").next)
        sealer.seal()
    assert len(set(keys)) == 4
    for turn, size in enumerate((2, 3, 4)):
        assert signers(admin, size) == [key_id(keys[turn]), key_id(keys[turn + 1])]
    versions = admin.execute("SELECT stream_id, version FROM events WHERE type = 'KeyRotated'").fetchall()
    assert versions == [(uuid5(sealer.ledger_id, "keys"), version) for version in (1, 2, 3)]


class Killed(BaseException):
    """What stands for the end of the process."""


@pytest.mark.parametrize(
    ("module", "function", "files_then"),
    [
        (keyring, "_write", {"key"}),
        (keyring, "_sync", {"key", "key.next"}),
        (rotation, "translated", {"key", "key.next"}),
        (rotation, "Rotation", {"key", "key.next"}),
        (sealing, "one", {"key", "key.next"}),
        (rotation, "retire", {"key", "key.next"}),
        (keyring, "_between", {"key.next", "key.retired"}),
    ],
    ids=["no file", "file", "no event", "event", "no checkpoint", "checkpoint", "between renames"],
)
def test_a_change_that_was_killed_anywhere_is_completed(
    module: Any,
    function: str,
    files_then: set[str],
    sealer: Ledger,
    admin: Admin,
    append: Callable[[int], None],
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    append(3)
    sealer.seal()
    old = keyring.find(sealer.settings, str(sealer.ledger_id))
    with monkeypatch.context() as patched:

        def killed(*args: Any, **kwargs: Any) -> None:
            raise Killed

        if function == "_between":
            replace = Path.replace

            def first_alone(path: Path, target: Path) -> Path:
                if path.name.endswith(".next"):
                    raise Killed
                return replace(path, target)

            patched.setattr(Path, "replace", first_alone)
        else:
            patched.setattr(module, function, killed)
        with pytest.raises(Killed):
            sealer.rotate_key(reason="yearly")
            sealer.seal()
    assert {name.replace(f"{key_id(old)}.", "") for name in files(home)} == files_then

    done = (
        sealer.rotate_key(reason="yearly")
        if scalar(admin, "SELECT max(size) FROM checkpoints") == 3
        else None
    )
    append(1)
    sealer.seal()
    assert files(home) == {"key", f"key.{key_id(old)}.retired"}
    new = keyring.find(sealer.settings, str(sealer.ledger_id))
    if done is not None:
        assert done.next == new.verifier
    assert scalar(admin, "SELECT count(*) FROM events WHERE type = 'KeyRotated'") == 1
    both = scalar(admin, "SELECT min(size) FROM checkpoints WHERE size > 3")
    assert signers(admin, both) == [key_id(old), key_id(new)]
    assert scalar(admin, "SELECT key_id FROM checkpoints ORDER BY size DESC LIMIT 1") == key_id(new)


def test_a_key_that_was_half_written_when_the_process_was_killed_is_none(
    sealer: Ledger, append: Callable[[int], None], home: Path
) -> None:
    append(1)
    sealer.seal()
    half = home / "keys" / f".{sealer.ledger_id}.key.next.0123"
    half.write_text("PRIVATE+KEY+")
    half.chmod(0o600)
    assert len(keyring.listed(sealer.settings)) == 1
    done = sealer.rotate_key(reason="x")
    sealer.seal()
    assert keyring.find(sealer.settings, str(sealer.ledger_id)).verifier == done.next


def test_no_other_key_goes_on_where_one_stopped(
    sealer: Ledger, admin: Admin, append: Callable[[int], None]
) -> None:
    append(2)
    sealer.seal()
    append(1)
    other = Signer(str(sealer.ledger_id), bytes(32))
    with pytest.raises(ConfigurationError, match="does not go on where the last checkpoint stopped"):
        sealing.seal(sealer.database, other)
    assert scalar(admin, "SELECT max(size) FROM checkpoints") == 2


def test_a_key_that_somebody_else_named_is_not_signed(
    sealer: Ledger, admin: Admin, append: Callable[[int], None]
) -> None:
    append(2)
    sealer.seal()
    ours = keyring.find(sealer.settings, str(sealer.ledger_id)).verifier
    theirs = Signer(ours.name, bytes(32)).verifier
    state = (
        f'{{"by":"eve","next":"{theirs.key}","occurred_at":"2026-01-01T00:00:00.000000Z",'
        f'"previous":"{ours.key}","reason":"x","v":1}}'
    )
    admin.execute("SELECT announce_key(gen_random_uuid(), 1, %s::bytea)", [state.encode()])
    with pytest.raises(ConfigurationError, match="position 3 names a key that is not here"):
        sealer.seal()
    forced(
        admin, "UPDATE events SET state = %s::bytea WHERE position = 3", [state.replace(ours.key, theirs.key)]
    )
    with pytest.raises(EvidenceInvalid, match="position 3 changes another key"):
        sealer.seal()
    forced(admin, "UPDATE events SET state = '{}' WHERE position = 3")
    with pytest.raises(EvidenceInvalid, match="position 3 does not say which keys"):
        sealer.seal()
    assert scalar(admin, "SELECT max(size) FROM checkpoints") == 2


@pytest.mark.parametrize("role", ["ledger_writer", "ledger_officer", "ledger_reader"])
def test_only_a_sealer_names_a_key(role: str, server: EmbeddedServer, database: str) -> None:
    url = server.url(role, database)
    with psycopg.connect(url, autocommit=True) as conn:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("SELECT ledger.announce_key(gen_random_uuid(), 1, '{}')")
        if role != "ledger_reader":
            with pytest.raises(psycopg.Error, match="only a sealer may announce a key"):
                conn.execute(
                    "SET search_path = ledger; SELECT append("
                    "ARRAY[gen_random_uuid()], ARRAY[1], ARRAY['KeyRotated'], ARRAY['{}'::bytea])"
                )
    with audit_ledger.connect(url) as other:
        keyring.make(other.settings, str(other.ledger_id))
        with pytest.raises((NotSealed, WrongRole)):
            other.rotate_key(reason="x")


def test_a_key_that_has_signed_nothing_cannot_be_followed(sealer: Ledger) -> None:
    with pytest.raises(NotSealed, match="no checkpoint has been signed yet"):
        sealer.rotate_key(reason="x")


def test_keys_in_the_environment_are_changed_there(
    sealer_url: str, admin: Admin, append: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = str(scalar(admin, "SELECT id FROM origin"))
    old, new = keyring.generate(origin), keyring.generate(origin)

    def at(*keys: Signer) -> Ledger:
        monkeypatch.setenv("AUDIT_LEDGER_SEALING_KEY", " ".join(key.key for key in keys))
        return audit_ledger.connect(sealer_url)

    append(1)
    with at(old) as ledger:
        ledger.seal()
        with pytest.raises(ConfigurationError, match="no key yet that could follow") as missing:
            ledger.rotate_key(reason="x")
        assert "audit-ledger key new --print" in str(missing.value.remedy)
    with at(old, new) as ledger:
        done = ledger.rotate_key(reason="x")
        assert ledger.rotate_key(reason="x").position == done.position
        ledger.seal()
        assert rotation.retire(ledger.database, ledger.settings, UUID(origin)) is not None
    assert signers(admin, 2) == [key_id(old), key_id(new)]
    append(1)
    with at(new) as ledger:
        ledger.seal()
        assert rotation.retire(ledger.database, ledger.settings, UUID(origin)) is None
    assert signers(admin, 3) == [key_id(new)]


def test_a_changed_key_is_kept_beside_the_file_that_the_setting_names(
    sealer_url: str,
    admin: Admin,
    append: Callable[[int], None],
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    origin = str(scalar(admin, "SELECT id FROM origin"))
    _, made = keyring.make(load(home=home), origin)
    place = made.rename(home / "secret")
    append(1)
    monkeypatch.setenv("AUDIT_LEDGER_SEALING_KEY", str(place))
    with audit_ledger.connect(sealer_url) as ledger:
        ledger.seal()
        done = ledger.rotate_key(reason="x")
        ledger.seal()
        assert keyring.read(place).verifier == done.next
        assert [key.verifier for key, _ in keyring.listed(ledger.settings)] == [done.next, done.previous]
        assert rotation.retire(ledger.database, ledger.settings, UUID(origin), remove=True) is None
    assert [path.name for path in home.iterdir() if path.name.startswith("secret")] == ["secret"]


def test_each_checkpoint_of_a_ledger_with_several_keys_verifies_by_one_of_them(
    sealer: Ledger, admin: Admin, append: Callable[[int], None]
) -> None:
    append(1)
    sealer.seal()
    keys = [keyring.find(sealer.settings, str(sealer.ledger_id)).verifier]
    keys.append(sealer.rotate_key(reason="x").next)
    sealer.seal()
    append(1)
    sealer.seal()
    for size, count in ((1, 1), (2, 2), (3, 1)):
        found = scalar(admin, "SELECT note FROM checkpoints WHERE size = %s", [size])
        assert len(checkpoint.verify(found, origin=str(sealer.ledger_id), keys=keys).signed) == count


def test_a_sealer_that_is_no_ledger_object_needs_both_keys(
    sealer: Ledger, append: Callable[[int], None]
) -> None:
    append(1)
    sealer.seal()
    old = keyring.find(sealer.settings, str(sealer.ledger_id))
    sealer.rotate_key(reason="x")
    _, new = keyring.held(sealer.settings, str(sealer.ledger_id))
    with Database(sealer.url, "ledger", sealer.settings) as database:
        for alone, refusal in ((old, "names a key that is not here"), (new, "does not go on")):
            with pytest.raises(ConfigurationError, match=refusal):
                sealing.seal(database, alone)
        assert sealing.seal(database, old, new) is not None
