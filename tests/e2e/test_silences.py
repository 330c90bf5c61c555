"""Silences in a real Alertmanager: acknowledged on the phone, shown by amtool, over with the incident."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from bridge.children import Child
from bridge.rig import Rig
from bridge.simulator import Phone

from .scene import alertmanager_config, configure, scene

pytestmark = pytest.mark.real

ALERT = ("alertname=DiskFull", "team=db", "severity=critical")
OTHER = ("alertname=DiskFull", "team=web", "severity=critical")
RING = {"every": "5m", "for": "30s", "times": 1}


@asynccontextmanager
async def silencing(folder: Path, **receiver: Any) -> AsyncIterator[tuple[Rig, Child, Phone]]:
    """A bridge whose Alertmanager answers below a path, and alice's phone, enrolled."""
    config = configure(folder, {"alice": "db", "bob": "web"}, RING, devices=[], refire_quiet="0s")
    async with scene(folder, config) as rig:
        flags = ("--cluster.listen-address=", "--web.route-prefix=/am/")
        one = await rig.start_alertmanager(alertmanager_config(rig), *flags)
        one.url += "/am"
        allow(rig, f"{one.url}/", **receiver)
        await rig.start_bridge()
        await rig.ready()
        phone, _ = await rig.enrol("alice", "alice-iphone")
        yield rig, one, phone


def allow(rig: Rig, url: str | list[str], **receiver: Any) -> None:
    """Let the bridge speak to this Alertmanager, and its receivers say this too."""
    changed = yaml.safe_load(rig.config.read_text())
    changed["alertmanager"] = {"url": url, "reconcile_every": "1s", "reconcile_grace": "3s"}
    changed["receivers"] = [known | receiver for known in changed["receivers"]]
    rig.config.write_text(yaml.safe_dump(changed))


async def fire(rig: Rig, one: Child, *alert: str) -> None:
    await rig.amtool(one, "alert", "add", *alert)


async def resolve(rig: Rig, one: Child, *alert: str) -> None:
    await rig.amtool(one, "alert", "add", *alert, f"--end={datetime.now(UTC).isoformat()}")


async def silences(rig: Rig, one: Child, *flags: str) -> list[dict[str, Any]]:
    """What `amtool silence query` shows: the active ones, with --expired those that are over."""
    found: list[dict[str, Any]] = orjson.loads(
        await rig.amtool(one, "silence", "query", "-o", "json", *flags)
    )
    return found


async def silence(rig: Rig, one: Child, *flags: str) -> dict[str, Any]:
    """Wait until there is one."""

    async def look() -> dict[str, Any] | None:
        found = await silences(rig, one, *flags)
        return found[0] if found else None

    return await rig.until(f"a silence {' '.join(flags)}", look)


async def incident_of(rig: Rig, receiver: str) -> dict[str, Any]:
    """Wait until the receiver has an incident of Alertmanager's; gives its whole story.

    The bridge's own alarm, that nobody was reached at a receiver without phones, is not meant.
    """

    async def look() -> dict[str, Any] | None:
        theirs = [one for one in await rig.incidents() if one["source"] == "default"]
        found = [one["id"] for one in theirs if one["receiver"] == receiver]
        return await rig.incident(found[0]) if found else None

    return await rig.until(f"an incident of {receiver}", look)


async def told_of(rig: Rig, receiver: str, kind: str) -> dict[str, Any]:
    """Wait for a line of this kind in the timeline; gives the story."""

    async def look() -> dict[str, Any] | None:
        story = await incident_of(rig, receiver)
        return story if kind in [line["kind"] for line in story["timeline"]] else None

    return await rig.until(f"{kind} in the timeline", look)


async def seen_by_alertmanager(rig: Rig, receiver: str) -> None:
    """Wait until the bridge has asked, and been shown the receiver's alerts: their end will be noticed."""

    async def look() -> bool | None:
        return all(one["seen"] for one in (await incident_of(rig, receiver))["episodes"]) or None

    await rig.until("Alertmanager to show the alert", look)


