"""The simulator and the bridge started by hand, each as a process, with the example's configuration."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from click.testing import CliRunner

from bridge.children import Child, child, free_port
from bridge.rig import PROGRAM
from bridge.standin import command

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
WEBHOOK = {
    "version": "4", "status": "firing", "receiver": "phone", "groupKey": "g",
    "alerts": [{"status": "firing", "labels": {"alertname": "DiskFull"}, "startsAt": "2026-01-05T03:00:00Z"}],
}  # fmt: skip


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The example with all that it refers to, in a folder of its own."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    return Path(shutil.copy(ROOT / "config.example.yaml", tmp_path))


def on_port(example: Path, apns: str) -> None:
    """Let APNs be at a free port."""
    example.write_text(example.read_text().replace("127.0.0.1:2197", apns))


async def answers(session: aiohttp.ClientSession, running: Child, path: str) -> None:
    """Wait until a program answers 200 at this path."""
    async with asyncio.timeout(PATIENCE):
        while True:
            running.check()
            try:
                async with session.get(running.url + path) as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.05)


async def events(session: aiohttp.ClientSession, simulator: Child) -> AsyncIterator[dict[str, Any]]:
    async with session.get(f"{simulator.url}/events?since=0") as stream:
        async for line in stream.content:
            if line.startswith(b"data: "):
                yield json.loads(line.removeprefix(b"data: "))


@asynccontextmanager
async def started(name: str, file: Path, address: str, *flags: str) -> AsyncIterator[Child]:
    line = (*PROGRAM, name, f"--config.file={file}", *flags)
    async with child(name, line, file.parent, f"http://{address}") as running:
        yield running


@pytest.mark.real
async def test_the_example_rings_a_phone_of_a_simulator_that_was_given_the_same_file(example: Path) -> None:
    with ExitStack() as ports:
        apns, control, web, phone = (f"127.0.0.1:{ports.enter_context(free_port())}" for _ in range(4))
        on_port(example, apns)
        flags = (
            f"--control.listen-address={control}",
            f"--state-dir={example.parent / 'simulator'}",
            f"--contract={ROOT / 'contract'}",
        )
        listen = f"--web.listen-address={web}", f"--phone.listen-address={phone}"
        async with (
            aiohttp.ClientSession() as session,
            started("simulator", example, control, *flags) as simulator,
            started("serve", example, web, *listen) as bridge,
        ):
            await answers(session, simulator, "/phones")
            await answers(session, bridge, "/-/healthy")
            async with session.post(f"{bridge.url}/webhook", json=WEBHOOK) as response:
                assert response.status == 200
            async with asyncio.timeout(PATIENCE):
                rung = [event["phone"] async for event in first_rings(session, simulator)]
            assert sorted(rung) == ["alice-iphone", "bob-iphone"], bridge.tail()
            async with session.get(f"{simulator.url}/contract") as response:
                found = await response.json()
            assert found["checked"] >= 2
            assert found["breaches"] == []


async def first_rings(session: aiohttp.ClientSession, simulator: Child) -> AsyncIterator[dict[str, Any]]:
    """Give the first two events of a phone that rings."""
    count = 0
    async for event in events(session, simulator):
        if event["kind"] == "ringing":
            count += 1
            yield event
            if count == 2:
                return


def test_a_configuration_without_a_url_is_refused_since_its_bridge_would_call_apple(example: Path) -> None:
    text = example.read_text()
    example.write_text(text.replace("  url: https://127.0.0.1:2197\n", ""))
    result = CliRunner().invoke(command, ["--config.file", str(example)])
    assert result.exit_code == 1
    assert "has no apns.url" in result.output


def test_a_configuration_with_mistakes_is_refused_with_each_of_them(example: Path) -> None:
    example.write_text("apns: {topic: 1}\nnonsense: true\n")
    result = CliRunner().invoke(command, ["--config.file", str(example)])
    assert result.exit_code == 1
    assert "nonsense" in result.output
