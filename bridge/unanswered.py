"""Nobody answered, or was reached: an alarm of its own, in the same transaction: no restart loses it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

import structlog

from bridge import alarms, alerts, lifecycle, watchdogs
from bridge.config import Settings
from bridge.incidents import Change, Incident, Slot
from bridge.lifecycle import Destination, Times
from bridge.oncall import OnCall
from bridge.texts import some

log = structlog.get_logger()

_NAME: Final = "PushkitBridgeIncidentUnanswered"


def just_now(change: Change) -> bool:
    """Tell whether nobody answered or was reached, by this very decision.

    An alarm of that is none again, nor is a drill. Of the bridge's own troubles only a missing heartbeat is
    worth one.
    """
    now_so = _said(change, "unanswered") or _said(change, "nobody reached")
    slot = change.incident.slot
    own = slot.source in {alerts.INTERNAL_SOURCE, alerts.DRILL_SOURCE}
    return now_so and (not own or ("alertname", watchdogs.MISSING) in slot.group)


def with_alarms(
    settings: Settings, changes: list[Change], known: Iterable[Incident], on_call: OnCall, now: datetime
) -> list[Change]:
    """Add an alarm for each incident that nobody answered. `known`: the alarms of before among others."""
    by_slot = {incident.slot: incident for incident in known}
    times = Times(alarms.TTL, settings.refire_quiet)
    done = list(changes)
    for change in filter(just_now, changes):
        incident = change.incident
        receiver, series = incident.slot.receiver, str(incident.series)
        answered = "answered" if _said(change, "unanswered") else "could be reached for"
        goes_on = "it rings nobody any more" if _said(change, "unanswered") else "it is tried on and on"
        log.error("unanswered", incident=incident.id, receiver=receiver, goes_on=goes_on)
        what = some((episode.labels.get("alertname", "") for episode in incident.firing), 3, 96)
        summary = f"Nobody {answered} {what} at {receiver}: {goes_on} (incident {incident.id})"
        # By its series each time is news, also while the alarm of the last time is acknowledged.
        labels = {"severity": "critical", "incident": incident.id, "receiver": receiver, "series": series}
        alarm = alerts.internal(_NAME, labels, {"summary": summary}, now)
        ways = {alarm.alerts[0].fingerprint: (Destination(slot_of(settings, incident.id)),)}
        done += lifecycle.receive(by_slot, alarm, ways, settings.policy_of, on_call, times, now)
    return done


def _said(change: Change, kind: str) -> bool:
    return any(event.kind == kind for event in change.events)


def slot_of(settings: Settings, incident_id: str) -> Slot:
    """Give where the alarm belongs that nobody answered this incident."""
    group = (("alertname", _NAME), ("incident", incident_id))
    return Slot(alerts.INTERNAL_SOURCE, settings.route.receiver, group)
