"""The app's core, under a real Swift compiler, against a running bridge and the simulated APNs."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from e2e.scene import configure, scene

from bridge.client import Client
from bridge.rig import Rig
from bridge.simulator import Phone

from .test_swift import ROOT, pytestmark  # noqa: F401 # the same marks hold here


@asynccontextmanager
async def delivering(phone: Phone) -> AsyncIterator[str]:
    """Hand out what APNs delivers to a phone, as soon as it does; gives the URL."""

    async def give(request: web.Request) -> web.Response:
        push = await phone.wait_for_push(60)
        return web.json_response(push.notification.payload)

    app = web.Application()
    app.router.add_get("/push", give)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/push"
    finally:
        await runner.cleanup()


async def ring(rig: Rig) -> None:
    """Post an alert once a phone would ring for it."""

    async def ready() -> bool | None:
        listed = await Client(rig.bridge_url, None).ask("GET", "/api/v1/devices", {})
        return any(one["name"] == "swift-iphone" and one["would_ring"] for one in listed["devices"]) or None

    await rig.until("the phone to put its tokens", ready)
    alert = {
        "status": "firing",
        "labels": {"alertname": "DiskFull", "team": "t", "severity": "critical"},
        "annotations": {"summary": "Disk full on i1"},
        "startsAt": "2026-11-25T12:00:00Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus.example.com",
        "fingerprint": "00000000000000aa",
    }
    body = {
        "version": "4",
        "groupKey": "{}",
        "status": "firing",
        "receiver": "phone",
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager.example.com",
        "truncatedAlerts": 0,
        "alerts": [alert],
    }
    async with ClientSession() as session, session.post(rig.webhook_url, json=body) as answer:
        assert answer.status == 200


async def run_swift(live: dict[str, Any]) -> str:
    program = await asyncio.create_subprocess_exec(
        ROOT / "scripts/swift", "test", "--filter", "LiveTests",
        env=os.environ | {"ONCALL_LIVE": json.dumps(live)},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await program.communicate()
    assert program.returncode == 0, said.decode()[-4000:]
    return said.decode()


@pytest.mark.real
async def test_a_call_of_a_running_bridge_is_answered_by_the_apps_core(tmp_path: Path) -> None:
    config = configure(tmp_path, {"swift": "t"}, {"every": "60s", "times": 4, "for": "50s"}, devices=[])
    async with scene(tmp_path, config) as rig:
        await rig.start_bridge()
        await rig.ready()
        phone = rig.simulator.add_phone("swift-iphone", behaviour="silent")
        wish = {"owner": "swift", "device": "swift-iphone"}
        made = await Client(rig.bridge_url, None).ask("POST", "/api/v1/enrolments", wish)
        async with delivering(phone) as push_url:
            live = {
                "link": f"pushkit-bridge://enrol?url={made['url']}&code={made['code']}",
                "voip_token": phone.profile.voip_token,
                "alert_token": phone.profile.alert_token,
                "environment": phone.profile.environment,
                "bundle_id": phone.profile.bundle_id,
                "push_url": push_url,
            }
            async with asyncio.TaskGroup() as group:
                swift = group.create_task(run_swift(live))
                ringing = group.create_task(ring(rig))
            await ringing
            assert "with 0 failures" in await swift
        (incident,) = await rig.incidents()
        kinds = [line["kind"] for line in (await rig.incident(incident["id"]))["timeline"]]
        assert [kind for kind in kinds if kind in {"acknowledged", "note", "silenced"}] == [
            "acknowledged",
            "note",
            "silenced",
        ]
