"""Anchors in real folders and at a real timestamping authority, real attacks, and what refuses them."""

import base64
import contextlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

import audit_ledger
from audit_ledger.errors import (
    AnchorFailed,
    ConfigurationError,
    EvidenceInvalid,
    NotSealed,
    RecordingError,
    WritesRefused,
    WrongRole,
)
from audit_ledger.evidence import (
    anchoring,
    anchors,
    checkpoint,
    folders,
    keyring,
    merkle,
    proving,
    report,
    stamping,
    timestamps,
)
from audit_ledger.evidence.checkpoint import Checkpoint
from audit_ledger.evidence.keys import Signer
from audit_ledger.plan import load_anchors
from tests.authority import TestAuthority, serving
from tests.places import SEED, Place
from tests.store import InThread, recorder_at

Admin = psycopg.Connection[Any]

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl, which is not here")


@pytest.fixture
def older(place: Place) -> Iterator[str]:
    """A copy of the ledger from when it had 300 events, sealed; the ledger itself has 700 since, anchored."""
    place.anchored(300)
    copies = place.copy(f"older_{uuid4().hex}")
    yield next(copies)
    next(copies, None)


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[TestAuthority]:
    with serving(TestAuthority(tmp_path / "tsa")) as running:
        yield running


def forced(conn: Admin, *statements: str) -> None:
    """What a superuser does who switches the triggers off."""
    tables = ("events", "head", "tiles", "checkpoints", "origins", "refusals", "anchors")
    with conn.transaction():
        for table in tables:
            conn.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        for statement in statements:
            conn.execute(statement)
        for table in tables:
            conn.execute(f"ALTER TABLE {table} ENABLE TRIGGER ALL")


def refused(place: Place, database: str | None = None) -> WritesRefused:
    """The error that whoever appends gets, with and without [anchors] in sight."""
    with (
        place.connect(database=database) as ledger,
        pytest.raises(WritesRefused) as error,
        ledger.run("t", "s"),
    ):
        pass
    with pytest.raises(WritesRefused), recorder_at(place.url("ledger_writer", database)) as recorder:
        from audit_ledger.events import HeartbeatRecorded

        recorder.append(uuid4(), 0, [HeartbeatRecorded(occurred_at=datetime.now(UTC))])
    return error.value


# Anchoring


def test_the_exact_checkpoint_is_written_to_each_folder_once(place: Place, tmp_path: Path) -> None:
    place.configure(folders=(place.folder, tmp_path))
    with place.connect("ledger_sealer") as ledger, pytest.raises(NotSealed):
        ledger.anchor()
    done = place.anchored(3)
    assert (done.size, done.failures) == (3, ())
    assert done.new == (("folder", str(place.folder)), ("folder", str(tmp_path)))
    with place.superuser() as admin:
        row = admin.execute("SELECT note FROM checkpoints").fetchone()
    assert row is not None
    for folder in (place.folder, tmp_path):
        assert folders.checkpoint_file(folder, place.signer.name, 3).read_bytes() == row[0]
        assert [file.name for file in (folder / place.signer.name).iterdir()] == ["3.checkpoint"]
    stated = checkpoint.verify(row[0], origin=place.signer.name, keys=[place.signer.verifier]).checkpoint
    assert stated.size == 3
    again = place.anchor()
    assert (again.new, again.failures) == ((), ())


@pytest.mark.parametrize("lacks", ["nothing", "nameless files", "links"])
def test_a_file_is_written_as_a_whole_on_every_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacks: str
) -> None:
    if lacks != "nothing":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    if lacks == "links":

        def link(*args: object, **options: object) -> None:
            raise PermissionError("Operation not permitted")

        monkeypatch.setattr(os, "link", link)
    file = folders.checkpoint_file(tmp_path, "origin", 7)
    assert folders.put(tmp_path, file, b"a note")
    assert not folders.put(tmp_path, file, b"a note")
    with pytest.raises(EvidenceInvalid, match="other bytes"):
        folders.put(tmp_path, file, b"another")
    assert [(one.name, one.read_bytes()) for one in file.parent.iterdir()] == [("7.checkpoint", b"a note")]
    other = file.with_name("8.checkpoint")
    threads = [InThread(partial(folders.put, tmp_path, other, data)) for data in (b"a", b"b", b"a", b"b")]
    for thread in threads:
        with contextlib.suppress(EvidenceInvalid):
            thread.result()
    assert len(list(file.parent.iterdir())) == 2
    assert folders.sizes(tmp_path, "origin") == [8, 7]


def test_a_checkpoint_that_was_taken_out_of_a_folder_is_put_back(place: Place) -> None:
    place.anchored(3)
    place.file(3).unlink()
    assert place.anchor().failures == ()
    assert place.file(3).exists()


