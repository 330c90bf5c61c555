"""Which receivers an alert goes to, by which way through the routing tree, and whether they are muted. Pure.

Semantics are those of Alertmanager's dispatch/route.go. Production, the commands and the console all
ask `explain`, so that what is explained is what happens.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias

from bridge.matchers import Matcher, quoted
from bridge.routetree import ALL_LABELS, Route, RouteSpec, render_tree, resolve
from bridge.timeintervals import TimeInterval, muted_until

__all__ = [
    "Explanation",
    "Failure",
    "Route",
    "RouteMatch",
    "RouteSpec",
    "Visit",
    "destinations",
    "examined",
    "explain",
    "render_tree",
    "resolve",
]

Intervals: TypeAlias = Mapping[str, tuple[TimeInterval, ...]]


@dataclass(frozen=True, slots=True)
class Failure:
    """A matcher that was not fulfilled, and the value that the label had; None when it was missing."""

    matcher: Matcher
    value: str | None

    def __str__(self) -> str:
        """Say it in words."""
        value = "missing" if self.value is None else quoted(self.value)
        return f"{self.matcher}: {self.matcher.name or quoted('')} is {value}"


@dataclass(frozen=True, slots=True)
class Visit:
    """One route that was tried, `depth` levels below the root; it matched unless a matcher failed.

    `chosen` means that it is itself a match, since none of its children is. `untried` counts the last
    children, which were not looked at because one before them matched without `continue`.
    """

    route: Route
    depth: int
    failed: tuple[Failure, ...] = ()
    chosen: bool = False
    untried: int = 0

    @property
    def matched(self) -> bool:
        """Tell whether the alert fulfils all matchers."""
        return not self.failed

    @property
    def went_on(self) -> bool:
        """Tell whether `continue` sent the alert on to the routes after this one."""
        return self.matched and self.route.continue_


@dataclass(frozen=True, slots=True)
class RouteMatch:
    """A route that the alert ends at.

    `group` are the labels that make the incident. While the route is muted, `muted_until` is the first
    instant (UTC) when it is not; `muted_by` names the mute_time_intervals that hold, `outside` the
    active_time_intervals when none of them does.
    """

    route: Route
    receiver: str
    group: tuple[tuple[str, str], ...]
    muted_until: datetime | None = None
    muted_by: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """The way of one alert through the tree, and where it came out, at the instant `now`."""

    labels: Mapping[str, str]
    now: datetime
    matches: tuple[RouteMatch, ...]
    steps: tuple[_Step, ...] = field(repr=False)

    @property
    def visits(self) -> tuple[Visit, ...]:
        """Every route that was tried, in order; made only for who wants to see them."""
        return tuple(_visits(self.steps, self.labels))

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain values for JSON; `bridge.views.account` adds whom the receivers reach."""
        firsts = destinations(self)
        return {
            "labels": dict(self.labels),
            "at": _instant(self.now),
            "visited": [_visit_dict(visit) for visit in self.visits],
            "matches": [
                _match_dict(match) | {"opens_incident": any(match is first for first in firsts)}
                for match in self.matches
            ],
        }


def explain(root: Route, labels: Mapping[str, str], now: datetime, intervals: Intervals) -> Explanation:
    """Route an alert: depth first, the first child that matches wins unless it says `continue`.

    A route none of whose children match is itself the match; the root matches everything. A time
    interval that `intervals` does not know is left out, for rather a phone rings than none. `now` must
    be aware, else ValueError. Source: Route.Match.
    """
    steps = _walk(root, labels)
    matches = tuple(_match(step.route, labels, now, intervals) for step in steps if not step.hit)
    return Explanation(labels, now, matches, steps)


def destinations(explanation: Explanation) -> tuple[RouteMatch, ...]:
    """Give the first match of each distinct receiver, in order: each is one incident."""
    firsts: dict[str, RouteMatch] = {}
    for match in explanation.matches:
        firsts.setdefault(match.receiver, match)
    return tuple(firsts.values())


