"""One transaction of the ledger: load incidents, apply what was decided."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Final, TypeAlias

from sqlalchemy import Executable, bindparam, func, literal_column, select, union, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.alerts import Notification
from bridge.incidents import Change, Episode, Incident, Page
from bridge.oncall import Phone, Phones, Roster
from bridge.store import overrides, rows, silences, topics
from bridge.store.columns import among, chunks
from bridge.store.stage import Accepted, Scope, Stage
from bridge.store.tables import (
    OPEN_EPISODE,
    OPEN_INCIDENT,
    devices,
    episodes,
    incidents,
    meta,
    notifications,
    pages,
    timeline,
)
from bridge.store.topics import News, Topic

_PHONE: Final = (
    devices.c.name,
    devices.c.owner,
    (devices.c.voip_token.is_not(None) & devices.c.voip_trouble.is_(None)).label("voip"),
    (devices.c.alert_token.is_not(None) & devices.c.alert_trouble.is_(None)).label("alert"),
    devices.c.enrolled,
    func.coalesce(devices.c.voip_trouble, devices.c.alert_trouble).label("trouble"),
)
"""The fields of a Phone; tokens of a hundred thousand would be memory."""

_PHONES_AT_ONCE: Final = 2_000
_PHONES: Final = (
    select(*_PHONE)
    .where(devices.c.removed_at.is_(None) & (devices.c.name > bindparam("after")))
    .order_by(devices.c.name)
    .limit(_PHONES_AT_ONCE)
)
_MARK: Final = select(meta.c.value).where(meta.c.name == literal_column("'roster'"))

_CONCERNED: Final = union(
    select(incidents.c.id).where(OPEN_INCIDENT & among(incidents.c.slot, "slots")),
    select(episodes.c.incident_id).where(
        OPEN_EPISODE
        & (episodes.c.source == bindparam("source"))
        & among(episodes.c.fingerprint, "fingerprints")
    ),
)
"""The open incidents of slots, and those in which an alert is open."""

_INCIDENTS: Final = select(incidents).where(among(incidents.c.id, "ids"))
_EPISODES: Final = select(episodes).where(among(episodes.c.incident_id, "ids"))
_KNOWN_PAGES: Final = select(pages.c.id).where(among(pages.c.id, "ids"))

_ADD_NOTIFICATION: Final = notifications.insert()
_ADD_INCIDENT: Final = incidents.insert()
_ADD_EPISODE: Final = episodes.insert()
_ADD_PAGE: Final = pages.insert()
_ADD_EVENT: Final = timeline.insert()
_CHANGE_INCIDENT: Final = update(incidents).where(incidents.c.id == bindparam("_id"))
_CHANGE_EPISODE: Final = update(episodes).where(
    (episodes.c.incident_id == bindparam("_incident")) & (episodes.c.fingerprint == bindparam("_fingerprint"))
)

_MINE: Final = update(pages).where(among(pages.c.incident_id, "ids")).values(withdrawn=bindparam("why"))
_WITHDRAW_WAITING: Final = _MINE.where(pages.c.state == "waiting").values(
    state="settled", outcome="withdrawn", reason=bindparam("why"), settled_at=bindparam("now")
)
_WITHDRAW_SENDING: Final = _MINE.where(pages.c.state == "sending")

_AT_ONCE: Final = 200
"""Rows that are made or read in one step of the loop."""

_Changed: TypeAlias = tuple[Incident | None, Incident]
"""An incident as the ledger has it, and as it is to be."""


class Memory:
    """The phones as they were last loaded; `mark` is the ledger's word for what they are then.

    Whatever changes a phone that can be rung gives the ledger another mark in the same transaction, one that
    was never there before: so what was loaded in a transaction that came to nothing is never taken for true.
    """

    def __init__(self) -> None:
        self._mark: str | None = None
        self._phones = Phones()

    async def phones(self, connection: AsyncConnection) -> Phones:
        """Give them as they are in this transaction."""
        mark: str | None = (await connection.execute(_MARK)).scalar()
        if mark is None or mark != self._mark:
            self._phones = Phones(await _phones(connection))
            self._mark = mark
        return self._phones


async def _phones(connection: AsyncConnection) -> list[Phone]:
    """Load every phone, some at a time."""
    found: list[Phone] = []
    part: Sequence[Any] = ()
    while not found or len(part) == _PHONES_AT_ONCE:
        part = (await connection.execute(_PHONES, {"after": found[-1].name if found else ""})).all()
        found += [Phone(*row) for row in part]
        if not part:
            break
    return found


class Tx:
    """What jobs may do with the ledger in one transaction. `now` is the transaction's.

    Decisions are staged in memory and written by `flush`, so that those of many webhooks cost as
    few statements as one's. A later decision sees what an earlier one has staged.
    """

    def __init__(self, connection: AsyncConnection, now: datetime, memory: Memory, news: News) -> None:
        self._memory = memory
        self._news = news
        self.connection = connection
        self.now = now
        self._stage = Stage()

    def tell(self, topic: Topic, at: datetime | None = None) -> None:
        """Have those woken whom it concerns, once this is committed. `at`: when they have something to do."""
        topics.add(self._news, {topic: at or self.now})

    async def incidents(self, *scopes: Scope) -> tuple[Incident, ...]:
        """Load the incidents of these scopes, each with all its episodes."""
        ids = {name for scope in scopes for name in scope.ids}
        slots = {rows.slot_key(slot) for scope in scopes for slot in scope.slots}
        alerts: dict[str, set[str]] = {}
        for scope in scopes:
            if scope.fingerprints:
                alerts.setdefault(scope.source, set()).update(scope.fingerprints)
        if slots and not alerts:
            alerts[""] = set()
        for source, fingerprints in alerts.items():
            wanted = {"slots": slots, "source": source, "fingerprints": fingerprints}
            ids |= set((await self.connection.execute(_CONCERNED, wanted)).scalars())
            slots = set()
        self._stage.loaded(await load_incidents(self.connection, sorted(ids - self._stage.known)))
        return self._stage.matching(*scopes)

    def matching(self, scope: Scope) -> tuple[Incident, ...]:
        """Give the incidents of a scope that was loaded before, as they are staged now."""
        return self._stage.matching(scope)

    async def phones(self) -> Phones:
        """Give what a decision needs to know of every device, as it is in this transaction."""
        return await self._memory.phones(self.connection)

    async def roster(self) -> Roster:
        """Load what says who is on call, beside the configuration."""
        return Roster(await self.phones(), await overrides.by_schedule(self.connection, self.now))

    def stage(self, changes: Iterable[Change]) -> None:
        """Take what was decided; `flush` writes it."""
        for change in changes:
            self._stage.take(change)

    def accept(self, notification: Notification, at: datetime, changes: Iterable[Change]) -> None:
        """Record that a notification was taken in, and to what it led; `flush` writes it."""
        touched = tuple(change.incident for change in changes)
        self._stage.accepted.append(Accepted(notification, at, touched))

    async def apply(self, changes: Iterable[Change]) -> None:
        """Write what was decided."""
        self.stage(changes)
        await self.flush()

    async def put(self, new: Iterable[Page]) -> None:
        """Put pages into the outbox that no decision made: those that stand in for another."""
        self._stage.put(new)
        await self.flush()

    async def flush(self) -> None:
        """Write what is staged: notifications, incidents, episodes, withdrawn pages, new pages, timeline."""
        stage = self._stage
        changed = stage.changed()
        topics.add(self._news, topics.of(changed, stage.pages.values(), self.now))
        if changed or stage.events or stage.pages:
            self.tell(Topic.STORY)
        await self._write(_ADD_NOTIFICATION, map(rows.notification_row, stage.accepted))
        await self._write_incidents(changed)
        await self._write_episodes(changed)
        await self._write_silences(changed)
        await self._withdraw(stage)
        await self._write_pages(stage)
        await self._write(
            _ADD_EVENT,
            (
                {"incident_id": incident_id, "at": self.now, "kind": event.kind, "text": event.text}
                for incident_id, event in stage.events
            ),
        )
        stage.written()

    async def _write(self, statement: Executable, values: Iterable[dict[str, Any]]) -> None:
        """Write rows, some at a time: what else is due has its turn in between."""
        rest = iter(values)
        while some := list(islice(rest, _AT_ONCE)):
            await self.connection.execute(statement, some)

    async def _write_incidents(self, changed: Sequence[_Changed]) -> None:
        # The old ones first: one of them may leave the slot that a new one takes.
        await self._write(
            _CHANGE_INCIDENT,
            ({**rows.incident_row(after), "_id": after.id} for before, after in changed if before),
        )
        await self._write(
            _ADD_INCIDENT, (rows.incident_row(after) for before, after in changed if before is None)
        )

    async def _write_episodes(self, changed: Sequence[_Changed]) -> None:
        await self._write(
            _ADD_EPISODE,
            (
                rows.episode_row(of.id, of.slot.source, one)
                for of, one, known in _differing(changed)
                if not known
            ),
        )
        await self._write(
            _CHANGE_EPISODE,
            (
                rows.episode_row(of.id, of.slot.source, one)
                | {"_incident": of.id, "_fingerprint": one.fingerprint}
                for of, one, known in _differing(changed)
                if known
            ),
        )

    async def _write_silences(self, changed: Sequence[_Changed]) -> None:
        wanted = [after for before, after in changed if topics.wishes_another(before, after)]
        if wanted:
            await silences.wish(self.connection, wanted, self.now)

    async def _withdraw(self, stage: Stage) -> None:
        """Settle the pages that wait; mark those that are being sent, which settle when they come back."""
        by_reason: dict[str, list[str]] = {}
        for incident_id, reason in stage.withdrawn.items():
            by_reason.setdefault(reason, []).append(incident_id)
        for reason, ids in by_reason.items():
            mine = {"ids": ids, "why": reason}
            await self.connection.execute(_WITHDRAW_WAITING, mine | {"now": self.now})
            await self.connection.execute(_WITHDRAW_SENDING, mine)

    async def _write_pages(self, stage: Stage) -> None:
        """Insert pages; one that is there already is the same page, for its id says so.

        So it is with a stand-in that two failures ask for, or that rang before a reload in its own name.
        """
        known: set[str] = set()
        if perhaps := stage.perhaps_known():
            known = set((await self.connection.execute(_KNOWN_PAGES, {"ids": perhaps})).scalars())
        await self._write(
            _ADD_PAGE,
            (
                rows.page_row(page, self.now, stage.dropped.get(page.id))
                for page in stage.pages.values()
                if page.id not in known
            ),
        )


def _differing(changed: Iterable[_Changed]) -> Iterator[tuple[Incident, Episode, bool]]:
    """Give the episodes to be written, each with its incident, and whether the ledger has it already."""
    for before, after in changed:
        known = before.alerts if before else {}
        for episode in after.alerts.values():
            if known.get(episode.fingerprint) != episode:
                yield after, episode, episode.fingerprint in known


async def load_incidents(connection: AsyncConnection, ids: Sequence[str]) -> tuple[Incident, ...]:
    """Load incidents with their episodes, in the order of `ids`; one that is not there is left out."""
    heads: dict[str, Any] = {}
    alerts: dict[str, dict[str, Episode]] = {}
    for chunk in chunks(ids):
        found = await connection.execute(_INCIDENTS, {"ids": chunk})
        heads.update((row["id"], row) for row in found.mappings())
        found = await connection.execute(_EPISODES, {"ids": chunk})
        for part in found.mappings().partitions(_AT_ONCE):
            for row in part:
                alerts.setdefault(row["incident_id"], {})[row["fingerprint"]] = rows.episode(row)
            if len(part) == _AT_ONCE:
                await asyncio.sleep(0)
    return tuple(rows.incident(heads[name], alerts.get(name, {})) for name in ids if name in heads)
