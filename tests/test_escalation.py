"""What the clock does to an incident: rule 4, story by story."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from builders import at, make_alert, phone, receiver, step
from msgspec.structs import replace
from story import Story

from bridge import escalation
from bridge.incidents import Change, State
from bridge.schedules import Layer, Schedule

ALICE, BOB = "alice-iphone", "bob-iphone"
NOBODY = step("gone", then_after=100)


def started(story: Story) -> Story:
    story.receive(make_alert())
    return story


# --- rings ------------------------------------------------------------------------------------


def test_rule_4_a_step_rings_every_and_times() -> None:
    story = started(Story())
    story.wait(299)
    assert story.rings == [(0, ALICE, 1, 1), (45, ALICE, 1, 2), (90, ALICE, 1, 3), (135, ALICE, 1, 4)]


def test_a_ring_may_be_late_until_the_next_one_overtakes_it() -> None:
    story = started(Story())
    story.wait(299)
    ends = [page.expires_at for page in story.pages]
    assert ends == [at(45), at(90), at(135), at(300)]
    assert {(page.every, page.lasts) for page in story.pages} == {(45.0, 30.0)}


def test_rule_4_then_after_counts_from_the_steps_start_and_cuts_its_rings_short() -> None:
    story = started(Story(receiver(step("platform", then_after=100), step("second", times=1))))
    story.wait(100)
    assert story.rings == [(0, ALICE, 1, 1), (45, ALICE, 1, 2), (90, ALICE, 1, 3), (100, BOB, 2, 1)]


def test_every_phone_of_a_step_rings_at_once() -> None:
    story = started(Story(receiver(step("both"))))
    assert story.rings == [(0, ALICE, 1, 1), (0, BOB, 1, 1)]


def test_rule_3_who_is_on_call_is_asked_at_each_ring() -> None:
    story = started(Story(receiver(step("both"))))
    story.phones = [phone(BOB)]
    story.wait(45)
    assert story.rings[-1] == (45, BOB, 1, 2)
    assert len(story.rings) == 3


def test_a_clock_that_wakes_late_rings_once_and_makes_up_for_nothing() -> None:
    story = started(Story(receiver(step("platform"), step("second"))))
    story.accept()
    story.now = at(10_000)
    story.advance()
    assert story.rings[1:] == [(10_000, BOB, 2, 1)]
    assert story.incident.step_ends_at == at(10_300)


def test_nothing_happens_before_its_time() -> None:
    story = started(Story())
    story.now = at(44.9)
    before = story.incident
    story.advance()
    assert story.incident == before


# --- the end of a policy ----------------------------------------------------------------------


def test_a_policy_that_reached_somebody_ends_as_unanswered() -> None:
    story = started(Story())
    story.wait(3600)
    incident = story.incident
    assert (incident.state, incident.unanswered_at, incident.due_at) == (State.TRIGGERED, at(300), None)
    assert story.events[-1] == "unanswered"
    assert len(story.rings) == 4


def test_a_policy_is_repeated_as_often_as_it_says() -> None:
    story = started(Story(receiver(step("platform", times=1), step("second", times=1), repeat=1)))
    story.wait(3600)
    assert story.rings == [(0, ALICE, 1, 1), (300, BOB, 2, 1), (600, ALICE, 1, 1), (900, BOB, 2, 1)]
    assert story.incident.unanswered_at == at(1200)
    assert len({page.id for page in story.pages}) == 4


def test_a_policy_whose_pushes_nobody_took_is_repeated_without_end() -> None:
    story = started(Story(receiver(step("platform", times=1, then_after=60))))
    story.wait(3600, accept=False)
    assert len(story.rings) == 61
    assert story.incident.unanswered_at is None


@pytest.mark.parametrize("repeat", [0, 2])
def test_the_end_of_a_policy_that_reached_nobody_is_told_once_after_its_own_rounds(repeat: int) -> None:
    """Others may be reached, and are alarmed by it; the rounds that are added tell of nothing new."""
    story = started(Story(receiver(step("platform", times=1, then_after=60), repeat=repeat)))
    story.wait(59 + 60 * repeat, accept=False)
    assert "nobody reached" not in story.events
    story.wait(3600, accept=False)
    assert story.events.count("nobody reached") == 1


def test_a_policy_that_has_nobody_to_ring_tells_of_it_at_once() -> None:
    story = started(Story(receiver(step("on-call"))))
    assert story.rings == []
    assert story.events.count("nobody reached") == 1
    story.wait(3600)
    assert story.events.count("nobody reached") == 1


# --- nobody to ring ---------------------------------------------------------------------------


def test_rule_4_no_usable_device_goes_to_the_next_step_at_once() -> None:
    story = started(Story(receiver(NOBODY, step("second"))))
    assert story.rings == [(0, BOB, 2, 1)]
    assert story.incident.step_ends_at == at(300)


def test_a_policy_that_finds_nobody_is_tried_again_each_minute_and_rings_who_comes() -> None:
    story = started(Story(phones=[]))
    story.wait(600)
    assert (story.rings, story.incident.due_at) == ([], at(660))
    story.phones = [phone()]
    story.wait(60)
    assert story.rings == [(660, ALICE, 1, 1)]


def test_a_policy_that_finds_nobody_does_not_fill_the_timeline() -> None:
    gone = phone(voip=False, trouble="its token was refused")
    story = started(Story(receiver(step("platform"), step("platform")), phones=[gone]))
    story.wait(24 * 3600)
    assert story.events.count("cannot ring") == 4
    assert len(story.events) < 12


def test_a_phone_in_trouble_is_named_once_for_each_step() -> None:
    story = started(
        Story(receiver(step("both")), phones=[phone(), phone(BOB, voip=False, trouble="no token")])
    )
    story.wait(200)
    assert story.events.count("cannot ring") == 1
    assert {name for _, name, _, _ in story.rings} == {ALICE}


def test_a_reload_that_shortened_the_policy_ends_the_step_that_is_gone() -> None:
    story = started(Story(receiver(step("platform"), step("second"))))
    story.wait(301)
    page = story.pages[-1]
    story.policy = receiver(step("platform"))
    assert story.drop_out(page).incident.out == {BOB: "declined"}
    story.wait(300)
    assert story.incident.unanswered_at is not None


# --- devices that drop out --------------------------------------------------------------------


def test_rule_4_a_step_ends_early_only_when_all_its_targets_declined() -> None:
    story = started(Story(receiver(step("both"), step("platform"))))
    alice, bob = story.pages
    story.now = at(5)
    story.drop_out(alice)
    assert (story.incident.step, len(story.pages)) == (1, 2)
    story.drop_out(bob, "unreachable")
    assert story.rings[2:] == [(5, ALICE, 2, 1)]
    assert story.incident.out == {}


def test_a_device_that_declined_is_not_rung_again_in_this_step() -> None:
    story = started(Story(receiver(step("both"), step("platform"))))
    story.drop_out(story.pages[0])
    story.wait(299)
    assert [name for _, name, _, _ in story.rings[2:]] == [BOB, BOB, BOB]
    story.wait(1)
    assert story.rings[-1] == (300, ALICE, 2, 1)


def test_a_page_of_an_earlier_step_takes_nobody_out() -> None:
    story = started(Story(receiver(step("platform"), step("platform"))))
    story.wait(300)
    before = story.incident
    assert story.drop_out(story.pages[0]).incident == before


def test_a_page_of_an_earlier_series_takes_nobody_out() -> None:
    story = started(Story())
    story.receive(make_alert("NodeDown"))
    before = story.incident
    assert story.drop_out(story.pages[0]).incident == before


@pytest.mark.parametrize("end", ["acknowledged", "unanswered"])
def test_declining_what_is_over_changes_nothing(end: str) -> None:
    story = started(Story())
    if end == "acknowledged":
        story.acknowledge()
    else:
        story.wait(300)
    before = story.incident
    assert story.drop_out(story.pages[-1]).incident == before


def test_declining_twice_is_told_once() -> None:
    story = started(Story(receiver(step("both"))))
    story.drop_out(story.pages[0])
    assert story.drop_out(story.pages[0], "again").events == ()
    assert story.incident.out == {ALICE: "declined"}


@pytest.mark.parametrize("last", ["second", "nobody"])
def test_rule_4_a_policy_whose_every_push_is_refused_goes_round_once_a_minute(last: str) -> None:
    """APNs refuses us: each page is over as soon as it is made. Apple disconnects who goes on like that."""
    story = started(Story(receiver(step("platform"), step(last))))
    for second in range(121):
        story.now = at(second)
        story.advance()
        while story.open_pages:
            story.drop_out(next(iter(story.open_pages.values())), "misconfigured (InvalidProviderToken)")
    assert [when for when, name, *_ in story.rings if name == ALICE] == [0, 0, 60, 120]
    assert story.incident.unanswered_at is None


# --- kinds of pages ---------------------------------------------------------------------------


def test_rule_4_the_fallback_belongs_to_the_same_ring() -> None:
    story = started(Story(phones=[phone(voip=False, alert=True)]))
    (page,) = story.pages
    assert (page.kind, page.push, page.ring) == ("fallback", "alert", 1)
    story.wait(45)
    assert story.rings[-1] == (45, ALICE, 1, 2)


def test_a_step_of_alert_pushes_needs_an_alert_token() -> None:
    story = started(Story(receiver(step("both", push="alert")), phones=[phone(), phone(BOB, alert=True)]))
    (page,) = story.pages
    assert (page.target, page.kind, page.push) == (BOB, "ring", "alert")


def test_rule_4_a_steps_webhooks_go_out_once_with_its_first_ring() -> None:
    story = started(Story(receiver(step("platform", webhooks=("hook",)))))
    story.wait(299)
    (hook,) = [page for page in story.pages if page.kind == "webhook"]
    assert (hook.target, hook.due_at, hook.expires_at) == ("hook", at(0), at(3600))
    assert len(story.rings) == 4


def test_rule_4_a_webhook_alone_is_a_step_too_and_counts_as_reached_once_taken() -> None:
    story = started(Story(receiver(step(webhooks=("hook",), then_after=60))))
    story.wait(60)
    assert [page.kind for page in story.pages] == ["webhook"]
    assert (story.incident.unanswered_at, story.incident.told) == (at(60), ())


def test_rule_4_a_webhook_that_was_taken_wakes_nobody_so_that_phones_ring_once_apns_takes_them() -> None:
    """A revoked key that is mended: the rounds have gone on, and the webhook was not posted in each of them."""
    story = started(Story(receiver(step("platform", webhooks=("hook",), then_after=60))))
    hook = next(page for page in story.pages if page.kind == "webhook")
    story.apply(
        escalation.accepted(
            Change(story.incident), story.open_pages.pop(hook.id), story.policy, story.on_call
        )
    )
    for _ in range(4):
        for page in list(story.open_pages.values()):
            story.fail_over(page, "misconfigured (Forbidden)")
        story.wait(60, accept=False)
    assert [page.kind for page in story.pages].count("webhook") == 1
    assert story.incident.unanswered_at is None
    assert [page.kind for page in story.open_pages.values()] == ["ring"]


def test_rule_4_a_webhook_that_cannot_be_reached_ends_its_step() -> None:
    story = started(Story(receiver(step(webhooks=("hook",)), step("platform"))))
    story.drop_out(story.pages[0], "HTTP 404")
    assert story.rings == [(0, ALICE, 2, 1)]


def test_what_was_accepted_for_an_earlier_series_reaches_nobody_now_but_was_told() -> None:
    story = started(Story())
    page = story.pages[0]
    story.receive(make_alert("NodeDown"))
    incident = escalation.accepted(Change(story.incident), page, story.policy, story.on_call).incident
    assert (incident.reached, incident.told) == (False, (ALICE,))
    again = escalation.accepted(
        Change(replace(incident, reached=True)), page, story.policy, story.on_call
    ).incident
    assert (again.reached, again.told) == (True, (ALICE,))


# --- who is on call ---------------------------------------------------------------------------

WEEK = timedelta(weeks=1)
ROTA = Layer(("alice", "bob"), datetime(2026, 11, 18, 2, 1), WEEK)  # noqa: DTZ001 - local, here UTC
"""A minute after the story's beginning it is bob's turn."""


def test_rule_3_the_next_ring_rings_whoever_is_on_call_then() -> None:
    story = Story(receiver(step("on-call")))
    story.primary = Schedule("primary", layers=(ROTA,))
    started(story)
    story.wait(299)
    assert [(at, device) for at, device, *_ in story.rings] == [
        (0, ALICE),
        (45, ALICE),
        (90, BOB),
        (135, BOB),
    ]


def test_a_gap_rings_otherwise_and_is_in_the_timeline() -> None:
    story = started(Story(receiver(step("on-call"), otherwise=("second",))))
    assert story.rings == [(0, BOB, 1, 1)]
    assert story.events[-2:] == ["gap", "ring"]


def test_a_gap_without_otherwise_goes_on_to_the_next_step_at_once() -> None:
    story = started(Story(receiver(step("on-call"), step("second"))))
    assert story.rings == [(0, BOB, 2, 1)]


def test_who_cannot_be_reached_in_a_gap_ends_the_step_early() -> None:
    story = started(Story(receiver(step("on-call"), step("platform"), otherwise=("second",))))
    story.fail_over(story.pages[-1])
    assert story.rings == [(0, BOB, 1, 1), (0, ALICE, 2, 1)]
