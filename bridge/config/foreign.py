"""A proposal for the bridge's routes, from Alertmanager's, with what could not be taken over.

The same labels go to receivers of the same names. What is left to be filled in says FILL_IN, which
`check-config` refuses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, Final

import yaml

from bridge.config import tree, values
from bridge.config.problems import ConfigError, Path, quote
from bridge.config.tree import Tree
from bridge.matchers import Matcher, Op, parse_matchers

_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_WORDS: Final = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}
_QUIET_WAYS: Final = {
    f"{way}_configs"
    for way in (
        "discord", "email", "mattermost", "msteams", "msteamsv2", "slack", "telegram", "webex", "wechat",
    )
}  # fmt: skip
"""Ways of Alertmanager that wake nobody."""
_SHOWN: Final = 8
"""Lines that one reason names."""
# Keys that have no counterpart, and why none is needed.
_WAITS: Final = "Alertmanager has waited already; `ring` and `repeat` of a receiver say how often to ring"
_LEFT: Final = {
    "group_wait": _WAITS,
    "group_interval": _WAITS,
    "repeat_interval": _WAITS,
    "global": "how Alertmanager sends is its own business",
    "templates": "a call has two lines of its own: `templates` in config.example.yaml",
    "inhibit_rules": "Alertmanager inhibits before it sends, and goes on doing so",
    "tracing": "it is about Alertmanager itself",
}
_ROUTE: Final = {
    "receiver", "group_by", "match", "match_re", "matchers", "continue", "routes",
    "mute_time_intervals", "active_time_intervals",
}  # fmt: skip
_ROOT: Final = {"route", "receivers", "time_intervals", "mute_time_intervals"}


def proposal(path: FilePath) -> str:
    """Read Alertmanager's file, and write the proposal as YAML. Raises ConfigError."""
    document = tree.read(path)
    root = document.get(("route",))
    if not isinstance(root, dict) or not isinstance(root.get("receiver"), str):
        document.note(("route", "receiver"), "is missing: this is no Alertmanager configuration")
    if document.problems:
        raise ConfigError(document.problems)
    return _Writer(document).text()


