"""From the ledger's nouns to what a phone is shown."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping

from bridge import incidents
from bridge.api.phone import shapes
from bridge.digest import digest
from bridge.sealing import kid
from bridge.store.enrolment import doubtful, troubles, usable
from bridge.texts import rfc3339


def time(at: datetime | None) -> str | None:
    """Show a time that may not have come."""
    return None if at is None else rfc3339(at)


def device(row: RowMapping, people: Collection[str], *, keyed: bool) -> shapes.Device:
    """Show a device, without its tokens."""
    return shapes.Device(
        name=row["name"],
        owner=row["owner"],
        enrolled=row["enrolled"],
        environment=row["environment"],
        bundle_id=row["topic"],
        has_voip_token=row["voip_token"] is not None,
        has_alert_token=row["alert_token"] is not None,
        kid=row["encryption_key"] and kid(row["encryption_key"]),
        app_version=row["app_version"],
        os_version=row["os_version"],
        enrolled_at=time(row["enrolled_at"]),
        heard_at=time(row["heard_at"]),
        troubles=troubles(row, people, keyed=keyed),
        would_ring=usable(row, "voip") and not doubtful(row) and row["owner"] in people,
    )


def incident(known: incidents.Incident) -> shapes.Incident:
    """Show an incident for a list."""
    return shapes.Incident(**_facts(known))


def story(known: incidents.Incident, timeline: Iterable[RowMapping]) -> shapes.Story:
    """Show an incident with all that belongs to it."""
    alerts = sorted(known.alerts.values(), key=lambda one: (not one.open, one.starts_at, one.fingerprint))
    events = tuple(event(row) for row in timeline)
    return shapes.Story(**_facts(known), alerts=tuple(map(_alert, alerts)), timeline=events)


def event(row: RowMapping) -> shapes.Event:
    """Show a line of a timeline."""
    return shapes.Event(row["id"], rfc3339(row["at"]), row["kind"], row["text"])


def _facts(known: incidents.Incident) -> dict[str, Any]:
    (case,) = digest([known]).cases
    return {
        "id": known.id,
        "revision": known.revision,
        "state": known.state.value,
        "title": case.title,
        "summary": case.summary,
        "severity": case.severity,
        "receiver": known.slot.receiver,
        "source": known.slot.source,
        "drill": known.drill,
        "group": dict(known.slot.group),
        "alerts_firing": len(known.firing),
        "alerts_total": len(known.alerts),
        "truncated_alerts": known.truncated_alerts,
        "step": known.step,
        "next_ring_at": time(known.due_at),
        "opened_at": rfc3339(known.opened_at),
        "acknowledged_at": time(known.acknowledged_at),
        "acknowledged_by": known.acknowledged_by,
        "acknowledged_until": time(known.acknowledged_until),
        "silenced_until": time(known.silenced_until),
        "resolved_at": time(known.resolved_at),
        "resolution": known.resolution,
        "unanswered_at": time(known.unanswered_at),
        "external_url": known.external_url,
    }


def _alert(known: incidents.Episode) -> shapes.Alert:
    return shapes.Alert(
        fingerprint=known.fingerprint,
        status=known.status,
        labels=dict(known.labels),
        annotations=dict(known.annotations),
        starts_at=rfc3339(known.starts_at),
        ended_at=time(known.ended_at),
        generator_url=known.generator_url,
        runbook_url=_runbook(known.annotations),
        repairs=known.repairs,
    )


def _runbook(annotations: Mapping[str, str]) -> str:
    """Find the link under the names that people give it."""
    return annotations.get("runbook_url") or annotations.get("runbook") or ""
