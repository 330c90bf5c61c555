"""The incidents that the app on a virtual phone shows."""

from __future__ import annotations

from typing import Any

from bridge.simulator.inbox import Inbox


def incident(number: int, state: str = "triggered") -> dict[str, Any]:
    return {"id": f"i{number}", "state": state, "opened_at": f"2026-11-25T12:00:{number:02}.000Z"}


def names(inbox: Inbox) -> list[str]:
    return [one["id"] for one in inbox.items()]


def test_the_open_ones_come_first_and_the_newest_before_the_older() -> None:
    inbox = Inbox()
    inbox.fill([incident(1), incident(3, "resolved"), incident(2, "acknowledged")])
    assert names(inbox) == ["i2", "i1", "i3"]


def test_a_list_takes_the_place_of_everything() -> None:
    inbox = Inbox()
    inbox.put(incident(1), "7")
    inbox.fill([incident(2)])
    assert names(inbox) == ["i2"]


def test_what_is_heard_stands_in_the_incident_with_its_number() -> None:
    inbox = Inbox()
    inbox.fill([incident(1)])
    inbox.put(incident(1, "acknowledged"), "8")
    assert inbox.items() == [incident(1, "acknowledged") | {"last_event": "8"}]


def test_of_those_that_are_over_the_newest_twenty_stay_and_all_that_are_open() -> None:
    inbox = Inbox()
    for number in range(30):
        inbox.put(incident(number, "resolved" if number % 10 else "triggered"), str(number))
    kept = names(inbox)
    assert kept[:3] == ["i20", "i10", "i0"]
    assert kept[3:] == [f"i{number}" for number in range(29, 6, -1) if number % 10][:20]
