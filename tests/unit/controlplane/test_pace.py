"""How fast callers may be, and how long failures make them wait."""

import pytest

from controlplane.domain.pace import (
    FIRST_DELAY_SECONDS,
    FORGET_SECONDS,
    FREE_FAILURES,
    MAX_DELAY_SECONDS,
    Knock,
    Pace,
    PaceError,
    Patience,
)
from controlplane.domain.sources import block_of


def test_a_burst_passes_and_then_the_rate() -> None:
    pace = Pace(10, 5)
    for _ in range(5):
        pace.take("a", 0.0)
    with pytest.raises(PaceError) as refused:
        pace.take("a", 0.0)
    assert refused.value.retry_seconds == 1
    pace.take("b", 0.0)
    pace.take("a", 0.1001)
    with pytest.raises(PaceError):
        pace.take("a", 0.1001)
    for at in range(1000):
        pace.take("a", 1.0 + at / 10)


def test_who_knocks_all_the_time_is_let_in_at_the_rate_and_no_faster() -> None:
    pace, passed = Pace(10, 1), 0
    for tick in range(1000):
        try:
            pace.take("a", tick / 1000)
            passed += 1
        except PaceError:
            continue
    assert passed == 10


def knock(user: str, source: str = "s", *, is_known: bool = True) -> Knock:
    return Knock(user, is_known, source)


def test_memory_is_bounded() -> None:
    pace, patience = Pace(1, 1, capacity=10), Patience(capacity=10)
    for number in range(1000):
        pace.take(str(number), 0.0)
        for known in (True, False):
            patience.begin(knock(str(number), str(number), is_known=known), 0.0)
        patience.succeeded(knock(str(number), str(number)))
    kept = (patience._users, patience._made_up, patience._sources, patience._turns, patience._usual)
    assert len(pace._arrivals) == 10
    assert all(len(each) <= 10 for each in kept)


def test_delays_double_up_to_the_longest_and_are_forgotten() -> None:
    patience, seen, now = Patience(), [], 0.0
    for _ in range(FREE_FAILURES + 10):
        seen.append(patience.begin(knock("alice"), now))
        now += seen[-1]
    assert seen[:FREE_FAILURES] == [0.0] * FREE_FAILURES
    assert seen[FREE_FAILURES : FREE_FAILURES + 2] == [FIRST_DELAY_SECONDS, 2 * FIRST_DELAY_SECONDS]
    assert seen[-1] == MAX_DELAY_SECONDS
    assert patience.begin(knock("alice", "elsewhere"), now) == MAX_DELAY_SECONDS
    assert patience.begin(knock("bob"), now) == MAX_DELAY_SECONDS
    assert patience.begin(knock("bob", "elsewhere"), now) == 0.0
    patience.succeeded(knock("alice", "elsewhere"))
    assert patience.begin(knock("alice", "a third"), now) == 0.0
    assert patience.begin(knock("alice"), now + MAX_DELAY_SECONDS) == MAX_DELAY_SECONDS
    assert patience.begin(knock("alice"), now + 2 * FORGET_SECONDS) == 0.0


def test_what_was_right_does_not_count() -> None:
    patience = Patience()
    for _ in range(100):
        assert patience.begin(knock("alice"), 0.0) == 0.0
        patience.passed(knock("alice"))


def test_those_of_one_user_wait_one_after_another() -> None:
    patience = Patience()
    for _ in range(FREE_FAILURES + 4):
        patience.begin(knock("alice"), 0.0)
    now = FORGET_SECONDS / 2  # the queue is empty, the failures are not forgotten
    waits = [patience.begin(knock("alice", f"s{at}"), now) for at in range(3)]
    waits = [patience.begin(knock("alice", "t"), now) for at in range(1)] + waits
    assert sorted(waits) == [4.0, 9.0, 14.0, 19.0]
    with pytest.raises(PaceError):
        patience.begin(knock("alice", "u"), now)
    assert patience.begin(knock("bob", "u"), now) == 0.0


BLOCKS = {
    "an IPv4 address is its own": ("192.0.2.7", "192.0.2.7"),
    "an IPv4 address within IPv6, too": ("::ffff:192.0.2.7", "192.0.2.7"),
    "an IPv6 address is a subnet's": ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
    "what is no address": ("local", "local"),
}


@pytest.mark.parametrize("case", BLOCKS)
def test_blocks(case: str) -> None:
    address, block = BLOCKS[case]
    assert block_of(address) == block
