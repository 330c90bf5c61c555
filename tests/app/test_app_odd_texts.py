"""Texts and numbers that a database would refuse: repaired or refused at the door, so that nothing fails behind it."""

import uuid
from typing import Any

import pytest
from appworld import World


@pytest.mark.parametrize("escape", [rb"\u0000", rb"\ud800"])
async def test_rule_7_an_alert_with_what_is_no_character_rings_and_is_marked(
    world: World, escape: bytes
) -> None:
    body = world.message(world.alert("DiskFULL"), groupKey="FULL", externalURL="http://FULL")
    assert (await world.post("/webhook", body.replace(b"FULL", escape))).status == 200
    await world.settled()
    incident = await world.incident()
    (episode,) = incident["episodes"]
    assert episode["labels"]["alertname"] == incident["title"] == "Disk\ufffd"
    assert episode["repairs"] == ["encoding"]
    assert (incident["group_key"], incident["external_url"]) == ("\ufffd", "http://\ufffd")
    assert world.fates() == ["rang"]


@pytest.mark.parametrize(
    "fields", [{"event_id": "a\0b"}, {"error_code": 2**40}, {"error_code": -(2**31) - 1}, {"error_code": 1.5}]
)
async def test_a_receipt_that_no_ledger_could_keep_is_refused(world: World, fields: dict[str, Any]) -> None:
    await world.webhook(world.alert())
    call = (await world.alice.wait_for_push()).payload["call"]
    headers = {"Authorization": f"Bearer {call['receipt_token']}"}

    async def post(**fields: Any) -> int:
        receipt = {"event_id": str(uuid.uuid4()), "receipt": "received"} | fields
        async with world.http.post(call["receipt_url"], json=receipt, headers=headers) as response:
            return response.status

    assert await post(**fields) == 400
    assert await post(error_code=2**31 - 1, at="12:00\0") == 200


async def test_who_acknowledged_is_one_line_of_text(world: World) -> None:
    await world.webhook(world.alert())
    (incident,) = await world.incidents()
    answer = await world.post(f"/api/v1/incidents/{incident['id']}/acknowledge?by=bob%00%0a{'b' * 300}")
    assert answer.status == 200
    by = answer.json["acknowledged_by"]
    assert by.startswith("bob bbb")
    assert by.endswith("…")
    assert len(by.encode()) <= 200
