"""Changing the key that seals: an event names the next one, and both sign the checkpoint that covers it.

Four steps, each of which may be the last before a crash, and be repeated: the next key is written to a file;
the event is appended; a checkpoint that covers it is signed by both keys and stored; the next key takes the
place of the older one. Whoever trusts the older key learns the next one from what the older one has signed.
"""

import getpass
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID, uuid5

from audit_ledger.errors import ConfigurationError, NotSealed
from audit_ledger.events import KeyRotated
from audit_ledger.evidence import keyring, sealing
from audit_ledger.evidence.keys import Verifier
from audit_ledger.settings import Settings
from audit_ledger.store.database import Database
from audit_ledger.store.refusals import translated

ANNOUNCED = """
    SELECT position, version, state FROM events
     WHERE stream_id = %s AND type = 'KeyRotated' ORDER BY version DESC LIMIT 1
"""


@dataclass(frozen=True)
class Rotation:
    """A change of keys that is on record.

    Attributes:
        position: Its event.
        previous: The verifier key up to there.
        next: The verifier key from there on.
        place: Where the signer key of `next` is.
        resumed: Whether it had been begun before.
    """

    position: int
    previous: Verifier
    next: Verifier
    place: str
    resumed: bool


def rotate(database: Database, settings: Settings, origin: UUID, *, reason: str, by: str | None) -> Rotation:
    """Make the next key, and append the event that names it; then seal. Goes on where it was interrupted.

    Args:
        database: The ledger, connected to as its sealer.
        settings: Where its keys are.
        origin: The ledger.
        reason: Why; it is in the log for ever.
        by: Who decided it, in the log as well; by default the setting `actor`, or the system user.

    Raises:
        NotSealed: there is no checkpoint yet, whose key could be changed.
        ConfigurationError: the key that signed the last checkpoint, or the one to follow, is not here.
        InvalidValue: `reason` or `by` cannot be recorded.
        VersionConflict: somebody else changes the key at the same moment.
        WrongRole: the role is no sealer.
    """
    name, stream = str(origin), uuid5(origin, "keys")
    last = database.query("SELECT size, key_id FROM checkpoints ORDER BY size DESC LIMIT 1")
    if not last:
        raise NotSealed(
            "no checkpoint has been signed yet, so that no key can be changed",
            expected="a checkpoint",
            actual="none",
            remedy="audit-ledger seal; or remove the file of the key, and make another",
        )
    size, sealing_id = last[0]["size"], last[0]["key_id"]
    keyring.retire(settings, name, sealing_id)
    held = keyring.held(settings, name)
    current = next((key.verifier for key in held if key.verifier.key_id.hex() == sealing_id), None)
    if current is None:
        raise ConfigurationError(
            "the key that signed the last checkpoint is not here",
            expected=f"the key with the id {sealing_id}",
            actual=", ".join(key.verifier.key_id.hex() for key in held),
            remedy="run this where that key is; where it is lost, audit-ledger recover",
        )
    announced = database.query(ANNOUNCED, [stream])
    if announced and announced[0]["position"] > size:
        previous, following = sealing.rotated(announced[0]["position"], announced[0]["state"])
        if not any(key.verifier == following for key in held):
            raise ConfigurationError(
                "another key has been named to follow, and is not here",
                expected=f"the signer key of {following.key}",
                actual=", ".join(key.verifier.key for key in held),
                remedy="go on where that change was begun; where that key is lost, audit-ledger recover",
            )
        return Rotation(announced[0]["position"], previous, following, "", True)
    signer, place = keyring.make_next(settings, name)
    event = KeyRotated.of(
        by=by or settings.actor or getpass.getuser(),
        next=signer.verifier.key,
        occurred_at=datetime.now(UTC),
        previous=current.key,
        reason=reason,
    )
    version = announced[0]["version"] + 1 if announced else 1
    with translated(database), database.connection() as conn:
        row = conn.execute(
            "SELECT announce_key(%b, %b, %b) AS position", [stream, version, event.state]
        ).fetchone()
    assert row is not None  # a function call has a row
    return Rotation(row["position"], current, signer.verifier, place, False)


def retire(database: Database, settings: Settings, origin: UUID, *, remove: bool = False) -> str | None:
    """Put the next key in the place of the older one, once it has signed; returns what is left to do.

    Raises:
        ConfigurationError: a file cannot be renamed.
    """
    if not remove and not keyring.is_changing(settings, str(origin)):
        return None
    rows = database.query("SELECT key_id FROM checkpoints ORDER BY size DESC LIMIT 1")
    return keyring.retire(settings, str(origin), rows[0]["key_id"], remove=remove) if rows else None
