"""One push and its answer: a stream from our side (RFC 9113 sections 5.1 and 8.1).

An answer is known once its final header block is in. What follows can add the reason, not
change the status; so a stream that breaks after that point still has its result, and a push
that was certainly processed is not taken for one that was not.
"""

from __future__ import annotations

import asyncio
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from bridge.apns.flow import ReceiveWindow
from bridge.apns.messages import UNANSWERED, PushNotification, PushResult, explanation, retry_after

if TYPE_CHECKING:
    from bridge.apns.streams import Streams

BODY_KEPT: Final = 4_096  # octets of an answer that are kept; APNs' own are below 100
BODY_LIMIT: Final = 1_048_576  # octets after which nobody is explaining anything any more
INTERIM_LIMIT: Final = 32  # 1xx answers before the final one

_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")  # RFC 9110 section 5.6.2, lower case
_VISIBLE: Final = bytes(range(0x21, 0x7F))  # of these, most values consist
_VALUE: Final = re.compile(rb"[^\0\r\n \t](?:[^\0\r\n]*[^\0\r\n \t])?")  # RFC 9113 section 8.2.1
_STATUS: Final = re.compile(rb"[1-9][0-9][0-9]")
# RFC 9113 section 8.2.2: these would mean something to HTTP/1.1 only.
_FORBIDDEN: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
)


class MalformedError(Exception):
    """An answer that RFC 9113 section 8.1.1 calls malformed: the stream ends, the connection does not."""


class Exchange:
    """A push from the line to its result."""

    __slots__ = (
        "_interim",
        "_kept",
        "_length",
        "_retry_after",
        "authorization",
        "connection",
        "future",
        "notification",
        "receive",
        "sent",
        "status",
        "stream_id",
        "window",
    )

    def __init__(self, notification: PushNotification, future: asyncio.Future[PushResult]) -> None:
        self.notification = notification
        self.future = future
        self.connection: Streams | None = None
        self.stream_id = 0
        self.authorization: str | None = None
        self.sent = 0  # octets of the payload that were written
        self.window = 0  # octets that the peer lets this stream send
        self.receive: ReceiveWindow | None = None
        self.status: bytes | None = None
        self._kept = b""
        self._length = 0
        self._interim = 0
        self._retry_after: float | None = None

    @property
    def left(self) -> int:
        """Octets of the payload that were not yet written."""
        return len(self.notification.payload) - self.sent

    def take_headers(self, fields: list[tuple[bytes, bytes]], *, ends: bool) -> None:
        """Take a header block: interim, final or trailers. Raises MalformedError."""
        if self.status is not None:
            _check(fields)
            if not ends:  # section 8.1: nothing may come after trailers
                raise MalformedError("trailers that do not end the stream")
            return
        name, status = fields[0] if fields else (b"", b"")
        if name != b":status" or (status != b"200" and _STATUS.fullmatch(status) is None):
            raise MalformedError("no status")
        _check(fields[1:])
        if status == b"200":
            self.status = status
            return
        if status[0] != 0x31:
            self.status = status
            self._retry_after = retry_after(fields)
            return
        self._interim += 1
        if ends or status == b"101" or self._interim > INTERIM_LIMIT:
            raise MalformedError("an interim answer where it cannot stand")

    def take_body(self, data: bytes) -> None:
        """Take a piece of the body; only its beginning is kept. Raises MalformedError."""
        if self.status is None:
            raise MalformedError("a body without status")
        self._length += len(data)
        if len(self._kept) < BODY_KEPT:
            self._kept += data[: BODY_KEPT - len(self._kept)]

    @property
    def endless(self) -> bool:
        """Whether the body has outgrown every use."""
        return self._length > BODY_LIMIT

    def answer(self) -> PushResult:
        """Give the result of an answer whose status is known."""
        name = self.notification.notification_id
        if self.status == b"200":
            return PushResult(name, "200")
        status = (self.status or b"").decode("ascii")
        return PushResult(name, status, *explanation(self._kept), retry_after=self._retry_after)

    def settle(self, result: PushResult) -> None:
        """Hand over the result, unless the sender has gone."""
        if not self.future.done():
            self.future.set_result(result)

    def fail(self, reason: str, *, certain: bool) -> None:
        """Settle without an answer, or with the one whose status is already here."""
        if self.status is not None:
            self.settle(self.answer())
            return
        name = self.notification.notification_id
        self.settle(PushResult(name, UNANSWERED, reason, certainly_not_processed=certain))


def _check(fields: list[tuple[bytes, bytes]]) -> None:
    """Check what comes after the pseudo-header fields (RFC 9113 sections 8.2.1, 8.2.2 and 8.3)."""
    for name, value in fields:
        if not _allowed(name):
            raise MalformedError("a field that HTTP/2 does not allow")
        if value.translate(None, _VISIBLE) and _VALUE.fullmatch(value) is None:
            raise MalformedError("a value that HTTP/2 does not allow")


@lru_cache(256)
def _allowed(name: bytes) -> bool:
    return name not in _FORBIDDEN and _NAME.fullmatch(name) is not None
