"""What redaction promises of any value: nothing planted survives, nothing else changes, it never fails."""

import base64
import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus, unquote_plus
from xml.sax.saxutils import escape

from hypothesis import example, given, settings
from hypothesis import strategies as st

from audit_ledger.redaction import (
    REDACTED,
    Redactor,
    redact,
    redact_body,
    redact_text,
    redact_url,
)

FORM = "application/x-www-form-urlencoded"
MEDIA_TYPES = st.sampled_from(
    [
        *(None, "application/json", "text/html; charset=latin-1", FORM, "image/png", "application/yaml"),
        *("application/xml", "application/x-ndjson", "multipart/form-data; boundary=--"),
    ]
)
KEYED = Redactor(key=b"sixteen bytes ok")
REDACTORS = st.sampled_from([Redactor(), KEYED])
WORDS = st.sampled_from(
    re.findall(
        r"[a-z]+(?: [a-z]+)*",
        """
        authorization, proxy authorization, cookie, set cookie, api key, x api key, access key, secret key,
        secret, client secret, token, access token, refresh token, id token, csrf token, session token,
        password, passwd, pwd, passphrase, private key, signature, sig, client assertion, credential,
        credentials, session id, jwt, auth, bearer, otp, connection string, quiver api key, my app pwd
        """,
    )
)
# Put together here, so that secret scanners find nothing in this file.
TOKENS = st.one_of(
    st.from_regex(r"\Aey" + r"J[A-Za-z0-9_-]{8,20}\.[A-Za-z0-9_-]{8,20}\.[A-Za-z0-9_-]{0,20}\Z"),
    st.from_regex(r"\A-----BEGIN (RSA )?PRIVATE" + r" KEY-----[a-z\n]{9}-----END (RSA )?PRIVATE KEY-----\Z"),
    st.from_regex(r"\AA[KS]" + r"IA[A-Z0-9]{16}\Z"),
    st.from_regex(r"\Agh[opsur]" + r"_[A-Za-z0-9]{36}\Z"),
    st.from_regex(r"\Agithub" + r"_pat_[A-Za-z0-9_]{22,40}\Z"),
    st.from_regex(r"\Axox[abprs]" + r"-[0-9]{10}-[A-Za-z0-9]{10,20}\Z"),
    st.from_regex(r"\A[sr]k_" + r"(live|test)_[A-Za-z0-9]{16,30}\Z"),
    st.from_regex(r"\AAIz" + r"a[A-Za-z0-9_-]{35}\Z"),
    st.from_regex(r"\Aya29" + r"\.[A-Za-z0-9_-]{20,40}\Z"),
    st.from_regex(r"\As" + r"k-(ant-api03-|proj-)?[A-Za-z0-9]{30,40}\Z"),
    st.from_regex(r"\Anpm" + r"_[A-Za-z0-9]{36}\Z"),
    st.from_regex(r"\Apypi" + r"-AgEI[A-Za-z0-9_-]{16,40}\Z"),
    st.from_regex(r"\AS" + r"G\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}\Z"),
    st.from_regex(r"\Aglp" + r"at-[A-Za-z0-9_-]{20}\Z"),
)
PLANTED = st.from_regex(r"\AQ9z[A-Za-z0-9]{5,20}\Z")
# Texts made of what the rules look at, so that they meet in every order.
FRAGMENTS = st.lists(
    st.sampled_from(
        [
            *re.findall(
                r"\S+",
                """
                token password api key code auth sig Cookie Authorization Bearer basic YTpi abc123 x - -- = :
                => & ? # / // :// https:// u:p@ @ %3D %3F %26 % %25 + \\n \\ \\" " ' ` ( ) [ ] { } , ; . < >
                1 12:30 é [REDACTED] REDACTED {"a": "token": "} \\u0061 eyJ eyJhbGciOiJI AKIA name value
                <token> </token> <a <b>c</b> /> <key> &lt;token&gt; &lt;/token&gt; &quot; ]]> <![CDATA[ |
                curl -u -su u:p -b -sb --a-pass mysql -pw login -p
                --user [REDACTED:12ab34cd] REDACTED-12ab34cd
                Content-Disposition: form-data; name="token"
                """,
            ),
            *(" ", "  ", "\n", "\n  ", "\n- ", "\r\n\r\n", "\0", "str = ", "----\r\n"),
        ]
    )
    | st.text(max_size=3),
    max_size=14,
).map("".join)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | FRAGMENTS | TOKENS | st.binary(max_size=20)
)
KEYS = FRAGMENTS | WORDS | st.sampled_from(["name", "value", "Name", "Value", "a"]) | TOKENS


