"""`pushkit-bridge serve`: how it starts, is told things by signals, stops, and says why it does not start."""

import asyncio
import json
import logging
import os
import resource
import signal
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
import structlog
import yaml
from appworld import World, until
from click.testing import CliRunner
from listener import Listener, streams

from bridge.app import Options
from bridge.children import Child, child
from bridge.cli import main
from bridge.daemon import serve_until_signalled
from bridge.escalator import Escalator
from bridge.simulator.agenda import wall_clock
from bridge.store import engine

ROOT = Path(__file__).parents[2]
FREE = ("--web.listen-address=127.0.0.1:0", "--phone.listen-address=127.0.0.1:0")


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[World]:
    """As elsewhere, but in the present: `serve` has a clock of its own."""
    async with World(tmp_path, wall_clock()) as world:
        world.write()
        yield world


class Served:
    """A bridge in a process of its own."""

    def __init__(self, running: Child) -> None:
        self.running = running

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.running.log.read_text().splitlines()]

    async def said(self, event: str) -> dict[str, Any]:
        """Wait for a line of its log."""

        def there() -> bool:
            self.running.check()
            return any(line["event"] == event for line in self.lines())

        await until(
            there, f"it did not say {event!r}", seconds=90
        )  # a program starts slowly on a busy machine
        return next(line for line in self.lines() if line["event"] == event)

    async def url(self) -> str:
        found: str = (await self.said("started"))["web"][0]
        return found


def serving(world: World) -> tuple[str, ...]:
    return (sys.executable, "-P", "-m", "bridge.cli", "serve", f"--config.file={world.config_file}", *FREE)


@asynccontextmanager
async def served(world: World) -> AsyncIterator[Served]:
    async with child("bridge", serving(world), world.folder) as running:
        yield Served(running)


# --- a life -----------------------------------------------------------------------------------


async def test_it_rings_a_phone_and_ends_with_0_when_it_is_asked_to_stop(stage: World) -> None:
    async with served(stage) as bridge:
        url = await bridge.url()
        assert (await stage.ask("POST", f"{url}/webhook", stage.message(stage.alert()))).status == 200
        await stage.alice.wait_for_call(30)
        assert (await stage.alice.wait_for_receipt(30)).status == 200
        assert await bridge.running.stop() == 0
        assert [line["event"] for line in bridge.lines()][-1] == "stopping"


async def test_a_hangup_reloads_and_a_bad_file_changes_nothing(stage: World) -> None:
    async with served(stage) as bridge:
        url = await bridge.url()
        stage.config["receivers"] = [{"name": "platform", "escalation": [stage.step("second")]}]
        stage.write()
        bridge.running.process.send_signal(signal.SIGHUP)
        await bridge.said("configuration reloaded")
        stage.config_file.write_text("quiet_gap: soon\n")
        bridge.running.process.send_signal(signal.SIGHUP)
        assert any(
            "quiet_gap" in one for one in (await bridge.said("configuration not reloaded"))["problems"]
        )
        assert (await stage.ask("POST", f"{url}/webhook", stage.message(stage.alert()))).status == 200
        await stage.bob.wait_for_call(30)
        assert stage.alice.calls.items == []
        assert await bridge.running.stop(signal.SIGINT) == 0


async def test_a_disk_that_is_full_answers_503_until_it_is_not(stage: World) -> None:
    """The system refuses to let the ledger's log grow, as a full disk does."""
    body = stage.message(*(stage.alert(instance=f"i{number}", filler="x" * 1000) for number in range(500)))
    async with served(stage) as bridge:
        url = await bridge.url()
        pid = bridge.running.process.pid
        _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        # Room for the program's output, which the limit is for too, and too little for the body.
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (len(body) // 2, most))
        answer = await stage.ask("POST", f"{url}/webhook", body)
        assert answer.status == 503
        assert answer.json["error"]
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, most))
        assert (await stage.ask("POST", f"{url}/webhook", body)).status == 200
        await stage.alice.wait_for_call(30)
        assert (await stage.ask("GET", f"{url}/-/ready")).status == 200
        assert await bridge.running.stop() == 0


# --- in this process --------------------------------------------------------------------------


@pytest.fixture
def _logs() -> Iterator[None]:
    """`serve` sets the log up for the whole process: afterwards all is as before."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.usefixtures("_logs")
async def test_a_loop_that_dies_ends_the_program_so_that_somebody_notices(
    stage: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_: Escalator) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Escalator, "run", broken)
    died = await serve_until_signalled(
        Options(stage.config_file, ("127.0.0.1:0",), phone_listen="127.0.0.1:0")
    )
    assert died


async def test_a_signal_ends_it_as_asked(stage: World) -> None:
    serving = asyncio.create_task(
        serve_until_signalled(Options(stage.config_file, ("127.0.0.1:0",), phone_listen="127.0.0.1:0"))
    )
    loop = asyncio.get_running_loop()
    await until(lambda: loop._signal_handlers.get(signal.SIGHUP) is not None)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await serving is False


async def test_a_signal_during_the_start_is_heard(stage: World) -> None:
    """Nothing answers where APNs should be, so the start takes a while."""
    heard: list[bool] = []

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        heard.append({signal.SIGHUP, signal.SIGTERM} <= loop._signal_handlers.keys())
        if all(heard):
            os.kill(os.getpid(), signal.SIGTERM)
        writer.close()

    async with Listener(streams(accept)) as server:
        stage.config["apns"]["url"] = f"https://127.0.0.1:{server.port}"
        stage.write()
        options = Options(stage.config_file, ("127.0.0.1:0",), phone_listen="127.0.0.1:0")
        async with asyncio.timeout(30):
            assert await serve_until_signalled(options) is False
    assert heard


async def test_a_start_that_failed_leaves_nothing_behind(stage: World) -> None:
    """Its ports are free again, and its ledger can be opened."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    taken = stage.sim.url.removeprefix("https://")
    with pytest.raises(OSError, match="in use"):
        await serve_until_signalled(Options(stage.config_file, (taken,), phone_listen=f"127.0.0.1:{port}"))
    with socket.socket() as again:
        again.bind(("127.0.0.1", port))
    await stage.start()
    assert (await stage.get("/-/ready")).status == 200


