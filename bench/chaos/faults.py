"""What can go wrong. Each fault goes on for `hold` seconds, and has ended when it comes back."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Coroutine, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, TypeAlias

from bench.chaos.proxy import Proxy
from bench.chaos.replicas import Replica
from bench.chaos.world import World
from bridge.simulator import Answer

Fault: TypeAlias = Callable[[World, random.Random, float], Coroutine[Any, Any, None]]
_HOUR: Final = 3600


async def _killed(world: World, dice: random.Random, hold: float) -> None:
    replica = dice.choice(world.replicas)
    async with replica.lock:
        with world.struck("kill -9 of a bridge"):
            await replica.kill()
            await asyncio.sleep(hold)
            await replica.revive()


async def _rolled(world: World, _: random.Random, __: float) -> None:
    with world.struck("rolling restart by SIGTERM"):
        for replica in world.replicas:
            async with replica.lock:
                await replica.restart()


async def _held(world: World, dice: random.Random, hold: float) -> None:
    replica = dice.choice(world.replicas)
    async with replica.lock:
        with world.struck("SIGSTOP of a bridge"):
            replica.hold(held=True)
            try:
                await asyncio.sleep(hold)
            finally:
                replica.hold(held=False)


async def _jumped(world: World, dice: random.Random, hold: float) -> None:
    replica: Replica = dice.choice(world.replicas)
    async with replica.lock:
        with world.struck("the clock of a bridge jumps by hours"):
            replica.jump(dice.choice((-11, -5, 3, 8)) * _HOUR + dice.randrange(_HOUR))
            try:
                await asyncio.sleep(hold)
            finally:
                replica.jump(0)


# --- ways that are cut, or frozen -------------------------------------------------------------


def _way(name: str, ways: Callable[[World], list[Proxy]], *, frozen: bool, every: bool = False) -> Fault:
    async def fault(world: World, dice: random.Random, hold: float) -> None:
        chosen = ways(world) if every else [dice.choice(ways(world))]
        with world.struck(name):
            for proxy in chosen:
                if frozen:
                    proxy.freeze()
                else:
                    proxy.refuse()
            try:
                await asyncio.sleep(hold)
            finally:
                for proxy in chosen:
                    proxy.freeze(frozen=False)
                    proxy.refuse(refuses=False)

    return fault


# --- PostgreSQL, and the disk -----------------------------------------------------------------


def _server(name: str, *, crash: bool) -> Fault:
    async def fault(world: World, _: random.Random, hold: float) -> None:
        server = world.server
        assert server is not None
        async with world.server_lock:
            with world.struck(name):
                await asyncio.to_thread(server.crash if crash else server.stop)
                await asyncio.sleep(hold / 2)
                await asyncio.to_thread(server.start)

    return fault


async def _full(world: World, _: random.Random, hold: float) -> None:
    assert world.disk is not None
    file = world.disk / "full"
    async with world.disk_lock:
        with world.struck("the disk is full"):
            try:
                await asyncio.to_thread(_fill, file)
                await asyncio.sleep(hold)
            finally:
                file.unlink(missing_ok=True)


def _fill(file: Path) -> None:
    with file.open("wb", buffering=0) as there:
        for size in (65_536, 4_096, 1):
            try:
                while True:
                    there.write(b"x" * size)
            except OSError:
                continue


# --- APNs -------------------------------------------------------------------------------------


def _answers(name: str, *answers: Answer) -> Fault:
    async def fault(world: World, dice: random.Random, hold: float) -> None:
        simulator = world.rig.simulator
        async with world.answers_lock:
            with world.struck(name):
                simulator.faults.answer(dice.choice(answers), 100_000)
                try:
                    await asyncio.sleep(hold)
                finally:
                    simulator.faults.clear()

    return fault


async def _goes_away(world: World, dice: random.Random, hold: float) -> None:
    simulator = world.rig.simulator
    with world.struck("APNs sends GOAWAY"):
        for _times in range(1 + int(hold)):
            simulator.faults.go_away(last_stream=dice.choice((None, 0)))
            await asyncio.sleep(0.3)


async def _resets(world: World, __: random.Random, hold: float) -> None:
    simulator = world.rig.simulator
    with world.struck("APNs drops connections after it has delivered"):
        for _ in range(1 + int(hold)):
            simulator.faults.answer(Answer(manner="drop", delivered=True))
            await asyncio.sleep(0.3)


_APNS: Final[Mapping[str, Fault]] = {
    "429": _answers(
        "APNs answers 429",
        Answer(429, "TooManyRequests"),
        Answer(429, "TooManyRequests", retry_after=2),
    ),
    "500": _answers("APNs answers 500", Answer(500, "InternalServerError")),
    "503": _answers("APNs answers 503", Answer(503, "ServiceUnavailable"), Answer(503, "Shutdown")),
    "silence": _answers("APNs answers nothing", Answer(manner="never")),
    "half": _answers("APNs delivers, but answers nothing", Answer(manner="never", delivered=True)),
    "goaway": _goes_away,
    "drops": _resets,
    "apns cut": _way("APNs is cut off", lambda world: world.to_apns, frozen=False, every=True),
    "apns frozen": _way("the way to APNs is frozen for one bridge", lambda world: world.to_apns, frozen=True),
}
_ALL: Final[Mapping[str, Fault]] = {
    "kill": _killed,
    "roll": _rolled,
    "hold": _held,
    "jump": _jumped,
    "in cut": _way("an Alertmanager is cut off", lambda world: world.to_bridges[:2], frozen=False),
    "in frozen": _way("Alertmanagers' webhooks are frozen", lambda world: world.to_bridges, frozen=True),
    "phones cut": _way("the phones are cut off", lambda world: [world.to_phones], frozen=False),
    "phones frozen": _way("the phones' connections are frozen", lambda world: [world.to_phones], frozen=True),
    **_APNS,
}
_POSTGRESQL: Final[Mapping[str, Fault]] = {
    "restart": _server("PostgreSQL is restarted", crash=False),
    "crash": _server("kill -9 of PostgreSQL", crash=True),
    "ledger cut": _way("PostgreSQL is cut off from one bridge", lambda world: world.to_ledger, frozen=False),
    "ledger frozen": _way(
        "the way to PostgreSQL is frozen for one", lambda world: world.to_ledger, frozen=True
    ),
    "all frozen": _way(
        "the way to PostgreSQL is frozen for all", lambda world: world.to_ledger, frozen=True, every=True
    ),
}


NAMES: Final = (*_ALL, *_POSTGRESQL, "full")


def of(world: World, without: Collection[str] = ()) -> Mapping[str, Fault]:
    """Give the faults that this world can have, but for those that are left out."""
    beside = {"full": _full} if world.disk is not None else {}
    found = {**_ALL, **(_POSTGRESQL if world.kind == "postgresql" else beside)}
    return {name: fault for name, fault in found.items() if name not in without}


async def over(world: World) -> None:
    """Have every fault ended, also one that was broken off."""
    async with AsyncExitStack() as stack:
        for replica in world.replicas:
            await stack.enter_async_context(replica.lock)
        for proxy in (*world.to_ledger, *world.to_apns, *world.to_bridges, world.to_phones):
            proxy.freeze(frozen=False)
            proxy.refuse(refuses=False)
        world.rig.simulator.faults.clear()
