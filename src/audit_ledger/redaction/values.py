"""Secret values: credentials that are known by their form, wherever they stand."""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache
from typing import Final

from audit_ledger.redaction.marks import MARK

# A prefix of fixed width, that ends in a rare character; then the rest.
_PREFIXED = (
    ("eyJ", r"[\w-]{8,}+(?:\.[\w-]{8,}+(?:\.[\w-]*+){1,3}|(?P<no>))"),  # JWT; else not read again
    ("-----B", r"EGIN [A-Z0-9 ]{0,40}?PRIVATE KEY[\s\S]*?(?:-----END [A-Z0-9 ]{3,50}-----|\Z)"),
    # AWS: the key's id, and the 40 characters of the secret where they follow
    ("A[KS]I", r"A[A-Z0-9]{16}(?![A-Za-z0-9])(?>(?:[\s,:;|\"'=]{1,4}[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=]))?)"),
    ("gh[oprsu]_", r"[A-Za-z0-9_]{20,}+"),  # GitHub
    ("github_pat_", r"[A-Za-z0-9_]{20,}+"),
    ("xox[a-z]-", r"[A-Za-z0-9-]{10,}+"),  # Slack
    ("xapp-", r"[A-Za-z0-9-]{10,}+"),
    ("services/", r"(?<=hooks\.slack\.com/services/)[\w/-]++"),
    ("webhooks/", r"(?<=/api/webhooks/)[0-9]{15,22}/[\w-]{30,}+"),  # Discord
    ("[rs]k_live_", r"[A-Za-z0-9]{10,}+"),  # Stripe
    ("[rs]k_test_", r"[A-Za-z0-9]{10,}+"),
    ("whsec_", r"[A-Za-z0-9+/=]{16,}+"),
    ("AIz", r"a[\w-]{35,}+"),  # Google
    (r"ya29\.", r"[\w-]{20,}+"),
    ("GOCSPX-", r"[\w-]{20,}+"),
    ("sk-", r"(?:(?:ant|proj|svcacct|admin|or|lf)-[\w-]{20,}+|[A-Za-z0-9_]{20,}+)"),  # OpenAI …
    ("gsk_", r"[A-Za-z0-9]{40,}+"),  # Groq
    ("xai-", r"[A-Za-z0-9]{40,}+"),
    ("pplx-", r"[A-Za-z0-9]{40,}+"),
    ("npm_", r"[A-Za-z0-9]{36,}+"),
    ("pypi-", r"AgE[\w-]{16,}+"),
    ("rubygems_", r"[0-9a-f]{40,}+"),
    ("dckr_pat_", r"[\w-]{20,}+"),
    (r"SG\.", r"[\w-]{16,}+\.[\w-]{16,}+"),  # SendGrid
    ("glpat-", r"[\w.-]{20,}+"),  # GitLab
    ("hf_", r"[A-Za-z0-9]{30,}+"),  # Hugging Face
    ("key-", r"[0-9a-f]{32}(?![A-Za-z0-9])"),  # Mailgun
    ("xkeysib-", r"[0-9a-f]{64}[\w-]*+"),  # Brevo
    ("do[opr]_v1_", r"[0-9a-f]{64}"),  # DigitalOcean
    ("shp[a-z]{2}_", r"[0-9A-Fa-f]{32}"),  # Shopify
    ("sq0[a-z]{3}-", r"[\w-]{20,}+"),  # Square
    ("glsa_", r"[A-Za-z0-9]{32}_[0-9a-f]{8}"),  # Grafana
    (r"hv[bs]\.", r"[\w-]{20,}+"),  # HashiCorp Vault
    ("NRAK-", r"[A-Z0-9]{27}"),  # New Relic
    ("PMAK-", r"[0-9a-f]{24}-[0-9a-f]{34}"),  # Postman
    ("AT[AC]TT3", r"[\w=-]{20,}+"),  # Atlassian
    ("lin_api_", r"[A-Za-z0-9]{40}"),  # Linear
    ("ntn_", r"[A-Za-z0-9]{40,}+"),  # Notion
    ("figd_", r"[\w-]{40,}+"),  # Figma
    ("sntry[su]_", r"[\w=+/-]{40,}+"),  # Sentry
    ("AGE-SECRET-KEY-", r"1[A-Z0-9]{58}"),  # age
)
# Those without such a prefix: what the filters look for, then the whole.
_SHAPED = (
    (r"~(?<=\dQ~)", r"(?<![\w.~-])[\w.~-]{3}\dQ~[\w.~-]{31,34}(?![\w.~-])"),  # Azure
    (r":(?=AA[\w-]{33})", r"(?<!\d)\d{6,12}:AA[\w-]{33}(?![\w-])"),  # a Telegram bot
    (r"K(?=[0-9a-f]{32})(?<=SK)", r"(?<![A-Za-z0-9])SK[0-9a-f]{32}(?![A-Za-z0-9])"),  # Twilio
    (r"-(?=us\d)(?<=[0-9a-f]{32}-)", r"(?<![A-Za-z0-9])[0-9a-f]{32}-us\d{1,2}(?![A-Za-z0-9])"),  # Mailchimp
    # a Discord bot: its id in base64, then two parts
    (
        r"\.(?<=\.[\w-]{6}\.)(?=[\w-]{27})",
        r"(?<![\w-])[MNO][A-Za-z0-9]{22,27}\.[\w-]{6}\.[\w-]{27,40}(?![\w-])",
    ),
)


