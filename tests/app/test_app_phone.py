"""What phones say back, on their own listener (docs/phone-protocol.md, receipts)."""

import asyncio
import json
import sqlite3
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from appworld import Answer, World

from bridge.api.phone import receipt_token
from bridge.store import secret

_ids = iter(range(1_000_000))


async def post(world: World, call: dict[str, Any], body: Any, token: str | None = None) -> Answer:
    """Post a receipt for a pushed call."""
    url = f"{world.bridge.bound.phone}/api/v1/calls/{call['id']}/receipts"
    token = call["receipt_token"] if token is None else token
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await world.ask("POST", url, body, headers={"Authorization": f"Bearer {token}"})


def receipt(kind: str, **fields: Any) -> dict[str, Any]:
    return {"event_id": f"event-{next(_ids)}", "receipt": kind} | fields


@pytest.fixture
async def call(world: World) -> dict[str, Any]:
    """The call that alice's phone shows for one alert; the phone has posted `received` by itself."""
    await world.webhook(world.alert())
    return world.alice.calls.items[0].payload["call"]


# --- what each receipt does -------------------------------------------------------------------


async def test_received_is_kept_and_nothing_is_acknowledged(world: World, call: dict[str, Any]) -> None:
    story = await world.incident()
    assert [one["receipt"] for one in story["receipts"]] == ["received"]
    assert story["calls"][0]["state"] == "open"
    assert story["state"] == "triggered"
    await world.pass_(45)
    assert world.rings() == [0, 45]


async def test_answered_acknowledges_in_the_name_of_the_phones_owner(
    world: World, call: dict[str, Any]
) -> None:
    answer = await post(world, call, receipt("answered", at="2026-11-25T02:00:03.115Z"))
    incident = (await world.incidents())[0]
    assert answer.status == 200
    assert answer.json == {
        "call": call["id"],
        "state": "answered",
        "incidents": [{"id": incident["id"], "state": "acknowledged", "acknowledged_by": "alice"}],
    }
    await world.pass_(3600)
    assert (world.rings("alice"), world.rings("bob")) == ([0], [])


async def test_an_answer_acknowledges_exactly_what_the_call_carried(world: World) -> None:
    """Rule 5: (incident, revision) pairs; news since then still rings, and the answer says so."""
    await world.webhook(world.alert("DiskFull", instance="i1"), world.alert("NodeDown"))
    call = world.alice.calls.items[0].payload["call"]
    await world.pass_(10)
    await world.webhook(world.alert("DiskFull", instance="i2"))
    answer = await post(world, call, receipt("answered"))
    states = {one["id"]: (one["state"], one["acknowledged_by"]) for one in answer.json["incidents"]}
    title = {one["id"]: one["title"] for one in await world.incidents()}
    assert {title[name]: state for name, state in states.items()} == {
        "DiskFull": ("triggered", None),
        "NodeDown": ("acknowledged", "alice"),
    }
    await world.pass_(40)
    rung = world.alice.calls.items[-1].payload
    assert [one["title"] for one in rung["incidents"]] == ["DiskFull"]
    assert world.rings() == [0, 40], "ten seconds in, the answer ended the call; then the quiet gap"


async def test_declined_by_all_of_a_step_begins_the_next_at_once(world: World, call: dict[str, Any]) -> None:
    """Rule 4, and nobody has it: declining acknowledges nothing."""
    answer = await post(world, call, receipt("declined"))
    await world.settled()
    assert answer.json["state"] == "declined"
    assert [one["state"] for one in answer.json["incidents"]] == ["triggered"]
    assert world.rings("bob") == [0]


async def test_declined_by_one_of_two_rings_the_other_on(stage: World) -> None:
    stage.config["device_groups"][0]["owners"] = ["alice", "bob"]
    await stage.start()
    await stage.webhook(stage.alert())
    await post(stage, stage.alice.calls.items[0].payload["call"], receipt("declined"))
    await stage.pass_(299)
    assert (stage.rings("alice"), stage.rings("bob")) == ([0], [0, 45, 90, 135])


