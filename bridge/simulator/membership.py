"""What the app holds once its phone has enrolled: a credential for the bridge's API and its event stream."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Protocol, Self
from urllib.parse import parse_qs, quote, urlsplit

import aiohttp
import structlog

from bridge.simulator.network import Network

_SILENCE: Final = aiohttp.ClientTimeout(total=None, sock_connect=10.0, sock_read=45.0)
"""The bridge gives a sign of life every 15 s: a stream that is silent for three of them is dead."""

_log = structlog.get_logger()


class Refused(Exception):
    """The bridge said no: `status` is its answer, the text what it said."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status


@dataclass(frozen=True, slots=True)
class Heard:
    """One event of the bridge's stream. `number` is its id; "" for one that is not to be resumed from."""

    kind: str
    data: dict[str, Any]
    number: str = ""


class Ear(Protocol):
    """Who follows the bridge's stream."""

    async def opened(self) -> None:
        """The stream is open: time to ask how things are. Raises as Membership.ask."""

    def hear(self, heard: Heard) -> None:
        """One event came."""

    def revoked(self) -> None:
        """The credential is worth nothing any more; nothing follows."""


def read_link(link: str) -> tuple[str, str]:
    """Read the bridge's URL and the code out of an enrolment link (the QR code). Raises ValueError."""
    parts = urlsplit(link)
    query = parse_qs(parts.query)
    if (parts.scheme, parts.netloc) != ("pushkit-bridge", "enrol") or not {"url", "code"} <= set(query):
        raise ValueError("this is not an enrolment link: pushkit-bridge://enrol?url=...&code=...")
    return query["url"][0], query["code"][0]


class Membership:
    """One phone's standing with one bridge. `online` tells whether anything gets through to it just now."""

    def __init__(
        self, network: Network, url: str, enrolled: dict[str, Any], online: Callable[[], bool]
    ) -> None:
        self.url = url.rstrip("/")
        self.device: str = enrolled["device"]
        self.owner: str = enrolled["owner"]
        self.credential: str = enrolled["credential"]
        self.last_event = ""
        self._network = network
        self._online = online
        self._following: asyncio.Task[None] | None = None

    @classmethod
    async def enrol(
        cls,
        network: Network,
        url: str,
        code: str,
        name: str | None,
        online: Callable[[], bool],
        key: str | None = None,
    ) -> Self:
        """Exchange a code for a credential, and hand over a public key. Raises Refused, or OSError."""
        fields = {"code": code, "name": name, "encryption_key": key}
        body = {field: value for field, value in fields.items() if value is not None}
        said = await _exchange(network, "POST", f"{url.rstrip('/')}/api/v1/enrol", body, {})
        return cls(network, url, said, online)

    async def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Ask the bridge, as this device. Raises Refused, or OSError where nobody answers."""
        if not self._online():
            raise ConnectionError("the phone is in flight mode")
        return await _exchange(self._network, method, self.url + path, body, self._headers())

    async def put_key(self, public: str) -> Any:
        """Have pushes sealed for this key; gives how the bridge sees the device. Raises as `ask`."""
        return await self.ask("PUT", "/api/v1/device/encryption-key", {"encryption_key": public})

    async def act(self, incident: str, verb: str, /, **fields: Any) -> Any:
        """Do something to an incident: acknowledge, unacknowledge, hand-on, silence (seconds), notes (text).

        Raises as `ask`.
        """
        body = {"event_id": str(uuid.uuid4())} | fields
        return await self.ask("POST", f"/api/v1/incidents/{incident}/{verb}", body)

    def receipts(self, call_id: str) -> str:
        """Where receipts about a call go by the device's credential: its push may not say it."""
        # It comes from a push, and may be anything.
        return f"{self.url}/api/v1/calls/{quote(call_id, safe='')}/receipts"

    def follow(self, ear: Ear, again: float) -> None:
        """Hear what happens until `close`; reconnect after `again` seconds."""
        self._following = asyncio.get_running_loop().create_task(self._follow(ear, again))

    async def close(self) -> None:
        """Follow no longer."""
        if self._following is not None and self._following is not asyncio.current_task():
            self._following.cancel()
            await asyncio.wait([self._following])

    async def _follow(self, ear: Ear, again: float) -> None:
        while True:
            try:
                if self._online():
                    await self._listen(ear)
            except Refused as refused:
                if refused.status == HTTPStatus.UNAUTHORIZED:
                    ear.revoked()
                    return
                _log.warning("the event stream was refused", device=self.device, error=str(refused))
            except (aiohttp.ClientError, OSError) as error:
                _log.info("the event stream broke off", device=self.device, error=repr(error))
            await asyncio.sleep(again)

    async def _listen(self, ear: Ear) -> None:
        headers = self._headers() | ({"Last-Event-ID": self.last_event} if self.last_event else {})
        async with self._network.open().get(
            f"{self.url}/api/v1/events", headers=headers, timeout=_SILENCE, allow_redirects=False
        ) as stream:
            if stream.status != HTTPStatus.OK:
                await _read(self._network, stream)
            await ear.opened()
            async for block in _blocks(stream.content):
                if not self._online():
                    return  # what arrives in flight mode does not arrive
                event = _parse(block)
                self.last_event = event.number or self.last_event
                if event.data:
                    self._network.contract.told(event.kind, event.data)
                    ear.hear(event)

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.credential}"}


async def _exchange(
    network: Network, method: str, url: str, body: dict[str, Any] | None, headers: dict[str, str]
) -> Any:
    try:
        async with network.open().request(
            method, url, json=body, headers=headers, allow_redirects=False
        ) as answer:
            said = await _read(network, answer)
            # What a person asked for wrongly was refused; what was taken is to be as the contract has it.
            network.contract.asked(method, url, body)
            return said
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise ConnectionError(f"the bridge does not answer at {url}: {reason}") from error


async def _read(network: Network, answer: aiohttp.ClientResponse) -> Any:
    body = await answer.read()
    network.contract.answered(answer.method, answer.url.raw_path, answer.status, body)
    try:
        said = json.loads(body) if body else {}
    except ValueError:
        said = {"error": "the answer is not JSON"}
    if not 200 <= answer.status < 300:
        raise Refused(answer.status, f"{answer.status}: {said.get('error', 'no reason given')}")
    return said


async def _blocks(content: aiohttp.StreamReader) -> AsyncIterator[str]:
    """Cut a stream into its events (WHATWG HTML, section 9.2.6; this bridge ends lines with LF alone)."""
    rest = b""
    async for chunk in content.iter_any():
        *blocks, rest = (rest + chunk).split(b"\n\n")
        for block in blocks:
            yield block.decode()


def _parse(block: str) -> Heard:
    # Not splitlines: that breaks at U+2028 and the like too, which may stand in a text.
    lines = block.split("\n")
    fields = dict(line.split(": ", 1) for line in lines if ": " in line and line[0] != ":")
    return Heard(fields.get("event", ""), json.loads(fields.get("data", "{}")), fields.get("id", ""))
