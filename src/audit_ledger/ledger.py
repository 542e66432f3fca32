"""`connect`, and the one object that users hold.

    ledger = audit_ledger.connect()
    with ledger.run("data_fetch:congress_daily", source="quiverquant_congress") as run:
        run.ingest("QuiverTrade", 12345, {"Ticker": "AAPL"})

Threads may share a ledger. A process that was forked may not use its parent's: let it connect itself.
"""

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from audit_ledger.errors import LedgerError
from audit_ledger.governance import Governance
from audit_ledger.reading import status as states
from audit_ledger.reading.calls import Payload, payload
from audit_ledger.reading.calls import calls as call_details
from audit_ledger.reading.details import Details, details
from audit_ledger.reading.runs import ApiCalls, RunRow, Runs, Touch, find_run, provenance
from audit_ledger.recording import redacting, scope
from audit_ledger.recording.close import close_run
from audit_ledger.recording.messages import Messages, OwnRedactor
from audit_ledger.recording.outbox import resend
from audit_ledger.recording.run import Run
from audit_ledger.settings import Settings, load
from audit_ledger.store import migrations, projections
from audit_ledger.store.database import Database, translated
from audit_ledger.store.database import connect as connect_to
from audit_ledger.store.recorder import LedgerRecorder, RecordedEvent
from audit_ledger.store.server import SUPERUSER, EmbeddedServer

# Who wants to see what is logged says where; errors are raised besides.
logging.getLogger("audit_ledger").addHandler(logging.NullHandler())


def connect(
    url: str | None = None, *, role: str = "writer", redactor: OwnRedactor | None = None, **settings: Any
) -> "Ledger":
    """Connect to a ledger.

    Without a URL, here or in AUDIT_LEDGER_URL, it is the embedded one: its server is started if it
    does not run, and everything is made on first use, in AUDIT_LEDGER_HOME.

    Args:
        url: URL of a PostgreSQL 15 to 18 database that holds a ledger.
        role: As whom to connect to the embedded ledger: "writer", "reader", or "officer", who may also
            erase and hold. With a URL, its user decides.
        redactor: A function of your own that is given the body of each HTTP message, secrets cut out
            already, and its media type, and returns the bytes to keep. Where it raises, none are kept.
        **settings: Any of audit_ledger.settings.Settings, over the environment and ledger.toml.

    Raises:
        ConfigurationError: a setting cannot be used.
        ServerError: the embedded server cannot be set up or started.
        Unreachable: no database answers at the URL.
        NotInitialised: it holds no ledger of that name.
        SchemaMismatch: its ledger is older or newer than this software.
        WrongRole: the role may not read it.
    """
    loaded = load(url=url, **settings)
    server = None if loaded.url else EmbeddedServer(loaded.home, user=loaded.server_user)
    if server is None:
        place = loaded.url or ""
    else:
        for line in prepare(server, loaded)[:1]:
            sys.stderr.write(f"audit-ledger: {line}\n")
        place = server.url(f"{loaded.name}_{role}")
    with connect_to(place, loaded) as conn:
        ready = migrations.check(conn, loaded.name)
    messages = Messages(redacting.redactor(loaded), loaded.max_body_bytes, redactor)
    return Ledger(Database(place, loaded.name, loaded), loaded, ready, server, messages)


def prepare(server: EmbeddedServer, settings: Settings) -> list[str]:
    """Start the embedded server and make its ledger, where either is missing; returns what was done."""
    made = server.ensure_running()
    done: list[str] = []
    if made:
        done.append(f"made an embedded ledger in {settings.home}")
    with connect_to(server.url(SUPERUSER), settings) as conn:
        if made or not migrations.is_current(conn, settings.name):
            done += migrations.init(conn, settings.name)
    return done


