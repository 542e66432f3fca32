"""Redaction: a pure function of what is about to be recorded, since the log cannot forget.

1.  A *secret name* hides its whole value (`names`): a key of a mapping, the first of a
    [name, value] pair in a list, the "name" beside a "value", a part of a form, an element or an
    attribute of XML, a header, an option (--password) in a list of arguments; and in text, what
    stands before `=`, `:` or `=>`. Only in queries, forms and OAuth requests are `code`, `key` and
    `assertion` secret too: as the keys of other JSON these are data.
2.  A *secret value* (`values`) is hidden wherever it stands, in keys and binary bodies too:
    credentials with an issuer's prefix, JWTs, private keys. So is the user information of URLs (a
    user name alone over HTTP only, where it is a token), and what follows `Bearer` or `Basic`
    unless it reads as prose.

All else stays as it was: keys, lengths, types, and the very bytes of a body without a secret. JSON
in strings and percent-encoding in queries are opened, four deep. Twice redacted is once redacted.

    >>> redact({"url": "https://bob:pw@api.test/?api%5Fkey=k1&n=5", "apiKey": "k2", "max_tokens": 9})
    {'url': 'https://REDACTED@api.test/?api%5Fkey=[REDACTED]&n=5', 'apiKey': '[REDACTED]', 'max_tokens': 9}

The way of a value: `redactor`, the public object, hands it to `rules`, which joins the modules, one
for each form: `trees`, `json_text`, `text`, `blocks`, `markup`, `queries`, `commands`, `headers`,
`bodies`. `names`, `values` and `marks` say what is secret and what takes its place.
"""

from audit_ledger.redaction.marks import REDACTED
from audit_ledger.redaction.redactor import JsonValue, Redactor

__all__ = ["REDACTED", "JsonValue", "Redactor", "redact", "redact_body", "redact_text", "redact_url"]

_DEFAULT = Redactor()
redact = _DEFAULT.redact
redact_text = _DEFAULT.redact_text
redact_url = _DEFAULT.redact_url
redact_body = _DEFAULT.redact_body
