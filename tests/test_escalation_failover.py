"""Accepted is not rang: the next way to the person where a push did not reach them. Rules 4 and 6."""

from __future__ import annotations

import pytest
from builders import at, make_alert, phone, receiver, step
from msgspec.structs import replace
from story import Story

from bridge import escalation
from bridge.incidents import Change, Page

ALICE, IPAD, BOB = "alice-iphone", "alice-ipad", "bob-iphone"


def story_of(*phones: object, policy: object = None) -> Story:
    story = Story(policy or receiver(step("platform"), step("second")), phones=phones)  # type: ignore[arg-type]
    story.receive(make_alert())
    return story


def newest(story: Story) -> Page:
    return story.pages[-1]


def test_an_alert_push_to_the_same_phone_comes_first_and_moves_no_timer() -> None:
    story = story_of(phone(alert=True), phone(BOB))
    before = story.incident
    story.now = at(10)
    story.fail_over(newest(story))
    page = newest(story)
    assert (page.kind, page.push, page.target, page.ring, page.due_at) == (
        "fallback",
        "alert",
        ALICE,
        1,
        at(10),
    )
    assert story.incident == before


def test_then_the_owners_other_devices_ring_in_its_place() -> None:
    story = story_of(
        phone(alert=True), phone(IPAD), phone(BOB), policy=receiver(step("iphone"), step("second"))
    )
    story.now = at(10)
    story.fail_over(newest(story))
    story.now = at(20)
    story.fail_over(newest(story))
    page = newest(story)
    assert (page.kind, page.push, page.target, page.ring) == ("ring", "voip", IPAD, 1)
    assert story.incident.out == {ALICE: "no receipt in time"}
    assert (story.incident.step, story.incident.due_at) == (1, at(45))
    story.wait(25)
    assert story.rings[-1] == (45, IPAD, 1, 2)


def test_then_the_next_step_begins_at_once() -> None:
    story = story_of(
        phone(alert=True), phone(IPAD), phone(BOB), policy=receiver(step("iphone"), step("second"))
    )
    for seconds in (10, 20, 30):
        story.now = at(seconds)
        story.fail_over(newest(story))
    assert story.rings[-1] == (30, BOB, 2, 1)
    assert (story.incident.stand_ins, story.incident.out) == ((), {})


def test_a_phone_without_an_alert_token_hands_over_at_once() -> None:
    story = story_of(phone(), phone(BOB))
    story.now = at(10)
    story.fail_over(newest(story))
    assert story.rings[-1] == (10, BOB, 2, 1)


def test_other_devices_that_the_step_rings_anyway_do_not_ring_twice() -> None:
    story = story_of(phone(), phone(IPAD), phone(BOB))
    story.now = at(10)
    story.fail_over(story.pages[0])
    assert len(story.pages) == 2
    assert (story.incident.step, story.incident.stand_ins) == (1, ())


def test_an_ipad_with_an_alert_token_alone_gets_a_notification_in_place_of_the_call() -> None:
    story = story_of(phone(), phone(IPAD, voip=False, alert=True), policy=receiver(step("iphone")))
    story.fail_over(newest(story))
    assert (newest(story).kind, newest(story).push, newest(story).target) == ("fallback", "alert", IPAD)


def test_a_device_that_cannot_be_used_does_not_stand_in() -> None:
    story = story_of(
        phone(), phone(IPAD, voip=False), phone(BOB), policy=receiver(step("iphone"), step("second"))
    )
    story.fail_over(newest(story))
    assert story.rings[-1] == (0, BOB, 2, 1)


def test_a_phone_that_is_gone_from_the_ledger_hands_over_to_the_next_step() -> None:
    story = story_of(phone(), phone(BOB))
    story.phones = [phone(BOB)]
    story.fail_over(newest(story))
    assert story.rings[-1] == (0, BOB, 2, 1)


def test_a_stand_in_that_is_gone_by_the_next_ring_is_passed_over() -> None:
    story = story_of(phone(), phone(IPAD), policy=receiver(step("iphone")))
    story.fail_over(newest(story))
    story.phones = [phone()]
    story.wait(45)
    assert len(story.rings) == 2
    assert story.incident.unanswered_at == at(45)


def test_a_person_who_declined_is_not_rung_on_another_device() -> None:
    story = story_of(phone(), phone(IPAD), phone(BOB), policy=receiver(step("iphone"), step("second")))
    story.drop_out(newest(story))
    assert story.rings[-1] == (0, BOB, 2, 1)


@pytest.mark.parametrize("end", ["acknowledged", "the next step", "a new series"])
def test_silence_about_what_is_over_changes_nothing(end: str) -> None:
    story = story_of(phone(alert=True), phone(BOB))
    page = story.pages[0]
    if end == "acknowledged":
        story.acknowledge()
    elif end == "the next step":
        story.wait(300)
        page = replace(page, kind="fallback")  # a call of this series still gets its alert push
    else:
        story.receive(make_alert("NodeDown"))
    before, pages = story.incident, len(story.pages)
    story.fail_over(page)
    assert (story.incident, len(story.pages)) == (before, pages)


def test_an_alert_push_after_the_answer_is_neither_made_nor_told_of() -> None:
    """An answer can come before the outcome of the push: the timeline tells of no push that was never made."""
    story = story_of(phone(alert=True), phone(BOB))
    story.acknowledge()
    told = list(story.events)
    story.fail_over(story.pages[0])
    assert (story.events, len(story.pages)) == (told, 1)


def test_rule_6_an_accepted_push_reaches_nobody_on_an_enrolled_phone_until_it_says_so() -> None:
    story = story_of(phone(enrolled=True), policy=receiver(step("platform", times=1, then_after=60)))
    story.wait(180)
    assert story.incident.round == 4
    assert not story.incident.reached
    assert story.incident.told == (ALICE,)
    story.apply(escalation.reached(Change(story.incident), newest(story)))
    story.wait(60)
    assert story.incident.unanswered_at == at(240)


def test_rule_6_a_phone_known_by_static_tokens_alone_counts_as_reached_once_accepted() -> None:
    story = story_of(phone(), policy=receiver(step("platform", times=1, then_after=60)))
    story.wait(60)
    assert story.incident.unanswered_at == at(60)


def test_a_quiet_push_reaches_nobody() -> None:
    story = story_of(phone())
    quiet = replace(newest(story), kind="resolved")
    assert not escalation.reached(Change(story.incident), quiet).incident.reached
