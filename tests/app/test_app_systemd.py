"""`serve` under a service manager: what it hears through a whole life, and what a loop that stands still does."""

import asyncio
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from appworld import World, until

from bridge import pulse
from bridge.children import child
from bridge.simulator.agenda import wall_clock

FREE = ("--web.listen-address=127.0.0.1:0", "--phone.listen-address=127.0.0.1:0")


def heard(manager: socket.socket) -> list[str]:
    found = []
    with suppress(BlockingIOError):
        while True:
            found.append(manager.recv(4096).decode())
    return found


async def test_systemd_hears_of_start_reload_life_and_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def said(text: str, times: int = 1) -> bool:
        told.extend(heard(manager))
        return sum(text in one for one in told) >= times

    async with World(tmp_path, wall_clock()) as world:
        world.write()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(tmp_path / "notify"))
            manager.setblocking(False)
            monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
            monkeypatch.setenv("WATCHDOG_USEC", "150000")
            serve = (sys.executable, "-P", "-m", "bridge.cli", "serve", f"--config.file={world.config_file}")
            async with child("bridge", (*serve, *FREE), tmp_path) as bridge:
                await until(lambda: said("READY=1"), bridge.tail(), seconds=90)
                assert "STATUS=Ready: web at http://127.0.0.1:" in told[0]
                await until(lambda: said("WATCHDOG=1", 3))
                bridge.process.send_signal(signal.SIGHUP)
                await until(lambda: said("READY=1", 2))
                world.config_file.write_text("quiet_gap: soon\n")
                bridge.process.send_signal(signal.SIGHUP)
                await until(lambda: said("READY=1", 3))
                assert await bridge.stop() == 0
                assert said("STOPPING=1")
    states = [one.splitlines()[0] for one in told if "WATCHDOG" not in one]
    assert states == ["READY=1", "RELOADING=1", "READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]
    assert "not reloaded" in [one for one in told if "READY=1" in one][-1]


async def test_a_loop_that_stands_still_makes_the_bridge_unhealthy_and_a_failing_one_does_not(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hung, held = asyncio.Event(), asyncio.Event()

    async def hangs() -> None:
        hung.set()
        await held.wait()

    async def fails() -> None:
        raise OSError("no ledger")

    escalator, standing = world.bridge.escalator, world.bridge.vitals.standing
    monkeypatch.setattr(escalator, "tick", hangs)
    escalator.wake()
    await until(hung.is_set)
    monkeypatch.setattr(pulse, "monotonic", lambda: time.monotonic() + 61)
    world.bridge.sender.outlook.wake()
    await until(lambda: standing() == ["the escalator stands still"])  # the sender goes round
    answer = await world.get("/-/healthy")
    assert (answer.status, "stands still" in answer.text) == (503, True)
    assert (await world.get("/-/ready")).status == 503
    monkeypatch.setattr(escalator, "tick", fails)
    held.set()
    escalator.wake()
    await until(lambda: not escalator.healthy and not standing())
    assert (await world.get("/-/healthy")).status == 200
