"""From incidents to the JSON that a phone, or a last-resort webhook, is given. Pure: no I/O, no clock.

`docs/phone-protocol.md` describes the payloads field by field. The size limits are Apple's,
"Sending notification requests to APNs": 5,120 bytes for VoIP, 4,096 for the other types.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Any, Final
from unicodedata import category

import orjson
from jinja2 import Template
from jinja2.sandbox import ImmutableSandboxedEnvironment

from bridge.incidents import Episode, Incident, Page
from bridge.policy import InterruptionLevel

VERSION: Final = 1
VOIP_LIMIT: Final = 5120
ALERT_LIMIT: Final = 4096

# In bytes of UTF-8. JSON can double them (a text of quotation marks), and then all of them still fit
# beside one incident into the smaller payload.
_CALLER_NAME: Final = 128
_REASON: Final = 512
_TITLE: Final = 96
_RECEIVER: Final = 64
_SEVERITY: Final = 32
_NAME: Final = 64
_RECEIPT: Final = 1536
"""The most that receipt_url and receipt_token may take, in bytes of JSON."""

_TITLE_NAMES: Final = 3
_REASON_NAMES: Final = 5
_MOST: Final = 2**53 - 1
"""The largest number that every JSON reader keeps exactly; counts are not checked on arrival."""

_SEVERITIES: Final = {
    name: rank for rank, name in enumerate(("critical", "page", "error", "warning", "info"))
}

_SPACES: Final = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")
# What shows nothing and can turn a line around or hide in it: bidi controls and isolates, the
# invisible operators, byte-order and annotation marks, surrogates. Not the joiners U+200C and U+200D:
# Persian, Indic scripts and emoji need them.
_HIDDEN: Final = re.compile(
    "[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
_LOOKED_AT: Final = 4096
"""Of a longer text no more characters are read: a label can have megabytes."""

_JOINER: Final = "\u200d"
_FLAG_LETTERS: Final = "".join(map(chr, range(0x1F1E6, 0x1F200)))
_LONGEST_CLUSTER: Final = 32


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


# --- one-line texts -------------------------------------------------------------------------------


def one_line(text: str, limit: int) -> str:
    """Give the text as one line of at most `limit` (4 or more) bytes of UTF-8, with "…" where it was cut.

    Spaces and control characters become one space; what could hide or turn text is left out.
    """
    head = text[:_LOOKED_AT]
    line = _SPACES.sub(" ", _HIDDEN.sub("", head)).strip()
    if len(head) == len(text) and len(line.encode()) <= limit:
        return line
    kept = len(line.encode()[: limit - len("…".encode())].decode(errors="ignore"))
    return line[: _boundary(line, kept)].rstrip() + "…"


def _boundary(line: str, at: int) -> int:
    """Find the nearest place from `at` backwards where no character that is seen as one would break."""
    for place in range(at, max(at - _LONGEST_CLUSTER, 0), -1):
        if place == len(line) or not _joined(line, place):
            return place
    return at


def _joined(line: str, at: int) -> bool:
    before, after = line[at - 1], line[at]
    if _JOINER in (before, after) or category(after).startswith("M"):
        return True
    if "\U0001f3fb" <= after <= "\U0001f3ff" or "\U000e0020" <= after <= "\U000e007f":
        return True  # a skin tone; a tag, as in the flag of Scotland
    start = line[:at]
    return after in _FLAG_LETTERS and (len(start) - len(start.rstrip(_FLAG_LETTERS))) % 2 == 1


def _some(names: Iterable[str], most: int, limit: int) -> str:
    """Name the first few of many, each once."""
    seen = list(islice(dict.fromkeys(names), most + 1))
    lines = [one_line(name, _NAME) for name in seen[:most]]
    return one_line(", ".join([*lines, "…"] if len(seen) > most else lines), limit)


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


# --- what is shown of incidents -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Case:
    """One incident as it is shown. `episodes` fire; where none does any more, they are all that did.

    `head` is the worst of them, the newest where several are: it speaks for the incident.
    """

    incident: Incident
    episodes: tuple[Episode, ...]
    head: Episode | None

    @property
    def id(self) -> str:
        return self.incident.id

    @property
    def revision(self) -> int:
        return self.incident.revision

    @property
    def receiver(self) -> str:
        return one_line(self.incident.slot.receiver, _RECEIVER)

    @property
    def source(self) -> str:
        return one_line(self.incident.slot.source, _RECEIVER)

    @property
    def labels(self) -> Mapping[str, str]:
        return self.head.labels if self.head else {}

    @property
    def title(self) -> str:
        first = [self.head] if self.head else []
        return _some(map(_name, chain(first, self.episodes)), _TITLE_NAMES, _TITLE) or _name(None)

    @property
    def severity(self) -> str:
        return one_line(self.labels.get("severity", ""), _SEVERITY) or "none"

    @property
    def alerts(self) -> int:
        return len(self.episodes)

    @property
    def summary(self) -> str:
        """The worst alert's summary, else its description, else its labels."""
        annotations = self.head.annotations if self.head else {}
        for text in (annotations.get("summary", ""), annotations.get("description", "")):
            if line := one_line(text, _REASON):
                return line
        shown = (f"{key[:_NAME]}={value[:_REASON]}" for key, value in sorted(self.labels.items()))
        return one_line(", ".join(islice(shown, _REASON_NAMES)), _REASON)

    @property
    def repaired(self) -> int:
        """How many of the alerts came damaged and were repaired (rule 7)."""
        return sum(1 for episode in self.episodes if episode.repairs)


