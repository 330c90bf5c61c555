"""One incident from webhook to answer: each hand-over with its delay, and who rang when, drawn. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from bridge.incidents import Episode, Incident, State
from bridge.policy import Receiver
from bridge.views.ringing import Tone, severity_tone
from bridge.views.times import When, exact, maybe, when

WIDE: Final = 1000
"""The picture's width, in its own units."""

_TICKS: Final = 4
_LEAST: Final = timedelta(seconds=60)
_FINAL: Final = ("answered", "declined", "failed")
_TONES: Final[dict[str, Tone]] = {
    "acknowledged": "good",
    "answered": "good",
    "resolved": "good",
    "declined": "warn",
    "fallback": "warn",
    "gap": "warn",
    "out of step": "warn",
    "silenced": "warn",
    "unacknowledged": "warn",
    "cannot ring": "bad",
    "nobody reached": "bad",
    "unanswered": "bad",
    "note": "info",
    "ring": "info",
    "triggered": "info",
}


@dataclass(frozen=True, slots=True)
class Said:
    """What a phone said of a call, and when we heard it."""

    kind: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Phoned:
    """A call as it went out. `said` is in the order in which it came."""

    made_at: datetime
    expires_at: datetime
    accepted_at: datetime | None = None
    received_at: datetime | None = None
    said: tuple[Said, ...] = ()

    @property
    def final(self) -> Said | None:
        """Its end as the phone told it."""
        return next((one for one in self.said if one.kind in _FINAL), None)


@dataclass(frozen=True, slots=True)
class Push:
    """A page and what became of it; `outcome` None: it is on its way."""

    target: str
    kind: str
    series: int
    step: int
    ring: int
    created_at: datetime
    outcome: str | None = None
    reason: str | None = None
    settled_at: datetime | None = None
    call: Phoned | None = None


# --- hand-overs -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hop:
    """One hand-over: what, when, and how long after the one before."""

    what: str
    at: When
    delay: str
    tone: Tone = "quiet"


def hops(incident: Incident, pushes: Sequence[Push], now: datetime) -> tuple[Hop, ...]:
    """Tell the way from the webhook to the answer: by the call that was answered, else by the first."""
    loud = [push for push in pushes if push.kind in {"ring", "fallback"}]
    mine = [(push, push.call) for push in loud if push.call is not None]
    ended = [pair for pair in mine if pair[1].final is not None and pair[1].final.kind == "answered"]
    found: list[tuple[datetime, str, Tone]] = [(incident.opened_at, "alert committed", "quiet")]
    if mine:
        found += _way(*(ended[-1] if ended else mine[0]))
    if incident.acknowledged_at is not None:
        found.append((incident.acknowledged_at, f"{incident.acknowledged_by} has it", "good"))
    if incident.resolved_at is not None:
        found.append((incident.resolved_at, "over", "good"))
    found.sort(key=lambda one: one[0])
    return tuple(
        Hop(what, when(at, now), "" if before is None else f"+{exact(at - before)}", tone)
        for before, (at, what, tone) in zip([None, *(at for at, _, _ in found)], found, strict=False)
    )


def _way(push: Push, call: Phoned) -> Iterator[tuple[datetime, str, Tone]]:
    yield push.created_at, f"{push.target} is to ring", "quiet"
    yield call.made_at, "call made", "quiet"
    if call.accepted_at is not None:
        yield call.accepted_at, "Apple took it", "quiet"
    if call.received_at is not None:
        yield call.received_at, "phone has it", "info"
    if call.final is not None:
        yield call.final.at, call.final.kind, _TONES.get(call.final.kind, "bad")


# --- the picture ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a lane: `kind` is wait or ring, `x` and `width` are in units of WIDE."""

    kind: str
    x: float
    width: float
    tone: Tone
    text: str


