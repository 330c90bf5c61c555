"""Who is on call, told on a running bridge: hand-overs in the middle of a ring, gaps, reloads."""

from typing import Any

import pytest
from appworld import World

MINUTE = 60


def rota(*members: str, start: str = "2026-11-18", handover: str = "02:01") -> dict[str, Any]:
    """Weekly turns in UTC. By default the first one's ends a minute after the story begins."""
    layer = {"members": list(members), "start": start, "handover": handover, "every": "1w"}
    return {"name": "primary", "layers": [layer]}


@pytest.fixture
def scheduled(stage: World) -> World:
    """Not started yet: one step rings whoever is on call, alice for a minute, then bob; bob stands in for gaps."""
    stage.config["schedules"] = [rota("alice", "bob")]
    stage.config["device_groups"] += [{"name": "on-call", "schedules": ["primary"]}]
    stage.config["receivers"] = [
        {"name": "platform", "otherwise": ["second"], "escalation": [stage.step("on-call")]}
    ]
    return stage


async def test_rule_3_a_hand_over_in_the_middle_of_a_ring_lets_the_next_ring_ring_the_new_one(
    scheduled: World,
) -> None:
    await scheduled.start()
    await scheduled.webhook(scheduled.alert())
    await scheduled.pass_(299)
    assert scheduled.rings("alice") == [0, 45]
    assert scheduled.rings("bob") == [90, 135]


async def test_a_gap_falls_to_otherwise_never_to_nobody(scheduled: World) -> None:
    scheduled.config["schedules"] = [rota("alice", start="2026-11-25")]
    await scheduled.start()
    await scheduled.webhook(scheduled.alert())
    await scheduled.pass_(299)
    assert scheduled.rings("bob") == [0, 45]
    assert scheduled.rings("alice") == [90, 135], "her shift began at 60"
    assert "gap" in await scheduled.timeline()


async def test_a_reload_of_schedules_counts_from_the_next_ring_on(scheduled: World) -> None:
    await scheduled.start()
    await scheduled.webhook(scheduled.alert())
    scheduled.config["schedules"] = [rota("bob")]
    assert (await scheduled.reload()).status == 200
    await scheduled.pass_(100)
    assert scheduled.rings("alice") == [0]
    assert scheduled.rings("bob") == [45, 90]


async def test_a_reload_with_a_wrong_name_leaves_the_old_schedules(scheduled: World) -> None:
    await scheduled.start()
    scheduled.config["schedules"] = [rota("bbo")]
    refused = await scheduled.reload()
    assert refused.status == 500
    assert refused.json["problems"][0].endswith('undefined person "bbo", did you mean "bob"?')
    await scheduled.webhook(scheduled.alert())
    assert scheduled.rings("alice") == [0]
