"""The command itself: started, given the signals that its wrapper gets, waited for, its output passed on.

**Groups.** Away from a terminal the command leads a process group of its own, so that a signal reaches what
it started as well. In the foreground of a terminal it stays in the wrapper's group, or it could not read from
the terminal: Ctrl-C and its like reach it from the terminal itself and are not passed on a second time, and
other signals go to it alone.

**Output.** What was a terminal is a pseudo-terminal for the command, anything else a pipe; bytes stay as they
are. Where stdout and stderr are the same file they share one, which keeps their order. A process that
outlives the command with its output open keeps it: a copy of the wrapper stays behind and passes it on.

**The wrapper's death.** On Linux the kernel sends the command SIGTERM if the wrapper is killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType

CHUNK = 64 << 10
LEFT_BYTES = 1 << 20
"""What a pipe holds at most: so much is taken from it once the command has ended, and no more."""

PASSED_ON = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
FROM_THE_TERMINAL = (signal.SIGINT, signal.SIGQUIT)
"""In the foreground of a terminal these reach everybody by themselves."""

NOT_FOUND, NOT_EXECUTABLE, TIMED_OUT = 127, 126, 124
"""What shells, and `timeout` of coreutils, exit with."""

PR_SET_PDEATHSIG = 1  # prctl(2)


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        status: Its exit status; None where a signal ended it, or it did not start.
        signal: The name of the signal that ended it.
        timed_out: Whether its time was up.
        not_started: Why it could not be started.
        code: What the wrapper exits with.
    """

    status: int | None = None
    signal: str | None = None
    timed_out: bool = False
    not_started: OSError | None = None
    code: int = 0


def signal_name(number: int) -> str:
    """The name of a signal; real-time signals by their number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"


class Signals:
    """Takes the wrapper's signals, for the command once there is one.

    What is ignored when the wrapper starts (nohup, a job in the background) stays ignored, for both.

    Attributes:
        early: The first signal that came while there was no command, and would have ended the wrapper.
    """

    def __init__(self) -> None:
        self.early: int | None = None
        self.at_terminal = _in_foreground()
        self._target: Callable[[int], None] | None = None
        self._before: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> Signals:
        for number in PASSED_ON:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before if before is not None else signal.SIG_DFL)

    @contextlib.contextmanager
    def to(self, target: Callable[[int], None]) -> Iterator[None]:
        """Inside, signals go there. What comes later is dropped: the command has ended, and is recorded."""
        self._target = target
        try:
            if self.early is not None:  # it came while the command was being started
                target(self.early)
            yield
        finally:
            self._target = lambda _: None

    def _take(self, number: int, _: FrameType | None) -> None:
        if self._target is None:
            self.early = self.early or number
        elif not self.at_terminal or number not in FROM_THE_TERMINAL:
            self._target(number)


def _in_foreground() -> bool:
    """Whether this process is in the foreground of a terminal."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


@dataclass
class Stream:
    """One way out of the command, passed on to a file of the wrapper's.

    Attributes:
        target: Descriptor of the file.
        inner: Descriptor of the command's end.
        outer: Descriptor of the wrapper's end.
        terminal: Whether the two are a pseudo-terminal.
        open: Whether somebody may still write to it.
    """

    target: int
    inner: int
    outer: int
    terminal: bool
    open: bool = field(default=True)

    @classmethod
    def to(cls, target: int) -> Stream | None:
        """A way to that file; None where it is closed: then it is for the command, too."""
        try:
            terminal = os.isatty(target)
            os.fstat(target)
        except OSError:
            return None
        if not terminal:
            outer, inner = os.pipe()
            return cls(target, inner, outer, terminal=False)
        outer, inner = os.openpty()
        attributes = termios.tcgetattr(target)
        termios.tcsetattr(inner, termios.TCSANOW, attributes)
        tty.setraw(inner)  # the real terminal does what is to be done with the bytes
        stream = cls(target, inner, outer, terminal=True)
        stream.resize()
        return stream

    def resize(self) -> None:
        """Give a pseudo-terminal the size of the real one."""
        if self.terminal:
            with contextlib.suppress(OSError):  # it may be gone by now
                size = fcntl.ioctl(self.target, termios.TIOCGWINSZ, struct.pack("HHHH", 0, 0, 0, 0))
                fcntl.ioctl(self.outer, termios.TIOCSWINSZ, size)

    def copy(self, add: Callable[[bytes], None], stop: int) -> None:
        """Pass on what comes, until nobody can write any more; once `stop` is readable, what is left."""
        left = LEFT_BYTES
        stopping = False
        while left > 0:
            # What a command wrote is in a pipe at once, but takes its time through a pseudo-terminal.
            wait = None if not stopping else 0.1 if self.terminal else 0
            ready, _, _ = select.select([self.outer, *([] if stopping else [stop])], [], [], wait)
            if not ready:
                return
            stopping = stopping or stop in ready
            if self.outer not in ready:
                continue
            try:
                data = os.read(self.outer, CHUNK)
            except OSError:  # a pseudo-terminal that nobody has open any more
                data = b""
            if not data:
                self.open = False
                return
            add(data)
            left -= len(data) if stopping else 0
            if not self._write(data):
                return

    def _write(self, data: bytes) -> bool:
        """Write all of it; False where nobody reads any more: then nobody reads from the command, either."""
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self.target, view) :]
            except BlockingIOError:  # whoever shares the file made it non-blocking
                select.select([], [self.target], [])
            except OSError:
                os.close(self.outer)
                self.open = False
                return False
        return True


