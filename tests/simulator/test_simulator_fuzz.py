from __future__ import annotations

import json
import random
from base64 import urlsafe_b64encode
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from bridge.simulator import Simulator
from bridge.simulator.answers import STATUS_OF, Refusal
from bridge.simulator.provider_tokens import ProviderKey, ProviderTokens
from bridge.simulator.rules import Request, apns_id, check, check_target

from .client import Sender
from .conftest import Bridge

KEY = ec.generate_private_key(ec.SECP256R1()).public_key()
NOW = datetime(2026, 11, 25, tzinfo=UTC)
NAMES = [":method", ":path", "apns-id", "apns-topic", "apns-push-type", "apns-priority", "apns-expiration"]
VALUES = st.one_of(
    st.text(max_size=70),
    st.sampled_from(
        ["POST", "/3/device/ab", "voip", "com.example.oncall.voip", "com.example.oncall", "10", "5"]
    ),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)


@given(st.dictionaries(st.sampled_from([*NAMES, "apns-collapse-id"]), VALUES), st.binary(max_size=60))
def test_any_request_is_read_or_refused_with_a_documented_reason(fields: dict[str, str], body: bytes) -> None:
    request = Request(list(fields.items()), body)
    try:
        check(request, apns_id(request), check_target(request), {"com.example.oncall"})
    except Refusal as refusal:
        answer = refusal.answer
    else:
        return
    assert STATUS_OF[answer.reason or ""] == answer.status


def part(value: object) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


FIELDS = st.fixed_dictionaries({}, optional={"kid": st.just("K") | JSON, "alg": st.just("ES256") | JSON})
CLAIMS = st.fixed_dictionaries({}, optional={"iss": st.just("T") | JSON, "iat": st.integers() | JSON})


@given(
    st.one_of(
        st.text(),
        st.text().map("bearer {}".format),
        st.builds(lambda h, c, s: f"bearer {part(h)}.{part(c)}.{s}", FIELDS | JSON, CLAIMS | JSON, st.text()),
        st.builds(lambda h, c: f"bearer {part(h)}.{part(c)}.{'A' * 86}", FIELDS, CLAIMS),
        st.just("bearer " + urlsafe_b64encode(b"[" * 3000).decode() + ".e30.x"),
    )
)
def test_no_made_up_provider_token_is_ever_taken(header: str) -> None:
    tokens = ProviderTokens("production")
    tokens.keys["K"] = ProviderKey("K", "T", KEY)
    with pytest.raises(Refusal):
        tokens.check(header, NOW)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        (":path", b"/3/device/\xff\xfe", "BadDeviceToken"),
        (":path", b"/3/device/%0a", "BadDeviceToken"),
        ("apns-topic", b"com.\xff.voip", "BadTopic"),
        ("apns-id", b"\xff", "BadMessageId"),
        ("apns-collapse-id", b"\xff" * 65, "BadCollapseId"),
        ("authorization", b"bearer \xff.\xff.\xff", "InvalidProviderToken"),
    ],
)
async def test_bytes_that_are_not_utf8_are_judged_like_any_others(
    sender: Sender, bridge: Bridge, name: str, value: bytes, reason: str
) -> None:
    headers: list[tuple[str, str | bytes]] = [(key, old) for key, old in bridge.headers() if key != name]
    headers.insert(0 if name[0] == ":" else len(headers), (name, value))
    assert (await sender.send(headers, bridge.call())).reason == reason
    assert (await bridge.push(sender)).status == 200


async def test_apns_survives_rubbish_in_every_frame(sim: Simulator, bridge: Bridge) -> None:
    noise = random.Random(0)
    for kind in range(16):
        async with Sender(sim) as sender:
            frame = bytes([0, 0, 24, kind, kind * 17 & 0xFF, 0, 0, 0, kind % 3]) + noise.randbytes(24)
            sender.writer.write(frame * 3)
    async with Sender(sim) as sender:
        assert (await bridge.push(sender)).status == 200
