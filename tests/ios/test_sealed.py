"""The vectors of sealed pages, which the app's own tests open too: by RFC 9180 over the library's primitives.

The library's own HPKE takes no associated data; where there is none the two must agree.
"""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64decode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

VECTORS = Path(__file__).parents[2] / "contract/vectors"
SEALED: dict[str, Any] = json.loads((VECTORS / "sealed.json").read_text())
CLEAR = [case["payload"] for case in json.loads((VECTORS / "payloads.json").read_text())["cases"]]
KEM_ID, SUITE_ID = b"KEM\x00\x20", b"HPKE\x00\x20\x00\x01\x00\x03"


def raw(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


KEY = X25519PrivateKey.from_private_bytes(raw(SEALED["private_key"]))


def extract(salt: bytes, label: bytes, ikm: bytes, suite: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + ikm, "sha256")


def expand(key: bytes, label: bytes, info: bytes, length: int, suite: bytes) -> bytes:
    labelled = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    return hmac.digest(key, labelled + b"\x01", "sha256")[:length]


def unseal(enc: bytes, ct: bytes, info: bytes, aad: bytes) -> bytes:
    """Open with KEY. Raises InvalidTag or ValueError."""
    shared = KEY.exchange(X25519PublicKey.from_public_bytes(enc))
    secret = expand(
        extract(b"", b"eae_prk", shared, KEM_ID),
        b"shared_secret",
        enc + KEY.public_key().public_bytes_raw(),
        32,
        KEM_ID,
    )
    hashes = extract(b"", b"psk_id_hash", b"", SUITE_ID) + extract(b"", b"info_hash", info, SUITE_ID)
    schedule = extract(secret, b"secret", b"", SUITE_ID)
    key, nonce = (
        expand(schedule, label, b"\x00" + hashes, size, SUITE_ID)
        for label, size in ((b"key", 32), (b"base_nonce", 12))
    )
    return ChaCha20Poly1305(key).decrypt(nonce, ct, aad)


def content(payload: dict[str, Any]) -> bytes:
    """Open a sealed payload as a phone does that has KEY. Raises InvalidTag, ValueError, KeyError or LookupError."""
    sealed = payload["sealed"]
    if sealed["kid"] != SEALED["kid"]:
        raise LookupError(sealed["kid"])
    aad = f"{payload['call']['id']} {sealed['kid']}".encode()
    return unseal(raw(sealed["enc"]), raw(sealed["ct"]), SEALED["info"].encode(), aad)


CASES = [pytest.param(case, id=case["name"]) for case in SEALED["cases"]]


@pytest.mark.parametrize("case", CASES)
def test_a_sealed_vector_opens_to_what_it_says_or_not_at_all(case: dict[str, Any]) -> None:
    if case["content"] is None:
        with pytest.raises((InvalidTag, ValueError, LookupError)):
            content(case["payload"])
        return
    plain = content(case["payload"])
    assert json.loads(plain) == case["content"]
    assert len(plain) % 256 == 0, "its length says little"


@pytest.mark.parametrize("case", [case for case in CASES if case.values[0]["content"]])
def test_a_sealed_vector_holds_all_of_the_clear_one_and_shows_nothing_of_it(case: dict[str, Any]) -> None:
    shown, hidden = case["payload"], case["content"]
    assert shown.keys() <= {"aps", "v", "kind", "call", "caller_name", "sealed"}
    assert shown["call"].keys() == {"id", "uuid", "expires_at"}
    assert shown.get("caller_name", "On call") == "On call"
    whole = {**shown, **hidden, "call": shown["call"] | hidden["call"]}
    del whole["sealed"]
    if alert := whole.pop("alert", None):
        whole["aps"] = whole["aps"] | {"alert": alert}
        if whole["kind"] != "alert":
            del whole["aps"]["mutable-content"]  # only what is sealed needs the app's extension
        whole.pop("caller_name", None)
    assert whole in CLEAR


def test_the_key_of_the_vectors_has_the_id_that_they_say() -> None:
    public = KEY.public_key().public_bytes_raw()
    assert (public, sha256(public).hexdigest()[:16]) == (raw(SEALED["public_key"]), SEALED["kid"])


def test_without_associated_data_the_library_agrees() -> None:
    suite = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
    sealed = suite.encrypt(b"a page", KEY.public_key(), info=b"pushkit-bridge page 1")
    assert unseal(sealed[:32], sealed[32:], b"pushkit-bridge page 1", b"") == b"a page"
