"""Redaction by tables: what is hidden, what is left alone, and the corners of each form."""

import doctest
import json
import re
import subprocess
import sys
import time
from typing import Any, cast
from urllib.parse import urlsplit

import pytest

from audit_ledger import redaction
from audit_ledger.redaction import (
    REDACTED,
    Redactor,
    redact,
    redact_body,
    redact_text,
    redact_url,
)

FORM = "application/x-www-form-urlencoded"
JSON = "application/json; charset=utf-8"
# Put together here, so that secret scanners find nothing in this file.
JWT = ".".join(["eyJ" + "hbGciOiJIUzI1NiJ9", "eyJ" + "zdWIiOiIxMjM0In0", "sig" + "nature_-42"])
PEM = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEow\nIBAAKC\n-----END RSA " + "PRIVATE KEY-----"
BASIC = "Basic " + "dXNlcjpwYXNzd29yZA=="
VALUES = {
    "jwt": JWT,
    "unsigned jwt": JWT.rpartition(".")[0] + ".",
    "pem": PEM,
    "pem cut short": PEM[:50],
    "openssh": PEM.replace("RSA", "OPENSSH"),
    "pgp": PEM.replace("RSA PRIVATE KEY", "PGP PRIVATE KEY BLOCK"),
    "aws": "AKIA" + "IOSFODNN7EXAMPLE",
    "aws session": "ASIA" + "IOSFODNN7EXAMPLE",
    **{f"github gh{kind}": f"gh{kind}_" + "a1B2" * 9 for kind in "pousr"},
    "github fine": "github_" + "pat_" + "11ABCDEFG0" * 8,
    "slack bot": "xox" + "b-123456789012-abcdefABCDEF",
    "slack user": "xox" + "p-123456789012-abcdefABCDEF",
    "stripe live": "sk_" + "live_" + "4eC39HqLyjWDarjtT1",
    "stripe restricted": "rk_" + "live_" + "4eC39HqLyjWDarjtT1",
    "stripe test": "sk_" + "test_" + "4eC39HqLyjWDarjtT1",
    "stripe webhook": "wh" + "sec_" + "4eC39HqLyjWDarjtT1zdp7dc",
    "google key": "AI" + "za" + "SyA-1_2345678901234567890123456789ab",
    "google oauth": "ya29" + ".a0AfH6SMBx-123_4567890",
    "google client": "GOC" + "SPX-" + "abcdefghij1234567890ABCD",
    "openai": "s" + "k-" + "abcdEFGH1234abcdEFGH1234",
    "openai project": "s" + "k-proj-" + "abcd-EFGH_1234abcdEFGH1234",
    "anthropic": "s" + "k-ant-api03-" + "abcd-EFGH_1234abcdEFGH1234",
    "npm": "npm" + "_" + "a1B2" * 9,
    "pypi": "pypi" + "-AgEIcHlwaS5vcmcCJDEyMzQ1Njc4",
    "sendgrid": "S" + "G.abcdefghijklmnopqrstuv.ABCDEFGHIJKLMNOPQRSTUV",
    "gitlab": "gl" + "pat-" + "abcdefghij1234567890",
    "hugging face": "h" + "f_" + "a1B2" * 9,
}
NAMES = re.findall(
    r"\S+",
    """
Authorization proxy-authorization Cookie Set-Cookie API-Key apiKey api_key X-API-KEY apikey APIKEY
access_key AWS_SECRET_ACCESS_KEY AWSAccessKeyId secretKey secret client_secret clientSecret token
access_token refreshToken id-token csrf_token X-CSRFToken sessionToken GITHUB_TOKEN token2 password
passwd pwd MYSQL_PWD PGPASSWORD db_password password1 user[password] passphrase private_key privateKey
signature X-Amz-Signature sig client_assertion credential credentials X-Amz-Credential session_id
sessionId JSESSIONID PHPSESSID jwt otp auth basic_auth oauth bearer connectionString quiver_api_key
x-rapidapi-key Ocp-Apim-Subscription-Key AccountKey user_pin cardPin aPiKeY
""",
)
HARMLESS_NAMES = re.findall(
    r"\S+",
    """
token_count tokens_used max_tokens tokens tokenizer tokenType secretary SecretaryOfState author authors
author_name authority passwords_changed_at password_policy passport bypass compass pinned pin pinCode
pinterest spinning monkey keyboard key keys primary_key public_key sort_key foreignKey partition_key
idempotency_key hockey turkey code country_code status_code zip_code postcode sign design designer
signal assigned_to significant assertions_count session sessions possession obsession cookie_policy
cookiecutter broken Hoboken betokened laptop optical jwtk secrets_found name value state nonce dsn
credentialed authenticated authorized_by accession_number signature_date signed_at basic bearing
""",
)
TEXTS = [  # (text, the same without the secret)
    ("password=hunter2", f"password={REDACTED}"),
    ("password: hunter2 was wrong", f"password: {REDACTED} was wrong"),
    ("api key: abc", f"api key: {REDACTED}"),
    ("password=hunter2, user=bob", f"password={REDACTED}, user=bob"),
    ("Server=x;Password=a,b;Database=d", f"Server=x;Password={REDACTED};Database=d"),
    ("login --password hunter2 --n 5", f"login --password {REDACTED} --n 5"),
    ("login --api-key=hunter2 -v", f"login --api-key={REDACTED} -v"),
    ("['--token', 'abc']", f"['--token', '{REDACTED}']"),
    ("Authorization: Bearer abc", f"Authorization: {REDACTED}"),
    ('Authorization: Digest username="u", nonce="n"\r\nA: b', f"Authorization: {REDACTED}\r\nA: b"),
    ('curl -sb "sid=1; n=5" -v', f'curl -sb "{REDACTED}" -v'),
    ("curl -bsid=1 -b cookies.txt", f"curl -b{REDACTED} -b cookies.txt"),
    ("rclone --sftp-pass x --ftp-pass=x", f"rclone --sftp-pass {REDACTED} --ftp-pass={REDACTED}"),
    ("fetch --bypass yes --pass-through x", "fetch --bypass yes --pass-through x"),
    ('curl -H "Authorization: Bearer abc" -v', f'curl -H "Authorization: {REDACTED}" -v'),
    ("Cookie: a=b; c=d\nAccept: */*", f"Cookie: {REDACTED}\nAccept: */*"),
    (
        r"GET /\r\nAuthorization: Basic abc\r\nAccept: */*",
        rf"GET /\r\nAuthorization: {REDACTED}\r\nAccept: */*",
    ),
    ("Bearer x", f"Bearer {REDACTED}"),
    ("sent Bearer abc123def", f"sent Bearer {REDACTED}"),
    (f"sent {BASIC} twice", f"sent Basic {REDACTED} twice"),
    ("auth: --password hunter2 was refused", f"auth: {REDACTED} was refused"),
    ('auth=Bearer "abc" b', f"auth={REDACTED} b"),
    ('x "otp":123,"b":"c"', f'x "otp":"{REDACTED}","b":"c"'),
    ("token: authorization: abc def", f"token: {REDACTED}"),
    ("auth=Bearer abc&b=1", f"auth={REDACTED}&b=1"),
    ('{"password": "hun\\"ter2", "n": 1', f'{{"password": "{REDACTED}", "n": 1'),
    (r"{\"password\": \"hun\\\"ter2\", \"n\": 1", rf"{{\"password\": \"{REDACTED}\", \"n\": 1"),
    ('{"otp": 123456, "n": 1', f'{{"otp": "{REDACTED}", "n": 1'),
    ('at: {"credentials": {"a": [1, ")"]}, "n": 1}', f'at: {{"credentials": "{REDACTED}", "n": 1}}'),
    ('x {"credentials": {"user": "u", "pw": "cut sh', f'x {{"credentials": "{REDACTED}"'),
    ("{'token': 'abc', 'n': 1}", f"{{'token': '{REDACTED}', 'n': 1}}"),
    ("{'token': b'abc', 'n': 1}", f"{{'token': b'{REDACTED}', 'n': 1}}"),
    (":password=>'abc', :n=>1", f":password=>'{REDACTED}', :n=>1"),
    ("    get(url, auth=('u', 'p)w'), timeout=5)", f"    get(url, auth={REDACTED}, timeout=5)"),
    ('    token = os.environ["T"].strip()', f"    token = {REDACTED}"),
    ('    password: str = "hunter2"', f"    password: {REDACTED}"),
    ("headers['X-Api-Key'] = 'abc'", f"headers['X-Api-Key'] = '{REDACTED}'"),
    ("postgresql://u:p@h:5432/db?a=1", "postgresql://REDACTED@h:5432/db?a=1"),
    ("at postgresql://u:p/w@h/db", "at postgresql://REDACTED@h/db"),
    (r"https:\/\/u:p@h\/x", r"https:\/\/REDACTED@h\/x"),
    ("git clone https://tok3n@git.test/a.git", "git clone https://REDACTED@git.test/a.git"),
    ("GET /a?api_key=k1&n=5 HTTP/1.1", f"GET /a?api_key={REDACTED}&n=5 HTTP/1.1"),
    ("GET /a?api%5Fkey=k1&n=5 HTTP/1.1", f"GET /a?api%5Fkey={REDACTED}&n=5 HTTP/1.1"),
    ("see <a href='/x?token=abc'>", f"see <a href='/x?token={REDACTED}'>"),
    ("access_token=abc&n=1", f"access_token={REDACTED}&n=1"),
    ('{"a": "{\\"password\\": \\"x\\"}"}', f'{{"a":"{{\\"password\\":\\"{REDACTED}\\"}}"}}'),
    ('{"pass\\u0077ord": "x"}', f'{{"password":"{REDACTED}"}}'),
    ("https://hooks.slack.com/" + "services/T0/B0/X ok", f"https://hooks.slack.com/{REDACTED} ok"),
]
HARMLESS_TEXTS = """
the token has expired
Secretary: Jane Doe; author: John; authors=3; tokenizer: bpe; max_tokens=512; token_count=9
the bearer of this note, Bearer bonds, Bearer Token, a bearer bond
Basic Materials
Basic English and basic authentication
status code=404, exit code: 1, code: US, key: value, sort_key=date, pin: 14-08-203-017
http://auth:8080/v1/token:exchange
https://example.com:8080/a/@user?page=3&limit=100#top
https://example.com/a?email=a@b.c&country=US
ssh://git@git.test/a.git
postgresql://reader@h/db
postgresql:///ledger?host=/run/postgresql
mail bob@example.com at 10:30:00 on 2024-01-31T10:30:00Z
std::auth::Token::new failed
if token == expected or token != other
a task-force-on-things-that-are-long, risk-adjusted-return-on-capital, sk-learn
the Asia-Pacific region, NASIA, AKIA, eyJ, ghp_, xoxb-, npm_install, SG.1
--verbose --n 5 --token-count 9
C:\\temp\\new
a = b = c
{"a": 1.50, "b" : [1,  2], "pinned": true}
password
password:
password=
?page=2&sort=asc;x=1
100% = 100 %
""".strip().splitlines()
URLS = [
    ("https://u:p@h.test:8080/a?b=1#c", "https://REDACTED@h.test:8080/a?b=1#c"),
    ("https://u:p?w@h.test/a", "https://REDACTED@h.test/a"),
    ("https://tok3n@h.test/", "https://REDACTED@h.test/"),
    ("HTTPS://tok3n@h.test/", "HTTPS://REDACTED@h.test/"),
    ("https://tok3n:@h.test/", "https://REDACTED@h.test/"),
    ("https://h/a?api_key=k&n=5", f"https://h/a?api_key={REDACTED}&n=5"),
    ("https://h/a?%61pi%5Fkey=k&n=5", f"https://h/a?%61pi%5Fkey={REDACTED}&n=5"),
    ("https://h/a?api+key=k", f"https://h/a?api+key={REDACTED}"),
    ("https://h/a?user%5Bpassword%5D=k;l&n=5", f"https://h/a?user%5Bpassword%5D={REDACTED}&n=5"),
    ("https://h/a?n=5;token=k", f"https://h/a?n=5;token={REDACTED}"),
    ("https://h/a?key=k&code=c&n=5", f"https://h/a?key={REDACTED}&code={REDACTED}&n=5"),
    ("https://h/a#access_token=k&n=5", f"https://h/a#access_token={REDACTED}&n=5"),
    ("https://h/#/in?token=k", f"https://h/#/in?token={REDACTED}"),
    (
        "https://h/a?u=https%3A%2F%2Fx%3Ftoken%3Dk&n=5",
        f"https://h/a?u=https%3A%2F%2Fx%3Ftoken%3D{REDACTED}&n=5",
    ),
    (
        "https://h/a?u=%2F%3Fu%3D%252F%253Ftoken%253Dk",
        f"https://h/a?u=%2F%3Fu%3D%252F%253Ftoken%253D{REDACTED}",
    ),
    ("https://h/a?u=https://v:w@x/", "https://h/a?u=https://REDACTED@x/"),
    ("https://h/a;jsessionid=k?n=5", f"https://h/a;jsessionid={REDACTED}?n=5"),
    ("https://h/a/" + VALUES["aws"] + "/b", f"https://h/a/{REDACTED}/b"),
    ("https://h/a?x=" + VALUES["github ghp"].replace("_", "%5F"), f"https://h/a?x={REDACTED}"),
    ("/a?token=k", f"/a?token={REDACTED}"),
    ("token=", "token="),
    ("https://h/a?page=3&token_count=5&country_code=US&q=a+b%20c", None),
    ("https://auth:8080/token:exchange?a=%zz&b", None),
    ("https://[::1]:80/a@b", None),
    ("", None),
]


