"""What alerts and their clock do to incidents: triggered by news, resolved when none fires. Pure.

Rules 1, 2 and 3 of the design live here; what people do is in `people`. Each verb takes the
Change so far and gives the next.
"""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

import msgspec
from msgspec.structs import replace

from bridge import escalation
from bridge.alerts import Alert, Notification
from bridge.incidents import (
    Change,
    Episode,
    Incident,
    Slot,
    State,
    begin,
)
from bridge.oncall import OnCall
from bridge.policy import Receiver
from bridge.texts import one_line

_NAMES_SHOWN: Final = 5
_OTHERS_SEEN: Final = 50
_LABELS_SHOWN: Final = 3
_LABELS_LONG: Final = 100
"""Bytes of what tells one alert apart from others."""
_NEWS: Final = "superseded by news"


@dataclass(frozen=True, slots=True)
class Times:
    """The settings that decisions about alerts need."""

    alert_ttl: timedelta = timedelta(hours=25)
    refire_quiet: timedelta = timedelta(minutes=5)


class Destination(msgspec.Struct, frozen=True):
    """Where routing sends an alert that opens; muted until then, None = not muted."""

    slot: Slot
    muted_until: datetime | None = None


class Arrival(msgspec.Struct, frozen=True):
    """A firing alert at one incident."""

    alert: Alert
    muted_until: datetime | None = None


class _Batch(msgspec.Struct):
    """What one notification brings to one slot."""

    arrivals: list[Arrival] = []
    resolved: list[Alert] = []


def receive(
    incidents: Mapping[Slot, Incident],
    notification: Notification,
    destinations: Mapping[str, tuple[Destination, ...]],
    policy: Callable[[Slot], Receiver],
    on_call: OnCall,
    times: Times,
    now: datetime,
) -> tuple[Change, ...]:
    """Take in one notification: one Change for each incident that it touches, in no special order.

    `incidents` are the open ones of every slot in `destinations` (by fingerprint), and each in
    which one of the notification's alerts is open. The receiver is picked when the episode
    opens and stays (rule 1): an alert that is open somewhere is not routed again.
    """
    batches = _sort_into_slots(incidents, notification, destinations)
    changes = []
    for slot, batch in batches.items():
        receiver = policy(slot)
        before = incidents.get(slot) or begin(slot, now)
        change = Change(before).to(
            group_key=notification.group_key,
            external_url=notification.external_url,
            truncated_alerts=notification.truncated_alerts,
        )
        # Firing first: an alert that takes over from another keeps the incident open.
        change = fire(change, batch.arrivals, times, now)
        if notification.traceparent and change.incident.revision != before.revision:
            change = change.to(traceparent=notification.traceparent)
        change = resolve(change, batch.resolved, receiver, on_call, now)
        # What goes on from before is the clock's to decide, and so is the end: an alarm may hang on it.
        begun = change.incident.series != before.series
        if begun:
            change = escalation.advance(change, receiver, on_call, now, to_the_end=False)
        changes.append(change)
    return tuple(changes)


def _sort_into_slots(
    incidents: Mapping[Slot, Incident],
    notification: Notification,
    destinations: Mapping[str, tuple[Destination, ...]],
) -> dict[Slot, _Batch]:
    holders: dict[str, list[Slot]] = {}
    for slot, incident in incidents.items():
        for episode in incident.firing:
            holders.setdefault(episode.fingerprint, []).append(slot)
    batches: dict[Slot, _Batch] = {}
    for alert in notification.alerts:
        slots = holders.get(alert.fingerprint, [])
        if not alert.firing:
            for slot in slots:
                batches.setdefault(slot, _Batch()).resolved.append(alert)
            continue
        routed = [Destination(slot) for slot in slots] or destinations[alert.fingerprint]
        for to in routed:
            batches.setdefault(to.slot, _Batch()).arrivals.append(Arrival(alert, to.muted_until))
    return batches


# --- alerts -----------------------------------------------------------------------------------


