"""Which phones are in use, as far as that matters to what is due (rule 5)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import JSON, ColumnElement, Select, Text, cast, func, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.bundles import Handset
from bridge.store.tables import OPEN_PAGE, SENDING_CALL, calls, devices, pages

FRESH_CALL: Final = (pages.c.push == "voip") & (pages.c.kind != "webhook") & pages.c.call_id.is_(None)
"""A page for which a phone has yet to ring."""


def waits(
    dialect: str, handsets: Mapping[str, Handset], now: datetime, quiet_gap: timedelta
) -> ColumnElement[bool]:
    """The condition that a page waits for its phone; a drill may have to where another has not."""
    real, drill = (
        [name for name, handset in handsets.items() if not handset.may_ring(now, quiet_gap, drill=drill)]
        for drill in (False, True)
    )
    target = pages.c.target
    return FRESH_CALL & (
        target.in_(_values(dialect, real)) | (pages.c.drill & target.in_(_values(dialect, drill)))
    )


def _values(dialect: str, names: Sequence[str]) -> Select[Any]:
    """Select these names. They go to the database as one value: it takes no more than 32,767."""
    each = func.json_each if dialect == "sqlite" else func.json_array_elements_text
    listed = each(cast(literal(json.dumps(names)), Text if dialect == "sqlite" else JSON(none_as_null=True)))
    return select(listed.table_valued("value").c.value)


async def phones_in_use(
    connection: AsyncConnection, now: datetime, quiet_gap: timedelta
) -> dict[str, Handset]:
    """Say of each device that may be busy what its last call was, and what waits for it or is on its way."""
    bound = OPEN_PAGE & (pages.c.push == "voip") & pages.c.call_id.is_not(None)
    sending = set((await connection.execute(select(pages.c.target).where(bound).distinct())).scalars())
    sending |= await _perhaps_ringing(connection, now)
    repeated = OPEN_PAGE & FRESH_CALL & (pages.c.ring > 1) & (pages.c.next_attempt_at <= now)
    pace = select(pages.c.target, func.min(pages.c.every)).where(repeated).group_by(pages.c.target)
    paces = {name: every for name, every in await connection.execute(pace)}  # noqa: C416 - as in queries
    of_a_drill = select(pages.c.id).where((pages.c.call_id == devices.c.live_call) & pages.c.drill).exists()
    # However many phones ring: only those matter that something new waits for.
    wanted = select(pages.c.target).where(OPEN_PAGE & FRESH_CALL & (pages.c.next_attempt_at <= now))
    lately = (devices.c.live_until > now - quiet_gap) & devices.c.name.in_(wanted)
    found = await connection.execute(
        select(devices.c.name, devices.c.called_at, devices.c.live_until, of_a_drill).where(lately)
    )
    return {name: Handset(sending=True) for name in sending} | {
        name: Handset(called_at, live, name in sending, paces.get(name), drill)
        for name, called_at, live, drill in found
    }


async def _perhaps_ringing(connection: AsyncConnection, now: datetime) -> set[str]:
    """List the devices that may have got a call of which nobody heard: its bridge died, or APNs was slow.

    Its pages are over, withdrawn or too late or refused at a later attempt, so that nothing else says so.
    """
    lost = pages.c.outcome.in_(["withdrawn", "expired"]) | (
        pages.c.outcome.is_not(None) & (pages.c.attempt > 1)
    )
    over = (pages.c.call_id == calls.c.id) & lost
    unheard = (calls.c.expires_at > now) & (calls.c.push == "voip") & SENDING_CALL
    found = select(calls.c.device).where(unheard & select(pages.c.id).where(over).exists())
    return set((await connection.execute(found)).scalars())
