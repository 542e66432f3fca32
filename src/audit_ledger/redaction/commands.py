"""Command lines: options of secret names, `curl -u user:password` and its like, assignments, URLs."""

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from audit_ledger.redaction.marks import MARK, password_of

if TYPE_CHECKING:
    from audit_ledger.redaction.rules import Rules

# Of each program, the letters of options whose value is secret: attached to it, and after it.
_PROGRAMS = {
    "curl": ("uU", "uU"),
    "http": ("a", "a"),
    "https": ("a", "a"),
    "login": ("", "p"),  # docker login, az login
    "ldapsearch": ("w", "w"),
    "ldapmodify": ("w", "w"),
    **dict.fromkeys(
        ("mysql", "mysqldump", "mysqladmin", "mysqlimport", "mariadb", "mariadb-dump"), ("p", "")
    ),
    **dict.fromkeys(
        ("mongo", "mongosh", "mongodump", "mongorestore", "mongoexport", "mongoimport"), ("p", "p")
    ),
    "redis-cli": ("a", "a"),
    "smbclient": ("U", "U"),
    "sqlcmd": ("P", "P"),
    "sshpass": ("p", "p"),
}
_LONG = ("--user", "--proxy-user")  # of curl
_PASS = ("pass", "passin", "passout")
_HEADERS = ("-H", "--header", "--proxy-header")
_DATA = ("-d", "--data", "--data-raw", "--data-binary", "--data-ascii", "--data-urlencode", "-F", "--form")
_DATA_OF = ("curl", "wget", "http", "https")
NEGATED = re.compile(r"--?(?:no|ask|prompt|without|skip)-")
_OPTION_NAME = re.compile(r"--?[A-Za-z][\w.-]*+")
_ASSIGNMENT = re.compile(r"(?s)(-{0,2}[A-Za-z_][\w.-]*+)=(.*)")
_USER = re.compile(r"(?![a-z]+://)[^\s:/]+:(?!\d+$)\S+")
_FORM = re.compile(r"[^\s=&?]+=[^\s&]*+(?:&[^\s=&]+=[^\s&]*+)+")
# The same in text: a line that names a program, and an option in it.
_OPTION_LIKE = re.compile(r"""-(?<=[\s"'`]-)(?:[A-Za-z]{0,20}[abpuwPU]|-(?:proxy-)?user\b)""")
_NAMED = re.compile(
    rf"(?<![\w.-])({'|'.join(sorted(map(re.escape, _PROGRAMS), reverse=True))})(?:\.exe)?(?=[\s\"'`,])"
)
_COMMAND = re.compile(r"(?:[^\n\\]|\\\n|\\\r\n|\\)++")
_OPTION = re.compile(rf"""(?x) (?<![\w.%\\-]) (?P<option> -(?P<letters> [A-Za-z]++ ) | --(?:proxy-)?user )
    (?>(?: (?P<attached> (?<!user) (?: {MARK} | [^\s"'`,\])]++ ) )
      | (?P<gap> = | ["'`]?+,?+(?: [ \t] | \\\n | \\\r\n )++ | (?=["'`]\S) )
        (?= (?P<value> (?P<quote> \\*+["'`] ) (?P<quoted> [^\n]*? (?= (?P=quote) | \n | \Z ) )
                     | [^\s"'`,\])-][^\s"'`]*+ ) ) )?)
""")

_SECRET, _USERS, _HEADER, _FORMED = "secret", "user", "header", "form"


def _program(argument: str) -> str:
    return PurePath(argument).name.removesuffix(".exe") if len(argument) < 200 else ""


def secret_option(rules: "Rules", option: str) -> bool:
    """Whether the value of an option is a secret: by its name, or since its last word is `pass`.

    Alone that word says too little: tests pass as well.
    """
    return rules.hides(option) or option.lstrip("-").rpartition("-")[2] in _PASS


def _role(rules: "Rules", option: Any, value: Any, programs: set[str]) -> str:
    """What an argument is, by the option before it; empty where that says nothing."""
    if not isinstance(option, str) or option[:1] != "-" or not _OPTION_NAME.fullmatch(option):
        return ""
    if not isinstance(value, str):
        return _SECRET if rules.hides(option) else ""
    if value[:2] == "--" and value[2:3].isalpha():
        return ""  # the next option
    if option in _HEADERS:
        return _HEADER
    if option in _DATA and programs & {*_DATA_OF}:
        return _FORMED
    letter = option[-1] if option[1:].isalpha() else ""
    if any(letter and letter in _PROGRAMS[program][1] for program in programs & _PROGRAMS.keys()):
        return _USERS
    if option in _LONG and "curl" in programs:
        return _USERS
    if option in ("-u", "--user") and "://" in programs and _USER.match(value):
        return _USERS
    if letter == "b" and "curl" in programs:
        return _SECRET if "=" in value else ""  # a cookie, or the name of a file of them
    return _SECRET if secret_option(rules, option) and not NEGATED.match(option) else ""