def fire(change: Change, arrivals: Iterable[Arrival], times: Times, now: datetime) -> Change:
    """Take in firing alerts: mentions of open episodes, quiet returns, and news (rule 2)."""
    news: list[Arrival] = []
    episodes = dict(change.incident.alerts)
    revision = change.incident.revision + 1
    for arrival in arrivals:
        alert = arrival.alert
        known = episodes.get(alert.fingerprint)
        if known is not None and known.open:
            episodes[alert.fingerprint] = _mentioned(known, alert, times, now)
        elif known is not None and _returns_quietly(known, alert, times, now):
            episodes[alert.fingerprint] = _opened(alert, times, now, known.revision, known)
            change = change.note(
                "rejoined", f"{_name(alert.labels)} fires again within refire_quiet: no new ring"
            )
        else:
            episodes[alert.fingerprint] = _opened(alert, times, now, revision, known)
            news.append(arrival)
    change = change.to(alerts=episodes)
    return _trigger(change, news, now) if news else change


def _mentioned(known: Episode, alert: Alert, times: Times, now: datetime) -> Episode:
    return replace(
        known,
        annotations=alert.annotations,
        generator_url=alert.generator_url,
        # HA peers and restarts move startsAt; a stale resolve is judged by the earliest.
        starts_at=min(known.starts_at, alert.starts_at),
        expires_at=now + times.alert_ttl,
        mentioned_at=now,
    )


def _opened(alert: Alert, times: Times, now: datetime, revision: int, known: Episode | None) -> Episode:
    return Episode(
        fingerprint=alert.fingerprint,
        labels=alert.labels,
        annotations=alert.annotations,
        generator_url=alert.generator_url,
        starts_at=alert.starts_at,
        expires_at=now + times.alert_ttl,
        revision=revision,
        repairs=alert.repairs,
        opened_here_at=now if known is None else known.opened_here_at,
        mentioned_at=now,
    )


def _returns_quietly(known: Episode, alert: Alert, times: Times, now: datetime) -> bool:
    """Judge by either clock: Alertmanager tells of an end up to group_interval later than it was."""
    ours, theirs = known.ended_here_at, known.ended_at
    by_ours = ours is not None and now - ours < times.refire_quiet
    by_theirs = theirs is not None and timedelta(0) <= alert.starts_at - theirs < times.refire_quiet
    return by_ours or by_theirs


def _trigger(change: Change, news: list[Arrival], now: datetime) -> Change:
    """News: the escalation starts anew, acknowledged or not (rule 2); muting delays it (rule 3)."""
    incident = change.incident
    change = change.to(revision=incident.revision + 1).note("triggered", _describe(news, incident.firing))
    starts = min(arrival.muted_until or now for arrival in news)
    starts = max(starts, incident.silenced_until or starts)
    if starts <= now:
        return escalation.restart(change, now, _NEWS)
    if incident.state is State.TRIGGERED and incident.due_at is not None:
        if incident.ring > 0 or incident.round > 1:
            return change.note("muted", "the news is muted; the escalation that has begun goes on")
        starts = min(starts, incident.due_at)
    change = change.note("muted", f"the escalation starts at {starts.isoformat(timespec='seconds')}")
    return escalation.restart(change, starts, _NEWS)


def _describe(news: list[Arrival], firing: tuple[Episode, ...]) -> str:
    """Name what is new; beside others that fire already by what tells it apart from them."""
    ours = {arrival.alert.fingerprint for arrival in news}
    beside = (episode.labels.items() for episode in firing if episode.fingerprint not in ours)
    others = list(islice(beside, _OTHERS_SEEN))
    shown = [arrival.alert.labels for arrival in news[:_NAMES_SHOWN]]
    text = ", ".join(f"{_name(labels)}{_apart(labels, others)}" for labels in shown)
    if len(news) > _NAMES_SHOWN:
        text += f" and {len(news) - _NAMES_SHOWN} more"
    repairs = sorted({repair for arrival in news for repair in arrival.alert.repairs})
    return f"{text} (repaired: {', '.join(repairs)})" if repairs else text


def _apart(labels: Mapping[str, str], others: list[ItemsView[str, str]]) -> str:
    """Give those labels that not all the `others` have so, in parentheses; nothing where there are none."""
    if not others:
        return ""
    shared = set.intersection(*(set(other) for other in others))
    own = sorted(pair for pair in labels.items() if pair not in shared and pair[0] != "alertname")
    some = ", ".join(f"{name}={value}" for name, value in own[:_LABELS_SHOWN])
    return f" ({one_line(some, _LABELS_LONG)})" if own else ""


