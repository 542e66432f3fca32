"""The rules as one object, through which the modules of this package call one another."""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from typing import Any

from audit_ledger.redaction import (
    blocks,
    bodies,
    commands,
    headers,
    markup,
    names,
    queries,
    text,
    trees,
    values,
)
from audit_ledger.redaction.marks import mark

# A text without any of this is left at once; the colons of times and URLs do not count.
_TRIGGER = re.compile(
    r"=|\[(?=\s*\")|<(?=[A-Za-z/])|&(?=(?:amp;)*lt;)|%(?=[0-9A-Fa-f]{2})|@|\\(?=u00)"
    r"|:(?!//|(?<=\d[ T]\d\d:)[0-5]\d|(?<=\d\d:\d\d:)[0-5]\d)"
    r"|B(?i:earer|asic)[ +%]|b(?i:earer|asic)[ +%]"
    r"|-(?:(?<![\w.%\\-]-)|(?<=--)(?<![\w.%\\-]--))[A-Za-z]|" + values.ANCHOR,
)
_ESCAPED = re.compile(r"\\+u00((?:2[013-9A-Fa-f]|[3467][0-9A-Fa-f]|5[0-9abdefABDEF]))")  # not " nor \
_LINE_OF_JSON = re.compile(r"\s*+[{\[][^\n]*+\n")


class Rules:
    """What is hidden, and how; each method takes a value and returns it without secrets.

    Attributes:
        always: Whether the filters are off, since users' patterns may match anything.
        trigger: Finds what every text with a secret holds.
        known: `name`, with a memory.
        secret_header: Whether a header of the name holds a secret, with a memory.
    """

    def __init__(
        self, extra_names: tuple[str, ...], extra_patterns: tuple[str, ...], key: bytes | None
    ) -> None:
        self._names = frozenset(map(names.squash, extra_names)) - {""}
        self._stems = names.stems(self._names)
        self._patterns = values.compiled(extra_patterns)
        self._key = key
        self.always = bool(extra_patterns)
        self.trigger: Callable[[str], Any] = _TRIGGER.search
        self.known: Callable[[str], tuple[str, bool, bool]] = lru_cache(4096)(self.name)
        self.secret_header: Callable[[str], bool] = lru_cache(1024)(partial(headers.is_secret, self))

    def mark(self, secret: object) -> str:
        """What takes the place of a secret."""
        return mark(secret, self._key)

    def name(self, name: str) -> tuple[str, bool, bool]:
        """The name without secret values, whether it is a secret one, and whether in a query."""
        clean = self.text(name, 1)
        secret = query = False
        for form in {name, clean}:
            anywhere, here = names.secrecy(form, self._names)
            secret, query = secret or anywhere, query or here
        return clean, secret, query

    def hides(self, name: object) -> bool:
        """Whether what bears the name is secret anywhere."""
        if isinstance(name, bytes):
            name = name.decode("latin-1")
        return isinstance(name, str) and self.known(name[-names.LONGEST :])[1]

    def values(self, text: str) -> str:
        """The text without secret values and without the user information of URLs."""
        return queries.without_users(values.hide(text, self._patterns, self.mark), self._key)

    def named(self, given: str) -> str:
        """See `text.named`."""
        return text.named(self, given)

    def pairs(self, query: str, depth: int) -> str:
        """See `queries.pairs`."""
        return queries.pairs(self, query, depth)

    def url(self, url: str, depth: int) -> str:
        """See `queries.url`."""
        return queries.url(self, url, depth)

    def header_line(self, line: str) -> str:
        """See `headers.line`."""
        return headers.line(self, line, 1)

    def body(self, body: bytes, media_type: str | None, depth: int) -> bytes:
        """See `bodies.redacted`."""
        return bodies.redacted(self, body, media_type, depth)

    def tree(self, value: Any, depth: int) -> Any:
        """See `trees.redacted`."""
        return trees.redacted(self, value, depth)[0]

    def request_headers(self, given: Iterable[tuple[str, str]], depth: int) -> list[tuple[str, str]]:
        """See `headers.request`."""
        return headers.request(self, given, depth)

    def response_headers(
        self, given: Iterable[tuple[str, str]], extra: frozenset[str], depth: int
    ) -> dict[str, str]:
        """See `headers.response`."""
        return headers.response(self, given, extra, depth)

    def command_line(self, arguments: Sequence[str], depth: int) -> list[str]:
        """See `commands.command_line`."""
        return commands.command_line(self, arguments, depth)

    def _names_in(self, given: str) -> bool:
        """Whether a secret name may stand in the text."""
        letters = names.letters(given)
        return any(stem in letters for stem in self._stems)

    def _is_plain(self, given: str) -> bool:
        """Whether a text surely holds no secret; this spares most bodies a parser."""
        if self.always or "\\" in given or "@" in given or "%" in given or not given.isascii():
            return False
        letters = names.letters(given)
        return not (
            "basic" in letters
            or any(stem in letters for stem in self._stems)
            or values.has_anchor(given)
            or commands.in_text(self, given) is not given
        )

    def text(self, given: str, depth: int) -> str:
        """The text without secrets; JSON is opened, and JSON in its strings `depth` times."""
        if not self.always and self.trigger(given) is None:
            return given
        if depth and given.lstrip("\ufeff \t\r\n\x1e")[:1] in ("{", "[", '"'):
            if self._is_plain(given):
                return given
            if (document := trees.document(self, given, depth - 1)) is not None:
                return document
            if (lines := self._lines(given, depth)) is not None:
                return lines
        if "\\u00" in given:  # JSON within other text, or cut short
            plain = _ESCAPED.sub(lambda m: chr(int(m[1], 16)), given)
            clean = self._unescaped(plain, depth)
            return given if clean == plain else clean
        return self._unescaped(given, depth)

    def _unescaped(self, given: str, depth: int) -> str:
        given = self.values(given)
        if "%" in given or self._names_in(given):
            if "form-data;" in given:
                given = bodies.within_text(self, given)
            given = queries.within_text(self, given, depth)
            given = text.named(self, blocks.scrub(self, text.beside(self, given), yaml=False))
            given = markup.scrub(self, given, depth)
        given = commands.in_text(self, given)
        lower = given.lower()
        return text.credentials(self, given) if "earer" in lower or "asic" in lower else given

    def _lines(self, given: str, depth: int) -> str | None:
        """Lines of JSON without their secrets, or None if the first is none."""
        first = _LINE_OF_JSON.match(given)
        if first is None or trees.document(self, first[0].strip("\x1e"), 0) is None:
            return None
        return "".join(self._line(line, depth) for line in given.splitlines(keepends=True))

    def _line(self, line: str, depth: int) -> str:
        body = line.strip(" \t\r\n\x1e")
        if not body:
            return line
        before, _, after = line.partition(body)
        return before + self.text(body, depth) + after