def _name(episode: Episode | None) -> str:
    name = episode.labels.get("alertname", "") if episode else ""
    return name if one_line(name[:_LOOKED_AT], _NAME) else "alert without a name"


def _rank(episode: Episode) -> tuple[int, float, str]:
    severity = episode.labels.get("severity", "")[:_SEVERITY].strip().casefold()
    return _SEVERITIES.get(severity, len(_SEVERITIES)), -episode.starts_at.timestamp(), episode.fingerprint


def _case(incident: Incident) -> _Case:
    episodes = incident.firing or tuple(incident.alerts.values())
    return _Case(incident, episodes, min(episodes, key=_rank, default=None))


def _order(case: _Case) -> tuple[int, float, str]:
    if case.head is None:
        return len(_SEVERITIES), -case.incident.opened_at.timestamp(), case.id
    return *_rank(case.head)[:2], case.id


@dataclass(frozen=True, slots=True)
class _View:
    """All incidents of one push, the worst first."""

    cases: tuple[_Case, ...]
    counts: Mapping[str, int]

    @property
    def severity(self) -> str:
        return self.cases[0].severity if self.cases else "none"

    @property
    def caller_name(self) -> str:
        if len(self.cases) != 1:
            return _number(len(self.cases), "incident")
        severity = "" if self.severity == "none" else f"{self.severity.upper()} "
        return one_line(severity + self.cases[0].title, _CALLER_NAME)

    @property
    def reason(self) -> str:
        if len(self.cases) == 1:
            text = f"{self.cases[0].receiver}: {self.cases[0].summary or self.cases[0].title}"
        else:
            many = f"{_number(self.counts['alerts'], 'alert')} in {_number(len(self.cases), 'incident')}"
            text = f"{many}: {self.titles}" if self.cases else many
        # The notes survive however long the text is.
        return one_line(text, _REASON - len(self.notes.encode())) + self.notes

    @property
    def titles(self) -> str:
        return _some((_name(case.head) for case in self.cases), _REASON_NAMES, _REASON)

    @property
    def notes(self) -> str:
        """What the person must know beside the text; "" or beginning with a comma."""
        notes = []
        if len(self.cases) == 1 and self.counts["alerts"] > 1:
            notes.append(f"and {_number(self.counts['alerts'] - 1, 'more alert')}")
        if self.counts["truncated_alerts"]:
            notes.append(f"and {self.counts['truncated_alerts']} more that Alertmanager did not show")
        if repaired := sum(case.repaired for case in self.cases):
            notes.append(f"{_number(repaired, 'alert')} came damaged")
        return "".join(f", {note}" for note in notes)

    def variables(self) -> dict[str, Any]:
        """Give what templates can use, as Renderer lists it."""
        first = self.cases[0] if self.cases else None
        episodes = [episode for case in self.cases for episode in case.episodes]
        return {
            "alertname": _name(first.head if first else None),
            "severity": self.severity,
            "summary": first.summary if first else "",
            "receiver": first.receiver if first else "",
            "source": first.source if first else "",
            "labels": _common(episode.labels for episode in episodes),
            "annotations": _common(episode.annotations for episode in episodes),
            "incidents": self.cases,
            "counts": self.counts,
            "notes": self.notes,
        }


