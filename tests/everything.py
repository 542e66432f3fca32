"""A ledger with something of everything, for tests that compare read models."""

from typing import Any
from uuid import uuid4

import psycopg
import pytest

from audit_ledger import Ledger


def tell_everything(ledger: Ledger, officer: Ledger, admin: psycopg.Connection[Any]) -> None:
    """Events of every type that a read model folds, bad ones among them."""
    with ledger.run("t", "s") as run:
        run.ingest_many("X", {number: {"n": number} for number in range(10)})
        run.api_call(endpoint="e", request={"q": 1}, response={"a": 1})
        run.api_call(endpoint="e", response=b"\xff", http_status_code=500)
    for state in (b"no JSON", b'{"record_type":"X"}', b"\xff"):
        admin.execute(
            "SELECT append(ARRAY[%s]::uuid[], ARRAY[1]::bigint[],"
            " ARRAY['RecordIngested'], ARRAY[%s]::bytea[])",
            [uuid4(), state],
        )
    with pytest.raises(RuntimeError), ledger.run("t", "s") as run:
        run.ingest("X", 1, {"n": 1})
        run.ingest("X", 2, {"n": "changed"})
        run.withdraw("X", 3)
        run.ingest("X", 3, {"n": "back"})
        run.record("Y", 1, "skipped")
        run.record("Y", 1, "updated")
        raise RuntimeError("boom")
    officer.erase_record("X", 4, reason="asked for", by="Ann")
    officer.set_retention(30, reason="law", by="Ann")
    hold = officer.add_hold(run=run.id, reason="case", by="Ann")
    officer.release_hold(hold.hold_id, reason="over", by="Ann")
    reference = ledger.reference()
    ledger.record_decision("D1", reference, inputs=[("X", 1), ("X", 2)])
    ledger.record_execution("E1", decision="D1")
    ledger.correct(1, {"source": "other"}, reason="misnamed", by="Ann")
    ledger.update_read_models()
