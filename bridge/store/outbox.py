"""The outbox in the ledger: claim what is due, settle what came of it.

A claim raises `attempt` and takes a lease by setting `next_attempt_at`; a settlement counts
only if the attempt is still the claim's. A bridge that dies in between leaves a page that
is due again when the lease has run out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Flag, auto
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, bindparam, case, exists, func, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.bundles import Blind, Bundle, Call, Line, blinded, plan
from bridge.incidents import Page
from bridge.store import rows
from bridge.store.calls import ADD_CALL, call_row, load_calls
from bridge.store.columns import Instant, among
from bridge.store.handsets import WAITS, phones_in_use, who_wait
from bridge.store.tables import OPEN_PAGE, SENDING_CALL, calls, devices, pages
from bridge.store.topics import AT_ONCE

_BATCH: Final = 500
"""Pages that one claim takes, and settles on the way: enough for a storm, few enough for one transaction."""


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

    `more`: there may be as many again. `free_at`: when a phone may be free for which some of the rest wait.
    """

    bundles: tuple[Bundle, ...] = ()
    settled: tuple[Settled, ...] = ()
    more: bool = False
    free_at: datetime | None = None


class Ways(Flag):
    """The ways out of the bridge: a jam on one of them must not hold up the other."""

    PUSHES = auto()
    POSTS = auto()


_ALL_WAYS: Final = Ways.PUSHES | Ways.POSTS
_NOW: Final = bindparam("now", type_=Instant)
_POST: Final = pages.c.kind == "webhook"
_SENDING: Final = pages.c.state == "sending"

_UNWANTED: Final = (pages.c.expires_at <= _NOW) | pages.c.withdrawn.is_not(None)
_IDLE: Final = (pages.c.state == "waiting") | (pages.c.next_attempt_at <= _NOW)
_SWEPT: Final = (
    select(pages).where(OPEN_PAGE & _IDLE & _UNWANTED).limit(_BATCH).with_for_update(skip_locked=True)
)

# A page that somebody else holds, an operator at psql, keeps no other waiting. SQLite has no such locks.
_DUE: Final = (
    select(pages)
    .where(OPEN_PAGE & (pages.c.next_attempt_at <= _NOW) & ~_UNWANTED & ~WAITS)
    .with_for_update(skip_locked=True)
)
_FIRST: Final = _DUE.order_by(pages.c.next_attempt_at).limit(_BATCH)
_FIRST_BY: Final = {_ALL_WAYS: _FIRST, Ways.PUSHES: _FIRST.where(~_POST), Ways.POSTS: _FIRST.where(_POST)}
_REST: Final = _DUE.where(~_POST & among(pages.c.target, "phones"))

_SETTLED: Final[dict[str, Any]] = {
    "state": "settled",
    "settled_at": bindparam("_now"),
    "outcome": bindparam("_outcome"),
    "reason": bindparam("_reason"),
}
_SETTLE: Final = update(pages).where(pages.c.id == bindparam("_id")).values(_SETTLED)
_SETTLE_SENT: Final = (
    update(pages)
    .where(_SENDING & (pages.c.attempt == bindparam("_attempt")))
    .values(_SETTLED)
    .returning(pages)
)
_SETTLE_CALLS: Final = _SETTLE_SENT.where(among(pages.c.call_id, "_ids"))
_SETTLE_POSTS: Final = _SETTLE_SENT.where(among(pages.c.id, "_ids"))

_TAKE: Final = (
    update(pages)
    .where(pages.c.id == bindparam("_id"))
    .values(
        state="sending",
        call_id=bindparam("_call"),
        attempt=pages.c.attempt + 1,
        next_attempt_at=bindparam("_until"),
    )
)