@pytest.mark.parametrize("name", NAMES)
def test_values_of_secret_names_are_redacted(name: str) -> None:
    assert redact({name: "hunter2", "n": [1]}) == {name: REDACTED, "n": [1]}
    assert redact({name: {"a": [1, "b"]}}) == {name: REDACTED}
    assert redact([[name, "hunter2"], ["n", "1"]]) == [[name, REDACTED], ["n", "1"]]
    assert redact([(name, "hunter2")]) == [(name, REDACTED)]
    assert redact({"name": name, "value": "hunter2"}) == {"name": name, "value": REDACTED}
    assert redact_body(f"{name}=hunter2&n=1".encode(), FORM) == f"{name}={REDACTED}&n=1".encode()
    assert redact_text(f"n=1 {name}=hunter2 m=2") == f"n=1 {name}={REDACTED} m=2"
    assert "hunter2" not in redact_text(f'n=1 "{name}": "hunter2", m')
    assert redact_url(f"https://h/?{name}=hunter2&n=1") == f"https://h/?{name}={REDACTED}&n=1"


@pytest.mark.parametrize("name", HARMLESS_NAMES)
def test_values_of_harmless_names_stay(name: str) -> None:
    document = {name: "hunter2", "items": [[name, "hunter2"]], "one": {"name": name, "value": "v"}}
    assert redact(document) == document
    body = json.dumps(document, indent=1).encode()
    assert redact_body(body, JSON) is body
    assert redact_text(f"n=1 {name}=hunter2, {name}: 5") == f"n=1 {name}=hunter2, {name}: 5"


