"""The redactor of an installation, made from its settings."""

from audit_ledger.redaction import Redactor
from audit_ledger.settings import Settings


def redactor(settings: Settings) -> Redactor:
    """The rules of redaction, with what the settings `redact_*` add to them."""
    key = settings.redact_key
    return Redactor(
        extra_names=settings.redact_names,
        extra_patterns=settings.redact_patterns,
        extra_headers=settings.redact_headers,
        key=None if key is None else key.get_secret_value().encode(),
    )
