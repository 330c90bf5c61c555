"""Whom a device group reaches, and which push can reach a phone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from builders import NOW, at, phone, receiver, step

from bridge.oncall import DeviceGroup, OnCall, Phone, outlook, receivers_of, told
from bridge.schedules import Layer, Override, Schedule

PHONES = (phone("alice-iphone"), phone("bob-iphone"), phone("alice-ipad", voip=False, trouble="no token"))


WEEKLY = Layer(("alice", "bob"), datetime(2026, 11, 23, 9), timedelta(weeks=1))  # noqa: DTZ001 - local
"""NOW is a Wednesday: it is alice's week."""
EMPTY = Schedule("empty")
PRIMARY = Schedule("primary", ZoneInfo("Europe/Berlin"), (WEEKLY,))


def on_call(*directory: DeviceGroup, phones: Sequence[Phone] = PHONES, primary: Schedule = PRIMARY) -> OnCall:
    return OnCall(
        {group.name: group for group in directory}, tuple(phones), {"primary": primary, "empty": EMPTY}
    )


def reached(groups: list[str], *directory: DeviceGroup, otherwise: Sequence[str] = ()) -> list[str]:
    found = on_call(*directory)(groups, NOW, otherwise)
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


# --- schedules --------------------------------------------------------------------------------


def test_a_schedule_reaches_the_phones_of_whoever_is_on_call_before_those_of_the_owners() -> None:
    group = DeviceGroup("g", ("bob",), schedules=("primary",))
    assert reached(["g"], group) == ["alice-iphone", "alice-ipad", "bob-iphone"]
    later = on_call(group)(["g"], NOW + timedelta(weeks=1))
    assert [device.name for device in later] == ["bob-iphone"]


def test_an_override_reaches_somebody_else_for_its_time() -> None:
    primary = Schedule("primary", layers=(WEEKLY,), overrides=(Override("bob", at(0), at(60)),))
    mine = on_call(DeviceGroup("g", schedules=("primary",)), primary=primary)
    assert [device.owner for device in mine(["g"], at(59))] == ["bob"]
    assert [device.owner for device in mine(["g"], at(60))] == ["alice", "alice"]


BACKUP = DeviceGroup("backup", ("bob",))


@pytest.mark.parametrize(
    ("group", "rung", "gap"),
    [
        (DeviceGroup("g", schedules=("primary",)), ["alice-iphone", "alice-ipad"], None),
        (DeviceGroup("g", schedules=("empty",)), ["bob-iphone"], "nobody is on call by empty"),
        # Also where the step still reaches somebody else: who should be on call is missing.
        (DeviceGroup("g", devices=("alice-ipad",), schedules=("empty",)), ["alice-ipad", "bob-iphone"],
         "nobody is on call by empty"),
        (DeviceGroup("g", ("carol",)), ["bob-iphone"], "g holds no device"),
        (DeviceGroup("g"), ["bob-iphone"], "g holds no device"),
    ],
)  # fmt: skip
def test_a_gap_falls_to_otherwise_never_to_nobody(
    group: DeviceGroup, rung: list[str], gap: str | None
) -> None:
    assert reached(["g"], group, BACKUP, otherwise=["backup"]) == rung
    assert on_call(group).gap(["g"], NOW) == gap


def test_a_step_without_groups_has_no_gap() -> None:
    assert reached([], BACKUP, otherwise=["backup"]) == []
    assert on_call().gap([], NOW) is None


def test_the_receivers_of_a_person_are_those_that_may_ring_them_some_time() -> None:
    everyone = on_call(
        DeviceGroup("on-call", schedules=("primary",)),
        DeviceGroup("owned", ("carol",)),
        DeviceGroup("held", devices=("carol-ipad",)),
        BACKUP,
    )
    receivers = [
        receiver(step("on-call"), name="scheduled", otherwise=("owned",)),
        receiver(step("owned"), name="owned"),
        receiver(step("gone"), step("held"), name="held"),
        receiver(step("backup"), name="bobs"),
    ]

    def of(owner: str, *devices: str) -> set[str]:
        return set(receivers_of(owner, devices, receivers, everyone, NOW))

    assert of("alice") == {"scheduled"}
    assert of("bob") == {"scheduled", "bobs"}
    assert of("carol", "carol-ipad") == {"scheduled", "owned", "held"}
    assert of("dave") == set()


def test_an_outlook_tells_what_follows_in_local_times() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    over, later = Override("bob", at(-60), at(0)), Override("bob", at(3600), at(7200), "carol", 3)
    found = outlook(Schedule("primary", berlin, (WEEKLY,), (over, later)), NOW)
    assert {key: found[key] for key in ("schedule", "time_zone", "people", "why", "gaps")} == {
        "schedule": "primary",
        "time_zone": "Europe/Berlin",
        "people": ("alice",),
        "why": "layer 1",
        "gaps": [],
    }
    assert found["until"].isoformat() == "2026-11-25T04:00:00+01:00"
    assert found["next"] == {"people": ("bob",), "until": at(7200)}
    assert found["overrides"] == [
        {"id": 3, "person": "bob", "from": at(3600), "to": at(7200), "by": "carol"}
    ], "what is over is not told"


def test_an_outlook_of_nobody_is_a_gap_without_end() -> None:
    found = outlook(Schedule("empty", None), NOW)
    assert (found["time_zone"], found["people"], found["until"], found["next"]) == ("Local", (), None, None)
    assert found["gaps"] == [{"from": NOW, "to": NOW + timedelta(weeks=4)}]
    assert told(Override("bob", at(0), at(1)), None)["by"] == "the configuration"
