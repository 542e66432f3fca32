r"""Redaction: a pure function of what is about to be recorded, since the log cannot forget.

It goes by two things, names and values; the tables below are data, and `Redactor` takes more.

1.  A *secret name* (`_NAMES`) hides its whole value, whatever that is. Names are compared by
    words, without case or separators (API-Key, apiKey, X-API-KEY and "api key" are one), whole or
    as the last words: db_password and GITHUB_TOKEN are secret; token_count, secretary and
    passwords_changed_at are not. `_GLUED` names count at the end of a word too (PGPASSWORD), and
    digits after a name do not matter (password2). A name may be
    -   a key of a mapping, the first of a [name, value] pair in a list, the "name" beside a
        "value", or an option (--password) before its argument;
    -   in text, what stands before `=`, `:` or `=>`, quoted or not, or an option; the value is
        then a quoted string, a bracketed group, the rest of a header's line, or a word;
    -   in a query, fragment or form, percent-encoded or not. `_QUERY_NAMES` (an OAuth `code`, an
        API's `key`) are secret only there: as JSON keys they are data (country codes, S3 keys).
    `pin` is no secret name, for it names parcels and posts; user_pin and card_pin are.
2.  A *secret value* (`_VALUES`: the credentials that carry their issuer's prefix, JWTs, private
    keys) is hidden wherever it stands, also in keys and in binary bodies. So are the user
    information of URLs (all of it; a user name alone only over HTTP, where it is a token) and
    what follows `Bearer` or `Basic`, unless it is prose.

The rest stays as it was: keys, lengths, types, and the very bytes of a body that holds no secret.
JSON inside strings and percent-encoding inside queries are opened, four deep. Redacting twice
changes nothing more. Every pattern is linear in the text's length.

    >>> redact({"url": "https://bob:pw@api.test/v1?api%5Fkey=k1&n=5", "apiKey": "k2", "max_tokens": 9})
    {'url': 'https://REDACTED@api.test/v1?api%5Fkey=[REDACTED]&n=5', 'apiKey': '[REDACTED]', 'max_tokens': 9}

In user information the mark has no brackets, for brackets there make a URL that cannot be parsed.
Not covered yet: multipart forms, XML elements, compressed bodies, personal data.
"""

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, TypeAlias, cast
from urllib.parse import quote, unquote, unquote_plus

JsonValue: TypeAlias = (
    dict[str, Any] | list[Any] | tuple[Any, ...] | str | int | float | bool | bytes | None
)
REDACTED: Final = "[REDACTED]"
_DEPTH = 4  # of encodings within encodings that are opened


def _table(names: str) -> frozenset[str]:
    return frozenset(_squash(name) for name in names.split(","))


