"""The phones' own listener: receipts for calls (docs/phone-protocol.md)."""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated, Final

import msgspec
from aiohttp import web

from bridge.api.answers import TooLarge, answer, problem, read_body
from bridge.desk import Answered, Desk
from bridge.store.calls import Receipt, ReceiptKind
from bridge.texts import one_line

_LIMIT: Final = 16 * 1024


class _Body(msgspec.Struct):
    event_id: str
    receipt: ReceiptKind
    at: str | None = None
    error_code: Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**31)] | None = None


_decoder = msgspec.json.Decoder(_Body)


def receipt_token(secret: bytes, call_id: str) -> str:
    """Make the capability for one call: only the phone that got the push can know it."""
    return hmac.new(secret, f"receipt\0{call_id}".encode(), hashlib.sha256).hexdigest()


class PhoneApi:
    """What phones say back."""

    def __init__(self, desk: Desk, secret: bytes) -> None:
        self._desk = desk
        self._secret = secret

    def routes(self) -> list[web.RouteDef]:
        """Give the routes."""
        return [web.post("/api/v1/calls/{id}/receipts", self.receipt), web.get("/-/healthy", self.healthy)]

    async def healthy(self, _: web.Request) -> web.Response:
        """Say that the listener answers."""
        return web.Response(text="OK")

    async def receipt(self, request: web.Request) -> web.Response:
        """Take in a receipt. The same event_id again gives the same answer and has no second effect."""
        call_id = request.match_info["id"]
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        wanted = receipt_token(self._secret, call_id)
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), wanted.encode()):
            response = problem(401, "this is not the receipt_token of this call", "send it as a bearer token")
            response.headers["WWW-Authenticate"] = 'Bearer realm="pushkit-bridge"'
            return response
        try:
            body = _decoder.decode(await read_body(request, _LIMIT))
        except TooLarge:
            return problem(413, f"a receipt is at most {_LIMIT} bytes")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return problem(400, f"not a receipt: {error}", "docs/phone-protocol.md shows one")
        if not 0 < len(body.event_id) <= 100 or "\0" in body.event_id:
            return problem(400, "event_id is empty, longer than 100 characters, or holds NUL", "use a UUID")
        receipt = Receipt(body.event_id, body.receipt, body.at and one_line(body.at, 64), body.error_code)
        answered = await self._desk.receipt(call_id, receipt)
        return problem(404, "there is no such call any more") if answered is None else answer(_told(answered))


def _told(answered: Answered) -> dict[str, object]:
    return {
        "call": answered.call.id,
        "state": answered.state,
        "incidents": [
            {"id": incident.id, "state": incident.state.value, "acknowledged_by": incident.acknowledged_by}
            for incident in answered.incidents
        ],
    }
