"""Who has an incident, and what its next ring is, and why: as it is, and so that people understand it."""

import dataclasses
from typing import Any

import pytest
from builders import NOW, at, phone, receiver, step
from msgspec.structs import replace

from bridge.incidents import Incident, Slot, State
from bridge.oncall import DeviceGroup, OnCall
from bridge.policy import Receiver
from bridge.views.ringing import Holder, Next, holder, severity_tone, upcoming

GROUPS = {"platform": DeviceGroup("platform", ("alice",)), "second": DeviceGroup("second", ("bob",))}
ON_CALL = OnCall(GROUPS, (phone("alice-iphone"), phone("alice-ipad", voip=False), phone("bob-iphone")))
POLICY = receiver(step("platform"), step("second", webhooks=("pager",)))
RINGING = Incident(
    "i", Slot("default", "platform"), NOW, ring=1, due_at=at(45), step_ends_at=at(300), reached=True
)


def told(policy: Receiver = POLICY, **fields: Any) -> Next:
    return upcoming(replace(RINGING, **fields), policy, ON_CALL, NOW)


def words(policy: Receiver = POLICY, **fields: Any) -> tuple[str, str]:
    found = told(policy, **fields)
    return found.what, found.why


def test_the_next_ring_comes_with_its_number_whom_it_rings_and_when() -> None:
    found = told()
    assert (found.what, found.why) == ("rings alice again", "step 1, ring 2 of 4")
    assert found.at is not None
    assert found.at.far == "in 45 s"


def test_a_phone_that_declined_is_not_rung_again() -> None:
    assert words(out={"alice-iphone": "declined"})[0] == "rings nobody again"


def test_where_a_reload_took_rings_away_the_count_does_not_contradict_itself() -> None:
    assert words(ring=7)[1] == "step 1, ring 8 of 8"


def test_the_end_of_a_step_rings_those_of_the_next_one() -> None:
    assert words(due_at=at(300)) == ("rings bob, pager", "step 2: nobody answered step 1")


def test_a_step_that_was_handed_on_to_begins() -> None:
    assert words(step=2, ring=0, step_ends_at=None) == ("rings bob, pager", "step 2 begins")


def test_a_step_that_a_reload_took_away_counts_as_the_last_one() -> None:
    assert words(step=9, ring=0, step_ends_at=None)[1] == "step 2 begins"


def test_what_has_not_rung_yet_is_muted() -> None:
    assert words(ring=0, step_ends_at=None) == ("rings alice", "muted until then")


def test_after_a_round_in_which_nobody_answered_the_next_one_waits() -> None:
    assert words(round=3, ring=0, step_ends_at=None)[1] == "round 3: nobody answered before"


@pytest.mark.parametrize(
    ("fields", "repeat", "expected"),
    [
        ({}, 1, ("rings alice", "round 2: the policy is repeated")),
        ({"reached": False}, 0, ("rings alice", "round 2: nobody was reached")),
        ({}, 0, ("gives up", "it is unanswered then, and an alarm of its own rings")),
    ],
)
def test_after_the_last_step_comes_a_round_or_the_end(
    fields: dict[str, Any], repeat: int, expected: tuple[str, str]
) -> None:
    policy = dataclasses.replace(POLICY, repeat=repeat)
    assert words(policy, step=2, due_at=at(300), **fields) == expected


def test_a_silence_says_until_when() -> None:
    silenced = words(ring=0, step_ends_at=None, due_at=at(900), silenced_until=at(900))
    assert silenced == ("rings alice", "silenced until then")


def test_a_silence_that_is_over_is_not_told() -> None:
    assert words(silenced_until=at(-5))[1] == "step 1, ring 2 of 4"


def test_an_acknowledged_incident_rings_nobody_and_says_who_has_it() -> None:
    assert words(state=State.ACKNOWLEDGED, acknowledged_by="alice", due_at=None) == (
        "rings nobody",
        "alice has it",
    )
    assert words(state=State.ACKNOWLEDGED, due_at=None)[1] == "somebody has it"


def test_an_acknowledgement_that_times_out_says_when_it_rings_again() -> None:
    found = told(state=State.ACKNOWLEDGED, acknowledged_by="alice", acknowledged_until=at(60), due_at=None)
    assert (found.what, found.why) == ("rings alice again", "alice's acknowledgement times out then")
    assert found.at is not None


def test_what_nobody_answered_and_what_is_over_ring_nobody() -> None:
    assert words(due_at=None)[0] == "rings nobody any more"
    assert words(state=State.RESOLVED, resolution="all alerts resolved") == (
        "rings nobody",
        "all alerts resolved",
    )
    assert words(state=State.RESOLVED)[1] == "it is over"


def test_the_holder_is_who_acknowledged_and_nobody_else() -> None:
    assert holder(RINGING) == Holder("triggered", "bad")
    assert holder(replace(RINGING, unanswered_at=NOW)).state == "unanswered"
    assert holder(replace(RINGING, state=State.ACKNOWLEDGED, acknowledged_by="bob")).who == "bob"
    assert holder(replace(RINGING, state=State.RESOLVED, acknowledged_by="bob")) == Holder(
        "resolved", "good", "bob"
    )


def test_a_severity_that_nobody_knows_is_quiet() -> None:
    assert [severity_tone(name) for name in ("CRITICAL", "warning", "pink")] == ["bad", "warn", "quiet"]


def test_a_drill_rings_the_phone_that_it_names() -> None:
    policy = receiver(step(devices=("bob-iphone",)))
    assert words(policy, ring=0, step_ends_at=None)[0] == "rings bob"
