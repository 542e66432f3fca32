"""The process of an embedded server.

A module of its own, since `psutil` takes long to import: who finds the server running does without.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil


class Postmaster:
    """A process that is, or was, a server's.

    Attributes:
        pid: Its number.
    """

    def __init__(self, process: psutil.Process) -> None:
        self.pid = process.pid
        self._process = process

    @classmethod
    def of(cls, pid: int) -> Postmaster | None:
        """The process of that number; None where there is none."""
        try:
            return cls(psutil.Process(pid))
        except psutil.NoSuchProcess:
            return None

    def serves(self, data: Path) -> bool:
        """Whether it is the server of that data folder, and not another process that has its number now."""
        try:
            if self._process.name() != "postgres":
                return False
            # A server that was started by hand may name its folder otherwise, but is in it.
            return str(data) in self._process.cmdline() or self._process.cwd() == str(data.resolve())
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False  # it has just ended, or is neither ours nor our account's

    @property
    def lives(self) -> bool:
        """Whether it runs; one that has ended but was not reaped does not.

        Raises:
            OSError: it cannot be looked at.
        """
        try:
            with _explained():
                return self._process.is_running() and self._process.status() != psutil.STATUS_ZOMBIE
        except ProcessLookupError:
            return False

    def interrupt(self) -> None:
        """Ask it to roll back what is not committed, and to end: PostgreSQL's "fast shutdown".

        Raises:
            OSError: it has ended, or is not ours to end.
        """
        with _explained():
            self._process.send_signal(signal.SIGINT)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except psutil.NoSuchProcess as error:
        raise ProcessLookupError(str(error)) from error
    except psutil.Error as error:
        raise PermissionError(str(error)) from error