@pytest.mark.parametrize("code", [1, 3, 4, None], ids=["unentitled", "do not disturb", "block list", "none"])
async def test_a_failed_call_is_followed_by_an_alert_push_at_once(
    world: World, call: dict[str, Any], code: int | None
) -> None:
    """Rule 4: the fallback belongs to the same ring and moves no timer."""
    fields = {} if code is None else {"error_code": code}
    assert (await post(world, call, receipt("failed", **fields))).json["state"] == "failed"
    await world.settled()
    last = world.alice.pushes.items[-1]
    assert (last.notification.push_type, last.fate) == ("alert", "notified")
    assert last.payload["call"]["uuid"] == call["uuid"]
    assert world.rings("bob") == []
    await world.pass_(45)
    assert world.rings() == [0, 45]


async def test_a_repeat_that_met_its_own_call_is_followed_by_nothing(
    world: World, call: dict[str, Any]
) -> None:
    """Code 2: the call rings already."""
    assert (await post(world, call, receipt("failed", error_code=2))).json["state"] == "open"
    await world.settled()
    assert world.fates() == ["rang"]
    assert (await post(world, call, receipt("answered"))).json["state"] == "answered"


async def test_an_answer_after_the_deadline_still_acknowledges(world: World, call: dict[str, Any]) -> None:
    await world.pass_(40)
    assert (await post(world, call, receipt("answered"))).json["state"] == "answered"
    assert (await world.incident())["state"] == "acknowledged"


async def test_an_answer_after_the_resolve_changes_nothing(world: World, call: dict[str, Any]) -> None:
    await world.webhook(world.alert(resolved=True))
    answer = await post(world, call, receipt("answered"))
    assert [one["state"] for one in answer.json["incidents"]] == ["resolved"]
    assert "too late" in await world.timeline()


async def test_two_who_answer_at_the_same_instant_both_hear_who_has_it(stage: World) -> None:
    stage.config["device_groups"][0]["owners"] = ["alice", "bob"]
    await stage.start()
    await stage.webhook(stage.alert())
    calls = [phone.calls.items[0].payload["call"] for phone in (stage.alice, stage.bob)]
    answers = await asyncio.gather(*(post(stage, one, receipt("answered")) for one in calls))
    assert [answer.status for answer in answers] == [200, 200]
    has_it = (await stage.incident())["acknowledged_by"]
    assert has_it in {"alice", "bob"}
    assert {one["acknowledged_by"] for answer in answers for one in answer.json["incidents"]} == {has_it}


# --- repetitions ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["received", "answered", "declined", "failed"])
async def test_the_same_event_again_gets_the_same_answer_and_does_nothing(
    world: World, call: dict[str, Any], kind: str
) -> None:
    body = receipt(kind)
    first = await post(world, call, body)
    await world.settled()
    before, pushes = await world.incident(), len(world.alice.pushes.items)
    again = [await post(world, call, body) for _ in range(3)]
    await world.settled()
    assert {(answer.status, answer.body) for answer in again} == {(200, first.body)}
    after = await world.incident()
    assert (after["timeline"], after["receipts"]) == (before["timeline"], before["receipts"])
    assert len(world.alice.pushes.items) == pushes


async def test_the_same_event_at_the_same_instant_counts_once(world: World, call: dict[str, Any]) -> None:
    body = receipt("answered")
    answers = await asyncio.gather(*(post(world, call, body) for _ in range(10)))
    assert {(answer.status, answer.body) for answer in answers} == {(200, answers[0].body)}
    assert (await world.timeline()).count("acknowledged") == 1


# --- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "token", ["", "wrong", "0" * 64, "ü", "\udcff"], ids=["none", "wrong", "zeros", "umlaut", "no UTF-8"]
)
async def test_a_token_that_is_not_the_calls_is_401(world: World, call: dict[str, Any], token: str) -> None:
    answer = await post(world, call, receipt("answered"), token)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.json["hint"]
    assert (await world.incident())["state"] == "triggered"


