"""Drills ring by the same decisions as everything, end by themselves, and stay apart from what is real."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pytest
from builders import NOW, at, phone, receiver, step
from msgspec.structs import replace
from story import GROUPS, Story

from bridge import drills, lifecycle, unanswered
from bridge.bundles import Handset, Line, over, plan
from bridge.drills import Drill, Due, Each, Hours, Mark, Member, Result, due, result
from bridge.incidents import Change, Episode, Event, Incident, Slot, State, make_page
from bridge.oncall import DeviceGroup, OnCall, Phone
from bridge.payloads import Renderer, Shown, outgoing_webhook
from bridge.policy import Receiver, Ring, Step
from bridge.schedules import Layer, Schedule
from bridge.timeintervals import TimeInterval, parse_days_of_month, parse_months, parse_weekdays

ALICE, IPAD, BOB = "alice-iphone", "alice-ipad", "bob-iphone"
GAP = timedelta(seconds=30)


def drilled(slot: Slot, policy: Receiver | None = None, lasts: float = 180, **fields: object) -> Story:
    """A story that a drill begins; its receivers are all `policy`."""
    story = Story(drills.policy(slot, lambda _: policy or receiver(), {}), **fields)  # type: ignore[arg-type]
    span = timedelta(seconds=lasts)
    story.apply(drills.begin(slot, "TestCall", "by carol", span, story.policy, story.on_call, story.now))
    return story


def of_phone(**fields: object) -> Story:
    return drilled(drills.slot("device", ALICE, "1"), **fields)  # type: ignore[arg-type]


# --- which policy -----------------------------------------------------------------------------


def test_a_test_of_a_phone_rings_it_once_and_nobody_else() -> None:
    story = of_phone(phones=[phone(alert=True, enrolled=True), phone(IPAD), phone(BOB)])
    (page,) = story.pages
    assert (page.kind, page.target, page.drill) == ("ring", ALICE, True)
    story.fail_over(page)
    assert [one.kind for one in story.pages] == ["ring", "fallback"]
    story.fail_over(story.pages[-1])
    story.wait(179, accept=False)
    assert {one.target for one in story.pages} == {ALICE}, "no other phone of its owner stands in"
    assert len(story.pages) == 2
    assert story.incident.unanswered_at == NOW, "it does not go round for ever, as a real one would"


def test_a_test_of_a_receiver_rings_by_its_policy_to_the_end() -> None:
    policy = receiver(step("platform", times=2, then_after=100), step("second", times=1, then_after=50))
    story = drilled(drills.slot("receiver", "platform", "1"), policy, lasts=1800)
    story.wait(200)
    assert story.rings == [(0, ALICE, 1, 1), (45, ALICE, 1, 2), (100, BOB, 2, 1)]
    assert story.incident.unanswered_at == at(150)


def test_a_policy_of_which_nobody_is_reached_is_not_repeated_in_a_drill() -> None:
    slot = drills.slot("receiver", "platform", "1")
    story = drilled(slot, receiver(step("platform", times=1, then_after=60)), lasts=1800, phones=[])
    story.wait(1000)
    assert story.incident.unanswered_at == NOW


def test_a_step_that_names_owners_rings_all_their_phones() -> None:
    policy = receiver(Step(owners=("alice",)))
    assert policy.rings_phones
    story = drilled(drills.slot("receiver", "x", "1"), policy, phones=[phone(), phone(BOB), phone(IPAD)])
    assert {page.target for page in story.pages} == {ALICE, IPAD}


def test_each_test_has_an_incident_of_its_own() -> None:
    first, second = (drills.slot("device", ALICE, run) for run in "12")
    assert first != second
    calls = {drilled(slot).pages[0].call_uuid for slot in (first, second)}
    assert len(calls) == 2


@pytest.mark.parametrize(("repeat", "seconds"), [(0, 210), (2, 510)])
def test_a_test_of_a_receiver_lasts_as_long_as_its_policy(repeat: int, seconds: float) -> None:
    steps = step("platform", then_after=100), step("second", then_after=50)
    policy = receiver(*steps, repeat=repeat)
    assert drills.lasts(policy).total_seconds() == seconds
    one = drills.policy(drills.slot("device", ALICE, "1"), lambda _: policy, {})
    assert drills.lasts(one) == drills.ONE_PHONE


# --- its end ----------------------------------------------------------------------------------


def test_a_drill_ends_by_its_own_time_without_telling_anybody() -> None:
    story = of_phone(phones=[phone(alert=True)])
    story.wait(180)
    assert (story.incident.state, story.incident.resolution) == (State.RESOLVED, "expired")
    assert [page.kind for page in story.pages] == ["ring"]


def test_the_timeline_of_a_drill_whose_time_is_over_speaks_of_no_alert() -> None:
    story = of_phone()
    ended = lifecycle.advance(Change(story.incident), story.policy, story.on_call, at(180))
    assert ended.events[-1] == Event("expired", "the drill is over")


def test_a_drill_that_is_called_off_rings_no_more() -> None:
    story = of_phone()
    story.apply(lifecycle.call_off(Change(story.incident), "called off", "by carol", at(5)))
    ended = story.incident
    assert (ended.state, ended.resolution, ended.resolved_at) == (State.RESOLVED, "called off", at(5))
    assert story.withdrawn[-1] == "called off"
    assert not ended.firing
    again = lifecycle.call_off(Change(ended), "called off", "by carol", at(6))
    assert again == Change(ended)


def test_what_an_acknowledged_drill_tells_the_others_still_goes_out_when_it_ends() -> None:
    slot = drills.slot("receiver", "platform", "1")
    story = drilled(slot, phones=[phone(alert=True), phone(BOB, alert=True)])
    story.accept()
    story.acknowledge("bob")
    told = dict(story.open_pages)
    assert [page.kind for page in told.values()] == ["acknowledged"]
    story.apply(lifecycle.call_off(Change(story.incident), "called off", "by carol", at(5)))
    assert story.open_pages == told


def test_nothing_real_can_be_called_off() -> None:
    real = Incident("i1", Slot("default", "platform"), NOW)
    assert lifecycle.call_off(Change(real), "called off", "by carol", NOW) == Change(real)


def test_a_drill_that_nobody_answers_is_no_alarm() -> None:
    drill, real = (
        Change(Incident("i1", Slot(source, "platform"), NOW)).note("unanswered", "")
        for source in ("pushkit-bridge-drill", "default")
    )
    assert unanswered.just_now(real)
    assert not unanswered.just_now(drill)


def test_a_call_of_a_drill_that_is_over_is_withdrawn_not_resolved() -> None:
    story = of_phone()
    (bundle,) = plan(map(Line, story.pages), {}, {}, NOW, GAP).bundles
    story.wait(180)
    assert bundle.call is not None
    ended = over(bundle.call, {story.incident.id: story.incident}, {story.incident.id: 1})
    assert ended == ("withdrawn", "the drill is over")


# --- apart from what is real ------------------------------------------------------------------


def lines(*drill: bool, push: str = "voip") -> list[Line]:
    made = []
    for number, one in enumerate(drill):
        source = "pushkit-bridge-drill" if one else "default"
        incident = Incident(f"i{number}", Slot(source, "platform"), NOW, revision=1, series=1)
        page = make_page(incident, step("platform", every=45), "ring", ALICE, at(-number), at(45))
        made.append(Line(replace(page, push=push)))  # type: ignore[arg-type]
    return made


def test_rule_5_a_drill_never_travels_with_something_real_and_waits_for_it() -> None:
    """Whoever answers a drill must not acknowledge something real unnoticed."""
    due = lines(False, True, False, True)
    (bundle,) = plan(due, {}, {}, NOW, GAP).bundles
    assert [line.page.drill for line in bundle.lines] == [False, False]


def test_a_drills_notification_is_one_of_its_own() -> None:
    bundles = plan(lines(True, False, True, push="alert"), {}, {}, NOW, GAP).bundles
    assert [[line.page.drill for line in bundle.lines] for bundle in bundles] == [[False], [True, True]]


@pytest.mark.parametrize(
    ("was_drill", "is_drill", "waits"), [(1, 0, False), (1, 1, True), (0, 0, True), (0, 1, True)]
)
def test_something_real_owes_no_quiet_gap_to_a_drill(was_drill: int, is_drill: int, waits: bool) -> None:
    handset = Handset(called_at=at(-10), live_until=at(-5), drill=bool(was_drill))
    planned = plan(lines(bool(is_drill)), {ALICE: handset}, {}, NOW, GAP)
    assert (not planned.bundles) is waits


def test_something_real_waits_for_the_end_of_a_drills_call() -> None:
    """Rule 5: two calls at once, never."""
    handset = Handset(called_at=at(-10), live_until=at(5), drill=True)
    assert not plan(lines(False), {ALICE: handset}, {}, NOW, GAP).bundles


# --- what is shown ----------------------------------------------------------------------------


def shown(drill: bool) -> Incident:
    source = "pushkit-bridge-drill" if drill else "default"
    episode = Episode("f" * 16, {"alertname": "TestCall"}, {"summary": "by carol"}, "", NOW, at(60))
    return Incident("i1", Slot(source, "platform"), NOW, acknowledged_by="bob", alerts={"f": episode})


SHOWN = Shown("c1", "u1", at(30))


@pytest.mark.parametrize("template", [None, "{{ 'not a drill at all' }}", "{{ drill }}"])
def test_whatever_a_template_says_a_drill_is_called_one(template: str | None) -> None:
    renderer = Renderer(template, template)
    payload = json.loads(renderer.voip(SHOWN, [shown(drill=True)]))
    assert (payload["caller_name"][:6], payload["reason"][:7]) == ("DRILL ", "DRILL: ")
    assert payload["drill"] is True
    for way in (renderer.resolved, renderer.acknowledged):
        quiet = json.loads(way(SHOWN, [shown(drill=True)]))
        assert quiet["aps"]["alert"]["title"].startswith("DRILL ")
        assert quiet["aps"]["alert"]["body"].startswith("DRILL: ")
    real = json.loads(renderer.voip(SHOWN, [shown(drill=False)]))
    assert "drill" not in real
    assert "DRILL" not in real["caller_name"] + real["reason"]


@pytest.mark.parametrize("drill", [True, False])
def test_an_outgoing_webhook_says_whether_it_is_a_drill(drill: bool) -> None:
    page = make_page(shown(drill), step("platform"), "webhook", "w", NOW, NOW)
    told = json.loads(outgoing_webhook(shown(drill), page, NOW))
    assert told["drill"] is drill
    assert told["summary"].startswith("DRILL: ") is drill


# --- agreed hours -----------------------------------------------------------------------------


BERLIN = ZoneInfo("Europe/Berlin")


def hours(at: str = "02:30", zone: tzinfo | None = UTC, **days: object) -> Hours:
    return Hours(time.fromisoformat(at), TimeInterval(zone=zone, **days))  # type: ignore[arg-type]


def drill(**fields: object) -> Drill:
    return Drill(**({"name": "weekly", "hours": hours(), "report_to": "chief"} | fields))  # type: ignore[arg-type]


def test_a_drill_rings_at_its_hour_of_its_days() -> None:
    tuesdays = hours(weekdays=(parse_weekdays("tuesday"),))
    found = list(tuesdays.between(NOW, NOW + timedelta(days=15)))
    assert [f"{one:%a %d %H:%M}" for one in found] == ["Tue 01 02:30", "Tue 08 02:30"]
    first = hours(weekdays=(parse_weekdays("tuesday"),), days_of_month=(parse_days_of_month("1:7"),))
    assert [one.day for one in first.between(NOW, NOW + timedelta(days=50))] == [1, 5]
    assert first.coming(NOW) == datetime(2026, 12, 1, 2, 30, tzinfo=UTC)


def test_the_hour_itself_counts_once() -> None:
    at_half_past = NOW + timedelta(minutes=30)
    assert list(hours().between(NOW, at_half_past)) == [at_half_past]
    assert list(hours().between(at_half_past, at_half_past)) == []


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago", "Asia/Kathmandu"])
def test_far_zones_lose_no_hour_at_the_edges_of_a_day(zone: str) -> None:
    for at_noon in ("00:00", "12:00", "23:59"):
        found = list(hours(at_noon, ZoneInfo(zone)).between(NOW, NOW + timedelta(days=7)))
        assert len(found) == 7
        assert {f"{one.astimezone(ZoneInfo(zone)):%H:%M}" for one in found} == {at_noon}


@pytest.mark.parametrize(
    ("night", "expected"),
    [
        (datetime(2027, 3, 27, tzinfo=UTC), ["27 01:30", "28 01:00", "29 00:30"]),
        (datetime(2026, 10, 24, tzinfo=UTC), ["24 00:30", "25 00:30", "26 01:30"]),
    ],
)
def test_in_the_nights_of_the_time_change_there_is_one_hour_each(
    night: datetime, expected: list[str]
) -> None:
    found = hours("02:30", BERLIN).between(night, night + timedelta(days=3))
    assert [f"{one:%d %H:%M}" for one in found] == expected


def test_a_day_that_never_comes_is_none() -> None:
    never = hours(months=(parse_months("february"),), days_of_month=(parse_days_of_month("30"),))
    assert never.coming(NOW) is None


def test_a_new_drill_begins_with_the_next_hour() -> None:
    found = due(drill(), None, NOW)
    assert found == Due(Mark("weekly", repr(hours()), NOW))
    assert due(drill(), found.mark, NOW + timedelta(minutes=29)) == found
    rung = due(drill(), found.mark, NOW + timedelta(minutes=30))
    assert (rung.rings_for, rung.missed) == (NOW + timedelta(minutes=30), ())
    assert due(drill(), rung.mark, NOW + timedelta(minutes=31)) == Due(rung.mark)


def test_other_hours_begin_anew_another_ring_does_not() -> None:
    mark = due(drill(), None, NOW - timedelta(days=1)).mark
    assert due(drill(hours=hours("01:59")), mark, NOW).rings_for is None
    assert due(drill(each="device"), mark, NOW + timedelta(minutes=31)).rings_for is not None


def test_two_bridges_with_other_hours_of_one_drill_each_ring_at_their_own() -> None:
    """Their configuration is not the same: the mark of one must not blind the other, nor ring for the past."""
    one, other = drill(), drill(hours=hours("02:45"))
    mark = due(other, due(one, None, NOW).mark, NOW).mark
    rung = []
    for minute in range(60):
        for mine in (one, other):
            found = due(mine, mark, NOW + timedelta(minutes=minute), since=NOW)
            mark = found.mark
            rung += [found.rings_for] if found.rings_for else []
            assert found.missed == ()
    assert rung == [NOW + timedelta(minutes=30), NOW + timedelta(minutes=45)]


def test_a_mark_that_nobody_sets_is_abandoned_and_whoever_has_the_drill_sets_it_daily() -> None:
    rare = drill(hours=hours(months=(parse_months("february"),)))
    mark = due(rare, None, NOW).mark
    for day in range(1, 10):
        mark = due(rare, mark, NOW + timedelta(days=day, minutes=day)).mark
    assert not drills.abandoned(mark, NOW + timedelta(days=12))
    assert drills.abandoned(mark, NOW + timedelta(days=13))


@pytest.mark.parametrize(("minutes", "rings"), [(60, True), (61, False)])
def test_it_rings_late_for_a_while_and_is_missed_then(minutes: int, rings: bool) -> None:
    mark = due(drill(), None, NOW).mark
    hour = NOW + timedelta(minutes=30)
    found = due(drill(), mark, NOW + timedelta(minutes=minutes))
    assert (found.rings_for, found.missed) == ((hour, ()) if rings else (None, (hour,)))


def test_of_many_hours_only_the_last_one_rings() -> None:
    mark = due(drill(), None, NOW).mark
    found = due(drill(), mark, NOW + timedelta(days=2, minutes=31))
    assert found.rings_for == NOW + timedelta(days=2, minutes=30)
    assert [one.day for one in found.missed] == [25, 26]
    assert found.mark.decided_until == found.rings_for


def on_call(*phones: Phone) -> OnCall:
    duty = Layer(("bob",), NOW.replace(tzinfo=None) + timedelta(days=1), timedelta(days=7))
    groups = GROUPS | {"ipad": DeviceGroup("ipad", devices=(IPAD, "gone")), "x": DeviceGroup("x", ("carol",))}
    return OnCall(groups, phones, {"primary": Schedule("primary", layers=(duty,))})


def test_everybody_whom_a_receiver_reaches_takes_part_also_without_a_phone() -> None:
    policy = receiver(step("platform"), step("x"), step("platform"))
    it = drill(receiver="platform")
    found = drills.members(it, lambda _: policy, on_call(phone(), phone(IPAD)), NOW)
    assert found == (Member("alice", "alice"), Member("carol", "carol"))
    each = drills.members(
        dataclasses.replace(it, each="device"), lambda _: policy, on_call(phone(), phone(IPAD)), NOW
    )
    assert [(one.who, one.owner) for one in each] == [(ALICE, "alice"), (IPAD, "alice")]


def test_in_a_gap_those_take_part_who_would_be_rung_instead() -> None:
    policy = receiver(step("on-call"), otherwise=("x",))
    it, phones = drill(receiver="platform"), on_call(phone(), phone(BOB))
    assert [one.who for one in drills.members(it, lambda _: policy, phones, NOW)] == ["carol"]
    later = NOW + timedelta(days=2)
    assert [one.who for one in drills.members(it, lambda _: policy, phones, later)] == ["bob"]


def test_of_a_device_its_owner_takes_part() -> None:
    it = drill(device_groups=("ipad",))
    assert drills.members(it, receiver, on_call(phone(IPAD)), NOW) == (Member("alice", "alice"),)


@pytest.mark.parametrize(
    ("each", "who", "others"), [("person", "alice", {ALICE, IPAD}), ("device", ALICE, {ALICE})]
)
def test_one_who_takes_part_is_rung_as_the_drill_says(each: Each, who: str, others: set[str]) -> None:
    slot = drills.slot_of("weekly", each, Member(who, "alice"), "r1")
    ring = Ring(timedelta(seconds=60), 2, timedelta(seconds=20))
    for known, rings in (({"weekly": drill(ring=ring)}, [0, 60]), ({}, [0, 45, 90, 135])):
        policy = drills.policy(slot, receiver, known)  # type: ignore[arg-type]
        story = Story(policy, [phone(), phone(IPAD), phone(BOB)])
        story.apply(drills.begin(slot, "Drill", "", timedelta(minutes=15), policy, story.on_call, NOW))
        story.wait(899)
        assert {page.target for page in story.pages} == others
        assert sorted({seconds for seconds, *_ in story.rings}) == rings


def test_only_ones_own_answer_confirms() -> None:
    member = Member("alice", "alice", "i1")
    open_ = Incident("i1", Slot("pushkit-bridge-drill", "weekly"), NOW)
    mine = replace(open_, state=State.ACKNOWLEDGED, acknowledged_by="alice", acknowledged_at=at(3))
    assert result(member, mine) == Result("alice", True, at(3))
    for incident, why in (
        (None, "nothing is known of it any more"),
        (replace(mine, acknowledged_by="bob"), "bob acknowledged it instead"),
        (replace(open_, state=State.RESOLVED, resolution="gave way"), "it gave way to a real page"),
        (
            replace(open_, out={ALICE: "declined", IPAD: "no receipt"}),
            f"{ALICE}: declined; {IPAD}: no receipt",
        ),
        (replace(open_, told=(ALICE,)), "did not answer"),
        (open_, "no phone could be rung"),
    ):
        assert result(member, incident) == Result("alice", False, why=why)
    assert [drills.waits(one) for one in (None, mine, open_)] == [False, False, True]
