"""The way of one alert through the routing tree and to the phones, with what did not match. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from bridge import routing
from bridge.oncall import OnCall
from bridge.policy import Receiver
from bridge.routing import Explanation, RouteMatch, Visit
from bridge.views.duty import Stage, stages
from bridge.views.times import When, maybe

_PAIR: Final = re.compile(
    r'\s*("(?:[^"\\]|\\.)*"|[^\s={},"]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s,{}"]*)', re.DOTALL
)
_BETWEEN: Final = re.compile(r"[\s,{}]*")
_ESCAPED: Final = re.compile(r'\\(["\\])')
_YEARS: Final = (2000, 2200)
_DEEPEST: Final = 8
"""Deeper routes are drawn no further to the right."""


class NotLabels(ValueError):
    """The text is no list of labels; the words are for people."""


def labels(text: str) -> dict[str, str]:
    """Read labels as people type or paste them: name=value or name="value", by space, comma or line.

    A name that has such signs in it stands in quotation marks too.

    Raises NotLabels.
    """
    found: dict[str, str] = {}
    at = _after(text, 0)
    while at < len(text):
        pair = _PAIR.match(text, at)
        if pair is None:
            raise NotLabels(f"{text[at : at + 40]!r} is not NAME=VALUE")
        name, value = map(_plain, pair.groups())
        found[name] = value
        at = _after(text, pair.end())
    return found


def _plain(text: str) -> str:
    return _ESCAPED.sub(r"\1", text[1:-1]) if text.startswith('"') else text


def _after(text: str, at: int) -> int:
    blank = _BETWEEN.match(text, at)
    return blank.end() if blank else at


def written(found: Mapping[str, str]) -> str:
    """Write labels as `labels` reads them, one on a line."""
    return "\n".join(f"{_quoted(name)}={_quoted(value)}" for name, value in sorted(found.items()))


def _quoted(value: str) -> str:
    if value and not re.search(r'[\s,{}="\\]', value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


@dataclass(frozen=True, slots=True)
class Node:
    """A route that was tried. `failed` are the matchers that were not fulfilled, and what the label was."""

    depth: int
    title: str
    matched: bool
    chosen: bool
    receiver: str
    goes_on: bool
    failed: tuple[str, ...]
    untried: int


@dataclass(frozen=True, slots=True)
class End:
    """Where the way came out. `same` is the number of the match before it that is the same incident."""

    number: int
    receiver: str
    path: str
    group: tuple[tuple[str, str], ...]
    same: int | None
    muted: When | None
    why_muted: str
    stages: tuple[Stage, ...]


@dataclass(frozen=True, slots=True)
class Way:
    """The whole way."""

    nodes: tuple[Node, ...]
    ends: tuple[End, ...]


def way(explanation: Explanation, receivers: Mapping[str, Receiver], on_call: OnCall, now: datetime) -> Way:
    """Tell the way, and whom each receiver would ring at the instant that was asked about."""
    firsts = {id(match): number for number, match in enumerate(explanation.matches, 1)}
    opened = {match.receiver: firsts[id(match)] for match in routing.destinations(explanation)}
    ends = (
        _end(number, match, opened, receivers, on_call, explanation.now, now)
        for number, match in enumerate(explanation.matches, 1)
    )
    return Way(tuple(map(_node, explanation.visits)), tuple(ends))


def _node(visit: Visit) -> Node:
    return Node(
        min(visit.depth, _DEEPEST),
        "every alert" if visit.depth == 0 else visit.route.title(),
        visit.matched,
        visit.chosen,
        visit.route.receiver,
        visit.went_on,
        tuple(map(str, visit.failed)),
        visit.untried,
    )


def _end(
    number: int,
    match: RouteMatch,
    opened: Mapping[str, int],
    receivers: Mapping[str, Receiver],
    on_call: OnCall,
    at: datetime,
    now: datetime,
) -> End:
    same = opened[match.receiver] if opened[match.receiver] != number else None
    policy = receivers[match.receiver]
    return End(
        number,
        match.receiver,
        match.route.path,
        match.group,
        same,
        maybe(match.muted_until, now),
        _reasons(match),
        () if same else stages(policy, on_call, at),
    )


def _reasons(match: RouteMatch) -> str:
    parts: Iterable[str] = (
        f"in {', '.join(match.muted_by)}" if match.muted_by else "",
        f"outside of {', '.join(match.outside)}" if match.outside else "",
    )
    return " and ".join(part for part in parts if part)


def instant(text: str) -> datetime | None:
    """Read a time as a browser's field writes it, or RFC 3339; without an offset it is UTC."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    if not _YEARS[0] <= found.year <= _YEARS[1]:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
