"""Who is on call now and next, as the console shows it."""

from dataclasses import replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from builders import NOW, phone, receiver, step

from bridge.oncall import DeviceGroup, OnCall
from bridge.schedules import Layer, Override, Schedule
from bridge.timeintervals import TimeInterval
from bridge.views.duty import bars, duty, instead, stages

WEEKLY = Layer(("alice", "bob"), datetime(2026, 11, 23, 9), timedelta(weeks=1))  # noqa: DTZ001 - local
PRIMARY = Schedule("primary", ZoneInfo("Europe/Berlin"), (WEEKLY,))
EMPTY = Schedule("empty", None)
MONDAYS = Layer(("alice",), datetime(2026, 11, 1), timedelta(days=1), (TimeInterval(weekdays=((1, 1),)),))  # noqa: DTZ001


def on_call(*phones: str) -> OnCall:
    groups = {
        "platform": DeviceGroup("platform", schedules=("primary",)),
        "second": DeviceGroup("second", ("bob",)),
        "gap": DeviceGroup("gap", schedules=("empty",)),
    }
    schedules = {"primary": PRIMARY, "empty": EMPTY}
    return OnCall(groups, tuple(phone(name) for name in phones), schedules)


def test_a_schedule_says_who_has_it_until_when_and_who_follows() -> None:
    found = duty(PRIMARY, NOW)
    assert (found.people, found.why, found.zone) == (("alice",), "layer 1", "Europe/Berlin")
    assert found.until_text == "Mon 2026-11-30 09:00 CET"
    assert found.following is not None
    assert found.following.people == ("bob",)
    assert not found.gap


def test_a_schedule_without_anybody_is_a_gap_that_does_not_end() -> None:
    found = duty(EMPTY, NOW)
    assert found.gap
    assert (found.until, found.following, found.zone) == (None, None, "this machine's time")


def test_the_picture_of_shifts_covers_two_weeks_and_keeps_one_hue_to_a_person() -> None:
    found = bars(PRIMARY, NOW, ("alice", "bob"))
    assert [bar.who for bar in found] == ["alice", "bob", "alice"]
    assert found[0].hue == found[2].hue != found[1].hue
    assert found[0].x == 0
    assert round(found[-1].x + found[-1].width, 1) == 100


def test_a_gap_in_the_picture_has_no_person_s_hue() -> None:
    found = bars(Schedule("mondays", ZoneInfo("UTC"), (MONDAYS,)), NOW, ("alice",))
    assert {bar.who: bar.hue for bar in found} == {"nobody": 0, "alice": 1}


def test_a_step_names_whom_it_reaches_by_which_schedule_and_how_often() -> None:
    (found,) = stages(receiver(step("platform")), on_call("alice-iphone", "bob-iphone"), NOW)
    assert found.whom == "alice"
    assert [one.text for one in found.duties] == ["primary: alice (layer 1), until Mon 2026-11-30 09:00 CET"]
    assert found.pace == "a call every 45s, 4 times; on to the next step after 5m"


def test_a_step_without_anybody_says_what_it_lacks() -> None:
    (found,) = stages(receiver(step("gap")), on_call("alice-iphone"), NOW)
    assert (found.whom, found.gap) == ("nobody", "nobody is on call by empty")
    assert [one.text for one in found.duties] == ["empty: nobody (a gap)"]


def test_a_step_of_webhooks_alone_posts_once() -> None:
    (found,) = stages(receiver(step(webhooks=("pager",))), on_call(), NOW)
    assert found.whom == "pager"
    assert found.pace.startswith("one post;")


def test_each_phone_says_what_a_push_does_to_it() -> None:
    phones = (
        phone("bob-a"),
        phone("bob-b", voip=False, alert=True),
        phone("bob-c", voip=False, trouble="unregistered"),
        phone("bob-d", voip=False),
    )
    groups = {"second": DeviceGroup("second", ("bob",))}
    calls, notices = stages(
        receiver(step("second"), step("second", push="alert")), OnCall(groups, phones), NOW
    )
    assert [one.text for one in calls.reached] == [
        "rings",
        "a notification in place of a call",
        "cannot ring: unregistered",
        "cannot ring: it has no token for that",
    ]
    assert notices.pace.startswith("a notification every")
    assert [one.text for one in notices.reached if one.rings] == ["a notification"]


def test_overrides_that_are_not_over_are_told_in_the_schedule_s_time_and_in_their_order() -> None:
    hour = timedelta(hours=1)
    schedule = replace(
        PRIMARY,
        overrides=(
            Override("bob", NOW + hour, NOW + 2 * hour, "carol", 7),
            Override("alice", NOW - hour, NOW + hour),
            Override("alice", NOW - hour, NOW, "carol", 6),
        ),
    )
    first, second = instead(schedule, [phone("alice-iphone")], NOW)
    assert (first.id, first.person, first.by, first.holds, first.rings) == (
        None,
        "alice",
        "the configuration",
        True,
        True,
    )
    assert (second.id, second.person, second.by, second.holds, second.rings) == (
        7,
        "bob",
        "carol",
        False,
        False,
    )
    assert second.text.endswith("CET")
