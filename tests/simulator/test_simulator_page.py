"""The page of the virtual phones, as its server sees it: what it sends, and whom it lets ask."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from bridge.simulator import Simulator
from bridge.simulator.guard import refusal
from bridge.simulator.screens import known_bridge, screen, spoken

from .client import Sender
from .conftest import Bridge, Receiver, Time

HOSTILE = "<img src=x onerror=alert(1)> \"'&"


@pytest.fixture
async def http(sim: Simulator) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(sim.control_url) as session:
        yield session


class Stream:
    """The page's stream, read news by news."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def next(self) -> dict[str, Any] | None:
        async with asyncio.timeout(30):
            async for line in self.response.content:
                if line.startswith(b"data: "):
                    news: dict[str, Any] = json.loads(line.removeprefix(b"data: "))
                    return news
        return None

    async def until_call(self, state: str) -> dict[str, Any]:
        while True:
            news = await self.next()
            assert news is not None
            for changed in news["changed"]:
                if changed["call"] and changed["call"]["state"] == state:
                    return changed


def call_with(bridge: Bridge, **texts: Any) -> bytes:
    return json.dumps(json.loads(bridge.call()) | texts).encode()


def alert(level: str | None = "critical", **shown: Any) -> bytes:
    aps = {"alert": {"title": "CRITICAL DiskFull", "body": "Disk full on db-1"} | shown}
    return json.dumps({"aps": aps | ({"interruption-level": level} if level else {})}).encode()


# --- the page --------------------------------------------------------------------------------


async def test_a_browser_gets_the_page_and_a_program_the_list_of_what_there_is(
    http: aiohttp.ClientSession,
) -> None:
    async with http.get("/", headers={"Accept": "text/html,*/*;q=0.8"}) as page:
        assert (page.status, page.content_type) == (200, "text/html")
        assert "Virtual phones" in await page.text()
    async with http.get("/") as listed:
        assert "GET /screens" in await listed.json()


async def test_every_answer_forbids_scripts_from_elsewhere_and_frames(http: aiohttp.ClientSession) -> None:
    for path in (
        "/",
        "/phones.js",
        "/phones.css",
        "/style.css",
        "/icon.svg",
        "/phones",
        "/nothing",
        "/screens",
    ):
        async with http.get(path, headers={"Accept": "text/html"}) as answer:
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'; script-src 'self'; style-src 'self';" in policy, path
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_the_page_holds_no_script_or_style_of_its_own_and_nothing_from_elsewhere(
    http: aiohttp.ClientSession,
) -> None:
    async with http.get("/", headers={"Accept": "text/html"}) as answer:
        page = await answer.text()
    for forbidden in ("<style", " style=", "onclick", "<script>", 'src="http', 'href="http'):
        assert forbidden not in page


# --- whom it lets ask ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Host": "evil.example:2198", "Origin": "http://evil.example:2198"},
    ],
)
async def test_another_site_cannot_change_anything(
    http: aiohttp.ClientSession, sim: Simulator, headers: dict[str, str]
) -> None:
    body = json.dumps({"behaviour": "silent"})
    async with http.patch("/phones/alice", data=body, headers=headers) as answer:
        assert answer.status == 403
        assert "error" in await answer.json()
    assert sim.phone("alice").profile.behaviour == "normal"


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("POST", {"Host": "127.0.0.1:2198"}, None),  # curl
        ("POST", {"Host": "127.0.0.1:2198", "Content-Length": "2"}, None),
        ("POST", {"Host": "127.0.0.1:2198", "Origin": "http://127.0.0.1:2198"}, None),
        ("POST", {"Host": "127.0.0.1:2198", "Origin": "http://127.0.0.1:2199"}, 403),
        ("POST", {"Host": "127.0.0.1:2198", "Origin": "https://127.0.0.1:2198"}, 403),
        ("POST", {"Host": "127.0.0.1:2198", "Sec-Fetch-Site": "none"}, None),
        ("DELETE", {"Host": "localhost:2198", "Sec-Fetch-Site": "cross-site"}, 403),
        ("GET", {"Host": "localhost:2198", "Sec-Fetch-Site": "cross-site"}, None),
        ("GET", {"Host": "[::1]:2198"}, None),
        ("GET", {"Host": "simulator:2198"}, None),
        ("GET", {"Host": "phones.localhost:2198"}, None),
        ("GET", {"Host": "evil.example:2198"}, 403),
        ("GET", {"Host": "[bad:2198"}, 403),
        ("GET", {"Host": "lab.example:2198"}, None),
        (
            "POST",
            {
                "Host": "localhost",
                "Origin": "http://localhost",
                "Content-Length": "2",
                "Content-Type": "text/plain",
            },
            415,
        ),
        (
            "POST",
            {
                "Host": "localhost",
                "Sec-Fetch-Site": "same-origin",
                "Transfer-Encoding": "chunked",
                "Content-Type": "application/json; charset=utf-8",
            },
            None,
        ),
    ],
)
def test_what_may_be_another_site_is_refused_and_what_a_person_types_is_not(
    method: str, headers: dict[str, str], status: int | None
) -> None:
    refused = refusal(method, headers, own_name="lab.example")
    assert (refused and refused[0]) == status


