"""From pages to what APNs is asked to carry, and from APNs' answer to what it means.

Pure: no I/O, no clock. Sources are Apple's pages "Sending notification requests to APNs"
and "Handling notification responses from APNs".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple, TypeAlias

Environment: TypeAlias = Literal["production", "sandbox"]
PushKind: TypeAlias = Literal["voip", "alert"]


def mask(token: str) -> str:
    """Give enough of a push token to recognise it, never enough to use it."""
    return f"{token[:4]}…{token[-4:]}" if len(token) > 16 else "…"


class PushRequest(NamedTuple):
    """One request to APNs, complete: the transport adds nothing but the provider token.

    `apns_id` is a lowercase UUID. `topic` carries ".voip" where the kind needs it.
    `expiration` is in Unix seconds, 0 = one attempt. `payload` is encoded JSON.
    `timeout` is in seconds, from the call of `send` to its Outcome.
    """

    apns_id: str
    token: str
    topic: str
    kind: PushKind
    environment: Environment
    priority: int
    expiration: int
    payload: bytes
    collapse_id: str | None = None
    timeout: float = 10.0

    def __repr__(self) -> str:
        """Show enough to recognise it; neither the token nor what is in it."""
        return f"PushRequest({self.kind} {self.apns_id} to {mask(self.token)}, {len(self.payload)} B)"


@dataclass(frozen=True, slots=True)
class Accepted:
    """200: APNs has the push. Not yet: the phone rang."""


@dataclass(frozen=True, slots=True)
class Unregistered:
    """410: the token is dead. `since` is when APNs learned it; a token registered later lives."""

    reason: str
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Quarantined:
    """The token is refused, perhaps only by a wrong topic or environment: set it aside, never delete."""

    reason: str


@dataclass(frozen=True, slots=True)
class Retryable:
    """Try again, after `after` seconds if the peer said so.

    `certainly_not_processed` is True where a second try cannot ring a second time: the
    request was never written, or REFUSED_STREAM, or above GOAWAY's last stream id (RFC 9113 section 6.8).
    """

    reason: str
    after: float | None = None
    certainly_not_processed: bool = False


@dataclass(frozen=True, slots=True)
class Misconfigured:
    """Nothing will pass until somebody changes the configuration: keep the token, alarm, try after a fix."""

    reason: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """Our own mistake in this one push: never sent again, alarm."""

    reason: str


Outcome: TypeAlias = Accepted | Unregistered | Quarantined | Retryable | Misconfigured | Rejected

_QUARANTINE: Final = frozenset({"BadDeviceToken", "DeviceTokenNotForTopic"})
_RETRY: Final = frozenset(
    {
        "TooManyRequests",
        "TooManyProviderTokenUpdates",
        "InternalServerError",
        "ServiceUnavailable",
        "Shutdown",
        "IdleTimeout",
        "UnrelatedKeyIdInToken",
        "ExpiredProviderToken",
    }
)
_OF_A_TOPIC: Final = frozenset({"BadTopic", "TopicDisallowed"})
_MISCONFIGURED: Final = _OF_A_TOPIC | frozenset(
    {
        "MissingTopic",
        "InvalidPushType",
        "BadCertificate",
        "BadCertificateEnvironment",
        "Forbidden",
        "InvalidProviderToken",
        "MissingProviderToken",
        "BadEnvironmentKeyIdInToken",
        "BadEnvironmentKeyInToken",
    }
)


def outcome(
    status: int, reason: str | None, timestamp_ms: int | None = None, retry_after: float | None = None
) -> Outcome:
    """Say what one answer of APNs means; an unknown reason is judged by its status class."""
    named = reason or f"HTTP {status}"
    if status == 200:
        return Accepted()
    if status == 410:
        since = None if timestamp_ms is None else datetime.fromtimestamp(timestamp_ms / 1000, UTC)
        return Unregistered(named, since)
    if reason in _QUARANTINE:
        return Quarantined(named)
    if reason in _MISCONFIGURED or (reason not in _RETRY and status in {401, 403}):
        return Misconfigured(named)
    if reason in _RETRY or status in {408, 429} or not 400 <= status < 500:
        return Retryable(named, retry_after)
    return Rejected(named)


def of_own_topic(outcome: Outcome) -> Outcome:
    """Say what an answer means of a device whose app is not the configuration's.

    That APNs refuses its topic is the trouble of this device, and nothing wrong with the configuration.
    """
    if isinstance(outcome, Misconfigured) and outcome.reason in _OF_A_TOPIC:
        return Quarantined(outcome.reason)
    return outcome
