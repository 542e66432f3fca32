"""The version of this software, as every run records it; pyproject.toml takes it from here."""

VERSION = "0.1.0"
