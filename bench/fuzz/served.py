"""A bridge in a process of its own that measures each step of its loop."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

from bridge.app import Bridge, Options
from bridge.daemon import spare_the_heap
from bridge.telemetry import configure_logs


class Steps:
    """The longest steps of the loop, in seconds of processor time: what else runs here does not count."""

    def __init__(self) -> None:
        self.longest: dict[str, float] = {}
        self.count = 0

    def watch(self) -> None:
        """Measure every callback from now on."""
        run = asyncio.Handle._run  # noqa: SLF001 - nothing public sees each step

        def measured(handle: Any) -> Any:
            began = time.thread_time()
            try:
                return run(handle)
            finally:
                self.note(handle, time.thread_time() - began)

        asyncio.Handle._run = measured  # type: ignore[method-assign, assignment]  # noqa: SLF001

    def note(self, handle: Any, seconds: float) -> None:
        """Count a step; long ones by what it was."""
        self.count += 1
        if seconds > 0.02:
            what = _name(handle)
            self.longest[what] = max(self.longest.get(what, 0.0), seconds)


def _name(handle: Any) -> str:
    task = getattr(handle._callback, "__self__", None)  # noqa: SLF001 - as above
    if isinstance(task, asyncio.Task):
        frames = task.get_stack(limit=1)
        where = f" at {frames[-1].f_code.co_qualname}:{frames[-1].f_lineno}" if frames else ""
        return f"{getattr(task.get_coro(), '__qualname__', task)}{where}"
    return str(getattr(handle._callback, "__qualname__", handle._callback))  # noqa: SLF001


async def main(folder: Path) -> None:
    """Serve until SIGTERM; print where, and at the end what was measured."""
    configure_logs("error", "json")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    options = Options(folder / "config.yaml", ("127.0.0.1:0",), phone_listen="127.0.0.1:0")
    steps = Steps()
    async with Bridge(options) as bridge:
        spare_the_heap()
        steps.watch()
        loop.add_signal_handler(signal.SIGUSR1, lambda: _say(steps))
        print(json.dumps({"web": bridge.bound.web[0], "phone": bridge.bound.phone}), flush=True)
        await stop.wait()


def _say(steps: Steps) -> None:
    print(json.dumps({"steps": steps.count, "longest": steps.longest}), flush=True)
    steps.count, steps.longest = 0, {}


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
