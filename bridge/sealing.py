"""Pushes that only their phone can read: HPKE (RFC 9180) for the phone's public key. Pure: no I/O, no clock.

Mode base, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305. Neither Apple nor a proxy on the way
sees more of a sealed push than `docs/phone-protocol.md` says under "Sealed pushes".
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

_ANY: Final = X25519PrivateKey.from_private_bytes(bytes(range(32)))
"""A private key that is no secret: a public key that does not fit it fits none."""


def read_key(text: str) -> bytes:
    """Read a phone's public key: base64url without padding of 32 raw bytes.

    Raises ValueError also for what is such text and no key: a point of low order, with which all
    secrets are the same.
    """
    try:
        raw = urlsafe_b64decode(text + "=")
        _ANY.exchange(X25519PublicKey.from_public_bytes(raw))
    except ValueError:
        raw = b""
    if not raw or written(raw) != text:
        raise ValueError("this is no X25519 public key: 32 bytes as base64url, without padding")
    return raw


def written(raw: bytes) -> str:
    """Write bytes as base64url without padding."""
    return urlsafe_b64encode(raw).decode().rstrip("=")


def kid(key: str) -> str:
    """Give the id by which people and phones tell keys apart, of a key that `read_key` has taken."""
    return hashlib.sha256(urlsafe_b64decode(key + "=")).hexdigest()[:16]
