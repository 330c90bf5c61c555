"""The one account of an alert's way, as JSON and as lines: what did not match, who is on call, which phones."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from builders import NOW, phone, receiver, step

from bridge.matchers import parse_matchers
from bridge.oncall import DeviceGroup, OnCall
from bridge.policy import Receiver
from bridge.routing import RouteSpec, explain, resolve
from bridge.schedules import Layer, Schedule
from bridge.timeintervals import TimeInterval, TimeRange
from bridge.views.account import account, lines
from bridge.watchdogs import Heartbeat

NOBODY = OnCall({}, ())
INTERVALS = {
    "night": (TimeInterval(times=(TimeRange(0, 6 * 60),)),),
    "office": (TimeInterval(times=(TimeRange(8 * 60, 18 * 60),)),),
}


def route(matchers: str = "", *children: RouteSpec, **fields: Any) -> RouteSpec:
    return RouteSpec(matchers=parse_matchers(matchers), routes=children, **fields)


TREE = route(
    "",
    route('severity="critical"', receiver="loud", continue_=True, group_by=("alertname", "cluster")),
    route("team=~db|storage", route('env="test"', receiver="quiet"), receiver="storage"),
    route('a="\x1b"', receiver="never"),
    route("", receiver="loud", continue_=True),
    route("team=db"),
    receiver="default",
)


def told(
    root: RouteSpec,
    labels: dict[str, str],
    policy: Receiver | None = None,
    on_call: OnCall = NOBODY,
    heartbeats: Iterable[Heartbeat] = (),
) -> dict[str, Any]:
    explanation = explain(resolve(root), labels, NOW, INTERVALS)
    found = account(explanation, "default", heartbeats, lambda name: policy or Receiver(name, ()), on_call)
    assert json.loads(json.dumps(found)) == found, "it is plain values"
    return found


def text(found: dict[str, Any]) -> str:
    return "\n".join(lines(found)).replace("\u00a0", " ")


def test_the_way_is_told_with_each_route_that_did_not_match_and_why() -> None:
    labels = {"alertname": "Down", "cluster": 'e"u', "severity": "critical", "team": "web\x1b[31m"}
    assert (
        text(told(TREE, labels))
        == r"""
.
└── ✓ default-route
    ├── ✓ {severity="critical"}  continue: true  receiver: loud
    ├── ✗ {team=~"db|storage"}  (team=~"db|storage": team is "web\x1b[31m")
    ├── ✗ {"a"="\x1b"}  ("a"="\x1b": a is missing)
    ├── ✓ default-route  continue: true  receiver: loud
    └── ✗ {team="db"}  (team="db": team is "web\x1b[31m")
1. receiver loud, by route.routes[0]
   group: alertname="Down", cluster="e\"u"
