"""Bodies of HTTP messages, by media type: forms, multipart, lines of JSON, YAML, JSON, XML, text, bytes."""

import re
from typing import TYPE_CHECKING

from audit_ledger.redaction import blocks

if TYPE_CHECKING:
    from audit_ledger.redaction.rules import Rules

_TEXTUAL = re.compile(r"text/|application/.*(?:json|xml|form|javascript|yaml)")
_BOUNDARY = re.compile(r"""(?i);\s*boundary\s*=\s*(?:"([^"]{1,200})"|([^\s;"]{1,200}))""")
_SNIFFED = re.compile(r"\s{0,10}--([^\r\n]{1,200}?)[ \t]*\r?\n(?i:content-)")
_HEAD = re.compile(r"\r?\n\r?\n")
_NAME = re.compile(
    r"""(?i)^content-disposition:[^\r\n]*?;\s*name=(?:"((?:[^"\\\r\n]|\\.)*)"|([^\s;]+))""", re.M
)
_TYPE = re.compile(r"(?i)^content-type:[ \t]*([^\r\n]*)", re.M)
# A part in text, as a log shows it: its line ends may be written as \\r\\n.
_NEW_LINE = r"(?:\r?\n|(?:\\++r)?\\++n)"
_PART = re.compile(rf"""(?xi)
    form-data;[ ]?name= (?P<quote> &quot; | \\*["']?+ ) (?P<name> [^"'&;\\\r\n]{{1,200}} ) (?P=quote)
    (?>(?: (?!{_NEW_LINE}) [^\r\n] ){{0,1000}})
    (?>(?: {_NEW_LINE} (?>(?: (?!{_NEW_LINE}) [^\r\n] ){{1,1000}}) ){{0,9}})
    {_NEW_LINE}{{2}} (?P<content> [\s\S]*? ) (?= {_NEW_LINE}-- | \Z )
""")


def redacted(rules: "Rules", body: bytes, media_type: str | None, depth: int) -> bytes:
    """The body without secrets; the very same bytes if it holds none."""
    encoding = "utf-16" if body.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8"
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError:
        encoding = "latin-1"  # whatever it is, its ASCII is found and its bytes are kept
        text = body.decode(encoding)
    clean = _by_type(rules, text, (media_type or "").strip(), depth, encoding == "latin-1")
    return body if clean == text else clean.encode(encoding, "surrogatepass")


def _by_type(rules: "Rules", text: str, media_type: str, depth: int, binary: bool) -> str:
    kind = media_type.lower()
    if kind.startswith("multipart/") or text.lstrip()[:2] == "--":
        clean = _multipart(rules, text, media_type, depth, binary)
        if clean is not None:
            return clean
    if binary and not _TEXTUAL.match(kind):
        return rules.values(text)
    if kind.startswith("application/x-www-form-urlencoded"):
        return rules.named(rules.pairs(rules.values(text), depth))
    if "yaml" in kind:
        text = blocks.scrub(rules, rules.values(text), yaml=True)
    return rules.text(text, depth)


def _multipart(rules: "Rules", text: str, media_type: str, depth: int, binary: bool) -> str | None:
    """A multipart body (RFC 7578; RFC 2046, 5.1) without its secrets, or None if the text is none.

    A part of a secret name is hidden whole, others are read by their own type.
    """
    for found in (_BOUNDARY.search(media_type), _SNIFFED.match(text)):
        boundary = found and (found[1] or found[found.lastindex or 1])
        if depth and boundary and f"--{boundary}" in text:
            return _parts(rules, text, boundary, depth, binary)
    return None


def _parts(rules: "Rules", text: str, boundary: str, depth: int, binary: bool) -> str:
    parts = re.split(rf"((?:\A|\r?\n)--{re.escape(boundary)}(?:--)?[ \t]*(?:\r?\n|\Z))", text)
    for at in range(0, len(parts), 2):
        part = parts[at]
        end = _HEAD.search(part) if at else None
        if end is None:
            parts[at] = rules.text(part, depth - 1) if not binary else rules.values(part)
            continue
        head, content = part[: end.start()], part[end.end() :]
        named, typed = _NAME.search(head), _TYPE.search(head)
        name = (named[1] or named[2] or "") if named else ""
        if content and rules.name(name)[2]:
            content = rules.mark(content)
        else:
            content = _by_type(rules, content, typed[1] if typed else "", depth - 1, binary)
        parts[at] = rules.values(head) + end[0] + content
    return "".join(parts)


def within_text(rules: "Rules", text: str) -> str:
    """The text without the multipart forms' parts of a secret name in it."""

    def part(match: re.Match[str]) -> str:
        content = match["content"]
        if not content or not rules.name(match["name"])[2]:
            return match[0]
        return match[0][: -len(content)] + rules.mark(content)

    return _PART.sub(part, text)
