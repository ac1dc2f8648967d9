"""How often something may happen: limits over whatever window, moments for those who are refused, orgs apart."""

import itertools
import random
from collections import deque

import pytest

from controlplane.domain.errors import ThrottledError
from controlplane.domain.throttle import FETCHED_BYTES, LONGEST_WAIT_MS, Admission, Pace, Rate

START = 5_000_000.0


def most_in_a_window(moments: list[float], window_ms: float) -> int:
    """The most calls that fell into any window of a length, both ends counted."""
    recent: deque[float] = deque()
    most = 0
    for moment in moments:
        recent.append(moment)
        while recent[0] < moment - window_ms:
            recent.popleft()
        most = max(most, len(recent))
    return most


@pytest.mark.parametrize("limit", [2, 5, 10, 200, 1000])
def test_no_window_holds_more_than_the_limit_whenever_callers_come(limit: int) -> None:
    chance = random.Random(limit)
    pace, now, taken = Pace(Rate.within(limit)), START, []
    for _ in range(20 * limit):
        now += chance.choice([0.0, 0.0, 0.1, 500 / limit, 3000 / limit])
        if not pace.wait_ms(now):
            pace.take(now)
            taken.append(now)
    assert most_in_a_window(taken, 1000.0) <= limit


def test_what_is_free_is_given_out_to_the_last_place() -> None:
    pace, taken = Pace(Rate.within(100)), 0
    for tenth_ms in range(100_000):  # ten seconds of callers who come all the time
        now = START + tenth_ms / 10
        if not pace.wait_ms(now):
            pace.take(now)
            taken += 1
    assert taken >= 10 * 90  # a tenth of the limit is kept for bursts


def test_those_who_are_refused_are_given_moments_of_their_own_and_pass_then() -> None:
    pace = Pace(Rate.within(200))
    came = 0
    waits = []
    for _ in range(1000):
        if pace.wait_ms(START):
            waits.append(pace.give(START))
        else:
            pace.take(START)
            came += 1
    assert came == 20
    assert waits == sorted(waits)
    per_ms = [waits.count(each) for each in set(waits)]
    assert max(per_ms) == 1
    assert waits[-1] == pytest.approx(980 * 1000 / 180, rel=0.02)
    for each in waits:
        assert pace.wait_ms(START + each + 1) == 0  # a moment is a whole millisecond
        pace.take(START + each)


def test_no_moment_is_later_than_the_bound() -> None:
    pace = Pace(Rate.within(2))
    pace.take(START)
    waits = [pace.give(START) for _ in range(1000)]
    assert max(waits) == LONGEST_WAIT_MS


def test_a_fleet_that_fetches_at_once_is_spread_over_the_time_that_its_bytes_take() -> None:
    pace, waits = Pace(FETCHED_BYTES), []
    size = 50 * 2**20
    for _ in range(200):
        if pace.wait_ms(START):
            waits.append(pace.give(START, size))
        else:
            pace.take(START, size)
    apart = size * FETCHED_BYTES.interval_ms
    assert len(waits) > 150
    assert [later - one for one, later in itertools.pairwise(waits)] == pytest.approx([apart] * (len(waits) - 1), abs=1)
    for each in waits:
        assert pace.wait_ms(START + each + 1) == 0
        pace.take(START + each, size)


def test_a_costly_call_makes_the_next_wait() -> None:
    pace = Pace(Rate(1.0, 1000))  # a million bytes in 1,000 s, 1,000 at once
    pace.take(START, 5000)
    assert pace.wait_ms(START) == 4001
    assert pace.wait_ms(START + 4001) == 0


def refused(admission: Admission, org: str, now_ms: float) -> int:
    """0 when the stream was taken, else when to come back."""
    try:
        admission.admit(org, now_ms)
    except ThrottledError as error:
        return error.retry_after_ms
    return 0


def test_an_org_cannot_take_the_places_of_another() -> None:
    admission = Admission(100, lambda org: 50)
    greedy = sum(not refused(admission, "greedy", START + at / 10) for at in range(10_000))
    assert greedy <= 50
    assert not refused(admission, "modest", START + 1000)


def test_a_refused_org_costs_the_others_nothing() -> None:
    admission = Admission(100, lambda org: 20)
    for _ in range(500):
        refused(admission, "greedy", START)
    taken = sum(not refused(admission, "modest", START) for _ in range(10))
    assert taken == 2  # its own burst


def test_an_org_has_a_limit_of_its_own_which_may_change() -> None:
    limits = {"small": 1, "large": 10**6}
    admission = Admission(100, lambda org: limits[org])
    assert [bool(refused(admission, "small", START)) for _ in range(2)] == [False, True]
    assert sum(not refused(admission, "large", START) for _ in range(100)) == 9  # the replica's own limit
    limits["small"] = 50
    assert not refused(admission, "small", START + 1000)
    assert not refused(admission, "small", START + 1000)


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Rate.within(0)
