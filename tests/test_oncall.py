"""Whom a device group reaches, and which push can reach a phone."""

from __future__ import annotations

import pytest
from builders import NOW, phone, receiver, step

from bridge.oncall import DeviceGroup, describe, reach

PHONES = (phone("alice-iphone"), phone("bob-iphone"), phone("alice-ipad", voip=False, trouble="no token"))


def reached(groups: list[str], *directory: DeviceGroup) -> list[str]:
    found = reach({group.name: group for group in directory}, PHONES, groups, NOW)
    return [device.name for device in found]


def test_a_group_reaches_all_phones_of_its_owners_usable_or_not() -> None:
    assert reached(["g"], DeviceGroup("g", ("alice",))) == ["alice-iphone", "alice-ipad"]


def test_a_group_reaches_its_devices_after_its_owners_each_once() -> None:
    group = DeviceGroup("g", ("bob",), ("alice-iphone", "bob-iphone"))
    assert reached(["g"], group) == ["bob-iphone", "alice-iphone"]


def test_a_phone_in_two_groups_is_listed_once_where_it_is_named_first() -> None:
    first, second = DeviceGroup("g", ("bob",)), DeviceGroup("h", ("alice", "bob"))
    assert reached(["g", "h"], first, second) == ["bob-iphone", "alice-iphone", "alice-ipad"]


def test_who_is_not_known_any_more_is_passed_over() -> None:
    group = DeviceGroup("g", ("nobody",), ("no-phone", "bob-iphone"))
    assert reached(["gone", "g"], group) == ["bob-iphone"]


@pytest.mark.parametrize(
    ("voip", "alert", "call", "message"),
    [
        (True, True, True, True),
        (True, False, True, False),
        (False, True, True, True),
        (False, False, False, False),
    ],
)
def test_an_alert_push_stands_in_for_a_call_never_a_call_for_an_alert_push(
    voip: bool, alert: bool, call: bool, message: bool
) -> None:
    device = phone(voip=voip, alert=alert)
    assert (device.usable("voip"), device.usable("alert")) == (call, message)


def test_people_are_told_who_would_ring_and_who_cannot_and_why() -> None:
    phones = (*PHONES, phone("alice-watch", voip=False, alert=True), phone("alice-old", voip=False))
    directory = {"g": DeviceGroup("g", ("alice",)), "empty": DeviceGroup("empty")}
    policy = receiver(
        step("g", times=2, then_after=3725),
        step("g", push="alert", every=90),
        step("empty", "gone", then_after=0),
        step(webhooks=("hook",)),
    )
    assert list(describe(policy, lambda groups, now: reach(directory, phones, groups, now), NOW)) == [
        "step 1 (voip, every 45s, 2 times; then on after 1h2m5s)",
        "  alice-iphone of alice: rings",
        "  alice-ipad of alice: cannot ring: no token",
        "  alice-watch of alice: gets an alert push in place of a call",
        "  alice-old of alice: cannot ring: it has no token for voip pushes",
        "step 2 (alert, every 1m30s, 4 times; then on after 5m)",
        "  alice-iphone of alice: cannot ring: it has no token for alert pushes",
        "  alice-ipad of alice: cannot ring: no token",
        "  alice-watch of alice: gets an alert push",
        "  alice-old of alice: cannot ring: it has no token for alert pushes",
        "step 3 (voip, every 45s, 4 times; then on after 0s)",
        "  nobody: empty, gone holds no device",
        "step 4 (voip, once; then on after 5m)",
        "  outgoing webhook hook",
    ]