def test_a_file_with_other_bytes_is_an_alarm_and_stays(place: Place) -> None:
    place.append(3)
    place.seal()
    place.file(3).parent.mkdir()
    place.file(3).write_bytes(b"something else")
    done = place.anchor()
    ((_, _, error),) = done.failures
    assert isinstance(error, EvidenceInvalid)
    assert "is there with other bytes" in str(error)
    assert place.file(3).read_bytes() == b"something else"
    assert done.anchor is None


def test_a_folder_that_is_away_is_told_and_the_others_get_it(place: Place, tmp_path: Path) -> None:
    away = tmp_path / "unmounted"
    place.configure(folders=(away, place.folder))
    done = place.anchored(3)
    ((kind, name, error),) = done.failures
    assert (kind, name) == ("folder", str(away))
    assert "cannot be written to" in str(error)
    assert not away.exists()
    assert place.file(3).exists()
    away.mkdir()
    assert place.anchor().new == (("folder", str(away)),)


def test_a_folder_where_nothing_may_be_written_is_told(place: Place, tmp_path: Path) -> None:
    (tmp_path / "closed").write_text("a file in place of the folder")
    closed = tmp_path / "closed" / "folder"
    place.configure(folders=(closed,))
    ((_, _, error),) = place.anchored(3).failures
    assert isinstance(error, AnchorFailed)
    if os.geteuid() != 0:  # whom permissions do not stop
        place.folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
        place.configure()
        ((_, _, error),) = place.anchor().failures
        assert "cannot be written to" in str(error)


def test_a_writer_may_not_anchor(place: Place) -> None:
    place.append(3)
    place.seal()
    with place.connect() as ledger, pytest.raises(WrongRole, match="add_anchor"):
        ledger.anchor()


def test_without_a_place_anchoring_says_so(place: Place) -> None:
    place.config.write_text("")
    place.append(3)
    place.seal()
    with place.connect("ledger_sealer") as ledger, pytest.raises(ConfigurationError, match="no place"):
        ledger.anchor()


def test_two_that_anchor_at_once_leave_one_anchor(place: Place, authority: TestAuthority) -> None:
    place.configure(authority)
    place.append(3)
    place.seal()
    threads = [InThread(place.anchor) for _ in range(4)]
    assert [thread.result().failures for thread in threads] == [()] * 4
    with place.connect("ledger_reader") as ledger:
        (found,) = ledger.anchors()
    assert (len(found.folders), len(found.timestamps)) == (1, 1)
    assert place.file(3).exists()
    assert "OK" in authority.verify(place.file(3), place.file(3, "tsa1.tsr"))


def test_the_nearest_anchors_around_a_position_are_found(place: Place, authority: TestAuthority) -> None:
    place.configure(authority)
    for _ in range(3):
        place.anchored(10)
    with place.connect("ledger_reader") as ledger:
        database = ledger.database
        assert [one.size for one in anchors.around(database, 5)] == [10]
        assert [one.size for one in anchors.around(database, 10)] == [10]
        assert [one.size for one in anchors.around(database, 10, 11)] == [10, 20]
        assert [one.size for one in anchors.around(database, 15)] == [10, 20]
        assert [one.size for one in anchors.around(database, 31)] == [30]
        (found,) = anchors.around(database, 20)
        assert found.note == place.file(20).read_bytes()
        assert found.timestamps[0].response == place.file(20, "tsa1.tsr").read_bytes()
        assert anchors.certificates(load_anchors(), [found]) == {"tsa1": authority.certificate.read_bytes()}


def test_it_is_time_to_anchor_by_age_by_events_and_after_a_failure(place: Place, tmp_path: Path) -> None:
    def due() -> int | None:
        with place.connect("ledger_reader") as ledger:
            return anchoring.due(ledger.database, load_anchors())

    place.configure(more='every = "1h"\nevery_events = 5')
    assert due() is None
    place.append(1)
    place.seal()
    assert due() == 1
    place.anchor()
    assert due() is None
    place.append(4)
    place.seal()
    assert due() is None
    place.append(1)
    place.seal()
    assert due() == 6
    place.configure(more='every = "0s"')
    assert due() == 6
    place.configure(folders=(place.folder, tmp_path / "away"))
    assert due() == 1  # where it is not everywhere yet
    place.config.write_text("")
    assert due() is None


def test_status_shows_what_is_not_anchored(place: Place) -> None:
    place.append(3)
    place.seal()
    with place.connect() as ledger:
        before = ledger.status()
    assert (before.anchored, before.anchored_at, before.unanchored) == (0, None, 3)
    assert before.unanchored_since == before.first_recorded_at
    place.anchor()
    place.append(2)
    with place.connect() as ledger:
        after = ledger.status()
        (fourth,) = ledger.database.query("SELECT recorded_at FROM events WHERE position = 4")
    assert (after.anchored, after.unanchored, after.anchored_by) == (3, 2, [str(place.folder)])
    assert after.unanchored_since == fourth["recorded_at"]
    assert after.anchored_at is not None


# Timestamps


