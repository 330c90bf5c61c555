"""kill -9 at random moments while webhooks arrive: what was answered with 200 is kept, and rings."""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bridge.rig import Rig

from .scene import audited, configure, metric, notification, scene

pytestmark = pytest.mark.real

TEAMS = ("db", "web", "mail", "batch")
OWNERS = {f"owner-of-{team}": team for team in TEAMS}
KILLS = 5
SENDERS = 6


class Senders:
    """Post webhooks as Alertmanager does, each again until it is answered with 200."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._numbers = itertools.count()
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10))
        self._tasks = [asyncio.create_task(self._send()) for _ in range(SENDERS)]
        self._over = False
        self.answered: list[dict[str, Any]] = []

    async def finish(self) -> None:
        """Have what was begun answered, and begin no more."""
        self._over = True
        await asyncio.gather(*self._tasks)
        await self._session.close()

    async def _send(self) -> None:
        while not self._over:
            body = message(next(self._numbers))
            while not await self._post(body):
                pass
            self.answered.append(body)

    async def _post(self, body: dict[str, Any]) -> bool:
        """Post once, and pause: Alertmanager has a back-off too, though a longer one."""
        answered = False
        with suppress(aiohttp.ClientError, TimeoutError):
            async with self._session.post(self._url, json=body) as answer:
                await answer.read()
                answered = answer.status == 200
        await asyncio.sleep(0.02)
        return answered


def message(number: int) -> dict[str, Any]:
    """Make a notification of a group of its own, with one to three alerts."""
    return notification(f"Trouble{number}", TEAMS[number % len(TEAMS)], alerts=1 + number % 3)


async def test_whatever_was_answered_with_200_survives_kill_9_at_random_moments_and_rings(
    tmp_path: Path,
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    config = configure(tmp_path, OWNERS, {"every": "4s", "for": "3s", "times": 1})
    async with scene(tmp_path, config) as rig:
        for phone in list(rig.simulator.phones)[::2]:  # so that many a kill meets pushes in flight
            phone.profile.behaviour, phone.profile.delay = "slow", 0.3
        senders = Senders(rig.webhook_url)
        try:
            for _ in range(KILLS):
                bridge = await rig.start_bridge()
                if chance.random() < 0.75:
                    await some_more(rig, senders)
                await asyncio.sleep(chance.uniform(0, 0.6))
                await bridge.stop(signal.SIGKILL)
            await rig.start_bridge()
            await some_more(rig, senders)
        finally:
            await senders.finish()
        await rig.until("every page to have its outcome", lambda: outbox_empty(rig))
        stories = [await rig.incident(one["id"]) for one in await rig.incidents()]
        checked = (await audited(rig))["checked"]
        assert checked["notifications"] >= len(senders.answered)
        assert_each_is_found_once(senders.answered, stories)
        for story in stories:
            assert_told(rig, story)
        for phone in rig.simulator.phones:
            uuids = [call.uuid for call in phone.calls.items]
            assert len(uuids) == len(set(uuids)), f"{phone.name} rang twice for one call"


async def some_more(rig: Rig, senders: Senders) -> None:
    before = len(senders.answered)

    async def look() -> bool | None:
        return len(senders.answered) > before or None

    await rig.until("webhooks to be answered", look)


async def outbox_empty(rig: Rig) -> bool | None:
    states = [
        await metric(rig, f'pushkit_bridge_pages{{state="{state}"}}') for state in ("waiting", "sending")
    ]
    return states == [0, 0] or None


def assert_each_is_found_once(answered: list[dict[str, Any]], stories: list[dict[str, Any]]) -> None:
    """Also those that were committed, and then posted again since the 200 was lost with the bridge."""
    found = {story["group"]["alertname"]: story for story in stories}
    assert len(found) == len(stories), "an alert has two incidents"
    assert len(stories) < 1000, "more than one listing shows"
    for body in answered:
        story = found[body["groupLabels"]["alertname"]]
        fingerprints = {episode["fingerprint"] for episode in story["episodes"]}
        assert fingerprints == {alert["fingerprint"] for alert in body["alerts"]}
        assert story["revision"] == 1


def assert_told(rig: Rig, story: dict[str, Any]) -> None:
    """Each page has its outcome; what counts as accepted was seen by APNs; and somebody was told."""
    pages = story["pages"]
    assert pages
    for page in pages:
        assert (page["state"], page["outcome"] is None) == ("settled", False), page
        if page["outcome"] == "accepted":
            seen = {push.apns_id for push in rig.simulator.phone(page["target"]).pushes.items}
            assert page["call_id"] in seen, page
    assert "accepted" in {page["outcome"] for page in pages}, pages
