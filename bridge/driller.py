"""The loop that lets drills ring at their hours, and reports who did not confirm: each in one transaction.

So neither a crash nor two who look at once ring twice for one hour, or for none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import structlog

from bridge import alarms, alerts, drills, lifecycle
from bridge.clock import Clock
from bridge.config import Settings
from bridge.drills import Drill, Hours, Member, Result
from bridge.incidents import Change, Slot, stable_id
from bridge.store import Scope, Store, Tx
from bridge.store import drills as ledger
from bridge.store.drills import Run
from bridge.telemetry import Metrics
from bridge.texts import number
from bridge.zones import local

log = structlog.get_logger()

_AGAIN: Final = timedelta(seconds=5)
"""After a look that failed."""

_IDLE: Final = timedelta(days=1)
_SHOWN: Final = 10
_LOOKED_AT: Final = 20
"""Runs among which the last one is looked for that has a result."""


@dataclass(frozen=True, slots=True)
class Had:
    """Which hours this bridge has for a drill, and since when."""

    hours: Hours
    since: datetime


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look at `at` did: runs begun, over and missed; those that go on.

    `had` is for the next look, `others` are drills that this bridge does not have, and another does.
    """

    at: datetime
    begun: tuple[Run, ...]
    over: tuple[Run, ...]
    going_on: tuple[Run, ...]
    had: Mapping[str, Had]
    others: tuple[str, ...]


class Driller:
    """Looks at the drills; `looks_at`: the next time. Where it fails, alerts ring all the same."""

    def __init__(
        self, store: Store, settings: Callable[[], Settings], clock: Clock, metrics: Metrics
    ) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._wake = asyncio.Event()
        self._going_on = False
        self._had: Mapping[str, Had] = {}
        self._others: tuple[str, ...] = ()
        self.looks_at = clock.now()

    def wake(self) -> None:
        """Look now: the configuration is another."""
        self._wake.set()

    def changed(self, _: datetime) -> None:
        """Look now, if somebody may have confirmed."""
        if self._going_on:
            self._wake.set()

    async def run(self) -> None:
        """Go on until cancelled. An error is logged and tried again: this loop does not die."""
        while True:
            self._wake.clear()
            try:
                self.looks_at = await self.look()
            except Exception:
                self.looks_at = self._clock.now() + _AGAIN
                log.exception("the drills cannot be looked at")
            await self._clock.wait(self._wake, self.looks_at)

    async def look(self) -> datetime:
        """Begin what is due, end what is over; gives when to look again. Raises as `Store.write`."""
        settings = self._settings()

        async def job(tx: Tx) -> Looked:
            return await look(tx, settings, self._had)

        looked = await self._store.write(job)
        self._had = looked.had
        if looked.others and looked.others != self._others:
            hint = "another bridge has them, or they were taken out while this one was down"
            log.warning("unknown drills in the ledger", drills=looked.others, hint=hint)
        self._others = looked.others
        self._going_on = bool(looked.going_on)
        for run in looked.begun:
            log.info("drill begun", drill=run.drill, due_at=run.due_at, who=[one.who for one in run.members])
        for run in looked.over:
            self._metrics.drills.labels(run.drill, run.outcome).inc()
            tell = log.info if run.outcome == "passed" else log.warning
            unconfirmed = {one.who: one.why for one in run.results if not one.confirmed}
            tell(
                "drill over", drill=run.drill, due_at=run.due_at, outcome=run.outcome, unconfirmed=unconfirmed
            )
        # From the look on, not from now: an hour may have come in between, and it has not been seen.
        coming = (drill.hours.coming(looked.at) for drill in settings.drills.values())
        ends = (run.ends_at for run in looked.going_on)
        return min([looked.at + _IDLE, *ends, *(at for at in coming if at is not None)])

    async def observe(self) -> None:
        """Bring the gauges up to date."""
        self._metrics.unconfirmed.clear()
        for name in self._settings().drills:
            last = await self._store.read(partial(ledger.runs_of, drill=name, limit=_LOOKED_AT))
            results = (run.results for run in last if run.results)
            for one in next(results, ()):
                self._metrics.unconfirmed.labels(name, one.who).set(not one.confirmed)


