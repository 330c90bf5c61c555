"""`explain`, of a running bridge and of a file: the same account as the console's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from appworld import World
from commands import ask, run

EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"


async def test_a_running_bridge_knows_the_phones_that_enrolled_and_who_is_put_on_call(stage: World) -> None:
    stage.config["schedules"] = [
        {"name": "primary", "layers": [{"members": ["alice"], "start": "2026-01-05", "every": "1w"}]}
    ]
    stage.config["device_groups"][0] = {"name": "platform", "schedules": ["primary"]}
    stage.config["devices"] = []
    await stage.start()
    await stage.enrol("bob")
    query = {"schedule": "primary", "person": "bob", "to": "2026-11-25 06:00"}
    assert (await stage.post("/api/v1/overrides", params=query)).status == 201
    result = await ask(stage, "explain", "alertname=X", "--at=2026-11-25T05:00:00Z")
    assert result.exit_code == 0, result.stderr
    assert "     schedule primary: bob (" in result.stdout
    assert "     bob-iphone of bob: rings" in result.stdout
    later = await ask(stage, "explain", "alertname=X", "--at=2026-11-25T07:00:00Z")
    assert "     alice has no phone that is known here" in later.stdout


async def test_the_alerts_of_an_incident_are_explained_as_they_came_and_a_changed_tree_is_named(
    world: World,
) -> None:
    await world.webhook(world.alert("DiskFull", instance="a"), world.alert("DiskFull", instance="b"))
    one = (await world.incidents())[0]["id"]
    result = await ask(world, "explain", f"--incident={one}", "-o", "json")
    found = json.loads(result.stdout)["explanations"]
    assert {told["labels"]["instance"] for told in found} == {"a", "b"}
    assert [(told["incident"]["same_way"], told["at"]) for told in found] == [
        (True, "2026-11-25T02:00:00Z")
    ] * 2
    world.config["receivers"].append({"name": "other", "escalation": [world.step("second")]})
    world.config["route"]["routes"] = [{"matchers": ["instance=a"], "receiver": "other"}]
    assert (await world.reload()).status == 200
    a, b = (next(x for x in found if x["labels"]["instance"] == name) for name in "ab")
    moved = await ask(world, "explain", f"--incident={one}", f"--alert={a['incident']['fingerprint']}")
    assert "it is in an incident of platform: the configuration is another now" in moved.stdout
    assert moved.stdout.startswith(
        f"alert {a['incident']['fingerprint']} at 2026-11-25T02:00:00Z: alertname="
    )
    same = await ask(world, "explain", f"--incident={one}", f"--alert={b['incident']['fingerprint']}")
    assert "the configuration is another now" not in same.stdout
    missing = await ask(world, "explain", f"--incident={one}", "--alert=0000")
    assert "has no such alert" in missing.stderr
    nothing = await ask(world, "explain", "--incident=nothing")
    assert "there is no incident 'nothing' (`pushkit-bridge incidents list` shows them)" in nothing.stderr


async def test_more_alerts_than_are_shown_are_named_as_such(world: World) -> None:
    await world.webhook(*(world.alert("DiskFull", instance=str(number)) for number in range(51)))
    one = (await world.incidents())[0]["id"]
    result = await ask(world, "explain", f"--incident={one}")
    assert result.stdout.endswith("and more: --alert asks for one of the rest\n")


async def test_no_route_leads_to_a_drill_or_to_the_bridge_s_own_alarm(world: World) -> None:
    await world.bridge.desk.alarm("Test", {}, "a test")
    await world.post("/api/v1/tests", params={"device": "alice-iphone"})
    says = set()
    for one in await world.incidents():
        result = await ask(world, "explain", f"--incident={one['id']}")
        assert result.exit_code == 1
        says.add(result.stderr.partition("it is ")[2].partition(",")[0])
    assert says == {"a drill", "an alarm of the bridge itself"}


@pytest.mark.parametrize(
    ("query", "says"),
    [({"labels": "critical"}, "is not NAME=VALUE"), ({"at": "tomorrow"}, "at is not a time")],
)
async def test_what_cannot_be_read_is_refused(world: World, query: dict[str, str], says: str) -> None:
    answer = await world.get("/api/v1/explain", params=query)
    assert (answer.status, says in answer.json["error"]) == (400, True)


async def test_the_console_names_a_heartbeat_too(world: World) -> None:
    world.config["heartbeats"] = [{"name": "prom", "matchers": ['alertname="Watchdog"'], "every": "3m"}]
    await world.reload()
    page = (await world.get("/explain?labels=alertname%3DWatchdog")).body.decode()
    assert "It is the heartbeat prom" in page
    told = await ask(world, "explain", "alertname=Watchdog")
    assert told.stdout.endswith("heartbeat prom: while it comes it is no incident, and rings nobody\n")


def test_a_file_is_explained_as_config_routes_test_does() -> None:
    arguments = (f"--config.file={EXAMPLE}", "--at=2026-01-31T03:00:00Z", "severity=critical", "team=db")
    offline = run("explain", *arguments)
    assert offline.exit_code == 0
    assert offline.stdout == run("config", "routes", "test", *arguments).stdout
    assert "   step 2: a call every 45s, 4 times; on to the next step after 3m\n" in offline.stdout
    assert "     schedule primary: bob (layer 2)" in offline.stdout


def test_a_calendar_that_cannot_be_read_is_warned_of(tmp_path: Path) -> None:
    text = EXAMPLE.read_text().replace("examples/", f"{EXAMPLE.parent}/examples/")
    file = tmp_path / "bridge.yaml"
    (tmp_path / "shifts.ics").write_text("no calendar")
    begin, end = (
        text.index("    # Where the clocks hang"),
        text.index("  # Or by a calendar instead of layers"),
    )
    file.write_text(text[:begin] + "    ical_file: shifts.ics\n" + text[end:])
    result = run("explain", f"--config.file={file}", "severity=critical", "team=db")
    assert "WARNING: the calendar of schedule primary: " in result.stderr
    assert "schedule primary: nobody" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--incident=x", "a=b"], "--incident says which labels and when"),
        (["--alert=x"], "--alert needs --incident"),
        (["--at=tomorrow"], "RFC 3339"),
    ],
)
def test_what_does_not_go_together_is_a_clear_error(arguments: list[str], says: str) -> None:
    result = run("explain", *arguments)
    assert (result.exit_code, says in result.stderr) == (2, True)
