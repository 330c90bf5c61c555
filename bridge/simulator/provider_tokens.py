"""Provider tokens: the ES256 JWT in `authorization`, judged as APNs judges it.

Source: Apple, "Establishing a token-based connection to APNs". Written over `cryptography`
alone, so that a mistake in the library which signs for the bridge is not made here again.
"""

from __future__ import annotations

import binascii
import json
from base64 import urlsafe_b64decode
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from bridge.pushes import Environment
from bridge.simulator.answers import Refusal

MAX_AGE: Final = timedelta(hours=1)
MIN_INTERVAL: Final = timedelta(minutes=20)
# Apple names no tolerance for a sender's clock that runs ahead; without any, a sender that rounds up fails.
LEEWAY: Final = timedelta(seconds=30)
# What reading a made-up token can raise: no number is too large, no nesting too deep to be sent.
_UNREADABLE: Final = (
    ValueError,
    KeyError,
    TypeError,
    OverflowError,
    OSError,
    RecursionError,
    InvalidSignature,
)
_HALF: Final = 32  # bytes of each of the two numbers in a P-256 signature (RFC 7518 section 3.4)


@dataclass(frozen=True, slots=True)
class ProviderKey:
    """A signing key as Apple knows it. `environment` None: the key serves both environments."""

    key_id: str
    team_id: str
    public_key: EllipticCurvePublicKey = field(repr=False)
    environment: Environment | None = None


@dataclass(slots=True)
class _History:
    """The tokens that came for one key: when each was new, and which are still good."""

    seen: set[bytes] = field(default_factory=set)
    expired: set[bytes] = field(default_factory=set)
    renewals: deque[datetime] = field(default_factory=deque)


class ProviderTokens:
    """Judges provider tokens and remembers them, over all connections.

    `renewals` is how many tokens not seen before one key may bring within 20 minutes. Apple
    says one; two bridges that share a key need two.
    """

    def __init__(self, environment: Environment, renewals: int = 1) -> None:
        self.keys: dict[str, ProviderKey] = {}
        self.renewals = renewals
        self._environment = environment
        self._histories: dict[str, _History] = {}

    def check(self, authorization: str | None, now: datetime) -> ProviderKey:
        """Give the key that signed the token of this header field. Raises Refusal."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Refusal("MissingProviderToken")
        key, issued = self._verify(token.strip())
        if issued > now + LEEWAY:
            raise Refusal("InvalidProviderToken")
        if now - issued > MAX_AGE:
            raise Refusal("ExpiredProviderToken")
        self._remember(key, sha256(token.strip().encode()).digest(), now)
        return key

    def expire(self) -> None:
        """Make every token that came so far a stale one; the next new one is welcome at once."""
        for history in self._histories.values():
            history.expired |= history.seen
            history.renewals.clear()

    def _verify(self, token: str) -> tuple[ProviderKey, datetime]:
        try:
            head, claims, signature = token.split(".")
            header, body = _object(head), _object(claims)
            key = self.keys[header["kid"]]
            issued = datetime.fromtimestamp(_seconds(body["iat"]), UTC)
            if header["alg"] != "ES256" or body["iss"] != key.team_id:
                raise Refusal("InvalidProviderToken")
            raw = _decoded(signature)
            numbers = (int.from_bytes(raw[:_HALF], "big"), int.from_bytes(raw[_HALF:], "big"))
            if len(raw) != 2 * _HALF:
                raise Refusal("InvalidProviderToken")
            signed = f"{head}.{claims}".encode()
            key.public_key.verify(encode_dss_signature(*numbers), signed, ECDSA(hashes.SHA256()))
        except _UNREADABLE as error:
            raise Refusal("InvalidProviderToken") from error
        if key.environment not in {None, self._environment}:
            raise Refusal("BadEnvironmentKeyIdInToken")
        return key, issued

    def _remember(self, key: ProviderKey, digest: bytes, now: datetime) -> None:
        history = self._histories.setdefault(key.key_id, _History())
        if digest in history.expired:
            raise Refusal("ExpiredProviderToken")
        if digest in history.seen:
            return
        while history.renewals and now - history.renewals[0] >= MIN_INTERVAL:
            history.renewals.popleft()
        if len(history.renewals) >= self.renewals:
            raise Refusal("TooManyProviderTokenUpdates")
        history.renewals.append(now)
        history.seen.add(digest)


def _decoded(part: str) -> bytes:
    """Decode base64url as RFC 7515 has it: no padding, and no letter outside its alphabet."""
    if "=" in part or "+" in part or "/" in part:
        raise ValueError("not base64url")
    try:
        data = urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error as error:
        raise ValueError(str(error)) from error
    return data


def _object(part: str) -> dict[str, Any]:
    value = json.loads(_decoded(part))
    if not isinstance(value, dict):
        raise TypeError("not a JSON object")
    return value


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("iat is not a number")
    return value
