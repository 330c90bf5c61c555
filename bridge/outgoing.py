"""Posts to webhook targets: the way out that does not need Apple."""

from __future__ import annotations

import asyncio
from typing import Final

import aiohttp

from bridge.pushes import Accepted, Outcome, Retryable

_TIMEOUT: Final = 10.0

_AT_ONE_HOST: Final = 64
"""Connections to one server at once: one that hangs keeps those, and the others theirs."""


def client() -> aiohttp.ClientSession:
    """Give a client for Outgoing alone: posts that hang must not hold up calendars and the sign of life.

    How many there are at once is the sender's to say.
    """
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, limit_per_host=_AT_ONE_HOST))


class Outgoing:
    """One HTTP client for all targets."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def post(self, url: str, body: bytes, page_id: str, traceparent: str = "") -> Outcome:
        """POST JSON. Any 2xx is accepted; everything else is tried again, for an operator may mend it.

        The page's id goes along as Idempotency-Key, since a lost answer makes a second try.
        """
        headers = {"Content-Type": "application/json", "Idempotency-Key": page_id}
        if traceparent:
            headers["traceparent"] = traceparent
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT)
        try:
            async with self._session.post(
                url, data=body, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                if 200 <= response.status < 300:
                    return Accepted()
                return Retryable(f"HTTP {response.status}")
        except TimeoutError:
            return Retryable("Timeout")
        except (aiohttp.ClientError, OSError, ValueError, asyncio.IncompleteReadError) as error:
            # Not the error's text: it can hold the URL, and the URL can hold a secret.
            return Retryable(type(error).__name__)
