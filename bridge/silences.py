"""Which silences Alertmanager should have for an incident, and what is to be done for that. Pure.

A silence is found again by its comment, which names the incident: so a try whose answer was lost is
taken up where it ended, and nobody else's silence is touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from bridge import routing
from bridge.incidents import Incident, Silence
from bridge.routing import Route

Matchers: TypeAlias = Mapping[str, str]
"""Values that an alert's labels must have; a label that is missing has the value ""."""

MOST: Final = 20
"""Silences for one incident, at the most: one for each way that its alerts take through the routes."""


_LONG_AGO: Final = timedelta(days=1)


class TooWide(ValueError):
    """No silences can be made for these alerts alone; the text says why."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A silence as Alertmanager has it, active or pending; `matchers` None: such as we never make."""

    id: str
    matchers: Matchers | None
    starts_at: str
    ends_at: datetime
    created_by: str
    comment: str


@dataclass(frozen=True, slots=True)
class Post:
    """A silence to be made or, with the `id` of one that stands, to be prolonged or shortened."""

    matchers: Matchers
    starts_at: str
    ends_at: datetime
    created_by: str
    comment: str
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done: `posts`, then `ends` (ids), so that there is no gap. `kept` stand as wished."""

    posts: tuple[Post, ...] = ()
    ends: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


def exactly(incident: Incident, root: Route) -> tuple[Matchers, ...]:
    """Give the matchers of silences that hold for the incident's alerts, and for such as would join it.

    For each firing alert they hold all labels that routing asks for on its way: so an alert of another
    receiver, or of another group, is never silenced. Alerts that differ in such a label need one each.
    Raises TooWide where no label is asked for, or there are too many ways.
    """
    found: list[Matchers] = []
    for episode in incident.firing:
        names = routing.examined(root, episode.labels)
        matchers = {name: episode.labels.get(name, "") for name in sorted(names)} | dict(incident.slot.group)
        if not any(matchers.values()):
            raise TooWide("no label tells its alerts from others; give the route a group_by")
        if matchers not in found:
            found.append(matchers)
    if len(found) > MOST:
        raise TooWide(f"its alerts take {len(found)} ways through the routes, and each needs a silence")
    return tuple(found)


def comment(incident: Incident) -> str:
    """Give the comment of the incident's silences: who made them, and what for."""
    return f"pushkit-bridge, receiver {incident.slot.receiver}, incident {incident.id}"


def plan(
    incident: Incident,
    wish: Silence | None,
    wanted: Iterable[Matchers],
    standing: Iterable[Standing],
    now: datetime,
) -> Plan:
    """Decide how what stands becomes what is wanted; without a `wish`, all that is the incident's ends."""
    spare = [one for one in standing if one.comment == comment(incident)]
    if wish is None:
        return Plan(ends=tuple(one.id for one in spare))
    posts, kept = [], []
    for matchers in wanted:
        one = next((one for one in spare if one.matchers == matchers), None)
        if one is not None:
            spare.remove(one)
        if one is not None and (one.ends_at, one.created_by) == (_end(wish), wish.by):
            kept.append(one.id)
        else:
            posts.append(_post(incident, wish, matchers, one, now))
    return Plan(tuple(posts), tuple(one.id for one in spare), tuple(kept))


def _post(incident: Incident, wish: Silence, matchers: Matchers, one: Standing | None, now: datetime) -> Post:
    """Make anew, or change what stands: Alertmanager keeps its id if it starts when it did."""
    # Long ago, which Alertmanager takes for its own now: by our clock it might begin later there.
    starts_at = (now - _LONG_AGO).isoformat() if one is None else one.starts_at
    known = None if one is None else one.id
    return Post(matchers, starts_at, _end(wish), wish.by, comment(incident), known)


def _end(wish: Silence) -> datetime:
    return wish.until.replace(microsecond=0)
