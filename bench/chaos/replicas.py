"""Bridges as processes: each is started again whenever it has ended, as Kubernetes would."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import struct
import subprocess
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Final

from bench.load import ground
from bridge.children import Child
from bridge.client import Client, ClientError
from bridge.rig import PROGRAM, Rig

SOURCE: Final = Path(__file__).parent / "jump.c"
GRACE: Final = 30.0
"""Seconds between SIGTERM and SIGKILL, as Kubernetes gives."""

BROKE_DOWN: Final = "a bridge that ran ended by itself"

_BACK_OFF: Final = 0.5
"""Seconds before a bridge that ended by itself is started again."""


def shifter(folder: Path) -> Path:
    """Compile what moves the wall clock of one process."""
    made = folder / "jump.so"
    flags = ("-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC")
    subprocess.run(["cc", *flags, "-o", str(made), str(SOURCE)], check=True)
    return made


class Replica:
    """One bridge. `notes` counts what it did by itself: ends, and stops that took too long.

    A `lone` one is never started with a wrong clock: it takes the wall clock anew, and nothing could tell.
    """

    def __init__(
        self,
        rig: Rig,
        number: int,
        *,
        config: Path,
        web: str,
        phone: str,
        phones: str,
        library: Path,
        lone: bool,
        notes: Counter[str],
    ) -> None:
        self.name = f"bridge-{number}"
        self.url = f"http://{web}"
        self.lock = asyncio.Lock()
        self._rig = rig
        self._offset = rig.folder / f"{self.name}.offset"
        self.jump(0)
        self._command = (
            *("env", f"LD_PRELOAD={library}", f"JUMP={self._offset}", *PROGRAM, "serve"),
            *(f"--config.file={config}", "--log.format=json", f"--web.listen-address={web}"),
            *(f"--phone.listen-address={phone}", f"--phone.external-url={phones}"),
        )
        self.notes = notes
        self._lone = lone
        self._asked = False
        self._before = 0
        self._may_run = asyncio.Event()
        self._may_run.set()
        self._child: Child | None = None
        self._came = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def memory(self) -> float | None:
        """Give its resident memory in MiB; None while it does not run."""
        if self._child is None or self._child.process.returncode is not None:
            return None
        with suppress(OSError, IndexError):  # it has just ended
            return ground.memory(self._child.process.pid)
        return None

    def begin(self) -> None:
        """Run from now on."""
        self._task = asyncio.create_task(self._keep())

    async def end(self) -> None:
        """Kill it for good: whatever it has left undone is in the ledger."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._child is not None:
            self._signal(self._child, signal.SIGKILL)
            await self._child.process.wait()

    async def _keep(self) -> None:
        while True:
            self._asked = False
            if self._lone:
                self.jump(0)
            child = self._child = await self._rig.start(self.name, *self._command, url=self.url)
            self._before = child.log.stat().st_size
            self._came.set()
            status = await child.process.wait()
            self._came.clear()
            self._rig.running.pop(self.name, None)
            if not self._asked:
                self._note_end(child, status)
                await asyncio.sleep(_BACK_OFF)
            await self._may_run.wait()

    def _ran(self, child: Child) -> bool:
        """Whether its start is over."""
        with child.log.open("rb") as log:
            log.seek(self._before)
            return b'"event":"started"' in log.read()

    def _note_end(self, child: Child, status: int) -> None:
        """Take down why it ended: a bridge that cannot start may, one that runs must not."""
        ran = self._ran(child)
        said = re.sub(r"\d+", "N", child.tail(1))[:150]
        what = BROKE_DOWN if ran else "a bridge could not start"
        self.notes[f"{what}, {status}: {said}"] += 1

    async def kill(self) -> None:
        """Kill -9; it stays away until `revive`."""
        child = await self._present()
        self._may_run.clear()  # not before: one that has just ended by itself would never be present again
        self._signal(child, signal.SIGKILL)
        await child.process.wait()

    async def revive(self) -> None:
        """Let it run again; comes back when it has been started."""
        self._may_run.set()
        await self._came.wait()

    async def restart(self) -> None:
        """SIGTERM; comes back when a new one is ready, or GRACE is over."""
        child = await self._present()
        ran = self._ran(child)
        self._signal(child, signal.SIGTERM)
        try:
            async with asyncio.timeout(GRACE):
                status = await child.process.wait()
        except TimeoutError:
            self.notes[f"a bridge did not stop within {GRACE:.0f} s"] += 1
            self._signal(child, signal.SIGKILL)
            status = await child.process.wait()
        if ran and status not in {0, -signal.SIGTERM, -signal.SIGKILL}:
            self.notes[f"a bridge that was asked to stop ended with {status}"] += 1
        await self.revive()
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE):
                await self.ready()

    async def ready(self) -> None:
        """Come back when it says that it is ready."""
        while True:
            with suppress(ClientError):
                await Client(self.url, None).text("GET", "/-/ready")
                return
            await asyncio.sleep(0.1)

    async def _present(self) -> Child:
        await self._came.wait()
        assert self._child is not None
        self._asked = True
        return self._child

    def hold(self, *, held: bool) -> None:
        """Take its processor time away; or give it back."""
        if self._child is not None:
            self._signal(self._child, signal.SIGSTOP if held else signal.SIGCONT)

    def jump(self, seconds: int) -> None:
        """Let its wall clock be wrong by so much."""
        data = struct.pack("=q", seconds)
        with self._offset.open("r+b" if self._offset.exists() else "wb") as file:
            file.write(data)

    @staticmethod
    def _signal(child: Child, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(child.process.pid, number)
