"""From a real Alertmanager to the phone, and Apple reads no word of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bridge.rig import Rig

from .scene import alertmanager_config, configure, scene

pytestmark = pytest.mark.real

ALERT = ("alertname=Zwiebelkuchen", "team=backstube", "severity=critical", "instance=ofen-1")
SUMMARY = "--annotation=summary=Es brennt im Ofen"
RING = {"every": "5m", "for": "30s", "times": 1}
WORDS = ("zwiebel", "backstube", "critical", "ofen", "brennt", "bruno", "/api/v1/", "127.0.0.1", "resolved:")


def carried(rig: Rig) -> str:
    """All that the simulated Apple was handed, headers and bodies, but for its own address."""
    seen = [
        [{name: value for name, value in push.headers.items() if name != ":authority"}, dict(push.carried)]
        for phone in rig.simulator.phones
        for push in phone.pushes.items
    ]
    return json.dumps(seen, ensure_ascii=False).lower()


async def test_with_encryption_required_apple_sees_no_word_and_the_phone_shows_the_whole_page(
    tmp_path: Path,
) -> None:
    """One answers; the other hears who has it, and both that it is over."""
    config = configure(tmp_path, {"bruno": "backstube"}, RING, devices=[], encryption="required")
    async with scene(tmp_path, config) as rig:
        alertmanager = await rig.start_alertmanager(alertmanager_config(rig))
        await rig.start_bridge()
        await rig.ready()
        one, other = [(await rig.enrol("bruno", name))[0] for name in ("one", "other")]
        await rig.amtool(alertmanager, "alert", "add", *ALERT, SUMMARY)
        call = await rig.within("a call", one.wait_for_call(None))
        await rig.within("a call", other.wait_for_call(None))
        assert call.payload["caller_name"] == "CRITICAL Zwiebelkuchen"
        assert call.payload["reason"] == "bruno: Es brennt im Ofen"
        assert [entry["title"] for entry in call.payload["incidents"]] == ["Zwiebelkuchen"]
        one.answer()
        await rig.within("the end of the ring", other.calls.items[0].wait_until_over(None))
        await rig.amtool(alertmanager, "alert", "add", *ALERT, f"--end={datetime.now(UTC).isoformat()}")

        async def over() -> bool | None:
            kinds = [push.payload.get("kind") for push in other.pushes.items]
            return True if "resolved" in kinds else None

        await rig.until("the news that it is over", over)
        (incident,) = await rig.incidents()
        assert (incident["state"], incident["acknowledged_by"]) == ("resolved", "bruno")
        assert {push.seal for phone in (one, other) for push in phone.pushes.items} == {"opened"}
        assert [word for word in WORDS if word in carried(rig)] == []
