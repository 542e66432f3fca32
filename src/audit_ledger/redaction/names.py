"""Secret names: which keys, parameters, headers, options and elements hold a secret.

Names are compared by words, without case or separators (API-Key, apiKey, "api key" and X-API-KEY
are one), whole or as the last words: db_password and GITHUB_TOKEN are secret; token_count,
secretary and passwords_changed_at are not. Those in `_ENDINGS` also end a word (PGPASSWORD);
digits after a name do not count. `pin` is no secret name (parcels and posts have pins), but
user_pin and card_pin are.

    >>> secrecy("X-Api-Key"), secrecy("code"), secrecy("country_code")
    ((True, True), (False, True), (False, False))
"""

import re
from typing import Final
from urllib.parse import unquote


def squash(name: str) -> str:
    """The name without case and separators."""
    return re.sub(r"[\W_]+", "", name).lower()


def _table(names: str) -> frozenset[str]:
    return frozenset(squash(name) for name in names.split(","))


_NAMES = _table("""
    access code, access key, access key id, account key, api key, api keys, app key, application key,
    auth, auth code, auth key, authorization, authorization code, backup codes, bearer, card pin, client
    assertion, code verifier, connection string, consumer key, cookie, cookies, credential, credentials,
    csrf, cvc, cvv, db pass, decryption key, encryption key, hmac, hmac key, hmac sha, id token hint,
    jwt, key pass, license key, login pin, master key, mfa code, oauth, otp, otp code, pass code, pass
    in, pass key, pass out, passphrase, passwd, password, password confirmation, password hash,
    passwords, pgpass, private key, private keys, pw, pwd, recovery codes, registration key, saml
    assertion, saml response, secret, secrets, secret key, secret key base, security code, security pin,
    session id, session key, shared access key, shared key, sig, signature, signing key, smtp pass, ssh
    key, store pass, subscription key, token, totp, user pass, user pin, verification code, xsrf
""")
_ENDINGS = tuple(
    _table("access key, api key, passwd, password, private key, secret, sess id, session id, token")
)
# Secret in a query, a form or an OAuth request: as the keys of other JSON these are data.
_QUERY_NAMES = _table("app id, assertion, code, device code, key, user code")
# What makes an object of JSON an OAuth request or response (RFC 6749, RFC 8628).
_OAUTH = ("grant_type", "grantType", "access_token", "redirect_uri", "verification_uri", "code_verifier")
# The last word of a header that holds a secret, and the headers of such a name that hold none.
_HEADER_WORDS = ("authentication", "key", "session", "ticket")
_HEADERS_OF_NO_SECRET = ("cache-key", "idempotency-key", "surrogate-key", "sec-websocket-key")
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\dA-Za-z_]+")
LONGEST: Final = 100  # characters of a name that are looked at: its last


def secrecy(name: str, extra: frozenset[str] = frozenset()) -> tuple[bool, bool]:
    """Whether what bears the name is secret anywhere, and whether it is in a query or a form.

    Args:
        name: The name, percent-encoded or not; its last 100 characters are looked at.
        extra: More secret names, squashed.
    """
    tail = ""
    plain = unquote(name[-LONGEST:])
    for word in reversed(_WORDS.findall(plain)):
        tail = word.lower() + tail if tail or not word.isdigit() else ""
        if tail in _NAMES or tail in extra:
            return True, True
    secret = tail.endswith(_ENDINGS)
    return secret, secret or squash(plain) in _QUERY_NAMES


def header_holds_secret(name: str) -> bool:
    """Whether a header is secret by the last word of its name, beyond what names are secret anywhere."""
    name = name.lower()
    return name.endswith(_HEADER_WORDS) and not name.endswith(_HEADERS_OF_NO_SECRET)


def is_oauth(keys: dict[object, object]) -> bool:
    """Whether an object of JSON is an OAuth request or response, where `code` is a secret."""
    return any(key in keys for key in _OAUTH)


# One of these stands in every secret name, once it is squashed: what a filter looks for.
_STEMS = tuple(
    _table("""
    app id, assertion, auth, bearer, card pin, code, connection string, cookie, credential, csrf, cvc,
    cvv, hmac, jwt, key, login pin, otp, pass, pw, saml response, secret, security pin, sess id, session
    id, sig, token, user pin, xsrf
""")
)


def stems(extra: frozenset[str]) -> tuple[str, ...]:
    """Texts of which one stands in every secret name, once it is squashed."""
    return *_STEMS, *extra


_TO_LETTERS = {n: chr(n).lower() if chr(n).isalnum() else None for n in range(128)}


def letters(text: str) -> str:
    """The text in lower case, without ASCII punctuation and spaces."""
    return text.translate(_TO_LETTERS) if text.isascii() else text.lower().translate(_TO_LETTERS)
