"""Alerts whose end Alertmanager told nobody of: the table `unheard`.

It takes them for told, so that it is silent also when they fire again, until its repeat_interval is over.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import delete, exists, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.incidents import Incident
from bridge.store.tables import OPEN_EPISODE, episodes, unheard

_FIRES: Final = exists().where(
    (episodes.c.source == unheard.c.source) & (episodes.c.fingerprint == unheard.c.fingerprint) & OPEN_EPISODE
)


@dataclass(frozen=True, slots=True)
class Unheard:
    """One of them, and the group in which it was last told."""

    source: str
    fingerprint: str
    group_key: str
    external_url: str


async def keep(
    connection: AsyncConnection, incident: Incident, fingerprints: Sequence[str], now: datetime
) -> None:
    """Remember that these alerts of an incident ended unheard."""
    source = incident.slot.source
    await forget(connection, [(source, fingerprint) for fingerprint in fingerprints])
    ended = [
        Unheard(source, fingerprint, incident.group_key, incident.external_url)
        for fingerprint in fingerprints
    ]
    if ended:
        await connection.execute(unheard.insert(), [asdict(one) | {"ended_at": now} for one in ended])


async def ended_since(connection: AsyncConnection, since: datetime) -> list[Unheard]:
    """List those that ended after `since` and are not known to fire again."""
    wanted = (unheard.c.ended_at > since) & ~_FIRES
    columns = (unheard.c.source, unheard.c.fingerprint, unheard.c.group_key, unheard.c.external_url)
    found = await connection.execute(select(*columns).where(wanted).order_by(*columns))
    return [Unheard(*row) for row in found]


async def forget(connection: AsyncConnection, ones: Iterable[tuple[str, str]]) -> None:
    """Delete these (source, fingerprint)."""
    for source, fingerprint in ones:
        await connection.execute(
            delete(unheard).where((unheard.c.source == source) & (unheard.c.fingerprint == fingerprint))
        )


async def forget_old(connection: AsyncConnection, until: datetime) -> None:
    """Delete those that ended by `until`, and those that fire again: their end will be told."""
    await connection.execute(delete(unheard).where((unheard.c.ended_at <= until) | _FIRES))
