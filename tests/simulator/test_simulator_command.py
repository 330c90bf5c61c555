from __future__ import annotations

import asyncio
import json
import shutil
import signal
import stat
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from click.testing import CliRunner

from bridge.simulator import Simulator
from bridge.simulator.command import command, configuration

from .conftest import Bridge, Time

START = "from bridge.simulator.command import command; command()"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.real
async def test_the_command_says_what_to_configure_and_stops_on_a_signal(tmp_path: Path, number: int) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-c", START),
        *("--listen-address", "127.0.0.1:0", "--control.listen-address", "127.0.0.1:0"),
        *("--state-dir", str(tmp_path / "state"), "--auto-answer", "2"),
        *("--phone", "alice=" + "ab" * 32, "--phone", f"bob={'cd' * 32},{'ef' * 32}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    lines = []
    async with asyncio.timeout(20):
        while "simulator ready" not in (line := (await process.stdout.readline()).decode()):
            assert line, "it ended before it was ready"
            lines.append(line)
    said = yaml.safe_load("".join(lines))
    assert said["apns"]["key_file"] == str(tmp_path / "state" / "AuthKey_ABC123DEFG.p8")
    assert said["apns"]["url"].startswith("https://127.0.0.1:")
    assert [(device["name"], device["voip_token"]) for device in said["devices"]] == [
        ("alice", "ab" * 32),
        ("bob", "cd" * 32),
    ]
    assert said["devices"][1]["alert_token"] == "ef" * 32
    assert any("open http://127.0.0.1:" in line for line in lines)
    process.send_signal(number)
    async with asyncio.timeout(20):
        _, problems = await process.communicate()
    assert (process.returncode, problems) == (0, b"")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--listen-address", "2197"], "is not HOST:PORT"),
        (["--listen-address", "127.0.0.1:99999"], "is not HOST:PORT"),
        (["--listen-address", "127.0.0.1:0", "--phone", "=ab"], "is not NAME"),
        (["--listen-address", "127.0.0.1:0", "--phone", "a=zz"], "not hexadecimal"),
        (["--listen-address", "127.0.0.1:0", "--phone", "a", "--phone", "a"], "there is a phone 'a' already"),
        (["--listen-address", "[::2]:0"], ""),
    ],
)
def test_a_start_that_cannot_succeed_says_why(tmp_path: Path, arguments: list[str], problem: str) -> None:
    common = ["--state-dir", str(tmp_path), "--control.listen-address", "127.0.0.1:0"]
    result = CliRunner().invoke(command, [*common, *arguments])
    assert result.exit_code in {1, 2}
    assert "Error: " in result.output
    assert problem in result.output


async def test_a_restart_with_the_same_folder_keeps_the_authority_and_the_key(
    tmp_path: Path, time: Time
) -> None:
    kept = []
    files = ("ca.pem", "ca.key", "AuthKey_ABC123DEFG.p8")
    for _ in range(2):
        async with Simulator(phones=["alice"], state_dir=tmp_path, clock=time) as sim:
            assert Path(sim.ca_file).parent == Path(sim.key_file).parent == tmp_path
            kept.append([sim.phone("alice").profile.voip_token, *(read(tmp_path / name) for name in files)])
    assert kept[0] == kept[1]
    for file in ("ca.key", "server.pem", "AuthKey_ABC123DEFG.p8"):
        assert stat.S_IMODE((tmp_path / file).stat().st_mode) == 0o600


def read(file: Path) -> bytes:
    return file.read_bytes()


async def test_without_a_folder_nothing_is_left_behind() -> None:
    async with Simulator() as sim:
        folder = Path(sim.ca_file).parent
        assert folder.is_dir()
    assert not folder.exists()


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("AuthKey_ABC123DEFG.p8", "rubbish", r"AuthKey_ABC123DEFG\.p8 holds no P-256 key"),
        ("ca.key", None, "does not belong to"),
    ],
)
async def test_a_damaged_folder_is_not_used(
    tmp_path: Path, file: str, content: str | None, problem: str
) -> None:
    async with Simulator(state_dir=tmp_path):
        pass
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_text(content)
    with pytest.raises(ValueError, match=problem):
        await Simulator(state_dir=tmp_path).__aenter__()


async def test_a_port_that_is_taken_leaves_nothing_half_started() -> None:
    async with Simulator() as sim:
        with pytest.raises(OSError, match="address already in use"):
            await Simulator(control_port=int(sim.control_url.rpartition(":")[2])).__aenter__()
        with pytest.raises(OSError, match="address already in use"):
            await Simulator(port=sim.apns.port).__aenter__()


async def test_ipv6_addresses_are_written_in_brackets() -> None:
    async with Simulator(host="::1", control_host="::1") as sim:
        assert sim.url.startswith("https://[::1]:")
        async with aiohttp.ClientSession() as session, session.get(f"{sim.control_url}/phones") as answer:
            assert await answer.json() == []
        assert "devices" not in configuration(sim)


@pytest.mark.skipif(shutil.which("nghttp") is None, reason="nghttp is not here")
@pytest.mark.real
async def test_nghttp_pushes_and_reads_the_answer(tmp_path: Path, sim: Simulator, bridge: Bridge) -> None:
    url = f"{sim.url}/3/device/{sim.phone('alice').profile.voip_token}"
    headers = [f"-H{name}: {value}" for name, value in bridge.headers() if name[0] != ":"]
    answers: list[Any] = []
    for body in (bridge.call(), b"{"):
        (tmp_path / "body").write_bytes(body)
        run = await asyncio.create_subprocess_exec(
            *("nghttp", "-v", "--no-verify-peer", "-d", str(tmp_path / "body"), *headers, url),
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await run.communicate()
        answers.append(out.decode())
    assert ":status: 200" in answers[0]
    assert "SETTINGS_MAX_CONCURRENT_STREAMS(0x03):1]" in answers[0]
    assert ":status: 400" in answers[1]
    assert json.dumps({"reason": "PayloadEmpty"}) in answers[1]