@dataclass(slots=True)
class _Writer:
    document: Tree
    names: dict[str, str] = field(default_factory=dict)
    """What receivers and time intervals are called here."""
    left: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    """What could not be taken over, by the reason: lines and keys."""

    def text(self) -> str:
        route = ["route:", *self.route(("route",), 1)]
        intervals = list(self.intervals())
        receivers = ["receivers:", *self.receivers()]
        self.unknown((), _ROOT)
        parts = (self.head(), _TO_FILL_IN, *(["\n".join(intervals)] if intervals else []))
        return "\n\n".join([*parts, "\n".join(receivers), "\n".join(route)]) + "\n"

    def head(self) -> str:
        lines = [
            f"# Proposed from {quote(self.document.file)}.",
            "# Fill in what says FILL_IN, then check-config.",
        ]
        lines += ["#", "# Not taken over:"] if self.left else []
        return "\n".join([*lines, *(f"# - {_places(found)}: {why}" for why, found in self.left.items())])

    def leave(self, path: Path, why: str) -> None:
        """Note what could not be taken over."""
        problem = self.document.problem(path, why, at_key=True)
        name = next((part for part in reversed(path) if isinstance(part, str)), "")
        self.left.setdefault(problem.message, []).append((problem.line, _shown(name)))

    def unknown(self, path: Path, known: set[str]) -> None:
        found = self.document.get(path)
        for key in found if isinstance(found, dict) else ():
            if key not in known:
                self.leave((*path, key), _LEFT.get(key, "is not known here"))

    # --- the tree ---

    def route(self, path: Path, depth: int) -> Iterator[str]:
        found = self.document.get(path)
        if not isinstance(found, dict):
            self.leave(path, "is no route")
            return
        self.unknown(path, _ROUTE)
        pad = "  " * depth
        if isinstance(found.get("receiver"), str):
            yield f"{pad}receiver: {_scalar(self.named(found['receiver']))}"
        if depth == 1 and "group_by" not in found:
            yield f"{pad}# As Alertmanager without group_by: all alerts of a receiver are one incident, and"
            yield f"{pad}# a new one rings again. [alertname] makes one of each name."
            yield f"{pad}group_by: []"
        if isinstance(found.get("group_by"), list):
            yield f"{pad}group_by: {_flow(found['group_by'])}"
        if texts := list(self.matchers(path, found)):
            yield f"{pad}matchers: {_flow(texts)}"
        if "continue" in found and depth > 1:
            yield f"{pad}continue: {_truth(found['continue'])}"
        for key in ("mute_time_intervals", "active_time_intervals"):
            if isinstance(found.get(key), list):
                yield f"{pad}{key}: {_flow(map(self.named, found[key]))}"
        children = found.get("routes")
        yield from self.routes(path, depth, children if isinstance(children, list) else [])

    def routes(self, path: Path, depth: int, children: list[Any]) -> Iterator[str]:
        if children:
            yield f"{'  ' * depth}routes:"
        for index in range(len(children)):
            lines = list(self.route((*path, "routes", index), depth + 2))
            pad = "  " * (depth + 1)
            # A route that says nothing takes all that comes to it.
            yield from _item(lines, pad) if lines else [f"{pad}- matchers: []"]

    def matchers(self, path: Path, found: Mapping[str, Any]) -> Iterator[str]:
        forms: tuple[tuple[str, Op], ...] = (("match", "="), ("match_re", "=~"))
        for key, sign in forms:
            pairs = found.get(key)
            for name, value in pairs.items() if isinstance(pairs, dict) else ():
                yield self.matcher((*path, key, name), name, sign, value)
        texts = found.get("matchers", [])
        for index, text in enumerate(texts if isinstance(texts, list) else [texts]):
            try:
                yield from map(str, parse_matchers(_text(text)))
            except ValueError as error:
                # It stays, so that check-config refuses it: without it the route would take more.
                self.leave((*path, "matchers", index), f"cannot be read: {error}")
                yield str(text)

    def matcher(self, path: Path, name: str, sign: Op, value: Any) -> str:
        try:
            found = Matcher(name, sign, _text(value))
        except ValueError as error:
            self.leave(path, f"cannot be read: {error}")
            return f"{name}{sign}{value}"
        return str(found)

    # --- what it names ---

    def named(self, text: str) -> str:
        """Give a name that the configuration takes."""
        if text not in self.names:
            try:
                self.names[text] = values.name(text)
            except ValueError:
                bare = " ".join("".join(c if c.isprintable() else " " for c in text).split())[:150]
                self.names[text] = f"{bare or 'unnamed'} {len(self.names) + 1}"
                self.left[f"is no name here: it is {quote(self.names[text])}"] = [(0, quote(text))]
        return self.names[text]

    def receivers(self) -> Iterator[str]:
        used = {self.document.get(path) for path in self._receivers_used()}
        known = {self.document.get(path): path[:-1] for path in self.document.find("receivers.*.name")}
        for name in sorted(used, key=lambda name: list(known).index(name) if name in known else -1):
            yield from self.receiver(name, self.document.get(known[name]) if name in known else {})
        for name, path in known.items():
            if name not in used:
                self.leave(path, f"no route leads to receiver {quote(name)}")

    def _receivers_used(self) -> Iterator[Path]:
        pending: list[Path] = [("route",)]
        while pending:
            path = pending.pop()
            found = self.document.get(path)
            if isinstance(found, dict) and isinstance(found.get("receiver"), str):
                yield (*path, "receiver")
            children = found.get("routes") if isinstance(found, dict) else None
            pending += [
                (*path, "routes", index)
                for index in range(len(children) if isinstance(children, list) else 0)
            ]

    def receiver(self, name: str, found: Mapping[str, Any]) -> Iterator[str]:
        ways = sorted(key for key in found if key.endswith("_configs") and found[key])
        yield f"  - name: {_scalar(self.named(name))}"
        yield "    escalation:"
        yield "      - device_groups: [on-call]"
        if not ways:
            yield "        # Alertmanager told nobody; here that cannot be: a quiet notification."
            yield from ("        push: alert", "        interruption_level: passive")
        elif set(ways) <= _QUIET_WAYS:
            yield f"        # {', '.join(ways)} in Alertmanager: a notification; `push: voip` would ring."
            yield "        push: alert"
        else:
            yield f"        # {_shown(', '.join(ways))} in Alertmanager: a call."

    def intervals(self) -> Iterator[str]:
        """Write time intervals, those of the old key too."""
        found = [
            self.document.get(path)
            for key in ("time_intervals", "mute_time_intervals")
            for path in self.document.find(f"{key}.*")
        ]
        if found:
            yield "time_intervals:"
        for interval in found:
            if isinstance(interval, dict):
                spans = interval.get("time_intervals", [])
                yield f"  - name: {_scalar(self.named(str(interval.get('name', ''))))}"
                yield f"    time_intervals: {_flow(spans if isinstance(spans, list) else [])}"


_TO_FILL_IN: Final = """\
# In Alertmanager one receiver tells the bridge of everything; the routes below say who is rung:
#   route:
#     receiver: phone
#   receivers:
#     - name: phone
#       webhook_configs: [{url: http://BRIDGE:9095/webhook, send_resolved: true}]

# From developer.apple.com: Certificates, Identifiers & Profiles, Keys.
apns:
  team_id: FILL_IN
  key_id: FILL_IN
  key_file: FILL_IN
  topic: FILL_IN                       # the app's bundle id

# Who carries a phone, by names of your choice. Each phone enrols: pushkit-bridge devices enroll NAME
people:
  - name: FILL_IN

device_groups:
  - name: on-call
    owners: [FILL_IN]"""


def _shown(text: str) -> str:
    return quote(text).strip('"')


def _places(found: list[tuple[int, str]]) -> str:
    """Name keys and lines, a few of each."""
    lines = sorted({line for line, _ in found if line})
    more = ", …" if len(lines) > _SHOWN else ""
    noun = "lines" if len(lines) > 1 else "line"
    where = f" ({noun} {', '.join(map(str, lines[:_SHOWN]))}{more})" if lines else ""
    return f"{', '.join(dict.fromkeys(key for _, key in found))}{where}"


def _item(lines: list[str], pad: str) -> list[str]:
    """Make lines an entry of a list."""
    return [f"{pad}- {lines[0].lstrip()}", *lines[1:]]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise ValueError("is not a text")


def _truth(value: Any) -> str:
    return value if value in {"true", "false"} else _flow(value)


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_scalar(str(key))}: {_flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, str):
        return _scalar(value)
    return "[" + ", ".join(map(_flow, value)) + "]"


def _scalar(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.casefold() not in _WORDS:
        return text
    if "'" not in text and text.isprintable():
        return f"'{text}'"
    dumped: str = yaml.safe_dump(text, default_style='"', allow_unicode=True, width=float("inf"))
    return dumped.removesuffix("\n")
