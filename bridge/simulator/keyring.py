"""A phone's page keys, and how the app opens what is sealed for them (phone protocol, "Sealed pushes").

RFC 9180, mode base, X25519, HKDF-SHA256, ChaCha20-Poly1305, written from the RFC: were it what the bridge
seals with, both could make the same mistake.
"""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final, Literal, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

# clear: nothing was sealed. shut: the phone has no key that opens it.
Seal: TypeAlias = Literal["clear", "opened", "shut"]

KEPT_FOR: Final = timedelta(days=1)
"""How long a key of before opens what was under way."""

_INFO: Final = b"pushkit-bridge page 1"
_KEM: Final = b"KEM\x00\x20"
_SUITE: Final = b"HPKE\x00\x20\x00\x01\x00\x03"


@dataclass(slots=True)
class _Key:
    private: X25519PrivateKey = field(repr=False)
    retired_at: datetime | None = None


class KeyRing:
    """The present key, and those of before."""

    def __init__(self) -> None:
        self._keys: dict[str, _Key] = {}

    @property
    def kid(self) -> str | None:
        """Give the present key's id."""
        return next((kid for kid, key in self._keys.items() if key.retired_at is None), None)

    @property
    def public(self) -> str:
        """Give the present key's public half, base64url. Raises KeyError without one."""
        public = self._keys[self.kid or ""].private.public_key().public_bytes_raw()
        return urlsafe_b64encode(public).decode().rstrip("=")

    def rotate(self, now: datetime) -> str:
        """Make a new key the present one; gives its public half, base64url. Old ones are forgotten."""
        for kid, key in list(self._keys.items()):
            key.retired_at = key.retired_at or now
            if now - key.retired_at > KEPT_FOR:
                del self._keys[kid]
        private = X25519PrivateKey.generate()
        public = private.public_key().public_bytes_raw()
        self._keys[sha256(public).hexdigest()[:16]] = _Key(private)
        return self.public

    def forget(self) -> None:
        """Lose all keys."""
        self._keys.clear()

    def open(self, payload: dict[str, Any]) -> tuple[dict[str, Any], Seal]:
        """Give a payload as the app reads it, with what was sealed in its place."""
        sealed = payload.get("sealed")
        if not isinstance(sealed, dict):
            return payload, "clear"
        try:
            key = self._keys[sealed["kid"]].private
            aad = f"{payload['call']['id']} {sealed['kid']}".encode()
            content = json.loads(_unseal(key, _raw(sealed["enc"]), _raw(sealed["ct"]), aad))
        except (LookupError, TypeError, ValueError, InvalidTag):
            return payload, "shut"
        return _joined(payload, content), "opened"


def _joined(payload: Mapping[str, Any], content: dict[str, Any]) -> dict[str, Any]:
    whole = {name: value for name, value in payload.items() if name != "sealed"} | content
    whole["call"] = payload["call"] | content.get("call", {})
    if "alert" in whole:
        whole["aps"] = whole["aps"] | {"alert": whole.pop("alert")}
    return whole


def _raw(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _unseal(key: X25519PrivateKey, enc: bytes, ct: bytes, aad: bytes) -> bytes:
    """Open. Raises InvalidTag or ValueError."""
    shared = key.exchange(X25519PublicKey.from_public_bytes(enc))
    both = enc + key.public_key().public_bytes_raw()
    secret = _expand(_extract(b"", b"eae_prk", shared, _KEM), b"shared_secret", both, 32, _KEM)
    hashes = _extract(b"", b"psk_id_hash", b"", _SUITE) + _extract(b"", b"info_hash", _INFO, _SUITE)
    schedule = _extract(secret, b"secret", b"", _SUITE)
    cipher = ChaCha20Poly1305(_expand(schedule, b"key", b"\x00" + hashes, 32, _SUITE))
    return cipher.decrypt(_expand(schedule, b"base_nonce", b"\x00" + hashes, 12, _SUITE), ct, aad)


def _extract(salt: bytes, label: bytes, ikm: bytes, suite: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + ikm, "sha256")


def _expand(key: bytes, label: bytes, info: bytes, length: int, suite: bytes) -> bytes:
    labelled = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    return hmac.digest(key, labelled + b"\x01", "sha256")[:length]
