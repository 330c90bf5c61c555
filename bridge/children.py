"""Child processes that never outlive us: for the demo, and for tests that start real programs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

_PATIENCE: Final = 10.0
"""Seconds between SIGTERM and SIGKILL."""

_DEBIAN: Final = ":/usr/sbin:/sbin"
_PORTS: Final = range(10_000, 32_000)
_CHANCE: Final = random.SystemRandom()
"""Not the seeded one: tests that run side by side are often given the same seed."""


class ChildError(Exception):
    """A program is missing, or ended by itself; the text holds the end of its log."""


def find_program(*names: str, package: str) -> str:
    """Give the path of the first of these programs that is installed. Raises ChildError."""
    for name in names:
        found = shutil.which(name, path=os.environ.get("PATH", "") + _DEBIAN)
        if found:
            return found
    raise ChildError(
        f"{' or '.join(names)} is not installed. On Debian: apt-get install {package}; "
        "elsewhere put it on the PATH"
    )


@contextmanager
def free_port() -> Iterator[int]:
    """Find a TCP port of 127.0.0.1 that nobody uses, and keep other processes that ask here away from it.

    It lies below those that the system gives to outgoing connections: a program that is started
    again on its port would otherwise find now and then that a connection has taken it.
    """
    while True:
        port = _CHANCE.choice(_PORTS)
        with socket.socket(socket.AF_UNIX) as reserved, socket.socket() as probe:
            try:
                reserved.bind(f"\0pushkit-bridge port {port}")  # Linux's abstract names: gone with the socket
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            probe.close()
            yield port
            return


async def run(*command: str) -> str:
    """Run a program to its end and give what it prints. Raises ChildError if it fails."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    text = output.decode(errors="replace")
    if process.returncode:
        raise ChildError(f"{' '.join(command)} ended with {process.returncode}:\n{text}")
    return text


class Child:
    """A running program. `log` is the file that has what it prints, `url` where it answers."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path, url: str) -> None:
        self.name = name
        self.process = process
        self.log = log
        self.url = url

    def tail(self, lines: int = 15) -> str:
        """Give the end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def check(self) -> None:
        """Raise ChildError if it has ended."""
        if self.process.returncode is not None:
            raise ChildError(f"{self.name} ended with {self.process.returncode}:\n{self.tail()}")

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end, wait, and kill what does not listen; gives its exit status."""
        if self.process.returncode is None:
            self._signal(number)
            try:
                async with asyncio.timeout(_PATIENCE):
                    await self.process.wait()
            except TimeoutError:
                self._signal(signal.SIGKILL)
        return await self.process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


@asynccontextmanager
async def child(name: str, command: Sequence[str], folder: Path, url: str = "") -> AsyncIterator[Child]:
    """Run a program in a process group of its own, so that Ctrl-C reaches us first; stop it at the end."""
    log = folder / f"{name}.log"
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    running = Child(name, process, log, url)
    try:
        yield running
    finally:
        # Shielded: a second Ctrl-C must not leave it behind.
        await asyncio.shield(running.stop())
