"""The console in a real Chromium: alive without a reload, by keyboard, on a small screen, for screen readers."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from app.appworld import World, _port_to_keep
from playwright.async_api import Page, expect

from .conftest import NARROW, WIDE, Open, assert_accessible, assert_nothing_scrolls_sideways

expect.set_options(timeout=30_000)

HOSTILE = "<img src=x onerror=alert(1)>\"'><script>alert(2)</script>"
LONG = "a-name-that-is-so-long-that-no-phone-can-show-it-on-one-line-" * 3


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A bridge that keeps its address over a restart, with two enrolled phones and a schedule."""
    async with World(tmp_path) as world:
        world.options["web_listen"] = (f"127.0.0.1:{_port_to_keep()}",)
        world.config["devices"] = []
        layer = {"members": ["alice", "bob"], "start": "2026-11-23", "every": "1w"}
        world.config["schedules"] = [{"name": "primary", "layers": [layer]}]
        world.config["device_groups"].append({"name": "on-call", "schedules": ["primary"]})
        routes = [{"matchers": ['team="web"'], "receiver": "platform"}]
        world.config["route"] |= {"routes": routes}
        await world.start()
        await world.enrol("alice", "bob")
        yield world


async def page_of(world: World) -> str:
    """The address of the one incident's page."""
    return f"{world.url}/incidents/{(await world.incident())['id']}"


async def marked(page: Page) -> Page:
    """Leave something in the page that a reload would take away."""
    await page.evaluate("window.untouched = true")
    return page


async def untouched(page: Page) -> bool:
    return await page.evaluate("window.untouched === true")


async def is_live(page: Page) -> None:
    await expect(page.locator(".rail [data-live]")).to_contain_text("live")


async def test_an_incident_shows_up_and_changes_without_a_reload(world: World, open_page: Open) -> None:
    page = await marked(await open_page(world.url))
    await is_live(page)
    await expect(page.get_by_role("heading", level=1)).to_have_text("Nothing is ringing")
    await world.webhook(world.alert("DiskFull", team="db"))
    await expect(page.get_by_role("heading", level=1)).to_have_text("1 incident ringing")
    await expect(page.locator("[aria-live]")).to_contain_text("Newest: critical DiskFull")
    row = page.get_by_role("row", name="DiskFull")
    await expect(row).to_contain_text("rings alice again")
    world.alice.answer()
    await world.settled()
    await expect(row).to_contain_text("alice has it")
    assert await untouched(page)


async def test_acknowledging_in_the_console_ends_the_ring(world: World, open_page: Open) -> None:
    await world.webhook(world.alert("DiskFull"))
    page = await open_page(await page_of(world))
    (call,) = world.alice.calls.items
    assert call.live(world.clock.now())
    await page.get_by_role("button", name="Acknowledge").click()
    await expect(page.get_by_role("status")).to_contain_text(["no phone rings for it any more"])
    await call.wait_until_over(None)
    await expect(page.locator(".hops")).to_contain_text("an operator has it")


async def test_an_open_incident_s_page_tells_what_happens_as_it_happens(
    world: World, open_page: Open
) -> None:
    await world.webhook(world.alert("DiskFull"))
    page = await marked(await open_page(await page_of(world)))
    await is_live(page)
    await page.get_by_label("For the timeline").fill("half a note")
    await page.get_by_label("Silence for").select_option("240")
    world.alice.answer()
    await world.settled()
    await expect(page.locator(".timeline")).to_contain_text("acknowledged by alice")
    await expect(page.get_by_role("button", name="Give it back")).to_be_visible()
    await expect(page.get_by_label("For the timeline")).to_have_value("half a note")
    await expect(page.get_by_label("Silence for")).to_have_value("240")
    await page.get_by_role("button", name="Give it back").click()
    await expect(page.locator(".timeline")).to_contain_text("unacknowledged by an operator")


async def test_explain_shows_the_way_that_was_typed(world: World, open_page: Open) -> None:
    page = await open_page(f"{world.url}/explain")
    await page.get_by_role("textbox", name="Labels").fill('{alertname="DiskFull", team="db"}')
    await page.get_by_role("button", name="Explain", exact=True).click()
    await expect(page.get_by_role("heading", name="1. Receiver platform")).to_be_visible()
    await expect(page.locator(".way")).to_contain_text('because team="web": team is "db"')
    await expect(page.locator(".stages").first).to_contain_text("alice-iphone of alice: rings")


async def test_somebody_else_is_put_on_call_for_a_time_and_taken_off_again(
    world: World, open_page: Open
) -> None:
    page = await open_page(f"{world.url}/oncall")
    await page.get_by_label("Who", exact=True).select_option("bob")
    await page.get_by_label("From").fill("2026-11-26T09:00")
    await page.get_by_label("To", exact=True).fill("2026-11-26T08:00")
    await page.get_by_role("button", name="Put on call").click()
    await expect(page.get_by_label("To", exact=True)).to_have_accessible_description(
        re.compile("ends before it begins")
    )
    await expect(page.get_by_label("To", exact=True)).to_be_focused()
    await page.get_by_label("From").fill("")
    await page.get_by_role("button", name="Put on call").click()
    await expect(page.locator(".person").first).to_have_text("bob")
    await page.get_by_role("form", name="Delete the override of bob by primary").get_by_role("button").click()
    await expect(page.locator(".person").first).to_have_text("alice")


