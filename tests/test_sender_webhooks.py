"""Webhook targets go through the same outbox: a real server that takes, fails, redirects, hangs, or is gone."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from builders import at, receiver, step
from ledgers import incident, page, put
from senderworld import World, target, world

from bridge import outgoing, people, replayer, sender
from bridge.config import Secret
from bridge.replayer import Wish
from bridge.store.tables import timeline

HOOK = receiver(step("platform"), step(webhooks=("hook",), then_after=3600))
"""Alice, and five minutes later the webhook."""


@pytest.fixture
async def sending(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path, receiver(step(webhooks=("hook",), then_after=7200))) as found:
        yield found


async def test_a_webhook_gets_the_incident_and_its_answer_settles_the_page(sending: World) -> None:
    (change,) = await sending.room.fire("DiskFull")
    await sending.send()
    ((path, headers, body),) = sending.hook.requests
    (asked,) = change.pages
    assert path == "/s3cret"
    assert headers["Content-Type"] == "application/json"
    assert headers["Idempotency-Key"] == body["page_id"] == asked.id
    assert (body["event"], body["incident_id"]) == ("incident.triggered", change.incident.id)
    assert [alert["labels"] for alert in body["alerts"]] == [{"alertname": "DiskFull"}]
    assert await sending.pages() == [("webhook", "hook", "accepted", None)]
    row = await sending.incident()
    assert (row["reached"], row["told"]) == (True, []), "it is reached, but no phone has to hear of its end"
    assert sending.metric("outgoing_webhooks_total", outcome="accepted") == 1


@pytest.mark.parametrize("status", [200, 201, 204, 299])
async def test_any_2xx_is_an_answer(sending: World, status: int) -> None:
    sending.hook.answers = [status]
    await sending.room.fire("DiskFull")
    await sending.send()
    assert await sending.pages() == [("webhook", "hook", "accepted", None)]


@pytest.mark.parametrize("status", [400, 401, 404, 410, 429, 500, 503, 302, 307, 308])
async def test_anything_else_is_tried_again_with_the_same_key_for_an_operator_may_mend_it(
    sending: World, status: int
) -> None:
    sending.hook.answers = [status, status]
    await sending.room.fire("DiskFull")
    await sending.send()
    assert await sending.pages() == [("webhook", "hook", "waiting", f"HTTP {status}")]
    await sending.send(1)
    await sending.send(2)
    assert await sending.pages() == [("webhook", "hook", "accepted", None)]
    assert len(sending.hook.keys) == 3
    assert len(set(sending.hook.keys)) == 1
    assert {path for path, _, _ in sending.hook.requests} == {"/s3cret"}, "a redirect is not followed"


async def test_a_server_that_is_slow_is_given_up_and_asked_again(
    sending: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "_TIMEOUT", 0.2)
    sending.hook.hold = asyncio.Event()
    await sending.room.fire("DiskFull")
    await sending.send()
    assert await sending.pages() == [("webhook", "hook", "waiting", "Timeout")]
    sending.hook.hold.set()
    monkeypatch.undo()
    await sending.send(1)
    assert [row[2] for row in await sending.pages()] == ["accepted"]
    assert len(set(sending.hook.keys)) == 1


async def test_the_time_limit_of_a_post_is_within_its_lease() -> None:
    """Else a second claim would post beside the first one."""
    assert sender._LEASE.total_seconds() > outgoing._TIMEOUT
    assert sender._LEASE.total_seconds() > sender._PUSH_TIMEOUT


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:{port}/s3cret", "http://[s3cret", "s3cret", "ftp://127.0.0.1/s3cret"]
)
async def test_a_server_that_cannot_be_reached_is_no_secret_in_a_log(tmp_path: Path, url: str) -> None:
    webhooks = {"hook": Secret(url.format(port=free_port()))}
    policy = receiver(step(webhooks=("hook",), then_after=7200))
    async with world(tmp_path, policy, webhooks=webhooks) as sending:
        with structlog.testing.capture_logs() as logs:
            await sending.room.fire("DiskFull")
            await sending.send()
        (row,) = await sending.pages()
        assert row[:3] == ("webhook", "hook", "waiting")
        assert "s3cret" not in repr((row, logs))
        assert [line["outcome"] for line in logs if line["event"] == "outgoing webhook"] == ["retryable"]


async def test_a_webhook_that_the_configuration_has_no_more_waits_for_one_that_has_it(sending: World) -> None:
    settings = sending.desk.settings
    sending.desk.settings = replace(settings, webhooks={})
    await sending.room.fire("DiskFull")
    await sending.send()
    assert (await sending.page())["next_attempt_at"] == at(60)
    assert "no webhook of this name" in (await sending.page())["reason"]
    sending.desk.settings = settings
    await sending.send(60)
    assert len(sending.hook.requests) == 1


async def test_after_an_hour_of_trying_it_is_settled_as_expired_with_the_last_reason(sending: World) -> None:
    sending.hook.answers = [500] * 500
    await sending.room.fire("DiskFull")
    for _ in range(130):
        await sending.send(30)
    assert await sending.pages() == [("webhook", "hook", "expired", "HTTP 500")]
    assert 60 < len(sending.hook.requests) < 200, "every 30 s, more or less, after the first ones"


async def test_what_is_withdrawn_while_it_is_being_posted_settles_when_the_answer_comes(
    sending: World,
) -> None:
    sending.hook.hold = asyncio.Event()
    (change,) = await sending.room.fire("DiskFull")
    await sending.sender.tick()
    await sending.hook.came.wait()
    await sending.desk.act(change.incident.id, people.acknowledge("bob"))
    assert (await sending.page())["state"] == "sending"
    sending.hook.hold.set()
    await sending.sender.drain()
    row = await sending.page()
    assert (row["outcome"], row["withdrawn"]) == ("accepted", "acknowledged")


async def test_the_webhook_of_a_step_goes_out_once_however_often_the_step_rings(tmp_path: Path) -> None:
    """Rule 4."""
    async with world(tmp_path, receiver(step("platform", webhooks=("hook",)))) as sending:
        (change,) = await sending.room.fire("DiskFull")
        await sending.send()
        for _ in range(3):
            sending.clock.move(45)
            await sending.desk.advance([change.incident.id])
            await sending.send()
        assert [kind for kind, *_ in await sending.pages()].count("ring") == 4
        assert len(sending.hook.requests) == 1


# --- a jam ------------------------------------------------------------------------------------


async def test_a_server_that_hangs_keeps_no_phone_from_ringing(
    sending: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "_IN_FLIGHT", 3)
    sending.hook.hold = asyncio.Event()
    many = [incident(f"Alert{number}") for number in range(10)]
    await put(sending.room.store, *many)
    await sending.put(*(page(one, "hook", kind="webhook") for one in many))
    await sending.sender.tick()
    await sending.put(
        *(page(one, kind="ring") for one in many), page(incident("Late"), "hook", kind="webhook")
    )
    await sending.sender.tick()
    assert (await sending.alice.wait_for_push()).fate == "rang"
    assert sending.metric("outgoing_webhooks_total", outcome="accepted") == 0
    sending.hook.hold.set()
    await sending.sender.drain()
    assert len(sending.hook.requests) == 10, "what found no room was not claimed"
    await put(sending.room.store, incident("Late"))
    await sending.send()
    assert len(sending.hook.requests) == 11


async def test_a_server_that_hangs_keeps_no_other_server_waiting(sending: World) -> None:
    """As long as there is room in the outbox: `_IN_FLIGHT`."""
    sending.hook.hold = asyncio.Event()
    async with target() as other:
        settings = sending.desk.settings
        sending.desk.settings = replace(settings, webhooks={**settings.webhooks, "other": Secret(other.url)})
        many = [incident(f"Alert{number}") for number in range(120)]
        await put(sending.room.store, *many)
        await sending.put(*(page(one, "hook", kind="webhook") for one in many))
        await sending.sender.tick()
        await sending.hook.has(outgoing._AT_ONE_HOST)
        await sending.put(page(many[0], "other", kind="webhook"))
        await sending.sender.tick()
        async with asyncio.timeout(5):  # half of the time that a server has
            await other.came.wait()
        assert len(sending.hook.requests) == outgoing._AT_ONE_HOST
        sending.hook.hold.set()
        await sending.sender.drain()
    assert len(set(sending.hook.keys)) == 120


async def test_an_apns_that_hangs_keeps_no_webhook_from_going_out(
    sending: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "_IN_FLIGHT", 1)
    monkeypatch.setattr(sender, "_PUSH_TIMEOUT", 30.0)
    sending.alice.profile.behaviour = "slow"
    one = incident()
    await put(sending.room.store, one)
    await sending.put(page(one))
    await sending.sender.tick()
    await sending.put(page(one, "hook", kind="webhook"), page(one, "bob-iphone"))
    await sending.sender.tick()
    await sending.hook.came.wait()
    assert sending.bob.pushes.items == []
    sending.clock.move(5)
    await sending.sender.drain()
    await sending.send()
    assert [push.fate for push in sending.bob.pushes.items] == ["rang"]


async def test_more_than_one_claim_takes_goes_out_at_once(sending: World) -> None:
    many = [incident(f"Alert{number}") for number in range(510)]
    await put(sending.room.store, *many)
    await sending.put(*(page(one, "hook", kind="webhook") for one in many))
    sending.hook.hold = asyncio.Event()
    await sending.sender.tick()
    assert len(sending.sender._tasks) == 510
    sending.hook.hold.set()
    await sending.sender.drain()
    assert len(set(sending.hook.keys)) == 510


async def test_a_webhook_for_an_incident_that_is_gone_harms_nobody(sending: World) -> None:
    """Its story was deleted under it: the lease runs out, and in the end the page is settled."""
    asked: Any = page(incident("Gone"), "hook", kind="webhook")
    await sending.put(asked)
    with structlog.testing.capture_logs() as logs:
        await sending.sender.tick()
        await sending.sender.drain()
    assert [line["event"] for line in logs] == ["a send failed"]
    await sending.send(3600)
    assert await sending.pages() == [("webhook", "hook", "expired", "no answer in time")]


async def test_a_post_that_failed_goes_out_again_when_somebody_asks_and_once(sending: World) -> None:
    sending.hook.answers = [500]
    (change,) = await sending.room.fire("DiskFull")
    await sending.send()
    await sending.send(3600)
    assert (await sending.page())["outcome"] == "expired"
    settings, wish = sending.desk.settings, Wish(at(-1), at(9999), "carol")
    found = [
        await sending.room.store.write(lambda tx: replayer.again(tx, settings, change.incident.id, wish))
        for _ in range(2)
    ]
    assert [one.does for one in found if one is not None] == ["posts again to hook", "nothing"]
    await sending.send()
    assert len(sending.hook.requests) == 2
    assert len(set(sending.hook.keys)) == 2, "the server is not to take it for the one that it refused"
    lines = await sending.room.look.rows(timeline, kind="replayed")
    assert [line["text"] for line in lines] == ["by carol, for 1 expired: posts again to hook"]
