"""What systemd is told, as it hears it: a real socket for datagrams, with a path or an abstract name."""

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from bridge import pulse
from bridge.systemd import Systemd


class Manager:
    """systemd's end of $NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.environ = {"NOTIFY_SOCKET": address}
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.setblocking(False)

    async def hears(self) -> dict[str, str]:
        """One message, as its assignments."""
        async with asyncio.timeout(30):
            data = await asyncio.get_running_loop().sock_recv(self.socket, 4096)
        return dict(line.split("=", 1) for line in data.decode().splitlines())

    async def hears_at_last(self, name: str) -> dict[str, str]:
        while True:
            if name in (found := await self.hears()):
                return found

    def silent(self) -> bool:
        try:
            self.socket.recv(4096, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        return False


@contextmanager
def managing(address: str) -> Iterator[Manager]:
    manager = Manager(address)
    with manager.socket:
        yield manager


@pytest.fixture(params=["a path", "an abstract name"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    path = str(tmp_path / "notify")
    with managing(path if request.param == "a path" else f"@pushkit-bridge/{os.getpid()}{path}"[:100]) as it:
        yield it


async def test_start_reload_and_end_are_told(manager: Manager) -> None:
    systemd = Systemd(manager.environ)
    before = time.monotonic_ns() // 1000
    systemd.ready("Ready: web at\nhttp://[::1]:9095")
    systemd.reloading()
    systemd.stopping("Stopping: a signal")
    assert await manager.hears() == {"READY": "1", "STATUS": "Ready: web at http://[::1]:9095"}
    told = await manager.hears()
    assert told["RELOADING"] == "1"
    assert before <= int(told["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    assert await manager.hears() == {"STOPPING": "1", "STATUS": "Stopping: a signal"}


async def test_the_watchdog_is_fed_thrice_in_its_patience_and_not_while_a_loop_stands_still(
    manager: Manager,
) -> None:
    reasons: list[str] = []
    systemd = Systemd(manager.environ | {"WATCHDOG_USEC": "30000", "WATCHDOG_PID": str(os.getpid())})
    assert systemd.patience == 0.03
    feeding = asyncio.create_task(systemd.watch(lambda: reasons))
    for _ in range(3):
        assert await manager.hears() == {"WATCHDOG": "1"}
    reasons.append("the sender stands still")
    with capture_logs() as logs:
        assert await manager.hears_at_last("STATUS") == {"STATUS": "the sender stands still"}
    assert logs[0]["event"] == "the watchdog is not fed"
    reasons.clear()
    await manager.hears_at_last("WATCHDOG")
    feeding.cancel()
    await asyncio.wait([feeding])


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "30000", "WATCHDOG_PID": "1"},
    ],
    ids=["none", "zero", "no number", "another's"],
)
async def test_a_watchdog_that_is_not_there_or_not_ours_is_not_fed(
    environ: dict[str, str], tmp_path: Path
) -> None:
    with managing(str(tmp_path / "notify")) as manager:
        systemd = Systemd(manager.environ | environ)
        async with asyncio.timeout(30):
            await systemd.watch(list)
        assert manager.silent()


@pytest.mark.parametrize("address", ["", "notify", "vsock:2:1234", "/nowhere/at/all"])
def test_a_socket_that_cannot_be_told_hurts_nobody(address: str) -> None:
    Systemd({"NOTIFY_SOCKET": address}).ready("Ready")


def test_a_manager_that_does_not_listen_holds_up_nobody(tmp_path: Path) -> None:
    with managing(str(tmp_path / "notify")) as manager, capture_logs() as logs:
        systemd = Systemd(manager.environ)
        for _ in range(2000):  # more than the queue of any kernel's default takes
            systemd.ready("Ready")
            if logs:
                break
    assert logs[0]["event"] == "systemd cannot be told"


def test_a_loop_that_made_no_round_for_a_minute_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    monkeypatch.setattr(pulse, "monotonic", lambda: now)
    sender, escalator = pulse.Pulse("sender"), pulse.Pulse("escalator")
    now += 60
    assert pulse.standing((sender, escalator)) == []
    escalator.beat()
    now += 1
    assert pulse.standing((sender, escalator)) == ["the sender stands still"]
    sender.beat()
    assert pulse.standing((sender, escalator)) == []