_ENROLLED: Final = exists().where((devices.c.name == calls.c.device) & devices.c.enrolled)
_AWAIT: Final = (
    update(calls)
    .where((calls.c.id == bindparam("_id")) & calls.c.received_at.is_(None) & _ENROLLED)
    .values(receipt_due_at=bindparam("_due"))
)
# A receipt may have overtaken APNs' answer: then the call is over, or was opened by it.
_OPEN: Final = (
    update(calls)
    .where(SENDING_CALL & among(calls.c.id, "_ids"))
    .values(accepted_at=bindparam("_now"), state="open")
    .returning(calls.c.id)
)
# A word that comes late must not let go of the call that rings by now.
_RINGS: Final = (
    update(devices)
    .where(devices.c.name == bindparam("_name"))
    .where(devices.c.called_at.is_(None) | (devices.c.called_at <= bindparam("_at", type_=Instant)))
    .values(
        called_at=bindparam("_at", type_=Instant), live_until=bindparam("_until"), live_call=bindparam("_id")
    )
)
_BOUND: Final = select(pages).where(OPEN_PAGE & (pages.c.call_id == bindparam("id")))
_NEXT: Final = select(func.min(pages.c.next_attempt_at)).where(
    OPEN_PAGE & (pages.c.next_attempt_at >= bindparam("since", type_=Instant))
)


async def claim(
    connection: AsyncConnection,
    now: datetime,
    lease: timedelta,
    quiet_gap: timedelta,
    ways: Ways = _ALL_WAYS,
    blind: Blind = str,
) -> Claim:
    """Claim what is due and may go out now, by these ways; a new call's names go through `blind`."""
    swept = await _sweep(connection, now)
    handsets = await phones_in_use(connection, now, quiet_gap)
    due = await _due(connection, {"now": now} | who_wait(handsets, now, quiet_gap), ways)
    more = len(swept) == _BATCH or len(due) >= _BATCH
    free = (handset.free_at(now, quiet_gap) for handset in handsets.values())
    free_at = min((at for at in free if at is not None), default=None)
    if not due:
        return Claim(settled=swept, more=more, free_at=free_at)
    lines = [Line(rows.page(row), row["attempt"], row["call_id"]) for row in due.values()]
    bound = {line.call_id for line in lines if line.call_id is not None}
    planned = plan(lines, handsets, await load_calls(connection, bound), now, quiet_gap)
    late = tuple(_swept(due[line.page.id]) for line in planned.late)
    await _write(connection, late, now)
    taken = await _take(connection, blinded(planned.bundles, blind), now, lease)
    return Claim(taken, (*swept, *late), more, free_at)


async def _sweep(connection: AsyncConnection, now: datetime) -> tuple[Settled, ...]:
    """Settle pages past their time. One that is being sent is left until its lease has run out."""
    found = await connection.execute(_SWEPT, {"now": now})
    settled = tuple(_swept(row) for row in found.mappings())
    await _write(connection, settled, now)
    return settled


def _swept(row: RowMapping) -> Settled:
    if row["withdrawn"] is not None:
        return Settled(rows.page(row), "withdrawn", row["withdrawn"])
    tried = row["reason"] or ("its phone was busy" if row["attempt"] == 0 else "no answer in time")
    return Settled(rows.page(row), "expired", tried, row["attempt"])


async def _due(connection: AsyncConnection, given: Mapping[str, Any], ways: Ways) -> dict[str, RowMapping]:
    """Load pages that can go out now: however many wait for a busy phone, they keep nobody else waiting.

    Of a phone that is among the first they are all, however many: what is due travels in one call.
    """
    found = {row["id"]: row for row in (await connection.execute(_FIRST_BY[ways], given)).mappings()}
    if len(found) == _BATCH:
        phones = {row["target"] for row in found.values() if row["kind"] != "webhook"}
        rest = await connection.execute(_REST, {**given, "phones": phones})
        found |= {row["id"]: row for row in rest.mappings()}
    return found


async def _write(connection: AsyncConnection, settled: Iterable[Settled], now: datetime) -> None:
    values = [
        {"_id": item.page.id, "_outcome": item.outcome, "_reason": item.reason, "_now": now}
        for item in settled
    ]
    if values:
        await connection.execute(_SETTLE, values)


