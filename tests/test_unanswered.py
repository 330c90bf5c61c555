"""Nobody answered: that is an alarm of its own, whatever ended the last step, and no restart loses it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from builders import at, receiver, step
from desks import Office, make_settings, office
from ledgers import LEASE

from bridge import people, settlement
from bridge.matchers import parse_matchers
from bridge.pushes import Accepted, Rejected
from bridge.routing import Route
from bridge.store.calls import Receipt
from bridge.store.outbox import Ways
from bridge.store.tables import episodes, incidents


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Office]:
    """One step, whose phone rings once and has a minute to answer."""
    settings = make_settings(receiver(step("platform", times=1, then_after=60)))
    async with office(tmp_path, settings) as found:
        yield found


async def push(room: Office, outcome: Any) -> str:
    """Send what is due; gives the id of the call."""
    ways, settings = Ways.PUSHES | Ways.POSTS, room.desk.settings
    claim = await room.store.write(lambda tx: settlement.claim(tx, settings, LEASE, ways))
    (bundle,) = claim.bundles
    await room.store.write(lambda tx: settlement.settle(tx, settings, bundle, outcome, ""))
    assert bundle.call is not None
    return bundle.call.id


async def rung(room: Office) -> tuple[str, str]:
    """Let alice's phone ring; gives the ids of incident and call."""
    (change,) = await room.fire("DiskFull")
    return change.incident.id, await push(room, Accepted())


async def alarms(room: Office) -> list[dict[str, Any]]:
    return await room.look.rows(incidents, source="pushkit-bridge")


async def test_the_clock_ends_the_last_step_and_the_alarm_is_in_the_same_commit(room: Office) -> None:
    """A bridge that dies after it has not lost the alarm."""
    name, _ = await rung(room)
    room.clock.move(60)
    commits = room.transactions.count("commit")
    await room.desk.advance([name])
    assert room.transactions.count("commit") == commits + 1
    (alarm,) = await alarms(room)
    assert dict(alarm["group_values"]) == {"alertname": "PushkitBridgeIncidentUnanswered", "incident": name}
    assert (alarm["receiver"], alarm["state"], alarm["ring"]) == ("platform", "triggered", 1)


async def test_the_last_who_could_answer_declines(room: Office) -> None:
    _, call = await rung(room)
    await room.desk.receipt(call, Receipt("e", "declined"))
    assert len(await alarms(room)) == 1


async def test_the_last_phone_that_could_ring_fails(room: Office) -> None:
    """Her first ring was accepted, so that somebody counts as reached; the second is refused."""
    settings = make_settings(receiver(step("platform", times=2, every=45, then_after=60)))
    room.desk.settings = settings
    name, _ = await rung(room)
    room.clock.move(45)
    await room.desk.advance([name])
    await push(room, Rejected("BadPriority"))  # the call
    await push(room, Rejected("BadPriority"))  # the notification that stands in
    assert len(await alarms(room)) == 1


async def test_what_never_reached_anybody_is_an_alarm_too_in_the_same_commit(room: Office) -> None:
    """Its policy goes on without end, but others can be reached: those of the root receiver."""
    to_nobody = Route("nobody", parse_matchers("alertname=DiskFull"))
    room.desk.settings = make_settings(
        receiver(), receiver(step("gone"), name="nobody"), route=Route("platform", routes=(to_nobody,))
    )
    (change,) = await room.fire("DiskFull")
    name = change.incident.id
    assert await alarms(room) == [], "left to the clock"
    commits = room.transactions.count("commit")
    await room.desk.advance([name])
    assert room.transactions.count("commit") == commits + 1
    (alarm,) = await alarms(room)
    assert (alarm["receiver"], alarm["state"], alarm["ring"]) == ("platform", "triggered", 1)
    ((labels, annotations),) = [
        (row["labels"], row["annotations"]) for row in await room.look.rows(episodes, source="pushkit-bridge")
    ]
    assert labels["receiver"] == "nobody"
    assert "could be reached" in annotations["summary"]


async def test_a_webhook_at_that_very_instant_leaves_it_to_the_clock(room: Office) -> None:
    name, _ = await rung(room)
    room.clock.move(60)
    await room.fire("DiskFull")
    assert await alarms(room) == []
    await room.desk.advance([name])
    assert len(await alarms(room)) == 1


async def test_an_alarm_that_nobody_answered_is_no_alarm_again(room: Office) -> None:
    name, _ = await rung(room)
    room.clock.move(60)
    await room.desk.advance([name])
    await push(room, Accepted())
    room.clock.move(60)
    (alarm,) = await alarms(room)
    await room.desk.advance([alarm["id"]])
    (alarm,) = await alarms(room)
    assert alarm["unanswered_at"] == at(120)


async def test_the_next_time_is_news_also_while_the_alarm_of_the_last_is_acknowledged(room: Office) -> None:
    name, _ = await rung(room)
    room.clock.move(60)
    await room.desk.advance([name])
    await push(room, Accepted())
    (alarm,) = await alarms(room)
    await room.desk.act(alarm["id"], people.acknowledge("alice"))
    room.clock.move(600)
    await room.fire("DiskFull")
    await room.desk.act(name, people.hand_on("alice"))
    await push(room, Accepted())
    room.clock.move(60)
    await room.desk.advance([name])
    (alarm,) = await alarms(room)
    assert (alarm["state"], alarm["revision"], alarm["ring"]) == ("triggered", 2, 1)
    told = [row["labels"]["series"] for row in await room.look.rows(episodes, source="pushkit-bridge")]
    assert told == ["1", "2"]
