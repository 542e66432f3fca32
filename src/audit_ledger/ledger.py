"""`connect`, and the one object that users hold.

    ledger = audit_ledger.connect()
    with ledger.run("data_fetch:congress_daily", source="quiverquant_congress") as run:
        run.ingest("QuiverTrade", 12345, {"Ticker": "AAPL"})

Threads may share a ledger. A process that was forked may not use its parent's: let it connect itself.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from audit_ledger.anchoring import Anchoring
from audit_ledger.errors import LedgerError, ReadModelsBehind, UnknownRun, Unreachable
from audit_ledger.governance import Governance
from audit_ledger.proofs import Proofs
from audit_ledger.reaching import prepare as prepare
from audit_ledger.reading import status as states
from audit_ledger.reading.as_of import AsOf, AsOfWhen, Header, asked, header, header_of_now
from audit_ledger.reading.difference import Difference
from audit_ledger.reading.interface import Reading
from audit_ledger.reading.replay import Replay
from audit_ledger.reading.runs import RunRow
from audit_ledger.recording import decisions, redacting, scope
from audit_ledger.recording.close import close_run
from audit_ledger.recording.forwarding import Forwarded, forward
from audit_ledger.recording.joining import RUN, Invitation, invitation
from audit_ledger.recording.messages import Messages, OwnRedactor
from audit_ledger.recording.run import Run
from audit_ledger.settings import Settings, load
from audit_ledger.statements import Statements
from audit_ledger.store import migrations, projections
from audit_ledger.store.connecting import public_url
from audit_ledger.store.copies import Tell, silent
from audit_ledger.store.database import Reader
from audit_ledger.store.event_store import RecordedEvent
from audit_ledger.store.refusals import translated
from audit_ledger.store.spool import Spool

if TYPE_CHECKING:  # scripts that fetch do without what takes long to import
    from audit_ledger.evidence.whole import Whole

log = logging.getLogger("audit_ledger")


def connect(
    url: str | None = None, *, role: str = "writer", redactor: OwnRedactor | None = None, **settings: Any
) -> Ledger:
    """Connect to a ledger.

    Without a URL, here or in AUDIT_LEDGER_URL, it is the embedded one: its server is started if it
    does not run, and everything is made on first use, in AUDIT_LEDGER_HOME.

    Args:
        url: URL of a PostgreSQL 15 to 18 database that holds a ledger.
        role: As whom to connect to the embedded ledger: "writer", "reader", "sealer", or "officer", who may
            also erase and hold. With a URL, its user decides.
        redactor: A function of your own that is given the body of each HTTP message, secrets cut out
            already, and its media type, and returns the bytes to keep. Where it raises, none are kept.
        **settings: Any of audit_ledger.settings.Settings, over the environment and ledger.toml.

    Raises:
        ConfigurationError: a setting cannot be used.
        ServerError: the embedded server cannot be set up or started; not with when_away="spool".
        Unreachable: no database answers at the URL; not with when_away="spool": runs are spooled then, and
            only what needs the database raises it.
        NotInitialised: it holds no ledger of that name.
        SchemaMismatch: its ledger is older or newer than this software.
        WrongRole: the role may not read it.
    """
    loaded = load(url=url, **settings)
    messages = Messages(redacting.redactor(loaded), loaded.max_body_bytes, redactor)
    ledger = Ledger(loaded, messages, role)
    ledger.reach()
    return ledger


class Ledger(Reading, Statements, Governance, Proofs, Anchoring):
    """A connection to a ledger; a context manager that closes it.

    How it is reached is in Reaching, what can be asked in Reading, what can be said outside of runs in
    Statements, what officers may do in Governance, what makes it provable in Proofs, what
    its checkpoints do elsewhere in Anchoring.

    Attributes:
        url: Where it is, password included.
        settings: What it was connected with.
        server: The embedded server, where it is one.
        spool: Where its runs wait while the database is away.
    """

    def __init__(self, settings: Settings, messages: Messages, role: str = "writer") -> None:
        super().__init__(settings, role)
        self._messages = messages
        self._process_id = os.getpid()

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
            Unreachable, ServerError: the database is away; nothing was fetched yet. Not with
                when_away="spool".
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

    def forward(self, spool: Spool | None = None, *, tell: Tell = silent) -> Forwarded:
        """Bring what waits in the spool to the ledger, in order, once. Safe to repeat, and to be killed.

        Args:
            spool: Another spool than the ledger's own, such as a copy of one.
            tell: Is told after each page how many events are through, and of how many.

        Raises:
            SpoolBusy: another process forwards it.
            SpoolError: it cannot be read.
            WrongRole: the role may not append.
            Unreachable: the database is away, or went away for longer than `retry_for`.
        """
        self._check_process()
        if not self._ready.may_write:
            raise migrations.refuse_reader(self._ready.user, self.settings.name)
        done = forward(spool or self.spool, self._recorder, self._ready.made_as, tell=tell)
        if done.events:
            self.update_read_models()
        return done

    def watch(
        self,
        stopped: threading.Event,
        *,
        plan_file: Path | None = None,
        verify_at: str | None = None,
        metrics: str | None = None,
    ) -> None:
        """Watch, until stopped: put on record what is not well, and tell the channels of ledger.toml.

        Args:
            stopped: Set it to stop.
            plan_file: ledger.toml; by default where the settings come from.
            verify_at: When to `verify_live`: a cron expression, in UTC; never by default.
            metrics: [HOST:]PORT at which metrics are served for Prometheus meanwhile; by default nowhere.

        Raises:
            ConfigurationError: ledger.toml cannot be used; or metrics cannot be served there.
            WrongRole: the role may not append.
        """
        from audit_ledger.watching.service import watch

        self._check_process()
        if not self._ready.may_write:
            raise migrations.refuse_reader(self._ready.user, self.settings.name)
        watch(
            self.database,
            self.settings,
            stopped=stopped,
            plan_file=plan_file,
            verify_at=verify_at,
            metrics=metrics,
        )

    def _start(self, **what: Any) -> Run:
        self._check_process()
        return self._begin(self._messages, joins=self._invitation(), **what)

    def _invitation(self) -> Invitation | None:
        """The run that this process is to take part in, where it goes on in this ledger; else a warning."""
        invited = invitation()
        if invited is None:
            return None
        status: str
        try:
            status = self.find_run(invited.run_id).status
        except UnknownRun:
            if invited.folder is not None and invited.folder.is_dir():
                return (
                    invited  # whoever invites is there, and waits for reports: the run is in the spool still
                )
            status = "unknown to this ledger"
        except Unreachable:
            return invited  # it cannot be asked now; what is said will still name the run
        if status == "running":
            return invited
        log.warning("the run %s of %s is %s: this is a run of its own", invited.run_id, RUN, status)
        return None

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

    def verify_live(
        self, points: int = 3, *, keys: Iterable[str] | None = None, tell: Tell = silent
    ) -> Whole:
        """Verify all that is stored: every event against tiles and checkpoints, bodies, then the read models.

        Each event is hashed again; what was sealed under origins that are closed is compared with itself,
        anchors with their timestamps; the live tables, and the views as of so many positions, row by row with
        a replay.

        Args:
            points: As of so many positions the views are compared.
            keys: The ledger's verifier keys, by which checkpoints are checked; by default the setting
                `verifier_key`, and those of the sealing keys that are here. Keys that follow them, or that
                they follow, are found.
            tell: Is told now and then how far it is, and how far it goes, as positions.

        Raises:
            ConfigurationError: others can read a sealing key, or the table [anchors] of ledger.toml is wrong.
            EvidenceInvalid: a key is none.
            InvalidValue: `points` is no number of points.
            SchemaMismatch: a table has other columns than its file makes.
            WrongRole: the role may not make temporary tables.
        """
        from audit_ledger.evidence.keyring import verifiers
        from audit_ledger.evidence.keys import Verifier
        from audit_ledger.evidence.whole import verify_whole
        from audit_ledger.plan import load_anchors

        self._check_process()
        known = verifiers(self.settings) if keys is None else [Verifier.parse(key) for key in keys]
        return verify_whole(self.database, points, keys=known, anchors=load_anchors(), tell=tell)

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
