"""Which phones are in use, as far as that matters to what is due (rule 5)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Float, bindparam, cast, exists, false, func, null, select, true, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.bundles import Handset
from bridge.store.columns import Instant, among
from bridge.store.tables import OPEN_PAGE, SENDING_CALL, calls, devices, pages

# `coalesce` hides the column from its index: the history is full of pages that never had a call.
_FRESH_CALL: Final = (
    (pages.c.push == "voip") & (pages.c.kind != "webhook") & (func.coalesce(pages.c.call_id, "") == "")
)
"""A page for which a phone has yet to ring."""

WAITS: Final = _FRESH_CALL & (
    among(pages.c.target, "busy") | (pages.c.drill & among(pages.c.target, "busy_for_drills"))
)
"""The condition that a page waits for its phone, as `who_wait` says."""

_NOW: Final = bindparam("now", type_=Instant)
# With their types: PostgreSQL takes what is NULL in each part of a UNION for text.
_NO_TIME: Final = cast(null(), Instant)
_NO_PACE: Final = cast(null(), Float)

_DUE: Final = OPEN_PAGE & _FRESH_CALL & (pages.c.next_attempt_at <= _NOW)

# However many phones ring: only those matter that something new waits for.
_LATELY: Final = select(
    devices.c.name,
    devices.c.called_at,
    devices.c.live_until,
    exists().where((pages.c.call_id == devices.c.live_call) & pages.c.drill).label("drill"),
    _NO_PACE.label("pace"),
    false().label("sending"),
).where(
    (devices.c.live_until > bindparam("since", type_=Instant))
    & devices.c.name.in_(select(pages.c.target).where(_DUE))
)

_PACES: Final = (
    select(pages.c.target, _NO_TIME, _NO_TIME, false(), func.min(pages.c.every), false())
    .where(_DUE & (pages.c.ring > 1))
    .group_by(pages.c.target)
)

_SENDING: Final = (
    select(pages.c.target, _NO_TIME, _NO_TIME, false(), _NO_PACE, true())
    .where(OPEN_PAGE & (pages.c.push == "voip") & pages.c.call_id.is_not(None))
    .distinct()
)

# They may have got a call of which nobody heard: its bridge died, or APNs was slow. Its pages are over,
# withdrawn or too late or refused at a later attempt, so that nothing else says so.
LOST: Final = pages.c.outcome.in_(["withdrawn", "expired"]) | (
    pages.c.outcome.is_not(None) & (pages.c.attempt > 1)
)
"""A page whose call may ring all the same."""

_PERHAPS_RINGING: Final = (
    select(calls.c.device, _NO_TIME, _NO_TIME, false(), _NO_PACE, true())
    .where((calls.c.expires_at > _NOW) & (calls.c.push == "voip") & SENDING_CALL)
    .where(exists().where((pages.c.call_id == calls.c.id) & LOST))
)

_IN_USE: Final = union_all(_LATELY, _PACES, _SENDING, _PERHAPS_RINGING)
"""Whatever there is to say of phones, each thing in a row of its own: asked in one go."""


def who_wait(handsets: Mapping[str, Handset], now: datetime, quiet_gap: timedelta) -> dict[str, list[str]]:
    """Name the phones that cannot be rung now, for WAITS; a drill may have to wait where another has not."""
    return {
        key: [name for name, handset in handsets.items() if not handset.may_ring(now, quiet_gap, drill=drill)]
        for key, drill in (("busy", False), ("busy_for_drills", True))
    }


async def phones_in_use(
    connection: AsyncConnection, now: datetime, quiet_gap: timedelta
) -> dict[str, Handset]:
    """Say of each device that may be busy what its last call was, and what waits for it or is on its way."""
    lately: list[Any] = []
    paces: dict[str, float] = {}
    sending: set[str] = set()
    for row in await connection.execute(_IN_USE, {"now": now, "since": now - quiet_gap}):
        if row.sending:
            sending.add(row.name)
        elif row.pace is not None:
            paces[row.name] = row.pace
        else:
            lately.append(row)
    return {name: Handset(sending=True) for name in sending} | {
        row.name: Handset(row.called_at, row.live_until, row.name in sending, paces.get(row.name), row.drill)
        for row in lately
    }
