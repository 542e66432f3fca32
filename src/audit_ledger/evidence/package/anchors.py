"""The checkpoints of a package that lie outside the operator's reach."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from audit_ledger.settings import Settings


@dataclass(frozen=True)
class Stamp:
    """A time-stamp over an anchor.

    Attributes:
        name: Of the authority.
        response: The RFC 3161 response.
        at: Its time, as it says; None where it was not read.
    """

    name: str
    response: bytes
    at: datetime | None = None


@dataclass(frozen=True)
class Anchor:
    """A checkpoint that was published.

    Attributes:
        size: Its size.
        note: The signed note.
        stamps: The time-stamps over it.
    """

    size: int
    note: bytes
    stamps: tuple[Stamp, ...] = ()


@dataclass(frozen=True)
class Anchors:
    """Those around an answer.

    Attributes:
        around: The highest at or before the answer's end, the lowest that covers it, that of the checkpoint.
        certificates: Of the authorities, by name: PEM.
    """

    around: tuple[Anchor, ...] = ()
    certificates: dict[str, bytes] | None = None


def find(settings: Settings, origin: str, position: int, leaves: int, size: int) -> Anchors:  # noqa: ARG001
    """The anchors around an answer: none are kept yet."""
    return Anchors()
