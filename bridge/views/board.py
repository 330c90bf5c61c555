"""The first page: what rings now, how the bridge is. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from bridge.digest import digest
from bridge.incidents import Incident
from bridge.oncall import OnCall
from bridge.policy import Receiver
from bridge.texts import number
from bridge.views.ringing import Holder, Next, Tone, holder, severity_tone, upcoming
from bridge.views.times import When, exact, rough, when
from bridge.watchdogs import Watch


@dataclass(frozen=True, slots=True)
class Listed:
    """An incident as the ledger lists it: with a few of its alerts, the worst first; `firing` counts all."""

    incident: Incident
    firing: int
    alerts: int


@dataclass(frozen=True, slots=True)
class Row:
    """An incident in a list. `key` is its id as HTML takes one."""

    id: str
    title: str
    summary: str
    severity: str
    tone: Tone
    holder: Holder
    receiver: str
    source: str
    drill: bool
    alerts: str
    opened: When
    closed: When | None
    lasted: str
    next: Next


def row(listed: Listed, policy: Receiver, on_call: OnCall, now: datetime) -> Row:
    """Say of an incident what a list shows."""
    incident = listed.incident
    (case,) = digest([incident]).cases
    end = incident.resolved_at
    return Row(
        id=incident.id,
        title=case.title,
        summary=case.summary,
        severity=case.severity,
        tone=severity_tone(case.severity),
        holder=holder(incident),
        receiver=case.receiver,
        source=case.source,
        drill=incident.drill,
        alerts=number(listed.firing if incident.open else listed.alerts, "alert"),
        opened=when(incident.opened_at, now),
        closed=None if end is None else when(end, now),
        lasted=exact((end or now) - incident.opened_at),
        next=upcoming(incident, policy, on_call, now),
    )


@dataclass(frozen=True, slots=True)
class Counts:
    """How many incidents are open, by state."""

    triggered: int = 0
    acknowledged: int = 0
    unanswered: int = 0

    @property
    def open(self) -> int:
        """All of them."""
        return self.triggered + self.acknowledged


@dataclass(frozen=True, slots=True)
class Headline:
    """The one sentence that is read first."""

    text: str
    more: str
    tone: Tone


def headline(counts: Counts) -> Headline:
    """Say whether anything rings."""
    ringing = counts.triggered - counts.unanswered
    has = f"{number(counts.acknowledged, 'incident')} acknowledged" if counts.acknowledged else ""
    if counts.unanswered:
        rest = [f"{number(ringing, 'incident')} ringing" if ringing else "", has]
        more = ", ".join(part for part in rest if part) or "Nobody is rung for it any more."
        return Headline(f"{number(counts.unanswered, 'incident')} unanswered", more, "bad")
    if ringing:
        return Headline(f"{number(ringing, 'incident')} ringing", has or "Nobody has it yet.", "bad")
    if has:
        return Headline("Nothing is ringing", f"{has}.", "info")
    return Headline("Nothing is ringing", "No incident is open.", "good")


@dataclass(frozen=True, slots=True)
class Sign:
    """How a part of the bridge is: its name, a word, and more where there is more."""

    name: str
    tone: Tone
    text: str
    detail: str = ""


def apple(usable: bool, misconfigured: str | None, error: str | None) -> Sign:
    """How the way to Apple is."""
    if misconfigured:
        return Sign("Apple (APNs)", "bad", "refuses every push", misconfigured)
    if not usable:
        return Sign("Apple (APNs)", "bad", "cannot be used", error or "there is no connection")
    return Sign("Apple (APNs)", "good", "connected")


def ledger(reasons: Sequence[str], overdue: int) -> Sign:
    """How the ledger and the loops on it are; `reasons` why the bridge is not ready."""
    if reasons:
        return Sign("Ledger", "bad", "does not work", "; ".join(reasons))
    if overdue:
        return Sign("Ledger", "bad", f"{number(overdue, 'page')} overdue", "no outcome after two minutes")
    return Sign("Ledger", "good", "commits")


def phones(ringing: int, doubtful: int, silent: int, bare: int = 0) -> Sign:
    """How many phones would ring tonight; `bare` of all have no encryption key, though they should."""
    if not (ringing or doubtful or silent):
        return Sign("Phones", "bad", "there are none", "enrol one")
    of = ringing + doubtful + silent
    bad = {"doubtful": doubtful, "cannot ring": silent, "without a key": bare}
    detail = ", ".join(f"{count} {what}" for what, count in bad.items() if count)
    tone: Tone = "good" if not detail else "warn" if ringing else "bad"
    return Sign("Phones", tone, f"{ringing} of {of} would ring", detail)


def heartbeats(watches: Mapping[str, Watch | None], now: datetime) -> Sign:
    """How the heartbeats are that are waited for."""
    if not watches:
        return Sign("Heartbeats", "quiet", "none are waited for")
    missing = sorted(name for name, watch in watches.items() if watch and watch.missing_since)
    if missing:
        return Sign("Heartbeats", "bad", f"{len(missing)} missing", ", ".join(missing))
    seen = [watch.seen_at for watch in watches.values() if watch and watch.seen_at]
    if len(seen) < len(watches):
        return Sign("Heartbeats", "warn", "not all have come yet", f"{len(seen)} of {len(watches)}")
    return Sign(
        "Heartbeats", "good", f"{len(seen)} of {len(watches)} come", f"the last {when(max(seen), now).far}"
    )


def alertmanagers(silent: Mapping[str, datetime | None], now: datetime) -> tuple[Sign, ...]:
    """How the Alertmanagers are that we ask: since when each does not answer; nothing where we ask none."""
    if not silent:
        return ()
    mute = {name: since for name, since in silent.items() if since is not None}
    if not mute:
        return (Sign("Alertmanager", "good", "answers"),)
    detail = ", ".join(f"{name} since {rough(now - since)}" for name, since in sorted(mute.items()))
    return (Sign("Alertmanager", "bad", f"{len(mute)} of {len(silent)} silent", detail),)


def calendars(problems: Mapping[str, str | None]) -> tuple[Sign, ...]:
    """How the calendars are, by schedule; nothing where there are none."""
    if not problems:
        return ()
    stale = {name: problem for name, problem in problems.items() if problem}
    if not stale:
        return (Sign("Calendars", "good", "up to date"),)
    detail = "; ".join(f"{name}: {problem}" for name, problem in sorted(stale.items()))
    return (Sign("Calendars", "warn", f"{len(stale)} of {len(problems)} stale", detail),)


def news(rows: Iterable[Row], counts: Counts) -> str:
    """Tell a screen reader what is new: the newest incident that rings."""
    newest = next((one for one in rows if one.holder.state == "triggered"), None)
    if newest is None:
        return headline(counts).text
    return f"{headline(counts).text}. Newest: {newest.severity} {newest.title}, receiver {newest.receiver}."
