"""Wrong credentials by address: what is counted, who waits, and that nothing grows."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from bridge.web.lockout import _GOOD, ADDRESSES, SPAN, TRIES, Line, Lockout, network


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def flood(lockout: Lockout, address: str, times: int = TRIES) -> list[int]:
    return [lockout.begin(address, f"Bearer wrong-{number}") for number in range(times)]


def test_the_21st_credentials_of_an_address_in_a_minute_must_wait() -> None:
    time = Time()
    lockout = Lockout(time)
    assert flood(lockout, "192.0.2.1") == [0] * TRIES
    time.now += 10
    assert lockout.begin("192.0.2.1", "Bearer another") == SPAN - 10
    time.now += SPAN - 10
    assert lockout.begin("192.0.2.1", "Bearer another") == 0


def test_the_same_wrong_credentials_again_and_again_lock_nobody_out() -> None:
    """An Alertmanager with an old password repeats it; guessing takes different ones."""
    lockout = Lockout(Time())
    assert {lockout.begin("192.0.2.1", "Bearer old") for _ in range(1000)} == {0}
    assert lockout.begin("192.0.2.1", "Bearer new") == 0


def test_who_was_let_in_from_an_address_is_not_locked_out_by_its_neighbours() -> None:
    """The true Alertmanager behind the same NAT as a guesser."""
    time = Time()
    lockout = Lockout(time)
    lockout.begin("192.0.2.1", "Bearer true")
    lockout.succeeded("192.0.2.1", "Bearer true")
    for _ in range(10):
        flood(lockout, "192.0.2.1", 100)
        assert lockout.begin("192.0.2.1", "Bearer true") == 0
        time.now += 600
    flood(lockout, "192.0.2.2")
    assert lockout.begin("192.0.2.2", "Bearer true") > 0, "right, but never from there"


def test_another_address_is_not_held_up() -> None:
    lockout = Lockout(Time())
    flood(lockout, "192.0.2.1", 100)
    assert lockout.begin("192.0.2.2", "Bearer x") == 0


def test_an_ipv6_network_is_one_address_and_a_mapped_ipv4_address_is_itself() -> None:
    assert network("2001:db8:0:1::1") == network("2001:db8:0:1:ffff::2") != network("2001:db8:0:2::1")
    assert network("fe80::1%eth0") == network("fe80::2")
    assert network("::ffff:192.0.2.1") == "192.0.2.1"
    assert network("") == ""
    assert network("unix") == "unix"


async def test_those_who_are_looked_at_all_the_same_come_one_at_a_time_and_few_wait() -> None:
    line, inside, most = Line(room=3), 0, 0

    async def come() -> bool:
        nonlocal inside, most
        async with line.place() as my_turn:
            inside += my_turn
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= my_turn
            return my_turn

    for _ in range(2):
        assert await asyncio.gather(*(come() for _ in range(5))) == [True, True, True, False, False]
    assert most == 1


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50), st.booleans(), st.floats(0, 30)), max_size=200)
)
def test_no_address_ever_tries_more_than_so_many_in_a_minute(
    story: list[tuple[int, int, bool, float]],
) -> None:
    time = Time()
    lockout = Lockout(time)
    tried: dict[int, list[tuple[float, int]]] = {}
    good: set[tuple[int, int]] = set()
    for address, secret, right, seconds in story:
        time.now += seconds
        if lockout.begin(f"192.0.2.{address}", str(secret)) == 0:
            if right:
                lockout.succeeded(f"192.0.2.{address}", str(secret))
                good.add((address, secret))
            else:
                tried.setdefault(address, []).append((time.now, secret))
    for address, tries in tried.items():
        for at, _ in tries:
            different = {secret for other, secret in tries if at <= other < at + SPAN}
            assert len({one for one in different if (address, one) not in good}) <= TRIES


def test_the_memory_is_bounded_by_addresses_and_by_credentials_of_each() -> None:
    lockout = Lockout(Time())
    for number in range(ADDRESSES + 100):
        address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        lockout.begin(address, "x")
        lockout.succeeded(address, "x")
    for number in range(100):
        lockout.begin("192.0.2.1", str(number))
        lockout.succeeded("192.0.2.1", str(number))
    assert len(lockout._tried) == len(lockout._right) == ADDRESSES
    assert len(lockout._right["192.0.2.1"]) == _GOOD
    assert len(flood(lockout, "192.0.2.9", 1000)) == 1000
    assert len(lockout._tried["192.0.2.9"]) == TRIES


def test_no_credentials_are_kept_but_as_a_digest_that_another_process_would_not_make() -> None:
    one, two = Lockout(Time()), Lockout(Time())
    for lockout in (one, two):
        lockout.begin("192.0.2.1", "Bearer secret")
        lockout.succeeded("192.0.2.1", "Bearer secret")
    assert "secret" not in repr(vars(one))
    assert one._right["192.0.2.1"].keys() != two._right["192.0.2.1"].keys()
