"""YAML: a value that goes on over lines that are indented further, or that takes all of its line."""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from audit_ledger.redaction.rules import Rules

_KEY = re.compile(r"""(?xm)
    ^ (?P<before> (?P<indent> [ ]*+ (?>(?: -[ ]++ ){0,99}) )
        (?P<quote> ["']?+ ) (?P<name> [\w.%/-]++ ) (?P=quote) [ ]*+ : )
    [ ]*+ (?P<value> [^\r\n]*+ ) (?P<end> \r?\n?+ )
""")
_OPENS = re.compile(r"(?:![\w-]+[ ]*)?(?:[|>][-+\d]{0,2})?[ ]*(?:\#.*)?")
_LINE = re.compile(r"(?P<indent>[ ]*+)(?P<rest>[^\r\n]*+)(?:\r\n|\n|\r|\Z)")


def _below(text: str, start: int, column: int) -> int:
    """The end of the lines from `start` that are indented further than the column."""
    end = at = start
    while at < len(text) and (line := _LINE.match(text, at)):
        deeper = len(line["indent"]) > column or (
            len(line["indent"]) == column and line["rest"].startswith("- ")
        )
        if line["rest"] and not deeper:
            break
        at = line.end()
        end = at if line["rest"] else end
    return end


def scrub(rules: "Rules", text: str, *, yaml: bool) -> str:
    """The text without the values of secret keys that go on below them; in YAML, those beside them too."""
    parts, done = [], 0
    for match in _KEY.finditer(text):
        opens = _OPENS.fullmatch(match["value"])
        if match.start() < done or (opens and not match["end"]) or not (yaml or opens):
            continue
        if not rules.hides(match["name"]):
            continue
        end = _below(text, match.end(), len(match["indent"])) if match["end"] else match.end()
        if opens and end == match.end():
            continue
        held = text[match.start("value") : end].strip()
        if not held.startswith(("{", "[")) and held[-1:] == held[:1] and held[:1] in "\"'":
            held = held[1:-1]
        tail = re.search(r"\r?\n?\Z", text[match.start("value") : end])
        parts += [text[done : match.start()], match["before"], " ", rules.mark(held), tail[0] if tail else ""]
        done = end
    return "".join([*parts, text[done:]])