async def test_nothing_that_an_alert_says_is_more_than_text(world: World, open_page: Open) -> None:
    """In every label and annotation; what became markup would run, or be forbidden: both are complaints."""
    alert = world.alert(HOSTILE, severity=HOSTILE, **{HOSTILE: HOSTILE})
    alert["annotations"] = {"summary": HOSTILE, HOSTILE: HOSTILE, "runbook_url": "javascript:alert(5)"}
    alert["generatorURL"] = "javascript:alert(6)"
    await world.webhook(alert, externalURL="javascript:alert(7)")
    page = await open_page(world.url)
    await is_live(page)
    await world.webhook(world.alert("Over", **{HOSTILE: HOSTILE}))  # what a stream brings is markup no more
    await expect(page.get_by_role("row", name="Over")).to_be_visible()
    await world.webhook(world.alert("Over", resolved=True, **{HOSTILE: HOSTILE}))
    (one,) = await world.incidents()
    for path in ("/", f"/incidents/{one['id']}", "/incidents", "/explain"):
        await page.goto(world.url + path)
        if path == "/explain":
            await page.get_by_role("button", name="Explain it").click()
        if path != "/incidents":
            await expect(page.get_by_text(HOSTILE).first).to_be_attached()
        assert await page.locator("img, script:not([src]), [onerror], a[href^='javascript:']").count() == 0


async def test_a_viewer_has_no_buttons_and_a_wrong_token_does_nothing(world: World, open_page: Open) -> None:
    world.config["console"] = {"operators": ["carol"], "trusted_proxies": ["127.0.0.1"]}
    assert (await world.reload()).status == 200
    await world.webhook(world.alert("DiskFull"))
    dave = await open_page(await page_of(world), extra_http_headers={"X-Forwarded-User": "dave"})
    await expect(dave.get_by_text("read-only")).to_be_visible()
    for path in ("", "/phones", "/oncall"):
        await dave.goto(world.url + path if path else await page_of(world))
        assert await dave.get_by_role("button").count() == 0
    carol = await open_page(await page_of(world), extra_http_headers={"X-Forwarded-User": "carol"})
    form = carol.locator("form", has=carol.get_by_label("For the timeline"))
    await form.get_by_label("For the timeline").fill("looking")
    await form.locator("[name=csrf]").evaluate("field => { field.value = '0'.repeat(64) }")
    await form.get_by_role("button").click()
    await expect(carol.get_by_text("this form is not of this session")).to_be_visible()
    carol.complaints.clear()  # Chromium tells of the refusal
    await carol.goto(await page_of(world))
    await expect(carol.locator(".timeline")).not_to_contain_text("looking")
    await form.get_by_label("For the timeline").fill("looking")
    await form.get_by_role("button").click()
    await expect(carol.locator(".timeline")).to_contain_text("carol: looking")


async def test_after_a_restart_the_page_is_live_again_by_itself(world: World, open_page: Open) -> None:
    page = await marked(await open_page(world.url))
    await is_live(page)
    await world.stop()
    await expect(page.locator(".rail [data-live]")).to_contain_text("reconnecting")
    await world.start()
    await expect(page.locator(".rail [data-live]")).to_have_text("live")
    await world.webhook(world.alert("DiskFull"))
    await expect(page.get_by_role("heading", level=1)).to_have_text("1 incident ringing")
    assert await untouched(page)
    page.complaints.clear()  # that the bridge was away


async def test_the_keyboard_reaches_everything_and_keeps_its_place_when_the_page_changes(
    world: World, open_page: Open
) -> None:
    await world.webhook(world.alert("DiskFull"))
    page = await open_page(world.url)
    await is_live(page)
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.className") == "skip"
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    focused = "document.activeElement.textContent"
    assert await page.evaluate(focused) == "DiskFull"
    await world.webhook(world.alert("NodeDown"))
    await expect(page.get_by_role("row", name="NodeDown")).to_be_visible()
    assert await page.evaluate(focused) == "DiskFull"
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("DiskFull")


async def test_a_phone_is_enrolled_and_tried_out_from_the_page(world: World, open_page: Open) -> None:
    page = await open_page(f"{world.url}/phones")
    await page.get_by_label("Whose").select_option("alice")
    await page.get_by_role("button", name="Show the code").click()
    await expect(page.locator("svg.qr")).to_be_visible()
    await page.set_viewport_size(NARROW)
    await assert_nothing_scrolls_sideways(page)
    await assert_accessible(page)
    await page.goto(f"{world.url}/incidents/none")
    await assert_accessible(page)
    page.complaints.clear()  # Chromium tells of the 404
    await page.set_viewport_size(WIDE)
    await page.goto(f"{world.url}/phones")
    await page.get_by_role("form", name="Test call to bob-iphone").get_by_role("button").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("TestCall")
    await world.settled()
    await expect(page.locator(".hops")).to_contain_text("phone has it")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_on_any_page_and_nothing_scrolls_sideways(
    world: World, open_page: Open, scheme: str
) -> None:
    labels = {"severity": "critical", "instance": LONG, "empty": ""}
    alert = world.alert(LONG, **labels)
    alert["annotations"] = {"summary": LONG, "runbook_url": f"https://wiki.example/{LONG}"}
    await world.webhook(alert, world.alert("Over"), world.alert("NodeDown", severity="warning"))
    await world.pass_(50)
    await world.webhook(world.alert("Over", resolved=True))
    world.alice.answer()
    await world.settled()
    (long,) = [one for one in await world.incidents() if one["title"].startswith("a-name")]
    asked = "/explain?labels=alertname%3DDiskFull%0Ateam%3Ddb"
    page = await open_page(world.url, scheme=scheme)
    wrong = "/oncall?schedule=primary&person=alice&from=&to=2026-01-01T10:00"
    for path in ("/", f"/incidents/{long['id']}", "/incidents", "/phones", "/oncall", wrong, asked):
        await page.set_viewport_size(WIDE)
        await page.goto(world.url + path)
        await assert_accessible(page)
        await page.set_viewport_size(NARROW)
        await assert_nothing_scrolls_sideways(page)
        await assert_accessible(page)
