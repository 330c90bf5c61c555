"""What a call came to on the phone: it got it, was answered, was declined, or could not show it."""

from __future__ import annotations

import hashlib
import hmac

from aiohttp import web

from bridge.api.answers import problem
from bridge.api.phone import shapes
from bridge.api.phone.operations import Answer, Asked, Door, Operation, refused
from bridge.desk import Desk
from bridge.store import calls
from bridge.store.calls import Receipt
from bridge.store.enrolment import Enrolled
from bridge.texts import one_line


def receipt_token(secret: bytes, call_id: str) -> str:
    """Make the capability for one call: only the phone that got the push can know it."""
    return hmac.new(secret, f"receipt\0{call_id}".encode(), hashlib.sha256).hexdigest()


class Receipts:
    """The operation on receipts: with the call's own token, or with the device's credential."""

    def __init__(self, desk: Desk, door: Door, secret: bytes) -> None:
        self._desk = desk
        self._door = door
        self._secret = secret

    def operations(self) -> list[Operation]:
        """Give the operation."""
        return [
            Operation(
                "postReceipt",
                "POST",
                "/api/v1/calls/{id}/receipts",
                self.receipt,
                "Say what a call came to",
                shapes.ReceiptTaken,
                body=shapes.PostReceipt,
                access="receipt",
                guard=self._guard,
                refusals=(400, 404, 413),
            )
        ]

    async def receipt(self, asked: Asked) -> Answer:
        """Take in a receipt. The same event_id again gives the same answer and has no second effect."""
        call_id = asked.part("id")
        body: shapes.PostReceipt = asked.body
        at = body.at and one_line(body.at, 64)
        answered = await self._desk.receipt(
            call_id, Receipt(body.event_id, body.receipt, at, body.error_code)
        )
        if answered is None:
            return problem(404, "there is no such call any more")
        return shapes.ReceiptTaken(
            answered.call.id,
            answered.state,
            tuple(
                shapes.ReceiptIncident(one.id, one.state.value, one.acknowledged_by)
                for one in answered.incidents
            ),
        )

    async def _guard(self, request: web.Request) -> Enrolled | web.Response | None:
        call_id = request.match_info["id"]
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        wanted = receipt_token(self._secret, call_id).encode()
        if scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), wanted):
            return None
        device = await self._door.device(request)
        if isinstance(device, web.Response):
            hint = "send it as a bearer token"
            return (
                device
                if device.status == 429
                else refused("this is not the receipt_token of this call", hint)
            )
        call = await self._desk.store.read(lambda connection: calls.find(connection, call_id))
        if call is not None and call.device != device.name:
            return problem(404, "there is no such call of this device")
        return device
