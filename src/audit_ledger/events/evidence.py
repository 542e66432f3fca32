"""What is said of the evidence itself: which key signs, and what a verification of the whole found."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from audit_ledger.canonical import MAX_INTEGER
from audit_ledger.events.form import Amount, Event, Instant, Name, Reason

VerifierKey = Annotated[
    str, StringConstraints(pattern=r"^[^+\s\x00]{1,200}\+[0-9a-f]{8}\+[A-Za-z0-9+/]{44}$")
]
"""A verifier key of C2SP signed-note, of Ed25519."""

Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class KeyRotated(Event):
    """From the first checkpoint that covers this event on, which `previous` signs too, `next` signs."""

    by: Name
    next: VerifierKey
    occurred_at: Instant
    previous: VerifierKey
    reason: Reason
    v: Literal[1] = 1


class LedgerVerified(Event):
    """The whole ledger was verified up to `position`: nothing is wrong, unless `wrong` says how much is.

    `size` and `root` are of the last checkpoint that was verified; they are absent where there is none.
    """

    bodies: Amount
    checkpoints: Amount
    duration_ms: Amount
    erased: Amount
    occurred_at: Instant
    position: Annotated[int, Field(strict=True, ge=0, le=MAX_INTEGER)]
    root: Hash | None = None
    size: Amount | None = None
    v: Literal[1] = 1
    wrong: Amount