@pytest.mark.parametrize("secret", VALUES.values(), ids=VALUES)
def test_secret_values_are_redacted_wherever_they_stand(secret: str) -> None:
    for text in (secret, f"before {secret}", f"({secret}", f'"{secret}', rf"\n{secret}", f"a={secret}"):
        assert redact_text(text) == text.replace(secret, REDACTED)
    assert redact(["x", secret, {"a": secret}]) == ["x", REDACTED, {"a": REDACTED}]
    assert list(cast("dict[str, str]", redact({secret: "x"}))) == [REDACTED]
    assert redact_body(b"\xff\x00\x80" + secret.encode(), "image/png") == b"\xff\x00\x80[REDACTED]"
    assert json.loads(redact_body(json.dumps([secret]).encode(), JSON)) == [REDACTED]


@pytest.mark.parametrize(("text", "clean"), TEXTS)
def test_texts_lose_their_secrets_and_keep_the_rest(text: str, clean: str) -> None:
    assert redact_text(text) == clean
    assert redact_text(clean) == clean
    assert redact({"note": text}) == {"note": clean}
    assert redact_body(text.encode(), "text/plain") == clean.encode()


@pytest.mark.parametrize("text", HARMLESS_TEXTS)
def test_harmless_texts_stay(text: str) -> None:
    assert redact_text(text) == text
    assert redact([text]) == [text]
    body = text.encode()
    assert redact_body(body, None) is body


