"""What an audit looks at: windows over notifications, incidents, pages and calls, judged by `invariants`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import and_, case, exists, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.incidents import QUIET
from bridge.store import accepted, invariants
from bridge.store.columns import chunks
from bridge.store.handsets import LOST
from bridge.store.invariants import Case, Row, Rung
from bridge.store.tables import (
    OPEN_PAGE,
    SENDING_CALL,
    calls,
    devices,
    episodes,
    incidents,
    pages,
    receipts,
    timeline,
)
from bridge.store.windows import WINDOW, Finding, Look, Span, Window, last, rows_of

# --- incidents --------------------------------------------------------------------------------


async def _incidents(connection: AsyncConnection, span: Span, after: str) -> Window:
    ended = incidents.c.resolved_at
    alive = (incidents.c.opened_at <= span.until) & (ended.is_(None) | (ended >= span.since))
    query = select(*_CASE).where(alive & (incidents.c.id > after)).order_by(incidents.c.id).limit(WINDOW)
    found = await rows_of(connection, query)
    ids = [row["id"] for row in found]
    cases = await _cases(connection, found, ids)
    findings = tuple(
        Finding(check, "incident", one.row["id"], one.row["id"], one.row["opened_at"], text)
        for one in cases
        for check, text in invariants.incident(one, span.now)
    )
    return Window(len(ids), findings, last(ids))


_CASE: Final = tuple(
    incidents.c[name]
    for name in (
        *("id", "state", "series", "round", "step", "ring", "due_at", "wake_at", "opened_at"),
        *("acknowledged_until", "resolved_at", "resolution"),
    )
)


async def _cases(connection: AsyncConnection, found: Sequence[Row], ids: Sequence[str]) -> list[Case]:
    fires = (episodes.c.incident_id.in_(ids)) & (episodes.c.status == "firing")
    firing = await connection.execute(
        select(episodes.c.incident_id, func.count(), func.min(episodes.c.expires_at))
        .where(fires)
        .group_by(episodes.c.incident_id)
    )
    alerts = {name: (count, first) for name, count, first in firing}
    here = and_(*(pages.c[name] == incidents.c[name] for name in ("series", "round", "step", "ring")))
    its = pages.join(incidents, pages.c.incident_id == incidents.c.id)
    mine = pages.c.incident_id.in_(ids) & pages.c.kind.not_in(QUIET)
    paged = await connection.execute(
        select(pages.c.incident_id).select_from(its).where(mine & here).distinct()
    )
    wanted = await connection.execute(
        select(pages.c.incident_id, func.count())
        .where(mine & OPEN_PAGE & pages.c.withdrawn.is_(None))
        .group_by(pages.c.incident_id)
    )
    told = await connection.execute(
        select(timeline.c.incident_id, timeline.c.kind, func.max(timeline.c.at))
        .where(timeline.c.incident_id.in_(ids))
        .group_by(timeline.c.incident_id, timeline.c.kind)
    )
    lines: dict[str, dict[str, datetime]] = defaultdict(dict)
    for name, kind, at in told:
        lines[name][kind] = at
    rung, open_pages = set(paged.scalars()), {name: count for name, count in wanted}  # noqa: C416 - as in queries
    return [
        Case(
            row,
            *alerts.get(row["id"], (0, None)),
            paged=row["id"] in rung,
            wanted=open_pages.get(row["id"], 0),
            lines=lines[row["id"]],
        )
        for row in found
    ]


# --- pages ------------------------------------------------------------------------------------


async def _pages(connection: AsyncConnection, span: Span, after: str) -> Window:
    made = (pages.c.created_at >= span.since) & (pages.c.created_at <= span.until)
    beside = pages.outerjoin(incidents, incidents.c.id == pages.c.incident_id)
    beside = beside.outerjoin(calls, calls.c.id == pages.c.call_id)
    columns = (*_PAGE, incidents.c.id.is_not(None).label("known"), calls.c.state.label("call_state"))
    query = select(*columns).select_from(beside).where(made & (pages.c.id > after))
    found = await rows_of(connection, query.order_by(pages.c.id).limit(WINDOW))
    findings = tuple(
        Finding(check, "page", row["id"], row["incident_id"], row["created_at"], text)
        for row in found
        for check, text in invariants.page(row, span.now)
    )
    return Window(len(found), findings, last([row["id"] for row in found]))


_PAGE: Final = tuple(
    pages.c[name]
    for name in (
        *("id", "incident_id", "kind", "push", "state", "outcome", "reason", "call_id", "created_at"),
        *("expires_at", "next_attempt_at", "settled_at"),
    )
)


# --- calls ------------------------------------------------------------------------------------


async def _calls(connection: AsyncConnection, span: Span, after: str) -> Window:
    made = (calls.c.created_at >= span.since) & (calls.c.created_at <= span.until)
    there = (devices.c.name == calls.c.device) & devices.c.enrolled & devices.c.removed_at.is_(None)
    query = select(calls, devices.c.enrolled_at).select_from(calls.outerjoin(devices, there))
    query = query.where(made & (calls.c.id > after)).order_by(calls.c.id).limit(WINDOW)
    found = await rows_of(connection, query)
    ids = [row["id"] for row in found]
    came: dict[str, set[str]] = defaultdict(set)
    got = select(receipts.c.call_id, receipts.c.receipt).where(receipts.c.call_id.in_(ids)).distinct()
    for name, kind in await connection.execute(got):
        came[name].add(kind)
    findings = []
    for row in found:
        answers, rung = await _answers(connection, row), await _rung(connection, row)
        wrong = invariants.call(row, came[row["id"]], rung, answers, span.now)
        findings += [
            Finding(check, "call", row["id"], None, row["created_at"], text) for check, text in wrong
        ]
    return Window(len(found), tuple(findings), last(ids))


async def _answers(connection: AsyncConnection, row: Row) -> set[str]:
    """List the incidents of an answered call that tell of the answer, or are not in the ledger any more."""
    if row["state"] != "answered":
        return set()
    carried = {name for name, _ in row["carries"]}
    said: set[str] = set()
    for part in chunks(sorted(carried)):
        there = select(incidents.c.id).where(incidents.c.id.in_(part))
        said |= set(part) - set((await connection.execute(there)).scalars())
        mine = timeline.c.incident_id.in_(part) & timeline.c.kind.in_(invariants.ANSWERS)
        told = select(timeline.c.incident_id).where(mine & (timeline.c.at >= row["created_at"])).distinct()
        said |= set((await connection.execute(told)).scalars())
    return said


async def _rung(connection: AsyncConnection, row: Row) -> list[Rung]:
    """Load the pages of a call of which the phone said nothing, and what became of their incidents."""
    if not invariants.awaited(row) or row["receipt_due_at"] is not None:
        return []
    place = (pages.c[name].label(f"page_{name}") for name in ("series", "round", "step"))
    now_at = (incidents.c[name] for name in ("state", "series", "round", "step", "due_at", "out"))
    both = pages.join(incidents, incidents.c.id == pages.c.incident_id)
    query = select(pages.c.incident_id, *place, *now_at).select_from(both)
    found = await rows_of(connection, query.where(pages.c.call_id == row["id"]))
    went: dict[str, list[datetime]] = defaultdict(list)
    for part in chunks(sorted({one["incident_id"] for one in found})):
        mine = timeline.c.incident_id.in_(part) & timeline.c.kind.in_(["fallback", "out of step"])
        mine &= timeline.c.text.startswith(f"{row['device']}: ", autoescape=True)
        for name, at in await connection.execute(select(timeline.c.incident_id, timeline.c.at).where(mine)):
            went[name].append(at)
    return [Rung(one, tuple(went[one["incident_id"]])) for one in found]


_PAGES_OF_IT: Final = exists().where(pages.c.call_id == calls.c.id)
_REFUSED: Final = SENDING_CALL & _PAGES_OF_IT & ~_PAGES_OF_IT.where(pages.c.outcome.is_(None) | LOST)
"""A call that APNs refused, at the first attempt, for all of its pages: it never rang."""


async def _uuids(connection: AsyncConnection, span: Span, after: str) -> Window:
    """Look at the UUIDs that a device got more than once, in the order of (device, UUID)."""
    name = calls.c.device + " " + calls.c.uuid
    mine = (calls.c.push == "voip") & (calls.c.created_at >= span.since) & (calls.c.created_at <= span.until)
    mine &= ~_REFUSED
    more = select(name).where(mine & (name > after)).group_by(name).having(func.count() > 1)
    keys = list((await connection.execute(more.order_by(name).limit(WINDOW))).scalars())
    ends = select(func.max(receipts.c.received_at)).where(receipts.c.call_id == calls.c.id).scalar_subquery()
    over = case((calls.c.state.in_(["answered", "declined", "failed"]), ends), else_=calls.c.expires_at)
    query = select(calls.c.id, calls.c.device, calls.c.uuid, calls.c.created_at, over.label("over_at"))
    findings = []
    for key in keys:
        same = await rows_of(
            connection, query.where(mine & (name == key)).order_by(calls.c.created_at).limit(WINDOW)
        )
        findings += [
            Finding(check, "call", row["id"], None, row["created_at"], text)
            for row, (check, text) in invariants.one_uuid(same)
        ]
    return Window(0, tuple(findings), last(keys))


LOOKS: Final[Mapping[str, Look]] = {
    "notifications": accepted.look,
    "incidents": _incidents,
    "pages": _pages,
    "calls": _calls,
    "uuids": _uuids,
}
