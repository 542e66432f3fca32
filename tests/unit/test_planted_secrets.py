"""Planted secrets: each kind in each place that can carry one, and data that only looks like one."""

import base64
import gzip
import json
import urllib.parse
from collections.abc import Callable
from xml.sax.saxutils import escape

import pytest

from audit_ledger.redaction import Redactor
from tests.secrets import HARMLESS, HARMLESS_IN_JSON, SECRETS, Planted

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
KEYED, PLAIN = Redactor(key=b"a key of 16 byte"), Redactor()
quote = urllib.parse.quote


def multipart(name: str, value: str, filename: str = "") -> bytes:
    file = f'; filename="{filename}"' if filename else ""
    return (
        f'--B1\r\nContent-Disposition: form-data; name="n"\r\n\r\n5\r\n--B1\r\n'
        f'Content-Disposition: form-data; name="{name}"{file}\r\n\r\n{value}\r\n--B1--\r\n'
    ).encode()


def element(secret: Planted) -> str:
    return f"<{secret.json_key}>{escape(secret.value)}</{secret.json_key}>"


def basic(secret: Planted) -> str:
    return base64.b64encode(f"user:{secret.value}".encode()).decode()


PLACES: dict[str, Callable[[Redactor, Planted], object]] = {
    "request header": lambda r, s: r.request_headers([("Accept", "*/*"), (s.header, s.header_value)]),
    "basic header": lambda r, s: r.request_headers([("Authorization", f"Basic {basic(s)}")]),
    "referer": lambda r, s: r.request_headers([("Referer", f"https://h/?{s.query}={quote(s.value)}")]),
    "location": lambda r, s: r.response_headers([("Location", f"/a?{s.query}={quote(s.value)}&n=5")]),
    "query": lambda r, s: r.redact_url(f"https://h/a?n=5&{s.query}={quote(s.value, safe='')}&m=1"),
    "query quoted": lambda r, s: r.redact_url(
        f"/a?{quote(s.query[0])}%{ord(s.query[0]):x}=1&{s.query}={s.value}"
    ),
    "url in query": lambda r, s: r.redact_url(
        "https://h/?u=" + quote(f"https://i/?{s.query}={quote(s.value, safe='')}", safe="")
    ),
    "user information": lambda r, s: r.redact_url(f"postgresql://{quote(s.user_information, safe=':')}@h/db"),
    "user information in text": lambda r, s: r.redact_text(
        f"cannot connect to amqp://{quote(s.user_information, safe=':')}@h:5672/v: refused"
    ),
    "json": lambda r, s: r.redact_body(json.dumps({"a": [{s.json_key: s.value}]}).encode(), JSON),
    "json in json": lambda r, s: r.redact_body(
        json.dumps({"a": json.dumps({"b": json.dumps([{s.json_key: s.value}])})}).encode(), None
    ),
    "json name and value": lambda r, s: r.redact_body(
        json.dumps([{"name": s.json_key, "value": s.value}]).encode(), JSON
    ),
    "json cut short": lambda r, s: r.redact_body(
        json.dumps({"n": 1, s.json_key: s.value}).encode()[:-1], JSON
    ),
    "lines of json": lambda r, s: r.redact_body(
        b'{"n": 1}\n' + json.dumps({"key": s.json_key, "value": s.value}).encode() + b"\n",
        "application/x-ndjson",
    ),
    "deep json": lambda r, s: r.redact_body(
        b'{"a":[' * 1_000 + json.dumps({s.json_key: s.value}).encode() + b"]}" * 1_000, JSON
    ),
    "form": lambda r, s: r.redact_body(
        f"n=1&{quote(s.form_key, safe='')}={quote(s.value, safe='')}&m=2".encode(), FORM
    ),
    "multipart": lambda r, s: r.redact_body(
        multipart(s.form_key, s.value), "multipart/form-data; boundary=B1"
    ),
    "multipart file": lambda r, s: r.redact_body(
        multipart("upload", json.dumps({s.json_key: s.value}), "a.json"), 'multipart/form-data; boundary="B1"'
    ),
    "multipart without a type": lambda r, s: r.redact_body(multipart(s.form_key, s.value), None),
    "binary multipart": lambda r, s: r.redact_body(
        b"\xff\xfa" + multipart(s.form_key, s.value), "multipart/form-data; boundary=B1"
    ),
    "xml": lambda r, s: r.redact_body(f"<a>{element(s)}<n>1</n></a>".encode(), "application/xml"),
    "xml attribute": lambda r, s: r.redact_body(
        f'<a><add key="{s.json_key}" value="{s.value}"/></a>'.encode(), "text/xml"
    ),
    "xml in xml": lambda r, s: r.redact_text(
        escape(f"<a><{s.json_key}>{escape(s.value)}</{s.json_key}></a>").join(["<b>", "</b>"])
    ),
    "html form": lambda r, s: r.redact_body(
        f'<form><input type="hidden" name="{s.json_key}" value="{s.value}"></form>'.encode(), "text/html"
    ),
    "yaml": lambda r, s: r.redact_body(
        f"n: 1\n{s.json_key}: |\n".encode() + b"".join(b"  %s\n" % v.encode() for v in s.value.split("\n")),
        "application/yaml",
    ),
    "text": lambda r, s: r.redact_text(s.text),
    "backtrace": lambda r, s: r.redact_text(f"    get({s.json_key}={s.value!r})\nValueError: {s.text}"),
    "parameters": lambda r, s: r.redact({"a": {"b": [(s.json_key, s.value)]}, s.json_key: [s.value]}),
    "bytes": lambda r, s: r.redact([(s.json_key.encode(), s.value.encode())]),
    "command line": lambda r, s: r.command_line(s.command_line),
    "command line with =": lambda r, s: r.command_line(["fetch", f"{s.command_line[1]}={s.value}"]),
    "environment": lambda r, s: r.command_line([f"{s.json_key.replace('-', '_')}={s.value}", "fetch"]),
    "curl user": lambda r, s: r.command_line(["curl", "-su", s.user_information, "https://h"]),
    "curl header": lambda r, s: r.command_line(["curl", "-H", f"{s.header}: {s.header_value}"]),
    "curl data": lambda r, s: r.command_line(["curl", "-d", f"{s.form_key}={quote(s.value, safe='')}"]),
    "curl cookie": lambda r, s: r.command_line(["curl", "-sb", f"sid={s.value}; n=5", "https://h"]),
    "curl cookie, attached": lambda r, s: r.command_line(["curl", f"-bsid={s.value}", "https://h"]),
    "option that ends in pass": lambda r, s: r.command_line(["fetch", "--sftp-pass", s.value]),
    "option that ends in pass, with =": lambda r, s: r.command_line(["fetch", f"--sftp-pass={s.value}"]),
    "curl data of markup": lambda r, s: r.command_line(["curl", "-d", element(s), "https://h"]),
    "markup with a URL": lambda r, s: r.command_line(["post", f"<a><to>https://h</to>{element(s)}</a>"]),
    "markup in a form": lambda r, s: r.command_line(["post", f"a=b&c={element(s)}"]),
    "command in an error": lambda r, s: r.redact_text(
        f"Command {['curl', '-u', s.user_information, 'https://h']} returned non-zero exit status 22."
    ),
}


