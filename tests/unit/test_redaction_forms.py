"""Redaction of headers, command lines, multipart, XML, YAML, lines of JSON; and the marks with a digest."""

import doctest
import hashlib
import hmac
import json
from types import ModuleType

import pytest

from audit_ledger.errors import InvalidValue
from audit_ledger.redaction import (
    REDACTED,
    Redactor,
    marks,
    names,
    redact,
    redact_body,
    redact_text,
)

KEY = b"sixteen bytes ok"
KEYED, PLAIN = Redactor(key=KEY), Redactor()
MULTIPART = "multipart/form-data; boundary=B"


def mark(secret: str) -> str:
    return f"[REDACTED:{hmac.new(KEY, secret.encode(), hashlib.sha256).hexdigest()[:8]}]"


def test_equal_secrets_have_equal_marks_wherever_they_stand() -> None:
    expected = mark("hün&ter")
    assert KEYED.redact({"token": "hün&ter"}) == {"token": expected}
    assert KEYED.redact_text("password='hün&ter' b") == f"password='{expected}' b"
    assert KEYED.redact_url("/a?token=h%C3%BCn%26ter&n=1") == f"/a?token={expected}&n=1"
    assert KEYED.redact_url("https://u:h%C3%BCn%26ter@h") == f"https://REDACTED-{expected[10:18]}@h"
    assert KEYED.request_headers([("X-Token", "Bearer hün&ter")]) == [("X-Token", f"Bearer {expected}")]
    assert KEYED.command_line(["curl", "-u", "bob:hün&ter"]) == ["curl", "-u", expected]
    assert KEYED.redact_body(b'{"token":"h\\u00fcn&ter"}', None).decode() == f'{{"token":"{expected}"}}'
    assert KEYED.redact_text("Authorization: Bearer hün&ter") == f"Authorization: {expected}"
    assert KEYED.redact([(b"token", "hün&ter".encode())]) == [(b"token", expected)]


def test_a_mark_stays_as_it_is_under_any_key() -> None:
    for text in ("token=[REDACTED:12ab34cd]", "token=[REDACTED]", "//u:p@h"):
        clean = Redactor(key=b"another key, also").redact_text(text)
        assert KEYED.redact_text(clean) == PLAIN.redact_text(clean) == clean
    assert KEYED.redact({"token": "[REDACTED:12ab34cd]"}) == {"token": "[REDACTED:12ab34cd]"}


def test_what_is_no_text_is_digested_as_its_json() -> None:
    assert KEYED.redact({"otp": 123456, "token": ["ü", 1]}) == {
        "otp": mark("123456"),
        "token": mark('["ü",1]'),
    }
    deep: list[object] = []
    for _ in range(10_000):
        deep = [deep]
    assert KEYED.redact({"token": deep}) == {"token": REDACTED}


def test_the_key_is_not_shown() -> None:
    assert "sixteen" not in repr(KEYED)


@pytest.mark.parametrize("pattern", ["(", "a*", "", "x|"])
def test_a_pattern_that_cannot_be_used_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidValue, match="extra_patterns"):
        Redactor(extra_patterns=("ok", pattern))


def test_patterns_do_not_match_within_marks() -> None:
    more = Redactor(extra_patterns=(r"(?i)redacted", "[0-9a-f]{8}", "(?x) ACME - [0-9]+ # ours"), key=KEY)
    clean = more.redact_text("token=x ACME-17 0123abcd")
    assert clean == f"token={mark('x')} {mark('ACME-17')} {mark('0123abcd')}"
    assert more.redact_text(clean) == clean


