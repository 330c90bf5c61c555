"""Too many wrong credentials from one address: it waits. What was right from there before does not."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

K = TypeVar("K")
V = TypeVar("V")

SPAN: Final = 60.0
"""Seconds."""
TRIES: Final = 20
"""Different credentials that one address may try in SPAN."""
ADDRESSES: Final = 4096
WAITING: Final = 8
"""So many stand in the Line, the one whose turn it is among them: half a second of bcrypt."""
_GOOD: Final = 8
_NETWORK: Final = 64


class Line:
    """Those who would have to wait, and whose credentials are looked at all the same: one at a time.

    After a restart nothing is known to be right. Where an Alertmanager shares its address with a guesser,
    its password would else not be looked at before the guesser rests.
    """

    def __init__(self, room: int = WAITING) -> None:
        self._room = room
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def place(self) -> AsyncIterator[bool]:
        """Give True when it is one's turn; False at once where too many wait."""
        if not self._room:
            yield False
            return
        self._room -= 1
        try:
            async with self._turn:
                yield True
        finally:
            self._room += 1


class Lockout:
    """Counts different credentials, by address; an IPv6 network of 64 bits is one.

    Guessing takes different ones: an Alertmanager that repeats an old password locks nobody out. Behind a NAT
    or a proxy a guesser shares the address of the true one, so credentials that were right from an address
    before are always looked at again. Credentials are kept as digests under a key of this process, those of
    the ADDRESSES that were heard last.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._tried: OrderedDict[str, dict[bytes, float]] = OrderedDict()
        self._right: OrderedDict[str, OrderedDict[bytes, None]] = OrderedDict()

    def begin(self, address: str, credentials: str) -> int:
        """Count credentials as if they were wrong; or give the seconds after which this address may try."""
        place, digest, now = network(address), self._digest(credentials), self._clock()
        if digest in self._right.get(place, ()):
            return 0
        old = self._tried.pop(place, {})
        tried = {known: at for known, at in old.items() if at > now - SPAN}
        wait = 0
        if digest not in tried and len(tried) >= TRIES:
            wait = math.ceil(min(tried.values()) + SPAN - now)
        else:
            tried.setdefault(digest, now)
        _keep(self._tried, place, tried, ADDRESSES)
        return wait

    def succeeded(self, address: str, credentials: str) -> None:
        """Take back what `begin` counted: these are right."""
        place, digest = network(address), self._digest(credentials)
        self._tried.get(place, {}).pop(digest, None)
        good = self._right.pop(place, OrderedDict())
        _keep(good, digest, None, _GOOD)
        _keep(self._right, place, good, ADDRESSES)

    def _digest(self, credentials: str) -> bytes:
        text = credentials.encode("utf-8", "surrogateescape")
        return hashlib.blake2b(text, key=self._key, digest_size=16).digest()


def network(address: str) -> str:
    """Give what one person can easily have many of: an IPv4 address itself, of IPv6 the first 64 bits."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:  # a socket without an address
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.IPv6Network((int(found) >> _NETWORK << _NETWORK, _NETWORK)))
    return str(found)


def _keep(store: OrderedDict[K, V], key: K, value: V, most: int) -> None:
    """Put an entry at the end, and let the oldest go where there are too many."""
    store.pop(key, None)
    store[key] = value
    while len(store) > most:
        store.popitem(last=False)
