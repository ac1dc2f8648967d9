"""Rules without a store: tokens, lives of outposts, throttles, offers."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from controlplane.domain import join, outposts
from controlplane.domain.errors import ControlPlaneError
from controlplane.domain.join import MAX_SKEW_MS, RETRY_MS, JoinToken, Redemption
from controlplane.domain.offers import MAX_INLINE_BYTES, SetFile, inline, is_current, missing
from controlplane.domain.orgs import checked_id
from controlplane.domain.throttle import Rate, Throttle

NOW = 1_000_000_000_000
MINUTE = 60_000
SOURCE = "192.0.2.7"
FRESH = JoinToken("d" * 64, "op-1", NOW, NOW + 15 * MINUTE)
SPENT = replace(FRESH, spent_ms=NOW, csr_sha256="mine", serial="1")

TOKENS: dict[str, tuple[JoinToken, str, int, int, str]] = {
    # name: token, request, caller's clock, our clock, outcome
    "a fresh token is spent": (FRESH, "mine", NOW, NOW, "first"),
    "a fresh token in its last millisecond is spent": (FRESH, "mine", NOW, NOW + 15 * MINUTE - 1, "first"),
    "a token is expired at the end of its life": (FRESH, "mine", NOW, NOW + 15 * MINUTE, "token.expired"),
    "the same request may retry": (SPENT, "mine", NOW, NOW + MINUTE, "retry"),
    "the same request may retry at the end of 10 minutes": (SPENT, "mine", NOW + RETRY_MS, NOW + RETRY_MS, "retry"),
    "the same request may not retry later": (SPENT, "mine", NOW, NOW + RETRY_MS + 1, "token.used"),
    "another request finds the token used": (SPENT, "other", NOW, NOW + 1, "token.used"),
    "another request finds an old spent token used, not expired": (SPENT, "other", NOW, NOW + 10**9, "token.used"),
    "a clock 5 minutes ahead passes": (FRESH, "mine", NOW + MAX_SKEW_MS, NOW, "first"),
    "a clock more than 5 minutes ahead is named": (FRESH, "mine", NOW + MAX_SKEW_MS + 1, NOW, "token.clock"),
    "a clock more than 5 minutes behind is named": (FRESH, "mine", NOW - MAX_SKEW_MS - 1, NOW, "token.clock"),
    "a token bound to the caller's network is spent": (
        replace(FRESH, network="192.0.2.0/24"),
        "mine",
        NOW,
        NOW,
        "first",
    ),
    "a token bound to the caller's address is spent": (
        replace(FRESH, network="192.0.2.7/32"),
        "mine",
        NOW,
        NOW,
        "first",
    ),
    "a token bound to another network is refused": (
        replace(FRESH, network="192.0.3.0/24"),
        "mine",
        NOW,
        NOW,
        "token.source",
    ),
    "a token bound to a network of the other family is refused": (
        replace(FRESH, network="2001:db8::/32"),
        "mine",
        NOW,
        NOW,
        "token.source",
    ),
    "a used token is not told to another network": (
        replace(SPENT, network="192.0.3.0/24"),
        "other",
        NOW,
        NOW,
        "token.source",
    ),
    "an expired token is expired whatever the clock": (FRESH, "mine", 0, NOW + 10**8, "token.expired"),
}


@pytest.mark.parametrize("name", TOKENS)
def test_join_tokens(name: str) -> None:
    token, request, caller_ms, now_ms, outcome = TOKENS[name]
    if "." not in outcome:
        assert join.judge(token, request, _clock(name, caller_ms, now_ms), SOURCE, now_ms) is Redemption(outcome)
        return
    with pytest.raises(ControlPlaneError) as caught:
        join.judge(token, request, caller_ms, SOURCE, now_ms)
    assert caught.value.code == outcome
    assert caught.value.next_step


def _clock(name: str, caller_ms: int, now_ms: int) -> int:
    """Callers' clocks agree with ours unless the case is about clocks."""
    return caller_ms if "clock" in name else now_ms


