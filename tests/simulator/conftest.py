from __future__ import annotations

import json
import socket
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp import web

from bridge.simulator import Simulator

from .client import Response, Sender

BUNDLE = "com.example.oncall"


class Time:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
        self.sim: Simulator | None = None

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, **span: float) -> None:
        self.now += timedelta(**span)
        if self.sim is not None:
            self.sim.tick()


class Bridge:
    """Makes right requests, and wrong ones by changing one thing."""

    def __init__(self, sim: Simulator, time: Time) -> None:
        self.sim = sim
        self.time = time
        self.jwt = self.token()

    def token(self, *, key: str | bytes | None = None, alg: str = "ES256", **changes: Any) -> str:
        """Sign a provider token with PyJWT, which shares no code with the simulator's judge."""
        claims = {"iss": self.sim.team_id, "iat": int(self.time.now.timestamp())}
        header = {"kid": changes.pop("kid", self.sim.key_id)}
        claims = {name: value for name, value in (claims | changes).items() if value is not None}
        return jwt.encode(claims, key or Path(self.sim.key_file).read_text(), alg, headers=header)

    def headers(self, **changes: str | None) -> list[tuple[str, str]]:
        """The header fields of a good VoIP push for alice; `apns_topic=None` leaves one out."""
        fields: dict[str, str | None] = {
            ":method": "POST",
            ":scheme": "https",
            ":path": f"/3/device/{self.sim.phone('alice').profile.voip_token}",
            ":authority": "127.0.0.1",
            "authorization": f"bearer {self.jwt}",
            "apns-id": str(uuid.uuid4()),
            "apns-push-type": "voip",
            "apns-topic": f"{BUNDLE}.voip",
            "apns-priority": "10",
            "apns-expiration": "0",
        }
        names = {"method": ":method", "path": ":path"}
        for name, value in changes.items():
            fields[names.get(name, name.replace("_", "-"))] = value
        return [(name, value) for name, value in fields.items() if value is not None]

    def alert_headers(self, **changes: str | None) -> list[tuple[str, str]]:
        path = f"/3/device/{self.sim.phone('alice').profile.alert_token}"
        return self.headers(**({"path": path, "apns_push_type": "alert", "apns_topic": BUNDLE} | changes))

    def call(self, **changes: Any) -> bytes:
        """The payload of a call that rings for 30 s."""
        fields = {
            "id": "rec-1",
            "uuid": str(uuid.uuid4()),
            "expires_at": (self.time.now + timedelta(seconds=30)).isoformat(),
        }
        return json.dumps({"aps": {}, "call": fields | changes}).encode()

    async def push(self, sender: Sender, body: bytes | None = None, **changes: str | None) -> Response:
        return await sender.send(self.headers(**changes), self.call() if body is None else body)


class Receiver:
    """The bridge's side of the phone protocol: a real server that notes what is posted to it."""

    def __init__(self) -> None:
        self.posts: list[tuple[str | None, dict[str, Any]]] = []
        self.records: list[str] = []
        self.statuses: list[int] = []
        self.waits: list[str] = []
        """What `Retry-After` the answers have, one after the other."""
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}/api/v1/calls/rec-1/receipts"

    async def take(self, request: web.Request) -> web.Response:
        self.records.append(request.match_info["id"])
        self.posts.append((request.headers.get("Authorization"), await request.json()))
        headers = {"Retry-After": self.waits.pop(0)} if self.waits else {}
        return web.json_response({}, status=self.statuses.pop(0) if self.statuses else 200, headers=headers)

    def call(self) -> dict[str, str]:
        return {"receipt_url": self.url, "receipt_token": "s3cret"}

    @property
    def kinds(self) -> list[str]:
        return [body["receipt"] for _, body in self.posts]


@pytest.fixture(autouse=True)
def contract(monkeypatch: pytest.MonkeyPatch) -> None:
    """What these tests push is no bridge's, and keeps no contract."""
    monkeypatch.setitem(Simulator.__init__.__kwdefaults__, "contract", None)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
async def sim(time: Time) -> AsyncIterator[Simulator]:
    async with Simulator(
        phones=["alice"], topics=["com.example.other"], clock=time, receipt_retry=(0.0, 0.0)
    ) as simulator:
        time.sim = simulator
        yield simulator


@pytest.fixture
async def sender(sim: Simulator) -> AsyncIterator[Sender]:
    async with Sender(sim) as connection:
        yield connection


@pytest.fixture
def bridge(sim: Simulator, time: Time) -> Bridge:
    return Bridge(sim, time)


@asynccontextmanager
async def listening(it: Receiver) -> AsyncIterator[None]:
    """Let the receiver listen at its port, which is its own already."""
    app = web.Application()
    app.router.add_post("/api/v1/calls/{id}/receipts", it.take)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.SockSite(runner, it.socket).start()
    yield
    await runner.cleanup()


@pytest.fixture
def away() -> Iterator[Receiver]:
    """A receiver that does not listen yet: whoever connects is refused."""
    it = Receiver()
    with it.socket:
        yield it


@pytest.fixture
async def receiver(away: Receiver) -> AsyncIterator[Receiver]:
    async with listening(away):
        yield away
