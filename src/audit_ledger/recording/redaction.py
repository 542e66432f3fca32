r"""Redaction: a pure function of what is about to be recorded, since the log cannot forget.

1.  A *secret name* hides its whole value. Names (`_NAMES`) are compared by words, without case or
    separators (API-Key, apiKey, "api key" and X-API-KEY are one), whole or as the last words:
    db_password and GITHUB_TOKEN are secret; token_count, secretary and passwords_changed_at are
    not. Those in `_GLUED` also end a word (PGPASSWORD); digits after a name do not count. It is
    -   a key of a mapping, the first of a [name, value] pair in a list, the "name" beside a
        "value", an option (--password) in a list of arguments;
    -   in text, what stands before `=`, `:` or `=>`, or an option. Its value is then a quoted
        string, a bracketed group, the rest of a header's line, or a word;
    -   in a query, a fragment or a form, percent-encoded or not. Only there `_QUERY_NAMES` are
        secret too: an OAuth `code`, an API's `key`. As JSON keys these are data.
        Nor is `assertion` secret elsewhere (data quality), but client_assertion is.
    `pin` is no secret name (parcels and posts have pins), but user_pin and card_pin are.
2.  A *secret value* is hidden wherever it stands, in keys and binary bodies too: credentials with
    an issuer's prefix (`_VALUES`), JWTs, private keys. So is the user information of URLs (a
    user name alone over HTTP only, where it is a token), and what follows `Bearer` or `Basic`
    unless it reads as prose.

All else stays as it was: keys, lengths, types, and the very bytes of a body without a secret. JSON
in strings and percent-encoding in queries are opened, four deep. Twice redacted is once redacted.

    >>> redact({"url": "https://bob:pw@api.test/?api%5Fkey=k1&n=5", "apiKey": "k2", "max_tokens": 9})
    {'url': 'https://REDACTED@api.test/?api%5Fkey=[REDACTED]&n=5', 'apiKey': '[REDACTED]', 'max_tokens': 9}

The mark in user information has no brackets: a URL with brackets there cannot be parsed. Not
covered yet: multipart forms, XML elements, compressed bodies, personal data.
"""

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Final, TypeAlias, cast
from urllib.parse import quote, unquote, unquote_plus

JsonValue: TypeAlias = dict[str, Any] | list[Any] | tuple[Any, ...] | str | int | float | bool | bytes | None
REDACTED: Final = "[REDACTED]"
_DEPTH = 4  # of encodings within encodings that are opened


