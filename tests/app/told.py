"""Stories that are told twice: on a bridge that runs, and on one that is restarted in the middle of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from difflib import unified_diff
from pathlib import Path
from pprint import pformat
from random import Random
from typing import Any, TypeAlias

from appworld import World
from builders import NOW
from ledgers import verify
from sqlalchemy.ext.asyncio import AsyncConnection
from words import held_to_its_words

from bridge import bundles
from bridge.app import Bridge
from bridge.simulator import Phone
from bridge.store import calls, owned
from bridge.store.tx import load_incidents

PEOPLE = ("alice", "bob", "carol")


class Told(World):
    """A World whose phones have enrolled.

    `chance`: the bridge is stopped, or killed, and started again about every second time that it has
    come to rest, as this says; None: it is left alone.
    """

    def __init__(self, folder: Path, chance: Random | None) -> None:
        super().__init__(folder)
        self.chance = chance
        self.restarts = 0
        self.alike = True
        """Set to False where chance decides in the story itself, so that two tellings differ."""

    async def start(self) -> Bridge:
        bridge = await super().start()
        self._words = held_to_its_words(bridge.store)
        self._words.__enter__()
        return bridge

    async def stop(self) -> None:
        running = self._running is not None
        await super().stop()
        if running:
            self._words.__exit__(None, None, None)

    async def begin(self, *phones: str) -> None:
        """Start the bridge, and let these phones enrol: "alice" as alice-iphone, "alice-ipad" as that."""
        self.config["devices"] = []
        self.config["people"] = [{"name": name} for name in PEOPLE]
        for name in phones:
            if name not in self.sim.phones:
                self.sim.add_phone(name)
        await self.start()
        await self.enrol(*phones)

    def group(self, name: str, *owners: str) -> None:
        """Let a device group be these people."""
        others = [group for group in self.config["device_groups"] if group["name"] != name]
        self.config["device_groups"] = [*others, {"name": name, "owners": list(owners)}]

    def policy(self, *steps: dict[str, Any], **fields: Any) -> None:
        """Let the one receiver be this."""
        self.config["receivers"] = [{"name": "platform", "escalation": list(steps)} | fields]

    async def settled(self) -> None:
        await super().settled()
        if self.chance is not None and self.chance.random() < 0.5:
            self.restarts += 1
            if self.chance.random() < 0.5:
                await self.kill()
            await self.restart()
            await super().settled()
        await self.heard()

    async def kill(self) -> None:
        """End the bridge as `kill -9` would: what was being sent is not settled."""
        for task in self.bridge.sender._tasks:
            task.cancel()
        await self.stop()

    async def heard(self) -> None:
        """Come back when each phone whose ring is over has heard so by its stream."""
        for phone in self.sim.phones:
            for call in phone.calls.items:
                if call.state == "ringing" and phone.membership and phone._awake():
                    over = await self.bridge.store.read(lambda c, name=call.record_id: _over(c, name))
                    if over:
                        await call.wait_for("ended", 30)

    async def resolve(self, *names: str) -> None:
        await self.webhook(*(self.alert(name, resolved=True) for name in names or ("DiskFull",)))

    # --- what came of it ---

    async def record(self) -> dict[str, Any]:
        """All that anybody could tell of the story; what happens at one instant is in no order."""
        await self.settled()
        assert await verify(self.bridge.store) == []
        phones = {phone.name: _phone(phone) for phone in self.sim.phones}
        listed = [one["id"] for one in await self.incidents(closed=True)]
        stories = [(await self.get(f"/api/v1/incidents/{name}")).json for name in listed]
        return {"phones": phones, "incidents": sorted(map(_incident, stories), key=repr)}


async def _over(connection: AsyncConnection, name: str) -> bool:
    call = await calls.find(connection, name)
    assert call is not None
    found = await load_incidents(connection, [incident for incident, _ in call.carries])
    by_id = {incident.id: incident for incident in found}
    return bundles.over(call, by_id, await owned.series_of(connection, name)) is not None


def _phone(phone: Phone) -> dict[str, Any]:
    return {
        "pushes": [(_since(push.at), push.notification.push_type, push.fate) for push in phone.pushes.items],
        "calls": [
            (call.uuid, call.why, [(_since(at), state) for at, state in call.history])
            for call in phone.calls.items
        ],
        "receipts": [(one.kind, one.error_code, one.status) for one in phone.receipts.items],
    }


def _incident(story: dict[str, Any]) -> dict[str, Any]:
    timeline = sorted((line["at"], line["kind"], line["text"]) for line in story["timeline"])
    facts = ("kind", "target", "series", "round", "step", "ring", "due_at", "outcome", "reason", "attempt")
    pages = sorted(tuple(str(page[name]) for name in facts) for page in story["pages"])
    shown = ("title", "state", "revision", "acknowledged_by", "resolution", "unanswered_at")
    told = {"told": sorted(story["told"]), "timeline": timeline, "pages": pages}
    return {name: story[name] for name in shown} | told


def _since(at: datetime) -> float:
    return (at - NOW).total_seconds()


Tale: TypeAlias = Callable[[Told], Awaitable[None]]


def told_twice(tale: Tale) -> Callable[[Path], Awaitable[None]]:
    """Make a test of a tale: restarts at any moment change nothing of it."""

    async def test(tmp_path: Path) -> None:
        records = []
        for chance in (None, Random(tale.__name__)):
            folder = tmp_path / ("undisturbed" if chance is None else "disturbed")
            folder.mkdir()
            async with Told(folder, chance) as told:
                await tale(told)
                records.append(await told.record())
        assert told.restarts
        if told.alike:
            told_before, told_again = (pformat(one, width=150).splitlines() for one in records)
            difference = "\n".join(unified_diff(told_before, told_again, n=1, lineterm=""))
            assert not difference, f"restarts changed the story:\n{difference}"

    test.__name__, test.__doc__, test.__module__ = tale.__name__, tale.__doc__, tale.__module__
    return test
