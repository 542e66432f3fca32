"""Erasing, holding, retention: what goes, what stays, what forbids it, and who may not."""

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4, uuid5

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

import audit_ledger
from audit_ledger import Ledger
from audit_ledger.errors import (
    Erased,
    Held,
    InvalidValue,
    LedgerBusy,
    LedgerError,
    RetentionNotOver,
    UnknownHold,
    UnknownPayload,
    UnknownRecord,
    UnknownRun,
    WrongRole,
)
from audit_ledger.events import MAX_REFERRERS, ApiCallMade, BodyErased, Event, RecordIngested, decode
from audit_ledger.recording import erasure, governance
from audit_ledger.recording.outbox import send
from audit_ledger.store import bodies
from audit_ledger.store.event_store import append_rows, in_stream
from audit_ledger.store.pending import Batch, Pending
from audit_ledger.store.server import EmbeddedServer
from tests.store import InThread, recorder_at, until, waiting

Connection = psycopg.Connection[Any]

WHY: dict[str, Any] = {"reason": "asked to", "by": "Ada"}
PERSON = {"name": "Jo Public", "born": "1980-02-29"}


def body(admin: Connection, commitment: str) -> dict[str, Any]:
    """The row of a body."""
    cursor = admin.cursor(row_factory=dict_row)
    row = cursor.execute("SELECT * FROM bodies WHERE commitment = %s", [commitment]).fetchone()
    assert row is not None
    return row


def content_of(ledger: Ledger, position: int) -> str:
    """The commitment that a RecordIngested event holds."""
    (event,) = ledger.events(position - 1, position)
    decoded = decode(event.type, event.state)
    assert isinstance(decoded, RecordIngested)
    assert decoded.content is not None
    return decoded.content


def referring(ledger: Ledger, commitment: str) -> list[int]:
    """The events that refer to a body, found by decoding the whole log."""
    found = []
    for recorded in ledger.events():
        event = decode(recorded.type, recorded.state)
        fields = [getattr(event, name, None) for name in ("content", "request", "response")]
        if not isinstance(event, BodyErased) and commitment in fields:
            found.append(recorded.position)
    return found


def named(ledger: Ledger, commitment: str) -> list[int]:
    """The events that BodyErased events name for a body."""
    events = [decode(e.type, e.state) for e in ledger.events() if e.type == "BodyErased"]
    return [
        position
        for event in events
        if isinstance(event, BodyErased) and event.commitment == commitment
        for position in event.referrers
    ]


@pytest.fixture
def person(ledger: Ledger) -> str:
    """A record of a person, brought by one run and seen again by another; the commitment of its content."""
    with ledger.run("fetch", "crm") as run:
        run.ingest("Person", 1, PERSON)
        run.api_call(endpoint="crm.test/people", request={"page": 1}, response=PERSON)
    with ledger.run("fetch", "crm") as run:
        assert run.ingest("Person", 1, PERSON) == "skipped"
        run.ingest("Contact", 7, PERSON)
    return content_of(ledger, 2)


