"""The ledger's devices: those the configuration names, and what became of their tokens."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import RowMapping, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.pushes import Environment, PushKind
from bridge.store.columns import among
from bridge.store.tables import devices

ENROLLED_AS: Final = "its phone enrolled as"
"""How the trouble of a token begins that another device has now, whose name follows."""

_PRESENT: Final = select(devices).where(among(devices.c.name, "names") & devices.c.removed_at.is_(None))


@dataclass(frozen=True, slots=True)
class Device:
    """A phone and its tokens (hex), as the sender needs it. `topic` is the bundle id, without ".voip".

    `encryption_key` is its public key, base64url.
    """

    name: str
    owner: str
    topic: str
    environment: str
    voip_token: str | None = field(default=None, repr=False)
    alert_token: str | None = field(default=None, repr=False)
    encryption_key: str | None = field(default=None, repr=False)

    def token(self, push: PushKind) -> str | None:
        """Give the token for this kind of push."""
        return self.voip_token if push == "voip" else self.alert_token


async def sync(connection: AsyncConnection, wanted: Iterable[Device], now: datetime) -> tuple[str, ...]:
    """Make the ledger's devices those of the configuration; a token that changed is trusted anew.

    A device that is gone is marked, not deleted: its pages and calls still name it. Gives the names that
    a phone which enrolled has already: it keeps its own tokens, and the configuration's are not used.
    """
    enrolled = set((await connection.execute(select(devices.c.name).where(devices.c.enrolled))).scalars())
    known = {
        row["name"]: row
        for row in (await connection.execute(select(devices).where(devices.c.enrolled.is_(False)))).mappings()
    }
    names = set()
    for device in wanted:
        names.add(device.name)
        if device.name in enrolled:
            continue
        row = {
            "owner": device.owner,
            "topic": device.topic,
            "environment": device.environment,
            "removed_at": None,
        }
        before = known.get(device.name)
        if before is None:
            new = {**row, "name": device.name, "enrolled": False}
            await connection.execute(
                devices.insert(), new | _token("voip", device, now) | _token("alert", device, now)
            )
            continue
        # Another topic or environment may be what the token was missing.
        moved = (before["topic"], before["environment"]) != (device.topic, device.environment)
        for push in ("voip", "alert"):
            if moved or before[f"{push}_token"] != device.token(push):
                row |= _token(push, device, now)
        await connection.execute(update(devices).where(devices.c.name == device.name).values(row))
    gone = [name for name in known if name not in names]
    await connection.execute(
        update(devices)
        .where(devices.c.name.in_(gone) & devices.c.removed_at.is_(None))
        .values(removed_at=now)
    )
    await leave_to_enrolled(connection)
    return tuple(sorted(names & enrolled))


async def leave_to_enrolled(connection: AsyncConnection) -> None:
    """Set aside the configuration's tokens that a phone which enrolled has now: it must not ring twice."""
    phone = devices.alias()
    for push in ("voip", "alert"):
        token, trouble = f"{push}_token", f"{push}_trouble"
        same = phone.c.enrolled & phone.c.removed_at.is_(None) & (phone.c[token] == devices.c[token])
        name = select(phone.c.name).where(same).correlate(devices).limit(1).scalar_subquery()
        ours = update(devices).where(devices.c.enrolled.is_(False))
        before = devices.c[trouble].startswith(ENROLLED_AS)
        await connection.execute(ours.where(before).values({trouble: None}))
        now = devices.c[trouble].is_(None) & name.is_not(None)
        await connection.execute(ours.where(now).values({trouble: literal(f"{ENROLLED_AS} ") + name}))


def _token(push: PushKind, device: Device, now: datetime) -> dict[str, Any]:
    return {f"{push}_token": device.token(push), f"{push}_registered_at": now, f"{push}_trouble": None}


async def mark_trouble(
    connection: AsyncConnection, name: str, push: PushKind, token: str, trouble: str, since: datetime | None
) -> bool:
    """Set a token aside; False where it has changed, or was registered after `since` (a 410's time)."""
    of = devices.c
    where = (of.name == name) & (of[f"{push}_token"] == token) & of[f"{push}_trouble"].is_(None)
    if since is not None:
        where &= of[f"{push}_registered_at"] <= since
    done = await connection.execute(update(devices).where(where).values({f"{push}_trouble": trouble}))
    return bool(done.rowcount)


DOUBTFUL: Final = 2
"""A phone that accepted this many calls in a row and never said that it got one may not ring at all."""


async def heard(connection: AsyncConnection, name: str, now: datetime) -> None:
    """The phone said something of a call: it rings."""
    await connection.execute(
        update(devices).where(devices.c.name == name).values(heard_at=now, silent_calls=0)
    )


async def silent(connection: AsyncConnection, name: str) -> bool:
    """APNs took a push and the phone never said that it got it; True where that makes it doubtful."""
    found = await connection.execute(
        update(devices)
        .where(devices.c.name == name)
        .values(silent_calls=devices.c.silent_calls + 1)
        .returning(devices.c.silent_calls)
    )
    return bool(found.scalar() == DOUBTFUL)


async def environments(connection: AsyncConnection) -> set[Environment]:
    """List the environments in which a push may go out to some device."""
    present = devices.c.removed_at.is_(None) & devices.c.environment.is_not(None)
    found = await connection.execute(select(devices.c.environment).where(present).distinct())
    return set(found.scalars())


async def by_name(connection: AsyncConnection, names: Iterable[str]) -> dict[str, Device]:
    """Load devices with the tokens that can be used."""
    if not (wanted := sorted(names)):
        return {}
    found = await connection.execute(_PRESENT, {"names": wanted})
    return {row["name"]: _device(row) for row in found.mappings()}


def _device(row: RowMapping) -> Device:
    return Device(
        name=row["name"],
        owner=row["owner"],
        topic=row["topic"],
        environment=row["environment"],
        voip_token=None if row["voip_trouble"] else row["voip_token"],
        alert_token=None if row["alert_trouble"] else row["alert_token"],
        encryption_key=row["encryption_key"],
    )