# --- what keeps it from starting --------------------------------------------------------------


class Broken:
    """A configuration file with something that keeps the bridge from starting; `flags` are those to give."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "config.yaml"
        self.flags: list[str] = []
        self.write()

    def write(self, ledger: str = "bridge.db") -> None:
        example = yaml.safe_load((ROOT / "config.example.yaml").read_text())
        apns = example["apns"] | {"url": "https://127.0.0.1:1"}
        apns |= {name: str(ROOT / apns[name]) for name in ("key_file", "ca_file")}
        config = {
            "apns": apns,
            "storage": {"url": f"sqlite:///{self.folder}/{ledger}"},
            "receivers": [{"name": "r", "escalation": [{"webhooks": [{"url": "http://127.0.0.1:1/"}]}]}],
            "route": {"receiver": "r"},
        }
        self.file.write_text(yaml.safe_dump(config))


def no_configuration(broken: Broken, _: ExitStack) -> None:
    broken.file.unlink()


def bad_configuration(broken: Broken, _: ExitStack) -> None:
    broken.file.write_text("quiet_gap: soon\nrecievers: []\n")


def no_web_configuration(broken: Broken, _: ExitStack) -> None:
    broken.flags = [f"--web.config.file={broken.folder / 'none.yaml'}"]


def bad_address(broken: Broken, _: ExitStack) -> None:
    broken.flags = ["--web.listen-address=9095"]


def web_port_in_use(broken: Broken, stack: ExitStack) -> None:
    broken.flags = [f"--web.listen-address=127.0.0.1:{taken_port(stack)}"]


def phone_port_in_use(broken: Broken, stack: ExitStack) -> None:
    broken.flags = [f"--phone.listen-address=127.0.0.1:{taken_port(stack)}"]


def taken_port(stack: ExitStack) -> int:
    other = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    port: int = other.getsockname()[1]
    return port


def no_folder(broken: Broken, _: ExitStack) -> None:
    broken.write("none/bridge.db")


def not_a_ledger(broken: Broken, _: ExitStack) -> None:
    (broken.folder / "bridge.db").write_bytes(b"this is no database, but some other file of somebody" * 100)


def ledger_in_use(broken: Broken, stack: ExitStack) -> None:
    """Rule 11: another bridge holds the lock."""
    stack.enter_context(engine.lock(broken.folder / "bridge.db"))


def ledger_breaks(broken: Broken, _: ExitStack) -> None:
    """It can be opened, but what is written next fails: PostgreSQL may go away at any moment of a start."""
    file = broken.folder / "bridge.db"
    engine.migrate(file)
    with closing(sqlite3.connect(file)) as ledger:
        ledger.execute("CREATE TRIGGER no BEFORE INSERT ON meta BEGIN SELECT RAISE(FAIL, 'it broke'); END")


@pytest.mark.parametrize(
    ("breaks", "says"),
    [
        (no_configuration, "config.yaml"),
        (bad_configuration, "recievers: unknown key"),
        (no_web_configuration, "none.yaml"),
        (bad_address, 'did you mean ":9095"'),
        (web_port_in_use, "address already in use"),
        (phone_port_in_use, "address already in use"),
        (no_folder, "the folder must exist"),
        (not_a_ledger, "cannot open the ledger"),
        (ledger_in_use, "in use by another bridge"),
        (ledger_breaks, "cannot start on the ledger: it broke"),
    ],
)
@pytest.mark.usefixtures("_logs")
def test_what_keeps_it_from_starting_is_said_in_a_sentence(
    tmp_path: Path, breaks: Callable[[Broken, ExitStack], None], says: str
) -> None:
    with ExitStack() as stack:
        broken = Broken(tmp_path)
        breaks(broken, stack)
        flags = [f"--config.file={broken.file}", *FREE, *broken.flags]
        result = CliRunner().invoke(main, ["serve", *flags])
    assert result.exit_code == 1
    assert says in result.stderr
    assert "Error: " in result.stderr
    assert "Traceback" not in result.stderr


def test_serve_asks_for_its_configuration() -> None:
    result = CliRunner().invoke(main, ["serve"])
    assert (result.exit_code, "--config.file" in result.stderr) == (2, True)
