"""The app's part of the phones' API, by hand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any, Self

import aiohttp
from appworld import Answer, World

_numbers = count(1)


async def code_for(world: World, owner: str = "alice", **query: str) -> dict[str, Any]:
    """What `devices enroll` gets: the code, the link, the address."""
    made = await world.post("/api/v1/enrolments", params={"owner": owner} | query)
    assert made.status == 201, made.body
    found: dict[str, Any] = made.json
    return found


async def exchange(world: World, code: str, **fields: Any) -> Answer:
    """Try a code."""
    url = f"{world.bridge.bound.phone}/api/v1/enrol"
    return await world.ask("POST", url, json.dumps({"code": code} | fields))


def fresh() -> dict[str, Any]:
    """An act's body, with an id of its own."""
    return {"event_id": f"act-{next(_numbers)}"}


class Handset:
    """A phone that enrolled."""

    def __init__(self, world: World, credential: str, name: str = "") -> None:
        self.world = world
        self.credential = credential
        self.name = name
        self.headers = {"Authorization": f"Bearer {credential}"}

    @classmethod
    async def enrolled(cls, world: World, owner: str = "alice", **query: str) -> Self:
        done = await exchange(world, (await code_for(world, owner, **query))["code"])
        assert done.status == 201, done.body
        return cls(world, done.json["credential"], done.json["device"])

    async def ask(self, method: str, path: str, body: Any = None, **options: Any) -> Answer:
        """Ask; `path` is below /api/v1."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body)
        headers = self.headers | options.pop("headers", {})
        url = f"{self.world.bridge.bound.phone}/api/v1{path}"
        return await self.world.ask(method, url, data, headers=headers, **options)

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.ask("GET", path, **options)

    async def act(self, incident: str, what: str, **fields: Any) -> Answer:
        """Do something to an incident, once."""
        return await self.ask("POST", f"/incidents/{incident}/{what}", fresh() | fields)

    async def put(self, **tokens: Any) -> Answer:
        return await self.ask("PUT", "/device/tokens", tokens)


@dataclass(frozen=True)
class Told:
    """One block of an event stream."""

    kind: str = ""
    data: Any = None
    number: int | None = None
    comment: str = ""


class Ear:
    """An open event stream, read block by block."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.last: int | None = None

    async def block(self) -> Told | None:
        """The next block, a sign of life included; None at the end."""
        async with asyncio.timeout(30):
            try:
                raw = await self.response.content.readuntil(b"\n\n")
            except aiohttp.ClientPayloadError:
                return None
        if not raw.endswith(b"\n\n"):
            assert raw == b"", raw
            return None
        fields = dict(line.partition(": ")[::2] for line in raw.decode().split("\n") if line)
        number = int(fields["id"]) if "id" in fields else None
        self.last = self.last if number is None else number
        data = json.loads(fields["data"]) if "data" in fields else None
        return Told(fields.get("event", ""), data, number, fields.get("", ""))

    async def next(self) -> Told:
        """The next event."""
        while True:
            told = await self.block()
            assert told is not None, "the stream has ended"
            if told.kind:
                return told

    async def until(self, what: str) -> list[Told]:
        """Events up to the first `call_ended`, or the first line of a timeline of this kind."""
        found = [await self.next()]
        while what not in {found[-1].kind, found[-1].data.get("event", {}).get("kind")}:
            found.append(await self.next())
        return found

    async def end(self) -> list[Told]:
        """All that is told before the stream ends."""
        found = []
        while (told := await self.block()) is not None:
            found.append(told)
        return found


@asynccontextmanager
async def listening(handset: Handset, after: int | None = None) -> AsyncIterator[Ear]:
    """Open the stream, after an event that was heard before."""
    headers = handset.headers | ({} if after is None else {"Last-Event-ID": str(after)})
    url = f"{handset.world.bridge.bound.phone}/api/v1/events"
    async with handset.world.http.get(url, headers=headers) as response:
        assert response.status == 200, await response.text()
        ear = Ear(response)
        await ear.block()
        yield ear
