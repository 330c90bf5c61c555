"""From incidents to the JSON that a phone, or a last-resort webhook, is given. Pure: no I/O, no clock.

`docs/phone-protocol.md` describes the payloads field by field. The size limits are Apple's,
"Sending notification requests to APNs": 5,120 bytes for VoIP, 4,096 for the other types.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, get_args

import orjson
from jinja2 import Template, meta

from bridge import sealing
from bridge.digest import CALLER_NAME, REASON, RECEIVER, VARIABLES, Case, Digest, digest
from bridge.incidents import Episode, Incident, Page, PageKind
from bridge.policy import InterruptionLevel
from bridge.pushes import PushKind
from bridge.sealing import Seal
from bridge.templates import Bounded
from bridge.texts import number, one_line, rfc3339

VERSION: Final = 1
VOIP_LIMIT: Final = 5120
ALERT_LIMIT: Final = 4096

_RECEIPT: Final = 1536
"""The most that receipt_url and receipt_token may take, in bytes of JSON."""
_SEALED_RECEIPT: Final = 640
"""As _RECEIPT, where it is sealed: base64 and padding need room."""


@dataclass(frozen=True, slots=True)
class Shown:
    """The call, or the notification, as the phone will know it.

    `id` is the record to which receipts go, `uuid` is CallKit's. `receipt_url` None: no receipt
    is awaited. `receipt_token` is a capability for exactly this record.
    """

    id: str
    uuid: str
    expires_at: datetime
    receipt_url: str | None = None
    receipt_token: str | None = field(default=None, repr=False)


class Renderer:
    """Renders what phones get. The result always fits and is always UTF-8 JSON.

    `caller_name` and `reason` are Jinja2 templates, None = the bridge's own text. They can use, of
    the worst incident (the newest where several are): `alertname`, `severity`, `summary` (its
    annotation, else `description`, else labels), `receiver`, `source`; of all alerts: `labels` and
    `annotations`, those that are common; `incidents`, the 100 worst, the worst first, each with
    `id`, `revision`, `receiver`, `source`, `title`, `severity`, `summary`, `alerts` (a number) and
    `labels` (of its worst alert); `counts.alerts`, `counts.incidents`, `counts.truncated_alerts`;
    `notes`, which is ", and 3 more that Alertmanager did not show" and the like, or empty; `drill`,
    true where nothing is wrong. The lines of a drill begin with DRILL, whatever the templates say.

    A template that fails or gives nothing costs no page: the own text stands in, and `warn` is
    told, as it is at once of names that do not exist. Raises jinja2.TemplateSyntaxError for
    what is no template.
    """

    def __init__(
        self,
        caller_name: str | None = None,
        reason: str | None = None,
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._jinja = Bounded()
        self._warn = warn
        self._caller_name = self._compile("caller_name", caller_name)
        self._reason = self._compile("reason", reason)

    def push(
        self,
        shown: Shown,
        kind: PageKind,
        push: PushKind,
        incidents: Sequence[Incident],
        levels: Sequence[InterruptionLevel],
        seal: Seal | None = None,
    ) -> bytes:
        """Render what pages of this kind are told by; `levels` are those that they ask for.

        `seal` None: in the clear. What cannot be sealed says nothing; `sealing.sealed_how` tells.
        """
        if kind == "resolved":
            return self.resolved(shown, incidents, seal)
        if kind == "acknowledged":
            return self.acknowledged(shown, incidents, seal)
        if push == "voip":
            return self.voip(shown, incidents, seal)
        return self.alert(shown, incidents, min(levels, key=get_args(InterruptionLevel).index), seal)

    def voip(self, shown: Shown, incidents: Sequence[Incident], seal: Seal | None = None) -> bytes:
        """Render a call."""
        view = digest(incidents)
        caller_name, reason = self._lines(view)
        facts = {"call": self._call(shown, seal), "caller_name": caller_name, "reason": reason}
        payload = {"aps": {}, "v": VERSION} | facts | _facts(view)
        return self._encoded(payload, map(_entry, view.cases), VOIP_LIMIT, seal)

    def alert(
        self,
        shown: Shown,
        incidents: Sequence[Incident],
        level: InterruptionLevel,
        seal: Seal | None = None,
    ) -> bytes:
        """Render a notification that a person must see: a fallback, or a step with `push: alert`."""
        view = digest(incidents)
        call = self._call(shown, seal)
        aps = _aps(*self._lines(view), level)
        if "receipt_url" in call:
            aps["mutable-content"] = 1  # lets the app's notification service extension post the receipt
        payload = {"aps": aps, "v": VERSION, "kind": "alert", "call": call}
        return self._encoded(payload | _facts(view), map(_entry, view.cases), ALERT_LIMIT, seal)

    def resolved(self, shown: Shown, incidents: Sequence[Incident], seal: Seal | None = None) -> bytes:
        """Render the quiet notification that incidents are over, and whether they resolved or expired."""
        view = digest(incidents)
        aps = _aps(*_marked(view, *_over(view)), "passive")
        payload = {"aps": aps, "v": VERSION, "kind": "resolved", "call": self._quiet(shown, seal)}
        entries = (_entry(case) | {"resolution": _resolution(case)} for case in view.cases)
        return self._encoded(payload | _facts(view), entries, ALERT_LIMIT, seal)

    def acknowledged(self, shown: Shown, incidents: Sequence[Incident], seal: Seal | None = None) -> bytes:
        """Render the quiet notification that somebody has them."""
        view = digest(incidents)
        aps = _aps(*_marked(view, *_taken(view)), "passive")
        payload = {"aps": aps, "v": VERSION, "kind": "acknowledged", "call": self._quiet(shown, seal)}
        entries = (_entry(case) | {"acknowledged_by": _owner(case)} for case in view.cases)
        return self._encoded(payload | _facts(view), entries, ALERT_LIMIT, seal)

    def _encoded(
        self, payload: dict[str, Any], entries: Iterator[dict[str, Any]], limit: int, seal: Seal | None
    ) -> bytes:
        if seal is None:
            return orjson.dumps(_fit(payload, entries, limit))
        if seal.key is None:
            return orjson.dumps(sealing.without_key(payload))
        seen = sealing.shown(payload)
        room = sealing.room(seen, limit)
        content = _shorter(_fit(sealing.hidden(payload), entries, room), room)
        try:
            return orjson.dumps(sealing.sealed(seen, content, seal.key, seal.ephemeral))
        except ValueError:  # a ledger that was written by others; the log of the push says so
            return orjson.dumps(sealing.without_key(payload))

    def _lines(self, view: Digest) -> tuple[str, str]:
        return _marked(
            view,
            self._line("caller_name", self._caller_name, view, CALLER_NAME) or view.caller_name,
            self._line("reason", self._reason, view, REASON) or view.reason,
        )

    def _compile(self, key: str, text: str | None) -> Template | None:
        if text is None:
            return None
        template = self._jinja.compiled(text)
        for name in sorted(meta.find_undeclared_variables(self._jinja.parse(text)) - VARIABLES):
            self._warn(f"templates.{key}: there is no {name}")
        return template

    def _line(self, key: str, template: Template | None, view: Digest, limit: int) -> str:
        if template is None:
            return ""
        try:
            line = one_line(self._jinja.rendered(template, view.variables()), limit)
        except Exception as error:  # noqa: BLE001 - an operator's template can fail in any way, the page must go
            self._warn(f"templates.{key} failed: {type(error).__name__}: {one_line(str(error), REASON)}")
            return ""
        if not line:
            self._warn(f"templates.{key} gave nothing")
        return line

    def _quiet(self, shown: Shown, seal: Seal | None) -> dict[str, str]:
        """As `_call`. The app's extension must open what is sealed, but nobody awaits its receipt."""
        return self._call(shown if seal is None else replace(shown, receipt_url=None), seal)

    def _call(self, shown: Shown, seal: Seal | None) -> dict[str, str]:
        call = {"id": shown.id, "uuid": shown.uuid, "expires_at": rfc3339(shown.expires_at)}
        if shown.receipt_url is None:
            return call
        receipt = {"receipt_url": shown.receipt_url}
        if shown.receipt_token is not None:
            receipt["receipt_token"] = shown.receipt_token
        if len(orjson.dumps(receipt)) > (_RECEIPT if seal is None else _SEALED_RECEIPT):
            # A ring without a receipt is better than none.
            self._warn("receipt_url is too long for a push, and is left out")
            return call
        return call | receipt


