"""Who sends a request: `Authorization` read strictly, passwords checked so that nobody can stall us."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import bcrypt
from aiohttp import web

Scheme: TypeAlias = Literal["none", "basic", "bearer", "certificate", "proxy"]
Reason: TypeAlias = Literal["missing", "wrong", "locked out", "overloaded"]

BASIC_CHALLENGE: Final = 'Basic realm="pushkit-bridge", charset="UTF-8"'
BEARER_CHALLENGE: Final = 'Bearer realm="pushkit-bridge"'
INVALID_BEARER_CHALLENGE: Final = 'Bearer realm="pushkit-bridge", error="invalid_token"'
# One bcrypt of cost 10 takes about 70 ms of a core: this many at once leave the loop its share, and a
# full queue is gone in about a second.
AT_ONCE: Final = 2
QUEUE: Final = 32
# bcrypt looks at this many bytes and no further; htpasswd and Go cut there in silence, the library raises.
_BCRYPT_BYTES: Final = 72


@dataclass(frozen=True, slots=True)
class Identity:
    """Who sends a request. `name` is empty for scheme "none" and for a bearer token, which names nobody."""

    scheme: Scheme
    name: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a request is not let in, in words for people that repeat nothing the client sent.

    `status` is 401 (credentials) or 503 (not now: Alertmanager tries again; after a 429 it would not).
    `challenges` are the WWW-Authenticate headers; `retry_after` is in seconds.
    """

    error: str
    hint: str
    status: int = 401
    challenges: tuple[str, ...] = ()
    retry_after: int | None = None
    reason: Reason = "wrong"


@dataclass(frozen=True, slots=True)
class Authorization:
    """The `Authorization` header of one request: its scheme in lower case, and what follows it."""

    scheme: str
    value: str

    def __repr__(self) -> str:
        return (
            f"Authorization({self.scheme!r}, …)" if self.scheme in {"basic", "bearer"} else "Authorization(…)"
        )


NOTHING: Final = "no credentials were sent"


def read_authorization(request: web.BaseRequest) -> Authorization | str:
    """Read the one `Authorization` header, or say what is wrong with it."""
    headers = request.headers.getall("Authorization", [])
    if not headers:
        return NOTHING
    if len(headers) > 1:
        return "the Authorization header was sent more than once"
    scheme, _, value = headers[0].strip().partition(" ")
    if not scheme:
        return "the Authorization header is empty"
    if not value.strip():
        # Said without repeating it: a token sent without its scheme looks just like a scheme.
        return "the Authorization header is one word: a scheme without credentials, or the other way round"
    return Authorization(scheme.lower(), value.strip())


def read_basic(value: str) -> tuple[str, bytes] | str:
    """Read the user and password out of Basic credentials (RFC 7617, UTF-8), or say what is wrong."""
    try:
        pair = base64.b64decode(value.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        return "the Basic credentials are not base64"
    user, colon, password = pair.partition(b":")
    try:
        name = user.decode()
        password.decode()
    except UnicodeDecodeError:
        return "the Basic credentials are not UTF-8"
    if not colon:
        return "the Basic credentials hold no colon between user and password"
    return name, password


def same_secret(sent: str, secret: str) -> bool:
    """Compare in a time that tells nothing about `secret`, its length included."""
    digests = [hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest() for text in (sent, secret)]
    return hmac.compare_digest(*digests)


def check_bearer(request: web.BaseRequest, secret: str) -> bool:
    """Tell whether the request carries `secret` as its bearer token; an empty secret is never right."""
    header = read_authorization(request)
    if isinstance(header, str) or header.scheme != "bearer":
        return False
    return same_secret(header.value, secret) and bool(secret)


class OverloadedError(Exception):
    """More passwords wait to be checked than can be soon."""


class Workers:
    """What all password checks of a process share: so many at once, so many waiting, no more."""

    def __init__(self, at_once: int = AT_ONCE, queue: int = QUEUE) -> None:
        self._slots = asyncio.Semaphore(at_once)
        self._room = at_once + queue

    async def check(self, password: bytes, hashed: bytes) -> bool:
        """Compare in a thread; raises OverloadedError at once when the queue is full."""
        if self._room <= 0:
            raise OverloadedError
        self._room -= 1
        try:
            async with self._slots:
                return await asyncio.to_thread(bcrypt.checkpw, password, hashed)
        finally:
            self._room += 1


class Passwords:
    """The users of one reading of the file; a right password is remembered, as a keyed digest, that long.

    Nobody learns which users there are: an unknown one costs what some known one costs.
    """

    def __init__(self, users: Mapping[str, bytes], workers: Workers) -> None:
        self._users = users
        self._workers = workers
        self._key = secrets.token_bytes(32)
        # One digest for each user, so the memory is bounded by the file.
        self._right: dict[str, bytes] = {}
        self._running: dict[bytes, asyncio.Task[bool]] = {}
        self._costs = sorted(hashed[4:6] for hashed in users.values())

    async def check(self, user: str, password: bytes) -> bool:
        """Tell whether the password is the user's; raises OverloadedError."""
        password = password[:_BCRYPT_BYTES]
        digest = self._digest(user.encode(), password)
        if hmac.compare_digest(self._right.get(user, b""), digest):
            return True
        # A restarted Alertmanager sends all its groups at once: the same question is asked once.
        task = self._running.get(digest)
        if task is None:
            task = asyncio.create_task(self._compare(user, password, digest))
            self._running[digest] = task
            task.add_done_callback(lambda done: self._forget(digest, done))
        return await asyncio.shield(task)

    def _forget(self, digest: bytes, task: asyncio.Task[bool]) -> None:
        del self._running[digest]
        if not task.cancelled():
            # Looked at here, since a client that hung up leaves nobody to do it.
            task.exception()

    async def _compare(self, user: str, password: bytes, digest: bytes) -> bool:
        hashed = self._users.get(user)
        right = await self._workers.check(password, hashed or self._decoy(user)) and hashed is not None
        if right:
            self._right[user] = digest
        return right

    def _digest(self, user: bytes, password: bytes) -> bytes:
        return hmac.digest(self._key, len(user).to_bytes(8, "big") + user + password, "sha256")

    def _decoy(self, user: str) -> bytes:
        """Give a hash that no password fits, of a cost that stays the same for this name."""
        number = int.from_bytes(self._digest(user.encode(), b"")[:8], "big")
        return b"$2b$" + self._costs[number % len(self._costs)] + b"$" + b"." * 53