REQUEST = [  # (name, value, the value without secrets)
    ("Authorization", "Bearer abc", "Bearer [REDACTED]"),
    ("authorization", "Basic dTpw", "Basic [REDACTED]"),
    ("Authorization", "AWS4-HMAC-SHA256 Credential=a/b, Signature=c", "AWS4-HMAC-SHA256 [REDACTED]"),
    ("Authorization", "my own words", "[REDACTED]"),
    ("Proxy-Authorization", "Digest a=b", "Digest [REDACTED]"),
    ("Cookie", "theme=dark; sid=1", "[REDACTED]"),
    ("X-API-KEY", "abc", "[REDACTED]"),
    ("X-CSRFToken", "abc", "[REDACTED]"),
    ("X-Functions-Key", "abc", "[REDACTED]"),
    ("X-Empty-Token", "", ""),
    ("Referer", "https://u:p@h/?code=c&n=5", "https://REDACTED@h/?code=[REDACTED]&n=5"),
    ("X-Note", "password=abc", "password=[REDACTED]"),
    ("X-Json", '{"token":"abc"}', '{"token":"[REDACTED]"}'),
    ("Accept", "application/json; q=0.5, */*", "application/json; q=0.5, */*"),
    ("User-Agent", "python-requests/2.32 (+https://h/bot)", "python-requests/2.32 (+https://h/bot)"),
    ("If-None-Match", 'W/"abc-1"', 'W/"abc-1"'),
    ("Idempotency-Key", "abc", "abc"),
    ("Content-Type", 'multipart/form-data; boundary="x"', 'multipart/form-data; boundary="x"'),
]


def test_request_headers_are_all_kept_in_order_without_their_secrets() -> None:
    given = [(name, value) for name, value, _ in REQUEST]
    assert PLAIN.request_headers(given) == [(name, clean) for name, _, clean in REQUEST]
    assert PLAIN.request_headers(iter(given)) == PLAIN.request_headers(given)


def test_response_headers_are_kept_by_a_list() -> None:
    more = Redactor(extra_headers=("X-Page", "Set-Cookie", "x-session-token", "WWW-Authenticate"))
    given = [
        ("Content-Type", "text/html"),
        ("VARY", "Accept"),
        ("vary", "Origin"),
        ("RateLimit-Reset", "5"),
        ("X-RateLimit-Remaining-Tokens", "7"),
        ("Location", "https://u:p@h/cb?code=c&state=s"),
        ("Link", '<https://h/?token=t&page=2>; rel="next", <https://h/?page=9>; rel="last"'),
        ("Server", "x" * 2_000),
        ("Set-Cookie", "sid=1"),
        ("X-Session-Token", "abc"),
        ("X-RateLimit-Key", "abc"),
        ("X-Page", "password=abc"),
        ("X-Other", "abc"),
    ]
    kept = {
        "content-type": "text/html",
        "vary": "Accept, Origin",
        "ratelimit-reset": "5",
        "x-ratelimit-remaining-tokens": "7",
        "location": "https://REDACTED@h/cb?code=[REDACTED]&state=s",
        "link": '<https://h/?token=[REDACTED]&page=2>; rel="next", <https://h/?page=9>; rel="last"',
        "server": "x" * 1_000,
    }
    assert PLAIN.response_headers(given) == kept
    assert more.response_headers(given) == {**kept, "x-page": f"password={REDACTED}"}


