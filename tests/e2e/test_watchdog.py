"""The dead man's switch on real parts: Prometheus dies, a phone rings; it lives again, the incident is over."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge.client import Client
from bridge.rig import Rig

from .scene import ROOT, Disks, alertmanager_config, configure, log, scene, start_prometheus

pytestmark = pytest.mark.real

RESEND = "--rules.alert.resend-delay=1s"
"""Four of these, and Alertmanager takes what it last heard for resolved."""


def documented(key: str) -> Any:
    """What docs/heartbeats.md shows for a file that begins with this key."""
    text = (ROOT / "docs/heartbeats.md").read_text()
    (found,) = re.findall(rf"```yaml\n({key}:\n.*?)```", text, re.DOTALL)
    return yaml.safe_load(found)[key]


def quickly(route: dict[str, Any]) -> dict[str, Any]:
    """The route of the documents, but for its times."""
    assert {"group_interval", "repeat_interval", "group_wait"} <= route.keys()
    return route | {"group_interval": "1s", "repeat_interval": "2s"}


async def seen(rig: Rig) -> dict[str, Any]:
    (one,) = (await Client(rig.bridge_url, None).ask("GET", "/api/v1/heartbeats", {}))["heartbeats"]
    return dict(one)


async def test_a_phone_rings_when_prometheus_dies_and_its_return_resolves_the_incident(
    tmp_path: Path,
) -> None:
    (documented_heartbeat,) = documented("heartbeats")
    heartbeat = documented_heartbeat | {"every": "8s", "grace": "4s", "receiver": "alice"}
    ring = {"every": "2s", "for": "1s", "times": 100}
    config = configure(tmp_path, {"alice": "db"}, ring, heartbeats=[heartbeat])
    (route,) = documented("route")["routes"]
    rules = yaml.safe_dump({"groups": documented("groups")})
    async with AsyncExitStack() as stack:
        port = await Disks().start(stack)
        rig = await stack.enter_async_context(scene(tmp_path, config))
        await rig.start_bridge()
        alertmanager = await rig.start_alertmanager(alertmanager_config(rig, quickly(route)))
        address = alertmanager.url.removeprefix("http://")
        prometheus = await start_prometheus(rig, port, [address], RESEND, rules=rules)
        await rig.ready()

        async def came_twice() -> bool | None:
            return len(log(rig, "webhook")) > 1 or None

        async def open_incident() -> str | None:
            return next((one["id"] for one in await rig.incidents() if one["state"] != "resolved"), None)

        await rig.until("the heartbeat", came_twice)
        assert (await seen(rig))["missing_since"] is None
        assert await rig.incidents() == [], "an alert that always fires, and no incident"

        del rig.running["prometheus"]
        await prometheus.stop()
        await rig.within("a call", rig.simulator.phone("alice-iphone").wait_for_call(None))
        incident = await rig.until("the incident", open_incident)
        assert "prometheus  MISSING since 20" in await rig.cli("heartbeats", "list")

        await start_prometheus(rig, port, [address], RESEND, rules=rules)

        async def resolved() -> bool | None:
            return (await rig.incident(incident))["state"] == "resolved" or None

        await rig.until("the heartbeat's return", resolved)
        story = await rig.incident(incident)
        assert story["group"] == {"alertname": "PushkitBridgeHeartbeatMissing", "heartbeat": "prometheus"}
        assert story["resolution"] == "resolved"
        assert (await seen(rig))["missing_since"] is None
        assert {one["title"] for one in await rig.incidents()} == {"PushkitBridgeHeartbeatMissing"}
