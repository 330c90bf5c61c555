"""How much, how long, how often: the bounds of one connection.

`StreamLimit` is RFC 9113 section 5.1.2 with APNs' rule on top (one stream until the provider token
was accepted); `Noise` is section 10.5, which leaves the numbers to us.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from bridge.apns.framing import ErrorCode, ViolationError

WITHOUT_LIMIT: Final = 1_000  # streams, where the peer names no limit
NOISE_LIMIT: Final = 2_000  # frames that brought nothing forward
NOISE_PER_SECOND: Final = 100.0  # of them are forgotten each second
NOISE_PER_ANSWER: Final = 16  # and with each answer: windows, settings and pings have their place
# Answers which say that APNs did not accept who we are.
_ABOUT_US: Final = frozenset(
    {
        "ExpiredProviderToken",
        "InvalidProviderToken",
        "MissingProviderToken",
        "UnrelatedKeyIdInToken",
        "BadEnvironmentKeyIdInToken",
        "BadEnvironmentKeyInToken",
        "BadCertificate",
        "BadCertificateEnvironment",
        "Forbidden",
    }
)


def refuses_sender(status: str, reason: str | None) -> bool:
    """Say whether an answer refuses us rather than one push; a 403 without a word does too."""
    return status == "403" and (reason is None or reason in _ABOUT_US)


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. Tests make them short; nothing else should."""

    connect: float = 10.0  # from the question to the DNS up to the peer's SETTINGS
    address: float = 4.0  # for each step of it: one address, the proxy's reply, TLS, SETTINGS
    stagger: float = 0.25  # before the next address is tried beside one that lingers (RFC 8305 section 5)
    idle: float = 45.0  # without a sound: PING
    suspicion: float = 2.0  # without a sound while an answer is due: PING
    ping: float = 3.0  # without an answer to it: the peer is dead
    close: float = 1.0  # for a closing transport to flush
    back_off: float = 0.1  # before the second attempt to connect, doubled each time
    back_off_limit: float = 5.0
    stable: float = 5.0  # a connection that died younger, without an answer, counts as a failed attempt


class StreamLimit:
    """How many streams may be open at once: `value`, which is 0 before the peer's SETTINGS."""

    __slots__ = ("_known", "_peer", "trial", "value")

    def __init__(self, *, trusted: bool) -> None:
        self.trial = not trusted  # while the first good answer is awaited
        self._known = False
        self._peer = WITHOUT_LIMIT
        self.value = 0

    def begin(self) -> None:
        """Note that SETTINGS came."""
        self._known = True
        self._count()

    def set_peer(self, value: int) -> None:
        """Take MAX_CONCURRENT_STREAMS, larger or smaller than before; 0 is possible."""
        self._peer = value
        self._count()

    def judge(self, status: str, reason: str | None) -> None:
        """Learn from an answer whether the provider token was accepted."""
        if self.trial and not refuses_sender(status, reason):
            self.trial = False
            self._count()

    def _count(self) -> None:
        if self._known:
            self.value = min(1, self._peer) if self.trial else self._peer


class Noise:
    """Counts frames that bring nothing forward: a flood of them is an attack (section 10.5)."""

    __slots__ = ("_count", "_loop", "_since")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._count = 0
        self._since = loop.time()

    def count(self) -> None:
        """Count one. Raises ViolationError if that was one too many."""
        self._count += 1
        if self._count <= NOISE_LIMIT:
            return
        now = self._loop.time()
        self._count -= int(min(self._count, (now - self._since) * NOISE_PER_SECOND))
        self._since = now
        if self._count > NOISE_LIMIT:
            raise ViolationError(ErrorCode.ENHANCE_YOUR_CALM, "a flood of frames that bring nothing forward")

    def forgive(self) -> None:
        """Forget some: an answer came, and the frames around it had their reason."""
        if self._count:
            self._count = max(0, self._count - NOISE_PER_ANSWER)
