"""What is SQLite's own: its settings, its file, its lock, its migrations, and how it fails."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from builders import at
from ledgers import BOB, Look, Sqlite, claim, device, incident, opened, page, put, settle, sync
from movedclock import MovedClock
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import OperationalError

from bridge.store import Store, StoreError, Tx, engine, handsets, remember
from bridge.store.tables import incidents, meta, metadata


@pytest.fixture
def backend(tmp_path: Path) -> Sqlite:
    return Sqlite(tmp_path)


@pytest.fixture
async def store(backend: Sqlite, clock: MovedClock) -> AsyncIterator[Store]:
    async with opened(backend, clock.now) as ledger:
        yield ledger


@contextmanager
def plain(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection of somebody who knows nothing of us."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as connection:
        yield connection


async def pragma(store: Store, side: str, name: str) -> Any:
    found = store._reader if side == "reader" else store._writer._engine
    async with found.connect() as connection:
        return (await connection.execute(text(f"PRAGMA {name}"))).scalar()


# --- settings ---------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["reader", "writer"])
async def test_the_log_is_written_ahead_and_to_the_disk_at_each_commit(store: Store, side: str) -> None:
    assert await pragma(store, side, "journal_mode") == "wal"
    assert await pragma(store, side, "synchronous") == 2, "FULL"


async def test_the_writer_takes_the_write_lock_when_it_begins(store: Store, backend: Sqlite) -> None:
    """Rule 11: a transaction that reads first and writes then could be refused half-way."""
    tried = []

    async def job(_: Tx) -> None:
        with plain(backend.path) as other, pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        tried.append(True)

    await store.write(job)
    assert tried == [True]


async def test_readers_and_the_writer_do_not_wait_for_each_other(store: Store, look: Look) -> None:
    await put(store, incident("One"))

    async def job(tx: Tx) -> int:
        await tx.connection.execute(incidents.delete())
        return len(await look.rows(incidents))

    assert await store.write(job) == 1
    assert await look.rows(incidents) == []


# --- the file ---------------------------------------------------------------------------------


async def test_a_claim_finds_open_pages_by_their_own_index_however_long_the_history(store: Store) -> None:
    asked: list[Any] = []

    async def plan(connection: Any) -> list[str]:
        @event.listens_for(connection.sync_connection, "before_cursor_execute")
        def _hear(_: Any, __: Any, statement: str, values: Any, *___: Any) -> None:
            asked.append((statement, values))

        await handsets.phones_in_use(connection, at(0), timedelta())
        statement, values = asked[-1]
        rows = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
        return [row.detail for row in rows]

    steps = [step for step in await store.read(plan) if re.search(r" pages\b", step)]
    # Two look for a page of one call that they know. Of pages without a call there are years of nights.
    assert Counter("open_pages" in step for step in steps) == {True: 3, False: 2}, steps


def modes(path: Path) -> dict[str, int]:
    names = ("", "-wal", "-shm")
    return {name: stat.S_IMODE(Path(f"{path}{name}").stat().st_mode) for name in names}


@pytest.mark.parametrize("before", [None, 0o644])
async def test_only_its_owner_reads_the_ledger_and_its_log(
    backend: Sqlite, clock: MovedClock, before: int | None
) -> None:
    """It holds push tokens."""
    if before is not None:
        backend.path.touch()
        backend.path.chmod(before)
    mask = os.umask(0)
    try:
        async with opened(backend, clock.now) as store:
            await put(store, incident())
            assert modes(backend.path) == {"": 0o600, "-wal": 0o600, "-shm": 0o600}
    finally:
        os.umask(mask)


async def test_a_ledger_that_was_closed_is_one_file(backend: Sqlite, clock: MovedClock) -> None:
    """So that a copy of the file is a copy of the ledger."""
    async with opened(backend, clock.now) as store:
        await put(store, incident())
    assert sorted(path.name for path in backend.path.parent.iterdir()) == ["bridge.db", "bridge.db.lock"]


@pytest.mark.parametrize(
    "url", ["postgresql://user:s3cret@host/name", "sqlite://", "sqlite+aiosqlite://", "mysql://h/x"]
)
def test_another_database_is_refused_without_telling_its_password(url: str) -> None:
    with pytest.raises(StoreError, match="is not sqlite:///FILE") as caught:
        engine.database_path(url)
    assert "s3cret" not in str(caught.value)


# --- the lock ---------------------------------------------------------------------------------

HOLDER = """
import asyncio, sys
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from bridge.store import open_store, remember

async def main():
    async with AsyncExitStack() as stack:
        store = await open_store(stack, sys.argv[1], lambda: datetime.now(UTC))
        number = 0
        while True:
            await remember(store, f"write {number}", "done")
            print(number, flush=True)
            number += 1

