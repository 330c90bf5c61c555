"""Drills in the ledger: up to when their hours are dealt with, what came of each, what is in their way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import RowMapping, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.drills import Mark, Member, Result
from bridge.store.tables import OPEN_DRILL, drill_runs, drills, incidents, pages

_RINGS: Final = ("ring", "fallback")
_KEPT: Final = 100
"""What came of so many times is kept of each drill, however long that is: some come once in a quarter."""

_DRILLED: Final = select(incidents.c.id).where(OPEN_DRILL & (incidents.c.state == "triggered"))
_ANY_DRILLED: Final = _DRILLED.limit(1)
_REAL: Final = pages.alias()
_IN_THE_WAY: Final = (
    select(pages.c.incident_id)
    .join(_REAL, _REAL.c.target == pages.c.target)
    .where(pages.c.incident_id.in_(_DRILLED) & pages.c.kind.in_(_RINGS))
    .where((_REAL.c.state != "settled") & ~_REAL.c.drill & _REAL.c.kind.in_(_RINGS))
    .distinct()
)


@dataclass(frozen=True, slots=True)
class Run:
    """One time that a drill rang, or was missed. `outcome` None: it goes on."""

    id: str
    drill: str
    due_at: datetime
    ends_at: datetime
    members: tuple[Member, ...] = ()
    outcome: str | None = None
    ended_at: datetime | None = None
    results: tuple[Result, ...] = ()


async def marks(connection: AsyncConnection, *, lock: bool = False) -> dict[str, Mark]:
    """Give all marks, by drill; with `lock`, nobody else changes them until the commit."""
    query = select(drills).order_by(drills.c.name)
    # SQLite has nothing to lock: its writer is alone.
    found = await connection.execute(query.with_for_update() if lock else query)
    return {row["name"]: Mark(row["name"], row["hours"], row["decided_until"]) for row in found.mappings()}


async def set_mark(connection: AsyncConnection, known: Mapping[str, Mark], mark: Mark) -> None:
    """Write a mark, where it is not as it was `known`."""
    if mark.name not in known:
        await connection.execute(drills.insert(), asdict(mark))
    elif known[mark.name] != mark:
        await connection.execute(update(drills).where(drills.c.name == mark.name).values(asdict(mark)))


async def forget(connection: AsyncConnection, names: Iterable[str]) -> None:
    """Delete the marks of drills that are gone: should one come back, it begins anew."""
    if names := list(names):
        await connection.execute(drills.delete().where(drills.c.name.in_(names)))


async def add(connection: AsyncConnection, run: Run) -> None:
    """Write a run, and let go of the oldest of its drill."""
    row = asdict(run)
    row |= {"members": list(row["members"]), "results": [_out(result) for result in run.results]}
    await connection.execute(drill_runs.insert(), row)
    mine = drill_runs.c.drill == run.drill
    newest = select(drill_runs.c.id).where(mine).order_by(drill_runs.c.due_at.desc()).limit(_KEPT)
    kept = list((await connection.execute(newest)).scalars())
    await connection.execute(
        drill_runs.delete().where(mine & drill_runs.c.id.not_in(kept) & drill_runs.c.outcome.is_not(None))
    )


async def finish(
    connection: AsyncConnection, run: Run, outcome: str, results: Iterable[Result], now: datetime
) -> None:
    """Write what came of a run."""
    values = {"outcome": outcome, "ended_at": now, "results": [_out(result) for result in results]}
    await connection.execute(update(drill_runs).where(drill_runs.c.id == run.id).values(values))


async def going_on(connection: AsyncConnection, *, lock: bool = False) -> tuple[Run, ...]:
    """List the runs that go on."""
    query = select(drill_runs).where(drill_runs.c.outcome.is_(None)).order_by(drill_runs.c.due_at)
    found = await connection.execute(query.with_for_update() if lock else query)
    return tuple(map(_run, found.mappings()))


async def runs_of(connection: AsyncConnection, drill: str, limit: int) -> tuple[Run, ...]:
    """List the last runs of a drill, the newest first."""
    query = select(drill_runs).where(drill_runs.c.drill == drill)
    found = await connection.execute(query.order_by(drill_runs.c.due_at.desc()).limit(limit))
    return tuple(map(_run, found.mappings()))


async def in_the_way(connection: AsyncConnection) -> tuple[str, ...]:
    """List the drills that ring a phone, or would, for which a page that is no drill's waits."""
    if (await connection.execute(_ANY_DRILLED)).first() is None:
        return ()
    return tuple((await connection.execute(_IN_THE_WAY)).scalars())


def _run(row: RowMapping) -> Run:
    known = {name: row[name] for name in ("id", "drill", "due_at", "ends_at", "outcome", "ended_at")}
    members = tuple(Member(**one) for one in row["members"])
    return Run(**known, members=members, results=tuple(map(_in, row["results"])))


def _out(result: Result) -> dict[str, Any]:
    return asdict(result) | {"at": result.at and result.at.isoformat()}


def _in(row: dict[str, Any]) -> Result:
    return Result(**row | {"at": row["at"] and datetime.fromisoformat(row["at"])})