def _common(mappings: Iterable[Mapping[str, str]]) -> dict[str, str]:
    rest = iter(mappings)
    common = dict(next(rest, {}))
    for other in rest:
        common = {key: value for key, value in common.items() if other.get(key) == value}
    return common


def _view(incidents: Sequence[Incident]) -> _View:
    cases = tuple(sorted(map(_case, incidents), key=_order))
    # The incidents that came out of one notification all carry its one number.
    truncated: dict[tuple[str, str], int] = {}
    for incident in incidents:
        key = (incident.slot.source, incident.group_key)
        truncated[key] = max(truncated.get(key, 0), incident.truncated_alerts)
    counts = {
        "alerts": sum(case.alerts for case in cases),
        "incidents": len(cases),
        "truncated_alerts": min(sum(truncated.values()), _MOST),
    }
    return _View(cases, counts)


# --- payloads -------------------------------------------------------------------------------------


class Renderer:
    """Renders what phones get. The result always fits and is always UTF-8 JSON.

    `caller_name` and `reason` are Jinja2 templates, None = the bridge's own text. They can use, of
    the worst incident (the newest where several are): `alertname`, `severity`, `summary` (its
    annotation, else `description`, else labels), `receiver`, `source`; of all alerts: `labels` and
    `annotations`, those that are common; `incidents`, the worst first, each with `id`, `revision`,
    `receiver`, `source`, `title`, `severity`, `summary`, `alerts` (a number) and `labels` (of its
    worst alert); `counts.alerts`, `counts.incidents`, `counts.truncated_alerts`; `notes`, which is
    ", and 3 more that Alertmanager did not show" and the like, or empty.

    A template that fails or gives nothing costs no page: the own text stands in, and `warn` is
    told. Raises jinja2.TemplateSyntaxError for what is no template.
    """

    def __init__(
        self,
        caller_name: str | None = None,
        reason: str | None = None,
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        # Unoptimized: the optimizer would compute `{{ 9**9**9 }}` while it compiles.
        jinja = ImmutableSandboxedEnvironment(autoescape=False, optimized=False)
        self._caller_name = None if caller_name is None else jinja.from_string(caller_name)
        self._reason = None if reason is None else jinja.from_string(reason)
        self._warn = warn

    def voip(self, shown: Shown, incidents: Sequence[Incident]) -> bytes:
        """Render a call."""
        view = _view(incidents)
        caller_name, reason = self._lines(view)
        facts = {"call": self._call(shown), "caller_name": caller_name, "reason": reason}
        return _fit({"aps": {}, "v": VERSION} | facts | _facts(view), map(_entry, view.cases), VOIP_LIMIT)

    def alert(self, shown: Shown, incidents: Sequence[Incident], level: InterruptionLevel) -> bytes:
        """Render a notification that a person must see: a fallback, or a step with `push: alert`."""
        view = _view(incidents)
        aps = _aps(*self._lines(view), level)
        payload = {"aps": aps, "v": VERSION, "kind": "alert", "call": self._call(shown)}
        return _fit(payload | _facts(view), map(_entry, view.cases), ALERT_LIMIT)

    def resolved(self, shown: Shown, incidents: Sequence[Incident]) -> bytes:
        """Render the quiet notification that incidents are over, and whether they resolved or expired."""
        view = _view(incidents)
        aps = _aps(*_over(view), "passive")
        payload = {"aps": aps, "v": VERSION, "kind": "resolved", "call": self._call(shown)}
        entries = (_entry(case) | {"resolution": _resolution(case)} for case in view.cases)
        return _fit(payload | _facts(view), entries, ALERT_LIMIT)

    def _lines(self, view: _View) -> tuple[str, str]:
        return (
            self._line("caller_name", self._caller_name, view, _CALLER_NAME) or view.caller_name,
            self._line("reason", self._reason, view, _REASON) or view.reason,
        )

    def _line(self, key: str, template: Template | None, view: _View, limit: int) -> str:
        if template is None:
            return ""
        try:
            line = one_line(template.render(view.variables()), limit)
        except Exception as error:  # noqa: BLE001 - an operator's template can fail in any way, the page must go
            self._warn(f"templates.{key} failed: {type(error).__name__}: {one_line(str(error), _REASON)}")
            return ""
        if not line:
            self._warn(f"templates.{key} gave nothing")
        return line

    def _call(self, shown: Shown) -> dict[str, str]:
        call = {"id": shown.id, "uuid": shown.uuid, "expires_at": _time(shown.expires_at)}
        if shown.receipt_url is None:
            return call
        receipt = {"receipt_url": shown.receipt_url}
        if shown.receipt_token is not None:
            receipt["receipt_token"] = shown.receipt_token
        if len(orjson.dumps(receipt)) > _RECEIPT:
            # A ring without a receipt is better than none.
            self._warn("receipt_url is too long for a push, and is left out")
            return call
        return call | receipt


def _aps(title: str, body: str, level: InterruptionLevel) -> dict[str, Any]:
    aps: dict[str, Any] = {"alert": {"title": title, "body": body}, "interruption-level": level}
    if level == "critical":
        return aps | {"sound": {"critical": 1, "name": "default", "volume": 1.0}}
    return aps if level == "passive" else aps | {"sound": "default"}


def _facts(view: _View) -> dict[str, Any]:
    return {"severity": view.severity, "counts": view.counts}


def _entry(case: _Case) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "id": case.id,
        "revision": case.revision,
        "receiver": case.receiver,
        "title": case.title,
        "severity": case.severity,
        "alerts": case.alerts,
    }
    return entry | {"repaired": case.repaired} if case.repaired else entry


