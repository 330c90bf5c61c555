"""`storage migrate`: from a file to a PostgreSQL, with nothing lost and nobody rung twice for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from appworld import World
from click.testing import Result
from commands import run
from sqlalchemy import Table, select

from bench import pgserver
from bridge.store import StoreError, engine
from bridge.store.postgres import Postgres
from bridge.store.tables import meta, metadata


@pytest.fixture
def database() -> Iterator[str]:
    with pgserver.shared().ledger() as url:
        yield url


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """On a file: alice enrolled and was rung, bob stands in for a week, and an alert has ended."""
    async with World(tmp_path) as world:
        del world.config["devices"]
        layer = {"members": ["alice"], "start": "2026-11-18", "every": "1w"}
        world.config["schedules"] = [{"name": "primary", "layers": [layer]}]
        await world.start()
        await world.enrol("alice")
        stand_in = {"schedule": "primary", "by": "carol", "person": "bob", "to": "2026-12-01 09:00"}
        assert (await world.post("/api/v1/overrides", params=stand_in)).status == 201
        await world.webhook(world.alert("Ended"))
        await world.webhook(world.alert("Ended", resolved=True))
        await world.webhook(world.alert(note="odd: \0 \u2028 \U0001f525"))
        yield world


async def migrate(world: World, database: str, source: str | None = None) -> Result:
    """Stop the bridge, and move its ledger."""
    await world.stop()
    source = source or world.config["storage"]["url"]
    world.config["storage"]["url"] = database
    world.write()
    return await asyncio.to_thread(
        run, "storage", "migrate", f"--from={source}", f"--config.file={world.config_file}"
    )


async def story(world: World) -> Any:
    """Give the open incident with its timeline."""
    (one,) = await world.incidents()
    return (await world.get(f"/api/v1/incidents/{one['id']}")).json


async def rows(made: Any, table: Table) -> list[str]:
    """Give a table's rows in an order that no database has a say in; not what each ledger has of its own."""
    async with made.connect() as connection:
        found = (await connection.execute(select(table))).mappings().all()
    await made.dispose()
    return sorted(
        repr(dict(row)) for row in found if row.get("name") not in {"serves", "roster", engine.MOVED}
    )


async def test_every_row_of_every_table_is_in_the_new_ledger(world: World, database: str) -> None:
    file = world.file
    result = await migrate(world, database)
    assert result.exit_code == 0, result.output
    for table in metadata.sorted_tables:
        before = await rows(engine.open_engine(file, writer=False), table)
        assert await rows(Postgres(database, None).engine(writer=False), table) == before
    assert "incidents              2 rows" in result.output


async def test_the_bridge_goes_on_there_with_its_phones_rings_and_ids(world: World, database: str) -> None:
    """The credential, the call that rings and the timeline's numbers are all those of before."""
    known = await story(world)
    assert (await migrate(world, database)).exit_code == 0
    await world.start()
    assert await story(world) == known
    await world.pass_(45)
    assert world.rings() == [0, 45]
    world.alice.answer()
    await world.settled()
    assert (await story(world))["state"] == "acknowledged"
    await world.webhook(world.alert("Another"))
    assert len(await world.incidents()) == 2


async def test_no_bridge_opens_the_old_file_any_more(world: World, database: str) -> None:
    """It would ring for what the new one rings for, and know nothing of the answers."""
    url, file = world.config["storage"]["url"], world.file
    await migrate(world, database)
    world.config["storage"]["url"] = url
    with pytest.raises(
        StoreError, match=rf"the ledger {file} was moved to postgresql://127.0.0.1:\d+/\w+ at"
    ):
        await world.start()


async def test_a_ledger_that_a_bridge_uses_is_not_moved(world: World, database: str) -> None:
    config = world.folder / "new.yaml"
    config.write_text(world.config_file.read_text().replace(world.ledger, database))
    command = ("storage", "migrate", f"--from={world.ledger}", f"--config.file={config}")
    result = await asyncio.to_thread(run, *command)
    assert result.exit_code == 1
    assert "is in use by another bridge" in result.output


async def test_a_database_that_is_in_use_is_left_as_it_is(world: World, database: str) -> None:
    other = Postgres(database, None)
    await other.migrate()
    async with other.alone() as connection:
        await connection.execute(meta.insert(), {"name": "secret", "value": "its own"})
    source = world.config["storage"]["url"]
    result = await migrate(world, database, source)
    assert result.exit_code == 1
    assert "the database is not empty: its table meta has 1 rows" in result.output
    world.config["storage"]["url"] = source
    await world.start()
    assert len(await world.incidents()) == 1, "and the old ledger is as it was"


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("sqlite:////nowhere/bridge.db", "there is no ledger at /nowhere/bridge.db"),
        ("bridge.db", "is not sqlite:///FILE"),
        (
            "postgresql://bridge:s3cret@db/bridge",
            "storage.url postgresql://bridge:***@db/bridge is not sqlite",
        ),
    ],
)
async def test_what_is_no_ledger_is_named(world: World, database: str, source: str, problem: str) -> None:
    result = await migrate(world, database, source)
    assert result.exit_code == 1
    assert problem in result.output


async def test_only_a_postgresql_is_moved_to(world: World) -> None:
    result = await migrate(world, f"sqlite:///{world.folder}/other.db")
    assert result.exit_code == 1
    assert "storage.url of" in result.output
    assert "is not postgresql://" in result.output
