from __future__ import annotations

import json
import re
import uuid
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bridge.simulator import Simulator
from bridge.simulator.provider_tokens import ProviderKey

from .client import Sender
from .conftest import BUNDLE, Bridge, Time


async def test_a_good_voip_push_is_accepted_and_the_answer_carries_its_id(
    sender: Sender, bridge: Bridge, sim: Simulator
) -> None:
    name = str(uuid.uuid4())
    answer = await bridge.push(sender, apns_id=name)
    assert (answer.status, answer.headers["apns-id"], answer.body) == (200, name, b"")
    push = await sim.phone("alice").wait_for_push()
    assert push.apns_id == name
    assert push.headers["apns-topic"] == f"{BUNDLE}.voip"
    assert "authorization" not in push.headers


async def test_a_push_without_an_id_is_given_one(sender: Sender, bridge: Bridge, sim: Simulator) -> None:
    answer = await bridge.push(sender, apns_id=None)
    push = await sim.phone("alice").wait_for_push()
    assert answer.headers["apns-id"] == push.apns_id == str(uuid.UUID(push.apns_id))


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        ({"method": "GET"}, 405, "MethodNotAllowed"),
        ({"method": "PUT"}, 405, "MethodNotAllowed"),
        ({"path": "/3/devices/00"}, 404, "BadPath"),
        ({"path": "/"}, 404, "BadPath"),
        ({"path": "/3/device/00/11"}, 404, "BadPath"),
        ({"path": "/3/device/00?x=1"}, 404, "BadPath"),
        ({"path": "/3/device/"}, 400, "MissingDeviceToken"),
        ({"path": "/3/device"}, 400, "MissingDeviceToken"),
        ({"path": "/3/device/xyz0"}, 400, "BadDeviceToken"),
        ({"path": "/3/device/abc"}, 400, "BadDeviceToken"),
        ({"path": "/3/device/" + "ab" * 101}, 400, "BadDeviceToken"),
        ({"path": "/3/device/" + "ab" * 32}, 400, "BadDeviceToken"),
        ({"apns_id": "not-a-uuid"}, 400, "BadMessageId"),
        ({"apns_id": "123E4567-E89B-12D3-A456-4266554400A0"}, 400, "BadMessageId"),
        ({"apns_id": "123e4567e89b12d3a4564266554400a0"}, 400, "BadMessageId"),
        ({"apns_expiration": "soon"}, 400, "BadExpirationDate"),
        ({"apns_expiration": "-1"}, 400, "BadExpirationDate"),
        ({"apns_expiration": "1.5"}, 400, "BadExpirationDate"),
        ({"apns_collapse_id": "x" * 65}, 400, "BadCollapseId"),
        ({"apns_collapse_id": "ä" * 33}, 400, "BadCollapseId"),
        ({"apns_push_type": "ring"}, 400, "InvalidPushType"),
        ({"apns_push_type": "alert"}, 400, "InvalidPushType"),
        ({"apns_push_type": "liveactivity"}, 400, "InvalidPushType"),
        ({"apns_push_type": None}, 400, "InvalidPushType"),
        ({"apns_topic": None}, 400, "MissingTopic"),
        ({"apns_topic": "com.example.unknown.voip"}, 400, "TopicDisallowed"),
        ({"apns_topic": BUNDLE}, 400, "BadTopic"),
        ({"apns_topic": "not a topic.voip"}, 400, "BadTopic"),
        ({"apns_topic": "com.example.other.voip"}, 400, "DeviceTokenNotForTopic"),
        ({"apns_priority": "5"}, 400, "BadPriority"),
        ({"apns_priority": "11"}, 400, "BadPriority"),
        ({"apns_priority": "high"}, 400, "BadPriority"),
        ({"authorization": None}, 403, "MissingProviderToken"),
        ({"authorization": "bearer"}, 403, "MissingProviderToken"),
        ({"authorization": "basic abc"}, 403, "MissingProviderToken"),
        ({"authorization": "bearer rubbish"}, 403, "InvalidProviderToken"),
    ],
)
async def test_a_request_that_breaks_a_rule_gets_the_documented_reason(
    sender: Sender, bridge: Bridge, sim: Simulator, changes: dict[str, Any], status: int, reason: str
) -> None:
    answer = await bridge.push(sender, **changes)
    assert (answer.status, answer.reason) == (status, reason)
    assert json.loads(answer.body) == {"reason": reason}
    assert re.fullmatch(r"[0-9a-f-]{36}", answer.headers["apns-id"])
    assert sim.phone("alice").pushes.items == []


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        ({}, 200, None),
        ({"apns_push_type": None}, 200, None),
        ({"apns_priority": "5"}, 200, None),
        ({"apns_priority": "1"}, 200, None),
        ({"apns_priority": None}, 200, None),
        ({"apns_expiration": None}, 200, None),
        ({"apns_collapse_id": "x" * 64}, 200, None),
        ({"apns_push_type": "background", "apns_priority": "5"}, 200, None),
        ({"apns_push_type": "background"}, 400, "BadPriority"),
        ({"apns_push_type": "background", "apns_priority": None}, 400, "BadPriority"),
        ({"apns_push_type": "voip", "apns_topic": f"{BUNDLE}.voip"}, 400, "DeviceTokenNotForTopic"),
    ],
)
async def test_an_alert_token_takes_what_is_not_voip(
    sender: Sender, bridge: Bridge, changes: dict[str, Any], status: int, reason: str | None
) -> None:
    answer = await sender.send(bridge.alert_headers(**changes), b'{"aps":{"alert":"x"}}')
    assert (answer.status, answer.reason) == (status, reason)


