"""Alerts that fire and end, by way of clustered Alertmanagers or by webhooks of our own."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

import aiohttp

from bridge.clock import set_within

TEAMS: Final = ("db", "web", "mail", "batch")
_AGAIN: Final = 0.5
"""Seconds until a sender tries again, as Alertmanager's first pause."""


_HEARD: Final = 3.0
"""Seconds for Alertmanager to hear a 200: it never tells the end of what it could not tell began."""


@dataclass(eq=False)
class Alert:
    """An alert with one or more instances, in a group of its own; it lasts `lasts` seconds.

    `fired_at` is in Unix seconds; `waited` is how long its webhook took to be answered with 200, in seconds
    (nobody here sees that of Alertmanager's).
    """

    name: str
    team: str
    instances: int
    by: str
    lasts: float
    fired_at: float = 0.0
    waited: float = 0.0
    accepted: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    in_ledger: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    def labels(self, instance: int) -> dict[str, str]:
        return {"alertname": self.name, "team": self.team, "instance": f"host-{instance}"}

    def fingerprint(self, instance: int) -> str:
        """Give that of our own webhooks; Alertmanager has another."""
        return sha256(f"{self.name}/{instance}".encode()).hexdigest()[:16]


class Feed:
    """Lets `rate` alerts fire each second. `answers` counts what webhooks were answered, 0 = nothing."""

    def __init__(
        self, alertmanagers: Sequence[str], webhook: Callable[[], str], rate: float, dice: random.Random
    ) -> None:
        self.alerts: list[Alert] = []
        self.answers: Counter[int] = Counter()
        self._alertmanagers = alertmanagers
        self._webhook = webhook
        self._rate = rate
        self._dice = dice
        self._over = asyncio.Event()
        self._lives: set[asyncio.Task[None]] = set()
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5))

    async def run(self) -> None:
        """Let alerts begin until cancelled; those that have begun go on until `close`."""
        while True:
            await asyncio.sleep(self._dice.expovariate(self._rate))
            alert = self._another()
            self.alerts.append(alert)
            self._lives.add(asyncio.create_task(self._live(alert)))

    async def accepted(self) -> None:
        """Come back when all that has begun is in the hands of who is told."""
        for alert in self.alerts:
            await alert.accepted.wait()

    async def end_all(self) -> None:
        """End all of them; come back when that too has been accepted."""
        self._over.set()
        await asyncio.gather(*self._lives)

    async def close(self) -> None:
        for task in self._lives:
            task.cancel()
        await asyncio.gather(*self._lives, return_exceptions=True)
        await self._session.close()

    def _another(self) -> Alert:
        dice = self._dice
        brief = dice.random() < 0.15
        return Alert(
            name=f"Trouble{len(self.alerts)}",
            team=dice.choice(TEAMS),
            instances=dice.choice((1, 1, 2, 5)),
            by=dice.choice(("webhook", "alertmanager")),
            lasts=dice.uniform(0, 2) if brief else dice.uniform(5, 60),
        )

    async def _live(self, alert: Alert) -> None:
        alert.fired_at = time.time()
        await self._tell(alert, "firing")
        alert.waited = time.time() - alert.fired_at if alert.by == "webhook" else 0.0
        alert.accepted.set()
        await set_within(self._over, alert.lasts)
        if alert.by == "alertmanager":
            await alert.in_ledger.wait()
            await asyncio.sleep(_HEARD)
        await self._tell(alert, "resolved")

    async def _tell(self, alert: Alert, status: str) -> None:
        if alert.by == "webhook":
            await self._insist(self._webhook(), message(alert, status), self.answers)
            return
        body = listed(alert, status)  # each of them, as Prometheus does
        ways = [f"{url}/api/v2/alerts" for url in self._alertmanagers]
        await asyncio.gather(*(self._insist(url, body, Counter()) for url in ways))

    async def _insist(self, url: str, body: Any, answers: Counter[int]) -> None:
        """Post until it is answered 200."""
        while True:
            status = await self._post(url, body)
            answers[status] += 1
            if status == 200:
                return
            await asyncio.sleep(_AGAIN)

    async def _post(self, url: str, body: Any) -> int:
        """Post once; gives the answer's status, 0 where none came."""
        try:
            async with self._session.post(url, json=body) as answer:
                await answer.read()
                return answer.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0


def message(alert: Alert, status: str) -> dict[str, Any]:
    """Write Alertmanager's message about an alert."""
    group = {"alertname": alert.name, "team": alert.team}
    began = datetime.fromtimestamp(alert.fired_at, UTC).isoformat()
    over = datetime.now(UTC).isoformat() if status == "resolved" else "0001-01-01T00:00:00Z"
    alerts = [
        {
            "status": status,
            "labels": alert.labels(number),
            "annotations": {"summary": f"{alert.name} in {alert.team}"},
            "startsAt": began,
            "endsAt": over,
            "generatorURL": "",
            "fingerprint": alert.fingerprint(number),
        }
        for number in range(alert.instances)
    ]
    return {
        "version": "4", "groupKey": f"{{}}:{group}", "truncatedAlerts": 0, "status": status,
        "receiver": "phone", "groupLabels": group, "commonLabels": group, "commonAnnotations": {},
        "externalURL": "http://127.0.0.1:9093", "alerts": alerts,
    }  # fmt: skip


def listed(alert: Alert, status: str) -> list[dict[str, Any]]:
    """Write an alert as Prometheus tells Alertmanager."""
    ends = {"endsAt": datetime.now(UTC).isoformat()} if status == "resolved" else {}
    began = datetime.fromtimestamp(alert.fired_at, UTC).isoformat()
    return [
        {"labels": alert.labels(number), "annotations": {}, "startsAt": began, **ends}
        for number in range(alert.instances)
    ]
