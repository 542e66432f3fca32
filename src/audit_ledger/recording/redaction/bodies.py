"""Bodies of HTTP messages, by media type: forms, multipart, lines of JSON, YAML, JSON, XML, text, bytes."""

import re
from typing import TYPE_CHECKING

from audit_ledger.recording.redaction import blocks

if TYPE_CHECKING:
    from audit_ledger.recording.redaction.rules import Rules

_TEXTUAL = re.compile(r"text/|application/.*(?:json|xml|form|javascript|yaml)")
_BOUNDARY = re.compile(r"""(?i);\s*boundary\s*=\s*(?:"([^"]{1,200})"|([^\s;"]{1,200}))""")
_SNIFFED = re.compile(r"\s{0,10}--([^\r\n]{1,200}?)[ \t]*\r?\n(?i:content-)")
_HEAD = re.compile(r"\r?\n\r?\n")
_NAME = re.compile(
    r"""(?i)^content-disposition:[^\r\n]*?;\s*name=(?:"((?:[^"\\\r\n]|\\.)*)"|([^\s;]+))""", re.M
)
_TYPE = re.compile(r"(?i)^content-type:[ \t]*([^\r\n]*)", re.M)
_NESTED = 3  # multipart within multipart


def redacted(rules: "Rules", body: bytes, media_type: str | None, depth: int) -> bytes:
    """The body without secrets; the very same bytes if it holds none."""
    encoding = "utf-16" if body.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8"
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError:
        encoding = "latin-1"  # whatever it is, its ASCII is found and its bytes are kept
        text = body.decode(encoding)
    clean = _by_type(rules, text, (media_type or "").strip(), depth, encoding == "latin-1", _NESTED)
    return body if clean == text else clean.encode(encoding, "surrogatepass")


def _by_type(rules: "Rules", text: str, media_type: str, depth: int, binary: bool, nested: int) -> str:
    kind = media_type.lower()
    if kind.startswith("multipart/") or text.lstrip()[:2] == "--":
        for found in (_BOUNDARY.search(media_type), _SNIFFED.match(text)):
            boundary = found and (found[1] or found[found.lastindex or 1])
            if nested and boundary and f"--{boundary}" in text:
                return _multipart(rules, text, boundary, depth, binary, nested - 1)
    if binary and not _TEXTUAL.match(kind):
        return rules.values(text)
    if kind.startswith("application/x-www-form-urlencoded"):
        return rules.named(rules.pairs(rules.values(text), depth))
    if "yaml" in kind:
        text = blocks.scrub(rules, rules.values(text), yaml=True)
    return rules.text(text, depth)


def _multipart(rules: "Rules", text: str, boundary: str, depth: int, binary: bool, nested: int) -> str:
    """A multipart body (RFC 7578, RFC 2046, 5.1): a part of a secret name is hidden whole."""
    parts = re.split(rf"((?:\A|\r?\n)--{re.escape(boundary)}(?:--)?[ \t]*(?:\r?\n|\Z))", text)
    for at in range(0, len(parts), 2):
        part = parts[at]
        end = _HEAD.search(part) if at else None
        if end is None:
            parts[at] = rules.text(part, depth) if not binary else rules.values(part)
            continue
        head, content = part[: end.start()], part[end.end() :]
        named, typed = _NAME.search(head), _TYPE.search(head)
        name = (named[1] or named[2] or "") if named else ""
        if content and rules.name(name)[2]:
            content = rules.mark(content)
        else:
            content = _by_type(rules, content, typed[1] if typed else "", depth, binary, nested)
        parts[at] = rules.values(head) + end[0] + content
    return "".join(parts)
