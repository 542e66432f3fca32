"""Batches of streams that are sent or spooled in any turns arrive in order, once, whoever is killed."""

import contextlib
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit_ledger import Ledger
from audit_ledger.events import RecordIngested
from audit_ledger.recording.forwarding import forward
from audit_ledger.recording.outbox import send
from audit_ledger.store.bodies import Body
from audit_ledger.store.pending import Batch, Pending

STREAMS = 3
STEPS = st.one_of(
    st.tuples(st.just("batch"), st.integers(0, STREAMS - 1), st.integers(1, 30), st.booleans()),
    st.tuples(st.sampled_from(["forward", "killed"])),
)


def pending(number: int) -> Pending:
    """An event that says which it is; every third one brings content."""
    event = RecordIngested(
        occurred_at=datetime.now(UTC), operation="created", record_id=str(number), record_type="Bill"
    )
    return Pending(event, {} if number % 3 else {"content": Body(str(number).encode(), "text/plain")})


def killed(_events: object) -> None:
    """In place of removing what is delivered."""
    raise KeyboardInterrupt


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, max_size=15))
def test_batches_arrive_in_order_once(ledger: Ledger, steps: list[tuple[object, ...]]) -> None:
    streams = [uuid4() for _ in range(STREAMS)]
    lengths = dict.fromkeys(streams, 0)
    spooled: set[UUID] = set()
    for step in steps:
        if step[0] == "batch":
            _, index, size, away = step
            assert isinstance(index, int)
            assert isinstance(size, int)
            stream = streams[index]
            batch = Batch(stream, lengths[stream], [pending(lengths[stream] + n) for n in range(size)])
            lengths[stream] += size
            if away or stream in spooled:  # a run that has begun to spool goes on spooling
                spooled.add(stream)
                ledger.spool.write(batch, ledger.ledger_id)
            else:
                send(ledger._recorder, batch)
        elif step[0] == "killed":
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(ledger.spool, "remove", killed)
                with contextlib.suppress(KeyboardInterrupt):
                    forward(ledger.spool, ledger._recorder, ledger.ledger_id)
        else:
            assert forward(ledger.spool, ledger._recorder, ledger.ledger_id).finished
            spooled.clear()
        assert ledger.spool.waiting == (ledger.spool.path.exists() and ledger.spool.count() > 0)
    forward(ledger.spool, ledger._recorder, ledger.ledger_id)
    for stream in streams:
        rows = ledger.database.query(
            "SELECT e.version, convert_from(e.state, 'UTF8')::jsonb ->> 'record_id' AS number, b.content"
            "  FROM events e LEFT JOIN bodies b"
            "    ON b.commitment = convert_from(e.state, 'UTF8')::jsonb ->> 'content'"
            " WHERE e.stream_id = %s ORDER BY e.position",
            [stream],
        )
        assert [row["version"] for row in rows] == list(range(1, lengths[stream] + 1))
        assert [int(row["number"]) for row in rows] == list(range(lengths[stream]))
        for row in rows:
            expected = None if int(row["number"]) % 3 else row["number"].encode()
            assert (row["content"] and bytes(row["content"])) == expected
    assert not ledger.spool.path.exists() or ledger.spool.count() == 0
