"""What silences an incident is worth: for exactly its alerts, found again by their comment, nobody else's touched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from builders import NOW, at, make_alert
from msgspec.structs import replace
from story import SLOT, Story

from bridge import routing, silences
from bridge.incidents import Incident, Silence, Slot
from bridge.matchers import Matcher
from bridge.routetree import Route
from bridge.silences import Plan, Standing, TooWide

WISH = Silence(at(3600.5), "alice")
DISK = {"alertname": "DiskFull"}


def story_of(*labels: Mapping[str, str], group: tuple[tuple[str, str], ...] = SLOT.group) -> Incident:
    """An incident in which alerts with these labels fire."""
    story = Story()
    slot = Slot("default", "platform", group)
    story.receive(*(make_alert(labels=dict(one)) for one in labels), to=(slot,))
    return story.incidents[slot]


def route(*routes: Route, **fields: Any) -> Route:
    return Route("platform", routes=routes, **fields)


def to(receiver: str, *matchers: tuple[str, Any, str], **fields: Any) -> Route:
    return Route(receiver, tuple(Matcher(*one) for one in matchers), **fields)


# --- for exactly that group -------------------------------------------------------------------


def test_the_groups_labels_are_the_least() -> None:
    incident = story_of(DISK | {"instance": "db-1"}, DISK | {"instance": "db-2"})
    assert silences.exactly(incident, route()) == (DISK,)


def test_labels_that_routing_asks_for_are_there_too_with_the_value_that_the_alert_has() -> None:
    """Else another team's alert of that name would be silenced with it."""
    root = route(to("web", ("team", "=", "web")), to("night", ("severity", "=~", "info|warning")))
    incident = story_of(DISK | {"team": "db", "severity": "critical", "instance": "db-1"})
    assert silences.exactly(incident, root) == (DISK | {"team": "db", "severity": "critical"},)


def test_what_stands_behind_the_route_that_took_the_alert_is_not_asked() -> None:
    root = route(to("platform", ("team", "=", "db")), to("web", ("zone", "=", "eu")))
    assert silences.exactly(story_of(DISK | {"team": "db", "zone": "us"}), root) == (DISK | {"team": "db"},)


def test_a_label_that_the_alert_lacks_must_be_missing_from_what_is_silenced() -> None:
    root = route(to("web", ("team", "=", "web")), group_by=("alertname", "cluster"))
    assert silences.exactly(story_of(DISK), root) == (DISK | {"cluster": "", "team": ""},)


def test_alerts_that_differ_in_what_routing_asks_for_need_a_silence_each() -> None:
    root = route(to("platform", ("team", "=~", "db|web")))
    incident = story_of(
        *(DISK | {"team": team, "instance": f"{team}-{n}"} for team in ("db", "web") for n in (1, 2))
    )
    assert silences.exactly(incident, root) == (DISK | {"team": "db"}, DISK | {"team": "web"})


def test_an_alert_that_fires_no_more_needs_none() -> None:
    story = Story()
    story.receive(make_alert(labels=DISK | {"team": "db"}), make_alert(labels=DISK | {"team": "web"}))
    story.receive(make_alert(labels=DISK | {"team": "web"}, firing=False))
    root = route(to("platform", ("team", "=~", "db|web")))
    assert silences.exactly(story.incident, root) == (DISK | {"team": "db"},)


def test_grouped_by_every_label_each_label_counts() -> None:
    labels = DISK | {"instance": "db-1"}
    incident = story_of(labels, group=tuple(sorted(labels.items())))
    assert silences.exactly(incident, route(group_by=("...",))) == (labels,)


def test_what_the_silence_matches_takes_the_same_way() -> None:
    root = route(
        to("web", ("team", "=", "web"), ("zone", "!=", "lab"), group_by=("alertname", "zone")),
        to("platform", ("severity", "=~", "critical|page"), continue_=True),
        to("night", ("zone", "!~", "eu.*")),
    )
    labels = DISK | {"team": "web", "zone": "eu-1", "severity": "page", "instance": "a"}
    group = (("alertname", "DiskFull"), ("zone", "eu-1"))
    (matchers,) = silences.exactly(story_of(labels, group=group), root)
    other = {name: value for name, value in matchers.items() if value} | {"instance": "b", "more": "of it"}

    def ways(of: Mapping[str, str]) -> list[Any]:
        return [(match.receiver, match.group) for match in routing.explain(root, of, NOW, {}).matches]

    assert ways(other) == ways(labels)


