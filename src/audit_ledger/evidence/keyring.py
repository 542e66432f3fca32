"""Where the keys that seal are kept: files of their owner's alone, or the environment; never the database.

    HOME/keys/LEDGER_ID.key                 one line, the signer key; the file 0600, the folder 0700
    HOME/keys/LEDGER_ID.key.next            the key that is to follow, while keys are changed
    HOME/keys/LEDGER_ID.key.ID.retired      a key that was followed by another

The setting `sealing_key` names another file than the first, and with it the others; or it is the signer key
itself, and while keys are changed two of them, the new one last.
"""

import glob
import os
import secrets
from pathlib import Path

from audit_ledger.errors import ConfigurationError
from audit_ledger.evidence.keys import ED25519, Signer, Verifier
from audit_ledger.settings import Settings

SECRET = "PRIVATE+KEY+"  # noqa: S105  it is what all of them begin with
"""What a signer key begins with."""


NEXT = ".next"
"""What the name of the file ends in whose key is to follow."""

RETIRED = ".retired"
"""What the name of the file ends in whose key was followed by another."""


def key_file(settings: Settings, origin: str) -> Path:
    """Where the key of a ledger is, unless the setting says otherwise."""
    return settings.home / "keys" / f"{origin}.key"


def generate(origin: str) -> Signer:
    """A new key of a ledger, that is nowhere yet."""
    return Signer(origin, secrets.token_bytes(32))


def make(settings: Settings, origin: str) -> tuple[Signer, Path]:
    """Make the key of a ledger; returns it, and the file that holds it.

    Raises:
        ConfigurationError: the ledger has a key already, or the file cannot be made.
    """
    signer = generate(origin)
    if settings.sealing_key is not None:
        raise _there(_place(settings, origin))
    file = key_file(settings, origin)
    _write(file, signer)
    return signer, file


def make_next(settings: Settings, origin: str) -> tuple[Signer, str]:
    """Make the key that is to follow; returns it, and the place that it is in. One that is there is taken.

    Raises:
        ConfigurationError: the keys are in the environment, which lacks the next one; or the file cannot be
            made.
    """
    _, following = _files(settings, origin)
    if following is None:
        given = _parsed(settings, origin)
        if len(given) < 2:
            raise ConfigurationError(
                "there is no key yet that could follow the one in AUDIT_LEDGER_SEALING_KEY",
                expected="two signer keys in it, the new one last, with a space between",
                actual="one",
                remedy="make one (audit-ledger key new --print), add it to what is there, and repeat this",
            )
        return given[-1], _place(settings, origin)
    if following.exists():
        return _checked(read(following), origin), str(following)
    signer = generate(origin)
    _write(following, signer)
    return signer, str(following)


