"""Planted secrets: credentials of many kinds, made up from a fixed seed, and where each can stand.

A test plants them in requests, responses, errors and command lines, and then searches for `value`
in all that was recorded. A secret of a known form may stand anywhere; one without may stand only
where a name says what it is. They are put together here, so that secret scanners find none.
"""

# ruff: noqa: A005

import base64
import random
from collections.abc import Callable
from dataclasses import dataclass
from string import ascii_letters, ascii_uppercase, digits

_ALPHANUMERIC = ascii_letters + digits
_HEX = "0123456789abcdef"
_PER_KIND = 4


@dataclass(frozen=True)
class Planted:
    """A secret, and what holds it in each place where it can stand.

    Attributes:
        kind: What it is: "github token", "password" …
        value: The secret itself, to search for; unlike all others.
        header: The name of a request header that holds it.
        header_value: What that header then holds: the value, or a scheme and the value.
        query: The name of a parameter of a URL.
        json_key: The key in a JSON body, and of an element in an XML one.
        form_key: The name in a form, or of a part of a multipart body.
        text: A sentence with the secret, as an error or a backtrace has it.
        user_information: `user:password` for a URL, fit to stand before the host.
        command_line: Arguments of a command.
        known_form: Whether it is known by its form too, and so may stand without a name.
    """

    kind: str
    value: str
    header: str
    header_value: str
    query: str
    json_key: str
    form_key: str
    text: str
    user_information: str
    command_line: tuple[str, ...]
    known_form: bool


def _some(source: random.Random, alphabet: str, length: int) -> str:
    return "".join(source.choices(alphabet, k=length))


def _jwt(source: random.Random) -> str:
    payload = (
        base64.urlsafe_b64encode(f'{{"sub":"{_some(source, digits, 12)}"}}'.encode()).decode().rstrip("=")
    )
    return ".".join(["eyJ" + "hbGciOiJIUzI1NiJ9", payload, _some(source, _ALPHANUMERIC, 43)])


def _pem(source: random.Random) -> str:
    body = "\n".join(_some(source, _ALPHANUMERIC, 64) for _ in range(3))
    return f"-----BEGIN {'PRIVATE'} KEY-----\n{body}\n-----END {'PRIVATE'} KEY-----"


def _discord(source: random.Random) -> str:
    first = base64.b64encode(_some(source, "123456789", 18).encode()).decode()
    return f"{first}.{_some(source, _ALPHANUMERIC, 6)}.{_some(source, _ALPHANUMERIC, 27)}"


def _prefixed(
    prefix: str, length: int, alphabet: str = _ALPHANUMERIC, end: str = ""
) -> Callable[[random.Random], str]:
    return lambda source: prefix + _some(source, alphabet, length) + end