def forms(value: str) -> list[str]:
    """The secret, and what it looks like in the encodings that may hold it."""
    return [
        value,
        quote(value, safe=""),
        json.dumps(value)[1:-1],
        base64.b64encode(f"user:{value}".encode()).decode(),
        base64.b64encode(value.encode()).decode(),
    ]


def written(result: object) -> str:
    if isinstance(result, bytes):
        return result.decode("latin-1")
    return result if isinstance(result, str) else repr(result)


def test_there_are_secrets_enough() -> None:
    assert len(SECRETS) >= 200
    assert len({secret.kind for secret in SECRETS}) >= 20
    assert len({secret.value for secret in SECRETS}) == len(SECRETS)


@pytest.mark.parametrize("place", PLACES)
def test_no_planted_secret_survives(place: str) -> None:
    redacted = PLACES[place]
    for secret in SECRETS:
        for redactor in (PLAIN, KEYED):
            clean = written(redacted(redactor, secret))
            assert "REDACTED" in clean
            survivors = [form for form in forms(secret.value) if form in clean]
            assert not survivors, f"{secret.kind} survives: {clean}"


def test_a_secret_of_a_known_form_survives_under_no_name() -> None:
    for secret in SECRETS:
        if secret.known_form:
            for redactor in (PLAIN, KEYED):
                tree = {"a": [f"x {secret.value} y", {"b": f"({secret.value})"}]}
                assert secret.value not in repr(redactor.redact(tree))
                assert secret.value not in repr(redactor.command_line(["say", f"it is {secret.value}"]))
                headers = redactor.response_headers([("Server", f"a {secret.value}"), ("Via", secret.value)])
                assert secret.value not in repr(headers)


@pytest.mark.parametrize("redactor", [PLAIN, KEYED], ids=["plain", "keyed"])
def test_data_that_looks_like_a_secret_stays(redactor: Redactor) -> None:
    for name, value in (HARMLESS | HARMLESS_IN_JSON).items():
        for body in ({name: value}, [{"a": {name: value}}], {"name": name, "value": value}):
            text = json.dumps(body, indent=1).encode()
            assert redactor.redact_body(text, JSON) is text
            assert redactor.redact(body) == body
    for name, value in HARMLESS.items():
        form = urllib.parse.urlencode({"n": 1, name: value}).encode()
        assert redactor.redact_body(form, FORM) is form
        assert redactor.redact_url(f"https://h/?{form.decode()}") == f"https://h/?{form.decode()}"
        xml = f"<a><{name}>{value}</{name}><add key='{name}' value='{value}'/></a>".encode()
        assert redactor.redact_body(xml, "application/xml") is xml
        part = multipart(name, value)
        assert redactor.redact_body(part, "multipart/form-data; boundary=B1") is part
        arguments = ["fetch", "--" + name, value, f"{name}={value}", "-p", "8080", "-u", "root"]
        assert redactor.command_line(arguments) == arguments
        if not name.endswith(("key", "session")):  # headers of such names hold secrets
            assert redactor.request_headers([("X-" + name, value)]) == [("X-" + name, value)]


def test_compressed_bytes_stay_as_they_are() -> None:
    body = gzip.compress(b"n" * 100, mtime=0)
    assert PLAIN.redact_body(body, "application/octet-stream") is body
