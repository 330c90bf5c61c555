"""What travels between a phone and the bridge: the bodies of `/api/v1`, from which its OpenAPI is made.

Times are RFC 3339 in UTC with milliseconds. A field that may be absent in a request has a default here.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

from bridge.pushes import Environment
from bridge.sealing import read_key
from bridge.store.calls import ReceiptKind

EventId: TypeAlias = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=100,
        pattern="^[^\\x00]*$",
        description="Made by the phone, a UUID for instance; the same again has no second effect.",
    ),
]
Token: TypeAlias = Annotated[
    str,
    Meta(min_length=64, max_length=200, pattern="^([0-9A-Fa-f]{2})+$", description="A push token, in hex."),
]
Time: TypeAlias = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
Version: TypeAlias = Annotated[str, Meta(max_length=64)]
BundleId: TypeAlias = Annotated[
    str, Meta(max_length=155, pattern="^[A-Za-z0-9-]+([.][A-Za-z0-9-]+)+$", examples=["com.example.oncall"])
]
EncryptionKey: TypeAlias = Annotated[
    str,
    Meta(
        min_length=43,
        max_length=43,
        pattern="^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$",
        description="An X25519 public key: 32 raw bytes as base64url, without padding.",
        examples=["yWhDiBhHQZwaVeMMWLE_RSWRgHdfAxQWbDSBbotWOSc"],
    ),
]
DeviceName: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64, pattern="^[^\\x00-\\x1f\\x7f]*$")]


class Problem(Struct, omit_defaults=True):
    """Why a request was refused, and what to do."""

    error: str
    hint: str = ""


# --- asked ------------------------------------------------------------------------------------


class Enrol(Struct):
    """A one-time code, exchanged for a credential."""

    code: Annotated[str, Meta(max_length=100)]
    name: DeviceName | None = None
    app_version: Version | None = None
    os_version: Version | None = None
    encryption_key: EncryptionKey | None = None

    def __post_init__(self) -> None:
        """Refuse what only looks like a key."""
        if self.encryption_key is not None:
            read_key(self.encryption_key)


class PutKey(Struct):
    """The public key for which pushes are sealed from now on."""

    encryption_key: EncryptionKey

    def __post_init__(self) -> None:
        """Refuse what only looks like a key."""
        read_key(self.encryption_key)


class PutTokens(Struct):
    """What PushKit and UIKit gave the app; what is absent or null stays as it is."""

    voip_token: Token | None = None
    alert_token: Token | None = None
    environment: Environment | None = None
    bundle_id: BundleId | None = None
    app_version: Version | None = None
    os_version: Version | None = None

    def __post_init__(self) -> None:
        """Refuse a newline at the end: a pattern's $ lets it pass."""
        for name in ("voip_token", "alert_token", "bundle_id"):
            if (getattr(self, name) or "").endswith("\n"):
                raise ValueError(f"{name} ends with a newline")


class Act(Struct):
    """A request that may come again."""

    event_id: EventId


class Silence(Act):
    """No ring for so long, news included."""

    seconds: Annotated[int, Meta(ge=1, le=30 * 24 * 3600)]


class Note(Act):
    """A line for the timeline."""

    text: Annotated[str, Meta(min_length=1, max_length=1000, pattern="^[^\\x00]*$")]


class PostReceipt(Act):
    """What a call came to on the phone. `error_code` is CallKit's, for `failed`."""

    receipt: ReceiptKind
    at: str | None = None
    error_code: Annotated[int, Meta(ge=-(2**31), lt=2**31)] | None = None


# --- answered ---------------------------------------------------------------------------------


class Device(Struct):
    """A device as the bridge knows it.

    `kid` is the id of the key for which its pushes are sealed, null without one.
    `troubles` say what is wrong and what to do. `would_ring`: whether it would tonight, as far as is known.
    """

    name: str
    owner: str
    enrolled: bool
    environment: str | None
    bundle_id: str | None
    has_voip_token: bool
    has_alert_token: bool
    kid: str | None
    app_version: str | None
    os_version: str | None
    enrolled_at: Time | None
    heard_at: Time | None
    troubles: tuple[str, ...]
    would_ring: bool


class Enrolled(Struct):
    """The credential is shown this once: keep it in the keychain, and send it as a bearer token."""

    device: str
    owner: str
    credential: str


class Alert(Struct):
    """One alert of an incident. `repairs` names what came damaged."""

    fingerprint: str
    status: Literal["firing", "resolved", "expired"]
    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at: Time
    ended_at: Time | None
    generator_url: str
    runbook_url: str
    repairs: tuple[str, ...]


class Event(Struct):
    """One line of a timeline."""

    id: int
    at: Time
    kind: str
    text: str


class Incident(Struct):
    """An incident. `drill`: nothing is wrong, it is for trying out.

    `silenced_until`: nothing rings before that; `next_ring_at` is null when nothing will.
    """

    id: str
    revision: int
    state: Literal["triggered", "acknowledged", "resolved"]
    title: str
    summary: str
    severity: str
    receiver: str
    source: str
    drill: bool
    group: dict[str, str]
    alerts_firing: int
    alerts_total: int
    truncated_alerts: int
    step: int
    next_ring_at: Time | None
    opened_at: Time
    acknowledged_at: Time | None
    acknowledged_by: str | None
    acknowledged_until: Time | None
    silenced_until: Time | None
    resolved_at: Time | None
    resolution: str | None
    unanswered_at: Time | None
    external_url: str


class Story(Incident):
    """An incident with its alerts, and what happened to it."""

    alerts: tuple[Alert, ...]
    timeline: tuple[Event, ...]


class Incidents(Struct):
    """A page of a listing, the newest first. `next`: the `before` of the next page, null at the end."""

    incidents: tuple[Incident, ...]
    next: str | None


class Call(Struct):
    """A call and everything that it is about, the worst first; also what the push had no room for."""

    id: str
    uuid: str
    state: str
    created_at: Time
    expires_at: Time
    incidents: tuple[Story, ...]


class ReceiptIncident(Struct):
    """What became of an incident that a call carried."""

    id: str
    state: str
    acknowledged_by: str | None


class ReceiptTaken(Struct):
    """What a receipt led to."""

    call: str
    state: str
    incidents: tuple[ReceiptIncident, ...]


class Happened(Struct):
    """`event: incident` of the event stream: what happened, and the incident as it is now."""

    event: Event
    incident: Incident


class CallOver(Struct):
    """`event: call_ended` of the event stream: end this call, for the person is not needed any more."""

    call: str
    uuid: str
    reason: Literal["acknowledged", "resolved", "expired", "withdrawn"]
    text: str
