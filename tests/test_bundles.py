"""Which due pages travel together, and which must wait: rule 5."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from builders import NOW, at, step
from msgspec.structs import replace

from bridge.bundles import Bundle, Call, Handset, Line, Plan, blinded, over, plan
from bridge.incidents import Incident, Page, Slot, State, make_page

ALICE, BOB = "alice-iphone", "bob-iphone"
GAP = timedelta(seconds=30)
STEP = step("platform", every=45)  # each call lasts 30 s


def page(incident: str = "i1", target: str = ALICE, *, ring: int = 1, due: float = 0, **fields: Any) -> Page:
    """A page that wants a call, and is overtaken 45 s after it fell due."""
    on = Incident(id=incident, slot=Slot("default", incident), opened_at=NOW, revision=1, series=1, ring=ring)
    made = make_page(on, STEP, "ring", target, at(due), at(due + 45))
    return replace(made, **fields)


def planned(*pages: Page, handset: Handset | None = None, now: float = 0) -> Plan:
    due = [Line(one) for one in pages]
    repeated = [one.every for one in pages if one.ring > 1]
    handsets = {ALICE: replace(handset, pace=min(repeated, default=None))} if handset else {}
    return plan(due, handsets, {}, at(now), GAP)


def called(began: float, until: float) -> Handset:
    return Handset(called_at=at(began), live_until=at(until))


def only(plan: Plan) -> Bundle:
    (bundle,) = plan.bundles
    return bundle


def call_of(bundle: Bundle) -> Call:
    assert bundle.call is not None
    return bundle.call


# --- what travels together --------------------------------------------------------------------


def test_rule_5_all_pages_due_on_a_phone_travel_in_one_call() -> None:
    bundle = only(planned(page("i1"), page("i2"), page("i3")))
    assert {line.page.incident_id for line in bundle.lines} == {"i1", "i2", "i3"}
    assert call_of(bundle).carries == (("i1", 1), ("i2", 1), ("i3", 1))


def test_only_a_new_call_gets_names_that_say_nothing() -> None:
    (fresh,) = planned(page()).bundles
    again = Bundle((replace(fresh.lines[0], call_id="known"),), call_of(fresh))
    post = Bundle(fresh.lines)
    one, two, three = blinded([fresh, again, post], lambda name: f"not {name}")
    assert (call_of(one).id, call_of(one).uuid) == (f"not {call_of(fresh).id}", f"not {call_of(fresh).uuid}")
    assert (one.lines, two, three) == (fresh.lines, again, post)


def test_each_phone_has_a_call_of_its_own() -> None:
    calls = [call_of(bundle) for bundle in planned(page(target=ALICE), page(target=BOB)).bundles]
    assert [call.device for call in calls] == [ALICE, BOB]
    assert calls[0].uuid != calls[1].uuid


def test_rule_8_the_page_that_fell_due_first_anchors_the_call_whatever_their_order() -> None:
    first, second = page("i2", due=-5), page("i1", due=-1)
    one, other = planned(first, second), planned(second, first)
    assert one == other
    assert call_of(only(one)).uuid == first.call_uuid


def test_a_calls_deadline_counts_from_its_claim() -> None:
    call = call_of(only(planned(page(due=0), now=7)))
    assert (call.created_at, call.expires_at) == (at(7), at(37))


def test_a_notification_is_of_use_until_its_page_is_overtaken() -> None:
    call = call_of(only(planned(page(push="alert"), now=5)))
    assert (call.push, call.expires_at) == ("alert", at(45))


def test_a_notification_about_to_be_overtaken_still_has_the_rings_time() -> None:
    assert call_of(only(planned(page(push="alert"), now=40))).expires_at == at(70)


def test_calls_notifications_and_quiet_ones_do_not_mix() -> None:
    kinds = planned(page("i1"), page("i2", push="alert"), page("i3", kind="resolved", push="alert"))
    assert sorted((call_of(b).push, call_of(b).kind) for b in kinds.bundles) == [
        ("alert", "resolved"),
        ("alert", "ring"),
        ("voip", "ring"),
    ]


def test_each_outgoing_webhook_goes_by_itself_and_without_a_call() -> None:
    hooks = planned(page("i1", "hook", kind="webhook"), page("i2", "hook", kind="webhook"))
    assert [(len(bundle.lines), bundle.call) for bundle in hooks.bundles] == [(1, None), (1, None)]


# --- what must wait ---------------------------------------------------------------------------


def test_rule_5_a_phone_that_rings_is_not_called_again() -> None:
    assert planned(page("i2"), handset=called(0, 30), now=29) == Plan()


def test_rule_5_a_phone_to_which_a_call_is_on_its_way_is_not_called_again() -> None:
    assert planned(page("i2"), handset=Handset(sending=True)) == Plan()


@pytest.mark.parametrize(("now", "calls"), [(30, 0), (59.9, 0), (60, 1)])
def test_rule_5_after_a_call_the_phone_has_its_quiet_gap(now: float, calls: int) -> None:
    assert len(planned(page("i2"), handset=called(0, 30), now=now).bundles) == calls


def test_a_phone_that_rings_still_gets_notifications() -> None:
    assert planned(page(push="alert"), handset=called(0, 30), now=1).bundles


@pytest.mark.parametrize(("now", "calls"), [(29, 0), (31, 0), (40, 0), (45, 1)])
def test_a_repeated_ring_keeps_its_pace_though_the_gap_would_last_longer(now: float, calls: int) -> None:
    assert len(planned(page(ring=2, due=now), handset=called(0, 30), now=now).bundles) == calls


def test_a_repeated_ring_that_was_decided_a_moment_before_the_last_call_went_out_keeps_its_pace() -> None:
    assert planned(page(ring=2, due=45), handset=called(1, 31), now=45).bundles


def test_what_fell_due_in_the_gap_travels_with_the_repeated_ring() -> None:
    bundle = only(planned(page("i1", ring=2, due=45), page("i2", due=40), handset=called(0, 30), now=45))
    assert call_of(bundle).carries == (("i1", 1), ("i2", 1))


# --- what was bound before --------------------------------------------------------------------


def bound(call: Call, *pages: Page) -> list[Line]:
    return [Line(one, attempt=1, call_id=call.id) for one in pages]


def test_a_page_that_was_bound_is_repeated_with_its_call_unchanged() -> None:
    both = (page("i1"), page("i2"))
    call = call_of(only(planned(*both)))
    again = plan(bound(call, *both), {ALICE: Handset(sending=True)}, {call.id: call}, at(5), GAP)
    assert call_of(only(again)) == call
    assert {line.page.incident_id for line in only(again).lines} == {"i1", "i2"}


def test_while_a_call_is_repeated_new_pages_wait() -> None:
    call = call_of(only(planned(page("i1"))))
    due = [*bound(call, page("i1")), Line(page("i2", due=1))]
    again = plan(due, {}, {call.id: call}, at(5), GAP)
    assert [line.page.incident_id for line in only(again).lines] == ["i1"]


def test_a_call_whose_deadline_has_passed_is_late_not_repeated() -> None:
    call = call_of(only(planned(page())))
    lines = bound(call, page())
    assert plan(lines, {}, {call.id: call}, at(30), GAP) == Plan(late=tuple(lines))


def test_two_calls_that_are_to_be_repeated_stay_two() -> None:
    calls = [call_of(only(planned(page(name)))) for name in ("i1", "i2")]
    lines = [*bound(calls[0], page("i1")), *bound(calls[1], page("i2"))]
    again = plan(lines, {}, {call.id: call for call in calls}, at(5), GAP)
    assert {call_of(bundle).id for bundle in again.bundles} == {call.id for call in calls}


# --- when nobody needs to answer a call any more ------------------------------------------------


RINGING = Incident(id="i1", slot=Slot("default", "i1"), opened_at=NOW, revision=1, series=1)


@pytest.mark.parametrize(
    ("incident", "end"),
    [
        (RINGING, None),
        (None, ("withdrawn", "its record is gone")),
        (replace(RINGING, state=State.ACKNOWLEDGED, acknowledged_by="bob"), ("acknowledged", "answered by bob")),
        (replace(RINGING, state=State.RESOLVED, resolution="resolved"), ("resolved", "resolved")),
        (replace(RINGING, state=State.RESOLVED, resolution="expired"),
         ("expired", "expired: Alertmanager no longer mentions it")),
        (replace(RINGING, series=2), ("withdrawn", "handed on, or silenced")),
        # News begins a series too; its own ring follows, and until then this one calls for help.
        (replace(RINGING, series=2, revision=2), None),
    ],
)  # fmt: skip
def test_a_call_is_over_when_nothing_that_it_carries_needs_an_answer(
    incident: Incident | None, end: tuple[str, str] | None
) -> None:
    call = call_of(only(planned(page("i1"))))
    assert over(call, {} if incident is None else {"i1": incident}, {"i1": 1}) == end


def test_a_call_goes_on_while_one_of_its_incidents_needs_an_answer() -> None:
    call = call_of(only(planned(page("i1"), page("i2"))))
    other = replace(RINGING, id="i2", slot=Slot("default", "i2"))
    done = replace(RINGING, state=State.RESOLVED, resolution="resolved")
    series = {"i1": 1, "i2": 1}
    assert over(call, {"i1": done, "i2": other}, series) is None
    taken = replace(other, state=State.ACKNOWLEDGED, acknowledged_by="bob")
    assert over(call, {"i1": done, "i2": taken}, series) == ("acknowledged", "answered by bob")


@pytest.mark.parametrize(
    ("live_until", "free"),
    [(None, None), (at(30), at(30)), (at(0), at(20)), (at(-10), at(10)), (at(-20), None)],
)
def test_a_phone_may_be_free_when_its_call_ends_and_when_its_gap_does(live_until: Any, free: Any) -> None:
    """Rule 5."""
    assert Handset(NOW, live_until).free_at(NOW, timedelta(seconds=20)) == free
