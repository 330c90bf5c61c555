"""What the webhook answers when it cannot take a message, and what becomes of the alerts (rule 7)."""

import asyncio
import base64
import gzip
import io
import sqlite3
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import bcrypt
import pytest
import yarl
from appworld import Answer, World

from bridge.store import Decide, Scope, Tx, queries

PASSWORD, TOKEN = "correct horse", "a-bearer-token-of-some-length"


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def web_config(world: World, text: str) -> None:
    file = world.folder / "web.yaml"
    file.write_text(text)
    world.options["web_config_file"] = file


# --- 400 --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "empty"),
        (b"alertname=DiskFull", "not JSON"),
        (b"[]", "not Alertmanager's webhook message"),
        (b'{"version":"4"}', 'no "alerts"'),
        (b'{"version":"3","alerts":[]}', 'version is "3"'),
        (b"\xff\xfe{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
    ],
    ids=["empty", "form", "list", "no alerts", "version 3", "not UTF-8", "deep"],
)
async def test_what_is_no_alertmanager_message_is_400_with_a_reason(
    world: World, body: bytes, says: str
) -> None:
    answer = await world.post("/webhook", body)
    assert answer.status == 400
    assert says in answer.json["error"]
    assert world.metric("webhooks_total", source="default", code="400") == 1


async def test_a_message_without_alerts_is_taken_and_changes_nothing(world: World) -> None:
    assert (await world.post("/webhook", world.message())).status == 200
    assert await world.incidents(closed=True) == []


async def test_a_body_that_is_not_what_its_encoding_says_is_400(world: World) -> None:
    answer = await world.post("/webhook", b"no gzip at all", headers={"Content-Encoding": "gzip"})
    assert answer.status == 400
    assert "Content-Encoding" in answer.json["error"]
    assert world.metric("webhooks_total", source="default", code="400") == 1
    assert (await world.post("/webhook", world.message(world.alert()))).status == 200


@pytest.mark.parametrize(("encoding", "squeeze"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_a_compressed_body_is_read(world: World, encoding: str, squeeze: Any) -> None:
    body = squeeze(world.message(world.alert()))
    assert (await world.post("/webhook", body, headers={"Content-Encoding": encoding})).status == 200
    assert len(await world.incidents()) == 1


async def test_get_is_405_and_names_the_method_that_is_allowed(world: World) -> None:
    answer = await world.get("/webhook")
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    assert answer.json["error"]


# --- 404 --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/webhook/eu-prd", "/webhook/eu-prod"),
        ("/webhook/us", "under sources:"),
        ("/webhook/pushkit-bridge", "cannot be a source"),
        ("/webhook/", "cannot be a source"),
        ("/webhook/eu-prod/", "cannot be a source"),
    ],
)
async def test_an_unknown_source_is_404_and_rings_since_its_alerts_are_lost(
    stage: World, path: str, says: str
) -> None:
    """Rule 7: a 4xx is not sent again, so a person must know."""
    stage.config["sources"] = [{"name": "eu-prod"}]
    await stage.start()
    answer = await stage.post(path, stage.message(stage.alert()))
    await stage.settled()
    assert answer.status == 404
    assert says in str(answer.json)
    assert [one["title"] for one in await stage.incidents()] == ["PushkitBridgeWebhookRefused"]
    assert stage.rings() == [0]
    assert stage.metric("webhooks_total", source="unknown", code="404") == 1


async def test_without_sources_every_name_is_one(world: World) -> None:
    assert (await world.post("/webhook/eu-prod", world.message(world.alert()))).status == 200
    assert [one["source"] for one in await world.incidents()] == ["eu-prod"]


# --- 401 --------------------------------------------------------------------------------------

DOORS = {
    "bearer": (f"authorization: {{type: Bearer, credentials: {TOKEN}}}\n", bearer(TOKEN), bearer("wrong")),
    "basic": (
        f"basic_auth_users: {{am: {bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()}}}\n",
        basic("am", PASSWORD),
        basic("am", "wrong"),
    ),
}


@pytest.mark.parametrize("kind", DOORS)
async def test_wrong_credentials_are_401_and_right_ones_get_in(stage: World, kind: str) -> None:
    text, right, wrong = DOORS[kind]
    web_config(stage, text)
    await stage.start()
    body = stage.message(stage.alert())
    for headers in (wrong, {}):
        answer = await stage.post("/webhook", body, headers=headers)
        assert answer.status == 401
        assert answer.json["error"]
        assert answer.headers["WWW-Authenticate"].lower().startswith(kind)
    assert (await stage.post("/webhook", body, headers=right)).status == 200
    assert stage.metric("webhooks_total", source="default", code="401") == 2


