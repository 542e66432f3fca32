"""The published vectors; a test that needs them skips where they are not there."""

import json
from typing import Any

from tests.conftest import shared


def load(name: str) -> Any:
    """The vectors of a file of ../shared/vectors."""
    return json.loads(shared("vectors", f"{name}.json").read_text(encoding="utf-8"))
