"""Who is on call, told on a running bridge: hand-overs in the middle of a ring, gaps, reloads."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import bcrypt
import pytest
import yaml
from appworld import World
from builders import NOW

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


# --- overrides at run time --------------------------------------------------------------------


async def override(world: World, **query: str) -> Any:
    made = await world.post("/api/v1/overrides", params={"schedule": "primary", "by": "carol"} | query)
    assert made.status == 201, made.text
    return made.json


async def test_an_override_written_while_it_rings_counts_from_the_next_ring_to_its_end(
    scheduled: World,
) -> None:
    scheduled.config["schedules"] = [rota("alice")]
    await scheduled.start()
    await scheduled.webhook(scheduled.alert())
    await scheduled.pass_(10)
    await override(scheduled, person="bob", to="2026-11-25 02:01")
    await scheduled.pass_(289)
    assert scheduled.rings("alice") == [0, 90, 135]
    assert scheduled.rings("bob") == [45]


async def test_an_override_outlasts_a_restart_and_is_gone_when_it_is_deleted(scheduled: World) -> None:
    await scheduled.start()
    made = await override(scheduled, person="bob", to="2026-11-25 02:01")
    await scheduled.restart()
    await scheduled.webhook(scheduled.alert())
    assert scheduled.rings("bob") == [0]
    gone = await scheduled.ask("DELETE", f"{scheduled.url}/api/v1/overrides/{made['id']}")
    assert (gone.status, gone.json) == (200, {"deleted": made["id"]})
    await scheduled.pass_(45)
    assert scheduled.rings("alice") == [45]
    for key in (str(made["id"]), "0", "-1", "one", "9" * 40):
        again = await scheduled.ask("DELETE", f"{scheduled.url}/api/v1/overrides/{key}")
        assert again.status == 404, key


async def test_an_override_beats_those_of_the_file_and_the_last_one_written_the_others(
    scheduled: World,
) -> None:
    file = {"person": "alice", "from": "2026-11-25 00:00", "to": "2026-11-26 00:00"}
    scheduled.config["schedules"][0]["overrides"] = [file]
    await scheduled.start()
    for person in ("alice", "bob"):
        await override(scheduled, person=person, to="2026-11-25 12:00")
    (primary,) = (await scheduled.get("/api/v1/oncall")).json["schedules"]
    assert (primary["people"], primary["why"]) == (["bob"], "an override by carol")
    assert [(one["id"], one["person"], one["by"]) for one in primary["overrides"]] == [
        (None, "alice", "the configuration"),
        (1, "alice", "carol"),
        (2, "bob", "carol"),
    ]
    listed = (await scheduled.get("/api/v1/overrides")).json["overrides"]
    assert [(one["id"], one["schedule"], one["person"]) for one in listed] == [
        (1, "primary", "alice"),
        (2, "primary", "bob"),
    ]
    scheduled.clock.move(10 * 3600)
    assert (await scheduled.get("/api/v1/overrides")).json["overrides"] == [], "what is over is not shown"


async def test_who_is_on_call_is_told_for_any_time_with_what_follows_and_the_gaps(scheduled: World) -> None:
    scheduled.config["schedules"] = [
        rota("alice", "bob") | {"time_zone": "Europe/Berlin"},
        rota("alice", start="2026-12-01") | {"name": "later"},
    ]
    await scheduled.start()
    primary, later = (await scheduled.get("/api/v1/oncall")).json["schedules"]
    assert primary == {
        "schedule": "primary",
        "time_zone": "Europe/Berlin",
        "people": ["bob"],
        "why": "layer 1",
        "until": "2026-12-02T02:01:00+01:00",
        "next": {"people": ["alice"], "until": "2026-12-09T02:01:00+01:00"},
        "gaps": [],
        "overrides": [],
        "calendar": None,
    }
    assert (later["people"], later["why"]) == ([], "a gap")
    assert later["gaps"] == [{"from": "2026-11-25T02:00:00+00:00", "to": "2026-12-01T02:01:00+00:00"}]
    there = (await scheduled.get("/api/v1/oncall?at=2026-12-03T00:00:00Z")).json
    assert [one["people"] for one in there["schedules"]] == [["alice"], ["alice"]]
    for text in ("tomorrow", "", "9999-12-31T00:00:00Z", "2001-01-01T00:00:00Z"):
        assert (await scheduled.get("/api/v1/oncall", params={"at": text})).status == 400


@pytest.mark.parametrize(
    ("begin", "end", "begins", "ends"),
    [
        # 25 October and 28 March: the clocks show 02:30 twice, and not at all.
        ("2027-10-31 02:30", "2027-10-31 02:30", "2027-10-31T02:30:00+02:00", "2027-10-31T02:30:00+01:00"),
        ("2027-03-28 02:30", "2027-03-28 04:00", "2027-03-28T03:00:00+02:00", "2027-03-28T04:00:00+02:00"),
        ("2027-03-27 22:00", "2027-03-28 02:30", "2027-03-27T22:00:00+01:00", "2027-03-28T03:00:00+02:00"),
        (
            "2027-03-28T02:30Z",
            "2027-03-28T05:30-01:00",
            "2027-03-28T04:30:00+02:00",
            "2027-03-28T08:30:00+02:00",
        ),
    ],
)
async def test_an_overrides_times_are_the_schedules_own_also_in_the_night_of_the_change(
    scheduled: World, begin: str, end: str, begins: str, ends: str
) -> None:
    scheduled.config["schedules"] = [rota("alice") | {"time_zone": "Europe/Berlin"}]
    await scheduled.start()
    made = await override(scheduled, person="bob", **{"from": begin, "to": end})
    assert (made["from"], made["to"]) == (begins, ends)


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ({"schedule": "primry"}, 404, 'there is no schedule "primry", did you mean "primary"?'),
        ({"person": "bbo"}, 404, 'there is no person "bbo", did you mean "bob"?'),
        ({"person": ""}, 404, 'there is no person ""'),
        ({"to": "tomorrow"}, 400, '"tomorrow" is not a date with a time'),
        (
            {"from": "2026-11-26 10:00", "to": "2026-11-26 10:00"},
            400,
            "it ends before it begins: from 2026-11-26 10:00+00:00 to 2026-11-26 10:00+00:00",
        ),
        (
            {"from": "2026-11-24 10:00", "to": "2026-11-25 02:00"},
            400,
            "it is over already: from 2026-11-24 10:00+00:00 to ",
        ),
        ({"to": "2028-11-25 02:00"}, 400, "it is longer than a year: change the schedule instead"),
    ],
)
async def test_what_cannot_be_an_override_is_refused_in_words(
    scheduled: World, query: dict[str, str], status: int, words: str
) -> None:
    await scheduled.start()
    good = {"schedule": "primary", "person": "bob", "to": "2026-11-26 10:00"}
    refused = await scheduled.post("/api/v1/overrides", params=good | query)
    assert (refused.status, refused.json["error"].startswith(words)) == (status, True), refused.text
    assert "hint" not in refused.json, "what to write is said once, and only of what cannot be read"
    assert (await scheduled.get("/api/v1/overrides")).json == {"overrides": []}


async def test_an_override_without_an_end_is_refused(scheduled: World) -> None:
    await scheduled.start()
    refused = await scheduled.post("/api/v1/overrides?schedule=primary&person=bob")
    assert (refused.status, refused.json["error"]) == (400, "it has no end")


async def test_an_override_for_somebody_without_a_phone_says_so(scheduled: World) -> None:
    scheduled.config["people"].append({"name": "carol"})
    await scheduled.start()
    made = await override(scheduled, person="carol", to="2026-11-26 10:00")
    assert made["cautions"] == ["carol has no phone that can ring"]
    assert (await override(scheduled, person="bob", to="2026-11-26 10:00"))["cautions"] == []
    await scheduled.webhook(scheduled.alert())
    assert scheduled.rings("bob") == [0]


async def test_who_wrote_an_override_is_who_the_credentials_say(scheduled: World) -> None:
    web = scheduled.folder / "web.yaml"
    password = bcrypt.hashpw(b"hunter2", bcrypt.gensalt(4)).decode()
    web.write_text(yaml.safe_dump({"basic_auth_users": {"dave": password}}))
    scheduled.options["web_config_file"] = web
    await scheduled.start()
    query = {"schedule": "primary", "person": "bob", "to": "2026-11-26 10:00", "by": "carol"}
    assert (await scheduled.post("/api/v1/overrides", params=query)).status == 401
    headers = {"Authorization": aiohttp.encode_basic_auth("dave", "hunter2")}
    made = await scheduled.post("/api/v1/overrides", params=query, headers=headers)
    assert made.json["by"] == "dave"


@pytest.mark.parametrize(
    ("begins", "begin", "end", "alice", "bob"),
    [
        # Autumn: the clocks show 02:30 twice, at 00:30 and 01:30 UTC. It means the first, and ends at the second.
        ("2026-10-25T00:20", "2026-10-25 02:30", "2026-10-25 02:30", [0, 70, 80], [10, 20, 30, 40, 50, 60]),
        # Spring: from 02:00 the clocks go on to 03:00, at 01:00 UTC. It means that moment.
        ("2026-03-29T00:50", "2026-03-29 02:30", "2026-03-29 03:30", [0, 40, 50, 60, 70, 80], [10, 20, 30]),
        ("2026-03-29T00:20", "2026-03-29 01:30", "2026-03-29 02:30", [0, 40, 50, 60, 70, 80], [10, 20, 30]),
    ],
)
async def test_an_override_at_half_past_two_in_the_night_of_the_change_rings_whom_it_names(
    tmp_path: Path, begins: str, begin: str, end: str, alice: list[int], bob: list[int]
) -> None:
    start = datetime.fromisoformat(begins).replace(tzinfo=UTC)
    async with World(tmp_path, start) as night:
        night.config["schedules"] = [rota("alice", start="2026-01-01") | {"time_zone": "Europe/Berlin"}]
        night.config["device_groups"].append({"name": "on-call", "schedules": ["primary"]})
        step = night.step("on-call", ring={"every": "10m", "times": 9, "for": "30s"}, then_after="2h")
        night.config["receivers"] = [{"name": "platform", "escalation": [step]}]
        await night.start()
        await override(night, person="bob", **{"from": begin, "to": end})
        await night.webhook(night.alert() | {"startsAt": start.isoformat()})
        await night.pass_(85 * MINUTE)
        shift = (start - NOW).total_seconds()
        assert [[(ring - shift) / MINUTE for ring in night.rings(name)] for name in ("alice", "bob")] == [
            alice,
            bob,
        ]