async def look(tx: Tx, settings: Settings, had: Mapping[str, Had]) -> Looked:
    """Begin the drills whose hour has come, note those that were missed, end those that are over.

    `had` is what this bridge had before. What it never had is another bridge's, which must not be blinded.
    """
    known = await ledger.marks(tx.connection, lock=True)
    has: dict[str, Had] = {}
    begun: list[Run] = []
    over: list[Run] = []
    for drill in settings.drills.values():
        since = _since(had.get(drill.name), drill)
        has[drill.name] = Had(drill.hours, since or tx.now)
        due = drills.due(drill, known.get(drill.name), tx.now, since)
        if due.missed:
            over += await _miss(tx, settings, drill, due.missed)
        if due.rings_for is not None:
            begun.append(await _begin(tx, settings, drill, due.rings_for))
        await ledger.set_mark(tx.connection, known, due.mark)
    unknown = sorted(known.keys() - settings.drills.keys())
    gone = [name for name in unknown if name in had or drills.abandoned(known[name], tx.now)]
    await ledger.forget(tx.connection, gone)
    going_on: list[Run] = []
    for run in await ledger.going_on(tx.connection, lock=True):
        ended = await _end(tx, settings, run)
        (going_on if ended is None else over).append(ended or run)
    others = tuple(name for name in unknown if name not in gone)
    return Looked(tx.now, tuple(begun), tuple(over), tuple(going_on), has, others)


def _since(before: Had | None, drill: Drill) -> datetime | None:
    """Give from when on this bridge has had these hours; None where they are new to it."""
    return before.since if before is not None and before.hours == drill.hours else None


async def _begin(tx: Tx, settings: Settings, drill: Drill, due_at: datetime) -> Run:
    on_call = settings.on_call(await tx.roster())
    run = Run(_id(drill, due_at), drill.name, due_at, tx.now + drill.within)
    members: list[Member] = []
    for member in drills.members(drill, settings.receiver, on_call, tx.now):
        slot = drills.slot_of(drill.name, drill.each, member, run.id)
        summary = "answer, and it is known that your phone rings"
        policy = settings.policy_of(slot)
        change = drills.begin(slot, "Drill", summary, drill.within, policy, on_call, tx.now)
        await tx.apply([change])
        members.append(replace(member, incident=change.incident.id))
    run = replace(run, members=tuple(members))
    await ledger.add(tx.connection, run)
    return run


async def _miss(tx: Tx, settings: Settings, drill: Drill, hours: Sequence[datetime]) -> list[Run]:
    """Note hours at which nothing rang, for nobody was there to ring."""
    runs = [Run(_id(drill, at), drill.name, at, at, (), "missed", tx.now) for at in hours]
    for run in runs:
        await ledger.add(tx.connection, run)
    what = f"Drill {drill.name} of {_hour(drill, hours[-1])} did not take place: the bridge was not running"
    more = f"; nor did {number(len(hours) - 1, 'earlier one')}" if hours[1:] else ""
    await _report(tx, settings, drill.name, "PushkitBridgeDrillMissed", runs[-1].id, what + more)
    return runs


async def _end(tx: Tx, settings: Settings, run: Run) -> Run | None:
    """End a run whose time is over, or of which everybody has confirmed; None where it goes on."""
    incidents = {
        incident.id: incident
        for incident in await tx.incidents(Scope(ids=tuple(member.incident for member in run.members)))
    }
    if tx.now < run.ends_at and any(drills.waits(incidents.get(member.incident)) for member in run.members):
        return None
    results = tuple(drills.result(member, incidents.get(member.incident)) for member in run.members)
    await tx.apply(
        lifecycle.call_off(Change(incident), "expired", "the drill is over", tx.now)
        for incident in incidents.values()
    )
    passed = bool(results) and all(result.confirmed for result in results)
    outcome = "passed" if passed else "failed"
    await ledger.finish(tx.connection, run, outcome, results, tx.now)
    if not passed:
        drill = settings.drills.get(run.drill)
        when = _hour(drill, run.due_at)
        summary = f"Drill {run.drill} of {when}: {_who(results)}"
        await _report(tx, settings, run.drill, "PushkitBridgeDrillUnconfirmed", run.id, summary)
    return replace(run, outcome=outcome, ended_at=tx.now, results=results)


def _who(results: Iterable[Result]) -> str:
    missing = [f"{one.who} ({one.why})" for one in results if not one.confirmed]
    if not missing:
        return "there was nobody to ring"
    more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
    return f"not confirmed by {', '.join(missing[:_SHOWN])}{more}"


async def _report(tx: Tx, settings: Settings, name: str, alertname: str, run: str, summary: str) -> None:
    """Tell whom the configuration says: by an incident like any other, for this is no drill."""
    drill = settings.drills.get(name)
    receiver = settings.route.receiver if drill is None else drill.report_to
    labels = {"severity": "warning", "drill": name, "run": run}
    alarm = alerts.internal(alertname, labels, {"summary": summary}, tx.now)
    slot = Slot(alerts.INTERNAL_SOURCE, receiver, (("alertname", alertname), ("drill", name)))
    await alarms.tell(tx, settings, alarm, slot)


def _hour(drill: Drill | None, at: datetime) -> str:
    return at.isoformat(timespec="minutes") if drill is None else local(at, drill.hours.days.zone)


def _id(drill: Drill, due_at: datetime) -> str:
    return stable_id("drill", f"{drill.name}\0{due_at.isoformat()}")
