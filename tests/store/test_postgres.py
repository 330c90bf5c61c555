"""What is PostgreSQL's own: several bridges on one ledger, its migrations, its clock, and how it fails."""

from __future__ import annotations

import ast
import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from builders import at
from ledgers import BOB, Look, PostgreSql, claim, device, incident, ledger, opened, page, put, settle, sync
from listener import Listener
from movedclock import MovedClock
from sqlalchemy import event, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from bench import pgserver
from bridge.incidents import Change
from bridge.store import (
    Scope,
    Store,
    StoreError,
    Topic,
    Tx,
    engine,
    listener,
    note,
    open_store,
    postgres,
    remember,
)
from bridge.store.postgres import Postgres
from bridge.store.tables import incidents, meta, metadata, pages, timeline
from bridge.store.tx import load_incidents

SERVER = pgserver.shared


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[PostgreSql]:
    with ledger("postgresql", tmp_path) as lent:
        assert isinstance(lent, PostgreSql)
        yield lent


@pytest.fixture
async def store(backend: PostgreSql, clock: MovedClock) -> AsyncIterator[Store]:
    async with opened(backend, clock.now) as ledger:
        yield ledger


@pytest.fixture
async def other(backend: PostgreSql, clock: MovedClock) -> AsyncIterator[Store]:
    """A second bridge on the same ledger."""
    async with opened(backend, clock.now) as ledger:
        yield ledger


@asynccontextmanager
async def nothing_in(name: str) -> AsyncIterator[str]:
    yield SERVER().url(name)
    SERVER().drop(name)


async def refusal(url: str, password: str | None = None) -> str:
    from contextlib import AsyncExitStack

    with pytest.raises(StoreError) as caught:
        async with AsyncExitStack() as stack:
            await open_store(stack, url, MovedClock().now, password=password)
    return str(caught.value)


# --- several at once --------------------------------------------------------------------------


async def test_a_page_is_claimed_by_one_bridge_however_many_ask_at_once(store: Store, other: Store) -> None:
    """Rule 5."""
    await sync(store, device(), device(BOB))
    one, two = incident("One"), incident("Two")
    await put(store, one, two, pages=[page(one), page(two), page(two, BOB)])
    found = await asyncio.gather(*(claim(ledger) for ledger in [store, other] * 5))
    bundles = [bundle for claimed in found for bundle in claimed.bundles]
    assert sorted((bundle.call.device, len(bundle.lines)) for bundle in bundles if bundle.call) == [
        ("alice-iphone", 2),
        ("bob-iphone", 1),
    ]


async def test_a_page_that_somebody_else_holds_keeps_no_other_waiting(store: Store) -> None:
    """FOR UPDATE SKIP LOCKED: an operator has a transaction open at psql."""
    await sync(store, device(), device(BOB))
    one = incident()
    held, free = page(one), page(one, BOB)
    await put(store, one, pages=[held, free])
    async with store._snapshots.connect() as somebody:
        await somebody.execute(select(pages.c.id).where(pages.c.id == held.id).with_for_update())
        (bundle,) = (await claim(store)).bundles
        assert [line.page.id for line in bundle.lines] == [free.id]
    (bundle,) = (await claim(store)).bundles
    assert [line.page.id for line in bundle.lines] == [held.id]


async def test_decisions_of_several_bridges_see_each_other(store: Store, other: Store) -> None:
    """No update is lost: each raises the revision that the one before it left."""
    one = incident()
    await put(store, one)

    def raise_it(found: tuple[Any, ...], *_: Any) -> list[Change]:
        from msgspec.structs import replace

        return [Change(replace(found[0], revision=found[0].revision + 1)).note("note", "raised")]

    scope = Scope(ids=(one.id,))
    await asyncio.gather(*(ledger.update(scope, raise_it) for ledger in [store, other] * 50))
    (after,) = await store.read(lambda connection: load_incidents(connection, [one.id]))
    assert after.revision == 101


