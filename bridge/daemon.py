"""A bridge as a program: it runs until a signal, or until one of its loops dies, and tells systemd of it."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import signal
from contextlib import suppress
from typing import Final

import structlog

from bridge.app import Bridge, Options
from bridge.systemd import Systemd

log = structlog.get_logger()

_GARBAGE: Final = 10_000
"""So many more objects made than gone, and the youngest are looked through: some 3 ms."""


def spare_the_heap() -> None:
    """Look for garbage seldom, and not through what stays, the configuration.

    A webhook makes hundreds of objects, of which few are garbage that only a search finds: at Python's own
    700 those searches are a twentieth of a storm.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE)


async def serve_until_signalled(options: Options, systemd: Systemd | None = None) -> bool:
    """Run a bridge until SIGTERM or SIGINT (False), or until one of its loops dies (True); SIGHUP reloads.

    Raises StoreError, ConfigError or OSError where it cannot start.
    """
    systemd = systemd or Systemd()
    stop, reload = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    # Before anything else: by default a SIGHUP during the start would end us, and PID 1 hears no SIGTERM.
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reload.set)
    async with Bridge(options) as bridge:
        spare_the_heap()
        systemd.ready(_status(bridge))
        beside = [
            asyncio.create_task(_reload_on(reload, bridge, systemd)),
            asyncio.create_task(systemd.watch(bridge.vitals.standing)),
        ]
        waits = [asyncio.create_task(event.wait()) for event in (stop, bridge.failed)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        reason = "a signal" if stop.is_set() else "a loop died"
        log.info("stopping", reason=reason)
        systemd.stopping(f"Stopping: {reason}")
        for task in (*waits, *beside):
            task.cancel()
    return not stop.is_set()


def trace_crashes() -> None:
    """Let a watchdog's SIGABRT, or a crash, write to stderr where each thread stood."""
    with suppress(OSError, ValueError, RuntimeError):  # a stderr that is no file
        faulthandler.enable()


def _status(bridge: Bridge) -> str:
    return f"Ready: web at {', '.join(bridge.bound.web)}, phones at {bridge.bound.phone}"


async def _reload_on(event: asyncio.Event, bridge: Bridge, systemd: Systemd) -> None:
    while True:
        await event.wait()
        event.clear()
        systemd.reloading()
        status = "The configuration was not reloaded, the old one is used; see the log"
        with suppress(Exception):  # it is in the log and in the metric, and the old one works on
            await bridge.reload()
            status = _status(bridge)
        systemd.ready(status)
