"""What systemd is told, as sd_notify(3) has it: started, reloading, stopping, alive.

Each word is a datagram to $NOTIFY_SOCKET. Without systemd there is none, and nothing is said.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

import structlog

log = structlog.get_logger()

_STATUS: Final = 500
"""Characters of a status line: it is for `systemctl status`."""


class Systemd:
    """The service manager that started us, if there is one. No verb raises: a bridge that works goes on."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self.patience = _patience(environ)

    def ready(self, status: str) -> None:
        """Say that the start, or a reload, is over."""
        self._tell("READY=1", f"STATUS={_line(status)}")

    def reloading(self) -> None:
        """Say that a reload begins; `ready` ends it."""
        # The kernel's monotonic clock, by which systemd tells an old word from a new one.
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", "STATUS=Reloading")

    def stopping(self, status: str) -> None:
        """Say that the end has begun."""
        self._tell("STOPPING=1", f"STATUS={_line(status)}")

    async def watch(self, standing: Callable[[], list[str]]) -> None:
        """Feed the watchdog, if there is one, while `standing` gives no reason not to; until cancelled."""
        while self.patience is not None:
            reasons = standing()
            if reasons:
                log.critical("the watchdog is not fed", reasons=reasons)
                self._tell(f"STATUS={_line('; '.join(reasons))}")
            else:
                self._tell("WATCHDOG=1")
            await asyncio.sleep(self.patience / 3)

    def _tell(self, *lines: str) -> None:
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
                out.setblocking(False)
                out.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            log.warning("systemd cannot be told", what=lines[0], error=str(error))


def _address(text: str) -> str | None:
    """Read $NOTIFY_SOCKET: a path, or an abstract name, which is written with @."""
    if text.startswith("@"):
        return "\0" + text[1:]
    if text and not text.startswith("/"):
        log.warning("NOTIFY_SOCKET is neither a path nor an abstract name: systemd is told nothing")
    return text if text.startswith("/") else None


def _patience(environ: Mapping[str, str]) -> float | None:
    """Give the seconds after which the watchdog bites; None where there is none, or it is another's."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    with suppress(ValueError):
        return int(environ.get("WATCHDOG_USEC", "")) / 1e6 or None
    return None


def _line(text: str) -> str:
    return " ".join(text.split())[:_STATUS]
