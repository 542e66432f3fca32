"""Regular expressions that every Python from 3.11 on matches alike.

Before 3.11.5 a possessive quantifier over more than one character may go past where its last attempt
failed, so that secrets stay (https://github.com/python/cpython/issues/106052). Over alternatives that are
plain characters it does not; everything else is an atomic group.
"""

import subprocess
import sys

FIND = """
import importlib, pkgutil
from re import _compiler, _constants, _parser

compiled = []
compile = _compiler.compile
_compiler.compile = lambda pattern, flags=0: (compiled.append((pattern, flags)), compile(pattern, flags))[1]

import audit_ledger
from audit_ledger.redaction import Redactor

for module in pkgutil.walk_packages(audit_ledger.__path__, "audit_ledger."):
    importlib.import_module(module.name)
Redactor(extra_patterns=["x"]).redact_text("password=x")

def parts(given):
    for part in given if isinstance(given, (list, tuple)) else []:
        yield from [part] if isinstance(part, _parser.SubPattern) else parts(part)

def plain(given):
    one = _constants.LITERAL, _constants.NOT_LITERAL, _constants.IN, _constants.ANY
    group = _constants.BRANCH, _constants.SUBPATTERN
    return all(op in one or (op in group and all(map(plain, parts(of)))) for op, of in given)

def wrong(given):
    return any(
        (op is _constants.POSSESSIVE_REPEAT and not plain(of[2])) or any(map(wrong, parts(of)))
        for op, of in given
    )

assert len(compiled) > 100
assert wrong(_parser.parse("((?:(?!x)y)*+)")) and not wrong(_parser.parse("(?:[^x]|xy)*+(?>(?:x?y)*)"))
for pattern, flags in compiled:
    if isinstance(pattern, (str, bytes)) and wrong(_parser.parse(pattern, flags)):
        print(pattern)
"""


def test_no_possessive_quantifier_is_over_more_than_plain_characters() -> None:
    ran = subprocess.run([sys.executable, "-c", FIND], capture_output=True, text=True, check=True)
    assert ran.stdout == ""
