"""Whose refused webhook is worth a call at night: rule 7, where strangers can knock too.

An Alertmanager whose credentials are wrong loses its alerts, and somebody must know. But whoever reaches the
listener can send a webhook with wrong credentials, and must not be able to ring a person when they like.
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from typing import Final, Literal, TypeAlias

import msgspec
import structlog
from sqlalchemy.exc import SQLAlchemyError

from bridge import alarms
from bridge.desk import Desk
from bridge.store import Overloaded, Store, Tx, note, noted, recall
from bridge.web.lockout import network

log = structlog.get_logger()

Sender: TypeAlias = Literal["known", "inside", "outside"]

_NAME: Final = "senders"
_MOST: Final = 256
_LOOK: Final = 5.0
"""Seconds between looks for those whom other bridges have let in."""

_LASTS: Final[dict[Sender, timedelta]] = {
    "known": alarms.TTL,
    "inside": timedelta(days=1),
    "outside": alarms.TTL,
}
"""How long the incident stays open after its last cause; as long it does not ring again."""


class Senders:
    """The addresses from which webhooks came with good credentials, over restarts too; the last _MOST.

    Several bridges on one ledger share them: each adds to what is there.
    """

    def __init__(self, store: Store, known: tuple[str, ...] = ()) -> None:
        self._store = store
        self._known = dict.fromkeys(known)
        self._looking = asyncio.Lock()
        self._looked_at = -math.inf

    @classmethod
    async def load(cls, store: Store) -> Senders:
        """Read them from the ledger."""
        return cls(store, _decoded(await recall(store, _NAME)))

    async def welcome(self, address: str) -> None:
        """Know an address from now on. Raises nothing: what cannot be kept is known until the next start."""
        place = network(address)
        if place in self._known:
            return
        self._learn([place])

        async def job(tx: Tx) -> tuple[str, ...]:
            before = _decoded(await noted(tx.connection, _NAME))
            known = tuple(dict.fromkeys((*before, place)))[-_MOST:]
            await note(tx.connection, _NAME, msgspec.json.encode(known).decode())
            return known

        with suppress(Overloaded, SQLAlchemyError):
            self._learn(await self._store.write(job))

    def _learn(self, places: Iterable[str]) -> None:
        self._known = dict.fromkeys(list(self._known | dict.fromkeys(places))[-_MOST:])

    async def _look_again(self) -> None:
        """Learn whom other bridges have let in; not for each of a flood of strangers."""
        async with self._looking:
            if time.monotonic() - self._looked_at < _LOOK:
                return
            with suppress(SQLAlchemyError):
                self._learn(_decoded(await recall(self._store, _NAME)))
            self._looked_at = time.monotonic()

    def standing(self, address: str) -> Sender:
        """Tell who it is: let in before, of the same network (no public address), or a stranger."""
        if network(address) in self._known:
            return "known"
        with suppress(ValueError):
            return (
                "outside" if ipaddress.ip_address(network(address).partition("/")[0]).is_global else "inside"
            )
        return "inside"

    async def refused(self, desk: Desk, source: str, address: str, error: str) -> bool:
        """Open an incident for a webhook that was refused (rule 7); a stranger's rings nobody.

        False where it could not be recorded.
        """
        if self.standing(address) != "known":
            await self._look_again()
        sender = self.standing(address)
        rings = sender != "outside"
        told = (
            "if it was Alertmanager's, its alerts are lost"
            if rings
            else "its sender was never let in and is not of this network, so nobody is rung for it"
        )
        return await desk.alarm(
            "PushkitBridgeWebhookRefused",
            {"source": source, "code": "401", "sender": sender},
            f"A webhook for {source} came with wrong credentials ({error}): {told}",
            rings=rings,
            lasts=_LASTS[sender],
        )


def _decoded(kept: str | None) -> tuple[str, ...]:
    with suppress(msgspec.MsgspecError):
        return msgspec.json.decode(kept or "[]", type=tuple[str, ...])
    return ()
