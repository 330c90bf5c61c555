"""Opening the database: SQLite's settings, its lock, and the migrations of every database."""

from __future__ import annotations

import fcntl
import sqlite3
from pathlib import Path
from typing import IO, Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, inspect, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from bridge.store.columns import JSON_BY
from bridge.store.onehop import Driver
from bridge.store.tables import meta

_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_SERVES: Final = "0003"
"""The oldest schema whose bridges may work on the present one: those of before a rolling update."""

MOVED: Final = "moved to"
"""What `meta` of a ledger says whose rows are elsewhere now."""

_BUSY_MS: Final = 1_000
"""How long SQLite waits for a foreign lock; Alertmanager wants its answer in about a second."""


class StoreError(Exception):
    """The ledger cannot be opened; the text says what to do."""


def database_path(url: str) -> Path:
    """Give the file of a sqlite URL. Raises StoreError for any other."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise StoreError("it is not sqlite:///FILE") from None
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
    except BlockingIOError:
        handle.close()
        raise StoreError(
            f"{path} is in use by another bridge (it holds {name.name}); "
            "stop that one, or give this one a storage.url of its own"
        ) from None
    except OSError as error:
        handle.close()
        raise StoreError(
            f"cannot lock {name}: {error.strerror}; SQLite needs a file system with locks, not a network's"
        ) from None
    return handle


def migrate(path: Path) -> None:
    """Bring the schema up to date, or create it: as a whole or not at all. Blocks; raises StoreError."""
    engine = create_engine(URL.create("sqlite", database=str(path)))
    _say_begin(engine, "BEGIN IMMEDIATE")
    try:
        path.touch()
        path.chmod(0o600)  # it holds push tokens; its log is made with the same mode
        with engine.begin() as connection:
            upgrade(connection, str(path))
            _refuse_moved(connection, path)
    except DatabaseError as error:
        raise StoreError(f"cannot open the ledger {path}: {error.orig}{_advice(error)}") from error
    except OSError as error:
        raise StoreError(f"cannot open the ledger {path}: {error}") from error
    finally:
        engine.dispose()


def upgrade(connection: Connection, name: str, *, shared: bool = False) -> None:
    """Bring the schema up to date in the connection's transaction. Raises StoreError.

    One that is newer is refused, unless it is `shared` and says that it serves bridges of our version:
    in a rolling update one of them may have to start again.
    """
    current, known = _current(connection), _known()
    if current == known[-1]:
        return
    if current is not None and current not in known:
        if shared and _serves(connection) <= known[-1]:
            return
        raise StoreError(
            f"{name} was written by a newer bridge (its schema is {current}, this one knows {known[-1]}); "
            "start that version again, or put back a copy of the ledger from before the upgrade"
        )
    from bridge.store import schema  # noqa: PLC0415 - 6 MiB, and most starts change no table

    schema.upgrade(connection, _MIGRATIONS, name)
    connection.execute(meta.delete().where(meta.c.name == "serves"))
    connection.execute(meta.insert(), {"name": "serves", "value": _SERVES})


def is_current(connection: Connection) -> bool:
    """Tell whether the schema is the newest that we know: then nothing is to be brought up to date."""
    return _current(connection) == _known()[-1]


def _known() -> list[str]:
    return sorted(path.name[:4] for path in (_MIGRATIONS / "versions").glob("[0-9]*.py"))


def _refuse_moved(connection: Connection, path: Path) -> None:
    """Two bridges on two copies would ring twice, and each know half. Raises StoreError."""
    found = connection.execute(select(meta.c.value).where(meta.c.name == MOVED)).scalar()
    if found is not None:
        raise StoreError(
            f"the ledger {path} was moved to {found}: give that as storage.url, or move this file away "
            "to begin with an empty ledger"
        )


def _current(connection: Connection) -> str | None:
    """Give the number of the schema, as alembic keeps it; None: there is none yet."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found


def _serves(connection: Connection) -> str:
    """Give the oldest schema whose bridges may work on this one."""
    found: str | None = connection.execute(select(meta.c.value).where(meta.c.name == "serves")).scalar()
    return found or "9999"


def _advice(error: DatabaseError) -> str:
    if getattr(error.orig, "sqlite_errorcode", None) in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}:
        return "; put a copy in its place, or move it away to begin with an empty one"
    return ""


def _say_begin(engine: Engine, words: str, *, always: bool = True) -> None:
    """Have each transaction begun by us: Python's driver begins none before DDL, and never takes the lock.

    Not `always`: only where one snapshot was asked for; any other statement stands by itself.
    """

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _: object) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if always or connection.get_execution_options().get("snapshot"):
            connection.exec_driver_sql(words)


def open_engine(path: Path, *, writer: bool) -> AsyncEngine:
    """Open an engine; the writer's transactions take the write lock when they begin (rule 11).

    A reader's statements stand each by itself; `snapshots` lets several see the same.
    """
    url = URL.create("sqlite+aiosqlite", database=str(path))
    pool: dict[str, Any] = {"pool_size": 1, "max_overflow": 0} if writer else {"pool_size": 4}
    # Without hide_parameters an error's text holds the values, and those hold tokens.
    engine = create_async_engine(url, module=Driver(), hide_parameters=True, **JSON_BY, **pool)

    _say_begin(engine.sync_engine, "BEGIN IMMEDIATE" if writer else "BEGIN", always=writer)

    @event.listens_for(engine.sync_engine, "connect")
    def _settings(connection: Any, _: object) -> None:
        cursor = connection.cursor()
        for pragma in (f"busy_timeout={_BUSY_MS}", "journal_mode=WAL", "synchronous=FULL"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return engine


def snapshots(reader: AsyncEngine) -> AsyncEngine:
    """Give the reader's connections for queries of several statements, which see one state of the ledger."""
    return reader.execution_options(snapshot=True)
