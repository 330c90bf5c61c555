"""The app's part of the phones' API, by hand."""

from __future__ import annotations

import json
from itertools import count
from typing import Any, Self

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
