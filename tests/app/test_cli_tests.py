"""`devices test` and `receivers test`: what rings, what is told of it, and what it stays apart from."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from appworld import World, until
from click.testing import Result
from commands import ask

from bridge import listings, trials
from bridge.client import Client
from bridge.simulator.answers import Answer
from bridge.store import Tx


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "_PERIOD", 0.01)


class Test:
    """A test command that runs beside the story."""

    __test__ = False

    def __init__(self, task: asyncio.Task[Result]) -> None:
        self.task = task

    async def result(self) -> Result:
        async with asyncio.timeout(30):
            return await self.task


@asynccontextmanager
async def test_of(world: World, *arguments: str) -> AsyncIterator[Test]:
    before = len(await world.incidents(closed=True))
    test = Test(asyncio.create_task(ask(world, *arguments, "--by=carol")))

    async def begun() -> bool:
        return test.task.done() or len(await world.incidents(closed=True)) > before

    async def nothing(_: Tx) -> None:
        """What is committed can be seen a moment before the loops are woken; after this one they have been."""

    await until(begun)
    await world.bridge.store.write(nothing)
    await world.settled()
    yield test
    await test.result()


test_of.__test__ = False  # type: ignore[attr-defined]


def kinds(result: Result) -> list[str]:
    """What was told, in its order."""
    return re.findall(r"^\S+Z +\+[\d.]+s  (\w+)", result.stdout, re.MULTILINE)


async def test_a_phone_that_enrolled_is_followed_up_to_the_answer(home: World) -> None:
    async with test_of(home, "devices", "test", "alice-iphone") as test:
        home.clock.move(2)
        home.alice.answer()
        await home.settled()
    result = await test.result()
    assert (result.exit_code, result.stderr) == (0, "")
    assert kinds(result) == ["committed", "claimed", "accepted", "received", "answered", "acknowledged"]
    push = home.alice.pushes.items[0]
    assert f"by APNs, apns-id {push.notification.apns_id}" in result.stdout
    assert result.stdout.splitlines()[-1] == "PASSED: alice-iphone rang, and was answered"
    assert "Z    +2.000s  answered" in result.stdout


def test_what_happened_in_the_millisecond_of_the_beginning_was_not_before_it() -> None:
    committed = {"key": "a", "at": "2026-11-25T02:00:00.123Z", "target": "", "what": "committed", "text": "x"}
    found = {"began_at": "2026-11-25T02:00:00.123456+00:00", "troubles": [], "handovers": [committed]}
    (line,) = listings.handovers(found, set())
    assert line == "2026-11-25T02:00:00.123Z    +0.000s  committed     x"


async def test_what_the_phone_shows_says_that_it_is_a_drill(home: World) -> None:
    async with test_of(home, "devices", "test", "alice-iphone") as test:
        payload = home.alice.pushes.items[0].payload
        home.alice.answer()
    assert (await test.result()).exit_code == 0
    assert payload["drill"] is True
    assert payload["caller_name"] == "DRILL TestCall"
    assert payload["reason"] == "DRILL: alice-iphone: alice-iphone is tried out by carol"


async def test_a_call_that_was_declined_rang(home: World) -> None:
    async with test_of(home, "devices", "test", "alice-iphone") as test:
        home.alice.decline()
        await home.settled()
    result = await test.result()
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (
        0,
        "PASSED: alice-iphone rang, and was declined",
    )
    assert home.rings("bob") == [], "a test of one phone rings no other"


async def test_a_call_that_nobody_answers_rang_and_is_over_with_its_deadline(home: World) -> None:
    async with test_of(home, "devices", "test", "alice-iphone") as test:
        await home.pass_(29)
        assert not test.task.done()
        await home.pass_(1)
    result = await test.result()
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (
        0,
        "PASSED: alice-iphone rang, and nobody answered",
    )
    await home.pass_(600)
    assert home.rings() == [0], "one call is all"


async def test_a_dead_token_is_named_and_what_to_do_about_it(home: World) -> None:
    home.alice.profile.behaviour = "unregistered"
    async with test_of(home, "devices", "test", "alice-iphone") as test:
        pass
    result = await test.result()
    assert result.exit_code == 1
    assert "unregistered  alice-iphone: Unregistered: the token is dead: open the app" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("FAILED: alice-iphone did not ring: unregistered")
    again = await ask(home, "devices", "test", "alice-iphone")
    assert again.exit_code == 1
    assert "TROUBLE: its voip token is set aside (unregistered: Unregistered)" in again.stdout
    assert "cannot ring" in again.stdout


async def test_a_token_that_apns_refuses_is_quarantined(home: World) -> None:
    home.alice.profile.bundle_id = "com.example.another"
    async with test_of(home, "devices", "test", "alice-iphone") as test:
        pass
    result = await test.result()
    assert result.exit_code == 1
    assert "did not ring: quarantined (DeviceTokenNotForTopic)" in result.stdout


async def test_a_key_that_apns_does_not_know_is_named(home: World) -> None:
    home.alice.answer_next(Answer(403, "InvalidProviderToken"), times=9)
    async with test_of(home, "devices", "test", "alice-iphone") as test:
        pass
    result = await test.result()
    assert result.exit_code == 1
    assert "misconfigured (InvalidProviderToken): APNs refuses every push: check apns" in result.stdout


async def test_a_deaf_phone_is_told_from_one_that_rang(home: World) -> None:
    """Rule 6: accepted by APNs is not rang."""
    home.alice.profile.behaviour = "silent"
    async with test_of(home, "devices", "test", "alice-iphone") as test:
        await home.pass_(9)
        assert not test.task.done()
        await home.pass_(20)
    result = await test.result()
    assert result.exit_code == 1
    assert "fallback      alice-iphone: no receipt in time; an alert push stands in" in result.stdout
    assert "did not ring: APNs has taken the call, and the phone said nothing in time" in result.stdout
    assert result.stdout.rstrip().endswith("; a notification went out in its place")


async def test_do_not_disturb_is_told_with_callkits_code(home: World) -> None:
    home.alice.profile.behaviour = "do-not-disturb"
    async with test_of(home, "devices", "test", "alice-iphone") as test:
        await home.pass_(20)
    result = await test.result()
    assert result.exit_code == 1
    assert "failed        alice-iphone: CallKit says 3 (Do Not Disturb or a Focus" in result.stdout
    assert "FAILED: alice-iphone did not ring: CallKit says 3" in result.stdout


async def test_of_a_phone_with_static_tokens_it_says_what_cannot_be_known(world: World) -> None:
    """Rule 6."""
    world.alice.profile.behaviour = "silent"
    async with test_of(world, "devices", "test", "alice-iphone") as test:
        await world.pass_(31)
    result = await test.result()
    assert (result.exit_code, kinds(result)) == (0, ["committed", "claimed", "accepted"])
    assert result.stdout.splitlines()[-1] == (
        "PASSED: APNs has taken the call. alice-iphone stands in the configuration and says nothing back: "
        "whether it rang, only its owner can tell"
    )


async def test_rule_5_a_phone_that_is_in_a_call_is_waited_for_and_it_says_so(home: World) -> None:
    await home.webhook(home.alert())
    home.alice.answer()
    await home.settled()
    async with test_of(home, "devices", "test", "alice-iphone") as test:
        await home.pass_(29)
        assert home.rings() == [0]
        await home.pass_(1)
        assert home.rings() == [0, 30]
        home.alice.answer()
    result = await test.result()
    assert result.exit_code == 0
    assert (
        "waits         alice-iphone: its phone is in a call, or was just now: until 02:00:30Z"
        in result.stdout
    )


async def test_a_real_page_that_falls_due_ends_a_test_and_owes_it_no_gap(home: World) -> None:
    """Rule 5: the real page waits for the end of the call that is up, and no longer."""
    async with test_of(home, "devices", "test", "alice-iphone") as test:
        await home.pass_(5)
        await home.webhook(home.alert())
        call = home.alice.calls.items[0]
        await call.wait_for("ended", 30)
        assert call.why == "withdrawn: the drill is over"
        await home.pass_(25)
        assert home.rings() == [0, 30]
        assert "drill" not in home.alice.pushes.items[-1].payload
    result = await test.result()
    assert "gave way" in result.stdout


async def test_answering_a_test_acknowledges_nothing_real(world: World) -> None:
    """Rule 5: exactly what the call carried. A phone that stands in the configuration does not hear of its end."""
    async with test_of(world, "devices", "test", "alice-iphone"):
        await world.webhook(world.alert())
        world.alice.answer()
        await world.settled()
        states = {one["title"]: one["state"] for one in await world.incidents()}
        assert states == {"DiskFull": "triggered"}
        await world.pass_(1)
        assert len(world.rings()) == 2, "a drill's end is followed by no gap"


async def test_control_c_ends_the_ringing(home: World) -> None:
    said: list[str] = []
    client = Client(home.url, None)
    task = asyncio.create_task(trials.follow(client, {"device": "alice-iphone", "by": "carol"}, said.append))
    await until(lambda: home.rings() == [0] and len(said) > 3)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    (one,) = await home.incidents(closed=True)
    assert (one["state"], one["resolution"]) == ("resolved", "called off")
    await home.alice.calls.items[0].wait_for("ended", 30)


async def test_in_json_it_is_one_document(home: World) -> None:
    async with test_of(home, "devices", "test", "alice-iphone", "-o", "json") as test:
        home.alice.answer()
    told = json.loads((await test.result()).stdout)
    assert (told["over"], told["passed"], told["group"]["device"]) == (True, True, "alice-iphone")
    assert [one["what"] for one in told["handovers"]][:4] == ["committed", "claimed", "accepted", "received"]


async def test_what_is_not_there_cannot_be_tried_out(home: World) -> None:
    result = await ask(home, "devices", "test", "alice-iphon")
    assert result.exit_code == 1
    assert '404: there is no device "alice-iphon", did you mean "alice-iphone"?' in result.stderr
    for query in (
        {},
        {"device": "alice-iphone", "receiver": "platform"},
        {"device": "alice-iphone", "seconds": "1"},
    ):
        assert (await home.post("/api/v1/tests", params=query)).status == 400, query
    for method in ("GET", "DELETE"):
        assert (await home.ask(method, f"{home.url}/api/v1/tests/none")).status == 404
    await home.webhook(home.alert())
    real = (await home.incident())["id"]
    assert (await home.ask("DELETE", f"{home.url}/api/v1/tests/{real}")).status == 404
    assert (await home.incident())["state"] == "triggered"


async def test_a_test_goes_on_over_a_restart_of_the_bridge(stage: World) -> None:
    stage.config["devices"] = []
    stage.options["web_listen"] = ("127.0.0.1:0",)
    await stage.start()
    await stage.enrol("alice")
    begun = (await stage.post("/api/v1/tests", params={"device": "alice-iphone"})).json
    await stage.settled()
    await stage.restart()
    stage.alice.answer()
    await stage.settled()
    told = (await stage.get(f"/api/v1/tests/{begun['id']}")).json
    assert (told["over"], told["passed"]) == (True, True)
    await stage.pass_(200)
    assert await stage.incidents() == [], "it ends by itself, also where nobody looks"
    assert stage.rings() == [0]


# --- receivers --------------------------------------------------------------------------------


@pytest.fixture
async def two_steps(stage: World) -> AsyncIterator[World]:
    """Alice for 100 s, then bob and a webhook; both have enrolled. What is posted is in `posted`."""
    posted: list[dict[str, object]] = []

    async def take(request: web.Request) -> web.Response:
        posted.append(await request.json())
        return web.Response()

    app = web.Application()
    app.router.add_post("/", take)
    async with TestServer(app) as server:
        stage.config["devices"] = []
        last = stage.step(
            "second", then_after="100s", webhooks=[{"name": "w", "url": str(server.make_url("/"))}]
        )
        stage.config["receivers"][0]["escalation"] = [stage.step("platform", then_after="100s"), last]
        await stage.start()
        await stage.enrol("alice", "bob")
        stage.posted = posted  # type: ignore[attr-defined]
        yield stage
        await stage.stop()


async def test_a_receiver_is_tried_out_step_by_step_until_somebody_acknowledges(two_steps: World) -> None:
    async with test_of(two_steps, "receivers", "test", "platform") as test:
        await two_steps.pass_(100)
        assert (two_steps.rings("alice"), two_steps.rings("bob")) == ([0, 45, 90], [100])
        two_steps.bob.answer()
        await two_steps.settled()
        await two_steps.alice.calls.items[-1].wait_for("ended", 30)
    result = await test.result()
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "PASSED: acknowledged by bob")
    assert [kinds(result).count(kind) for kind in ("answered", "acknowledged", "next")] == [1, 1, 1]
    assert kinds(result).index("next") < kinds(result).index("answered")
    (posted,) = two_steps.posted  # type: ignore[attr-defined]
    assert (posted["drill"], posted["summary"]) == (True, "DRILL: platform: platform is tried out by carol")
    quiet = two_steps.alice.pushes.items[-1].payload
    assert (quiet["kind"], quiet["aps"]["alert"]["title"]) == ("acknowledged", "DRILL bob has TestCall")
    await two_steps.pass_(600)
    assert await two_steps.incidents() == []
    assert two_steps.alice.pushes.items[-1].payload == quiet, "that it is over nobody needs to be told"


async def test_a_drill_that_nobody_answers_fails_and_is_no_alarm(two_steps: World) -> None:
    async with test_of(two_steps, "receivers", "test", "platform") as test:
        await two_steps.pass_(200)
    result = await test.result()
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (1, "FAILED: nobody answered")
    await two_steps.pass_(600)
    assert [one["drill"] for one in await two_steps.incidents(closed=True)] == [True]
    await two_steps.get("/metrics")
    assert two_steps.metric("incidents_unanswered") == 0
    assert [len(two_steps.rings(name)) for name in ("alice", "bob")] == [3, 3], "its policy is not repeated"


async def test_a_drill_ends_by_the_time_that_it_is_given(two_steps: World) -> None:
    async with test_of(two_steps, "receivers", "test", "platform", "--for=60") as test:
        await two_steps.pass_(60)
    assert (await test.result()).exit_code == 1
    await two_steps.pass_(200)
    assert [two_steps.rings(name) for name in ("alice", "bob")] == [[0, 45], []]


async def test_a_real_alert_during_a_drill_rings_and_has_an_incident_of_its_own(two_steps: World) -> None:
    async with test_of(two_steps, "receivers", "test", "platform") as test:
        await two_steps.pass_(40)
        await two_steps.webhook(two_steps.alert("TestCall"))
        assert two_steps.rings() == [0, 40], "no gap is owed to a drill"
        (real,) = await two_steps.incidents()
        assert (real["drill"], real["state"]) == (False, "triggered")
        two_steps.alice.answer()
        await two_steps.settled()
        assert (await two_steps.incidents())[0]["acknowledged_by"] == "alice"
    result = await test.result()
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1].startswith("FAILED: it gave way: a real page is due")
    await two_steps.pass_(300)
    assert two_steps.rings("bob") == []


async def test_a_drill_is_in_no_way_of_a_phone_that_it_does_not_ring(two_steps: World) -> None:
    two_steps.config["receivers"] += [{"name": "other", "escalation": [two_steps.step("second")]}]
    two_steps.config["route"]["routes"] = [{"receiver": "other", "matchers": ["team=other"]}]
    assert (await two_steps.reload()).status == 200
    async with test_of(two_steps, "receivers", "test", "platform") as test:
        await two_steps.webhook(two_steps.alert(team="other"))
        two_steps.bob.answer()
        await two_steps.settled()
        two_steps.alice.answer()
        await two_steps.settled()
    assert (await test.result()).exit_code == 0
