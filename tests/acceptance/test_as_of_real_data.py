"""Real snapshots, ingested in order: as of each moment between, the one then in force is what there is.

Needs ../shared/realdata: trades of senators, the last snapshot of which withdraws more than a thousand, and
committees and members of Congress up to 24 December 2025.
"""

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

import audit_ledger
from audit_ledger import Ledger, Run
from audit_ledger.evidence.keys import Signer
from audit_ledger.evidence.verify import verify
from audit_ledger.statements import Reference
from audit_ledger.store.server import SUPERUSER, EmbeddedServer
from tests.conftest import administer, shared
from tests.packages import unpacked

Row = dict[str, Any]
Snapshot = dict[str, dict[str, Row]]
"""Contents by record id, by record type."""

NAME = "as_of_real_data"
TRADE = "QuiverTrade"


@dataclass(frozen=True)
class Moment:
    """After a run, and before the next.

    Attributes:
        reference: What the ledger said of it.
        between: Some instant before the next run.
        run: The run.
        there: What was in force.
        brought: The types of record that the run brought.
    """

    reference: Reference
    between: datetime
    run: Run
    there: Snapshot
    brought: set[str]


@dataclass(frozen=True)
class Told:
    """A ledger that was told all the snapshots."""

    ledger: Ledger
    reader_url: str
    moments: list[Moment]


