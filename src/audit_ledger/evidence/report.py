"""What a verification of the whole ledger found: in words, line by line, and as a report, a file of JSON."""

import json
import os
import secrets
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from audit_ledger.canonical import instant
from audit_ledger.errors import ConfigurationError
from audit_ledger.evidence.whole import LogVerified, Whole
from audit_ledger.version import VERSION


def lines(found: Whole) -> list[str]:
    """What was found, for people; what is wrong begins with ❌."""
    log, models = found.log, found.read_models
    said = [f"❌ {fault.part}: {fault}" for fault in log.faults]
    told = [fault.part for fault in log.faults]
    for part, number in log.wrong.items():
        if number > told.count(part):
            said.append(f"❌ {part}: {number:,} faults, of which the first are told")
    if log.first is not None and log.first.position is not None:
        said.append(f"❌ the first position that is not as it was: {log.first.position:,} ({log.first.part})")
    said += [f"❌ {difference}" for difference in models.differences]
    said += [
        f"❌ {table}: {_count(number, 'row')} not as the replay has them"
        for table, number in models.differing.items()
    ]
    said += _outside_lines(found)
    if log.same:
        said.append(_log_line(found))
        said += _counted_lines(log)
    if found.uncompared is not None:
        said.append(f"❌ {found.uncompared}")
    elif models.same:
        past = f" and as of {_count(len(models.points), 'position')}" if models.points else ""
        said.append(
            f"✅ {_count(models.rows, 'row')} of {_count(len(models.tables), 'table')} are as the replay has"
            f" them, now at position {models.position:,}{past}"
        )
    return said


def _log_line(found: Whole) -> str:
    log = found.log
    if not log.sealed:
        return (
            f"✅ {_count(log.position, 'event')} without a gap; none is sealed yet: nothing to compare with"
        )
    line = (
        f"✅ {_count(log.sealed, 'event')} hashed again: as {_count(log.tiles, 'tile')} and"
        f" {_count(log.checkpoints, 'checkpoint')} have them"
    )
    if log.position > log.sealed:
        line += f"; {_count(log.position - log.sealed, 'event')} after them not sealed yet"
    if log.unchecked:
        line += f"; signatures UNCHECKED of {_count(log.unchecked, 'checkpoint')}: no verifier key"
    return line


def _outside_lines(found: Whole) -> list[str]:
    looked = found.outside
    if looked is None:
        return []
    said = []
    if looked.wrong is not None:
        said.append(
            f"❌ outside: the ledger does not continue its checkpoint of size"
            f" {looked.wrong.by.stated.size:,} that was kept elsewhere: expected {looked.wrong.expected};"
            f" found {looked.wrong.actual}"
        )
    elif looked.highest is not None:
        size, place = looked.highest.stated.size, looked.highest.place
        said.append(f"✅ it continues its checkpoint of size {size:,} that is kept in {place}")
    return said + [f"   kept elsewhere, UNCHECKED: {trouble.what}" for trouble in looked.troubles]


def _counted_lines(log: LogVerified) -> list[str]:
    closed, timestamps = _count(log.closed, "checkpoint"), _count(log.timestamps, "timestamp")
    bodies, erased, truncated = (
        _count(number, "body", "bodies") for number in (log.bodies, log.erased, log.truncated)
    )
    said = [
        (log.closed, f"✅ {closed} of closed origins: as their tiles have them"),
        (log.timestamps, f"✅ {timestamps}: of these checkpoints, by pinned certificates"),
        (
            log.untrusted,
            f"   {_count(log.untrusted, 'timestamp')}: whose, UNCHECKED: no certificate in ledger.toml",
        ),
        (log.bodies, f"✅ {bodies} recomputed: as committed to"),
        (log.erased, f"✅ {erased}: PROVEN, PAYLOAD ERASED"),
        (log.truncated, f"   {truncated} too large to have been kept: UNCHECKED"),
    ]
    return [line for number, line in said if number]


def report(found: Whole, ledger_id: UUID, began: datetime, took: timedelta) -> dict[str, Any]:
    """The report of a verification, as JSON.

    Args:
        found: What was found.
        ledger_id: The ledger.
        began: When it began.
        took: How long it took.
    """
    log = found.log
    return {
        "ledger_id": str(ledger_id),
        "began_at": instant(began),
        "duration_ms": round(took.total_seconds() * 1000),
        "outcome": "nothing is wrong" if found.same else "wrong",
        "says": lines(found),
        "log": {**asdict(log), "root": None if log.root is None else bytes(log.root).hex()},
        "read_models": asdict(found.read_models),
        "uncompared": found.uncompared,
        "outside": _outside_lines(found),
        "software_version": VERSION,
    }


def write(file: Path, content: dict[str, Any]) -> None:
    """Write a report: all of it or nothing.

    Raises:
        ConfigurationError: it cannot be written there.
    """
    whole = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole.open("w", encoding="utf-8") as opened:
            json.dump(content, opened, indent=2, ensure_ascii=False, default=str)
            opened.write("\n")
            opened.flush()
            os.fsync(opened.fileno())
        whole.replace(file)
    except OSError as error:
        with suppress(OSError):
            whole.unlink()
        raise ConfigurationError(
            f"the report cannot be written to {file}",
            expected="a path in a folder that you may make files in",
            actual=str(error),
            remedy="choose another path, or correct the folder's owner or mode",
        ) from error


def name(began: datetime) -> str:
    """The file name of the report of a verification that began then."""
    return f"verification-{began.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}.json"


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"
