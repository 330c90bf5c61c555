"""Open pages hear what changes: first all of it, then what is new, not too often, and not more than there is room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import aiohttp
import pytest
from appworld import World, until
from consoles import Visitor, basic, start

from bridge.console import live
from bridge.telemetry import Metrics


class Page:
    """An open page: what it was told, part by part."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.parts: dict[str, str] = {}
        self.told: list[str] = []
        self.task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        name, lines = "", []
        async for line in self.response.content:
            text = line.decode().rstrip("\n")
            if text.startswith("event: "):
                name = text.removeprefix("event: ")
            elif text.startswith("data: "):
                lines.append(text.removeprefix("data: "))
            elif not text and name:
                self.parts[name] = "\n".join(lines)
                self.told.append(name)
                name, lines = "", []

    async def shows(self, part: str, words: str) -> None:
        await until(lambda: words in self.parts.get(part, ""), f"{part} does not say {words}: {self.parts}")


class Window:
    """Opens pages, and closes them all."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.stack = AsyncExitStack()
        self.pages: list[Page] = []

    async def open(self, path: str = "/live", **headers: str) -> Page:
        session = await self.stack.enter_async_context(aiohttp.ClientSession(read_bufsize=1 << 20))
        response = await session.get(self.world.url + path, headers=headers)
        assert response.status == 200, await response.text()
        assert response.headers["Content-Type"] == "text/event-stream"
        self.pages.append(Page(response))
        return self.pages[-1]

    async def close(self) -> None:
        for page in self.pages:
            page.task.cancel()
        await asyncio.gather(*(page.task for page in self.pages), return_exceptions=True)
        for page in self.pages:
            page.response.close()
        await self.stack.aclose()


@pytest.fixture
async def window(stage: World) -> AsyncIterator[Window]:
    window = Window(stage)
    yield window
    await window.close()


async def test_a_stream_begins_with_all_parts_and_goes_on_with_those_that_changed(
    world: World, window: Window
) -> None:
    page = await window.open()
    await page.shows("headline", "Nothing is ringing")
    await page.shows("duty", "platform")
    page.told.clear()
    await world.webhook(world.alert("DiskFull"))
    await page.shows("headline", "1 incident ringing")
    await page.shows("incidents", "DiskFull")
    assert "duty" not in page.told


async def test_a_page_of_one_incident_hears_of_that_one(stage: World, window: Window) -> None:
    path = await start(stage)
    page = await window.open(f"/live{path}")
    await page.shows("state", "nobody yet")
    await Visitor(stage).act(path, f"{path}/acknowledge")
    await page.shows("state", "an operator")
    await page.shows("lines", "acknowledged")


async def test_a_storm_of_commits_is_few_updates_and_the_last_word_counts(
    world: World, window: Window
) -> None:
    page = await window.open()
    await page.shows("headline", "Nothing is ringing")
    page.told.clear()
    for number in range(40):
        posted = await world.post("/webhook", world.message(world.alert(f"Alert{number}")))
        assert posted.status == 200
    await page.shows("headline", "40 incidents ringing")
    assert page.told.count("headline") < 20


async def test_all_who_look_at_a_page_share_the_work_but_not_their_tokens(
    stage: World, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await start(stage, users=True, operators=["carol"])
    carol, dave = Visitor(stage, **basic("carol")), Visitor(stage, **basic("dave"))
    token = await carol.token(path)
    mine = await window.open(f"/live{path}", Cookie=carol.cookie, **basic("carol"))
    other = await window.open(f"/live{path}", **basic("carol"))
    viewer = await window.open(f"/live{path}", Cookie=dave.cookie, **basic("dave"))
    await mine.shows("state", f'value="{token}"')
    await other.shows("state", 'name="csrf"')
    await viewer.shows("state", "nobody yet")
    assert token not in str(other.parts)
    assert "csrf" not in str(viewer.parts)


@pytest.mark.parametrize("error", [OSError, asyncio.CancelledError])
async def test_parts_that_could_not_be_worked_out_are_worked_out_for_the_next_who_looks(
    error: type[BaseException],
) -> None:
    """The ledger was away for a moment, or the page that asked was closed meanwhile."""
    said: list[live.Parts | BaseException] = [{"headline": "old"}, error(), {"headline": "new"}]

    async def make() -> live.Parts:
        if isinstance(one := said.pop(0), BaseException):
            raise one
        return one

    stream, board = live.Live(Metrics()), live._Board(make)
    assert await stream._current(board) == {"headline": "old"}
    stream.wake()
    with pytest.raises(error):
        await stream._current(board)
    assert await stream._current(board) == {"headline": "new"}


async def test_all_who_wait_for_a_look_take_the_same_though_more_happens_meanwhile() -> None:
    """Else each of them would look by itself, one after the other, and be seconds behind in a storm."""
    looking = live.Live(Metrics())
    made = []

    async def make() -> live.Parts:
        made.append(len(made))
        looking.wake()
        await asyncio.sleep(0)
        return {"headline": str(made[-1])}

    board = live._Board(make)
    parts = await asyncio.gather(*(looking._current(board) for _ in range(16)))
    assert {one["headline"] for one in parts} == {"0"}
    assert (await looking._current(board))["headline"] == "1"


async def test_streams_are_bounded_and_a_page_without_one_is_still_shown(
    world: World, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_STREAMS", 2)
    first = await window.open()
    await window.open()
    refused = await world.get("/live")
    assert refused.status == 503
    assert (await world.get("/")).status == 200
    await world.get("/metrics")
    assert world.metric("console_streams") == 2
    first.response.close()
    await until(lambda: world.metric("console_streams") == 1, "a page that went away still counts")
    await window.open()


async def test_who_may_not_look_any_more_after_a_reload_hears_nothing_more(
    stage: World, window: Window
) -> None:
    await start(stage, trusted_proxies=["127.0.0.1"])
    page = await window.open(**{"X-Forwarded-User": "dave"})
    await page.shows("headline", "1 incident ringing")
    stage.config["console"] |= {"operators": ["carol"], "viewers": []}
    assert (await stage.reload()).status == 200
    await stage.webhook(stage.alert("Secret"))
    async with asyncio.timeout(30):
        await page.task
    assert "Secret" not in str(page.parts)


async def test_a_bridge_that_stops_ends_the_streams(world: World, window: Window) -> None:
    page = await window.open()
    await page.shows("headline", "Nothing is ringing")
    async with asyncio.timeout(30):
        await world.stop()
        await page.task
