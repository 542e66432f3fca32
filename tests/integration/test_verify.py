"""The stand-alone verifier against packages of real ledgers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

import audit_ledger
from audit_ledger import Ledger
from audit_ledger.evidence.keys import Signer
from audit_ledger.evidence.verify import verify
from tests.everything import tell_everything
from tests.store import log

Admin = psycopg.Connection[Any]


@pytest.fixture
def signer(ledger: Ledger) -> Signer:
    return Signer(str(ledger.ledger_id), bytes(range(32)))


@pytest.fixture
def sealer(admin_url: str, signer: Signer) -> Iterator[Ledger]:
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


def test_a_package_is_proven_as_of_every_position(
    told: Ledger, admin: Admin, signer: Signer, home: Path
) -> None:
    for position, *_ in log(admin):
        file = told.evidence(position, home / f"{position}.zip", bodies=True).file
        report = verify(file, [signer.verifier.key], jobs=1)
        print(report)
        assert report.code == 0, (position, str(report))
