"""How fast callers may be, and how long failures make them wait."""

import pytest

from controlplane.domain.pace import (
    FIRST_DELAY_SECONDS,
    FORGET_SECONDS,
    FREE_FAILURES,
    MAX_DELAY_SECONDS,
    MAX_WAITING,
    Pace,
    PaceError,
    Patience,
)


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


def test_memory_is_bounded() -> None:
    pace, patience = Pace(1, 1, capacity=10), Patience(capacity=10)
    for number in range(1000):
        pace.take(str(number), 0.0)
        patience.failed(str(number), str(number), 0.0)
    assert (len(pace._arrivals), len(patience._failures)) == (10, 10)


def test_delays_double_up_to_the_longest_and_are_forgotten() -> None:
    patience, seen = Patience(), []
    for _ in range(FREE_FAILURES + 10):
        seen.append(patience.delay("alice", "s", 0.0))
        patience.failed("alice", "s", 0.0)
    assert seen[:FREE_FAILURES] == [0.0] * FREE_FAILURES
    assert seen[FREE_FAILURES : FREE_FAILURES + 2] == [FIRST_DELAY_SECONDS, 2 * FIRST_DELAY_SECONDS]
    assert seen[-1] == MAX_DELAY_SECONDS
    assert patience.delay("alice", "elsewhere", 0.0) == MAX_DELAY_SECONDS
    assert patience.delay("bob", "s", 0.0) == MAX_DELAY_SECONDS
    assert patience.delay("bob", "elsewhere", 0.0) == 0.0
    assert patience.delay("alice", "s", FORGET_SECONDS) == 0.0
    patience.succeeded("alice")
    assert patience.delay("alice", "elsewhere", 0.0) == 0.0
    assert patience.delay("alice", "s", 0.0) == MAX_DELAY_SECONDS


def test_so_many_wait_at_once_and_leave_again() -> None:
    patience = Patience()
    for _ in range(MAX_WAITING):
        patience.enter("s")
    with pytest.raises(PaceError):
        patience.enter("s")
    patience.enter("t")
    patience.leave("s")
    patience.enter("s")
    for _ in range(MAX_WAITING):
        patience.leave("s")
    assert "s" not in patience._waiting
