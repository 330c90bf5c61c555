"""Which open alerts Alertmanager has no more, and which it has still. Pure.

It never says that an alert has ended while that is silenced, inhibited or muted; so it is asked. An
alert counts as gone only if all of this holds: Alertmanager has shown it before; every answer since
`grace` ago, from each address, was without it; and no Alertmanager has started within `grace`, for it
begins without alerts and Prometheus tells it of them anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeAlias

from bridge.alerts import Alert
from bridge.incidents import Episode, Incident

Key: TypeAlias = tuple[str, str]
"""An incident's id and an alert's fingerprint."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What all addresses of one Alertmanager said together: the alerts that any of them has.

    `complete`: each of them has answered. `started_at` is when the youngest began. `active` are those of
    its alerts that were asked for by name and that nothing silences, inhibits or mutes.
    """

    fingerprints: frozenset[str]
    complete: bool
    started_at: datetime
    active: Mapping[str, Alert] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Absence:
    """Since when an episode is missing; it is that episode as it was then, for a mention ends the absence."""

    episode: Episode
    since: datetime


@dataclass(frozen=True, slots=True)
class Judgement:
    """By incident: fingerprints that are confirmed, episodes that are gone. `absent` is for the next time."""

    confirmed: Mapping[str, tuple[str, ...]]
    gone: Mapping[str, tuple[Episode, ...]]
    absent: Mapping[Key, Absence]


def judge(
    incidents: Iterable[Incident],
    answer: Answer,
    absent: Mapping[Key, Absence],
    grace: timedelta,
    alert_ttl: timedelta,
    now: datetime,
) -> Judgement:
    """Judge the open alerts by an answer that was asked for at `now`.

    An alert is confirmed when it is first seen, and again when half of its time to live is over: so
    that one that stays silenced for long does not expire.
    """
    confirmed: dict[str, tuple[str, ...]] = {}
    gone: dict[str, tuple[Episode, ...]] = {}
    still: dict[Key, Absence] = {}
    settled = answer.complete and now - answer.started_at >= grace
    for incident in incidents:
        present = [one for one in incident.firing if one.fingerprint in answer.fingerprints]
        missing = [one for one in incident.firing if one.seen and one.fingerprint not in answer.fingerprints]
        here = {
            (incident.id, one.fingerprint): _absence(incident, one, answer, absent, now) for one in missing
        }
        still |= {key: absence for key, absence in here.items() if absence is not None}
        due = [one.fingerprint for one in present if not one.seen or one.expires_at - now < alert_ttl / 2]
        over = [absence.episode for absence in here.values() if absence and now - absence.since >= grace]
        if due:
            confirmed[incident.id] = tuple(due)
        if over and settled:
            gone[incident.id] = tuple(over)
    return Judgement(confirmed, gone, still)


def _absence(
    incident: Incident, episode: Episode, answer: Answer, absent: Mapping[Key, Absence], now: datetime
) -> Absence | None:
    """Give since when it is missing; None while that is not sure of each address."""
    known = absent.get((incident.id, episode.fingerprint))
    if known is not None and known.episode == episode:
        return known
    return Absence(episode, now) if answer.complete else None
