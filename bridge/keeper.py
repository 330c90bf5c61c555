"""The provider token outlives a restart: Apple refuses those who mint a new one too often.

Without this, a bridge that restarts twice in 20 minutes could get 429 TooManyProviderTokenUpdates
for every push. So each token is in the ledger before Apple sees it: a bridge may die at any moment.
It is a secret for an hour at the most, in a file that holds push tokens anyway.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from bridge.apns import Transport
from bridge.config import ApnsSettings
from bridge.store import Overloaded, Store, recall, remember

_LOOK: Final = 1.0
"""Seconds between looks; real ones, for Apple's clock is not ours to move."""


async def restore(store: Store, apns: ApnsSettings, transport: Transport) -> None:
    """Let the transport go on with the token of the last run, or with a new one where that is too old.

    Raises as `Store.write`.
    """
    kept = await recall(store, _name(apns))
    if kept is not None:
        issued_at, _, header = kept.partition(" ")
        transport.restore_token(header, int(issued_at))
    transport.renew_token()
    await keep(store, apns, transport)


async def keep(store: Store, apns: ApnsSettings, transport: Transport) -> None:
    """Keep the present token, if there is one. Raises as `Store.write`."""
    if transport.token is not None:
        header, issued_at = transport.token
        await remember(store, _name(apns), f"{issued_at} {header}")


async def run(store: Store, current: Callable[[], tuple[ApnsSettings, Transport]]) -> None:
    """Renew the token in time, and keep each new one, until cancelled. The first was kept by `restore`."""
    _, transport = current()
    kept = transport.token
    while True:
        apns, transport = current()
        transport.renew_token()
        if (token := transport.token) != kept:
            with suppress(Overloaded, SQLAlchemyError):  # the next look tries again
                await keep(store, apns, transport)
                kept = token
        await asyncio.sleep(_LOOK)


def _name(apns: ApnsSettings) -> str:
    key = hashlib.sha256(apns.key.reveal().encode()).hexdigest()[:16] if apns.key else ""
    return f"provider token {apns.team_id} {apns.key_id} {key}"
