"""Opening the database: SQLite's settings, its lock, and the migrations."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO, Any, Final

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_BUSY_MS: Final = 1_000
"""How long SQLite waits for a foreign lock; Alertmanager wants its answer in about a second."""


class StoreError(Exception):
    """The ledger cannot be opened; the text says what to do."""


def database_path(url: str) -> Path:
    """Give the file of a sqlite URL. Raises StoreError for any other."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        raise StoreError(f"storage.url {parsed.render_as_string()} is not sqlite:///FILE")
    return Path(parsed.database)


def lock(path: Path) -> IO[bytes]:
    """Keep a second bridge out of this ledger (rule 11); the lock goes when the file is closed."""
    name = path.with_name(path.name + ".lock")
    try:
        handle = name.open("ab")
    except OSError as error:
        raise StoreError(
            f"cannot write {name}: {error.strerror}; the folder must exist and be writable"
        ) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        raise StoreError(
            f"{path} is in use by another bridge (it holds {name.name}); "
            "stop that one, or give this one a storage.url of its own"
        ) from None
    return handle


def migrate(path: Path) -> None:
    """Bring the schema up to date, or create it. Blocks; raises StoreError."""
    engine = create_engine(URL.create("sqlite", database=str(path)))
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        path.chmod(0o600)  # it holds push tokens
    except Exception as error:
        raise StoreError(f"cannot open the ledger {path}: {error}") from error
    finally:
        engine.dispose()


def open_engine(path: Path, *, writer: bool) -> AsyncEngine:
    """Open an engine; the writer's transactions take the write lock when they begin (rule 11)."""
    url = URL.create("sqlite+aiosqlite", database=str(path))
    pool: dict[str, Any] = {"pool_size": 1, "max_overflow": 0} if writer else {"pool_size": 4}
    engine = create_async_engine(url, **pool)

    @event.listens_for(engine.sync_engine, "connect")
    def _settings(connection: Any, _: object) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={_BUSY_MS}"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writer else "BEGIN")

    return engine


def file_size(path: Path) -> int:
    """Bytes that the ledger and its log take on disk."""
    return sum(p.stat().st_size for p in (path, path.with_name(path.name + "-wal")) if p.exists())
