"""Checkpoints as files in a folder: FOLDER/ORIGIN/SIZE.checkpoint, and its timestamps, SIZE.NAME.tsr.

A file is written as a whole, and never over another. A file of its name with other bytes can only be there
where two histories were sealed, or where somebody else writes: that is an error, and the one that was there
first stays.
"""

import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

from audit_ledger.errors import AnchorFailed, EvidenceInvalid

MAX_BYTES = 1 << 16
"""A longer file is no checkpoint: 100 signatures take less."""

_NAME = re.compile(r"([1-9][0-9]{0,18})\.checkpoint", re.ASCII)


def checkpoint_file(folder: Path, origin: str, size: int) -> Path:
    """Where the checkpoint of that size is."""
    return folder / origin / f"{size}.checkpoint"


def timestamp_file(folder: Path, origin: str, size: int, authority: str) -> Path:
    """Where an authority's timestamp of it is."""
    return folder / origin / f"{size}.{authority}.tsr"


def sizes(folder: Path, origin: str) -> list[int]:
    """The sizes of the checkpoints that are there, by the names of their files, the highest first.

    Raises:
        AnchorFailed: the folder cannot be read.
    """
    try:
        folder.stat()  # which may be a network's that is away; that nothing was written to it yet is no error
        with os.scandir(folder / origin) as entries:
            found = [_NAME.fullmatch(entry.name) for entry in entries]
    except FileNotFoundError as error:
        if error.filename != str(folder):
            return []
        raise _unusable(folder, "read", error) from error
    except OSError as error:
        raise _unusable(folder, "read", error) from error
    return sorted((int(name[1]) for name in found if name), reverse=True)


def read(file: Path) -> bytes:
    """The bytes of a file.

    Raises:
        AnchorFailed: it cannot be read.
        EvidenceInvalid: it is too long to be a checkpoint.
    """
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise AnchorFailed(
            f"{file} cannot be read",
            expected="a file that this user may read",
            actual=error.strerror or str(error),
            remedy="let this user read it",
        ) from error
    if len(data) > MAX_BYTES:
        raise EvidenceInvalid(
            f"{file} is no checkpoint",
            expected=f"at most {MAX_BYTES:,} bytes",
            actual="more",
            remedy="find out who wrote it",
        )
    return data


def put(folder: Path, file: Path, data: bytes) -> bool:
    """Write a file below a folder, as a whole or not at all; whether it was not there before.

    Raises:
        AnchorFailed: it cannot be written. The folder itself is not made: its disk may be away.
        EvidenceInvalid: a file of that name is there, with other bytes.
    """
    try:
        folder.stat()
        file.parent.mkdir(exist_ok=True)
        if not file.exists():
            try:
                _write(file, data)
            except FileExistsError:  # another one was faster
                pass
            else:
                return True
    except OSError as error:
        raise _unusable(folder, "written to", error) from error
    there = read(file)
    if there != data:
        raise EvidenceInvalid(
            f"{file} is there with other bytes",
            expected="the bytes that were to be written, or no file",
            actual=f"{len(there)} other bytes",
            remedy="keep both, and find out who wrote it: signed by the ledger's key, it shows two histories",
        )
    return False


def _write(file: Path, data: bytes) -> None:
    """Make a file that is not there yet, with these bytes.

    Raises:
        FileExistsError: it is there.
        OSError: it cannot be made.
    """
    if not _link_nameless(file, data):
        draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
        try:
            _create(draft, data)
            try:
                os.link(draft, file)  # unlike a renaming, never over another file
            except FileExistsError:
                raise
            except OSError:  # a file system without links
                _create(file, data)
        finally:
            with suppress(OSError):  # in a folder where nothing may be removed it stays
                draft.unlink()
    _sync(file.parent)


def _link_nameless(file: Path, data: bytes) -> bool:
    """Write a file that has no name, then give it its own; whether the system can do that.

    It takes no right to remove anything, and leaves nothing behind.

    Raises:
        FileExistsError: it is there.
    """
    if not hasattr(os, "O_TMPFILE"):
        return False
    try:
        nameless = os.open(file.parent, os.O_TMPFILE | os.O_WRONLY, 0o644)
    except OSError:
        return False
    try:
        os.write(nameless, data)
        os.fsync(nameless)
        # A descriptor, which an absolute path does not need, has links followed: to the file.
        os.link(f"/proc/self/fd/{nameless}", file, src_dir_fd=nameless, follow_symlinks=True)
    except FileExistsError:
        raise
    except OSError:
        return False
    finally:
        os.close(nameless)
    return True


def _create(file: Path, data: bytes) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "wb") as opened:
        try:
            opened.write(data)
            opened.flush()
            os.fsync(opened.fileno())
        except OSError:
            file.unlink()
            raise


def _sync(folder: Path) -> None:
    """Make the names in a folder durable, where that can be asked for."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _unusable(folder: Path, done: str, error: OSError) -> AnchorFailed:
    return AnchorFailed(
        f"the folder {folder} of anchors cannot be {done}",
        expected="a folder that is there, and that this user may use",
        actual=f"{error.strerror or error}: {error.filename}" if error.filename else str(error),
        remedy="mount it, make it, or give this user the right to; or correct [anchors] in ledger.toml",
    )
