"""The event store: what an append does, what a read yields, and what happens when either is disturbed."""

import socket
import struct
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import eventsourcing.persistence as es
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

import audit_ledger
from audit_ledger.errors import AppendRefused, LedgerBusy, Unreachable, VersionConflict
from audit_ledger.events import RecordIngested
from audit_ledger.settings import load
from audit_ledger.store import migrations
from audit_ledger.store.event_store import FEW, PAGE
from audit_ledger.store.recorder import Datastore, LedgerRecorder
from tests.store import InThread, events, head, log, recorder_at, until, waiting

FEW_AND_MANY = pytest.mark.parametrize("count", [FEW, 600], ids=["few", "many"])


@pytest.fixture
def recorder(url: str) -> Iterator[LedgerRecorder]:
    with recorder_at(url) as connected:
        yield connected


def ingested(count: int, record_type: str = "QuiverTrade") -> list[RecordIngested]:
    return [
        RecordIngested.of(occurred_at=datetime.now(UTC), record_type=record_type, record_id=number)
        for number in range(count)
    ]


def written(recorder: LedgerRecorder, batch: list[es.StoredEvent]) -> list[int]:
    return list(recorder.insert_events(batch) or [])


@contextmanager
def lock_held(url: str, name: str = "nightly") -> Iterator[int]:
    """The append lock, held by a session of that application; gives its process id."""
    with psycopg.connect(url, application_name=name, options="-c search_path=ledger") as holder:
        holder.execute("SELECT * FROM begin_append()")
        yield holder.info.backend_pid
        holder.rollback()


