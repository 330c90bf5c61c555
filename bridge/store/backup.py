"""A copy of a SQLite ledger, also of one that a bridge works on."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from bridge.store.engine import StoreError


def backup(source: Path, target: Path) -> int:
    """Copy the ledger as it is at one instant; gives the copy's bytes. Blocks; raises StoreError.

    The copy is whole or not there, only its owner can read it (it holds push tokens), and it was read
    through once. A bridge that works meanwhile waits for nothing.
    """
    if not source.is_file():
        raise StoreError(f"there is no ledger at {source}")
    try:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        raise StoreError(f"{target} is there already: nothing is written over it") from None
    except OSError as error:
        raise StoreError(f"cannot write {target}: {error.strerror}") from None
    try:
        _copy(source, target)
        return target.stat().st_size
    except (sqlite3.Error, OSError) as error:
        target.unlink(missing_ok=True)
        raise StoreError(f"cannot copy {source}: {error}") from error


def _copy(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True)) as ledger:
        ledger.execute("VACUUM INTO ?", (str(target),))
    with closing(sqlite3.connect(target)) as copy:
        (found,) = copy.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        raise sqlite3.DatabaseError(f"the copy is damaged: {found}")
    with target.open("rb+") as file:
        os.fsync(file.fileno())