def _roles(rules: "Rules", arguments: Sequence[Any]) -> tuple[dict[int, str], set[str]]:
    """What arguments are that come after an option, and the programs among the first arguments."""
    texts = [item for item in arguments[:20] if isinstance(item, str)]
    programs = {_program(item) for item in texts if item[:1] != "-"} & {*_PROGRAMS, *_DATA_OF}
    if any("://" in item for item in texts):
        programs.add("://")
    roles = {
        at + 1: _role(rules, option, value, programs)
        for at, (option, value) in enumerate(pairwise(arguments))
    }
    return roles, programs


def values(rules: "Rules", arguments: Sequence[Any]) -> set[int]:
    """The indexes of the items of a list that are the values of secret options."""
    if not any(isinstance(item, str) and item[:1] == "-" for item in arguments):
        return set()
    return {at for at, role in _roles(rules, arguments)[0].items() if role in (_SECRET, _USERS)}


def _argument(rules: "Rules", argument: str, programs: set[str], depth: int) -> str:
    """An argument that no option before it explains."""
    assigned = _ASSIGNMENT.fullmatch(argument)
    if assigned and not _FORM.fullmatch(argument):
        name, value = assigned.groups()
        if name in _LONG and "curl" in programs:
            return f"{name}={rules.mark(password_of(value))}"
        if name in _HEADERS:
            return f"{name}={rules.header_line(value)}"
        if secret_option(rules, name):
            return f"{name}={rules.mark(value)}" if value else argument
    if "<" in argument:  # no form and no URL has one (RFC 3986): markup, which is for the rules of text
        return rules.text(argument, depth)
    if _FORM.fullmatch(argument):
        return rules.named(rules.pairs(rules.values(argument), depth))
    if argument[:2] == "-b" and "=" in argument and "curl" in programs:
        return "-b" + rules.mark(argument[2:])
    if re.match(r"-[A-Za-z][^-]", argument):
        for program in programs & _PROGRAMS.keys():
            if argument[1] in _PROGRAMS[program][0]:
                return argument[:2] + rules.mark(password_of(argument[2:]))
    if "://" in argument and not re.search(r"\s", argument):
        return rules.url(argument, depth)
    return rules.text(argument, depth)


def command_line(rules: "Rules", arguments: Sequence[str], depth: int) -> list[str]:
    """The arguments without secrets, as many as before."""
    roles, programs = _roles(rules, arguments)
    clean = []
    for at, argument in enumerate(arguments):
        role = roles.get(at, "")
        if role == _SECRET or not argument:
            clean.append(rules.mark(argument) if argument else "")
        elif role == _USERS:
            clean.append(rules.mark(password_of(argument)))
        elif role == _HEADER:
            clean.append(rules.header_line(argument))
        elif role == _FORMED and argument[:1] not in ("{", "[", "@") and "<" not in argument:
            clean.append(rules.named(rules.pairs(rules.values(argument), depth)))
        else:
            clean.append(_argument(rules, argument, programs, depth))
    return clean


def in_text(rules: "Rules", text: str) -> str:
    """The text without the secret options of the programs that its lines name."""
    if not _OPTION_LIKE.search(text) or not _NAMED.search(text):
        return text
    parts, done = [], 0
    for line in _COMMAND.finditer(text):
        programs = {match[1] for match in _NAMED.finditer(text, line.start(), line.end())}
        if not programs:
            continue
        for option in _OPTION.finditer(text, line.start(), line.end()):
            span = _secret_span(option, programs)
            if span and span[0] >= done and span[0] < span[1]:
                parts += [text[done : span[0]], rules.mark(password_of(text[slice(*span)]))]
                done = span[1]
    return "".join([*parts, text[done:]])


def _secret_span(option: re.Match[str], programs: set[str]) -> tuple[int, int] | None:
    """Where the secret of an option of one of the programs stands."""
    group = "value" if option["quoted"] is None else "quoted"
    letters = option["letters"]
    if letters is None:
        return option.span(group) if option["value"] and "curl" in programs else None
    if "curl" in programs:  # with -b, a cookie, or the name of a file of them
        if letters[-1] == "b" and "=" in (option[group] or ""):
            return option.span(group)
        if letters[0] == "b" and "=" in (option["attached"] or ""):
            return option.start("letters") + 1, option.end("attached")
    for attached, after in (_PROGRAMS[program] for program in programs):
        follows = letters[-1] in after and not option["attached"] and option["value"]
        if letters[0] in attached and (len(letters) > 1 or option["attached"]) and not follows:
            return option.start("letters") + 1, max(option.end("letters"), option.end("attached"))
        if follows:
            return option.span(group)
    return None
