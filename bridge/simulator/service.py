"""What APNs answers to one request: faults on request, then the rules, then the phone."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog

from bridge.pushes import Environment, mask
from bridge.simulator.agenda import Agenda
from bridge.simulator.answers import Answer, Refusal
from bridge.simulator.contract import Unwatched
from bridge.simulator.phonebook import Phones
from bridge.simulator.provider_tokens import ProviderTokens
from bridge.simulator.rules import TOKEN, Notification, Request, apns_id, check, check_target

_KEPT: Final = 10_000
_log = structlog.get_logger()


@dataclass(slots=True)
class Trust:
    """What a connection has shown of itself: a client certificate, and the key of its first good token."""

    certificate: bool = False
    key_id: str | None = None
    team_id: str | None = None

    @property
    def established(self) -> bool:
        """Tell whether the sender is known, so that it may open more than one stream."""
        return self.certificate or self.key_id is not None


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, the id it carries, and after how many seconds it is sent."""

    answer: Answer
    apns_id: str
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Answered:
    """One request in the log: when it came, for which token (masked), and what it was answered."""

    at: datetime
    apns_id: str
    token: str
    answer: Answer


class Service:
    """Judges requests. `topics` are the bundle ids of the sender's team, `script` overrides everything."""

    def __init__(
        self,
        phones: Phones,
        tokens: ProviderTokens,
        topics: Collection[str],
        environment: Environment,
        agenda: Agenda,
        contract: Unwatched,
    ) -> None:
        self.topics = set(topics)
        self.script: deque[Answer] = deque()
        self.answered: deque[Answered] = deque(maxlen=_KEPT)
        self._phones = phones
        self._tokens = tokens
        self._environment = environment
        self._agenda = agenda
        self._contract = contract

    def handle(self, request: Request, trust: Trust) -> Reply:
        """Answer one request; never raises for anything that a sender can do."""
        reply = self._reply(request, trust)
        named = (request.get(":path") or "").rpartition("/")[2]
        # What is no token is not repeated: it may hold bytes that no terminal takes.
        token = mask(named) if TOKEN.fullmatch(named) else "…"
        self.answered.append(Answered(self._agenda.now(), reply.apns_id, token, reply.answer))
        _log.info(
            "answer",
            apns_id=reply.apns_id,
            token=token,
            status=reply.answer.status,
            reason=reply.answer.reason,
            manner=reply.answer.manner,
        )
        return reply

    def _reply(self, request: Request, trust: Trust) -> Reply:
        name = apns_id(request)
        try:
            if self.script and not self.script[0].delivered:
                return Reply(self.script.popleft(), name)
            return self._deliver(request, self._judge(request, name, trust))
        except Refusal as refusal:
            return Reply(refusal.answer, name)

    def _judge(self, request: Request, name: str, trust: Trust) -> Notification:
        token = check_target(request)
        authorization = request.get("authorization")
        if authorization is not None or not trust.certificate:
            self._authenticate(authorization, trust)
        notification = check(request, name, token, self.topics)
        self._contract.push(notification.push_type, notification.payload)
        return notification

    def _authenticate(self, authorization: str | None, trust: Trust) -> None:
        key = self._tokens.check(authorization, self._agenda.now())
        if trust.key_id is None:
            trust.key_id, trust.team_id = key.key_id, key.team_id
        elif trust.team_id != key.team_id:
            # Apple: one connection serves one team.
            raise Refusal("InvalidProviderToken")
        elif trust.key_id != key.key_id:
            raise Refusal("UnrelatedKeyIdInToken")

    def _deliver(self, request: Request, notification: Notification) -> Reply:
        if since := self._phones.dead_since(notification.token):
            raise Refusal("Unregistered", timestamp=int(since.timestamp() * 1000))
        found = self._phones.find(notification.token)
        if found is None:
            raise Refusal("BadDeviceToken")
        phone, kind = found
        answer, delay = phone.ask(kind, notification, self._environment)
        if self.script:
            answer, delay = self.script.popleft(), 0.0
        if answer.delivered:
            headers = {name: value for name, value in request.headers if name != "authorization"}
            phone.take(notification, headers)
        return Reply(answer, notification.apns_id, delay)