def _aps(title: str, body: str, level: InterruptionLevel) -> dict[str, Any]:
    aps: dict[str, Any] = {"alert": {"title": title, "body": body}, "interruption-level": level}
    if level == "critical":
        return aps | {"sound": {"critical": 1, "name": "default", "volume": 1.0}}
    return aps if level == "passive" else aps | {"sound": "default"}


def _marked(view: Digest, title: str, body: str) -> tuple[str, str]:
    """Let nobody take a drill for the real thing: a template may have forgotten it."""
    if not view.drill:
        return title, body
    return one_line(f"DRILL {title}", CALLER_NAME), one_line(f"DRILL: {body}", REASON)


def _facts(view: Digest) -> dict[str, Any]:
    facts = {"severity": view.severity, "counts": view.counts}
    return facts | {"drill": True} if view.drill else facts


def _entry(case: Case) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "id": case.id,
        "revision": case.revision,
        "receiver": case.receiver,
        "title": case.title,
        "severity": case.severity,
        "alerts": case.alerts,
    }
    return entry | {"repaired": case.repaired} if case.repaired else entry


def _resolution(case: Case) -> str:
    return "expired" if case.incident.resolution == "expired" else "resolved"


def _owner(case: Case) -> str:
    return one_line(case.incident.acknowledged_by or "", RECEIVER) or "somebody"