@needs_openssl
class TestTimestamps:
    def test_timestamps_are_verified_with_the_ledger(
        self, place: Place, authority: TestAuthority, tmp_path: Path
    ) -> None:
        place.configure(authority)
        anchor = place.anchored(5).anchor
        assert anchor is not None
        stated_at = anchor.timestamps[0].time
        with place.connect("ledger_sealer") as ledger:
            found = ledger.verify_live(points=0).log
            assert (found.same, found.timestamps, found.untrusted) == (True, 1, 0), found.faults
            place.configure()  # nobody knows the authority any more
            found = ledger.verify_live(points=0).log
            assert (found.same, found.timestamps, found.untrusted) == (True, 0, 1), found.faults
            with serving(TestAuthority(tmp_path / "other")) as other:
                place.configure(other)  # under the same name
                found = ledger.verify_live(points=0).log
            assert [(fault.part, fault.position) for fault in found.faults] == [("anchor", 5)]
            # An authority has a new root, and its earlier one stays in the file.
            roots = other.certificate.read_text() + authority.certificate.read_text()
            authority.certificate.write_text(roots)
            place.configure(authority)
            found = ledger.verify_live(points=0).log
            assert (found.same, found.timestamps, found.untrusted) == (True, 1, 0), found.faults
            with place.superuser() as admin:
                forced(admin, "UPDATE anchors SET stated_at = 'infinity'")
                found = ledger.verify_live(points=0).log
                assert [(fault.part, fault.position) for fault in found.faults] == [("anchor", 5)]
                forced(admin, f"UPDATE anchors SET stated_at = '{stated_at.isoformat()}'")
            (authority.folder / "root.pem").unlink()
            found = ledger.verify_live(points=0).log
            assert (found.same, found.timestamps, found.untrusted) == (True, 0, 1), found.faults

    def test_a_timestamp_is_verified_kept_and_written_beside_the_checkpoint(
        self, place: Place, authority: TestAuthority
    ) -> None:
        place.configure(authority)
        before = datetime.now(UTC).replace(microsecond=0)
        done = place.anchored(3)
        assert (done.failures, done.new[1]) == ((), ("timestamp", "tsa1"))
        assert done.anchor is not None
        (stamp,) = done.anchor.timestamps
        assert before <= stamp.time <= datetime.now(UTC) + timedelta(seconds=1)
        file = place.file(3, "tsa1.tsr")
        assert file.read_bytes() == stamp.response
        assert "Verification: OK" in authority.verify(place.file(3), file)
        asked = authority.asked
        assert place.anchor().new == ()
        assert authority.asked == asked

    @pytest.mark.parametrize(
        "answer",
        [
            lambda tsa, _: b"<html>moved</html>",
            lambda tsa, _: b"",
            lambda tsa, request: tsa.respond(request)[:-20],
            lambda tsa, _: tsa.timestamp(b"other bytes"),
            lambda tsa, _: tsa.timestamp(b"other bytes", "-no_nonce"),
            lambda tsa, request: tsa.respond(b"no request"),
            lambda tsa, _: b"\0" * (2 << 20),
        ],
        ids=["html", "nothing", "cut short", "other bytes", "no nonce", "refused", "too much"],
    )
    def test_an_answer_that_does_not_hold_is_not_kept(
        self, place: Place, authority: TestAuthority, answer: Callable[[TestAuthority, bytes], bytes]
    ) -> None:
        place.configure(authority)
        authority.answer = lambda request: answer(authority, request)
        done = place.anchored(3)
        ((kind, name, error),) = done.failures
        assert (kind, name, isinstance(error, AnchorFailed)) == ("timestamp", "tsa1", True)
        assert error.remedy
        assert place.file(3).exists()
        assert not place.file(3, "tsa1.tsr").exists()
        assert done.anchor is not None
        assert done.anchor.timestamps == ()
        authority.answer = authority.respond
        assert place.anchor().new == (("timestamp", "tsa1"),)

    def test_a_replayed_answer_is_not_kept(self, place: Place, authority: TestAuthority) -> None:
        place.configure(authority)
        done = place.anchored(3)
        assert done.anchor is not None
        old = done.anchor.timestamps[0].response
        authority.answer = lambda _: old
        ((_, _, error),) = place.anchored(3).failures
        assert "Nonce mismatch" in str(error)

    def test_the_same_bytes_stamped_for_another_request_are_not_kept(
        self, place: Place, authority: TestAuthority
    ) -> None:
        place.configure(authority)
        place.append(3)
        place.seal()
        with place.superuser() as admin:
            row = admin.execute("SELECT note FROM checkpoints").fetchone()
        assert row is not None
        authority.answer = lambda _: authority.timestamp(row[0])
        ((_, _, error),) = place.anchor().failures
        assert "Nonce mismatch" in str(error)

    def test_an_expired_certificate_is_not_believed(self, place: Place, authority: TestAuthority) -> None:
        place.configure(authority)
        authority.certify(-1)
        ((_, _, error),) = place.anchored(3).failures
        assert "certificate" in str(error)

    def test_a_foreign_authority_is_not_believed(
        self, place: Place, authority: TestAuthority, tmp_path: Path
    ) -> None:
        place.configure(authority)
        with serving(TestAuthority(tmp_path / "foreign", "Foreign")) as foreign:
            authority.answer = foreign.respond
            ((_, _, error),) = place.anchored(3).failures
        assert "certificate" in str(error)

    def test_an_authority_that_is_down_is_tried_again_and_two_are_better_than_one(
        self, place: Place, authority: TestAuthority, tmp_path: Path
    ) -> None:
        with serving(TestAuthority(tmp_path / "second")) as second:
            place.configure(authority, second)
            authority.status = 503
            done = place.anchored(3)
        assert [failed[:2] for failed in done.failures] == [("timestamp", "tsa1")]
        assert ("timestamp", "tsa2") in done.new
        assert authority.asked == stamping.ATTEMPTS
        authority.status = 200
        assert place.anchor().new == (("timestamp", "tsa1"),)

    def test_nobody_there_is_told(self, place: Place, authority: TestAuthority) -> None:
        authority.url = "http://127.0.0.1:9/tsr"
        place.configure(authority)
        ((_, _, error),) = place.anchored(3).failures
        assert "127.0.0.1" in str(error)

    def test_certificates_that_cannot_be_used_are_told(self, place: Place, authority: TestAuthority) -> None:
        place.configure(authority)
        place.append(3)
        place.seal()
        for content in ("", "no certificate", (authority.folder / "tsa.pem").read_text()):
            authority.certificate.write_text(content)
            ((_, _, error),) = place.anchor().failures
            assert "root" in str(error)
        assert authority.asked == 0

    def test_a_policy_that_was_asked_for_must_be_that_of_the_timestamp(
        self, place: Place, authority: TestAuthority
    ) -> None:
        place.configure(authority)
        with place.config.open("a") as config:
            config.write('policy = "1.2.3.4.5"\n')
        ((_, _, error),) = place.anchored(3).failures
        assert "Policy" in str(error)

    def test_any_flipped_byte_leaves_the_time_as_it_was_or_is_found(
        self, place: Place, authority: TestAuthority
    ) -> None:
        place.configure(authority)
        done = place.anchored(3)
        assert done.anchor is not None
        (stamp,) = done.anchor.timestamps
        (tsa,) = load_anchors().timestamps
        found = 0
        for place_of_flip in range(len(stamp.response)):
            forged = bytearray(stamp.response)
            forged[place_of_flip] ^= 1
            try:
                assert timestamps.verify(tsa, bytes(forged), done.anchor.note) == stamp.time
            except AnchorFailed:
                found += 1
        assert found > 0.9 * len(stamp.response)  # the rest is not signed, and says nothing