def trees(scalars: st.SearchStrategy[Any], keys: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return st.recursive(
        scalars,
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.lists(inner, max_size=3).map(tuple)
            | st.tuples(keys, inner)
            | st.dictionaries(keys, inner, max_size=4)
        ),
        max_leaves=12,
    )


TREES = trees(SCALARS, KEYS)
# Nothing here is, holds or neighbours a secret: words of these letters make no secret name.
CLEAN_WORDS = st.text("bdfghlmruvxz éß0123456789", max_size=12)
CLEAN_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | CLEAN_WORDS
    | st.sampled_from(["2024-01-31T10:00:00Z", "a: b=c", "https://h.test:80/a?b=c&d=e%20f#g", "bob@h.test"])
    | st.sampled_from(["--verbose 5", "token_count: 5", "Secretary: x"])
)
CLEAN = trees(
    CLEAN_SCALARS, CLEAN_WORDS | st.sampled_from(["token_count", "author", "code", "key", "pinned"])
)


@st.composite
def spelled(draw: st.DrawFn, separators: str = " _-.") -> str:
    words: list[str] = draw(WORDS).split()
    case = draw(st.sampled_from([str.lower, str.upper, str.title]))
    separator = draw(st.sampled_from(separators))
    if draw(st.booleans()):
        return str(separator.join(map(case, words)))
    return words[0] + "".join(word.title() for word in words[1:])


@st.composite
def planted(draw: st.DrawFn, secret: str) -> Any:
    """A tree in which the secret stands under a secret name, at any depth and in any form."""
    name, beside = draw(spelled()), draw(trees(SCALARS, KEYS))
    value = draw(st.sampled_from([secret, [secret], {"a": (1, secret)}, f"x {secret} y", secret.encode()]))
    tree: Any = draw(
        st.sampled_from(
            [
                {name: value},
                [[name, value]],
                [(name, value)],
                {"name": name, "value": value},
                {"Key": name, "Value": value, "a": 1},
                ["--" + name.replace(" ", "-"), value],
                json.dumps({name: secret}),
                json.dumps({"a": json.dumps([{"name": name, "value": [secret]}])}),
            ]
        )
    )
    for shape in draw(st.lists(st.sampled_from("dlt"), max_size=5)):
        tree = {"a": tree, "b": beside} if shape == "d" else [beside, tree] if shape == "l" else (tree, 1)
    return tree


def assert_kept(before: Any, after: Any) -> None:
    """Lengths and types are as before; only what is hidden and what is text may differ."""
    if isinstance(after, str) and after == REDACTED:
        return
    assert type(after) is type(before)
    if isinstance(before, dict):
        assert len(after) == len(before)
        for one, other in zip(before.values(), after.values(), strict=True):
            assert_kept(one, other)
    elif isinstance(before, list | tuple):
        assert len(after) == len(before)
        for one, other in zip(before, after, strict=True):
            assert_kept(one, other)
    elif not isinstance(before, str | bytes):
        assert repr(after) == repr(before)


@given(TREES, REDACTORS, REDACTORS)
def test_redacting_a_tree_twice_is_redacting_it_once(tree: Any, first: Redactor, second: Redactor) -> None:
    once = first.redact(tree)
    assert repr(second.redact(once)) == repr(once)


@given(FRAGMENTS, MEDIA_TYPES, REDACTORS, REDACTORS)
@settings(max_examples=2000)
@example("token=str = str = ", None, KEYED, KEYED)
def test_redacting_a_text_twice_is_redacting_it_once(
    text: str, media_type: str | None, first: Redactor, second: Redactor
) -> None:
    once = first.redact_text(text)
    assert second.redact_text(once) == once
    url = first.redact_url(text)
    assert second.redact_url(url) == url
    body = first.redact_body(text.encode(), media_type)
    assert second.redact_body(body, media_type) == body


