"""The virtual phones' page in a real Chromium, with a simulator that no bridge uses."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.async_api import expect

from bridge.children import free_port
from bridge.simulator import Phone, Simulator
from bridge.simulator.rules import Notification

from .conftest import NARROW, Open, assert_accessible, assert_nothing_scrolls_sideways
from .handsets import PATIENCE, OnPage

pytestmark = pytest.mark.real

HOSTILE = "<img src=x onerror=alert(1)>\"'&amp;"


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator(phones=["alice", "bob"]) as simulator:
        yield simulator


def push(phone: Phone, push_type: str, payload: dict[str, Any]) -> None:
    """Let a push reach a phone, as if APNs had taken it."""
    token = phone.profile.voip_token
    phone.take(Notification(str(uuid.uuid4()), token, push_type, "t", "t", 10, 0, None, payload), {})


def ring(phone: Phone, title: str = "CRITICAL DiskFull", reason: str = "Disk full on db-1") -> None:
    expires_at = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    call = {"id": str(uuid.uuid4()), "uuid": str(uuid.uuid4()), "expires_at": expires_at}
    push(phone, "voip", {"call": call, "caller_name": title, "reason": reason})


def notify(phone: Phone, title: str, level: str) -> None:
    aps = {"alert": {"title": title, "body": title}, "interruption-level": level}
    push(phone, "alert", {"aps": aps})


async def test_enter_answers_and_escape_declines_what_rings(sim: Simulator, open_page: Open) -> None:
    page = await open_page(sim.control_url)
    alice, bob = OnPage(page, "alice"), OnPage(page, "bob")
    ring(sim.phone("alice"))
    await alice.rings("CRITICAL DiskFull")
    await page.keyboard.press("Enter")
    await expect(alice.button("End")).to_be_visible(timeout=PATIENCE)
    ring(sim.phone("bob"), "PAGE NodeDown")
    await bob.rings("PAGE NodeDown")
    await page.keyboard.press("Escape")
    await bob.shows_no_call()
    assert [sim.phone(name).calls.items[0].state for name in ("alice", "bob")] == ["answered", "declined"]


async def test_enter_in_a_field_answers_nothing(sim: Simulator, open_page: Open) -> None:
    page = await open_page(sim.control_url)
    await page.get_by_label("One more phone").fill("carol")
    ring(sim.phone("alice"))
    await OnPage(page, "alice").rings("CRITICAL DiskFull")
    await page.keyboard.press("Enter")
    await expect(OnPage(page, "carol").root).to_be_visible(timeout=PATIENCE)
    assert sim.phone("alice").calls.items[0].state == "ringing"


async def test_whatever_an_alert_says_is_text_and_never_markup(sim: Simulator, open_page: Open) -> None:
    sim.add_phone(HOSTILE)
    page = await open_page(sim.control_url, NARROW)
    hostile = OnPage(page, HOSTILE)
    notify(sim.phone("alice"), HOSTILE, HOSTILE)
    notify(sim.phone("alice"), HOSTILE * 20, "critical")
    ring(sim.phone(HOSTILE), HOSTILE, HOSTILE * 15)
    await hostile.rings(HOSTILE)
    await hostile.button("Answer").click()
    await expect(hostile.call.locator(".call-spoken")).to_contain_text(HOSTILE, timeout=PATIENCE)
    await expect(OnPage(page, "alice").cards.get_by_text(HOSTILE, exact=True).first).to_be_visible()
    assert await page.locator("img").count() == 0
    await assert_nothing_scrolls_sideways(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_phone_with_everything_on_its_locked_screen_is_accessible(
    sim: Simulator, open_page: Open, scheme: str
) -> None:
    page = await open_page(sim.control_url, NARROW, scheme)
    await assert_nothing_scrolls_sideways(page)
    alice = sim.phone("alice")
    for level in ("critical", "time-sensitive", "active", "passive"):
        notify(alice, f"{level} DiskFull", level)
    ring(alice)
    alice.answer()
    alice.hang_up()
    await expect(OnPage(page, "alice").cards.get_by_text("Time Sensitive")).to_be_visible(timeout=PATIENCE)
    await assert_accessible(page)
    await OnPage(page, "alice").button("Clear").click()
    await expect(OnPage(page, "alice").cards.get_by_role("listitem")).to_have_count(0, timeout=PATIENCE)


async def test_the_ring_sounds_once_the_person_has_allowed_it(sim: Simulator, open_page: Open) -> None:
    page = await open_page(sim.control_url)
    sound = page.get_by_role("button", name="sound")
    await expect(sound).to_have_text("Tap to allow sound")
    await sound.click()
    await expect(sound).to_have_attribute("aria-pressed", "true")
    ring(sim.phone("alice"))
    await expect(page).to_have_title("Ringing: alice", timeout=PATIENCE)
    sim.phone("alice").answer()
    await expect(page).to_have_title("Virtual phones", timeout=PATIENCE)


async def test_a_page_whose_simulator_was_started_again_shows_how_things_are_now(open_page: Open) -> None:
    with free_port() as port:
        async with Simulator(phones=["alice", "bob"], control_port=port):
            page = await open_page(f"http://127.0.0.1:{port}")
            await expect(page.get_by_role("article")).to_have_count(2, timeout=PATIENCE)
        await expect(page.get_by_role("status").first).to_have_text("reconnecting", timeout=PATIENCE)
        async with Simulator(phones=["alice"], control_port=port) as again:
            await expect(page.get_by_role("article")).to_have_count(1, timeout=PATIENCE)
            await expect(page.get_by_role("status").first).to_have_text("live")
            ring(again.phone("alice"))
            await OnPage(page, "alice").rings("CRITICAL DiskFull")
    page.complaints.clear()  # that there was nobody for a while
