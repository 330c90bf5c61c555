"""What takes two places of the file to see. Works on the tree: so its problems come beside all others."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from bridge.config import beats, drilling, rota, upstream
from bridge.config.problems import Path, quote, suggest
from bridge.config.tree import Tree

MAX_ROUTE_DEPTH: Final = 100

# Lists of named things: where they stand, and what one of them is called.
_NAMED: Final = {
    "sources": "source",
    "people": "person",
    "devices": "device",
    "schedules": "schedule",
    "device_groups": "device group",
    "receivers": "receiver",
    "time_intervals": "time interval",
    "heartbeats": "heartbeat",
    "drills": "drill",
}
# Where a name of such a list is used, outside the route.
_REFERENCES: Final = {
    "devices.*.owner": "people",
    "device_groups.*.owners.*": "people",
    "device_groups.*.devices.*": "devices",
    "device_groups.*.schedules.*": "schedules",
    "schedules.*.layers.*.members.*": "people",
    "schedules.*.layers.*.during.*": "time_intervals",
    "schedules.*.overrides.*.person": "people",
    "receivers.*.otherwise.*": "device_groups",
    "heartbeats.*.receiver": "receivers",
    "drills.*.receiver": "receivers",
    "drills.*.device_groups.*": "device_groups",
    "drills.*.report_to": "receivers",
    "receivers.*.escalation.*.device_groups.*": "device_groups",
}
_LISTS: Final = (
    "device_groups.*.owners",
    "device_groups.*.devices",
    "device_groups.*.schedules",
    "receivers.*.otherwise",
    "receivers.*.escalation.*.device_groups",
    "drills.*.device_groups",
)
# Alertmanager's words for what a root route must not have.
_NOT_IN_ROOT: Final = {
    "matchers": "root route must not have any matchers",
    "match": "root route must not have any matchers",
    "match_re": "root route must not have any matchers",
    "continue": "cannot have continue in root route",
    "mute_time_intervals": "root route must not have any mute time intervals",
    "active_time_intervals": "root route must not have any active time intervals",
}


def check(tree: Tree) -> None:
    """Note on the tree every problem that one value alone does not show."""
    checks = _Checks(tree, {section: _names(tree, section) for section in _NAMED})
    for step in (
        checks.unique,
        checks.references,
        checks.apns,
        checks.devices,
        checks.groups,
        partial(rota.check, tree),
        partial(beats.check, tree),
        partial(upstream.check, tree),
        partial(drilling.check, tree),
        checks.receivers,
        checks.webhook_names,
        checks.intervals,
        checks.route,
    ):
        step()


def warnings(tree: Tree) -> None:
    """Note on the tree what is doubtful, though it can be used. Only for a tree without problems."""
    checks = _Checks(tree, {section: _names(tree, section) for section in _NAMED})
    checks.unused_receivers()
    checks.unused_intervals()
    checks.unused_groups()
    rota.warnings(tree)
    beats.warnings(tree)
    upstream.warnings(tree)
    drilling.warnings(tree)
    checks.unused_devices()
    checks.always()
    checks.named_twice()
    checks.steps_that_reach_nobody()
    checks.notifications_without_a_token()


def _names(tree: Tree, section: str) -> list[str]:
    found = (tree.get(path) for path in tree.find(f"{section}.*.name"))
    return [name for name in found if isinstance(name, str)]


def _children(route: Any) -> list[Any]:
    children = route.get("routes") if isinstance(route, dict) else None
    return children if isinstance(children, list) else []


@dataclass(slots=True)
class _Checks:
    tree: Tree
    names: dict[str, list[str]]

    # -- names --

    def unique(self) -> None:
        for section, kind in _NAMED.items():
            first: dict[str, Path] = {}
            for path in self.tree.find(f"{section}.*.name"):
                name = self.tree.get(path)
                if isinstance(name, str) and first.setdefault(name, path) != path:
                    line = self.tree.values[first[name]][0]
                    self.tree.note(path, f"{kind} {quote(name)} is there already, in line {line}")

    def references(self) -> None:
        for pattern, section in _REFERENCES.items():
            for path in self.tree.find(pattern):
                self.reference(path, section, f"undefined {_NAMED[section]}")

    def reference(self, path: Path, section: str, words: str) -> None:
        name = self.tree.get(path)
        if not isinstance(name, str) or name in self.names[section]:
            return
        self.tree.note(path, f"{words} {quote(name)}{suggest(name, self.names[section])}")

    def webhook_names(self) -> None:
        first: dict[str, Path] = {}
        for path in self.tree.find("receivers.*.escalation.*.webhooks.*.name"):
            name = self.tree.get(path)
            if isinstance(name, str) and first.setdefault(name, path) != path:
                line = self.tree.values[first[name]][0]
                self.tree.note(path, f"webhook {quote(name)} is there already, in line {line}")

    # -- sections --

    def apns(self) -> None:
        apns = self.tree.get(("apns",))
        if not isinstance(apns, dict):
            return
        token = [key for key in ("team_id", "key_id", "key", "key_file") if key in apns]
        if "certificate_file" in apns:
            for key in token:
                self.tree.note(
                    ("apns", key),
                    "give a key or a certificate, not both: certificate_file is there too",
                    at_key=True,
                )
            return
        if "certificate_key_file" in apns:
            self.tree.note(("apns", "certificate_key_file"), "needs certificate_file beside it", at_key=True)
        elif not token:
            self.tree.note(("apns",), "needs team_id, key_id and key_file, or certificate_file")
            return
        for key in ("team_id", "key_id"):
            if key not in apns and token:
                self.tree.note(("apns", key), "is missing")
        if token and not {"key", "key_file"} & apns.keys():
            self.tree.note(("apns", "key_file"), "is missing")

    def devices(self) -> None:
        tokens = {f"{kind}_token{end}" for kind in ("voip", "alert") for end in ("", "_file")}
        for path in self.tree.find("devices.*"):
            device = self.tree.get(path)
            if isinstance(device, dict) and not tokens & device.keys():
                self.tree.note(
                    path, "has no token, so nothing can reach it: give voip_token, alert_token or both"
                )

    def groups(self) -> None:
        for path in self.tree.find("device_groups.*"):
            group = self.tree.get(path)
            if isinstance(group, dict) and not any(map(group.get, ("owners", "devices", "schedules"))):
                self.tree.note(path, "holds nobody: give owners, devices or schedules")

    def receivers(self) -> None:
        if isinstance(self.tree.root, dict) and not self.tree.get(("receivers",)):
            self.tree.note(("receivers",), "is missing: somebody must be told")
        for path in self.tree.find("receivers.*"):
            receiver = self.tree.get(path)
            if isinstance(receiver, dict) and not receiver.get("escalation"):
                self.tree.note((*path, "escalation"), "is missing: a receiver needs at least one step")
        for path in self.tree.find("receivers.*.escalation.*"):
            self.step(path, self.tree.get(path))
        for path in self.tree.find("receivers.*.escalation.*.webhooks.*"):
            webhook = self.tree.get(path)
            if isinstance(webhook, dict) and not {"url", "url_file"} & webhook.keys():
                self.tree.note((*path, "url"), "is missing; give url or url_file")

    def step(self, path: Path, step: Any) -> None:
        if isinstance(step, dict) and not step.get("device_groups") and not step.get("webhooks"):
            self.tree.note(path, "this step has no target: give device_groups, webhooks or both")

    def intervals(self) -> None:
        for path in self.tree.find("time_intervals.*.time_intervals"):
            if self.tree.get(path) == []:
                self.tree.note(path, "holds no interval")

    # -- the routing tree --

    def route(self) -> None:
        root = self.tree.get(("route",))
        if not isinstance(root, dict):
            return
        if "receiver" not in root:
            self.tree.note(("route", "receiver"), "root route must specify a default receiver")
        for key, message in _NOT_IN_ROOT.items():
            if key in root and not (key == "continue" and root[key] in {"false", "no", "off"}):
                self.tree.note(("route", key), message, at_key=True)
        level: list[tuple[Path, Any]] = [(("route",), root)]
        for _ in range(MAX_ROUTE_DEPTH):
            for path, route in level:
                self.route_names(path, route)
            level = [
                ((*path, "routes", i), child)
                for path, route in level
                for i, child in enumerate(_children(route))
            ]
        if level:
            self.tree.note(level[0][0], f"routes are nested more than {MAX_ROUTE_DEPTH} deep")

    def route_names(self, path: Path, route: Any) -> None:
        if not isinstance(route, dict):
            return
        self.reference((*path, "receiver"), "receivers", "undefined receiver")
        for key in ("mute_time_intervals", "active_time_intervals"):
            items = route.get(key)
            for i in range(len(items) if isinstance(items, list) else 0):
                self.reference((*path, key, i), "time_intervals", "undefined time interval")

    # -- warnings --

    def routes(self) -> list[Any]:
        found, level = [], [self.tree.get(("route",))]
        while level:
            found += level
            level = [child for route in level for child in _children(route)]
        return found

    def named(self, *patterns: str) -> set[Any]:
        """Give what stands at the places that fit."""
        return {self.tree.get(path) for pattern in patterns for path in self.tree.find(pattern)}

    def unused_receivers(self) -> None:
        used = {route.get("receiver") for route in self.routes()} | self.named(
            "heartbeats.*.receiver", "drills.*.report_to"
        )
        for path in self.tree.find("receivers.*.name"):
            if (name := self.tree.get(path)) not in used:
                self.tree.note(path, f"no route leads to receiver {quote(name)}")

    def unused_intervals(self) -> None:
        keys = ("mute_time_intervals", "active_time_intervals")
        used = {name for route in self.routes() for key in keys for name in route.get(key, [])}
        used |= self.named("schedules.*.layers.*.during.*")
        for path in self.tree.find("time_intervals.*.name"):
            if (name := self.tree.get(path)) not in used:
                self.tree.note(path, f"no route and no layer uses time interval {quote(name)}")

    def unused_groups(self) -> None:
        used = self.named("receivers.*.escalation.*.device_groups.*", "receivers.*.otherwise.*")
        used |= self.named("drills.*.device_groups.*")
        for path in self.tree.find("device_groups.*.name"):
            if (name := self.tree.get(path)) not in used:
                self.tree.note(path, f"no receiver rings device group {quote(name)}")

    def unused_devices(self) -> None:
        devices = self.named("device_groups.*.devices.*")
        owners = self.named("device_groups.*.owners.*") | rota.people(self.tree)
        for path in self.tree.find("devices.*"):
            device = self.tree.get(path)
            if device["name"] not in devices and device["owner"] not in owners:
                name = quote(device["name"])
                self.tree.note(
                    (*path, "name"), f"device {name} is in no group, nor is its owner: it never rings"
                )

    def always(self) -> None:
        for path in self.tree.find("time_intervals.*.time_intervals.*"):
            if not set(self.tree.get(path)) - {"location"}:
                self.tree.note(path, "has no condition, so it lasts for ever")

    def named_twice(self) -> None:
        for path in [path for pattern in _LISTS for path in self.tree.find(pattern)]:
            seen: Counter[str] = Counter()
            for index, name in enumerate(self.tree.get(path)):
                seen[name] += 1
                if seen[name] == 2:
                    self.tree.note((*path, index), f"{quote(name)} is named twice")

    def steps_that_reach_nobody(self) -> None:
        """Warn of people alone: a phone may enrol later, and until then the step goes by at once."""
        owners = {device["owner"] for device in self.tree.get(("devices",)) or []}
        groups = {group["name"]: group for group in self.tree.get(("device_groups",)) or []}
        for path in self.tree.find("receivers.*.escalation.*.device_groups"):
            named = [groups[name] for name in self.tree.get(path)]
            if named and not any(
                g.get("devices") or g.get("schedules") or owners & set(g.get("owners", [])) for g in named
            ):
                self.tree.note(
                    path,
                    "none of these groups holds a device yet: this step rings only after somebody enrols",
                )

    def notifications_without_a_token(self) -> None:
        """Warn of `push: alert` where the devices known have a voip_token alone: others may yet enrol."""
        devices = self.tree.get(("devices",)) or []
        groups = {group["name"]: group for group in self.tree.get(("device_groups",)) or []}
        for path in self.tree.find("receivers.*.escalation.*.push"):
            step = self.tree.get(path[:-1])
            if step["push"] != "alert":
                continue
            named = [groups[name] for name in step.get("device_groups", ())]
            owners = {owner for group in named for owner in group.get("owners", ())}
            if any(group.get("schedules") for group in named):
                owners |= rota.people(self.tree)
            listed = {name for group in named for name in group.get("devices", ())}
            rung = [device for device in devices if device["name"] in listed or device["owner"] in owners]
            if rung and not any({"alert_token", "alert_token_file"} & device.keys() for device in rung):
                self.tree.note(
                    path, "none of its devices has an alert_token: no notification reaches them yet"
                )
