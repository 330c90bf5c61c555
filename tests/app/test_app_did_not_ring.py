"""Each cause that docs/did-not-ring.md knows looks as that page says: played, and asked with its commands."""

from __future__ import annotations

import pytest
from appworld import World
from commands import ask
from documents import ROOT

TEXT = (ROOT / "docs/did-not-ring.md").read_text()


@pytest.fixture
async def night(stage: World) -> World:
    """One phone, which enrolled; a route that is muted until noon; a schedule with nobody; a heartbeat."""
    stage.config["devices"] = []
    stage.config["receivers"] = [
        {
            "name": "platform",
            "escalation": [stage.step("platform", ring={"every": "45s", "times": 1, "for": "30s"})],
        },
        {"name": "empty", "escalation": [stage.step("nobody")]},
    ]
    stage.config["schedules"] = [{"name": "primary", "layers": []}]
    stage.config["device_groups"] += [{"name": "nobody", "schedules": ["primary"]}]
    stage.config["schedules"][0]["layers"] = [{"members": ["bob"], "start": "2030-01-01", "every": "1w"}]
    morning = {
        "name": "morning",
        "time_intervals": [{"times": [{"start_time": "00:00", "end_time": "12:00"}]}],
    }
    stage.config["time_intervals"] = [morning]
    stage.config["heartbeats"] = [{"name": "prometheus", "matchers": ["alertname=Watchdog"], "every": "3m"}]
    stage.config["route"]["routes"] = [
        {"matchers": ["team=muted"], "mute_time_intervals": ["morning"]},
        {"matchers": ["team=empty"], "receiver": "empty"},
    ]
    await stage.start()
    await stage.enrol("alice")
    return stage


async def shows(world: World, words: str, *command: str) -> None:
    """Hold that the page has these words, and that the command says them now."""
    assert words.replace("|", "\\|") in TEXT, f"docs/did-not-ring.md does not say {words}"
    result = await ask(world, *command)
    assert words in result.output, f"{' '.join(command)} does not say {words}:\n{result.output}"


async def happened(world: World, name: str, **labels: str) -> str:
    """Let an alert fire; gives its incident."""
    await world.webhook(world.alert(name, **labels))
    found = await world.incidents()
    return str(next(one["id"] for one in found if one["title"] == name))


@pytest.mark.parametrize(
    ("behaviour", "words", "of_the_phone"),
    [
        ("do-not-disturb", "fallback: alice-iphone: failed (CallKit 3)", "would ring  yes"),
        ("silent", "fallback: alice-iphone: no receipt in time", "would ring  yes"),
        (
            "unregistered",
            "ring -> alice-iphone: unregistered",
            "its voip token is set aside (unregistered: Unregistered)",
        ),
        ("normal", "received: by alice-iphone", "would ring  yes"),
    ],
)
async def test_what_a_phone_does_is_seen_in_the_story_as_the_page_says(
    night: World, behaviour: str, words: str, of_the_phone: str
) -> None:
    night.alice.profile.behaviour = behaviour  # type: ignore[assignment]
    incident = await happened(night, "DiskFull")
    await night.pass_(11)
    await shows(night, words, "incidents", "show", incident)
    await shows(night, of_the_phone, "devices", "show", "alice-iphone")


async def test_what_people_and_routes_do_is_seen_as_the_page_says(night: World) -> None:
    muted = await happened(night, "Muted", team="muted")
    await shows(night, "muted: the escalation starts at", "incidents", "show", muted)
    await shows(night, "muted until", "explain", "alertname=Muted", "team=muted")
    empty = await happened(night, "Empty", team="empty")
    await shows(night, "gap:", "incidents", "show", empty)
    await shows(night, "GAP: nobody from", "oncall", "show")
    mine = await happened(night, "DiskFull")
    await ask(night, "incidents", "ack", mine)
    await shows(night, "acknowledged: by", "incidents", "show", mine)
    await night.pass_(320)
    await shows(night, "MISSING since", "heartbeats", "list")
    await shows(night, "nothing is wrong", "ledger", "verify")


async def test_a_person_without_a_phone_and_a_ring_that_nobody_answered_are_named(night: World) -> None:
    await shows(
        night,
        "has no phone that is known here",
        "explain",
        "alertname=X",
        "--at=2030-01-02T00:00:00Z",
        "team=empty",
    )
    incident = await happened(night, "DiskFull")
    await night.pass_(600)
    await shows(night, "UNANSWERED", "incidents", "show", incident)


async def test_a_bridge_that_does_not_run_is_said_to_be_away(night: World) -> None:
    url = night.url
    await night.stop()
    result = await ask(night, "incidents", "list", "--all", url=url)
    assert "cannot reach the bridge at" in result.output
    assert "cannot reach the bridge at" in TEXT
