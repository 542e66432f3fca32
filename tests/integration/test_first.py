"""First."""
from audit_ledger import Ledger

def test_a_run_is_recorded(ledger: Ledger) -> None:
    with ledger.run("t", "s") as run:
        assert run.ingest("X", 1, {"a": 1}) == "created"
    row = ledger.runs.first()
    assert row is not None
    assert row.records_created == 1
