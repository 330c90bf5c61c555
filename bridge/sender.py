"""The loop that empties the outbox: claim what is due, render, send, settle.

The ledger owns every retry; nothing here remembers a page beyond one attempt.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import Final, Protocol

import structlog

from bridge import settlement
from bridge.bundles import Blind, Bundle, Call, Line
from bridge.clock import Clock
from bridge.desk import Desk
from bridge.incidents import QUIET, Incident
from bridge.outgoing import Outgoing
from bridge.outlook import Outlook
from bridge.payloads import Renderer, Shown, outgoing_webhook
from bridge.pulse import Pulse
from bridge.pushes import (
    Accepted,
    Misconfigured,
    Outcome,
    PushRequest,
    Quarantined,
    Rejected,
    Retryable,
    mask,
    of_own_topic,
)
from bridge.sealing import BAD_KEY, EPHEMERAL, Seal, seal_for, sealed_how
from bridge.settlement import Claimed, Settle, name_of
from bridge.store import outbox
from bridge.store.devices import Device
from bridge.store.outbox import Ways
from bridge.store.straight import straight
from bridge.store.tx import load_incidents
from bridge.telemetry import Metrics

log = structlog.get_logger()

_PUSH_TIMEOUT: Final = 5.0
"""Seconds for one attempt: short, so that a ring of 30 s has several."""

_LEASE: Final = timedelta(seconds=15)
"""How long a claim holds: longer than any attempt, webhooks included."""

_MANY: Final = 200
"""A call about more alerts than that is rendered beside the loop."""

_IN_FLIGHT: Final = 512
"""Sends at once, by each way out. APNs' own limit is 1,000 streams a connection."""

_LOADED: Final = 20
"""Bundles whose incidents are read first, then twice as many: one can have thousands of alerts."""

_NEVER_STORED: Final = timedelta(seconds=10)
"""Apple: for VoIP an expiration of 0 or a few seconds. The payload carries the real deadline."""


class Apns(Protocol):
    """The transport's one seam."""

    async def send(self, request: PushRequest) -> Outcome: ...


@dataclass(frozen=True, slots=True)
class Phones:
    """How a phone reaches us: the phones' listener, and the token that lets it post receipts for one call.

    `blind` gives a call's names that say nothing, where nothing may be said.
    """

    external_url: str | None
    token: Callable[[str], str]
    blind: Blind = str

    def shown(self, call: Call) -> Shown:
        """Say what the payload says of the call itself."""
        url = self.external_url and f"{self.external_url.rstrip('/')}/api/v1/calls/{call.id}/receipts"
        token = self.token(call.id) if url else None
        return Shown(call.id, call.uuid, call.expires_at, url, token)