def resolve(
    change: Change, alerts: Iterable[Alert], policy: Receiver, on_call: OnCall, now: datetime
) -> Change:
    """Take in resolved alerts, one by one; close the incident when none fires any more (rule 2)."""
    episodes = dict(change.incident.alerts)
    for alert in alerts:
        known = episodes[alert.fingerprint]
        ends_at = alert.ends_at or now
        if ends_at < known.starts_at:
            change = change.note(
                "stale", f"{_name(known.labels)}: a resolve older than this episode is ignored"
            )
            continue
        episodes[alert.fingerprint] = replace(known, status="resolved", ended_at=ends_at, ended_here_at=now)
        change = change.note("alert resolved", _name(known.labels))
    return _close_if_quiet(change.to(alerts=episodes), "resolved", policy, on_call, now)


def lose(
    change: Change, episodes: Iterable[Episode], policy: Receiver, on_call: OnCall, now: datetime
) -> Change:
    """End alerts that Alertmanager has no more, of which it told nobody: silenced, inhibited or muted.

    One that was mentioned, or has ended, since `episodes` were looked at is left.
    """
    known = dict(change.incident.alerts)
    for lost in episodes:
        if known.get(lost.fingerprint) == lost:
            known[lost.fingerprint] = replace(lost, status="resolved", ended_at=now, ended_here_at=now)
            change = change.note("alert resolved", f"{_name(lost.labels)}: Alertmanager has it no more")
    return _close_if_quiet(change.to(alerts=known), "resolved", policy, on_call, now)


def confirm(change: Change, fingerprints: Iterable[str], times: Times, now: datetime) -> Change:
    """Take in that Alertmanager has these alerts: it counts as a mention, and is no news."""
    episodes = dict(change.incident.alerts)
    for fingerprint in fingerprints:
        known = episodes[fingerprint]
        if known.open:
            expires_at = max(known.expires_at, now + times.alert_ttl)
            episodes[fingerprint] = replace(known, seen=True, expires_at=expires_at)
    return change.to(alerts=episodes)


def expire(change: Change, policy: Receiver, on_call: OnCall, now: datetime) -> Change:
    """End the alerts whose time to live has run out: expired, not resolved."""
    episodes = dict(change.incident.alerts)
    for known in change.incident.firing:
        if known.expires_at <= now:
            episodes[known.fingerprint] = replace(known, status="expired", ended_at=now, ended_here_at=now)
            why = "its time is over" if change.incident.drill else "not mentioned for alert_ttl"
            change = change.note("alert expired", f"{_name(known.labels)}: {why}")
    return _close_if_quiet(change.to(alerts=episodes), "expired", policy, on_call, now)


def _close_if_quiet(
    change: Change, resolution: str, policy: Receiver, on_call: OnCall, now: datetime
) -> Change:
    incident = change.incident
    if incident.firing or not incident.open:
        return change
    change = _closed(change.withdrawn(resolution), resolution, now)
    change = change.note(resolution, "the drill is over" if incident.drill else "no alert fires any more")
    return escalation.tell(change, "resolved", policy, on_call, now) if policy.notify_resolved else change


def call_off(change: Change, resolution: str, why: str, now: datetime) -> Change:
    """End a drill before its time. What tells others that somebody had it still goes out."""
    incident = change.incident
    if not (incident.drill and incident.open):
        return change
    over = {
        name: replace(episode, status="resolved", ended_at=now, ended_here_at=now)
        for name, episode in incident.alerts.items()
        if episode.open
    }
    if incident.state is State.TRIGGERED:
        change = change.withdrawn(resolution)
    return _closed(change.to(alerts={**incident.alerts, **over}), resolution, now).note(resolution, why)


def _closed(change: Change, resolution: str, now: datetime) -> Change:
    return change.to(
        state=State.RESOLVED,
        resolved_at=now,
        resolution=resolution,
        due_at=None,
        step_ends_at=None,
        acknowledged_until=None,
        ack_silence_until=None,
        silenced_until=None,
    )


def advance(change: Change, policy: Receiver, on_call: OnCall, now: datetime) -> Change:
    """Let the clock act on one incident: alerts expire, acknowledgements time out, the escalation goes on."""
    return escalation.advance(_time_out(expire(change, policy, on_call, now), now), policy, on_call, now)


def _time_out(change: Change, now: datetime) -> Change:
    incident = change.incident
    if incident.acknowledged_until is None or incident.acknowledged_until > now:
        return change
    why = f"the acknowledgement by {incident.acknowledged_by} has timed out"
    starts = max(now, incident.silenced_until or now)
    return escalation.restart(change, starts, why).note("ack timed out", why)


def _name(labels: Mapping[str, str]) -> str:
    return labels.get("alertname") or "an alert without a name"