def _squash(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower()


def _table(names: str) -> frozenset[str]:
    return frozenset(_squash(name) for name in names.split(","))


_NAMES = _table("""
    access key, access key id, account key, api key, api keys, app key, application key, auth, auth key,
    authorization, bearer, card pin, client assertion, code verifier, connection string, cookie, cookies,
    credential, credentials, encryption key, jwt, login pin, master key, oauth, otp, passphrase, passwd,
    password, passwords, private key, private keys, pwd, registration key, saml response, secret, secrets,
    secret key, security pin, session id, session key, shared access key, shared key, sig, signature,
    signing key, subscription key, token, user pin
""")
_ENDINGS = "access key, api key, passwd, password, private key, secret, sessid, session id, token"
_GLUED = tuple(_table(_ENDINGS))
_QUERY_NAMES = _table("app id, assertion, code, device code, key")
_LINES = ("authorization", "cookie", "connectionstring", "passphrase")  # run to the line's end
_SHAPES = (("name", "value"), ("key", "value"), ("Name", "Value"), ("Key", "Value"))
_SECRET = _NAMES | _QUERY_NAMES | {*_GLUED}
_STEMS = re.compile("|".join(n for n in _SECRET if not any(m in n for m in _SECRET - {n})))
_SEPARATORS = str.maketrans("", "", " _-.+")
_PROSE = _table("auth, authentication, authorization, bond, bonds, scheme, share, shares, token")

# A prefix of fixed width, ending in a rare character that the filters look for; then the rest.
_VALUES = (
    ("eyJ", r"[\w-]{8,}+(?:\.[\w-]{8,}+(?:\.[\w-]*+){1,3}|(?P<no>))"),  # JWT; else not read again
    ("-----B", r"EGIN [A-Z0-9 ]{0,40}?PRIVATE KEY[\s\S]*?(?:-----END [A-Z0-9 ]{3,50}-----|\Z)"),
    ("A[KS]I", r"A[A-Z0-9]{16}(?![A-Za-z0-9])"),  # AWS
    ("gh[oprsu]_", r"[A-Za-z0-9_]{20,}+"),  # GitHub
    ("github_pat_", r"[A-Za-z0-9_]{20,}+"),
    ("xox[a-z]-", r"[A-Za-z0-9-]{10,}+"),  # Slack
    ("xapp-", r"[A-Za-z0-9-]{10,}+"),
    ("services/", r"(?<=hooks\.slack\.com/services/)[\w/-]++"),
    ("sk_(?:live|test)_", r"[A-Za-z0-9]{10,}+"),  # Stripe
    ("rk_(?:live|test)_", r"[A-Za-z0-9]{10,}+"),
    ("whsec_", r"[A-Za-z0-9+/=]{16,}+"),
    ("AIz", r"a[\w-]{35,}+"),  # Google
    (r"ya29\.", r"[\w-]{20,}+"),
    ("GOCSPX-", r"[\w-]{20,}+"),
    ("sk-", r"(?:(?:ant|proj|svcacct|admin|or|lf)-[\w-]{20,}+|[A-Za-z0-9_]{20,}+)"),  # OpenAI …
    ("npm_", r"[A-Za-z0-9]{36,}+"),
    ("pypi-", r"AgE[\w-]{16,}+"),
    (r"SG\.", r"[\w-]{16,}+\.[\w-]{16,}+"),  # SendGrid
    ("glpat-", r"[\w.-]{20,}+"),  # GitLab
    ("hf_", r"[A-Za-z0-9]{30,}+"),  # Hugging Face
)
_ANCHOR = re.compile("|".join(re.escape(p[-1]) + f"(?<={p})" for p, _ in _VALUES))
_BEFORE = (r"(?<![A-Za-z0-9]{0})", r"(?<=\\[nrt]{0})", r"(?<=%[0-9A-Fa-f][0-9A-Fa-f]{0})")  # a word begins
_VALUE = re.compile(
    "|".join(p + f"(?:{'|'.join(_BEFORE)})".replace("{0}", p) + rest for p, rest in _VALUES), re.ASCII
)
# A text without any of this is left at once; the colons of times and URLs do not count.
_TRIGGER = re.compile(
    r"=|\[(?=\s*\")|:(?!//|(?<=\d[ T]\d\d:)[0-5]\d|(?<=\d\d:\d\d:)[0-5]\d)|@|\\(?=u00)|B(?i:earer|asic) "
    r"|b(?i:earer|asic) |-(?:(?<![\w.%\\-]-)|(?<=--)(?<![\w.%\\-]--))[A-Za-z]|" + _ANCHOR.pattern
)
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\dA-Za-z_]+")
_USER = re.compile(r"""(?x)
    ( : (?P<http> (?<=(?i:http):) | (?<=(?i:https):) )?+ (?: \\?/ ){2} )
    (?: [^\s/?\#"'<>:\[]*+ : (?! \d{0,5} (?: [\s/?\#"'<>] | \Z ) )  # user:password@, no port,
        (?: (?: [^\s/?\#"<>@]*+ @ )++ | [^\s"'<>@]{0,100}+ @ )  # up to the last @, or past a raw slash
      | (?(http) [^\s/?\#"'<>@:\[]++ @ | (?!) ) )
""")
_QUERY = re.compile(r"""([?#])([^\s"'<>\\?#=&]++=[^\s"'<>\\]*+)""")
_PAIR = re.compile(r"(?:\A|(?<=[?&;#]))([^?&;#=]*+)=([^&#]*+)")
_NAME = re.compile(r"""(?x)
    (?<![\w.%\\-]) (?P<option> --?[A-Za-z][\w-]*+ ) ["'`]?+ (?: = | ,?+[ ]++ ) (?!-)
  | (?: (?<![\w.%\\-]) | (?<=\\[nrt]) ) (?P<name> [\w.%-]++ (?: [ ](?=[^\W\d])[\w.%-]++ )?+ )
    \]?+ (?P<close> \\*+["'`]?+ ) \]?+ [ \t]{0,8}+ (?P<sep> :(?!:|//) | :?+=(?!=)>?+ ) [ \t]{0,8}+
""")
_QUOTED = re.compile(r"""(?x)
    (?P<open> [bBfFrRuU]{0,2}+ (?P<quote> \\*+["'`] ) )
    (?: \[REDACTED\](?P=quote)
      | (?: (?P=quote)(?P=quote) | (?!(?<!\\)(?P=quote))[^\n] )*+ (?P=quote)?+ )
""")
_RUN = re.compile(r"""(?x)(?:
    \[REDACTED\] | [^\s&"'`<>,;()\[\]{}\\\#] | \\(?!["'`]) | \#(?<!\[REDACTED\]\#)
  | [,;](?! [\s,;"'`{[] | \Z | [\w.-]{1,40}["']?[=:] ) | [)\]}](?! [\s,;:.)\]}"'`<>&] | \Z )
)++""")
_LINE = re.compile(r"(?:(?!\\[rn])[^\r\n])*+")
_LINE_IN_QUOTES = re.compile(r"""[^\r\n"'\\]*+""")
# What goes on after a first word: auth=Bearer x, password: str = "x"
_MORE = re.compile(r"(?i:(?<=[=:]bearer)|(?<=[=:]basic)|(?<=[=:]token))[ ]++|[ \t]{1,8}=[ \t]{0,8}")
_BRACKET = re.compile(r"""\n|[(\[{]|[)\]}]|"(?:[^"\\\n]|\\.)*+"?+|'(?:[^'\\\n]|\\.)*+'?+""")
_SCHEME = re.compile(r"(?i:bearer|basic|digest|token|apikey|negotiate)[ ]++(?=[^\s,;])")
_CREDENTIAL = re.compile(r"(?<![A-Za-z0-9])((?i:bearer|basic)[ ]++)([\w.~+/=-]++)", re.ASCII)
_TEXTUAL = re.compile(r"text/|application/.*(?:json|xml|form|javascript)")


