"""The nouns of paging: slot, episode, incident, page, and the Change that a decision yields. Pure.

What happens to them is decided in `lifecycle` (alerts and people) and `escalation` (the
clock); `docs/architecture.md` draws the states.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha1
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

import msgspec
from msgspec.structs import replace

from bridge.alerts import DRILL_SOURCE
from bridge.policy import InterruptionLevel, Step
from bridge.pushes import PushKind

_NAMESPACE: Final = UUID("6f0d7a52-4f0b-5f1c-9a0e-70757368b81d").bytes
"""Fixed for all time: two bridges that share nothing derive the same UUIDs (rule 8)."""

WEBHOOK_DEADLINE: Final = timedelta(hours=1)
"""How long an outgoing webhook is tried: unlike a ring, it is still of use when it is late."""

PageKind: TypeAlias = Literal["ring", "fallback", "webhook", "acknowledged", "resolved"]

QUIET: Final[frozenset[PageKind]] = frozenset({"acknowledged", "resolved"})
"""Pages that tell and wake nobody."""

EpisodeStatus: TypeAlias = Literal["firing", "resolved", "expired"]


class State(StrEnum):
    """PagerDuty's and GoAlert's words."""

    TRIGGERED = "triggered"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class Slot(msgspec.Struct, frozen=True):
    """(source, receiver, values of the route's group_by labels): at most one open incident in each."""

    source: str
    receiver: str
    group: tuple[tuple[str, str], ...] = ()


class Silence(msgspec.Struct, frozen=True):
    """The wish that Alertmanager tells nobody of an incident's alerts until then, and who has it."""

    until: datetime
    by: str


class Episode(msgspec.Struct, frozen=True):
    """One alert's stay in one incident.

    `ended_at` is its end by the source's clock, `ended_here_at` the moment we learned of it;
    both None while it fires. `revision` is the incident's when the episode opened. `seen`:
    Alertmanager, when asked, has shown it, so that it means something when it does so no more.
    `opened_here_at` is when it first came to the incident, `mentioned_at` when it was last said to
    fire, both by our clock; None: an older version of the bridge took it in.
    """

    fingerprint: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    generator_url: str
    starts_at: datetime
    expires_at: datetime
    status: EpisodeStatus = "firing"
    ended_at: datetime | None = None
    ended_here_at: datetime | None = None
    revision: int = 1
    repairs: tuple[str, ...] = ()
    seen: bool = False
    opened_here_at: datetime | None = None
    mentioned_at: datetime | None = None

    @property
    def open(self) -> bool:
        """Whether it still fires, as far as we know."""
        return self.status == "firing"


class Incident(msgspec.Struct, frozen=True):
    """The open alerts of one slot, and how far its escalation has come.

    `revision` counts news. `series` counts the escalations begun; `round`, `step` and `ring`
    say where in the policy the series is (all from 1; ring 0 = the step has not rung yet).
    `due_at` is when the escalation acts next, None when it is over or not wanted. `out`
    holds the devices that declined or cannot be reached in this step, and why; `stand_ins` their
    owners' other devices that ring in their place; `told` the devices whose push was accepted since
    the incident opened, `reached` whether one is known to have got it in this series.
    `acknowledged_until` is when an acknowledgement times out, `silenced_until` before when nothing
    rings, news included. `ack_silence_until` is the end of the silence in Alertmanager that comes
    with the acknowledgement. `traceparent` is of the webhook that brought the last news, if that is traced.
    """

    id: str
    slot: Slot
    opened_at: datetime
    state: State = State.TRIGGERED
    revision: int = 0
    series: int = 0
    round: int = 1
    step: int = 1
    ring: int = 0
    due_at: datetime | None = None
    step_ends_at: datetime | None = None
    reached: bool = False
    out: Mapping[str, str] = {}
    stand_ins: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    acknowledged_until: datetime | None = None
    ack_silence_until: datetime | None = None
    silenced_until: datetime | None = None
    silenced_by: str | None = None
    resolved_at: datetime | None = None
    resolution: str | None = None
    unanswered_at: datetime | None = None
    group_key: str = ""
    external_url: str = ""
    truncated_alerts: int = 0
    traceparent: str = ""
    alerts: Mapping[str, Episode] = {}

    @property
    def open(self) -> bool:
        """Whether it still holds its slot."""
        return self.state is not State.RESOLVED

    @property
    def drill(self) -> bool:
        """Whether nothing is wrong: a drill, or a test of a phone or of a receiver."""
        return self.slot.source == DRILL_SOURCE

    @property
    def firing(self) -> tuple[Episode, ...]:
        """Its open alerts."""
        return tuple(episode for episode in self.alerts.values() if episode.open)

    @property
    def silence(self) -> Silence | None:
        """The silence that Alertmanager should have for it, where there is one to ask; the longer of two."""
        wishes = ((self.ack_silence_until, self.acknowledged_by), (self.silenced_until, self.silenced_by))
        found = (Silence(until, by or "pushkit-bridge") for until, by in wishes if until is not None)
        return max(found, key=lambda wish: wish.until, default=None)

    @property
    def wake_at(self) -> datetime | None:
        """The next instant at which the clock has something to decide; None for a closed incident."""
        if not self.open:
            return None
        times = [*(episode.expires_at for episode in self.firing), self.due_at, self.acknowledged_until]
        return min((time for time in times if time is not None), default=None)


class Page(msgspec.Struct, frozen=True):
    """The intent "`target` must hear of this incident by `expires_at`": a row of the outbox.

    `target` is a device's name, or a webhook's where `kind` is "webhook". `every` and
    `lasts` are the ring's, in seconds. `call_uuid` is what CallKit will know the call by if
    this page is the one that a call is anchored to (rule 8). `drill`: nothing is wrong, so it never
    travels with pages of which that is not so, and waits for them.
    """

    id: str
    incident_id: str
    revision: int
    kind: PageKind
    target: str
    series: int
    round: int
    step: int
    ring: int
    push: PushKind
    interruption_level: InterruptionLevel
    due_at: datetime
    expires_at: datetime
    every: float
    lasts: float
    call_uuid: str
    drill: bool = False


class Event(msgspec.Struct, frozen=True):
    """One line of an incident's timeline."""

    kind: str
    text: str


class Change(msgspec.Struct, frozen=True):
    """What one decision changes. `withdraw` settles the pages that are still open, with that reason."""

    incident: Incident
    pages: tuple[Page, ...] = ()
    withdraw: str | None = None
    events: tuple[Event, ...] = ()

    def to(self, **fields: Any) -> Change:
        """Give the Change with these fields of the incident set."""
        return replace(self, incident=replace(self.incident, **fields))

    def note(self, kind: str, text: str) -> Change:
        """Give the Change with one more line in the timeline."""
        return replace(self, events=(*self.events, Event(kind, text)))

    def page(self, *pages: Page) -> Change:
        """Give the Change with these pages put into the outbox."""
        return replace(self, pages=(*self.pages, *pages))

    def withdrawn(self, reason: str) -> Change:
        """Give the Change with every open page of the incident withdrawn, its own included."""
        return replace(self, pages=(), withdraw=reason)


def begin(slot: Slot, now: datetime) -> Incident:
    """Make the incident that a slot does not have yet."""
    return Incident(id=stable_id("incident", f"{_path(slot)}\0{now.isoformat()}"), slot=slot, opened_at=now)


def make_page(
    incident: Incident, step: Step, kind: PageKind, target: str, now: datetime, expires_at: datetime
) -> Page:
    """Make the page for one target at the incident's present place; the same place gives the same id."""
    place = f"{incident.series}\0{incident.round}\0{incident.step}\0{incident.ring}\0{target}"
    alert_push = kind in QUIET or kind == "fallback"
    return Page(
        id=stable_id(kind, f"{incident.id}\0{place}"),
        incident_id=incident.id,
        revision=incident.revision,
        kind=kind,
        target=target,
        series=incident.series,
        round=incident.round,
        step=incident.step,
        ring=incident.ring,
        push="alert" if alert_push else step.push,
        interruption_level="passive" if kind in QUIET else step.interruption_level,
        due_at=now,
        expires_at=expires_at,
        every=step.ring.every.total_seconds(),
        lasts=step.ring.lasts.total_seconds(),
        call_uuid=stable_id("call", f"{_path(incident.slot)}\0{_minute(incident)}\0{place}"),
        drill=incident.drill,
    )


def fallback(page: Page, now: datetime) -> Page:
    """Make the alert push that stands in for a call that failed: it moves no timer (rule 4)."""
    return replace(
        page,
        id=stable_id("fallback", page.id),
        kind="fallback",
        push="alert",
        due_at=now,
        expires_at=max(page.expires_at, now + timedelta(seconds=page.every)),
    )


def stable_id(kind: str, name: str) -> str:
    """Derive a UUID, lowercase: the same name gives the same one on every machine.

    RFC 9562, section 5.5, written out: Python's UUID takes three times as long, and a call needs five.
    """
    digits = sha1(_NAMESPACE + f"{kind}\0{name}".encode(), usedforsecurity=False).hexdigest()
    variant = "89ab"[int(digits[16], 16) % 4]
    return f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


def _minute(incident: Incident) -> str:
    """Mark the episode without shared state: HA peers differ by milliseconds, not by minutes."""
    starts_at = min((episode.starts_at for episode in incident.firing), default=incident.opened_at)
    return starts_at.strftime("%Y-%m-%dT%H:%M")


def _path(slot: Slot) -> str:
    return "\0".join((slot.source, slot.receiver, *(f"{name}\0{value}" for name, value in slot.group)))
