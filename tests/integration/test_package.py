"""Evidence packages on a real ledger: each member is what the format says, and nothing is written by halves."""

import base64
import hashlib
import hmac
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

import audit_ledger
from audit_ledger import Ledger
from audit_ledger.errors import (
    BeforeBeginning,
    ConfigurationError,
    EvidenceInvalid,
    InvalidValue,
    NotSealed,
    UnknownRecord,
    UnknownRun,
)
from audit_ledger.evidence import checkpoint, merkle, tiles
from audit_ledger.evidence.keys import Signer
from audit_ledger.evidence.package.answer import TABLES
from audit_ledger.evidence.proving import verify_event
from tests.everything import tell_everything
from tests.packages import unpacked
from tests.store import log

Admin = psycopg.Connection[Any]


@pytest.fixture
def signer(ledger: Ledger) -> Signer:
    """The key of the ledger."""
    return Signer(str(ledger.ledger_id), bytes(range(32)))


@pytest.fixture
def sealer(admin_url: str, signer: Signer) -> Iterator[Ledger]:
    """The ledger, connected to as one who has the key."""
    with audit_ledger.connect(admin_url, sealing_key=SecretStr(signer.key)) as connected:
        yield connected


@pytest.fixture
def told(ledger: Ledger, officer: Ledger, admin: Admin, sealer: Ledger) -> Ledger:
    """A ledger with events of every type, sealed in two steps."""
    with ledger.run("before", "s") as run:
        run.ingest("X", 1, {"n": 1})
    sealer.seal()
    tell_everything(ledger, officer, admin)
    sealer.seal()
    return sealer


def rows_as_of(admin: Admin, position: int, table: str) -> list[dict[str, Any]]:
    """The rows of a view as of a position, instants as the package has them."""
    with admin.transaction():
        admin.execute("SELECT set_config('audit_ledger.as_of', %s, true)", [str(position)])
        where = "WHERE to_position IS NULL AND operation <> 'withdrawn'" if table == "record_versions" else ""
        found = admin.execute(f"SELECT to_jsonb(t) FROM as_of.{table} t {where} ORDER BY id").fetchall()
    return [
        {
            name: value.replace("+00:00", "").ljust(26, "0" if "." in value else ".").replace(".......", ".000000") + "Z"
            if isinstance(value, str) and name.endswith("_at")
            else value
            for name, value in row[0].items()
        }
        for row in found
    ]


def test_the_answer_is_what_the_views_as_of_the_position_say(told: Ledger, admin: Admin, home: Path) -> None:
    last = log(admin)[-1][0]
    for position in (3, last // 2, last - 1, last):
        file = home / f"{position}.zip"
        told.evidence(position, file)
        package = unpacked(file)
        assert package.question["tables"] == [table.name for table in TABLES]
        for table in TABLES:
            expected = rows_as_of(admin, position, table.source or table.name)
            columns = [column.lstrip("@") for column in table.columns.split()]
            if table.source:
                expected = [{name: row[name] for name in columns} for row in expected]
            rows = package.rows(table.name)
            assert rows == expected
            assert package[f"answer/{table.name}.csv"].split(b"\n")[0].decode().split(",") == columns
            assert all(list(row) == columns for row in rows)


def test_the_log_is_every_leaf_up_to_the_next_event_and_leads_to_the_checkpoint(
    told: Ledger, admin: Admin, signer: Signer, home: Path
) -> None:
    events = log(admin)
    for position in (1, 2, 5, len(events) - 1, len(events)):
        made = told.evidence(position, home / f"{position}.zip")
        package = unpacked(made.file)
        assert package.question["position"] == position
        assert package.question["leaves"] == made.question.leaves == min(position + 1, len(events))
        assert package["keys"].decode() == f"{signer.verifier.key}\n"
        stated = checkpoint.verify(
            package["log/checkpoint"], origin=str(told.ledger_id), keys=[signer.verifier]
        ).checkpoint
        assert stated.size == len(events)
        leaves = package.leaves()
        assert [(e.position, e.recorded_at, e.state) for e in leaves] == [
            (row[0], row[1], row[6]) for row in events[: made.question.leaves]
        ]
