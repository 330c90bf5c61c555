"""The way of an alert, explained: labels as people type them, and each reason that a route did not match."""

import pytest
from builders import NOW, at, phone, receiver, step

from bridge import routing
from bridge.matchers import parse_matchers
from bridge.oncall import DeviceGroup, OnCall
from bridge.routetree import RouteSpec, resolve
from bridge.timeintervals import TimeInterval
from bridge.views.way import NotLabels, Way, instant, labels, way, written


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("severity=critical team=db", {"severity": "critical", "team": "db"}),
        ('{severity="critical", team="d b"}', {"severity": "critical", "team": "d b"}),
        ("a=1\nb=\n", {"a": "1", "b": ""}),
        (r'a="say \"hi\" \\o/"', {"a": r'say "hi" \o/'}),
        ("  \n", {}),
        ('"my label"="a=b"', {"my label": "a=b"}),
        ('a="two\nlines"', {"a": "two\nlines"}),
    ],
)
def test_labels_are_read_as_people_type_or_paste_them(text: str, expected: dict[str, str]) -> None:
    assert labels(text) == expected
    assert labels(written(expected)) == expected


@pytest.mark.parametrize("text", ["critical", "=x", 'a="open', "a=b c"])
def test_what_is_no_label_is_named(text: str) -> None:
    with pytest.raises(NotLabels, match="is not NAME=VALUE"):
        labels(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-25T02:00", NOW),
        ("2026-11-25T03:00:00+01:00", NOW),
        ("tomorrow", None),
        ("0001-01-01T00:00:00+23:00", None),
        ("9999-12-31T23:59", None),
    ],
)
def test_a_time_is_utc_unless_it_says_otherwise(text: str, expected: object) -> None:
    assert instant(text) == expected


ALWAYS = (TimeInterval(),)
TREE = resolve(
    RouteSpec(
        "platform",
        routes=(
            RouteSpec("storage", tuple(parse_matchers('team="db"')), continue_=True),
            RouteSpec(
                "storage", tuple(parse_matchers('severity="critical"')), mute_time_intervals=("nights",)
            ),
            RouteSpec("platform"),
            RouteSpec("platform"),
        ),
    )
)
POLICIES = {"platform": receiver(step("platform")), "storage": receiver(step("platform"))}
ON_CALL = OnCall({"platform": DeviceGroup("platform", ("alice",))}, (phone(),))


def told(**found: str) -> Way:
    intervals = {"nights": (TimeInterval(),), "holidays": (TimeInterval(years=((1999, 1999),)),)}
    explanation = routing.explain(TREE, found, NOW, intervals)
    return way(explanation, POLICIES, ON_CALL, NOW)


def test_each_route_that_was_tried_says_whether_it_matched_and_why_not() -> None:
    found = told(team="web")
    assert [(node.title, node.matched, node.failed) for node in found.nodes][1:3] == [
        ('{team="db"}', False, ('team="db": team is "web"',)),
        ('{severity="critical"}', False, ('severity="critical": severity is missing',)),
    ]
    assert found.nodes[0].title == "every alert"
    assert found.nodes[0].untried == 1
    assert [node.chosen for node in found.nodes] == [False, False, False, True]


def test_an_end_says_whom_it_rings() -> None:
    (end,) = told(team="web").ends
    assert (end.receiver, end.same, end.muted, end.why_muted) == ("platform", None, None, "")
    assert end.stages[0].whom == "alice"


def test_a_second_way_to_a_receiver_is_the_same_incident_and_a_mute_says_why() -> None:
    first, second = told(team="db", severity="critical").ends
    assert (first.number, second.same, second.stages) == (1, 1, ())
    assert second.why_muted == "in nights"


def test_a_route_outside_of_its_hours_says_so() -> None:
    spec = RouteSpec("platform", routes=(RouteSpec("platform", active_time_intervals=("holidays",)),))
    intervals = {"holidays": (TimeInterval(months=((1, 1),)),)}
    found = way(routing.explain(resolve(spec), {"a": "b"}, NOW, intervals), POLICIES, ON_CALL, at(0))
    assert found.ends[0].why_muted == "outside of holidays"
    assert found.ends[0].muted is not None