def examined(root: Route, labels: Mapping[str, str]) -> frozenset[str]:
    """Name the labels that decide where an alert goes and what group it joins.

    Another alert with the same values of them (a label that is missing has the value "") takes the same way.
    """
    steps = _walk(root, labels)
    tried = (child for step in steps for child in step.route.routes[: step.tried])
    asked = {matcher.name for route in tried for matcher in route.matchers}
    grouping = {name for step in steps if not step.hit for name in step.route.group_by}
    return frozenset(asked | grouping - {ALL_LABELS})


@dataclass(slots=True)
class _Step:
    """A route that the alert fulfils: how many of its children were tried, and whether one took the alert."""

    route: Route
    tried: int = 0
    hit: bool = False
    over: bool = False

    def down(self, labels: Mapping[str, str]) -> Route | None:
        """Try the children that are left, up to the next one that matches."""
        while not self.over and self.tried < len(self.route.routes):
            child = self.route.routes[self.tried]
            self.tried += 1
            if child.matches(labels):
                self.hit, self.over = True, not child.continue_
                return child
        return None


def _walk(root: Route, labels: Mapping[str, str]) -> tuple[_Step, ...]:
    steps = [_Step(root)]
    way = [steps[0]]  # from the root down to where we are; no recursion, so trees may be deep
    while way:
        child = way[-1].down(labels)
        if child is None:
            way.pop()
        else:
            steps.append(_Step(child))
            way.append(steps[-1])
    return tuple(steps)


def _visits(steps: Iterable[_Step], labels: Mapping[str, str]) -> Iterator[Visit]:
    """Tell of every route that was tried, those that did not match as well: each step tells how many."""
    matched = deque(steps)
    pending = [(matched[0].route, 0)]
    while pending:
        route, depth = pending.pop()
        if not matched or matched[0].route is not route:
            yield Visit(route, depth, _failures(route, labels))
            continue
        step = matched.popleft()
        yield Visit(route, depth, chosen=not step.hit, untried=len(route.routes) - step.tried)
        pending += [(child, depth + 1) for child in reversed(route.routes[: step.tried])]


def _failures(route: Route, labels: Mapping[str, str]) -> tuple[Failure, ...]:
    return tuple(Failure(m, labels.get(m.name)) for m in route.matchers if not m.matches(labels))


def _match(route: Route, labels: Mapping[str, str], now: datetime, intervals: Intervals) -> RouteMatch:
    mute = {name: intervals[name] for name in route.mute_time_intervals if name in intervals}
    active = {name: intervals[name] for name in route.active_time_intervals if name in intervals}
    until = muted_until(_flat(mute), _flat(active) if active else None, now)
    group = route.group(labels)
    if until is None:
        return RouteMatch(route, route.receiver, group)
    holding = _holding(mute, now)
    outside = () if _holding(active, now) else tuple(active)
    return RouteMatch(route, route.receiver, group, until, holding, outside)


def _flat(named: Intervals) -> tuple[TimeInterval, ...]:
    return tuple(interval for intervals in named.values() for interval in intervals)


def _holding(named: Intervals, now: datetime) -> tuple[str, ...]:
    return tuple(name for name, intervals in named.items() if any(i.contains(now) for i in intervals))


def _instant(t: datetime) -> str:
    return t.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _visit_dict(visit: Visit) -> dict[str, Any]:
    return {
        "path": visit.route.path,
        "title": visit.route.title(),
        "depth": visit.depth,
        "receiver": visit.route.receiver,
        "matchers": [str(matcher) for matcher in visit.route.matchers],
        "matched": visit.matched,
        "failed": [
            {"matcher": str(f.matcher), "label": f.matcher.name, "value": f.value} for f in visit.failed
        ],
        "continued": visit.went_on,
        "chosen": visit.chosen,
        "untried": visit.untried,
    }


def _match_dict(match: RouteMatch) -> dict[str, Any]:
    return {
        "path": match.route.path,
        "receiver": match.receiver,
        "group": dict(match.group),
        "muted_until": None if match.muted_until is None else _instant(match.muted_until),
        "muted_by": list(match.muted_by),
        "outside": list(match.outside),
    }