asyncio.run(main())
"""


@contextmanager
def another_bridge(backend: Sqlite) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the ledger and writes to it, and says so of each write that is committed."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, backend.url], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "0\n"
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


async def refusal(backend: Sqlite) -> str:
    with pytest.raises(StoreError) as caught:
        async with opened(backend, MovedClock().now):
            pytest.fail("it was opened")
    return str(caught.value)


async def test_a_second_bridge_is_kept_out_and_told_why(store: Store, backend: Sqlite) -> None:
    """Rule 11."""
    assert await refusal(backend) == (
        f"{backend.path} is in use by another bridge (it holds bridge.db.lock); "
        "stop that one, or give this one a storage.url of its own"
    )
    await put(store, incident())


async def test_the_lock_of_a_bridge_that_was_killed_is_free_and_all_it_said_yes_to_is_there(
    backend: Sqlite, clock: MovedClock
) -> None:
    with another_bridge(backend) as process:
        assert "in use by another bridge" in await refusal(backend)
        process.send_signal(signal.SIGKILL)
        said, _ = process.communicate()
    async with opened(backend, clock.now) as store:
        found = await store.read(_names)
    assert {f"write {number}" for number in range(len(said.splitlines()) + 1)} <= found


async def _names(connection: Any) -> set[str]:
    return set((await connection.execute(meta.select())).scalars())


async def test_a_ledger_is_free_when_its_bridge_has_stopped_or_could_not_start(
    backend: Sqlite, clock: MovedClock
) -> None:
    for _ in range(2):
        async with opened(backend, clock.now) as store:
            await put(store, incident())
    whole = backend.path.read_bytes()
    backend.path.write_bytes(b"garbage" * 1000)
    await refusal(backend)
    backend.path.write_bytes(whole)
    async with opened(backend, clock.now) as store:
        await put(store, incident())


async def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    told = await refusal(Sqlite(tmp_path / "no such folder"))
    assert "no such folder/bridge.db.lock: No such file or directory" in told
    assert "the folder must exist and be writable" in told


async def test_a_file_system_without_locks_is_not_called_another_bridge(
    backend: Sqlite, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: Any) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    assert "cannot lock" in (told := await refusal(backend))
    assert "No locks available" in told


async def test_the_start_of_the_only_bridge_lets_go_of_what_the_last_one_was_sending(
    backend: Sqlite, clock: MovedClock
) -> None:
    async with opened(backend, clock.now) as store:
        await sync(store, device())
        one, two = incident("One"), incident("Two")
        await put(store, one, two, pages=[page(one), page(two, BOB, due=20)])
        (first,) = (await claim(store)).bundles
    clock.move(1)
    async with opened(backend, clock.now) as store:
        (again,) = (await claim(store)).bundles
        assert again.call == first.call
        assert [line.attempt for line in again.lines] == [2]
        assert await settle(store, first) == ()


# --- migrations -------------------------------------------------------------------------------


def schema(path: Path) -> set[tuple[str, str]]:
    """Each table by its columns (ALTER TABLE adds them at the end), each index by its words."""
    with plain(path) as connection:
        found = connection.execute(
            "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL"
        ).fetchall()
        columns = {
            name: sorted(row[1:] for row in connection.execute(f"PRAGMA table_info({name})"))
            for kind, name, _ in found
            if kind == "table" and name != "alembic_version"
        }
    indexes = {(name, re.sub(r"[\s\"]+", "", sql)) for kind, name, sql in found if kind == "index"}
    return indexes | {(name, repr(those)) for name, those in columns.items()}


def config() -> Config:
    made = Config()
    made.set_main_option("script_location", str(engine._MIGRATIONS))
    return made


def head() -> str:
    """The last migration's revision."""
    return ScriptDirectory.from_config(config()).get_current_head() or ""


