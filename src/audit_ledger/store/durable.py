"""Files that are there whole, or not at all, whenever the machine stops."""

import os
import tempfile
from pathlib import Path


def put(path: Path, text: str) -> None:
    """Write a small file for its owner alone, in a folder that is made where it is missing.

    Raises:
        OSError: it cannot be written; what was there before is there still.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, fresh = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        Path(fresh).replace(path)
    except BaseException:
        Path(fresh).unlink(missing_ok=True)
        raise


def sync(folder: Path) -> None:
    """Have the names of a folder's files on disk.

    Raises:
        OSError: it cannot be.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
