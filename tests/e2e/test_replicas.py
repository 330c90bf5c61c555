"""Three real bridges on a real PostgreSQL, behind one address, told by two clustered Alertmanagers."""

from __future__ import annotations

import random
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench import pgserver
from bench.chaos.proxy import Proxy
from bench.pgserver import PASSWORD, Server
from bridge.rig import PROGRAM, Rig

from .scene import alertmanager_config, configure, scene
from .test_kill import OWNERS, Senders, assert_each_is_found_once, assert_told, outbox_empty

pytestmark = pytest.mark.real

KILLS = 4
FIRED = 12


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that asks for a password."""
    server = pgserver.Server()
    server.start()
    server.execute(f"CREATE ROLE bridge LOGIN PASSWORD '{PASSWORD}'", "CREATE ROLE ledger")
    server.execute("CREATE DATABASE bridge OWNER bridge")
    rules = server.folder / "data/pg_hba.conf"
    rules.write_text("host bridge bridge 127.0.0.1/32 scram-sha-256\n" + rules.read_text())
    server.execute("SELECT pg_reload_conf()")
    yield server
    server.close()


class Replicas:
    """The bridges; each keeps its addresses over a restart."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.web = [rig.address() for _ in range(3)]
        self.phone = [rig.address() for _ in range(3)]

    async def start(self, number: int) -> None:
        await self.rig.start(
            f"bridge-{number}",
            *(*PROGRAM, "serve", f"--config.file={self.rig.config}", "--log.format=json"),
            *(f"--web.listen-address={self.web[number]}", f"--phone.listen-address={self.phone[number]}"),
            url=f"http://{self.web[number]}",
        )

    async def kill(self, number: int) -> None:
        await self.rig.running.pop(f"bridge-{number}").stop(signal.SIGKILL)


@asynccontextmanager
async def replicas(tmp_path: Path, server: Server) -> AsyncIterator[Replicas]:
    config = configure(tmp_path, OWNERS, {"every": "4s", "for": "3s", "times": 1})
    async with scene(tmp_path, config) as rig:
        adapted = yaml.safe_load(rig.config.read_text())
        (rig.folder / "password").write_text(f"{PASSWORD}\n")
        url = f"postgresql://bridge@127.0.0.1:{server.port}/bridge"
        adapted["storage"] = {"url": url, "password_file": str(rig.folder / "password")}
        rig.config.write_text(yaml.safe_dump(adapted))
        bridges = Replicas(rig)
        async with Proxy(bridges.web) as service:
            rig.bridge_url, rig.webhook_url = service.url, f"{service.url}/webhook"
            for number in range(3):
                await bridges.start(number)
            await rig.ready()
            yield bridges


async def clustered(rig: Rig) -> list[Any]:
    gossip = [rig.address() for _ in range(2)]
    flags = [(f"--cluster.listen-address={gossip[0]}",)]
    flags.append((f"--cluster.listen-address={gossip[1]}", f"--cluster.peer={gossip[0]}"))  # type: ignore[arg-type]
    return [
        await rig.start_alertmanager(alertmanager_config(rig), *flags[number], "--cluster.peer-timeout=1s",
                                     name=f"alertmanager-{number}")
        for number in range(2)
    ]  # fmt: skip


async def test_bridges_that_are_killed_in_a_storm_and_a_restart_of_postgresql_lose_nothing_and_ring_once(
    tmp_path: Path, server: Server
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    async with replicas(tmp_path, server) as bridges:
        rig = bridges.rig
        pair = await clustered(rig)
        await rig.ready()
        for phone in list(rig.simulator.phones)[::2]:  # so that many a kill meets pushes in flight
            phone.profile.behaviour, phone.profile.delay = "slow", 0.3
        senders = Senders(rig.webhook_url)
        try:
            for kill in range(KILLS):
                number = chance.randrange(3)
                for fired in range(FIRED // KILLS):
                    name = f"Fired{kill * FIRED + fired}"
                    for one in pair:
                        await rig.amtool(one, "alert", "add", name, "team=db", "instance=a")
                await many_more(rig, senders)
                await bridges.kill(number)
                await many_more(rig, senders)
                if kill == 1:
                    server.stop()
                    server.start()
                await bridges.start(number)
        finally:
            await senders.finish()
        await rig.until("what Alertmanager sent", lambda: all_told(rig, FIRED))
        await rig.until("every page to have its outcome", lambda: outbox_empty(rig))
        stories = [await rig.incident(one["id"]) for one in await rig.incidents()]
        assert_each_is_found_once(senders.answered, stories)
        for story in stories:
            assert_told(rig, story)
        for phone in rig.simulator.phones:
            uuids = [call.uuid for call in phone.calls.items]
            assert len(uuids) == len(set(uuids)), f"{phone.name} rang twice for one call"
        await rig.cli("ledger", "verify")
        logs = "".join(file.read_text() for file in rig.folder.glob("bridge-*.log"))
        assert PASSWORD not in logs
        print(f"{len(senders.answered)} webhooks, {len(stories)} incidents, {KILLS} kills")


async def many_more(rig: Rig, senders: Senders) -> None:
    enough = len(senders.answered) + 15

    async def look() -> bool | None:
        return len(senders.answered) >= enough or None

    await rig.until("webhooks to be answered", look)


async def all_told(rig: Rig, count: int) -> bool | None:
    titles = {one["title"] for one in await rig.incidents()}
    return sum(title.startswith("Fired") for title in titles) == count or None
