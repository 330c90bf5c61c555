"""Lets a world go wrong for a while, then waits until it has settled, and judges."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import orjson

from bench.chaos import faults
from bench.chaos.replicas import BROKE_DOWN
from bench.chaos.verdict import Heard, Verdict, judge, stuck
from bench.chaos.world import Kind, World, open_world
from bridge.children import ChildError, run
from bridge.rig import PROGRAM

AT_ONCE: Final = 3
"""Faults in force at the same time."""

_SETTLE: Final = 240.0
"""Seconds that each step of settling may take: more is stuck."""


_FAULT: Final = 400.0
"""Seconds in which one of the faults in force ends: restarting three bridges may take 180."""

Tasks: TypeAlias = set[asyncio.Task[None]]

_BAD_NOTES: Final = ("did not stop", "asked to stop ended", BROKE_DOWN)


@dataclass(frozen=True)
class Plan:
    """`seconds` of faults; `longest` that one of them may hold, `rate` alerts a second.

    `without` names faults that are left out: where no bridge is killed, it can be seen what grows.
    """

    kind: Kind
    seconds: float
    seed: int
    longest: float = 9.0
    rate: float = 2.0
    without: Collection[str] = ()


@dataclass(frozen=True)
class Report:
    """What came of a run. `slowest`: seconds until a webhook of ours was accepted; `settled` as a whole.

    `memory`: that of the biggest bridge, in MiB, at most in each tenth of the run and at its end.
    """

    plan: Plan
    verdict: Verdict
    faults: Mapping[str, int]
    alerts: Mapping[str, int]
    answers: Mapping[int, int]
    notes: Mapping[str, int]
    slowest: float
    settled: float
    memory: Sequence[float]
    skipped: str = ""


async def chaos(plan: Plan, folder: Path, say: Callable[[str], None]) -> Report:
    """Run one world. All that is written goes into `folder`."""
    dice = random.Random(plan.seed)
    async with open_world(plan.kind, folder, plan.rate, dice) as world:
        say(f"{plan.kind}: all is up, seed {plan.seed}")
        watch, fire = asyncio.create_task(world.watch()), asyncio.create_task(world.feed.run())
        try:
            await _strike(world, plan, dice, say)
            fire.cancel()
            began, wrong = time.monotonic(), await _settle(world, say)
            settled = time.monotonic() - began
        finally:
            for task in (watch, fire):
                task.cancel()
            await asyncio.gather(watch, fire, return_exceptions=True)
        wrong += await _audited(world)
        books = await world.ledger.books()
        verdict = judge(world.feed.alerts, books, heard(world), world.spans, time.time())
        verdict.wrong += wrong + _odd(world)
        return Report(
            plan=plan,
            verdict=verdict,
            faults=dict(Counter(span.name for span in world.spans)),
            alerts=dict(Counter(alert.by for alert in world.feed.alerts)),
            answers=dict(world.feed.answers),
            notes=dict(world.notes),
            slowest=max(alert.waited for alert in world.feed.alerts),
            settled=settled,
            memory=tenths(world.memory),
            skipped=""
            if plan.kind == "postgresql" or world.disk
            else "no full disk: it takes root, and mount",
        )


async def _strike(world: World, plan: Plan, dice: random.Random, say: Callable[[str], None]) -> None:
    """Have each fault in turn, in a random order, again and again; some at the same time."""
    known, bag = faults.of(world, plan.without), list[str]()
    end, running = time.monotonic() + plan.seconds, set[asyncio.Task[None]]()
    pause = min(4.0, plan.seconds / len(known))
    while time.monotonic() < end:
        bag = bag or dice.sample(sorted(known), len(known))
        name, hold = bag.pop(), dice.uniform(0.3, plan.longest)
        running.add(asyncio.create_task(known[name](world, random.Random(dice.random()), hold), name=name))
        await asyncio.sleep(dice.uniform(0, 2 * pause))
        while len(running) >= AT_ONCE:
            done, running = await _over(running, asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    done, _ = await _over(running, asyncio.ALL_COMPLETED)
    for task in done:
        task.result()
    await faults.over(world)
    say(f"{plan.kind}: the faults are over; {len(world.feed.alerts)} alerts so far")


async def _over(running: Tasks, when: str) -> tuple[Tasks, Tasks]:
    """Await one or all of the faults. Raises RuntimeError where they never end: that is the harness's own."""
    if not running:
        return set(), set()
    done, rest = await asyncio.wait(running, timeout=_FAULT, return_when=when)
    if not done or (rest and when == asyncio.ALL_COMPLETED):
        raise RuntimeError(f"these faults do not end: {sorted(task.get_name() for task in rest)}")
    return done, rest


