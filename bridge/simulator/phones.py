"""Virtual phones: what an iPhone with the app would do with each push, and what it says back."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import structlog

from bridge.pushes import Environment, PushKind, mask
from bridge.simulator.agenda import Agenda
from bridge.simulator.answers import Answer, Refusal
from bridge.simulator.calls import Call, CallState, Malformed, Record, read_call
from bridge.simulator.feeds import Events, Feed
from bridge.simulator.inbox import Inbox
from bridge.simulator.keyring import KeyRing
from bridge.simulator.membership import Heard, Membership
from bridge.simulator.profile import Fate, Profile, Push, made_up_token
from bridge.simulator.receipts import Courier, Outgoing, Receipt, ReceiptKind
from bridge.simulator.rules import Notification

# CXErrorCodeIncomingCallError, Apple's CallKit.
CALL_UUID_ALREADY_EXISTS: Final = 2
FILTERED_BY_DO_NOT_DISTURB: Final = 3
_KINDS: Final[tuple[PushKind, ...]] = ("voip", "alert")
_log = structlog.get_logger()


class Phone:
    """One virtual phone. What it does later is entered in the agenda; needs a running event loop."""

    def __init__(self, name: str, profile: Profile, agenda: Agenda, events: Events, courier: Courier) -> None:
        self.name = name
        self.profile = profile
        self.membership: Membership | None = None
        self.retired: dict[str, datetime] = {}
        """Tokens that are dead, and since when."""
        self.script: deque[Answer] = deque()
        self.pushes: Feed[Push] = Feed()
        self.calls: Feed[Call] = Feed()
        self.receipts: Feed[Receipt] = Feed()
        self.heard: Feed[Heard] = Feed()
        self.inbox = Inbox()
        self.keys = KeyRing()
        self.seen_by_bridge: dict[str, Any] = {}
        """How the bridge saw the device when the tokens were put last."""
        self.tidied_at: datetime | None = None  # when the person cleared the notifications away
        self._agenda = agenda
        self._events = events
        self._network = courier.network
        self._outgoing = Outgoing(courier, self._app_runs, self._awake, self._receipt_settled)
        self._newest: dict[str, Call] = {}  # by CallKit UUID
        self._over: set[str] = set()  # records of calls that are over, as the stream said

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
        profile.ask(kind, notification, environment)
        if self.script:
            return self.script.popleft(), 0.0
        if profile.behaviour == "unregistered":
            since = profile.unregistered_since or self._agenda.now()
            raise Refusal("Unregistered", timestamp=int(since.timestamp() * 1000))
        return Answer(delivered=True), profile.delay if profile.behaviour == "slow" else 0.0

    def take(self, notification: Notification, headers: Mapping[str, str]) -> None:
        """Do with a push what the phone does: ring, notify, or nothing at all."""
        carried = notification.payload
        payload, seal = self.keys.open(carried)
        if seal == "opened":
            self._network.contract.opened(notification.push_type, payload)
        notification = replace(notification, payload=payload)
        fate, call = self._show(notification)
        if call is not None and seal == "shut" and call.untold and self.membership is not None:
            by_credential = Record(self.membership.receipts(call.record_id), self.membership.credential)
            call.records = {call.record_id: by_credential}
        self.pushes.add(Push(self._agenda.now(), notification, headers, fate, carried, seal))
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
        elif fate in {"notified", "quiet"} and notification.aps.get("mutable-content") == 1:
            self._receipt(call, "received")  # by the app's extension, which iOS runs where this is asked for
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

    def hang_up(self, call_uuid: str | None = None) -> Call:
        """End the call that was answered, by default the newest. Raises LookupError if there is none."""
        wanted = call_uuid.lower() if call_uuid else None
        for call in reversed(self.calls.items):
            if call.state == "answered" and wanted in {None, call.uuid}:
                call.why = "hung up"
                call.change("ended", self._agenda.now())
                self._events.publish("hung-up", **self._named(call))
                return call
        raise LookupError(f"nobody is speaking on {self.name}")

    def tidy(self) -> None:
        """Clear the notifications away."""
        self.tidied_at = self._agenda.now()
        self.changed()

    def changed(self) -> None:
        """Tell who watches that something about the phone is set otherwise."""
        self._events.publish("changed", phone=self.name)

    # --- with the bridge ---

    async def enrol(self, url: str, code: str, name: str | None = None, again: float = 1.0) -> Membership:
        """Enrol with a one-time code, put the tokens, and follow the stream.

        One that breaks off is taken up `again` seconds later. Raises membership.Refused, or OSError
        where nobody answers.
        """
        key = self.keys.rotate(self._agenda.now())
        new = await Membership.enrol(self._network, url, code, name, self._awake, key)
        if self.membership is not None:
            await self.membership.close()
        self.membership = new
        self._events.publish("enrolled", phone=self.name, device=new.device, owner=new.owner)
        await self.put_tokens()
        new.follow(self, again)
        return new

    @property
    def enrolled(self) -> Membership:
        """Give the membership. Raises LookupError where the phone has none."""
        if self.membership is None:
            raise LookupError(f"{self.name} has not enrolled")
        return self.membership

    async def put_tokens(self) -> Any:
        """Tell the bridge the tokens that live, and which key; gives its view. Raises as Membership.ask."""
        profile = self.profile
        tokens = {"voip_token": profile.voip_token, "alert_token": profile.alert_token}
        body = {kind: token for kind, token in tokens.items() if token.lower() not in self.retired}
        body |= {"environment": profile.environment, "bundle_id": profile.bundle_id}
        seen = await self.enrolled.ask("PUT", "/api/v1/device/tokens", body)
        if self.keys.kid not in {None, seen.get("kid", self.keys.kid)}:
            seen = await self.enrolled.put_key(self.keys.public)  # it seals for another, or for none
        self.seen_by_bridge = seen
        self.changed()
        return seen

    async def open(self) -> Any:
        """Open the app: one that was killed runs again. Gives and raises as `put_tokens`."""
        if self.profile.behaviour == "unregistered":
            raise LookupError(f"the app is not on {self.name} any more")
        if self.profile.behaviour == "silent":
            self.profile = replace(self.profile, behaviour="normal")
            self.changed()
        return await self.put_tokens()

    async def rotate_tokens(self) -> None:
        """Get new tokens from iOS (PushKit's didUpdate): the old ones are dead. Raises as Membership.ask."""
        for kind in _KINDS:
            self._retire(kind)
        new = f"{self.name}/{len(self.retired)}"
        voip, alert = (made_up_token(new, kind, self.profile.environment) for kind in _KINDS)
        self.profile = replace(self.profile, voip_token=voip, alert_token=alert)
        if self.membership is not None:
            await self.put_tokens()

    async def rotate_key(self) -> Any:
        """Make a new page key, and put it. Gives and raises as `put_tokens`."""
        self.keys.rotate(self._agenda.now())
        return await self.put_tokens()

    async def invalidate(self, kind: PushKind) -> None:
        """Lose a token (PushKit's didInvalidatePushToken). Raises as Membership.ask."""
        self._retire(kind)
        if self.membership is not None:
            await self.membership.ask("DELETE", f"/api/v1/device/tokens/{kind}")

    async def close(self) -> None:
        """Stop posting and following."""
        await self._outgoing.close()
        if self.membership is not None:
            await self.membership.close()

    def _retire(self, kind: PushKind) -> None:
        token = self.profile.voip_token if kind == "voip" else self.profile.alert_token
        self.retired.setdefault(token.lower(), self._agenda.now())

    def _awake(self) -> bool:
        return self.profile.behaviour not in {"cut-off", "silent"}

    def _app_runs(self) -> bool:
        return self.profile.behaviour not in {"silent", "unregistered"}

    async def opened(self) -> None:
        """See membership.Ear: list the incidents. Raises as Membership.ask."""
        listed = await self.enrolled.ask("GET", "/api/v1/incidents")
        self.inbox.fill(listed["incidents"])
        self.changed()

    def revoked(self) -> None:
        """See membership.Ear: forget what the bridge gave."""
        self.membership, self.seen_by_bridge = None, {}
        self.inbox.fill([])
        self._events.publish("revoked", phone=self.name)

    def hear(self, heard: Heard) -> None:
        """See membership.Ear: a ring that is over ends here, once no other bridge wants it."""
        self.heard.add(heard)
        if heard.kind == "incident":
            self.inbox.put(heard.data["incident"], heard.number)
            self.changed()
        if heard.kind != "call_ended":
            return
        self._over.add(heard.data["call"])
        for call in self.calls.items:
            if call.state == "ringing" and self._over.issuperset(call.records):
                self._finish(call, "ended", f"{heard.data['reason']}: {heard.data['text']}")

    def _show(self, notification: Notification) -> tuple[Fate, Call | None]:
        behaviour = self.profile.behaviour
        if behaviour == "cut-off":
            return "expired", None
        if behaviour == "silent":
            return "silent", None
        if notification.push_type != "voip":
            sounds = self.profile.sounds(notification.aps.get("interruption-level"))
            return "notified" if sounds else "quiet", self._read(notification)
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
        if call.record_id in self._over:
            return "over", call
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
            self._finish(call, state, "unanswered" if state == "ended" else "")

    def _ringing(self, call_uuid: str | None) -> Call:
        wanted = call_uuid.lower() if call_uuid else None
        for call in self.calls.items:
            if call.state == "ringing" and wanted in {None, call.uuid}:
                return call
        raise LookupError(
            f"no call is ringing on {self.name}" if wanted is None else f"{wanted} is not ringing"
        )

    def _finish(self, call: Call, state: CallState, why: str = "") -> Call:
        call.why = why
        call.change(state, self._agenda.now())
        self._events.publish(state, **self._named(call), **({"why": why} if why else {}))
        if state in {"answered", "declined"}:
            self._receipt(call, "answered" if state == "answered" else "declined")
        return call

    def _named(self, call: Call) -> dict[str, Any]:
        return {"phone": self.name, "call": call.uuid, "record": call.record_id}

    def _receipt(self, call: Call, kind: ReceiptKind, code: int | None = None) -> None:
        for name, record in call.records.items():
            if record.url is None:
                continue
            url, token = record.url, record.token
            if self.profile.receipts_by == "credential" and self.membership is not None:
                url, token = self.membership.receipts(name), self.membership.credential
            now = self._agenda.now()
            self._outgoing.post(Receipt(kind, call.uuid, url, token, now, call.expires_at, code))

    def _receipt_settled(self, receipt: Receipt) -> None:
        self.receipts.add(receipt)
        self._events.publish(
            "receipt", phone=self.name, call=receipt.call_uuid, receipt=receipt.kind, status=receipt.status
        )
