"""What an operator, a probe and Prometheus are told: health, readiness, metrics, and the sign of life."""

import asyncio
import io
import shutil
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from appworld import World, until, without
from prometheus_client.openmetrics.parser import text_fd_to_metric_families
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import event
from structlog.testing import capture_logs

from bridge.simulator import Answer

TOKEN = "a-bearer-token-of-some-length"


# --- health and readiness ---------------------------------------------------------------------


async def test_a_bridge_that_works_is_healthy_and_ready(world: World) -> None:
    for path in ("/-/healthy", "/-/ready"):
        answer = await world.get(path)
        assert (answer.status, answer.text) == (200, "OK")


@pytest.mark.parametrize(
    ("table", "reason"),
    [("pages", "the outbox cannot be worked on"), ("incidents", "incidents cannot be advanced")],
)
async def test_a_loop_that_fails_makes_it_unready_with_the_reason_and_it_recovers(
    world: World, table: str, reason: str
) -> None:
    await world.settled()
    with without(world, table):
        world.clock.move(1)
        await world.settled()
        answer = await world.get("/-/ready")
        assert (answer.status, answer.json["error"]) == (503, reason)
        assert (await world.get("/-/healthy")).status == 200
    world.clock.move(1)
    await world.settled()
    assert (await world.get("/-/ready")).status == 200
    await world.webhook(world.alert())
    assert len(world.rings()) == 1


async def test_probes_need_no_credentials_and_all_else_does(stage: World) -> None:
    file = stage.folder / "web.yaml"
    file.write_text(f"authorization: {{type: Bearer, credentials: {TOKEN}}}\n")
    stage.options["web_config_file"] = file
    await stage.start()
    asked = {path: (await stage.get(path)).status for path in ("/-/healthy", "/-/ready", "/metrics")}
    assert asked == {"/-/healthy": 200, "/-/ready": 200, "/metrics": 401}
    assert (await stage.post("/-/reload")).status == 401
    assert (await stage.get("/api/v1/incidents")).status == 401
    right = {"Authorization": f"Bearer {TOKEN}"}
    assert (await stage.get("/metrics", headers=right)).status == 200
    assert (await stage.post("/-/reload", headers=right)).status == 200


async def test_a_loop_that_dies_is_known_at_once(world: World) -> None:
    """Better no bridge, which somebody notices, than a deaf one."""

    async def broken() -> None:
        raise RuntimeError("a bug")

    await world.bridge._loop(world.bridge._stack, "broken", broken())
    async with asyncio.timeout(30):
        await world.bridge.failed.wait()
    await world.stop()


async def test_the_status_tells_how_each_part_is_and_holds_no_secret(world: World) -> None:
    await world.webhook(world.alert())
    told = (await world.get("/-/status")).json
    assert (told["ready"], told["problems"]) == (True, [])
    assert told["config"]["file"].endswith("config.yaml")
    assert told["apns"] | {"connections": 1} == {
        "usable": True, "connections": 1, "topic": world.sim.topic, "refused": None, "last_error": None,
    }  # fmt: skip
    assert told["incidents"] == {"by_state": {"triggered": 1, "acknowledged": 0}, "unanswered": 0}
    assert not [secret for secret in world.secrets() if secret in str(told)]


async def test_the_status_names_a_configuration_that_was_not_taken_and_a_phone_in_trouble(
    world: World,
) -> None:
    world.alice.answer_next(Answer(410, "Unregistered"), times=3)
    await world.webhook(world.alert())
    before = (await world.get("/-/status")).json["config"]["loaded_at"]
    await world.pass_(5)
    world.config["nonsense"] = 1
    assert (await world.reload()).status == 500
    told = (await world.get("/-/status")).json
    assert told["config"] == told["config"] | {"loaded_at": before, "last_load_successful": False}
    assert list(told["devices"]["trouble"]) == ["alice-iphone"]