class Ledger(Governance):
    """A connection to a ledger; a context manager that closes it. What officers may do is in Governance.

    Attributes:
        url: Where it is, password included.
        ledger_id: Its identity.
        settings: What it was connected with.
        server: The embedded server, where it is one.
        database: Its connections.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        ready: migrations.Ready,
        server: EmbeddedServer | None,
        messages: Messages,
    ) -> None:
        self.url = database.url
        self.ledger_id = ready.ledger_id
        self.settings = settings
        self.server = server
        self._ready = ready
        self._messages = messages
        self.database = database
        self._recorder = LedgerRecorder(database)
        self._process_id = os.getpid()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. The embedded server runs on."""
        self.database.close()

    # Recording

    def run(
        self,
        task: str,
        source: str,
        *,
        scheduled_for: datetime | None = None,
        parameters: Mapping[str, Any] | None = None,
        capture: bool = False,
    ) -> scope.RunScope:
        """Wrap a script's work in a run: a `with` block, or a decorator.

        Args:
            task: What runs, e.g. "data_fetch:congress_daily".
            source: Where the data comes from, e.g. "quiverquant_congress".
            scheduled_for: When it was due, with a time zone.
            parameters: What it runs with: JSON, dates, decimals, UUIDs, paths; secrets are cut out.
            capture: Whether HTTP calls made inside it, with requests or httpx, are recorded; those in
                threads and tasks that it starts are inside it.

        Raises (on entering):
            InvalidValue: an argument cannot be recorded.
            WrongRole: the role may not append.
            Unreachable: the database is away; nothing was fetched yet.
        """
        return scope.RunScope(
            lambda: self._start(
                task=task,
                source=source,
                scheduled_for=scheduled_for,
                parameters=parameters,
                capture=capture,
            )
        )

    def log_ingestion(
        self,
        *,
        task_name: str,
        data_source: str,
        fetch: Callable[[Run], Mapping[str, Any] | None],
        scheduled_for: datetime | None = None,
        parameters: Mapping[str, Any] | None = None,
        capture: bool = False,
    ) -> scope.Outcome:
        """Call `fetch(run)` inside a run, and tell what became of it.

        Args:
            task_name: What runs.
            data_source: Where the data comes from.
            fetch: Returns None, or a mapping with any of fetched, created, updated, skipped,
                date_range (start, end), record_operations ({"record": (type, id), "operation"}) and
                api_calls ({"endpoint", "request", "response", "timestamp", "status_code",
                "duration_ms", "rate_limit_remaining"}).
            scheduled_for: When it was due, with a time zone.
            parameters: What it runs with, JSON.
            capture: Whether HTTP calls made by `fetch` are recorded.

        Returns:
            An outcome, also when `fetch` raised an Exception: the run is failed then.

        Raises:
            InvalidValue: what `fetch` returned cannot be recorded, e.g. for an unknown key; the run fails.
            LedgerError: the run could not begin, or not be recorded to its end.
        """
        run = self._start(
            task=task_name,
            source=data_source,
            scheduled_for=scheduled_for,
            parameters=parameters,
            capture=capture,
        )
        return scope.log_ingestion(run, fetch)

    def close_run(self, run_id: UUID | str, reason: str) -> RunRow:
        """End a run that was killed, as failed; the reason becomes its message.

        Raises:
            UnknownRun: there is no such run.
            RunEnded: it has ended already.
        """
        run = self.find_run(run_id)
        close_run(self._recorder, run.run_id, run.status, reason, self._messages.redactor)
        return self.find_run(run.run_id)

    def resend(self, path: Path | str) -> int:
        """Deliver the events in a file that a run left behind; returns how many. Safe to repeat.

        Raises:
            InvalidValue: it is no resend file of this ledger, or is damaged.
        """
        count = resend(self._recorder, Path(path), self.ledger_id)
        self.update_read_models()
        return count

    def _start(self, **what: Any) -> Run:
        self._check_process()
        if not self._ready.may_write:
            raise migrations.refuse_reader(self._ready.user, self.settings.name)
        return Run(self._recorder, self.settings, self.ledger_id, self._messages, **what)

    # Reading

    @property
    def runs(self) -> Runs:
        """The runs on record, newest first; scopes narrow them down."""
        self._catch_up()
        return Runs(self.database)

    @property
    def calls(self) -> ApiCalls:
        """The API calls on record, newest first."""
        self._catch_up()
        return ApiCalls(self.database)

    def find_run(self, run_id: UUID | str) -> RunRow:
        """The run of that id, or of the id that begins so.

        Raises:
            UnknownRun: there is none.
            AmbiguousRun: there are several.
        """
        self._catch_up()
        return find_run(self.database, run_id)

    def details(self, run_id: UUID | str) -> Details:
        """All that is known of a run: how it was started, what it reached, what does not agree."""
        return details(self.find_run(run_id))

    def call_details(
        self, run_id: UUID | str, *, failed: bool = False, limit: int | None = None
    ) -> list[dict[str, Any]]:
        """The API calls of a run, newest first, with all that their events say (reading.calls)."""
        return call_details(self.find_run(run_id), failed=failed, limit=limit)

    def payload(self, payload_id: int) -> Payload:
        """A request or a response of an API call, with its bytes.

        Raises:
            UnknownPayload: there is no such payload.
            Erased: its bytes are gone; says by whom, when and why.
        """
        self._catch_up()
        return payload(self.database, payload_id)

    def provenance(self, record_type: str, record_id: str | int | UUID) -> list[Touch]:
        """Which runs touched a record, when and how, newest first."""
        self._catch_up()
        return provenance(self.database, record_type, record_id)

    def status(self) -> states.Status:
        """Place, beginning and head of the ledger; progress and lag of each read model."""
        self._check_process()
        return states.status(self.database, public_url(self.url))

    def check(self, since: datetime | timedelta | str = "24h") -> list[states.Finding]:
        """What is not well among the runs since then: failed, not ended, empty, or none at all."""
        self._catch_up()
        return states.check(self.database, since)

    def events(self, after: int = 0, upto: int | None = None) -> Iterator[RecordedEvent]:
        """Stream the events of a range of positions, (after, upto], in order, in constant memory."""
        self._check_process()
        return self._recorder.read(after, upto)

    def update_read_models(self) -> projections.Progress:
        """Fold every event that is new into the read models.

        Raises:
            WrongRole: a reader may not.
        """
        self._check_process()
        with translated(self.database):
            return projections.update(self.database)

    def _catch_up(self) -> None:
        """Answers are about now: fold what is new first, where the role may."""
        self._check_process()
        if self._ready.may_write:
            with translated(self.database):
                projections.update(self.database, timeout=self.settings.projection_timeout)

    def _check_process(self) -> None:
        if os.getpid() != self._process_id:
            raise LedgerError(
                "this connection belongs to the process that forked this one",
                expected=f"process {self._process_id}",
                actual=f"process {os.getpid()}",
                remedy="call audit_ledger.connect() in the child",
            )


def public_url(url: str) -> str:
    """A URL as it may be shown: without its password."""
    if "://" in url:
        given = conninfo_to_dict(url)
        password = given.get("password")
        return url.replace(f":{password}@", "@") if password else url
    return make_conninfo("", **{k: v for k, v in conninfo_to_dict(url).items() if k != "password"})
