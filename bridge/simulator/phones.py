"""Virtual phones: what an iPhone with the app would do with each push, and what it says back."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, Final, Literal, TypeAlias

import structlog

from bridge.pushes import Environment, PushKind, mask
from bridge.simulator.agenda import Agenda
from bridge.simulator.answers import Answer, Refusal
from bridge.simulator.calls import Call, CallState, Malformed, read_call
from bridge.simulator.feeds import Events, Feed
from bridge.simulator.receipts import Courier, Outgoing, Receipt, ReceiptKind
from bridge.simulator.rules import TOKEN, Notification

# normal: shows what comes. unregistered: APNs answers 410. slow: shows it, the answer comes `delay` seconds
# later. silent: APNs accepts, the phone shows nothing. cut-off: flight mode; APNs accepts and stores nothing.
# do-not-disturb: CallKit filters each call.
Behaviour: TypeAlias = Literal["normal", "unregistered", "slow", "silent", "cut-off", "do-not-disturb"]

# What became of a push on the phone.
# repeat: CallKit has that call already. joined: the same, but the record is another bridge's.
Fate: TypeAlias = Literal[
    "rang", "repeat", "joined", "stale", "filtered", "malformed", "notified", "silent", "expired"
]

# CXErrorCodeIncomingCallError, Apple's CallKit.
CALL_UUID_ALREADY_EXISTS: Final = 2
FILTERED_BY_DO_NOT_DISTURB: Final = 3
_log = structlog.get_logger()


@dataclass(slots=True)
class Profile:
    """What can be set about a phone. `delay` and `auto_answer` are in seconds; tokens are hex."""

    bundle_id: str
    environment: Environment
    voip_token: str
    alert_token: str
    behaviour: Behaviour = "normal"
    delay: float = 5.0
    auto_answer: float | None = None
    unregistered_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Push:
    """One push that reached the phone's side: when, with which headers, and what became of it."""

    at: datetime
    notification: Notification
    headers: Mapping[str, str] = field(repr=False)
    fate: Fate

    @property
    def apns_id(self) -> str:
        """Give the id under which the sender knows this push."""
        return self.notification.apns_id

    @property
    def payload(self) -> dict[str, Any]:
        """Give the decoded body."""
        return self.notification.payload


def made_up_token(name: str, kind: PushKind, environment: Environment) -> str:
    """Give a device token that stays the same from run to run."""
    return sha256(f"{environment}/{name}/{kind}".encode()).hexdigest()


