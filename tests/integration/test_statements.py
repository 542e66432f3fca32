"""What is said of the ledger's data outside of runs: corrections, references, decisions, executions."""

from datetime import timedelta
from functools import partial
from uuid import uuid4

import pytest

import audit_ledger
from audit_ledger import InvalidValue, Ledger, WrongRole
from audit_ledger.errors import UnknownDecision, UnknownPosition, VersionConflict
from audit_ledger.statements import Reference
from tests.store import InThread


@pytest.fixture
def fetched(ledger: Ledger) -> Ledger:
    with ledger.run("t", "s") as run:
        run.ingest_many("X", {number: {"n": number} for number in range(5)})
    return ledger


def test_a_reference_survives_being_text(fetched: Ledger) -> None:
    reference = fetched.reference()
    assert Reference.parse(str(reference)) == reference
    assert reference.position == 7
    with pytest.raises(InvalidValue, match="reference"):
        Reference.parse("7")


def test_a_reference_to_an_empty_ledger_is_refused(ledger: Ledger) -> None:
    with pytest.raises(UnknownPosition, match="empty"):
        ledger.reference()


def test_a_decision_uses_the_versions_of_its_reference(fetched: Ledger) -> None:
    reference = fetched.reference()
    with fetched.run("t", "s") as later:
        later.ingest("X", 1, {"n": "amended"})
    found = fetched.record_decision("D", str(reference), inputs=[("X", 1), ("X", "2")], details={"a": 1})
    assert [(used.record_id, used.position) for used in found.used] == [("1", 3), ("2", 4)]
    assert found.used[0].replaced_by is not None
    assert found.used[1].replaced_by is None
    assert (found.reference, found.reference_at) == (reference.position, reference.recorded_at)
    assert found.discrepancies == []
    assert fetched.chain("D") == found


def test_a_withdrawn_record_was_not_available(fetched: Ledger) -> None:
    with fetched.run("t", "s") as run:
        run.withdraw("X", 1)
    found = fetched.record_decision("D", fetched.reference(), inputs=[("X", 1)])
    assert found.used[0].position is None
    assert len(found.discrepancies) == 1


def test_a_decision_may_use_more_records_than_one_event_names(fetched: Ledger) -> None:
    inputs = [("X", f"{number:0500}") for number in range(2500)]
    found = fetched.record_decision("D", fetched.reference(), inputs=inputs)
    assert [(used.record_type, used.record_id) for used in found.used] == inputs
    assert len([event for event in fetched.events() if event.type == "DecisionMade"]) > 2


def test_a_decision_is_made_once(fetched: Ledger) -> None:
    fetched.record_decision("D", fetched.reference())
    with pytest.raises(VersionConflict, match="on record already"):
        fetched.record_decision("D", fetched.reference())


def test_a_reference_that_is_not_true_is_refused(fetched: Ledger) -> None:
    true = fetched.reference()
    for wrong in (
        Reference(uuid4(), true.position, true.recorded_at),
        Reference(true.ledger_id, true.position, true.recorded_at + timedelta(microseconds=1)),
    ):
        with pytest.raises(InvalidValue, match="reference"):
            fetched.record_decision("D", wrong)
    with pytest.raises(UnknownPosition, match="no event at position 99"):
        fetched.record_decision("D", Reference(true.ledger_id, 99, true.recorded_at))
    assert not [event for event in fetched.events() if event.type == "DecisionMade"]


def test_an_execution_needs_a_decision(fetched: Ledger) -> None:
    with pytest.raises(UnknownDecision, match="no decision has the id D"):
        fetched.record_execution("E", decision="D")
    fetched.record_decision("D", fetched.reference())
    threads = [InThread(partial(fetched.record_execution, f"E{number}", decision="D")) for number in range(8)]
    for thread in threads:
        thread.result()
    assert {one.execution_id for one in fetched.chain("D").executions} == {f"E{n}" for n in range(8)}
    with pytest.raises(UnknownDecision, match="no decision has the id E"):
        fetched.chain("E")


def test_a_correction_leaves_the_event_and_both_are_shown(fetched: Ledger) -> None:
    state = [event.state for event in fetched.events(after=2, upto=3)]
    own = fetched.correct(3, {"content": {"n": 100}}, reason="cents", by="ada")
    assert [event.state for event in fetched.events(after=2, upto=3)] == state
    (found,) = fetched.corrections(3)
    assert (found.id, found.by, found.reason, found.values) == (own, "ada", "cents", {"content": {"n": 100}})
    (version,) = fetched.history("X", 1)
    assert version.content == {"n": 1}
    assert version.corrections[0]["values"] == {"content": {"n": 100}}
    assert [one.position for one in fetched.details(fetched.runs.all()[0].run_id).corrections] == [3]
    assert fetched.as_of(own - 1).corrections(3) == []


def test_what_cannot_be_corrected_is_refused(fetched: Ledger, reader_url: str) -> None:
    with pytest.raises(UnknownPosition, match="no event at position 99"):
        fetched.correct(99, reason="r", by="b")
    with pytest.raises(InvalidValue, match="reason"):
        fetched.correct(1, reason="", by="b")
    with pytest.raises(InvalidValue, match="values"):
        fetched.correct(1, {"x": object()}, reason="r", by="b")
    with audit_ledger.connect(reader_url) as reader, pytest.raises(WrongRole):
        reader.correct(1, reason="r", by="b")
