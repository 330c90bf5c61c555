"""Everything that a bridge says in these tests is held against the contract; whoever breaks it fails the test."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from bridge.api.phone import PhoneApi
from bridge.outgoing import Outgoing
from bridge.pushes import Outcome
from bridge.simulator import Contract, Simulator

FOLDER = Path(__file__).parents[1] / "contract"
CONTRACT = Contract(FOLDER)


@pytest.fixture(scope="session", autouse=True)
def contract_is_watched() -> Iterator[None]:
    """Let simulators hold pushes and their phones' talk against the contract, and bridges what they answer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(Simulator.__init__.__kwdefaults__, "contract", CONTRACT)
        set_up = PhoneApi.set_up

        def watched(self: PhoneApi, app: web.Application) -> None:
            set_up(self, app)
            app.on_response_prepare.append(_judge)

        patch.setattr(PhoneApi, "set_up", watched)
        post = Outgoing.post

        async def overheard(self: Outgoing, url: str, body: bytes, *more: str) -> Outcome:
            CONTRACT.posted(body)
            return await post(self, url, body, *more)

        patch.setattr(Outgoing, "post", overheard)
        yield


@pytest.fixture(autouse=True)
def contract() -> Iterator[Contract]:
    """The contract; a test that breaks it on purpose says `forget`."""
    CONTRACT.forget()
    yield CONTRACT
    assert CONTRACT.breaches == [], (
        "what the bridge sent is not as contract/ and docs/phone-protocol.md have it"
    )


async def _judge(request: web.Request, response: web.StreamResponse) -> None:
    path = request.rel_url.raw_path
    if not path.startswith("/api/v1/") or path == "/api/v1/openapi.json":
        return
    if isinstance(response, web.Response):
        CONTRACT.answered(request.method, path, response.status, bytes(response.body or b""))
    else:
        _overhear(response)


def _overhear(stream: Any) -> None:
    """Judge each block of an event stream as it is written."""
    write = stream.write

    async def judged(data: bytes) -> None:
        fields = dict(line.partition(": ")[::2] for line in data.decode().split("\n"))
        if "event" in fields:
            CONTRACT.told(fields["event"], json.loads(fields["data"]))
        await write(data)

    stream.write = judged