async def _take(
    connection: AsyncConnection, bundles: Iterable[Bundle], now: datetime, lease: timedelta
) -> tuple[Bundle, ...]:
    taken = tuple(_claimed(bundle) for bundle in bundles)
    fresh = [
        call_row(bundle.call)
        for bundle in bundles
        if bundle.call is not None and all(line.call_id is None for line in bundle.lines)
    ]
    if fresh:
        await connection.execute(ADD_CALL, fresh)
    until = now + lease
    lines = [
        {"_id": line.page.id, "_call": line.call_id, "_until": until}
        for bundle in taken
        for line in bundle.lines
    ]
    if lines:
        await connection.execute(_TAKE, lines)
    return taken


def _claimed(bundle: Bundle) -> Bundle:
    call = None if bundle.call is None else bundle.call.id
    return Bundle(tuple(Line(line.page, line.attempt + 1, call) for line in bundle.lines), bundle.call)


async def settle(
    connection: AsyncConnection, bundle: Bundle, outcome: str, reason: str | None, now: datetime
) -> tuple[Settled, ...]:
    """Record the outcome of one send, for its pages that no other claim has taken: they are returned."""
    (settled,) = await settle_all(connection, [bundle], outcome, reason, now)
    return settled


async def settle_all(
    connection: AsyncConnection, bundles: Sequence[Bundle], outcome: str, reason: str | None, now: datetime
) -> list[tuple[Settled, ...]]:
    """Record one outcome of several sends, as `settle`; gives the pages of each."""
    claims: dict[tuple[bool, int], set[str]] = {}
    for bundle in bundles:
        post, attempt, name = _claim_of(bundle)
        claims.setdefault((post, attempt), set()).add(name)
    settled: dict[tuple[bool, int, str], list[Settled]] = {}
    values = {"_outcome": outcome, "_reason": reason, "_now": now}
    for (post, attempt), names in claims.items():
        statement, key = (_SETTLE_POSTS, "id") if post else (_SETTLE_CALLS, "call_id")
        found = await connection.execute(statement, {**values, "_attempt": attempt, "_ids": names})
        for row in found.mappings():
            item = Settled(rows.page(row), outcome, reason)
            settled.setdefault((post, attempt, row[key]), []).append(item)
    return [tuple(settled.get(_claim_of(bundle), ())) for bundle in bundles]


def _claim_of(bundle: Bundle) -> tuple[bool, int, str]:
    """Say whether a bundle is posted, which claim of its pages it is, and what finds them: page or call."""
    line = bundle.lines[0]
    return bundle.call is None, line.attempt, line.page.id if bundle.call is None else bundle.call.id


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

    A phone that has enrolled has `patience` to say that it got it (rule 6); None: no word is awaited.
    """
    await accept_calls(connection, [(call, patience)], now)


async def accept_calls(
    connection: AsyncConnection, accepted: Sequence[tuple[Call, timedelta | None]], now: datetime
) -> None:
    """As `accept_call`, for several."""
    if not accepted:
        return
    awaited = [
        {"_id": call.id, "_due": now + patience} for call, patience in accepted if patience is not None
    ]
    if awaited:
        await connection.execute(_AWAIT, awaited)
    ids = {call.id for call, _ in accepted}
    opened = set((await connection.execute(_OPEN, {"_ids": ids, "_now": now})).scalars())
    live = [_live(call) for call, _ in accepted if call.id in opened and call.push == "voip"]
    if live:
        await connection.execute(_RINGS, live)


def _live(call: Call) -> dict[str, Any]:
    return {"_name": call.device, "_at": call.created_at, "_until": call.expires_at, "_id": call.id}


async def delivered(connection: AsyncConnection, call: Call, now: datetime) -> tuple[Settled, ...]:
    """The phone has the push, whether APNs' answer is lost, late or there: nothing of it is sent again."""
    found = await connection.execute(_BOUND, {"id": call.id})
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


async def next_due(connection: AsyncConnection, since: datetime = AT_ONCE) -> datetime | None:
    """When the outbox has something to do next, of what is due `since` then; None when there is nothing."""
    found: datetime | None = (await connection.execute(_NEXT, {"since": since})).scalar()
    return found