# Refusing


def test_an_older_copy_refuses_events_and_answers_questions(
    place: Place, older: str, capfd: pytest.CaptureFixture[str]
) -> None:
    place.anchored(400)
    error = refused(place, older)
    assert "does not continue its checkpoint of size 700" in error.what
    assert error.actual is not None
    assert "the ledger has 300 events" in error.actual
    assert "recover" in (error.remedy or "")
    assert "the ledger refuses events" in capfd.readouterr().err
    with place.connect(database=older) as ledger:
        assert ledger.status().position == 300
        assert ledger.status().refused is not None
        assert ledger.runs.all() == []
        assert len(list(ledger.events())) == 300
    assert place.seal() is None  # the right one goes on
    place.append(1)


def test_an_older_copy_neither_seals_nor_anchors(place: Place, older: str) -> None:
    place.anchored(400)
    place.append(1, older)  # nobody had looked yet
    with pytest.raises(WritesRefused):
        place.seal(older)
    place.config.write_text("")
    with pytest.raises(WritesRefused):  # the database says it itself
        place.seal(older)


def test_an_older_copy_that_grew_past_the_checkpoint_is_found_by_its_root(place: Place, older: str) -> None:
    place.anchored(400)
    place.append(500, older)  # without looking
    error = refused(place, older)
    assert error.actual is not None
    assert "found the root" in error.actual


def test_a_tail_that_was_cut_off_is_found(place: Place) -> None:
    place.anchored(300)
    place.append(50)
    with place.superuser() as admin:
        forced(
            admin,
            "DELETE FROM events WHERE position > 290",
            "UPDATE head SET position = 290, recorded_at = e.recorded_at"
            "  FROM events e WHERE e.position = 290",
        )
    assert "the ledger has 290 events" in str(refused(place))


def test_a_tail_that_was_cut_off_behind_the_heads_back_is_found(place: Place) -> None:
    place.anchored(300)
    with place.superuser() as admin:
        forced(admin, "DELETE FROM events WHERE position > 290")
    assert "the event at position 300 is gone" in str(refused(place))