# --- the stream ------------------------------------------------------------------------------


async def test_the_stream_tells_every_screen_at_once_and_then_what_changes(
    http: aiohttp.ClientSession, sim: Simulator, sender: Sender, bridge: Bridge, receiver: Receiver
) -> None:
    sim.add_phone("bob")
    async with http.get("/screens") as response:
        assert response.content_type == "text/event-stream"
        stream = Stream(response)
        first = await stream.next()
        assert first is not None
        assert [one["name"] for one in first["changed"]] == first["phones"] == ["alice", "bob"]
        await bridge.push(sender, bridge.call(**receiver.call()))
        ringing = await stream.until_call("ringing")
        assert ringing["name"] == "alice"
        async with http.post("/phones/alice/answer", json={"call": ringing["call"]["uuid"]}) as answer:
            assert answer.status == 200
        assert (await stream.until_call("answered"))["call"]["why"] == ""
        async with http.post("/phones/alice/hang-up", json={}) as answer:
            assert answer.status == 200
        assert (await stream.until_call("ended"))["call"]["why"] == "hung up"


async def test_the_stream_tells_that_a_phone_has_gone_and_that_one_is_set_otherwise(
    http: aiohttp.ClientSession,
) -> None:
    async with http.get("/screens") as response:
        stream = Stream(response)
        assert await stream.next() is not None
        async with http.patch("/phones/alice", json={"behaviour": "cut-off"}):
            pass
        news = await stream.next()
        assert news is not None
        assert [one["behaviour"] for one in news["changed"]] == ["cut-off"]
        async with http.put("/phones/bob", json={}):
            pass
        news = await stream.next()
        assert news is not None
        assert news["phones"] == ["alice", "bob"]
        async with http.delete("/phones/alice"):
            pass
        news = await stream.next()
        assert news is not None
        assert (news["phones"], news["changed"]) == (["bob"], [])


async def test_the_stream_ends_with_the_simulator() -> None:
    async with aiohttp.ClientSession() as session:
        async with Simulator() as sim:
            response = await session.get(f"{sim.control_url}/screens")
            assert await Stream(response).next() is not None
        assert await Stream(response).next() is None
        response.close()


async def test_an_alert_fires_at_the_press_of_a_button_where_there_is_an_alertmanager(
    http: aiohttp.ClientSession, sim: Simulator
) -> None:
    async with http.post("/alarm", json={}) as answer:
        assert answer.status == 409
        assert "no Alertmanager" in (await answer.json())["error"]

    async def fire() -> str:
        return "DiskFull"

    sim.alarm, sim.console_url = fire, "http://127.0.0.1:9095/"
    async with http.get("/screens") as response:
        news = await Stream(response).next()
        assert news is not None
        assert (news["alarm"], news["console"]) == (True, "http://127.0.0.1:9095/")
    async with http.post("/alarm", json={}) as answer:
        assert await answer.json() == {"alert": "DiskFull"}


# --- what is on a screen ---------------------------------------------------------------------


async def test_a_ringing_call_shows_its_texts_as_they_came(
    sim: Simulator, sender: Sender, bridge: Bridge
) -> None:
    titles = [{"title": HOSTILE}, {"title": "b"}, {"title": 3}, {"title": "d"}, {"title": "e"}, "f"]
    more = {"incidents": titles, "incidents_omitted": 2, "counts": {"truncated_alerts": 3}}
    await bridge.push(sender, call_with(bridge, caller_name=HOSTILE, reason="because", **more))
    shown = screen(sim.phone("alice"))["call"]
    assert (shown["title"], shown["reason"], shown["state"]) == (HOSTILE, "because", "ringing")
    assert shown["incidents"] == [HOSTILE, "b", "", "d", "and 3 more"]
    assert shown["spoken"] == f"{HOSTILE}. because. Alertmanager left out 3 more alerts."