def test_no_silence_is_made_for_all_alerts() -> None:
    with pytest.raises(TooWide, match="give the route a group_by"):
        silences.exactly(story_of({"instance": "a"}, group=()), route(group_by=()))


def test_not_hundreds_are_made() -> None:
    root = route(to("platform", ("team", "=~", ".+")))
    incident = story_of(*(DISK | {"team": str(number)} for number in range(silences.MOST + 1)))
    with pytest.raises(TooWide, match="take 21 ways"):
        silences.exactly(incident, root)


# --- from what stands to what is wanted -------------------------------------------------------

INCIDENT = story_of(DISK)


def standing(name: str = "one", **fields: Any) -> Standing:
    known = {
        "matchers": DISK,
        "starts_at": "2026-11-25T01:00:00.123Z",
        "ends_at": at(3600),
        "created_by": "alice",
    }
    return Standing(id=name, **({"comment": silences.comment(INCIDENT)} | known | fields))


def plan(*there: Standing, wish: Silence | None = WISH, wanted: Any = (DISK,)) -> Plan:
    return silences.plan(INCIDENT, wish, wanted, there, NOW)


def test_what_is_wanted_and_not_there_is_made() -> None:
    (post,) = plan().posts
    assert (post.id, post.matchers, post.ends_at, post.created_by) == (None, DISK, at(3600), "alice")
    assert post.starts_at < NOW.isoformat(), "whatever Alertmanager's clock says, it holds at once"
    assert INCIDENT.id in post.comment
    assert "pushkit-bridge" in post.comment


def test_one_that_stands_as_wished_is_kept_so_a_lost_answer_makes_no_second() -> None:
    assert plan(standing()) == Plan(kept=("one",))


@pytest.mark.parametrize(
    "wish", [Silence(at(7200), "alice"), Silence(at(60), "alice"), Silence(at(3600), "bob")]
)
def test_one_with_another_end_or_maker_is_changed_in_its_place(wish: Silence) -> None:
    found = plan(standing(), wish=wish)
    (post,) = found.posts
    assert (post.id, post.starts_at) == ("one", standing().starts_at), "or Alertmanager would make another"
    assert (post.ends_at, post.created_by) == (wish.until, wish.by)
    assert (found.ends, found.kept) == ((), ())


def test_of_two_alike_one_ends() -> None:
    assert plan(standing("one"), standing("two")) == Plan(ends=("two",), kept=("one",))


def test_one_for_alerts_that_fire_no_more_ends_after_the_other_is_made() -> None:
    found = plan(standing(matchers=DISK | {"team": "web"}))
    assert [post.matchers for post in found.posts] == [DISK]
    assert found.ends == ("one",)


def test_one_that_somebody_changed_into_a_regex_is_replaced() -> None:
    found = plan(standing(matchers=None))
    assert ([post.id for post in found.posts], found.ends) == ([None], ("one",))


def test_without_a_wish_all_of_the_incident_end() -> None:
    assert plan(standing("one"), standing("two", matchers=None), wish=None) == Plan(ends=("one", "two"))
    assert plan(wish=None) == Plan()


@pytest.mark.parametrize(
    "comment",
    [
        "",
        "maintenance",
        f"see incident {INCIDENT.id}",
        f"{silences.comment(INCIDENT)}, longer",
        silences.comment(replace(INCIDENT, id="another")),
    ],
)
@pytest.mark.parametrize("wish", [WISH, None])
def test_nobody_elses_silence_is_touched(comment: str, wish: Silence | None) -> None:
    found = plan(standing(comment=comment), wish=wish)
    assert found.ends == found.kept == ()
    assert [post.id for post in found.posts] == ([None] if wish else [])


# --- what an incident wishes ------------------------------------------------------------------


def test_the_longer_of_both_wishes_counts() -> None:
    assert INCIDENT.silence is None
    both = replace(INCIDENT, ack_silence_until=at(60), acknowledged_by="bob", silenced_until=at(90))
    assert both.silence == Silence(at(90), "pushkit-bridge"), "silenced by nobody knows whom, before 0.1.0"
    assert replace(both, ack_silence_until=at(91)).silence == Silence(at(91), "bob")