@pytest.mark.parametrize(("url", "clean"), URLS)
def test_urls_lose_their_secrets_and_can_still_be_parsed(url: str, clean: str | None) -> None:
    clean = url if clean is None else clean
    assert redact_url(url) == clean
    assert redact_url(clean) == clean
    assert urlsplit(clean).path == urlsplit(url.replace("p?w", "pw")).path or REDACTED in urlsplit(clean).path


def test_query_names_are_secret_in_queries_and_forms_only() -> None:
    assert redact({"code": "US", "key": "a/b"}) == {"code": "US", "key": "a/b"}
    assert redact_body(b"grant_type=x&code=c&country_code=US", FORM) == (
        b"grant_type=x&code=[REDACTED]&country_code=US"
    )


def test_json_bodies_are_written_anew_only_if_something_was_redacted() -> None:
    body = b'{ "a" : 1.50,\r\n "b": "\\u00e9", "a": 2, "token_count": 3 }\n'
    assert redact_body(body, JSON) is body
    assert redact_body(b'{ "a" : 1.50, "token": "x" }', JSON) == b'{"a":1.5,"token":"[REDACTED]"}'
    assert redact_body(b'{ "token": "x" }', None) == b'{"token":"[REDACTED]"}'
    assert redact_body(b'{ "token": "x" }', "application/problem+json") == b'{"token":"[REDACTED]"}'
    assert redact_body(b'{"a": "\\ud800", "otp": 1}', JSON) == b'{"a":"\\ud800","otp":"[REDACTED]"}'


