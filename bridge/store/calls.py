"""Calls in the ledger, and the receipts that phones send back for them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

from sqlalchemy import BindParameter, RowMapping, bindparam, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.bundles import Call
from bridge.incidents import Page
from bridge.store import rows
from bridge.store.columns import Instant, among
from bridge.store.tables import calls, devices, pages, receipts
from bridge.store.topics import Topic
from bridge.store.tx import Tx

ReceiptKind: TypeAlias = Literal["received", "answered", "declined", "failed"]

_ALREADY_RINGING: Final = 2
"""CXErrorCodeIncomingCallError.callUUIDAlreadyExists: the push was a repeat, and the phone is ringing."""

ADD_CALL: Final = calls.insert()
_CALLS: Final = select(calls).where(among(calls.c.id, "ids"))
_ID: Final[BindParameter[str]] = bindparam("id")
_NOW: Final = bindparam("now", type_=Instant)

_ONE: Final = select(calls).where(calls.c.id == _ID)
_STATE: Final = select(calls.c.state).where(calls.c.id == _ID)
_PAGES: Final = select(pages).where(pages.c.call_id == _ID)
_SILENT: Final = exists().where((calls.c.id == pages.c.call_id) & calls.c.received_at.is_(None))
_WAITED: Final = select(pages.c.incident_id, pages.c.due_at).where(
    (pages.c.call_id == _ID) & pages.c.kind.in_(("ring", "fallback")) & ~pages.c.drill & _SILENT
)

_KNOWN: Final = select(receipts.c.event_id).where(
    (receipts.c.call_id == _ID) & (receipts.c.event_id == bindparam("event"))
)
_ADD_RECEIPT: Final = receipts.insert()
_HEARD: Final = (
    update(calls)
    .where(calls.c.id == bindparam("_id"))
    .values(received_at=func.coalesce(calls.c.received_at, _NOW), receipt_due_at=None)
)
_OVER: Final = update(calls).where(calls.c.id == bindparam("_id")).values(state=bindparam("_state"))
_GIVEN_UP: Final = update(calls).where(calls.c.id == bindparam("_id")).values(receipt_due_at=None)

_UNHEARD: Final = (
    select(calls.c.id)
    .where(calls.c.receipt_due_at <= _NOW)
    .order_by(calls.c.receipt_due_at)
    .limit(bindparam("limit"))
)
_LATE: Final = _ONE.where(calls.c.receipt_due_at <= _NOW)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the phone says back. `at` is its own clock's word, `error_code` CallKit's for `failed`."""

    event_id: str
    kind: ReceiptKind
    at: str | None = None
    error_code: int | None = None

    @property
    def repeat(self) -> bool:
        """Whether it only says that a repeated push met a call that is ringing already."""
        return self.kind == "failed" and self.error_code == _ALREADY_RINGING


async def load_calls(connection: AsyncConnection, ids: Collection[str]) -> dict[str, Call]:
    """Load calls by their ids."""
    if not ids:
        return {}
    found = await connection.execute(_CALLS, {"ids": ids})
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


def call_row(call: Call) -> dict[str, Any]:
    """Give the columns of a call that is on its way."""
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


async def find(connection: AsyncConnection, call_id: str) -> Call | None:
    """Load a call, None where there is none."""
    row = (await connection.execute(_ONE, {"id": call_id})).mappings().first()
    return None if row is None else call_of(row)


async def state(connection: AsyncConnection, call_id: str) -> str:
    """Give a call's state: sending, open, answered, declined or failed."""
    found: str = (await connection.execute(_STATE, {"id": call_id})).scalar_one()
    return found


async def waited(connection: AsyncConnection, call: Call, now: datetime) -> dict[str, float]:
    """Say how many seconds each incident's page waited for the phone's first word; {}: that was said before.

    Drills and quiet pushes do not count.
    """
    found = await connection.execute(_WAITED, {"id": call.id})
    return {incident: max((now - due_at).total_seconds(), 0) for incident, due_at in found}


async def record(tx: Tx, call: Call, receipt: Receipt) -> bool:
    """Keep a receipt. False where this event id is known already: then it has no second effect."""
    connection, now = tx.connection, tx.now
    key = {"id": call.id, "event": receipt.event_id}
    if (await connection.execute(_KNOWN, key)).first() is not None:
        return False
    await connection.execute(
        _ADD_RECEIPT,
        {
            "call_id": call.id,
            "event_id": receipt.event_id,
            "receipt": receipt.kind,
            "error_code": receipt.error_code,
            "at": receipt.at,
            "received_at": now,
        },
    )
    await connection.execute(_HEARD, {"_id": call.id, "now": now})
    tx.tell(Topic.STORY)
    if receipt.kind != "received" and not receipt.repeat:
        await connection.execute(_OVER, {"_id": call.id, "_state": receipt.kind})
        await _hang_up(connection, call, now)
        tx.tell(Topic.PAGES)  # what waits for the phone may go out
    return True


async def _hang_up(connection: AsyncConnection, call: Call, now: datetime) -> None:
    """A call is live until its last receipt: the quiet gap counts from here (rule 5)."""
    if call.push != "voip":
        return
    await connection.execute(
        update(devices)
        .where(devices.c.name == call.device)
        .where(devices.c.live_call.is_(None) | (devices.c.live_call != call.id))
        .where(devices.c.called_at.is_(None) | (devices.c.called_at < call.created_at))
        .values(live_call=call.id, called_at=call.created_at, live_until=now)
    )
    await connection.execute(
        update(devices)
        .where((devices.c.live_call == call.id) & (devices.c.live_until > now))
        .values(live_until=now)
    )


async def unheard(connection: AsyncConnection, now: datetime, limit: int) -> list[str]:
    """List the calls whose phone has said nothing in time."""
    return list((await connection.execute(_UNHEARD, {"now": now, "limit": limit})).scalars())


async def give_up(tx: Tx, call_id: str) -> Call | None:
    """Wait no longer for a call's receipt; None where none is awaited any more, or not yet due."""
    row = (await tx.connection.execute(_LATE, {"id": call_id, "now": tx.now})).mappings().first()
    if row is None:
        return None
    await tx.connection.execute(_GIVEN_UP, {"_id": call_id})
    tx.tell(Topic.STORY)
    return call_of(row)


async def pages_of(connection: AsyncConnection, call_id: str) -> tuple[Page, ...]:
    """Load the pages that a call carried."""
    found = await connection.execute(_PAGES, {"id": call_id})
    return tuple(rows.page(row) for row in found.mappings())
