"""The phones' way to the bridge: one session, with the authority that they trust."""

from __future__ import annotations

import ssl
from typing import Final

import aiohttp

from bridge.simulator.contract import Unwatched

_TIMEOUT: Final = aiohttp.ClientTimeout(total=10.0)


class Network:
    """Opened by whoever needs it first. `ca_file` holds the authority for https URLs, None = the system's.

    What is said on it is held against `contract`, both ways.
    """

    def __init__(self, ca_file: str | None = None, contract: Unwatched | None = None) -> None:
        self.contract = contract or Unwatched()
        self._ca_file = ca_file
        self._session: aiohttp.ClientSession | None = None

    def open(self) -> aiohttp.ClientSession:
        """Give the session; a request takes at most ten seconds unless it says otherwise."""
        if self._session is None:
            trusted = ssl.create_default_context(cafile=self._ca_file)
            connector = aiohttp.TCPConnector(ssl=trusted)
            self._session = aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT)
        return self._session

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