async def test_the_token_of_another_call_is_401(world: World, call: dict[str, Any]) -> None:
    await world.pass_(45)
    other = world.alice.calls.items[1].payload["call"]
    assert (await post(world, call, receipt("answered"), other["receipt_token"])).status == 401


@pytest.mark.parametrize("header", [None, "Basic {token}", "{token}", "bearer  {token}"])
async def test_the_token_is_taken_as_a_bearer_token_alone(
    world: World, call: dict[str, Any], header: str | None
) -> None:
    headers = {} if header is None else {"Authorization": header.format(token=call["receipt_token"])}
    url = f"{world.bridge.bound.phone}/api/v1/calls/{call['id']}/receipts"
    answer = await world.ask("POST", url, json.dumps(receipt("received")), headers=headers)
    assert answer.status == (200 if header and header.startswith("bearer") else 401)


@pytest.mark.parametrize("name", ["no-such-call", "%FF%FE", "..%2F..", "%00"])
async def test_a_call_that_is_not_there_is_404_for_who_could_have_made_it(world: World, name: str) -> None:
    key = await secret(world.bridge.store)
    url = f"{world.bridge.bound.phone}/api/v1/calls/"
    answer = await world.ask("POST", f"{url}no-such-call/receipts", json.dumps(receipt("received")), headers={
        "Authorization": f"Bearer {receipt_token(key, 'no-such-call')}"
    })  # fmt: skip
    assert answer.status == 404
    assert (await world.ask("POST", url + name + "/receipts", b"{}")).status == 401


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not as it must be"),
        (b"{", "not as it must be"),
        (b"\xff", "not as it must be"),
        (b"[]", "not as it must be"),
        (b'{"receipt": "answered"}', "event_id"),
        (b'{"event_id": "", "receipt": "answered"}', "event_id"),
        (b'{"event_id": 7, "receipt": "answered"}', "event_id"),
        (b'{"event_id": "' + b"x" * 101 + b'", "receipt": "answered"}', "event_id"),
        (b'{"event_id": "e"}', "receipt"),
        (b'{"event_id": "e", "receipt": "snoozed"}', "snoozed"),
        (b'{"event_id": "e", "receipt": "failed", "error_code": "three"}', "error_code"),
        (b'{"event_id": "e", "receipt": "failed", "error_code": 99999999999}', "error_code"),
        (b'{"event_id": "e", "receipt": "received", "at": 7}', "at"),
    ],
)
async def test_what_is_no_receipt_is_400_and_says_why(
    world: World, call: dict[str, Any], body: bytes, says: str
) -> None:
    answer = await post(world, call, body)
    assert answer.status == 400
    assert says in answer.json["error"]
    assert (await world.incident())["state"] == "triggered"


async def test_fields_that_are_not_known_are_ignored(world: World, call: dict[str, Any]) -> None:
    """Versions: within version 1 fields may be added, on both sides."""
    assert (await post(world, call, receipt("answered", mood="tired", at=None))).status == 200


async def test_a_body_over_16_kib_is_413(world: World, call: dict[str, Any]) -> None:
    assert (await post(world, call, receipt("received", padding="x" * 17_000))).status == 413
    assert (await post(world, call, receipt("received", padding="x" * 15_000))).status == 200


