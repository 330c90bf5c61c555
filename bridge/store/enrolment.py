"""Phones that enrol themselves: one-time codes, credentials, and the tokens that a phone puts.

Codes and credentials are kept as digests: whoever reads the ledger can use neither.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain, count
from typing import Any, Final, Literal, TypeAlias

from sqlalchemy import ColumnElement, RowMapping, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.pushes import Environment, PushKind
from bridge.store.devices import DOUBTFUL, ENROLLED_AS, leave_to_enrolled
from bridge.store.tables import devices, enrolments
from bridge.texts import NAME, one_line

CODE_LIFE: Final = timedelta(minutes=10)

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's: nothing in it looks like something else
_GROUPS, _GROUP = 3, 4  # 60 bits: with the listener's rate limit, nobody guesses one in ten minutes
_LOOKS_LIKE: Final = str.maketrans("OIL", "011", "- ")


@dataclass(frozen=True, slots=True)
class Code:
    """A code as it is shown once. `device` is the name that the phone will have, None = its own choice."""

    text: str = field(repr=False)
    owner: str
    device: str | None
    expires_at: datetime


Objection: TypeAlias = Literal["configured", "another's"]
"""Why a code may not name a device: it stands in the configuration, or it is somebody else's."""


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A device that may use the phones' listener. `key` tells one enrolment under its name from the next."""

    name: str
    owner: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a phone says of itself; None leaves what is known. Tokens are lowercase hex."""

    voip_token: str | None = field(default=None, repr=False)
    alert_token: str | None = field(default=None, repr=False)
    environment: Environment | None = None
    bundle_id: str | None = None
    app_version: str | None = None
    os_version: str | None = None


def digest(secret: str) -> str:
    """Digest a code or a credential. Both are long and random, so a plain hash is enough."""
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


def _same(code: str) -> str:
    return code.upper().translate(_LOOKS_LIKE)


async def make_code(connection: AsyncConnection, owner: str, device: str | None, now: datetime) -> Code:
    """Make a code that works once, for ten minutes."""
    letters = "".join(secrets.choice(_ALPHABET) for _ in range(_GROUPS * _GROUP))
    text = "-".join(letters[i : i + _GROUP] for i in range(0, len(letters), _GROUP))
    code = Code(text, owner, device, now + CODE_LIFE)
    row = {
        "code": digest(letters),
        "owner": owner,
        "device": device,
        "created_at": now,
        "expires_at": code.expires_at,
    }
    await connection.execute(enrolments.insert(), row)
    return code


async def enrol(
    connection: AsyncConnection,
    code: str,
    wish: str | None,
    people: Collection[str],
    now: datetime,
    key: str | None = None,
) -> tuple[Enrolled, str] | None:
    """Exchange a code for a device and its credential; None for a code that is wrong, used or too old.

    So it is with one for somebody who is not among `people` any more.

    `wish` is what the phone would like to be called, `key` its public encryption key. A code for a
    device that enrolled before gives that device to the new phone: the old credential, tokens and key are
    worth nothing any more. Where the name has become another's since the code was made, it is no more
    than a wish.
    """
    good = (enrolments.c.code == digest(_same(code))) & (enrolments.c.expires_at > now)
    found = await connection.execute(
        update(enrolments)
        .where(good & enrolments.c.used_at.is_(None))
        .values(used_at=now)
        .returning(enrolments.c.owner, enrolments.c.device)
    )
    row = found.first()
    if row is None or row[0] not in people:
        return None
    owner, device = row
    credential = secrets.token_urlsafe(32)
    fresh = {
        "owner": owner,
        "enrolled": True,
        "credential": digest(credential),
        "enrolled_at": now,
        "heard_at": now,
        "silent_calls": 0,
        "removed_at": None,
        "encryption_key": key,
        **dict.fromkeys(("environment", "topic", "app_version", "os_version")),
        **_no_token("voip"),
        **_no_token("alert"),
    }
    taken = await _names(connection)
    if device is not None and device in taken and await objection(connection, device, owner) is None:
        await connection.execute(update(devices).where(devices.c.name == device).values(fresh))
        return Enrolled(device, owner, digest(credential)), credential
    name = _free(device or wish or f"{owner}-iphone", taken)
    await connection.execute(devices.insert(), {"name": name, **fresh})
    return Enrolled(name, owner, digest(credential)), credential


async def _names(connection: AsyncConnection) -> set[str]:
    return set((await connection.execute(select(devices.c.name))).scalars())


def _free(wish: str, taken: set[str]) -> str:
    endings = chain([""], (f"-{number}" for number in count(2)))
    numbered = (one_line(wish, NAME - len(ending)) + ending for ending in endings)
    return next(name for name in numbered if name not in taken)


async def objection(connection: AsyncConnection, device: str, owner: str) -> Objection | None:
    """Tell why a code may not name this device; None: it may.

    It may where it is new; or its owner's, and enrolled before, or gone from the configuration.
    """
    taken = devices.c.enrolled | devices.c.removed_at.is_not(None)
    found = await connection.execute(select(devices.c.owner == owner, taken).where(devices.c.name == device))
    row = found.first()
    if row is None or all(row):
        return None
    return "configured" if row[0] else "another's"


async def by_credential(connection: AsyncConnection, credential: str) -> Enrolled | None:
    """Find whose credential this is; None for one that never was, or was revoked."""
    known = (devices.c.credential == digest(credential)) & devices.c.removed_at.is_(None)
    query = select(devices.c.name, devices.c.owner, devices.c.credential).where(known)
    row = (await connection.execute(query)).first()
    return None if row is None else Enrolled(*row)


async def stands(connection: AsyncConnection, device: Enrolled) -> bool:
    """Tell whether an enrolment still holds: it was neither revoked nor taken over."""
    mine = (devices.c.name == device.name) & (devices.c.credential == device.key)
    return (await connection.execute(select(devices.c.name).where(mine))).first() is not None


async def put_tokens(connection: AsyncConnection, name: str, new: Tokens, now: datetime) -> None:
    """Take what a phone says of itself. A token counts as registered now, also one that is known.

    Apple's 410 of an earlier time then does nothing to it; one that was set aside is trusted anew.
    """
    said: dict[str, Any] = {
        "environment": new.environment,
        "topic": new.bundle_id,
        "app_version": new.app_version,
        "os_version": new.os_version,
    }
    values = {key: value for key, value in said.items() if value is not None} | {"heard_at": now}
    pushes: tuple[tuple[PushKind, str | None], ...] = (("voip", new.voip_token), ("alert", new.alert_token))
    for push, token in pushes:
        if token is not None:
            values |= _token(push, token, now)
            await _moved(connection, name, push, token)
    await connection.execute(update(devices).where(devices.c.name == name).values(values))


async def complete(connection: AsyncConnection, name: str, environment: Environment, bundle_id: str) -> None:
    """Fill in what a phone has never said of its app."""
    mine = devices.c.name == name
    for column, value in ((devices.c.environment, environment), (devices.c.topic, bundle_id)):
        await connection.execute(update(devices).where(mine & column.is_(None)).values({column: value}))


async def _moved(connection: AsyncConnection, name: str, push: PushKind, token: str) -> None:
    """A token is one phone's: whoever had it before must not ring that phone a second time."""
    others = (devices.c.name != name) & (devices.c[f"{push}_token"] == token)
    await connection.execute(
        update(devices).where(others).values({f"{push}_trouble": f"{ENROLLED_AS} {name}"})
    )


