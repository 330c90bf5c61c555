"""The loop that asks each Alertmanager which alerts it has: what ended unheard closes its incident."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge import lifecycle, presence
from bridge.alertmanager import Alertmanagers
from bridge.alerts import Alert, Notification
from bridge.clock import Clock
from bridge.desk import Desk, brief
from bridge.incidents import Change, Incident
from bridge.lifecycle import Times
from bridge.oncall import OnCall
from bridge.presence import Absence, Answer, Judgement, Key
from bridge.store import Scope, Tx, queries, recall, remember, unheard
from bridge.store.tx import load_incidents
from bridge.store.unheard import Unheard
from bridge.telemetry import Metrics

log = structlog.get_logger()

_TOGETHER: Final = 50
"""Incidents in one write: after a storm there are thousands, which would fill the writer's lane."""

_SOON: Final = timedelta(seconds=5)
"""From news to the question whether Alertmanager has it: not at once, for a storm is many webhooks."""

_WAIT: Final = timedelta(minutes=1)
"""Alertmanager says that an interval mutes a new group when its `group_wait` is over: 30 s by default."""


@dataclass(slots=True)
class Kept:
    """What is known of one Alertmanager: when it is due, since when it does not answer, what it misses.

    `proven`: at these `urls` it has shown an alert that is open here. Until then it may be another one.
    """

    due: datetime
    urls: tuple[str, ...] = ()
    proven: bool = False
    silent_since: datetime | None = None
    absent: Mapping[Key, Absence] = field(default_factory=dict)


