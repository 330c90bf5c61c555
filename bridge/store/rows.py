"""Between the ledger's rows and the nouns of the pure floor."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import orjson
from sqlalchemy import RowMapping

from bridge.incidents import Episode, Incident, Page, Slot, State
from bridge.oncall import Phone
from bridge.store.stage import Accepted

_FINGERPRINT: Final = 16
_PAGE_FIELDS: Final = Page.__struct_fields__


def slot_key(slot: Slot) -> str:
    """Digest a slot: the key that the unique index holds."""
    return hashlib.sha256(orjson.dumps([slot.source, slot.receiver, slot.group])).hexdigest()


def incident_row(incident: Incident) -> dict[str, Any]:
    """Give the columns of an incident; its episodes are rows of their own."""
    return {
        "id": incident.id,
        "slot": slot_key(incident.slot),
        "source": incident.slot.source,
        "receiver": incident.slot.receiver,
        "group_values": [list(pair) for pair in incident.slot.group],
        "state": incident.state.value,
        "revision": incident.revision,
        "series": incident.series,
        "round": incident.round,
        "step": incident.step,
        "ring": incident.ring,
        "due_at": incident.due_at,
        "wake_at": incident.wake_at,
        "step_ends_at": incident.step_ends_at,
        "reached": incident.reached,
        "out": dict(incident.out),
        "stand_ins": list(incident.stand_ins),
        "told": list(incident.told),
        "opened_at": incident.opened_at,
        "acknowledged_at": incident.acknowledged_at,
        "acknowledged_by": incident.acknowledged_by,
        "acknowledged_until": incident.acknowledged_until,
        "ack_silence_until": incident.ack_silence_until,
        "silenced_until": incident.silenced_until,
        "silenced_by": incident.silenced_by,
        "resolved_at": incident.resolved_at,
        "resolution": incident.resolution,
        "unanswered_at": incident.unanswered_at,
        "group_key": incident.group_key,
        "external_url": incident.external_url,
        "truncated_alerts": incident.truncated_alerts,
        "traceparent": incident.traceparent or None,
    }


def incident(row: RowMapping, alerts: Mapping[str, Episode]) -> Incident:
    """Read an incident with its episodes."""
    group = tuple((name, value) for name, value in row["group_values"])
    return Incident(
        id=row["id"],
        slot=Slot(row["source"], row["receiver"], group),
        opened_at=row["opened_at"],
        state=State(row["state"]),
        revision=row["revision"],
        series=row["series"],
        round=row["round"],
        step=row["step"],
        ring=row["ring"],
        due_at=row["due_at"],
        step_ends_at=row["step_ends_at"],
        reached=row["reached"],
        out=row["out"],
        stand_ins=tuple(row["stand_ins"]),
        told=tuple(row["told"]),
        acknowledged_at=row["acknowledged_at"],
        acknowledged_by=row["acknowledged_by"],
        acknowledged_until=row["acknowledged_until"],
        ack_silence_until=row["ack_silence_until"],
        silenced_until=row["silenced_until"],
        silenced_by=row["silenced_by"],
        resolved_at=row["resolved_at"],
        resolution=row["resolution"],
        unanswered_at=row["unanswered_at"],
        group_key=row["group_key"],
        external_url=row["external_url"],
        truncated_alerts=row["truncated_alerts"],
        traceparent=row["traceparent"] or "",
        alerts=alerts,
    )


def episode_row(incident_id: str, source: str, episode: Episode) -> dict[str, Any]:
    """Give the columns of one episode."""
    return {
        "incident_id": incident_id,
        "fingerprint": episode.fingerprint,
        "source": source,
        "status": episode.status,
        "labels": dict(episode.labels),
        "annotations": dict(episode.annotations),
        "generator_url": episode.generator_url,
        "starts_at": episode.starts_at,
        "expires_at": episode.expires_at,
        "ended_at": episode.ended_at,
        "ended_here_at": episode.ended_here_at,
        "revision": episode.revision,
        "repairs": list(episode.repairs),
        "seen": episode.seen,
        "opened_here_at": episode.opened_here_at,
        "mentioned_at": episode.mentioned_at,
    }


def episode(row: RowMapping) -> Episode:
    """Read one episode."""
    return Episode(
        fingerprint=row["fingerprint"],
        labels=row["labels"],
        annotations=row["annotations"],
        generator_url=row["generator_url"],
        starts_at=row["starts_at"],
        expires_at=row["expires_at"],
        status=row["status"],
        ended_at=row["ended_at"],
        ended_here_at=row["ended_here_at"],
        revision=row["revision"],
        repairs=tuple(row["repairs"]),
        seen=row["seen"],
        opened_here_at=row["opened_here_at"],
        mentioned_at=row["mentioned_at"],
    )


def notification_row(accepted: Accepted) -> dict[str, Any]:
    """Give the columns of a notification that was accepted: no more than what an audit needs."""
    given = accepted.notification.alerts
    firing = dict.fromkeys(alert.fingerprint for alert in given if alert.firing)
    ended = dict.fromkeys(alert.fingerprint for alert in given if not alert.firing)
    at, incidents = accepted.at, accepted.incidents
    return {
        "at": at,
        "source": accepted.notification.source,
        "firing": _ways(firing, incidents, lambda episode: episode.mentioned_at == at),
        "resolved": _ways(ended, incidents, lambda episode: episode.ended_here_at == at),
    }


def _ways(
    wanted: Mapping[str, None], incidents: Iterable[Incident], took_in: Callable[[Episode], bool]
) -> str:
    """Write down alerts by the incident that took them in; those that none did, under no name."""
    left, found = dict(wanted), []
    for incident in incidents:
        mine = [name for name in wanted.keys() & incident.alerts.keys() if took_in(incident.alerts[name])]
        if mine:
            found.append(f"{incident.id}:{''.join(mine)}")
        for name in mine:
            left.pop(name, None)
    return " ".join([*found, f":{''.join(left)}"] if left else found)


def ways(text: str) -> dict[str, tuple[str, ...]]:
    """Read the fingerprints of alerts by the incident that took them in; none has no name."""
    pairs = (word.partition(":") for word in text.split())
    return {
        name: tuple(digits[start : start + _FINGERPRINT] for start in range(0, len(digits), _FINGERPRINT))
        for name, _, digits in pairs
    }


def page_row(page: Page, created_at: datetime, withdrawn: str | None = None) -> dict[str, Any]:
    """Give the columns of a page that enters the outbox, or that was withdrawn before it could."""
    return {
        **{name: getattr(page, name) for name in _PAGE_FIELDS},
        "state": "settled" if withdrawn else "waiting",
        "withdrawn": withdrawn,
        "outcome": "withdrawn" if withdrawn else None,
        "reason": withdrawn,
        "settled_at": created_at if withdrawn else None,
        "attempt": 0,
        "next_attempt_at": page.due_at,
        "created_at": created_at,
    }


def page(row: RowMapping) -> Page:
    """Read a page; its delivery state stays in the row."""
    return Page(**{name: row[name] for name in _PAGE_FIELDS})


def phone(row: RowMapping) -> Phone:
    """Read what a decision needs to know of a device."""
    voip = row["voip_token"] is not None and row["voip_trouble"] is None
    alert = row["alert_token"] is not None and row["alert_trouble"] is None
    trouble = row["voip_trouble"] or row["alert_trouble"]
    return Phone(row["name"], row["owner"], voip, alert, enrolled=row["enrolled"], trouble=trouble)
