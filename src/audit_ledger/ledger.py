"""`connect`, and the one object that users hold.

    ledger = audit_ledger.connect()
    with ledger.run("data_fetch:congress_daily", source="quiverquant_congress") as run:
        run.ingest("QuiverTrade", 12345, {"Ticker": "AAPL"})

Threads may share a ledger. A process that was forked may not use its parent's: let it connect itself.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from audit_ledger.errors import ConfigurationError, LedgerError, ReadModelsBehind
from audit_ledger.governance import Governance
from audit_ledger.reading import status as states
from audit_ledger.reading.as_of import AsOf, AsOfWhen, Header, asked, header, header_of_now
from audit_ledger.reading.difference import Difference
from audit_ledger.reading.interface import Reading
from audit_ledger.reading.replay import Replay
from audit_ledger.reading.runs import RunRow
from audit_ledger.recording import decisions, redacting, scope
from audit_ledger.recording.close import close_run
from audit_ledger.recording.messages import Messages, OwnRedactor
from audit_ledger.recording.outbox import resend
from audit_ledger.recording.run import Run
from audit_ledger.settings import Settings, load
from audit_ledger.statements import Statements
from audit_ledger.store import migrations, projections
from audit_ledger.store.comparison import Verified, verify_live
from audit_ledger.store.copies import Tell, silent
from audit_ledger.store.database import Database, Reader, translated
from audit_ledger.store.database import connect as connect_to
from audit_ledger.store.recorder import LedgerRecorder, RecordedEvent
from audit_ledger.store.server import SUPERUSER, EmbeddedServer
from audit_ledger.watching.service import watch

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


class Ledger(Reading, Statements, Governance):
    """A connection to a ledger; a context manager that closes it.

    What can be asked is in Reading, what can be said outside of runs in Statements, what officers may do in
    Governance.

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

    def watch(
        self, stopped: threading.Event, *, plan_file: Path | None = None, metrics: str | None = None
    ) -> None:
        """Watch, until stopped: put on record what is not well, and tell the channels of ledger.toml.

        Args:
            stopped: Set it to stop.
            plan_file: ledger.toml; by default where the settings come from.
            metrics: [HOST:]PORT at which metrics are served for Prometheus meanwhile; by default nowhere.

        Raises:
            ConfigurationError: ledger.toml cannot be used; or metrics cannot be served there.
            WrongRole: the role may not append.
        """
        self._check_process()
        if not self._ready.may_write:
            raise migrations.refuse_reader(self._ready.user, self.settings.name)
        if metrics is None:
            watch(self.database, self.settings, stopped=stopped, plan_file=plan_file)
            return
        with _metrics().serving(self.database, metrics) as collector:
            watch(
                self.database,
                self.settings,
                stopped=stopped,
                plan_file=plan_file,
                ready=collector.at_work,
                ended=collector.at_rest,
            )

    def _start(self, **what: Any) -> Run:
        self._check_process()
        if not self._ready.may_write:
            raise migrations.refuse_reader(self._ready.user, self.settings.name)
        return Run(self._recorder, self.settings, self.ledger_id, self._messages, **what)

    # Reading

    @property
    def header(self) -> Header | None:
        """As of when answers are that are given now; None while the ledger is empty."""
        self._catch_up()
        return header_of_now(self.database)

    def as_of(self, when: AsOfWhen, *, final: bool = False) -> AsOf:
        """The ledger as of an instant: the same questions, answered from what had been recorded by then.

        Args:
            when: A datetime with a zone; text such as "2025-12-24 09:00 America/New_York",
                "2025-12-24T09:00:00-05:00", a date with a zone (the end of that day) or "run RUN_ID" (the end
                of that run); a position; or a run.
            final: Whether to record a heartbeat first, where events could still come before the instant.

        Raises:
            InvalidValue: it has no zone, is no instant, or clocks skipped or repeated it; says what to do.
            BeforeBeginning: nothing is on record as of then; says when the ledger begins.
            ReadModelsBehind: they have not come that far, and the role may not bring them on.
        """
        text = asked(when)
        found = self._header_of(text)
        if final and not found.final and found.as_of is not None and found.as_of < self.database.now:
            decisions.heartbeat(self._recorder)
            found = self._header_of(text)
        return AsOf(self.database, found)

    def diff(self, earlier: AsOfWhen, later: AsOfWhen) -> Difference:
        """What changed from one instant to another: runs that began or ended, and records.

        Raises:
            InvalidValue, BeforeBeginning, ReadModelsBehind: as with `as_of`.
        """
        return Difference(self.as_of(earlier), self.as_of(later))

    def replay(self, when: AsOfWhen, *, tell: Tell = silent) -> Replay:
        """Fold the events up to an instant once more, into a scratch copy that is gone when its block ends.

        Args:
            when: As with `as_of`.
            tell: Is told now and then how far it is, and how far it goes, as positions.

        Raises:
            InvalidValue, BeforeBeginning: as with `as_of`.
            WrongRole (on entering): the role may not make temporary tables.
        """
        self._check_process()
        return Replay(self.database, header(self.database, asked(when)), tell)

    def verify_live(self, points: int = 3, *, tell: Tell = silent) -> Verified:
        """Replay, and compare row by row with the live tables, and with the views as of so many positions.

        Raises:
            InvalidValue: `points` is no number of points.
            ReadModelsBehind: the read models do not all stand at the same position.
            SchemaMismatch: a table has other columns than its file makes.
            WrongRole: the role may not make temporary tables.
        """
        self._check_process()
        return verify_live(self.database, points, tell)

    def status(self) -> states.Status:
        """Place, beginning and head of the ledger; progress and lag of each read model."""
        self._check_process()
        return states.status(self.database, public_url(self.url))

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

    @property
    def _reader(self) -> Reader:
        self._catch_up()
        return self.database

    def _said(self, position: int) -> int:
        self._catch_up()
        return position

    def _header_of(self, text: str) -> Header:
        """The header of an answer, once the read models have it; others may write meanwhile."""
        deadline = time.monotonic() + self.settings.projection_timeout
        while True:
            self._catch_up()
            try:
                return header(self.database, text)
            except ReadModelsBehind:
                if not self._ready.may_write or time.monotonic() > deadline:
                    raise

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


def _metrics() -> Any:
    """The module that serves metrics, which takes a package of the extra `watch`."""
    try:
        from audit_ledger.watching import metrics
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "prometheus_client":
            raise
        raise ConfigurationError(
            "metrics cannot be served",
            expected="the package prometheus-client",
            actual="it is not installed",
            remedy="pip install 'audit-ledger[watch]'",
        ) from error
    return metrics


def public_url(url: str) -> str:
    """A URL as it may be shown: without its password."""
    if "://" in url:
        given = conninfo_to_dict(url)
        password = given.get("password")
        return url.replace(f":{password}@", "@") if password else url
    return make_conninfo("", **{k: v for k, v in conninfo_to_dict(url).items() if k != "password"})