def test_the_migrated_schema_is_the_one_that_the_code_believes_in(backend: Sqlite) -> None:
    engine.migrate(backend.path)
    with closing(create_engine(backend.url).connect()) as connection:
        options = {"compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        difference = compare_metadata(context, metadata)
        connection.engine.dispose()
    assert difference == []


def test_the_indexes_too_are_the_same_word_for_word(backend: Sqlite, tmp_path: Path) -> None:
    """What alembic does not compare: the conditions of partial indexes, on which rule 1 stands."""
    engine.migrate(backend.path)
    made = create_engine(f"sqlite:///{tmp_path}/made.db")
    metadata.create_all(made)
    made.dispose()
    assert schema(backend.path) == schema(tmp_path / "made.db")


@pytest.fixture
def broken_migration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The migrations, and one more that fails half-way."""
    folder, before = tmp_path / "migrations", head()
    shutil.copytree(engine._MIGRATIONS, folder)
    (folder / "versions" / "9999_broken.py").write_text(
        "import sqlalchemy as sa\n"
        "from alembic import op\n"
        f"revision, down_revision, branch_labels, depends_on = '9999', '{before}', None, None\n"
        "def upgrade():\n"
        "    op.create_table('half', sa.Column('id', sa.Integer))\n"
        "    op.execute('INSERT INTO half VALUES (1)')\n"
        "    op.execute('this is no statement')\n"
    )
    monkeypatch.setattr(engine, "_MIGRATIONS", folder)
    return folder


@pytest.mark.parametrize("before", ["a new ledger", "an old one"])
def test_a_migration_happens_as_a_whole_or_not_at_all(
    backend: Sqlite, broken_migration: Path, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    """Killed half-way it would leave a ledger that no version can open."""
    script = broken_migration / "versions" / "9999_broken.py"
    text = script.read_text()
    if before == "an old one":
        script.unlink()
        engine.migrate(backend.path)
        script.write_text(text)
    known = schema(backend.path) if before == "an old one" else set()
    with pytest.raises(StoreError, match="syntax error"):
        engine.migrate(backend.path)
    assert schema(backend.path) == known
    script.unlink()
    engine.migrate(backend.path)
    assert "half" not in {name for name, _ in schema(backend.path)}


async def test_a_ledger_of_a_newer_version_is_refused_and_left_as_it_is(
    backend: Sqlite, clock: MovedClock
) -> None:
    async with opened(backend, clock.now):
        pass
    with plain(backend.path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    assert await refusal(backend) == (
        f"{backend.path} was written by a newer bridge (its schema is 9999, this one knows {head()}); "
        "start that version again, or put back a copy of the ledger from before the upgrade"
    )
    with plain(backend.path) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999",)]


async def test_opening_a_ledger_again_changes_nothing_in_it(backend: Sqlite, clock: MovedClock) -> None:
    async with opened(backend, clock.now) as store:
        await put(store, incident())
    before = schema(backend.path)
    async with opened(backend, clock.now) as store:
        assert await store.read(lambda connection: _count(connection)) == 1  # noqa: PLW0108 - a coroutine
    assert schema(backend.path) == before


async def _count(connection: Any) -> int:
    return len((await connection.execute(incidents.select())).all())


# --- how it fails -----------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"garbage" * 1000, b"SQLite format 3\0" + b"\xff" * 4080])
async def test_a_file_that_is_no_ledger_is_called_so(backend: Sqlite, content: bytes) -> None:
    backend.path.write_bytes(content)
    told = await refusal(backend)
    assert told.startswith(f"cannot open the ledger {backend.path}: ")
    assert told.endswith("; put a copy in its place, or move it away to begin with an empty one")
    assert "sqlalche" not in told
    assert backend.path.read_bytes() == content, "it may be worth something to somebody"


async def test_a_folder_in_the_ledgers_place_is_refused(backend: Sqlite) -> None:
    backend.path.mkdir()
    assert "cannot open the ledger" in await refusal(backend)


async def test_a_locked_database_refuses_the_whole_batch_after_one_wait_and_recovers(
    store: Store, backend: Sqlite, look: Look
) -> None:
    """Somebody opened it with sqlite3. Alertmanager wants its answer in about a second: 503, and again."""
    begun: list[str] = []
    event.listen(
        store._writer._engine.sync_engine,
        "before_cursor_execute",
        lambda _, __, statement, *___: begun.append(statement),
    )
    with plain(backend.path) as other:
        other.execute("BEGIN IMMEDIATE")
        done = await asyncio.gather(
            *(remember(store, name, "v") for name in "abcdefgh"), return_exceptions=True
        )
        assert [str(error.orig) for error in done] == ["database is locked"] * 8
        assert begun == ["BEGIN IMMEDIATE"], "one after another they would have waited for a second each"
        assert await look.rows(meta, name="a") == []
        other.execute("COMMIT")
    await remember(store, "a", "v")
    assert await look.rows(meta, name="a") != []


async def test_a_disk_that_is_full_fails_what_does_not_fit_and_works_again_when_there_is_room(
    store: Store, look: Look
) -> None:
    async with store._writer._engine.connect() as connection:
        raw = await connection.get_raw_connection()
        driver = raw.driver_connection
        (pages,) = await (await driver.execute("PRAGMA page_count")).fetchone()
        await driver.execute(f"PRAGMA max_page_count = {pages + 4}")
    big = "x" * 1_000_000
    done = await asyncio.gather(
        remember(store, "a", "v"), remember(store, "big", big), remember(store, "b", "v"),
        return_exceptions=True,
    )  # fmt: skip
    assert [type(result) for result in done] == [type(None), OperationalError, type(None)]
    assert str(done[1].orig) == "database or disk is full"  # type: ignore[union-attr]
    async with store._writer._engine.connect() as connection:
        raw = await connection.get_raw_connection()
        await raw.driver_connection.execute("PRAGMA max_page_count = 1000000")
    await remember(store, "big", big)
    assert {"a", "b", "big"} <= {row["name"] for row in await look.rows(meta)}


def held(path: Path) -> list[str]:
    """The files beside `path`, and itself, that this process has open."""
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    names = [str(link.readlink()) for link in links]
    return [name for name in names if name.startswith(str(path))]


async def test_a_store_that_is_unwound_lets_go_of_all_its_files(backend: Sqlite, clock: MovedClock) -> None:
    async with opened(backend, clock.now) as store:
        await put(store, incident())
        await store.stats()
        assert held(backend.path) != []
    assert held(backend.path) == []