def _resolution(case: _Case) -> str:
    return "expired" if case.incident.resolution == "expired" else "resolved"


def _over(view: _View) -> tuple[str, str]:
    expired = sum(1 for case in view.cases if _resolution(case) == "expired")
    unsure = ", not resolved: Alertmanager no longer mentions it" if expired else ""
    if len(view.cases) == 1:
        title = f"{'Expired' if expired else 'Resolved'}: {view.cases[0].title}"
        body = f"{view.cases[0].receiver}: {view.cases[0].summary or view.cases[0].title}"
    else:
        resolved = _number(len(view.cases) - expired, "incident") + " resolved"
        title = f"{resolved}, {expired} expired" if expired else resolved
        body = view.titles
    return one_line(title, _CALLER_NAME), one_line(body, _REASON - len(unsure)) + unsure


def _fit(payload: dict[str, Any], entries: Iterator[dict[str, Any]], limit: int) -> bytes:
    """Encode with as many incidents as there is room for, the first in any case."""
    total = payload["counts"]["incidents"]
    room = limit - len(orjson.dumps(payload | {"incidents": [], "incidents_omitted": total}))
    kept: list[dict[str, Any]] = []
    for entry in entries:
        room -= len(orjson.dumps(entry)) + len(",")
        if kept and room < 0:
            break
        kept.append(entry)
    omitted = {"incidents_omitted": total - len(kept)} if len(kept) < total else {}
    return orjson.dumps(payload | {"incidents": kept} | omitted)


def _time(at: datetime) -> str:
    """Write RFC 3339 in UTC, always with milliseconds, so that a phone needs one format alone."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# --- webhooks -------------------------------------------------------------------------------------


def outgoing_webhook(incident: Incident, page: Page, now: datetime) -> bytes:
    """Write the JSON for an outgoing webhook, version "1": all firing alerts, however large.

    `page_id` stays the same when the request is repeated.
    """
    view = _view([incident])
    return orjson.dumps(
        {
            "version": "1",
            "event": f"incident.{incident.state}",
            "sent_at": _time(now),
            "page_id": page.id,
            "incident_id": incident.id,
            "revision": incident.revision,
            "state": str(incident.state),
            "opened_at": _time(incident.opened_at),
            "receiver": incident.slot.receiver,
            "source": incident.slot.source,
            "group": dict(incident.slot.group),
            "severity": view.severity,
            "summary": view.reason,
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
        "starts_at": _time(episode.starts_at),
    }
    return alert | {"repaired": list(episode.repairs)} if episode.repairs else alert