COMMANDS = [  # (arguments, the same without secrets); a mark is written *
    ("fetch --password hunter2 --n 5", "fetch --password * --n 5"),
    ("fetch --password=hunter2 -v", "fetch --password=* -v"),
    ("fetch --api-key -hunter2", "fetch --api-key *"),
    ("fetch --token --verbose", "fetch --token --verbose"),
    ("psql --no-password -c x", "psql --no-password -c x"),
    ("fetch --token-count 9 -p 80", "fetch --token-count 9 -p 80"),
    ("curl -u bob:pw https://h", "curl -u * https://h"),
    ("/usr/bin/curl -sSu bob:pw", "/usr/bin/curl -sSu *"),
    ("curl -ubob:pw -o u", "curl -u* -o u"),
    ("curl --user=bob:pw --proxy-user a:b", "curl --user=* --proxy-user *"),
    ("curl -b sid=a;n=5 -sb sid=a https://h", "curl -b * -sb * https://h"),
    ("curl -bsid=a -b cookies.txt", "curl -b* -b cookies.txt"),
    ("tool -b n=5", "tool -b n=5"),
    ("rclone --sftp-pass hunter2 --ftp-pass=hunter2", "rclone --sftp-pass * --ftp-pass=*"),
    ("fetch --bypass yes --pass-through x", "fetch --bypass yes --pass-through x"),
    ("curl -d code=abc&n=5", "curl -d code=*&n=5"),
    ("http -a bob:pw GET https://h?key=k", "http -a * GET https://h?key=*"),
    ("mysql -u root -phunter2 db", "mysql -u root -p* db"),
    ("mysql -u root -p db", "mysql -u root -p db"),
    ("docker login -u bob -p hunter2", "docker login -u bob -p *"),
    ("docker run -p 80:80 --user 1000:1000 x", "docker run -p 80:80 --user 1000:1000 x"),
    ("redis-cli -a hunter2 get token", "redis-cli -a * get token"),
    ("openssl rsa -passin pass:hunter2", "openssl rsa -passin *"),
    ("python fetch.py -u bob:pw https://h/a", "python fetch.py -u * https://h/a"),
    ("python -u fetch.py https://h/a", "python -u fetch.py https://h/a"),
    ("PGPASSWORD=hunter2 LANG=C psql", "PGPASSWORD=* LANG=C psql"),
    ("psql postgresql://u:p@h/db", "psql postgresql://REDACTED@h/db"),
    ("fetch access_token=a&n=5 a=b&c=d", "fetch access_token=*&n=5 a=b&c=d"),
    ('fetch {"token":"a"} ', 'fetch {"token":"*"} '),
]


@pytest.mark.parametrize(("given", "clean"), COMMANDS)
def test_command_lines_lose_their_secrets(given: str, clean: str) -> None:
    expected = clean.replace("*", REDACTED).split(" ")
    assert PLAIN.command_line(given.split(" ")) == expected
    assert PLAIN.command_line(expected) == expected


def test_an_argument_is_hidden_to_its_end() -> None:
    assert PLAIN.command_line(["PASSWORD=two words\nand a line", "x", "", "--token", ""]) == [
        *(f"PASSWORD={REDACTED}", "x", "", "--token", "")
    ]
    assert PLAIN.command_line(["curl", "-H", "Authorization: Bearer a b", "-H", "X-Functions-Key: k"]) == [
        *("curl", "-H", f"Authorization: Bearer {REDACTED}", "-H", f"X-Functions-Key: {REDACTED}")
    ]


