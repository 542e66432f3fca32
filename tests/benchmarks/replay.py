"""Replay: folding the log into temporary tables, and the peer that takes one event at a time.

The peer is the `eventsourcing` library's own ProjectionRunner on the same ledger. It is spared most of the
work: its events are not made into objects, and of each it only inserts a row that says who touched what.
"""

import json
import time
from typing import Any
from uuid import UUID

import psycopg
from eventsourcing.application import Application
from eventsourcing.persistence import Mapper, StoredEvent, Tracking
from eventsourcing.postgres import PostgresDatastore, PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from psycopg import sql
from psycopg.rows import dict_row

from audit_ledger.store import migrations, projections
from audit_ledger.store.sql import projection_files, schema_files
from tests.benchmarks.ground import LEDGER, Ground
from tests.benchmarks.harness import seconds

TEMPORARY = "pg_temp"
BUFFERS = "SET temp_buffers = '256MB'"
"""For whoever fills temporary tables: of the usual 8 MB, they would be written to files and read again."""


class Replay:
    """A scratch copy of the read models; calling it folds the next chunk of the log into it."""

    def __init__(self, conn: psycopg.Connection[Any]) -> None:
        self._conn = conn
        conn.execute(f"{BUFFERS}; SET search_path = {TEMPORARY}, {LEDGER}".encode())
        kept = next(file for file in schema_files() if {"progress", "set_aside"} <= file.blocks.keys())
        with conn.cursor(row_factory=dict_row) as cursor:
            for block in ("progress", "set_aside"):
                cursor.execute(kept.blocks[block].encode())
            for ordinal, file in enumerate(projection_files()):
                migrations.install_projection(cursor, file, ordinal)

    def __call__(self) -> float:
        """Fold one chunk; the seconds that took."""
        return seconds(lambda: self._conn.execute("SELECT * FROM fold_next(%s, NULL)", [projections.CHUNK]))


class AsStored(Mapper[UUID]):
    """Events as they are stored."""

    def to_domain_event(self, stored_event: StoredEvent) -> Any:
        """The event itself."""
        return stored_event


class Log(Application[UUID]):
    """The ledger, as an application of the library."""

    name = LEDGER

    def construct_mapper(self) -> Mapper[UUID]:
        """No event is made into an object."""
        return AsStored(transcoder=self.construct_transcoder())


class Touches(PostgresTrackingRecorder):
    """The rows that the peer inserts."""

    def __init__(self, datastore: PostgresDatastore, **names: Any) -> None:
        super().__init__(datastore, **names)
        self.table = sql.Identifier(datastore.schema, "runner_touches")
        self.sql_create_statements.append(
            sql.SQL(
                "CREATE TABLE IF NOT EXISTS {} (position bigint PRIMARY KEY, run_id uuid NOT NULL,"
                " type text NOT NULL, record_type text, record_id text)"
            ).format(self.table)
        )


class OneByOne(Projection[Touches]):
    """One INSERT an event, in one transaction with how far it is."""

    name = "one_by_one"

    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        """Insert a row."""
        state = json.loads(domain_event.state)
        with self.view.datastore.transaction(commit=True) as cursor:
            self.view._insert_tracking(cursor, tracking)
            cursor.execute(
                sql.SQL("INSERT INTO {} VALUES (%s, %s, %s, %s, %s)").format(self.view.table),
                [
                    tracking.notification_id,
                    domain_event.originator_id,
                    domain_event.topic,
                    state.get("record_type"),
                    state.get("record_id"),
                ],
                prepare=True,
            )


def one_by_one(ground: Ground, database: str, events: int) -> float:
    """The seconds that the library's runner takes for that many events, a start-up of its own included."""
    env = {
        "PERSISTENCE_MODULE": "audit_ledger.store.recorder",
        "AUDIT_LEDGER_URL": ground.server.url("postgres", database),
    }
    start = time.perf_counter()
    with ProjectionRunner(
        application_class=Log, projection_class=OneByOne, view_class=Touches, env=env
    ) as runner:
        runner.wait(events, timeout=600)
        return time.perf_counter() - start
