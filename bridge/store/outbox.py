"""The outbox in the ledger: claim what is due, settle what came of it.

A claim raises `attempt` and takes a lease by setting `next_attempt_at`; a settlement counts
only if the attempt is still the claim's. A bridge that dies in between leaves a page that
is due again when the lease has run out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Flag, auto
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, bindparam, case, func, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.bundles import Bundle, Call, Line, plan
from bridge.incidents import Page
from bridge.store import rows
from bridge.store.columns import Instant, chunks
from bridge.store.handsets import phones_in_use, waits
from bridge.store.tables import OPEN_PAGE, SENDING_CALL, calls, devices, pages

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
    handsets = await phones_in_use(connection, now, quiet_gap)
    due = await _due(connection, now, waits(connection.dialect.name, handsets, now, quiet_gap), ways)
    more = len(swept) == _BATCH or len(due) >= _BATCH
    if not due:
        return Claim(settled=swept, more=more)
    lines = [Line(rows.page(row), row["attempt"], row["call_id"]) for row in due.values()]
    bound = {line.call_id for line in lines if line.call_id is not None}
    planned = plan(lines, handsets, await _calls(connection, bound), now, quiet_gap)
    late = tuple(_swept(due[line.page.id]) for line in planned.late)
    await _write(connection, late, now)
    return Claim(await _take(connection, planned.bundles, now, lease), (*swept, *late), more)


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
    connection: AsyncConnection, now: datetime, busy: ColumnElement[bool], ways: Ways
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
    wanted = select(pages).where(due & ~busy).with_for_update(skip_locked=True)
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
    (settled,) = await settle_all(connection, [bundle], outcome, reason, now)
    return settled


async def settle_all(
    connection: AsyncConnection, bundles: Sequence[Bundle], outcome: str, reason: str | None, now: datetime
) -> list[tuple[Settled, ...]]:
    """Record one outcome of several sends, as `settle`; gives the pages of each."""
    mine = await still_mine(connection, bundles)
    settled = [tuple(Settled(page, outcome, reason) for page in found) for found in mine]
    await _write(connection, (item for items in settled for item in items), now)
    return settled


async def still_mine(connection: AsyncConnection, bundles: Sequence[Bundle]) -> list[tuple[Page, ...]]:
    """Load of each bundle the pages that no other claim has taken."""
    mine: dict[tuple[str, int], list[Page]] = {_claim_of(bundle): [] for bundle in bundles}
    for column, posts in ((pages.c.call_id, False), (pages.c.id, True)):
        keys = {_claim_of(bundle)[0] for bundle in bundles if (bundle.call is None) is posts}
        for chunk in chunks(sorted(keys)):
            sending = select(pages).where(column.in_(chunk) & (pages.c.state == "sending"))
            for row in (await connection.execute(sending)).mappings():
                found = mine.get((row[column.name], row["attempt"]))
                if found is not None:
                    found.append(rows.page(row))
    return [tuple(mine[_claim_of(bundle)]) for bundle in bundles]


def _claim_of(bundle: Bundle) -> tuple[str, int]:
    """What finds a bundle's pages, its call or the one page that is posted; and which claim of them it is."""
    line = bundle.lines[0]
    return line.page.id if bundle.call is None else bundle.call.id, line.attempt


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

    An enrolled phone has `patience` to say that it got it (rule 6); None: no word is awaited.
    """
    await accept_calls(connection, [(call, patience)], now)


async def accept_calls(
    connection: AsyncConnection, accepted: Sequence[tuple[Call, timedelta | None]], now: datetime
) -> None:
    """As `accept_call`, for several."""
    patient = {call.device for call, patience in accepted if patience is not None}
    enrolled = await _those(connection, devices.c.name, patient, devices.c.enrolled)
    awaited = [
        {"_id": call.id, "_due": now + patience}
        for call, patience in accepted
        if patience is not None and call.device in enrolled
    ]
    mine = update(calls).where(calls.c.id == bindparam("_id"))
    if awaited:
        unheard = mine.where(calls.c.received_at.is_(None))
        await connection.execute(unheard.values(receipt_due_at=bindparam("_due", type_=Instant)), awaited)
    # A receipt may have overtaken APNs' answer: then the call is over, or was opened by it.
    fresh = await _those(connection, calls.c.id, {call.id for call, _ in accepted}, SENDING_CALL)
    opened = [call for call, _ in accepted if call.id in fresh]
    if opened:
        await connection.execute(
            mine.values(accepted_at=now, state="open"), [{"_id": call.id} for call in opened]
        )
    live = [_live(call) for call in opened if call.push == "voip"]
    if live:
        # A word that comes late must not let go of the call that rings by now.
        at = bindparam("_at", type_=Instant)
        older = devices.c.called_at.is_(None) | (devices.c.called_at <= at)
        await connection.execute(
            update(devices)
            .where((devices.c.name == bindparam("_name")) & older)
            .values(called_at=at, live_until=bindparam("_until", type_=Instant), live_call=bindparam("_id")),
            live,
        )


def _live(call: Call) -> dict[str, Any]:
    return {"_name": call.device, "_at": call.created_at, "_until": call.expires_at, "_id": call.id}


async def _those(
    connection: AsyncConnection, column: Any, values: Iterable[str], where: ColumnElement[bool]
) -> set[str]:
    """Tell of which of these values it is so."""
    found: set[str] = set()
    for chunk in chunks(sorted(values)):
        wanted = select(column).where(column.in_(chunk) & where)
        found |= set((await connection.execute(wanted)).scalars())
    return found


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