def _squash(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower()


_NAMES = _table("""
    access key, access key id, account key, api key, api keys, app key, application key, assertion,
    auth, auth key, authorization, bearer, card pin, code verifier, connection string, cookie,
    cookies, credential, credentials, encryption key, jwt, login pin, master key, oauth, otp,
    passphrase, passwd, password, passwords, private key, private keys, proxy authorization, pwd,
    registration key, saml response, secret, secrets, secret key, security pin, session id,
    session key, set cookie, shared access key, shared key, sig, signature, signing key,
    subscription key, token, user pin
""")
_GLUED = tuple(
    _table("""
    access key, api key, passphrase, passwd, password, private key, secret, secret key, sessid,
    session id, token
""")
)
_QUERY_NAMES = _table("app id, code, device code, key")
_LINES = ("authorization", "cookie", "connectionstring", "passphrase")  # run to the line's end
_SHAPES = (("name", "value"), ("key", "value"), ("Name", "Value"), ("Key", "Value"))

# A prefix of fixed width, whose last character is rare (the cheap filter looks for that), and
# the rest. The `no` group consumes what cannot be a JWT, so that it is not scanned again.
_VALUES = (
    ("eyJ", r"[\w-]{8,}+(?:\.[\w-]{8,}+(?:\.[\w-]*+){1,3}|(?P<no>))"),  # JWS, JWE
    ("-----B", r"EGIN [A-Z0-9 ]{0,40}?PRIVATE KEY[\s\S]*?(?:-----END [A-Z0-9 ]{3,50}-----|\Z)"),
    ("A[KS]I", r"A[A-Z0-9]{16}(?![A-Za-z0-9])"),  # AWS
    ("gh[oprsu]_", r"[A-Za-z0-9_]{20,}+"),  # GitHub
    ("github_pat_", r"[A-Za-z0-9_]{20,}+"),
    ("xox[a-z]-", r"[A-Za-z0-9-]{10,}+"),  # Slack
    ("xapp-", r"[A-Za-z0-9-]{10,}+"),
    ("[rs]k_live_", r"[A-Za-z0-9]{10,}+"),  # Stripe
    ("[rs]k_test_", r"[A-Za-z0-9]{10,}+"),
    ("whsec_", r"[A-Za-z0-9+/=]{16,}+"),
    ("AIz", r"a[\w-]{35}"),  # Google
    (r"ya29\.", r"[\w-]{20,}+"),
    ("GOCSPX-", r"[\w-]{20,}+"),
    ("sk-", r"(?:(?:ant|proj|svcacct|admin|or|lf)-[\w-]{20,}+|[A-Za-z0-9_]{20,}+)"),  # OpenAI …
    ("npm_", r"[A-Za-z0-9]{36,}+"),
    ("pypi-", r"AgE[\w-]{16,}+"),
    (r"SG\.", r"[\w-]{16,}+\.[\w-]{16,}+"),  # SendGrid
    ("glpat-", r"[\w.-]{20,}+"),  # GitLab
    ("hf_", r"[A-Za-z0-9]{30,}+"),  # Hugging Face
)
_HOOKS = r"(?<=hooks\.slack\.com/services/)[\w/-]++"  # the host stays
_VALUE = re.compile(
    r"(?:(?<![A-Za-z0-9])|(?<=\\[nrt])|(?<=%[0-9A-Fa-f]{2}))(?:"
    + "|".join(prefix + rest for prefix, rest in _VALUES)
    + f")|{_HOOKS}",
    re.ASCII,
)
# What any redaction needs: every text without it is left at once.
_TRIGGER = re.compile(
    r"=|:(?!//|(?<=\d[ T]\d\d:)[0-5]\d|(?<=\d\d:\d\d:)[0-5]\d)|@|\\(?=u00)|/(?<=slack\.com/)"
    r"|B(?i:earer|asic) |b(?i:earer|asic) |-(?:(?<![\w.%\\-]-)|(?<=--)(?<![\w.%\\-]--))[A-Za-z]|"
    + "|".join(
        f"{last}(?<={prefix})"
        for prefix, last in ((p, p[-2:] if p[-2] == "\\" else p[-1]) for p, _ in _VALUES)
    )
)
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_USER = re.compile(
    r"(:(?:\\?/){2})(?:"
    r"(?:[^\s/?#\"'<>:\[]*+:(?:[^\s/?#\"'<>@]*+@)++"  # user:password@, to the last @
    r"|[^\s/?#\"'<>:\[]*+:(?!\d{0,5}(?:[\s/?#\"'<>]|\Z))[^\s\"'<>@]{0,100}+@)"  # a raw / or ? in it
    r"|(?:(?<=https://)|(?<=http://)|(?<=https:\\/\\/)|(?<=http:\\/\\/))[^\s/?#\"'<>@:\[]++@)"
)
_QUERY = re.compile(r"([?#])([^\s\"'<>\\?#=&]++=[^\s\"'<>\\]*+)")
_PAIR = re.compile(r"(?:\A|(?<=[?&;#]))([^?&;#=]*+)=([^&#]*+)")
_NAME = re.compile(
    r"""
    (?<![\w.%\\-]) (?P<option> --?[A-Za-z][\w-]*+ ) ["'`]?+ (?: = | ,?+[ ]++ ) (?!-)
    | (?: (?<![\w.%\\-]) | (?<=\\[nrt]) )
    (?P<name> [\w.%-]++ (?: [ ](?=[^\W\d])[\w.%-]++ )?+ )
    (?P<close> \\*+["'`]?+ ) \]?+ [ \t]{0,8}+ (?P<sep> :(?!:|//) | :?+=(?!=)>?+ ) [ \t]{0,8}+
""",
    re.VERBOSE,
)
_QUOTED = re.compile(
    r"""
    (?P<prefix> [bBfFrRuU]{0,2}+ ) (?P<quote> \\*+["'`] )
    (?: (?P=quote)(?P=quote) | (?!(?<!\\)(?P=quote))[^\n] )*+ (?P=quote)?+
""",
    re.VERBOSE,
)
_RUN = re.compile(
    r"""(?:
    \[REDACTED\] | [^\s&"'`<>,;()\[\]{}\\\#] | \\(?!["'`]) | \#(?<!\[REDACTED\]\#)
    | [,;](?! [\s,;] | \Z | [\w.-]{1,40}["']?[=:] ) | [)\]}](?! [\s,;:.)\]}"'`<>&] | \Z )
)++""",
    re.VERBOSE,
)
_LINE = re.compile(r"(?:(?!\\[rn])[^\r\n])*+")
_QUOTED_LINE = re.compile(r"""[^\r\n"'\\]*+""")
_ASSIGNED = re.compile(r"[ \t]{1,8}=[ \t]{0,8}")  # password: str = "x"
_BRACKET = re.compile(r"""\n|[(\[{]|[)\]}]|"(?:[^"\\\n]|\\.)*+"?+|'(?:[^'\\\n]|\\.)*+'?+""")
_SCHEME = re.compile(r"(?i:bearer|basic|digest|token|apikey|negotiate)[ ]++(?=[^\s,;])")
_CREDENTIAL = re.compile(r"(?<![A-Za-z0-9])((?i:bearer|basic)[ ]++)([\w.~+/=-]++)", re.ASCII)
_PROSE = frozenset(["auth", "authentication", "authorization", "bond", "bonds", "scheme", "share", "shares", "token"])
_TEXTUAL = re.compile(r"text/|application/.*(?:json|xml|form|javascript)")
_WIDE = re.compile(r"charset=\W?(utf-?(?:16|32)(?:-?[bl]e)?)")


def _balanced(text: str, start: int, *, one_line: bool) -> int:
    """The end of the bracketed group at `start`; that of the text, or line, if never closed."""
    depth = 0
    for token in _BRACKET.finditer(text, start):
        if token[0] in "([{":
            depth += 1
        elif token[0] in ")]}":
            depth -= 1
            if not depth:
                return token.end()
        elif one_line and token[0] == "\n":
            return token.start()
    return len(text)


def _unquoted(text: str, start: int) -> int:
    """The end of a value without quotes: a word, calls and subscripts included."""
    scheme = _SCHEME.match(text, start)
    end = scheme.end() if scheme else start
    while end < len(text):
        if text[end] in "([{":
            end = _balanced(text, end, one_line=end > start)
        elif run := _RUN.match(text, end):
            end = run.end()
        else:
            break
    return end


def _value(text: str, name: re.Match[str]) -> tuple[int, str]:
    """Where the value of a secret name ends, and what takes its place."""
    start, colon = name.end(), name["sep"] == ":"
    if quoted := _QUOTED.match(text, start):
        return quoted.end(), f"{quoted['prefix']}{quoted['quote']}{REDACTED}{quoted['quote']}"
    close = name["close"] if colon else ""
    if close and text[start : start + 1] in ("(", "[", "{"):
        end = _balanced(text, start, one_line=False)
    elif colon and not close and _squash(name["name"]).endswith(_LINES):
        before = text[name.start() - 1 : name.start()]
        line = (_QUOTED_LINE if before in ("'", '"') else _LINE).match(text, start)
        end = line.end() if line else start
    else:
        end = _unquoted(text, start)
    if colon and (assigned := _ASSIGNED.match(text, end)):
        quoted = _QUOTED.match(text, assigned.end())
        end = quoted.end() if quoted else _unquoted(text, assigned.end())
    return end, f"{close}{REDACTED}{close}" if end > start else ""


def _credential(match: re.Match[str]) -> str:
    """`Bearer x` and `Basic x` without x, unless x is a word of prose."""
    scheme, word = match[1], match[2]
    if scheme[:2].lower() == "ba":
        try:
            plain = base64.b64decode(word + "=" * (-len(word) % 4)).decode()
        except ValueError:
            return match[0]
        secret = ":" in plain and plain.isprintable()
    else:
        ends = match.string[: match.start()][-1:] + match.string[match.end() :][:1]
        alone = scheme[0] == "B" and not ends.strip("\"'") and word.lower() not in _PROSE
        mixed = re.search(r"\d", word) and re.search("[A-Za-z]", word) and len(word) >= 6
        secret = bool(alone or mixed or len(word) >= 20)
    return scheme + REDACTED if secret else match[0]


@dataclass(frozen=True)
class Redactor:
    """The rules above, and what an installation adds to them.

    Attributes:
        extra_names: More secret names, in any spelling, their words apart ("tax id").
        extra_patterns: More regular expressions of secret values; keep them linear.
    """

    extra_names: tuple[str, ...] = ()
    extra_patterns: tuple[str, ...] = ()
    _names: frozenset[str] = field(init=False, repr=False, compare=False)
    _patterns: tuple[re.Pattern[str], ...] = field(init=False, repr=False, compare=False)
    _trigger: re.Pattern[str] = field(init=False, repr=False, compare=False)
    _known: Callable[[str], bool] = field(init=False, repr=False, compare=False)
    _key: Callable[[str], tuple[str, bool]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, value in {
            "_names": _NAMES | {_squash(name) for name in self.extra_names},
            "_patterns": tuple(re.compile(pattern) for pattern in self.extra_patterns),
            "_trigger": re.compile("") if self.extra_patterns else _TRIGGER,
            "_known": lru_cache(4096)(self._is_secret),
            "_key": lru_cache(4096)(self._classify),
        }.items():
            object.__setattr__(self, name, value)

    def redact(self, value: JsonValue) -> JsonValue:
        """A copy of a JSON-like tree without its secrets; the tree itself is left alone."""
        return cast("JsonValue", self._tree(value, _DEPTH)[0])

    def redact_text(self, text: str) -> str:
        """The text without secret values and without what follows secret names."""
        return self._text(text, _DEPTH)

    def redact_url(self, url: str) -> str:
        """The URL without user information and without secret query and fragment parameters."""
        url = _USER.sub(r"\1REDACTED@", self._values(url))
        mark = re.search("[?#]", url)
        at = mark.start() if mark else len(url)
        return self._named(url[:at] + self._pairs(url[at:], _DEPTH))

    def redact_body(self, body: bytes, media_type: str | None) -> bytes:
        """The body of an HTTP message without secrets; the very same bytes if it holds none."""
        kind = (media_type or "").strip().lower()
        wide = _WIDE.search(kind)
        marked = body.startswith((b"\xff\xfe", b"\xfe\xff"))
        encoding = wide[1] if wide else "utf-16" if marked else "utf-8"
        try:
            text = body.decode(encoding)
        except (LookupError, ValueError):
            encoding = "latin-1"  # whatever it is, its ASCII is found and its bytes are kept
            text = body.decode(encoding)
            if not _TEXTUAL.match(kind):
                return self._values(text).encode(encoding)
        if kind.startswith("application/x-www-form-urlencoded"):
            clean = self._named(self._pairs(_USER.sub(r"\1REDACTED@", self._values(text)), _DEPTH))
        else:
            clean = self._text(text, _DEPTH)
        return body if clean == text else clean.encode(encoding)

    def _is_secret(self, name: str) -> bool:
        tail = ""
        for word in reversed(_WORDS.findall(unquote(name))):
            if tail or not word.isdigit():
                tail = word.lower() + tail
                if tail in self._names:
                    return True
        return tail.endswith(_GLUED)

    def _classify(self, key: str) -> tuple[str, bool]:
        clean = self._text(key, _DEPTH)
        return clean, self._is_secret(key[-100:]) or self._is_secret(clean[-100:])

    def _values(self, text: str) -> str:
        text = _VALUE.sub(lambda m: REDACTED if m["no"] is None else m[0], text)
        for pattern in self._patterns:
            text = pattern.sub(REDACTED, text)
        return text

    def _named(self, text: str) -> str:
        parts, done, at = [], 0, 0
        while match := _NAME.search(text, at):
            at, before = match.end(), text[match.start() - 1 : match.start()]
            if match["sep"] == ":" and before in ("/", "@"):
                continue  # a host and its port, a method of an API
            if self._known((match["option"] or match["name"])[-100:]):
                end, mark = _value(text, match)
                parts += [text[done:at], mark]
                done = at = end
        return "".join([*parts, text[done:]])

    def _pairs(self, query: str, depth: int) -> str:
        def pair(match: re.Match[str]) -> str:
            name, value = match.groups()
            if self._known(name[-100:]) or _squash(unquote(name[-100:])) in _QUERY_NAMES:
                return f"{name}={REDACTED if value else ''}"
            plain = unquote_plus(value) if depth else value
            clean = self._text(plain, depth - 1) if plain != value else plain
            return match[0] if clean == plain else f"{name}={quote(clean, safe='[]')}"

        return _PAIR.sub(pair, query)

    def _text(self, text: str, depth: int) -> str:
        if self._trigger.search(text) is None:
            return text
        if depth and text.lstrip("\ufeff \t\r\n")[:1] in ("{", "["):
            document = self._document(text, depth - 1)
            if document is not None:
                return document
        text = _USER.sub(r"\1REDACTED@", self._values(text))
        text = _QUERY.sub(lambda m: m[1] + self._pairs(m[2], depth), text)
        return _CREDENTIAL.sub(_credential, self._named(text))

    def _document(self, text: str, depth: int) -> str | None:
        """A JSON document without its secrets, or None if the text is none."""
        repeated: list[dict[str, Any]] = []  # an object with a key twice keeps its last value only

        def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            found = dict(pairs)
            if len(found) < len(pairs):
                repeated.extend({key: value} for key, value in pairs)
            return found

        try:
            tree = json.loads(text.lstrip("\ufeff"), object_pairs_hook=members)
            clean, changed = self._tree({"tree": tree, "repeated": repeated}, depth)
            if not changed:
                return text
            return json.dumps(clean["tree"], ensure_ascii="\\u" in text, separators=(",", ":"))
        except (ValueError, RecursionError):
            return None

    def _hides(self, name: object) -> bool:
        text = name.decode("latin-1") if isinstance(name, bytes) else name
        return isinstance(text, str) and self._known(text[-100:])

    def _tree(self, value: Any, depth: int) -> tuple[Any, bool]:
        """A redacted copy, and whether it differs; without recursion, for trees of any depth."""
        root: dict[Any, Any] = {}
        todo: list[tuple[Any, Any]] = [({"": value}, root)]
        tuples: list[tuple[Any, Any, list[Any]]] = []  # filled as lists, inner ones frozen first
        changed = False
        found, known_key = self._trigger.search, self._key
        while todo:
            source, target = todo.pop()
            mapping, option = isinstance(source, dict), False
            if mapping and ("value" in source or "Value" in source):
                for name, held in _SHAPES:
                    if held in source and self._hides(source.get(name)):
                        changed = changed or source[held] != REDACTED
                        source = {**source, held: REDACTED}
            for at, item in source.items() if mapping else enumerate(source):
                key, secret, kind = at, False, type(item)
                if mapping:
                    if type(key) is str:
                        key, secret = known_key(key) if len(key) < 100 else self._classify(key)
                        if key in target:
                            key = f"{key} ({len(target) + 1})"
                        changed = changed or key is not at
                    elif isinstance(key, bytes):
                        secret = self._hides(key)
                elif kind is str:
                    secret = option and item[:1] != "-"
                    option = item[:1] == "-" and self._hides(item)
                elif kind in (list, tuple) and len(item) == 2 and self._hides(item[0]):
                    changed = changed or item[1] != REDACTED
                    item = kind((item[0], REDACTED))
                new = item
                if secret:
                    new = REDACTED
                    changed = changed or item != REDACTED
                elif kind is str:
                    if found(item):
                        new = self._text(item, depth)
                        changed = changed or new != item
                elif isinstance(item, dict):
                    new = {}
                    todo.append((item, new))
                elif isinstance(item, (list, tuple)):
                    new = [None] * len(item)
                    todo.append((item, new))
                    if isinstance(item, tuple):
                        tuples.append((target, key, new))
                elif isinstance(item, bytes):
                    new = self.redact_body(item, None)
                    changed = changed or new != item
                elif isinstance(item, str):
                    new = self._text(item, depth)
                    changed = changed or new != item
                target[key] = new
        for target, key, filled in reversed(tuples):
            target[key] = tuple(filled)
        return root[""], changed


_DEFAULT = Redactor()
redact = _DEFAULT.redact
redact_text = _DEFAULT.redact_text
redact_url = _DEFAULT.redact_url
redact_body = _DEFAULT.redact_body