async def test_the_status_is_given_where_the_ledger_cannot_be_read(world: World) -> None:
    await world.settled()
    with without(world, "incidents"):
        told = (await world.get("/-/status")).json
        await world.settled()
    assert told["incidents"] is None
    assert "the ledger cannot be read: OperationalError" in told["problems"]


# --- metrics ----------------------------------------------------------------------------------


async def test_a_webhook_takes_no_less_than_no_time_where_the_ledgers_clock_is_set_back(world: World) -> None:
    """Rule 10: each commit on PostgreSQL steers the bridge's clock."""

    def back(_: Any) -> None:
        world.clock._now -= timedelta(seconds=1)

    event.listen(world.bridge.store._writer._engine.sync_engine, "commit", back)
    assert (await world.post("/webhook", world.message(world.alert()))).status == 200
    assert world.metric("webhook_duration_seconds_count") == 1
    assert world.metric("webhook_duration_seconds_sum") >= 0


async def test_a_story_is_found_again_in_the_metrics(world: World) -> None:
    await world.webhook(world.alert(instance="i1"), world.alert(instance="i2"))
    await world.webhook(world.alert(instance="i2", resolved=True))
    await world.post("/webhook", b"nonsense")
    await world.get("/metrics")
    assert world.metric("incidents", state="triggered") == 1
    assert world.metric("incidents", state="acknowledged") == 0
    world.alice.answer()
    await world.settled()
    await world.get("/metrics")
    expected = {
        ("webhooks_total", ("source", "default"), ("code", "200")): 2,
        ("webhooks_total", ("source", "default"), ("code", "400")): 1,
        ("webhook_duration_seconds_count",): 3,
        ("alerts_total", ("source", "default"), ("status", "firing")): 2,
        ("alerts_total", ("source", "default"), ("status", "resolved")): 1,
        ("pages_settled_total", ("kind", "ring"), ("outcome", "accepted")): 1,
        ("pushes_total", ("push", "voip"), ("outcome", "accepted"), ("reason", "")): 1,
        ("push_duration_seconds_count",): 1,
        ("page_acceptance_seconds_count",): 1,
        ("page_receipt_seconds_count",): 1,
        ("calls_unheard_total", ("push", "voip")): 0,
        ("receipts_total", ("receipt", "received")): 1,
        ("receipts_total", ("receipt", "answered")): 1,
        ("incidents", ("state", "triggered")): 0,
        ("incidents", ("state", "acknowledged")): 1,
        ("pages", ("state", "waiting")): 0,
        ("pages", ("state", "sending")): 0,
        ("pages_overdue",): 0,
        ("outbox_oldest_seconds",): 0,
        ("incidents_unanswered",): 0,
        ("apns_usable",): 1,
        ("config_last_reload_successful",): 1,
        ("web_config_last_reload_successful",): 1,
        ("clock_drift_seconds",): 0,
    }
    found = {(name, *labels): world.metric(name, **dict(labels)) for name, *labels in expected}
    assert found == expected
    assert world.metric("apns_connections") >= 1
    assert 0 <= world.metric("apns_provider_token_age_seconds") < 3600


async def test_how_long_a_page_waited_for_its_phone_is_counted_once_with_its_incident_for_an_example(
    world: World,
) -> None:
    await world.webhook(world.alert())
    await world.pass_(45)
    assert world.metric("page_receipt_seconds_count") == 2, "two rings, with one received receipt each"
    world.alice.answer()
    await world.settled()
    assert world.metric("page_receipt_seconds_count") == 2
    asked = await world.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert asked.headers["Content-Type"].startswith("application/openmetrics-text")
    families = list(text_fd_to_metric_families(io.StringIO(asked.text)))
    examples = [
        sample.exemplar.labels
        for family in families
        for sample in family.samples
        if family.name == "pushkit_bridge_page_receipt_seconds" and sample.exemplar
    ]
    assert examples == [{"incident": (await world.incident())["id"]}]