def test_a_secret_under_a_repeated_json_key_does_not_survive() -> None:
    assert redact_body(b'{"a": {"token": "x"}, "a": 1}', JSON) == b'{"a":1}'
    assert redact_body(b'[{"token": "x", "token": "[REDACTED]"}]', JSON) == b'[{"token":"[REDACTED]"}]'


def test_invalid_json_is_redacted_as_text() -> None:
    body = b'{"token": "x", "n": [1, {"password": ["y", "z"]'
    assert redact_body(body, JSON) == b'{"token": "[REDACTED]", "n": [1, {"password": "[REDACTED]"'
    lines = b'{"token": "x"}\n{"token": 5}\n'
    assert redact_body(lines, "application/x-ndjson") == b'{"token":"[REDACTED]"}\n{"token":"[REDACTED]"}\n'
    deep = b'{"a":' * 5000 + b'{"token": "x"}' + b"}" * 5000
    assert b"x" not in redact_body(deep, JSON)


def test_bodies_in_other_encodings_are_redacted() -> None:
    text = '{"näme": "é", "password": "x"}'
    assert json.loads(redact_body(text.encode("utf-16"), JSON)) == {"näme": "é", "password": REDACTED}
    assert redact_body(text.encode("latin-1"), JSON) == '{"näme":"é","password":"[REDACTED]"}'.encode(
        "latin-1"
    )
    assert redact_body(b"\xef\xbb\xbf" + b'{"password":"x"}', JSON) == b'{"password":"[REDACTED]"}'
    binary = bytes(range(256)) * 3 + b"password=x"
    assert redact_body(binary, "application/octet-stream") == binary


