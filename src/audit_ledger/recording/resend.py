"""Resend files: what a run could not send, kept until `audit-ledger resend` delivers it.

One JSON object a line, UTF-8. The first names the ledger; each other line is one batch: consecutive
events of one stream from `version` on, each with its state and, in base64, the bodies that its state
has yet to refer to:

    {"format":"audit-ledger-resend/1","ledger_id":"…"}
    {"stream_id":"…","version":2,"events":[{"type":"RecordIngested","state":{…},
        "bodies":{"content":["application/json","e30="]}}]}

A body that was too large to keep is an object with what is left of it: commitment, salt (base64), size,
media_type.

Delivering is safe to repeat: a batch that the ledger has already, byte for byte, counts as delivered.
"""

import base64
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from audit_ledger.errors import InvalidValue
from audit_ledger.events import Event, decode
from audit_ledger.store.bodies import Body, Unkept

FORMAT = "audit-ledger-resend/1"


@dataclass(frozen=True)
class Pending:
    """An event, and the bodies whose commitments it still lacks, by the field that they go in."""

    event: Event
    bodies: dict[str, Body | Unkept] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """About how many bytes it holds."""
        return 200 + sum(len(body.content) for body in self.bodies.values() if isinstance(body, Body))

    def prepare(self) -> "Pending":
        """Itself: nothing is left to do before it can be sent."""
        return self


@dataclass(frozen=True)
class Batch:
    """Consecutive events of a stream; `version` is that of the event before them."""

    stream_id: UUID
    version: int
    events: Sequence[Pending]


class ResendFile:
    """A file that takes batches, durably, readable by its owner alone.

    Args:
        path: Where to make it; its folder is made too.
        ledger_id: The ledger that the events belong to.
    """

    def __init__(self, path: Path, ledger_id: UUID) -> None:
        self.path = path
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._write({"format": FORMAT, "ledger_id": str(ledger_id)}, os.O_EXCL)

    def write(self, batch: Batch) -> None:
        """Add a batch; it is on disk when this returns."""
        self._write(
            {
                "stream_id": str(batch.stream_id),
                "version": batch.version + 1,
                "events": [
                    {
                        "type": pending.event.type,
                        "state": json.loads(pending.event.state),
                        "bodies": {name: _written(body) for name, body in pending.bodies.items()},
                    }
                    for pending in batch.events
                ],
            },
            0,
        )

    def _write(self, line: dict[str, Any], flags: int) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | flags, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
            file.flush()
            os.fsync(descriptor)


def read(path: Path, ledger_id: UUID) -> Iterator[Batch]:
    """The batches of a file, in order.

    Raises:
        InvalidValue: it is not a resend file of this ledger, or a line of it is damaged.
        OSError: it cannot be read.
    """
    number = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line)
                if number == 1:
                    _check_header(row, path, ledger_id)
                else:
                    yield _batch(row)
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                if isinstance(error, InvalidValue) and number == 1:
                    raise
                raise InvalidValue(
                    f"{path}, line {number}",
                    expected=f"a line of {FORMAT}",
                    actual=f"{type(error).__name__}: {error}",
                    remedy="the lines before it were delivered; keep the file and report the damage",
                ) from error
    if number == 0:
        raise InvalidValue(str(path), expected=FORMAT, actual="an empty file")


def _check_header(row: dict[str, Any], path: Path, ledger_id: UUID) -> None:
    if row.get("format") != FORMAT or row.get("ledger_id") != str(ledger_id):
        raise InvalidValue(
            str(path),
            expected=f"{FORMAT} of the ledger {ledger_id}",
            actual=f"{row.get('format')} of the ledger {row.get('ledger_id')}",
            remedy="connect to the ledger that the run was recorded in",
        )


def _batch(row: dict[str, Any]) -> Batch:
    events = [
        Pending(
            decode(event["type"], json.dumps(event["state"]).encode()),
            {name: _read(body) for name, body in event["bodies"].items()},
        )
        for event in row["events"]
    ]
    return Batch(UUID(row["stream_id"]), int(row["version"]) - 1, events)


def _written(body: Body | Unkept) -> list[str] | dict[str, Any]:
    if isinstance(body, Body):
        return [body.media_type, base64.b64encode(body.content).decode()]
    return {**asdict(body), "salt": base64.b64encode(body.salt).decode()}


def _read(written: list[str] | dict[str, Any]) -> Body | Unkept:
    if isinstance(written, dict):
        return Unkept(**{**written, "salt": base64.b64decode(written["salt"])})
    media_type, content = written
    return Body(base64.b64decode(content), media_type)