class Sender:
    """Claims, sends, settles. `healthy` is False while the last round failed; `pulse` beats in each."""

    def __init__(
        self,
        desk: Desk,
        apns: Callable[[], Apns],
        phones: Phones,
        outgoing: Outgoing,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._desk = desk
        self._store = desk.store
        self._apns = apns
        self._phones = phones
        self._outgoing = outgoing
        self._clock = clock
        self._metrics = metrics
        self._tasks: set[asyncio.Task[None]] = set()
        self._posts: set[asyncio.Task[None]] = set()
        self._taking: asyncio.Task[Claimed] | None = None
        self._jammed = False
        self.outlook = Outlook(clock, self._next_due)
        self.pulse = Pulse("sender")
        self.healthy = True
        self.misconfigured: str | None = None
        self._renderer = Renderer()
        self.configure()

    def configure(self) -> None:
        """Take the templates of the present settings."""
        templates = self._desk.settings.templates
        self._renderer = Renderer(
            templates.caller_name, templates.reason, lambda text: log.warning("template", problem=text)
        )

    async def run(self) -> None:
        """Go round until cancelled. An error is logged and tried again: this loop does not die."""
        while True:
            try:
                await self.outlook.work(self.tick)
                self.healthy = True
            except Exception:
                self.healthy = False
                self.outlook.forget()
                log.exception("the outbox cannot be worked on")
            self.pulse.beat()
            await self.outlook.wait()

    async def tick(self) -> datetime | None:
        """Claim what is due, and start the sends; gives when a phone may be free for which some of it waits.

        Raises what the store raises.
        """
        while ways := self._free_ways():
            self.pulse.beat()
            # Whoever stops this loop does not stop a claim: once committed, it is nobody else's for a lease.
            self._taking = asyncio.create_task(self._take(ways))
            claim = await asyncio.shield(self._taking)
            if not claim.more:
                return claim.free_at
        return None

    async def _take(self, ways: Ways) -> Claimed:
        """Claim, and start the sends."""
        claim = await self._claim(ways)
        self._desk.tell(claim.settled)
        self.outlook.look(self._clock.now() + _LEASE)
        rest, some = iter(claim.bundles), _LOADED
        while bundles := tuple(islice(rest, some)):
            incidents = await self._incidents(bundles)
            for bundle in bundles:
                self._start(bundle, claim, incidents)
            some *= 2
        return claim

    async def _incidents(self, bundles: Sequence[Bundle]) -> Mapping[str, Incident]:
        """Load what these tell of: beside the writer, for all other writes would wait."""
        ids = sorted({line.page.incident_id for bundle in bundles for line in bundle.lines})
        found = await self._store.read(
            partial(straight, work=lambda connection: load_incidents(connection, ids)), paging=True
        )
        return {incident.id: incident for incident in found}

    async def _claim(self, ways: Ways) -> Claimed:
        settings = self._desk.settings
        # Elsewhere two bridges that share nothing find the same UUID for a first ring (ADR 0003).
        blind = self._phones.blind if settings.keyed else str
        return await self._store.write(settlement.Claim(settings, _LEASE, ways, blind), paging=True)

    async def _next_due(self, since: datetime) -> datetime | None:
        return await self._store.ask(partial(outbox.next_due, since=since), paging=True)

    def _free_ways(self) -> Ways:
        """Tell where there is room: a webhook's server that hangs must not silence phones, nor APNs it."""
        ways = Ways(0)
        if len(self._posts) < _IN_FLIGHT:
            ways |= Ways.POSTS
        if len(self._tasks) - len(self._posts) < _IN_FLIGHT:
            ways |= Ways.PUSHES
        self._jammed = ways != Ways.POSTS | Ways.PUSHES
        return ways

    def _start(self, bundle: Bundle, claim: Claimed, known: Mapping[str, Incident]) -> None:
        work = self._deliver(bundle, claim, known)
        task = asyncio.create_task(work, name=f"send {bundle.lines[0].page.id}")
        for tasks in (self._tasks, self._posts) if bundle.call is None else (self._tasks,):
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        task.add_done_callback(self._made_room)

    def _made_room(self, _: asyncio.Task[None]) -> None:
        if self._jammed:
            self.outlook.wake()

    async def drain(self) -> None:
        """Wait until every send under way is settled, and those of a claim that is being committed."""
        if self._taking is not None:
            await asyncio.wait([self._taking])
        while self._tasks:
            await asyncio.wait(self._tasks)

    # --- one bundle ---

    async def _deliver(self, bundle: Bundle, claim: Claimed, known: Mapping[str, Incident]) -> None:
        ids = sorted({line.page.incident_id for line in bundle.lines})
        incidents = [known[name] for name in ids if name in known]
        try:
            if bundle.call is None:
                await self._post(bundle.lines[0], incidents[0])
            else:
                await self._push(bundle, bundle.call, claim.devices.get(bundle.call.device), incidents)
        except Exception:
            # The lease runs out and the bundle is due again: nothing is lost, but somebody should look.
            log.exception("a send failed", pages=_ids(bundle))

    async def _push(
        self, bundle: Bundle, call: Call, device: Device | None, incidents: Sequence[Incident]
    ) -> None:
        token = device.token(call.push) if device is not None else None
        if device is None or token is None:
            await self._settle(bundle, device, Quarantined("no token that can be used"), "")
            return
        seal = seal_for(device.encryption_key, self._desk.settings.encryption, secrets.token_bytes(EPHEMERAL))
        render = partial(self._render, call, bundle, incidents, seal)
        many = sum(len(incident.alerts) for incident in incidents) > _MANY
        rendered = await asyncio.to_thread(render) if many else render()
        if (sealed := sealed_how(seal, rendered)) == BAD_KEY:
            log.warning(
                "a push cannot be sealed", device=device.name, call=call.id, cure="open the app on it"
            )
        request = self._request(call, device, token, rendered, self._clock.now())
        began = time.monotonic()  # our clock may be steered meanwhile
        with self._desk.tracer.span("push", "client", [one.traceparent for one in incidents]) as span:
            outcome = await self._apns().send(request)
            if device.topic != self._desk.settings.apns.topic:
                outcome = of_own_topic(outcome)
            span.note(outcome=name_of(outcome), device=device.name, push=call.push, call=call.id)
        seconds = time.monotonic() - began
        self._metrics.push_seconds.observe(seconds)
        reason = getattr(outcome, "reason", "")
        self._metrics.pushes.labels(call.push, name_of(outcome), reason).inc()
        log.info(
            "push",
            outcome=name_of(outcome),
            reason=reason or None,
            push=call.push,
            call=call.id,
            device=device.name,
            token=mask(token),
            sealed=sealed,
            incidents=[incident for incident, _ in call.carries],
            pages=_ids(bundle),
            attempt=bundle.lines[0].attempt,
            seconds=round(seconds, 3),
        )
        await self._settle(bundle, device, outcome, token)

    def _render(self, call: Call, bundle: Bundle, incidents: Sequence[Incident], seal: Seal | None) -> bytes:
        levels = [line.page.interruption_level for line in bundle.lines]
        return self._renderer.push(self._phones.shown(call), call.kind, call.push, incidents, levels, seal)

    def _request(self, call: Call, device: Device, token: str, payload: bytes, now: datetime) -> PushRequest:
        voip = call.push == "voip"
        expires = min(call.expires_at, now + _NEVER_STORED) if voip else call.expires_at
        return PushRequest(
            apns_id=call.id,
            token=token,
            topic=f"{device.topic}.voip" if voip else device.topic,
            kind=call.push,
            environment="sandbox" if device.environment == "sandbox" else "production",
            priority=5 if call.kind in QUIET else 10,
            expiration=int(expires.timestamp()),
            payload=payload,
            timeout=_PUSH_TIMEOUT,
        )

    async def _post(self, line: Line, incident: Incident) -> None:
        page = line.page
        url = self._desk.settings.webhooks.get(page.target)
        if url is None:
            outcome: Outcome = Retryable("the configuration has no webhook of this name any more", after=60)
        else:
            body = outgoing_webhook(incident, page, self._clock.now())
            with self._desk.tracer.span("post", "client", [incident.traceparent]) as span:
                outcome = await self._outgoing.post(url.reveal(), body, page.id, span.traceparent)
                span.note(outcome=name_of(outcome), webhook=page.target)
        self._metrics.outgoing.labels(name_of(outcome)).inc()
        log.info(
            "outgoing webhook",
            outcome=name_of(outcome),
            reason=getattr(outcome, "reason", None),
            webhook=page.target,
            incidents=[page.incident_id],
            pages=[page.id],
            attempt=line.attempt,
        )
        await self._settle(Bundle((line,)), None, outcome, "")

    # --- what came of it ---

    async def _settle(self, bundle: Bundle, device: Device | None, outcome: Outcome, token: str) -> None:
        job = Settle(self._desk.settings, bundle, outcome, token)
        settled = await self._store.write(job, paging=True)
        self._desk.tell(settled)
        await self._alarm(device, outcome)

    async def _alarm(self, device: Device | None, outcome: Outcome) -> None:
        """Tell of what is wrong with all pushes; it comes again with the next one, so no crash loses it."""
        match outcome:
            case Accepted() if device is not None:
                self.misconfigured = None
            case Misconfigured(reason):
                self.misconfigured = reason
                await self._desk.alarm(
                    "PushkitBridgeApnsMisconfigured",
                    {"reason": reason},
                    f"APNs refuses every push: {reason}. Check apns: in the configuration, then reload",
                )
            case Rejected(reason):
                await self._desk.alarm(
                    "PushkitBridgePushRejected",
                    {"reason": reason},
                    f"APNs rejected a push: {reason}; this is a bug",
                )
            case _:
                pass


def _ids(bundle: Bundle) -> list[str]:
    return [line.page.id for line in bundle.lines]