@given(st.lists(FRAGMENTS, max_size=5), WORDS, FRAGMENTS, REDACTORS, REDACTORS)
@example(["<token>token=://"], "authorization", "", Redactor(), Redactor())
@settings(max_examples=500)
def test_redacting_headers_and_arguments_twice_is_redacting_them_once(
    texts: list[str], name: str, value: str, first: Redactor, second: Redactor
) -> None:
    arguments = first.command_line(
        ["curl", *texts, "-u", value, f"--{name.replace(' ', '-')}", value, *texts]
    )
    assert second.command_line(arguments) == arguments
    pairs = [(name.replace(" ", "-"), value), *((text, value) for text in texts), ("Referer", value)]
    headers = first.request_headers(pairs)
    assert second.request_headers(headers) == headers
    assert len(headers) == len(pairs)
    kept = first.response_headers([("Link", value), ("link", value), ("location", value), *pairs])
    assert second.response_headers(kept.items()) == kept


@given(FRAGMENTS)
@settings(max_examples=500)
def test_digests_are_all_that_a_key_adds(text: str) -> None:
    digest = re.compile(r"(?<=REDACTED)[:-][0-9a-f]{8}")
    text = digest.sub("", text)
    assert digest.sub("", KEYED.redact_text(text)) == redact_text(text)


@given(TREES)
def test_structure_is_kept_and_the_input_left_alone(tree: Any) -> None:
    before = repr(tree)
    assert_kept(tree, redact(tree))
    assert repr(tree) == before


@given(st.data(), PLANTED)
@settings(max_examples=300)
def test_a_secret_under_a_secret_name_never_survives(data: st.DataObject, secret: str) -> None:
    tree = data.draw(planted(secret))
    assert secret not in json.dumps(redact(tree), default=repr)
    body = json.dumps(tree, default=str).encode()
    assert secret.encode() not in redact_body(body, "application/json")


@given(FRAGMENTS, TOKENS, FRAGMENTS)
@settings(max_examples=300)
def test_a_secret_value_survives_in_no_text(before: str, secret: str, after: str) -> None:
    text = f"{before} {secret} {after}"
    assert secret not in redact_text(text)
    assert secret not in redact_url(f"https://h/{secret}?a={secret}&b=1#{secret}")
    assert secret not in json.dumps(redact({text: [text, {"a": text}]}))
    assert secret.encode() not in redact_body(b"\xff\xfa " + text.encode(), "application/octet-stream")
    for tree in ({"a": text}, {text: 1}, [text], [1, [[{text: None}]]]):
        assert json.dumps(secret)[1:-1].encode() not in redact_body(
            json.dumps(tree).encode(), "application/json"
        )


@given(
    FRAGMENTS,
    spelled("_-"),
    st.sampled_from(["=", ": ", " = ", ":", "='", '": "', '":"', "' => '", '\\": \\"', "=Bearer "]),
    PLANTED,
    FRAGMENTS,
)
@settings(max_examples=1000)
def test_a_secret_after_a_secret_name_survives_in_no_text(
    before: str, name: str, separator: str, secret: str, after: str
) -> None:
    assert secret not in redact_text(f"{before} {name}{separator}{secret} {after}")
    assert secret not in redact_text(f"{before} --{name} {secret} {after}")


@given(FRAGMENTS, spelled(" _-.+"), PLANTED, st.integers(0, 20), st.booleans())
def test_a_secret_in_a_query_or_form_never_survives_any_quoting(
    before: str, name: str, secret: str, at: int, nested: bool
) -> None:
    at %= len(name)
    name = f"{name[:at]}%{ord(name[at]):02x}{name[at + 1 :]}".replace(" ", "+")
    pair = f"{name}={secret}"
    if nested:
        pair = "url=" + quote(f"https://h/?{pair}", safe="")
    assert secret not in redact_url(f"https://h/?{before}&{pair}&n=1#x")
    assert secret not in redact_url(f"https://h/#{pair}&n=1")
    assert secret not in redact_text(f"GET https://h/?n=1&{pair}&m=2 HTTP/1.1")
    assert secret.encode() not in redact_body(f"{before}&{pair}&n=1".encode(), FORM)


@given(st.sampled_from(["https", "http", "postgresql", "ftp", "amqp"]), PLANTED, st.text("!$&'()*+,;=:@ab"))
def test_passwords_in_urls_never_survive(scheme: str, secret: str, rest: str) -> None:
    url = f"{scheme}://user:{secret}{rest}@h.test/a"
    assert redact_url(url) == f"{scheme}://REDACTED@h.test/a"
    assert secret not in redact_text(f"at {url} now")