class Reconciler:
    """Asks every Alertmanager that is configured. `alertmanagers` gives them by name."""

    def __init__(self, desk: Desk, alertmanagers: Alertmanagers, clock: Clock, metrics: Metrics) -> None:
        self._desk = desk
        self._alertmanagers = alertmanagers
        self._clock = clock
        self._metrics = metrics
        self._wake = asyncio.Event()
        self.kept: dict[str, Kept] = {}

    def wake(self) -> None:
        """Take note of other settings, and ask at once."""
        self.kept = {name: kept for name, kept in self.kept.items() if name in self._alertmanagers()}
        for kept in self.kept.values():
            kept.due = self._clock.now()
        self._wake.set()

    def news(self, source: str) -> None:
        """Ask soon: an alert must have been seen before its end can be noticed, and it may be a short one."""
        kept = self.kept.get(self._desk.settings.alertmanager_of(source) or "")
        if kept is not None:
            kept.due = min(kept.due, self._clock.now() + _SOON)
            self._wake.set()

    async def run(self) -> None:
        """Go on until cancelled. An error is logged and tried again: this loop does not die."""
        while True:
            self._wake.clear()
            now = self._clock.now()
            for name in self._alertmanagers():
                self.kept.setdefault(name, Kept(now))
            due = [(name, kept) for name, kept in self.kept.items() if kept.due <= now]
            await asyncio.gather(*(self._look(name, kept) for name, kept in due))
            if self.kept:
                await self._clock.wait(self._wake, min(kept.due for kept in self.kept.values()))
            else:
                await self._wake.wait()

    def silent(self) -> dict[str, datetime | None]:
        """Say of each Alertmanager since when it does not answer; None: it does."""
        return {name: kept.silent_since for name, kept in self.kept.items()}

    def observe(self) -> None:
        """Bring the gauge up to date."""
        gauge, now = self._metrics.alertmanager_unreachable, self._clock.now()
        gauge.clear()
        for name, kept in self.kept.items():
            since = kept.silent_since
            gauge.labels(name).set(0 if since is None else max((now - since).total_seconds(), 0))

    async def _look(self, name: str, kept: Kept) -> None:
        """Ask one Alertmanager, and do what follows. Raises nothing."""
        with _told(name):
            await self._compare(name, kept)

    async def _compare(self, name: str, kept: Kept) -> None:
        one = self._alertmanagers().get(name)
        now, settings = self._clock.now(), self._desk.settings
        wanted = settings.alertmanagers.get(name)
        kept.due = now + (_SOON if wanted is None else wanted.reconcile_every)
        if one is None or wanted is None:  # a reload takes it away, or has just done so
            return
        await self._recognise(name, kept, wanted.urls)
        open_ones, ended = await self._known(name, now)
        named = {alert.fingerprint for alert in ended}
        answer, problem = await one.answer(alerts=bool(open_ones or ended), named=named)
        self._note(name, kept, problem, now)
        if answer is None:
            return
        if not kept.proven:
            answer = await self._prove(name, kept, answer, open_ones)
        found = presence.judge(
            open_ones, answer, kept.absent, wanted.reconcile_grace, settings.alert_ttl, now
        )
        kept.absent = found.absent
        with _told(name):
            await self._apply(name, found)
        await self._take_in(name, ended, answer.active)

    async def _recognise(self, name: str, kept: Kept, urls: tuple[str, ...]) -> None:
        """Recall whether this is the one that has our alerts; at other URLs that is to be shown anew."""
        if kept.urls != urls:
            kept.absent = {}
            kept.proven = await recall(self._desk.store, f"alertmanager {name}") == _digest(urls)
            kept.urls = urls

    async def _prove(self, name: str, kept: Kept, answer: Answer, incidents: Sequence[Incident]) -> Answer:
        """Let an answer count whole once it has shown one of our alerts, and remember that over a restart."""
        ours = {episode.fingerprint for incident in incidents for episode in incident.firing}
        if not ours & answer.fingerprints:
            return replace(answer, complete=False)
        await remember(self._desk.store, f"alertmanager {name}", _digest(kept.urls))
        kept.proven = True
        return answer

    def _note(self, name: str, kept: Kept, problem: str | None, now: datetime) -> None:
        """Say once that it cannot be asked, and once that it can again."""
        if problem is not None and kept.silent_since is None:
            kept.silent_since = now
            log.warning("Alertmanager cannot be asked for its alerts", alertmanager=name, problem=problem)
        elif problem is None and kept.silent_since is not None:
            seconds = round((now - kept.silent_since).total_seconds())
            kept.silent_since = None
            log.info("Alertmanager answers again", alertmanager=name, after_seconds=seconds)

    async def _known(self, name: str, now: datetime) -> tuple[Sequence[Incident], Sequence[Unheard]]:
        """Give its open incidents, and its alerts that have ended unheard."""
        settings = self._desk.settings

        async def query(connection: AsyncConnection) -> tuple[Sequence[Incident], Sequence[Unheard]]:
            found = await queries.open_incidents(connection)
            ids = [one for one, source in found if settings.alertmanager_of(source) == name]
            ended = await unheard.ended_since(connection, now - settings.alert_ttl)
            mine = [one for one in ended if settings.alertmanager_of(one.source) == name]
            return await load_incidents(connection, ids), mine

        return await self._desk.store.read(query)

    async def _take_in(self, name: str, ended: Sequence[Unheard], active: Mapping[str, Alert]) -> None:
        """Let alerts that ended unheard and fire again be news: Alertmanager takes them for told.

        It would tell nobody before its repeat_interval is over, which is 4 hours where nobody set it.
        """
        groups: dict[tuple[str, str, str], list[Alert]] = {}
        for one in ended:
            again = active.get(one.fingerprint)
            if again is not None and again.starts_at <= self._clock.now() - _WAIT:
                groups.setdefault((one.source, one.group_key, one.external_url), []).append(again)
        for (source, group_key, external_url), alerts in groups.items():
            notification = Notification(source, tuple(alerts), group_key, external_url)
            changes = await self._desk.receive(notification)
            log.info(
                "alerts that fire again, and of which Alertmanager told nobody",
                alertmanager=name,
                **brief(changes),
            )

    async def _apply(self, name: str, found: Judgement) -> None:
        """Write what was found, some incidents at a time. Raises as Store.write where all of those fail."""
        ids = tuple({**found.confirmed, **found.gone})
        for start in range(0, len(ids), _TOGETHER):
            changes = await self._each(ids[start : start + _TOGETHER], found)
            if ended := [change for change in changes if change.events]:
                log.info("alerts that Alertmanager has no more", alertmanager=name, **brief(ended))
            lost = (event for change in ended for event in change.events if event.kind == "alert resolved")
            self._metrics.alerts_gone.labels(name).inc(sum(1 for _ in lost))

    async def _each(self, ids: Sequence[str], found: Judgement) -> list[Change]:
        """Decide about these together; where that fails about each alone, so that one holds up no other."""
        with suppress(Exception):
            return await self._decide(ids, found)
        results = await asyncio.gather(*(self._decide([one], found) for one in ids), return_exceptions=True)
        failed = {one: it for one, it in zip(ids, results, strict=True) if isinstance(it, BaseException)}
        if len(failed) == len(ids):  # the ledger itself
            raise next(iter(failed.values()))
        for one, error in failed.items():
            log.error("an incident cannot be compared with Alertmanager", incident=one, exc_info=error)
        return [change for done in results if not isinstance(done, BaseException) for change in done]

    async def _decide(self, ids: Sequence[str], found: Judgement) -> list[Change]:
        settings = self._desk.settings
        times = Times(settings.alert_ttl, settings.refire_quiet)

        def decide(incident: Incident, on_call: OnCall, now: datetime) -> Change:
            change = lifecycle.confirm(Change(incident), found.confirmed.get(incident.id, ()), times, now)
            gone = found.gone.get(incident.id, ())
            return lifecycle.lose(change, gone, settings.policy_of(incident.slot), on_call, now)

        async def job(tx: Tx) -> list[Change]:
            incidents = await tx.incidents(Scope(ids=tuple(ids)))
            on_call = settings.on_call(await tx.roster())
            changes = [decide(incident, on_call, tx.now) for incident in incidents if incident.open]
            await tx.apply(changes)
            for change in changes:
                alerts, gone = change.incident.alerts, found.gone.get(change.incident.id, ())
                ended = [one.fingerprint for one in gone if not alerts[one.fingerprint].open]
                await unheard.keep(tx.connection, change.incident, ended, tx.now)
            await unheard.forget_old(tx.connection, tx.now - settings.alert_ttl)
            return changes

        return await self._desk.store.write(job)


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Log what goes wrong, and go on."""
    try:
        yield
    except Exception:
        log.exception("incidents cannot be compared with Alertmanager", alertmanager=name)


def _digest(urls: tuple[str, ...]) -> str:
    """Name addresses without telling them: they may hold a secret."""
    return hashlib.sha256(" ".join(urls).encode()).hexdigest()[:16]