def _past(pattern: re.Pattern[str], text: str, start: int) -> int:
    match = pattern.match(text, start)
    return match.end() if match else start


def _balanced(text: str, start: int, *, one_line: bool) -> int:
    """The end of the bracketed group at `start`; that of the text, or line, if it stays open."""
    depth = 0
    for token in _BRACKET.finditer(text, start):
        depth += (token[0] in "([{") - (token[0] in ")]}")
        if not depth:
            return token.end()
        if one_line and token[0] == "\n":
            return token.start()
    return len(text)


def _word(text: str, start: int) -> int:
    """The end of a word, with the calls and subscripts in it, or of a quoted string."""
    end, before = _past(_QUOTED, text, start), -1
    while before < end < len(text):
        before, opened = end, text[end] in "([{"
        end = _balanced(text, end, one_line=end > start) if opened else _past(_RUN, text, end)
    return end


def _words(text: str, start: int) -> int:
    """The end of a value without quotes: a word; after a scheme or a type, the next one too."""
    end = _word(text, _past(_SCHEME, text, start))
    more = _past(_MORE, text, end)
    return end if end in (start, more) else _word(text, more)


def _value(text: str, name: re.Match[str]) -> tuple[int, str]:
    """Where the value of a secret name ends, and what takes its place."""
    start, colon = name.end(), name["sep"] == ":"
    if quoted := _QUOTED.match(text, start):
        return quoted.end(), quoted["open"] + REDACTED + quoted["quote"]
    quote = name["close"] if colon else ""
    if quote and text[start : start + 1] in ("(", "[", "{"):
        end = _balanced(text, start, one_line=False)
    elif colon and not quote and _squash(name["name"]).endswith(_LINES):
        within = text[name.start() - 1 : name.start()] in ("'", '"')
        end = _past(_LINE_IN_QUOTES if within else _LINE, text, start)
    else:
        end = _words(text, start)
    return end, quote + REDACTED + quote if end > start else ""


