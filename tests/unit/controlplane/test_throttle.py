"""How often something may happen: limits over whatever window, moments for those who are refused, orgs apart."""

import heapq
import itertools
import random
from collections import deque

import pytest

from controlplane.domain.errors import ThrottledError
from controlplane.domain.throttle import (
    ASKING_MS,
    FETCHED_BYTES,
    LONGEST_DELAY_MS,
    LONGEST_WAIT_MS,
    REFUSALS_AT_ONCE,
    Admission,
    CallPace,
    Claim,
    Pace,
    Rate,
)

START = 5_000_000.0
ONCE = itertools.count()


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


def refused(admission: Admission, org: str, now_ms: float, outpost: str = "") -> int:
    """0 when the stream was taken, else when to come back; without a name it is of an outpost that comes once."""
    try:
        admission.admit(Claim(org, outpost or f"once-{next(ONCE)}"), now_ms)
    except ThrottledError as error:
        return error.retry_after_ms
    return 0


def unbounded(org: str) -> int:
    return 10**6


def back(admission: Admission, fleets: dict[str, int], *, seconds: float = 60.0) -> dict[str, list[float]]:
    """When outposts of each org are taken that all come at once and hold to the moments which they are given."""
    taken: dict[str, list[float]] = {org: [] for org in fleets}
    due = [(0.0, number, org) for org, count in fleets.items() for number in range(count)]
    random.Random(5).shuffle(due)
    heapq.heapify(due)
    while due and due[0][0] < seconds * 1000:
        now, number, org = heapq.heappop(due)
        wait = refused(admission, org, START + now, f"{org}-{number}")
        if wait:
            heapq.heappush(due, (now + wait, number, org))
        else:
            taken[org].append(now)
    return taken


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
    assert sum(not refused(admission, "large", START + ASKING_MS) for _ in range(100)) == 10  # the replica's own limit
    limits["small"] = 50
    assert not refused(admission, "small", START + ASKING_MS + 1000)
    assert not refused(admission, "small", START + ASKING_MS + 1000)


def test_a_fleet_that_is_alone_takes_every_place_and_is_back_as_fast_as_the_replica_takes_it() -> None:
    taken = back(Admission(200, unbounded), {"acme": 2000})["acme"]
    assert len(taken) == 2000
    assert taken[-1] < 1.02 * 2000 / 180 * 1000  # a tenth of the limit is kept for bursts
    assert most_in_a_window(taken, 1000.0) <= 200


def test_a_small_org_does_not_wait_behind_the_thousands_of_another() -> None:
    taken = back(Admission(200, unbounded), {"large": 4000, "small": 40})
    assert (len(taken["large"]), len(taken["small"])) == (4000, 40)
    assert taken["small"][-1] < 2000
    assert most_in_a_window(sorted(itertools.chain(*taken.values())), 1000.0) <= 200


def test_an_org_that_holds_to_no_moment_leaves_the_others_their_share() -> None:
    """It asks without end, from as many outposts as it likes, with a quota that allows everything."""
    admission, modest, greedy = Admission(200, unbounded), 0, 0
    due = START
    for at in range(200_000):  # ten seconds, twenty calls in each millisecond
        now = START + at / 20
        greedy += not refused(admission, "greedy", now)
        if now >= due:
            wait = refused(admission, "modest", now)
            modest += not wait
            due = now + (wait or 20)  # it would have 50 a second
    assert modest > 10 * 40
    assert greedy < 10 * 150


def test_two_orgs_that_ask_without_end_both_get_their_share() -> None:
    admission, taken = Admission(200, unbounded), {"first": 0, "second": 0}
    for at in range(50_000):
        now = START + at / 5
        for org, every in (("first", 1), ("second", 20)):  # one of them asks twenty times as often
            if not at % every:
                taken[org] += not refused(admission, org, now)
    assert min(taken.values()) >= 10 * 40
    assert sum(taken.values()) >= 10 * 170


def test_an_outpost_that_comes_again_and_again_takes_no_place_of_others() -> None:
    admission = Admission(200, unbounded)
    taken = sum(not refused(admission, "acme", START + at, "mad") for at in range(60_000))
    assert taken <= 60 + 60
    others = sum(not refused(admission, "acme", START + 60_000 + 6 * at) for at in range(100))
    assert others == 100


def test_identities_that_are_refused_take_no_place_of_others() -> None:
    admission, judged = Admission(200, unbounded), 0
    for at in range(10_000):  # a hundred withdrawn outposts, a hundred times a second each
        claim, now = Claim("acme", f"withdrawn-{at % 100}"), START + at / 10
        try:
            places = admission.admit(claim, now)
        except ThrottledError:
            continue
        judged += 1
        places.give_back()
        places.give_back()  # once is all it does
        admission.refused(claim, now)
    assert judged <= 100 * REFUSALS_AT_ONCE
    assert sum(not refused(admission, "acme", START + 1000) for _ in range(30)) == 20  # the whole burst


def test_plain_calls_wait_a_little_and_are_refused_when_they_would_have_to_wait_long() -> None:
    pace, claim, now = CallPace(), Claim("acme", "one"), START
    for _ in range(1500):  # one after the other
        now += pace.take(claim, now)
    assert now - START == pytest.approx(1000 * 10, abs=20)  # 500 at once, then 100 a second
    waits = []
    for _ in range(1000):  # all at once
        try:
            pace.take(claim, now)
        except ThrottledError as error:
            waits.append(error.retry_after_ms)
    assert len(waits) == pytest.approx(1000 - 200, abs=1)
    assert min(waits) >= LONGEST_DELAY_MS
    assert pace.take(Claim("acme", "two"), now) == 0


def test_a_refused_identity_may_not_call_again_soon() -> None:
    pace, claim = CallPace(), Claim("acme", "one")
    for _ in range(REFUSALS_AT_ONCE):
        pace.take(claim, START)
        pace.refused(claim, START)
    assert pace.take(claim, START) > 0


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Rate.within(0)