async def drop_token(connection: AsyncConnection, name: str, push: PushKind) -> None:
    """Forget a token: PushKit told the phone that it is no longer valid."""
    await connection.execute(update(devices).where(devices.c.name == name).values(_no_token(push)))


async def put_key(connection: AsyncConnection, name: str, key: str | None, now: datetime) -> None:
    """Take a phone's public encryption key, in place of the one before; None: it has none any more."""
    values = {"encryption_key": key, "heard_at": now}
    await connection.execute(update(devices).where(devices.c.name == name).values(values))


def _token(push: PushKind, token: str, now: datetime) -> dict[str, Any]:
    return {f"{push}_token": token, f"{push}_registered_at": now, f"{push}_trouble": None}


def _no_token(push: PushKind) -> dict[str, Any]:
    return {f"{push}_token": None, f"{push}_registered_at": None, f"{push}_trouble": None}


async def revoke(connection: AsyncConnection, name: str, now: datetime) -> bool:
    """Let an enrolled device go: its credential and its tokens are forgotten. False where there is none."""
    gone = {
        "removed_at": now,
        "credential": None,
        "encryption_key": None,
        **_no_token("voip"),
        **_no_token("alert"),
    }
    enrolled = (devices.c.name == name) & devices.c.enrolled & devices.c.removed_at.is_(None)
    done = await connection.execute(update(devices).where(enrolled).values(gone))
    await leave_to_enrolled(connection)  # what it had taken over from the configuration rings again
    return bool(done.rowcount)


