"""A virtual phone's page keys: the shared vectors open to what they say, or not at all."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from bridge.simulator import keyring
from bridge.simulator.keyring import KEPT_FOR, KeyRing
from bridge.simulator.membership import Membership
from bridge.simulator.network import Network

VECTORS = Path(__file__).parents[2] / "contract/vectors"
SEALED: dict[str, Any] = json.loads((VECTORS / "sealed.json").read_text())
CLEAR = {
    case["name"]: case["payload"] for case in json.loads((VECTORS / "payloads.json").read_text())["cases"]
}
NOW = datetime(2026, 11, 25, 2, 0, tzinfo=UTC)


@pytest.fixture
def ring(monkeypatch: pytest.MonkeyPatch) -> KeyRing:
    """One with the key of the vectors."""
    key = X25519PrivateKey.from_private_bytes(keyring._raw(SEALED["private_key"]))

    class Fixed:
        generate = staticmethod(lambda: key)

    monkeypatch.setattr(keyring, "X25519PrivateKey", Fixed)
    made = KeyRing()
    assert made.rotate(NOW) == SEALED["public_key"]
    return made


@pytest.mark.parametrize("case", SEALED["cases"], ids=lambda case: case["name"])
def test_a_sealed_vector_is_read_as_the_clear_one_or_not_at_all(ring: KeyRing, case: dict[str, Any]) -> None:
    payload, seal = ring.open(case["payload"])
    if case["content"] is None:
        assert (payload, seal) == (case["payload"], "shut")
        return
    clear = CLEAR[case["name"]]
    if "alert" in clear["aps"]:
        clear = clear | {"aps": clear["aps"] | {"mutable-content": 1}}
    assert (payload, seal) == (clear, "opened")


@pytest.mark.parametrize("payload", [{}, {"sealed": None}, {"sealed": "x"}, CLEAR["a drill"]])
def test_what_is_not_sealed_is_read_as_it_is(payload: dict[str, Any]) -> None:
    assert KeyRing().open(payload) == (payload, "clear")


def test_only_the_newest_key_is_the_present_one_and_old_ones_are_forgotten() -> None:
    ring = KeyRing()
    assert ring.kid is None
    keys = [ring.rotate(NOW + KEPT_FOR * days) for days in (0, 0.5, 2)]
    assert ring.kid == sha256(keyring._raw(keys[-1])).hexdigest()[:16]
    assert len(set(keys)) == 3
    assert len(ring._keys) == 2, "the first one had retired long ago"
    ring.forget()
    assert ring.kid is None


def test_a_calls_id_that_is_none_leads_nowhere_else_with_the_credential() -> None:
    """It comes from a push, which others carry."""
    enrolled = {"device": "a", "owner": "alice", "credential": "secret"}
    membership = Membership(Network(), "https://bridge.example.com/", enrolled, lambda: True)
    url = membership.receipts("x/../../device?")
    assert url == "https://bridge.example.com/api/v1/calls/x%2F..%2F..%2Fdevice%3F/receipts"