2. receiver loud, by route.routes[3]: the same incident as 1.
""".strip()
    )


def test_the_last_routes_that_were_not_tried_are_counted() -> None:
    found = text(told(TREE, {"team": "db"}))
    assert "    └── (3 more not tried: the last match does not continue)\n1. receiver storage" in found
    assert found.endswith("   group: all alerts of this receiver")


@pytest.mark.parametrize(
    ("mute", "active", "line"),
    [
        (("night",), (), "   muted until 2026-11-25T06:00:00Z: in night"),
        ((), ("office",), "   muted until 2026-11-25T08:00:00Z: outside of office"),
        (("night",), ("office",), "   muted until 2026-11-25T08:00:00Z: in night and outside of office"),
    ],
)
def test_rule_3_people_are_told_why_and_until_when_it_is_muted(
    mute: tuple[str, ...], active: tuple[str, ...], line: str
) -> None:
    child = route(mute_time_intervals=mute, active_time_intervals=active)
    assert text(told(route("", child, receiver="r"), {})).endswith(line)


WEEKLY = Layer(("alice", "bob"), datetime(2026, 11, 23, 9), timedelta(weeks=1))  # noqa: DTZ001 - local
GROUPS = {
    "all": DeviceGroup("all", ("alice", "carol")),
    "on-call": DeviceGroup("on-call", schedules=("primary",)),
    "gap": DeviceGroup("gap", schedules=("empty",)),
    "backup": DeviceGroup("backup", ("bob",)),
}
SCHEDULES = {
    "primary": Schedule("primary", ZoneInfo("Europe/Berlin"), (WEEKLY,)),
    "empty": Schedule("empty"),
}
PHONES = (
    phone("alice-iphone", alert=True),
    phone("alice-watch", voip=False, alert=True),
    phone("alice-old", voip=False, trouble="no token"),
    phone("bob-iphone"),
)
ON_CALL = OnCall(GROUPS, PHONES, SCHEDULES)
POLICY = receiver(
    step("all", times=2, then_after=3725),
    step("on-call", push="alert", every=90),
    step("gap", then_after=0),
    step(webhooks=("hook",)),
    otherwise=("backup",),
)


def test_each_step_tells_who_is_on_call_which_phones_ring_and_by_which_push() -> None:
    found = text(told(route(receiver="r"), {}, POLICY, ON_CALL))
    assert found.splitlines()[4:] == [
        "   step 1: a call every 45s, 2 times; on to the next step after 1h2m5s",
        "     alice-iphone of alice: rings",
        "     alice-watch of alice: a notification in place of a call",
        "     alice-old of alice: cannot ring: no token",
        "     carol has no phone that is known here",
        "   step 2: a notification every 1m30s, 4 times; on to the next step after 5m",
        "     schedule primary: alice (layer 1), until Mon 2026-11-30 09:00 CET",
        "     alice-iphone of alice: a notification",
        "     alice-watch of alice: a notification",
        "     alice-old of alice: cannot ring: no token",
        "   step 3: a call every 45s, 4 times; on to the next step after 0s",
        "     schedule empty: nobody (a gap)",
        "     nobody is on call by empty",
        "     bob-iphone of bob, otherwise: rings",
        "   step 4: one post; on to the next step after 5m",
        "     outgoing webhook hook",
    ]


def test_the_json_of_a_step_says_the_same_in_values() -> None:
    first, second, third, last = told(route(receiver="r"), {}, POLICY, ON_CALL)["matches"][0]["steps"]
    assert [(one["phone"], one["push"]) for one in first["phones"]] == [
        ("alice-iphone", "voip"),
        ("alice-watch", "alert"),
        ("alice-old", None),
    ]
    assert (first["people"], first["without_a_phone"]) == (["alice", "carol"], ["carol"])
    assert second["on_call"][0]["until"] == "2026-11-30T08:00:00+00:00"
    assert third["phones"][0]["otherwise"] is True
    assert (last["webhooks"], last["phones"], last["on_call"]) == (["hook"], [], [])


def test_an_alert_that_is_a_heartbeat_opens_nothing_and_says_which_it_is() -> None:
    hour = timedelta(hours=1)
    beats = [
        Heartbeat("watchdog", parse_matchers("alertname=Watchdog"), hour, hour, "r", source)
        for source in ("default", "other")
    ]
    found = told(route(receiver="r"), {"alertname": "Watchdog"}, POLICY, ON_CALL, beats[:1])
    assert found["heartbeats"] == ["watchdog"]
    assert [(match["opens_incident"], match["steps"]) for match in found["matches"]] == [(False, [])]
    assert text(found).endswith("heartbeat watchdog: while it comes it is no incident, and rings nobody")
    assert told(route(receiver="r"), {"alertname": "Watchdog"}, heartbeats=beats[1:])["heartbeats"] == []


def test_nothing_in_an_account_can_write_to_the_terminal() -> None:
    evil = "a\x1b[2J\r\nb"
    found = told(route(receiver=evil, group_by=("...",)), {"x": evil, evil: evil})
    found["visited"][0]["title"] = evil
    assert "\x1b" not in text(found)
    assert "\r" not in text(found)
