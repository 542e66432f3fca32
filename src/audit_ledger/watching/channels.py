"""Sending a message to a channel, by apprise: it was taken, or DeliveryFailed says why not, within a bound.

apprise says why a message was not taken in its log only. While a message is sent, what is logged of it there
is kept from every handler, since it may show the channel's URL, and becomes the error, without the secrets.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from inspect import signature
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from audit_ledger.errors import ConfigurationError, DeliveryFailed
from audit_ledger.redaction import REDACTED, redact_text
from audit_ledger.version import VERSION

if TYPE_CHECKING:
    from audit_ledger.plan import Channel

WITHIN = 15.0
"""Seconds in which a channel has to take a message."""
MAX_ERROR = 500

_HOSTS = re.compile(r"(mailto|json|xml|form|https?|matrix|mmost|ntfy|gotify|syslog)s?")
"""Schemes whose host is one, and no token."""
_CAUSES = ("Socket Exception", "Response Details")
"""How those debug messages of apprise begin that say why."""
_LOG = logging.getLogger("apprise")
_KEPT: ContextVar[list[str] | None] = ContextVar("kept", default=None)
"""What was logged of the message that is being sent in this context."""


def send(
    channel: Channel,
    title: str,
    body: str,
    *,
    critical: bool,
    resolved: bool = False,
    within: float = WITHIN,
) -> None:
    """Send a message; when it returns, the channel has taken it.

    Args:
        channel: Whom to tell.
        title: One line.
        body: Plain text.
        critical: Whether it is a failure or a warning, for channels that show the difference.
        resolved: Whether it says that all is well again.
        within: Seconds that it may take. Where that is not enough, the message may arrive all the same.

    Raises:
        DeliveryFailed: it was not taken, or not in time.
    """
    try:
        url = channel.secret_url()
        service = _service(channel, url, within)
    except ConfigurationError as error:
        raise _failed(channel, "; ".join(str(error).splitlines()), error.remedy) from error
    outcome = _Outcome()
    thread = threading.Thread(
        target=outcome.of, args=(service, title, body, critical, resolved), name="deliver", daemon=True
    )
    thread.start()
    thread.join(within)
    if thread.is_alive():
        raise _failed(channel, f"no answer within {within:g} s", "see whether its server can be reached")
    if not outcome.taken:
        raise _failed(channel, without_secrets(outcome.why(), url))


def check(channel: Channel) -> None:
    """See that a message could be sent: that the URL is there, and apprise knows what to do with it.

    Raises:
        ConfigurationError: it could not.
    """
    _service(channel, channel.secret_url(), WITHIN)


def without_secrets(text: str, url: str) -> str:
    """A text without what an apprise URL holds: user, password, path, query; the host where it is a token."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")
    secrets = [url, *place[0].split(":", 1), *parts.path.split("/"), parts.path]
    secrets += [value for key, value in parse_qsl(parts.query) if key != "smtp"]
    if not _HOSTS.fullmatch(parts.scheme):
        secrets.append(place[2])
    forms = {form for secret in secrets for form in (secret, unquote(secret)) if len(form.strip("/")) >= 3}
    for secret in sorted(forms, key=len, reverse=True):
        text = re.sub(re.escape(secret), REDACTED, text, flags=re.IGNORECASE)
    return redact_text(text)


def _failed(channel: Channel, why: str, remedy: str | None = None) -> DeliveryFailed:
    return DeliveryFailed(
        f"channel {channel.name} did not take the message",
        actual=why if len(why) <= MAX_ERROR else why[: MAX_ERROR - 1] + "…",
        remedy=remedy or f"audit-ledger config test-channel {channel.name} tries it again",
    )


def _service(channel: Channel, url: str, within: float) -> Any:
    """The object that apprise has for a URL, bound to answer in time."""
    try:
        from apprise import Apprise, AppriseAsset, NotifyFormat
        from apprise.common import OverflowMode
    except ImportError as error:
        raise ConfigurationError(
            "alerts cannot be sent",
            expected="the package apprise",
            actual="it is not installed",
            remedy="pip install 'audit-ledger[watch]'",
        ) from error
    # With a bound of its own, apprise works in threads that the interpreter waits for at its end.
    own_bound = "service_timeout" in signature(AppriseAsset).parameters
    unbound: dict[str, Any] = {"service_timeout": 0} if own_bound else {}
    asset = AppriseAsset(
        app_id="audit-ledger", app_desc=f"audit-ledger {VERSION}", app_url="", async_mode=False, **unbound
    )
    with _kept_log() as said:
        service = Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    if service is None:
        raise ConfigurationError(
            f"the URL of channel {channel.name} cannot be used",
            expected="a URL that apprise knows, see https://github.com/caronc/apprise/wiki",
            actual=without_secrets("; ".join(said), url) or "another one, not shown",
            remedy="correct it",
        )
    # An answer may take two of these times, to connect and to read.
    service.socket_connect_timeout = min(service.socket_connect_timeout, within * 0.4)
    service.socket_read_timeout = min(service.socket_read_timeout, within * 0.4)
    query = dict(parse_qsl(urlsplit(url).query))
    if "overflow" not in query:
        service.overflow_mode = OverflowMode.TRUNCATE
    if urlsplit(url).scheme in ("mailto", "mailtos") and "format" not in query:
        service.notify_format = NotifyFormat.TEXT
    return service


class _Outcome:
    """What became of a message, found out in a thread of its own."""

    def __init__(self) -> None:
        self.taken = False
        self.said: list[str] = []

    def of(self, service: Any, title: str, body: str, critical: bool, resolved: bool) -> None:
        """Send it."""
        from apprise import Apprise, NotifyFormat, NotifyType

        kind = NotifyType.SUCCESS if resolved else NotifyType.FAILURE if critical else NotifyType.WARNING
        with _kept_log() as self.said:
            try:
                sender = Apprise(asset=service.asset)
                sender.add(service)
                self.taken = bool(
                    sender.notify(title=title, body=body, notify_type=kind, body_format=NotifyFormat.TEXT)
                )
            except Exception as error:  # noqa: BLE001 - whatever a service's plugin does, it is told
                self.said.append(f"{type(error).__name__}: {error}")

    def why(self) -> str:
        """Why it was not taken."""
        return "; ".join(dict.fromkeys(self.said)) or "apprise does not say why"


class _Kept(logging.Filter):
    """Takes the records of messages that are being sent out of a log; apprise passes the context on."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep what says why; nothing of a message that is being sent goes any further."""
        kept = _KEPT.get()
        if kept is None:
            return True
        said = " ".join(record.getMessage().split())
        if record.levelno >= logging.WARNING or said.startswith(_CAUSES):
            kept.append(said)
        return False


class _Level:
    """The log is filtered, and its level lowered, while anything is sent."""

    lock = threading.Lock()
    users = 0
    before = logging.NOTSET
    filter = _Kept()


@contextmanager
def _kept_log() -> Iterator[list[str]]:
    """What apprise logs in this context, from debug messages on, which say the cause of a failure."""
    said: list[str] = []
    token = _KEPT.set(said)
    with _Level.lock:
        if not _Level.users:
            _Level.before = _LOG.level
            _LOG.setLevel(logging.DEBUG)
            _LOG.addFilter(_Level.filter)
        _Level.users += 1
    try:
        yield said
    finally:
        with _Level.lock:
            _Level.users -= 1
            if not _Level.users:
                _LOG.setLevel(_Level.before)
                _LOG.removeFilter(_Level.filter)
        _KEPT.reset(token)
