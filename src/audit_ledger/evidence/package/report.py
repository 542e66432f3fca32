"""The report of a package, for people: what it shows, and what not. HTML that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from psycopg import sql

from audit_ledger.errors import ConfigurationError
from audit_ledger.evidence.anchors import Anchor
from audit_ledger.evidence.keys import Verifier
from audit_ledger.evidence.package.question import Narrowed, Question, instant
from audit_ledger.evidence.package.snapshot import Snapshot
from audit_ledger.recording.failure import plain

TEMPLATE = Path(__file__).with_name("report.html")

SHOWN = 20
"""Rows of a table; a package holds them all."""

NAMED = 10
"""Tasks that a sentence names."""

RUNS_BY_STATUS = "SELECT status AS name, count(*) AS count FROM data_ingestion_runs GROUP BY 1 ORDER BY 1"
RECORDS_BY_TYPE = """
    SELECT record_type AS name, count(*) AS count FROM record_versions
     WHERE to_position IS NULL AND operation <> 'withdrawn'
     GROUP BY 1 ORDER BY 2 DESC, 1
"""
CALLS = "SELECT count(*) AS count FROM api_call_logs"
LAST_RUNS = """
    SELECT run_id, task_name, data_source, status, started_at, records_fetched, records_created,
           records_updated, records_skipped, error_message
      FROM data_ingestion_runs ORDER BY id DESC LIMIT %s
"""
NEXT = "SELECT recorded_at FROM events WHERE position = %s"
DISCLOSED = """
    SELECT task_name, data_source FROM {}.data_ingestion_runs WHERE id <= {} GROUP BY 1, 2 ORDER BY min(id)
"""


def discloses_all(taken: Snapshot, leaves: int) -> str:
    """Whom and what a complete package discloses, in a sentence."""
    statement = sql.SQL(DISCLOSED).format(sql.Identifier(taken.live), sql.Literal(leaves))
    tasks = [f"{row['task_name']} ({row['data_source']})" for row in taken.query(statement)]
    more = f", and {len(tasks) - NAMED:,} more" if len(tasks) > NAMED else ""
    return (
        f"this package discloses all {leaves:,} events up to position {leaves:,}, of every task and source: "
        + (f"{', '.join(tasks[:NAMED])}{more}" if tasks else "none has run yet")
    )


def discloses_some(narrowed: Narrowed, events: int) -> str:
    """What a narrowed package discloses, in a sentence."""
    return (
        f"this package discloses {events:,} {'event' if events == 1 else 'events'} of {narrowed};"
        " of the rest of the log, no more than hashes"
    )


def page(
    taken: Snapshot,
    question: Question,
    *,
    keys: Sequence[Verifier],
    disclosed: str,
    types: Mapping[str, int],
    bodies: int | None,
    anchors: Sequence[Anchor],
) -> bytes:
    """The report.

    Args:
        taken: What the figures are taken from.
        question: What the package claims.
        keys: The ledger's verifier keys.
        disclosed: What the package discloses.
        types: The events of a narrowed package, by type.
        bodies: How many bodies it lists; None where none were asked for.
        anchors: Its checkpoints outside the operator's reach.

    Raises:
        ConfigurationError: jinja2 is not installed.
    """
    asked = question.header.asked
    context: dict[str, Any] = {
        "question": question,
        "header": question.header,
        "asked": f"position {asked}" if asked.isdigit() else asked,
        "narrowed": question.narrowed,
        "checkpoint": taken.prover.stated,
        "keys": [{"key": key.key, "id": key.key_id.hex(), "print": _fingerprint(key)} for key in keys],
        "disclosed": disclosed[0].upper() + disclosed[1:] + ".",
        "types": sorted(types.items()),
        "events": sum(types.values()),
        "bodies": bodies,
        "anchors": anchors,
        "stamped": any(anchor.timestamps for anchor in anchors),
        "covered": any(anchor.size >= question.header.position for anchor in anchors),
        "next": None,
    }
    if question.narrowed is None:
        context |= {
            "runs": taken.query(RUNS_BY_STATUS),
            "records": taken.query(RECORDS_BY_TYPE),
            "calls": taken.query(CALLS)[0]["count"],
            "last_runs": taken.query(LAST_RUNS, [SHOWN]),
        }
        if question.leaves > question.header.position:
            context["next"] = taken.query(NEXT, [question.leaves])[0]["recorded_at"]
    rendered: str = _template().render(context)
    return rendered.encode()


def _fingerprint(key: Verifier) -> str:
    """SHA-256 of the public key, in groups that can be read aloud."""
    digits = sha256(key.public_key).hexdigest()
    return " ".join(digits[i : i + 4] for i in range(0, len(digits), 4))


def _shown(value: Any) -> Any:
    """Text without characters that would turn around, or hide, what stands beside it."""
    return plain(value) if isinstance(value, str) else value


def _template() -> Any:
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as error:
        raise ConfigurationError(
            "the report of the package cannot be written",
            expected="the package jinja2",
            actual="it is not installed",
            remedy="pip install 'audit-ledger[evidence]'",
        ) from error
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, finalize=_shown, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["instant"] = lambda when: instant(when).replace("T", " ").replace("Z", " UTC")
    environment.filters["second"] = lambda when: f"{when:%Y-%m-%d %H:%M:%S} UTC"
    environment.filters["number"] = lambda number: f"{number:,}"
    return environment.from_string(TEMPLATE.read_text("utf-8"))
