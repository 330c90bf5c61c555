"""aioapns' request and result, with what they lack, and the reading of an answer's body.

`NotificationRequest` counts expiration from now, so that 0 cannot be said, and encodes JSON by
itself; `NotificationResult` has no place for Retry-After and none for "nothing came back".
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any, Final
from uuid import uuid4

from aioapns import NotificationRequest, PushType
from aioapns.common import NotificationResult

UNANSWERED: Final = "0"  # the status of a push to which no status came
DEFAULT_TIMEOUT: Final = 10.0  # seconds, for a plain NotificationRequest
_YEAR_10000_MS: Final = 253_402_300_800_000
_REASON: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_SECONDS: Final = re.compile(rb"[0-9]{1,9}")
_NO_MESSAGE: Final[dict[str, Any]] = {}  # the payload stands in its place


class MorePushType(Enum):
    """Push types that aioapns 4.0 does not name (Apple, "Sending notification requests to APNs")."""

    LOCATION = "location"
    PUSHTOTALK = "pushtotalk"


class PushNotification(NotificationRequest):
    """A request complete in itself.

    `payload` is encoded JSON. `expiration` is in Unix seconds, 0 = one attempt, None = left out.
    `deadline` is on the event loop's clock, in seconds.
    """

    __slots__ = ("deadline", "expiration", "payload")

    def __init__(
        self,
        device_token: str,
        payload: bytes,
        deadline: float,
        notification_id: str | None = None,
        expiration: int | None = None,
        priority: int | None = None,
        collapse_key: str | None = None,
        push_type: PushType | MorePushType | None = None,
        apns_topic: str | None = None,
    ) -> None:
        # What aioapns' own constructor does, which would cost as much as the whole encoding.
        self.device_token = device_token
        self.message = _NO_MESSAGE
        self.notification_id = notification_id or str(uuid4())
        self.time_to_live = None
        self.priority = priority
        self.collapse_key = collapse_key
        self.push_type = push_type  # type: ignore[assignment]  # MorePushType has what is used of it: a value
        self.apns_topic = apns_topic
        self.payload = payload
        self.expiration = expiration
        self.deadline = deadline


class PushResult(NotificationResult):
    """What became of a push.

    `status` is "0" where no status came; `description` then names why, and
    `certainly_not_processed` says whether a second try could ring twice. `retry_after` is in
    seconds, `timestamp` in milliseconds.
    """

    __slots__ = ("certainly_not_processed", "retry_after")

    def __init__(
        self,
        notification_id: str,
        status: str,
        description: str | None = None,
        timestamp: int | None = None,
        *,
        retry_after: float | None = None,
        certainly_not_processed: bool = False,
    ) -> None:
        self.notification_id = notification_id
        self.status = status
        self.description = description
        self.timestamp = timestamp
        self.retry_after = retry_after
        self.certainly_not_processed = certainly_not_processed


def complete(request: NotificationRequest, now: float) -> PushNotification:
    """Give a plain request of aioapns what ours have; one of ours comes back as it is."""
    if isinstance(request, PushNotification):
        return request
    return PushNotification(
        device_token=request.device_token,
        payload=json.dumps(request.message, ensure_ascii=False).encode(),
        deadline=now + DEFAULT_TIMEOUT,
        notification_id=request.notification_id,
        expiration=None if request.time_to_live is None else int(time.time()) + request.time_to_live,
        priority=request.priority,
        collapse_key=request.collapse_key,
        push_type=request.push_type,
        apns_topic=request.apns_topic,
    )


def explanation(body: bytes) -> tuple[str | None, int | None]:
    """Read APNs' `reason` and `timestamp` from an answer's body: anything else gives None, never an error."""
    try:
        answer = json.loads(body) if body else None
    except (ValueError, RecursionError):
        return None, None
    if not isinstance(answer, dict):
        return None, None
    reason, timestamp = answer.get("reason"), answer.get("timestamp")
    if not isinstance(reason, str) or _REASON.fullmatch(reason) is None:
        reason = None
    if type(timestamp) is not int or not 0 <= timestamp < _YEAR_10000_MS:
        timestamp = None
    return reason, timestamp


def retry_after(fields: Sequence[tuple[bytes, bytes]]) -> float | None:
    """Read Retry-After, seconds or a date (RFC 9110 section 10.2.3), as seconds from now."""
    for name, value in fields:
        if name != b"retry-after":
            continue
        if _SECONDS.fullmatch(value):
            return float(value)
        try:
            return max(0.0, parsedate_to_datetime(value.decode("ascii")).timestamp() - time.time())
        except (ValueError, TypeError, OverflowError):
            return None
    return None
