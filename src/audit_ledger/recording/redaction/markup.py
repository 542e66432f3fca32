"""XML and HTML: elements and attributes of secret names, and values beside such a name.

    <password>x</password>      <add key="ApiKey" value="x"/>      <input name="csrf_token" value="x">
    <key>token</key><string>x</string>      <setting name="ApiKey"><value>x</value></setting>

The angle brackets may be escaped, as in XML within XML.
"""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from audit_ledger.recording.redaction.rules import Rules

_TAGS = (
    re.compile(r"""(?x) (?P<lt> < ) (?P<name> [A-Za-z_][\w:.-]*+ )
        (?P<attributes> (?: "[^"]*+" | '[^']*+' | [^<>"'] )*+ (?= > ) | [^<>]*+ ) >"""),
    re.compile(r"""(?x) (?P<lt> &lt; ) (?P<name> [A-Za-z_][\w:.-]*+ )
        (?P<attributes> (?: (?! &[lg]t; ) [^<>] )*+ ) &gt;"""),
)
_ATTRIBUTE = re.compile(r"""(?xs) (?<![\w:.-]) (?P<key> [\w:.-]++ ) \s*+ = \s*+
    (?: (?P<quote> \\*+["'] | &(?:quot|apos); ) (?P<quoted> .*? ) (?P=quote) | (?P<bare> [^\s"'<>&]++ ) )""")
_NAMES = ("name", "key", "id", "property")
_HOLDERS = ("value", "content", "data", "val")
_SIBLINGS = ("value", "string", "data")
_NAME_WITHIN = re.compile(r"\s{0,20}+([\w.% -]{1,100}+)(?:</|&lt;/)")
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


def scrub(rules: "Rules", text: str) -> str:
    """The text without what elements and attributes of secret names hold."""
    for tags in _TAGS:
        text = _scrub(rules, text, tags)
    return text


def _scrub(rules: "Rules", text: str, tags: re.Pattern[str]) -> str:
    parts, done, at, sibling = [], 0, 0, False
    unclosed: set[str] = set()  # names without an end tag from here on, so that none is sought twice
    while tag := tags.search(text, at):
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
            end = text.find(f"{tag['lt']}/{tag['name']}", at)
        if end < 0:
            unclosed.add(tag["name"])
            end = text.find(tag["lt"], at) if secret else at
            end = len(text) if end < 0 else end
        if held := text[at:end].strip():
            parts += [text[done:at], rules.mark(held.removeprefix("<![CDATA[").removesuffix("]]>"))]
            done = at = end
    return "".join([*parts, text[done:]])
