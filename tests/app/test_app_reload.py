"""Reload: all of the new configuration or all of the old, and the incidents go on."""

import asyncio
from itertools import cycle
from pathlib import Path

import pytest
import yaml
from appworld import World
from listener import Listener, streams

from bridge.config import ConfigError
from bridge.simulator import Answer, Simulator, identity
from bridge.simulator.agenda import wall_clock

SUCCESSFUL = "config_last_reload_successful"


def to_bob(world: World) -> None:
    """Let the root receiver ring bob at once."""
    world.config["receivers"] = [{"name": "platform", "escalation": [world.step("second")]}]


async def test_a_reload_counts_from_the_next_webhook_on(world: World) -> None:
    assert world.metric(SUCCESSFUL) == 1
    to_bob(world)
    answer = await world.reload()
    assert (answer.status, answer.text) == (200, "OK")
    await world.webhook(world.alert())
    assert (world.rings("alice"), world.rings("bob")) == ([], [0])
    assert world.metric(SUCCESSFUL) == 1
    assert world.metric(f"{SUCCESSFUL.removesuffix('ful')}_timestamp_seconds") > 1.7e9


async def test_a_bad_file_answers_500_with_every_problem_and_the_old_one_stays(world: World) -> None:
    good = dict(world.config)
    world.config |= {"alert_ttll": "1h", "quiet_gap": "soon"}
    world.config["route"] = {"receiver": "nobody"}
    answer = await world.reload()
    assert answer.status == 500
    problems = answer.json["problems"]
    assert len(problems) == 3
    assert all(one.startswith(f"{world.config_file}:") for one in problems)
    for said in ("alert_ttll", "quiet_gap", '"nobody"'):
        assert any(said in one for one in problems), problems
    assert world.metric(SUCCESSFUL) == 0
    await world.webhook(world.alert())
    assert world.rings() == [0]
    world.config = good
    assert (await world.reload()).status == 200
    assert world.metric(SUCCESSFUL) == 1


@pytest.mark.parametrize("content", [None, "", "not: [yaml", "[]"], ids=["gone", "empty", "broken", "list"])
async def test_a_file_that_is_not_even_a_configuration_changes_nothing(
    world: World, content: str | None
) -> None:
    world.config_file.unlink() if content is None else world.config_file.write_text(content)
    answer = await world.post("/-/reload")
    assert answer.status == 500
    assert answer.json["problems"]
    with pytest.raises(ConfigError):
        await world.bridge.reload()
    await world.webhook(world.alert())
    assert world.rings() == [0]


async def test_the_ledger_cannot_be_changed_by_a_reload(world: World) -> None:
    world.config["storage"] = {"url": f"sqlite:///{world.folder}/other.db"}
    answer = await world.reload()
    assert answer.status == 500
    assert "takes a restart" in answer.json["problems"][0]
    assert not (world.folder / "other.db").exists()


async def test_a_bad_web_configuration_fails_the_reload_as_a_whole(stage: World) -> None:
    web = stage.folder / "web.yaml"
    web.write_text("{}\n")
    stage.options["web_config_file"] = web
    await stage.start()
    web.write_text("basic_auth_user: {}\n")
    to_bob(stage)
    answer = await stage.reload()
    assert answer.status == 500
    assert "basic_auth_user" in answer.json["problems"][0]
    assert stage.metric(SUCCESSFUL) == 0
    assert stage.metric("web_config_last_reload_successful") == 0
    await stage.webhook(stage.alert())
    assert (stage.rings("alice"), stage.rings("bob")) == ([0], [])


async def test_a_reload_under_load_loses_nothing_and_mixes_nothing(world: World) -> None:
    """Each alert is dealt with by one configuration: its receiver and the phones it rings belong together."""
    world.config["receivers"] = [
        {"name": "ring-alice", "escalation": [world.step("platform")]},
        {"name": "ring-bob", "escalation": [world.step("second")]},
    ]
    turn = cycle(["ring-alice", "ring-bob"])

    async def reloads() -> list[int]:
        statuses = []
        for _ in range(10):
            world.config["route"] = {"receiver": next(turn), "group_by": ["alertname"]}
            statuses.append((await world.reload()).status)
        return statuses

    async def webhooks(worker: int) -> list[int]:
        bodies = [world.message(world.alert(f"Alert{worker}n{number}")) for number in range(15)]
        return [(await world.post("/webhook", body)).status for body in bodies]

    world.config["route"]["receiver"] = "ring-bob"
    assert (await world.reload()).status == 200
    statuses = await asyncio.gather(reloads(), *map(webhooks, range(4)))
    assert {status for some in statuses for status in some} == {200}
    await world.settled()
    found = await world.incidents()
    assert len(found) == 60
    assert {one["receiver"] for one in found} == {"ring-alice", "ring-bob"}
    for one in found:
        (page,) = (await world.get(f"/api/v1/incidents/{one['id']}")).json["pages"]
        assert page["target"] == f"{one['receiver'].removeprefix('ring-')}-iphone"