FORMS = [  # (text, the same without the secret); a mark is written *
    ("curl -u bob:pw https://h", "curl -u * https://h"),
    ("sh -c 'curl -s -u \"bob:pw\" https://h'", "sh -c 'curl -s -u \"*\" https://h'"),
    ("curl -s \\\n  --user bob:pw https://h", "curl -s \\\n  --user * https://h"),
    ("Command '['curl', '-u', 'bob:pw']' failed", "Command '['curl', '-u', '*']' failed"),
    ("mysqldump -phunter2 db\nls -p x", "mysqldump -p* db\nls -p x"),
    ("cp -u a:b c; tar -pxf x; nc -p 80", None),
    ("<password>x y</password><n>1</n>", "<password>*</password><n>1</n>"),
    ("<s:Password t='1'><![CDATA[x]]></s:Password>", "<s:Password t='1'>*</s:Password>"),
    ("<token>\n<a>x</a>\n</token>", "<token>*</token>"),
    ("<token/><password></password>", None),
    ("<password>cut sh", "<password>*"),
    ('<add key="ApiKey" value="x"/>', '<add key="ApiKey" value="*"/>'),
    ('<add value="x>y" key="ApiKey"/>', '<add value="*" key="ApiKey"/>'),
    ('<meta name="csrf-token" content="x">', '<meta name="csrf-token" content="*">'),
    ('<input type=password value=x name="p">', '<input type=password value=* name="p">'),
    ('<user password="x" n="1"/>', '<user password="*" n="1"/>'),
    ('<string name="api_key">x</string>', '<string name="api_key">*</string>'),
    ("<key>token</key>\n<string>x</string>", "<key>token</key>\n<string>*</string>"),
    (
        "<property><name>db.password</name><value>x</value></property>",
        "<property><name>db.password</name><value>*</value></property>",
    ),
    ("&lt;password&gt;x&lt;/password&gt;", "&lt;password&gt;*&lt;/password&gt;"),
    ("<a>{&quot;token&quot;: &quot;x y&quot;}</a>", "<a>{&quot;token&quot;:&quot;*&quot;}</a>"),
    ("<code>US</code><key>a</key><secretary>x</secretary>", None),
    ('<form name="login token"><p>hello</p></form>', None),
    ("<name>Token</name><symbol>TKN</symbol>", None),
    ("a < b and c > d = e", None),
    ("password: |\n  a\n\n  b\nn: 1\n", "password: *\nn: 1\n"),
    ("a:\n  credentials:\n    user: u\n    pw: p\n  n: 1", "a:\n  credentials: *\n  n: 1"),
    ("- name: DB_PASSWORD\n  value: x y z\n- name: n", "- name: DB_PASSWORD\n  value: *\n- name: n"),
    ("{'name': 'token', 'value': 'x', 'n': 1}", "{'name': 'token', 'value': '*', 'n': 1}"),
    ("token_count:\n  - 1\n  - 2\n", None),
]


@pytest.mark.parametrize(("text", "clean"), FORMS)
def test_other_forms_lose_their_secrets_and_keep_the_rest(text: str, clean: str | None) -> None:
    clean = text if clean is None else clean.replace("*", REDACTED)
    assert redact_text(text) == clean
    assert redact_text(clean) == clean
    assert redact({"note": [text]}) == {"note": [clean]}
    assert redact_body(text.encode(), "text/plain") == clean.encode()


def test_a_value_in_yaml_goes_on_to_the_end_of_its_lines() -> None:
    body = b"n: 1\npassword: two words # and more\n  goes on\ntokens: 5\nkeys: [a]\n"
    assert redact_body(body, "application/yaml") == b"n: 1\npassword: [REDACTED]\ntokens: 5\nkeys: [a]\n"


def test_parts_of_secret_names_are_hidden_and_others_are_read_by_their_type() -> None:
    parts = [
        (b'form-data; name="n"', b"5"),
        (b'form-data; name="pass\xc3\xa9"', b"x"),
        (b"form-data; name=client_secret", b"two\r\nlines"),
        (b'form-data; name="code"', b"c"),
        (b'form-data; name="f"; filename="a.json"\r\nContent-Type: application/json', b'{"token": "x"}'),
        (b'form-data; name="g"; filename="b.csv"\r\nContent-Type: text/csv', b"password\r\n1"),
    ]
    held = b"".join(b"--B\r\nContent-Disposition: %b\r\n\r\n%b\r\n" % part for part in parts) + b"--B--\r\n"
    clean = held.replace(b"two\r\nlines", b"[REDACTED]").replace(b"\r\nc\r\n", b"\r\n[REDACTED]\r\n")
    clean = clean.replace(b'{"token": "x"}', b'{"token":"[REDACTED]"}')
    for media_type in (MULTIPART, 'multipart/mixed; charset=utf-8; Boundary="B"', None):
        assert redact_body(held, media_type) == clean
        assert redact_body(clean, media_type) is clean
    binary = held.replace(b"password\r\n1", b"\x89PNG\r\n\xff\x00")
    assert redact_body(binary, MULTIPART) == clean.replace(b"password\r\n1", b"\x89PNG\r\n\xff\x00")


