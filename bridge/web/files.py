"""Files that are read again when they change, told cheaply: one `stat` each while nothing happens."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MAX_BYTES: Final = 1 << 20
# A file system's clock ticks every few milliseconds: what changed this recently may change again
# without its times showing it.
_SETTLED_NS: Final = 100_000_000


@dataclass(frozen=True, slots=True)
class _Stamp:
    identity: tuple[int, int, int, int, int] | None
    settled: bool


def _stamp(path: Path) -> _Stamp:
    try:
        seen = path.stat()
    except OSError:
        return _Stamp(None, settled=True)
    age = time.time_ns() - max(seen.st_mtime_ns, seen.st_ctime_ns)
    identity = (seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)
    return _Stamp(identity, settled=age > _SETTLED_NS)


def _read(path: Path) -> bytes:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            # A pipe can be read once, and could make the whole bridge wait.
            raise OSError("is not a regular file")
        with open(handle, "rb", closefd=False) as file:
            data = file.read(MAX_BYTES + 1)
    finally:
        os.close(handle)
    if len(data) > MAX_BYTES:
        raise OSError(f"is larger than {MAX_BYTES} bytes")
    return data


class Files:
    """The files of one reading, also those that could not be read, and whether one has changed since."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[_Stamp, bytes | None]] = {}

    def read(self, path: Path) -> bytes:
        """Give the bytes of a regular file of at most MAX_BYTES; raises OSError in words for people."""
        # The stamp first: a change between the two is then noticed at the next look.
        stamp = _stamp(path)
        self._seen[path] = (stamp, None)
        try:
            data = _read(path)
        except OSError as error:
            raise OSError(error.strerror or str(error)) from error
        self._seen[path] = (stamp, hashlib.sha256(data).digest())
        return data

    def changed(self) -> bool:
        """Tell whether the content of a file is another one now; a mere `touch` is no change."""
        return any(self._differs(path, *seen) for path, seen in list(self._seen.items()))

    def _differs(self, path: Path, old: _Stamp, digest: bytes | None) -> bool:
        new = _stamp(path)
        if new == old and old.settled:
            return False
        try:
            now = hashlib.sha256(_read(path)).digest()
        except OSError:
            now = None
        if now == digest:
            self._seen[path] = (new, digest)
        return now != digest
