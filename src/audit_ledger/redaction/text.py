"""Text: what follows a secret name in it, and what follows `Bearer` or `Basic`.

A name stands before `=`, `:` or `=>`, or is an option. Its value is then a quoted string, a
bracketed group, the rest of a header's line, or a word. What follows `Bearer` or `Basic` is hidden
unless it reads as prose.
"""

import base64
import re
from typing import TYPE_CHECKING

from audit_ledger.redaction.commands import NEGATED, secret_option
from audit_ledger.redaction.marks import MARK, SCHEME
from audit_ledger.redaction.names import squash

if TYPE_CHECKING:
    from audit_ledger.redaction.rules import Rules

_LINES = ("authorization", "cookie", "connectionstring", "passphrase")  # run to the line's end
_PROSE = ("auth", "authentication", "authorization", "bond", "bonds", "scheme", "share", "shares", "token")

_QUOTE = r"""\\*+["'`]"""
_NAME = re.compile(rf"""(?x)
    (?<![\w.%\\-]) (?P<option> --?[A-Za-z][\w-]*+ ) ["'`]?+ (?: = | ,?+[ ]++ ) (?!-)
  | (?: (?<![\w.%\\-]) | (?<=\\[nrt]) ) (?P<name> [\w.%-]++ (?>(?: [ ](?=[^\W\d])[\w.%-]++ )?) )
    \]?+ (?P<close> {_QUOTE} | \\*+ ) \]?+ [ \t]{{0,8}}+ (?P<sep> :(?!:|//) | :?+=(?!=)>?+ ) [ \t]{{0,8}}+
""")
# Beside its name: {"name": "password", "value": "x"}, and the same in YAML.
_BESIDE = re.compile(rf"""(?x)
    (?<![\w.%\\-]) (?: [nN]ame | NAME | [kK]ey | KEY ) (?>(?:{_QUOTE})?)
    [ \t]{{0,8}}+ (?: :(?!:|//) | =>?+ ) [ \t]{{0,8}}+
    (?>(?:{_QUOTE})?) (?P<name> [\w.%-]{{1,90}}+ (?>(?: [ ](?![vV]alue|VALUE)[\w.%-]{{1,30}}+ ){{0,3}}) )
    (?>(?:{_QUOTE})?) [ \t]{{0,8}}+ [,;]?+ (?>(?: \s | \\[nr] ){{0,80}})
    (?>(?:{_QUOTE})?) (?: [vV]alue | VALUE ) (?P<close> (?>(?:{_QUOTE})?) )
    [ \t]{{0,8}}+ (?P<sep> :(?!:|//) | =>?+ ) [ \t]{{0,8}}+
""")
_OPENING = re.compile(rf"(?P<open>[bBfFrRuU]{{0,2}}+(?P<quote>{_QUOTE}))")
_MARKED = re.compile(MARK)
_RUN = re.compile(rf"""(?x)(?>(?:
    {MARK} | [^\s&"'`<>,;()\[\]{{}}\\\#]++ | \\(?!["'`])
  | \#(?<!\[REDACTED\]\#)(?<!\[REDACTED:[0-9a-f]{{8}}\]\#)
  | [,;](?! [\s,;"'`{{[] | \Z | [\w.-]{{1,40}}["']?[=:] ) | [)\]}}](?! [\s,;:.)\]}}"'`<>&] | \Z )
){{1,10000}})""")
_LINE = re.compile(r"[^\r\n]*?(?=\\[rn]|[\r\n]|\Z)")
_LINE_IN_QUOTES = re.compile(r"""[^\r\n"'\\]*+""")
# What goes on after a first word: auth=Bearer x, password: str = "x"
_MORE = re.compile(r"(?i:(?<=[=:]bearer)|(?<=[=:]basic)|(?<=[=:]token))[ ]++|[ \t]{1,8}=[ \t]{0,8}")
_BRACKET = re.compile(r"""\n|[(\[{]|[)\]}]|"(?:[^"\\\n]|\\.)*+"?+|'(?:[^'\\\n]|\\.)*+'?+""")
_CREDENTIAL = re.compile(r"(?<![A-Za-z0-9])((?i:bearer|basic)(?:[ ]++|\+|%20))([\w.~+/=-]++)", re.ASCII)


def _past(pattern: re.Pattern[str], text: str, start: int) -> int:
    match = pattern.match(text, start)
    return match.end() if match else start


