"""The command line of `audit-ledger exec`.

It is read by argparse, and not as the other commands are: these are parsed together, by a library that takes
a good part of the time that exec may add to a command.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NoReturn

Overlap = Literal["allow", "skip", "fail"]
WhenAway = Literal["strict", "spool"]

DESCRIPTION = """\
Run a command inside a run: that it began is on record before it starts, and how it ended when this returns.
Its output, its input and its exit code are its own, and signals reach it. A Python script inside that records
joins the run."""

EPILOG = """\
exit codes: those of the command, 128 and the signal's number where one ended it, and

  124  its time was up (137 where it had to be killed)
  126  it could not be executed
  127  there is no such command
  2    the command line of exec was not understood
  75   it was not started: --overlap fail, or --when-away strict and the ledger did not answer

Example: audit-ledger exec --task data_fetch:congress_daily --source quiverquant_congress -- ./fetch.sh"""

_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class Arguments:
    """What exec is asked for.

    Attributes:
        task: The run's task.
        source: The run's source.
        command: Program and arguments.
        scheduled_for: When it was due.
        timeout: Seconds that it may take; None or 0 for any.
        kill_after: Seconds from SIGTERM to SIGKILL; 0 for never.
        overlap: What to do while another run of the task goes on; None where the task decides.
        when_away: What to do while the ledger does not answer; None where the settings decide.
    """

    task: str
    source: str
    command: list[str]
    scheduled_for: datetime | None = None
    timeout: float | None = None
    kill_after: float = 10
    overlap: Overlap | None = None
    when_away: WhenAway | None = None


def parse(given: Sequence[str]) -> Arguments:
    """Read the command line.

    Raises:
        SystemExit: it asked for help (0), or is not understood (2); said on stdout and stderr.
    """
    parser = _Parser(
        prog="audit-ledger exec",
        usage="%(prog)s --task TASK --source SOURCE [options] -- command [argument ...]",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--task", required=True, help="What runs, e.g. data_fetch:congress_daily.")
    parser.add_argument("--source", required=True, help="Where the data comes from.")
    parser.add_argument(
        "--scheduled-for",
        type=instant,
        metavar="INSTANT",
        help="When it was due, in ISO 8601 with an offset.",
    )
    parser.add_argument(
        "--timeout", type=duration, help='Send it SIGTERM after so long: seconds, or "10m", "2h".'
    )
    parser.add_argument(
        "--kill-after",
        type=duration,
        default=10.0,
        metavar="TIME",
        help="Send it SIGKILL so long after that; 0: never. Default: 10s.",
    )
    parser.add_argument(
        "--overlap",
        choices=("allow", "skip", "fail"),
        help="While another run of the task goes on that exec started with skip or fail: run all the same,"
        " record that it is skipped (exit code 0), or record a failed run (75).",
    )
    parser.add_argument(
        "--when-away",
        choices=("strict", "spool"),
        help="While the ledger does not answer: do not start (75), or run all the same. Default: spool.",
    )
    end = given.index("--") if "--" in given else len(given)
    found = vars(parser.parse_args(given[:end]))
    command = list(given[end + 1 :])
    if not command:
        parser.error("there is no command: write it after --")
    for name in ("task", "source"):
        if not found[name].strip() or len(found[name]) > 250:
            parser.error(f"--{name} takes 1 to 250 characters")
    return Arguments(command=command, **found)


def duration(text: str) -> float:
    """Seconds, from "90", "90s", "10m", "2h" or "1d".

    Raises:
        argparse.ArgumentTypeError: it is none of these.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration: write seconds, or 90s, 10m, 2h, 1d")
    return float(match[1]) * _SECONDS[match[2]]


def instant(text: str) -> datetime:
    """An instant with its offset from UTC.

    Raises:
        argparse.ArgumentTypeError: it is none, or lacks the offset.
    """
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no instant: {error}") from error
    if when.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} lacks an offset: 2025-12-24T06:15:00-05:00")
    return when


class _Parser(argparse.ArgumentParser):
    """argparse, with the words that the other commands use."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong."""
        self.exit(2, f"error: {message}\n  remedy: audit-ledger exec --help\n")
