"""Replay: folding the log into temporary tables, and the peer that takes one event at a time.

The peer is the `eventsourcing` library's own ProjectionRunner with the events as objects and one INSERT for
each (one_by_one.sql), into tables identical to the read models. It must end up with the same rows.
"""

import time
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from eventsourcing.application import Application
from eventsourcing.persistence import Mapper, StoredEvent, Tracking
from eventsourcing.postgres import PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner

from audit_ledger.events import decode
from audit_ledger.store.copies import Copy
from audit_ledger.store.sql import SqlFile
from tests.benchmarks.ground import LEDGER, Ground
from tests.benchmarks.harness import seconds

STATEMENTS = SqlFile.parse("one_by_one.sql", Path(__file__).with_name("one_by_one.sql").read_bytes()).blocks
TEMPORARY = "pg_temp"
BUFFERS = "SET temp_buffers = '256MB'"
"""For whoever fills temporary tables: of the usual 8 MB, they would be written to files and read again."""


class Replay:
    """A scratch copy of the read models; calling it folds the next chunk of the log into it."""

    def __init__(self, conn: psycopg.Connection[Any], chunk: int) -> None:
        self._conn = conn
        self._chunk = chunk
        conn.execute(f"{BUFFERS}; SET search_path = {TEMPORARY}, {LEDGER}".encode())
        Copy(conn, TEMPORARY).make()

    def __call__(self) -> float:
        """Fold one chunk; the seconds that took."""
        return seconds(lambda: self._conn.execute("SELECT * FROM fold_next(%s, NULL)", [self._chunk]))


class Log(Application[UUID]):
    """The ledger, as an application of the library."""

    name = LEDGER

    def construct_mapper(self) -> Mapper[UUID]:
        """Events are the ledger's own models."""
        return Models(transcoder=self.construct_transcoder())


class Models(Mapper[UUID]):
    """Events as objects."""

    def to_domain_event(self, stored_event: StoredEvent) -> Any:
        """The event, and its stream."""
        return stored_event.originator_id, decode(stored_event.topic, stored_event.state)


class Peer(PostgresTrackingRecorder):
    """How far the runner is."""


class OneByOne(Projection[Peer]):
    """One INSERT an event, in one transaction with how far it is."""

    name = "one_by_one"

    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        """Do what the event says."""
        run_id, event = domain_event
        values = {**event.__dict__, "position": tracking.notification_id, "run_id": run_id}
        with self.view.datastore.transaction(commit=True) as cursor:
            self.view._insert_tracking(cursor, tracking)
            cursor.execute(STATEMENTS[event.type].encode(), values, prepare=True)


def one_by_one(ground: Ground, database: str, events: int) -> float:
    """The seconds that the library's runner takes for so many events, a start-up of its own included.

    Args:
        ground: Where the database is.
        database: A ledger of exactly so many events, whose administrator looks for tables in the schema that
            the runner is to fill.
        events: How many.
    """
    env = {
        "PERSISTENCE_MODULE": "audit_ledger.store.recorder",
        "AUDIT_LEDGER_URL": ground.server.url("postgres", database),
    }
    start = time.perf_counter()
    with ProjectionRunner(
        application_class=Log, projection_class=OneByOne, view_class=Peer, env=env
    ) as runner:
        runner.wait(events, timeout=600)
        return time.perf_counter() - start
