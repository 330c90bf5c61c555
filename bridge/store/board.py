"""Questions of the console to the ledger: bounded, whatever is in it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

from sqlalchemy import RowMapping, Select, case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.incidents import Episode, Slot
from bridge.store import rows
from bridge.store.tables import OPEN_INCIDENT, calls, episodes, incidents, pages, receipts, timeline
from bridge.views.board import Counts, Listed
from bridge.views.story import Phoned, Push, Said

Which: TypeAlias = Literal["open", "closed"]

_SAMPLE: Final = 3
"""Alerts of an incident that are loaded for a list: the worst ones."""

_ALERTS: Final = 25
_LINES: Final = 200
_PAGES: Final = 200
"""What one incident's page shows of each, at the most."""

_OF_CALL: Final = ("created_at", "expires_at", "accepted_at", "received_at")
_WORST: Final = ("critical", "page", "error", "warning", "info")


async def counts(connection: AsyncConnection) -> Counts:
    """Count the open incidents."""
    unanswered = (incidents.c.state == "triggered") & incidents.c.unanswered_at.is_not(None)
    query = select(
        func.coalesce(func.sum(case((incidents.c.state == "triggered", 1), else_=0)), 0),
        func.coalesce(func.sum(case((incidents.c.state == "acknowledged", 1), else_=0)), 0),
        func.coalesce(func.sum(case((unanswered, 1), else_=0)), 0),
    ).where(OPEN_INCIDENT)
    found = (await connection.execute(query)).one()
    return Counts(*map(int, found))


async def listed(connection: AsyncConnection, which: Which, offset: int, limit: int) -> list[Listed]:
    """List incidents: of the open ones those first that ring nobody any more, then those that ring."""
    heads = (await connection.execute(_heads(which).offset(offset).limit(limit))).mappings().all()
    ids = [row["id"] for row in heads]
    alerts = await _sample(connection, ids)
    numbers = await _numbers(connection, ids)
    return [
        Listed(rows.incident(row, alerts.get(row["id"], {})), *numbers.get(row["id"], (0, 0)))
        for row in heads
    ]


def _heads(which: Which) -> Select[Any]:
    of = incidents.c
    if which == "closed":
        return select(incidents).where(of.resolved_at.is_not(None)).order_by(of.resolved_at.desc())
    rank = case(
        ((of.state == "triggered") & of.unanswered_at.is_not(None), 0), (of.state == "triggered", 1), else_=2
    )
    return select(incidents).where(OPEN_INCIDENT).order_by(rank, of.opened_at.desc(), of.id)


async def _sample(
    connection: AsyncConnection, ids: Sequence[str], most: int = _SAMPLE
) -> dict[str, dict[str, Episode]]:
    of = episodes.c
    severity = func.lower(of.labels["severity"].as_string())
    rank = case({name: number for number, name in enumerate(_WORST)}, value=severity, else_=len(_WORST))
    firing = case((of.status == "firing", 0), else_=1)
    place = func.row_number().over(
        partition_by=of.incident_id, order_by=(firing, rank, of.starts_at.desc(), of.fingerprint)
    )
    placed = select(of.incident_id, of.fingerprint, place.label("place")).where(of.incident_id.in_(ids))
    first = placed.subquery()
    mine = (of.incident_id == first.c.incident_id) & (of.fingerprint == first.c.fingerprint)
    query = select(episodes).join(first, mine).where(first.c.place <= most).order_by(first.c.place)
    found: dict[str, dict[str, Episode]] = {}
    for row in (await connection.execute(query)).mappings():
        found.setdefault(row["incident_id"], {})[row["fingerprint"]] = rows.episode(row)
    return found


async def _numbers(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, tuple[int, int]]:
    firing = func.sum(case((episodes.c.status == "firing", 1), else_=0))
    query = (
        select(episodes.c.incident_id, firing, func.count())
        .where(episodes.c.incident_id.in_(ids))
        .group_by(episodes.c.incident_id)
    )
    return {name: (int(open_), all_) for name, open_, all_ in (await connection.execute(query)).all()}