async def test_calls_of_which_the_phone_says_nothing_are_counted(stage: World) -> None:
    del stage.config["devices"]
    await stage.start()
    await stage.enrol("alice")
    stage.alice.profile.behaviour = "silent"
    await stage.webhook(stage.alert())
    await stage.pass_(40)
    assert stage.metric("calls_unheard_total", push="voip") == 1
    assert stage.metric("page_receipt_seconds_count") == 0


async def test_what_waits_shows_with_its_age(world: World) -> None:
    await world.webhook(world.alert("DiskFull"))
    await world.pass_(5)
    await world.webhook(world.alert("NodeDown"))  # waits for the phone
    await world.pass_(7)
    await world.get("/metrics")
    assert world.metric("pages", state="waiting") == 1
    assert world.metric("outbox_oldest_seconds") == 7


async def test_what_nobody_answered_and_a_jump_of_the_clock_show(stage: World) -> None:
    stage.config["receivers"] = [
        {"name": "platform", "escalation": [stage.step("platform", then_after="3m")]}
    ]
    await stage.start()
    await stage.webhook(stage.alert())
    await stage.pass_(180)
    stage.clock.jump = 3600
    await stage.get("/metrics")
    assert stage.metric("incidents_unanswered") == 1
    assert stage.metric("clock_drift_seconds") == 3600


async def test_refusals_of_apns_are_counted_by_reason(world: World) -> None:
    world.alice.answer_next(Answer(410, "Unregistered", timestamp=int(world.clock.now().timestamp() * 1000)))
    world.bob.answer_next(Answer(429, "TooManyRequests", retry_after=1))
    await world.webhook(world.alert())
    await world.pass_(2)
    world.config["receivers"] = [{"name": "platform", "escalation": [world.step("second")]}]
    await world.reload()
    await world.webhook(world.alert("Another"))
    await world.pass_(2)
    assert world.metric("pushes_total", push="voip", outcome="unregistered", reason="Unregistered") == 1
    assert world.metric("pushes_total", push="voip", outcome="retryable", reason="TooManyRequests") == 1


async def test_no_secret_is_in_the_metrics_and_every_name_is_ours(world: World) -> None:
    world.alice.answer_next(Answer(400, "BadDeviceToken"))
    await world.webhook(world.alert())
    await world.pass_(60)
    text = (await world.get("/metrics")).text
    families = list(text_string_to_metric_families(text))
    assert len(families) > 20
    assert {family.name.startswith("pushkit_bridge_") for family in families} == {True}
    assert all(family.documentation for family in families)
    assert not [secret for secret in world.secrets() if secret in text]


