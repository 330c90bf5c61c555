"""Whom a device group reaches, and which push can reach a phone."""

from __future__ import annotations

import pytest
from builders import NOW, phone

from bridge.oncall import DeviceGroup, reach

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
