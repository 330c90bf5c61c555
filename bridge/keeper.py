"""The provider token outlives a restart, and all bridges on one ledger have the same one.

Apple refuses those who mint a new one too often. Without this, a bridge that restarts twice in 20 minutes,
or several that start at once, could get 429 TooManyProviderTokenUpdates for every push. So each token is in
the ledger before Apple sees it: a bridge may die at any moment. It is a secret for an hour at the most, in a
ledger that holds push tokens anyway.
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
from bridge.store import Overloaded, Store, Tx, note, noted

_LOOK: Final = 1.0
"""Seconds between looks; real ones, for Apple's clock is not ours to move."""

_AHEAD: Final = 60.0
"""Seconds by which a token is renewed before a push would do it: time for every bridge to learn of it."""


async def share(store: Store, apns: ApnsSettings, transport: Transport) -> None:
    """Go on with the ledger's token where it is younger than ours, with a new one where it is time.

    Whoever comes first makes it; the ledger then has the one that we have. Raises as `Store.write`.
    """
    name = _name(apns)

    async def job(tx: Tx) -> None:
        kept = await noted(tx.connection, name)
        if kept is not None:
            issued_at, _, header = kept.partition(" ")
            if transport.token is None or int(issued_at) > transport.token[1]:
                transport.restore_token(header, int(issued_at))
        transport.renew_token(_AHEAD)
        if transport.token is not None:
            header, at = transport.token
            await note(tx.connection, name, f"{at} {header}")

    await store.write(job)


async def run(store: Store, current: Callable[[], tuple[ApnsSettings, Transport]]) -> None:
    """Renew the token in time, and keep each new one, until cancelled. The first was kept by `share`."""
    _, transport = current()
    kept = transport.token
    while True:
        apns, transport = current()
        if transport.token != kept or transport.token_is_due(_AHEAD):
            with suppress(Overloaded, SQLAlchemyError):  # the next look tries again
                await share(store, apns, transport)
                kept = transport.token
        await asyncio.sleep(_LOOK)


def _name(apns: ApnsSettings) -> str:
    key = hashlib.sha256(apns.key.reveal().encode()).hexdigest()[:16] if apns.key else ""
    return f"provider token {apns.team_id} {apns.key_id} {key}"