class TestAppend:
    def test_positions_follow_without_gaps_whatever_the_size_of_a_batch(
        self, recorder: LedgerRecorder, admin: psycopg.Connection[Any]
    ) -> None:
        expected = 1
        for size in [1, FEW, FEW + 1, 2, 600, 251, 1]:
            assert written(recorder, events(uuid4(), size)) == list(range(expected, expected + size))
            expected += size
        assert [row[0] for row in log(admin)] == list(range(1, expected))
        assert head(admin) == expected - 1

    @FEW_AND_MANY
    def test_what_is_read_is_what_was_written(
        self, recorder: LedgerRecorder, admin: psycopg.Connection[Any], count: int
    ) -> None:
        stream = uuid4()
        batch = [
            es.StoredEvent(
                originator_id=stream,
                originator_version=version,
                topic=f"Type {version % 3} ~!",
                state=bytes([version % 256, 0, 255]) * (version % 5),
            )
            for version in range(count)
        ]
        recorder.insert_events(batch)
        assert [row[3:] for row in log(admin)] == [
            (stream, event.originator_version, event.topic, event.state) for event in batch
        ]
        assert recorder.select_events(stream) == batch

    def test_a_batch_has_one_recorded_at_and_later_batches_no_earlier_one(
        self, recorder: LedgerRecorder, admin: psycopg.Connection[Any]
    ) -> None:
        before = admin.execute("SELECT clock_timestamp()").fetchall()[0][0]
        for size in [3, 50, 1, 2, 300]:
            recorder.insert_events(events(uuid4(), size))
        after = admin.execute("SELECT clock_timestamp()").fetchall()[0][0]
        by_stream: dict[UUID, set[datetime]] = {}
        for row in log(admin):
            by_stream.setdefault(row[3], set()).add(row[1])
        assert [len(times) for times in by_stream.values()] == [1] * 5
        times = [row[1] for row in log(admin)]
        assert all(earlier <= later for earlier, later in pairwise(times))
        assert before < times[0]
        assert times[-1] < after

    @FEW_AND_MANY
    def test_recorded_by_is_the_role_that_connected(
        self, url: str, admin_url: str, admin: psycopg.Connection[Any], count: int
    ) -> None:
        acting_as_writer = f"{admin_url}&options=-c%20role%3Dledger_writer"
        for place in [url, admin_url, acting_as_writer]:
            with recorder_at(place) as recorder:
                recorder.insert_events(events(uuid4(), count))
        roles = ["ledger_writer", "postgres", "postgres"]
        assert [row[2] for row in log(admin)] == [role for role in roles for _ in range(count)]

    def test_no_events_are_no_append(self, recorder: LedgerRecorder, admin: psycopg.Connection[Any]) -> None:
        assert recorder.insert_events([]) is None
        assert head(admin) == 0

    @FEW_AND_MANY
    def test_a_batch_may_go_to_many_streams(
        self, recorder: LedgerRecorder, admin: psycopg.Connection[Any], count: int
    ) -> None:
        streams = [uuid4() for _ in range(3)]
        mixed = [events(streams[n % 3], 1, after=n // 3)[0] for n in range(count)]
        recorder.insert_events(mixed)
        assert [row[3:5] for row in log(admin)] == [(e.originator_id, e.originator_version) for e in mixed]

    def test_streams_and_types_may_be_given_as_others_give_them(self, recorder: LedgerRecorder) -> None:
        stream = uuid4()
        as_text = es.StoredEvent(
            originator_id=str(stream), originator_version=0, topic="eventsourcing.domain:Event", state=b""
        )
        recorder.insert_events([as_text])
        recorder.insert_events(
            [
                es.StoredEvent(originator_id=str(stream), originator_version=n, topic="t", state=b"")
                for n in range(1, 30)
            ]
        )
        assert [event.originator_version for event in recorder.select_events(stream)] == list(range(30))

    @FEW_AND_MANY
    def test_append_refuses_a_stale_version(
        self, recorder: LedgerRecorder, admin: psycopg.Connection[Any], count: int
    ) -> None:
        stream = uuid4()
        assert recorder.append(stream, 0, ingested(3)) == 3
        with pytest.raises(VersionConflict) as refused:
            recorder.append(stream, 2, ingested(count))
        assert str(stream) in str(refused.value.actual)
        assert refused.value.expected
        assert refused.value.remedy
        assert head(admin) == 3
        assert recorder.append(stream, 3, ingested(count)) == 3 + count

    @pytest.mark.parametrize("count", [5, 500])
    @pytest.mark.parametrize("place", ["first", "last"])
    def test_nothing_of_a_refused_batch_is_written(
        self, recorder: LedgerRecorder, admin: psycopg.Connection[Any], count: int, place: str
    ) -> None:
        taken = events(uuid4(), 1)
        recorder.insert_events(taken)
        fresh = events(uuid4(), count)
        with pytest.raises(es.IntegrityError):
            recorder.insert_events([*taken, *fresh] if place == "first" else [*fresh, *taken])
        assert head(admin) == 1
        assert written(recorder, fresh) == list(range(2, 2 + count))

    @FEW_AND_MANY
    def test_a_batch_that_contradicts_itself_is_refused(
        self, recorder: LedgerRecorder, admin: psycopg.Connection[Any], count: int
    ) -> None:
        batch = events(uuid4(), count - 1)
        with pytest.raises(es.IntegrityError):
            recorder.insert_events([*batch, batch[-1]])
        assert head(admin) == 0

    def test_a_type_that_is_not_plain_ascii_is_refused(
        self, recorder: LedgerRecorder, admin: psycopg.Connection[Any]
    ) -> None:
        for type_ in ['quo"te', "back\\slash", "ümlaut", "line\nfeed", ""]:
            for count in [1, 30]:
                batch = events(uuid4(), count)
                batch[-1] = es.StoredEvent(batch[-1].originator_id, batch[-1].originator_version, type_, b"")
                with pytest.raises(es.IntegrityError, match="events_type_printable_ascii"):
                    recorder.insert_events(batch)
        assert head(admin) == 0

    @FEW_AND_MANY
    def test_a_batch_that_cannot_be_sent_leaves_nothing_and_holds_no_lock(
        self, recorder: LedgerRecorder, admin: psycopg.Connection[Any], count: int
    ) -> None:
        fresh = events(uuid4(), count)
        for spoiling in [
            es.StoredEvent("none", 1, "A", b""),
            es.StoredEvent(uuid4(), 2**70, "A", b""),
            es.StoredEvent(uuid4(), 1, "\ud800", b""),
        ]:
            spoilt = [*fresh[:-1], spoiling]
            with pytest.raises((ValueError, struct.error, es.DataError)):
                recorder.insert_events(spoilt)
            with lock_held(recorder.datastore.url):
                assert head(admin) == 0
        assert written(recorder, fresh) == list(range(1, count + 1))

    def test_ten_megabytes_at_once_are_appended(
        self, recorder: LedgerRecorder, admin: psycopg.Connection[Any]
    ) -> None:
        for count in [12, 30]:
            batch = events(uuid4(), count, state=b"\x01" * 1_000_000)
            assert len(InThread(partial(recorder.insert_events, batch)).result()) == count
        assert head(admin) == 42


class TestRead:
    @pytest.fixture
    def three_streams(self, recorder: LedgerRecorder) -> list[es.StoredEvent]:
        """More than two pages of events: the first stream from version 0, the second of another type."""
        streams = [uuid4() for _ in range(3)]
        mixed = [
            es.StoredEvent(streams[n % 3], n // 3 + (n % 3 > 0), ["Even", "Odd", "Even"][n % 3], b"%d" % n)
            for n in range(2 * PAGE + 500)
        ]
        recorder.insert_events(mixed)
        return mixed

    def test_read_streams_a_range_of_positions_in_order(
        self, recorder: LedgerRecorder, three_streams: list[es.StoredEvent]
    ) -> None:
        head = len(three_streams)
        for after, upto in [
            *[(0, None), (0, 0), (0, 1), (1, 2), (10, 5), (head - 1, 10**12), (head, None), (10**12, None)],
            *[(0, PAGE), (0, PAGE + 1), (PAGE - 1, PAGE + 1), (7, 2 * PAGE + 7), (2 * PAGE, None)],
        ]:
            found = [(e.position, e.stream_id, e.version, e.state) for e in recorder.read(after, upto)]
            assert found == [
                (position, event.originator_id, event.originator_version, event.state)
                for position, event in enumerate(three_streams, 1)
                if position > after and (upto is None or position <= upto)
            ]

    def test_read_can_be_narrowed_to_types(
        self, recorder: LedgerRecorder, three_streams: list[es.StoredEvent]
    ) -> None:
        odd = [n for n, event in enumerate(three_streams, 1) if event.topic == "Odd"]
        assert [e.position for e in recorder.read(types=["Odd"])] == odd
        assert [e.position for e in recorder.read(5, 90, ["Odd"])] == [n for n in odd if 5 < n <= 90]
        assert [e.position for e in recorder.read(types=["Odd", "Even"])] == list(
            range(1, len(three_streams) + 1)
        )
        assert list(recorder.read(types=["Never"])) == []

    def test_read_stream_yields_one_stream_by_version(
        self, recorder: LedgerRecorder, three_streams: list[es.StoredEvent]
    ) -> None:
        for event in three_streams[:3]:
            stream = event.originator_id
            assert isinstance(stream, UUID)
            mine = [e.originator_version for e in three_streams if e.originator_id == stream]
            assert [e.version for e in recorder.read_stream(stream)] == mine
            assert {e.stream_id for e in recorder.read_stream(stream)} == {stream}
            assert [e.version for e in recorder.read_stream(stream, 3, 700)] == list(range(4, 701))
            assert [e.version for e in recorder.read_stream(stream, upto=2)] == [v for v in mine if v <= 2]
        assert list(recorder.read_stream(uuid4())) == []

    def test_a_stream_longer_than_a_page_is_read_to_its_end(self, recorder: LedgerRecorder) -> None:
        stream = uuid4()
        recorder.insert_events(events(stream, 2 * PAGE))
        assert [e.version for e in recorder.read_stream(stream)] == list(range(1, 2 * PAGE + 1))
        assert [e.version for e in recorder.read_stream(stream, PAGE)] == list(range(PAGE + 1, 2 * PAGE + 1))

    def test_an_event_carries_all_that_the_log_has(
        self, recorder: LedgerRecorder, admin: psycopg.Connection[Any]
    ) -> None:
        recorder.insert_events(events(uuid4(), 1, state=b"\x00\xff"))
        (event,) = recorder.read()
        assert (
            event.position,
            event.recorded_at,
            event.recorded_by,
            event.stream_id,
            event.version,
            event.type,
            event.state,
        ) == log(admin)[0]
        assert isinstance(event.state, bytes)
        assert event.recorded_at.utcoffset() is not None

    def test_the_reader_may_read(self, recorder: LedgerRecorder, reader_url: str) -> None:
        recorder.insert_events(events(uuid4(), 5))
        with recorder_at(reader_url) as reader:
            assert [event.position for event in reader.read()] == [1, 2, 3, 4, 5]

    def test_what_is_appended_while_reading_is_read_too(self, recorder: LedgerRecorder) -> None:
        recorder.insert_events(events(uuid4(), PAGE))
        reading = recorder.read()
        assert next(reading).position == 1
        recorder.insert_events(events(uuid4(), 3))
        assert [event.position for event in reading] == list(range(2, PAGE + 4))

    def test_reading_takes_the_same_memory_however_much_there_is(self, recorder: LedgerRecorder) -> None:
        state = b"x" * 200
        stream = uuid4()
        for start in range(0, 50_000, 10_000):
            recorder.insert_events(events(stream, 10_000, after=start, state=state))
        for reading, length in [(recorder.read(), 50_000), (recorder.read_stream(stream, 30_000), 20_000)]:
            assert next(reading).version == 50_001 - length
            tracemalloc.start()
            try:
                count = sum(1 for _ in reading)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert count == length - 1
            assert peak < 4 << 20  # a page of 1,000 such events takes 1 MiB; all of them, 40


class TestNotice:
    @FEW_AND_MANY
    def test_a_notice_goes_out_when_an_append_commits(self, url: str, admin_url: str, count: int) -> None:
        with (
            psycopg.connect(admin_url, autocommit=True) as listener,
            psycopg.connect(url, options="-c search_path=ledger") as writer,
        ):
            listener.execute("LISTEN ledger_events")
            for outcome, heard in [(writer.rollback, 0), (writer.commit, 1)]:
                writer.execute(
                    "SELECT append(array_agg(%s::uuid), array_agg(n), array_agg('Noted'::text),"
                    "              array_agg(''::bytea)) FROM generate_series(1, %s::bigint) n",
                    [uuid4(), count],
                )
                listener.execute("SELECT 1")  # a notice would come with the answer
                assert list(listener.notifies(timeout=0)) == []
                outcome()
                assert len(list(listener.notifies(timeout=10 * heard, stop_after=1))) == heard

    @FEW_AND_MANY
    def test_the_recorder_notifies(self, recorder: LedgerRecorder, admin_url: str, count: int) -> None:
        with psycopg.connect(admin_url, autocommit=True) as listener:
            listener.execute(sql.SQL("LISTEN {}").format(sql.Identifier(recorder.channel_name)))
            recorder.insert_events(events(uuid4(), count))
            (notice,) = listener.notifies(timeout=10, stop_after=1)
            assert notice.channel == "ledger_events"


class TestLock:
    @FEW_AND_MANY
    def test_a_lock_that_is_not_had_in_time_names_its_holder(
        self, url: str, admin: psycopg.Connection[Any], count: int
    ) -> None:
        with recorder_at(url, lock_timeout=0.1) as recorder:
            with lock_held(url) as pid:
                with pytest.raises(LedgerBusy) as busy:
                    recorder.append(uuid4(), 0, ingested(count))
                assert f"process {pid} (ledger_writer, nightly)" in str(busy.value)
                assert "0.1 s" in str(busy.value.expected)
                assert busy.value.remedy
            assert head(admin) == 0
            assert recorder.append(uuid4(), 0, ingested(count)) == count

    def test_a_holder_that_may_not_be_looked_at_is_named_as_far_as_is_known(
        self, url: str, admin_url: str
    ) -> None:
        with recorder_at(url, lock_timeout=0.1) as recorder, lock_held(admin_url) as pid:
            with pytest.raises(LedgerBusy, match=f"process {pid} \\(postgres") as busy:
                recorder.append(uuid4(), 0, ingested(1))
            assert "None" not in str(busy.value)

    def test_a_fold_that_waits_in_vain_does_not_blame_the_append_lock(self, url: str, admin_url: str) -> None:
        with psycopg.connect(admin_url) as other, audit_ledger.connect(url, lock_timeout=0.1) as ledger:
            other.execute("SELECT FROM ledger_read.progress FOR UPDATE")
            with pytest.raises(LedgerBusy) as busy:
                ledger.update_read_models()
            assert "append" not in str(busy.value)

    def test_a_lock_that_is_freed_in_time_is_had(self, url: str, admin: psycopg.Connection[Any]) -> None:
        with recorder_at(url) as recorder, ExitStack() as held:
            held.enter_context(lock_held(url))
            appended = [InThread(lambda: recorder.append(uuid4(), 0, ingested(30))) for _ in range(3)]
            until(lambda: len(waiting(admin)) == 3)
            assert head(admin) == 0
            held.close()
            assert sorted(each.result() for each in appended) == [30, 60, 90]

    def test_each_ledger_of_a_database_has_its_own_lock(
        self, url: str, admin: psycopg.Connection[Any], admin_url: str
    ) -> None:
        with psycopg.connect(admin_url, autocommit=True) as conn:
            migrations.init(conn, "second")
        try:
            with (
                lock_held(url),
                Datastore(admin_url, "second", load(url=admin_url, lock_timeout=5)) as database,
            ):
                assert LedgerRecorder(database).append(uuid4(), 0, ingested(30)) == 30
        finally:
            admin.execute("DROP SCHEMA second_read, second CASCADE")
            for role in ["second_owner", "second_projector", "second_writer", "second_reader"]:
                admin.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")

    @FEW_AND_MANY
    def test_appends_read_what_was_committed_whatever_the_default_of_the_database(
        self, url: str, admin: psycopg.Connection[Any], count: int
    ) -> None:
        admin.execute(
            sql.SQL("ALTER DATABASE {} SET default_transaction_isolation = 'serializable'").format(
                sql.Identifier(admin.info.dbname)
            )
        )
        with recorder_at(url) as recorder, ExitStack() as held:
            with recorder.datastore.connection() as conn:
                shown = conn.execute("SHOW transaction_isolation").fetchone()
            assert shown == {"transaction_isolation": "read committed"}
            holder = held.enter_context(psycopg.connect(url, options="-c search_path=ledger"))
            holder.execute("SELECT append(ARRAY[%s], ARRAY[1], ARRAY['Noted'], ARRAY[''::bytea])", [uuid4()])
            appended = InThread(lambda: recorder.insert_events(events(uuid4(), count)))
            until(lambda: waiting(admin))
            holder.commit()
            assert appended.result()[0] == 2
        assert head(admin) == 1 + count


class Cut:
    """A relay to the server that loses the connection when the server says what it is armed for."""

    def __init__(self, url: str) -> None:
        given = conninfo_to_dict(url)
        self._server = f"{given['host']}/.s.PGSQL.{given['port']}"
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.url = (
            f"postgresql://{given['user']}@127.0.0.1:{port}/{given['dbname']}"
            "?sslmode=disable&gssencmode=disable"
        )
        self.armed_for: bytes | None = None
        self.cuts = 0
        self._ends: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def close(self) -> None:
        """End every connection, and take none any more."""
        for end in (self._listener, *self._ends):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                self._ends.append(client)
                self._start(self._connect, client)

    def _connect(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(self._server)
            asking = threading.Thread(target=self._pass, args=(client, server))
            asking.start()
            self._pass(server, client, answers=True)
            asking.join()

    def _pass(self, source: socket.socket, target: socket.socket, *, answers: bool = False) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if answers and self.armed_for is not None and self.armed_for in data:
                    self.armed_for = None
                    self.cuts += 1
                    break
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def cut(url: str) -> Iterator[Cut]:
    relay = Cut(url)
    yield relay
    relay.close()


def terminate(admin: psycopg.Connection[Any], condition: str = "true") -> int:
    """End the sessions of the ledger's users in this database; returns how many."""
    row = admin.execute(
        "SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity"
        f" WHERE application_name = 'audit-ledger' AND datname = current_database() AND {condition}"
    ).fetchone()
    assert row is not None
    return int(row[0])


def use(recorder: LedgerRecorder, connections: int) -> None:
    """Have so many connections in the pool."""
    with ExitStack() as several:
        for _ in range(connections):
            several.enter_context(recorder.datastore.connection())


class TestLostConnection:
    @pytest.mark.parametrize(
        ("count", "answer"),
        [(1, b"SELECT 1\0"), (FEW, b"SELECT 1\0"), (600, b"COMMIT\0")],
    )
    def test_an_append_that_was_committed_unheard_counts_once(
        self, cut: Cut, admin: psycopg.Connection[Any], count: int, answer: bytes
    ) -> None:
        with recorder_at(cut.url) as recorder:
            recorder.insert_events(events(uuid4(), 2))
            cut.armed_for = answer
            assert written(recorder, events(uuid4(), count)) == list(range(3, 3 + count))
            assert cut.cuts == 1
            assert head(admin) == 2 + count

    @FEW_AND_MANY
    def test_an_append_that_was_cut_off_before_its_commit_is_made_again(
        self, url: str, admin: psycopg.Connection[Any], count: int
    ) -> None:
        with recorder_at(url) as recorder, ExitStack() as held:
            held.enter_context(lock_held(url))
            appended = InThread(lambda: recorder.insert_events(events(uuid4(), count)))
            until(lambda: waiting(admin))
            (first,) = waiting(admin)
            assert terminate(admin, f"pid = {first}") == 1
            until(lambda: waiting(admin) not in ([], [first]))
            held.close()
            assert len(appended.result()) == count
        assert head(admin) == count

    def test_an_append_that_was_cut_off_in_mid_copy_is_whole_and_there_once(
        self, url: str, admin: psycopg.Connection[Any]
    ) -> None:
        cut_off = 0
        with recorder_at(url) as recorder:
            for round_ in range(3):
                batch = events(uuid4(), 20_000)
                appended = InThread(partial(recorder.insert_events, batch))
                while appended.is_alive() and not terminate(admin, "query LIKE 'COPY%' AND state = 'active'"):
                    pass
                cut_off += appended.is_alive()
                assert len(appended.result()) == 20_000
                assert head(admin) == (round_ + 1) * 20_000
        assert cut_off

    def test_another_attempt_does_not_take_the_events_of_others_for_its_own(
        self, url: str, admin: psycopg.Connection[Any]
    ) -> None:
        stream = uuid4()
        with recorder_at(url) as recorder, ExitStack() as held:
            holder = held.enter_context(psycopg.connect(url, options="-c search_path=ledger"))
            holder.execute(
                "SELECT append(ARRAY[%s], ARRAY[1], ARRAY['Noted'], ARRAY['other'::bytea])", [stream]
            )
            appended = InThread(lambda: recorder.append(stream, 0, ingested(1)))
            until(lambda: waiting(admin))
            (first,) = waiting(admin)
            terminate(admin, f"pid = {first}")
            until(lambda: waiting(admin) not in ([], [first]))
            holder.commit()
            with pytest.raises(VersionConflict):
                appended.result()
        assert head(admin) == 1

    @FEW_AND_MANY
    def test_a_second_attempt_recognises_its_whole_batch(
        self, recorder: LedgerRecorder, admin: psycopg.Connection[Any], count: int
    ) -> None:
        stream, batch = uuid4(), ingested(count)
        recorder.append(uuid4(), 0, ingested(2))
        assert recorder.append(stream, 0, batch) == 2 + count
        recorder.append(stream, count, ingested(2))
        assert recorder.append(stream, 0, batch, again=True) == 2 + count
        assert head(admin) == 4 + count
        with pytest.raises(VersionConflict):
            recorder.append(stream, 0, batch)

    @FEW_AND_MANY
    def test_a_second_attempt_appends_what_is_not_there(
        self, recorder: LedgerRecorder, admin: psycopg.Connection[Any], count: int
    ) -> None:
        assert recorder.append(uuid4(), 0, ingested(count), again=True) == count
        assert head(admin) == count

    @FEW_AND_MANY
    def test_a_second_attempt_with_other_bytes_is_refused(
        self, recorder: LedgerRecorder, admin: psycopg.Connection[Any], count: int
    ) -> None:
        stream, batch = uuid4(), ingested(count)
        recorder.append(stream, 0, batch)
        changed = [*batch[:-1], batch[-1].model_copy(update={"record_id": "other"})]
        longer = [*batch, *ingested(1)]
        for other in (changed, longer):
            with pytest.raises(VersionConflict):
                recorder.append(stream, 0, other, again=True)
        assert head(admin) == count

    def test_a_second_attempt_with_another_type_is_refused(self, recorder: LedgerRecorder) -> None:
        (event,) = events(uuid4(), 1)
        recorder.insert_events([event])
        other = es.StoredEvent(event.originator_id, event.originator_version, "Other", event.state)
        with pytest.raises(es.IntegrityError):
            recorder.insert_events([other], again=True)

    @FEW_AND_MANY
    def test_appending_goes_on_after_every_connection_was_ended(
        self, url: str, admin: psycopg.Connection[Any], count: int
    ) -> None:
        with recorder_at(url) as recorder:
            for round_ in range(1, 4):
                use(recorder, 2)
                assert terminate(admin) >= 2
                assert len(written(recorder, events(uuid4(), count))) == count
                assert head(admin) == count * round_

    def test_reading_goes_on_after_every_connection_was_ended(
        self, url: str, admin: psycopg.Connection[Any]
    ) -> None:
        with recorder_at(url) as recorder:
            recorder.insert_events(events(uuid4(), 2 * PAGE))
            use(recorder, 2)
            reading = recorder.read()
            assert next(reading).position == 1
            assert terminate(admin) == 2
            assert [event.position for event in reading] == list(range(2, 2 * PAGE + 1))

    def test_as_many_connections_as_there_can_be_may_end_at_once(
        self, url: str, admin: psycopg.Connection[Any]
    ) -> None:
        with recorder_at(url, retry_for=2) as recorder:
            use(recorder, recorder.datastore.pool.max_size)
            assert terminate(admin) == recorder.datastore.pool.max_size
            assert written(recorder, events(uuid4(), 1)) == [1]

    def test_a_refusal_is_not_tried_again(self, url: str, admin: psycopg.Connection[Any]) -> None:
        stream = uuid4()
        with recorder_at(url, retry_for=3600) as recorder:
            recorder.append(stream, 0, ingested(1))
            with pytest.raises(AppendRefused):
                InThread(lambda: recorder.append(stream, 0, ingested(1))).result()

    def test_a_database_that_stays_away_is_said_to_be_unreachable(self, cut: Cut) -> None:
        with recorder_at(cut.url, retry_for=0.2, connect_timeout=0.5) as recorder:
            recorder.append(uuid4(), 0, ingested(1))
            cut.close()
            with pytest.raises(Unreachable, match=r"127\.0\.0\.1:\d+/test_\d+"):
                recorder.append(uuid4(), 0, ingested(1))
