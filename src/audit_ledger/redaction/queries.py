"""Queries, fragments, forms and URLs: pairs of a name and a value, percent-encoded or not."""

import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_plus

from audit_ledger.redaction.marks import MARK, user_mark
from audit_ledger.redaction.names import LONGEST

if TYPE_CHECKING:
    from audit_ledger.redaction.rules import Rules

_USER = re.compile(r"""(?x)
    ( : (?>(?P<http> (?<=(?i:http):) | (?<=(?i:https):) )?) (?: \\?/ ){2} )
    ( (?: [^\s/?\#"'<>:\[]*+ : (?! \d{0,5} (?: [\s/?\#"'<>] | \Z ) )  # user:password@, no port,
        (?: (?>(?: [^\s/?\#"<>@]*+ @ )+) | [^\s"'<>@]{0,100}+ @ )  # up to the last @, or past a raw slash
      | (?(http) [^\s/?\#"'<>@:\[]++ @ | (?!) ) ) )
""")
_QUERY = re.compile(r"""([?#])([^\s"'<>\\?#=&]++=[^\s"'<>\\]*+)""")
_PAIR = re.compile(r"(?:\A|(?<=[?&;#]))([^?&;#=]*+)=([^&#]*+)")
_ENCODED = re.compile(r"""(?x)
    (?<! [^\s"'<>&=?\#;,] ) [^\s"'<>&=?\#;,%]*+ %[0-9A-Fa-f]{2} [^\s"'<>&=?\#;,]*+
""")
_MARKS = re.compile(f"({MARK})")


def without_users(text: str, key: bytes | None) -> str:
    """The text with a mark for the user information of each URL; a user alone stays but over HTTP."""
    if "@" not in text:
        return text
    return _USER.sub(lambda m: f"{m[1]}{user_mark(m[3][:-1], key)}@", text)


def _quoted(text: str) -> str:
    """Percent-encoded but for the marks in it."""
    parts = _MARKS.split(text)
    return "".join(
        part if at % 2 else quote(part, safe="[]", errors="surrogatepass") for at, part in enumerate(parts)
    )


def pairs(rules: "Rules", query: str, depth: int) -> str:
    """A query or a form without the values of secret names, and without secrets in other values."""

    def pair(match: re.Match[str]) -> str:
        name, value = match.groups()
        plain = unquote_plus(value)
        if (rules.known(name) if len(name) < LONGEST else rules.name(name))[2]:
            return f"{name}={rules.mark(plain) if value else ''}"
        clean = rules.text(plain, depth - 1) if depth and plain != value else plain
        return match[0] if clean == plain else f"{name}={_quoted(clean)}"

    return _PAIR.sub(pair, query)


def within_text(rules: "Rules", text: str, depth: int) -> str:
    """The text with its queries and its percent-encoded words redacted."""

    def word(match: re.Match[str]) -> str:
        plain = unquote_plus(match[0])
        clean = rules.text(plain, depth - 1)
        return match[0] if clean == plain else _quoted(clean)

    text = _QUERY.sub(lambda m: m[1] + pairs(rules, m[2], depth), text)
    return _ENCODED.sub(word, text) if depth and "%" in text else text


def url(rules: "Rules", text: str, depth: int) -> str:
    """One URL, absolute or not, without user information and secret parameters."""
    text = rules.values(text)
    mark = re.search(r"[?#]", text)
    at = mark.start() if mark else len(text)
    return rules.named(text[:at]) + rules.named(pairs(rules, text[at:], depth))
