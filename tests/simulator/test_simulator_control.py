from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from bridge.simulator import Simulator

from .client import Sender
from .conftest import Bridge, Receiver


class Control:
    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session

    async def __call__(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        async with self.session.request(method, path, json=body) as answer:
            return answer.status, await answer.json() if answer.status != 204 else None


@pytest.fixture
async def control(sim: Simulator) -> AsyncIterator[Control]:
    async with aiohttp.ClientSession(sim.control_url) as session:
        yield Control(session)


async def test_phones_are_listed_made_changed_and_deleted(
    control: Control, sender: Sender, bridge: Bridge
) -> None:
    token = "ab" * 32
    status, made = await control("PUT", "/phones/bob", {"voip_token": token, "auto_answer": 3})
    assert (status, made["voip_token"], made["auto_answer"], made["behaviour"]) == (201, token, 3, "normal")
    assert (await control("PUT", "/phones/bob", {"auto_answer": None}))[0] == 200
    status, changed = await control("PATCH", "/phones/bob", {"behaviour": "silent"})
    assert (status, changed["behaviour"], changed["voip_token"], changed["auto_answer"]) == (
        200,
        "silent",
        token,
        None,
    )
    assert [phone["name"] for phone in (await control("GET", "/phones"))[1]] == ["alice", "bob"]
    assert (await control("GET", "/phones/bob"))[1] == changed
    assert (await bridge.push(sender, path=f"/3/device/{token}")).status == 200
    assert (await control("DELETE", "/phones/bob"))[0] == 204
    assert (await bridge.push(sender, path=f"/3/device/{token}")).reason == "BadDeviceToken"


async def test_the_root_lists_every_path(control: Control) -> None:
    status, paths = await control("GET", "/")
    assert status == 200
    assert {"GET /phones", "POST /phones/{name}/answer", "PATCH /phones/{name}", "GET /events"} <= set(paths)


async def test_the_pushes_and_calls_of_a_phone_can_be_seen(
    control: Control, sender: Sender, bridge: Bridge
) -> None:
    body = bridge.call()
    await bridge.push(sender, body)
    [push] = (await control("GET", "/phones/alice/pushes"))[1]
    assert (push["fate"], push["push_type"], push["payload"]) == ("rang", "voip", json.loads(body))
    assert push["headers"]["apns-id"] == push["apns_id"]
    [call] = (await control("GET", "/phones/alice/calls"))[1]
    assert (call["state"], call["id"]) == ("ringing", "rec-1")


@pytest.mark.parametrize(("verb", "state"), [("answer", "answered"), ("decline", "declined")])
async def test_a_call_is_taken_or_declined_over_the_control_interface(
    control: Control,
    sender: Sender,
    bridge: Bridge,
    receiver: Receiver,
    sim: Simulator,
    verb: str,
    state: str,
) -> None:
    assert await control("POST", f"/phones/alice/{verb}") == (409, {"error": "no call is ringing on alice"})
    await bridge.push(sender, bridge.call(**receiver.call()))
    [call] = (await control("GET", "/phones/alice/calls"))[1]
    status, taken = await control("POST", f"/phones/alice/{verb}", {"call": call["uuid"].upper()})
    assert (status, taken["state"]) == (200, state)
    await sim.phone("alice").receipts.until(2)
    assert receiver.kinds == ["received", state]


async def test_answers_are_written_in_advance_for_one_phone(
    control: Control, sender: Sender, bridge: Bridge
) -> None:
    script = [{"reason": "TooManyRequests", "times": 2}, {"status": 503}]
    assert (await control("POST", "/phones/alice/script", script))[1]["answers_waiting"] == 3
    assert [(await bridge.push(sender)).status for _ in range(4)] == [429, 429, 503, 200]
    answers = (await control("GET", "/answers"))[1]
    assert [one["status"] for one in answers] == [429, 429, 503, 200]
    assert "…" in answers[0]["token"]


async def test_faults_are_set_seen_and_cleared(control: Control, sender: Sender, bridge: Bridge) -> None:
    status, state = await control("POST", "/faults", {"answer": {"reason": "Shutdown"}, "times": 3})
    assert (status, state) == (200, {"frozen": False, "answers_waiting": 3, "connections": 1})
    assert (await bridge.push(sender)).reason == "Shutdown"
    assert (await control("POST", "/faults", {"freeze": True}))[1]["frozen"]
    assert (await control("DELETE", "/faults"))[1] == {
        "frozen": False,
        "answers_waiting": 0,
        "connections": 1,
    }
    assert (await bridge.push(sender)).status == 200
    await control("POST", "/faults", {"expire_tokens": True})
    assert (await bridge.push(sender)).reason == "ExpiredProviderToken"
    await control("POST", "/faults", {"goaway": {"reason": "IdleTimeout"}})
    await asyncio.wait_for(sender.gone.wait(), 10)
    assert sender.goaway is not None
    assert b"IdleTimeout" in (sender.goaway.additional_data or b"")


async def test_connections_are_dropped_on_request(control: Control, sender: Sender) -> None:
    await control("POST", "/faults", {"drop": True})
    await asyncio.wait_for(sender.gone.wait(), 10)
    assert (await control("GET", "/faults"))[1]["connections"] == 0


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "error"),
    [
        ("GET", "/nothing", None, 404, "Not Found"),
        ("POST", "/phones", None, 405, "Method Not Allowed"),
        ("GET", "/phones/bob", None, 404, "no phone 'bob'; there are alice"),
        ("DELETE", "/phones/bob", None, 404, "no phone 'bob'; there are alice"),
        ("PATCH", "/phones/alice", {"behavior": "slow"}, 400, "unknown key behavior"),
        ("PATCH", "/phones/alice", {"behaviour": "asleep"}, 400, "behaviour is one of normal, unregistered"),
        ("PATCH", "/phones/alice", {"environment": []}, 400, "environment is one of"),
        ("PATCH", "/phones/alice", {"receipts_by": "post"}, 400, "receipts_by is one of token, credential"),
        ("PATCH", "/phones/alice", {"time_sensitive": 1}, 400, "time_sensitive is true or false"),
        ("PATCH", "/phones/alice", {"delay": "5s"}, 400, "delay is a number of seconds"),
        ("PATCH", "/phones/alice", {"delay": None}, 400, "delay is a number of seconds"),
        ("PATCH", "/phones/alice", {"voip_token": 7}, 400, "voip_token is a text"),
        ("PATCH", "/phones/alice", {"voip_token": "xyz"}, 400, "not hexadecimal"),
        ("PATCH", "/phones/alice", {"unregistered_since": "now"}, 400, "a time of RFC 3339"),
        ("PATCH", "/phones/alice", {"unregistered_since": "2026-01-01"}, 400, "no time zone"),
        ("PATCH", "/phones/alice", [], 400, "the body is a JSON object"),
        ("POST", "/phones/alice/script", [7], 400, "an answer is an object"),
        ("POST", "/phones/alice/script", {"status": 99}, 400, "status is a number from 200 to 599"),
        ("POST", "/phones/alice/script", {"state": 200}, 400, "unknown key state"),
        ("POST", "/phones/alice/script", {"manner": "rude"}, 400, "manner is one of"),
        ("POST", "/phones/alice/script", {"reason": 7}, 400, "reason is a text"),
        ("POST", "/phones/alice/script", {"retry_after": -1}, 400, "retry_after is a number"),
        ("POST", "/phones/alice/script", {"delivered": 1}, 400, "delivered is true or false"),
        ("POST", "/phones/alice/script", {"times": 0}, 400, "times is a number"),
        ("POST", "/phones/alice/answer", {"call": 7}, 400, "call is the UUID"),
        ("POST", "/faults", {"fault": True}, 400, "unknown key fault"),
        ("POST", "/faults", {"answer": 503}, 400, "answer is an object"),
        ("POST", "/faults", {"freeze": "yes"}, 400, "freeze is true or false"),
        ("POST", "/faults", {"times": True}, 400, "times is a number"),
        ("POST", "/faults", {"goaway": {"last": 1}}, 400, "unknown key last in goaway"),
        ("POST", "/faults", {"goaway": {"last_stream": -1}}, 400, "goaway.last_stream is a number"),
        ("POST", "/faults", {"goaway": {"reason": 1}}, 400, "goaway.reason is a text"),
        ("GET", "/events?since=x", None, 400, "since is the number of an event"),
    ],
)
async def test_a_wrong_request_is_told_what_is_wrong(
    control: Control, method: str, path: str, body: Any, status: int, error: str
) -> None:
    got, answer = await control(method, path, body)
    assert got == status
    assert error in answer["error"]


