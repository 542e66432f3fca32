"""The `eventsourcing` library's own conformance cases, run unchanged on a ledger.

The recorder under test is the ledger's; what the library derives from it (snapshots, tracking,
downstream applications) is the library's own, made by the ledger's factory beside the read models.
"""

import gc
import os
from collections.abc import Iterator
from typing import Any
from unittest import TestCase
from uuid import UUID

import pytest
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate
from eventsourcing.persistence import (
    AggregateRecorder,
    InfrastructureFactory,
    ProgrammingError,
    Tracking,
)
from eventsourcing.postgres import (
    PostgresAggregateRecorder,
    PostgresDatastore,
    PostgresProcessRecorder,
    PostgresTrackingRecorder,
)
from eventsourcing.tests import application, persistence, projection
from eventsourcing.utils import Environment
from psycopg.sql import SQL, Identifier

from audit_ledger.errors import ConfigurationError
from audit_ledger.store.recorder import Factory, LedgerRecorder

MODULE = "audit_ledger.store.recorder"


class OnALedger(TestCase):
    """A fresh ledger for each test; its URL is the superuser's, as the library makes tables of its own."""

    made: Factory

    @pytest.fixture(autouse=True)
    def _ledger(self, admin_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setenv(InfrastructureFactory.PERSISTENCE_MODULE, MODULE)
        monkeypatch.setenv("AUDIT_LEDGER_URL", admin_url)
        self.made = Factory(Environment("contract", os.environ))
        yield
        self.made.close()
        gc.collect()  # some cases leave their application behind; collected, it closes its connections


class TestAggregateRecorder(OnALedger, persistence.AggregateRecorderTestCase):
    """Of the aggregate recorder, which the library keeps snapshots in."""

    def create_recorder(self) -> AggregateRecorder:
        return self.made.aggregate_recorder("snapshots")


class TestApplicationRecorder(OnALedger, persistence.ApplicationRecorderTestCase[LedgerRecorder]):
    def create_recorder(self) -> LedgerRecorder:
        recorder = self.made.application_recorder()
        assert isinstance(recorder, LedgerRecorder)
        return recorder

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class TestNonInterleavingNotificationIDs(OnALedger, persistence.NonInterleavingNotificationIDsBaseCase):
    def create_recorder(self) -> Any:
        return self.made.application_recorder()


class TestTrackingRecorder(OnALedger, persistence.TrackingRecorderTestCase):
    def create_recorder(self) -> PostgresTrackingRecorder:
        return self.made.tracking_recorder()


class TestProcessRecorder(OnALedger, persistence.ProcessRecorderTestCase):
    def create_recorder(self) -> Any:
        return self.made.process_recorder()


class CountersView(PostgresTrackingRecorder, projection.EventCountersView):
    """Counts events in a table beside the read models, as the library's documentation shows."""

    def __init__(self, datastore: PostgresDatastore, **names: Any) -> None:
        super().__init__(datastore, **names)
        self.table = SQL("{}.{}").format(
            Identifier(datastore.schema), Identifier(f"{self.tracking_table_name}_counters")
        )
        self.sql_create_statements.append(
            SQL("CREATE TABLE IF NOT EXISTS {} (name text PRIMARY KEY, value bigint NOT NULL)").format(
                self.table
            )
        )

    def get_created_event_counter(self) -> int:
        return self._value("created")

    def get_subsequent_event_counter(self) -> int:
        return self._value("subsequent")

    def incr_created_event_counter(self, tracking: Tracking) -> None:
        self._increment("created", tracking)

    def incr_subsequent_event_counter(self, tracking: Tracking) -> None:
        self._increment("subsequent", tracking)

    def _value(self, name: str) -> int:
        with self.datastore.cursor() as cursor:
            cursor.execute(SQL("SELECT value FROM {} WHERE name = %s").format(self.table), [name])
            row = cursor.fetchone()
        return row["value"] if row else 0

    def _increment(self, name: str, tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(
                SQL(
                    "INSERT INTO {} AS t VALUES (%s, 1) ON CONFLICT (name) DO UPDATE SET value = t.value + 1"
                ).format(self.table),
                [name],
            )


class TestInfrastructureFactory(OnALedger, persistence.InfrastructureFactoryTestCase[Factory]):
    def setUp(self) -> None:
        self.env = Environment("contract", os.environ)
        super().setUp()

    def expected_factory_class(self) -> type[Factory]:
        return Factory

    def expected_aggregate_recorder_class(self) -> type[PostgresAggregateRecorder]:
        return PostgresAggregateRecorder

    def expected_application_recorder_class(self) -> type[LedgerRecorder]:
        return LedgerRecorder

    def expected_tracking_recorder_class(self) -> type[PostgresTrackingRecorder]:
        return PostgresTrackingRecorder

    def tracking_recorder_subclass(self) -> type[PostgresTrackingRecorder]:
        return CountersView

    def expected_process_recorder_class(self) -> type[PostgresProcessRecorder]:
        return PostgresProcessRecorder


class TestExampleApplication(OnALedger, application.ExampleApplicationTestCase):
    expected_factory_topic = f"{MODULE}:Factory"


class TestEventCountersView(OnALedger, projection.EventCountersViewTestCase):
    def construct_event_counters_view(self) -> CountersView:
        return self.made.tracking_recorder(CountersView)


class TestEventCountersProjection(OnALedger, projection.AggregateEventCountersProjectionTestCase):
    view_class = CountersView


class TestEventSourcedProjection(OnALedger, projection.EventSourcedProjectionTestCase):
    """A downstream application, whose own events go to a table of the library's."""


@pytest.mark.filterwarnings("always:'log' is deprecated:DeprecationWarning")
class TestApplication(OnALedger, application.ApplicationTestCase):
    """Of an application that keeps its events in the ledger."""


ENVIRONMENT = {InfrastructureFactory.PERSISTENCE_MODULE: MODULE}


def test_an_application_needs_no_more_than_the_writer(url: str) -> None:
    with Application[UUID]({**ENVIRONMENT, "AUDIT_LEDGER_URL": url}) as app:
        aggregate = Aggregate()
        aggregate.trigger_event(Aggregate.Event)
        assert [recording.notification.id for recording in app.save(aggregate)] == [1, 2]
        assert app.repository.get(aggregate.id) == aggregate


def test_an_application_that_only_reads_needs_no_more_than_the_reader(url: str, reader_url: str) -> None:
    aggregate = Aggregate()
    with Application[UUID]({**ENVIRONMENT, "AUDIT_LEDGER_URL": url}) as app:
        app.save(aggregate)
    with Application[UUID]({**ENVIRONMENT, "AUDIT_LEDGER_URL": reader_url}) as app:
        assert app.repository.get(aggregate.id) == aggregate
        with app.recorder.subscribe(gt=0) as subscription:
            assert next(subscription).originator_id == aggregate.id
        with pytest.raises(ProgrammingError, match="permission denied"):
            app.save(Aggregate())


def test_the_factory_asks_for_the_url_of_its_ledger() -> None:
    with pytest.raises(ConfigurationError, match="AUDIT_LEDGER_URL"):
        InfrastructureFactory.construct(ENVIRONMENT)