@given(CLEAN)
def test_clean_values_stay(tree: Any) -> None:
    assert repr(redact(tree)) == repr(tree)


@given(CLEAN, st.sampled_from([None, 0, 2]), st.booleans(), MEDIA_TYPES.filter(lambda kind: kind != FORM))
def test_clean_bodies_keep_their_very_bytes(
    tree: Any, indent: int | None, escaped: bool, media_type: str | None
) -> None:
    body = json.dumps(tree, indent=indent, ensure_ascii=escaped).encode()
    assert redact_body(body, media_type) is body


@given(FRAGMENTS)
@settings(max_examples=500)
@example("https://h/?a=b&token=x")
def test_the_cheap_filters_change_no_result(text: str) -> None:
    unfiltered = Redactor(extra_names=("qqqqqq",), extra_patterns=("(?!)",))
    assert redact_text(text) == unfiltered.redact_text(text)


ANYTHING = st.text(st.characters(categories=None))


@given(trees(st.none() | st.floats() | ANYTHING | st.binary(), ANYTHING), ANYTHING, st.binary(), MEDIA_TYPES)
def test_nothing_makes_redaction_fail(tree: Any, text: str, body: bytes, media_type: str | None) -> None:
    redact(tree)
    redact_text(text)
    redact_url(text)
    redact_body(body, media_type)
    redact_body(body, text)
    redact_body(json.dumps(tree, default=repr).encode(), media_type)


# A name and its secret, then forms around forms; each takes a text and returns one that holds it.
INNERMOST: dict[str, Callable[[str, str], str]] = {
    "json": lambda name, secret: json.dumps({"n": [1, {name: secret}]}),
    "beside": lambda name, secret: json.dumps([{"name": name, "value": secret}]),
    "query": lambda name, secret: f"https://h/a?n=1&{quote(name)}={secret}&m=2",
    "xml": lambda name, secret: f"<a><{name.replace(' ', '-')} n='1'>{secret}</{name.replace(' ', '-')}></a>",
    "attribute": lambda name, secret: f'<a><add key="{name}" value="{secret}"/></a>',
    "multipart": lambda name, secret: multipart(name, secret),
    "text": lambda name, secret: f"refused: {name}={secret}, at 10:30",
    "basic": lambda name, secret: "Basic " + base64.b64encode(f"user:{secret}".encode()).decode(),
    "user": lambda name, secret: f"amqp://user:{secret}@h:1/v",
}
AROUND: dict[str, Callable[[str], str]] = {
    "json": lambda text: json.dumps({"a": [text]}),
    "escaped json": lambda text: '["' + "".join(f"\\u{ord(sign):04x}" for sign in text) + '"]',
    "query": lambda text: f"https://h/?u={quote(text, safe='')}&n=1",
    "form": lambda text: f"n=1&u={quote_plus(text)}",
    "xml": lambda text: f"<b>{escape(text)}</b>",
    "lines": lambda text: '{"n": 1}\n' + json.dumps({"a": text}) + "\n",
}


def multipart(name: str, content: str) -> str:
    head = "Content-Disposition: form-data; name="
    return f'--B\r\n{head}"n"\r\n\r\n5\r\n--B\r\n{head}"{name}"\r\n\r\n{content}\r\n--B--\r\n'


@given(
    st.sampled_from(sorted(INNERMOST)),
    spelled(" _-"),
    PLANTED,
    st.lists(st.sampled_from(sorted(AROUND)), max_size=3),
    REDACTORS,
)
@settings(max_examples=1500)
def test_no_planted_secret_survives_any_nesting(
    inner: str, name: str, secret: str, around: list[str], redactor: Redactor
) -> None:
    text = INNERMOST[inner](name, secret)
    for form in around:
        text = AROUND[form](text)
    body = redactor.redact_body(text.encode(), FORM if around[-1:] == ["form"] else None).decode()
    for clean in (body, redactor.redact_text(text)) if around[-1:] != ["form"] else (body,):
        assert secret not in unquote_plus(unquote_plus(unquote_plus(clean)))
        assert base64.b64encode(f"user:{secret}".encode()).decode() not in clean
    part = redactor.redact_body(multipart("upload", text).encode(), "multipart/form-data; boundary=B")
    if around[-1:] != ["form"] and len(around) < 3:  # a multipart body is one of the four that are opened
        assert secret.encode() not in part