async def test_a_body_that_is_not_json_is_told_so(control: Control) -> None:
    async with control.session.post("/faults", data=b"{") as answer:
        assert answer.status == 400
        assert "the body is not JSON" in (await answer.json())["error"]


async def test_events_come_as_they_happen(
    control: Control, sender: Sender, bridge: Bridge, receiver: Receiver, sim: Simulator
) -> None:
    async with control.session.get("/events") as stream:
        assert stream.headers["Content-Type"] == "text/event-stream"
        assert await stream.content.readline() == b": ready\n"
        await bridge.push(sender, bridge.call(**receiver.call()))
        sim.phone("alice").answer()
        await sim.phone("alice").receipts.until(2)
        kinds = [(await next_event(stream))["kind"] for _ in range(5)]
    assert sorted(kinds) == ["answered", "push", "receipt", "receipt", "ringing"]
    assert kinds.index("push") < kinds.index("ringing") < kinds.index("answered")


async def test_a_watcher_who_comes_back_gets_what_was_missed(
    control: Control, sender: Sender, bridge: Bridge
) -> None:
    await bridge.push(sender)
    for ask in ({"params": {"since": "1"}}, {"headers": {"Last-Event-ID": "1"}}):
        async with control.session.get("/events", **ask) as stream:
            event = await next_event(stream)
            assert (event["kind"], event["phone"]) == ("ringing", "alice")


async def test_the_simulator_stops_while_somebody_watches() -> None:
    async with aiohttp.ClientSession() as session:
        async with Simulator() as sim:
            stream = await session.get(f"{sim.control_url}/events")
            assert await stream.content.readline() == b": ready\n"
        assert await stream.content.read() == b"\n"
        stream.close()


async def next_event(stream: aiohttp.ClientResponse) -> dict[str, Any]:
    async with asyncio.timeout(10):
        while not (line := await stream.content.readline()).startswith(b"data: "):
            pass
    return json.loads(line.removeprefix(b"data: "))
