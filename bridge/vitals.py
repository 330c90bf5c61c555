"""How the bridge is: ready or not, worth a sign of life or not, and its gauges."""

from __future__ import annotations

from collections.abc import Callable

from bridge.apns import Transport
from bridge.clock import Clock
from bridge.driller import Driller
from bridge.escalator import Escalator
from bridge.feeds import Feeds
from bridge.pulse import standing
from bridge.sender import Sender
from bridge.store import Store
from bridge.telemetry import Metrics
from bridge.upstream import Upstream
from bridge.views import board
from bridge.views.board import Sign
from bridge.watcher import Watcher


class Vitals:
    """Looks at the parts of a running bridge; each of them may be replaced by a reload."""

    def __init__(
        self,
        store: Store,
        sender: Sender,
        escalator: Escalator,
        transport: Callable[[], Transport],
        feeds: Feeds,
        watcher: Watcher,
        upstream: Upstream,
        driller: Driller,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._sender = sender
        self._escalator = escalator
        self._transport = transport
        self._feeds = feeds
        self._watcher = watcher
        self._upstream = upstream
        self._driller = driller
        self._clock = clock
        self._metrics = metrics

    def standing(self) -> list[str]:
        """Give the reasons to start the bridge anew: what a watchdog and a liveness probe ask."""
        return standing((self._sender.pulse, self._escalator.pulse))

    async def unready(self) -> list[str]:
        """Give the reasons why the bridge cannot do its work; none: it is ready."""
        reasons = self.standing()
        if not await self._store.commits():
            reasons.append("the store does not commit")
        if not self._sender.healthy:
            reasons.append("the outbox cannot be worked on")
        if not self._escalator.healthy:
            reasons.append("incidents cannot be advanced")
        if not self._watcher.healthy:
            reasons.append("heartbeats cannot be watched")
        return reasons

    async def deaf(self) -> list[str]:
        """Give the reasons to withhold the sign of life (rule 12)."""
        reasons = await self.unready()
        stats = await self._store.stats()
        if stats.overdue:
            reasons.append(f"{stats.overdue} pages are overdue without an outcome")
        if stats.unheard_alarms:
            reasons.append(f"{stats.unheard_alarms} of the bridge's own alarms reach nobody")
        if self._sender.misconfigured:
            reasons.append(f"APNs refuses every push: {self._sender.misconfigured}")
        elif not self._transport().usable:
            reasons.append(f"APNs cannot be used: {self._transport().last_error or 'no connection'}")
        return reasons

    def apple(self) -> Sign:
        """Say how the way to Apple is."""
        transport = self._transport()
        return board.apple(
            usable=transport.usable, misconfigured=self._sender.misconfigured, error=transport.last_error
        )

    async def observe(self) -> None:
        """Bring the gauges up to date."""
        stats, now, metrics = await self._store.stats(), self._clock.now(), self._metrics
        for state, count in stats.pages.items():
            metrics.pages.labels(state).set(count)
        for state, count in stats.incidents.items():
            metrics.incidents.labels(state).set(count)
        metrics.unanswered.set(stats.unanswered)
        metrics.overdue.set(stats.overdue)
        since = stats.overdue_since
        metrics.overdue_age.set((now - since).total_seconds() if since else 0)
        metrics.oldest.set(max((now - stats.oldest).total_seconds(), 0) if stats.oldest else 0)
        metrics.troubled.clear()
        for name, reason in stats.troubled.items():
            metrics.troubled.labels(name, reason).set(1)
        metrics.doubtful.clear()
        for name, calls in stats.doubtful.items():
            metrics.doubtful.labels(name).set(calls)
        metrics.bare.set(stats.bare)
        metrics.connections.set(self._transport().open_connections)
        metrics.apns_usable.set(self._transport().usable and not self._sender.misconfigured)
        metrics.token_age.set(self._transport().token_age(self._clock.wall()) or 0)
        self._feeds.observe()
        await self._watcher.observe()
        await self._upstream.observe()
        await self._driller.observe()
        metrics.clock_drift.set(self._clock.drift())
