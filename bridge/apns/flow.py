"""Flow control, both ways (RFC 9113 sections 5.2 and 6.9).

Only DATA counts, and its padding with it. Send windows shrink by what we send and may become
negative when the peer lowers its initial size (section 6.9.2). Receive windows are given back
when half is used up: an answer's body is read at once, so nothing is gained by waiting longer,
and nothing stalls as long as credit flows.
"""

from __future__ import annotations

from typing import Final

from bridge.apns.framing import ErrorCode, ViolationError

DEFAULT_WINDOW: Final = 65_535  # section 6.9.2
GREATEST_WINDOW: Final = 2**31 - 1  # section 6.9.1


def grown(window: int, by: int) -> int:
    """Give the window after a change. Raises ViolationError past 2^31-1 (section 6.9.1)."""
    window += by
    if window > GREATEST_WINDOW:
        raise ViolationError(ErrorCode.FLOW_CONTROL_ERROR, "a flow-control window above 2^31-1")
    return window


class SendWindows:
    """What the peer lets us send: on the connection, and at first on each stream. In octets."""

    __slots__ = ("connection", "initial")

    def __init__(self) -> None:
        self.connection = DEFAULT_WINDOW
        self.initial = DEFAULT_WINDOW

    def set_initial(self, value: int) -> int:
        """Take a new INITIAL_WINDOW_SIZE; give the difference, which every open stream must add."""
        if value > GREATEST_WINDOW:
            raise ViolationError(ErrorCode.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE above 2^31-1")
        change = value - self.initial
        self.initial = value
        return change


class ReceiveWindow:
    """What we let the peer send on the connection or on one stream. In octets."""

    __slots__ = ("_left", "_owed", "_size")

    def __init__(self, size: int = DEFAULT_WINDOW) -> None:
        self._size = size
        self._left = size
        self._owed = 0

    def take(self, count: int) -> int:
        """Count what arrived; give the credit to send back now, or 0. Raises ViolationError on excess."""
        self._left -= count
        if self._left < 0:
            raise ViolationError(ErrorCode.FLOW_CONTROL_ERROR, "more DATA than the window allows")
        self._owed += count
        if self._owed * 2 < self._size:
            return 0
        credit, self._owed = self._owed, 0
        self._left += credit
        return credit
