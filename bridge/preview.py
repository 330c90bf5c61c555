"""What a webhook's body would be told by: each kind of push, rendered by what renders it when it is sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import orjson
from msgspec.structs import replace

from bridge import alerts, drills, lifecycle, onfile, people, watchdogs
from bridge.alerts import Notification
from bridge.api.phone import receipt_token
from bridge.bundles import Call
from bridge.config import Settings
from bridge.desk import destinations
from bridge.incidents import Change, Incident, PageKind, Slot, make_page, stable_id
from bridge.lifecycle import Times
from bridge.listings import text
from bridge.oncall import OnCall
from bridge.payloads import ALERT_LIMIT, VOIP_LIMIT, Renderer, outgoing_webhook
from bridge.policy import Step
from bridge.pushes import PushKind
from bridge.sender import Phones
from bridge.texts import number

_LASTS: Final = timedelta(seconds=30)
_NO_KEY: Final = bytes(32)
"""Its receipt tokens are as long as real ones, and worth nothing."""
_CUT: Final = "…"


@dataclass(frozen=True, slots=True)
class _Scene:
    """What stays the same for all kinds."""

    settings: Settings
    renderer: Renderer
    phones: Phones
    on_call: OnCall
    now: datetime
    warnings: list[str]

    def push(
        self, title: str, kind: PageKind, push: PushKind, incidents: Sequence[Incident], steps: Sequence[Step]
    ) -> dict[str, Any]:
        """Render one push that carries all these incidents, as for a phone that all of them ring."""
        carries = tuple(sorted((one.id, one.revision) for one in incidents))
        name = f"preview {title}"
        ids = stable_id("call record", name), stable_id("call", name)
        call = Call(*ids, "", push, kind, carries, self.now, self.now + _LASTS)
        levels = [step.interruption_level for step in steps]
        payload = self.renderer.push(self.phones.shown(call), kind, push, incidents, levels)
        return _told(title, push, payload, VOIP_LIMIT if push == "voip" else ALERT_LIMIT)


def previewed(settings: Settings, body: bytes, source: str, now: datetime, phone_url: str) -> dict[str, Any]:
    """Render all kinds; docs/json.md describes the answer. Raises ValueError for what is no such body."""
    notification = _firing(alerts.parse(body, source, now))
    kept, beats = watchdogs.take_out(settings.heartbeats.values(), notification, now)
    warnings: list[str] = []
    templates = settings.templates
    renderer = Renderer(templates.caller_name, templates.reason, warnings.append)
    phones = Phones(phone_url, lambda call_id: receipt_token(_NO_KEY, call_id))
    scene = _Scene(settings, renderer, phones, onfile.on_call(settings), now, warnings)
    opened = _received(scene, {}, kept)
    pushes = list(_pushes(scene, kept, opened)) if opened else []
    return {
        "at": now.isoformat(),
        "source": source,
        "heartbeats": list(beats),
        "incidents": [
            {
                "receiver": one.slot.receiver,
                "group": dict(one.slot.group),
                "alerts": len(one.firing),
                "repaired": sum(1 for episode in one.firing if episode.repairs),
            }
            for one in opened
        ],
        "warnings": list(dict.fromkeys(warnings)),
        "pushes": pushes,
    }


def _firing(notification: Notification) -> Notification:
    """Take a body that tells of the end alone for that of the beginning: else it would open nothing."""
    if any(alert.firing for alert in notification.alerts):
        return notification
    begun = (replace(alert, firing=True, ends_at=None) for alert in notification.alerts)
    return replace(notification, alerts=tuple(begun))


def _received(scene: _Scene, known: Mapping[Slot, Incident], notification: Notification) -> list[Incident]:
    settings = scene.settings
    ways = {
        alert.fingerprint: destinations(settings, notification.source, alert.labels, scene.now)
        for alert in notification.alerts
    }
    times = Times(settings.alert_ttl, settings.refire_quiet)
    changes = lifecycle.receive(
        known, notification, ways, settings.policy_of, scene.on_call, times, scene.now
    )
    return [change.incident for change in changes if change.incident.revision]


def _pushes(scene: _Scene, notification: Notification, opened: list[Incident]) -> Iterator[dict[str, Any]]:
    settings, now = scene.settings, scene.now
    steps = [settings.policy_of(one.slot).steps[0] for one in opened]
    yield scene.push("a call", "ring", "voip", opened, steps)
    yield scene.push("a notification", "fallback", "alert", opened, steps)
    by = next(iter(settings.people), "somebody")
    taken = [
        people.acknowledge(by)(Change(one), settings.policy_of(one.slot), scene.on_call, now).incident
        for one in opened
    ]
    yield scene.push("acknowledged", "acknowledged", "alert", taken, steps)
    ended = tuple(replace(alert, firing=False, ends_at=now) for alert in notification.alerts)
    known = {one.slot: one for one in opened}
    over = _received(scene, known, replace(notification, alerts=ended))
    yield scene.push("resolved", "resolved", "alert", over, steps)
    name = opened[0].slot.receiver
    slot = drills.slot("receiver", name, "preview")
    policy = settings.policy_of(slot)
    drill = drills.begin(slot, "TestCall", f"{name} is tried out by {by}", _LASTS, policy, scene.on_call, now)
    yield scene.push("a drill", "ring", "voip", [drill.incident], policy.steps[:1])
    page = make_page(opened[0], steps[0], "webhook", "preview", now, now + _LASTS)
    yield _told("an outgoing webhook", None, outgoing_webhook(opened[0], page, now), None)


def _told(title: str, push: PushKind | None, payload: bytes, limit: int | None) -> dict[str, Any]:
    plain = orjson.loads(payload)
    return {
        "kind": title,
        "push": push,
        "bytes": len(payload),
        "limit": limit,
        "cut": list(_cut(plain, "")),
        "incidents_omitted": plain.get("incidents_omitted", 0),
        "payload": plain,
    }


def _cut(value: Any, path: str) -> Iterator[str]:
    """Name the texts that were cut: they end with the mark of it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _cut(inner, f"{path}.{key}".removeprefix("."))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _cut(inner, f"{path}[{index}]")
    elif isinstance(value, str) and value.endswith(_CUT):
        yield path


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Print it."""
    yield from (
        f"heartbeat {text(name)}: it is no incident, and rings nobody" for name in found["heartbeats"]
    )
    for one in found["incidents"]:
        group = ", ".join(f"{text(name)}={text(value)!r}" for name, value in one["group"].items())
        damaged = f", {one['repaired']} of them came damaged" if one["repaired"] else ""
        yield f"incident of {text(one['receiver'])}: {number(one['alerts'], 'alert')}{damaged}  {group}"
    if not found["incidents"]:
        yield "no incident opens"
    yield from (f"WARNING: {text(warning)}" for warning in found["warnings"])
    for push in found["pushes"]:
        yield ""
        yield _title(push)
        yield from (f"  cut: {text(path)}" for path in push["cut"])
        if push["incidents_omitted"]:
            yield f"  {number(push['incidents_omitted'], 'incident')} left out for want of room"
        shown = orjson.dumps(push["payload"], option=orjson.OPT_INDENT_2).decode()
        yield from (f"  {line}" for line in shown.splitlines())


def _title(push: Mapping[str, Any]) -> str:
    of = {"voip": ", a VoIP push", "alert": ", an alert push"}.get(push["push"], "")
    limit = f" of {push['limit']:,}" if push["limit"] else ""
    return f"{push['kind']}{of}: {push['bytes']:,}{limit} bytes"
