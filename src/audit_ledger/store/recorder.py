"""The event store for the `eventsourcing` library: its PostgreSQL recorder, on the ledger's one table.

With `PERSISTENCE_MODULE=audit_ledger.store.recorder` an `Application`, a `Projection` and a
`ProjectionRunner` of that library run on the ledger unchanged; `AUDIT_LEDGER_URL` and
`AUDIT_LEDGER_NAME` say which. The library reads through the view `stored_events`; what it appends goes the
ledger's own way in. Errors of the database are the library's here, as it expects.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from eventsourcing import persistence, postgres
from eventsourcing.persistence import StoredEvent
from eventsourcing.utils import resolve_topic
from psycopg.conninfo import conninfo_to_dict

from audit_ledger.errors import ConfigurationError
from audit_ledger.settings import Settings, load
from audit_ledger.store.database import Database
from audit_ledger.store.event_store import EventStore


class Datastore(Database, postgres.PostgresDatastore):  # type: ignore[misc]  # the pool is ours
    """The connections to a ledger as the library has them.

    Args:
        url: PostgreSQL URL or connection string.
        name: The ledger's name.
        settings: Time-outs.
        composite_types: Whether the library's own recorders, which send a composite type, will use it.
    """

    def __init__(self, url: str, name: str, settings: Settings, *, composite_types: bool = False) -> None:
        self.composite_types = composite_types
        given = conninfo_to_dict(url)
        # The library's own tables (tracking, snapshots), where it makes any, are derived: they
        # belong with the read models.
        postgres.PostgresDatastore.__init__(
            self,
            dbname=str(given.get("dbname", "")),
            host=str(given.get("host", "")),
            port=str(given.get("port", "")),
            user=str(given.get("user", "")),
            password=str(given.get("password", "")),
            schema=f"{name}_read",
        )
        Database.__init__(self, url, name, settings)  # with a pool in place of the library's

    def register_type_adapters(self) -> None:
        """Look the library's composite types up, for those recorders that send them; ours does not."""
        if self.composite_types:
            super().register_type_adapters()


class LedgerRecorder(EventStore, postgres.PostgresApplicationRecorder):
    """Appends to and reads from the ledger's log, as the library has it. Threads may share it."""

    datastore: Datastore

    def __init__(self, datastore: Datastore) -> None:
        EventStore.__init__(self, datastore)
        postgres.PostgresApplicationRecorder.__init__(self, datastore, events_table_name="stored_events")
        self.channel_name = f"{datastore.name}_events"

    def create_table(self) -> None:
        """Nothing: `audit-ledger init` makes the ledger, with rights that a recorder lacks."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """Append events, all or none, and return their positions; see `EventStore.insert`.

        Raises:
            eventsourcing.persistence.IntegrityError: the stream has an event at one of the versions.
            eventsourcing.persistence.PersistenceError: the database refused, or did not answer.
        """
        if not stored_events:
            return None
        with _of_the_library():
            first = self.insert(stored_events, again=kwargs.get("again", False))
        return list(range(first, first + len(stored_events)))


@contextmanager
def _of_the_library() -> Iterator[None]:
    """Raise errors of the database as the library's, which have the same names (PEP 249)."""
    try:
        yield
    except psycopg.Error as error:
        names = [kind.__name__ for kind in type(error).__mro__]
        kinds = [getattr(persistence, name) for name in names if hasattr(persistence, name)]
        raise (kinds[0] if kinds else persistence.PersistenceError)(str(error)) from error


class Factory(postgres.PostgresFactory):
    """What the library makes an application's persistence with.

    The application's own events go to the ledger. What is derived from them, snapshots, tracking and
    the events of downstream applications, goes to tables of the library's own beside the read models,
    where `init`'s projector or an administrator may make them.
    """

    datastore: Datastore

    def __init__(self, env: Any) -> None:
        persistence.BaseInfrastructureFactory.__init__(self, env)
        settings = load(url=self.env.get("AUDIT_LEDGER_URL"), name=self.env.get("AUDIT_LEDGER_NAME"))
        if settings.url is None:
            raise ConfigurationError(
                "the library's application does not know its ledger",
                expected="AUDIT_LEDGER_URL in the environment of the application",
                remedy="set it to what `audit-ledger url` prints",
            )
        self.datastore = Datastore(settings.url, settings.name, settings, composite_types=True)

    def application_recorder(self) -> persistence.ApplicationRecorder:
        """The ledger's recorder, or the subclass of it that APPLICATION_RECORDER_TOPIC names."""
        topic = self.env.get(self.APPLICATION_RECORDER_TOPIC)
        recorder_class: type[LedgerRecorder] = resolve_topic(topic) if topic else LedgerRecorder
        return recorder_class(self.datastore)
