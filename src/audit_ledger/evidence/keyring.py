"""Where the key that seals is kept: a file of its owner's alone, or the environment; never the database.

    HOME/keys/LEDGER_ID.key     one line, the signer key; the file 0600, the folder 0700

The setting `sealing_key` names another file, or is the signer key itself.
"""

import os
import secrets
from pathlib import Path

from audit_ledger.errors import ConfigurationError
from audit_ledger.evidence.keys import ED25519, Signer
from audit_ledger.settings import Settings

SECRET = "PRIVATE+KEY+"  # noqa: S105  it is what all of them begin with
"""What a signer key begins with."""


def key_file(settings: Settings, origin: str) -> Path:
    """Where the key of a ledger is, unless the setting says otherwise."""
    return settings.home / "keys" / f"{origin}.key"


def make(settings: Settings, origin: str) -> tuple[Signer, Path]:
    """Make the key of a ledger; returns it, and the file that holds it.

    Raises:
        ConfigurationError: the ledger has a key already, or the file cannot be made.
    """
    signer = Signer(origin, secrets.token_bytes(32))
    line = f"{signer.key}\n".encode()  # first, since it takes the library that may not be there
    file = key_file(settings, origin)
    if settings.sealing_key is not None:
        raise _there(_place(settings, origin))
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.parent.chmod(0o700)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
            opened.write(line)
            opened.flush()
            os.fsync(opened.fileno())
    except FileExistsError as error:
        raise _there(str(file)) from error
    except OSError as error:
        raise ConfigurationError(
            f"the key cannot be written to {file}",
            expected="a folder that this user may make files in",
            actual=str(error),
            remedy="run it as the user that seals, or set AUDIT_LEDGER_HOME",
        ) from error
    return signer, file


def find(settings: Settings, origin: str) -> Signer:
    """The key that seals a ledger.

    Raises:
        ConfigurationError: there is none, others can read it, or it is none of this ledger's.
        EvidenceInvalid: what is there is no signer key.
    """
    given = _given(settings)
    if given and given.startswith(SECRET):
        signer = Signer.parse(given)
    else:
        signer = read(Path(given).expanduser() if given else key_file(settings, origin))
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
    if given:
        signer = Signer.parse(given) if given.startswith(SECRET) else read(Path(given).expanduser())
        found.append((signer, _place(settings, signer.name)))
    files = sorted((settings.home / "keys").glob("*.key"))
    found += [(read(file), str(file)) for file in files if given is None or file != Path(given)]
    return found


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