def run(
    command: Sequence[str],
    signals: Signals,
    add: Callable[[bytes], None],
    *,
    environment: Mapping[str, str],
    timeout: float | None = None,
    kill_after: float = 10,
) -> tuple[Ended, list[Stream]]:
    """Run a command to its end.

    Args:
        command: Program and arguments.
        signals: Those of the wrapper.
        add: Is given its output as it comes, from several threads.
        environment: Its environment.
        timeout: Seconds after which it is sent SIGTERM; None or 0 for never.
        kill_after: Seconds after that until it is sent SIGKILL; 0 for never.

    Returns:
        How it ended, and the streams that others still have open.
    """
    streams = _streams()
    try:
        process = subprocess.Popen(
            command,
            env=environment,
            stdout=streams[1].inner if 1 in streams else None,
            stderr=streams[2].inner if 2 in streams else None,
            process_group=None if signals.at_terminal else 0,
            preexec_fn=_end_with(os.getpid()),  # it calls prctl and nothing else
        )
    except OSError as error:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        return Ended(not_started=error, code=NOT_FOUND if missing else NOT_EXECUTABLE), []
    distinct = list({id(stream): stream for stream in streams.values()}.values())
    for stream in distinct:
        os.close(stream.inner)
    stop, stopping = os.pipe()
    copies = [threading.Thread(target=s.copy, args=(add, stop), daemon=True) for s in distinct]

    def send(number: int) -> None:
        try:
            (os.kill if signals.at_terminal else os.killpg)(process.pid, number)
        except ProcessLookupError:
            pass  # it has just ended
        except PermissionError as error:  # it has become another user
            sys.stderr.write(
                f"audit-ledger exec: {signal_name(number)} does not reach {command[0]}: {error}\n"
            )

    def resize(*_: object) -> None:
        for stream in distinct:
            stream.resize()

    if any(stream.terminal for stream in distinct):
        signal.signal(signal.SIGWINCH, resize)
    with signals.to(send), _Clock(send, timeout, kill_after) as clock:
        for copy in copies:
            copy.start()
        process.wait()
    os.close(stopping)  # what is in the pipes already is still passed on
    for copy in copies:
        copy.join()
    os.close(stop)
    return _ended(process.returncode, timed_out=clock.rang), [stream for stream in distinct if stream.open]


def stay_behind(streams: Sequence[Stream]) -> None:
    """Leave a process that passes on what others still write; it records nothing, and ends with them."""
    if not streams or os.fork():
        return
    never, _ = os.pipe()
    copies = [threading.Thread(target=s.copy, args=(lambda _: None, never)) for s in streams]
    for copy in copies:
        copy.start()
    for copy in copies:
        copy.join()
    os._exit(0)


class _Clock:
    """Sends SIGTERM when the time is up, and SIGKILL after that."""

    def __init__(self, send: Callable[[int], None], timeout: float | None, kill_after: float) -> None:
        self.rang = False
        self._send = send
        self._timeout = timeout
        self._kill_after = kill_after

    def __enter__(self) -> _Clock:
        if self._timeout:
            signal.signal(signal.SIGALRM, self._ring)
            signal.setitimer(signal.ITIMER_REAL, self._timeout)
        return self

    def __exit__(self, *_: object) -> None:
        if self._timeout:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _ring(self, *_: object) -> None:
        if self.rang:
            self._send(signal.SIGKILL)
            return
        self.rang = True
        self._send(signal.SIGTERM)
        self._send(signal.SIGCONT)  # one that is stopped would not hear it
        if self._kill_after:
            signal.setitimer(signal.ITIMER_REAL, self._kill_after)


def _streams() -> dict[int, Stream]:
    """The ways out by descriptor; one for both where stdout and stderr are the same file."""
    made: dict[int, Stream] = {}
    out = Stream.to(1)
    if out is not None:
        made[1] = out
    with contextlib.suppress(OSError):
        if out is not None and os.path.sameopenfile(1, 2):
            made[2] = out
            return made
    error = Stream.to(2)
    if error is not None:
        made[2] = error
    return made


def _end_with(parent: int) -> Callable[[], None] | None:
    """What the child calls before it becomes the command: it is to be told when its parent dies."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl

    def call() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before that
            os._exit(128 + signal.SIGTERM)

    return call


def _ended(returncode: int, *, timed_out: bool) -> Ended:
    if returncode >= 0:
        return Ended(status=returncode, timed_out=timed_out, code=TIMED_OUT if timed_out else returncode)
    killed = -returncode == signal.SIGKILL
    return Ended(
        signal=signal_name(-returncode),
        timed_out=timed_out,
        code=TIMED_OUT if timed_out and not killed else 128 - returncode,
    )
