"""The virtual phones' page in a real Chromium, with a whole bridge and a real Alertmanager behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from e2e.scene import alertmanager_config, configure, scene
from playwright.async_api import expect

from bridge.children import Child
from bridge.client import Client
from bridge.rig import Rig

from .conftest import NARROW, Open, assert_accessible, assert_nothing_scrolls_sideways
from .handsets import PATIENCE, OnPage

pytestmark = pytest.mark.real

HOSTILE = "<img src=x onerror=alert(1)>"
LONG = {"every": "5m", "times": 2, "for": "4m"}


@asynccontextmanager
async def running(tmp_path: Path, steps: list[list[str]]) -> AsyncIterator[tuple[Rig, Child]]:
    """Run a bridge whose people's phones all enrol; each step rings these people."""
    names = sorted({name for step in steps for name in step})
    file = configure(tmp_path, dict.fromkeys(names, "db"), LONG, devices=[])
    config = yaml.safe_load(file.read_text())
    config["device_groups"] = [{"name": str(n), "owners": step} for n, step in enumerate(steps)]
    escalation = [{"device_groups": [str(n)], "ring": LONG, "then_after": "20m"} for n in range(len(steps))]
    config["receivers"] = [{"name": "storage", "escalation": escalation}]
    config["route"] = {"receiver": "storage", "group_by": ["alertname"]}
    file.write_text(yaml.safe_dump(config))
    async with scene(tmp_path, file) as rig:
        await rig.start_bridge()
        alertmanager = await rig.start_alertmanager(alertmanager_config(rig))
        await rig.ready()
        yield rig, alertmanager


async def code(rig: Rig, owner: str, device: str) -> dict[str, Any]:
    """What `devices enroll` would show."""
    wish = {"owner": owner, "device": device}
    made: dict[str, Any] = await Client(rig.bridge_url, None).ask("POST", "/api/v1/enrolments", wish)
    return made


async def fire(rig: Rig, alertmanager: Child, alertname: str, summary: str) -> None:
    labels = f"alertname={alertname}", "severity=critical"
    await rig.amtool(alertmanager, "alert", "add", *labels, f"--annotation=summary={summary}")


async def only_incident(rig: Rig) -> dict[str, Any]:
    [incident] = await rig.incidents()
    return incident


async def test_a_phone_that_enrols_on_the_page_rings_and_its_answer_ends_the_ring_elsewhere(
    tmp_path: Path, open_page: Open
) -> None:
    """Issue 7's evening: alert, ring, answer, and the console beside them that tells it without a reload."""
    async with running(tmp_path, [["alice"]]) as (rig, alertmanager):
        console = await open_page(rig.bridge_url)
        headline, row = console.get_by_role("heading", level=1), console.get_by_role("row", name="DiskFull")
        await expect(headline).to_have_text("Nothing is ringing")
        pocket, _ = await rig.enrol("alice", "pocket")
        page = await open_page(rig.simulator.control_url)
        await page.get_by_label("One more phone").fill("bedside")
        await page.get_by_role("button", name="Add it").click()
        bedside, other = OnPage(page, "bedside"), OnPage(page, "pocket")
        made = await code(rig, "alice", "bedside")
        await bedside.enrol("7777-7777-7777", made["url"])
        await bedside.shows("400: ")
        page.complaints.clear()  # Chromium tells of the refusal
        await assert_accessible(page)
        await bedside.root.get_by_label("Link or code").fill(made["code"].lower())
        await bedside.button("Enrol").click()
        await bedside.shows("Would ring tonight")
        await expect(bedside.root.get_by_text("enrolled as bedside")).to_be_visible()

        await fire(rig, alertmanager, "DiskFull", "Disk full on db-1")
        await bedside.rings("CRITICAL DiskFull")
        await other.rings("CRITICAL DiskFull")
        await assert_accessible(page)
        await expect(headline).to_have_text("1 incident ringing", timeout=PATIENCE)
        await expect(row).to_contain_text("nobody yet")
        await bedside.button("Answer").click()
        await bedside.shows("The bridge knows: you have it.")
        await other.shows("answered by alice")
        await other.shows_no_call()
        await expect(headline).to_have_text("Nothing is ringing", timeout=PATIENCE)
        await expect(row).to_contain_text("alice has it", timeout=PATIENCE)
        assert pocket.calls.items[-1].state == "ended"
        assert ((await only_incident(rig))["state"], (await only_incident(rig))["acknowledged_by"]) == (
            "acknowledged",
            "alice",
        )

        await bedside.button("End").click()
        await bedside.root.get_by_role("button", name="DiskFull").click()
        await bedside.shows("alice has it")
        await bedside.root.get_by_placeholder("Write a note").fill(HOSTILE)
        await bedside.button("Add").click()
        await bedside.shows(f"alice: {HOSTILE}")
        await assert_accessible(page)
        await bedside.button("Give back").click()
        await bedside.rings("CRITICAL DiskFull")
        await expect(headline).to_have_text("1 incident ringing", timeout=PATIENCE)
        await page.close()  # before its bridge ends, of which it would complain
        await console.close()


async def test_a_decline_rings_the_next_step_and_do_not_disturb_lets_a_notification_through_alone(
    tmp_path: Path, open_page: Open
) -> None:
    async with running(tmp_path, [["alice"], ["bob"]]) as (rig, alertmanager):
        page = await open_page(rig.simulator.control_url, NARROW, "dark")
        for owner in ("alice", "bob"):
            rig.simulator.add_phone(owner).changed()
            await OnPage(page, owner).enrol((await code(rig, owner, owner))["link"])
            await OnPage(page, owner).shows("Would ring tonight")
            await OnPage(page, owner).button("Lock").click()
        alice, bob = OnPage(page, "alice"), OnPage(page, "bob")
        await bob.button("Do Not Disturb").click()
        await fire(rig, alertmanager, HOSTILE, "<script>alert(2)</script>")
        await alice.rings(f"CRITICAL {HOSTILE}")
        await page.keyboard.press("Escape")
        await bob.shows("Do Not Disturb refused it")
        await expect(bob.cards.get_by_text(f"CRITICAL {HOSTILE}")).to_be_visible(timeout=PATIENCE)
        await expect(bob.cards.get_by_text("storage: <script>alert(2)</script>")).to_be_visible()
        await bob.shows_no_call()
        await alice.shows_no_call()
        await bob.cards.get_by_role("button").first.click()
        await expect(bob.root.get_by_role("heading", name=HOSTILE, exact=True)).to_be_visible(
            timeout=PATIENCE
        )
        await assert_nothing_scrolls_sideways(page)
        await assert_accessible(page)
        assert (await only_incident(rig))["state"] == "triggered"
        await page.close()