async def test_each_source_has_its_own_credentials(stage: World) -> None:
    stage.config["sources"] = [
        {"name": "eu", "credentials": "the-secret-of-eu"},
        {"name": "us", "credentials": "the-secret-of-us"},
        {"name": "open"},
    ]
    await stage.start()

    async def status(path: str, headers: dict[str, str]) -> int:
        return (await stage.post(path, stage.message(stage.alert()), headers=headers)).status

    assert await status("/webhook/eu", bearer("the-secret-of-eu")) == 200
    assert await status("/webhook/eu", bearer("the-secret-of-us")) == 401
    assert await status("/webhook/eu", {}) == 401
    assert await status("/webhook/us", bearer("the-secret-of-us")) == 200
    assert await status("/webhook/open", {}) == 200
    assert await status("/webhook", {}) == 200
    assert stage.metric("webhooks_total", source="eu", code="401") == 2


async def test_refused_webhooks_open_one_internal_incident_however_many_come(
    stage: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule 7: a 401 is an alert of the bridge itself for the root receiver, rate-limited."""
    web_config(stage, DOORS["bearer"][0])
    await stage.start()
    right = bearer(TOKEN)
    store, written = stage.bridge.store, []
    update = store.update

    async def count(scope: Scope, decide: Decide, *rest: Any, **more: Any) -> Any:
        written.append(scope)
        return await update(scope, decide, *rest, **more)

    monkeypatch.setattr(store, "update", count)
    for _ in range(20):
        assert (await stage.post("/webhook", stage.message(stage.alert()))).status == 401
    assert len(written) == 1, "who floods us does not write to our disk with each request"
    await stage.settled()
    found = (await stage.get("/api/v1/incidents", headers=right)).json["incidents"]
    assert [(one["source"], one["receiver"], one["title"]) for one in found] == [
        ("pushkit-bridge", "platform", "PushkitBridgeWebhookRefused")
    ]
    assert stage.rings() == [0]
    call = stage.alice.calls.items[0].payload
    assert "wrong credentials" in call["reason"]
    assert call["severity"] == "critical"
    story = (await stage.get(f"/api/v1/incidents/{found[0]['id']}", headers=right)).json
    assert [event["kind"] for event in story["timeline"]] == ["triggered", "ring", "received"]
    # A day after its last cause it is over.
    stage.alice.answer()
    await stage.pass_(86_401)
    assert (await stage.get("/api/v1/incidents", headers=right)).json["incidents"] == []


@pytest.mark.parametrize("status", [401, 404, 413])
async def test_what_is_refused_for_good_is_503_until_the_alarm_of_it_is_recorded(
    stage: World, status: int
) -> None:
    """Rule 7: else the alerts would be gone, and nobody would know. The pace is for alarms in the ledger."""
    stage.config |= {"max_body_size": "100KiB", "sources": [{"name": "eu", "credentials": "of-eu"}]}
    await stage.start()
    await stage.settled()
    path = {401: "/webhook/eu", 404: "/webhook/us", 413: "/webhook"}[status]
    body = stage.message(padding="x" * 200_000)
    with locked(stage):
        answers = await asyncio.gather(*(stage.post(path, body) for _ in range(3)))
    assert [answer.status for answer in answers] == [503] * 3, "also those who found one under way"
    assert await stage.incidents() == []
    source = {401: "eu", 404: "unknown", 413: "default"}[status]
    assert stage.metric("webhooks_total", source=source, code="503") == 3
    assert (await stage.post(path, body)).status == status
    assert (await stage.post(path, body)).status == status
    assert [one["title"] for one in await stage.incidents()] == ["PushkitBridgeWebhookRefused"]


async def test_a_person_who_looks_at_the_page_without_credentials_rings_nobody(stage: World) -> None:
    """Only what could have carried an alert is worth a call at night (rule 7)."""
    web_config(stage, DOORS["bearer"][0])
    await stage.start()
    for method, path in (("GET", "/webhook"), ("POST", "/-/reload"), ("POST", "/webhooks"), ("GET", "/")):
        assert (await stage.ask(method, stage.url + path)).status == 401
    await stage.pass_(5)
    assert stage.rings() == []


async def test_over_the_rate_limit_is_503_for_alertmanager_drops_what_gets_429(stage: World) -> None:
    web_config(stage, "rate_limit: {burst: 1, interval: 1h}\n")
    await stage.start()
    statuses = [(await stage.post("/webhook", stage.message(stage.alert()))).status for _ in range(3)]
    assert statuses == [200, 503, 503]
    assert stage.metric("webhooks_total", source="default", code="503") == 2
    found = await stage.bridge.store.read(partial(queries.list_incidents, closed=True, limit=10))
    assert [one["title"] for one in found] == ["DiskFull"], "a 503 is sent again: nobody needs to know"


# --- 413 --------------------------------------------------------------------------------------


async def in_chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 10_000):
        yield body[start : start + 10_000]


@pytest.mark.parametrize("way", ["with its length", "in chunks", "compressed"])
async def test_a_body_over_the_limit_is_413_however_it_comes(stage: World, way: str) -> None:
    """Rule 7: the limit is max_body_size, and what is over it rings the root receiver."""
    stage.config["max_body_size"] = "100KiB"
    await stage.start()
    fits = stage.message(stage.alert(), padding="x" * 90_000)
    large = stage.message(stage.alert(), padding="x" * 5_000_000)

    async def send(body: bytes) -> Answer:
        if way == "compressed":
            return await stage.post("/webhook", gzip.compress(body), headers={"Content-Encoding": "gzip"})
        return await stage.post("/webhook", in_chunks(body) if way == "in chunks" else io.BytesIO(body))

    answer = await send(large)
    assert answer.status == 413
    assert "102400 bytes" in answer.json["error"]
    assert "max_body_size" in answer.json["hint"]
    await stage.settled()
    assert [one["title"] for one in await stage.incidents()] == ["PushkitBridgeWebhookRefused"]
    assert "larger than max_body_size" in stage.alice.calls.items[0].payload["reason"]
    assert (await send(fits)).status == 200
    assert stage.metric("webhooks_total", source="default", code="413") == 1


async def test_sixteen_mebibytes_are_taken_by_default_and_a_byte_more_is_not(world: World) -> None:
    limit = 16 * 1024 * 1024
    padding = "x" * (limit - len(world.message(padding="")))
    assert (await world.post("/webhook", io.BytesIO(world.message(padding=padding)))).status == 200
    reader, writer = await asyncio.open_connection("127.0.0.1", yarl.URL(world.url).port)
    writer.write(f"POST /webhook HTTP/1.1\r\nHost: b\r\nContent-Length: {limit + 1}\r\n\r\n".encode())
    assert (await reader.readline()).split()[1] == b"413"
    writer.close()
    await writer.wait_closed()


async def test_more_alerts_than_anybody_can_have_are_413_and_ring(world: World) -> None:
    """Rule 7: what is refused for good is an incident of its own."""
    body = b'{"version": "4", "alerts": [' + b",".join([b"{}"] * 10_001) + b"]}"
    answer = await world.post("/webhook", body)
    assert answer.status == 413
    assert "max_alerts" in answer.json["hint"]
    assert [one["title"] for one in await world.incidents()] == ["PushkitBridgeWebhookRefused"]


async def test_names_that_somebody_makes_up_do_not_fill_the_metrics(world: World) -> None:
    for number in range(150):
        await world.post(f"/webhook/made-up-{number}", world.message())
    text = (await world.get("/metrics")).text
    assert (
        len([line for line in text.splitlines() if line.startswith("pushkit_bridge_webhooks_total{")]) == 101
    )
    assert world.metric("webhooks_total", source="other", code="200") == 50


async def test_a_gzip_bomb_is_not_unpacked(stage: World) -> None:
    stage.config["max_body_size"] = "100KiB"
    await stage.start()
    bomb = gzip.compress(b" " * 50_000_000)
    assert (await stage.post("/webhook", bomb, headers={"Content-Encoding": "gzip"})).status == 413


# --- 503 --------------------------------------------------------------------------------------


@contextmanager
def locked(world: World) -> Iterator[None]:
    """Somebody else holds the ledger's write lock."""
    other = sqlite3.connect(world.file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.rollback()
        other.close()


async def recovers(world: World, body: bytes) -> None:
    """The same webhook is taken now, it rings, and all is well again."""
    assert (await world.post("/webhook", body)).status == 200
    await world.pass_(1)  # the loops try again after a second
    assert len(world.rings()) == 1
    assert (await world.get("/-/ready")).status == 200


async def test_a_locked_ledger_answers_503_and_takes_the_retry(world: World) -> None:
    """Rule 11: writes begin with BEGIN IMMEDIATE, and wait for a foreign lock about a second, no longer."""
    await world.settled()
    body = world.message(world.alert())
    with locked(world):
        answer = await world.post("/webhook", body)
        assert answer.status == 503
        assert "locked" in answer.json["hint"]
        assert (await world.get("/-/ready")).status == 503
    assert (await world.get("/-/ready")).status == 200, (
        "no webhook comes while it is not ready: it tries by itself"
    )
    assert await world.incidents(closed=True) == []
    assert world.metric("webhooks_total", source="default", code="503") == 1
    await recovers(world, body)


async def test_a_full_disk_answers_503_and_takes_the_retry(world: World) -> None:
    """SQLite finds no page left, as it does when the disk is full."""
    assert world.file.exists()

    async def limit(pages: int) -> None:
        async def job(tx: Tx) -> None:
            await tx.connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")

        await world.bridge.store.write(job)

    body = world.message(*(world.alert(instance=f"i{n}", filler="x" * 1000) for n in range(500)))
    await limit(1)  # SQLite takes the present size for the least
    answer = await world.post("/webhook", body)
    assert answer.status == 503
    assert "full" in answer.json["hint"]
    assert await world.incidents(closed=True) == []
    await limit(1_000_000)
    await recovers(world, body)


async def test_a_full_queue_answers_503_at_once_and_takes_the_retry(world: World) -> None:
    gate, began = asyncio.Event(), asyncio.Event()

    async def slow(tx: Tx) -> None:
        began.set()
        await gate.wait()

    async def nothing(tx: Tx) -> None:
        pass

    store, body = world.bridge.store, world.message(world.alert())
    first = asyncio.create_task(store.write(slow))
    await began.wait()
    rest = [asyncio.create_task(store.write(nothing)) for _ in range(1024)]
    await asyncio.sleep(0)
    answer = await world.post("/webhook", body)
    assert answer.status == 503
    assert "1024 writes are waiting" in answer.json["hint"]
    gate.set()
    await asyncio.gather(first, *rest)
    await recovers(world, body)


async def test_a_store_whose_writer_died_answers_503(world: World) -> None:
    world.bridge.store._writer._task.cancel()
    await asyncio.sleep(0)
    answer = await world.post("/webhook", world.message(world.alert()))
    assert answer.status == 503
    ready = await world.get("/-/ready")
    assert (ready.status, ready.json["error"].split("; ")[0]) == (503, "the store does not commit")


async def test_a_fault_of_our_own_is_500_in_json(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alertmanager sends it again, as for every 5xx."""

    async def broken(_: object) -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr(world.bridge.desk, "receive", broken)
    answer = await world.post("/webhook", world.message(world.alert()))
    assert answer.status == 500
    assert "secret" not in answer.text
    assert answer.json["error"]
    assert world.metric("webhooks_total", source="default", code="500") == 1


# --- broken alerts ----------------------------------------------------------------------------


async def test_a_broken_alert_in_a_good_envelope_rings_and_is_marked(world: World) -> None:
    """Rule 7: the fingerprint is computed, the time is that of arrival, and it says so."""
    broken = {"status": "firing", "labels": {"alertname": "Broken"}, "startsAt": "yesterday"}
    assert (await world.post("/webhook", world.message(broken, world.alert()))).status == 200
    await world.settled()
    assert sorted(one["title"] for one in await world.incidents()) == ["Broken", "DiskFull"]
    assert world.rings() == [0]
    shown = {one["title"]: one for one in world.alice.calls.items[0].payload["incidents"]}
    assert shown["Broken"]["repaired"] == 1
    assert "repaired" not in shown["DiskFull"]
    assert world.metric("alerts_repaired_total", source="default") == 1
    (one,) = (one for one in await world.incidents() if one["title"] == "Broken")
    (episode,) = (await world.get(f"/api/v1/incidents/{one['id']}")).json["episodes"]
    assert sorted(episode["repairs"]) == ["fingerprint", "startsAt"]
    assert episode["starts_at"] == world.clock.now().isoformat()


async def test_a_broken_alert_that_is_repeated_rings_once_and_can_be_resolved(world: World) -> None:
    """Rule 7 with rule 2: the computed fingerprint is the same every time."""
    broken = {"status": "firing", "labels": {"alertname": "Broken"}, "startsAt": ""}
    await world.webhook(broken)
    await world.pass_(5)
    await world.webhook(broken)
    assert world.rings() == [0]
    await world.webhook(broken | {"status": "resolved"})
    assert await world.incidents() == []
