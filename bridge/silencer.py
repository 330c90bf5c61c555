"""The loop that lets Alertmanager have the silences that incidents want, and no others of ours.

The ledger owns the wish and every retry. Each attempt begins by looking at what stands: so one whose
answer was lost is taken up where it ended.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import structlog

from bridge import silences
from bridge.alertmanager import Alertmanager, AlertmanagerError, Alertmanagers
from bridge.clock import Clock
from bridge.desk import Desk
from bridge.incidents import Change, Event, Incident
from bridge.silences import Plan, TooWide
from bridge.store import Scope, Topic, Tx
from bridge.store import silences as ledger
from bridge.store.silences import Errand
from bridge.store.tx import load_incidents
from bridge.telemetry import Metrics

log = structlog.get_logger()

_POLL: Final = timedelta(seconds=5)
"""A poll stands behind the wake-up: another replica may have put a wish down."""

_AT_ONCE: Final = 20
_LIMIT: Final = 30.0
"""Seconds for one attempt, all its requests together."""

_LEASE: Final = timedelta(seconds=60)
"""How long a claim holds: longer than any attempt."""

_LONGEST_PAUSE: Final = 60.0
"""Seconds between attempts, at the most."""


_LATE: Final = Event("silence failed", "given up: Alertmanager could not be told in its time")


class _LaterError(Exception):
    """It could not be done now; the text says why."""


@dataclass(frozen=True, slots=True)
class _Done:
    """What came of an attempt: lines for the timeline; and why it is to be tried again, None: it is done."""

    events: tuple[Event, ...] = ()
    again: str | None = None


class Silencer:
    """Claims wishes, and does what they take. `alertmanagers` gives those that are configured, by name."""

    def __init__(self, desk: Desk, alertmanagers: Alertmanagers, clock: Clock, metrics: Metrics) -> None:
        self._desk = desk
        self._store = desk.store
        self._alertmanagers = alertmanagers
        self._clock = clock
        self._metrics = metrics
        self._wake = asyncio.Event()

    def wake(self, _: datetime | None = None) -> None:
        """Look at the wishes now."""
        self._wake.set()

    async def run(self) -> None:
        """Go round until cancelled. An error is logged and tried again: this loop does not die."""
        while True:
            self._wake.clear()
            due = None
            try:
                await self.tick()
                due = await self._store.ask(ledger.next_due)
            except Exception:
                log.exception("silences cannot be worked on")
            now = self._clock.now()
            if self._alertmanagers():
                await self._clock.wait(self._wake, min(due or now + _POLL, now + _POLL))
            else:
                await self._wake.wait()

    async def observe(self) -> None:
        """Bring the gauge up to date."""
        self._metrics.silences_waiting.set(await self._store.ask(ledger.waiting))

    async def tick(self) -> None:
        """Do what is due. Raises what the store raises."""
        while True:
            query = partial(ledger.due, now=self._clock.now(), limit=_AT_ONCE)
            names = await self._store.ask(query)
            await asyncio.gather(*map(self._one, names))
            if len(names) < _AT_ONCE:
                return

    async def _one(self, incident_id: str) -> None:
        errand = await self._store.write(
            lambda tx: ledger.claim(tx.connection, incident_id, tx.now, _LEASE, self._can_tell)
        )
        if errand is None:
            return
        try:
            async with asyncio.timeout(_LIMIT):
                done = await self._attempt(errand)
        except (_LaterError, AlertmanagerError) as error:
            done = _failed(errand, str(error))
        except TimeoutError:
            done = _failed(errand, "it did not answer in time")
        self._tell(errand, done)
        await self._store.write(lambda tx: _settle(tx, errand, done))

    def _can_tell(self, source: str) -> bool:
        return self._desk.settings.alertmanager_of(source) is not None

    async def _attempt(self, errand: Errand) -> _Done:
        if errand.wish is None and not errand.told:
            return _Done((_LATE,) if errand.attempt > 1 else ())
        name = self._desk.settings.alertmanager_of(errand.source)
        if name is None and not errand.told:
            return _Done()
        one = self._alertmanagers().get(name or "")
        if one is None:
            raise _LaterError("the configuration has no Alertmanager for it any more")
        found = await self._store.read(lambda c: load_incidents(c, [errand.incident_id]))
        if not found or (errand.wish is not None and not found[0].open):
            return _Done()  # it has ended meanwhile, and wishes something else
        return await self._carry_out(errand, found[0], one)

    async def _carry_out(self, errand: Errand, incident: Incident, one: Alertmanager) -> _Done:
        turn, wish = errand.attempt - 1, errand.wish
        try:
            wanted = () if wish is None else silences.exactly(incident, self._desk.settings.route)
        except TooWide as error:
            return _Done((Event("silence failed", str(error)),))
        standing = await one.silences(turn)
        plan = silences.plan(incident, wish, wanted, standing, self._clock.now())
        made = [await one.post(turn, post) for post in plan.posts]
        for silence_id in plan.ends:
            await one.end(turn, silence_id)
        return _Done(_events(errand, plan, made))

    def _tell(self, errand: Errand, done: _Done) -> None:
        for event in done.events:
            self._metrics.silences.labels(event.kind.removeprefix("silence ")).inc()
            say = log.warning if event.kind == "silence failed" else log.info
            say(event.kind, incident=errand.incident_id, source=errand.source, text=event.text)


def _failed(errand: Errand, why: str) -> _Done:
    """Say so once, not at each attempt."""
    what = "a silence cannot be made" if errand.wish else "its silence cannot be ended"
    event = Event("silence failed", f"{what} yet: {why}; it is tried again")
    return _Done((event,) if errand.attempt == 1 else (), again=why)


def _events(errand: Errand, plan: Plan, made: list[str]) -> tuple[Event, ...]:
    events = []
    if errand.wish is not None:
        until = errand.wish.until.isoformat(timespec="seconds")
        kind = "silence changed" if any(post.id for post in plan.posts) else "silence created"
        ids = ", ".join([*made, *plan.kept])
        events.append(Event(kind, f"in Alertmanager until {until}, for {errand.wish.by}: {ids}"))
    if plan.ends:
        events.append(Event("silence ended", f"in Alertmanager: {', '.join(plan.ends)}"))
    elif errand.wish is None:
        events.append(Event("silence ended", "in Alertmanager there was none"))
    return tuple(events)


async def _settle(tx: Tx, errand: Errand, done: _Done) -> None:
    again_at = None if done.again is None else tx.now + _pause(errand.attempt)
    if not await ledger.settle(tx.connection, errand, again_at, tx.now):
        return
    tx.tell(Topic.SILENCES)  # something else may be wanted by now
    found = await tx.incidents(Scope(ids=(errand.incident_id,)))
    await tx.apply(Change(incident, events=done.events) for incident in found if done.events)


def _pause(attempt: int) -> timedelta:
    """Soon, but not before the peers of a cluster have told each other; then less often."""
    seconds = min(2.0 ** min(attempt - 1, 10), _LONGEST_PAUSE)
    return timedelta(seconds=seconds * random.uniform(0.75, 1.25))  # noqa: S311 - jitter, not a secret