def _anchors() -> str:
    """A filter: the last character of each prefix, where the prefix stands before it.

    The last two characters are compared first, since dates and host names are full of hyphens and
    full stops.
    """
    groups: defaultdict[str, list[str]] = defaultdict(list)
    befores: defaultdict[str, set[str]] = defaultdict(set)
    for prefix, _ in _PREFIXED:
        before, last = re.findall(r"(\[[^\]]+\]|[^\]}])(?:\{\d\})?(\\?.)\Z", prefix)[0]
        groups[last].append(prefix)
        befores[last].add(before)
    return "|".join(
        rf"{last}(?<=(?:{'|'.join(sorted(befores[last]))}){last})(?:(?<={')|(?<='.join(prefixes)}))"
        for last, prefixes in groups.items()
    )


ANCHOR: Final = "|".join([_anchors(), *(sought for sought, _ in _SHAPED)])
_BEFORE = (r"(?<![A-Za-z0-9]{0})", r"(?<=\\[nrt]{0})", r"(?<=%[0-9A-Fa-f][0-9A-Fa-f]{0})")  # a word begins


@cache
def _anchored() -> re.Pattern[str]:
    return re.compile(ANCHOR, re.ASCII)


@cache
def _value() -> re.Pattern[str]:
    """What is looked for where an anchor is. Compiling it takes a while; many a process never needs it."""
    whole = (p + f"(?:{'|'.join(_BEFORE)})".replace("{0}", p) + rest for p, rest in _PREFIXED)
    return re.compile("|".join(whole), re.ASCII)


@cache
def _shapes() -> tuple[tuple[re.Pattern[str], re.Pattern[str]], ...]:
    return tuple((re.compile(sought, re.ASCII), re.compile(whole, re.ASCII)) for sought, whole in _SHAPED)


def has_anchor(text: str) -> bool:
    """Whether the text holds what every secret value holds."""
    return _anchored().search(text) is not None


def compiled(patterns: Sequence[str]) -> tuple[re.Pattern[str], ...]:
    """Users' patterns, so that marks are passed over: none is looked for within one.

    Raises:
        ValueError: one does not compile, or matches the empty string.
    """
    for pattern in patterns:
        try:
            empty = re.compile(pattern).search("") is not None
        except re.error as error:
            raise ValueError(f"the pattern {pattern!r} does not compile: {error}") from error
        if empty:
            raise ValueError(f"the pattern {pattern!r} matches the empty string")
    # A line feed ends the comment that a pattern of the verbose form may end with.
    ends = ("\n" if re.compile(pattern).flags & re.VERBOSE else "" for pattern in patterns)
    return tuple(re.compile(f"{pattern}{end}|{MARK}") for pattern, end in zip(patterns, ends, strict=True))


def hide(text: str, extra: Sequence[re.Pattern[str]], mark: Callable[[str], str]) -> str:
    """The text with a mark in the place of each secret value."""
    if _anchored().search(text):
        text = _value().sub(lambda m: mark(m[0]) if m["no"] is None else m[0], text)
        for sought, whole in _shapes():
            if sought.search(text):
                text = whole.sub(lambda m: mark(m[0]), text)
    for pattern in extra:
        text = pattern.sub(lambda m: mark(m[0]) if m[0] else "", text)
    return text
