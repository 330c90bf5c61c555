"""What is wanted of Alertmanager, in the ledger: written with the decision, claimed and settled like a page.

A row says what an incident wants in the end, not what is to be done: so a wish that changes while an
earlier one is on its way needs no queue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, bindparam, case, func, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.incidents import Incident, Silence
from bridge.store.columns import Instant, among
from bridge.store.tables import OPEN_SILENCE, silences

_DUE: Final = (
    select(silences.c.incident_id)
    .where(OPEN_SILENCE & (silences.c.next_attempt_at <= bindparam("now")))
    .order_by(silences.c.next_attempt_at)
    .limit(bindparam("limit"))
)
_NEXT: Final = select(func.min(silences.c.next_attempt_at)).where(OPEN_SILENCE)
_KNOWN: Final = select(silences.c.incident_id).where(among(silences.c.incident_id, "ids"))


@dataclass(frozen=True, slots=True)
class Errand:
    """A claimed row. `wish` None: nothing is wanted; `told`: an earlier attempt may have left something."""

    incident_id: str
    source: str
    wish: Silence | None
    told: bool
    attempt: int


async def wish(connection: AsyncConnection, changed: Iterable[Incident], now: datetime) -> None:
    """Put down what these incidents want now. What is on its way is left to come back first."""
    by_id = {incident.id: incident for incident in changed}
    known = list((await connection.execute(_KNOWN, {"ids": list(by_id)})).scalars())
    new = [incident for name, incident in by_id.items() if name not in known and incident.silence]
    if new:
        fresh: dict[str, Any] = {"told_until": None, "state": "waiting", "attempt": 0, "next_attempt_at": now}
        rows = [
            {"incident_id": one.id, "source": one.slot.source} | _wanted(one.silence) | fresh for one in new
        ]
        await connection.execute(silences.insert(), rows)
    idle = silences.c.state != "sending"
    for name in known:
        await connection.execute(
            update(silences)
            .where(silences.c.incident_id == name)
            .values(
                **_wanted(by_id[name].silence),
                state=case((idle, "waiting"), else_=silences.c.state),
                attempt=case((idle, 0), else_=silences.c.attempt),
                next_attempt_at=case((idle, literal(now, Instant)), else_=silences.c.next_attempt_at),
            )
        )


def _wanted(silence: Silence | None) -> dict[str, Any]:
    if silence is None:
        return {"wanted_until": None, "wanted_by": None}
    return {"wanted_until": silence.until, "wanted_by": silence.by}


async def due(connection: AsyncConnection, now: datetime, limit: int) -> list[str]:
    """Name the incidents of which something can be done now, at most `limit`, the longest due first."""
    return list((await connection.execute(_DUE, {"now": now, "limit": limit})).scalars())


async def claim(
    connection: AsyncConnection,
    incident_id: str,
    now: datetime,
    lease: timedelta,
    can_tell: Callable[[str], bool],
) -> Errand | None:
    """Claim one that is due; None where another has it.

    What Alertmanager may be told is written before, where there is one for the source to tell.
    """
    free = _row(incident_id) & OPEN_SILENCE & (silences.c.next_attempt_at <= now)
    row = await _locked(connection, free)
    if row is None:
        return None
    wanted = _wish(row, now)
    told = row["told_until"] is not None and row["told_until"] > now
    may_tell = wanted.until if wanted and can_tell(row["source"]) else None
    ends = [end for end in (row["told_until"], may_tell) if end is not None]
    await connection.execute(
        update(silences)
        .where(free)
        .values(
            state="sending",
            attempt=row["attempt"] + 1,
            next_attempt_at=now + lease,
            told_until=max(ends, default=None),
        )
    )
    return Errand(incident_id, row["source"], wanted, told, row["attempt"] + 1)


def _wish(row: RowMapping, now: datetime) -> Silence | None:
    """Give what is wanted; what would be over by now is not."""
    if row["wanted_until"] is None or row["wanted_until"] <= now:
        return None
    return Silence(row["wanted_until"], row["wanted_by"])


async def settle(
    connection: AsyncConnection, errand: Errand, again_at: datetime | None, now: datetime
) -> bool:
    """Put down that an errand is done, or when it is tried again; False where another has claimed it since.

    Where something else is wanted by now, that is due at once.
    """
    mine = _row(errand.incident_id) & (silences.c.state == "sending") & (silences.c.attempt == errand.attempt)
    row = await _locked(connection, mine)
    if row is None:
        return False
    if _wish(row, now) != errand.wish:
        values = {"state": "waiting", "attempt": 0, "next_attempt_at": now}
    elif again_at is not None:
        values = {"state": "waiting", "next_attempt_at": again_at}
    else:
        values = {"state": "settled"}
    await connection.execute(update(silences).where(mine).values(values))
    return True


async def _locked(connection: AsyncConnection, which: ColumnElement[bool]) -> RowMapping | None:
    """Load a row, and let no other replica change it before this transaction ends."""
    found = await connection.execute(select(silences).where(which).with_for_update())
    return found.mappings().one_or_none()


def _row(incident_id: str) -> ColumnElement[bool]:
    return silences.c.incident_id == incident_id


async def next_due(connection: AsyncConnection) -> datetime | None:
    """When there is something to do next; None where nothing is to be done."""
    found: datetime | None = (await connection.execute(_NEXT)).scalar()
    return found


async def waiting(connection: AsyncConnection) -> int:
    """Count what Alertmanager has not done yet."""
    return (await connection.execute(select(func.count()).where(OPEN_SILENCE))).scalar_one()


async def release(connection: AsyncConnection, now: datetime) -> None:
    """Let go of every lease: for the start of the only bridge, since who took them is gone."""
    await connection.execute(
        update(silences)
        .where((silences.c.state == "sending") & (silences.c.next_attempt_at > now))
        .values(next_attempt_at=now)
    )
