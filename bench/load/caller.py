"""Sends webhooks as Alertmanager does, over keep-alive HTTP/1.1: one after the other, or by the clock."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

PATIENCE: Final = 60.0
"""Seconds that the last answers may take."""


@dataclass(slots=True)
class Sent:
    """One webhook: when it was to be sent, when it was answered (0: never), and how. Monotonic seconds."""

    number: int
    due: float
    answered: float = 0.0
    status: int = 0


class _Line(asyncio.Protocol):
    """A connection that carries one request at a time."""

    def __init__(self, free: Callable[[_Line], None]) -> None:
        self._free = free
        self._answer = bytearray()
        self._sent: Sent | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def send(self, sent: Sent, request: bytes) -> None:
        assert self._transport is not None
        self._sent = sent
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, found, body = self._answer.partition(b"\r\n\r\n")
        if not found or len(body) < _length(head) or self._sent is None:
            return
        self._sent.answered, self._sent.status = time.monotonic(), int(head[9:12])
        self._answer.clear()
        self._sent = None
        self._free(self)

    def connection_lost(self, _: Exception | None) -> None:
        self._transport = None

    @property
    def open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _length(head: bytearray) -> int:
    lower = bytes(head).lower()
    start = lower.index(b"content-length:") + 15
    return int(lower[start:].split(b"\r\n", 1)[0])


@dataclass
class Caller:
    """Sends webhooks to bridges, on so many connections to each; `make` gives the body of a number."""

    ports: tuple[int, ...]
    make: Callable[[int], bytes]
    path: str = "/webhook"
    connections: int = 64

    async def closed(self, numbers: Iterator[int], seconds: float) -> list[Sent]:
        """Send the next as soon as one is answered, for so long."""
        return await self._until(numbers, time.monotonic() + seconds)

    async def _until(self, numbers: Iterator[int], end: float) -> list[Sent]:
        sent = list[Sent]()
        waiting = asyncio.Event()
        busy = 0

        def more(line: _Line) -> None:
            nonlocal busy
            number = next(numbers, None) if time.monotonic() < end and line.open else None
            if number is not None:
                sent.append(one := Sent(number, time.monotonic()))
                line.send(one, self._request(one.number))
                return
            busy -= 1
            if not busy:
                waiting.set()

        lines = await self._lines(more)
        busy = len(lines)
        for line in lines:
            more(line)
        return await self._finish(lines, sent, waiting)

    async def exactly(self, numbers: Iterator[int]) -> list[Sent]:
        """Send these, the next as soon as one is answered."""
        return await self._until(numbers, math.inf)

    async def by_the_clock(self, numbers: Iterator[int], rate: float, seconds: float) -> list[Sent]:
        """Send so many a second, whether or not those before have been answered.

        A webhook that has to wait for a connection counts from when it was due: no omission is coordinated.
        """
        sent, queue, waiting = list[Sent](), deque[Sent](), asyncio.Event()
        idle: deque[_Line] = deque()

        def free(line: _Line) -> None:
            if queue and line.open:
                one = queue.popleft()
                line.send(one, self._request(one.number))
                return
            idle.append(line)
            if len(idle) == len(lines):
                waiting.set()

        lines = await self._lines(free)
        idle.extend(lines)
        began, count = time.monotonic(), int(rate * seconds)
        while len(sent) < count:
            due = began + len(sent) / rate
            pause = due - time.monotonic()
            await asyncio.sleep(max(pause, 0))
            if pause > 0:
                continue
            sent.append(one := Sent(next(numbers), due))
            if idle:
                idle.popleft().send(one, self._request(one.number))
            else:
                queue.append(one)
        if len(idle) == len(lines):
            waiting.set()
        else:
            waiting.clear()
        return await self._finish(lines, sent, waiting)

    def _request(self, number: int) -> bytes:
        body = self.make(number)
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: Alertmanager/0.28.1\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    async def _lines(self, free: Callable[[_Line], None]) -> list[_Line]:
        loop = asyncio.get_running_loop()
        made = [
            await loop.create_connection(lambda: _Line(free), "127.0.0.1", port)
            for _ in range(self.connections)
            for port in self.ports
        ]
        return [line for _, line in made]

    async def _finish(self, lines: list[_Line], sent: list[Sent], waiting: asyncio.Event) -> list[Sent]:
        try:
            async with asyncio.timeout(PATIENCE):
                await waiting.wait()
        except TimeoutError:
            pass  # what has no answer has the status 0
        for line in lines:
            line.close()
        return sent