class Phone:
    """One virtual phone. What it does later is entered in the agenda; needs a running event loop."""

    def __init__(self, name: str, profile: Profile, agenda: Agenda, events: Events, courier: Courier) -> None:
        self.name = name
        self.profile = profile
        self.script: deque[Answer] = deque()
        self.pushes: Feed[Push] = Feed()
        self.calls: Feed[Call] = Feed()
        self.receipts: Feed[Receipt] = Feed()
        self._agenda = agenda
        self._events = events
        self._outgoing = Outgoing(courier, self._receipt_settled)
        self._newest: dict[str, Call] = {}  # by CallKit UUID

    async def wait_for_push(self, seconds: float | None = 10.0) -> Push:
        """Give the oldest push that was not given out yet, waiting for it. Raises TimeoutError."""
        return await self.pushes.next(seconds)

    async def wait_for_call(self, seconds: float | None = 10.0) -> Call:
        """Give the oldest call that was not given out yet, waiting for it to ring. Raises TimeoutError."""
        return await self.calls.next(seconds)

    async def wait_for_receipt(self, seconds: float | None = 10.0) -> Receipt:
        """Give the oldest receipt not given out yet, after its last attempt. Raises TimeoutError."""
        return await self.receipts.next(seconds)

    def answer_next(self, answer: Answer, times: int = 1) -> None:
        """Have APNs give this answer to the next pushes for this phone."""
        self.script.extend([answer] * times)

    def ask(
        self, kind: PushKind, notification: Notification, environment: Environment
    ) -> tuple[Answer, float]:
        """Say what APNs answers to a push for this phone's token of `kind`, and how many seconds later.

        Raises Refusal where the token is not for the topic, not of this environment, or dead.
        """
        profile = self.profile
        if profile.environment != environment:
            raise Refusal("BadDeviceToken")
        # A PushKit token serves VoIP alone, an ordinary one everything but VoIP.
        if profile.bundle_id != notification.bundle_id or (kind == "voip") != (
            notification.push_type == "voip"
        ):
            raise Refusal("DeviceTokenNotForTopic")
        if self.script:
            return self.script.popleft(), 0.0
        if profile.behaviour == "unregistered":
            since = profile.unregistered_since or self._agenda.now()
            raise Refusal("Unregistered", timestamp=int(since.timestamp() * 1000))
        return Answer(delivered=True), profile.delay if profile.behaviour == "slow" else 0.0

    def take(self, notification: Notification, headers: Mapping[str, str]) -> None:
        """Do with a push what the phone does: ring, notify, or nothing at all."""
        fate, call = self._show(notification)
        self.pushes.add(Push(self._agenda.now(), notification, headers, fate))
        _log.info(
            "push", phone=self.name, apns_id=notification.apns_id, token=mask(notification.token), fate=fate
        )
        self._events.publish(
            "push", phone=self.name, apns_id=notification.apns_id, push_type=notification.push_type, fate=fate
        )
        if call is None:
            return
        if fate == "rang":
            self._ring(call)
        elif fate == "joined":
            self._join(self._newest[call.uuid], call)
        elif fate == "notified":
            self._receipt(call, "received")
        elif fate == "repeat":
            self._receipt(call, "failed", CALL_UUID_ALREADY_EXISTS)
        elif fate == "filtered":
            self._receipt(call, "failed", FILTERED_BY_DO_NOT_DISTURB)

    def answer(self, call_uuid: str | None = None) -> Call:
        """Answer the call, by default the one that rings longest. Raises LookupError if none rings."""
        return self._finish(self._ringing(call_uuid), "answered")

    def decline(self, call_uuid: str | None = None) -> Call:
        """Decline the call, by default the one that rings longest. Raises LookupError if none rings."""
        return self._finish(self._ringing(call_uuid), "declined")

    async def close(self) -> None:
        """Stop posting."""
        await self._outgoing.close()

    def _show(self, notification: Notification) -> tuple[Fate, Call | None]:
        behaviour = self.profile.behaviour
        if behaviour == "cut-off":
            return "expired", None
        if behaviour == "silent":
            return "silent", None
        if notification.push_type != "voip":
            return "notified", self._read(notification)
        return self._report(notification)

    def _read(self, notification: Notification) -> Call | None:
        try:
            return read_call(notification.payload, self._agenda.now())
        except Malformed as error:
            if notification.push_type == "voip":
                _log.warning("a VoIP push without a call", phone=self.name, error=str(error))
            return None

    def _report(self, notification: Notification) -> tuple[Fate, Call | None]:
        """Report the call to CallKit; gives what CallKit made of it."""
        now = self._agenda.now()
        call = self._read(notification)
        if call is None:
            # There is nothing that the app could report to CallKit, so iOS kills it.
            return "malformed", None
        if now >= call.expires_at:
            return "stale", call
        known = self._newest.get(call.uuid)
        if known is not None and known.live(now):
            return ("repeat" if call.record_id in known.records else "joined"), call
        return ("filtered" if self.profile.behaviour == "do-not-disturb" else "rang"), call

    def _join(self, known: Call, call: Call) -> None:
        """Tell another bridge, whose push came second, what has happened to the call so far."""
        known.records |= call.records
        self._receipt(call, "received")
        if known.state == "answered":
            self._receipt(call, "answered")

    def _ring(self, call: Call) -> None:
        self._newest[call.uuid] = call
        self.calls.add(call)
        self._events.publish("ringing", **self._named(call))
        self._receipt(call, "received")
        if self.profile.auto_answer is not None:
            self._agenda.after(self.profile.auto_answer, lambda: self._if_ringing(call, "answered"))
        self._agenda.at(call.expires_at, lambda: self._if_ringing(call, "ended"))

    def _if_ringing(self, call: Call, state: CallState) -> None:
        if call.state == "ringing":
            self._finish(call, state)

    def _ringing(self, call_uuid: str | None) -> Call:
        wanted = call_uuid.lower() if call_uuid else None
        for call in self.calls.items:
            if call.state == "ringing" and wanted in {None, call.uuid}:
                return call
        raise LookupError(
            f"no call is ringing on {self.name}" if wanted is None else f"{wanted} is not ringing"
        )

    def _finish(self, call: Call, state: CallState) -> Call:
        call.change(state, self._agenda.now())
        self._events.publish(state, **self._named(call))
        if state in {"answered", "declined"}:
            self._receipt(call, "answered" if state == "answered" else "declined")
        return call

    def _named(self, call: Call) -> dict[str, Any]:
        return {"phone": self.name, "call": call.uuid, "record": call.record_id}

    def _receipt(self, call: Call, kind: ReceiptKind, code: int | None = None) -> None:
        for record in call.records.values():
            if record.url is not None:
                now = self._agenda.now()
                self._outgoing.post(Receipt(kind, call.uuid, record.url, record.token, now, code))

    def _receipt_settled(self, receipt: Receipt) -> None:
        self.receipts.add(receipt)
        self._events.publish(
            "receipt", phone=self.name, call=receipt.call_uuid, receipt=receipt.kind, status=receipt.status
        )


