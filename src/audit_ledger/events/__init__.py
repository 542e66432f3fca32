"""The vocabulary: every event, as a frozen pydantic model, and its canonical JSON.

**State.** An event's state is one JSON object in UTF-8, without white space, its keys in the order
of RFC 8785 (section 3.2.3; here they are ASCII, so plain code point order), absent rather than null
where there is no value. `v` is the version of the event type's schema. It casts to PostgreSQL's
jsonb on every supported server: no NUL, no lone surrogate, finite numbers within ±(2^53 − 1),
depth at most 64, at most 60,000 bytes. Instants are RFC 3339 in UTC with six decimals; days are
RFC 3339 full-dates; identifiers and amounts are strings.

    >>> event = RecordIngested(
    ...     occurred_at=datetime(2025, 12, 24, 14, tzinfo=UTC),
    ...     record_type="QuiverTrade", record_id="12345", operation="created",
    ... )
    >>> event.state
    b'{"occurred_at":"2025-12-24T14:00:00.000000Z","operation":"created","record_id":"12345","record_type":"QuiverTrade","v":1}'

The stream of an event is the run that it is about, unless `run_id` names another one.

form.py says what all events have in common, plain.py writes the simplest of them without their models, the
other modules hold the events themselves. Each is imported when it is first asked for: whoever only runs a
command has no time for pydantic, and scripts that record have no use for most of the vocabulary.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from audit_ledger.canonical import canonical_json, storable
from audit_ledger.errors import InvalidValue
from audit_ledger.events.limits import MAX_COUNT, MAX_DAYS, MAX_INPUTS, MAX_REFERRERS, MAX_STATE_BYTES

if TYPE_CHECKING:
    from audit_ledger.events.evidence import KeyRotated, LedgerVerified
    from audit_ledger.events.form import Count, Event, Name, Text
    from audit_ledger.events.officers import (
        BodyErased,
        HoldAdded,
        HoldReleased,
        LedgerRecovered,
        RetentionChanged,
    )
    from audit_ledger.events.plain import Plain
    from audit_ledger.events.runs import (
        ApiCallMade,
        HeartbeatRecorded,
        Operation,
        RecordIngested,
        RecordWithdrawn,
        RunCompleted,
        RunFailed,
        RunJoined,
        RunLeft,
        RunSkipped,
        RunStarted,
    )
    from audit_ledger.events.statements import (
        DecisionExecuted,
        DecisionMade,
        EventCorrected,
    )
    from audit_ledger.events.watching import (
        AlertAcknowledged,
        AlertAttempted,
        AlertDelivered,
        AlertFailed,
        AlertRaised,
        AlertResolved,
        AnomalyFound,
        AnomalyKind,
        Kind,
        Notice,
        RunAbandoned,
        RunMissed,
        TaskDefined,
        TaskRemoved,
        WatchAdvanced,
    )

__all__ = [
    "MAX_COUNT",
    "MAX_DAYS",
    "MAX_INPUTS",
    "MAX_REFERRERS",
    "MAX_STATE_BYTES",
    "AlertAcknowledged",
    "AlertAttempted",
    "AlertDelivered",
    "AlertFailed",
    "AlertRaised",
    "AlertResolved",
    "AnomalyFound",
    "AnomalyKind",
    "ApiCallMade",
    "BodyErased",
    "Count",
    "DecisionExecuted",
    "DecisionMade",
    "Event",
    "EventCorrected",
    "HeartbeatRecorded",
    "HoldAdded",
    "HoldReleased",
    "KeyRotated",
    "Kind",
    "LedgerRecovered",
    "LedgerVerified",
    "Name",
    "Notice",
    "Operation",
    "Plain",
    "RecordIngested",
    "RecordWithdrawn",
    "RetentionChanged",
    "RunAbandoned",
    "RunCompleted",
    "RunFailed",
    "RunJoined",
    "RunLeft",
    "RunMissed",
    "RunSkipped",
    "RunStarted",
    "TaskDefined",
    "TaskRemoved",
    "Text",
    "WatchAdvanced",
    "canonical_json",
    "decode",
    "storable",
    "vocabulary",
]

_NAMES = {
    "form": ("Count", "Event", "Name", "Text"),
    "plain": ("Plain",),
    "runs": (
        "ApiCallMade",
        "HeartbeatRecorded",
        "Operation",
        "RecordIngested",
        "RecordWithdrawn",
        "RunCompleted",
        "RunFailed",
        "RunJoined",
        "RunLeft",
        "RunSkipped",
        "RunStarted",
    ),
    "officers": ("BodyErased", "HoldAdded", "HoldReleased", "LedgerRecovered", "RetentionChanged"),
    "statements": ("DecisionExecuted", "DecisionMade", "EventCorrected"),
    "watching": (
        "AlertAcknowledged",
        "AlertAttempted",
        "AlertDelivered",
        "AlertFailed",
        "AlertRaised",
        "AlertResolved",
        "AnomalyFound",
        "AnomalyKind",
        "Kind",
        "Notice",
        "RunAbandoned",
        "RunMissed",
        "TaskDefined",
        "TaskRemoved",
        "WatchAdvanced",
    ),
    "evidence": ("KeyRotated", "LedgerVerified"),
}
"""What is in which module."""

MODULES = tuple(_NAMES)
_PLACES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    globals()[name] = value
    return value


def vocabulary() -> dict[str, type["Event"]]:
    """Every event, by its type."""
    from audit_ledger.events.form import Event

    for module in MODULES:
        import_module(f"{__name__}.{module}")
    return Event.types


def decode(type_name: str, state: bytes) -> "Event":
    """The event of that type and state.

    Raises:
        InvalidValue: the type is unknown, or the state is not of its form.
    """
    from pydantic import ValidationError

    from audit_ledger.events.form import Event

    known = Event.types if type_name in Event.types else vocabulary()
    if type_name not in known:
        raise InvalidValue("type", expected=f"one of {', '.join(known)}", actual=type_name)
    try:
        return known[type_name].model_validate_json(state)
    except ValidationError as error:
        raise InvalidValue("state", expected=f"a {type_name}", actual=str(error)) from error
