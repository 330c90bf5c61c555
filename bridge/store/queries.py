"""Questions to the ledger that change nothing: listings, one incident's story, counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias

from sqlalchemy import ColumnElement, and_, bindparam, func, literal, or_, select, true, tuple_, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.alerts import DRILL_SOURCE, INTERNAL_SOURCE
from bridge.store import enrolment, rows
from bridge.store.devices import DOUBTFUL
from bridge.store.tables import (
    OPEN_INCIDENT,
    OPEN_PAGE,
    OPEN_SILENCE,
    actions,
    calls,
    devices,
    enrolments,
    episodes,
    incidents,
    notifications,
    overrides,
    pages,
    receipts,
    silences,
    timeline,
    unheard,
)
from bridge.store.tx import load_incidents

OVERDUE: Final = timedelta(minutes=2)
"""A page that is this long past its time without an outcome is a fault of the bridge (rule 12)."""

_DUE: Final = (
    select(incidents.c.id)
    .where(incidents.c.wake_at <= bindparam("now"))
    .order_by(incidents.c.wake_at)
    .limit(bindparam("limit"))
)
_TIMES: Final = union_all(
    select(func.min(incidents.c.wake_at).label("at")), select(func.min(calls.c.receipt_due_at))
).subquery()
_NEXT_DECISION: Final = select(func.min(_TIMES.c.at))


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts for metrics and readiness. `oldest` is the due time of the longest waiting page.

    `bare` phones get pushes and have no encryption key. `overdue_since` is when the time of the first page
    was over that is overdue; `unheard_alarms` counts the bridge's own alarms whose whole policy has reached
    nobody.
    """

    pages: Mapping[str, int]
    incidents: Mapping[str, int]
    unanswered: int
    oldest: datetime | None
    overdue: int
    troubled: Mapping[str, str]
    doubtful: Mapping[str, int] = field(default_factory=dict)
    overdue_since: datetime | None = None
    bare: int = 0
    unheard_alarms: int = 0


async def stats(connection: AsyncConnection, now: datetime) -> Stats:
    """Count."""
    by_state = await connection.execute(
        select(pages.c.state, func.count()).where(OPEN_PAGE).group_by(pages.c.state)
    )
    by_incident = await connection.execute(
        select(incidents.c.state, func.count()).where(OPEN_INCIDENT).group_by(incidents.c.state)
    )
    real = incidents.c.source != DRILL_SOURCE
    unanswered = (
        real & OPEN_INCIDENT & incidents.c.unanswered_at.is_not(None) & (incidents.c.state == "triggered")
    )
    alarm = (incidents.c.source == INTERNAL_SOURCE) & OPEN_INCIDENT & (incidents.c.state == "triggered")
    unheard = alarm & (incidents.c.round > 1) & ~incidents.c.reached
    oldest: datetime | None = (
        await connection.execute(select(func.min(pages.c.due_at)).where(OPEN_PAGE))
    ).scalar()
    late = OPEN_PAGE & (pages.c.expires_at <= now - OVERDUE)
    count, first = (
        await connection.execute(select(func.count(), func.min(pages.c.expires_at)).where(late))
    ).one()
    trouble = await connection.execute(
        select(devices.c.name, func.coalesce(devices.c.voip_trouble, devices.c.alert_trouble)).where(
            devices.c.removed_at.is_(None)
            & (devices.c.voip_trouble.is_not(None) | devices.c.alert_trouble.is_not(None))
        )
    )
    doubtful = await connection.execute(
        select(devices.c.name, devices.c.silent_calls).where(
            devices.c.removed_at.is_(None) & (devices.c.silent_calls >= DOUBTFUL)
        )
    )
    return Stats(
        pages={"waiting": 0, "sending": 0} | _counts(by_state),
        incidents={"triggered": 0, "acknowledged": 0} | _counts(by_incident),
        unanswered=(await connection.execute(select(func.count()).where(unanswered))).scalar_one(),
        oldest=oldest,
        overdue=count,
        overdue_since=first,
        troubled=_counts(trouble),
        doubtful=_counts(doubtful),
        bare=(await connection.execute(select(func.count()).where(enrolment.BARE))).scalar_one(),
        unheard_alarms=(await connection.execute(select(func.count()).where(unheard))).scalar_one(),
    )


Place: TypeAlias = tuple[datetime, str]
"""Where a page stands among those that are overdue: when its time was over, and its id."""


@dataclass(frozen=True, slots=True)
class Overdue:
    """A page past its time without an outcome, and what a log says of it."""

    place: Place
    shown: Mapping[str, Any]