CARRIED = replace(FRESH, offline=True, expires_ms=NOW + join.COURIER_TTL_MS)
CARRIED_SPENT = replace(CARRIED, spent_ms=NOW, csr_sha256="mine", serial="1")
LATER = NOW + 6 * 24 * 3600_000
# token, request, made by the outpost's clock, now -> outcome
COURIERS: dict[str, tuple[JoinToken, str, int, int, str]] = {
    "a request that was days on its way": (CARRIED, "mine", NOW, LATER, "first"),
    "the same request again, days later": (CARRIED_SPENT, "mine", NOW, LATER, "retry"),
    "another request": (CARRIED_SPENT, "other", NOW, LATER, "token.used"),
    "too late": (CARRIED, "mine", NOW, CARRIED.expires_ms, "token.expired"),
    "too late, again": (CARRIED_SPENT, "mine", NOW, CARRIED.expires_ms, "token.expired"),
    "a token for the network": (FRESH, "mine", NOW, NOW, "token.courier"),
    "made before its token": (CARRIED, "mine", CARRIED.created_ms - MAX_SKEW_MS - 1, LATER, "token.clock"),
    "made in the future": (CARRIED, "mine", LATER + MAX_SKEW_MS + 1, LATER, "token.clock"),
}


@pytest.mark.parametrize("name", COURIERS)
def test_join_tokens_in_files(name: str) -> None:
    token, request, made_ms, now_ms, outcome = COURIERS[name]
    if "." not in outcome:
        assert join.judge_courier(token, request, made_ms, now_ms) is Redemption(outcome)
        return
    with pytest.raises(ControlPlaneError) as caught:
        join.judge_courier(token, request, made_ms, now_ms)
    assert caught.value.code == outcome
    assert caught.value.next_step


def test_a_token_for_files_is_never_spent_over_the_network() -> None:
    with pytest.raises(ControlPlaneError) as caught:
        join.judge(CARRIED, "mine", NOW, SOURCE, NOW)
    assert caught.value.code == "token.courier"
    assert join.checked_ttl_ms(join.MAX_COURIER_TTL_MS, offline=True) == join.MAX_COURIER_TTL_MS
    with pytest.raises(join.TokenLifeError):
        join.checked_ttl_ms(join.MAX_COURIER_TTL_MS + 1, offline=True)


def test_the_skew_is_named_in_words() -> None:
    with pytest.raises(join.ClockSkewError, match="7 min 12 s ahead of") as caught:
        join.judge(FRESH, "mine", NOW + 432_000, SOURCE, NOW)
    assert "15 min" in caught.value.next_step
    assert not caught.value.fatal


@pytest.mark.parametrize("ttl_ms", [0, 59_999, 24 * 3600_000 + 1, -1])
def test_a_token_lives_within_bounds(ttl_ms: int) -> None:
    with pytest.raises(join.TokenLifeError):
        join.checked_ttl_ms(ttl_ms)


NAMES: dict[str, tuple[Callable[[str], str], str, bool]] = {
    "a plain org": (checked_id, "acme", True),
    "an org of 31 characters": (checked_id, "a" * 31, True),
    "an org of 32 characters": (checked_id, "a" * 32, False),
    "an org of one character": (checked_id, "a", False),
    "an org with a path": (checked_id, "../x", False),
    "an org with a newline": (checked_id, "acme\n", False),
    "an org in upper case": (checked_id, "Acme", False),
    "a plain outpost": (outposts.checked_name, "prod-eu.1", True),
    "an outpost with a space": (outposts.checked_name, "prod eu", False),
    "an outpost of 64 characters": (outposts.checked_name, "a" * 64, False),
    "an outpost that starts with a dot": (outposts.checked_name, ".a", False),
}


@pytest.mark.parametrize("name", NAMES)
def test_names(name: str) -> None:
    check, text, allowed = NAMES[name]
    if allowed:
        assert check(text) == text
    else:
        with pytest.raises(ControlPlaneError):
            check(text)


def test_a_throttle_forgets_the_key_that_was_used_longest_ago() -> None:
    throttle = Throttle(Rate(500.0, 2), capacity=2)
    for _ in range(2):
        throttle.strike("a", NOW)
    assert throttle.is_over("a", NOW + 499)
    assert not throttle.is_over("a", NOW + 500)
    throttle.strike("b", NOW)
    throttle.strike("c", NOW)
    assert not throttle.is_over("a", NOW)


def file(name: str, size: int, *, metadata: bool = False) -> SetFile:
    return SetFile(name, name.encode().ljust(32), size, metadata)


def test_an_offer_carries_missing_small_files_within_its_budget() -> None:
    files = [file("timestamp.json", 500, metadata=True), file("big", MAX_INLINE_BYTES), file("small", 10)]
    assert inline(files) == {"timestamp.json", "small"}
    assert inline([file("exact", MAX_INLINE_BYTES)]) == {"exact"}
    held = {"small": file("small", 10).sha256, "big": b"x" * 32}
    assert [each.name for each in missing(files, held)] == ["timestamp.json", "big"]
    assert not is_current(files, held)
    assert is_current(files, {each.name: each.sha256 for each in files})
