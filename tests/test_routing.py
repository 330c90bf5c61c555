"""The way through the routing tree, what it is explained with, and how the tree is drawn."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from bridge.matchers import Matcher, parse_matchers
from bridge.routing import (
    Explanation,
    Failure,
    Route,
    RouteSpec,
    destinations,
    explain,
    render_tree,
    resolve,
)
from bridge.timeintervals import TimeInterval, parse_time_interval

NOW = datetime(2026, 11, 28, 23, 30, tzinfo=UTC)  # a Saturday


def route(
    matchers: str = "",
    *children: RouteSpec,
    receiver: str | None = None,
    go_on: bool = False,
    group_by: tuple[str, ...] | None = None,
    mute: tuple[str, ...] = (),
    active: tuple[str, ...] = (),
) -> RouteSpec:
    return RouteSpec(receiver, parse_matchers(matchers), group_by, go_on, mute, active, children)


def way(root: RouteSpec, **labels: str) -> Explanation:
    return explain(resolve(root), labels, NOW, {})


def receivers(explanation: Explanation) -> list[str]:
    return [match.receiver for match in explanation.matches]


TREE = route(
    "",
    route('severity="critical"', receiver="loud", go_on=True),
    route("team=~db|storage", route('env="test"', receiver="quiet"), route('env="prod"'), receiver="storage"),
    route("team!=web", receiver="rest"),
    receiver="default",
)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"team": "web"}, ["default"]),
        ({"team": "db"}, ["storage"]),
        ({"team": "db", "env": "test"}, ["quiet"]),
        ({"team": "db", "env": "prod"}, ["storage"]),
        ({}, ["rest"]),
        ({"severity": "critical"}, ["loud", "rest"]),
        ({"severity": "critical", "team": "web"}, ["loud"]),
        ({"severity": "critical", "team": "storage", "env": "test"}, ["loud", "quiet"]),
    ],
)
def test_the_first_child_that_matches_wins_unless_it_continues(
    labels: dict[str, str], expected: list[str]
) -> None:
    assert receivers(way(TREE, **labels)) == expected


def test_a_route_none_of_whose_children_match_is_itself_the_match() -> None:
    explanation = way(TREE, team="db")
    assert [match.route.path for match in explanation.matches] == ["route.routes[1]"]
    assert [visit.chosen for visit in explanation.visits] == [False, False, True, False, False]


def test_the_root_matches_everything_even_if_it_had_matchers() -> None:
    root = Route("default", parse_matchers("a=b"))
    assert receivers(explain(root, {}, NOW, {})) == ["default"]


def test_the_explanation_says_which_matcher_failed_and_with_what_value() -> None:
    explanation = way(route("", route('a="1",b="2",c!="3"'), receiver="r"), b="2", c="3")
    failed = explanation.visits[1].failed
    assert failed == (Failure(Matcher("a", "=", "1"), None), Failure(Matcher("c", "!=", "3"), "3"))
    assert [str(failure) for failure in failed] == ['a="1": a is missing', 'c!="3": c is "3"']
    assert str(Failure(Matcher("", "=", "1"), "\x1b")) == r'""="1": "" is "\x1b"'


def test_the_explanation_says_what_was_tried_and_where_continue_went_on() -> None:
    explanation = way(TREE, severity="critical", team="db", env="test")
    assert [
        (visit.route.path, visit.depth, visit.matched, visit.went_on, visit.chosen, visit.untried)
        for visit in explanation.visits
    ] == [
        ("route", 0, True, False, False, 1),
        ("route.routes[0]", 1, True, True, True, 0),
        ("route.routes[1]", 1, True, False, False, 1),
        ("route.routes[1].routes[0]", 2, True, False, True, 0),
    ]
    failed = way(route("", route("a=b", route(), go_on=True), receiver="r")).visits[1]
    assert (failed.matched, failed.went_on, failed.chosen, failed.untried) == (False, False, False, 0)


def test_rule_1_each_distinct_receiver_gets_one_incident_from_its_first_match() -> None:
    tree = route(
        "",
        route("a=1", receiver="x", go_on=True, group_by=("a",)),
        route("a=1", receiver="y", go_on=True),
        route("a=1", receiver="x", group_by=("b",)),
        receiver="default",
    )
    explanation = way(tree, a="1", b="2")
    assert receivers(explanation) == ["x", "y", "x"]
    assert [(match.receiver, match.group) for match in destinations(explanation)] == [
        ("x", (("a", "1"),)),
        ("y", ()),
    ]


def test_rule_1_receiver_and_group_by_are_inherited_and_intervals_are_not() -> None:
    root = resolve(
        route(
            "",
            route("a=1", route("b=1", mute=("night",)), receiver="x", group_by=("a", "b"), active=("day",)),
            route("a=2", route("b=2", group_by=()), group_by=("...",)),
            receiver="default",
        )
    )
    first, second = root.routes
    assert (root.group_by, root.path) == (("alertname",), "route")
    assert (first.receiver, first.group_by, first.active_time_intervals) == ("x", ("a", "b"), ("day",))
    inner = first.routes[0]
    assert (inner.receiver, inner.group_by, inner.path) == ("x", ("a", "b"), "route.routes[0].routes[0]")
    assert (inner.active_time_intervals, inner.mute_time_intervals) == ((), ("night",))
    assert (second.receiver, second.group_by, second.routes[0].group_by) == ("default", ("...",), ())
    assert resolve(route(receiver="r", group_by=("x",))).group_by == ("x",)


@pytest.mark.parametrize("receiver", [None, ""])
def test_a_root_without_receiver_is_refused(receiver: str | None) -> None:
    with pytest.raises(ValueError, match="the root route must specify a default receiver"):
        resolve(RouteSpec(receiver))


@pytest.mark.parametrize(
    ("group_by", "group"),
    [
        (("b", "a"), (("a", "1"), ("b", "2"))),
        (("a", "missing", "empty"), (("a", "1"),)),
        (("...",), (("a", "1"), ("alertname", "X"), ("b", "2"))),
        ((), ()),
        (None, (("alertname", "X"),)),
    ],
)
def test_rule_1_a_group_is_the_sorted_labels_that_group_by_names(
    group_by: tuple[str, ...] | None, group: tuple[tuple[str, str], ...]
) -> None:
    explanation = way(route(receiver="r", group_by=group_by), b="2", a="1", alertname="X", empty="")
    assert explanation.matches[0].group == group


def interval(**keys: object) -> tuple[TimeInterval, ...]:
    return (parse_time_interval(keys),)


INTERVALS = {
    "night": interval(times=[{"start_time": "22:00", "end_time": "24:00"}])
    + interval(times=[{"start_time": "00:00", "end_time": "06:00"}]),
    "weekend": interval(weekdays=["saturday", "sunday"]),
    "office": interval(weekdays=["monday:friday"], times=[{"start_time": "08:00", "end_time": "18:00"}]),
    "summer": interval(months=["june:august"]),
}


@pytest.mark.parametrize(
    ("mute", "active", "until", "muted_by", "outside"),
    [
        ((), (), None, (), ()),
        (("summer",), (), None, (), ()),
        ((), ("night",), None, (), ()),
        ((), ("summer", "weekend"), None, (), ()),
        (("night",), (), "2026-11-29T06:00", ("night",), ()),
        (("summer", "weekend", "night"), (), "2026-11-30T06:00", ("weekend", "night"), ()),
        ((), ("office", "summer"), "2026-11-30T08:00", (), ("office", "summer")),
        (("night",), ("office",), "2026-11-30T08:00", ("night",), ("office",)),
        (("night",), ("weekend",), "2026-11-29T06:00", ("night",), ()),
        (("unknown",), ("unknown too",), None, (), ()),
    ],
)
def test_rule_3_a_match_is_muted_until_no_interval_mutes_it(
    mute: tuple[str, ...],
    active: tuple[str, ...],
    until: str | None,
    muted_by: tuple[str, ...],
    outside: tuple[str, ...],
) -> None:
    root = resolve(route("", route(mute=mute, active=active), receiver="r"))
    (match,) = explain(root, {}, NOW, INTERVALS).matches
    expected = None if until is None else datetime.fromisoformat(until).replace(tzinfo=UTC)
    assert (match.muted_until, match.muted_by, match.outside) == (expected, muted_by, outside)


def test_rule_3_only_the_intervals_of_the_route_that_matched_mute() -> None:
    root = resolve(route("", route("", route("a=1"), mute=("night",)), receiver="r"))
    assert explain(root, {"a": "1"}, NOW, INTERVALS).matches[0].muted_until is None
    assert explain(root, {}, NOW, INTERVALS).matches[0].muted_until is not None


def test_an_explanation_is_plain_values_for_json() -> None:
    root = resolve(
        route(
            "",
            route("x=1"),
            route("a=1", route(), receiver="r", mute=("night",), go_on=True),
            route("", receiver="r", mute=("night",), active=("office",)),
            route(),
            receiver="d",
        )
    )
    plain = explain(root, {"a": "1", "alertname": "X"}, NOW, INTERVALS).to_dict()
    assert json.loads(json.dumps(plain)) == plain
    visited = plain["visited"]
    assert isinstance(visited, list)
    assert visited[0] == {
        "path": "route",
        "title": "default-route",
        "depth": 0,
        "receiver": "d",
        "matchers": [],
        "matched": True,
        "failed": [],
        "continued": False,
        "chosen": False,
        "untried": 1,
    }
    assert visited[1]["failed"] == [{"matcher": 'x="1"', "label": "x", "value": None}]
    assert visited[2]["continued"] is True
    assert plain | {"visited": None} == {
        "labels": {"a": "1", "alertname": "X"},
        "at": "2026-11-28T23:30:00Z",
        "visited": None,
        "matches": [
            {
                "path": "route.routes[1].routes[0]",
                "receiver": "r",
                "group": {"alertname": "X"},
                "muted_until": None,
                "muted_by": [],
                "outside": [],
                "opens_incident": True,
            },
            {
                "path": "route.routes[2]",
                "receiver": "r",
                "group": {"alertname": "X"},
                "muted_until": "2026-11-30T08:00:00Z",
                "muted_by": ["night"],
                "outside": ["office"],
                "opens_incident": False,
            },
        ],
    }


def test_the_tree_is_drawn_as_amtool_draws_it() -> None:
    tree = route("", route("b=2,a=1", route("c=3"), go_on=True, receiver="x"), route(), receiver="default")
    assert (
        render_tree(resolve(tree)).replace("\u00a0", " ")
        == """
Routing tree:
.
└── default-route  receiver: default
    ├── {a="1",b="2"}  continue: true  receiver: x
    │   └── {c="3"}  receiver: x
    └── default-route  receiver: default
""".lstrip()
    )


def test_a_tree_a_hundred_levels_deep_is_like_any_other() -> None:
    depth = 100
    tree = route("x=1", receiver="bottom")
    for _ in range(depth - 1):
        tree = route("x=1", tree, route("y=1"))
    root = resolve(route("", tree, receiver="top"))
    explanation = explain(root, {"x": "1"}, NOW, {})
    assert receivers(explanation) == ["bottom"]
    assert len(explanation.visits) == depth + 1
    assert explanation.matches[0].route.path == "route" + ".routes[0]" * depth
    assert len(render_tree(root).splitlines()) == 2 + (depth + 1) + (depth - 1)
    assert root == resolve(route("", tree, receiver="top"))


def test_an_instant_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a time zone"):
        explain(resolve(route(receiver="r")), {}, NOW.replace(tzinfo=None), {})