def _reached(push: PushKind) -> ColumnElement[bool]:
    return devices.c[f"{push}_token"].is_not(None) & devices.c[f"{push}_trouble"].is_(None)


def _left(push: PushKind) -> ColumnElement[bool]:
    return func.coalesce(devices.c[f"{push}_trouble"], "").startswith(ENROLLED_AS, autoescape=True)


BARE: Final = (
    devices.c.removed_at.is_(None)
    & devices.c.encryption_key.is_(None)
    & (_reached("voip") | _reached("alert"))
    & ~(_left("voip") | _left("alert"))
)
"""A device that gets pushes and has no encryption key.

None goes to one without a usable token; one whose phone enrolled under another name is to get none.
"""


async def list_devices(connection: AsyncConnection, only: str | None = None) -> Sequence[RowMapping]:
    """List the devices that there are, or the one of a name, by owner and name.

    Whole rows, with tokens; `bare` is true of what BARE says.
    """
    wanted = select(devices, BARE.label("bare")).where(devices.c.removed_at.is_(None))
    if only is not None:
        wanted = wanted.where(devices.c.name == only)
    found = await connection.execute(wanted.order_by(devices.c.owner, devices.c.name))
    return found.mappings().all()


def usable(row: RowMapping, push: PushKind) -> bool:
    """Tell whether a device has a token for this kind of push that nothing is known against."""
    return row[f"{push}_token"] is not None and row[f"{push}_trouble"] is None


def doubtful(row: RowMapping) -> bool:
    """Tell whether a device accepts calls and never says that it got one."""
    return bool(row["silent_calls"] >= DOUBTFUL)


def troubles(row: RowMapping, people: Collection[str], *, keyed: bool) -> tuple[str, ...]:
    """Say for people what is wrong with a device and what to do; nothing: all is well.

    `keyed`: the configuration wants it to have an encryption key.
    """
    enrolled = row["enrolled"]
    found = []
    if row["owner"] not in people:
        found.append(
            f"its owner {row['owner']} is not under people in the configuration: revoke it, or add them"
        )
    if row["voip_token"] is None:
        cure = "open the app on it" if enrolled else "give it a voip_token in the configuration"
        found.append(f"it has no VoIP token, so it cannot show a call: {cure}")
    for push in ("voip", "alert"):
        trouble = row[f"{push}_trouble"]
        if trouble is None:
            continue
        if trouble.startswith(ENROLLED_AS):
            cure = "revoke this one" if enrolled else "take this one out of the configuration"
        else:
            cure = "open the app on it" if enrolled else "put its present token into the configuration"
        found.append(f"its {push} token is set aside ({trouble}): {cure}")
    if keyed and row["bare"]:
        cure = "open the app on it, or enrol it again" if enrolled else "let it enrol"
        found.append(f"it has no encryption key, so it rings without saying why: {cure}")
    if doubtful(row):
        found.append(
            f"doubtful: it said nothing of its last {row['silent_calls']} calls: "
            "open the app on it, and see that it rings"
        )
    return tuple(found)
