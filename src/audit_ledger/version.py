"""The version of this software, as every run records it."""

from importlib.metadata import version

VERSION = version("audit-ledger")
