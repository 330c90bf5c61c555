"""The dead man's switch: which alerts are heartbeats, and when one has stayed away too long. Pure.

A heartbeat is an alert that always fires, as Prometheus' Watchdog: it comes again and again while all
is well, and rings when it does not. `docs/adr/0012-heartbeats.md` says why each time counts as it does.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import msgspec
from msgspec.structs import replace

from bridge import alerts
from bridge.alerts import Alert, Notification
from bridge.incidents import Slot
from bridge.matchers import Matcher

MISSING: Final = "PushkitBridgeHeartbeatMissing"
"""The name of the alert that a heartbeat is missing."""

TTL: Final = timedelta(days=36_525)
"""That alert ends when the heartbeat comes again, and in no other way: a hundred years are for ever."""

LOOK: Final = timedelta(seconds=30)
"""How often somebody looks at the heartbeats, at least."""

_LATE: Final = 2 * LOOK
"""A look this long after the one before says that nobody could have heard them in between."""

_ABANDONED: Final = timedelta(minutes=10)
"""One that nobody has looked at for so long is in no bridge's configuration any more."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What must come every `every`, and is missing `grace` later. `source` None: from any."""

    name: str
    matchers: tuple[Matcher, ...]
    every: timedelta
    grace: timedelta
    receiver: str
    source: str | None = None

    def is_in(self, source: str, alert: Alert) -> bool:
        """Tell whether this alert is the heartbeat. A resolved one is no sign of life."""
        here = alert.firing and self.source in {None, source}
        return here and all(matcher.matches(alert.labels) for matcher in self.matchers)


class Watch(msgspec.Struct, frozen=True):
    """What the ledger knows of a heartbeat.

    `known_at` is when the bridge first knew of it, `looked_at` when it last looked whether it is missing,
    `seen_at` when it last came. Before `excused_until` it is not missed.
    """

    name: str
    known_at: datetime
    looked_at: datetime
    seen_at: datetime | None = None
    excused_until: datetime | None = None
    missing_since: datetime | None = None

    @property
    def since(self) -> datetime:
        """From when it is waited for."""
        return self.seen_at or self.known_at


def take_out(
    heartbeats: Collection[Heartbeat], notification: Notification, now: datetime
) -> tuple[Notification, tuple[str, ...]]:
    """Give the notification without heartbeats, and the names of those that were in it.

    Their alerts stay as if they were resolved: one that is open, since it came before anybody said that
    it is a heartbeat, ends.
    """
    if not heartbeats:
        return notification, ()
    names: dict[str, None] = {}
    left = []
    for alert in notification.alerts:
        found = [one.name for one in heartbeats if one.is_in(notification.source, alert)]
        names.update(dict.fromkeys(found))
        left.append(_ended(alert, now) if found else alert)
    return replace(notification, alerts=tuple(left)), tuple(names)


def _ended(alert: Alert, now: datetime) -> Alert:
    return replace(alert, firing=False, ends_at=max(now, alert.starts_at))


def seen(watch: Watch | None, name: str, now: datetime) -> Watch:
    """Take in that it came."""
    before = watch or Watch(name, now, now)
    return replace(before, seen_at=now, excused_until=None, missing_since=None)


def look(heartbeat: Heartbeat, watch: Watch | None, now: datetime) -> Watch:
    """Look whether it is missing.

    While nobody looked the bridge was down, or its ledger was: what came then was refused, and comes
    again as soon as its sender tries again. So it has for that as long as nobody looked, `every` at the
    most, and `grace`.
    """
    before = _in_the_past(watch or Watch(heartbeat.name, now, now), heartbeat, now)
    away = now - before.looked_at
    after = replace(before, looked_at=now)
    if away > _LATE:
        fair = now + min(away, heartbeat.every) + heartbeat.grace
        after = replace(after, excused_until=max(fair, before.excused_until or fair))
    missing = after.missing_since is None and due_at(heartbeat, after) <= now
    return replace(after, missing_since=now) if missing else after


def due_at(heartbeat: Heartbeat, watch: Watch) -> datetime:
    """Say when it is missing unless it comes."""
    due = watch.since + heartbeat.every + heartbeat.grace
    return max(due, watch.excused_until or due)


def abandoned(watch: Watch, now: datetime) -> bool:
    """Tell whether nobody waits for it any more; else another bridge does, by a configuration of its own."""
    return now - watch.looked_at > _ABANDONED


def _in_the_past(watch: Watch, heartbeat: Heartbeat, now: datetime) -> Watch:
    """Let nothing lie ahead: over a restart the wall clock can have been set back (rule 10)."""
    excused = watch.excused_until
    return replace(
        watch,
        known_at=min(watch.known_at, now),
        seen_at=watch.seen_at and min(watch.seen_at, now),
        excused_until=excused and min(excused, now + heartbeat.every + heartbeat.grace),
    )


# --- the alert --------------------------------------------------------------------------------


def missing(watch: Watch, now: datetime) -> Notification:
    """Make the alert that a heartbeat is missing."""
    since = f"{watch.since:%Y-%m-%d %H:%M:%S} UTC"
    summary = (
        f"No heartbeat {watch.name} since {since}: what sends it may be down, and its alerts with it"
        if watch.seen_at
        else f"The heartbeat {watch.name} has never come, and was waited for since {since}"
    )
    return alerts.internal(MISSING, _labels(watch.name), {"summary": summary}, now)


def over(name: str, now: datetime) -> Notification:
    """Make the end of that alert: it came again, or nobody waits for it any more."""
    firing = alerts.internal(MISSING, _labels(name), {}, now)
    return replace(firing, alerts=(replace(firing.alerts[0], firing=False, ends_at=now),))


def slot_of(name: str, receiver: str) -> Slot:
    """Give where that alert belongs."""
    return Slot(alerts.INTERNAL_SOURCE, receiver, (("alertname", MISSING), ("heartbeat", name)))


def _labels(name: str) -> dict[str, str]:
    return {"severity": "critical", "heartbeat": name}
