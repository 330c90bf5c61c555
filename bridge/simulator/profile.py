"""What a virtual phone is like, and what became of a push on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, Literal, TypeAlias

from bridge.pushes import Environment, PushKind
from bridge.simulator.answers import Refusal
from bridge.simulator.keyring import Seal
from bridge.simulator.rules import Notification

# normal: shows what comes. unregistered: APNs answers 410. slow: shows it, the answer comes `delay` seconds
# later. silent: APNs accepts, the phone shows nothing; the app is dead. cut-off: flight mode; APNs accepts
# and stores nothing, and nothing gets through to the bridge. do-not-disturb: CallKit filters each call, and
# a notification makes no sound unless it is critical, or time-sensitive where that is allowed.
Behaviour: TypeAlias = Literal["normal", "unregistered", "slow", "silent", "cut-off", "do-not-disturb"]

# What became of a push on the phone.
# repeat: CallKit has that call already. joined: the same, but the record is another bridge's. over: the
# bridge's stream had said before that this call is over. notified: with a sound. quiet: shown without one.
Fate: TypeAlias = Literal[
    "rang",
    "repeat",
    "joined",
    "stale",
    "over",
    "filtered",
    "malformed",
    "notified",
    "quiet",
    "silent",
    "expired",
]


@dataclass(slots=True)
class Profile:
    """What can be set about a phone. `delay` and `auto_answer` are in seconds; tokens are hex.

    `time_sensitive`: whether Do Not Disturb lets such notifications through. `receipts_by`: a phone
    that enrolled may post them with its credential instead of the call's own token.
    """

    bundle_id: str
    environment: Environment
    voip_token: str
    alert_token: str
    behaviour: Behaviour = "normal"
    delay: float = 5.0
    auto_answer: float | None = None
    unregistered_since: datetime | None = None
    time_sensitive: bool = False
    receipts_by: Literal["token", "credential"] = "token"

    def ask(self, kind: PushKind, notification: Notification, environment: Environment) -> None:
        """Raise Refusal where the token of `kind` is not for the topic, or not of this environment."""
        if self.environment != environment:
            raise Refusal("BadDeviceToken")
        # A PushKit token serves VoIP alone, an ordinary one everything but VoIP.
        voip = notification.push_type == "voip"
        if self.bundle_id != notification.bundle_id or (kind == "voip") != voip:
            raise Refusal("DeviceTokenNotForTopic")

    def sounds(self, level: object) -> bool:
        """Tell whether Do Not Disturb lets a notification of this interruption level through."""
        if self.behaviour != "do-not-disturb":
            return True
        return level == "critical" or (level == "time-sensitive" and self.time_sensitive)


@dataclass(frozen=True, slots=True)
class Push:
    """One push that reached the phone's side: when, with which headers, and what became of it.

    `carried` is the body as Apple carried it, `seal` what the phone's keys made of it.
    """

    at: datetime
    notification: Notification
    headers: Mapping[str, str] = field(repr=False)
    fate: Fate
    carried: Mapping[str, Any] = field(repr=False)
    seal: Seal = "clear"

    @property
    def apns_id(self) -> str:
        """Give the id under which the sender knows this push."""
        return self.notification.apns_id

    @property
    def payload(self) -> dict[str, Any]:
        """Give the decoded body as the app reads it: opened, where it was sealed."""
        return self.notification.payload


def made_up_token(name: str, kind: PushKind, environment: Environment) -> str:
    """Give a device token that stays the same from run to run."""
    return sha256(f"{environment}/{name}/{kind}".encode()).hexdigest()
