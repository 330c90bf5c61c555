"""Questions of the console to the ledger: bounded, whatever is in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, TypeAlias

from sqlalchemy import Select, case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.incidents import Episode
from bridge.store import rows
from bridge.store.tables import OPEN_INCIDENT, episodes, incidents
from bridge.views.board import Counts, Listed

Which: TypeAlias = Literal["open", "closed"]

_SAMPLE: Final = 3
"""Alerts of an incident that are loaded for a list: the worst ones."""

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


async def _sample(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, dict[str, Episode]]:
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
    query = select(episodes).join(first, mine).where(first.c.place <= _SAMPLE).order_by(first.c.place)
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
