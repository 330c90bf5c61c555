"""The keys of a person at a terminal."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress


class Keys:
    """What a person types: only that Enter was pressed matters. `there` is False without a terminal."""

    def __init__(self) -> None:
        self.there = sys.stdin.isatty()
        self._pressed = asyncio.Event()
        self._over = False
        if self.there:
            asyncio.get_running_loop().add_reader(sys.stdin.fileno(), self._read)

    def _read(self) -> None:
        with suppress(OSError):  # the terminal has gone
            if os.read(sys.stdin.fileno(), 4096):
                self._pressed.set()
                return
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        self._over = True
        self._pressed.set()

    def forget(self) -> None:
        """Let what was typed so far mean nothing."""
        if not self._over:
            self._pressed.clear()

    async def pressed(self) -> None:
        """Wait for Enter. Raises EOFError at the end of the input (Ctrl-D)."""
        await self._pressed.wait()
        if self._over:
            raise EOFError
        self._pressed.clear()
