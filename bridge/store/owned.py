"""What a phone may see: the incidents that ring its owner, or could."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, RowMapping, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.bundles import Call
from bridge.incidents import Incident
from bridge.store.calls import call_of
from bridge.store.columns import chunks
from bridge.store.tables import calls, devices, incidents, pages, timeline
from bridge.store.tx import load_incidents

_IN_PLAY = ("sending", "open")


@dataclass(frozen=True, slots=True)
class View:
    """One person's part of the ledger: those receivers that can ring them, and their devices."""

    owner: str
    receivers: Collection[str]

    def incidents(self) -> ColumnElement[bool]:
        """The condition that an incident is in it."""
        mine = select(devices.c.name).where(devices.c.owner == self.owner)
        paged = select(pages.c.id).where(
            pages.c.incident_id == incidents.c.id, pages.c.kind != "webhook", pages.c.target.in_(mine)
        )
        return or_(incidents.c.receiver.in_(list(self.receivers)), paged.exists())


async def list_incidents(
    connection: AsyncConnection,
    view: View,
    *,
    closed: bool,
    limit: int,
    before: tuple[datetime, str] | None,
) -> tuple[Incident, ...]:
    """List incidents, the newest first; `before` is where the last page ended: (opened_at, id)."""
    conditions = [view.incidents()]
    if not closed:
        conditions.append(incidents.c.state != "resolved")
    if before is not None:
        at, name = before
        same = and_(incidents.c.opened_at == at, incidents.c.id < name)
        conditions.append(or_(incidents.c.opened_at < at, same))
    query = select(incidents.c.id).where(*conditions)
    query = query.order_by(incidents.c.opened_at.desc(), incidents.c.id.desc()).limit(limit)
    return await load_incidents(connection, list((await connection.execute(query)).scalars()))


async def find_incident(connection: AsyncConnection, view: View, name: str) -> Incident | None:
    """Load an incident of the view."""
    query = select(incidents.c.id).where(view.incidents(), incidents.c.id == name)
    found = await load_incidents(connection, list((await connection.execute(query)).scalars()))
    return found[0] if found else None


async def timelines(connection: AsyncConnection, ids: Iterable[str]) -> dict[str, list[RowMapping]]:
    """Load the timelines of incidents."""
    found: dict[str, list[RowMapping]] = {name: [] for name in ids}
    for chunk in chunks(list(found)):
        query = select(timeline).where(timeline.c.incident_id.in_(chunk)).order_by(timeline.c.id)
        for row in (await connection.execute(query)).mappings():
            found[row["incident_id"]].append(row)
    return found


async def newest_event(connection: AsyncConnection) -> int:
    """Give the id of the last line of any timeline; 0 before the first."""
    return (await connection.execute(select(func.max(timeline.c.id)))).scalar() or 0


async def events_after(
    connection: AsyncConnection, view: View, last: int, limit: int
) -> Sequence[RowMapping]:
    """List what happened to the view's incidents after an event, the oldest first."""
    query = (
        select(timeline)
        .join(incidents, incidents.c.id == timeline.c.incident_id)
        .where(timeline.c.id > last, view.incidents())
        .order_by(timeline.c.id)
        .limit(limit)
    )
    return (await connection.execute(query)).mappings().all()


async def live_calls(connection: AsyncConnection, device: str, now: datetime) -> tuple[Call, ...]:
    """List the calls that may still be ringing on a device."""
    query = select(calls).where(
        calls.c.device == device,
        calls.c.push == "voip",
        calls.c.state.in_(_IN_PLAY),
        calls.c.expires_at > now,
    )
    return tuple(call_of(row) for row in (await connection.execute(query)).mappings())


async def awaited(connection: AsyncConnection, call: Call) -> bool:
    """Tell whether some incident still needs the call, where `bundles.over` is None: loads no alerts."""
    begun_anew = (incidents.c.revision == pages.c.revision) & (incidents.c.series != pages.c.series)
    query = (
        select(pages.c.id)
        .join(incidents, incidents.c.id == pages.c.incident_id)
        .where(pages.c.call_id == call.id, incidents.c.state == "triggered", ~begun_anew)
        .limit(1)
    )
    return (await connection.execute(query)).first() is not None


async def series_of(connection: AsyncConnection, call_id: str) -> dict[str, int]:
    """Say of each incident that a call carries in which series it rang."""
    query = select(pages.c.incident_id, pages.c.series).where(pages.c.call_id == call_id)
    return {name: series for name, series in await connection.execute(query)}  # noqa: C416 - as in queries
