"""The event store against a plain list: whatever is appended and read, both say the same."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import eventsourcing.persistence as es
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from audit_ledger.store.event_store import RecordedEvent
from audit_ledger.store.recorder import LedgerRecorder
from tests.store import recorder_at

STREAMS = 4
TYPES = ("Noted", "Seen", "Told")
COUNTS = st.one_of(st.integers(1, 3), st.integers(1, 40))
STATES = st.binary(max_size=40)

Fact = tuple[int, UUID, int, str, bytes]
"""position, stream, version, type and state"""


class StoreMachine(RuleBasedStateMachine):
    """Appends to and reads from a ledger, and does the same with a list.

    It goes on where the example before it left off: positions count from `base`, streams are new.
    """

    recorder: LedgerRecorder

    def __init__(self) -> None:
        super().__init__()
        self.base = self.recorder.max_notification_id() or 0
        self.streams = [uuid4() for _ in range(STREAMS)]
        self.facts: list[Fact] = []
        self.appended: list[list[es.StoredEvent]] = []

    def last(self, stream: UUID) -> int:
        return max((version for _, s, version, *_ in self.facts if s == stream), default=0)

    def offer(self, batch: list[es.StoredEvent], **how: Any) -> None:
        """Append, and expect what a list with unique (stream, version) would do."""
        taken = {(stream, version) for _, stream, version, *_ in self.facts}
        keys = [(event.originator_id, event.originator_version) for event in batch]
        refused = len({*keys}) < len(keys) or not taken.isdisjoint(keys)
        try:
            positions = self.recorder.insert_events(batch, **how)
        except es.IntegrityError:
            assert refused
            return
        assert not refused
        first = self.base + len(self.facts) + 1
        assert positions is not None
        assert list(positions) == list(range(first, first + len(batch)))
        self.facts += [
            (position, UUID(str(e.originator_id)), e.originator_version, e.topic, e.state)
            for position, e in enumerate(batch, first)
        ]
        self.appended.append(batch)

    @rule(
        stream=st.integers(0, STREAMS - 1),
        behind=st.sampled_from([0, 0, 0, 0, 1, 2, 30, -1]),
        contents=COUNTS.flatmap(
            lambda count: st.lists(st.tuples(st.sampled_from(TYPES), STATES), min_size=count, max_size=count)
        ),
        again=st.booleans(),
    )
    def append(self, stream: int, behind: int, contents: list[tuple[str, bytes]], again: bool) -> None:
        """To one stream: after its last version, after an earlier one, or past a gap."""
        after = max(self.last(self.streams[stream]) - behind, -1)
        self.offer(
            [
                es.StoredEvent(self.streams[stream], version, type_, state)
                for version, (type_, state) in enumerate(contents, after + 1)
            ],
            **({"again": True} if again and behind == 0 else {}),
        )

    @rule(
        choices=st.lists(st.tuples(st.integers(0, STREAMS - 1), st.sampled_from(TYPES)), max_size=40),
        spoilt=st.sampled_from([False, False, False, True]),
    )
    def append_to_many(self, choices: list[tuple[int, str]], spoilt: bool) -> None:
        """To several streams at once; a spoilt batch ends with a version that is taken."""
        versions = [self.last(stream) for stream in self.streams]
        batch = []
        for stream, type_ in choices:
            versions[stream] += 1
            batch.append(es.StoredEvent(self.streams[stream], versions[stream], type_, b"{}"))
        if spoilt and batch:
            batch.append(batch[0])
        if batch:
            self.offer(batch)
        else:
            assert self.recorder.insert_events(batch) is None

    @rule(data=st.data())
    def append_again(self, data: st.DataObject) -> None:
        """What is there, whole and byte for byte, counts as appended, and is not appended."""
        if not self.appended:
            return
        batch = data.draw(st.sampled_from(self.appended))
        key = (batch[0].originator_id, batch[0].originator_version)
        first = next(p for p, stream, version, *_ in self.facts if (stream, version) == key)
        positions = self.recorder.insert_events(batch, again=True)
        assert positions is not None
        assert list(positions) == list(range(first, first + len(batch)))

    @rule(data=st.data(), types=st.sets(st.sampled_from([*TYPES, "Never"])))
    def read(self, data: st.DataObject, types: set[str]) -> None:
        after = self.base + data.draw(st.integers(0, len(self.facts) + 1), label="after")
        length = data.draw(st.one_of(st.none(), st.integers(-1, len(self.facts) + 2)), label="length")
        upto = None if length is None else max(after + length, self.base)
        expected = [
            fact
            for fact in self.facts
            if fact[0] > after and (upto is None or fact[0] <= upto) and (not types or fact[3] in types)
        ]
        assert as_facts(list(self.recorder.read(after, upto, sorted(types)))) == expected
        notifications = self.recorder.select_notifications(
            after, 10_000, upto, sorted(types), inclusive_of_start=False
        )
        assert [(n.id, n.originator_id, n.originator_version, n.topic, n.state) for n in notifications] == (
            expected
        )

    @rule(stream=st.integers(0, STREAMS - 1), after=st.integers(1, 60), upto=st.integers(0, 80))
    def read_stream(self, stream: int, after: int, upto: int) -> None:
        mine = sorted((f for f in self.facts if f[1] == self.streams[stream]), key=lambda fact: fact[2])
        assert as_facts(list(self.recorder.read_stream(self.streams[stream]))) == mine
        assert as_facts(list(self.recorder.read_stream(self.streams[stream], after, upto))) == [
            fact for fact in mine if after < fact[2] <= upto
        ]

    @invariant()
    def the_log_is_the_list(self) -> None:
        found = list(self.recorder.read(self.base))
        assert as_facts(found) == self.facts
        times = [event.recorded_at for event in found]
        assert times == sorted(times)


def as_facts(found: Sequence[RecordedEvent]) -> list[Fact]:
    return [(e.position, e.stream_id, e.version, e.type, e.state) for e in found]


def test_the_store_does_what_a_list_does(url: str) -> None:
    with recorder_at(url) as connected:

        class Machine(StoreMachine):
            recorder = connected

        run_state_machine_as_test(
            Machine, settings=settings(max_examples=40, stateful_step_count=25, deadline=None)
        )
