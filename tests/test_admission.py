"""How much of what comes in may be in the bridge at once, and how much of that is one sender's."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.api.admission import Admission, Busy, Shares


def fill(shares: Shares, who: str, limit: int) -> int:
    """Take one after the other until there is no room."""
    taken = 0
    while True:
        try:
            shares.take(who, 1, limit)
        except Busy:
            return taken
        taken += 1


def test_one_sender_alone_leaves_room_for_a_second() -> None:
    shares = Shares()
    assert fill(shares, "a", 100) == 50
    assert fill(shares, "b", 100) == 33
    assert fill(shares, "c", 100) == 17, "what is left, until the first have given theirs back"


def test_who_had_more_than_a_fair_share_gets_none_until_it_is_back_below_it() -> None:
    shares = Shares()
    fill(shares, "a", 100)
    fill(shares, "b", 100)
    shares.give("a", 10)
    with pytest.raises(Busy):
        shares.take("a", 1, 100)
    shares.take("c", 10, 100)


def test_what_is_alone_gets_all_that_it_needs_and_no_more_than_there_is() -> None:
    """A body may be larger than a sender's share, however many there are."""
    shares = Shares()
    shares.take("a", 90, 100)
    with pytest.raises(Busy):
        shares.take("b", 11, 100)
    shares.take("b", 4, 100)
    shares.take("b", 6, 100, own=4)
    with pytest.raises(Busy):
        shares.take("b", 1, 100, own=10)


def test_what_was_given_back_is_there_again() -> None:
    admission = Admission()
    for _ in range(3):
        with ExitStack() as stack:
            tickets = [stack.enter_context(admission.enter("a", 10)) for _ in range(2)]
            tickets[0].grow(10)
            tickets[1].grow(10)
            with pytest.raises(Busy):
                tickets[1].grow(1)
    assert admission._bodies._held == admission._webhooks._held == Counter()


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 30)), max_size=60))
def test_no_more_is_ever_held_than_the_limit(asked: list[tuple[str, int]]) -> None:
    shares, held = Shares(), Counter[str]()
    for who, amount in asked:
        try:
            shares.take(who, amount, 100)
            held[who] += amount
        except Busy:
            if held[who] > 50:
                shares.give(who, amount := held[who])
                held[who] -= amount
        assert held.total() <= 100