class Phones:
    """All phones, by name and by token."""

    def __init__(self) -> None:
        self._phones: dict[str, Phone] = {}

    def __iter__(self) -> Iterator[Phone]:
        return iter(list(self._phones.values()))

    def __contains__(self, name: object) -> bool:
        return name in self._phones

    def __getitem__(self, name: str) -> Phone:
        try:
            return self._phones[name]
        except KeyError:
            raise KeyError(
                f"no phone {name!r}; there are {', '.join(sorted(self._phones)) or 'none'}"
            ) from None

    def add(self, phone: Phone) -> Phone:
        """Take a phone in. Raises ValueError if its name or a token is taken."""
        if phone.name in self._phones:
            raise ValueError(f"there is a phone {phone.name!r} already")
        self.check_tokens(phone.name, phone.profile)
        self._phones[phone.name] = phone
        return phone

    def check_tokens(self, name: str, profile: Profile) -> None:
        """Raise ValueError where a token is not free for this phone."""
        if profile.voip_token.lower() == profile.alert_token.lower():
            raise ValueError("voip_token and alert_token are the same; iOS never gives out the same twice")
        for token in (profile.voip_token, profile.alert_token):
            if not TOKEN.fullmatch(token):
                raise ValueError(f"token {mask(token)} is not hexadecimal, or longer than 100 bytes")
            owner = self.find(token)
            if owner is not None and owner[0].name != name:
                raise ValueError(f"token {mask(token)} belongs to the phone {owner[0].name!r}")

    def remove(self, name: str) -> Phone:
        """Let a phone go: its tokens become unknown. Raises KeyError."""
        phone = self[name]
        del self._phones[name]
        return phone

    def find(self, token: str) -> tuple[Phone, PushKind] | None:
        """Give the phone that has this token, and which of its tokens it is."""
        wanted = token.lower()
        for phone in self._phones.values():
            if phone.profile.voip_token.lower() == wanted:
                return phone, "voip"
            if phone.profile.alert_token.lower() == wanted:
                return phone, "alert"
        return None
