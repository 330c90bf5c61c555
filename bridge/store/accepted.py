"""The audit's window over what was accepted: is each alert where its notification should have put it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.store import invariants, rows
from bridge.store.columns import chunks
from bridge.store.invariants import Row, Stay
from bridge.store.tables import episodes, notifications, timeline
from bridge.store.windows import WINDOW, Finding, Span, Window, rows_of

_DIGITS: Final = 1_000_000
"""Characters of fingerprints in one read, at the most but for a single notification's."""

_PROBES: Final = 10_000
"""Pairs of incident and alert that one query looks for."""


async def look(connection: AsyncConnection, span: Span, after: str) -> Window:
    """Judge the notifications that were accepted."""
    at, digits = notifications.c.at, func.length(notifications.c.firing + notifications.c.resolved)
    query = select(notifications.c.id, digits).where(
        (at >= span.since) & (at <= span.until) & (notifications.c.id > int(after or 0))
    )
    found = (await connection.execute(query.order_by(notifications.c.id).limit(WINDOW))).all()
    keys = _fitting((key, length) for key, length in found)
    given = await rows_of(connection, select(notifications).where(notifications.c.id.in_(keys)))
    fired = [(row, rows.ways(row["firing"])) for row in given]
    ended = [(row, rows.ways(row["resolved"])) for row in given if row["resolved"]]
    stays = await _stays(connection, [ways for _, ways in fired])
    firing = await _firing(connection, ended)
    findings = [
        Finding(check, "notification", str(row["id"]), name or None, row["at"], text)
        for row, ways in fired
        for name, fingerprints in ways.items()
        for fingerprint in fingerprints
        for check, text in invariants.firing_alert(
            fingerprint, name, row["at"], stays.get((name, fingerprint))
        )
    ]
    findings += [
        Finding(check, "notification", str(row["id"]), stay.incident, row["at"], text)
        for row, ways in ended
        for fingerprint in {one for fingerprints in ways.values() for one in fingerprints}
        for stay in firing.get((row["source"], fingerprint), ())
        for check, text in invariants.resolved_alert(fingerprint, row["at"], stay)
    ]
    more = len(keys) < len(found) or len(found) == WINDOW
    return Window(len(keys), tuple(findings), str(keys[-1]) if more else None)


def _fitting(found: Iterable[tuple[int, int]]) -> list[int]:
    """Choose the first notifications that one read may hold."""
    keys: list[int] = []
    room = _DIGITS
    for key, length in found:
        if keys and length > room:
            break
        keys.append(key)
        room -= length
    return keys


async def _stays(
    connection: AsyncConnection, given: Iterable[Mapping[str, Iterable[str]]]
) -> dict[tuple[str, str], Stay]:
    """Load where these alerts stay, by (incident, fingerprint)."""
    wanted: dict[str, set[str]] = {}
    for ways in given:
        for name, fingerprints in ways.items():
            if name:
                wanted.setdefault(name, set()).update(fingerprints)
    found = {}
    for ids, fingerprints in _packs(wanted):
        for part in chunks(sorted(fingerprints)):
            mine = episodes.c.incident_id.in_(ids) & episodes.c.fingerprint.in_(part)
            for row in await rows_of(connection, select(*_STAY).where(mine)):
                found[row["incident_id"], row["fingerprint"]] = _stay(row)
    return found


def _packs(wanted: Mapping[str, set[str]]) -> Iterator[tuple[list[str], set[str]]]:
    """Put incidents together that one query may ask for: it looks at each of its alerts in each of them."""
    ids: list[str] = []
    together: set[str] = set()
    for name, fingerprints in wanted.items():
        if ids and (len(ids) + 1) * len(together | fingerprints) > _PROBES:
            yield ids, together
            ids, together = [], set()
        ids.append(name)
        together = together | fingerprints
    if ids:
        yield ids, together


_STAY: Final = (
    episodes.c.incident_id,
    episodes.c.source,
    episodes.c.fingerprint,
    episodes.c.opened_here_at,
    episodes.c.mentioned_at,
)


def _stay(row: Row, stale: Iterable[datetime] = ()) -> Stay:
    return Stay(row["incident_id"], row["opened_here_at"], row["mentioned_at"], tuple(stale))


async def _firing(
    connection: AsyncConnection, ended: Iterable[tuple[Row, Mapping[str, Iterable[str]]]]
) -> dict[tuple[str, str], list[Stay]]:
    """Load where alerts fire that were said to have ended, by (source, fingerprint)."""
    wanted: dict[str, set[str]] = defaultdict(set)
    for row, ways in ended:
        wanted[row["source"]].update(*ways.values())
    firing: list[Row] = []
    for source, fingerprints in wanted.items():
        for part in chunks(sorted(fingerprints)):
            mine = (episodes.c.source == source) & (episodes.c.status == "firing")
            firing += await rows_of(connection, select(*_STAY).where(mine & episodes.c.fingerprint.in_(part)))
    stale: dict[str, list[datetime]] = defaultdict(list)
    for part in chunks(sorted({row["incident_id"] for row in firing})):
        mine = timeline.c.incident_id.in_(part) & (timeline.c.kind == "stale")
        for name, at in await connection.execute(select(timeline.c.incident_id, timeline.c.at).where(mine)):
            stale[name].append(at)
    found: dict[tuple[str, str], list[Stay]] = defaultdict(list)
    for row in firing:
        found[row["source"], row["fingerprint"]].append(_stay(row, stale[row["incident_id"]]))
    return found