async def test_a_slot_that_two_bridges_open_at_once_has_one_incident(
    store: Store, other: Store, look: Look
) -> None:
    one = incident()

    def open_it(found: tuple[Any, ...], *_: Any) -> list[Change]:
        return [] if found else [Change(one)]

    scope = Scope(slots=(one.slot,))
    done = await asyncio.gather(*(ledger.update(scope, open_it) for ledger in [store, other] * 5))
    assert sum(map(len, done)) == 1
    assert len(await look.rows(incidents)) == 1


async def lines_after(connection: AsyncConnection, last: int) -> list[int]:
    query = select(timeline.c.id).where(timeline.c.id > last).order_by(timeline.c.id)
    return list((await connection.execute(query)).scalars())


async def test_the_timelines_ids_grow_in_the_order_of_the_commits(store: Store, other: Store) -> None:
    """A stream that has told of one line is never overtaken by a smaller id (ADR 0011)."""
    one = incident()
    await put(store, one)
    seen: list[int] = []
    over = asyncio.Event()

    async def read() -> None:
        last = 0
        while not over.is_set() or len(seen) < 200:
            seen.extend(await store.read(partial(lines_after, last=last)))
            last = seen[-1] if seen else 0

    def write(found: tuple[Any, ...], *_: Any) -> list[Change]:
        return [Change(found[0]).note("note", "a line")]

    async def many(ledger: Store) -> None:
        for _ in range(10):
            await asyncio.gather(*(ledger.update(Scope(ids=(one.id,)), write) for _ in range(10)))

    reader = asyncio.create_task(read())
    await asyncio.gather(many(store), many(other))
    over.set()
    await asyncio.wait_for(reader, 30)
    assert len(seen) == 200
    assert seen == sorted(set(seen))


async def test_what_one_bridge_commits_wakes_the_others(store: Store, other: Store) -> None:
    woken = asyncio.Event()
    assert other.listener is not None
    async with asyncio.timeout(30):
        await other.listener.hears.wait()
    told: list[datetime] = []
    other.on(Topic.CLOCK, told.append)
    other.on(Topic.PAGES, lambda _: pytest.fail("no page was put"))
    other.on(Topic.STORY, lambda _: woken.set())
    await put(store, incident(due_at=at(45)))
    async with asyncio.timeout(30):
        await woken.wait()
    assert told == [at(45)]


@pytest.mark.parametrize("word", ["0123456789abcdef", "0123456789abcdef;pages=now", "0123456789abcdef;new=1"])
async def test_what_a_bridge_of_another_version_says_wakes_everybody(
    store: Store, other: Store, word: str
) -> None:
    """A rolling update: one of before says its name alone."""
    woken: set[Topic] = set()
    all_of_them = asyncio.Event()

    def wake(topic: Topic) -> None:
        woken.add(topic)
        if woken == set(Topic):
            all_of_them.set()

    assert other.listener is not None
    async with asyncio.timeout(30):
        await other.listener.hears.wait()
    for topic in Topic:
        other.on(topic, lambda _, topic=topic: wake(topic))
    say = text("SELECT pg_notify(:channel, :word)")
    await store.write(lambda tx: tx.connection.execute(say, {"channel": postgres.CHANNEL, "word": word}))
    async with asyncio.timeout(30):
        await all_of_them.wait()