@dataclass(frozen=True, slots=True)
class Told:
    """One incident with what hangs on it, each bounded; `more` counts the lines of the timeline left out."""

    listed: Listed
    events: tuple[tuple[datetime, str, str], ...]
    pushes: tuple[Push, ...]
    more: int


async def told(connection: AsyncConnection, incident_id: str) -> Told | None:
    """Tell one incident's story, as far as one page shows it: the newest of everything."""
    head = (
        (await connection.execute(select(incidents).where(incidents.c.id == incident_id))).mappings().first()
    )
    if head is None:
        return None
    alerts = await _sample(connection, [incident_id], _ALERTS)
    numbers = await _numbers(connection, [incident_id])
    listed = Listed(rows.incident(head, alerts.get(incident_id, {})), *numbers.get(incident_id, (0, 0)))
    of = timeline.c
    mine = of.incident_id == incident_id
    newest = select(of.at, of.kind, of.text).where(mine).order_by(of.id.desc()).limit(_LINES)
    events = [(at, kind, text) for at, kind, text in (await connection.execute(newest)).all()]
    all_ = (await connection.execute(select(func.count()).where(mine))).scalar_one()
    return Told(listed, tuple(reversed(events)), await _pushes(connection, incident_id), all_ - len(events))


async def _pushes(connection: AsyncConnection, incident_id: str) -> tuple[Push, ...]:
    query = (
        select(pages, *(calls.c[name].label(f"call_{name}") for name in _OF_CALL))
        .outerjoin(calls, calls.c.id == pages.c.call_id)
        .where(pages.c.incident_id == incident_id)
        .order_by(pages.c.created_at.desc(), pages.c.target)
        .limit(_PAGES)
    )
    found = (await connection.execute(query)).mappings().all()
    said = await _said(connection, {row["call_id"] for row in found if row["call_id"]})
    return tuple(_push(row, said.get(row["call_id"], ())) for row in reversed(found))


async def _said(connection: AsyncConnection, ids: Collection[str]) -> dict[str, tuple[Said, ...]]:
    of = receipts.c
    query = select(of.call_id, of.receipt, of.received_at).where(of.call_id.in_(ids)).order_by(of.received_at)
    found: dict[str, tuple[Said, ...]] = {}
    for call_id, kind, at in (await connection.execute(query)).all():
        found[call_id] = (*found.get(call_id, ()), Said(kind, at))
    return found


def _push(row: RowMapping, said: tuple[Said, ...]) -> Push:
    call = None
    if row["call_created_at"] is not None:
        accepted, received = row["call_accepted_at"], row["call_received_at"]
        call = Phoned(row["call_created_at"], row["call_expires_at"], accepted, received, said)
    return Push(
        target=row["target"],
        kind=row["kind"],
        series=row["series"],
        step=row["step"],
        ring=row["ring"],
        created_at=row["created_at"],
        outcome=row["outcome"],
        reason=row["reason"],
        settled_at=row["settled_at"],
        call=call,
    )


async def past_alerts(connection: AsyncConnection, limit: int) -> list[tuple[str, Episode]]:
    """List alerts of the newest incidents, each with its incident's id: to be picked from."""
    newest = select(incidents.c.id).order_by(incidents.c.opened_at.desc()).limit(limit)
    ids = list((await connection.execute(newest)).scalars())
    found = await _sample(connection, ids, 1)
    return [(name, episode) for name in ids for episode in found.get(name, {}).values()]


async def alerts_of(
    connection: AsyncConnection, incident_id: str, fingerprint: str | None, limit: int
) -> tuple[Slot, list[Episode]] | None:
    """Give an incident's slot, and its alerts by fingerprint, or the one of it; None: no such incident."""
    wanted = select(incidents).where(incidents.c.id == incident_id)
    head = (await connection.execute(wanted)).mappings().first()
    if head is None:
        return None
    mine = select(episodes).where(episodes.c.incident_id == incident_id)
    if fingerprint is not None:
        mine = mine.where(episodes.c.fingerprint == fingerprint)
    found = await connection.execute(mine.order_by(episodes.c.fingerprint).limit(limit))
    return rows.incident(head, {}).slot, [rows.episode(row) for row in found.mappings()]