def _quoted(text: str, start: int) -> tuple[re.Match[str], int, int] | None:
    """The opening of a quoted string at `start`, where what is in it ends, and where the string does.

    A quote that is doubled, or behind a backslash, is in it. One that is not closed ends with its line.
    """
    opening = _OPENING.match(text, start)
    if opening is None:
        return None
    quote, within = opening["quote"], opening.end()
    marked = _past(_MARKED, text, within)
    if marked > within and text.startswith(quote, marked):
        return opening, marked, marked + len(quote)
    line = text.find("\n", within)
    line, at = len(text) if line < 0 else line, within
    while (found := text.find(quote, at, line)) >= 0:
        if text.startswith(quote, found + len(quote)):
            at = found + 2 * len(quote)
        elif text[found - 1] == "\\":
            at = found + 1
        else:
            return opening, found, found + len(quote)
    return opening, line, line


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
    quoted = _quoted(text, start)
    end, before = quoted[2] if quoted else start, -1
    while before < end < len(text):
        before, opened = end, text[end] in "([{"
        end = _balanced(text, end, one_line=end > start) if opened else _past(_RUN, text, end)
    return end


def _words(text: str, start: int) -> int:
    """The end of a value without quotes: a word; after a scheme or a type, the next one too."""
    end = _word(text, _past(SCHEME, text, start))
    while start < end < (more := _past(_MORE, text, end)):
        end = _word(text, more)
    return end


def _value(rules: "Rules", text: str, name: re.Match[str], *, line: bool = False) -> tuple[int, str]:
    """Where the value of a secret name ends, and what takes its place."""
    start, colon = name.end(), name["sep"] == ":"
    if quoted := _quoted(text, start):
        opening, within, end = quoted
        return end, opening["open"] + rules.mark(text[opening.end() : within]) + opening["quote"]
    quote = name["close"] if colon else ""
    if quote and text[start : start + 1] in ("(", "[", "{"):
        end = _balanced(text, start, one_line=False)
    elif colon and not quote and (line or squash(name["name"]).endswith(_LINES)):
        within = text[name.start() - 1 : name.start()] in ("'", '"')
        end = _past(_LINE_IN_QUOTES if within else _LINE, text, start)
    else:
        end = _words(text, start)
    return end, quote + rules.mark(text[start:end]) + quote if end > start else ""


def named(rules: "Rules", text: str) -> str:
    """The text without what follows secret names."""
    parts, done, at = [], 0, 0
    while match := _NAME.search(text, at):
        at, before = match.end(), text[match.start() - 1 : match.start()]
        if match["sep"] == ":" and before in ("/", "@") and " " not in match[0]:
            continue  # a host and its port, or the method of an API
        if NEGATED.match(match["option"] or ""):
            continue
        option = match["option"]
        if at >= done and (secret_option(rules, option.rstrip()) if option else rules.hides(match["name"])):
            end, mark = _value(rules, text, match)
            if match.start() >= done:
                parts += [text[done:at], mark]
            done = end  # a value that ends in a secret name ends with the value of that
    return "".join([*parts, text[done:]])


def beside(rules: "Rules", text: str) -> str:
    """The text without the values that stand beside a secret name."""
    if "alue" not in text and "VALUE" not in text:
        return text
    parts, done = [], 0
    for match in _BESIDE.finditer(text):
        if match.start() >= done and rules.hides(match["name"]):
            end, mark = _value(rules, text, match, line="\n" in match[0])
            parts += [text[done : match.end()], mark]
            done = end
    return "".join([*parts, text[done:]])


def credentials(rules: "Rules", text: str) -> str:
    """The text with `Bearer x` and `Basic x` without x, unless x is a word of prose."""

    def credential(match: re.Match[str]) -> str:
        scheme, word = match[1], match[2]
        if scheme[:2].lower() == "ba":
            try:
                plain = base64.b64decode(word + "=" * (-len(word) % 4)).decode()
            except ValueError:
                return match[0]
            return scheme + rules.mark(word) if ":" in plain and plain.isprintable() else match[0]
        around = text[match.start() - 1 : match.start()] + text[match.end() : match.end() + 1]
        alone = scheme[0] == "B" and not around.strip("\"'") and word.lower() not in _PROSE
        mixed = len(word) >= 6 and re.search(r"\d", word) and re.search("[A-Za-z]", word)
        return scheme + rules.mark(word) if alone or mixed or len(word) >= 20 else match[0]

    return _CREDENTIAL.sub(credential, text)