async def test_a_listener_that_hears_nothing_any_more_is_noticed_and_replaced(
    backend: PostgreSql, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection stands, and answers; but no notification comes over it."""
    monkeypatch.setattr(listener, "_CHECK", 0.2)
    monkeypatch.setattr(listener, "_ANSWER", 1.0)
    made: list[Any] = []
    again = asyncio.Event()
    connect = Postgres.connect

    async def remembered(*arguments: Any) -> Any:
        made.append(await connect(*arguments))
        if len(made) == 2:
            again.set()
        return made[-1]

    async with opened(backend, clock.now) as store:
        assert store.listener is not None
        monkeypatch.setattr(Postgres, "connect", remembered)
        store.listener._task.cancel()  # type: ignore[union-attr]
        store.listener.hears.clear()
        store.listener.start()
        async with asyncio.timeout(30):
            await store.listener.hears.wait()
            store.listener.hears.clear()
            await made[0].remove_listener(postgres.CHANNEL, store.listener._heard)
            await again.wait()
            await store.listener.hears.wait()


async def test_a_second_bridge_lets_go_of_nothing_that_the_first_is_sending(
    store: Store, backend: PostgreSql, clock: MovedClock
) -> None:
    await sync(store, device())
    one = incident()
    await put(store, one, pages=[page(one)])
    (first,) = (await claim(store)).bundles
    async with opened(backend, clock.now) as second:
        assert (await claim(second)).bundles == ()
    assert len(await settle(store, first)) == 1


async def test_all_go_by_postgresqls_clock(backend: PostgreSql) -> None:
    """Rule 10: a bridge whose own clock is hours away decides by the ledger's."""
    from contextlib import AsyncExitStack

    told: list[datetime] = []
    async with AsyncExitStack() as stack:
        store = await open_store(stack, backend.url, lambda: told[-1], steer=told.append)

        async def job(tx: Tx) -> datetime:
            found: datetime = (await tx.connection.execute(text("SELECT clock_timestamp()"))).scalar_one()
            return found - tx.now

        assert timedelta(0) <= await store.write(job) < timedelta(seconds=30)
        assert all(at.tzinfo is UTC for at in told)


# --- migrations -------------------------------------------------------------------------------


async def test_bridges_that_start_at_once_on_an_empty_database_migrate_it_once() -> None:
    async with nothing_in(SERVER().empty()) as url:
        await asyncio.gather(*(Postgres(url, None).migrate() for _ in range(4)))
        made = Postgres(url, None).engine(writer=False)
        async with made.connect() as connection:
            difference = await connection.run_sync(
                lambda plain: compare_metadata(
                    MigrationContext.configure(plain, opts={"compare_type": True}), metadata
                )
            )
        await postgres.dispose(made)
        assert difference == []


NEWER = """
import sqlalchemy as sa
from alembic import op
revision, down_revision, branch_labels, depends_on = '9999', '{head}', None, None
def upgrade():
    op.create_table('to_come', sa.Column('id', sa.Integer, primary_key=True))
    op.add_column('incidents', sa.Column('to_come', sa.Text, nullable=False, server_default=''))
"""


@pytest.fixture
def newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The migrations of the next version; undone, they are this one's again."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(engine._MIGRATIONS))
    head = ScriptDirectory.from_config(config).get_current_head() or ""
    folder = tmp_path / "migrations"
    shutil.copytree(engine._MIGRATIONS, folder)
    (folder / "versions" / "9999_newer.py").write_text(NEWER.format(head=head))
    with monkeypatch.context() as patch:
        patch.setattr(engine, "_MIGRATIONS", folder)
        yield patch


async def test_two_versions_work_on_one_ledger_while_they_are_rolled_out(
    newer: pytest.MonkeyPatch, clock: MovedClock
) -> None:
    """The old one goes on over the migration, and can even start again after it; nothing is lost."""
    new_folder = engine._MIGRATIONS
    newer.undo()
    async with nothing_in(SERVER().empty()) as url:
        backend = PostgreSql(url)
        async with opened(backend, clock.now) as old:
            await put(old, incident("Before"))
            newer.setattr(engine, "_MIGRATIONS", new_folder)
            async with opened(backend, clock.now) as new:
                newer.undo()
                await asyncio.gather(put(old, incident("Old")), put(new, incident("New")))
                async with opened(backend, clock.now) as again:
                    await put(again, incident("Again"))
                    assert (await again.stats()).incidents["triggered"] == 4


async def test_a_ledger_that_no_longer_serves_this_version_is_refused(
    backend: PostgreSql, clock: MovedClock
) -> None:
    name = SERVER().empty()
    async with nothing_in(name) as url:
        async with opened(PostgreSql(url), clock.now):
            pass
        SERVER().execute(
            "UPDATE alembic_version SET version_num = '9999'",
            "UPDATE meta SET value = '9998' WHERE name = 'serves'",
            database=name,
        )
        told = await refusal(url)
    assert "was written by a newer bridge (its schema is 9999" in told


def test_no_migration_takes_anything_away() -> None:
    """So the version before works on, while the new one is rolled out: tables, and columns with a default."""
    allowed = {"create_table", "create_index", "add_column", "execute", "get_context"}
    for file in sorted((engine._MIGRATIONS / "versions").glob("*.py"))[1:]:
        tree = ast.parse(file.read_text())
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        done = [call for call in calls if isinstance(call.func, ast.Attribute) and _of_op(call.func)]
        assert {call.func.attr for call in done if isinstance(call.func, ast.Attribute)} <= allowed, file.name
        for call in done:
            if isinstance(call.func, ast.Attribute) and call.func.attr == "add_column":
                words = ast.unparse(call)
                assert "nullable=True" in words or "server_default" in words, f"{file.name}: {words}"
            if isinstance(call.func, ast.Attribute) and call.func.attr == "execute":
                words = ast.unparse(call.args[0])
                adds = words.lstrip("f'\"").startswith(("CREATE ", "INSERT INTO meta "))
                assert adds, f"{file.name}: {words}"


def _of_op(function: ast.Attribute) -> bool:
    return isinstance(function.value, ast.Name) and function.value.id == "op"


# --- how it fails -----------------------------------------------------------------------------


async def test_a_server_that_is_not_there_is_named_without_the_password() -> None:
    from bridge.children import free_port

    with free_port() as port:
        told = await refusal(f"postgresql://bridge@127.0.0.1:{port}/ledger?sslmode=disable", "s3cret")
    where = f"postgresql://127.0.0.1:{port}/ledger"
    assert told.startswith(f"cannot open the ledger {where}: PostgreSQL at {where} cannot be reached: ")
    assert "s3cret" not in told


async def test_a_database_that_does_not_exist_is_called_so() -> None:
    told = await refusal(SERVER().url("nowhere"))
    assert told.endswith('refuses the connection: database "nowhere" does not exist')


async def test_a_wrong_password_is_called_so_and_not_told(backend: PostgreSql) -> None:
    rules = SERVER().folder / "data/pg_hba.conf"
    before = rules.read_text()
    SERVER().execute("CREATE ROLE guarded LOGIN PASSWORD 'right'")
    rules.write_text("host all guarded 127.0.0.1/32 scram-sha-256\n" + before)
    SERVER().execute("SELECT pg_reload_conf()")
    try:
        told = await refusal(backend.url.replace("postgres@", "guarded@"), "wr0ng-one")
    finally:
        rules.write_text(before)
        SERVER().execute("SELECT pg_reload_conf()", "DROP ROLE guarded")
    assert 'password authentication failed for user "guarded"' in told
    assert "wr0ng-one" not in told


async def test_a_connection_that_was_cut_between_two_writes_is_made_anew_unnoticed(store: Store) -> None:
    await remember(store, "a", "before")
    await store.stats()
    SERVER().execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'pushkit-bridge' AND pid <> pg_backend_pid()"
    )
    await asyncio.gather(remember(store, "b", "after"), store.stats())
    assert await store.commits()


