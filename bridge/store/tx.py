"""One transaction of the ledger: load incidents, apply what was decided."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.incidents import Change, Episode, Incident, Page, Slot, State
from bridge.oncall import Phone
from bridge.store import rows
from bridge.store.tables import devices, episodes, incidents, pages, timeline

_CHUNK: Final = 500
"""Values in one IN list: well below SQLite's limit on variables."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which incidents a decision needs.

    The open ones of `slots`, the open ones in which an alert of (`source`, `fingerprints`) is
    open, and those of `ids` whatever their state.
    """

    slots: tuple[Slot, ...] = ()
    source: str = ""
    fingerprints: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()


class Tx:
    """What a job may do with the ledger. `now` is the transaction's."""

    def __init__(self, connection: AsyncConnection, now: datetime) -> None:
        self.connection = connection
        self.now = now
        self.changed = False
        self._loaded: dict[str, Incident] = {}

    async def incidents(self, scope: Scope) -> tuple[Incident, ...]:
        """Load the incidents of a scope, each with all its episodes."""
        ids = set(scope.ids)
        still_open = incidents.c.state != State.RESOLVED.value
        for chunk in _chunks([rows.slot_key(slot) for slot in scope.slots]):
            ids |= await self._ids(incidents.c.id, still_open & incidents.c.slot.in_(chunk))
        mine = (episodes.c.source == scope.source) & (episodes.c.status == "firing")
        for chunk in _chunks(scope.fingerprints):
            ids |= await self._ids(episodes.c.incident_id, mine & episodes.c.fingerprint.in_(chunk))
        found = await load_incidents(self.connection, sorted(ids))
        self._loaded.update((incident.id, incident) for incident in found)
        return found

    async def _ids(self, column: Any, where: ColumnElement[bool]) -> set[str]:
        return set((await self.connection.execute(select(column).where(where))).scalars())

    async def phones(self) -> tuple[Phone, ...]:
        """Load what a decision needs to know of every device."""
        found = await self.connection.execute(select(devices).where(devices.c.removed_at.is_(None)))
        return tuple(rows.phone(row) for row in found.mappings())

    async def apply(self, changes: Iterable[Change]) -> None:
        """Write what was decided: incidents, episodes, withdrawn pages, new pages, timeline."""
        for change in changes:
            await self._apply(change)

    async def _apply(self, change: Change) -> None:
        self.changed = True
        incident = change.incident
        before = self._loaded.get(incident.id)
        await self._write_incident(before, incident)
        await self._write_episodes(before.alerts if before else {}, incident)
        if change.withdraw is not None:
            await withdraw(self.connection, incident.id, change.withdraw, self.now)
        await self.put(change.pages)
        if change.events:
            lines = [
                {"incident_id": incident.id, "at": self.now, "kind": event.kind, "text": event.text}
                for event in change.events
            ]
            await self.connection.execute(timeline.insert(), lines)
        self._loaded[incident.id] = incident

    async def _write_incident(self, before: Incident | None, incident: Incident) -> None:
        row = rows.incident_row(incident)
        if before is None:
            await self.connection.execute(incidents.insert(), row)
        elif row != rows.incident_row(before):
            await self.connection.execute(incidents.update().where(incidents.c.id == incident.id), row)

    async def _write_episodes(self, before: Mapping[str, Episode], incident: Incident) -> None:
        source = incident.slot.source
        changed = [e for e in incident.alerts.values() if before.get(e.fingerprint) != e]
        new = [rows.episode_row(incident.id, source, e) for e in changed if e.fingerprint not in before]
        if new:
            await self.connection.execute(episodes.insert(), new)
        old = [rows.episode_row(incident.id, source, e) for e in changed if e.fingerprint in before]
        if old:
            statement = (
                update(episodes)
                .where(episodes.c.incident_id == bindparam("_incident"))
                .where(episodes.c.fingerprint == bindparam("_fingerprint"))
            )
            keyed = [
                {**row, "_incident": row["incident_id"], "_fingerprint": row["fingerprint"]} for row in old
            ]
            await self.connection.execute(statement, keyed)

    async def put(self, new: Sequence[Page]) -> None:
        """Put pages into the outbox; one whose id is there already is the same page."""
        if not new:
            return
        known: set[str] = set()
        for chunk in _chunks([page.id for page in new]):
            known |= await self._ids(pages.c.id, pages.c.id.in_(chunk))
        fresh = [rows.page_row(page, self.now) for page in new if page.id not in known]
        self.changed = True
        if fresh:
            await self.connection.execute(pages.insert(), fresh)


async def withdraw(connection: AsyncConnection, incident_id: str, reason: str, now: datetime) -> None:
    """Settle the waiting pages of an incident; mark those being sent, which settle when they come back."""
    mine = pages.c.incident_id == incident_id
    await connection.execute(
        update(pages)
        .where(mine & (pages.c.state == "waiting"))
        .values(state="settled", outcome="withdrawn", reason=reason, withdrawn=reason, settled_at=now)
    )
    await connection.execute(
        update(pages).where(mine & (pages.c.state == "sending")).values(withdrawn=reason)
    )


async def load_incidents(connection: AsyncConnection, ids: Sequence[str]) -> tuple[Incident, ...]:
    """Load incidents with their episodes, in the order of `ids`; one that is not there is left out."""
    heads: dict[str, Any] = {}
    alerts: dict[str, dict[str, Episode]] = {}
    for chunk in _chunks(ids):
        found = await connection.execute(select(incidents).where(incidents.c.id.in_(chunk)))
        heads.update((row["id"], row) for row in found.mappings())
        found = await connection.execute(select(episodes).where(episodes.c.incident_id.in_(chunk)))
        for row in found.mappings():
            alerts.setdefault(row["incident_id"], {})[row["fingerprint"]] = rows.episode(row)
    return tuple(rows.incident(heads[name], alerts.get(name, {})) for name in ids if name in heads)


def _chunks(values: Sequence[str]) -> Iterable[Sequence[str]]:
    return (values[start : start + _CHUNK] for start in range(0, len(values), _CHUNK))
