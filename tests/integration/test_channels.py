"""Messages reach a real SMTP server and a real webhook; where not, the error says why, without secrets."""

import logging
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from audit_ledger.errors import ConfigurationError, DeliveryFailed
from audit_ledger.plan import Channel
from audit_ledger.watching.channels import check, send, without_secrets
from tests.receivers import Mailbox, Webhook, free_port

TITLE = "Lauf fehlgeschlagen: congress_daily ✗"
BODY = 'Zeile eins – <b>Größe</b> & "Maß"\nZeile zwei: 漢字 @channel'


@contextmanager
def silent_port() -> Iterator[int]:
    """A port that accepts and never answers."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        found.listen()
        yield int(found.getsockname()[1])


@contextmanager
def dripping_port() -> Iterator[int]:
    """A port that answers for ever, a byte at a time."""
    done = threading.Event()

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Drip: ")
            while not done.wait(0.05):
                try:
                    connection.sendall(b"x")
                except OSError:
                    return

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        found.listen()
        threading.Thread(target=drip, args=(found,), daemon=True).start()
        try:
            yield int(found.getsockname()[1])
        finally:
            done.set()


def mail(port: int, more: str = "") -> Channel:
    url = f"mailto://127.0.0.1:{port}/?from=ledger@example.com&to=ops@example.com{more}"
    return Channel(name="mail", url=url)


def hook(port: int, more: str = "") -> Channel:
    return Channel(name="hook", url=f"json://bob:s3cret-word@127.0.0.1:{port}/services/T0KEN123{more}")


def failure(channel: Channel, within: float = 15) -> str:
    """What is said where a message is not taken."""
    with pytest.raises(DeliveryFailed) as caught:
        send(channel, TITLE, BODY, critical=True, within=within)
    return str(caught.value)


def test_an_e_mail_arrives_as_text_with_every_character(mailbox: Mailbox) -> None:
    send(mail(mailbox.port), TITLE, BODY, critical=True)
    (message,) = mailbox.messages
    assert message["subject"] == TITLE
    assert mailbox.recipients == ["ops@example.com"]
    text = message.get_body(("plain",))
    assert text is not None
    assert text.get_content().strip().replace("\r\n", "\n") == BODY
    assert message.get_body(("html",)) is None


def test_an_e_mail_is_html_where_the_url_asks_for_it(mailbox: Mailbox) -> None:
    send(mail(mailbox.port, "&format=html"), TITLE, BODY, critical=True)
    html = mailbox.messages[0].get_body(("html",))
    assert html is not None
    assert "&lt;b&gt;Größe" in html.get_content()


def test_a_webhook_is_told_how_bad_it_is(webhook: Webhook) -> None:
    channel = hook(webhook.server_port)
    send(channel, TITLE, BODY, critical=True)
    send(channel, TITLE, BODY, critical=False)
    send(channel, TITLE, BODY, critical=False, resolved=True)
    assert [posted["type"] for _, posted in webhook.received] == ["failure", "warning", "success"]
    path, posted = webhook.received[0]
    assert (path, posted["title"], posted["message"]) == ("/services/T0KEN123", TITLE, BODY)


def test_a_long_message_is_cut_rather_than_refused(webhook: Webhook) -> None:
    send(hook(webhook.server_port), TITLE, "x" * 100_000, critical=True)
    ((_, posted),) = webhook.received
    assert 1_000 < len(posted["message"]) < 100_000


def test_a_refusal_is_said_with_the_answer(webhook: Webhook) -> None:
    webhook.status, webhook.answer = 500, b"no such hook: T0KEN123 of s3cret-word"
    said = failure(hook(webhook.server_port))
    assert "channel hook did not take the message" in said
    assert "500" in said
    assert "no such hook" in said
    assert "T0KEN123" not in said
    assert "s3cret-word" not in said
    assert len(webhook.received) == 1


def test_a_refused_e_mail_is_said(mailbox: Mailbox) -> None:
    mailbox.refuses = "554 5.7.1 spam"
    said = failure(mail(mailbox.port))
    assert "554" in said
    assert "ops@example.com" not in said


@pytest.mark.parametrize("channel", [mail, hook])
def test_a_refused_connection_is_said(channel: Any) -> None:
    said = failure(channel(free_port()))
    assert "refused" in said
    assert "T0KEN123" not in said


@pytest.mark.parametrize("channel", [mail, hook])
def test_a_server_that_never_answers_is_given_up_in_time(channel: Any) -> None:
    with silent_port() as port:
        began = time.monotonic()
        said = failure(channel(port), within=1)
        assert time.monotonic() - began < 2
    assert "timed out" in said


def test_a_server_that_answers_for_ever_is_given_up_in_time() -> None:
    with dripping_port() as port:
        began = time.monotonic()
        said = failure(hook(port), within=1)
        assert time.monotonic() - began < 2
    assert "no answer within 1 s" in said


def test_the_times_of_a_service_are_within_the_fifteen_seconds_of_a_message() -> None:
    from audit_ledger.watching import channels

    service = channels._service(
        mail(25), "mailto://127.0.0.1:25/?from=a@example.com&to=b@example.com", channels.WITHIN
    )
    assert channels.WITHIN == 15
    assert service.socket_connect_timeout + service.socket_read_timeout < channels.WITHIN


def test_nothing_of_apprise_reaches_other_logs(
    webhook: Webhook, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    webhook.status = 404
    log = logging.getLogger("apprise")
    before = log.level
    with caplog.at_level(logging.DEBUG):
        failure(hook(webhook.server_port))
    assert [record for record in caplog.records if record.name == "apprise"] == []
    assert "T0KEN123" not in "".join(capfd.readouterr())
    assert (log.level, log.filters) == (before, [])


def test_messages_sent_at_once_do_not_mix_their_errors(webhook: Webhook) -> None:
    webhook.status = 503
    said: dict[str, str] = {}

    def fail(name: str, channel: Channel) -> None:
        said[name] = failure(channel)

    threads = [
        threading.Thread(target=fail, daemon=True, args=(f"{kind.__name__}{n}", kind(port)))
        for n in range(4)
        for kind, port in ((hook, webhook.server_port), (mail, free_port()))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(said) == 8
    for name, text in said.items():
        assert ("503" in text) == name.startswith("hook")
        assert ("refused" in text) == name.startswith("mail")
    assert logging.getLogger("apprise").filters == []


@pytest.mark.parametrize("url", ["nosuch://s3cret-word@host/T0KEN123", "mailto://", "slack://s3cret-word"])
def test_a_url_that_apprise_does_not_know_is_said_without_it(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "url").write_text(url)
    channel = Channel(name="odd", url_file=tmp_path / "url")
    with pytest.raises(ConfigurationError) as caught:
        check(channel)
    said = str(caught.value) + failure(channel) + caplog.text
    assert "odd" in said
    assert "s3cret-word" not in said
    assert "T0KEN123" not in said


def test_a_url_that_is_not_there_is_a_failed_delivery() -> None:
    said = failure(Channel(name="gone", url_env="AUDIT_LEDGER_NO_SUCH_VARIABLE"))
    assert "AUDIT_LEDGER_NO_SUCH_VARIABLE" in said


def test_without_apprise_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "apprise"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "apprise", None)
    assert "pip install 'audit-ledger[watch]'" in failure(mail(25))
    with pytest.raises(ConfigurationError, match="apprise"):
        check(mail(25))


def test_no_part_of_a_url_that_may_be_secret_is_shown() -> None:
    url = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/?to=%23ops-room"
    text = f"400: {url} t1jj3t3l2 A1BRTD4JD at TIiajkdnlazkcOXrIdevi7FQ #ops-room"
    assert without_secrets(text, url) == "400: [REDACTED] [REDACTED] [REDACTED] at [REDACTED] [REDACTED]"
    url = "mailto://ada:p%40ss-word@smtp.example.com?to=ops@example.com"
    assert without_secrets("smtp.example.com: p@ss-word p%40ss-word", url) == (
        "smtp.example.com: [REDACTED] [REDACTED]"
    )
