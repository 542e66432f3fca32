"""Where the tests' servers have their files: in memory, where making a database takes a tenth of the time."""

import os
import shutil
import tempfile
from pathlib import Path

MEMORY = Path("/dev/shm")
ROOM = 4 << 30
"""Bytes that must be free in it."""


def in_memory() -> Path | None:
    """The folder whose files the system keeps in memory; None where there is none, or little room."""
    roomy = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM
    return MEMORY if roomy else None


def new_folder() -> Path:
    """An empty folder that a server's account can enter: pytest's own is closed to it under root."""
    path = Path(tempfile.mkdtemp(prefix="audit-ledger-", dir=in_memory()))
    path.chmod(0o711)
    return path