@pytest.fixture(scope="module")
def told(server: EmbeddedServer, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    files = [*files_of("congress"), *files_of("committees")]
    administer(server, f"CREATE DATABASE {{}} TEMPLATE {template}", NAME)
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDIT_LEDGER_CONFIG", str(home / "none.toml"))
        patch.setenv("AUDIT_LEDGER_HOME", str(home))
        with audit_ledger.connect(server.url("ledger_writer", NAME)) as ledger:
            yield Told(ledger, server.url("ledger_reader", NAME), list(tell(ledger, files)))
    administer(server, "DROP DATABASE {} WITH (FORCE)", NAME)


def files_of(kind: str) -> list[Path]:
    return sorted(shared("realdata", kind).glob("*.jsonl.gz"))


def tell(ledger: Ledger, files: list[Path]) -> Iterator[Moment]:
    there: Snapshot = {}
    for file in files:
        snapshot = read(file)
        with ledger.run(f"data_fetch:{file.parent.name}", file.name) as run:
            for record_type, records in snapshot.items():
                run.ingest_snapshot(record_type, records)
        there = there | snapshot
        reference = ledger.reference()
        yield Moment(reference, datetime.now(UTC), run, there, {*snapshot})


def read(file: Path) -> Snapshot:
    snapshot: Snapshot = {}
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in map(json.loads, lines):
            record_type, record_id = identify(line)
            snapshot.setdefault(record_type, {})[record_id] = line
    return snapshot


def identify(line: Row) -> tuple[str, str]:
    """The type and the id of a record; of trades as scripts/fetch_congress_daily.py has it."""
    if "Filing" in line:
        return TRADE, f"{line['Filing'].strip('/').rpartition('/')[2]}-{line['Line']}"
    if line["kind"] == "committee":
        return "Committee", line["thomas_id"]
    return "Member", line["bioguide"]


def changes(before: dict[str, Row], after: dict[str, Row]) -> Counter[str]:
    """How many records differ from one snapshot to another, in plain Python."""
    updated = sum(before[key] != after[key] for key in before.keys() & after.keys())
    counted = {
        "created": len(after.keys() - before.keys()),
        "updated": updated,
        "withdrawn": len(before.keys() - after.keys()),
    }
    return Counter({name: count for name, count in counted.items() if count})


def test_as_of_each_moment_the_records_are_the_snapshot_then_in_force(told: Told) -> None:
    for moment in told.moments:
        reference = moment.reference
        assert reference.position == told.ledger.as_of(moment.between).header.position
        for when in (reference.position, reference.recorded_at, moment.between):
            as_of = told.ledger.as_of(when)
            for record_type in (TRADE, "Committee", "Member"):
                expected = moment.there.get(record_type, {})
                records = as_of.records(record_type)
                assert records.count() == len(expected)
                assert {record.record_id: record.content for record in records} == expected


def test_plain_sql_as_the_reader_gives_the_same(told: Told) -> None:
    with psycopg.connect(told.reader_url, autocommit=True) as conn:
        for moment in told.moments:
            conn.execute(f"SET audit_ledger.as_of = '{moment.between.isoformat()}'")
            for record_type in (TRADE, "Committee", "Member"):
                rows = conn.execute(
                    "SELECT record_id, content FROM as_of.records WHERE record_type = %s", [record_type]
                ).fetchall()
                expected = moment.there.get(record_type, {})
                assert dict(rows) == expected
                assert len(rows) == len(expected)
            answer = conn.execute("SELECT position, final FROM as_of.answer").fetchone()
            assert answer == (moment.reference.position, moment is not told.moments[-1])


def test_the_difference_between_two_moments_is_that_of_their_snapshots(told: Told) -> None:
    first, *_, last = told.moments
    for earlier, later in [*zip(told.moments, told.moments[1:], strict=False), (first, last)]:
        difference = told.ledger.diff(earlier.reference.position, later.between)
        found: dict[str, Counter[str]] = {}
        for change in difference.records:
            found.setdefault(change.record_type, Counter())[change.change] += 1
        expected = {
            record_type: changes(earlier.there.get(record_type, {}), records)
            for record_type, records in later.there.items()
        }
        assert found == {record_type: counted for record_type, counted in expected.items() if counted}


def test_more_than_a_thousand_trades_are_withdrawn_by_the_last_snapshot_and_none_is_lost(told: Told) -> None:
    trades = [moment for moment in told.moments if TRADE in moment.brought]
    before, last = trades[-2:]
    gone = before.there[TRADE].keys() - last.there[TRADE].keys()
    assert len(gone) > 1000
    withdrawn = told.ledger.find_run(last.run.id).records.where("operation = 'withdrawn'")
    assert {row.record_id for row in withdrawn} == gone
    assert not gone & {record.record_id for record in told.ledger.records(TRADE)}
    for trade in sorted(gone)[::100]:
        ended, *versions = told.ledger.history(TRADE, trade)
        assert (ended.operation, ended.content, ended.run_id) == ("withdrawn", None, last.run.id)
        assert versions[0].content == before.there[TRADE][trade]
        assert versions[0].to_position == ended.id
        assert versions[-1].operation == "created"
        assert [version.operation for version in told.ledger.as_of(before.between).history(TRADE, trade)] == [
            version.operation for version in versions
        ]


def test_what_was_amended_is_as_it_was_before_and_as_it_is_after(told: Told) -> None:
    amended = 0
    for earlier, later in zip(told.moments, told.moments[1:], strict=False):
        for record_type in earlier.brought & later.brought:
            old, new = earlier.there[record_type], later.there[record_type]
            for record_id in sorted(key for key in old.keys() & new.keys() if old[key] != new[key])[::100]:
                amended += 1
                latest, previous, *_ = told.ledger.as_of(later.run.id).history(record_type, record_id)
                assert (latest.operation, latest.content) == ("updated", new[record_id])
                assert previous.content == old[record_id]
                (record,) = (
                    told.ledger.as_of(earlier.between)
                    .records(record_type)
                    .where("record_id = {record}", record=record_id)
                )
                assert record.content == old[record_id]
    assert amended


def test_a_package_of_a_moment_is_proven_and_holds_the_snapshot_then_in_force(
    told: Told, server: EmbeddedServer, tmp_path: Path
) -> None:
    origin = str(told.ledger.ledger_id)
    signer = Signer(origin, bytes(32))
    first, before, last = told.moments[0], told.moments[5], told.moments[-1]
    with audit_ledger.connect(server.url(SUPERUSER, NAME), sealing_key=SecretStr(signer.key)) as sealer:
        sealer.seal()
        for moment in (first, before, last):
            file = sealer.evidence(moment.between, tmp_path / "a.zip", bodies=True, force=True).file
            report = verify(file, [signer.verifier.key])
            assert report.code == 0, str(report)
            package = unpacked(file, proven=False)
            assert package.question["position"] == moment.reference.position
            assert (": the answer is final" in str(report)) is (moment is not last)
            found: Snapshot = {}
            for row in package.rows("records"):
                content = json.loads(package[f"bodies/{row['content']}"])
                found.setdefault(row["record_type"], {})[row["record_id"]] = content
            assert found == moment.there
            runs = package.rows("data_ingestion_runs")
            assert [run["run_id"] for run in runs][-1] == str(moment.run.id)
