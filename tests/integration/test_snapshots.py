"""Withdrawing records, and handing over all that there are."""

from collections.abc import Iterator

import psycopg
import pytest

import audit_ledger
from audit_ledger import InvalidValue, Ledger


def now(ledger: Ledger, kind: str = "X") -> dict[str, object]:
    return {record.record_id: record.content for record in ledger.records(kind)}


def test_a_snapshot_withdraws_what_is_missing(ledger: Ledger) -> None:
    with ledger.run("t", "s") as run:
        assert run.ingest_snapshot("X", {1: "a", 2: "b"}) == {"1": "created", "2": "created"}
        run.ingest("Y", 1, "other kind")
    with ledger.run("t", "s") as run:
        told = run.ingest_snapshot("X", [(2, "b"), (3, "c")])
    assert told == {"2": "skipped", "3": "created", "1": "withdrawn"}
    assert now(ledger) == {"2": "b", "3": "c"}
    assert now(ledger, "Y") == {"1": "other kind"}
    assert (run.result.fetched, run.result.created, run.result.skipped) == (2, 1, 1)
    assert [touch.operation for touch in ledger.provenance("X", 1)] == ["withdrawn", "created"]
    assert ledger.find_run(run.id).records.withdrawn().count() == 1


def test_what_comes_back_is_created_again(ledger: Ledger) -> None:
    for number, (content, operation) in enumerate(
        [("a", "created"), (None, "withdrawn"), ("a", "created"), ("a", "skipped"), ("b", "updated")]
    ):
        with ledger.run("t", "s") as run:
            if content is None:
                run.withdraw("X", 1)
            else:
                assert run.ingest("X", 1, content) == operation
        assert ledger.provenance("X", 1)[0].operation == operation, number
    assert [version.operation for version in ledger.history("X", 1)] == [
        "updated", "created", "withdrawn", "created",
    ]  # fmt: skip


def test_within_one_run_what_is_withdrawn_and_comes_back_is_created(ledger: Ledger) -> None:
    with ledger.run("t", "s") as run:
        run.ingest("X", 1, "a")
        run.withdraw("X", 1)
        assert run.ingest("X", 1, "a") == "created"
    assert [version.operation for version in ledger.history("X", 1)] == ["created", "withdrawn", "created"]


def test_withdrawing_twice_is_one_withdrawal(ledger: Ledger) -> None:
    with ledger.run("t", "s") as run:
        run.ingest("X", 1, "a")
        run.withdraw("X", 1)
    with ledger.run("t", "s") as run:
        run.withdraw("X", 1)
    assert [version.operation for version in ledger.history("X", 1)] == ["withdrawn", "created"]
    assert now(ledger) == {}


def test_an_empty_snapshot_is_refused_unless_it_is_meant(ledger: Ledger) -> None:
    with ledger.run("t", "s") as run:
        assert run.ingest_snapshot("X", {}) == {}
        run.ingest("X", 1, "a")
    with pytest.raises(InvalidValue, match="snapshot") as caught, ledger.run("t", "s") as run:
        run.ingest_snapshot("X", {})
    assert caught.value.remedy is not None
    assert "allow_empty" in caught.value.remedy
    assert now(ledger) == {"1": "a"}
    with ledger.run("t", "s") as run:
        assert run.ingest_snapshot("X", {}, allow_empty=True) == {"1": "withdrawn"}
    assert now(ledger) == {}


def test_what_another_run_brings_meanwhile_is_not_withdrawn(ledger: Ledger) -> None:
    def records() -> Iterator[tuple[int, str]]:
        yield 1, "a"
        with ledger.run("other", "s") as other:
            other.ingest("X", "from another run", "b")
        yield 2, "c"

    with ledger.run("t", "s") as run:
        run.ingest_snapshot("X", records())
    assert set(now(ledger)) == {"1", "2", "from another run"}


def test_a_snapshot_knows_what_the_run_itself_has_just_said(ledger: Ledger) -> None:
    with ledger.run("t", "s") as run:
        run.ingest("X", 1, "a")
        assert run.ingest_snapshot("X", {2: "b"}) == {"2": "created", "1": "withdrawn"}


def test_where_nobody_can_say_what_is_on_record_nothing_is_withdrawn(
    url: str, ledger: Ledger, admin_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with ledger.run("t", "s") as run:
        run.ingest_snapshot("X", {1: "a", 2: "b"})
    with (
        audit_ledger.connect(url, lock_timeout=0.3, projection_timeout=0.3) as hurried,
        psycopg.connect(admin_url) as holder,
        hurried.run("t", "s") as run,
    ):
        holder.execute("SELECT FROM ledger_read.progress FOR UPDATE")
        assert run.ingest_snapshot("X", {1: "a"}) == {"1": "skipped"}
        holder.rollback()
    assert "it cannot be said for now which records are no more" in caplog.text
    assert set(now(ledger)) == {"1", "2"}