@dataclass(frozen=True, slots=True)
class Lane:
    """One target, and what went to it."""

    target: str
    segments: tuple[Segment, ...]

    @property
    def text(self) -> str:
        """The lane in words, for those who do not see it."""
        return "; ".join(one.text for one in self.segments if one.kind == "ring")


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment that concerns all lanes."""

    x: float
    text: str


@dataclass(frozen=True, slots=True)
class Picture:
    """Who rang when, of the present escalation."""

    lanes: tuple[Lane, ...]
    ticks: tuple[str, ...]
    marks: tuple[Mark, ...]


def picture(incident: Incident, pushes: Sequence[Push], now: datetime) -> Picture | None:
    """Draw the newest escalation that rang anybody; None where none did."""
    loud = [push for push in pushes if push.kind in {"ring", "fallback", "webhook"}]
    if not loud:
        return None
    newest = max(push.series for push in loud)
    mine = [push for push in loud if push.series == newest]
    start = min(push.created_at for push in mine)
    moments = {"acknowledged": incident.acknowledged_at, "over": incident.resolved_at}
    ends = [at for at in moments.values() if at is not None and at >= start]
    last = max(_end(push, incident, now) for push in mine)
    end = max(min([now, *ends]), last, start + _LEAST)
    scale = _Scale(start, end - start)
    lanes = dict.fromkeys(push.target for push in mine)
    return Picture(
        tuple(Lane(name, tuple(_segments(name, mine, incident, scale, now))) for name in lanes),
        tuple(exact((end - start) * number / _TICKS) for number in range(_TICKS + 1)),
        tuple(
            Mark(scale.x(at), text) for text, at in moments.items() if at is not None and start <= at <= end
        ),
    )


@dataclass(frozen=True, slots=True)
class _Scale:
    start: datetime
    span: timedelta

    def x(self, at: datetime) -> float:
        return round(min(max((at - self.start) / self.span, 0), 1) * WIDE, 1)


def _segments(
    name: str, pushes: Iterable[Push], incident: Incident, scale: _Scale, now: datetime
) -> Iterator[Segment]:
    for push in pushes:
        if push.target != name:
            continue
        begun, end = _begun(push, now), _end(push, incident, now)
        x, to = scale.x(begun), scale.x(end)
        tone, text = _fate(push)
        words = f"step {push.step}, ring {push.ring}: {text}"
        since = scale.x(push.created_at)
        if x > since:
            yield Segment("wait", since, round(x - since, 1), "quiet", words)
        yield Segment("ring", x, round(max(to - x, WIDE / 160), 1), tone, words)


def _begun(push: Push, now: datetime) -> datetime:
    call = push.call
    known = (call.received_at, call.accepted_at, call.made_at) if call else (push.settled_at,)
    return min(next((at for at in known if at is not None), push.created_at), now)


def _end(push: Push, incident: Incident, now: datetime) -> datetime:
    begun, call = _begun(push, now), push.call
    if call is None or call.accepted_at is None:
        return begun
    if call.final is not None:
        return max(call.final.at, begun)
    held = [at for at in (incident.acknowledged_at, incident.resolved_at) if at is not None and at >= begun]
    return max(min([call.expires_at, now, *held]), begun)


def _fate(push: Push) -> tuple[Tone, str]:
    call = push.call
    if call is not None and call.final is not None:
        return _TONES.get(call.final.kind, "bad"), call.final.kind
    if call is not None and call.received_at is not None:
        return "info", "rang"
    if push.outcome == "accepted":
        return "quiet", "posted" if call is None else "Apple took it; no word from the phone"
    if push.outcome is None:
        return "quiet", "on its way"
    tone: Tone = "quiet" if push.outcome in {"withdrawn", "expired"} else "bad"
    return tone, f"{push.outcome}: {push.reason}" if push.reason else push.outcome


# --- what happened, alerts, and what can be done ----------------------------------------------


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the timeline."""

    at: When
    kind: str
    text: str
    tone: Tone | None


def lines(events: Iterable[tuple[datetime, str, str]], now: datetime) -> tuple[Line, ...]:
    """Tell what happened, the newest first: (when, kind, text)."""
    found = [Line(when(at, now), kind, text, _TONES.get(kind)) for at, kind, text in events]
    return tuple(reversed(found))


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert as it is shown. `links` are names with http(s) addresses, nothing else."""

    name: str
    status: str
    tone: Tone
    severity: str
    labels: tuple[tuple[str, str], ...]
    annotations: tuple[tuple[str, str], ...]
    links: tuple[tuple[str, str], ...]
    since: When
    ended: When | None
    repairs: tuple[str, ...]


def alert(episode: Episode, now: datetime) -> Alert:
    """Show an alert."""
    severity = episode.labels.get("severity", "none")
    plain = [(name, value) for name, value in sorted(episode.annotations.items()) if not web(value)]
    links = [(name, value) for name, value in sorted(episode.annotations.items()) if web(value)]
    if web(episode.generator_url):
        links.append(("source", episode.generator_url))
    return Alert(
        name=episode.labels.get("alertname", "") or "alert without a name",
        status=episode.status,
        tone=severity_tone(severity) if episode.open else "good",
        severity=severity,
        labels=tuple((name, value) for name, value in sorted(episode.labels.items()) if name != "alertname"),
        annotations=tuple(plain),
        links=tuple(links),
        since=when(episode.starts_at, now),
        ended=maybe(episode.ended_at, now),
        repairs=episode.repairs,
    )


def web(url: str) -> bool:
    """Tell whether a text is an address that a browser may be sent to: no script, no file."""
    return url.startswith(("https://", "http://")) and not any(char.isspace() for char in url)


def actions(incident: Incident, policy: Receiver) -> Mapping[str, bool]:
    """Say what a person can do to an incident now."""
    taken = incident.state is State.ACKNOWLEDGED
    return {
        "acknowledge": incident.open and not taken,
        "unacknowledge": taken,
        "silence": incident.open,
        "hand_on": incident.open and len(policy.steps) > 1,
        "note": True,
    }
