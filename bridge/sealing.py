"""Pushes that only their phone can read: HPKE (RFC 9180) for the phone's public key. Pure: no I/O, no clock.

Mode base, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305. What Apple, or a proxy on the way,
still sees of a sealed push is what `shown` leaves; docs/phone-protocol.md has it under "Sealed pushes".
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

import orjson
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from pyhpke import AEADId, CipherSuite, KDFId, KEMId, KEMKey, KEMKeyPair

Encryption: TypeAlias = Literal["off", "preferred", "required"]
"""Never sealed; sealed where the phone has a key; nothing in the clear, whether it has one or not."""

INFO: Final = b"pushkit-bridge page 1"
NAME: Final = "On call"
"""Who calls, for everybody to see."""
TEXT: Final = "Open to read"
"""What a notification says, for everybody to see."""

NO_KEY: Final = "it has no key: it was told nothing"
BAD_KEY: Final = "its key is none: it was told nothing"

EPHEMERAL: Final = 32
"""Bytes of chance that one seal takes."""
_PADDED: Final = 256
"""Bytes: what is sealed is a multiple of this long, so that its length says little."""
_TAG: Final = 16
_OPEN: Final = ("id", "uuid", "expires_at")

_SUITE: Final = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.CHACHA20_POLY1305)
_ANY: Final = X25519PrivateKey.from_private_bytes(bytes(range(32)))
"""A private key that is no secret: a public key that does not fit it fits none."""


@dataclass(frozen=True, slots=True)
class Seal:
    """How one push is sealed: for a phone's public key, base64url; None = it has none, and is told nothing.

    `ephemeral`: EPHEMERAL bytes of chance, for this push alone.
    """

    key: str | None
    ephemeral: bytes = field(repr=False)


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


def seal_for(key: str | None, encryption: Encryption, ephemeral: bytes) -> Seal | None:
    """Say how a push for a phone with this key is sealed; None: it goes in the clear."""
    if encryption == "off" or (encryption == "preferred" and key is None):
        return None
    return Seal(key, ephemeral)


def shown(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Give what everybody may see of a payload: that it is a call, and until when."""
    aps = dict(payload["aps"])
    if "alert" in aps:
        # iOS runs the app's extension, which opens it.
        aps |= {"alert": {"title": NAME, "body": TEXT}, "mutable-content": 1}
    seen = {"aps": aps} | {name: payload[name] for name in ("v", "kind") if name in payload}
    seen["call"] = {name: payload["call"][name] for name in _OPEN}
    return seen | {"caller_name": NAME} if "caller_name" in payload else seen


def hidden(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Give all that `shown` does not: with it, nothing is missing."""
    rest = {name: value for name, value in payload.items() if name not in {"aps", "v", "kind"}}
    rest["call"] = {name: value for name, value in payload["call"].items() if name not in _OPEN}
    return rest | {"alert": payload["aps"]["alert"]} if "alert" in payload["aps"] else rest


def room(seen: Mapping[str, Any], limit: int) -> int:
    """Say how many bytes of JSON can be sealed beside what is seen, in a payload of at most `limit`."""
    empty = {"kid": "0" * 16, "enc": "A" * 43, "ct": ""}
    letters = limit - len(orjson.dumps({**seen, "sealed": empty}))
    return (letters * 3 // 4 - _TAG) // _PADDED * _PADDED


def sealed(seen: Mapping[str, Any], content: Mapping[str, Any], key: str, ephemeral: bytes) -> dict[str, Any]:
    """Seal the content. Raises ValueError where the key is none, as `read_key` does: HPKE finds it too."""
    plain = orjson.dumps(content)
    plain += b" " * (-len(plain) % _PADDED)
    aad = f"{seen['call']['id']} {kid(key)}".encode()
    enc, ct = hpke(urlsafe_b64decode(key + "="), ephemeral, INFO, aad, plain)
    return {**seen, "sealed": {"kid": kid(key), "enc": written(enc), "ct": written(ct)}}


def hpke(key: bytes, ephemeral: bytes, info: bytes, aad: bytes, plain: bytes) -> tuple[bytes, bytes]:
    """Encrypt once for a raw public key; gives what RFC 9180 calls enc and ct."""
    one = KEMKey.from_pyca_cryptography_key
    theirs, mine = X25519PublicKey.from_public_bytes(key), X25519PrivateKey.from_private_bytes(ephemeral)
    pair = KEMKeyPair(one(mine), one(mine.public_key()))
    enc, context = _SUITE.create_sender_context(one(theirs), info=info, eks=pair)
    return enc, context.seal(plain, aad=aad)


def without_key(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Give the push for a phone for which nothing can be sealed: it rings, and says nothing.

    Receipts go where they always go: a phone that nobody can answer would ring the next one for nothing.
    """
    return {**shown(payload), "call": payload["call"], "sealed": {}}


def sealed_how(seal: Seal | None, rendered: bytes) -> str | None:
    """Say for the log how a push was sealed; None: it went in the clear."""
    if seal is None:
        return None
    if b'"sealed":{}' not in rendered:
        return "for its key"
    return NO_KEY if seal.key is None else BAD_KEY


def blinded(secret: bytes, name: str) -> str:
    """Give a UUID in place of one that was derived from labels: by it nobody can confirm a guess of them."""
    return str(UUID(bytes=hmac.digest(secret, f"blind\0{name}".encode(), "sha256")[:16], version=4))
