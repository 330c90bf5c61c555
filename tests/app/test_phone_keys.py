"""The public key of a phone that enrolled: handed over, put anew, forgotten, and never taken where it is none."""

from typing import Any

import pytest
from appworld import World
from commands import ask
from handset import Handset, code_for, exchange
from sqlalchemy import text

from bridge.store import devices

KEY, KID = "yWhDiBhHQZwaVeMMWLE_RSWRgHdfAxQWbDSBbotWOSc", "26d4f6514177f895"
OTHER, OTHER_KID = "NMsCRfyW-aDApo2EAP9Ts1FylAmnQCjoYy7iYaEAaS4", "57c50a8e19bd0d03"
NO_KEYS = [
    pytest.param("A" * 43, id="a point of low order"),
    pytest.param("AQ" + "A" * 41, id="another point of low order"),
    pytest.param(KEY[:-1], id="31 bytes"),
    pytest.param(KEY + "A", id="33 bytes"),
    pytest.param(KEY + "=", id="padded"),
    pytest.param(KEY[:-1] + "d", id="not canonical"),
    pytest.param(KEY + "\n", id="a newline at the end"),
    pytest.param(KEY.replace("_", "/"), id="base64 of another alphabet"),
    pytest.param("", id="empty"),
    pytest.param(7, id="a number"),
]


async def kept(world: World, name: str) -> str | None:
    """The key by which the sender would seal."""
    return (await world.bridge.store.read(lambda c: devices.by_name(c, [name])))[name].encryption_key


async def enrolled(world: World, **fields: Any) -> Handset:
    done = await exchange(world, (await code_for(world))["code"], **fields)
    assert done.status == 201, done.body
    return Handset(world, done.json["credential"], done.json["device"])


async def test_a_key_that_comes_with_the_enrolment_is_kept_and_only_its_id_is_shown(world: World) -> None:
    handset = await enrolled(world, encryption_key=KEY)
    assert await kept(world, handset.name) == KEY
    assert (await handset.get("/device")).json["kid"] == KID
    listed = await world.get("/api/v1/devices")
    assert {one["name"]: one["kid"] for one in listed.json["devices"]}[handset.name] == KID
    assert KEY not in listed.text
    assert f"  key         {KID}\n" in (await ask(world, "devices", "show", handset.name)).stdout
    assert f"key={KID}" in (await ask(world, "devices", "list")).stdout


async def test_a_phone_may_enrol_without_a_key_and_put_one_later(world: World) -> None:
    handset = await enrolled(world)
    assert (await handset.get("/device")).json["kid"] is None
    put = await handset.ask("PUT", "/device/encryption-key", {"encryption_key": KEY})
    assert (put.status, put.json["kid"]) == (200, KID)
    assert await kept(world, handset.name) == KEY


async def test_a_key_is_put_in_place_of_the_one_before_and_can_be_forgotten(world: World) -> None:
    handset = await enrolled(world, encryption_key=KEY)
    for _ in range(2):
        put = await handset.ask("PUT", "/device/encryption-key", {"encryption_key": OTHER})
        assert (put.status, put.json["kid"]) == (200, OTHER_KID)
    assert await kept(world, handset.name) == OTHER
    for _ in range(2):
        gone = await handset.ask("DELETE", "/device/encryption-key")
        assert (gone.status, gone.json["kid"]) == (200, None)
    assert await kept(world, handset.name) is None


@pytest.mark.parametrize("key", NO_KEYS)
async def test_what_is_no_key_is_refused_and_uses_up_no_code(world: World, key: Any) -> None:
    code = (await code_for(world))["code"]
    assert (await exchange(world, code, encryption_key=key)).status == 400
    handset = Handset(world, (await exchange(world, code)).json["credential"], "alice-iphone-2")
    assert (await handset.ask("PUT", "/device/encryption-key", {"encryption_key": key})).status == 400
    assert await kept(world, handset.name) is None


async def test_a_key_is_put_only_with_the_credential_of_its_device(world: World) -> None:
    handset = await enrolled(world, encryption_key=KEY)
    stranger = Handset(world, "wrong")
    assert (await stranger.ask("PUT", "/device/encryption-key", {"encryption_key": OTHER})).status == 401
    assert (await stranger.ask("DELETE", "/device/encryption-key")).status == 401
    assert await kept(world, handset.name) == KEY


async def test_a_phone_that_takes_over_a_name_does_not_inherit_the_key(world: World) -> None:
    """Or its pushes would be sealed for a phone that lies in a drawer."""
    await enrolled(world, encryption_key=KEY, name="alices")
    code = (await code_for(world, device="alices"))["code"]
    assert (await exchange(world, code)).json["device"] == "alices"
    assert await kept(world, "alices") is None


async def test_a_phone_that_signed_off_leaves_no_key(world: World) -> None:
    handset = await enrolled(world, encryption_key=KEY)
    await handset.ask("DELETE", "/device")
    left = text("SELECT count(*) FROM devices WHERE encryption_key IS NOT NULL")
    assert (await world.bridge.store.read(lambda c: c.execute(left))).scalar() == 0