async def overdue(
    connection: AsyncConnection, now: datetime, after: Place | None, limit: int
) -> list[Overdue]:
    """List the pages that are overdue, in the order in which they became so, after that one."""
    late = OPEN_PAGE & (pages.c.expires_at <= now - OVERDUE)
    if after is not None:
        same = (pages.c.expires_at == after[0]) & (pages.c.id > after[1])
        late &= (pages.c.expires_at > after[0]) | same
    query = select(pages).where(late).order_by(pages.c.expires_at, pages.c.id).limit(limit)
    found = (await connection.execute(query)).mappings()
    return [
        Overdue(
            (row["expires_at"], row["id"]),
            {
                "page": row["id"],
                "incident": row["incident_id"],
                "kind": row["kind"],
                "target": row["target"],
                "state": row["state"],
                "attempt": row["attempt"],
                "reason": row["reason"],
            },
        )
        for row in found
    ]


def _counts(found: Iterable[Any]) -> dict[str, Any]:
    return {name: value for name, value in found}  # noqa: C416 - dict() takes a result for a mapping


async def due_incidents(connection: AsyncConnection, now: datetime, limit: int) -> list[str]:
    """List the incidents about which the clock has something to decide."""
    return list((await connection.execute(_DUE, {"now": now, "limit": limit})).scalars())


async def next_decision(connection: AsyncConnection) -> datetime | None:
    """When the clock has something to decide next, about an incident or a call without its receipt."""
    found: datetime | None = (await connection.execute(_NEXT_DECISION)).scalar()
    return found


async def open_incidents(connection: AsyncConnection) -> list[tuple[str, str]]:
    """List every open incident with its source."""
    found = await connection.execute(select(incidents.c.id, incidents.c.source).where(OPEN_INCIDENT))
    return [(name, source) for name, source in found]


async def list_incidents(connection: AsyncConnection, *, closed: bool, limit: int) -> list[dict[str, Any]]:
    """List incidents, the open ones or all, newest first, as JSON-able rows."""
    query = select(incidents.c.id).order_by(incidents.c.opened_at.desc()).limit(limit)
    if not closed:
        query = query.where(OPEN_INCIDENT)
    ids = list((await connection.execute(query)).scalars())
    return [summary(incident) for incident in await load_incidents(connection, ids)]


def summary(incident: Any) -> dict[str, Any]:
    """Say of one incident what a listing shows."""
    firing = incident.firing
    shown = firing or tuple(incident.alerts.values())
    common = dict(incident.slot.group)
    return {
        "id": incident.id,
        "state": incident.state.value,
        "source": incident.slot.source,
        "drill": incident.drill,
        "receiver": incident.slot.receiver,
        "group": common,
        "title": common.get("alertname") or (shown[0].labels.get("alertname", "") if shown else ""),
        "alerts_firing": len(firing),
        "alerts": len(incident.alerts),
        "truncated_alerts": incident.truncated_alerts,
        "revision": incident.revision,
        "step": incident.step,
        "ring": incident.ring,
        "next_ring_at": _iso(incident.due_at),
        "opened_at": _iso(incident.opened_at),
        "silenced_until": _iso(incident.silenced_until),
        "acknowledged_at": _iso(incident.acknowledged_at),
        "acknowledged_by": incident.acknowledged_by,
        "resolved_at": _iso(incident.resolved_at),
        "resolution": incident.resolution,
        "unanswered_at": _iso(incident.unanswered_at),
    }


async def show_incident(connection: AsyncConnection, incident_id: str) -> dict[str, Any] | None:
    """Tell one incident's whole story: alerts, pages with their outcomes, calls, timeline."""
    found = await load_incidents(connection, [incident_id])
    if not found:
        return None
    incident = found[0]
    its_pages = await _rows(
        connection, select(pages).where(pages.c.incident_id == incident_id).order_by(pages.c.due_at)
    )
    call_ids = sorted({page["call_id"] for page in its_pages if page["call_id"]})
    return {
        **summary(incident),
        "external_url": incident.external_url,
        "group_key": incident.group_key,
        "told": list(incident.told),
        "episodes": await _rows(
            connection,
            select(episodes).where(episodes.c.incident_id == incident_id).order_by(episodes.c.starts_at),
        ),
        "pages": its_pages,
        "calls": await _rows(
            connection, select(calls).where(calls.c.id.in_(call_ids)).order_by(calls.c.created_at)
        ),
        "receipts": await _rows(
            connection,
            select(receipts).where(receipts.c.call_id.in_(call_ids)).order_by(receipts.c.received_at),
        ),
        "timeline": await _rows(
            connection,
            select(timeline.c.at, timeline.c.kind, timeline.c.text)
            .where(timeline.c.incident_id == incident_id)
            .order_by(timeline.c.id),
        ),
    }