@pytest.mark.parametrize("texts", [{}, {"caller_name": 7, "reason": [], "incidents": {}, "counts": 3}])
async def test_a_call_without_texts_is_shown_all_the_same(
    sim: Simulator, sender: Sender, bridge: Bridge, texts: dict[str, Any]
) -> None:
    await bridge.push(sender, call_with(bridge, **texts))
    shown = screen(sim.phone("alice"))["call"]
    assert (shown["title"], shown["reason"], shown["incidents"]) == ("Unknown caller", "", [])


@pytest.mark.parametrize(("said", "shown"), [({"drill": True}, True), ({}, False), ({"drill": "no"}, False)])
async def test_a_drill_is_called_one(
    sim: Simulator, sender: Sender, bridge: Bridge, said: dict[str, Any], shown: bool
) -> None:
    await bridge.push(sender, call_with(bridge, **said))
    assert screen(sim.phone("alice"))["call"]["drill"] is shown


def test_what_is_spoken_ends_its_sentences_once() -> None:
    assert spoken({"caller_name": "Is it down?", "reason": "It is."}) == "Is it down? It is."


async def test_a_second_call_comes_before_the_one_that_is_spoken_in(
    sim: Simulator, sender: Sender, bridge: Bridge
) -> None:
    phone = sim.phone("alice")
    await bridge.push(sender, call_with(bridge, caller_name="first"))
    phone.answer()
    await bridge.push(sender, call_with(bridge, caller_name="second"))
    assert screen(phone)["call"]["title"] == "second"
    phone.decline()
    assert (screen(phone)["call"]["title"], screen(phone)["call"]["state"]) == ("first", "answered")
    phone.hang_up()
    with pytest.raises(LookupError, match="nobody is speaking on alice"):
        phone.hang_up()


async def test_an_answer_is_shown_as_told_once_the_bridge_has_it(
    sim: Simulator, sender: Sender, bridge: Bridge, receiver: Receiver
) -> None:
    phone = sim.phone("alice")
    await bridge.push(sender, bridge.call(**receiver.call()))
    phone.answer()
    assert screen(phone)["call"]["told"] == []
    assert screen(phone)["call"]["awaited"]
    await phone.receipts.until(2)
    assert screen(phone)["call"]["told"][-1] == {"receipt": "answered", "accepted": True}
    assert known_bridge([phone]) == receiver.url.partition("/api/")[0]
    assert known_bridge([]) == ""


@pytest.mark.parametrize(
    ("behaviour", "level", "shown", "sound"),
    [
        ("normal", "critical", 1, True),
        ("normal", "passive", 1, False),
        ("normal", None, 1, True),
        ("do-not-disturb", "time-sensitive", 1, False),
        ("do-not-disturb", "critical", 1, True),
        ("silent", "critical", 0, None),
        ("cut-off", "critical", 0, None),
    ],
)
async def test_a_notification_is_a_card_with_its_level_if_the_phone_can_show_it(
    sim: Simulator, sender: Sender, bridge: Bridge, behaviour: Any, level: str, shown: int, sound: bool
) -> None:
    phone = sim.phone("alice")
    phone.profile.behaviour = behaviour
    await sender.send(bridge.alert_headers(), alert(level, title=HOSTILE))
    cards = screen(phone)["cards"]
    assert [(card["title"], card["level"], card["sound"]) for card in cards] == [
        (HOSTILE, level or "active", sound)
    ] * shown
    assert len(screen(phone)["lines"]) == 1


async def test_a_call_that_nobody_took_stays_as_a_card_until_the_person_clears_it_away(
    sim: Simulator, sender: Sender, bridge: Bridge, time: Time
) -> None:
    phone = sim.phone("alice")
    await bridge.push(sender, call_with(bridge, caller_name="missed"))
    assert screen(phone)["cards"] == []
    time.pass_(seconds=31)
    [card] = screen(phone)["cards"]
    assert (card["title"], card["body"], card["label"]) == ("missed", "unanswered", "Missed call")
    time.pass_(seconds=1)
    phone.tidy()
    assert screen(phone)["cards"] == []


async def test_do_not_disturb_shows_no_call_and_says_why(
    sim: Simulator, sender: Sender, bridge: Bridge
) -> None:
    phone = sim.phone("alice")
    phone.profile.behaviour = "do-not-disturb"
    await bridge.push(sender)
    assert screen(phone)["call"] is None
    assert "Do Not Disturb" in screen(phone)["lines"][0]["text"]


async def test_a_receipt_that_is_lost_is_told_so(
    sim: Simulator, sender: Sender, bridge: Bridge, receiver: Receiver
) -> None:
    receiver.statuses = [503] * 3
    phone = sim.phone("alice")
    await bridge.push(sender, bridge.call(**receiver.call()))
    await phone.receipts.until(1)
    assert "could not tell the bridge: received (503)" in [one["text"] for one in screen(phone)["lines"]]
