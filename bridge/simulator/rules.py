"""The rules that APNs holds a request to, before any phone is asked. Pure.

Source: Apple, "Sending notification requests to APNs". Apple does not document which rule
comes first where a request breaks several; here it is the order of the functions below.
"""

from __future__ import annotations

import json
import re
import uuid
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from bridge.simulator.answers import Refusal

VOIP_LIMIT: Final = 5120
LIMIT: Final = 4096
COLLAPSE_ID_LIMIT: Final = 64

# What a topic must end with for each push type; "" is the bare bundle id.
SUFFIX_OF: Final = {
    "alert": "",
    "background": "",
    "controls": "",
    "voip": ".voip",
    "complication": ".complication",
    "fileprovider": ".pushkit.fileprovider",
    "location": ".location-query",
    "liveactivity": ".push-type.liveactivity",
    "pushtotalk": ".voip-ptt",
    "widgets": ".push-type.widgets",
    "mdm": "",
}
_PRIORITIES: Final = {"background": {5}, "voip": {10}, "pushtotalk": {10}}
_SUFFIXES: Final = sorted((suffix for suffix in SUFFIX_OF.values() if suffix), key=len, reverse=True)
_PATH: Final = re.compile(r"/3/device(?:/(?P<token>[^/?#]*))?")
TOKEN: Final = re.compile(r"(?:[0-9a-fA-F]{2}){1,100}")
_BUNDLE: Final = re.compile(r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*")
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came over the wire: header fields in order, names in lower case."""

    headers: Sequence[tuple[str, str]]
    body: bytes = b""

    def get(self, name: str) -> str | None:
        """Give the first field of this name."""
        return next((value for key, value in self.headers if key == name), None)


@dataclass(frozen=True, slots=True)
class Notification:
    """A request that broke no rule. `expiration` is in Unix seconds, 0 = one attempt; None = not said."""

    apns_id: str
    token: str = field(repr=False)
    push_type: str
    topic: str
    bundle_id: str
    priority: int
    expiration: int | None
    collapse_id: str | None
    payload: dict[str, Any] = field(repr=False)

    @property
    def aps(self) -> dict[str, Any]:
        """Give Apple's part of the payload."""
        aps = self.payload.get("aps")
        return aps if isinstance(aps, dict) else {}


def apns_id(request: Request) -> str:
    """Give the id that the answer carries: the request's own if it has a good one, else a new one."""
    given = request.get("apns-id")
    return given if given is not None and _UUID.fullmatch(given) else str(uuid.uuid4())


def check_target(request: Request) -> str:
    """Give the device token of the path, unjudged. Raises Refusal."""
    if request.get(":method") != "POST":
        raise Refusal("MethodNotAllowed")
    found = _PATH.fullmatch(request.get(":path") or "")
    if found is None:
        raise Refusal("BadPath")
    if not found["token"]:
        raise Refusal("MissingDeviceToken")
    names = Counter(name for name, _ in request.headers if name != "cookie")
    if any(count > 1 for count in names.values()):
        raise Refusal("DuplicateHeaders")
    return found["token"]


def check(request: Request, name: str, token: str, topics: Collection[str]) -> Notification:
    """Read a request from an authenticated sender that may push to `topics` (bundle ids). Raises Refusal.

    `name` is the id that the answer carries, `token` what the path named.
    """
    given = request.get("apns-id")
    if given is not None and not _UUID.fullmatch(given):
        raise Refusal("BadMessageId")
    expiration = _number(request.get("apns-expiration"), "BadExpirationDate")
    collapse_id = request.get("apns-collapse-id")
    if (
        collapse_id is not None
        and not 0 < len(collapse_id.encode(errors="surrogateescape")) <= COLLAPSE_ID_LIMIT
    ):
        raise Refusal("BadCollapseId")
    push_type = request.get("apns-push-type") or "alert"
    if push_type not in SUFFIX_OF:
        raise Refusal("InvalidPushType")
    topic = request.get("apns-topic")
    bundle_id = _bundle_id(topic, push_type, topics)
    priority = _priority(request, push_type)
    payload = _payload(request.body, VOIP_LIMIT if push_type == "voip" else LIMIT)
    if not TOKEN.fullmatch(token):
        raise Refusal("BadDeviceToken")
    return Notification(
        apns_id=name,
        token=token.lower(),
        push_type=push_type,
        topic=topic or "",
        bundle_id=bundle_id,
        priority=priority,
        expiration=expiration,
        collapse_id=collapse_id,
        payload=payload,
    )


def _number(text: str | None, reason: str) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise Refusal(reason)
    return int(text)


def _priority(request: Request, push_type: str) -> int:
    allowed = _PRIORITIES.get(push_type, {1, 5, 10})
    # Apple: the default is 10, which a background push must therefore override.
    priority = _number(request.get("apns-priority"), "BadPriority")
    priority = 10 if priority is None else priority
    if priority not in allowed:
        raise Refusal("BadPriority")
    return priority


def _bundle_id(topic: str | None, push_type: str, topics: Collection[str]) -> str:
    if not topic:
        raise Refusal("MissingTopic")
    if not _BUNDLE.fullmatch(topic):
        raise Refusal("BadTopic")
    suffix = next((known for known in _SUFFIXES if topic.endswith(known)), "")
    wanted = SUFFIX_OF[push_type]
    if suffix != wanted:
        # A suffix that belongs to another push type contradicts the header; a missing one is a wrong topic.
        raise Refusal("InvalidPushType" if suffix else "BadTopic")
    bundle_id = topic.removesuffix(suffix)
    if bundle_id not in topics:
        raise Refusal("TopicDisallowed")
    return bundle_id


def _payload(body: bytes, limit: int) -> dict[str, Any]:
    if len(body) > limit:
        raise Refusal("PayloadTooLarge")
    try:
        payload = json.loads(body.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        # Apple documents no reason of its own for what is not JSON: there is no payload in it.
        raise Refusal("PayloadEmpty") from error
    if not isinstance(payload, dict):
        raise Refusal("PayloadEmpty")
    return payload


def _no_constant(name: str) -> None:
    """Refuse NaN and Infinity: Python reads them, JSON (RFC 8259) does not know them."""
    raise ValueError(f"{name} is not JSON")
