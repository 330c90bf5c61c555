"""The provider token: an ES256 JWT that says who we are.

RFC 7519; Apple, "Establishing a token-based connection to APNs". One token serves all
connections. Apple refuses those older than 60 minutes, and senders that renew more often than
every 20; so ages are measured on a clock that counts a suspended machine and never jumps,
while `iat` is what the wall clock says.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import jwt
from aioapns.connection import AuthorizationHeaderProvider
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

RENEW_AFTER: Final = 50 * 60.0  # seconds
NEVER_BEFORE: Final = 20 * 60.0
TOO_OLD: Final = 55 * 60.0  # by the wall clock, which may have been set since
AHEAD: Final = 60.0


def since_boot() -> float:
    """Give seconds since the machine started, suspension included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class ProviderToken(AuthorizationHeaderProvider):
    """Mints and keeps the token. Raises ValueError for a key that is not a P-256 private key."""

    def __init__(
        self,
        key_pem: str,
        key_id: str,
        team_id: str,
        *,
        elapsed: Callable[[], float] = since_boot,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._key = _load(key_pem)
        self._key_id = key_id
        self._team_id = team_id
        self._elapsed = elapsed
        self._wall = wall
        self._header = ""
        self._minted_at = 0.0
        self._issued_at = 0

    def get_header(self) -> str:
        """Give the value of the `authorization` field, renewed if it is time."""
        self.renew()
        return self._header

    def renew(self, ahead: float = 0.0) -> None:
        """Mint a token if it will be time in so many seconds."""
        if self.due(ahead):
            self._mint()

    def due(self, ahead: float = 0.0) -> bool:
        """Whether there is no token, or it will be too old in so many seconds."""
        age = self._elapsed() - self._minted_at
        return not self._header or age + ahead >= RENEW_AFTER or (age >= NEVER_BEFORE and self._misdated())

    def replace(self, refused: str | None) -> bool:
        """Say whether there is another token than the one APNs called expired; mint it if that is allowed."""
        if not self._header or refused != self._header:
            return True  # somebody else's push has led to a new one already
        if self._elapsed() - self._minted_at < NEVER_BEFORE:
            return False
        self._mint()
        return True

    @property
    def minted(self) -> tuple[str, int] | None:
        """The token as it is sent, and its `iat` in Unix seconds; None before the first."""
        return (self._header, self._issued_at) if self._header else None

    def restore(self, header: str, issued_at: int) -> None:
        """Go on with a token that an earlier run minted, if it is young enough.

        Apple counts a restart's new token as an update, and refuses pushes when those come too often.
        """
        age = self._wall() - issued_at
        if -AHEAD <= age < RENEW_AFTER:
            self._header, self._issued_at = header, issued_at
            self._minted_at = self._elapsed() - max(age, 0)

    def age(self, now: float) -> float | None:
        """Give the token's age at the wall clock's `now`, in seconds; None before the first."""
        return now - self._issued_at if self._header else None

    def _misdated(self) -> bool:
        """Whether the wall clock was set since, so that `iat` is wrong."""
        age = self._wall() - self._issued_at
        return age >= TOO_OLD or age < -AHEAD

    def _mint(self) -> None:
        self._issued_at = int(self._wall())
        self._minted_at = self._elapsed()
        claims = {"iss": self._team_id, "iat": self._issued_at}
        token = jwt.encode(claims, self._key, algorithm="ES256", headers={"kid": self._key_id})
        self._header = f"bearer {token}"


def _load(key_pem: str) -> EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(key_pem.encode(), None)
    except Exception:  # noqa: BLE001 - the library raises several kinds, and its texts may quote the key
        raise ValueError("the APNs key is not a private key in PEM without a password") from None
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        raise ValueError("the APNs key is not an elliptic-curve key on P-256, which ES256 needs")  # noqa: TRY004
    return key
