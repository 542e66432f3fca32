"""The Redactor: the rules of redaction, and what an installation adds to them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias, cast

from audit_ledger.errors import InvalidValue
from audit_ledger.redaction.rules import Rules

JsonValue: TypeAlias = dict[str, Any] | list[Any] | tuple[Any, ...] | str | int | float | bool | bytes | None
_DEPTH = 4  # of encodings within encodings that are opened


@dataclass(frozen=True)
class Redactor:
    """Takes secrets out of what is about to be recorded.

    Attributes:
        extra_names: More secret names, in any spelling with their words apart ("tax id").
        extra_patterns: More regular expressions of secret values; keep them linear.
        extra_headers: More response headers to keep, in any case.
        key: The key of the digests in the marks; without one, marks have no digest. Whoever holds it
            can test guesses of a secret, so it belongs outside the database.

    Raises:
        InvalidValue: a pattern does not compile, or matches the empty string.
    """

    extra_names: tuple[str, ...] = ()
    extra_patterns: tuple[str, ...] = ()
    extra_headers: tuple[str, ...] = ()
    key: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        try:
            _ = self._rules
        except ValueError as error:
            raise InvalidValue(
                "extra_patterns",
                expected="regular expressions that match no empty string",
                actual=str(error),
                remedy="correct the pattern",
            ) from error

    @cached_property
    def _rules(self) -> Rules:
        return Rules(self.extra_names, self.extra_patterns, self.key)

    @cached_property
    def _extra_headers(self) -> frozenset[str]:
        return frozenset(name.strip().lower() for name in self.extra_headers)

    def redact(self, value: JsonValue) -> JsonValue:
        """A copy of a JSON-like tree without its secrets; the tree itself is left alone."""
        return cast("JsonValue", self._rules.tree(value, _DEPTH))

    def redact_text(self, text: str) -> str:
        """The text without secret values and without what follows secret names."""
        return self._rules.text(text, _DEPTH)

    def redact_url(self, url: str) -> str:
        """The URL without user information and without secret query and fragment parameters."""
        return self._rules.url(url, _DEPTH)

    def redact_body(self, body: bytes, media_type: str | None) -> bytes:
        """The body of an HTTP message without secrets; the very same bytes if it holds none.

        Args:
            body: The bytes, without a content coding: compressed ones cannot be read.
            media_type: As in Content-Type (RFC 9110, 8.3), with its parameters; None if unknown.
        """
        return self._rules.body(body, media_type, _DEPTH)

    def request_headers(self, headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """All headers of a request in their order, without secrets; a scheme (`Bearer`) may stay."""
        return self._rules.request_headers(headers, _DEPTH)

    def response_headers(self, headers: Iterable[tuple[str, str]]) -> dict[str, str]:
        """The headers of a response that are on the list of those to keep, without secrets.

        Returns:
            By name in lower case; values of one name joined by ", ", and cut at 1,000 characters.
            Never set-cookie nor another header of a secret name.
        """
        return self._rules.response_headers(headers, self._extra_headers, _DEPTH)

    def command_line(self, arguments: Sequence[str]) -> list[str]:
        """The arguments of a command without secrets, as many as before."""
        return self._rules.command_line(arguments, _DEPTH)
