"""PING: on idle, and on suspicion (RFC 9113 section 6.7).

A peer that died quietly looks exactly like one with nothing to say. So a silent connection is
asked, at once after a push timed out, and one that does not answer is ended, so that the pool has
another before the next page needs it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bridge.apns.limits import Timing


class Pulse:
    """Watches one connection. `ping` writes, `dead` ends it, `busy` counts answers that are due."""

    __slots__ = (
        "_asked_at",
        "_busy",
        "_count",
        "_dead",
        "_heard_at",
        "_loop",
        "_ping",
        "_suspected",
        "_timer",
        "_timing",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        timing: Timing,
        *,
        ping: Callable[[bytes], None],
        busy: Callable[[], int],
        dead: Callable[[], None],
        suspected: Callable[[], object],
    ) -> None:
        self._loop = loop
        self._timing = timing
        self._ping = ping
        self._busy = busy
        self._dead = dead
        self._suspected = suspected
        self._heard_at = loop.time()
        self._asked_at: float | None = None
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def doubtful(self) -> bool:
        """Whether a PING has been without answer for longer than one look at the clock."""
        asked = self._asked_at
        return asked is not None and self._loop.time() - asked > self._step

    @property
    def _step(self) -> float:
        return min(self._timing.idle, self._timing.suspicion, self._timing.ping) / 4

    def start(self) -> None:
        """Begin to look at the clock."""
        self._heard_at = self._loop.time()
        self._timer = self._loop.call_later(self._step, self._look)

    def stop(self) -> None:
        """No more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def heard(self) -> None:
        """Note that the peer made a sound."""
        self._heard_at = self._loop.time()

    def suspect(self) -> None:
        """Ask now, for instance after a push timed out."""
        if self._asked_at is None and self._timer is not None:
            self._count += 1
            self._asked_at = self._loop.time()
            self._ping(self._count.to_bytes(8, "big"))

    def acknowledged(self, payload: bytes) -> None:
        """Take the answer to a PING; that to an older one proves nothing new."""
        if payload == self._count.to_bytes(8, "big"):
            self._asked_at = None

    def answered(self) -> None:
        """Note that a push was answered: the peer lives, even if a full link keeps its PING waiting."""
        self._asked_at = None

    def _look(self) -> None:
        now = self._loop.time()
        self._timer = self._loop.call_later(self._step, self._look)
        if self._asked_at is not None:
            if now - self._asked_at > self._timing.ping:
                self._dead()
            elif self.doubtful:
                self._suspected()
            return
        patience = self._timing.suspicion if self._busy() else self._timing.idle
        if now - self._heard_at > patience:
            self.suspect()
