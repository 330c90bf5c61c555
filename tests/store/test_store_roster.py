"""Phones are loaded once, and again whenever one of them has changed, whoever changed it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from builders import at
from ledgers import ALICE, BOB, Look, device, sync
from sqlalchemy import event, update

from bridge.oncall import Phone
from bridge.store import Store, Tx
from bridge.store.tables import devices


@pytest.fixture
async def store(store: Store) -> Store:
    """A ledger that knows two phones."""
    await sync(store, device(ALICE), device(BOB))
    return store


async def known(store: Store) -> dict[str, Phone]:
    return {phone.name: phone for phone in await store.write(lambda tx: tx.phones())}


@contextmanager
def loads(store: Store) -> Iterator[list[str]]:
    """The statements of the writer that read phones."""
    found: list[str] = []

    def happened(_: Any, __: Any, statement: str, *___: Any) -> None:
        if "FROM devices" in statement:
            found.append(statement)

    engine = store._writer._engine.sync_engine
    event.listen(engine, "before_cursor_execute", happened)
    yield found
    event.remove(engine, "before_cursor_execute", happened)


async def test_phones_are_not_loaded_again_while_none_of_them_changes(store: Store) -> None:
    first = await known(store)
    with loads(store) as found:
        await store.write(lambda tx: tx.connection.execute(update(devices).values(called_at=at(1))))
        assert await known(store) == first
    assert found == []


@pytest.mark.parametrize(
    ("values", "is_now"),
    [
        ({"owner": "carol"}, Phone(ALICE, "carol", alert=True)),
        ({"enrolled": True}, Phone(ALICE, "alice", alert=True, enrolled=True)),
        ({"voip_token": None}, Phone(ALICE, "alice", voip=False, alert=True)),
        ({"alert_token": None}, Phone(ALICE, "alice", alert=False)),
        ({"voip_trouble": "gone"}, Phone(ALICE, "alice", voip=False, alert=True, trouble="gone")),
        ({"alert_trouble": "gone"}, Phone(ALICE, "alice", alert=False, trouble="gone")),
        ({"removed_at": at(1)}, None),
    ],
)
async def test_what_changes_a_phone_is_known_to_the_next_decision_also_if_somebody_else_wrote_it(
    store: Store, look: Look, values: dict[str, Any], is_now: Phone | None
) -> None:
    """A bridge of the version before may enrol a phone in a rolling update."""
    await known(store)
    async with look.engine.begin() as connection:
        await connection.execute(update(devices).where(devices.c.name == ALICE).values(**values))
    found = await known(store)
    assert found.get(ALICE) == is_now
    assert found[BOB] == Phone(BOB, "bob", alert=True)


async def test_a_phone_that_comes_and_one_that_goes_are_known_to_the_next_decision(
    store: Store, look: Look
) -> None:
    await known(store)
    async with look.engine.begin() as connection:
        await connection.execute(devices.insert(), {"name": "new", "owner": "carol", "enrolled": False})
    assert set(await known(store)) == {ALICE, BOB, "new"}
    async with look.engine.begin() as connection:
        await connection.execute(devices.delete().where(devices.c.name == "new"))
    assert set(await known(store)) == {ALICE, BOB}


async def test_what_a_transaction_saw_that_came_to_nothing_is_taken_for_true_by_none_after_it(
    store: Store,
) -> None:
    async def change(tx: Tx, name: str) -> None:
        await tx.connection.execute(update(devices).where(devices.c.name == name).values(voip_token=None))
        assert not {phone.name: phone for phone in await tx.phones()}[name].voip

    async def fail(tx: Tx) -> None:
        await change(tx, ALICE)
        raise ValueError("it comes to nothing")

    with pytest.raises(ValueError, match="nothing"):
        await store.write(fail)
    assert (await known(store))[ALICE].voip
    await store.write(lambda tx: change(tx, BOB))
    found = await known(store)
    assert (found[ALICE].voip, found[BOB].voip) == (True, False)
