"""One form for every request of a phone: who asks, what for, what comes back.

The routes and the OpenAPI document are made from the same Operations, so neither can say what the
other does not do.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import math
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, TypeAlias

import msgspec
from aiohttp import web

from bridge.api.answers import TooLarge, problem, read_body
from bridge.desk import Desk
from bridge.store.enrolment import Enrolled, by_credential
from bridge.web.lockout import Lockout

_AT_ONCE: Final = 2
"""Lookups at once for addresses that have sent too many wrong credentials."""

BODY_LIMIT: Final = 16 * 1024
"""Bytes; the longest honest body is a note."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was let in. `device` is who asks, None where a code or a call's token is enough.

    `body` is decoded.
    """

    request: web.Request
    device: Enrolled | None
    body: Any

    @property
    def sender(self) -> Enrolled:
        """Who asks, where the operation demands a credential."""
        if self.device is None:
            raise RuntimeError("this operation is open to all")
        return self.device

    def part(self, name: str) -> str:
        """Give a part of the path; NUL, which PostgreSQL takes in no text, becomes what is in no name."""
        return self.request.match_info[name].replace("\0", "\ufffd")


Answer: TypeAlias = msgspec.Struct | web.StreamResponse


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. `body` and `answers` are shapes; `refusals` are the statuses beside the usual.

    `access`: "credential" of an enrolled device, "receipt" (the same, or the call's own token), or
    "open". `parameters` have a name, where they stand (path, query, header), and their JSON Schema; a
    part of the path without one is any text.
    """

    name: str
    method: str
    path: str
    handler: Callable[[Asked], Awaitable[Answer]]
    summary: str
    answers: type[msgspec.Struct] | str
    body: type[msgspec.Struct] | None = None
    status: int = 200
    access: str = "credential"
    refusals: tuple[int, ...] = ()
    parameters: tuple[tuple[str, str, dict[str, Any]], ...] = ()


class Attempts:
    """Counts wrong codes, and those being tried; too many from one address, or in all, must wait.

    60 bits cannot be guessed at this pace: ten minutes allow two thousand tries.
    """

    each: Final = 20
    all: Final = 200
    span: Final = timedelta(minutes=1)

    def __init__(self) -> None:
        self._failed: deque[tuple[datetime, str]] = deque()

    def begin(self, address: str, now: datetime) -> int:
        """Count one, as if it failed; or give the seconds after which this address may try."""
        while self._failed and self._failed[0][0] <= now - self.span:
            self._failed.popleft()
        mine = [at for at, whose in self._failed if whose == address]
        if len(mine) < self.each and len(self._failed) < self.all:
            self._failed.append((now, address))
            return 0
        first = mine[0] if len(mine) >= self.each else self._failed[0][0]
        return math.ceil((first + self.span - now).total_seconds())

    def succeeded(self, address: str, now: datetime) -> None:
        """Take back what `begin` counted at `now`."""
        self._failed.remove((now, address))


class Door:
    """Lets requests in: checks credentials first, then decodes bodies; encodes answers."""

    def __init__(self, desk: Desk, secret: bytes) -> None:
        self._desk = desk
        self._secret = secret
        self._lockout = Lockout()
        self._line = asyncio.Semaphore(_AT_ONCE)

    def route(self, operation: Operation) -> web.RouteDef:
        """Make the route of an operation."""
        return web.route(operation.method, operation.path, partial(self._serve, operation))

    async def _serve(self, operation: Operation, request: web.Request) -> web.StreamResponse:
        device = await self._let_in(operation, request)
        if isinstance(device, web.Response):
            return device
        body = None
        if operation.body is not None:
            body = await _decode(request, operation.body)
            if isinstance(body, web.Response):
                return body
        done = await operation.handler(Asked(request, device, body))
        return done if isinstance(done, web.StreamResponse) else _encode(done, operation.status)

    async def _let_in(self, operation: Operation, request: web.Request) -> Enrolled | web.Response | None:
        if operation.access == "open":
            return None
        scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
        secret = secret.strip()
        if scheme.lower() != "bearer" or not secret:
            return self._refused(
                "send the device's credential as a bearer token", "enrol with a code to get one", "missing"
            )
        if operation.access == "receipt" and self._opens(request.match_info["id"], secret):
            return None
        found = await self._find(request.remote or "", secret)
        if found is None and operation.access == "receipt":
            return self._refused("this is not the receipt_token of this call", "nor a device's credential")
        if found is None:
            return self._refused("this credential is unknown or was revoked", "enrol this phone again")
        return found

    async def _find(self, address: str, secret: str) -> Enrolled | web.Response | None:
        """Look a credential up. A right one is never kept out.

        It has 256 random bits, so nobody guesses it; and a proxy gives all phones one address, at which
        nobody shall lock them out. What a flood could take is the ledger's time: so addresses that have
        sent too many wrong ones stand in one line, and are asked to wait.
        """
        wait = self._lockout.begin(address, secret)
        if not wait:
            found = await self._desk.store.ask(lambda connection: by_credential(connection, secret))
        else:
            async with self._line:
                found = await self._desk.store.ask(lambda connection: by_credential(connection, secret))
        if found is not None:
            self._lockout.succeeded(address, secret)
        elif wait:
            self._desk.metrics.refusals.labels("phone", "locked out").inc()
            return slow_down(wait)
        return found

    def _refused(self, error: str, hint: str, reason: str = "wrong") -> web.Response:
        """Answer 401."""
        self._desk.metrics.refusals.labels("phone", reason).inc()
        response = problem(401, error, hint)
        response.headers["WWW-Authenticate"] = 'Bearer realm="pushkit-bridge"'
        return response

    def _opens(self, call_id: str, token: str) -> bool:
        sent = token.encode(errors="replace")  # a header may hold any octets
        return hmac.compare_digest(sent, receipt_token(self._secret, call_id).encode())


def receipt_token(secret: bytes, call_id: str) -> str:
    """Make the capability for one call: only the phone that got the push can know it."""
    return hmac.new(secret, f"receipt\0{call_id}".encode(errors="replace"), hashlib.sha256).hexdigest()


def slow_down(seconds: int) -> web.Response:
    """Answer 429: a phone, unlike Alertmanager, can be asked to wait."""
    response = problem(429, "too many attempts failed", f"wait {seconds} s")
    response.headers["Retry-After"] = str(seconds)
    return response


async def _decode(request: web.Request, shape: type[msgspec.Struct]) -> msgspec.Struct | web.Response:
    try:
        return msgspec.json.decode(await read_body(request, BODY_LIMIT), type=shape)
    except TooLarge:
        return problem(413, f"the body is larger than {BODY_LIMIT} bytes")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return problem(
            400, f"the body is not as it must be: {error}", "GET /api/v1/openapi.json describes it"
        )


def _encode(value: msgspec.Struct, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")
