from dataclasses import replace

import pytest

from outpost.core.bundle.errors import RollbackError
from outpost.core.bundle.trust import (
    CLOCK_TOLERANCE_MS,
    FLOOR_AHEAD_MS,
    OFFLINE_AFTER_MS,
    OrgFacts,
    State,
    next_time_floor,
    org_state,
    require_not_older,
)

SIGNED = 1_790_000_000_000
DAY_MS = 24 * 3600 * 1000
FACTS = OrgFacts(
    enrolled=True,
    configured=True,
    signed_at_ms=SIGNED,
    timestamp_expires_ms=SIGNED + DAY_MS,
    seal_after_seconds=604800,
    last_contact_ms=SIGNED,
    time_floor_ms=SIGNED,
)
WEEK_MS = 7 * DAY_MS

CASES: dict[str, tuple[OrgFacts, int, State, str]] = {
    "without an identity": (OrgFacts(enrolled=False), SIGNED, State.UNREGISTERED, "identity.none"),
    "without a configuration": (OrgFacts(enrolled=True), SIGNED, State.ENROLLED, "bundle.none"),
    "fresh and in contact": (FACTS, SIGNED, State.ACTIVE, ""),
    "just before contact counts as lost": (FACTS, SIGNED + OFFLINE_AFTER_MS - 1, State.ACTIVE, ""),
    "30 s without contact": (FACTS, SIGNED + OFFLINE_AFTER_MS, State.OFFLINE, "control.no_contact"),
    "no contact since the start": (replace(FACTS, last_contact_ms=0), SIGNED, State.OFFLINE, "control.no_contact"),
    "contact in the clock's future": (replace(FACTS, last_contact_ms=SIGNED + 9), SIGNED, State.ACTIVE, ""),
    "no contact where files travel": (
        replace(FACTS, last_contact_ms=0, by_courier=True),
        SIGNED + OFFLINE_AFTER_MS,
        State.ACTIVE,
        "",
    ),
    "stale where files travel": (replace(FACTS, by_courier=True), SIGNED + DAY_MS, State.STALE, "bundle.stale"),
    "one millisecond before expiry": (FACTS, SIGNED + DAY_MS - 1, State.OFFLINE, "control.no_contact"),
    "at expiry": (FACTS, SIGNED + DAY_MS, State.STALE, "bundle.stale"),
    "expired, yet in contact": (
        replace(FACTS, last_contact_ms=SIGNED + DAY_MS),
        SIGNED + DAY_MS,
        State.STALE,
        "bundle.stale",
    ),
    "just before the seal bound": (FACTS, SIGNED + WEEK_MS - 1, State.STALE, "bundle.stale"),
    "at the seal bound": (FACTS, SIGNED + WEEK_MS, State.SEALED, "bundle.seal_bound"),
    "never to be sealed by age": (
        replace(FACTS, seal_after_seconds=None),
        SIGNED + 99 * WEEK_MS,
        State.STALE,
        "bundle.stale",
    ),
    "a seal bound shorter than the timestamp's validity": (
        replace(FACTS, seal_after_seconds=60),
        SIGNED + 60_000,
        State.SEALED,
        "bundle.seal_bound",
    ),
    "a clock ten minutes below the floor": (FACTS, SIGNED - CLOCK_TOLERANCE_MS, State.ACTIVE, ""),
    "a clock further below the floor": (FACTS, SIGNED - CLOCK_TOLERANCE_MS - 1, State.SEALED, "clock.below_floor"),
    "a clock turned back a little does not revive": (
        replace(FACTS, time_floor_ms=SIGNED + DAY_MS),
        SIGNED + DAY_MS - 1000,
        State.STALE,
        "bundle.stale",
    ),
    "a tampered slot": (replace(FACTS, tamper_code="cache.tampered"), SIGNED, State.SEALED, "cache.tampered"),
    "a tampered slot that could not be loaded": (
        OrgFacts(enrolled=True, tamper_code="cache.tampered"),
        SIGNED,
        State.SEALED,
        "cache.tampered",
    ),
    "a lock order was obeyed: identity and configuration are gone": (
        OrgFacts(enrolled=False, locked_code="operator.lock"),
        SIGNED,
        State.LOCKED,
        "operator.lock",
    ),
    "a lock order was obeyed, whatever else is wrong": (
        replace(FACTS, locked_code="operator.lock", tamper_code="cache.tampered"),
        SIGNED,
        State.LOCKED,
        "operator.lock",
    ),
    "revoked, and the policy says to go on": (replace(FACTS, revoked_code="outpost.revoked"), SIGNED, State.ACTIVE, ""),
    "revoked, and the policy says to seal": (
        replace(FACTS, revoked_code="outpost.revoked", on_revoked="seal"),
        SIGNED,
        State.SEALED,
        "outpost.revoked",
    ),
    "locked by the control plane, and the policy says to seal": (
        replace(FACTS, revoked_code="identity.locked", on_revoked="seal"),
        SIGNED,
        State.SEALED,
        "identity.locked",
    ),
    "in good standing under a policy that would seal": (replace(FACTS, on_revoked="seal"), SIGNED, State.ACTIVE, ""),
    "revoked before a configuration came": (
        OrgFacts(enrolled=True, revoked_code="outpost.revoked", on_revoked="seal"),
        SIGNED,
        State.ENROLLED,
        "bundle.none",
    ),
    "at the seal bound, with an extension": (
        replace(FACTS, extended_until_ms=SIGNED + 2 * WEEK_MS),
        SIGNED + WEEK_MS,
        State.STALE,
        "bundle.stale",
    ),
    "at the end of the extension": (
        replace(FACTS, extended_until_ms=SIGNED + 2 * WEEK_MS),
        SIGNED + 2 * WEEK_MS,
        State.SEALED,
        "bundle.seal_bound",
    ),
    "an extension that is shorter than the bound shortens nothing": (
        replace(FACTS, extended_until_ms=SIGNED + DAY_MS),
        SIGNED + WEEK_MS - 1,
        State.STALE,
        "bundle.stale",
    ),
    "an extension does not lift another cause": (
        replace(FACTS, extended_until_ms=SIGNED + 2 * WEEK_MS, inspection_code="canary.failed"),
        SIGNED + WEEK_MS,
        State.SEALED,
        "canary.failed",
    ),
    "failed inspection": (replace(FACTS, inspection_code="canary.failed"), SIGNED, State.SEALED, "canary.failed"),
}