async def test_an_acknowledgement_silences_the_group_and_the_resolve_that_nobody_hears_of_ends_it(
    tmp_path: Path,
) -> None:
    async with silencing(tmp_path, ack_creates_silence="2h") as (rig, one, phone):
        await fire(rig, one, *ALERT)
        await rig.within("a call", phone.wait_for_call(None))
        phone.answer()
        made = await silence(rig, one)
        await seen_by_alertmanager(rig, "alice")
        story = await told_of(rig, "alice", "silence created")
        assert made["createdBy"] == story["acknowledged_by"] == "alice"
        assert story["id"] in made["comment"]
        matchers = {(m["name"], m["value"], m["isRegex"], m["isEqual"]) for m in made["matchers"]}
        assert matchers == {("alertname", "DiskFull", False, True), ("team", "db", False, True)}
        await fire(rig, one, *OTHER)
        await incident_of(rig, "bob")
        assert len(await silences(rig, one)) == 1, "another receiver's alert of that name is told of"
        await resolve(rig, one, *ALERT)
        story = await told_of(rig, "alice", "silence ended")
        assert (story["state"], story["resolution"]) == ("resolved", "resolved")
        assert await silences(rig, one) == []
        assert [over["id"] for over in await silences(rig, one, "--expired")] == [made["id"]]
        assert (await incident_of(rig, "bob"))["state"] == "triggered"


async def test_a_phone_silences_for_a_time_longer_and_shorter_and_gives_back(tmp_path: Path) -> None:
    async with silencing(tmp_path) as (rig, one, phone):
        await fire(rig, one, *ALERT)
        incident = (await incident_of(rig, "alice"))["id"]
        ends = []
        for seconds in (3600, 7200, 600):
            await phone.enrolled.act(incident, "silence", seconds=seconds)

            async def changed() -> str | None:
                found = await silences(rig, one)
                new = [known["endsAt"] for known in found if known["endsAt"] not in ends]
                return new[0] if new else None

            ends.append(await rig.until("another end", changed))
            assert len(await silences(rig, one)) == 1
        assert ends[1] > ends[0] > ends[2]
        await phone.enrolled.act(incident, "acknowledge")
        await phone.enrolled.act(incident, "unacknowledge")
        await told_of(rig, "alice", "silence ended")
        assert await silences(rig, one) == []


async def test_somebody_elses_silence_is_never_touched_and_what_resolves_under_it_is_closed(
    tmp_path: Path,
) -> None:
    async with silencing(tmp_path, ack_creates_silence="2h") as (rig, one, _):
        theirs = (await rig.amtool(one, "silence", "add", "alertname=Other", "--comment=theirs")).strip()
        await fire(rig, one, *ALERT)
        await seen_by_alertmanager(rig, "alice")
        mine = (await rig.amtool(one, "silence", "add", *ALERT, "--comment=by hand")).strip()
        await resolve(rig, one, *ALERT)
        story = await told_of(rig, "alice", "alert resolved")
        assert story["state"] == "resolved"
        assert "DiskFull: Alertmanager has it no more" in [line["text"] for line in story["timeline"]]
        assert {found["id"] for found in await silences(rig, one)} == {theirs, mine}


async def test_with_one_peer_of_a_cluster_dead_the_other_has_the_silence_and_ends_it(tmp_path: Path) -> None:
    config = configure(tmp_path, {"alice": "db"}, RING, devices=[])
    async with scene(tmp_path, config) as rig:
        here, there = rig.address(), rig.address()
        one, other = [
            await rig.start_alertmanager(
                alertmanager_config(rig),
                f"--cluster.listen-address={mine}",
                f"--cluster.peer={theirs}",
                "--cluster.gossip-interval=50ms",
                name=name,
            )
            for name, mine, theirs in (("one", here, there), ("other", there, here))
        ]
        allow(rig, [one.url, other.url], ack_creates_silence="2h")
        await rig.start_bridge()
        await rig.ready()
        phone, _ = await rig.enrol("alice", "alice-iphone")
        await fire(rig, other, *ALERT)
        await rig.within("a call", phone.wait_for_call(None))
        del rig.running["one"]
        await one.stop()
        phone.answer()
        made = await silence(rig, other)
        story = await told_of(rig, "alice", "silence created")
        assert story["state"] == "acknowledged"
        await phone.enrolled.act(story["id"], "unacknowledge")
        await told_of(rig, "alice", "silence ended")
        assert [over["id"] for over in await silences(rig, other, "--expired")] == [made["id"]]