async def test_a_receipt_that_cannot_be_committed_is_503_and_its_repetition_counts(
    world: World, call: dict[str, Any]
) -> None:
    other = sqlite3.connect(world.file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    body = receipt("answered")
    assert (await post(world, call, body)).status == 503
    other.rollback()
    other.close()
    assert (await post(world, call, body)).json["state"] == "answered"
    assert (await world.timeline()).count("acknowledged") == 1


async def test_only_post_is_taken(world: World, call: dict[str, Any]) -> None:
    url = f"{world.bridge.bound.phone}/api/v1/calls/{call['id']}/receipts"
    answer = await world.ask("GET", url)
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")


# --- two listeners ----------------------------------------------------------------------------


async def test_the_listeners_do_not_serve_each_others_routes(world: World, call: dict[str, Any]) -> None:
    """Rule 9."""
    phone, web = world.bridge.bound.phone, world.url
    for method, path in (
        ("POST", "/webhook"),
        ("POST", "/webhook/eu"),
        ("GET", "/metrics"),
        ("GET", "/-/ready"),
        ("POST", "/-/reload"),
        ("GET", "/api/v1/devices"),
        ("POST", "/api/v1/enrolments?owner=alice"),
    ):
        assert (await world.ask(method, phone + path)).status == 404, path
        assert (await world.ask(method, web + path)).status != 404, path
    assert (await world.ask("GET", f"{phone}/-/healthy")).status == 200
    path = f"/api/v1/calls/{call['id']}/receipts"
    headers = {"Authorization": f"Bearer {call['receipt_token']}"}
    body = json.dumps(receipt("answered"))
    assert (await world.ask("POST", web + path, body, headers=headers)).status == 404
    assert (await world.ask("POST", phone + path, body, headers=headers)).status == 200


def client_certificates_alone(folder: Path) -> tuple[Path, ssl.SSLContext, ssl.SSLContext]:
    """A web configuration that asks for them, a context with one, and one without."""
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(folder / "web.pem"))
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    file = folder / "web.yaml"
    file.write_text(
        "tls_server_config: {cert_file: web.pem, key_file: web.pem, client_ca_file: ca.pem, "
        "client_auth_type: RequireAndVerifyClientCert}\n"
    )
    contexts = [ssl.create_default_context(cafile=str(folder / "ca.pem")) for _ in range(2)]
    authority.issue_cert("alertmanager").configure_cert(contexts[0])
    return file, *contexts  # type: ignore[return-value]


async def test_client_certificates_for_alertmanager_do_not_lock_out_the_phones(stage: World) -> None:
    """Rule 9: they are asked for on the first listener alone."""
    file, known, unknown = client_certificates_alone(stage.folder)
    stage.options["web_config_file"] = file
    await stage.start()
    assert stage.url.startswith("https://")
    body = stage.message(stage.alert())
    with pytest.raises(aiohttp.ClientConnectionError):
        await stage.post("/webhook", body, ssl=unknown)
    assert (await stage.post("/webhook", body, ssl=known)).status == 200
    await stage.settled()
    stage.alice.answer()
    await stage.settled()
    assert [one.status for one in stage.alice.receipts.items] == [200, 200]
    found = (await stage.get("/api/v1/incidents", ssl=known)).json["incidents"]
    assert [one["acknowledged_by"] for one in found] == ["alice"]


async def test_wrong_web_credentials_do_not_matter_to_the_phones(stage: World) -> None:
    """Rule 9: device credentials alone."""
    file = stage.folder / "web.yaml"
    file.write_text("authorization: {type: Bearer, credentials: some-token-for-alertmanager}\n")
    stage.options["web_config_file"] = file
    await stage.start()
    right = {"Authorization": "Bearer some-token-for-alertmanager"}
    assert (await stage.post("/webhook", stage.message(stage.alert()), headers=right)).status == 200
    await stage.settled()
    call = stage.alice.calls.items[0].payload["call"]
    assert (await post(stage, call, receipt("answered"), "some-token-for-alertmanager")).status == 401
    assert (await post(stage, call, receipt("answered"))).status == 200


@pytest.mark.parametrize("url", ["https://bridge.example.com", "https://bridge.example.com/"])
async def test_phones_are_told_the_external_url(stage: World, url: str) -> None:
    stage.options["phone_external_url"] = url
    stage.alice.profile.behaviour = "silent"
    await stage.start()
    await stage.webhook(stage.alert())
    call = stage.alice.pushes.items[0].payload["call"]
    assert call["receipt_url"] == f"https://bridge.example.com/api/v1/calls/{call['id']}/receipts"