# Known by their form, wherever they stand.
_FORMS: dict[str, Callable[[random.Random], str]] = {
    "jwt": _jwt,
    "private key": _pem,
    "aws access key id": _prefixed("AKI" + "A", 16, ascii_uppercase + digits),
    "github token": _prefixed("gh" + "p_", 36),
    "github app token": _prefixed("gh" + "s_", 36),
    "github fine-grained token": _prefixed("github" + "_pat_", 60),
    "gitlab token": _prefixed("gl" + "pat-", 20),
    "slack bot token": _prefixed("xox" + "b-", 40),
    "slack webhook": _prefixed("https://hooks.slack.com/" + "services/T00/B00/", 24),
    "stripe key": _prefixed("sk_" + "live_", 24),
    "stripe restricted key": _prefixed("rk_" + "live_", 24),
    "stripe webhook secret": _prefixed("whs" + "ec_", 32),
    "google api key": _prefixed("AI" + "za", 35),
    "google access token": _prefixed("ya29" + ".", 60),
    "google client secret": _prefixed("GOC" + "SPX-", 28),
    "openai key": _prefixed("s" + "k-proj-", 48),
    "anthropic key": _prefixed("s" + "k-ant-api03-", 48),
    "npm token": _prefixed("np" + "m_", 36),
    "pypi token": _prefixed("pyp" + "i-AgEI", 60),
    "sendgrid key": lambda source: (
        f"S{'G'}.{_some(source, _ALPHANUMERIC, 22)}.{_some(source, _ALPHANUMERIC, 43)}"
    ),
    "hugging face token": _prefixed("h" + "f_", 34, ascii_letters),
    "mailgun key": _prefixed("ke" + "y-", 32, _HEX),
    "digitalocean token": _prefixed("do" + "p_v1_", 64, _HEX),
    "shopify token": _prefixed("shp" + "at_", 32, _HEX),
    "twilio key": _prefixed("S" + "K", 32, _HEX),
    "mailchimp key": _prefixed("", 32, _HEX, end="-us" + "12"),
    "azure client secret": lambda source: (
        f"{_some(source, _ALPHANUMERIC, 3)}8{'Q'}~{_some(source, _ALPHANUMERIC, 34)}"
    ),
    "telegram bot token": lambda source: (
        f"{_some(source, '123456789', 10)}:{'AA'}{_some(source, _ALPHANUMERIC, 33)}"
    ),
    "discord bot token": _discord,
    "vault token": _prefixed("hv" + "s.", 24),
    "grafana token": lambda source: f"gl{'sa'}_{_some(source, _ALPHANUMERIC, 32)}_{_some(source, _HEX, 8)}",
    "docker token": _prefixed("dckr" + "_pat_", 27),
    "atlassian token": _prefixed("ATA" + "TT3", 60),
    "notion token": _prefixed("nt" + "n_", 46),
}
# Known by a name only: the names as a header, in a query, in JSON, in a form.
_NAMED = {
    "password": ("X-Password", "password", "dbPassword", "user[password]"),
    "api key": ("X-Api-Key", "apikey", "api_key", "api-key"),
    "client secret": ("X-Client-Secret", "client_secret", "clientSecret", "client_secret"),
    "refresh token": ("X-Refresh-Token", "refresh_token", "refreshToken", "refresh_token"),
    "access token": ("X-Access-Token", "access_token", "access_token", "access_token"),
    "session id": ("X-Session-Id", "PHPSESSID", "sessionId", "JSESSIONID"),
    "csrf token": ("X-CSRFToken", "csrf_token", "csrfToken", "csrfmiddlewaretoken"),
    "signature": ("X-Hub-Signature-256", "X-Amz-Signature", "signature", "sig"),
    "aws secret key": ("X-Aws-Secret-Key", "secret_key", "AWS_SECRET_ACCESS_KEY", "SecretAccessKey"),
    "authorization": ("Authorization", "authorization", "Proxy-Authorization", "authorization"),
    "cookie": ("Cookie", "cookie", "Set-Cookie", "cookies"),
    "azure account key": ("X-Functions-Key", "AccountKey", "accountKey", "account_key"),
    "oauth code": ("X-Auth-Code", "code", "authorizationCode", "code"),
    "saml assertion": ("X-Client-Assertion", "assertion", "client_assertion", "assertion"),
    "one-time password": ("X-OTP", "otp", "otp", "totp"),
    "private key text": ("X-Private-Key", "private_key", "privateKey", "private_key"),
    "passphrase": ("X-Passphrase", "passphrase", "passphrase", "passphrase"),
    "rapidapi key": ("x-rapidapi-key", "subscription-key", "Ocp-Apim-Subscription-Key", "rapidapi_key"),
}
_SCHEMES = {"authorization": "Bearer ", "access token": "Token "}


def _planted(kind: str, value: str, names: tuple[str, str, str, str], *, known_form: bool) -> Planted:
    header, query, key, form = names
    option = "--" + key.replace("_", "-").lower()
    return Planted(
        kind=kind,
        value=value,
        header=header,
        header_value=_SCHEMES.get(kind, "") + value,
        query=query,
        json_key=key,
        form_key=form,
        text=f"refused: {value} has expired" if known_form else f"refused with {key}={value} at 10:30:00",
        user_information=f"user:{value}",
        command_line=("fetch", option, value, "--pages", "5"),
        known_form=known_form,
    )


def _all() -> list[Planted]:
    source = random.Random(20_240_131)
    bare, named = ("X-Note", "note", "note", "note"), ("X-Token", "token", "token", "token")
    known = [
        _planted(kind, make(source), names, known_form=True)
        for kind, make in _FORMS.items()
        for names in (bare, named) * (_PER_KIND // 2)
    ]
    return known + [
        _planted(kind, _some(source, _ALPHANUMERIC, 24), names, known_form=False)
        for kind, names in _NAMED.items()
        for _ in range(_PER_KIND)
    ]


SECRETS: list[Planted] = _all()

# Data that reads like secrets and must stay: a key or a parameter, and its value.
HARMLESS: dict[str, str] = {
    "token_count": "9",
    "max_tokens": "512",
    "tokenizer": "bpe",
    "secretary": "Jane Doe",
    "SecretaryOfState": "John Doe",
    "author": "Mary Major",
    "passwords_changed_at": "2024-01-31",
    "passport_country": "FR",
    "ticker": "SIG",
    "Ticker": "AUTH",
    "symbol": "KEY",
    "country_code": "US",
    "status_code": "404",
    "primary_key": "17",
    "sort_key": "date",
    "pin": "14-08-203-017",
    "signature_date": "2024-01-31",
    "session": "118th Congress",
    "accession_number": "0000320193-24-000006",
    "commit": "9fceb02d0ae598e95dc970b74767f19372d61af8",
    "uuid": "76c09e15-7887-45fd-94cb-0cc5060d7864",
    "isin": "US0378331005",
    "cusip": "037833100",
    "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "description": "Sale of Basic Materials and Bearer bonds; the token has expired",
}
# Secret in queries and forms, data as the keys of JSON.
HARMLESS_IN_JSON: dict[str, str] = {"code": "US", "key": "a/b", "assertion": "rows > 0"}