@pytest.mark.parametrize("media_type", ["multipart/form-data", "multipart/form-data; boundary=C", MULTIPART])
def test_a_multipart_body_that_lies_is_still_read_as_text(media_type: str) -> None:
    assert redact_body(b"n=1 token=x", media_type) == b"n=1 token=[REDACTED]"
    assert b"hunter2" not in redact_body(b'--B\nContent-Disposition: x; name="pwd"\n\nhunter2', media_type)


def test_each_line_of_json_is_read_by_itself() -> None:
    lines = b'{"n": 1}\r\n{"name": "token", "value": "x"}\n\n{"token": "x\n{"n": 2.50}'
    assert redact_body(lines, "application/x-ndjson") == (
        b'{"n": 1}\r\n{"name":"token","value":"[REDACTED]"}\n\n{"token": "[REDACTED]"\n{"n": 2.50}'
    )
    sequence = b'\x1e{"n": 1}\n\x1e{"key": "token", "value": "x"}\n'
    assert b'"x"' not in redact_body(sequence, "application/json-seq")


def test_oauth_requests_and_responses_hide_what_is_data_elsewhere() -> None:
    asked = {"grant_type": "authorization_code", "code": "x", "client_id": "a", "n": {"code": "US"}}
    assert redact(asked) == {**asked, "code": REDACTED}
    answer = {"verification_uri": "https://h", "user_code": "x", "interval": 5}
    assert redact(answer) == {**answer, "user_code": REDACTED}


@pytest.mark.parametrize(
    "secret", ['"token":"x\\u0031"', '"t\\u006fken":"x1"', '"name":"token","value":"x1"']
)
def test_json_of_any_depth_is_read_as_json(secret: str) -> None:
    for start, end in (('{"a":', "}"), ("[", "]"), ('[{"b":1,"a":', ',"c":"d"}]')):
        deep = (start * 10_000 + "{" + secret + ',"n":[1.5,null,true,{},[]]}' + end * 10_000).encode()
        clean = redact_body(deep, "application/json")
        assert b"x1" not in clean
        assert b"x\\u" not in clean
        assert clean.count(b"[REDACTED]") == 1
        assert redact_body(clean, "application/json") == clean
        assert clean.startswith(start.encode() * 10_000)
        assert clean.endswith(b'"n":[1.5,null,true,{},[]]}' + end.encode() * 10_000)
        plain = deep.replace(secret.encode(), b'"a": 1')
        assert redact_body(plain, "application/json") is plain
        assert b"hunter2" not in redact_body(deep[:-1].replace(b"x", b"hunter2"), "application/json")


@pytest.mark.parametrize(
    "text",
    ["[1 2]", "[1,]", "[,1]", '{"a" 1}', '{"a":1,}', "{1:2}", "[1}", "[]]", "[", '{"a":[}', "[nul]"],
)
def test_the_reader_of_deep_json_takes_json_only(text: str) -> None:
    from audit_ledger.redaction.json_text import load

    with pytest.raises(ValueError):  # noqa: PT011 — json's own
        load("[" * 5_000 + text + "]" * 5_000)


def test_every_secret_name_holds_what_the_filter_looks_for() -> None:
    stems = names.stems(frozenset())
    for name in names._NAMES | names._QUERY_NAMES | {*names._ENDINGS}:
        assert any(stem in name for stem in stems), name


@pytest.mark.parametrize("module", [marks, names])
def test_the_examples_in_docstrings_hold(module: ModuleType) -> None:
    results = doctest.testmod(module)
    assert results.attempted
    assert not results.failed


def test_a_json_body_without_a_secret_keeps_its_bytes() -> None:
    body = json.dumps([{"Ticker": "--", "Range": "$1,001 - $15,000", "Line": 0}] * 10).encode()
    assert redact_body(body, "application/json") is body
