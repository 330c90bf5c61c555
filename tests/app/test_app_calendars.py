"""Calendars at a URL and in a file: they break, go stale, and come back; who is on call stays known."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from appworld import World, until, without
from icalendars import event, ical, shift
from senderworld import target
from structlog.testing import capture_logs

from bridge import feeds, outgoing
from bridge.store import remember

QUARTER = 15 * 60
SECRET = "hunter2"
ALICE_THEN_BOB = ical(
    shift("alice", "20261125T010000", "20261125T020100", zone="UTC", uid="a"),
    shift("bob", "20261125T020100", "20261201T000000", zone="UTC", uid="b"),
)
"""The story begins at two: bob takes over after a minute."""
BOB = ical(shift("bob", "20261101T000000", "20261201T000000", zone="UTC"))


class Server:
    """Somebody's calendar server. `status`, `body` and `gate` are the test's to change."""

    def __init__(self) -> None:
        self.body: bytes = ALICE_THEN_BOB.encode()
        self.status = 200
        self.gate = asyncio.Event()
        self.gate.set()
        self.arrived = asyncio.Event()
        self.requests: list[tuple[int, dict[str, str]]] = []
        self.headers = {"ETag": '"1"', "Last-Modified": "Tue, 24 Nov 2026 10:00:00 GMT"}
        self.url = ""

    async def get(self, request: web.Request) -> web.Response:
        self.arrived.set()
        await self.gate.wait()
        same = request.headers.get("If-None-Match") == self.headers.get("ETag")
        status = 304 if self.status == 200 and same else self.status
        self.requests.append((status, dict(request.headers)))
        body = self.body if status == 200 else f"no: {SECRET}".encode() if status != 304 else None
        return web.Response(status=status, body=body, headers=self.headers)

    async def moved(self, request: web.Request) -> web.Response:
        raise web.HTTPFound(f"/{SECRET}/shifts.ics")

    def says(self, text: str) -> None:
        self.body = text.encode()
        self.headers = self.headers | {"ETag": f'"{hash(text)}"'}


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    one = Server()
    app = web.Application()
    app.router.add_get(f"/{SECRET}/shifts.ics", one.get)
    app.router.add_get("/old", one.moved)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    one.url = f"http://127.0.0.1:{runner.addresses[0][1]}/{SECRET}/shifts.ics"
    yield one
    one.gate.set()
    await runner.cleanup()


@pytest.fixture
def by_url(stage: World, server: Server) -> World:
    """Not started yet: one step rings whoever is on call by the calendar; nobody stands in for a gap."""
    return scheduled(stage, {"ical_url": server.url})


def scheduled(stage: World, source: dict[str, Any]) -> World:
    stage.config["schedules"] = [{"name": "primary"} | source]
    stage.config["device_groups"] = [{"name": "on-call", "schedules": ["primary"]}]
    stage.config["receivers"] = [{"name": "platform", "escalation": [stage.step("on-call")]}]
    return stage


async def started(world: World) -> World:
    """Start it, and let it read the calendar."""
    await world.start()
    await world.settled()
    return world


async def stale(world: World) -> float:
    await world.get("/metrics")
    return world.metric("schedule_stale_seconds", schedule="primary")


def on_call(world: World) -> tuple[str, ...]:
    return world.bridge.desk.settings.schedules["primary"].who(world.clock.now())


async def test_rule_3_the_calendar_says_who_rings_at_each_ring(by_url: World) -> None:
    await started(by_url)
    await by_url.webhook(by_url.alert())
    await by_url.pass_(299)
    assert by_url.rings("alice") == [0, 45]
    assert by_url.rings("bob") == [90, 135]
    assert await stale(by_url) == 0


async def test_a_changed_calendar_counts_from_its_next_reading_on(by_url: World, server: Server) -> None:
    await started(by_url)
    server.says(BOB.replace("bob", "alice"))
    await by_url.pass_(QUARTER - 1)
    assert on_call(by_url) == ("bob",)
    await by_url.pass_(1)
    assert on_call(by_url) == ("alice",)


@pytest.mark.parametrize(
    ("status", "body", "problem"),
    [
        (500, "", "the server answered 500"),
        (401, "", "the server answered 401"),
        (204, "", "the server answered 204"),
        (200, "<html>Sign in</html>", "it is not an iCalendar: it does not begin with BEGIN:VCALENDAR"),
        (200, ALICE_THEN_BOB[:-30], "it is not an iCalendar: it does not end with END:VCALENDAR"),
        (200, "BEGIN:VCALENDAR\r\n" + " " * (1 << 20), "it is larger than 1 MiB"),
        (200, b"\xff\xfe", "it is not UTF-8 text"),
    ],
)
async def test_a_calendar_that_breaks_changes_nothing_but_that_it_is_stale_and_comes_back(
    by_url: World, server: Server, status: int, body: str | bytes, problem: str
) -> None:
    await started(by_url)
    server.status, server.body = status, body.encode() if isinstance(body, str) else body
    server.headers = {}
    with capture_logs() as logs:
        await by_url.pass_(QUARTER)
    assert [(one["problem"], one["stale_seconds"]) for one in logs if one["log_level"] == "warning"] == [
        (problem, QUARTER)
    ]
    assert SECRET not in repr(logs)
    await by_url.pass_(3 * QUARTER)
    assert await stale(by_url) == 4 * QUARTER
    assert (await by_url.get("/-/ready")).status == 200
    await by_url.webhook(by_url.alert())
    assert by_url.rings("bob") == [4 * QUARTER], "by the last good one"
    server.status = 200
    server.says(BOB)
    await by_url.pass_(QUARTER)
    assert await stale(by_url) == 0


async def test_a_server_that_is_away_or_silent_is_called_stale_too(
    by_url: World, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    await started(by_url)
    monkeypatch.setattr(feeds, "_TIMEOUT", 0.05)
    server.gate.clear()
    with capture_logs() as logs:
        await by_url.pass_(QUARTER)
    assert [one["problem"] for one in logs if one["log_level"] == "warning"] == [
        "the server did not answer in time"
    ]
    server.gate.set()
    by_url.config["schedules"][0]["ical_url"] = "http://127.0.0.1:1/" + SECRET
    with capture_logs() as logs:
        assert (await by_url.reload()).status == 200
        await by_url.settled()
    problems = [one["problem"] for one in logs if one["event"] == "calendar not read"]
    assert problems == ["the server cannot be reached: ClientConnectorError"]
    assert SECRET not in repr(logs)


async def test_a_restart_without_network_still_knows_who_is_on_call(by_url: World, server: Server) -> None:
    await started(by_url)
    await by_url.pass_(QUARTER)
    assert [status for status, _ in server.requests] == [200, 304]
    await by_url.stop()
    by_url.clock.move(QUARTER)
    server.status = 503
    await started(by_url)
    await by_url.webhook(by_url.alert())
    assert by_url.rings("bob") == [2 * QUARTER]
    assert await stale(by_url) == QUARTER, "since it was last seen to be unchanged"
    server.status = 200
    await by_url.pass_(QUARTER)
    assert server.requests[-1][0] == 304, "what the server said of it is known too"
    assert await stale(by_url) == 0


async def test_a_calendar_that_could_not_be_kept_is_kept_after_the_next_reading(
    by_url: World, server: Server
) -> None:
    await started(by_url)
    server.says(BOB.replace("bob", "alice"))
    with without(by_url, "meta"):
        await by_url.pass_(QUARTER)
    await by_url.pass_(QUARTER)
    assert [status for status, _ in server.requests] == [200, 200, 304]
    await by_url.stop()
    server.status = 503
    await started(by_url)
    assert on_call(by_url) == ("alice",)


async def test_a_text_beside_what_was_said_of_another_one_is_asked_for_again(
    by_url: World, server: Server
) -> None:
    """A crash may come between the two."""
    await started(by_url)
    server.says(BOB)
    await by_url.pass_(QUARTER)
    await remember(by_url.bridge.store, "calendar primary", BOB.replace("bob", "alice"))
    await by_url.restart()
    await by_url.settled()
    assert server.requests[-1][0] == 200
    assert on_call(by_url) == ("bob",)


async def test_what_has_not_changed_is_not_sent_again(by_url: World, server: Server) -> None:
    await started(by_url)
    await by_url.pass_(QUARTER)
    first, second = server.requests
    assert "If-None-Match" not in first[1]
    assert (second[0], second[1]["If-None-Match"], second[1]["If-Modified-Since"]) == (
        304,
        '"1"',
        "Tue, 24 Nov 2026 10:00:00 GMT",
    )
    assert "text/calendar" in second[1]["Accept"]
    assert on_call(by_url) == ("bob",)


async def test_a_redirect_is_followed(by_url: World, server: Server) -> None:
    by_url.config["schedules"][0]["ical_url"] = server.url.rpartition(f"/{SECRET}")[0] + "/old"
    await started(by_url)
    assert on_call(by_url) == ("alice",)


async def test_another_url_is_another_calendar_whose_failing_is_a_gap(by_url: World, server: Server) -> None:
    """The old URL's people are not the new one's."""
    await started(by_url)
    by_url.config["schedules"][0]["ical_url"] = server.url + "/none"
    assert (await by_url.reload()).status == 200
    await by_url.settled()
    assert on_call(by_url) == ()
    by_url.config["schedules"][0]["ical_url"] = server.url
    assert (await by_url.reload()).status == 200
    await by_url.settled()
    assert on_call(by_url) == ("alice",)


async def test_a_reading_that_a_reload_has_overtaken_counts_for_nothing(
    by_url: World, server: Server
) -> None:
    server.gate.clear()
    await by_url.start()
    await asyncio.wait_for(server.arrived.wait(), 30)
    (by_url.folder / "shifts.ics").write_text(BOB)
    by_url.config["schedules"][0] = {"name": "primary", "ical_file": "shifts.ics"}
    assert (await by_url.reload()).status == 200
    assert on_call(by_url) == ("bob",)
    with capture_logs() as logs:
        server.gate.set()
        await by_url.settled()
    assert [one["event"] for one in logs] == ["calendar read"]
    assert on_call(by_url) == ("bob",)


async def test_a_reload_keeps_the_calendar_and_takes_other_spellings_at_once(
    by_url: World, server: Server
) -> None:
    await started(by_url)
    server.status = 503
    by_url.config["people"] = [
        {"name": "alice"},
        {"name": "bob"},
        {"name": "carol", "calendar_name": "other"},
    ]
    assert (await by_url.reload()).status == 200
    await by_url.settled()
    assert on_call(by_url) == ("alice",)
    assert await stale(by_url) == 0, "no time has passed"
    by_url.config["schedules"][0]["time_zone"] = "Europe/Berlin"
    server.status = 200
    server.says(ical(event("SUMMARY:other", "DTSTART;VALUE=DATE:20261125")))
    assert (await by_url.reload()).status == 200
    await by_url.settled()
    assert on_call(by_url) == ("carol",)


async def test_a_file_is_read_again_and_the_last_good_one_is_kept(stage: World) -> None:
    file = stage.folder / "shifts.ics"
    file.write_text(ALICE_THEN_BOB)
    world = await started(scheduled(stage, {"ical_file": "shifts.ics", "refresh": "5m"}))
    assert on_call(world) == ("alice",)
    file.write_text(BOB.replace("bob", "alice"))
    await world.pass_(300)
    assert on_call(world) == ("alice",)
    file.unlink()
    await world.pass_(300)
    assert on_call(world) == ("alice",)
    assert await stale(world) == 300
    file.write_text("broken")
    assert (await world.reload()).status == 200, "a broken calendar holds up no reload"
    await world.settled()
    assert on_call(world) == ("alice",)
    await world.restart()
    await world.settled()
    assert on_call(world) == ("alice",), "nor a start"
    file.write_text(BOB)
    await world.pass_(300)
    assert on_call(world) == ("bob",)
    assert await stale(world) == 0


async def test_what_a_calendar_leaves_unclear_is_logged_once(by_url: World, server: Server) -> None:
    server.says(ical(shift("dave", "20261125T010000", "20261126T020100", zone="UTC")))
    with capture_logs() as logs:
        await started(by_url)
        await by_url.pass_(QUARTER)
    (one,) = [one for one in logs if one["event"] == "calendar read"]
    assert one["doubts"] == ['"dave" is nobody under people: (from Wed 2026-11-25 01:00 UTC)']


async def test_no_schedule_by_a_calendar_no_loop_that_wakes(stage: World) -> None:
    await stage.start()
    await stage.pass_(3600)
    assert stage.bridge.feeds.kept == {}
    assert "schedule_stale_seconds{" not in (await stage.get("/metrics")).text


async def test_webhook_targets_that_hang_hold_up_no_calendar(
    by_url: World, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor what shares the client of the calendars: the sign of life, and Alertmanager's own API."""
    monkeypatch.setattr(outgoing, "_TIMEOUT", 120.0)
    monkeypatch.setattr(outgoing, "_AT_ONE_HOST", 120)
    async with target() as hook:
        hook.hold = asyncio.Event()
        by_url.config["receivers"][0]["escalation"] = [{"webhooks": [{"url": hook.url}]}]
        await started(by_url)
        names = [f"Alert{number}" for number in range(120)]
        answer = await by_url.post("/webhook", by_url.message(*map(by_url.alert, names)))
        assert answer.status == 200
        await hook.has(len(names))
        server.says(BOB)
        assert (await by_url.reload()).status == 200
        await until(lambda: on_call(by_url) == ("bob",))