async def test_reloads_at_the_same_instant_follow_each_other(world: World) -> None:
    to_bob(world)
    world.write()
    answers = await asyncio.gather(*(world.post("/-/reload") for _ in range(5)))
    assert {answer.status for answer in answers} == {200}
    await world.webhook(world.alert())
    assert world.rings("bob") == [0]


# --- incidents that are open ------------------------------------------------------------------


async def test_an_open_incident_whose_receiver_is_gone_rings_by_the_roots(stage: World) -> None:
    """Rule 1: the receiver stays, also across a reload; one that is gone falls to the root's."""
    root, route = stage.config["receivers"], stage.config["route"]
    stage.config["receivers"] = [*root, {"name": "db", "escalation": [stage.step("second")]}]
    stage.config["route"] = route | {"routes": [{"receiver": "db", "matchers": ['team="db"']}]}
    await stage.start()
    await stage.webhook(stage.alert(team="db"))
    assert (stage.rings("alice"), stage.rings("bob")) == ([], [0])
    stage.config["receivers"], stage.config["route"] = root, route
    assert (await stage.reload()).status == 200
    await stage.pass_(45)
    assert (stage.rings("alice"), stage.rings("bob")) == ([45], [0])
    assert (await stage.incident())["receiver"] == "db"
    await stage.webhook(stage.alert(team="db", resolved=True))
    assert await stage.incidents() == []


async def test_an_open_alert_stays_in_its_incident_when_the_routes_change(world: World) -> None:
    """Rule 1: the receiver and the group are picked when the episode opens."""
    await world.webhook(world.alert(instance="i1"))
    world.alice.answer()
    await world.settled()
    world.config["route"] = {"receiver": "platform", "group_by": ["instance"]}
    assert (await world.reload()).status == 200
    await world.pass_(60)
    await world.webhook(world.alert(instance="i1"))
    assert len(await world.incidents()) == 1
    assert world.rings() == [0]
    await world.webhook(world.alert(instance="i2"))
    assert [one["group"] for one in await world.incidents()] == [
        {"alertname": "DiskFull"},
        {"instance": "i2"},
    ]
    await world.webhook(world.alert(instance="i1", resolved=True))
    assert [one["group"] for one in await world.incidents()] == [{"instance": "i2"}]


async def test_a_policy_made_shorter_than_an_incident_has_come_ends_it_as_unanswered(world: World) -> None:
    await world.webhook(world.alert())
    await world.pass_(310)
    assert world.rings("bob") == [300]
    world.config["receivers"] = [{"name": "platform", "escalation": [world.step("platform")]}]
    assert (await world.reload()).status == 200
    await world.pass_(600)
    assert world.rings("bob") == [300]
    assert (await world.timeline())[-1] == "unanswered"


# --- devices ----------------------------------------------------------------------------------


async def test_a_changed_token_counts_from_the_next_push_on(world: World) -> None:
    await world.webhook(world.alert())
    new = world.sim.add_phone("alice-new")
    world.config["devices"][0]["voip_token"] = new.profile.voip_token
    assert (await world.reload()).status == 200
    await world.pass_(45)
    assert (world.rings("alice"), world.rings("alice-new")) == ([0], [45])


async def test_a_token_set_aside_is_trusted_anew_when_it_was_mended(stage: World) -> None:
    """BadDeviceToken sets it aside, and says so; a reload with another one rings again."""
    right = stage.config["devices"][0].pop("alert_token"), stage.config["devices"][0]["voip_token"]
    stage.config["devices"][0]["voip_token"] = "ab" * 32
    await stage.start()
    await stage.webhook(stage.alert())
    assert stage.rings("alice") == []
    assert stage.rings("bob") == [0], "no phone left in the first step: the second at once (rule 4)"
    assert "PushkitBridgeDeviceCannotRing" in [one["title"] for one in await stage.incidents()]
    await stage.get("/metrics")
    trouble = {"device": "alice-iphone", "reason": "quarantined: BadDeviceToken"}
    assert stage.metric("device_trouble", **trouble) == 1
    stage.config["devices"][0]["voip_token"] = right[1]
    assert (await stage.reload()).status == 200
    await stage.get("/metrics")
    assert stage.metric("device_trouble", **trouble) == 0
    await stage.webhook(stage.alert("Another"))
    assert stage.rings("alice") == [0]