def test_forms_keep_their_bytes_but_for_the_secrets() -> None:
    body = b"a=b+c%20d&client%5Fsecret=x%26y&empty=&flag&url=https%3A%2F%2Fu%3Ap%40h%2F&token="
    assert redact_body(body, FORM + "; charset=utf-8") == (
        b"a=b+c%20d&client%5Fsecret=[REDACTED]&empty=&flag&url=https%3A%2F%2FREDACTED%40h%2F&token="
    )
    assert redact_body(b"payload=%7B%22password%22%3A%22x%22%7D", FORM) == (
        b"payload=%7B%22password%22%3A%22[REDACTED]%22%7D"
    )


def test_redact_leaves_its_input_alone_and_shares_nothing_with_it() -> None:
    document: dict[str, Any] = {"a": [{"token": "x"}], "b": ("y", b"z"), "c": {"d": []}}
    before = json.dumps(document, default=repr)
    result: Any = redact(document)
    assert json.dumps(document, default=repr) == before
    result["a"].append(1)
    result["c"]["d"].append(1)
    assert json.dumps(document, default=repr) == before


def test_redact_keeps_types_and_order() -> None:
    document = {"b": (1, 2.5, None, True, b"x", [()]), "a": {"é": "\ud800"}, "n": 10**400}
    result: Any = redact(document)
    assert result == document
    assert list(result) == list(document)
    assert type(result["b"]) is tuple
    assert type(result["b"][5][0]) is tuple


@pytest.mark.parametrize("scalar", ["", "x", 0, 1.5, True, None, b"", b"\xff"])
def test_redact_takes_scalars(scalar: Any) -> None:
    assert redact(scalar) is scalar or redact(scalar) == scalar


def test_redact_finds_secrets_in_bytes_headers_and_arguments() -> None:
    assert redact([(b"authorization", b"Bearer x"), (b"a", b"b")]) == [
        (b"authorization", REDACTED),
        (b"a", b"b"),
    ]
    assert redact({"raw": b'{"token":"x"}'}) == {"raw": b'{"token":"[REDACTED]"}'}
    assert redact(["get", "--token", "x", "-n", "5"]) == ["get", "--token", REDACTED, "-n", "5"]
    assert redact({"headers": [{"Name": "Cookie", "Value": ("a", "b")}]}) == {
        "headers": [{"Name": "Cookie", "Value": REDACTED}]
    }
    assert redact({"columns": ["token", "name"]}) == {"columns": ["token", "name"]}


def test_keys_that_hold_secrets_are_scrubbed_and_none_is_lost() -> None:
    first, second = VALUES["github ghp"], VALUES["github gho"]
    assert redact({first: 1, "a": 2, second: 3, "u:p@h": 4}) == {
        REDACTED: 1,
        "a": 2,
        f"{REDACTED} (3)": 3,
        "u:p@h": 4,
    }


def test_a_json_body_with_a_secret_for_a_key_is_written_anew() -> None:
    body = json.dumps({VALUES["aws"]: 1, "a": 2}).encode()
    assert redact_body(body, JSON) == b'{"[REDACTED]":1,"a":2}'


def test_dsn_loses_user_information_only() -> None:
    assert redact({"dsn": "postgresql://u:p@h/db"}) == {"dsn": "postgresql://REDACTED@h/db"}
    assert redact({"dsn": "host=h password=p dbname=db"}) == {"dsn": f"host=h password={REDACTED} dbname=db"}
    assert redact({"connection_string": "host=h"}) == {"connection_string": REDACTED}


def test_trees_ten_thousand_deep_are_redacted() -> None:
    for wrap in (lambda v: {"a": v}, lambda v: [v], lambda v: (v,), lambda v: {"a": ([v],)}):
        tree: Any = {"token": "hunter2"}
        for _ in range(10_000):
            tree = wrap(tree)
        result: Any = redact(tree)
        while result != {"token": REDACTED}:
            (result,) = result.values() if isinstance(result, dict) else result


