"""The container image is really built, and rings a phone: not as root, on a read-only file system (bench/image.py)."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bench.image import (
    NOBODY,
    ROOT,
    STATE,
    Container,
    RunError,
    buildah,
    built,
    configure,
    container,
    memory,
    missing,
    run,
    serving,
)
from bridge.simulator import Simulator

LARGEST = 250
"""MiB that the image may have beyond its base: a driver or a tool that slipped in would be more than is left."""


def webhook() -> bytes:
    alert: dict[str, Any] = {"status": "firing", "labels": {"alertname": "DiskFull", "severity": "critical"}}
    alert |= {"annotations": {}, "startsAt": "2026-01-01T00:00:00Z", "endsAt": "0001-01-01T00:00:00Z"}
    body = {"version": "4", "groupKey": "{}", "status": "firing", "receiver": "phone", "alerts": [alert]}
    return json.dumps(body).encode()


@pytest.mark.real
def test_the_image_rings_a_phone_as_nobody_on_a_read_only_root(tmp_path: Path) -> None:
    if lack := missing():
        pytest.skip(lack)
    builder = buildah()
    with built(builder) as image:
        asked = builder.settings(image)
        assert asked["User"] == NOBODY
        assert asked["Healthcheck"]["Test"] == ["CMD", "pushkit-bridge", "healthcheck"]
        assert asked["Entrypoint"] == ["pushkit-bridge"]
        assert asked["Cmd"] == ["serve", "--config.file=/etc/pushkit-bridge/config.yaml"]
        assert set(asked["ExposedPorts"]) == {"9095/tcp", "9096/tcp"}
        assert set(asked["Volumes"]) == {STATE}
        with container(builder, image, tmp_path) as where:
            closed(where)
            asyncio.run(rings(where))
            assert (where.state / "bridge.db").exists()


def closed(where: Container) -> None:
    """It is nobody, writes to its state alone, and brings nothing that it does not need."""
    assert where("id", "-u") == "65532"
    tries = f"touch /tmp/x /etc/x 2>/dev/null || touch {STATE}/x && echo only-state"
    assert where("sh", "-c", tries) == "only-state"
    assert where("python3", "-c", "import bridge; print(bridge.__file__)").startswith("/opt/pushkit-bridge/")
    assert where("sh", "-c", "command -v pip hatchling pytest || echo none") == "none"
    assert where("pushkit-bridge", "--version").startswith("pushkit-bridge")
    assert int(run("du", "-sm", where.root / "opt").split()[0]) < LARGEST


async def rings(where: Container) -> None:
    """It takes an alert, rings for it, says that it is healthy, and ends when it is asked to."""
    async with Simulator(phones=["alice-iphone"]) as simulator:
        configure(where.state, simulator)
        async with serving(where) as bridge:
            check = ("pushkit-bridge", "healthcheck", f"--url={bridge.url}/-/healthy")
            async with (
                aiohttp.ClientSession() as session,
                session.post(f"{bridge.url}/webhook", data=webhook()) as answer,
            ):
                assert answer.status == 200, await answer.text()
            await simulator.phone("alice-iphone").wait_for_call(60)
            await asyncio.to_thread(where, *check)
            assert bridge.processor > 0
            assert 0 < memory(bridge.pid)["anonymous"] < memory(bridge.pid)["resident"]
        with pytest.raises(RunError, match=r"/-/healthy"):
            await asyncio.to_thread(where, *check)


def test_the_dockerfile_pleases_hadolint() -> None:
    run(Path(sys.executable).with_name("hadolint"), ROOT / "Dockerfile")
