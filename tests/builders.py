"""Alerts, notifications, receivers and phones for tests: each with what a test does not care about filled in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from bridge.alerts import Alert, Notification, fingerprint
from bridge.oncall import Phone
from bridge.policy import Receiver, Ring, Step

NOW = datetime(2026, 11, 25, 2, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """The instant that many seconds after NOW."""
    return NOW + timedelta(seconds=seconds)


def make_alert(name: str = "DiskFull", *, firing: bool = True, **fields: Any) -> Alert:
    """An alert that began at NOW, or one that was resolved ten seconds later."""
    labels = {"alertname": name}
    ends_at = None if firing else at(10)
    known = {"labels": labels, "annotations": {}, "starts_at": NOW, "ends_at": ends_at} | fields
    return Alert(**({"fingerprint": fingerprint(known["labels"]), "firing": firing} | known))


def notification(*alerts: Alert, **fields: Any) -> Notification:
    return Notification(source="default", alerts=alerts, **fields)


def step(*groups: str, every: float = 45, times: int = 4, then_after: float = 300, **fields: Any) -> Step:
    ring = Ring(timedelta(seconds=every), times, timedelta(seconds=every * 2 / 3))
    return Step(
        device_groups=groups, **({"ring": ring, "then_after": timedelta(seconds=then_after)} | fields)
    )


def receiver(*steps: Step, **fields: Any) -> Receiver:
    """A policy named platform; without steps, the group platform rings four times."""
    return Receiver(**({"name": "platform", "steps": steps or (step("platform"),)} | fields))


def phone(name: str = "alice-iphone", **fields: Any) -> Phone:
    """A phone whose owner is what its name begins with."""
    return Phone(**({"name": name, "owner": name.partition("-")[0]} | fields))
