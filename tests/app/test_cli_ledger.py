"""`pushkit-bridge ledger`: the record of a running bridge, proved."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from appworld import World
from commands import ask, run
from sqlalchemy import Table, delete, update

from bridge.simulator import Answer
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


# --- show -------------------------------------------------------------------------------------


async def test_show_tells_an_incidents_whole_story_and_how_long_each_step_took(world: World) -> None:
    await world.webhook(world.alert("DiskFull"), world.alert("NodeDown"))
    await world.webhook(world.alert("NodeDown", resolved=True))
    world.alice.answer()
    await world.pass_(10)
    await world.webhook(world.alert("DiskFull", resolved=True))
    one = next(one for one in await world.incidents(closed=True) if one["title"] == "DiskFull")
    result = await ask(world, "ledger", "show", one["id"])
    assert (result.exit_code, result.stderr) == (0, "")
    head, empty, *lines = result.stdout.splitlines()
    assert (head.split()[:2], empty) == ([one["id"], "resolved,"], "")
    told = [line.split(maxsplit=1)[1].strip() for line in lines]
    assert told[0] == "accepted: notification 1 from default: 1 firing, 0 resolved"
    assert "notification 2" not in result.stdout, "that one was about the other"
    assert "accepted: notification 3 from default: 0 firing, 1 resolved" in told
    call = world.alice.calls.items[0].uuid
    way = [line for line in told if "alice-iphone" in line and line.startswith("+")]
    assert way[0] == f"+0.000s  alice-iphone: claimed: as call {call}"
    assert any(line.startswith("+0.000s  alice-iphone: answered: by the phone") for line in way)
    kinds = [line.split(":")[0] for line in told]
    assert kinds.index("triggered") < kinds.index("acknowledged") < kinds.index("resolved")


async def test_show_in_json_is_what_the_api_says(world: World) -> None:
    await world.webhook(world.alert())
    (one,) = await world.incidents()
    said = json.loads((await ask(world, "ledger", "show", one["id"], *JSON)).stdout)
    assert said == (await world.get(f"/api/v1/ledger/incidents/{one['id']}")).json
    (heard,) = said["notifications"]
    assert heard["firing"] == [said["episodes"][0]["fingerprint"]]


async def test_show_of_an_incident_that_there_is_not_says_so(world: World) -> None:
    result = await ask(world, "ledger", "show", "a/b")
    assert (result.exit_code, "there is no incident 'a/b'" in result.stderr) == (1, True)


# --- replay -----------------------------------------------------------------------------------


@pytest.fixture
async def refused(stage: World) -> World:
    """A bridge whose one ring APNs refused; it takes the next, which would come a minute later by itself."""
    stage.config["receivers"] = [{"name": "platform", "escalation": [stage.step("platform")]}]
    await stage.start()
    stage.sim.service.script.extend([Answer(400, "BadPriority")] * 100)
    await stage.webhook(stage.alert())
    await stage.pass_(5)
    stage.sim.service.script.clear()
    return stage


async def of_the_alert(world: World) -> str:
    (one,) = [one for one in await world.incidents() if one["title"] == "DiskFull"]
    return str(one["id"])


async def test_replay_rings_anew_for_what_reached_nobody_and_never_twice(refused: World) -> None:
    name = await of_the_alert(refused)
    assert refused.rings() == []
    result = await ask(refused, "ledger", "replay", name, "--by", "carol")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{name}  DiskFull  ")
    assert result.stdout.endswith(" failed pages  rings anew\n")
    await refused.settled()
    assert refused.rings() == [5]
    again = await ask(refused, "ledger", "replay", name)
    assert again.stdout.endswith("nothing, for it has rung anew since\n")
    await refused.pass_(10)
    assert refused.rings() == [5]
    (line,) = [
        line
        for line in (await refused.get(f"/api/v1/incidents/{name}")).json["timeline"]
        if line["kind"] == "replayed"
    ]
    assert line["text"].startswith("by carol, for ")
    assert (await ask(refused, "ledger", "verify")).exit_code == 0


async def test_a_dry_run_tells_what_would_be_done_and_does_nothing(refused: World) -> None:
    name = await of_the_alert(refused)
    before = (await refused.get(f"/api/v1/incidents/{name}")).json
    result = await ask(refused, "ledger", "replay", "--since", "1h", "--dry-run")
    assert f"{name}  DiskFull  " in result.stdout
    assert "would do: rings anew" in result.stdout
    await refused.settled()
    assert (await refused.get(f"/api/v1/incidents/{name}")).json == before


async def test_replay_of_a_span_takes_every_incident_whose_pages_failed_then(refused: World) -> None:
    await refused.pass_(5)
    early = await ask(refused, "ledger", "replay", "--since", "1h", "--until", "2026-11-25T01:59:59Z")
    assert early.stdout == "no page failed\n"
    found = json.loads((await ask(refused, "ledger", "replay", "--since", "1h", *JSON)).stdout)
    mine = {one["title"]: one["does"] for one in found["incidents"]}
    assert mine["DiskFull"] == "rings anew"


async def test_replay_leaves_what_somebody_has(refused: World) -> None:
    name = await of_the_alert(refused)
    await refused.post(f"/api/v1/incidents/{name}/acknowledge", params={"by": "bob"})
    result = await ask(refused, "ledger", "replay", name)
    assert result.stdout.endswith("nothing, for bob has it\n")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], 2, "give INCIDENT, or --since"),
        (["--since", "x"], 1, "is neither RFC 3339"),
        (["none"], 1, "there is no incident 'none'"),
    ],
)
async def test_replay_says_why_it_cannot(world: World, arguments: list[str], code: int, says: str) -> None:
    result = await ask(world, "ledger", "replay", *arguments)
    assert (result.exit_code, result.stdout, says in result.stderr) == (code, "", True), result.stderr


async def test_the_api_wants_to_know_what_to_replay(world: World) -> None:
    answer = await world.post("/api/v1/ledger/replay")
    assert (answer.status, answer.json["error"]) == (400, "give an incident, or since when pages failed")


async def test_more_incidents_than_one_request_takes_are_replayed_by_several(
    refused: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.api.ledger._INCIDENTS", 1)
    found = json.loads((await ask(refused, "ledger", "replay", "--since", "1h", *JSON)).stdout)
    assert len(found["incidents"]) == 3, "the alert's, and those of the alarms: refused, and nobody reached"