async def test_a_voip_token_takes_no_alert(sender: Sender, bridge: Bridge) -> None:
    answer = await bridge.push(sender, b'{"aps":{}}', apns_push_type="alert", apns_topic=BUNDLE)
    assert answer.reason == "DeviceTokenNotForTopic"


async def test_a_token_may_be_written_in_capitals(sender: Sender, bridge: Bridge, sim: Simulator) -> None:
    token = sim.phone("alice").profile.voip_token.upper()
    assert (await bridge.push(sender, path=f"/3/device/{token}")).status == 200


@pytest.mark.parametrize(
    ("size", "voip", "status"), [(5120, True, 200), (5121, True, 413), (4096, False, 200), (4097, False, 413)]
)
async def test_a_payload_is_held_to_the_limit_of_its_push_type(
    sender: Sender, bridge: Bridge, size: int, voip: bool, status: int
) -> None:
    body = b'{"x":"' + b"y" * (size - 8) + b'"}'
    answer = await sender.send(bridge.headers() if voip else bridge.alert_headers(), body)
    assert (answer.status, answer.reason) == (status, None if status == 200 else "PayloadTooLarge")


async def test_a_very_large_payload_is_refused_and_the_connection_lives(
    sender: Sender, bridge: Bridge
) -> None:
    for _ in range(5):  # together more than HTTP/2's first window: the server gives back what it read
        assert (await bridge.push(sender, b" " * 30_000)).status == 413
    assert (await bridge.push(sender)).status == 200


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b'{"x":NaN}', b"\xff\xfe", b"[" * 5000])
async def test_what_is_not_a_json_dictionary_is_no_payload(
    sender: Sender, bridge: Bridge, body: bytes
) -> None:
    answer = await bridge.push(sender, body)
    assert (answer.status, answer.reason) == (400, "PayloadEmpty")


async def test_a_header_that_comes_twice_is_refused(sender: Sender, bridge: Bridge) -> None:
    answer = await sender.send([*bridge.headers(), ("apns-priority", "10")], bridge.call())
    assert (answer.status, answer.reason) == (400, "DuplicateHeaders")


async def test_a_phone_of_the_other_environment_has_a_bad_token_here(
    sender: Sender, bridge: Bridge, sim: Simulator
) -> None:
    token = sim.add_phone("bob", environment="sandbox").profile.voip_token
    assert (await bridge.push(sender, path=f"/3/device/{token}")).reason == "BadDeviceToken"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iss": "ZZZZZ99999"}, "InvalidProviderToken"),
        ({"iss": None}, "InvalidProviderToken"),
        ({"iat": None}, "InvalidProviderToken"),
        ({"kid": "UNKNOWNKEY"}, "InvalidProviderToken"),
        ({"alg": "HS256", "key": b"x" * 32}, "InvalidProviderToken"),
    ],
)
async def test_a_provider_token_with_a_wrong_claim_is_invalid(
    sender: Sender, bridge: Bridge, changes: dict[str, Any], reason: str
) -> None:
    answer = await bridge.push(sender, authorization=f"bearer {bridge.token(**changes)}")
    assert (answer.status, answer.reason) == (403, reason)