def _write(file: Path, signer: Signer) -> None:
    """Write a key to a file that is not there yet."""
    line = f"{signer.key}\n".encode()  # first, since it takes the library that may not be there
    try:
        if not file.parent.is_dir():
            file.parent.mkdir(mode=0o700, parents=True)
            file.parent.chmod(0o700)
        whole = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
        try:
            with os.fdopen(os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
                opened.write(line)
                opened.flush()
                os.fsync(opened.fileno())
            file.hardlink_to(whole)  # all of it or nothing, and not in the place of another
        finally:
            whole.unlink(missing_ok=True)
        _sync(file.parent)
    except FileExistsError as error:
        raise _there(str(file)) from error
    except OSError as error:
        raise ConfigurationError(
            f"the key cannot be written to {file}",
            expected="a folder that this user may make files in",
            actual=str(error),
            remedy="run it as the user that seals, or set AUDIT_LEDGER_HOME",
        ) from error


def _sync(folder: Path) -> None:
    """See to it that the names in a folder outlive a crash."""
    if os.name == "posix":
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def find(settings: Settings, origin: str) -> Signer:
    """The key that seals a ledger; while keys are changed, the older one.

    Raises:
        ConfigurationError: there is none, others can read it, or it is none of this ledger's.
        EvidenceInvalid: what is there is no signer key.
    """
    return held(settings, origin)[0]


def held(settings: Settings, origin: str) -> list[Signer]:
    """The keys with which a ledger is sealed: one, or while keys are changed two, the new one last.

    Raises:
        ConfigurationError: there is none, others can read one, or one is none of this ledger's.
        EvidenceInvalid: what is there is no signer key.
    """
    current, following = _files(settings, origin)
    if current is None or following is None:
        return _parsed(settings, origin)
    files = [file for file in (current, following) if file.exists()]
    return [_checked(read(file), origin) for file in files or [current]]


def is_changing(settings: Settings, origin: str) -> bool:
    """Whether there is a key that is to follow."""
    _, following = _files(settings, origin)
    return len(_parsed(settings, origin)) > 1 if following is None else following.exists()


def retire(settings: Settings, origin: str, sealing: str, *, remove: bool = False) -> str | None:
    """Put the next key in the place of the one before it, once it seals; safe to repeat after a crash.

    Args:
        settings: Where keys are.
        origin: The ledger.
        sealing: Id of the key that signed the last checkpoint.
        remove: Delete the older key, and those that were retired before, instead of keeping them aside.

    Returns:
        What is left to do by hand, or None.

    Raises:
        ConfigurationError: a file cannot be renamed.
    """
    current, following = _files(settings, origin)
    if current is None or following is None:
        older = [key for key in _parsed(settings, origin) if key.verifier.key_id.hex() != sealing]
        return "take the older key out of AUDIT_LEDGER_SEALING_KEY" if older else None
    try:
        if following.exists() and read(following).verifier.key_id.hex() == sealing:
            if current.exists():
                current.replace(_retired(current, read(current)))
            following.replace(current)
            _sync(current.parent)
        if remove:
            for file in _retired_files(current):
                file.unlink()
    except OSError as error:
        raise ConfigurationError(
            f"the new key cannot take the place of {current}",
            expected="a folder that this user may rename files in",
            actual=str(error),
            remedy="correct its owner or mode, then audit-ledger seal: it puts the key in its place",
        ) from error
    return None


def _retired(current: Path, signer: Signer) -> Path:
    return current.with_name(f"{current.name}.{signer.verifier.key_id.hex()}{RETIRED}")


def _retired_files(current: Path) -> list[Path]:
    return sorted(current.parent.glob(f"{glob.escape(current.name)}.*{RETIRED}"))


def _files(settings: Settings, origin: str) -> tuple[Path, Path] | tuple[None, None]:
    """The file of the key, and that of the one to follow; none where keys are in the environment."""
    given = _given(settings)
    if given and given.startswith(SECRET):
        return None, None
    current = Path(given).expanduser() if given else key_file(settings, origin)
    return current, current.with_name(current.name + NEXT)


def _parsed(settings: Settings, origin: str) -> list[Signer]:
    """The keys in the environment."""
    return [_checked(Signer.parse(key), origin) for key in (_given(settings) or "").split()]


def _checked(signer: Signer, origin: str) -> Signer:
    if signer.type != ED25519:
        raise ConfigurationError(
            "the sealing key is that of a witness",
            expected="a key of type 1, Ed25519",
            actual=f"type {signer.type}",
            remedy="seal with the key that audit-ledger key new made",
        )
    if signer.name != origin:
        raise ConfigurationError(
            "the sealing key is that of another ledger",
            expected=f"a key named {origin}",
            actual=signer.name,
            remedy="set AUDIT_LEDGER_SEALING_KEY to the key of this ledger (audit-ledger key list)",
        )
    return signer


def read(file: Path) -> Signer:
    """The key in a file.

    Raises:
        ConfigurationError: it is not there, or others can read it.
        EvidenceInvalid: it holds no signer key.
    """
    try:
        text = file.read_text().strip()
        mode = file.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            "there is no key to seal with",
            expected=f"a signer key in {file}",
            actual=str(error),
            remedy="make one (audit-ledger key new), or set AUDIT_LEDGER_SEALING_KEY",
        ) from error
    if os.name == "posix" and mode & 0o077:
        raise ConfigurationError(
            f"others can read the key in {file}",
            expected="mode 0600",
            actual=f"mode {mode & 0o777:04o}",
            remedy=f"chmod 600 {file}; make another key if somebody may have read it",
        )
    return Signer.parse(text)


def listed(settings: Settings) -> list[tuple[Signer, str]]:
    """The keys that this user has, each with the place that it is in.

    Raises:
        ConfigurationError: others can read one.
        EvidenceInvalid: one is no signer key.
    """
    found: list[tuple[Signer, str]] = []
    given = _given(settings)
    files = sorted((settings.home / "keys").glob("[!.]*.key*"))
    if given and given.startswith(SECRET):
        found += [(Signer.parse(key), "AUDIT_LEDGER_SEALING_KEY") for key in given.split()]
    elif given:
        path = Path(given).expanduser()
        ours = [file for file in (path, path.with_name(path.name + NEXT)) if file.exists()] or [path]
        files = list(dict.fromkeys([*ours, *_retired_files(path), *files]))
    return found + [(read(file), str(file)) for file in files]


def verifiers(settings: Settings, origin: str | None = None) -> list[Verifier]:
    """The verifier keys that are known here: the setting `verifier_key`, and those of keys here.

    Args:
        settings: Where keys are.
        origin: The ledger whose keys are wanted; by default those of any.

    Raises:
        ConfigurationError: others can read a key.
        EvidenceInvalid: something is no key.
    """
    stated = [] if settings.verifier_key is None else [Verifier.parse(settings.verifier_key.strip())]
    known = (*stated, *(signer.verifier for signer, _ in listed(settings)))
    return [key for key in known if origin is None or key.name == origin]


def _given(settings: Settings) -> str | None:
    return None if settings.sealing_key is None else settings.sealing_key.get_secret_value().strip()


def _place(settings: Settings, origin: str) -> str:
    """Where the key is, in words that do not show it."""
    given = _given(settings)
    if not given:
        return str(key_file(settings, origin))
    return "AUDIT_LEDGER_SEALING_KEY" if given.startswith(SECRET) else given


def _there(place: str) -> ConfigurationError:
    return ConfigurationError(
        "the ledger has a sealing key already",
        expected="none",
        actual=f"one in {place}",
        remedy="seal with that one; audit-ledger key list shows it",
    )
