"""What a call came to on the phone: it got it, was answered, was declined, or could not show it."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.api.answers import problem
from bridge.api.phone import shapes
from bridge.api.phone.operations import Answer, Asked, Operation
from bridge.desk import Desk
from bridge.store import calls
from bridge.store.calls import Receipt
from bridge.store.tables import incidents
from bridge.texts import one_line
from bridge.tracing import OFF


class Receipts:
    """The operation on receipts: with the call's own token, or with the device's credential."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

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
                refusals=(400, 404, 413),
            )
        ]

    async def receipt(self, asked: Asked) -> Answer:
        """Take in a receipt. The same event_id again gives the same answer and has no second effect."""
        call_id = asked.part("id")
        if asked.device is not None:
            call = await self._desk.store.ask(lambda connection: calls.find(connection, call_id))
            if call is not None and call.device != asked.device.name:
                return problem(404, "there is no such call of this device")
        body: shapes.PostReceipt = asked.body
        at = body.at and one_line(body.at, 64)
        with self._desk.tracer.span("receipt", "server", await self._causes(call_id)) as span:
            span.note(call=call_id, receipt=body.receipt, error_code=body.error_code)
            answered = await self._desk.receipt(
                call_id, Receipt(body.event_id, body.receipt, at, body.error_code)
            )
        if answered is None:
            return problem(404, "there is no such call of this device")
        return shapes.ReceiptTaken(
            answered.call.id,
            answered.state,
            tuple(
                shapes.ReceiptIncident(one.id, one.state.value, one.acknowledged_by)
                for one in answered.incidents
            ),
        )

    async def _causes(self, call_id: str) -> list[str]:
        """Name the traces that the call's incidents belong to."""
        if self._desk.tracer is OFF:
            return []

        async def query(connection: AsyncConnection) -> list[str]:
            call = await calls.find(connection, call_id)
            mine = incidents.c.id.in_([incident for incident, _ in call.carries] if call is not None else [])
            found = await connection.execute(select(incidents.c.traceparent).where(mine))
            return [one for one in found.scalars() if one]

        try:
            return await self._desk.store.read(query, paging=True)
        except SQLAlchemyError:
            return []  # a trace is worth less than the receipt
