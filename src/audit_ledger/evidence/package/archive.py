"""A ZIP file with a manifest of all its members, which is there whole under its name, or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import IO
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from audit_ledger.errors import ConfigurationError
from audit_ledger.store.durable import sync

MANIFEST = "SHA256SUMS"
LEVEL = 3
"""Of deflate: twice as fast as the usual 6, and a tenth larger."""
BUFFER = 1 << 16
"""Bytes that are compressed at once."""
LARGE = 1 << 20
"""Bytes of a member from which on it is not known to fit into four gigabytes."""


class Archive:
    """A ZIP file in the making. Members are written one after the other.

    Args:
        file: It, opened.
        at: The time that its members bear.
    """

    def __init__(self, file: IO[bytes], at: datetime) -> None:
        self._zip = ZipFile(file, "w", ZIP_DEFLATED, allowZip64=True, compresslevel=LEVEL)
        self._time = at.timetuple()[:6]
        self._digests: dict[str, bytes] = {}

    def add(self, name: str, data: bytes) -> None:
        """Write a member that is at hand."""
        self.stream(name, [data], size=len(data))

    def stream(self, name: str, parts: Iterable[bytes], *, size: int | None = None) -> None:
        """Write a member as it comes.

        Args:
            name: Its name.
            parts: Its bytes.
            size: How many they are, where that is known.
        """
        digest = sha256()
        with self._open(name, size) as member:
            for part in gathered(parts):
                digest.update(part)
                member.write(part)
        self._digests[name] = digest.digest()

    def finish(self) -> None:
        """Write the manifest, and end the file."""
        lines = (f"{digest.hex()}  {name}\n".encode() for name, digest in sorted(self._digests.items()))
        with self._open(MANIFEST, None) as member:
            for part in gathered(lines):
                member.write(part)
        self._zip.close()

    def abandon(self) -> None:
        """Let go of the file, which is of no use."""
        with suppress(OSError, ValueError):  # it may be full
            self._zip.close()

    def _open(self, name: str, size: int | None) -> IO[bytes]:
        if name in self._digests or (name == MANIFEST and self._zip.NameToInfo.get(name)):
            raise AssertionError(f"{name} is there already")
        member = ZipInfo(name, self._time)
        member.compress_type = ZIP_DEFLATED
        member.external_attr = 0o100644 << 16
        return self._zip.open(member, "w", force_zip64=size is None or size > LARGE)


def gathered(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in larger parts: rows are short."""
    waiting = bytearray()
    for part in parts:
        waiting += part
        if len(waiting) >= BUFFER:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)


@contextmanager
def created(file: Path, at: datetime, *, force: bool = False) -> Iterator[Archive]:
    """An archive that gets its name when the block is through; where it fails, nothing is left.

    Args:
        file: Its name.
        at: The time that its members bear.
        force: Whether it may take the place of a file that is there.

    Raises:
        ConfigurationError: the file is there already, or cannot be written.
    """
    if not force and file.exists():
        raise _there(file)
    fresh = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        with fresh.open("xb") as opened:
            archive = Archive(opened, at)
            try:
                yield archive
                archive.finish()
                opened.flush()
                os.fsync(opened.fileno())
                _name(fresh, file, force=force)
            finally:
                archive.abandon()
                fresh.unlink(missing_ok=True)
        sync(file.parent)
    except OSError as error:
        raise ConfigurationError(
            f"the package cannot be written to {file}",
            expected="a path in a folder that you may make files in, with room for it",
            actual=str(error),
            remedy="choose another path with -o",
        ) from error


def _name(fresh: Path, file: Path, *, force: bool) -> None:
    """Give the file its name; never the place of another, unless that is meant."""
    if force:
        fresh.replace(file)
        return
    try:
        file.hardlink_to(fresh)
    except FileExistsError as error:
        raise _there(file) from error
    except OSError:  # a file system without such links
        if file.exists():
            raise _there(file) from None
        fresh.replace(file)


def _there(file: Path) -> ConfigurationError:
    return ConfigurationError(
        f"{file} is there already",
        expected="a name that is free",
        actual="a file, which is left as it is",
        remedy="choose another name, or write it anew with --force",
    )
