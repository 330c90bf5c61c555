"""What APNs can answer: every documented status and reason, and answers written in advance.

Source: Apple, "Handling notification responses from APNs".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias, get_args

# Apple's table of reasons with the status that each comes with.
STATUS_OF: Final[Mapping[str, int]] = {
    "BadCollapseId": 400,
    "BadDeviceToken": 400,
    "BadExpirationDate": 400,
    "BadMessageId": 400,
    "BadPriority": 400,
    "BadTopic": 400,
    "DeviceTokenNotForTopic": 400,
    "DuplicateHeaders": 400,
    "IdleTimeout": 400,
    "InvalidPushType": 400,
    "MissingDeviceToken": 400,
    "MissingTopic": 400,
    "PayloadEmpty": 400,
    "TopicDisallowed": 400,
    "BadCertificate": 403,
    "BadCertificateEnvironment": 403,
    "BadEnvironmentKeyIdInToken": 403,
    "ExpiredProviderToken": 403,
    "Forbidden": 403,
    "InvalidProviderToken": 403,
    "MissingProviderToken": 403,
    "UnrelatedKeyIdInToken": 403,
    "BadPath": 404,
    "MethodNotAllowed": 405,
    "ExpiredToken": 410,
    "Unregistered": 410,
    "PayloadTooLarge": 413,
    "TooManyProviderTokenUpdates": 429,
    "TooManyRequests": 429,
    "InternalServerError": 500,
    "ServiceUnavailable": 503,
    "Shutdown": 503,
}

# What happens in place of an answer: the stream is reset, the connection is dropped, or nothing ever comes.
Manner: TypeAlias = Literal["answer", "reset", "drop", "never"]
# RFC 9113 section 7: the codes for a reset that a client has to tell apart.
REFUSED_STREAM: Final = 0x7


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. `timestamp` is in Unix milliseconds (410 alone), `retry_after` in seconds.

    `delivered` says whether the phone got the push all the same: with a manner other than
    "answer" it makes the case in which a sender cannot know. `error_code` is that of a reset.
    """

    status: int = 200
    reason: str | None = None
    timestamp: int | None = None
    retry_after: float | None = None
    manner: Manner = "answer"
    delivered: bool = False
    error_code: int = REFUSED_STREAM

    @property
    def body(self) -> bytes:
        """Give the JSON dictionary of an error; a success has an empty body."""
        if self.reason is None:
            return b""
        fields: dict[str, Any] = {"reason": self.reason}
        if self.timestamp is not None:
            fields["timestamp"] = self.timestamp
        return json.dumps(fields).encode()

    def headers(self, apns_id: str) -> list[tuple[str, str]]:
        """Give the answer's header fields in the order in which they are sent."""
        fields = [(":status", str(self.status)), ("apns-id", apns_id)]
        if self.reason is not None:
            fields.append(("content-type", "application/json"))
        if self.retry_after is not None:
            fields.append(("retry-after", f"{self.retry_after:g}"))
        return fields


class Refusal(Exception):
    """Raised where a request breaks a rule; carries the answer that Apple documents for it."""

    def __init__(self, reason: str, *, timestamp: int | None = None) -> None:
        super().__init__(reason)
        self.answer = Answer(STATUS_OF[reason], reason, timestamp)


def scripted(wish: Mapping[str, Any]) -> Answer:
    """Read an answer that a test or a person asked for, e.g. {"reason": "TooManyRequests", "retry_after": 2}.

    A documented reason brings its status. Raises ValueError with a sentence for the person.
    """
    known = {"status", "reason", "timestamp", "retry_after", "manner", "delivered", "error_code"}
    if unknown := set(wish) - known:
        raise ValueError(f"unknown key {', '.join(sorted(unknown))}; known: {', '.join(sorted(known))}")
    reason = wish.get("reason")
    answer = Answer(status=wish.get("status", STATUS_OF.get(str(reason), 200)))
    answer = replace(answer, **{key: value for key, value in wish.items() if key != "status"})
    _check(answer, plain="delivered" not in wish)
    # A push that APNs accepted reaches the phone unless the wish says otherwise.
    return replace(answer, delivered=answer.status == 200) if "delivered" not in wish else answer


def _check(answer: Answer, *, plain: bool) -> None:
    status, manner = answer.status, answer.manner
    if not isinstance(status, int) or isinstance(status, bool) or not 200 <= status <= 599:
        raise ValueError(f"status is a number from 200 to 599, not {status!r}")
    if manner not in get_args(Manner):
        raise ValueError(f"manner is one of {', '.join(get_args(Manner))}, not {manner!r}")
    if answer.reason is not None and not isinstance(answer.reason, str):
        raise ValueError(f"reason is a text, not {answer.reason!r}")
    numbers = {
        "timestamp": answer.timestamp,
        "retry_after": answer.retry_after,
        "error_code": answer.error_code,
    }
    for name, value in numbers.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value < 0):
            raise ValueError(f"{name} is a number, not {value!r}")
    if not plain and not isinstance(answer.delivered, bool):
        raise ValueError(f"delivered is true or false, not {answer.delivered!r}")
