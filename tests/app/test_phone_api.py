"""A phone that enrolled: its code, its credential, its tokens, what it sees and does."""

from __future__ import annotations

import json
from typing import Any

from appworld import Answer, World


async def code_for(world: World, owner: str = "alice", **query: str) -> dict[str, Any]:
    made = await world.post("/api/v1/enrolments", params={"owner": owner} | query)
    assert made.status == 201, made.body
    return made.json


class Handset:
    """The app's part, by hand."""

    def __init__(self, world: World, credential: str) -> None:
        self.world = world
        self.headers = {"Authorization": f"Bearer {credential}"}

    async def ask(self, method: str, path: str, body: Any = None) -> Answer:
        url = self.world.bridge.bound.phone + path
        data = None if body is None else json.dumps(body)
        return await self.world.ask(method, url, data, headers=self.headers)


async def enrol(world: World, owner: str = "alice", **query: str) -> Handset:
    code = (await code_for(world, owner, **query))["code"]
    done = await world.ask("POST", f"{world.bridge.bound.phone}/api/v1/enrol", json.dumps({"code": code}))
    assert done.status == 201, done.body
    return Handset(world, done.json["credential"])


async def test_a_code_works_once(world: World) -> None:
    code = (await code_for(world))["code"]
    url = f"{world.bridge.bound.phone}/api/v1/enrol"
    first = await world.ask("POST", url, json.dumps({"code": code.lower().replace("-", " ")}))
    assert (first.status, first.json["owner"], first.json["device"]) == (201, "alice", "alice-iphone-2")
    again = await world.ask("POST", url, json.dumps({"code": code}))
    assert (again.status, again.json["error"]) == (400, "this code is not valid")


async def test_a_phone_puts_its_tokens_and_rings(world: World) -> None:
    phone = world.sim.add_phone("alices-new-phone")
    handset = await enrol(world, device="alices-new-phone")
    profile = phone.profile
    tokens = {"voip_token": profile.voip_token.upper(), "alert_token": profile.alert_token}
    put = await handset.ask("PUT", "/api/v1/device/tokens", tokens)
    assert put.json["would_ring"], put.body
    await world.webhook(world.alert())
    assert world.rings("alices-new-phone") == [0]


async def test_a_phone_lists_shows_and_acknowledges_what_rings_its_owner(world: World) -> None:
    handset = await enrol(world)
    await world.webhook(world.alert())
    (listed,) = (await handset.ask("GET", "/api/v1/incidents")).json["incidents"]
    path = f"/api/v1/incidents/{listed['id']}"
    shown = (await handset.ask("GET", path)).json
    assert shown["alerts"][0]["labels"]["alertname"] == "DiskFull"
    acked = await handset.ask("POST", f"{path}/acknowledge", {"event_id": "1"})
    assert (acked.status, acked.json["acknowledged_by"]) == (200, "alice")
    await world.pass_(600)
    assert world.rings("alice") == [0]


async def test_the_stream_says_at_once_that_somebody_answered(world: World) -> None:
    handset = await enrol(world)
    url = f"{world.bridge.bound.phone}/api/v1/events"
    async with world.http.get(url, headers=handset.headers) as stream:
        assert (await stream.content.readuntil(b"\n\n")).startswith(b": welcome")
        await world.webhook(world.alert())
        world.bob.answer() if world.rings("bob") else world.alice.answer()
        told = b""
        while b"acknowledged" not in told:
            told = await stream.content.readuntil(b"\n\n")
        assert b"event: incident" in told


async def test_openapi_is_served(world: World) -> None:
    document = (await world.ask("GET", f"{world.bridge.bound.phone}/api/v1/openapi.json")).json
    assert document["openapi"] == "3.1.0"