async def test_what_is_in_doubt_at_a_commit_is_told_to_the_caller_and_not_done_twice(
    store: Store, look: Look
) -> None:
    """Whoever sent it asks again, in a way that has one effect."""
    runs: list[int] = []

    async def job(tx: Tx) -> None:
        runs.append(1)
        await note(tx.connection, "a", "v")
        pid = (await tx.connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
        SERVER().execute(f"SELECT pg_terminate_backend({pid})")

    with pytest.raises(Exception, match="connection"):
        await store.write(job)
    assert len(runs) == 1
    assert await look.rows(meta, name="a") == []
    await remember(store, "a", "again")


async def test_a_bridge_that_froze_in_a_transaction_keeps_the_others_waiting_for_seconds_only(
    store: Store, backend: PostgreSql, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = postgres._SETTINGS | {"idle_in_transaction_session_timeout": "200ms"}
    monkeypatch.setattr(postgres, "_SETTINGS", settings)
    frozen = await Postgres(backend.url, None).connect()
    try:
        await frozen.execute("BEGIN")
        await frozen.execute(f"SELECT pg_advisory_xact_lock({postgres._LEDGER})")
        await remember(store, "a", "v")
    finally:
        frozen.terminate()


async def test_a_bridge_that_froze_within_a_statement_is_ended_by_those_that_wait(
    backend: PostgreSql, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """asyncpg has prepared it, and PostgreSQL, which calls that active, ends it by no timeout."""
    monkeypatch.setattr(postgres, "_SETTINGS", postgres._SETTINGS | {"lock_timeout": "200ms"})
    monkeypatch.setattr(postgres, "_FROZEN", 0.1)
    async with opened(backend, clock.now) as store:
        frozen = await Postgres(backend.url, None).connect()
        try:
            await frozen.execute("BEGIN")
            await frozen.execute(f"SELECT pg_advisory_xact_lock({postgres._LEDGER})")
            await frozen.prepare("SELECT 1")
            with pytest.raises(DBAPIError, match="lock timeout"):
                await remember(store, "a", "v")
            await remember(store, "a", "v")
        finally:
            frozen.terminate()


async def test_a_bridge_that_only_waits_for_a_slow_statement_keeps_its_turn(
    backend: PostgreSql, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "_FROZEN", 0.1)
    slow = await Postgres(backend.url, None).connect()
    try:
        await slow.execute("BEGIN")
        await slow.execute(f"SELECT pg_advisory_xact_lock({postgres._LEDGER})")
        sleeping = asyncio.create_task(slow.execute("SELECT pg_sleep(0.5)"))
        await asyncio.sleep(0.3)
        await Postgres(backend.url, None).end_frozen()
        await sleeping
        await slow.execute("COMMIT")
    finally:
        slow.terminate()


async def test_who_starts_on_a_schema_that_is_current_waits_for_nobodys_turn(backend: PostgreSql) -> None:
    other = await Postgres(backend.url, None).connect({"idle_in_transaction_session_timeout": "0"})
    try:
        await other.execute("BEGIN")
        await other.execute(f"SELECT pg_advisory_xact_lock({postgres._LEDGER})")
        await Postgres(backend.url, None).migrate()
    finally:
        other.terminate()


async def test_while_another_bridge_has_the_turn_for_long_all_that_wait_are_told_so_at_once(
    backend: PostgreSql, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It migrates. Each write alone would wait its eight seconds again, and three times."""
    monkeypatch.setattr(postgres, "_SETTINGS", postgres._SETTINGS | {"lock_timeout": "200ms"})
    async with opened(backend, clock.now) as store:
        asked: list[str] = []
        event.listen(
            store._writer._engine.sync_engine, "before_cursor_execute", lambda *found: asked.append(found[2])
        )
        other = await Postgres(backend.url, None).connect()
        try:
            await other.execute("BEGIN")
            await other.execute(f"SELECT pg_advisory_xact_lock({postgres._LEDGER})")
            writes = (remember(store, name, "v") for name in "abcdef")
            done = await asyncio.gather(*writes, return_exceptions=True)
            assert {getattr(getattr(one, "orig", None), "sqlstate", None) for one in done} == {"55P03"}
            assert len(asked) == 1
        finally:
            other.terminate()
        await remember(store, "a", "v")


async def test_a_connection_that_froze_is_cut_and_the_writes_go_on(
    backend: PostgreSql, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server gives up the statement by itself, so that the next try finds the lock free."""
    monkeypatch.setattr(postgres, "_HELD", 0.8)
    monkeypatch.setattr(postgres, "_SETTINGS", postgres._SETTINGS | {"statement_timeout": "1s"})
    async with opened(backend, clock.now) as store:
        ways: list[str] = []

        async def job(tx: Tx) -> None:
            ways.append("tried")
            if len(ways) == 1:
                await tx.connection.execute(text("SELECT pg_sleep(5)"))

        await store.write(job)
        assert ways == ["tried"] * 2


async def test_an_address_that_says_nothing_is_given_up_soon(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "_CONNECT", 0.2)
    async with Listener(asyncio.Protocol) as silent:
        told = await refusal(f"postgresql://postgres@127.0.0.1:{silent.port}/ledger?sslmode=disable")
        assert "does not answer within" in told


async def test_a_full_pool_is_an_error_of_the_database_and_not_a_wait_for_ever(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store._reader.pool.size() == 4  # type: ignore[attr-defined]
    assert store._writer._engine.pool.size() == 1  # type: ignore[attr-defined]