def _taken(view: Digest) -> tuple[str, str]:
    if len(view.cases) == 1:
        case = view.cases[0]
        title = f"{_owner(case)} has {case.title}"
        return one_line(title, CALLER_NAME), one_line(f"{case.receiver}: {case.summary}", REASON)
    people = ", ".join(sorted({_owner(case) for case in view.cases}))
    title = f"{number(len(view.cases), 'incident')} acknowledged"
    return title, one_line(f"by {people}: {view.titles}", REASON)


def _over(view: Digest) -> tuple[str, str]:
    expired = sum(1 for case in view.cases if _resolution(case) == "expired")
    if len(view.cases) == 1:
        case = view.cases[0]
        unsure = ", not resolved: Alertmanager no longer mentions it" if expired else ""
        title = f"{'Expired' if expired else 'Resolved'}: {case.title}"
        body = one_line(f"{case.receiver}: {case.summary or case.title}", REASON - len(unsure)) + unsure
        return one_line(title, CALLER_NAME), body
    resolved = number(len(view.cases) - expired, "incident") + " resolved"
    return f"{resolved}, {expired} expired" if expired else resolved, view.titles


def _fit(payload: dict[str, Any], entries: Iterator[dict[str, Any]], limit: int) -> dict[str, Any]:
    """Add as many incidents as there is room for, the first in any case."""
    total = payload["counts"]["incidents"]
    room = limit - len(orjson.dumps(payload | {"incidents": [], "incidents_omitted": total}))
    kept: list[dict[str, Any]] = []
    for entry in entries:
        room -= len(orjson.dumps(entry)) + len(",")
        if kept and room < 0:
            break
        kept.append(entry)
    omitted = {"incidents_omitted": total - len(kept)} if len(kept) < total else {}
    return payload | {"incidents": kept} | omitted


def _shorter(content: dict[str, Any], limit: int) -> dict[str, Any]:
    """Cut the line that says why where even one incident is too much: JSON can double its length."""
    over = len(orjson.dumps(content)) - limit
    if over <= 0:
        return content
    lines, name = (content["alert"], "body") if "alert" in content else (content, "reason")
    short = lines | {name: one_line(lines[name], max(len(lines[name].encode()) - over, 4))}
    return content | {"alert": short} if "alert" in content else short


def outgoing_webhook(incident: Incident, page: Page, now: datetime) -> bytes:
    """Write the JSON for an outgoing webhook, version "1": all firing alerts, however large.

    `page_id` stays the same when the request is repeated.
    """
    view = digest([incident])
    return orjson.dumps(
        {
            "version": "1",
            "event": f"incident.{incident.state}",
            "sent_at": rfc3339(now),
            "page_id": page.id,
            "incident_id": incident.id,
            "revision": incident.revision,
            "state": str(incident.state),
            "opened_at": rfc3339(incident.opened_at),
            "receiver": incident.slot.receiver,
            "source": incident.slot.source,
            "group": dict(incident.slot.group),
            "severity": view.severity,
            "summary": _marked(view, "", view.reason)[1],
            "drill": view.drill,
            "alerts": [_alert(episode) for episode in incident.firing],
            "truncated_alerts": view.counts["truncated_alerts"],
            "step": page.step,
            "ring": page.ring,
            "external_url": incident.external_url,
        }
    )


def _alert(episode: Episode) -> dict[str, Any]:
    alert = {
        "fingerprint": episode.fingerprint,
        "labels": dict(episode.labels),
        "annotations": dict(episode.annotations),
        "generator_url": episode.generator_url,
        "starts_at": rfc3339(episode.starts_at),
    }
    return alert | {"repaired": list(episode.repairs)} if episode.repairs else alert
