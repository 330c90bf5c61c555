"""`pushkit-bridge ledger`: the record of a running bridge, proved."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from appworld import World
from commands import ask, run
from sqlalchemy import Table, delete, update

from bridge.store import Tx, audit
from bridge.store.tables import incidents, meta, pages

JSON = ("-o", "json")


async def damage(world: World, table: Table, **values: Any) -> None:
    """Write into each row of a table by hand."""

    async def job(tx: Tx) -> None:
        await tx.connection.execute(update(table).values(values))

    await world.bridge.store.write(job)


# --- verify -----------------------------------------------------------------------------------


async def test_verify_says_what_it_has_judged_and_that_nothing_is_wrong(world: World) -> None:
    await world.webhook(world.alert("DiskFull"), world.alert("NodeDown"))
    await world.pass_(60)
    result = await ask(world, "ledger", "verify")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        "1 notification, 2 incidents, 4 pages, 2 calls from 2026-11-25T02:00:00Z to 2026-11-25T02:01:00Z: "
        "nothing is wrong\n"
    )


async def test_verify_of_a_bridge_to_which_nothing_came_is_clean(world: World) -> None:
    await world.settled()
    result = await ask(world, "ledger", "verify")
    assert (result.exit_code, result.stdout.split(":")[-1]) == (0, " nothing is wrong\n")


async def test_verify_prints_what_is_wrong_and_its_exit_code_is_1(world: World) -> None:
    await world.webhook(world.alert())
    await damage(world, pages, outcome=None)
    (page,) = (await world.incident())["pages"]
    result = await ask(world, "ledger", "verify")
    assert (result.exit_code, result.stderr) == (1, "")
    first, last = result.stdout.splitlines()
    assert first == (
        f"outcome-missing  page {page['id']} of incident {page['incident_id']}  2026-11-25T02:00:00.000Z  "
        "it is over, but not with an outcome that there is, or not when"
    )
    assert last.endswith(": 1 finding")


async def test_verify_in_json_has_every_finding_with_what_it_is_of(world: World) -> None:
    await world.webhook(world.alert())
    await damage(world, incidents, ring=7)
    result = await ask(world, "ledger", "verify", *JSON)
    found = json.loads(result.stdout)
    (one,) = await world.incidents()
    assert (result.exit_code, found["complete"]) == (1, True)
    assert found["checked"] == {"notifications": 1, "incidents": 1, "pages": 1, "calls": 1}
    (finding,) = found["findings"]
    assert finding | {"check": "ring-without-page", "of": "incident", "id": one["id"]} == finding


async def test_verify_judges_a_span_alone(world: World) -> None:
    await world.webhook(world.alert())
    await world.webhook(world.alert(resolved=True))
    await damage(world, incidents, ring=7)
    await world.pass_(600)
    for since, code in (("5m", 0), ("2026-11-25T02:05:00Z", 0), ("10m", 1), ("2026-11-25T02:00:00Z", 1)):
        assert (await ask(world, "ledger", "verify", "--since", since)).exit_code == code, since
    before = await ask(world, "ledger", "verify", "--until", "2026-11-25T02:00:00Z", *JSON)
    assert json.loads(before.stdout)["until"] == "2026-11-25T02:00:00+00:00"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--since", "1h"], "the ledger cannot say what was before 2026-11-25T02:00:00+00:00"),
        (["--since", "yesterday"], "'yesterday' is neither RFC 3339"),
        (["--until", "9999999999y"], "is neither RFC 3339"),
        (["--until", "2026-11-24T00:00:00Z"], "the span ends before it begins"),
    ],
)
async def test_verify_says_with_exit_code_2_that_it_cannot_say(
    world: World, arguments: list[str], says: str
) -> None:
    await world.settled()
    result = await ask(world, "ledger", "verify", *arguments)
    assert (result.exit_code, result.stdout, says in result.stderr) == (2, "", True), result.stderr


def test_verify_of_a_bridge_that_is_not_there_cannot_say() -> None:
    result = run("ledger", "verify", "--bridge.url=http://127.0.0.1:1")
    assert (result.exit_code, "cannot reach the bridge" in result.stderr) == (2, True)


async def test_verify_goes_back_as_far_as_the_retention(stage: World) -> None:
    """What is deleted proves nothing."""
    stage.config["storage"]["retention"] = "1h"
    await stage.start()
    await stage.pass_(7200)
    assert (await ask(stage, "ledger", "verify", "--since", "61m")).exit_code == 2
    assert json.loads((await ask(stage, "ledger", "verify", *JSON)).stdout)["since"] == (
        (stage.clock.now() - timedelta(hours=1)).isoformat()
    )


async def test_a_ledger_that_does_not_know_since_when_it_records_cannot_say(world: World) -> None:
    await world.settled()
    await world.bridge.store.write(lambda tx: tx.connection.execute(delete(meta)))
    result = await ask(world, "ledger", "verify")
    assert (result.exit_code, "does not record what it accepts yet" in result.stderr) == (2, True)


async def test_nothing_goes_on_from_a_place_that_there_is_not(world: World) -> None:
    await world.settled()
    for after in ("nowhere:1", "notifications:x", "x"):
        answer = await world.get(f"/api/v1/ledger/verify?after={after}")
        assert (answer.status, answer.json["error"]) == (400, "nothing goes on after that")


async def test_a_large_ledger_is_audited_slice_by_slice(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "_PATIENCE", 0.0)
    monkeypatch.setattr("bridge.store.looks.WINDOW", 3)
    monkeypatch.setattr("bridge.store.accepted.WINDOW", 3)
    monkeypatch.setattr("bridge.store.windows.WINDOW", 3)
    for number in range(10):
        await world.webhook(world.alert(f"Alert{number}"))
    await damage(world, incidents, ring=7)
    found = json.loads((await ask(world, "ledger", "verify", *JSON)).stdout)
    checked = found["checked"]
    assert (checked["notifications"], checked["incidents"], checked["pages"]) == (10, 10, 10)
    assert len({one["id"] for one in found["findings"]}) == 10