async def test_a_provider_token_signed_by_another_key_is_invalid(sender: Sender, bridge: Bridge) -> None:
    stranger = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    answer = await bridge.push(sender, authorization=f"bearer {bridge.token(key=stranger)}")
    assert answer.reason == "InvalidProviderToken"


@pytest.mark.parametrize(
    "spoil", [lambda t: t + "=", lambda t: t + "A", lambda t: t[:-8], lambda t: t + ".x"]
)
async def test_a_provider_token_of_the_wrong_form_is_invalid(
    sender: Sender, bridge: Bridge, spoil: Any
) -> None:
    assert (
        await bridge.push(sender, authorization=f"bearer {spoil(bridge.jwt)}")
    ).reason == "InvalidProviderToken"


@pytest.mark.parametrize(
    ("age", "reason"),
    [
        (0, None),
        (3600, None),
        (3601, "ExpiredProviderToken"),
        (-30, None),
        (-31, "InvalidProviderToken"),
    ],
)
async def test_a_provider_token_lives_an_hour(
    sender: Sender, bridge: Bridge, time: Time, age: int, reason: str | None
) -> None:
    token = bridge.token(iat=int(time.now.timestamp()) - age)
    assert (await bridge.push(sender, authorization=f"bearer {token}")).reason == reason


async def test_a_second_new_token_within_twenty_minutes_is_one_too_many(
    sender: Sender, bridge: Bridge, time: Time
) -> None:
    assert (await bridge.push(sender)).status == 200
    time.pass_(minutes=19)
    fresh = f"bearer {bridge.token()}"
    answer = await bridge.push(sender, authorization=fresh)
    assert (answer.status, answer.reason) == (429, "TooManyProviderTokenUpdates")
    assert (await bridge.push(sender)).status == 200  # the old one is still good
    time.pass_(minutes=1)
    assert (await bridge.push(sender, authorization=fresh)).status == 200


async def test_two_bridges_with_one_key_fit_where_two_renewals_are_allowed(time: Time) -> None:
    async with Simulator(phones=["alice"], clock=time, renewals=2) as sim, Sender(sim) as sender:
        bridge = Bridge(sim, time)
        assert [
            (await bridge.push(sender, authorization=f"bearer {bridge.token()}")).status for _ in range(3)
        ] == [
            200,
            200,
            429,
        ]


async def test_a_key_of_the_other_environment_is_named_as_such(
    sender: Sender, bridge: Bridge, sim: Simulator
) -> None:
    known = sim.tokens.keys[sim.key_id]
    sim.tokens.keys[sim.key_id] = ProviderKey(sim.key_id, sim.team_id, known.public_key, "sandbox")
    assert (await bridge.push(sender)).reason == "BadEnvironmentKeyIdInToken"


async def test_a_connection_keeps_to_the_key_of_its_first_push(
    sender: Sender, bridge: Bridge, sim: Simulator
) -> None:
    known = sim.tokens.keys[sim.key_id].public_key
    sim.tokens.keys["SECONDKEY1"] = ProviderKey("SECONDKEY1", sim.team_id, known)
    sim.tokens.keys["OTHERTEAM1"] = ProviderKey("OTHERTEAM1", "TEAM2", known)
    assert (await bridge.push(sender)).status == 200
    other_key = f"bearer {bridge.token(kid='SECONDKEY1')}"
    assert (await bridge.push(sender, authorization=other_key)).reason == "UnrelatedKeyIdInToken"
    other_team = f"bearer {bridge.token(kid='OTHERTEAM1', iss='TEAM2')}"
    assert (await bridge.push(sender, authorization=other_team)).reason == "InvalidProviderToken"
    async with Sender(sim) as another:
        assert (await bridge.push(another, authorization=other_key)).status == 200
