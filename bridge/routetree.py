"""The routing tree: what a route says, what it inherits, and how the tree is drawn. Pure.

Semantics are those of newRoute in Alertmanager's dispatch/route.go; `bridge.routing` finds the way
through the tree. Nothing here recurses: how deep a tree may be is the configuration's business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from bridge.matchers import OPS, Matcher

ALL_LABELS: Final = "..."
DEFAULT_GROUP_BY: Final = ("alertname",)


@dataclass(frozen=True, slots=True)
class RouteSpec:
    """A route as the configuration writes it: what is None is inherited."""

    receiver: str | None = None
    matchers: tuple[Matcher, ...] = ()
    group_by: tuple[str, ...] | None = None
    continue_: bool = False
    mute_time_intervals: tuple[str, ...] = ()
    active_time_intervals: tuple[str, ...] = ()
    routes: tuple[RouteSpec, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Route:
    """A route with everything inherited filled in; `path` is where it stands: `route.routes[0].routes[2]`."""

    receiver: str
    matchers: tuple[Matcher, ...] = ()
    group_by: tuple[str, ...] = DEFAULT_GROUP_BY
    continue_: bool = False
    mute_time_intervals: tuple[str, ...] = ()
    active_time_intervals: tuple[str, ...] = ()
    routes: tuple[Route, ...] = field(default=(), repr=False)
    path: str = "route"

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether these labels fulfil all matchers."""
        return all(matcher.matches(labels) for matcher in self.matchers)

    def group(self, labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        """Pick the labels that make the group, sorted by name; one that is missing or empty takes no part."""
        every = ALL_LABELS in self.group_by
        return tuple(sorted((k, v) for k, v in labels.items() if v and (every or k in self.group_by)))

    def title(self) -> str:
        """Name the route as amtool does: by its matchers, sorted."""
        if not self.matchers:
            return "default-route"
        return "{" + ",".join(str(matcher) for matcher in sorted(self.matchers, key=_order)) + "}"


def resolve(spec: RouteSpec) -> Route:
    """Build the routing tree: receiver and group_by are inherited, time intervals are not (NewRoute).

    Raises ValueError when the root names no receiver. Trees may be of any depth.
    """
    if not spec.receiver:
        raise ValueError("the root route must specify a default receiver")
    places = [_Place(spec, spec.receiver, DEFAULT_GROUP_BY if spec.group_by is None else spec.group_by)]
    for place in places:  # grows while it is read: parents stand before their children
        places += [place.child(index) for index in range(len(place.spec.routes))]
    while True:
        place = places.pop()
        route = place.route()
        if place.parent is None:
            return route
        place.parent.built.append(route)


@dataclass(slots=True)
class _Place:
    """A route on its way from the configuration into the tree; its children are built last to first."""

    spec: RouteSpec
    receiver: str
    group_by: tuple[str, ...]
    path: str = "route"
    parent: _Place | None = None
    built: list[Route] = field(default_factory=list)

    def child(self, index: int) -> _Place:
        spec = self.spec.routes[index]
        group_by = self.group_by if spec.group_by is None else spec.group_by
        return _Place(spec, spec.receiver or self.receiver, group_by, f"{self.path}.routes[{index}]", self)

    def route(self) -> Route:
        return Route(
            receiver=self.receiver,
            matchers=self.spec.matchers,
            group_by=self.group_by,
            continue_=self.spec.continue_,
            mute_time_intervals=self.spec.mute_time_intervals,
            active_time_intervals=self.spec.active_time_intervals,
            routes=tuple(reversed(self.built)),
            path=self.path,
        )


def render_tree(root: Route) -> str:
    """Draw the whole tree as `amtool config routes show` prints it."""
    nodes: list[tuple[int, str]] = []
    pending = [(0, root)]
    while pending:
        depth, route = pending.pop()
        follows = "  continue: true" if route.continue_ else ""
        nodes.append((depth, f"{route.title()}{follows}  receiver: {route.receiver}"))
        pending += [(depth + 1, child) for child in reversed(route.routes)]
    return "\n".join(["Routing tree:", *draw(nodes), ""])


def draw(nodes: Sequence[tuple[int, str]]) -> list[str]:
    """Draw a tree from (depth, text), parents first, in lines such as amtool's (with its no-break spaces)."""
    lines: list[str] = []
    below: set[int] = set()  # the depths at which a sibling follows
    for depth, text in reversed(nodes):
        bars = "".join("│\u00a0\u00a0 " if level in below else "    " for level in range(depth))
        lines.append(f"{bars}{'├' if depth in below else '└'}── {text}")
        below = {level for level in below if level < depth} | {depth}
    return [".", *reversed(lines)]


def _order(matcher: Matcher) -> tuple[str, str, int]:
    return matcher.name, matcher.value, OPS.index(matcher.op)
