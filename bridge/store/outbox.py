"""The outbox in the ledger: claim what is due, settle what came of it.

A claim raises `attempt` and takes a lease by setting `next_attempt_at`; a settlement counts
only if the attempt is still the claim's. A bridge that dies in between leaves a page that
is due again when the lease has run out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Flag, auto
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, bindparam, case, func, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.bundles import Bundle, Call, Handset, Line, plan
from bridge.incidents import Page
from bridge.store import rows
from bridge.store.columns import Instant
from bridge.store.tables import OPEN_PAGE, calls, devices, pages

_BATCH: Final = 500
"""Pages that one claim takes, and settles on the way: enough for a storm, few enough for one transaction."""

_LONGEST_CALL: Final = timedelta(hours=1)
"""No call rings longer, so that what is older need not be looked at."""

_FRESH_CALL: Final = (pages.c.push == "voip") & (pages.c.kind != "webhook") & pages.c.call_id.is_(None)


@dataclass(frozen=True, slots=True)
class Settled:
    """A page that has its outcome."""

    page: Page
    outcome: str
    reason: str | None
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Claim:
    """Bundles to send, and the pages that were settled on the way because nobody wants them any more.

    `more`: there may be as many again.
    """

    bundles: tuple[Bundle, ...] = ()
    settled: tuple[Settled, ...] = ()
    more: bool = False


class Ways(Flag):
    """The ways out of the bridge: a jam on one of them must not hold up the other."""

    PUSHES = auto()
    POSTS = auto()


_ALL_WAYS: Final = Ways.PUSHES | Ways.POSTS


async def claim(
    connection: AsyncConnection,
    now: datetime,
    lease: timedelta,
    quiet_gap: timedelta,
    ways: Ways = _ALL_WAYS,
) -> Claim:
    """Claim what is due and may go out now, by these ways."""
    swept = await _sweep(connection, now)
    handsets = await _handsets(connection, now)
    due = await _due(connection, now, _busy(handsets, now, quiet_gap), ways)
    more = len(swept) == _BATCH or len(due) >= _BATCH
    if not due:
        return Claim(settled=swept, more=more)
    lines = [Line(rows.page(row), row["attempt"], row["call_id"]) for row in due.values()]
    bound = {line.call_id for line in lines if line.call_id is not None}
    planned = plan(lines, handsets, await _calls(connection, bound), now, quiet_gap)
    late = tuple(_swept(due[line.page.id]) for line in planned.late)
    await _write(connection, late, now)
    return Claim(await _take(connection, planned.bundles, now, lease), (*swept, *late), more)


def _busy(handsets: Mapping[str, Handset], now: datetime, quiet_gap: timedelta) -> ColumnElement[bool]:
    """The condition that a page waits for its phone; a drill may have to where another has not."""
    real, drill = (
        [name for name, handset in handsets.items() if not handset.may_ring(now, quiet_gap, drill=drill)]
        for drill in (False, True)
    )
    return _FRESH_CALL & (pages.c.target.in_(real) | (pages.c.drill & pages.c.target.in_(drill)))


def _unwanted(now: datetime) -> ColumnElement[bool]:
    return (pages.c.expires_at <= now) | pages.c.withdrawn.is_not(None)


async def _sweep(connection: AsyncConnection, now: datetime) -> tuple[Settled, ...]:
    """Settle pages past their time. One that is being sent is left until its lease has run out."""
    idle = (pages.c.state == "waiting") | (pages.c.next_attempt_at <= now)
    unwanted = select(pages).where(OPEN_PAGE & idle & _unwanted(now)).limit(_BATCH)
    found = await connection.execute(unwanted.with_for_update(skip_locked=True))
    settled = tuple(_swept(row) for row in found.mappings())
    await _write(connection, settled, now)
    return settled


def _swept(row: RowMapping) -> Settled:
    if row["withdrawn"] is not None:
        return Settled(rows.page(row), "withdrawn", row["withdrawn"])
    tried = row["reason"] or ("its phone was busy" if row["attempt"] == 0 else "no answer in time")
    return Settled(rows.page(row), "expired", tried, row["attempt"])


async def _due(
    connection: AsyncConnection, now: datetime, waits: ColumnElement[bool], ways: Ways
) -> dict[str, RowMapping]:
    """Load pages that can go out now: however many wait for a busy phone, they keep nobody else waiting.

    Of a phone that is among the first they are all, however many: what is due travels in one call.
    """
    due = OPEN_PAGE & (pages.c.next_attempt_at <= now) & ~_unwanted(now)
    if Ways.POSTS not in ways:
        due &= pages.c.kind != "webhook"
    if Ways.PUSHES not in ways:
        due &= pages.c.kind == "webhook"
    # A page that somebody else holds, an operator at psql, keeps no other waiting. SQLite has no such locks.
    wanted = select(pages).where(due & ~waits).with_for_update(skip_locked=True)
    first = wanted.order_by(pages.c.next_attempt_at).limit(_BATCH)
    found = {row["id"]: row for row in (await connection.execute(first)).mappings()}
    if len(found) == _BATCH:
        phones = {row["target"] for row in found.values() if row["kind"] != "webhook"}
        rest = wanted.where((pages.c.kind != "webhook") & pages.c.target.in_(phones))
        found |= {row["id"]: row for row in (await connection.execute(rest)).mappings()}
    return found


async def _write(connection: AsyncConnection, settled: Iterable[Settled], now: datetime) -> None:
    values = [{"_id": item.page.id, "_outcome": item.outcome, "_reason": item.reason} for item in settled]
    if values:
        statement = update(pages).where(pages.c.id == bindparam("_id"))
        outcome: dict[str, Any] = {"outcome": bindparam("_outcome"), "reason": bindparam("_reason")}
        await connection.execute(statement.values(state="settled", settled_at=now, **outcome), values)


async def _handsets(connection: AsyncConnection, now: datetime) -> dict[str, Handset]:
    """Say of each device what its last call was, and what waits for it or is on its way."""
    bound = OPEN_PAGE & (pages.c.push == "voip") & pages.c.call_id.is_not(None)
    sending = set((await connection.execute(select(pages.c.target).where(bound).distinct())).scalars())
    sending |= await _perhaps_ringing(connection, now)
    repeated = OPEN_PAGE & _FRESH_CALL & (pages.c.ring > 1) & (pages.c.next_attempt_at <= now)
    pace = select(pages.c.target, func.min(pages.c.every)).where(repeated).group_by(pages.c.target)
    paces = {name: every for name, every in await connection.execute(pace)}  # noqa: C416 - as in queries
    of_a_drill = select(pages.c.id).where((pages.c.call_id == devices.c.live_call) & pages.c.drill).exists()
    found = await connection.execute(
        select(devices.c.name, devices.c.called_at, devices.c.live_until, of_a_drill)
    )
    return {
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
    live = (calls.c.created_at > now - _LONGEST_CALL) & (calls.c.expires_at > now)
    unheard = live & (calls.c.push == "voip") & (calls.c.state == "sending")
    found = select(calls.c.device).where(unheard & select(pages.c.id).where(over).exists())
    return set((await connection.execute(found)).scalars())


async def _calls(connection: AsyncConnection, ids: Iterable[str]) -> dict[str, Call]:
    found = await connection.execute(select(calls).where(calls.c.id.in_(list(ids))))
    return {row["id"]: call_of(row) for row in found.mappings()}


def call_of(row: RowMapping) -> Call:
    """Read a call."""
    return Call(
        id=row["id"],
        uuid=row["uuid"],
        device=row["device"],
        push=row["push"],
        kind=row["kind"],
        carries=tuple((incident, revision) for incident, revision in row["carries"]),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
    )


async def _take(
    connection: AsyncConnection, bundles: Iterable[Bundle], now: datetime, lease: timedelta
) -> tuple[Bundle, ...]:
    taken = tuple(_claimed(bundle) for bundle in bundles)
    fresh = [
        _call_row(bundle.call)
        for bundle in bundles
        if bundle.call is not None and all(line.call_id is None for line in bundle.lines)
    ]
    if fresh:
        await connection.execute(calls.insert(), fresh)
    lines = [{"_id": line.page.id, "_call": line.call_id} for bundle in taken for line in bundle.lines]
    if lines:
        statement = update(pages).where(pages.c.id == bindparam("_id"))
        claimed = {"attempt": pages.c.attempt + 1, "next_attempt_at": now + lease}
        await connection.execute(
            statement.values(state="sending", call_id=bindparam("_call"), **claimed), lines
        )
    return taken


def _claimed(bundle: Bundle) -> Bundle:
    call = None if bundle.call is None else bundle.call.id
    return Bundle(tuple(Line(line.page, line.attempt + 1, call) for line in bundle.lines), bundle.call)


def _call_row(call: Call) -> dict[str, Any]:
    return {
        "id": call.id,
        "uuid": call.uuid,
        "device": call.device,
        "push": call.push,
        "kind": call.kind,
        "carries": [list(pair) for pair in call.carries],
        "created_at": call.created_at,
        "expires_at": call.expires_at,
        "state": "sending",
    }


async def settle(
    connection: AsyncConnection, bundle: Bundle, outcome: str, reason: str | None, now: datetime
) -> tuple[Settled, ...]:
    """Record the outcome of one send, for its pages that no other claim has taken: they are returned."""
    settled = tuple(Settled(page, outcome, reason) for page in await _still_mine(connection, bundle))
    await _write(connection, settled, now)
    return settled


async def try_again(
    connection: AsyncConnection, bundle: Bundle, reason: str, at: datetime, now: datetime
) -> tuple[Settled, ...]:
    """Let a bundle wait for its next attempt; pages that were withdrawn meanwhile are settled instead.

    No page waits for an attempt beyond its own time: then it is due, to be settled as expired.
    """
    in_time = case((pages.c.expires_at < at, pages.c.expires_at), else_=literal(at, Instant))
    await connection.execute(
        update(pages).where(_mine(bundle)).values(state="waiting", next_attempt_at=in_time, reason=reason)
    )
    unwanted = (pages.c.state == "waiting") & pages.c.withdrawn.is_not(None)
    found = await connection.execute(select(pages).where(_travels(bundle) & unwanted))
    settled = tuple(_swept(row) for row in found.mappings())
    await _write(connection, settled, now)
    return settled


async def _still_mine(connection: AsyncConnection, bundle: Bundle) -> tuple[Page, ...]:
    return tuple(map(rows.page, (await connection.execute(select(pages).where(_mine(bundle)))).mappings()))


def _mine(bundle: Bundle) -> ColumnElement[bool]:
    """The condition that a page's last claim is still the bundle's: its lines were all claimed together."""
    still = (pages.c.state == "sending") & (pages.c.attempt == bundle.lines[0].attempt)
    return _travels(bundle) & still


def _travels(bundle: Bundle) -> ColumnElement[bool]:
    """The condition that a page is in the bundle; a call may carry more than fit into a list of ids."""
    return pages.c.id == bundle.lines[0].page.id if bundle.call is None else pages.c.call_id == bundle.call.id


async def accept_call(
    connection: AsyncConnection, call: Call, now: datetime, patience: timedelta | None
) -> None:
    """APNs has the push: the call is live on its phone until its deadline (rule 5).

    An enrolled phone has `patience` to say that it got it (rule 6); None: no word is awaited.
    """
    if patience is not None:
        enrolled = select(devices.c.name).where((devices.c.name == call.device) & devices.c.enrolled)
        await connection.execute(
            update(calls)
            .where((calls.c.id == call.id) & calls.c.received_at.is_(None) & enrolled.exists())
            .values(receipt_due_at=now + patience)
        )
    opened = await connection.execute(
        update(calls)
        # A receipt may have overtaken APNs' answer: then the call is over, or was opened by it.
        .where((calls.c.id == call.id) & (calls.c.state == "sending"))
        .values(accepted_at=now, state="open")
    )
    if call.push == "voip" and opened.rowcount:
        # A word that comes late must not let go of the call that rings by now.
        older = devices.c.called_at.is_(None) | (devices.c.called_at <= call.created_at)
        await connection.execute(
            update(devices)
            .where((devices.c.name == call.device) & older)
            .values(called_at=call.created_at, live_until=call.expires_at, live_call=call.id)
        )


async def delivered(connection: AsyncConnection, call: Call, now: datetime) -> tuple[Settled, ...]:
    """The phone has the push, whether APNs' answer is lost, late or there: nothing of it is sent again."""
    found = await connection.execute(select(pages).where(OPEN_PAGE & (pages.c.call_id == call.id)))
    settled = tuple(
        Settled(rows.page(row), "accepted", "the phone said so", row["attempt"]) for row in found.mappings()
    )
    await _write(connection, settled, now)
    await accept_call(connection, call, now, None)
    return settled


async def release(connection: AsyncConnection, now: datetime) -> int:
    """Let go of every lease: for the start of the only bridge, since who took them is gone."""
    freed = await connection.execute(
        update(pages)
        .where((pages.c.state == "sending") & (pages.c.next_attempt_at > now))
        .values(next_attempt_at=now)
    )
    return freed.rowcount


async def next_due(connection: AsyncConnection) -> datetime | None:
    """When the outbox has something to do next; None when it is empty."""
    found: datetime | None = (
        await connection.execute(select(func.min(pages.c.next_attempt_at)).where(OPEN_PAGE))
    ).scalar()
    return found
