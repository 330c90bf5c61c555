"""The phones' own listener: `/api/v1`, described by its OpenAPI document and docs/phone-protocol.md."""

from __future__ import annotations

from collections.abc import Callable

import orjson
from aiohttp import web

from bridge.api.phone.devices import Devices
from bridge.api.phone.events import Streams
from bridge.api.phone.incidents import Incidents
from bridge.api.phone.openapi import document
from bridge.api.phone.operations import Door, receipt_token
from bridge.api.phone.receipts import Receipts
from bridge.desk import Desk

__all__ = ["PhoneApi", "receipt_token"]


class PhoneApi:
    """What phones may ask and say. `on_tokens` is called when one has put its tokens."""

    def __init__(self, desk: Desk, secret: bytes, on_tokens: Callable[[], None] = lambda: None) -> None:
        self._door = Door(desk, secret)
        self.streams = Streams(desk)
        rooms = (
            Devices(desk, on_tokens),
            Incidents(desk),
            Receipts(desk),
            self.streams,
        )
        self._operations = [operation for room in rooms for operation in room.operations()]
        self._document = orjson.dumps(document(self._operations), option=orjson.OPT_INDENT_2)

    def set_up(self, app: web.Application) -> None:
        """Put the routes into an application."""
        app.add_routes([self._door.route(operation) for operation in self._operations])
        app.add_routes([web.get("/api/v1/openapi.json", self.openapi), web.get("/-/healthy", self.healthy)])
        app.on_shutdown.append(self.streams.close)

    async def healthy(self, _: web.Request) -> web.Response:
        """Say that the listener answers."""
        return web.Response(text="OK")

    async def openapi(self, _: web.Request) -> web.Response:
        """Describe all of it."""
        return web.Response(body=self._document, content_type="application/json")