class TestWhatGoes:
    def test_bytes_salt_and_digest_are_gone_from_the_table_and_the_rest_stays(
        self, officer: Ledger, admin: Connection, person: str
    ) -> None:
        before = body(admin, person)
        officer.erase_record("Person", 1, **WHY)
        after = body(admin, person)
        assert (after["salt"], after["sha256"], after["content"]) == (None, None, None)
        kept = ("commitment", "size", "media_type")
        assert [after[column] for column in kept] == [before[column] for column in kept]

    def test_a_dump_has_them_before_and_not_after(
        self, officer: Ledger, admin: Connection, admin_url: str, server: EmbeddedServer, person: str
    ) -> None:
        row = body(admin, person)
        secrets = [bytes(row[column]).hex() for column in ("salt", "sha256", "content")]

        def dump() -> str:
            command = [str(server.binaries / "pg_dump"), f"--dbname={admin_url}"]
            return str(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

        assert [secret in dump() for secret in secrets] == [True] * 3
        officer.erase_record("Person", 1, **WHY)
        assert [secret in dump() for secret in secrets] == [False] * 3

    def test_the_event_names_every_event_that_referred_to_it(
        self, ledger: Ledger, officer: Ledger, person: str
    ) -> None:
        erased = officer.erase_record("Person", 1, **WHY)
        assert referring(ledger, person) == [2, 3, 6, 7]
        assert named(ledger, person) == [2, 3, 6, 7]
        assert {model.lag for model in ledger.status().read_models} == {0}
        (gone,) = erased.bodies
        assert gone.commitment == person
        assert [r.position for r in gone.referrers] == [2, 3, 6, 7]
        assert [(r.record_type, r.record_id, r.endpoint) for r in gone.referrers] == [
            ("Person", "1", None),
            (None, None, "crm.test/people"),
            ("Person", "1", None),
            ("Contact", "7", None),
        ]

    def test_who_why_and_when_stand_in_place_of_a_payload(
        self, officer: Ledger, admin: Connection, person: str
    ) -> None:
        officer.erase_payload(6, **WHY)
        (position, at) = admin.execute(
            "SELECT id, to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
            "  FROM body_erasures"
        ).fetchall()[0]
        shown = admin.execute("SELECT id, payload FROM api_payloads ORDER BY id").fetchall()
        assert shown == [
            (5, {"page": 1}),
            (6, {"erased": {"by": "Ada", "reason": "asked to", "at": at, "position": position}}),
        ]

    def test_every_content_that_a_record_had_is_erased_and_responses_beside_it_are_told(
        self, ledger: Ledger, officer: Ledger, admin: Connection
    ) -> None:
        for version in range(3):
            with ledger.run("fetch", "crm") as run:
                run.ingest("Person", 1, {**PERSON, "version": version})
                run.ingest("Person", 2, {"name": "somebody else", "version": version})
                run.api_call(endpoint="crm.test", request={"q": 1}, response=[PERSON, version])
        responses = [
            row[0] for row in admin.execute("SELECT id FROM api_payloads WHERE type = 'ApiResponse'")
        ]
        erased = officer.erase_record("Person", 1, **WHY)
        assert len(erased.bodies) == 3
        assert erased.payload_ids == responses
        left = admin.execute("SELECT count(*) FROM bodies WHERE content IS NOT NULL").fetchone()
        assert left == (3 + 3 + 1,)
        officer.erase_payload(responses[0], **WHY)
        with ledger.run("fetch", "crm") as run:
            run.ingest("Person", 1, {**PERSON, "version": 9})
        assert officer.erase_record("Person", 1, **WHY).payload_ids == responses[1:]

    def test_a_body_that_many_refer_to_takes_several_events(self, ledger: Ledger, officer: Ledger) -> None:
        number = 2 * MAX_REFERRERS + 1
        with ledger.run("fetch", "crm") as run:
            run.ingest_many("Person", {number: {} for number in range(number)})
        erased = officer.erase_record("Person", 0, **WHY)
        events = [e for e in officer.events() if e.type == "BodyErased"]
        assert [e.version for e in events] == [1, 2, 3]
        assert {e.stream_id for e in events} == {uuid5(ledger.ledger_id, erased.bodies[0].commitment)}
        assert erased.bodies[0].position == events[0].position
        commitment = erased.bodies[0].commitment
        assert named(ledger, commitment) == referring(ledger, commitment) == list(range(2, number + 2))

    def test_of_a_body_that_was_too_large_to_keep_the_salt_goes(
        self, ledger: Ledger, officer: Ledger, admin: Connection
    ) -> None:
        unkept = bodies.Unkept.of(b"so much", "text/plain")
        with ledger.run("fetch", "crm") as run:
            call = ApiCallMade(occurred_at=run.now, endpoint="e", response_truncated=True, run_id=run.id)
            batch = Batch(uuid4(), 0, [Pending(call, {"response": unkept})])
            send(ledger._recorder, batch)
        (payload_id, payload) = admin.execute("SELECT id, payload FROM api_payloads").fetchall()[0]
        assert payload == {"truncated": {"size": 7, "commitment": unkept.commitment}}
        assert officer.erase_payload(payload_id, **WHY).bodies[0].commitment == unkept.commitment
        assert body(admin, unkept.commitment)["salt"] is None
        (shown,) = admin.execute("SELECT payload FROM api_payloads").fetchall()[0]
        assert shown["erased"]["by"] == "Ada"

    def test_the_same_bytes_given_again_are_another_body(
        self, ledger: Ledger, officer: Ledger, person: str
    ) -> None:
        officer.erase_record("Person", 1, **WHY)
        with ledger.run("fetch", "crm") as run:
            assert run.ingest("Person", 1, PERSON) == "updated"
        head = ledger.status().position
        assert content_of(ledger, head - 1) != person
        assert officer.erase_record("Person", 1, **WHY).bodies[0].commitment != person

    def test_an_event_that_no_read_model_holds_is_named_too(
        self, ledger: Ledger, officer: Ledger, admin: Connection, person: str
    ) -> None:
        """Those of a run that never started are set aside; what is no JSON refers to nothing."""
        stray = RecordIngested(occurred_at=datetime.now(UTC), record_type="X", record_id="1", content=person)
        states = [
            stray.state,
            b'{"content":"' + person.encode() + b'"',
            b'{"note":"' + person.encode() + b'"}',
        ]
        for state in states:
            admin.execute(
                "SELECT append(%s::uuid[], ARRAY[1]::bigint[], ARRAY['RecordIngested'], %s::bytea[])",
                [[uuid4()], [state]],
            )
        officer.erase_record("Person", 1, **WHY)
        assert named(ledger, person) == [2, 3, 6, 7, 9]


class TestWhatForbidsIt:
    @pytest.fixture
    def nothing_happens(self, officer: Ledger, admin: Connection, person: str) -> Iterator[None]:
        """Nothing is erased, and nothing says so."""
        yield
        assert body(admin, person)["content"] is not None
        assert [e.type for e in officer.events() if e.type == "BodyErased"] == []
        assert admin.execute("SELECT count(*) FROM body_erasures").fetchone() == (0,)

    @pytest.mark.parametrize("scope", ["request", "response", "record", "other record", "later run"])
    def test_a_hold_on_any_event_that_refers_to_it(
        self, officer: Ledger, person: str, scope: str, nothing_happens: None
    ) -> None:
        later, _ = officer.runs.all()
        scopes: dict[str, dict[str, Any]] = {
            "request": {"payload": 5},  # of the same call as the response
            "response": {"payload": 6},
            "record": {"record": ("Person", 1)},
            "other record": {"record": ("Contact", "7")},
            "later run": {"run": later.run_id},
        }
        hold = officer.add_hold(**scopes[scope], reason="case 4711", by="Grace")
        attempts: list[Callable[[], object]] = [
            lambda: officer.erase_record("Person", 1, **WHY),
            lambda: officer.erase_payload(6, **WHY),
        ]
        for erase in attempts:
            with pytest.raises(Held) as refused:
                erase()
            assert refused.value.actual == f"{hold.hold_id} by Grace: case 4711"
            assert "hold release" in str(refused.value.remedy)

    def test_a_hold_that_covers_something_else_forbids_nothing(
        self, ledger: Ledger, officer: Ledger, person: str
    ) -> None:
        with ledger.run("fetch", "crm") as other:
            other.ingest("Person", 2, {})
            other.api_call(endpoint="crm.test", response="text")
        payload = ledger.calls.all()[0].api_response_payload_id
        scopes: list[dict[str, Any]] = [{"run": other.id}, {"record": ("Person", 2)}, {"payload": payload}]
        for scope in scopes:
            officer.add_hold(**scope, **WHY)
        assert officer.erase_record("Person", 1, **WHY).bodies

    def test_a_released_hold_forbids_nothing(self, officer: Ledger, person: str) -> None:
        holds = [officer.add_hold(record=("Person", 1), **WHY) for _ in range(2)]
        officer.release_hold(holds[0].hold_id, **WHY)
        with pytest.raises(Held, match=str(holds[1].hold_id)):
            officer.erase_record("Person", 1, **WHY)
        officer.release_hold(str(holds[1].hold_id)[:13], reason="closed", by="Grace")
        assert officer.holds() == []
        assert [hold.released_by for hold in officer.holds(released=True)] == ["Grace", "Ada"]
        assert officer.erase_record("Person", 1, **WHY).bodies

    def test_one_content_that_is_held_keeps_all_of_a_record(
        self, ledger: Ledger, officer: Ledger, admin: Connection, person: str, nothing_happens: None
    ) -> None:
        with ledger.run("fetch", "crm") as run:
            run.ingest("Person", 1, {**PERSON, "version": 2})
        officer.add_hold(run=run.id, **WHY)
        with pytest.raises(Held):
            officer.erase_record("Person", 1, **WHY)

    def test_a_retention_that_is_not_over(self, officer: Ledger, person: str, nothing_happens: None) -> None:
        officer.set_retention(30, **WHY)
        with pytest.raises(RetentionNotOver) as refused:
            officer.erase_record("Person", 1, **WHY)
        assert refused.value.what == "bodies are kept for 30 days after the last event that refers to them"

    def test_the_retention_counts_from_the_last_event_that_refers_to_it(
        self, ledger: Ledger, officer: Ledger, admin: Connection, person: str
    ) -> None:
        with ledger.run("fetch", "crm") as run:
            run.ingest("Person", 2, {"name": "never seen again"})
        age(admin, "31 days")
        with ledger.run("fetch", "crm") as run:
            assert run.ingest("Person", 1, PERSON) == "skipped"
        officer.set_retention(30, **WHY)
        with pytest.raises(RetentionNotOver):
            officer.erase_record("Person", 1, **WHY)
        assert officer.erase_record("Person", 2, **WHY).bodies
        officer.set_retention(0, reason="repealed", by="Grace")
        assert (officer.retention().days, officer.retention().by) == (0, "Grace")
        assert officer.erase_record("Person", 1, **WHY).bodies

    def test_an_erasure_before(self, officer: Ledger, ledger: Ledger, person: str) -> None:
        officer.erase_payload(6, **WHY)
        attempts: list[Callable[[], object]] = [
            lambda: officer.erase_record("Person", 1, **WHY),
            lambda: officer.erase_payload(6, **WHY),
            lambda: officer.erase_record("Contact", 7, **WHY),
        ]
        for erase in attempts:
            with pytest.raises(Erased, match="was erased") as refused:
                erase()
            assert "by Ada" in str(refused.value.actual)
            assert "asked to" in str(refused.value.actual)
        with pytest.raises(Erased, match="erased already") as refused:
            erasure.erase(officer._recorder, officer.ledger_id, [person], **WHY)
        assert "Erased by Ada at position" in str(refused.value.actual)
        assert named(ledger, person) == [2, 3, 6, 7]

    def test_what_there_is_not(self, officer: Ledger, person: str) -> None:
        with officer.run("t", "s") as run:
            run.record("Silent", 1, "created")
        unknown = uuid4()
        attempts: list[tuple[type[LedgerError], Callable[[], object]]] = [
            (UnknownPayload, lambda: officer.erase_payload(99, **WHY)),
            (UnknownRecord, lambda: officer.erase_record("Person", 99, **WHY)),
            (UnknownRecord, lambda: officer.erase_record("Silent", 1, **WHY)),
            (UnknownPayload, lambda: officer.add_hold(payload=99, **WHY)),
            (UnknownRecord, lambda: officer.add_hold(record=("Person", 99), **WHY)),
            (UnknownRun, lambda: officer.add_hold(run=unknown, **WHY)),
            (UnknownHold, lambda: officer.release_hold(unknown, **WHY)),
            (InvalidValue, lambda: officer.release_hold("x", **WHY)),
            (InvalidValue, lambda: officer.add_hold(**WHY)),
            (InvalidValue, lambda: officer.add_hold(payload=5, run=run.id, **WHY)),
            (InvalidValue, lambda: officer.erase_payload(6, reason="", by="Ada")),
            (InvalidValue, lambda: officer.set_retention(-1, **WHY)),
        ]
        for error, call in attempts:
            with pytest.raises(error):
                call()
        assert {e.type for e in officer.events()} == {
            "RunStarted",
            "RecordIngested",
            "ApiCallMade",
            "RunCompleted",
        }

    def test_a_hold_is_released_once(self, officer: Ledger, person: str) -> None:
        hold = officer.add_hold(payload=5, **WHY)
        officer.release_hold(hold.hold_id, reason="closed", by="Grace")
        with pytest.raises(UnknownHold, match="released by Grace: closed"):
            officer.release_hold(hold.hold_id, **WHY)


def age(admin: Connection, interval: str) -> None:
    """Make the log look older, as only a superuser can who switches its guards off."""
    with admin.transaction():
        admin.execute("ALTER TABLE events DISABLE TRIGGER events_immutable")
        admin.execute("UPDATE events SET recorded_at = recorded_at - %s::interval", [interval])
        admin.execute("ALTER TABLE events ENABLE ALWAYS TRIGGER events_immutable")


OFFICERS = ("BodyErased", "HoldAdded", "HoldReleased", "RetentionChanged")
APPEND = "SELECT ledger.append(%s::uuid[], %s::bigint[], %s::text[], %s::bytea[])"


def refusal(conn: Connection, statement: str, *params: Any) -> str | None:
    """The SQLSTATE that a statement is refused with; None when it is not."""
    try:
        conn.execute(statement, params)
    except psycopg.Error as error:
        return error.sqlstate
    return None


class TestWhoMayNot:
    @pytest.mark.parametrize("type_", OFFICERS)
    def test_a_writer_records_none_of_an_officers_events(
        self, url: str, officer_url: str, type_: str
    ) -> None:
        many = 30
        batch = [[uuid4() for _ in range(many)], [1] * many, ["Noted"] * (many - 1) + [type_], [b"{}"] * many]
        with psycopg.connect(url, autocommit=True) as conn:
            assert refusal(conn, APPEND, [uuid4()], [1], [type_], [b"{}"]) == "AL005"
            assert refusal(conn, APPEND, *batch) == "AL005"
            assert refusal(conn, APPEND, [uuid4()], [1], ["Noted"], [b"{}"]) is None
        with psycopg.connect(officer_url, autocommit=True) as conn:
            assert refusal(conn, APPEND, *batch) is None

    def test_a_member_of_the_officers_may(
        self, server: EmbeddedServer, database: str, admin: Connection, person: str
    ) -> None:
        admin.execute("DROP ROLE IF EXISTS privacy_team")
        admin.execute("CREATE ROLE privacy_team LOGIN IN ROLE ledger_officer")
        try:
            with audit_ledger.connect(server.url("privacy_team", database)) as ledger:
                (erased,) = ledger.erase_record("Person", 1, **WHY).bodies
                (event,) = ledger.events(erased.position - 1, erased.position)
            assert event.recorded_by == "privacy_team"
        finally:
            admin.execute("DROP ROLE privacy_team")

    @pytest.mark.parametrize("role", ["ledger_writer", "ledger_reader"])
    def test_nobody_else_calls_the_functions(self, server: EmbeddedServer, database: str, role: str) -> None:
        with psycopg.connect(server.url(role, database), autocommit=True) as conn:
            for call in (
                "SELECT ledger_read.scan_for_bodies('{}')",
                "SELECT ledger_read.begin_erasure('{}')",
                "SELECT ledger_read.erase_body(1)",
                "SELECT ledger_read.catch_up_for_erasure('{}')",
                "SELECT ledger.forget_body('x')",
                "UPDATE ledger.bodies SET salt = NULL",
                "INSERT INTO ledger_read.hold_releases DEFAULT VALUES",
            ):
                assert refusal(conn, call) == "42501", call

    def test_the_officer_deletes_nothing_by_hand(self, officer_url: str) -> None:
        with psycopg.connect(officer_url, autocommit=True) as conn:
            for statement in (
                "SELECT ledger.forget_body('x')",
                "UPDATE ledger.bodies SET salt = NULL, sha256 = NULL, content = NULL",
                "DELETE FROM ledger.bodies",
                "DELETE FROM ledger_read.holds",
                "UPDATE ledger_read.body_scans SET positions = '{}'",
            ):
                assert refusal(conn, statement) == "42501", statement

    def test_every_attempt_is_told_which_role_it_takes(self, ledger: Ledger, person: str) -> None:
        calls: list[Callable[[], object]] = [
            lambda: ledger.erase_payload(6, **WHY),
            lambda: ledger.erase_record("Person", 1, **WHY),
            lambda: ledger.add_hold(payload=6, **WHY),
            lambda: ledger.release_hold(uuid4(), **WHY),
            lambda: ledger.set_retention(1, **WHY),
            # Past our own check, the database says the same.
            lambda: erasure.erase(ledger._recorder, ledger.ledger_id, [person], **WHY),
            lambda: governance.set_retention(ledger._recorder, ledger.ledger_id, 1, **WHY),
        ]
        for call in calls:
            with pytest.raises(WrongRole) as refused:
                call()
            assert refused.value.expected == "a member of ledger_officer"
            assert refused.value.remedy

    def test_everybody_may_ask(self, reader_url: str, officer: Ledger, person: str) -> None:
        hold = officer.add_hold(payload=6, **WHY)
        officer.set_retention(9, **WHY)
        with audit_ledger.connect(reader_url) as reader:
            assert reader.holds() == [hold]
            assert reader.retention().days == 9


class TestByHand:
    """What the database refuses to an officer who writes SQL."""

    @pytest.fixture
    def hand(self, officer_url: str) -> Iterator[Connection]:
        options = "-c search_path=ledger_read,ledger"
        with psycopg.connect(officer_url, autocommit=True, options=options, row_factory=dict_row) as conn:
            yield conn

    def say(
        self, conn: Connection, commitment: str, positions: Sequence[int], stream: UUID | None = None
    ) -> int:
        """Append a BodyErased event; its position."""
        event = BodyErased(
            by="Eve",
            commitment=commitment,
            occurred_at=datetime.now(UTC),
            reason="r",
            referrers=tuple(positions),
        )
        return append_rows(conn, in_stream(stream or uuid4(), 0, [event]))

    def test_an_erasure_without_its_event(self, hand: Connection, person: str) -> None:
        for position in (2, 99):
            assert refusal(hand, "SELECT erase_body(%s)", position) == "AL006"

    def test_an_event_of_an_earlier_transaction(
        self, hand: Connection, officer: Ledger, admin: Connection, person: str
    ) -> None:
        position = self.say(hand, person, [2, 3, 6, 7])
        assert refusal(hand, "SELECT erase_body(%s)", position) == "AL006"
        officer.update_read_models()
        payload = admin.execute("SELECT payload FROM api_payloads WHERE id = 6").fetchone()
        assert payload == (PERSON,)  # a claim alone erases nothing, and hides nothing
        assert officer.erase_record("Person", 1, **WHY).bodies

    @pytest.mark.parametrize("positions", [[], [2, 3, 6], [2, 3, 6, 7, 1], [2, 3, 6, 7, 7], [2, 3, 6, 99]])
    def test_an_event_that_names_too_few_or_too_many(
        self, hand: Connection, admin: Connection, person: str, positions: list[int]
    ) -> None:
        with pytest.raises(psycopg.Error, match="must name every event") as refused, hand.transaction():
            hand.execute("SELECT erase_body(%s)", [self.say(hand, person, positions)])
        assert refused.value.sqlstate == "AL006"
        assert body(admin, person)["content"] is not None
        with hand.transaction():
            hand.execute("SELECT erase_body(%s)", [self.say(hand, person, [7, 6, 3, 2])])
        assert body(admin, person)["content"] is None

    def test_a_body_that_there_is_not(self, hand: Connection) -> None:
        with pytest.raises(psycopg.Error) as refused, hand.transaction():
            hand.execute("SELECT erase_body(%s)", [self.say(hand, "A" * 43, [])])
        assert refused.value.sqlstate == "AL009"

    def test_erasing_without_having_begun_is_refused_rather_than_waiting_for_scripts(
        self, hand: Connection, url: str, person: str
    ) -> None:
        with psycopg.connect(url) as script:
            script.execute("SELECT ledger.put_bodies('{}', '{}', '{}', '{}', '{}')")
            with pytest.raises(psycopg.Error, match="begin_erasure") as refused, hand.transaction():
                hand.execute("SELECT erase_body(%s)", [self.say(hand, person, [2, 3, 6, 7])])
        assert refused.value.sqlstate == "AL006"

    def test_a_hold_of_the_same_moment_counts(self, hand: Connection, officer: Ledger, person: str) -> None:
        """The read models need not have heard of it."""
        with pytest.raises(psycopg.Error) as refused, hand.transaction():
            governance.add_hold(officer._recorder, officer.ledger_id, payload_id=6, **WHY)
            hand.execute("SELECT erase_body(%s)", [self.say(hand, person, [2, 3, 6, 7])])
        assert refused.value.sqlstate == "AL007"


class TestAtTheSameTime:
    """Scripts that send the very body that is being erased."""

    def test_an_erasure_waits_for_a_script_that_has_stored_the_body_and_names_its_event(
        self, url: str, ledger: Ledger, officer: Ledger, admin: Connection, person: str
    ) -> None:
        same = bodies.Body(b'{"born":"1980-02-29","name":"Jo Public"}', "application/json")
        with recorder_at(url) as recorder:
            run = ledger.runs.all()[0].run_id

            def make(conn: Connection) -> list[Event]:
                (commitment,) = bodies.put(conn, [same])
                assert commitment == person
                erasing.append(InThread(lambda: officer.erase_record("Person", 1, **WHY)))
                until(lambda: waiting(admin))
                now = datetime.now(UTC)
                return [
                    RecordIngested(
                        occurred_at=now, record_type="Late", record_id="1", content=commitment, run_id=run
                    )
                ]

            erasing: list[InThread] = []
            position = recorder.append_with(uuid4(), 0, make)
        erased = erasing[0].result()
        assert [r.position for r in erased.bodies[0].referrers] == [2, 3, 6, 7, position]

    def test_a_script_waits_for_an_erasure_and_stores_its_bytes_anew(
        self, ledger: Ledger, officer_url: str, admin: Connection, person: str
    ) -> None:
        options = "-c search_path=ledger_read,ledger"
        with ledger.run("fetch", "crm") as late:
            with psycopg.connect(officer_url, options=options, row_factory=dict_row) as conn:
                conn.execute("SELECT * FROM begin_erasure(%s)", [[person]])
                late.api_call(endpoint="crm.test/people", response=PERSON)
                sent = InThread(late.flush)
                until(lambda: waiting(admin))
                event = BodyErased(
                    by="Ada",
                    commitment=person,
                    occurred_at=datetime.now(UTC),
                    reason="r",
                    referrers=(2, 3, 6, 7),
                )
                position = append_rows(conn, in_stream(uuid5(ledger.ledger_id, person), 0, [event]))
                conn.execute("SELECT erase_body(%s)", [position])
            sent.result()
        shown = admin.execute("SELECT payload FROM api_payloads ORDER BY id").fetchall()
        assert [set(payload) for (payload,) in shown] == [{"page"}, {"erased"}, set(PERSON)]

    def test_who_waits_too_long_is_told_for_whom(
        self, url: str, officer_url: str, person: str, admin: Connection
    ) -> None:
        with (
            audit_ledger.connect(officer_url, lock_timeout=0.2) as officer,
            psycopg.connect(url, application_name="slow script") as script,
        ):
            script.execute("SELECT ledger.put_bodies('{}', '{}', '{}', '{}', '{}')")
            with pytest.raises(LedgerBusy, match="storing or erasing bodies") as busy:
                officer.erase_payload(6, **WHY)
            assert "slow script" in str(busy.value.actual)
            script.rollback()
            assert officer.erase_payload(6, **WHY).bodies

    def test_whatever_is_sent_while_it_is_erased_is_there_or_was_named(
        self, url: str, ledger: Ledger, officer: Ledger, admin: Connection
    ) -> None:
        """Scripts send the same few responses, in batches of one and of many, while they are erased."""
        stop: list[bool] = []

        def script(calls: int) -> None:
            with audit_ledger.connect(url) as own:
                while not stop:
                    with own.run("fetch", "crm") as run:
                        for number in range(calls):
                            run.api_call(endpoint="crm.test", response={"n": number % 3})

        scripts = [InThread(lambda calls=calls: script(calls)) for calls in (1, 2, 40)]  # type: ignore[misc]
        erased = 0
        deadline = time.monotonic() + 30
        try:
            while erased < 25 and time.monotonic() < deadline:
                ledger.update_read_models()
                rows = admin.execute(
                    "SELECT max(p.id) FROM api_payload_rows p JOIN bodies b USING (commitment)"
                    " WHERE b.salt IS NOT NULL GROUP BY commitment LIMIT 1"
                ).fetchall()
                for (payload_id,) in rows:
                    officer.erase_payload(payload_id, **WHY)
                    erased += 1
        finally:
            stop.append(True)
            for running in scripts:
                running.result()
        assert erased == 25
        commitments = admin.execute("SELECT commitment, salt IS NULL FROM bodies").fetchall()
        assert sum(gone for _, gone in commitments) == erased
        log = list(ledger.events())
        for commitment, gone in commitments:
            refer = [e.position for e in log if e.type == "ApiCallMade" and commitment.encode() in e.state]
            assert named(ledger, commitment) == (refer if gone else [])

    def test_of_two_erasures_of_one_body_one_is_told_of_the_other(
        self, officer_url: str, ledger: Ledger, person: str
    ) -> None:
        def erase() -> object:
            with audit_ledger.connect(officer_url) as own:
                try:
                    return own.erase_payload(6, **WHY)
                except LedgerError as error:
                    return error

        answers = [thread.result() for thread in [InThread(erase) for _ in range(4)]]
        assert sorted(type(answer).__name__ for answer in answers) == ["Erased"] * 3 + ["Erasure"]
        assert named(ledger, person) == [2, 3, 6, 7]


CONTENTS = st.sampled_from([{"n": number} for number in range(4)])
TOUCHES = st.lists(
    st.tuples(st.sampled_from(["ingest", "call", "both"]), st.integers(0, 3), CONTENTS), max_size=12
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(runs=st.lists(TOUCHES, min_size=1, max_size=4), victim=CONTENTS)
def test_an_erasure_names_what_decoding_the_log_finds_and_touches_nothing_else(
    ledger: Ledger, officer: Ledger, admin: Connection, runs: list[list[Any]], victim: dict[str, int]
) -> None:
    for touches in runs:
        with ledger.run("fetch", "crm") as run:
            for kind, number, content in touches:
                if kind != "call":
                    run.ingest("Thing", number, content)
                if kind != "ingest":
                    run.api_call(endpoint="e", request=victim if kind == "both" else None, response=content)
    ledger.update_read_models()
    before = admin.execute("SELECT * FROM bodies WHERE salt IS NOT NULL ORDER BY commitment").fetchall()
    row = admin.execute(
        "SELECT max(p.id) FROM api_payload_rows p JOIN bodies b USING (commitment)"
        " WHERE body_as_json(b.content, b.media_type) = %s",
        [Jsonb(victim)],
    ).fetchone()
    if row is None or row[0] is None:
        return
    (erased,) = officer.erase_payload(row[0], **WHY).bodies
    assert named(ledger, erased.commitment) == referring(ledger, erased.commitment)
    after = admin.execute("SELECT * FROM bodies WHERE salt IS NOT NULL ORDER BY commitment").fetchall()
    assert after == [body for body in before if body[0] != erased.commitment]
