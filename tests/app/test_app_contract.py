"""Whatever a whole bridge says to its phones is held against the contract, whoever listens."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from appworld import World
from handset import Handset, listening

from bridge.api.phone import shapes, telling
from bridge.simulator import Contract

UNEXPECTED = "Additional properties are not allowed ('weather' was unexpected)"

pytestmark = pytest.mark.usefixtures("forgiven")


@pytest.fixture
def forgiven(contract: Contract) -> Any:
    """These tests break it on purpose."""
    yield
    contract.forget()


def talkative(monkeypatch: pytest.MonkeyPatch, name: str, shape: type[msgspec.Struct]) -> None:
    """Let the bridge say more than was written down."""
    more = msgspec.defstruct("More", [("weather", str, "fine")], bases=(shape,), kw_only=True)
    monkeypatch.setattr(shapes, name, more)
    assert telling.shapes is shapes


async def test_an_answer_with_a_member_that_nobody_wrote_down_is_seen(
    stage: World, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.start()
    handset = await Handset.enrolled(stage)
    assert (contract.checked, contract.breaches) == (1, [])
    talkative(monkeypatch, "Device", shapes.Device)
    await handset.get("/device")
    assert contract.breaches == [
        f"the answer 200 to GET /api/v1/device breaks device.json at $: {UNEXPECTED}"
    ]


async def test_an_event_with_a_member_that_nobody_wrote_down_is_seen(
    stage: World, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.start()
    handset = await Handset.enrolled(stage)
    talkative(monkeypatch, "Incident", shapes.Incident)
    async with listening(handset) as ear:
        await stage.webhook(stage.alert())
        await ear.next()
    assert contract.breaches[0] == (
        "an event incident breaks event-incident.json at $.incident: "
        "Unevaluated properties are not allowed ('weather' was unexpected)"
    )


async def test_a_virtual_phone_that_says_what_nobody_wrote_down_is_seen_though_the_bridge_takes_it(
    stage: World, contract: Contract
) -> None:
    await stage.start()
    await stage.enrol("alice")
    await stage.webhook(stage.alert())
    await stage.settled()
    assert contract.breaches == []
    await stage.alice.enrolled.act((await stage.incident())["id"], "acknowledge", weather="fine")
    what = "the body of POST /api/v1/incidents/{id}/acknowledge"
    assert contract.breaches == [f"{what} breaks act.json at $: {UNEXPECTED}"]


async def test_a_client_without_a_push_token_sees_and_hears_and_takes_what_rings_somebody_else(
    stage: World,
) -> None:
    """As docs/phone-protocol.md has it under "Another client"."""
    stage.config["devices"] = [stage.device("alice")]
    stage.config["receivers"][0]["escalation"].insert(0, stage.step("second"))
    await stage.start()
    bob = await Handset.enrolled(stage, "bob")
    shown = (await bob.get("/device")).json
    assert (shown["would_ring"], len(shown["troubles"])) == (False, 1)
    async with listening(bob) as ear:
        await stage.webhook(stage.alert())
        assert [call.state for call in stage.alice.calls.items] == ["ringing"], (
            "bob's step was not passed over"
        )
        told = await ear.until("ring")
        assert told[-1].data["incident"]["step"] == 2
        (listed,) = (await bob.get("/incidents")).json["incidents"]
        assert (await bob.act(listed["id"], "acknowledge")).json["acknowledged_by"] == "bob"
        assert (await ear.until("acknowledged"))[-1].data["incident"]["state"] == "acknowledged"