@pytest.mark.real
async def test_promtool_finds_nothing_to_say_about_the_metrics(world: World) -> None:
    promtool = shutil.which("promtool")
    assert promtool is not None
    await world.webhook(world.alert())
    text = (await world.get("/metrics")).body
    check = await asyncio.create_subprocess_exec(
        promtool, "check", "metrics", stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    said = await check.communicate(text)
    assert (check.returncode, *said) == (0, b"", b"")


# --- the sign of life -------------------------------------------------------------------------


class Watchdog:
    """What healthchecks.io is: it counts the pings. And what an outgoing webhook leads to: `posts`."""

    def __init__(self) -> None:
        self.pings = 0
        self.status = 200
        self.says = "OK"
        self.url = self.hook = ""
        self.posts: list[dict[str, Any]] = []

    async def ping(self, _: web.Request) -> web.Response:
        self.pings += 1
        return web.Response(status=self.status, text=self.says)

    async def post(self, request: web.Request) -> web.Response:
        self.posts.append(await request.json())
        return web.Response()


@pytest.fixture
async def watchdog() -> AsyncIterator[Watchdog]:
    it = Watchdog()
    app = web.Application()
    app.add_routes([web.get("/ping/some-uuid", it.ping), web.post("/hook", it.post)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    it.url = f"http://127.0.0.1:{runner.addresses[0][1]}/ping/some-uuid"
    it.hook = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield it
    await runner.cleanup()


@pytest.fixture
async def watched(stage: World, watchdog: Watchdog) -> World:
    stage.options["heartbeat_url"] = watchdog.url
    await stage.start()
    await stage.settled()
    return stage


async def minute(world: World) -> None:
    world.clock.move(60)
    await world.settled()


async def test_a_bridge_that_works_says_so_each_minute(watched: World, watchdog: Watchdog) -> None:
    """Rule 12, the good days: also while it rings and nobody answers, for that is no fault of the bridge."""
    assert watchdog.pings == 1
    await watched.webhook(watched.alert())
    for _ in range(10):
        await minute(watched)
    assert watchdog.pings == 11
    assert watched.metric("heartbeats_total", outcome="sent") == 11


@pytest.mark.parametrize(
    "refusal", [Answer(403, "InvalidProviderToken"), Answer(400, "TopicDisallowed")], ids=["who", "what"]
)
async def test_the_sign_of_life_is_withheld_while_apns_refuses_us(
    watched: World, watchdog: Watchdog, refusal: Answer
) -> None:
    """Rule 12: APNs cannot be used, be it for who we are or for the topic of every push."""
    watched.sim.service.script.extend([refusal] * 1000)
    await watched.webhook(watched.alert())
    for _ in range(3):
        await minute(watched)
    assert watchdog.pings == 1
    assert watched.metric("heartbeats_total", outcome="withheld") == 3
    watched.sim.service.script.clear()
    await minute(watched)  # the policy goes round once more, and this time it rings
    await minute(watched)
    assert watchdog.pings >= 2


async def test_where_apns_revokes_the_key_the_outgoing_webhook_fires_and_the_sign_of_life_is_withheld(
    stage: World, watchdog: Watchdog
) -> None:
    """Rules 4 and 12: whoever reads the webhook and whoever watches the bridge both hear of it."""
    stage.options["heartbeat_url"] = watchdog.url
    steps = [stage.step("platform"), {"webhooks": [{"url": watchdog.hook}]}]
    stage.config["receivers"] = [{"name": "platform", "escalation": steps}]
    await stage.start()
    await stage.settled()
    stage.sim.service.script.extend([Answer(403, "InvalidProviderToken")] * 1000)
    await stage.webhook(stage.alert())
    assert "DiskFull" in {alert["labels"]["alertname"] for post in watchdog.posts for alert in post["alerts"]}
    assert stage.rings() == []
    await minute(stage)
    await minute(stage)
    assert watchdog.pings == 1, "only the one before"
    assert stage.metric("heartbeats_total", outcome="withheld") == 2
    stage.sim.service.script.clear()
    for _ in range(3):
        await minute(stage)
    assert watchdog.pings > 1, "the key is good again, and a page has proved it"


async def test_a_policy_that_reaches_nobody_alarms_others_and_where_they_are_deaf_the_sign_of_life_is_withheld(
    stage: World, watchdog: Watchdog
) -> None:
    """Rule 12: every page has its outcome, and yet an alert waits that no person knows of."""
    stage.options["heartbeat_url"] = watchdog.url
    empty = [{"name": "platform", "escalation": [stage.step("platform")]}]
    stage.config["people"].append({"name": "carol"})  # who has no phone yet
    stage.config["device_groups"].append({"name": "night", "owners": ["carol"]})
    stage.config["receivers"] = [*empty, {"name": "night", "escalation": [stage.step("night")]}]
    stage.config["route"]["routes"] = [{"matchers": ["alertname=DiskFull"], "receiver": "night"}]
    await stage.start()
    await stage.webhook(stage.alert())
    titles = [one["title"] for one in await stage.incidents()]
    assert sorted(titles) == ["DiskFull", "PushkitBridgeIncidentUnanswered"]
    assert stage.rings() == [0], "those of the root receiver"
    await minute(stage)
    assert watchdog.pings == 2
    stage.config["receivers"][0] = {"name": "platform", "escalation": [stage.step("night")]}
    assert (await stage.reload()).status == 200
    await stage.webhook(stage.alert(resolved=True))
    await stage.webhook(stage.alert(instance="two"))
    heard = watchdog.pings
    await minute(stage)
    await minute(stage)
    assert watchdog.pings == heard
    assert stage.metric("heartbeats_total", outcome="withheld") >= 2


async def test_the_sign_of_life_is_withheld_while_apns_cannot_be_reached(
    watched: World, watchdog: Watchdog
) -> None:
    """Rule 12: no connection, and no page that would have noticed."""
    await watched.sim.apns.close()
    await until(lambda: not watched.bridge.transport.usable)
    await minute(watched)
    assert watchdog.pings == 1
    assert watched.metric("heartbeats_total", outcome="withheld") == 1


async def test_the_sign_of_life_is_withheld_while_a_page_is_overdue_without_outcome(
    watched: World, watchdog: Watchdog
) -> None:
    """Rule 12: the sender hangs. The ring was to be out by 45 s, and two minutes later it still is not."""
    (sender,) = (task for task in asyncio.all_tasks() if task.get_name() == "sender")
    sender.cancel()
    await asyncio.wait([sender])
    assert (await watched.post("/webhook", watched.message(watched.alert()))).status == 200

    async def beat(seconds: float) -> None:
        watched.clock.move(seconds)
        await watched.clock.asleep(5)

    await beat(60)
    await beat(60)
    assert watchdog.pings == 3
    await beat(60)
    assert watchdog.pings == 3
    await watched.get("/metrics")
    assert watched.metric("pages_overdue") > 0
    assert [one for one in await watched.bridge.vitals.deaf() if "overdue" in one]


async def test_the_sign_of_life_is_withheld_while_the_ledger_cannot_be_read(
    watched: World, watchdog: Watchdog
) -> None:
    with without(watched, "devices"):
        await minute(watched)
        assert watchdog.pings == 1
    await minute(watched)
    assert watchdog.pings == 2


async def test_a_watchdog_that_is_down_is_asked_again_a_minute_later(
    watched: World, watchdog: Watchdog
) -> None:
    watchdog.status = 500
    await minute(watched)
    watchdog.status = 200
    await minute(watched)
    assert watchdog.pings == 3
    assert watched.metric("heartbeats_total", outcome="failed") == 1
    assert watched.metric("heartbeats_total", outcome="sent") == 2


@pytest.mark.parametrize("says", ["OK (not found)", "OK (rate limited)"])
async def test_a_service_that_says_ok_and_took_nothing_counts_as_failed(
    watched: World, watchdog: Watchdog, says: str
) -> None:
    """So healthchecks.io answers for a check that it does not know: nobody would notice our death."""
    watchdog.says = says
    with capture_logs() as told:
        await minute(watched)
    assert watched.metric("heartbeats_total", outcome="failed") == 1
    assert "the service says that it took nothing" in str(told)
    assert "some-uuid" not in str(told)


@pytest.mark.parametrize("status", [301, 404, 500])
async def test_what_is_not_taken_is_told_without_the_url(
    watched: World, watchdog: Watchdog, status: int
) -> None:
    watchdog.status = status
    with capture_logs() as told:
        await minute(watched)
    assert f"HTTP {status}" in str(told)
    assert "some-uuid" not in str(told)


async def test_a_watchdog_that_cannot_be_reached_stops_nothing(stage: World) -> None:
    stage.options["heartbeat_url"] = "http://127.0.0.1:1/ping"
    await stage.start()
    await stage.settled()
    await minute(stage)
    assert stage.metric("heartbeats_total", outcome="failed") == 2
    assert (await stage.get("/-/ready")).status == 200


async def test_without_a_url_nobody_is_pinged(world: World, watchdog: Watchdog) -> None:
    await world.pass_(300)
    assert watchdog.pings == 0
    with pytest.raises(aiohttp.ClientError):
        await world.ask("GET", "http://127.0.0.1:1/ping")