def tenths(sizes: Sequence[float]) -> list[float]:
    """Give the highest of each tenth, and the last."""
    count = min(10, len(sizes))
    parts = [sizes[len(sizes) * n // count : len(sizes) * (n + 1) // count] for n in range(count)]
    return [*(max(part) for part in parts), *sizes[-1:]]


# --- afterwards -------------------------------------------------------------------------------


async def _settle(world: World, say: Callable[[str], None]) -> list[str]:
    """Await what must come once nothing is broken any more; gives what did not."""
    feed = world.feed
    steps: tuple[tuple[str, Callable[[], Awaitable[object]]], ...] = (
        ("every bridge to be ready", lambda: asyncio.gather(*(one.ready() for one in world.replicas))),
        ("every alert to be accepted", feed.accepted),
        ("every alert to be in the ledger", lambda: _until(world, _all_known)),
        ("every open incident to have rung", lambda: _until(world, _all_rang)),
        ("every end to be accepted", feed.end_all),
        ("every incident to be resolved, and every page over", lambda: _until(world, _at_rest)),
    )
    for what, step in steps:
        began = time.monotonic()
        try:
            async with asyncio.timeout(_SETTLE):
                await step()
        except TimeoutError:
            return [f"stuck: waited {_SETTLE:.0f} s in vain for {what}"]
        say(f"{world.kind}: {what}: {time.monotonic() - began:.1f} s")
    return []


async def _until(world: World, look: Callable[[World], Awaitable[bool]]) -> None:
    while True:
        if await look(world):
            return
        await asyncio.sleep(0.3)


async def _all_known(world: World) -> bool:
    return all(alert.in_ledger.is_set() for alert in world.feed.alerts)


async def _all_rang(world: World) -> bool:
    books, told = await world.ledger.books(), heard(world).told
    rang = {row["incident_id"] for row in books.pages if row["call_id"] in told}
    return all(row["id"] in rang for row in books.incidents if row["state"] != "resolved")


async def _at_rest(world: World) -> bool:
    return not list(stuck(await world.ledger.books(), time.time()))


def heard(world: World) -> Heard:
    """Ask the phones."""
    told: dict[str, float] = {}
    pushed: set[str] = set()
    rings: dict[tuple[str, str], list[frozenset[str]]] = {}
    for phone in world.rig.simulator.phones:
        for push in phone.pushes.items:
            pushed.add(push.apns_id)
            if push.fate in {"notified", "quiet"}:
                told.setdefault(push.apns_id, push.at.timestamp())
        for call in phone.calls.items:
            for record in call.records:
                told.setdefault(record, call.history[0][0].timestamp())
            rings.setdefault((phone.name, call.uuid), []).append(frozenset(call.records))
    return Heard(told, pushed, rings)


async def _audited(world: World) -> list[str]:
    """Give what `ledger verify` has found."""
    try:
        said = await run(*PROGRAM, "ledger", "verify", "-o", "json", f"--bridge.url={world.replicas[0].url}")
    except ChildError as error:
        return [f"ledger verify: {error}"]
    findings: list[dict[str, Any]] = orjson.loads(said)["findings"]
    return [f"ledger verify: {one}" for one in findings]


def _odd(world: World) -> list[str]:
    """Give what no bridge may have done by itself, and what no sender may have been answered."""
    wrong = [f"{count} webhooks were answered {status}" for status, count in world.feed.answers.items()
             if status not in {0, 200, 503}]  # fmt: skip
    wrong += [note for note in world.notes if any(what in note for what in _BAD_NOTES)]
    for file in world.rig.folder.glob("bridge-*.log"):
        for line in file.read_bytes().splitlines():
            with suppress(orjson.JSONDecodeError):
                said = orjson.loads(line)
                if said.get("level") == "critical":
                    wrong.append(f"{file.name}: {line.decode()[:500]}")
    return wrong
