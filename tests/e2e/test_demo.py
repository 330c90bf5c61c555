"""The demo as a newcomer meets it: what it prints, what it answers to, and that it leaves nothing behind."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import shlex
import signal
import termios
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import aiohttp
import pytest
import structlog
from click.testing import CliRunner
from contracts import CONTRACT

from bridge.children import run
from bridge.demo import command
from bridge.rig import PROGRAM
from bridge.simulator import Contract

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "config.example.yaml"
PATIENCE = 60.0
NO_DESKTOP = {"DISPLAY": "", "WAYLAND_DISPLAY": ""}


class Demo:
    """A demo that runs as a process of its own; `text` is what it has printed."""

    def __init__(self, process: asyncio.subprocess.Process, mark: str, folder: Path) -> None:
        self.process = process
        self.output = process.stdout
        self.text = ""
        self.type: Callable[[bytes], object]
        self.hang_up: Callable[[], None]
        self._mark = mark.encode()
        self._folder = folder

    async def until(self, pattern: str) -> None:
        """Read on until the output has this."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not re.search(pattern, self.text):
                    assert await self._read(), f"the demo ended without {pattern!r}:\n{self.text}"
        except TimeoutError:
            pytest.fail(f"the demo did not come to {pattern!r}:\n{self.text}")

    async def end(self) -> int:
        """Read to the end and give the exit status."""
        async with asyncio.timeout(PATIENCE):
            while await self._read():
                pass
            return await self.process.wait()

    async def _read(self) -> bool:
        try:
            data = await self.output.read(4096)
        except OSError:  # the other side of the terminal has gone
            return False
        self.text += re.sub(r"\x1b\[[0-9;]*m|\r", "", data.decode(errors="replace"))
        return bool(data)

    def left_behind(self) -> list[str]:
        """Whatever is still there of it: processes, which carry its mark, and files."""
        found = [str(path) for path in self._folder.iterdir()]
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended meanwhile, or is another user's
                if self._mark in (folder / "environ").read_bytes():
                    found.append((folder / "cmdline").read_text().replace("\0", " "))
        return found


@asynccontextmanager
async def demo(
    tmp_path: Path, terminal: int | None = None, config: Path = EXAMPLE, **env: str
) -> AsyncIterator[Demo]:
    """Start a demo in an unrelated folder, with pipes or at a terminal; whatever happens, end it."""
    name, value = "PUSHKIT_BRIDGE_TEST", str(uuid.uuid4())
    (tmp_path / "tmp").mkdir()
    process = await asyncio.create_subprocess_exec(
        *PROGRAM, "demo", f"--config.file={config}",
        stdin=asyncio.subprocess.DEVNULL if terminal is None else terminal,
        stdout=asyncio.subprocess.PIPE if terminal is None else terminal,
        stderr=asyncio.subprocess.STDOUT,
        cwd=tmp_path, env={**os.environ, "TMPDIR": str(tmp_path / "tmp"), name: value, **NO_DESKTOP, **env},
        start_new_session=True,
        preexec_fn=None if terminal is None else lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    running = Demo(process, f"{name}={value}", tmp_path / "tmp")
    try:
        yield running
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@asynccontextmanager
async def demo_at_a_terminal(tmp_path: Path, config: Path = EXAMPLE, **env: str) -> AsyncIterator[Demo]:
    """Start a demo at a terminal of its own, at which the test types."""
    ours, its = pty.openpty()
    screen = asyncio.StreamReader()
    async with demo(tmp_path, its, config, **env) as running:
        os.close(its)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(screen), os.fdopen(ours, "r+b", buffering=0)
        )
        running.output, running.type, running.hang_up = screen, partial(os.write, ours), transport.close
        try:
            yield running
        finally:
            transport.close()


HAND_OVERS = (
    "you .* pushkit-bridge devices enroll bob; .* [0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4}",
    "bob-enrolled .* credential",
    "amtool .* gives Alertmanager an alert: alertname=DiskFull",
    "Alertmanager .* posts its webhook",
    "bridge .* on disk .* 200: incident",
    "bridge .* pushes to APNs, for alice-iphone, bob-enrolled, bob-iphone",
    "APNs .* can read all of it: alice-iphone has no key",
    "alice-iphone .* RINGS: CRITICAL DiskFull - storage: Disk full on db-1",
    "alice-iphone .* tells the bridge: received",
    "APNs .* can read of the push for bob-enrolled: On call; the rest is sealed",
    "bob-iphone .* RINGS: CRITICAL DiskFull - storage: Disk full on db-1",
    "answer",
    "alice-iphone .* is answered",
    "bridge .* incident acknowledged by alice",
    "demo .* not enrolled .* rings to its call's end",
    "amtool .* the alert is over",
    "Alertmanager .* posts .* resolved",
    "bridge .* incident resolved",
    "timeline:",
)


def assert_told_in_order(text: str) -> None:
    lines = iter(text.splitlines())
    for hand_over in HAND_OVERS:
        assert any(re.search(hand_over, line) for line in lines), (
            f"{hand_over!r} is not told in its turn:\n{text}"
        )


async def test_without_a_terminal_the_demo_answers_by_itself_tells_all_in_order_and_ends(
    tmp_path: Path,
) -> None:
    async with demo(tmp_path) as running:
        assert await running.end() == 0, running.text
        assert_told_in_order(running.text)
        assert re.search("bob-enrolled .* stops ringing: acknowledged: answered by alice", running.text)
        assert running.left_behind() == []