@pytest.mark.parametrize("sentence", CASES)
def test_state(sentence: str) -> None:
    facts, now_ms, state, code = CASES[sentence]
    found = org_state(facts, now_ms)
    assert (found.state, found.code) == (state, code)
    assert bool(found.reason) == (state is not State.ACTIVE)


def test_which_states_serve() -> None:
    assert {state for state in State if state.serves} == {State.ACTIVE, State.OFFLINE, State.STALE}


FLOORS = {
    "signed time lifts it": (100, 200, 1000, 200),
    "an older signed time does not lower it": (300, 200, 1000, 300),
    "a signer's clock far ahead lifts it five minutes above ours": (0, 10**15, 1000, 1000 + FLOOR_AHEAD_MS),
    "our own clock turned back does not lower it": (10**12, 10**12, 0, 10**12),
}


@pytest.mark.parametrize("sentence", FLOORS)
def test_time_floor(sentence: str) -> None:
    floor, signed_at, now, expected = FLOORS[sentence]
    assert next_time_floor(floor, signed_at, now) == expected


def test_a_lower_version_is_refused_and_an_equal_one_is_not() -> None:
    require_not_older("policy", 2, {"policy": 2})
    require_not_older("policy", 1, {})
    with pytest.raises(RollbackError, match="version 2 was accepted"):
        require_not_older("policy", 1, {"policy": 2})
