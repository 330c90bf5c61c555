"""A call as CallKit shows it, and how the app reads it from a VoIP push (phone protocol, version 1)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from bridge.simulator.feeds import Signal

# ended: nobody answered until `expires_at`, or the bridge's stream said that it is over.
CallState: TypeAlias = Literal["ringing", "answered", "declined", "ended"]


class Malformed(ValueError):
    """Raised where a VoIP payload does not describe a call that the app could report to CallKit."""


@dataclass(frozen=True, slots=True)
class Record:
    """A bridge's record of a call, to which receipts go; `url` None: it waits for none."""

    url: str | None
    token: str = field(repr=False)


@dataclass(slots=True)
class Call:
    """One call on one phone. `history` tells when each state was reached, the present one last.

    `records` are those that know of it, by id: more than one where bridges that share nothing
    rang the phone with the same UUID. `why` it ended: "unanswered", or what the bridge said.
    """

    uuid: str
    record_id: str
    expires_at: datetime
    records: dict[str, Record]
    payload: dict[str, Any] = field(repr=False)
    history: list[tuple[datetime, CallState]]
    why: str = ""
    _signal: Signal = field(default_factory=Signal, repr=False)

    @property
    def state(self) -> CallState:
        """Give the present state."""
        return self.history[-1][1]

    @property
    def taken(self) -> bool:
        """Tell whether a person answered it, also when it is over by now."""
        return any(state == "answered" for _, state in self.history)

    @property
    def untold(self) -> bool:
        """Tell whether receipts are awaited, and its push does not say where: it could not be opened."""
        quiet = self.payload.get("kind") in {"resolved", "acknowledged"}
        return not quiet and all(record.url is None for record in self.records.values())

    def live(self, now: datetime) -> bool:
        """Tell whether CallKit still holds the call, so that its UUID cannot be shown again."""
        return self.state in {"ringing", "answered"} and now < self.expires_at

    def change(self, state: CallState, now: datetime) -> None:
        """Enter a state and wake up who waits for it."""
        self.history.append((now, state))
        self._signal.fire()

    async def wait_until_over(self, seconds: float | None = 10.0) -> None:
        """Come back when the call rings no more. Raises TimeoutError."""
        await self._signal.until(lambda: self.state != "ringing", seconds)

    async def wait_for(self, state: CallState, seconds: float | None = 10.0) -> None:
        """Come back when the call has reached `state`. Raises TimeoutError."""
        await self._signal.until(lambda: any(reached == state for _, reached in self.history), seconds)


def read_call(payload: Mapping[str, Any], now: datetime) -> Call:
    """Read `payload["call"]`. Raises Malformed with what is wrong."""
    fields = payload.get("call")
    if not isinstance(fields, dict):
        raise Malformed("the payload has no object `call`")
    try:
        call_uuid = str(uuid.UUID(fields["uuid"]))
        expires_at = datetime.fromisoformat(fields["expires_at"])
    except KeyError as error:
        raise Malformed(f"call has no {error}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise Malformed(f"call.uuid is a UUID and call.expires_at a time of RFC 3339: {error}") from error
    if expires_at.tzinfo is None:
        raise Malformed("call.expires_at has no time zone")
    record_id = str(fields.get("id", ""))
    url = fields.get("receipt_url")
    record = Record(str(url) if url else None, str(fields.get("receipt_token", "")))
    return Call(
        uuid=call_uuid,
        record_id=record_id,
        expires_at=expires_at.astimezone(UTC),
        records={record_id: record},
        payload=dict(payload),
        history=[(now, "ringing")],
    )
