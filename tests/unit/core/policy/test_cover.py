"""Which rules match whenever another does: held against the plain comparison of each pair, and its cost."""

import random
import time
from typing import Any

from outpost.core.policy.cover import LISTS, broader_bits
from outpost.core.policy.document import Conditions
from outpost.core.policy.globs import glob_matches
from tests.unit.core.policy.policies import pack, parsed, policy, rule

CHOICES: dict[str, tuple[Any, ...]] = {
    "user_groups": (["a"], ["a", "b"], ["b", "c"], ["a", "b", "c"]),
    "agents": (["x"], ["x", "y"]),
    "models": (["gpt-4*"], ["gpt-*"], ["gpt-4o", "gpt-4*"], ["*"], ["claude"]),
    "risk_min": (1, 5),
    "tokens_max": (10, 20),
    "tokens_min": (1, 5),
    "entity_types": (["email"], ["email", "iban"]),
    "entity_confidence_min": (0.5, 0.9),
    "entity_count_min": (1, 3),
    "anonymous_ip": (True, False),
}


def conditions(*wanted: dict[str, Any]) -> list[Conditions]:
    rules = [rule(f"r{at}", "BLOCK", sequence=at, **each) for at, each in enumerate(wanted)]
    return [each.conditions for each in parsed(policy(pack("p", *rules))).packs[0].rules]


def matches_whenever(broad: Conditions, narrow: Conditions) -> bool:
    for name in LISTS:
        allowed, asked = getattr(broad, name), getattr(narrow, name)
        if allowed is not None and (asked is None or not set(asked) <= set(allowed)):
            return False
    models = broad.models is None or (
        narrow.models is not None and all(any(glob_matches(g, m) for g in broad.models) for m in narrow.models)
    )
    bounds = (
        (broad.risk_min or 0) <= (narrow.risk_min or 0)
        and (broad.tokens_min or 0) <= (narrow.tokens_min or 0)
        and (broad.tokens_max is None or (narrow.tokens_max is not None and narrow.tokens_max <= broad.tokens_max))
    )
    return models and bounds and entities(broad, narrow) and broad.anonymous_ip in (None, narrow.anonymous_ip)


def entities(broad: Conditions, narrow: Conditions) -> bool:
    if not broad.needs_entities:
        return True
    types = broad.entity_types
    return (
        narrow.needs_entities
        and (types is None or (narrow.entity_types is not None and set(narrow.entity_types) <= set(types)))
        and broad.confidence_percent <= narrow.confidence_percent
        and (broad.entity_count_min or 1) <= (narrow.entity_count_min or 1)
    )


def test_it_is_the_comparison_of_each_pair() -> None:
    chance = random.Random(7)
    for _ in range(40):
        wanted = [
            {name: chance.choice(values) for name, values in CHOICES.items() if chance.random() < 0.25}
            for _ in range(12)
        ]
        rules = conditions(*wanted)
        for at, bits in enumerate(broader_bits(rules)):
            plain = sum(1 << other for other, each in enumerate(rules) if matches_whenever(each, rules[at]))
            assert bits == plain, (wanted[at], bin(bits), bin(plain))


def test_the_worst_that_may_be_written_is_cheap() -> None:
    globs = [[f"{at % 7}*{number:x}*" for number in range(120)] for at in range(500)]
    for worst in (
        [{"models": [*each[:-1], f"m{at}*"]} for at, each in enumerate(globs)],
        [{"user_groups": [*(f"g{number}" for number in range(255)), f"h{at}"]} for at in range(500)],
        [{"entity_types": ["credit_card"]}] * 500,
    ):
        rules = conditions(*worst)
        began = time.process_time()
        broader_bits(rules)
        assert time.process_time() - began < 5, "the comparison of each pair takes minutes"
