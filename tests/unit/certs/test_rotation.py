"""When to renew, and how long to wait."""

import pytest

from certs.rotation import RotationInputError, backoff_seconds, renew_at


def test_renewal_lies_between_40_and_60_percent_of_the_life() -> None:
    assert renew_at(1000, 2000, 0.0) == 1400
    assert renew_at(1000, 2000, 0.5) == 1500
    assert renew_at(1000, 2000, 0.999) == 1599


def test_waits_double_up_to_the_cap() -> None:
    half = [backoff_seconds(attempt, 1.0, 30.0, 0.5) for attempt in range(7)]
    assert half == [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0]
    assert backoff_seconds(10**9, 1.0, 30.0, 0.5) == 15.0
    assert backoff_seconds(3, 1.0, 30.0, 0.0) == 0.0


@pytest.mark.parametrize("chance", [-0.1, 1.0, float("nan")])
def test_chance_is_a_fraction(chance: float) -> None:
    with pytest.raises(RotationInputError):
        renew_at(0, 10, chance)
    with pytest.raises(RotationInputError):
        backoff_seconds(0, 1.0, 2.0, chance)


def test_impossible_lives_and_waits_are_refused() -> None:
    for not_before, not_after in ((5, 5), (6, 5)):
        with pytest.raises(RotationInputError):
            renew_at(not_before, not_after, 0.5)
    for attempt, base, cap in ((-1, 1.0, 1.0), (0, -1.0, 1.0), (0, 1.0, -1.0)):
        with pytest.raises(RotationInputError):
            backoff_seconds(attempt, base, cap, 0.5)