async def test_a_device_that_is_gone_rings_no_more_and_its_pages_end(world: World) -> None:
    await world.webhook(world.alert())
    world.config["devices"] = world.config["devices"][1:]
    world.config["device_groups"][0]["owners"] = ["bob"]
    assert (await world.reload()).status == 200
    await world.pass_(45)
    assert (world.rings("alice"), world.rings("bob")) == ([0], [45])
    pages = (await world.incident())["pages"]
    assert {page["outcome"] for page in pages} == {"accepted"}


# --- APNs -------------------------------------------------------------------------------------


async def test_pushes_go_to_the_new_apns_and_those_under_way_end_at_the_old(world: World) -> None:
    world.alice.profile.behaviour = "slow"
    await world.post("/webhook", world.message(world.alert()))
    await world.alice.wait_for_push(30)
    async with Simulator(phones=["alice", "bob"], clock=world.clock.now, receipt_retry=()) as other:
        judge = other.tokens.check
        other.tokens.check = lambda authorization, _: judge(authorization, wall_clock())  # type: ignore[method-assign]
        apns = {"url": other.url, "ca_file": other.ca_file, "key_file": other.key_file}
        world.config["apns"] |= apns
        assert (await world.reload()).status == 200
        world.clock.move(5)
        await world.settled()
        await world.pass_(40)
        assert [page["outcome"] for page in (await world.incident())["pages"]] == ["accepted", "accepted"]
        assert len(other.phone("alice").pushes.items) == 1
        assert len(world.alice.pushes.items) == 1
        await asyncio.gather(*world.bridge._tasks)
        assert not world.sim.apns.connections
        await world.stop()


async def test_a_renewed_certificate_counts_from_the_reload_on(stage: World) -> None:
    """Its path is the same, so what the file holds must be looked at; without a change the connections stay."""
    folder = Path(stage.sim.ca_file).parent
    file = stage.folder / "voip.pem"
    file.write_bytes(identity.issue_client_certificate(folder, "VoIP Services"))
    for name in ("team_id", "key_id", "key_file"):
        del stage.config["apns"][name]
    stage.config["apns"]["certificate_file"] = str(file)
    await stage.start()
    await stage.webhook(stage.alert())
    first = stage.bridge.transport
    assert (await stage.reload()).status == 200
    assert stage.bridge.transport is first
    file.write_bytes(identity.issue_client_certificate(folder, "VoIP Services, renewed"))
    assert (await stage.reload()).status == 200
    assert stage.bridge.transport is not first
    await stage.pass_(45)
    assert stage.rings() == [0, 45]
    assert {one.answer.status for one in stage.sim.service.answered} == {200}


async def test_what_apns_refused_rings_soon_after_the_reload_that_mends_it(world: World) -> None:
    """The tokens are kept, the alarm is raised, and the policy goes round until somebody is reached (rule 4)."""
    world.sim.service.script.extend([Answer(403, "InvalidProviderToken")] * 100)
    await world.webhook(world.alert())
    await world.pass_(10)
    assert world.bridge.sender.misconfigured == "InvalidProviderToken"
    assert any("InvalidProviderToken" in reason for reason in await world.bridge.vitals.deaf())
    assert "PushkitBridgeApnsMisconfigured" in [one["title"] for one in await world.incidents()]
    world.sim.service.script.clear()
    assert (await world.reload()).status == 200
    assert world.bridge.sender.misconfigured is None
    await world.pass_(60)
    assert len(world.rings("alice")) == 1


async def test_an_apns_that_does_not_answer_holds_up_neither_start_nor_reload(stage: World) -> None:
    """The webhook must be taken, whatever Apple does: the ledger keeps the page."""
    gone = asyncio.Event()
    silent: list[asyncio.StreamReader] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        silent.append(reader)
        await gone.wait()
        writer.close()

    async with Listener(streams(accept)) as server:
        stage.config["apns"]["url"] = f"https://127.0.0.1:{server.port}"
        await stage.start()
        assert (await stage.reload()).status == 200
        assert (await stage.post("/webhook", stage.message(stage.alert()))).status == 200
        assert len(silent) == 1
        assert not silent[0].at_eof(), "the first attempt to connect is not over"
        assert any("cannot be used" in reason for reason in await stage.bridge.vitals.deaf())
        gone.set()
        await stage.stop()


async def test_templates_are_taken_by_a_reload(world: World) -> None:
    world.config["templates"] = {"caller_name": "{{ alertname }}!", "reason": "{{ receiver }}"}
    assert (await world.reload()).status == 200
    await world.webhook(world.alert())
    payload = world.alice.calls.items[0].payload
    assert (payload["caller_name"], payload["reason"]) == ("DiskFull!", "platform")


async def test_the_configuration_that_the_tests_write_is_the_one_that_is_read(world: World) -> None:
    """Otherwise the tests above would say nothing."""
    assert yaml.safe_load(world.config_file.read_text()) == world.config