def test_a_redactor_takes_more_names_and_patterns() -> None:
    more = Redactor(extra_names=("tax id", "pin"), extra_patterns=(r"\bACME-[0-9]{6}\b",))
    assert more.redact({"taxId": "1", "PIN": "2", "pinned": "3", "note": "ACME-123456 ok"}) == {
        "taxId": REDACTED,
        "PIN": REDACTED,
        "pinned": "3",
        "note": f"{REDACTED} ok",
    }
    assert (
        more.redact_text("tax_id=5, pin: 6, token=7")
        == f"tax_id={REDACTED}, pin: {REDACTED}, token={REDACTED}"
    )
    assert more.redact_url("https://h/?tax-id=5") == f"https://h/?tax-id={REDACTED}"
    assert more.redact_body(b"ACME-123456", "text/plain") == REDACTED.encode()
    assert redact({"taxId": "1"}) == {"taxId": "1"}
    assert more == Redactor(("tax id", "pin"), (r"\bACME-[0-9]{6}\b",))


ADVERSARIAL = """
a|a.b |=|token=|token=(|token: |--password |-a|-eyJ|eyJaaaaaaaa.|-----BEGIN |AKIA|xoxb-|sk-|SG.a|glpat-|://|
//a:b|://a:b@|://a:@|http://a@|?a=|?a=%25|?a=?|&a=%3F|[|{"a":|"|\\"|\\\\|token="\\"|"token":{|token=a(|token=a,|
token=a]|password: a = |Bearer |bearer a |basic YTpi |/|%41|authorization:|Cookie: a\\n|token=``|api key |B|
1:|A| |[REDACTED]|password=[REDACTED]|{"token":1}|token: Bearer |"a\\"b"|é
""".replace("\n", "").split("|")
ADVERSARIAL += [
    *("[REDACTED:0123abcd]", "<token>", "<a ", "<a '", '<a "', "<a x='>", "&lt;token&gt;", "<key>token</"),
    *(
        "form-data; name=a\n",
        "form-data; name=token\n\n",
        "<token a=b>c",
        "&quot;",
        "token&quot;:&quot;",
        "curl -u ",
        "curl -u 'a",
        "mysql -p",
        "'-u'",
        "--B",
        "--B\n",
    ),
    *(
        "password:\n",
        "password: \n ",
        "- name: token\n",
        "name: ",
        "a.bcdefg.",
        "Q~",
        "1234567:AA",
        "webhooks/",
    ),
    *('{"a":1}\n', "%5B", "//REDACTED-", "token=%5B", "\\u0061", "--\r\n\r\n", "<atoken>", "curl \\\n"),
]


@pytest.mark.parametrize("unit", ADVERSARIAL)
def test_a_hostile_text_takes_linear_time(unit: str) -> None:
    text = unit * (300_000 // len(unit))
    started = time.perf_counter()
    redact_text(text)
    for media_type in (FORM, "application/yaml", "multipart/form-data; boundary=B"):
        redact_body(text.encode(), media_type)
    Redactor(key=b"k").command_line(text.split(" "))
    assert time.perf_counter() - started < 20  # a second or two; quadratic would be many minutes


MEMORY = """
import resource, sys
from audit_ledger.redaction import redact_text
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for start, unit in (
    ("Authorization: ", "\\\\a"), ('curl -u "', "'"), ('form-data; name="password"\\r\\n\\r\\n', "\\n"),
    ('password="', "'"), ("password=", "\\\\"), ("password=", "a,b"), ("<a>", "&"),
):
    redact_text(start + unit * (1_000_000 // len(unit)))
unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // unit)
"""


def test_a_hostile_text_takes_no_more_memory_than_a_few_copies_of_it() -> None:
    ran = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    assert int(ran.stdout) < 40  # MiB; a group that remembers each of its repetitions takes 150


def test_the_example_in_the_docstring_holds() -> None:
    results = doctest.testmod(redaction)
    assert results.attempted
    assert not results.failed
