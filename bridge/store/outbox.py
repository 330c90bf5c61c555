"""The outbox in the ledger: claim what is due, settle what came of it.

A claim raises `attempt` and takes a lease by setting `next_attempt_at`; a settlement counts
only if the attempt is still the claim's. A bridge that dies in between leaves a page that
is due again when the lease has run out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import RowMapping, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.bundles import Bundle, Call, Handset, Line, plan
from bridge.incidents import Page
from bridge.store import rows
from bridge.store.tables import calls, devices, pages

_BATCH: Final = 500
"""Due pages that one claim looks at."""

_OPEN: Final = pages.c.state != "settled"


@dataclass(frozen=True, slots=True)
class Settled:
    """A page that has its outcome."""

    page: Page
    outcome: str
    reason: str | None
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Claim:
    """Bundles to send, and the pages that were settled on the way because nobody wants them any more."""

    bundles: tuple[Bundle, ...] = ()
    settled: tuple[Settled, ...] = ()


async def claim(connection: AsyncConnection, now: datetime, lease: timedelta, quiet_gap: timedelta) -> Claim:
    """Claim what is due and may go out now."""
    swept = await _sweep(connection, now)
    found = await connection.execute(
        select(pages)
        .where(_OPEN & (pages.c.next_attempt_at <= now))
        .order_by(pages.c.next_attempt_at)
        .limit(_BATCH)
    )
    due = [Line(rows.page(row), row["attempt"], row["call_id"]) for row in found.mappings()]
    if not due:
        return Claim(settled=swept)
    bound = {line.call_id for line in due if line.call_id is not None}
    planned = plan(due, await _handsets(connection), await _calls(connection, bound), now, quiet_gap)
    late = await _settle_late(connection, planned.late, now)
    bundles = [await _take(connection, bundle, now, lease) for bundle in planned.bundles]
    return Claim(tuple(bundles), (*swept, *late))


async def _sweep(connection: AsyncConnection, now: datetime) -> tuple[Settled, ...]:
    """Settle pages past their time. One that is being sent is left until its lease has run out."""
    idle = (pages.c.state == "waiting") | (pages.c.next_attempt_at <= now)
    unwanted = (pages.c.expires_at <= now) | pages.c.withdrawn.is_not(None)
    found = await connection.execute(select(pages).where(_OPEN & idle & unwanted).limit(_BATCH))
    settled = [_swept(row) for row in found.mappings()]
    for item in settled:
        await _write(connection, item, now)
    return tuple(settled)


def _swept(row: RowMapping) -> Settled:
    if row["withdrawn"] is not None:
        return Settled(rows.page(row), "withdrawn", row["withdrawn"])
    tried = row["reason"] or ("its phone was busy" if row["attempt"] == 0 else "no answer in time")
    return Settled(rows.page(row), "expired", tried, row["attempt"])


async def _settle_late(
    connection: AsyncConnection, late: Iterable[Line], now: datetime
) -> tuple[Settled, ...]:
    why = "the call's deadline passed before it was accepted"
    settled = [Settled(line.page, "expired", why, line.attempt) for line in late]
    for item in settled:
        await _write(connection, item, now)
    return tuple(settled)


async def _write(connection: AsyncConnection, item: Settled, now: datetime) -> None:
    await connection.execute(
        update(pages)
        .where(pages.c.id == item.page.id)
        .values(state="settled", outcome=item.outcome, reason=item.reason, settled_at=now)
    )


async def _handsets(connection: AsyncConnection) -> dict[str, Handset]:
    """Say of each device what its last call was, and whether one is on its way (sent, or to be repeated)."""
    bound = _OPEN & (pages.c.push == "voip") & pages.c.call_id.is_not(None)
    sending = set((await connection.execute(select(pages.c.target).where(bound).distinct())).scalars())
    found = await connection.execute(select(devices.c.name, devices.c.called_at, devices.c.live_until))
    return {name: Handset(called_at, live, name in sending) for name, called_at, live in found}


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


async def _take(connection: AsyncConnection, bundle: Bundle, now: datetime, lease: timedelta) -> Bundle:
    call = bundle.call
    if call is not None and all(line.call_id is None for line in bundle.lines):
        await connection.execute(calls.insert(), _call_row(call))
    ids = [line.page.id for line in bundle.lines]
    await connection.execute(
        update(pages)
        .where(pages.c.id.in_(ids))
        .values(
            state="sending",
            attempt=pages.c.attempt + 1,
            next_attempt_at=now + lease,
            call_id=None if call is None else call.id,
        )
    )
    taken = (Line(line.page, line.attempt + 1, call.id if call else None) for line in bundle.lines)
    return Bundle(tuple(taken), call)


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
) -> tuple[Page, ...]:
    """Record the outcome of one send, for its pages that no other claim has taken: they are returned."""
    mine = await _still_mine(connection, bundle)
    for page in mine:
        await _write(connection, Settled(page, outcome, reason), now)
    return mine


async def try_again(
    connection: AsyncConnection, bundle: Bundle, reason: str, at: datetime, now: datetime
) -> tuple[Settled, ...]:
    """Let a bundle wait for its next attempt; pages that were withdrawn meanwhile are settled instead."""
    mine = [page.id for page in await _still_mine(connection, bundle)]
    await connection.execute(
        update(pages)
        .where(pages.c.id.in_(mine) & pages.c.withdrawn.is_(None))
        .values(state="waiting", next_attempt_at=at, reason=reason)
    )
    found = await connection.execute(
        select(pages).where(pages.c.id.in_(mine) & pages.c.withdrawn.is_not(None))
    )
    settled = [_swept(row) for row in found.mappings()]
    for item in settled:
        await _write(connection, item, now)
    return tuple(settled)


async def _still_mine(connection: AsyncConnection, bundle: Bundle) -> tuple[Page, ...]:
    attempts = {line.page.id: line.attempt for line in bundle.lines}
    found = await connection.execute(select(pages).where(pages.c.id.in_(list(attempts))))
    return tuple(
        rows.page(row)
        for row in found.mappings()
        if row["state"] == "sending" and row["attempt"] == attempts[row["id"]]
    )


async def accept_call(connection: AsyncConnection, call: Call, now: datetime) -> None:
    """APNs has the push: the call is live on its phone until its deadline (rule 5)."""
    opened = await connection.execute(
        update(calls)
        # A receipt may have overtaken APNs' answer: then the call is over, or was opened by it.
        .where((calls.c.id == call.id) & (calls.c.state == "sending"))
        .values(accepted_at=now, state="open")
    )
    if call.push == "voip" and opened.rowcount:
        await connection.execute(
            update(devices)
            .where(devices.c.name == call.device)
            .values(called_at=call.created_at, live_until=call.expires_at, live_call=call.id)
        )


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
        await connection.execute(select(func.min(pages.c.next_attempt_at)).where(_OPEN))
    ).scalar()
    return found
