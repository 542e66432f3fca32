"""Where logs go, and what a line of them says: which run it is about, as text or as JSON.

The package logs by the standard library, under the name `audit_ledger`, and leaves handlers to who runs it.
`configure` is for programs that are run as they are: commands, and fetch scripts.

    from audit_ledger import logs

    logs.configure("json")

A line of JSON has `timestamp` (RFC 3339, UTC), `level`, `logger`, `event`; `run_id` and `task` where it was
logged inside a run, by whichever logger, in whichever thread or asyncio task; what is `extra`; and of an
exception `exception_class` and `exception`, its traceback. Secrets are cut out of all of it.
"""

import json
import logging
import sys
from collections.abc import Callable, MutableMapping
from datetime import UTC, datetime
from typing import Any, TextIO

import structlog
from structlog.stdlib import ExtraAdder, ProcessorFormatter

from audit_ledger.errors import InvalidValue
from audit_ledger.recording.capture.current import current
from audit_ledger.recording.capture.instrument import acquire
from audit_ledger.recording.redacting import redactor
from audit_ledger.recording.run import Run
from audit_ledger.redaction import Redactor
from audit_ledger.settings import load

Fields = MutableMapping[str, Any]

FORMATS = ("text", "json")

CHATTY = ("apprise",)
"""Loggers whose warnings are of interest and nothing else."""

FIRST = ("timestamp", "level", "logger", "event", "run_id", "task")
"""The fields that come first, in this order."""


def configure(
    log_format: str | None = None, *, level: int = logging.INFO, stream: TextIO | None = None
) -> Callable[[], None]:
    """Write what is logged, by the package and by everybody else, a line at a time.

    What was configured so before is replaced; other handlers are left alone.

    Args:
        log_format: "text" or "json"; by default the setting `log_format`.
        level: From which level on.
        stream: Where to; by default stderr.

    Returns:
        A function that undoes it.

    Raises:
        InvalidValue: there is no such format.
        ConfigurationError: a setting cannot be used.
    """
    settings = load()
    log_format = log_format or settings.log_format
    if log_format not in FORMATS:
        raise InvalidValue("log_format", expected=" or ".join(FORMATS), actual=repr(log_format))
    handler = _Handler(stream or sys.stderr)
    handler.setFormatter(_formatter(log_format, redactor(settings)))
    root = logging.getLogger()
    for before in [known for known in root.handlers if isinstance(known, _Handler)]:
        before.undo()
    levels = {logger: logger.level for logger in (root, *map(logging.getLogger, CHATTY))}
    root.addHandler(handler)
    root.setLevel(level)
    for name in CHATTY:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    handler.levels = levels
    handler.let_go = acquire()  # a thread takes the run of who starts it
    return handler.undo


class _Handler(logging.StreamHandler[TextIO]):
    """The handler that is put in place, and what was there before."""

    levels: dict[logging.Logger, int]
    let_go: Callable[[], None]

    def undo(self) -> None:
        """Put back what was there; once."""
        root = logging.getLogger()
        if self in root.handlers:
            root.removeHandler(self)
            for logger, level in self.levels.items():
                logger.setLevel(level)
            self.let_go()


def _formatter(log_format: str, rules: Redactor) -> ProcessorFormatter:
    def without_secrets(_: Any, __: str, fields: Fields) -> Fields:
        for name in ("_record", "_from_structlog", "message", "asctime"):  # the last two: of other handlers
            fields.pop(name, None)
        fields["event"] = rules.redact_text(str(fields["event"]))
        if "exception" in fields:
            fields["exception"] = rules.redact_text(fields["exception"])
        others = {str(name): _as_json(value) for name, value in fields.items() if name not in TEXTS}
        clean = rules.redact(others)
        assert isinstance(clean, dict)  # a copy of a dict
        both = {**clean, **{name: fields[name] for name in TEXTS if name in fields}}
        return {name: both[name] for name in (*FIRST, *both) if name in both}

    return ProcessorFormatter(
        foreign_pre_chain=[ExtraAdder()],
        processors=[
            _told,
            _of_the_run,
            _raised,
            without_secrets,
            structlog.processors.JSONRenderer(ensure_ascii=False) if log_format == "json" else _line,
        ],
    )


TEXTS = ("event", "exception")
"""Fields that are redacted as text, which may tell a secret anywhere."""


def _told(_: Any, __: str, fields: Fields) -> Fields:
    """When, how bad, and by whom."""
    record: logging.LogRecord = fields["_record"]
    at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    fields["timestamp"] = at.replace("+00:00", "Z")
    fields["level"] = record.levelname.lower()
    fields["logger"] = record.name
    return fields


def _of_the_run(_: Any, __: str, fields: Fields) -> Fields:
    """Which run it was logged inside of, unless it says that itself."""
    calls = current()
    run = calls.clock if calls is not None else None
    if isinstance(run, Run) and "run_id" not in fields:
        fields.update(run.named)
    return fields


def _raised(_: Any, __: str, fields: Fields) -> Fields:
    """The exception that was logged."""
    info = fields.pop("exc_info", None)
    if info is True:  # of structlog's own loggers, within an except block
        info = sys.exc_info()
    elif isinstance(info, BaseException):
        info = (type(info), info, info.__traceback__)
    if info and info[0] is not None:
        kind = info[0]
        module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
        fields["exception_class"] = f"{module}{kind.__qualname__}"
        fields["exception"] = logging.Formatter().formatException(info)
    return fields


def _as_json(value: Any) -> Any:
    try:
        return json.loads(json.dumps(value, default=str))
    except (ValueError, TypeError, RecursionError):
        return repr(value)


def _line(_: Any, __: str, fields: Fields) -> str:
    """A line of text: when, what, and whatever else there is; a traceback comes below."""
    below = f"\n{fields['exception']}" if "exception" in fields else ""
    others = [
        f"{name}={value}"
        for name, value in fields.items()
        if name not in ("timestamp", "level", "logger", "event", "exception", "exception_class")
    ]
    said = "  ".join([f"{fields['timestamp']} {fields['level'].upper()} {fields['event']}", *others])
    return said + below