def test_a_ledger_says_up_to_where_it_continues_what_is_kept_elsewhere(place: Place) -> None:
    for count in (20, 40, 60, 80, 100):
        place.anchored(count)
    (place.folder / place.signer.name / "150.checkpoint").write_text("what not")
    with place.connect() as ledger:
        found = ledger.verify_live(points=0)
        assert found.same
        assert found.outside is not None
        assert found.outside.highest is not None
        lines = report.lines(found)
        assert f"✅ it continues its checkpoint of size 300 that is kept in {place.file(300)}" in lines
    with place.superuser() as admin:
        # Another history from position 130 on, sealed by the real key: within, all is well again.
        forced(
            admin,
            "UPDATE events SET state = '{\"forged\":1}' WHERE position >= 130",
            "DELETE FROM anchors",
            "DELETE FROM tiles",
            "DELETE FROM checkpoints",
        )
    place.config.write_text("")
    assert place.seal() is not None
    with place.connect("ledger_reader") as reader:
        assert reader.verify_live(points=0).log.same
        place.configure()
        found = reader.verify_live(points=0)
    assert (found.same, found.log.same, found.wrong, found.read_models.same) == (False, True, 1, True)
    (line,) = [line for line in report.lines(found) if line.startswith("❌")]
    assert "does not continue its checkpoint of size 300" in line
    assert line.endswith("it continues that of size 120: something from position 121 to 300 is not as it was")
    assert "it continues that of size 120" in str(refused(place))


def test_where_no_checkpoint_that_is_kept_is_continued_that_is_said(place: Place) -> None:
    place.anchored(20)
    place.anchored(30)
    with place.superuser() as admin:
        forced(
            admin,
            "UPDATE events SET state = '{\"forged\":1}' WHERE position = 7",
            "DELETE FROM tiles",
            "DELETE FROM checkpoints",
        )
    assert "something up to position 50 is not as it was" in str(refused(place))


def test_a_history_that_was_rewritten_and_sealed_again_is_found(place: Place) -> None:
    place.anchored(300)
    place.append(50)
    place.seal()
    with place.superuser() as admin:
        forced(
            admin,
            "UPDATE events SET state = '{\"forged\":1}' WHERE position = 77",
            "DELETE FROM tiles",
            "DELETE FROM checkpoints",
        )
        place.config.write_text("")
        assert place.seal() is not None  # by the real key: within, all is well again
        row = admin.execute("SELECT size FROM checkpoints").fetchone()
        assert row == (350,)
    place.configure()
    error = refused(place)
    assert "checkpoint of size 300" in error.what


def test_what_is_not_anchored_can_be_rewritten_and_that_is_the_exposure(place: Place) -> None:
    place.anchored(300)
    place.append(50)
    place.seal()
    with place.superuser() as admin:
        forced(
            admin,
            "UPDATE events SET state = '{\"forged\":1}' WHERE position = 340",
            "DELETE FROM tiles",
            "DELETE FROM checkpoints WHERE size > 300",
            "DELETE FROM checkpoints",
        )
    place.config.write_text("")
    assert place.seal() is not None
    place.configure()
    with place.connect() as ledger:
        assert ledger.look_outside().wrong is None


