"""The nouns: slots, incidents, pages, and the identities that two bridges derive alike (rule 8)."""

from __future__ import annotations

from uuid import UUID, uuid5

import pytest
from builders import NOW, at, make_alert, phone, receiver, step
from msgspec.structs import replace
from story import SLOT, Story

from bridge.incidents import Change, Event, Incident, Page, Slot, begin, fallback, stable_id


def page(**fields: object) -> Page:
    story = Story()
    story.receive(make_alert())
    return replace(story.pages[0], **fields)


def first_page(starts: float, slot: Slot = SLOT, policy: str = "voip", later: float = 0) -> Page:
    story = Story(receiver(step("platform", push=policy)), phones=[phone(alert=True)])
    story.now = at(later)
    story.receive(make_alert(starts_at=at(starts)), to=(slot,))
    return story.pages[0]


def test_a_stable_id_is_a_uuid_in_small_letters_and_the_same_everywhere() -> None:
    assert stable_id("call", "a") == "e8eec2c9-2130-57d6-ba83-3320b549c938"
    space = UUID("6f0d7a52-4f0b-5f1c-9a0e-70757368b81d")
    for name in map(str, range(20)):
        assert stable_id("call", name) == str(uuid5(space, f"call\0{name}"))
    assert stable_id("call", "a") != stable_id("page", "a")


def test_rule_8_two_bridges_that_share_nothing_make_one_call_of_one_alert() -> None:
    ours, theirs = first_page(0.001), first_page(0.009, later=0.7)
    assert ours.call_uuid == theirs.call_uuid
    assert ours.incident_id != theirs.incident_id


@pytest.mark.parametrize(
    "other",
    [
        first_page(0, Slot("eu-prod", SLOT.receiver, SLOT.group)),
        first_page(0, Slot("default", "storage", SLOT.group)),
        first_page(0, Slot("default", "platform", (("alertname", "NodeDown"),))),
        first_page(3600),
    ],
    ids=["source", "receiver", "group", "episode"],
)
def test_rule_8_another_incident_is_another_call(other: Page) -> None:
    assert other.call_uuid != first_page(0).call_uuid


def test_rule_8_every_ring_of_every_series_is_a_call_of_its_own() -> None:
    story = Story(receiver(step("both", times=2), step("both", times=2), repeat=1))
    story.receive(make_alert())
    story.wait(3600)
    story.receive(make_alert("NodeDown"))
    story.wait(3600)
    assert len(story.pages) == 32
    assert len({page.call_uuid for page in story.pages}) == len({page.id for page in story.pages}) == 32


def test_the_fallback_of_a_page_is_an_alert_push_for_the_same_ring() -> None:
    call = page()
    alert = fallback(call, at(10))
    assert alert == replace(
        call, id=alert.id, kind="fallback", push="alert", due_at=at(10), expires_at=at(55)
    )
    assert alert.id != call.id
    assert fallback(call, at(20)).id == alert.id
    assert fallback(page(expires_at=at(500)), at(10)).expires_at == at(500)


def test_an_incident_begins_empty_and_open() -> None:
    incident = begin(SLOT, NOW)
    assert incident == Incident(id=incident.id, slot=SLOT, opened_at=NOW)
    assert (incident.open, incident.firing, incident.wake_at) == (True, (), None)
    assert begin(SLOT, at(1)).id != incident.id == begin(SLOT, NOW).id


def test_the_clock_wakes_an_incident_for_its_ring_or_for_its_first_alert_to_expire() -> None:
    story = Story()
    story.receive(make_alert())
    assert story.incident.wake_at == story.incident.due_at == at(45)
    story.acknowledge()
    assert story.incident.wake_at == at(25 * 3600)
    story.receive(make_alert(firing=False))
    assert story.incident.wake_at is None


def test_the_page_of_a_quiet_push_is_passive_whatever_the_step_says() -> None:
    policy = receiver(step("platform", interruption_level="critical"))
    story = Story(policy, phones=[phone(alert=True)])
    story.receive(make_alert())
    story.accept()
    story.receive(make_alert(firing=False))
    assert [sent.interruption_level for sent in story.pages] == ["critical", "passive"]
    assert [sent.push for sent in story.pages] == ["voip", "alert"]


def test_a_change_withdraws_its_own_pages_too() -> None:
    change = Change(begin(SLOT, NOW)).page(page()).withdrawn("first").page(page(id="2")).note("a", "b")
    assert [kept.id for kept in change.pages] == ["2"]
    assert (change.withdraw, change.events) == ("first", (Event("a", "b"),))