def _credential(match: re.Match[str]) -> str:
    """`Bearer x` and `Basic x` without x, unless x is a word of prose."""
    scheme, word, text = match[1], match[2], match.string
    if scheme[:2].lower() == "ba":
        try:
            plain = base64.b64decode(word + "=" * (-len(word) % 4)).decode()
        except ValueError:
            return match[0]
        return scheme + REDACTED if ":" in plain and plain.isprintable() else match[0]
    around = text[match.start() - 1 : match.start()] + text[match.end() : match.end() + 1]
    alone = scheme[0] == "B" and not around.strip("\"'") and word.lower() not in _PROSE
    mixed = len(word) >= 6 and re.search(r"\d", word) and re.search("[A-Za-z]", word)
    return scheme + REDACTED if alone or mixed or len(word) >= 20 else match[0]


@dataclass(frozen=True)
class Redactor:
    """The rules above, and what an installation adds to them.

    Attributes:
        extra_names: More secret names, in any spelling with their words apart ("tax id").
        extra_patterns: More regular expressions of secret values; keep them linear.
    """

    extra_names: tuple[str, ...] = ()
    extra_patterns: tuple[str, ...] = ()

    @cached_property
    def _name(self) -> Callable[[str], tuple[str, bool, bool]]:
        return lru_cache(4096)(self._classify)

    def redact(self, value: JsonValue) -> JsonValue:
        """A copy of a JSON-like tree without its secrets; the tree itself is left alone."""
        return cast("JsonValue", self._tree(value, _DEPTH)[0])

    def redact_text(self, text: str) -> str:
        """The text without secret values and without what follows secret names."""
        return self._text(text, _DEPTH)

    def redact_url(self, url: str) -> str:
        """The URL without user information and without secret query and fragment parameters."""
        url = self._values(url)
        mark = re.search(r"[?#]", url)
        at = mark.start() if mark else len(url)
        return self._named(url[:at]) + self._named(self._pairs(url[at:], _DEPTH))

    def redact_body(self, body: bytes, media_type: str | None) -> bytes:
        """The body of an HTTP message without secrets; the very same bytes if it holds none."""
        kind = (media_type or "").strip().lower()
        encoding = "utf-16" if body.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8"
        try:
            text = body.decode(encoding)
        except UnicodeDecodeError:
            encoding = "latin-1"  # whatever it is, its ASCII is found and its bytes are kept
            text = body.decode(encoding)
        if encoding == "latin-1" and not _TEXTUAL.match(kind):
            clean = self._values(text)
        elif kind.startswith("application/x-www-form-urlencoded"):
            clean = self._named(self._pairs(self._values(text), _DEPTH))
        else:
            clean = self._text(text, _DEPTH)
        return body if clean == text else clean.encode(encoding)

    def request_headers(self, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Provisional."""
        return [(n, REDACTED if self._hides(n) else self._values(v)) for n, v in headers]

    def response_headers(self, headers: list[tuple[str, str]]) -> dict[str, str]:
        """Provisional."""
        return {
            n.lower(): v
            for n, v in headers
            if n.lower() in ("content-type", "location", "retry-after") or "rate" in n.lower()
        }

    def _classify(self, name: str) -> tuple[str, bool, bool]:
        """The name without secret values, whether it is a secret one, and whether in a query."""
        names = _NAMES.union(map(_squash, self.extra_names))
        clean, secret = self._text(name, _DEPTH), False
        for form in {name, clean}:
            tail = ""
            for word in reversed(_WORDS.findall(unquote(form[-100:]))):
                tail = word.lower() + tail if tail or not word.isdigit() else ""
                secret = secret or tail in names
            secret = secret or tail.endswith(_GLUED)
        return clean, secret, secret or _squash(unquote(name[-100:])) in _QUERY_NAMES

    def _hides(self, name: object) -> bool:
        text = name.decode("latin-1") if isinstance(name, bytes) else name
        return isinstance(text, str) and self._name(text[-100:])[1]

    def _values(self, text: str) -> str:
        if _ANCHOR.search(text):
            text = _VALUE.sub(lambda m: REDACTED if m["no"] is None else m[0], text)
        for pattern in self.extra_patterns:
            text = re.sub(pattern, REDACTED, text)
        return _USER.sub(r"\1REDACTED@", text) if "@" in text else text

    def _named(self, text: str) -> str:
        parts, done, at = [], 0, 0
        while match := _NAME.search(text, at):
            at, before = match.end(), text[match.start() - 1 : match.start()]
            if match["sep"] == ":" and before in ("/", "@") and " " not in match[0]:
                continue  # a host and its port, or the method of an API
            if at >= done and self._hides(match["option"] or match["name"]):
                end, mark = _value(text, match)
                if match.start() >= done:
                    parts += [text[done:at], mark]
                done = end  # a value that ends in a secret name ends with the value of that
        return "".join([*parts, text[done:]])

    def _pairs(self, query: str, depth: int) -> str:
        def pair(match: re.Match[str]) -> str:
            name, value = match.groups()
            if self._name(name[-100:])[2]:
                return f"{name}={REDACTED if value else ''}"
            plain = unquote_plus(value)
            clean = self._text(plain, depth - 1) if depth and plain != value else plain
            return match[0] if clean == plain else f"{name}={quote(clean, safe='[]', errors='surrogatepass')}"

        return _PAIR.sub(pair, query)

    def _text(self, text: str, depth: int) -> str:
        if not self.extra_patterns and _TRIGGER.search(text) is None:
            return text
        if depth and text.lstrip("\ufeff \t\r\n")[:1] in ("{", "[", '"'):
            document = self._document(text, depth - 1)
            if document is not None:
                return document
        text = self._values(text)
        lower = text.lower()
        if self.extra_names or "%" in text or _STEMS.search(lower.translate(_SEPARATORS)):
            text = _QUERY.sub(lambda m: m[1] + self._pairs(m[2], depth), text)
            text = self._named(text)
        return _CREDENTIAL.sub(_credential, text) if "earer " in lower or "asic " in lower else text

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

    def _beside(self, source: Any, *, listed: bool) -> set[Any]:
        """The keys, or indexes, of the items that a name beside them says are secret."""
        if isinstance(source, dict):
            return {held for key, held in _SHAPES if held in source and self._hides(source.get(key))}
        pair = listed and len(source) == 2 and self._hides(source[0])
        options = {
            at + 1
            for at, item in enumerate(source)
            if isinstance(item, str) and item[:1] == "-" and " " not in item and self._hides(item)
        }
        return options | {1} if pair else options

    def _tree(self, value: Any, depth: int) -> tuple[Any, bool]:
        """A redacted copy, and whether it differs; without recursion, for trees of any depth."""
        root: dict[Any, Any] = {}
        todo: list[tuple[Any, Any, bool]] = [({"": value}, root, False)]
        tuples: list[tuple[Any, Any, Any]] = []  # filled as lists, frozen from the inside out
        changed, always, search, known = False, bool(self.extra_patterns), _TRIGGER.search, self._name
        while todo:
            source, target, listed = todo.pop()
            mapping, beside = isinstance(source, dict), self._beside(source, listed=listed)
            for at, item in source.items() if mapping else enumerate(source):
                key, new, secret = at, item, False
                if isinstance(at, str):
                    key, secret, _ = known(at) if len(at) < 100 else self._classify(at)
                    while key in target:  # two keys that held secrets
                        key = f"{key} ({len(target) + 1})"
                elif isinstance(at, bytes):
                    secret = self._hides(at)
                if secret or at in beside:
                    new = REDACTED
                elif isinstance(item, str):
                    new = self._text(item, depth) if always or search(item) else item
                elif isinstance(item, (dict, list, tuple)):
                    new = {} if isinstance(item, dict) else [None] * len(item)
                    todo.append((item, new, not mapping))
                    if isinstance(item, tuple):
                        tuples.append((target, key, new))
                elif isinstance(item, bytes):
                    new = self.redact_body(item, None)
                target[key] = new
                if not changed and (new is not item or key != at):
                    changed = key != at or (new != item and not isinstance(new, (dict, list)))
        for target, key, filled in reversed(tuples):
            target[key] = tuple(filled)
        return root[""], changed


_DEFAULT = Redactor()
redact = _DEFAULT.redact
redact_text = _DEFAULT.redact_text
redact_url = _DEFAULT.redact_url
redact_body = _DEFAULT.redact_body
