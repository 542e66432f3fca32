"""How far a run is: said now and then on record, shown as a bar at a terminal."""

from __future__ import annotations

import os
import sys
import threading
import time
from abc import ABC, abstractmethod
from datetime import datetime
from typing import TYPE_CHECKING

from audit_ledger import events
from audit_ledger.recording.outbox import Outbox
from audit_ledger.store.pending import Pending

if TYPE_CHECKING:
    from rich.progress import Progress

    from audit_ledger.events import HeartbeatRecorded

PROGRESS_SECONDS = 2.0
"""No more than one event of progress in so many seconds; the last one before the end is always kept."""


class Progressing(ABC):
    """The part of `Run` that is about its progress, and about signs of life."""

    task: str
    _outbox: Outbox
    _lock: threading.Lock
    _reached_event: HeartbeatRecorded | None = None
    _reached_unsaid = False
    _reached_said_at = float("-inf")
    _bar_shown: Progress | None = None

    @property
    @abstractmethod
    def now(self) -> datetime:
        """This moment, on the run's own clock."""

    @abstractmethod
    def _check_open(self) -> None:
        """Refuse what comes after the end of the run."""

    def progress(self, done: int, total: int | None = None) -> None:
        """Say how far the run is, as often as you like: `audit-ledger runs --follow` shows it.

        Args:
            done: How much is done: pages, records, bytes.
            total: How much there is to do, where that is known.

        Raises:
            InvalidValue: not whole numbers from 0 to 2^53 − 1.
            RunEnded: the run is over.
        """
        self._check_open()
        event = events.HeartbeatRecorded.of(occurred_at=self.now, done=done, total=total)
        with self._lock:
            self._reached_event, self._reached_unsaid = event, True
            due = time.monotonic() - self._reached_said_at >= PROGRESS_SECONDS
        if due:
            self._say_progress()
        self._show_progress(done, total)

    def _beat(self) -> Pending:
        """A sign of life, with the progress that is known."""
        known = self._reached_event
        with self._lock:
            self._reached_unsaid = False
        return Pending(
            events.HeartbeatRecorded.of(
                occurred_at=self.now, done=known and known.done, total=known and known.total
            )
        )

    def _say_progress(self) -> None:
        """Send what was not sent yet of the progress, if anything."""
        with self._lock:
            event = self._reached_event
            if event is None or not self._reached_unsaid:
                return
            self._reached_unsaid = False
            self._reached_said_at = time.monotonic()
        self._outbox.add(Pending(event))

    def _show_progress(self, done: int, total: int | None) -> None:
        """At a terminal, show a bar; nothing where output goes elsewhere, or to the log of a CI system."""
        with self._lock:
            if self._bar_shown is None:
                if not sys.stderr.isatty() or os.environ.get("CI"):
                    return
                self._bar_shown = _bar()
                self._bar_shown.start()
                self._bar_shown.add_task(self.task, total=total)
            bar = self._bar_shown
        bar.update(bar.task_ids[0], completed=done, total=total)

    def _end_progress(self) -> None:
        """Before the end: the last progress goes on record, and the bar away."""
        self._say_progress()
        if self._bar_shown is not None:
            self._bar_shown.stop()


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    terminal = sys.stdout.isatty()
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=terminal,  # what the script prints appears above the bar; a file gets its bytes
        redirect_stderr=terminal,
    )