def test_a_new_origin_does_not_hide_a_history(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    place.anchored(300)
    with place.superuser() as admin:
        forced(admin, "UPDATE origins SET id = gen_random_uuid()")
    with place.connect() as ledger:
        (trouble,) = ledger.look_outside().troubles
    assert "cannot be checked" in trouble.what
    assert "cannot be checked" in capfd.readouterr().err


def test_a_ledger_whose_tiles_are_gone_is_compared_by_its_events(place: Place) -> None:
    place.anchored(300)
    with place.superuser() as admin:
        forced(admin, "DELETE FROM tiles", "DELETE FROM checkpoints")
    with place.connect() as ledger:
        assert ledger.look_outside().wrong is None
    with place.superuser() as admin:
        forced(admin, "UPDATE events SET type = 'Other' WHERE position = 300")
    with place.connect() as ledger:
        assert ledger.look_outside().wrong is not None


def test_two_notes_of_one_size_convict_the_ledger(place: Place, tmp_path: Path) -> None:
    place.anchored(3)
    other = Checkpoint(place.signer.name, 3, merkle.EMPTY_ROOT).sign(place.signer)
    file = tmp_path / "shown-to-another.checkpoint"
    file.write_bytes(other)
    with place.connect() as ledger:
        looked = ledger.look_outside([file])
    assert looked.wrong is not None
    assert looked.wrong.by.place == file
    refused(place)


MALFORMED: dict[str, Callable[[Place], bytes]] = {
    "nothing": lambda place: b"",
    "text": lambda place: b"a text\n",
    "bytes": lambda place: bytes(range(256)),
    "too long": lambda place: b"x" * (1 << 17),
    "unsigned": lambda place: Checkpoint(place.signer.name, 999, bytes(32)).text.encode(),
    "by another key": lambda place: Checkpoint(place.signer.name, 999, bytes(32)).sign(
        Signer(place.signer.name, bytes(32))
    ),
    "another origin": lambda place: Checkpoint("other", 999, bytes(32)).sign(Signer("other", SEED)),
    "signature of another text": lambda place: (
        Checkpoint(place.signer.name, 998, bytes(32)).sign(place.signer).replace(b"\n998\n", b"\n999\n")
    ),
    "of another size": lambda place: Checkpoint(place.signer.name, 2000, bytes(32)).sign(place.signer),
    "cut short": lambda place: Checkpoint(place.signer.name, 999, bytes(32)).sign(place.signer)[:-9],
    "empty tree": lambda place: Checkpoint(place.signer.name, 0, merkle.EMPTY_ROOT).sign(place.signer),
    "odd base64": lambda place: (
        Checkpoint(place.signer.name, 999, bytes(32))
        .sign(place.signer)
        .replace(base64.b64encode(bytes(32)), base64.b64encode(bytes(31)))
    ),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_what_is_no_checkpoint_of_the_ledger_is_told_and_refuses_nothing(place: Place, kind: str) -> None:
    place.anchored(3)
    place.file(999).write_bytes(MALFORMED[kind](place))
    with place.connect() as ledger:
        looked = ledger.look_outside()
        (trouble,) = looked.troubles
        assert str(place.file(999)) in str(trouble)
        assert trouble.remedy
        assert looked.wrong is None
        assert looked.highest is not None  # the one below counts
        assert looked.highest.stated.size == 3
        with ledger.run("t", "s"):
            pass


def test_of_many_files_that_are_no_checkpoints_the_first_are_told(place: Place) -> None:
    place.anchored(3)
    for size in range(100, 120):
        place.file(size).write_bytes(b"what not")
    with place.connect() as ledger:
        looked = ledger.look_outside()
    assert looked.highest is not None
    assert ["119.checkpoint" in str(trouble) for trouble in looked.troubles] == [True, False, False, False]
    assert (len(looked.troubles), looked.troubles[3].what.startswith("17 more files in ")) == (4, True)


def test_other_files_in_a_folder_do_not_matter(place: Place) -> None:
    place.anchored(3)
    for name in (
        "notes.txt",
        "0.checkpoint",
        "007.checkpoint",
        "x.checkpoint",
        ".5.checkpoint.tmp",
        "٣.checkpoint",
    ):
        (place.file(3).parent / name).write_text("what not")
    with place.connect() as ledger:
        assert ledger.look_outside().troubles == ()


def test_a_folder_that_cannot_be_read_is_told_and_a_run_goes_on(
    place: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    place.anchored(3)
    place.folder.rename(place.home / "moved")
    with place.connect() as ledger, ledger.run("t", "s"):
        pass
    assert "cannot be read" in capfd.readouterr().err


def test_a_folder_that_was_emptied_is_told(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    place.anchored(3)
    place.file(3).unlink()
    with place.connect() as ledger, ledger.run("t", "s"):
        pass
    assert "has lost checkpoints" in capfd.readouterr().err


@pytest.mark.parametrize("content", ["[anchors", "[anchors]\nfolder = []\n", '[anchors]\nfolders = ["x"]\n'])
def test_a_wrong_ledger_toml_does_not_break_a_script(
    place: Place, content: str, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = audit_ledger.connect(place.url("ledger_writer"), home=place.home).settings
    del settings
    place.config.write_text(content)
    if content == "[anchors":
        with pytest.raises(ConfigurationError):  # as with every setting
            place.connect()
        return
    with place.connect() as ledger, ledger.run("t", "s"):
        pass
    assert "could not be compared" in capfd.readouterr().err


def test_a_run_of_a_refusing_ledger_is_spooled_where_that_is_chosen(place: Place, older: str) -> None:
    place.anchored(400)
    with place.connect(database=older, when_away="spool", retry_for=0) as ledger:
        with ledger.run("t", "s") as run:
            run.ingest("X", 1, {"a": 1})
        assert ledger.spool.status().events == 3
    with place.connect("ledger_officer", older) as officer:
        done = officer.recover(reason="restored", by="Ann")
        place.new_key(str(done.origin))
    with place.connect(database=older, when_away="spool") as ledger:
        assert ledger.forward().events == 3
        assert [run.task_name for run in ledger.runs] == ["t"]


def test_a_run_that_is_under_way_when_the_ledger_begins_to_refuse_is_spooled(
    place: Place, tmp_path: Path
) -> None:
    place.anchored(3)
    with pytest.raises(RecordingError), place.connect() as ledger, ledger.run("t", "s") as run:
        run.ingest("X", 1, {"a": 1})
        forged = tmp_path / "forged.checkpoint"
        forged.write_bytes(Checkpoint(place.signer.name, 3, merkle.EMPTY_ROOT).sign(place.signer))
        with place.connect() as other:
            assert other.look_outside([forged]).wrong is not None
    with place.connect() as ledger:
        assert ledger.spool.status().events > 0


# Recovering


def test_recovering_opens_an_origin_that_says_what_was_lost(place: Place, older: str) -> None:
    place.anchored(400)
    refused(place, older)
    highest = place.file(700).read_bytes()
    with place.connect("ledger_officer", older) as officer:
        done = officer.recover(reason="the disk is lost", by="Ann")
        assert done.lost == (301, 700)
        assert str(done.previous_origin) == place.signer.name
        (event,) = officer.events(after=300)
    from hashlib import sha256

    from audit_ledger.events import LedgerRecovered, decode

    told = decode(event.type, event.state)
    assert isinstance(told, LedgerRecovered)
    assert (event.position, event.stream_id) == (301, done.origin)
    assert (told.checkpoint_size, told.lost_from, told.lost_upto) == (700, 301, 700)
    assert told.checkpoint_digest == sha256(highest).hexdigest()
    assert told.previous_origin == done.previous_origin
    with place.connect(database=older) as ledger:
        assert ledger.ledger_id == done.origin
        assert ledger.status().refused is None
        with ledger.run("t", "s"):
            pass


def test_the_old_key_does_not_seal_the_new_origin_and_a_new_one_seals_all_of_it(
    place: Place, older: str
) -> None:
    place.anchored(400)
    refused(place, older)
    with place.connect("ledger_officer", older) as officer:
        done = officer.recover(reason="the disk is lost", by="Ann")
    with pytest.raises(ConfigurationError, match="no key"):
        place.seal(older)
    signer = place.new_key(str(done.origin))
    sealed = place.seal(older)
    assert sealed is not None
    assert (sealed.origin, sealed.size) == (signer.name, 301)
    assert place.anchor(older).failures == ()
    with place.connect(database=older) as ledger:
        proof = ledger.prove_event(7)
        proving.verify_event(proof.file, [signer.verifier], origin=signer.name)
        looked = ledger.look_outside()
        assert (looked.wrong, looked.troubles) == (None, ())
        found = ledger.verify_live()
        assert (found.same, found.log.checkpoints, found.log.closed) == (True, 1, 1), found.log.faults
    with place.superuser(older) as admin:
        kept = admin.execute("SELECT origin::text, size, note FROM closed_checkpoints").fetchall()
        hashes = [row[0] for row in admin.execute("SELECT hash FROM leaf_hashes ORDER BY position")]
        assert admin.execute("SELECT count(*) FROM closed_tiles").fetchone() == (3,)
    ((origin, size, note),) = kept
    assert (origin, size) == (place.signer.name, 300)
    stated = checkpoint.verify(note, origin=origin, keys=[place.signer.verifier]).checkpoint
    assert stated.root == merkle.root(hashes[:300])  # proofs that were given away still hold


def test_a_clone_is_given_an_origin_of_its_own(place: Place, older: str) -> None:
    with place.connect("ledger_officer", older) as officer:
        done = officer.recover(reason="for tests", by="Ann", clone=True)
        assert (done.lost, done.checkpoint_size) == (None, 300)
    place.append(1)
    assert place.seal() is not None
    with pytest.raises(ConfigurationError):
        place.seal(older)
    signer = place.new_key(str(done.origin))
    assert place.seal(older) is not None
    assert signer.name != place.signer.name


def test_a_refusal_for_no_reason_is_told_by_name_and_recovered_from(place: Place) -> None:
    place.anchored(3)
    with psycopg.connect(place.url("ledger_writer"), autocommit=True) as conn:
        lie = "SELECT ledger.refuse_appends(%s::uuid, 99, %s, 'what', 'ever')"
        assert conn.execute(lie, [place.signer.name, b"no note"]).fetchone() == (True,)
        assert conn.execute(lie, [place.signer.name, b"no note"]).fetchone() == (False,)
    refused(place)
    with place.superuser() as admin:
        assert admin.execute("SELECT refused_by, size FROM refusals").fetchall() == [("ledger_writer", 99)]
    with place.connect("ledger_officer") as officer:
        done = officer.recover(reason="somebody lied", by="Ann")
    assert (done.checkpoint_size, done.lost) == (3, None)
    with place.connect() as ledger:
        assert ledger.verify_live().same


def test_recovering_takes_an_officer(place: Place, older: str) -> None:
    place.anchored(400)
    with place.connect(database=older) as ledger, pytest.raises(WrongRole):
        ledger.recover(reason="r", by="b")
    from audit_ledger.events import LedgerRecovered

    forged = LedgerRecovered(by="Eve", occurred_at=datetime.now(UTC), previous_origin=uuid4(), reason="none")
    with recorder_at(place.url("ledger_writer", older)) as recorder, pytest.raises(WrongRole):
        recorder.append(uuid4(), 0, [forged])


def test_an_officer_cannot_append_anything_beside_a_recovery(place: Place, officer_url: str) -> None:
    from audit_ledger.errors import AppendRefused
    from audit_ledger.events import HeartbeatRecorded, LedgerRecovered

    event = LedgerRecovered(by="Ann", occurred_at=datetime.now(UTC), previous_origin=uuid4(), reason="r")
    with recorder_at(officer_url) as recorder, pytest.raises(AppendRefused, match="by itself"):
        recorder.append(uuid4(), 0, [event, HeartbeatRecorded(occurred_at=datetime.now(UTC))])


def test_recovering_with_a_file_takes_one_that_counts(place: Place, older: str, tmp_path: Path) -> None:
    place.anchored(400)
    kept = tmp_path / "kept"
    shutil.copy(place.file(700), kept)
    place.folder.rename(place.home / "gone")
    place.folder.mkdir()
    wrong = tmp_path / "wrong"
    wrong.write_text("what not")
    with place.connect("ledger_officer", older) as officer:
        with pytest.raises(EvidenceInvalid, match="is no checkpoint"):
            officer.recover(reason="r", by="b", checkpoints=[wrong])
        assert officer.recover(reason="r", by="b", checkpoints=[kept]).lost == (301, 700)


def test_what_was_decided_before_a_recovery_still_counts(place: Place, officer_url: str) -> None:
    from audit_ledger.errors import InvalidValue, VersionConflict

    with place.connect("ledger_officer") as officer:
        with officer.run("t", "s") as run:
            run.ingest("X", 1, {"a": 1})
        reference = officer.reference()
        officer.record_decision("D1", reference)
        hold = officer.add_hold(run=run.id, reason="case", by="Ann")
        officer.recover(reason="a copy", by="Ann", clone=True)
    with place.connect("ledger_officer") as officer:
        officer.release_hold(hold.hold_id, reason="over", by="Ann")
        officer.record_decision("D2", reference)
        with pytest.raises(VersionConflict):
            officer.record_decision("D1", officer.reference())
        with pytest.raises(InvalidValue):
            officer.record_decision("D3", f"{uuid4()}@1@{reference.recorded_at.isoformat()}")
        assert officer.verify_live().same


def test_recovering_twice_keeps_all_origins(place: Place) -> None:
    place.anchored(3)
    with place.connect("ledger_officer") as officer:
        officer.recover(reason="one", by="Ann", clone=True)
        officer.recover(reason="two", by="Ann", clone=True)
    with place.superuser() as admin:
        rows = admin.execute("SELECT number, after_position FROM origins ORDER BY number").fetchall()
    assert rows == [(1, 0), (2, 3), (3, 4)]
    with place.connect("ledger_sealer") as sealer:
        found = sealer.verify_live()
        assert (found.same, found.log.closed, found.log.unchecked) == (True, 1, 0), found.log.faults


def test_the_keyring_does_not_find_the_old_key(place: Place) -> None:
    with place.connect("ledger_officer") as officer:
        done = officer.recover(reason="one", by="Ann", clone=True)
        settings = officer.settings
    assert keyring.find(settings, place.signer.name) == place.signer
    with pytest.raises(ConfigurationError):
        keyring.find(settings, str(done.origin))


def test_keys_that_were_changed_before_a_recovery_do_not_matter_after_it(place: Place) -> None:
    place.anchored(3)
    with place.connect("ledger_sealer") as sealer:
        rotated = sealer.rotate_key(reason="yearly", by="Ann")
        place.keys.write_text(place.keys.read_text() + rotated.next.key + "\n")
        assert sealer.seal() is not None
    with place.connect("ledger_officer") as officer:
        done = officer.recover(reason="a copy", by="Ann", clone=True)
    signer = place.new_key(str(done.origin))
    sealed = place.seal()
    assert sealed is not None
    assert (sealed.origin, sealed.size) == (signer.name, 5)
    assert place.anchor().failures == ()
    with place.connect() as ledger:
        assert ledger.verify_live().same


def test_a_checkpoint_of_a_key_that_followed_counts_once_it_is_pinned(place: Place) -> None:
    place.anchored(3)
    with place.connect("ledger_sealer") as sealer:
        rotated = sealer.rotate_key(reason="yearly", by="Ann")
        assert sealer.seal() is not None
    assert place.anchor().failures == ()  # signed by both
    assert place.anchored(1).failures == ()
    with place.connect() as ledger:
        looked = ledger.look_outside()
        assert looked.highest is not None
        assert (looked.highest.stated.size, len(looked.troubles)) == (4, 1)
        place.keys.write_text(place.keys.read_text() + rotated.next.key + "\n")
        looked = ledger.look_outside()
        assert looked.highest is not None
        assert (looked.highest.stated.size, looked.troubles) == (5, ())