async def test_where_encryption_is_required_the_demo_tells_who_rings_without_saying_why(
    tmp_path: Path,
) -> None:
    strict = tmp_path / "strict.yaml"
    strict.write_text(EXAMPLE.read_text().replace("encryption: preferred", "encryption: required"))
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    async with demo(tmp_path, config=strict) as running:
        assert await running.end() == 0, running.text
    assert "for alice-iphone: On call; alice-iphone has no key, so it carries no more" in running.text
    assert re.search(r"alice-iphone .*RINGS: On call\n", running.text), running.text
    assert "for bob-enrolled: On call; the rest is sealed" in running.text


async def test_at_a_terminal_enter_answers_and_everything_that_is_suggested_works(tmp_path: Path) -> None:
    soon = tmp_path / "soon.yaml"
    soon.write_text(EXAMPLE.read_text().replace("quiet_gap: 30s", "quiet_gap: 1s"))
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    async with demo_at_a_terminal(tmp_path, soon) as running:
        await running.until("press Enter to answer alice-iphone")
        running.type(b"\n")
        await running.until("Try this in another terminal:(?s:.*)unregistered.*\\n")
        assert_told_in_order(running.text)
        suggested = re.findall(r"^  ((?:/|amtool|pushkit-bridge|curl).*)$", running.text, re.MULTILINE)
        assert len(suggested) == 6, running.text
        await run(*shlex.split(suggested.pop(0)))
        await running.until("RINGS: PAGE NodeDown")
        running.type(b"\n")
        await running.until("alice-iphone .*is answered(?s:.*)alice-iphone .*is answered")
        for line in suggested:
            await run(*shlex.split(line))
        running.type(b"\x03")
        assert await running.end() == 128 + signal.SIGINT, running.text
        assert "nothing is left running" in running.text
        assert running.left_behind() == []


async def hold(page: aiohttp.ClientSession, url: str) -> None:
    """Hold all that the demo's phones were pushed against the contract: its processes do not do so."""
    async with page.get(f"{url}/phones") as answer:
        phones = await answer.json()
    for phone in phones:
        async with page.get(f"{url}/phones/{phone['name']}/pushes") as answer:
            for push in await answer.json():
                CONTRACT.push(push["push_type"], push["carried"])


async def test_at_a_terminal_an_answer_in_the_browser_goes_on_as_enter_does_and_a_button_lets_alerts_fire(
    tmp_path: Path, contract: Contract
) -> None:
    (tmp_path / "browser").write_text(f'#!/bin/sh\necho "$1" >>{tmp_path}/opened\n')
    (tmp_path / "browser").chmod(0o755)
    desktop = {"DISPLAY": ":0", "BROWSER": f"{tmp_path}/browser %s"}
    async with demo_at_a_terminal(tmp_path, **desktop) as running, aiohttp.ClientSession() as page:
        await running.until("or answer in the browser")
        found = re.search(r"the phones +(http://\S+)", running.text)
        console = re.search(r"the console +(http://\S+)", running.text)
        assert found, running.text
        assert console, running.text
        assert (tmp_path / "opened").read_text().split() == [console[1], found[1]]
        async with page.post(f"{found[1]}/phones/bob-iphone/answer", json={}) as answer:
            assert answer.status == 200
        await running.until("acknowledged by bob(?s:.*)Try this in another terminal:")
        async with page.post(f"{found[1]}/alarm", json={}) as answer:
            assert await answer.json() == {"alert": "HighLatency"}
        await running.until("RINGS: PAGE HighLatency - platform: Checkout takes 4 s")
        await hold(page, found[1])
        assert contract.checked >= 4
        running.type(b"\x03")
        assert await running.end() == 128 + signal.SIGINT, running.text
        assert running.left_behind() == []


async def test_an_impatient_ctrl_c_while_the_phone_rings_leaves_nothing_running(tmp_path: Path) -> None:
    async with demo_at_a_terminal(tmp_path) as running:
        await running.until("press Enter to answer")
        running.type(b"\x03\x03\x03")
        assert await running.end() == 128 + signal.SIGINT, running.text
        assert running.left_behind() == []


async def test_closing_the_terminal_leaves_nothing_running(tmp_path: Path) -> None:
    async with demo_at_a_terminal(tmp_path) as running:
        await running.until("press Enter to answer")
        running.hang_up()
        await asyncio.wait_for(running.process.wait(), PATIENCE)
        assert running.left_behind() == []


async def test_sigterm_before_anything_has_started_up_leaves_nothing_running(tmp_path: Path) -> None:
    async with demo(tmp_path) as running:
        await running.until("Starting")
        running.process.terminate()
        assert await running.end() == 128 + signal.SIGTERM, running.text
        assert running.left_behind() == []


async def test_without_alertmanager_the_demo_says_what_to_install_and_starts_nothing(tmp_path: Path) -> None:
    async with demo(tmp_path, PATH="/nowhere") as running:
        assert await running.end() == 1
        assert re.fullmatch(r"Error: prometheus-alertmanager .* apt-get install .*\n", running.text)
        assert running.left_behind() == []


def test_without_its_configuration_the_demo_says_which_file_it_misses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        result = CliRunner().invoke(command)
    finally:
        structlog.reset_defaults()  # the demo shows errors alone, and other tests look at less
    assert result.exit_code == 1
    assert "config.example.yaml" in result.output
    assert "--config.file" in result.output
