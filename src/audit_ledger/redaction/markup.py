"""XML and HTML: elements and attributes of secret names, and values beside such a name.

    <password>x</password>      <add key="ApiKey" value="x"/>      <input name="csrf_token" value="x">
    <key>token</key><string>x</string>      <setting name="ApiKey"><value>x</value></setting>

What is escaped in it, as XML or JSON within XML, is opened.
"""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from audit_ledger.redaction.rules import Rules

_TAG = re.compile(r"""(?x) < (?P<name> [A-Za-z_][\w:.-]*+ )
    (?P<attributes> (?>(?: "[^"]*+" | '[^']*+' | [^<>"']++ )*) (?= > ) | [^<>]*+ ) >""")
# Text, or an attribute, and whether markup or JSON is escaped in it.
_REFERRING = re.compile(r"(?<![^<>])[^<>&]*+&[^<>]*+")
_ESCAPED = re.compile(r"&(?:amp;)*(?:lt|quot|\#34|\#x22);")
_ATTRIBUTE = re.compile(r"""(?xs) (?<![\w:.-]) (?P<key> [\w:.-]++ ) \s*+ = \s*+
    (?: (?P<quote> \\*+["'] ) (?P<quoted> .*? ) (?P=quote) | (?P<bare> [^\s"'<>&]++ ) )""")
_NAMES = ("name", "key", "id", "property")
_HOLDERS = ("value", "content", "data", "val")
_SIBLINGS = ("value", "string", "data")
_NAME_WITHIN = re.compile(r"\s{0,20}+([\w.% -]{1,100}+)</")
_EMPTY = ("input", "meta", "img", "link", "embed", "source")  # of HTML: they have no end tag
# What a name attribute names there is no value: forms, schemas.
_CONTAINERS = ("form", "a", "iframe", "map", "element", "attribute", "complextype", "simpletype", "message")
_MOST_UNCLOSED = 50


def _held(attribute: re.Match[str]) -> str:
    return str(attribute["bare"] if attribute["quote"] is None else attribute["quoted"])


def _attributes(rules: "Rules", text: str) -> tuple[str, bool]:
    """The attributes of a tag without secrets, and whether its name or key is a secret name."""
    found = {match["key"].lower(): _held(match) for match in _ATTRIBUTE.finditer(text)}
    naming = [key for key in _NAMES if key in found and rules.hides(found[key])]
    if not naming and found.get("type", "").lower() != "password":
        return text, False

    def hide(match: re.Match[str]) -> str:
        held = _held(match)
        if match["key"].lower() not in _HOLDERS or not held:
            return match[0]
        quote = match["quote"] or ""
        return match[0][: match.start(match.lastgroup or 0) - match.start()] + rules.mark(held) + quote

    return _ATTRIBUTE.sub(hide, text), bool({"name", "key"} & {*naming})


def scrub(rules: "Rules", text: str, depth: int) -> str:
    """The text without what elements and attributes of secret names hold."""
    if depth and "&" in text:
        text = _opened(rules, text, depth)
    return _elements(rules, text) if "<" in text else text


def _opened(rules: "Rules", text: str, depth: int) -> str:
    """The text without the secrets in what is escaped in it."""
    import html  # with a table of all entities

    def hide(match: re.Match[str]) -> str:
        if not _ESCAPED.search(match[0]):
            return match[0]
        plain = html.unescape(match[0])
        clean = rules.text(plain, depth - 1)
        return match[0] if clean == plain else html.escape(clean)

    return _REFERRING.sub(hide, text)


def _elements(rules: "Rules", text: str) -> str:
    parts, done, at, sibling = [], 0, 0, False
    unclosed: set[str] = set()  # names without an end tag from here on, so that none is sought twice
    while tag := _TAG.search(text, at):
        at, name = tag.end(), tag["name"].rpartition(":")[2].lower()
        attributes, named = _attributes(rules, tag["attributes"]) if "=" in tag["attributes"] else ("", False)
        if attributes and attributes != tag["attributes"]:
            parts += [text[done : tag.start("attributes")], attributes]
            done = tag.end("attributes")
        secret = rules.hides(tag["name"]) or (sibling and name in _SIBLINGS)
        sibling = False
        if tag["attributes"].endswith("/"):
            continue
        if name in ("name", "key") and not secret:
            within = _NAME_WITHIN.match(text, at)
            sibling = within is not None and rules.hides(within[1])
        if not secret and (not named or name in _CONTAINERS or name in _EMPTY):
            continue
        end = -1
        if tag["name"] not in unclosed and len(unclosed) < _MOST_UNCLOSED:
            end = text.find(f"</{tag['name']}", at)
        if end < 0:
            unclosed.add(tag["name"])
            end = text.find("<", at) if secret else at
            end = len(text) if end < 0 else end
        if held := text[at:end].strip():
            parts += [text[done:at], rules.mark(held.removeprefix("<![CDATA[").removesuffix("]]>"))]
            done = at = end
    return "".join([*parts, text[done:]])
