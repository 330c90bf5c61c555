"""The bodies of real Alertmanagers (tests/payloads), through the running server."""

import json

import pytest
from appworld import PAYLOADS, Answer, World

VERSIONS = {"0": "0.25.0", "1": "0.33.1"}


@pytest.fixture(params=VERSIONS, ids=VERSIONS.get)
def tens(request: pytest.FixtureRequest) -> str:
    """The first digit of the files of one Alertmanager."""
    return request.param


async def play(world: World, number: str) -> Answer:
    """Send a body as it is, and let a minute pass, so that no phone is busy or in its quiet gap."""
    (file,) = PAYLOADS.glob(f"{number}_*.json")
    answer = await world.post("/webhook", file.read_bytes())
    await world.settled()
    return answer


async def test_a_group_fires_grows_repeats_and_resolves(world: World, tens: str) -> None:
    """01 to 05 and 11 to 15: rule 2, from the first webhook to the last."""
    assert (await play(world, tens + "1")).status == 200
    (incident,) = await world.incidents()
    assert (incident["title"], incident["state"], incident["alerts_firing"]) == ("DiskFull", "triggered", 1)
    assert world.rings() == [0]
    world.alice.answer()
    await world.pass_(60)
    assert (await world.incident())["acknowledged_by"] == "alice"

    await play(world, tens + "2")  # a second alert joins: news, though somebody has the first
    (incident,) = await world.incidents()
    assert (incident["state"], incident["alerts_firing"]) == ("triggered", 2)
    assert world.rings() == [0, 60]
    world.alice.answer()
    await world.pass_(60)

    before = await world.incident()
    await play(world, tens + "3")  # a repeat
    await world.pass_(60)
    assert await world.incident() == before | {"episodes": (await world.incident())["episodes"]}
    assert world.rings() == [0, 60]

    await play(world, tens + "4")  # one of two resolved
    (incident,) = await world.incidents()
    assert (incident["state"], incident["alerts_firing"]) == ("acknowledged", 1)
    await world.pass_(60)

    await play(world, tens + "5")
    assert await world.incidents() == []
    story = await world.incident()
    assert (story["state"], story["resolution"]) == ("resolved", "resolved")
    assert [alert["status"] for alert in story["episodes"]] == ["resolved", "resolved"]
    assert world.rings() == [0, 60]
    assert world.alice.pushes.items[-1].payload["kind"] == "resolved"
    assert world.rings("bob") == []


async def test_what_alertmanager_left_out_is_shown_to_the_person(world: World, tens: str) -> None:
    """06 and 16: two of five alerts came, and the phone says so."""
    assert (await play(world, tens + "6")).status == 200
    (incident,) = await world.incidents()
    assert (incident["alerts_firing"], incident["truncated_alerts"]) == (2, 3)
    call = world.alice.calls.items[0].payload
    assert call["counts"] == {"alerts": 2, "incidents": 1, "truncated_alerts": 3}
    assert "3 more that Alertmanager did not show" in call["reason"]


async def test_all_bodies_of_one_alertmanager_in_order_leave_only_the_truncated_incident(
    world: World, tens: str
) -> None:
    for last in "123456":
        assert (await play(world, tens + last)).status == 200
        await world.pass_(60)
    assert [one["title"] for one in await world.incidents()] == ["TruncTest"]
    assert [one["title"] for one in await world.incidents(closed=True)] == ["DiskFull", "TruncTest"]


async def test_a_body_with_a_payload_of_its_own_is_refused_with_what_to_do(world: World) -> None:
    """17: `payload:` in the receiver makes a body that is not Alertmanager's message."""
    answer = await play(world, "17")
    assert answer.status == 400
    assert "payload:" in answer.json["error"]
    assert await world.incidents(closed=True) == []
    assert world.metric("webhooks_total", source="default", code="400") == 1


async def test_the_answer_names_the_incident_and_its_pages(world: World) -> None:
    answer = await play(world, "01")
    story = await world.incident()
    assert json.loads(answer.body) == {
        "status": "ok",
        "incidents": [story["id"]],
        "pages": [page["id"] for page in story["pages"]],
    }