_NOTIFICATIONS: Final = 1000
"""Notifications in one incident's story: the newest."""


async def show_record(connection: AsyncConnection, incident_id: str) -> dict[str, Any] | None:
    """Tell one incident's story with the notifications that brought it alerts, or ended them."""
    story = await show_incident(connection, incident_id)
    if story is None:
        return None
    lived = await connection.execute(
        select(incidents.c.opened_at, incidents.c.resolved_at).where(incidents.c.id == incident_id)
    )
    begun, ended = lived.one()
    mine = notifications.c.at >= begun
    mine &= literal(ended is None) | (notifications.c.at <= (ended or begun))
    named = (
        column.contains(f"{incident_id}:", autoescape=True)
        for column in (notifications.c.firing, notifications.c.resolved)
    )
    newest = select(notifications).where(mine & or_(*named)).order_by(notifications.c.id.desc())
    found = (await connection.execute(newest.limit(_NOTIFICATIONS))).mappings().all()
    return story | {"notifications": [_of_incident(row, incident_id) for row in reversed(found)]}


def _of_incident(row: Any, incident_id: str) -> dict[str, Any]:
    brought = {name: list(rows.ways(row[name]).get(incident_id, ())) for name in ("firing", "resolved")}
    return {"id": row["id"], "at": _iso(row["at"]), "source": row["source"]} | brought


async def prune(connection: AsyncConnection, before: datetime, limit: int) -> int:
    """Delete of each table up to `limit` rows of incidents that closed before then, and of old calls.

    So it does with notifications, codes and requests of phones. Gives how many rows it deleted; 0: none
    is left. An incident goes when nothing hangs on it any more: one with many alerts takes several rounds.
    What is open, or still has a page without outcome, or a silence to be ended, stays.
    """
    open_page = select(pages.c.id).where((pages.c.incident_id == incidents.c.id) & OPEN_PAGE).exists()
    of_it = silences.c.incident_id == incidents.c.id
    open_silence = select(silences.c.incident_id).where(of_it & OPEN_SILENCE).exists()
    over = (incidents.c.resolved_at < before) & ~open_page & ~open_silence
    ids = list((await connection.execute(select(incidents.c.id).where(over).limit(limit))).scalars())
    # SQLite numbers on from the highest id that is there, and phones ask for what came after the last one.
    newest = select(func.max(timeline.c.id)).scalar_subquery()
    hanging = (episodes, pages, silences, timeline)
    done = 0
    for table in hanging:
        theirs = table.c.incident_id.in_(ids) & (timeline.c.id < newest if table is timeline else true())
        done += await _cut(connection, table, theirs, limit)
    left = (table.c.incident_id for table in hanging)
    bare = and_(*(~select(name).where(name == incidents.c.id).exists() for name in left))
    done += await _cut(connection, incidents, incidents.c.id.in_(ids) & bare, limit)
    in_use = select(pages.c.call_id).where(pages.c.call_id == calls.c.id).exists()
    old = select(calls.c.id).where((calls.c.created_at < before) & ~in_use).limit(limit)
    gone = list((await connection.execute(old)).scalars())
    done += await _cut(connection, receipts, receipts.c.call_id.in_(gone), limit)
    silent = ~select(receipts.c.call_id).where(receipts.c.call_id == calls.c.id).exists()
    done += await _cut(connection, calls, calls.c.id.in_(gone) & silent, limit)
    times = (
        notifications.c.at,
        enrolments.c.expires_at,
        actions.c.at,
        overrides.c.end_at,
        unheard.c.ended_at,
    )
    for at in times:
        done += await _cut(connection, at.table, at < before, limit)
    return done


async def _cut(connection: AsyncConnection, table: Any, where: ColumnElement[bool], limit: int) -> int:
    """Delete up to `limit` of these rows."""
    key = tuple_(*table.primary_key.columns)
    some = select(*table.primary_key.columns).where(where).limit(limit)
    return (await connection.execute(table.delete().where(key.in_(some)))).rowcount


async def _rows(connection: AsyncConnection, query: Any) -> list[dict[str, Any]]:
    found = await connection.execute(query)
    # str(): SQLAlchemy's names are a kind of str, which orjson does not take for a key.
    return [{str(name): _iso(value) for name, value in row.items()} for row in found.mappings()]


def _iso(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
